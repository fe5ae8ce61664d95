//! `watchpost audit collect`: a copy of a device's log, as the broker has it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::audit::checkpoint::Checkpoint;
use crate::audit::store::{self, AuditStore, LOG, scan};
use crate::audit::tree::root_of;
use crate::cli::flags::{ConfigFile, OutputFormat};
use crate::cli::{CliError, output};
use crate::delivery::correspondent::{Correspondent, Letter, correspond};
use crate::delivery::event::{AuditEntry, CloudEvent};
use crate::delivery::{DeviceId, Topics};

#[derive(clap::Args)]
pub struct CollectArgs {
    /// Folder of the copy; made where it is missing. One that `watchpost audit export` made is gone
    /// on with.
    copy: PathBuf,
    /// Id of the device.
    #[arg(long)]
    device: String,
    /// Ends after so many seconds; without it, at Ctrl-C.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: OutputFormat,
}

/// What came of the entries so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Collected {
    /// Records that were added.
    added: u64,
    /// Records that were there already.
    again: u64,
    /// The index of the first entry that left a gap before it.
    gap: Option<u64>,
    /// The first index at which the broker has another record than the copy.
    other: Option<u64>,
    /// What cannot be read.
    malformed: u64,
}

/// Adds entries to a copy. Records of before are compared, so that a device that tells two stories
/// is found out.
struct Collector {
    store: AuditStore,
    folder: PathBuf,
    collected: Collected,
    /// The newest checkpoint, until the copy has what it covers.
    note: Option<String>,
    /// Whether a checkpoint that covers the copy is not one of it.
    rewritten: bool,
}

impl Collector {
    fn open(folder: PathBuf, origin: &str) -> Result<Self, CliError> {
        let store = AuditStore::open(&folder, origin)?;
        let collected = Collected::default();
        Ok(Self { store, folder, collected, note: None, rewritten: false })
    }

    fn entry(&mut self, payload: &[u8]) -> Result<(), CliError> {
        let entry = serde_json::from_slice::<CloudEvent<AuditEntry>>(payload).ok();
        let entry = entry
            .and_then(|event| Some((event.data.index, STANDARD.decode(event.data.record).ok()?)));
        let Some((index, record)) = entry else {
            self.collected.malformed += 1;
            return Ok(());
        };
        let size = self.store.size();
        if index > size {
            self.collected.gap.get_or_insert(index);
        } else if index == size {
            self.store.append(&record)?;
            self.collected.added += 1;
            self.checkpoint(None)?;
        } else if self.has(index, &record)? {
            self.collected.again += 1;
        } else {
            self.collected.other.get_or_insert(index);
        }
        Ok(())
    }

    fn has(&self, index: u64, record: &[u8]) -> Result<bool, CliError> {
        let mut same = false;
        let file = std::fs::File::open(self.folder.join(LOG))?;
        scan(file, |at, _, found| same |= at == index && found == record)?;
        Ok(same)
    }

    /// Keeps the newest checkpoint once the copy has all that it covers.
    fn checkpoint(&mut self, newer: Option<String>) -> Result<(), CliError> {
        if newer.is_some() {
            self.note = newer;
        }
        let Some(note) = &self.note else { return Ok(()) };
        let text = note.rfind("\n\n").map_or("", |end| &note[..=end]);
        let Ok(checkpoint) = Checkpoint::parse(text) else {
            self.collected.malformed += 1;
            self.note = None;
            return Ok(());
        };
        if checkpoint.size > self.store.size() {
            return Ok(());
        }
        self.rewritten = root_of(&self.store, checkpoint.size)? != checkpoint.root;
        if !self.rewritten {
            self.store.keep_checkpoint(note)?;
        }
        self.note = None;
        Ok(())
    }

    /// What is wrong with the copy, if anything.
    fn finding(&self) -> Option<String> {
        let Collected { gap, other, .. } = &self.collected;
        if let Some(index) = other {
            return Some(format!("the broker has another record {index} than this copy"));
        }
        if self.rewritten {
            return Some("the checkpoint is not one of these records".into());
        }
        let gap = gap.filter(|_| self.note.is_some());
        gap.map(|index| {
            format!(
                "records {} to {} never came; copy the device's log with `watchpost audit export` \
                 and go on with that folder",
                self.store.size(),
                index - 1
            )
        })
    }
}

/// The collector at the broker.
struct CollectorPost {
    collector: Collector,
    topics: Topics,
    until: Option<Instant>,
    over: Arc<AtomicBool>,
    /// Why the copy cannot be gone on with.
    failure: Option<CliError>,
}

impl Correspondent for CollectorPost {
    fn filters(&self) -> Vec<String> {
        vec![self.topics.audit_entry(), self.topics.audit_checkpoint()]
    }

