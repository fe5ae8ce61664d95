//! The machine's cameras, and the source that is configured.

use std::time::{Duration, Instant};

use super::{Found, Patient};
use crate::source::cameras::{NodeVerdict, survey};
use crate::source::{self, Captured, Decoder, SourceError, SourceKind, V4l2Config};

/// How long the configured source may take to its first frame.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every capture node: usable, or why not.
pub(super) fn nodes() -> Found {
    let nodes = survey(&V4l2Config::default());
    let mut usable = Vec::new();
    let mut troubles = Vec::new();
    for node in &nodes {
        let name = node.stable.first().unwrap_or(&node.path).display();
        match &node.verdict {
            NodeVerdict::Usable { format } => {
                usable.push(format!("{name} ({}, {format})", node.card))
            }
            NodeVerdict::Other { .. } => {}
            NodeVerdict::Trouble { what, remedy } => troubles.push((what.clone(), remedy.clone())),
        }
    }
    match (usable.is_empty(), troubles.first()) {
        (false, None) => Found::ok(usable.join(", ")),
        (false, Some((what, remedy))) => {
            Found::warning(format!("{}; {what}", usable.join(", ")), remedy.clone())
        }
        (true, Some((what, remedy))) => Found::warning(what.clone(), remedy.clone()),
        (true, None) => Found::warning(
            "there is no camera with a kernel driver",
            "plug one in; a CSI camera whose driver is missing needs its overlay (Raspberry Pi: \
             camera_auto_detect=1 in config.txt); source.kind = \"pipe\" and \"images\" need none",
        ),
    }
}

/// One frame from the configured source.
pub(super) fn source(patient: &Patient<'_>) -> Found {
    let config = &patient.config.source;
    if config.kind == SourceKind::Pipe && config.pipe.path.as_os_str() == "-" {
        return Found::skipped("frames come from standard input of `watchpost run`");
    }
    if config.kind == SourceKind::Pipe && !config.pipe.path.is_file() {
        // Reading would take frames from a daemon that runs.
        return if config.pipe.path.exists() {
            Found::skipped(format!(
                "{} is a FIFO; its frames are the daemon's",
                config.pipe.path.display()
            ))
        } else {
            Found::failed(
                format!("there is no {}", config.pipe.path.display()),
                format!(
                    "make it: `mkfifo {}`, and start what writes into it",
                    config.pipe.path.display()
                ),
            )
        };
    }
    let mut source = match source::open(config, patient.clock) {
        Ok(source) => source,
        Err(error) => return refusal(error),
    };
    let mut captured = Captured::default();
    let began = Instant::now();
    loop {
        match source.next(&mut captured) {
            Ok(()) => break,
            Err(SourceError::Ended) => {
                return Found::failed(
                    "the source ends without a picture",
                    "name files or a folder with pictures",
                );
            }
            Err(error @ SourceError::Configuration { .. }) => return refusal(error),
            Err(error) if began.elapsed() >= PATIENCE => {
                return Found::failed(
                    format!("{}: {error}", source.describe()),
                    "plug the camera in again, try another cable or port, and look into `dmesg`",
                );
            }
            Err(_) => {}
        }
    }
    let took = began.elapsed();
    match Decoder::new(config.max_pixels).decode(&captured) {
        Err(error) => Found::failed(
            format!("{}: {error}", source.describe()),
            "try another source.v4l2.format",
        ),
        Ok(frame) => Found::ok(format!(
            "{}: a frame of {}x{} after {} ms",
            source.describe(),
            frame.width(),
            frame.height(),
            took.as_millis()
        )),
    }
}

fn refusal(error: SourceError) -> Found {
    match error {
        SourceError::Configuration { what, remedy } => Found::failed(what, remedy),
        other => Found::failed(other, "plug the camera in again and look into `dmesg`"),
    }
}
