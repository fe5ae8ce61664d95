//! A device's audit log as far as the desk has it: what it supports, and who has signed it;
//! sans-IO.
//!
//! * Records are those of the newest log of the device. One that begins anew with another first
//!   record is a later log; two records in one place are named, and nothing is believed then.
//! * A report begins where nothing is missing any more: with the first record, or, where some never
//!   came, with the first start of the program after them. What lies before it is said to be
//!   unknown.
//! * A log counts as signed only where the device's pinned identity has signed a checkpoint of
//!   exactly these records.
//!
//! Not promised: that records which are newer than the checkpoint, or of a device whose identity is
//! not pinned, are the device's. The broker's access list alone vouches for those.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::generation::Generation;
use crate::audit::note::{NoteKey, SignatureKind, SignedNote};
use crate::audit::record::{AuditEvent, AuditRecord, MAX_RECORD};
use crate::audit::report::{DeploymentReport, ReportMaker};
use crate::audit::tree::{RightEdge, TreeHash};
use crate::delivery::event::{AuditEntry, CloudEvent};
use crate::watchlist::keys::PublicKey;

/// Records of one device's log, by their place in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeskLog {
    records: BTreeMap<u64, Vec<u8>>,
    /// Logs of the device before this one.
    pub earlier: u64,
    /// Entries that are none.
    pub unreadable: u64,
    /// A place in which two records came.
    two: Option<u64>,
}

/// How far a log is the one that its device has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogProof {
    /// The device has signed a checkpoint of these records.
    Signed {
        /// So many.
        signed: u64,
        /// So many came after them.
        newer: u64,
    },
    /// Nobody knows whose they are.
    NotSigned(NotProved),
}

/// Why nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotProved {
    /// The device's identity is not in the desk's configuration.
    NoIdentity,
    /// No checkpoint has come.
    NoCheckpoint,
    /// The newest checkpoint is not of a log of this device, or its identity has not signed it.
    OtherCheckpoint,
    /// The checkpoint covers records that the desk does not have.
    Incomplete {
        /// Records from the first one on, without a gap.
        have: u64,
        /// Records that it covers.
        of: u64,
    },
    /// The checkpoint is of other records.
    OtherRecords,
    /// Two records came for one place.
    TwoRecords(u64),
}

/// What a log says of a period, and where in the log that begins.
#[derive(Debug, Clone, PartialEq)]
pub struct LogReport {
    /// As `watchpost audit report` has it.
    pub report: DeploymentReport,
    /// Index of the first record that it is made of; 0 where it is the whole log.
    pub begins: u64,
}

impl DeskLog {
    /// The log that `entries` are of, in the order in which they came, as devices publish them.
    pub fn of<'e>(entries: impl IntoIterator<Item = &'e [u8]>) -> Self {
        let mut log = Self::default();
        entries.into_iter().for_each(|entry| log.add(entry));
        log
    }

    fn add(&mut self, entry: &[u8]) {
        let entry = serde_json::from_slice::<CloudEvent<AuditEntry>>(entry).ok();
        let read = entry.and_then(|e| Some((e.data.index, STANDARD.decode(&e.data.record).ok()?)));
        // No log takes an empty record, and none a longer one.
        let read = read.filter(|(_, record)| (1..=MAX_RECORD).contains(&record.len()));
        let Some((index, record)) = read else {
            self.unreadable += 1;
            return;
        };
        match self.records.get(&index) {
            Some(known) if *known == record => {}
            Some(_) if index == 0 => {
                *self = Self {
                    earlier: self.earlier + 1,
                    unreadable: self.unreadable,
                    ..Self::default()
                };
                self.records.insert(0, record);
            }
            Some(_) => {
                self.two.get_or_insert(index);
            }
            None => {
                self.records.insert(index, record);
            }
        }
    }

    /// How many records there are.
    pub fn len(&self) -> u64 {
        self.records.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The first `size` records; `None` where one of them is missing.
    pub fn first(&self, size: u64) -> Option<impl Iterator<Item = &Vec<u8>>> {
        (self.whole() >= size).then(|| self.records.range(..size).map(|(_, record)| record))
    }

    /// Records from the first one on, without a gap.
    fn whole(&self) -> u64 {
        (0..).zip(self.records.keys()).take_while(|(wanted, index)| wanted == *index).count() as u64
    }

    /// Whether the device has signed it: `note` is the newest checkpoint that came, `identity` the
    /// pinned one, `root` that of all topics.
    pub fn standing(
        &self,
        root: &str,
        device: &str,
        note: Option<&str>,
        identity: Option<&PublicKey>,
    ) -> LogProof {
        self.prove(root, device, note, identity).map_or_else(LogProof::NotSigned, |signed| {
            LogProof::Signed { signed, newer: self.len().saturating_sub(signed) }
        })
    }

    fn prove(
        &self,
        root: &str,
        device: &str,
        note: Option<&str>,
        identity: Option<&PublicKey>,
    ) -> Result<u64, NotProved> {
        if let Some(index) = self.two {
            return Err(NotProved::TwoRecords(index));
        }
        let identity = identity.ok_or(NotProved::NoIdentity)?;
        let note = note.ok_or(NotProved::NoCheckpoint)?;
        let signed = checkpoint(root, device, note, identity).ok_or(NotProved::OtherCheckpoint)?;
        let incomplete = NotProved::Incomplete { have: self.whole(), of: signed.size };
        let mut edge = RightEdge::default();
        for record in self.first(signed.size).ok_or(incomplete)? {
            edge.push(TreeHash::leaf(record), |_| {}).map_err(|_| NotProved::OtherRecords)?;
        }
        if edge.root() == signed.root { Ok(signed.size) } else { Err(NotProved::OtherRecords) }
    }

    /// What it says of the time from `from_ms` up to and without `to_ms`, in milliseconds since
    /// 1970; from its beginning, and to its end, where absent. `None` where it supports nothing:
    /// there is no record, or no start of the program after those that are missing.
    pub fn report(
        &self,
        origin: &str,
        from_ms: Option<u64>,
        to_ms: Option<u64>,
    ) -> Option<LogReport> {
        let begins = self.begins()?;
        let records =
            || self.records.range(begins..).map(|(_, bytes)| AuditRecord::from_bytes(bytes).ok());
        let times = || records().flatten().map(|record| record.at_ms);
        let first = times().next()?;
        let from = from_ms.unwrap_or(first);
        let to = to_ms.unwrap_or(times().max()?.saturating_add(1));
        let mut maker = ReportMaker::new(origin, from, to);
        records().for_each(|record| maker.record(record.as_ref()));
        Some(LogReport { report: maker.finish(), begins })
    }

    /// The first record from which on nothing is missing and each count begins at zero.
    fn begins(&self) -> Option<u64> {
        let mut indexes = self.records.keys().rev();
        let mut from = *indexes.next()?;
        for index in indexes {
            if index + 1 != from {
                break;
            }
            from = *index;
        }
        if from == 0 {
            return Some(0);
        }
        let starts = |bytes: &[u8]| {
            AuditRecord::from_bytes(bytes)
                .is_ok_and(|record| matches!(record.event, AuditEvent::Started { .. }))
        };
        self.records.range(from..).find(|(_, bytes)| starts(bytes)).map(|(index, _)| *index)
    }
}

