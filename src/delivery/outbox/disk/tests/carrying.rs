//! Candidates that carry their record of the audit log, and the log itself: a kill and a power cut
//! at any write of both, against what either had on its disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::super::*;
use super::platter::{Fault, MemDisk};
use super::{LIMITS, positions, record};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::store::{
    AuditStore, CarriedRecords, Durability, LOG, LogTail, carried, read_checkpoint, scan,
};
use crate::watchlist::keys::SecretKey;

const ORIGIN: &str = "watchpost/gate-1";

/// A log that says what it is told to.
#[derive(Default)]
struct Told {
    settled: Mutex<bool>,
    fails: Mutex<bool>,
    asked: Mutex<u64>,
}

impl CarriedLog for Told {
    fn is_settled(&self) -> bool {
        *self.settled.lock().unwrap()
    }

    fn settle(&self) -> io::Result<()> {
        *self.asked.lock().unwrap() += 1;
        if *self.fails.lock().unwrap() {
            return Err(io::Error::other("the log's disk"));
        }
        *self.settled.lock().unwrap() = true;
        Ok(())
    }

    fn covered(&self, _records: u64) {}
}

fn told(disk: &MemDisk) -> (DiskStore<MemDisk>, Arc<Told>) {
    let log = Arc::new(Told::default());
    let mut store = DiskStore::new(disk.clone(), LIMITS);
    store.keep_for(log.clone());
    store.recover().expect("reading works");
    (store, log)
}

#[test]
fn what_is_carried_costs_no_sync_and_stays_until_the_log_is_settled() {
    let disk = MemDisk::default();
    let (mut store, log) = told(&disk);
    assert!(store.carries());
    let before = disk.lock().operations;
    let (entry, candidate) = (record(0, 100), record(1, 100));
    store.append_carrying(0, &[&entry, &candidate], b"of the log").expect("works");
    assert_eq!(disk.lock().operations - before, 2, "one write and one sync");
    assert_eq!(store.read(1).expect("works"), Some(candidate));
    (0..2).for_each(|p| assert!(store.remove(p).expect("works")));
    assert!(store.waits_for_log());
    // Neither a rewrite nor a start lets go of it.
    Store::let_go_of_carried(&mut store, false);
    store.rewrite(0).expect("works");
    drop(store);
    let (mut store, unusable) = told(&disk);
    *unusable.fails.lock().unwrap() = true;
    store.append(2, &record(2, 100)).expect("works");
    store.remove(2).expect("works");
    Store::let_go_of_carried(&mut store, true);
    assert_eq!(disk.carried(), [b"of the log".to_vec()]);
    assert_eq!(store.health(), StoreHealth::default(), "the outbox itself works");
    *unusable.fails.lock().unwrap() = false;
    Store::let_go_of_carried(&mut store, true);
    assert_eq!(disk.carried(), Vec::<Vec<u8>>::new());
    assert!(!disk.holds(1) && !store.waits_for_log());
    assert_eq!(*log.asked.lock().unwrap(), 0, "it was not waited for");
}

#[test]
fn where_room_is_needed_the_log_is_settled_for_it() {
    let disk = MemDisk::default();
    let limits = Limits { events: 20, bytes: MAX_EVENT };
    let log = Arc::new(Told::default());
    let mut store = DiskStore::new(disk.clone(), limits);
    store.keep_for(log.clone());
    store.recover().expect("works");
    for p in 0..600 {
        store.append_carrying(p, &[&record(p, 20_000)], &[7; 300]).expect("works");
        store.remove(p).expect("works");
        *log.settled.lock().unwrap() = false;
        assert!(store.disk_bytes() <= store.limit, "{} bytes", store.disk_bytes());
    }
    assert!(*log.asked.lock().unwrap() > 0);
}

#[test]
fn nothing_that_carries_is_kept_in_memory_or_without_a_log() {
    let disk = MemDisk::default();
    let (mut store, _) = told(&disk);
    disk.lock().refuses = Some(ErrorKind::StorageFull);
    assert!(store.append_carrying(0, &[&record(0, 100)], b"of the log").is_err());
    assert_eq!((store.health().in_memory, positions(&mut store)), (0, vec![]));
    let mut store = DiskStore::new(MemDisk::default(), LIMITS);
    store.recover().expect("works");
    assert!(!store.carries());
    assert!(store.append_carrying(0, &[&record(0, 100)], b"of the log").is_err());
    let mut memory = MemoryStore::default();
    assert!(!memory.carries());
    assert!(memory.append_carrying(0, &[&record(0, 100)], b"of the log").is_err());
}

