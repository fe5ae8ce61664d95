//! `watchpost audit collect`: a copy of a device's log, as the broker has it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{NoteKey, SignatureKind};
use crate::audit::record::MAX_RECORD;
use crate::audit::store::{self, AuditStore, LOG, scan};
use crate::audit::tree::root_of;
use crate::cli::flags::{ConfigFile, OutputFormat};
use crate::cli::stop::ended_by_signal;
use crate::cli::{CliError, output};
use crate::delivery::correspondent::{Correspondent, Letter, correspond};
use crate::delivery::event::{AuditEntry, CloudEvent};
use crate::delivery::{DeviceId, Topics};
use crate::watchlist::keys::PublicKey;

#[derive(clap::Args)]
pub struct CollectArgs {
    /// Folder of the copy; made where it is missing. One that `watchpost audit export` made is gone
    /// on with.
    copy: PathBuf,
    /// Id of the device.
    #[arg(long)]
    device: String,
    /// Key of the device that signs its checkpoints (`watchpost-ed25519:...`). Without it no
    /// signature is verified, and the output says so.
    #[arg(long)]
    key: Option<PublicKey>,
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
    /// Records that the entries which came are of: one more than the highest index.
    announced: u64,
    /// What cannot be read.
    malformed: u64,
}

/// What shows that the broker has another story than the copy. It stays so, whatever comes later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum OtherStory {
    #[error("the broker has another record {0} than this copy")]
    Record(u64),
    #[error("the checkpoint of {0} records is not one of these records")]
    Checkpoint(u64),
    #[error("the broker has a checkpoint of the log {0:?}, and this copy is of another")]
    Log(String),
    #[error("the broker has a checkpoint that the key did not sign: {0}")]
    NotAuthentic(String),
}

/// Adds entries to a copy. Records of before are compared, so that a device that tells two stories
/// is found out.
struct Collector {
    store: AuditStore,
    folder: PathBuf,
    origin: String,
    /// That of the device, where its signatures are verified.
    key: Option<NoteKey>,
    collected: Collected,
    /// The newest checkpoint, until the copy has what it covers.
    waiting: Option<(Checkpoint, String)>,
    /// Records below the checkpoint that the copy keeps; 0 where it is not one of these records,
    /// `None` where it keeps none.
    kept: Option<u64>,
    /// Records below the newest checkpoint that this run has verified.
    verified: Option<u64>,
    other: Option<OtherStory>,
}

impl Collector {
    fn open(folder: PathBuf, origin: &str, key: Option<PublicKey>) -> Result<Self, CliError> {
        let key = key.map(|key| NoteKey::new(origin, SignatureKind::Note, key)).transpose()?;
        let store = AuditStore::open(&folder, origin)?;
        let note = store::read_checkpoint(&folder)?;
        let mut collector = Self {
            store,
            folder,
            origin: origin.to_owned(),
            key,
            collected: Collected::default(),
            waiting: None,
            kept: None,
            verified: None,
            other: None,
        };
        // What a run before has kept is held against the key, too.
        if let Some(note) = note {
            collector.kept = Some(0);
            collector.checkpoint(note.as_bytes())?;
            // An older one must not replace it before the copy has come so far.
            if let Some((waiting, _)) = &collector.waiting {
                collector.kept = Some(waiting.size);
            }
        }
        Ok(collector)
    }

    fn entry(&mut self, payload: &[u8]) -> Result<(), CliError> {
        let entry = serde_json::from_slice::<CloudEvent<AuditEntry>>(payload).ok();
        let entry = entry
            .and_then(|event| Some((event.data.index, STANDARD.decode(event.data.record).ok()?)));
        // No log takes an empty record, and none a longer one.
        let entry = entry.filter(|(_, record)| (1..=MAX_RECORD).contains(&record.len()));
        let Some((index, record)) = entry else {
            self.collected.malformed += 1;
            return Ok(());
        };
        let size = self.store.size();
        self.collected.announced = self.collected.announced.max(index.saturating_add(1));
        if index == size {
            self.store.append(&record)?;
            self.collected.added += 1;
            self.look()?;
        } else if index < size && self.has(index, &record)? {
            self.collected.again += 1;
        } else if index < size {
            self.other.get_or_insert(OtherStory::Record(index));
        }
        Ok(())
    }