/// The checkpoint in `note`, where `identity` has signed it for a log of `device`.
fn checkpoint(root: &str, device: &str, note: &str, identity: &PublicKey) -> Option<Checkpoint> {
    let origin = Checkpoint::parse(SignedNote::parse(note).ok()?.text).ok()?.origin;
    Generation::named(origin.strip_prefix(root)?.strip_prefix('/')?, device)?;
    let key = NoteKey::new(&origin, SignatureKind::Note, *identity).ok()?;
    Checkpoint::open(note, &key).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::*;
    use crate::audit::journal::{Journal, LoggedRecord};
    use crate::audit::store::AuditStore;
    use crate::clock::Now;
    use crate::delivery::DeviceId;
    use crate::delivery::event::EventId;
    use crate::watchlist::keys::SecretKey;

    const ORIGIN: &str = "site/gate-1";

    fn identity(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    /// A run of the program: started, in use, faces counted an hour later.
    fn run(faces: u64) -> [AuditEvent; 3] {
        let counts = BTreeMap::from([("pipeline.vision.tracks".to_owned(), faces)]);
        let started = AuditEvent::Started { program: "test".to_owned() };
        [started, AuditEvent::UseBegan, AuditEvent::Heartbeat { counts }]
    }

    /// Entries as the device publishes them, one record an hour, and its checkpoint.
    fn published(origin: &str, events: &[AuditEvent]) -> (Vec<Vec<u8>>, String) {
        let folder = tempfile::tempdir().unwrap();
        let store = AuditStore::open(folder.path(), origin).unwrap();
        let mut journal = Journal::new(store, origin, identity(1));
        let device = DeviceId::new("gate-1").unwrap();
        let mut entries = Vec::new();
        for (hour, event) in (0..).zip(events) {
            let monotonic = Duration::from_secs(3600 * hour);
            let now = Now { wall: OffsetDateTime::UNIX_EPOCH + monotonic, monotonic };
            let out = &mut |record: LoggedRecord| {
                let record = STANDARD.encode(&record.bytes);
                let entry = AuditEntry { index: hour, record };
                let event = CloudEvent::new(EventId::new(now), &device, now, entry);
                entries.push(event.to_json().unwrap());
            };
            journal.record(event.clone(), now, out).unwrap();
        }
        (entries, journal.checkpoint().unwrap())
    }

    fn log(entries: &[Vec<u8>]) -> DeskLog {
        DeskLog::of(entries.iter().map(Vec::as_slice))
    }

    fn faces(log: &DeskLog) -> Option<(u64, u64)> {
        let told = log.report(ORIGIN, None, None)?;
        Some((told.begins, told.report.counts.map_or(0, |c| c.faces)))
    }

    fn proof(log: &DeskLog, note: Option<&str>, by: Option<u8>) -> LogProof {
        log.standing("site", "gate-1", note, by.map(|seed| identity(seed).public()).as_ref())
    }

    #[test]
    fn a_log_is_signed_where_the_pinned_identity_has_signed_exactly_these_records() {
        let (entries, note) = published(ORIGIN, &run(5));
        let whole = log(&entries);
        let of = |log: &DeskLog, note: Option<&str>, by| proof(log, note, by);
        assert_eq!(of(&whole, Some(&note), Some(1)), LogProof::Signed { signed: 3, newer: 0 });
        let no = LogProof::NotSigned;
        assert_eq!(of(&whole, Some(&note), None), no(NotProved::NoIdentity));
        assert_eq!(of(&whole, None, Some(1)), no(NotProved::NoCheckpoint));
        assert_eq!(of(&whole, Some(&note), Some(2)), no(NotProved::OtherCheckpoint));
        assert_eq!(of(&whole, Some("junk"), Some(1)), no(NotProved::OtherCheckpoint));
        let part = log(&[entries[0].clone(), entries[2].clone()]);
        let incomplete = no(NotProved::Incomplete { have: 1, of: 3 });
        assert_eq!(of(&part, Some(&note), Some(1)), incomplete);
        let (others, _) = published(ORIGIN, &run(6));
        assert_eq!(of(&log(&others), Some(&note), Some(1)), no(NotProved::OtherRecords));
        let (_, elsewhere) = published("site/gate-2", &run(5));
        assert_eq!(of(&whole, Some(&elsewhere), Some(1)), no(NotProved::OtherCheckpoint));
        // What came after the checkpoint is told apart.
        let (longer, _) = published(ORIGIN, &[run(5), run(7)].concat());
        let newer = LogProof::Signed { signed: 3, newer: 3 };
        assert_eq!(of(&log(&longer), Some(&note), Some(1)), newer);
    }

    #[test]
    fn a_report_is_that_of_the_audit_log_and_begins_with_a_start_after_what_is_missing() {
        let (entries, _) = published(ORIGIN, &[run(5), run(7)].concat());
        assert_eq!(faces(&log(&entries)), Some((0, 12)));
        // The second run's counts begin at zero; those of the first would not be whole.
        assert_eq!(faces(&log(&entries[1..])), Some((3, 7)));
        let gap = [&entries[..2], &entries[3..]].concat();
        assert_eq!(faces(&log(&gap)), Some((3, 7)));
        assert_eq!(faces(&log(&entries[4..])), None, "no start is in it");
        assert_eq!(faces(&DeskLog::default()), None);
    }

    #[test]
    fn a_period_without_records_is_told_as_what_the_log_knows_of_it() {
        let (entries, _) = published(ORIGIN, &run(5));
        let log = log(&entries);
        let told = |from, to| log.report(ORIGIN, Some(from), Some(to)).unwrap().report;
        assert_eq!(
            told(0, 7_200_001).ms_of(|s| s == crate::audit::report::UseStanding::InUse),
            3_600_000
        );
        let later = told(1 << 40, (1 << 40) + 5);
        assert_eq!((later.records, later.counts, later.spans.len()), (0, None, 1));
        assert_eq!(told(9, 3).to_ms, 9, "an end before the beginning is no period");
    }

    #[test]
    fn a_log_that_begins_anew_replaces_the_one_before_and_two_records_in_one_place_are_named() {
        let (first, _) = published(ORIGIN, &run(5));
        let (second, note) =
            published("site/gate-1.2", &[&run(7)[..], &[AuditEvent::Stopped]].concat());
        // A repetition is nothing.
        let (other, _) = published(ORIGIN, &[AuditEvent::UseBegan, AuditEvent::Stopped]);
        let twice = [&first[..], &first].concat();
        assert_eq!((log(&twice).earlier, faces(&log(&twice))), (0, Some((0, 5))));
        let anew = log(&[&first[..], &other].concat());
        assert_eq!((anew.earlier, anew.len()), (1, 2));
        let renamed = log(&second);
        assert_eq!(proof(&renamed, Some(&note), Some(1)), LogProof::Signed { signed: 4, newer: 0 });
        let two = log(&[&first[..], &other[1..]].concat());
        assert_eq!(
            proof(&two, Some(&note), Some(1)),
            LogProof::NotSigned(NotProved::TwoRecords(1))
        );
    }

    #[test]
    fn what_is_no_entry_is_counted_and_changes_nothing() {
        let (entries, note) = published(ORIGIN, &run(5));
        let empty = String::from_utf8(entries[0].clone()).unwrap();
        let record = empty.split("\"record\":\"").nth(1).unwrap().split('"').next().unwrap();
        let mut log = log(&entries);
        log.add(b"junk");
        log.add(empty.replace(record, "").as_bytes());
        assert_eq!((log.unreadable, log.len()), (2, 3));
        assert_eq!(proof(&log, Some(&note), Some(1)), LogProof::Signed { signed: 3, newer: 0 });
    }
}
