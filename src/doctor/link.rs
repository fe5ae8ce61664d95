//! The way to the broker.

use super::{CheckResult, Configured};
use crate::delivery::event::Ending;
use crate::delivery::{probe, tls};

pub(super) fn files(configured: &Configured<'_>) -> CheckResult {
    let mut problems = Vec::new();
    tls::file_problems(&configured.config.broker, &mut problems);
    match problems.as_slice() {
        [] => {
            let detail = "certificates, keys and password can be read";
            let first = tls::file_ends(&configured.config.broker).into_iter().min_by_key(|e| e.2);
            match first {
                None => CheckResult::ok(detail),
                Some((what, path, ends)) => {
                    let detail = format!("{detail}; {} is the first to end", path.display());
                    let now = configured.clock.now().wall;
                    CheckResult::ok_until(detail, what, ends, now)
                }
            }
        }
        problems => CheckResult::failed(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            "correct the paths, and let the user that runs watchpost read the files",
        ),
    }
}

pub(super) fn broker(configured: &Configured<'_>) -> CheckResult {
    match probe::probe(&configured.config.broker, &configured.config.device.id) {
        Ok(reached) => {
            let detail = format!(
                "{} accepts this device after {} ms",
                configured.config.broker.url,
                reached.took.as_millis()
            );
            let now = configured.clock.now().wall;
            match reached.certificate_ends {
                Some(ends) => CheckResult::ok_until(detail, Ending::BrokerCertificate, ends, now),
                None => CheckResult::ok(detail),
            }
        }
        Err(error) => {
            // Most say what is wrong and, after a semicolon, what to do.
            let text = error.to_string();
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, error.remedy()));
            CheckResult::failed(format!("{}: {what}", configured.config.broker.url), remedy)
        }
    }
}