    fn received(&mut self, topic: &str, payload: &[u8], _: &mut Vec<Letter>) {
        let done = if topic == self.topics.audit_entry() {
            self.collector.entry(payload)
        } else {
            self.collector.checkpoint(String::from_utf8(payload.to_vec()).ok())
        };
        if let Err(error) = done {
            self.failure.get_or_insert(error);
        }
    }

    fn tick(&mut self, _: &mut Vec<Letter>) {}

    fn is_over(&self) -> bool {
        self.failure.is_some()
            || self.over.load(Ordering::SeqCst)
            || self.until.is_some_and(|until| Instant::now() >= until)
    }
}

pub fn run(args: CollectArgs) -> Result<ExitCode, CliError> {
    let broker = args.config.load()?.broker;
    let device = DeviceId::new(&args.device)?;
    let origin = format!("{}/{device}", broker.root);
    let over = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&over))?;
    }
    let mut post = CollectorPost {
        collector: Collector::open(args.copy, &origin)?,
        topics: Topics::new(&broker.root, &device)?,
        until: args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        over,
        failure: None,
    };
    correspond(&broker, &format!("collect-{device}"), &mut post)?;
    let CollectorPost { collector, failure, .. } = post;
    if let Some(error) = failure {
        return Err(error);
    }
    let (records, finding) = (collector.store.size(), collector.finding());
    let signed = store::read_checkpoint(&collector.folder)?.is_some();
    if args.format.json {
        let Collected { added, again, malformed, .. } = collector.collected;
        output::json_line(&json!({
            "origin": origin, "records": records, "added": added, "again": again,
            "malformed": malformed, "checkpoint": signed, "finding": finding,
        }))?;
    } else {
        output::line(format!(
            "{records} records of {origin} are in {}",
            collector.folder.display()
        ))?;
        finding.iter().try_for_each(|finding| output::line(format!("NOT WHOLE: {finding}")))?;
    }
    Ok(if finding.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::journal::Journal;
    use crate::audit::record::AuditEvent;
    use crate::clock::Now;
    use crate::delivery::event::EventId;
    use crate::watchlist::keys::SecretKey;
    use time::OffsetDateTime;

    const NOW: Now = Now { monotonic: Duration::ZERO, wall: OffsetDateTime::UNIX_EPOCH };
    const ORIGIN: &str = "site/gate-1";

    /// A device's entries as it publishes them, and its checkpoint.
    fn published(folder: &std::path::Path, events: &[AuditEvent]) -> (Vec<Vec<u8>>, String) {
        let store = AuditStore::open(folder, ORIGIN).unwrap();
        let mut journal = Journal::new(store, ORIGIN, SecretKey::from_seed(&[1; 32]));
        let mut entries = Vec::new();
        let device = DeviceId::new("gate-1").unwrap();
        for event in events {
            let out = &mut |record: crate::audit::journal::LoggedRecord| {
                let entry =
                    AuditEntry { index: record.index, record: STANDARD.encode(&record.bytes) };
                let event = CloudEvent::new(EventId::new(NOW), &device, NOW, entry);
                entries.push(event.to_json().unwrap());
            };
            journal.record(event.clone(), NOW, out).unwrap();
        }
        (entries, journal.checkpoint().unwrap())
    }

    #[test]
    fn a_copy_grows_by_entries_names_gaps_and_other_stories_and_has_the_checkpoint_it_covers() {
        let dir = tempfile::tempdir().unwrap();
        let all = [AuditEvent::UseBegan, AuditEvent::Stopped, AuditEvent::UseBegan];
        let (entries, note) = published(&dir.path().join("device"), &all);
        let copy = dir.path().join("copy");
        let mut collector = Collector::open(copy.clone(), ORIGIN).unwrap();
        // The retained checkpoint comes before the entries that it covers.
        collector.checkpoint(Some(note.clone())).unwrap();
        assert_eq!(store::read_checkpoint(&copy).unwrap(), None);
        collector.entry(&entries[0]).unwrap();
        collector.entry(&entries[2]).unwrap();
        assert!(collector.finding().is_some_and(|f| f.contains("records 1 to 1 never came")));
        collector.entry(b"junk").unwrap();
        for entry in &entries {
            collector.entry(entry).unwrap();
        }
        assert_eq!(store::read_checkpoint(&copy).unwrap(), Some(note));
        assert_eq!(collector.finding(), None, "what was missing came");
        let Collected { added, again, malformed, .. } = collector.collected;
        assert_eq!((added, again, malformed), (3, 1, 1));

        let (others, forged) = published(&dir.path().join("other"), &all[1..]);
        collector.checkpoint(Some(forged)).unwrap();
        assert!(collector.finding().is_some_and(|f| f.contains("not one of these records")));
        collector.entry(&others[0]).unwrap();
        assert!(collector.finding().is_some_and(|f| f.contains("another record 0")));
        drop(collector);
        let whole = std::fs::read(dir.path().join("device").join(LOG)).unwrap();
        assert_eq!(std::fs::read(copy.join(LOG)).unwrap(), whole, "byte for byte");
    }
}