    fn has(&self, index: u64, record: &[u8]) -> Result<bool, CliError> {
        let mut same = false;
        let file = std::fs::File::open(self.folder.join(LOG))?;
        scan(file, |at, _, found| same |= at == index && found == record)?;
        Ok(same)
    }

    /// A checkpoint came; it waits until the copy has all that it covers.
    fn checkpoint(&mut self, note: &[u8]) -> Result<(), CliError> {
        let read = String::from_utf8(note.to_vec()).ok().and_then(|note| {
            let text = note.rfind("\n\n").map(|end| &note[..=end])?;
            Some((Checkpoint::parse(text).ok()?, note))
        });
        let Some((checkpoint, note)) = read else {
            self.collected.malformed += 1;
            return Ok(());
        };
        if checkpoint.origin != self.origin {
            self.other.get_or_insert(OtherStory::Log(checkpoint.origin));
            return Ok(());
        }
        if let Some(key) = &self.key
            && let Err(error) = Checkpoint::open(&note, key)
        {
            self.other.get_or_insert(OtherStory::NotAuthentic(error.to_string()));
            return Ok(());
        }
        // An older one is held against the copy, and replaces no newer one that waits.
        let newer = self.waiting.as_ref().is_none_or(|(known, _)| known.size <= checkpoint.size);
        if checkpoint.size <= self.store.size() {
            self.hold(&checkpoint, &note)?;
        } else if newer {
            self.waiting = Some((checkpoint, note));
        }
        Ok(())
    }

    /// Looks whether the copy has come as far as the checkpoint that waits.
    fn look(&mut self) -> Result<(), CliError> {
        let size = self.store.size();
        match self.waiting.take_if(|(checkpoint, _)| checkpoint.size <= size) {
            Some((checkpoint, note)) => self.hold(&checkpoint, &note),
            None => Ok(()),
        }
    }

    /// Holds the copy against a checkpoint that it covers, and keeps the newest.
    fn hold(&mut self, checkpoint: &Checkpoint, note: &str) -> Result<(), CliError> {
        let size = checkpoint.size;
        if root_of(&self.store, size)? != checkpoint.root {
            self.other.get_or_insert(OtherStory::Checkpoint(size));
            return Ok(());
        }
        if self.key.is_some() {
            self.verified = self.verified.max(Some(size));
        }
        if self.kept.is_none_or(|kept| kept < size) {
            self.store.keep_checkpoint(note)?;
            self.kept = Some(size);
        }
        Ok(())
    }

