//! The machine's cameras, and the source that is configured.

use std::time::{Duration, Instant};

use super::{CheckResult, Configured};
use crate::source::cameras::{NodeVerdict, survey};
use crate::source::{self, Captured, Decoder, SourceError, SourceKind, V4l2Config};

/// How long the configured source may take to its first frame.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every capture node: usable, or why not.
pub(super) fn nodes() -> CheckResult {
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
        (false, None) => CheckResult::ok(usable.join(", ")),
        (false, Some((what, remedy))) => {
            CheckResult::warning(format!("{}; {what}", usable.join(", ")), remedy.clone())
        }
        (true, Some((what, remedy))) => CheckResult::warning(what.clone(), remedy.clone()),
        (true, None) => CheckResult::warning(
            "there is no camera with a kernel driver",
            concat!(
                "plug one in; a CSI camera whose driver is missing needs its overlay (Raspberry \
                 Pi: camera_auto_detect=1 in config.txt); ",
                setting!(source.kind),
                " = \"pipe\" and \"images\" need none"
            ),
        ),
    }
}

/// One frame from the configured source.
pub(super) fn source(configured: &Configured<'_>) -> CheckResult {
    let config = &configured.config.source;
    if config.kind == SourceKind::Pipe && config.pipe.path.as_os_str() == "-" {
        return CheckResult::skipped("frames come from standard input of `watchpost run`");
    }
    if config.kind == SourceKind::Pipe && !config.pipe.path.is_file() {
        // Reading would take frames from a daemon that runs.
        return if config.pipe.path.exists() {
            CheckResult::skipped(format!(
                "{} is a FIFO; its frames are the daemon's",
                config.pipe.path.display()
            ))
        } else {
            CheckResult::failed(
                format!("there is no {}", config.pipe.path.display()),
                format!(
                    "make it: `mkfifo {}`, and start what writes into it",
                    config.pipe.path.display()
                ),
            )
        };
    }
    let mut source = match source::open(config, configured.clock) {
        Ok(source) => source,
        Err(error) => return refusal(error),
    };
    let mut captured = Captured::default();
    let began = Instant::now();
    loop {
        match source.next(&mut captured) {
            Ok(()) => break,
            Err(SourceError::Ended) => {
                return CheckResult::failed(
                    "the source ends without a picture",
                    "name files or a folder with pictures",
                );
            }
            Err(error @ SourceError::Configuration { .. }) => return refusal(error),
            Err(error) if began.elapsed() >= PATIENCE => {
                return CheckResult::failed(
                    format!("{}: {error}", source.describe()),
                    "plug the camera in again, try another cable or port, and look into `dmesg`",
                );
            }
            Err(_) => {}
        }
    }
    let took = began.elapsed();
    match Decoder::of(config).decode(&captured) {
        Err(error) => CheckResult::failed(
            format!("{}: {error}", source.describe()),
            concat!("try another ", setting!(source.v4l2.format)),
        ),
        Ok(frame) => CheckResult::ok(format!(
            "{}: a frame of {}x{} after {} ms",
            source.describe(),
            frame.width(),
            frame.height(),
            took.as_millis()
        )),
    }
}

fn refusal(error: SourceError) -> CheckResult {
    match error {
        SourceError::Configuration { what, remedy } => CheckResult::failed(what, remedy),
        other => CheckResult::failed(other, "plug the camera in again and look into `dmesg`"),
    }
}