/// A real log, and its bytes as its last sync left them.
struct SyncedLog {
    tail: Arc<LogTail>,
    path: PathBuf,
    synced: Mutex<Vec<u8>>,
}

impl SyncedLog {
    fn of(store: &AuditStore, folder: &Path) -> Arc<Self> {
        let path = folder.join(LOG);
        let synced = Mutex::new(fs::read(&path).unwrap());
        Arc::new(Self { tail: store.tail().clone(), path, synced })
    }

    fn note_sync(&self) {
        *self.synced.lock().unwrap() = fs::read(&self.path).unwrap();
    }
}

impl CarriedLog for SyncedLog {
    fn is_settled(&self) -> bool {
        self.tail.is_settled()
    }

    fn settle(&self) -> io::Result<()> {
        self.tail.settle()?;
        self.note_sync();
        Ok(())
    }

    fn covered(&self, records: u64) {
        self.tail.cover(records);
    }
}

struct Both {
    disk: MemDisk,
    folder: tempfile::TempDir,
    key: SecretKey,
    next: QueuePosition,
    /// Records that may be heard of by others: they must be in the log for ever.
    public: Vec<Vec<u8>>,
}

struct Running {
    log: AuditStore,
    store: DiskStore<MemDisk>,
    synced: Arc<SyncedLog>,
}

impl Both {
    fn new() -> Self {
        Self {
            disk: MemDisk::default(),
            folder: tempfile::tempdir().unwrap(),
            key: SecretKey::from_seed(&[1; 32]),
            next: 0,
            public: Vec::new(),
        }
    }

    /// Starts the device; the log first.
    fn start(&mut self) -> Running {
        let all = self.disk.carried();
        let found = CarriedRecords::of(ORIGIN, all.iter().map(Vec::as_slice)).unwrap();
        let log = AuditStore::open_with(self.folder.path(), ORIGIN, &found).unwrap();
        let synced = SyncedLog::of(&log, self.folder.path());
        let mut store = DiskStore::new(self.disk.clone(), LIMITS);
        store.keep_for(synced.clone());
        self.next = self.next.max(store.recover().expect("reading works").next);
        // Each candidate that will be published has its record, and so has each that may have been.
        let records = self.records();
        for position in positions(&mut store) {
            let event = store.read(position).expect("works").expect("it is there");
            let is_there = records.iter().any(|record| *record == *event.payload);
            assert!(is_there, "no record of {position}");
        }
        assert!(self.public.iter().all(|public| records.contains(public)), "a record is gone");
        Running { log, store, synced }
    }

    fn records(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let file = fs::File::open(self.folder.path().join(LOG)).unwrap();
        scan(file, |_, _, record| records.push(record.to_vec())).unwrap();
        records
    }

    /// A candidate, whose payload is its record: as the daemon does it.
    fn candidate(&mut self, running: &mut Running, bytes: usize) {
        let Running { log, store, synced } = running;
        let position = self.next;
        let mut candidate = record(position, bytes);
        candidate.payload[..8].copy_from_slice(&position.to_le_bytes());
        let payload = candidate.payload.to_vec();
        let syncs = log.writes().syncs;
        log.append_as(&payload, Durability::Covered).expect("the log's disk works");
        if log.writes().syncs > syncs {
            // What came before it was settled first.
            let mut all = fs::read(&synced.path).unwrap();
            all.truncate(all.len() - payload.len() - 12);
            *synced.synced.lock().unwrap() = all;
        }
        let now = Checkpoint::new(ORIGIN, log.size(), log.root());
        let note = now.sign(&self.key).unwrap();
        log.tail().remember(note.clone());
        let carried = carried(log.size() - 1, &note, &payload);
        self.next += 1;
        if store.append_carrying(position, &[&candidate], &carried).is_ok() {
            synced.covered(log.size());
        } else if self.disk.lock().dead {
            return;
        } else if synced.settle().is_ok() {
            self.next += 1;
            let _ = store.append(self.next - 1, &candidate);
        } else {
            return;
        }
        // Nobody hears of anything after the power went.
        if !self.disk.lock().dead {
            self.public.push(payload);
        }
    }

