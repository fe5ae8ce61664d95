//! The way to the broker.

use super::{CheckResult, Context};
use crate::delivery::{probe, tls};

pub(super) fn files(context: &Context<'_>) -> CheckResult {
    let mut problems = Vec::new();
    tls::file_problems(&context.config.broker, &mut problems);
    match problems.as_slice() {
        [] => CheckResult::ok("certificates, keys and password can be read"),
        problems => CheckResult::failed(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            "correct the paths, and let the user that runs watchpost read the files",
        ),
    }
}

pub(super) fn broker(context: &Context<'_>) -> CheckResult {
    match probe::probe(&context.config.broker, &context.config.device.id) {
        Ok(took) => CheckResult::ok(format!(
            "{} accepts this device after {} ms",
            context.config.broker.url,
            took.as_millis()
        )),
        Err(error) => {
            // Most say what is wrong and, after a semicolon, what to do.
            let text = error.to_string();
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, error.remedy()));
            CheckResult::failed(format!("{}: {what}", context.config.broker.url), remedy)
        }
    }
}
