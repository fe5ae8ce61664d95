//! A file that records when each event was taken and what became of it, for checks from outside
//! that nothing is lost. One JSON object a line:
//! `{"at":"2026-11-24T05:20:04.2Z","fate":"taken","position":7,"id":"0193..."}`. Event ids only,
//! nothing of what an event is about.
//!
//! Promises:
//! * A line is written, with one call, after what it says has happened: an event that is `taken` is
//!   in the store (on the disk, unless a line `in_memory` follows for it), one that is `delivered`
//!   was acknowledged. `stored` says that all that wait are on the disk.
//! * What waits at a start is named again as `recovered`, so that no event is missing whose line a
//!   kill prevented.
//! * Lines survive a kill; a power cut may lose the last half minute, as they are not synced.
//! * At [`MOST`] bytes the file is renamed to `<name>.1`, in place of an older one.
//! * A failure to write is logged once, and delivery goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Fate, QueuePosition, Witness};
use crate::delivery::event::EventId;

/// Bytes of the file at which a new one is begun.
pub const MOST: u64 = 8 * 1024 * 1024;

#[derive(Serialize)]
struct LedgerLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    fate: Fate,
    position: QueuePosition,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<EventId>,
}

fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Without waiting for a reader, should it be a pipe.
    options.append(true).mode(0o600).custom_flags(libc::O_NONBLOCK);
    options
}

/// Whether [`Ledger::open`] could open what is at `path`. Makes and writes nothing.
///
/// # Errors
/// Where it cannot be opened; [`io::ErrorKind::NotFound`] where there is nothing.
pub fn examine(path: &Path) -> io::Result<()> {
    appending().open(path).map(drop)
}

/// The file. See the module's documentation.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    bytes: u64,
    failed: bool,
}

impl Ledger {
    /// Appends to `path`; the file is made where it is missing, readable by its
    /// owner only.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = appending().create(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, failed: false })
    }

    fn write(&mut self, line: &LedgerLine) -> io::Result<()> {
        if self.bytes >= MOST {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            fs::rename(&self.path, old)?;
            *self = Self::open(&self.path)?;
        }
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

impl Witness for Ledger {
    fn note(
        &mut self,
        fate: Fate,
        position: QueuePosition,
        id: Option<EventId>,
        now: Option<OffsetDateTime>,
    ) {
        let line =
            LedgerLine { at: now.and_then(|at| at.format(&Rfc3339).ok()), fate, position, id };
        match self.write(&line) {
            Ok(()) => self.failed = false,
            Err(e) if !std::mem::replace(&mut self.failed, true) => {
                log::error!(
                    "The ledger of the outbox cannot be written: path={} error={e}.",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).expect("it is there");
        text.lines().map(|l| serde_json::from_str(l).expect("each line is JSON")).collect()
    }

    #[test]
    fn each_event_is_named_when_it_is_taken_and_when_it_leaves() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("ledger");
        let now = OffsetDateTime::UNIX_EPOCH;
        let mut ledger = Ledger::open(&path).expect("it is made");
        ledger.note(Fate::Taken, 7, Some(EventId::from_u128(1)), Some(now));
        drop(ledger);
        let mut ledger = Ledger::open(&path).expect("it is there");
        ledger.note(Fate::GivenUp, 7, None, None);
        let lines = lines(&path);
        assert_eq!(lines[0]["at"], "1970-01-01T00:00:00Z");
        assert_eq!((&lines[0]["fate"], &lines[0]["position"]), (&"taken".into(), &7.into()));
        assert_eq!(lines[0]["id"], "00000000-0000-0000-0000-000000000001");
        assert_eq!((&lines[1]["fate"], lines[1].get("id")), (&"given_up".into(), None));
    }

    #[test]
    fn what_could_not_be_opened_is_known_before_and_nothing_is_made() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let [none, file] = ["none", "file"].map(|name| folder.path().join(name));
        assert!(examine(&none).is_err_and(|e| e.kind() == io::ErrorKind::NotFound));
        assert!(!none.exists());
        fs::write(&file, "before").expect("writes");
        assert!(examine(&file).is_ok() && examine(folder.path()).is_err());
        assert_eq!(fs::read(&file).expect("reads"), b"before");
    }

    #[test]
    fn it_never_takes_more_than_two_files_of_its_bound() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("ledger");
        let mut ledger = Ledger::open(&path).expect("it is made");
        ledger.bytes = MOST;
        ledger.note(Fate::Taken, 1, None, None);
        ledger.bytes = MOST;
        ledger.note(Fate::Taken, 2, None, None);
        assert_eq!(lines(&path)[0]["position"], 2);
        assert_eq!(
            lines(&folder.path().join("ledger.1"))[0]["position"],
            1,
            "the older one is gone"
        );
    }
}
