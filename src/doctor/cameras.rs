//! The machine's cameras, and the source that is configured.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
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
            fifo(&config.pipe.path)
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

/// Who writes into the FIFO, without reading from it.
fn fifo(path: &Path) -> CheckResult {
    let shown = path.display();
    let ends = match Ends::of(path) {
        Ok(ends) => ends,
        Err(error) => {
            return CheckResult::failed(
                format!("{shown}: {error}"),
                "let the user that runs watchpost reach it",
            );
        }
    };
    if !ends.writers.is_empty() {
        return CheckResult::skipped(format!(
            "{shown} is a FIFO that {} writes into; its frames are the daemon's",
            ends.writers.join(", ")
        ));
    }
    if ends.hidden {
        return CheckResult::skipped(format!(
            "{shown} is a FIFO; its frames are the daemon's, and only root sees who writes into it"
        ));
    }
    match ends.readers {
        // What is to write waits for a reader before it has it open.
        0 => CheckResult::skipped(format!(
            "{shown} is a FIFO that neither a daemon reads nor anybody writes into now"
        )),
        _ => CheckResult::failed(
            format!("nobody writes into {shown}"),
            "start what writes into it, and see why it ended: `systemctl status \
             watchpost-camera`, `journalctl -u watchpost-camera`",
        ),
    }
}

/// The processes that have a FIFO open.
#[derive(Default)]
struct Ends {
    /// `NAME (PID)` of each.
    writers: Vec<String>,
    readers: usize,
    /// Some processes are not ours to look into.
    hidden: bool,
}

impl Ends {
    fn of(path: &Path) -> std::io::Result<Self> {
        let wanted = path.metadata()?;
        let mut ends = Self::default();
        for process in std::fs::read_dir("/proc")?.flatten() {
            let name = process.file_name();
            let Some(pid) = name.to_str().filter(|n| n.bytes().all(|b| b.is_ascii_digit())) else {
                continue;
            };
            match std::fs::read_dir(process.path().join("fd")) {
                Ok(files) => files.flatten().for_each(|file| {
                    let same =
                        |m: std::fs::Metadata| (m.dev(), m.ino()) == (wanted.dev(), wanted.ino());
                    if std::fs::metadata(file.path()).is_ok_and(same) {
                        ends.add(&process.path(), pid, &file.file_name());
                    }
                }),
                // It has ended meanwhile, or is another user's.
                Err(e) => ends.hidden |= e.kind() == std::io::ErrorKind::PermissionDenied,
            }
        }
        Ok(ends)
    }

    /// One open descriptor of a process.
    fn add(&mut self, process: &Path, pid: &str, descriptor: &std::ffi::OsStr) {
        let text = |file: PathBuf| std::fs::read_to_string(file).unwrap_or_default();
        let about = text(process.join("fdinfo").join(descriptor));
        let flags = about.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|f| i32::from_str_radix(f.trim(), 8).ok()).unwrap_or_default();
        match flags & libc::O_ACCMODE {
            libc::O_RDONLY => self.readers += 1,
            _ => {
                let name = text(process.join("comm"));
                let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
                self.writers.push(format!("{name} ({pid})"));
            }
        }
    }
}

fn refusal(error: SourceError) -> CheckResult {
    match error {
        SourceError::Configuration { what, remedy } => CheckResult::failed(what, remedy),
        other => CheckResult::failed(other, "plug the camera in again and look into `dmesg`"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn a_fifo_that_is_read_and_that_nobody_writes_into_is_a_failure_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(fifo(&path).detail().contains("neither"), "{:?}", fifo(&path));
        let reads = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let reader = reads.unwrap();
        // Where tests run as somebody else than root, others' processes are hidden.
        if !Ends::of(&path).unwrap().hidden {
            let CheckResult::Failed { detail, remedy } = fifo(&path) else { panic!() };
            assert!(detail.contains("nobody writes"), "{detail}");
            assert!(remedy.contains("journalctl -u watchpost-camera"), "{remedy}");
        }
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        let told = fifo(&path);
        assert!(matches!(told, CheckResult::Skipped { .. }), "{told:?}");
        assert!(told.detail().contains(&format!("({})", std::process::id())), "{told:?}");
        drop((reader, writer));
    }
}
