//! The way to the broker.

use super::{Found, Patient};
use crate::delivery::{probe, tls};

pub(super) fn files(patient: &Patient<'_>) -> Found {
    let mut problems = Vec::new();
    tls::file_problems(&patient.config.broker, &mut problems);
    match problems.as_slice() {
        [] => Found::ok("certificates, keys and password can be read"),
        problems => Found::failed(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            "correct the paths, and let the user that runs watchpost read the files",
        ),
    }
}

pub(super) fn broker(patient: &Patient<'_>) -> Found {
    match probe::probe(&patient.config.broker, &patient.config.device.id) {
        Ok(took) => Found::ok(format!(
            "{} accepts this device after {} ms",
            patient.config.broker.url,
            took.as_millis()
        )),
        Err(error) => {
            // Most say what is wrong and, after a semicolon, what to do.
            let text = error.to_string();
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, error.remedy()));
            Found::failed(format!("{}: {what}", patient.config.broker.url), remedy)
        }
    }
}
