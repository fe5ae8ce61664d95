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
        Ok(took) => {
            Found::ok(format!("{} accepts this device after {} ms", patient.config.broker.url, took.as_millis()))
        }
        Err(error) => Found::failed(format!("{}: {error}", patient.config.broker.url), error.remedy()),
    }
}
