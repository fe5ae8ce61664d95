//! The way to the broker.

use super::{CheckResult, Configured};
use crate::delivery::{probe, tls};

pub(super) fn files(configured: &Configured<'_>) -> CheckResult {
    let mut problems = Vec::new();
    tls::file_problems(&configured.config.broker, &mut problems);
    match problems.as_slice() {
        [] => CheckResult::ok("certificates, keys and password can be read"),
        problems => CheckResult::failed(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            "correct the paths, and let the user that runs watchpost read the files",
        ),
    }
}

pub(super) fn broker(configured: &Configured<'_>) -> CheckResult {
    match probe::probe(&configured.config.broker, &configured.config.device.id) {
        Ok(took) => CheckResult::ok(format!(
            "{} accepts this device after {} ms",
            configured.config.broker.url,
            took.as_millis()
        )),
        Err(error) => {
            // Most say what is wrong and, after a semicolon, what to do.
            let text = error.to_string();
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, error.remedy()));
            CheckResult::failed(format!("{}: {what}", configured.config.broker.url), remedy)
        }
    }
}