    /// What is wrong with the copy, if anything.
    fn finding(&self) -> Option<String> {
        if let Some(other) = &self.other {
            return Some(other.to_string());
        }
        let (size, announced) = (self.store.size(), self.collected.announced);
        (announced > size).then(|| {
            format!(
                "record {size}, and others before record {announced}, are not in this copy; copy \
                 the device's log with `watchpost audit export` and go on with that folder"
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
            self.collector.checkpoint(payload)
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
    let over = ended_by_signal()?;
    let mut post = CollectorPost {
        collector: Collector::open(args.copy, &origin, args.key)?,
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
            "malformed": malformed, "checkpoint": signed, "verified": collector.verified,
            "finding": finding,
        }))?;
    } else {
        output::line(format!(
            "{records} records of {origin} are in {}",
            collector.folder.display()
        ))?;
        output::line(match (&collector.key, collector.verified) {
            (None, _) => "NOT VERIFIED: no signature was looked at; name the device's key with \
                          --key, or run `watchpost audit verify` on the copy"
                .to_owned(),
            (Some(_), None) => "NOT VERIFIED: no checkpoint of these records came".to_owned(),
            (Some(_), Some(size)) => {
                format!("the first {size} are under a checkpoint that the key has signed")
            }
        })?;
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
        let mut collector = Collector::open(copy.clone(), ORIGIN, None).unwrap();
        // The retained checkpoint comes before the entries that it covers.
        collector.checkpoint(note.as_bytes()).unwrap();
        assert_eq!(store::read_checkpoint(&copy).unwrap(), None);
        collector.entry(&entries[0]).unwrap();
        collector.entry(&entries[2]).unwrap();
        assert!(
            collector.finding().is_some_and(|f| f.contains("record 1, and others before record 3"))
        );
        collector.entry(b"junk").unwrap();
        for entry in &entries {
            collector.entry(entry).unwrap();
        }
        assert_eq!(store::read_checkpoint(&copy).unwrap(), Some(note));
        assert_eq!(collector.finding(), None, "what was missing came");
        let Collected { added, again, malformed, .. } = collector.collected;
        assert_eq!((added, again, malformed), (3, 1, 1));

        let (others, forged) = published(&dir.path().join("other"), &all[1..]);
        collector.checkpoint(forged.as_bytes()).unwrap();
        assert!(collector.finding().is_some_and(|f| f.contains("not one of these records")));
        // What was found stays found.
        collector.checkpoint(store::read_checkpoint(&copy).unwrap().unwrap().as_bytes()).unwrap();
        assert!(collector.finding().is_some_and(|f| f.contains("not one of these records")));
        collector.other = None;
        collector.entry(&others[0]).unwrap();
        assert!(collector.finding().is_some_and(|f| f.contains("another record 0")));
        drop(collector);
        let whole = std::fs::read(dir.path().join("device").join(LOG)).unwrap();
        assert_eq!(std::fs::read(copy.join(LOG)).unwrap(), whole, "byte for byte");
    }

    #[test]
    fn with_a_key_only_what_it_signed_counts_and_an_older_checkpoint_replaces_no_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let all = [AuditEvent::UseBegan, AuditEvent::Stopped];
        let (_, older) = published(&dir.path().join("before"), &all[..1]);
        let (entries, newer) = published(&dir.path().join("device"), &all);
        let copy = dir.path().join("copy");
        let open = |by: u8| {
            let key = SecretKey::from_seed(&[by; 32]).public();
            Collector::open(copy.clone(), ORIGIN, Some(key)).unwrap()
        };
        let mut collector = open(1);
        entries.iter().for_each(|entry| collector.entry(entry).unwrap());
        assert_eq!(collector.verified, None);
        collector.checkpoint(newer.as_bytes()).unwrap();
        collector.checkpoint(older.as_bytes()).unwrap();
        assert_eq!((collector.verified, collector.finding()), (Some(2), None));
        assert_eq!(store::read_checkpoint(&copy).unwrap(), Some(newer.clone()));
        drop(collector);
        let mut collector = open(1);
        assert_eq!(collector.verified, Some(2), "the kept one is verified again");
        let empty = String::from_utf8(entries[0].clone()).unwrap();
        let record = empty.split("\"record\":\"").nth(1).unwrap().split('"').next().unwrap();
        collector.entry(empty.replace(record, "").as_bytes()).unwrap();
        assert_eq!((collector.collected.malformed, collector.finding()), (1, None));
        let other = newer.replace("site/gate-1\n", "site/gate-1.2\n");
        collector.checkpoint(other.as_bytes()).unwrap();
        assert!(collector.finding().is_some_and(|f| f.contains("gate-1.2")));
        drop(collector);
        let collector = open(2);
        assert_eq!(collector.verified, None);
        assert!(collector.finding().is_some_and(|f| f.contains("did not sign")));
    }
}