    fn end(&self, running: Running, power: bool, random: &mut impl FnMut() -> u8) {
        let synced = running.synced.synced.lock().unwrap().clone();
        drop(running);
        self.disk.restart(power, random);
        if !power {
            return;
        }
        let path = self.folder.path().join(LOG);
        let mut left = fs::read(&path).unwrap();
        let after = left.len() - synced.len();
        left.truncate(synced.len() + after * usize::from(random()) / 255);
        for block in left[synced.len()..].chunks_mut(16) {
            match random() % 4 {
                0 => block.fill(0),
                1 => block.fill(0x5a),
                _ => {}
            }
        }
        fs::write(&path, left).unwrap();
    }
}

#[test]
fn a_write_of_which_any_blocks_are_missing_leaves_no_candidate_without_its_record() {
    let mut both = Both::new();
    let mut running = both.start();
    both.candidate(&mut running, 100);
    let file = |both: &Both| {
        let disk = both.disk.lock();
        let (number, file) = disk.files.iter().next_back().expect("one");
        (*number, file.bytes.clone())
    };
    let begin = file(&both).1.len();
    let next = both.disk.lock().operations + 2;
    both.disk.lock().plan = Some((next, Fault::Crash, 255));
    both.candidate(&mut running, 100);
    assert_eq!(both.public.len(), 1, "the power went before the sync");
    let (number, whole) = file(&both);
    let log = running.synced.synced.lock().unwrap().clone();
    drop(running);
    let mut found = std::collections::BTreeSet::new();
    for from in (begin..whole.len()).step_by(24) {
        for to in (from..=whole.len()).step_by(24) {
            let mut left = whole.clone();
            left[from..to].fill(0);
            both.disk = MemDisk::default();
            both.disk.put(number, left);
            both.folder = tempfile::tempdir().unwrap();
            fs::write(both.folder.path().join(LOG), &log).unwrap();
            let mut running = both.start();
            found.insert((running.log.size(), positions(&mut running.store).len()));
        }
    }
    // None of it, the record alone, or both.
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (2, 2)]);
}

#[derive(Debug, Clone)]
enum BothStep {
    Candidate(usize),
    /// A record without a candidate.
    Heartbeat,
    /// The oldest leaves.
    Retire,
    /// The outbox lets go of what it can; with the log settled for it.
    LetGo(bool),
    /// Something fails so many operations later: the process dies, or the disk.
    Fault(u64, bool, u8),
    End(bool),
}

fn both_step() -> impl Strategy<Value = BothStep> {
    prop_oneof![
        8 => prop_oneof![3 => 8usize..200, 1 => Just(30_000usize)].prop_map(BothStep::Candidate),
        1 => Just(BothStep::Heartbeat),
        6 => Just(BothStep::Retire),
        2 => any::<bool>().prop_map(BothStep::LetGo),
        3 => (1u64..5, any::<bool>(), any::<u8>())
            .prop_map(|(after, dies, share)| BothStep::Fault(after, dies, share)),
        2 => any::<bool>().prop_map(BothStep::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_candidate_is_there_without_its_record_whatever_of_both_came_to_the_disk(
        steps in prop::collection::vec(both_step(), 1..40),
        seed: u64,
    ) {
        let mut random = super::generator(seed);
        let mut both = Both::new();
        let mut running = both.start();
        for step in steps.into_iter().chain([BothStep::End(true), BothStep::End(true)]) {
            match step {
                BothStep::Candidate(bytes) => both.candidate(&mut running, bytes),
                BothStep::Heartbeat => {
                    let record = [b"heartbeat".as_slice(), &both.next.to_le_bytes()].concat();
                    running.log.append(&record).unwrap();
                    running.synced.note_sync();
                    both.public.push(record);
                }
                BothStep::Retire => {
                    if let Some(oldest) = running.store.next(0) {
                        let _ = running.store.remove(oldest.position);
                    }
                }
                BothStep::LetGo(settle) => {
                    Store::let_go_of_carried(&mut running.store, settle);
                }
                BothStep::Fault(after, dies, share) => {
                    let fault = if dies { Fault::Crash } else { Fault::Error(ErrorKind::Other) };
                    let mut disk = both.disk.lock();
                    disk.plan = Some((disk.operations + after, fault, share));
                }
                BothStep::End(power) => {
                    both.end(running, power, &mut random);
                    running = both.start();
                }
            }
        }
        let size = running.log.size();
        running.synced.settle().unwrap();
        if let Some(note) = read_checkpoint(both.folder.path()).unwrap() {
            let lines: Vec<&str> = note.lines().collect();
            prop_assert!(lines[1].parse::<u64>().unwrap() <= size);
        }
    }
}
