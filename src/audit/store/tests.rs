use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::audit::tree::{self, consistency, inclusion, verify_consistency, verify_inclusion};

const ORIGIN: &str = "watchpost/gate-1";

/// Opens it; whoever only looks has said the same before, but for what the disk refuses.
fn open(folder: &Path) -> Result<AuditStore, AuditStoreError> {
    let looked =
        examine(folder, ORIGIN, &CarriedRecords::default()).map_err(|error| error.to_string());
    let opened = AuditStore::open(folder, ORIGIN);
    if !matches!(opened, Err(AuditStoreError::Busy(_))) {
        let found = opened.as_ref().map(AuditStore::size).map_err(ToString::to_string);
        assert_eq!(looked, found);
    }
    opened
}

fn records(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    scan(File::open(folder.join(LOG)).unwrap(), |_, _, record| found.push(record.to_vec()))
        .unwrap();
    found
}

#[test]
fn records_nodes_and_root_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    for n in 0..300u64 {
        assert_eq!(store.append(&n.to_be_bytes()).unwrap(), n);
    }
    let root = store.root();
    let proof = inclusion(&store, 77, 300).unwrap();
    assert!(matches!(open(dir.path()), Err(AuditStoreError::Busy(_))));
    drop(store);
    let nodes = fs::read(dir.path().join(NODES)).unwrap();
    assert_eq!(nodes.len() as u64, 32 * tree::finished(300));
    // Nodes that are gone, altered or too many are made again.
    let mut altered = nodes.clone();
    altered[5000] ^= 1;
    for other in [&nodes[..], &nodes[..4000], &altered, &[], &[&nodes[..], &[7; 99]].concat()] {
        fs::write(dir.path().join(NODES), other).unwrap();
        let store = open(dir.path()).unwrap();
        assert_eq!((store.size(), store.root(), store.torn()), (300, root, 0));
        assert_eq!(inclusion(&store, 77, 300).unwrap(), proof);
        let leaf = TreeHash::leaf(&77u64.to_be_bytes());
        assert_eq!(verify_inclusion(leaf, 77, 300, root, &proof), Ok(()));
        let grown = consistency(&store, 123, 300).unwrap();
        let before = root_of(&store, 123).unwrap();
        assert_eq!(verify_consistency(123, before, 300, root, &grown), Ok(()));
        drop(store);
        assert_eq!(fs::read(dir.path().join(NODES)).unwrap(), nodes);
    }
    assert_eq!(records(dir.path()).len(), 300);
}

#[test]
fn a_power_cut_at_any_byte_leaves_a_prefix_and_nothing_invented() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    let mut ends = vec![store.bytes()];
    let all: Vec<Vec<u8>> = (1..=8u8).map(|n| vec![n; usize::from(n) * 7 % 41 + 1]).collect();
    for record in &all {
        store.append(record).unwrap();
        ends.push(store.bytes());
    }
    drop(store);
    let whole = fs::read(dir.path().join(LOG)).unwrap();
    let begin = ends[0] as usize;
    for cut in begin..=whole.len() {
        let kept = ends.iter().filter(|end| **end <= cut as u64).count() - 1;
        // The bytes of the cut record may be there as zeros, or as what the disk held before.
        for rest in [&[][..], &[0; 30], &[0x5a; 30]] {
            let unfinished = ends.contains(&(cut as u64)) && rest.is_empty();
            fs::write(dir.path().join(LOG), [&whole[..cut], rest].concat()).unwrap();
            let mut store = open(dir.path()).unwrap();
            assert_eq!(store.size() as usize, kept, "cut at {cut}");
            assert_eq!(store.torn() == 0, unfinished, "cut at {cut}");
            assert_eq!(records(dir.path()), all[..kept]);
            store.append(b"after").unwrap();
            drop(store);
            assert_eq!(records(dir.path())[kept..], [b"after".to_vec()]);
        }
    }
    // A header that was cut is no log: it is put in place as a whole.
    for cut in 0..begin {
        fs::write(dir.path().join(LOG), &whole[..cut]).unwrap();
        assert!(matches!(open(dir.path()), Err(AuditStoreError::NotALog)), "{cut}");
    }
}

#[test]
fn damage_that_no_power_cut_makes_is_never_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    let begin = store.bytes() as usize;
    for n in 0..9u8 {
        store.append(&[n; 40]).unwrap();
    }
    drop(store);
    let whole = fs::read(dir.path().join(LOG)).unwrap();
    let last = whole.len() - 52;
    for at in begin..last {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(dir.path().join(LOG), &damaged).unwrap();
        let records = ((at - begin) / 52) as u64;
        let refused = open(dir.path()).unwrap_err();
        assert!(
            matches!(refused, AuditStoreError::Damaged { records: r } if r == records),
            "{at}: {refused}"
        );
    }
    // More than one record could leave.
    fs::write(dir.path().join(LOG), [&whole[..], &[0; 40_000]].concat()).unwrap();
    assert!(matches!(open(dir.path()), Err(AuditStoreError::Damaged { records: 9 })));
    fs::write(dir.path().join(LOG), &whole).unwrap();
    assert!(open(dir.path()).is_ok());
    let other = AuditStore::open(dir.path(), "watchpost/gate-2").unwrap_err();
    assert!(matches!(other, AuditStoreError::OtherOrigin { .. }), "{other}");
}

#[test]
fn a_log_that_was_rolled_back_or_rewritten_finds_itself_out() {
    let dir = tempfile::tempdir().unwrap();
    let key = crate::watchlist::keys::SecretKey::from_seed(&[1; 32]);
    let mut store = open(dir.path()).unwrap();
    store.append(b"one").unwrap();
    let early = fs::read(dir.path().join(LOG)).unwrap();
    store.append(b"two").unwrap();
    let signed = Checkpoint::new(ORIGIN, store.size(), store.root()).sign(&key).unwrap();
    store.keep_checkpoint(&signed).unwrap();
    store.append(b"three").unwrap();
    drop(store);
    assert!(open(dir.path()).is_ok());
    fs::write(dir.path().join(LOG), early).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, AuditStoreError::RolledBack { found: 1, signed: 2 }), "{refused}");
    // The same number of other records.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut other = open(elsewhere.path()).unwrap();
    for record in [b"one", b"2nd", b"3rd"] {
        other.append(record).unwrap();
    }
    fs::copy(elsewhere.path().join(LOG), dir.path().join(LOG)).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, AuditStoreError::Rewritten { signed: 2 }), "{refused}");
    // A log that is gone altogether.
    fs::remove_file(dir.path().join(LOG)).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, AuditStoreError::RolledBack { found: 0, signed: 2 }), "{refused}");
    fs::write(dir.path().join(CHECKPOINT), "x").unwrap();
    assert!(matches!(open(dir.path()), Err(AuditStoreError::Checkpoint(_))));
}

/// What a failing disk does with the next operations.
#[derive(Default)]
struct Failures {
    /// Bytes that still fit.
    room: Option<usize>,
    sync: bool,
    cut: bool,
}

/// A file on a disk that fills up and fails.
struct Failing {
    file: File,
    plan: Arc<Mutex<Failures>>,
}

impl LogFile for Failing {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let room = self.plan.lock().unwrap().room.unwrap_or(bytes.len());
        self.file.write_all_at(&bytes[..room.min(bytes.len())], offset)?;
        if room < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.plan.lock().unwrap().sync { Err(ErrorKind::Other.into()) } else { Ok(()) }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.plan.lock().unwrap().cut {
            Err(ErrorKind::Other.into())
        } else {
            self.file.set_len(length)
        }
    }
}

fn failing(folder: &Path) -> (AuditStore<Failing>, Arc<Mutex<Failures>>) {
    let AuditStore { folder, tail, edge, nodes, writes, torn, mended, _lock } =
        open(folder).unwrap();
    let plan = Arc::<Mutex<Failures>>::default();
    let length = tail.length();
    let file = Arc::into_inner(tail).expect("nobody else has it").into_file();
    let file = Failing { file, plan: plan.clone() };
    let tail = Arc::new(LogTail::new(&folder, file, edge.size(), length));
    (AuditStore { folder, tail, edge, nodes, writes, torn, mended, _lock }, plan)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_disk_that_fails_loses_no_stored_record_and_leaves_none_that_was_refused(
        steps in prop::collection::vec(
            (1usize..60, prop::option::of(0usize..80), any::<bool>(), any::<bool>()), 1..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, plan) = failing(dir.path());
        let mut stored = Vec::new();
        for (i, (length, room, sync, cut)) in steps.into_iter().enumerate() {
            *plan.lock().unwrap() = Failures { room, sync, cut };
            let record = vec![i as u8 + 1; length];
            if let Ok(index) = store.append(&record) {
                prop_assert_eq!(index as usize, stored.len());
                stored.push(record);
            }
        }
        let root = store.root();
        *plan.lock().unwrap() = Failures::default();
        store.append(b"last").unwrap();
        stored.push(b"last".to_vec());
        prop_assert_ne!(store.root(), root);
        let root = store.root();
        drop(store);
        prop_assert_eq!(records(dir.path()), stored);
        prop_assert_eq!(open(dir.path()).unwrap().root(), root);
    }
}

#[test]
fn a_full_or_read_only_disk_is_an_error_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, plan) = failing(dir.path());
    plan.lock().unwrap().room = Some(3);
    let error = store.append(b"record").unwrap_err();
    assert!(error.to_string().starts_with("cannot write the audit log: "), "{error}");
    assert!(matches!(store.append(b""), Err(AuditStoreError::Size(0))));
    assert!(matches!(store.append(&[0; MAX_RECORD + 1]), Err(AuditStoreError::Size(_))));
    let nowhere = AuditStore::open(Path::new("/proc/audit"), ORIGIN).unwrap_err();
    assert!(matches!(nowhere, AuditStoreError::Io { what: "make", .. }), "{nowhere}");
}

#[test]
fn what_is_written_is_counted_by_bytes_and_by_how_often_the_disk_was_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    let before = store.bytes();
    for n in 0..3u8 {
        store.append(&[n; 40]).unwrap();
    }
    store.keep_checkpoint("a checkpoint").unwrap();
    store.keep_cosigned("the same and a line").unwrap();
    // One finished node a record, and one above the first two.
    let bytes = store.bytes() - before + 32 * tree::finished(3) + 12 + 19;
    assert_eq!(store.writes(), LogWrites { records: 3, bytes, syncs: 5, covered: 0 });
    assert_eq!(read_cosigned(dir.path()).unwrap().as_deref(), Some("the same and a line"));
}

#[test]
fn a_rewritten_log_under_a_new_signature_is_found_out_by_what_witnesses_have_cosigned() {
    let dir = tempfile::tempdir().unwrap();
    let key = crate::watchlist::keys::SecretKey::from_seed(&[1; 32]);
    let signed = |store: &AuditStore| {
        Checkpoint::new(ORIGIN, store.size(), store.root()).sign(&key).unwrap()
    };
    let mut store = open(dir.path()).unwrap();
    for record in [b"one", b"two"] {
        store.append(record).unwrap();
    }
    let cosigned = signed(&store);
    store.keep_cosigned(&cosigned).unwrap();
    store.append(b"three").unwrap();
    store.keep_checkpoint(&signed(&store)).unwrap();
    drop(store);
    assert!(open(dir.path()).is_ok());
    for (records, shorter) in [(&[b"2nd", b"3rd", b"4th"][..], false), (&[b"one"], true)] {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut other = open(elsewhere.path()).unwrap();
        for record in records {
            other.append(*record).unwrap();
        }
        other.keep_checkpoint(&signed(&other)).unwrap();
        drop(other);
        for name in [LOG, CHECKPOINT] {
            fs::copy(elsewhere.path().join(name), dir.path().join(name)).unwrap();
        }
        let refused = open(dir.path()).unwrap_err();
        assert!(
            match refused {
                AuditStoreError::RolledBack { found: 1, signed: 2 } => shorter,
                AuditStoreError::Rewritten { signed: 2 } => !shorter,
                _ => false,
            },
            "{refused}"
        );
    }
    fs::write(dir.path().join(COSIGNED), "x").unwrap();
    assert!(matches!(open(dir.path()), Err(AuditStoreError::Checkpoint(_))));
}

/// A log whose outbox stores what it carries, and what of both is on the disks.
struct Device {
    folder: tempfile::TempDir,
    store: AuditStore,
    key: crate::watchlist::keys::SecretKey,
    /// All records that were appended.
    records: Vec<Vec<u8>>,
    /// What the outbox has on its disk.
    outbox: Vec<Vec<u8>>,
    /// The log as its last sync left it, in bytes and records.
    synced: (Vec<u8>, usize),
    /// Records that the newest checkpoint on a disk covers.
    signed: u64,
}

impl Device {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).unwrap();
        let key = crate::watchlist::keys::SecretKey::from_seed(&[1; 32]);
        let synced = (fs::read(folder.path().join(LOG)).unwrap(), 0);
        Self { folder, store, key, records: Vec::new(), outbox: Vec::new(), synced, signed: 0 }
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.folder.path().join(LOG)).unwrap()
    }

    fn append(&mut self, length: usize, durability: Durability) {
        let record = vec![self.records.len() as u8 + 1; length];
        self.store.append_as(&record, durability).unwrap();
        self.records.push(record);
        if durability == Durability::Synced {
            self.synced = (self.log(), self.records.len());
        }
    }

    /// Appends a record that the outbox's write will cover: what that has to store.
    fn carried(&mut self, length: usize) -> Vec<u8> {
        self.append(length, Durability::Covered);
        let size = self.store.size();
        let now = Checkpoint::new(ORIGIN, size, self.store.root());
        let note = now.sign(&self.key).unwrap();
        self.store.tail().remember(note.clone());
        carried(size - 1, &note, self.records.last().unwrap())
    }

    /// The outbox has stored it.
    fn cover(&mut self, bytes: Vec<u8>) {
        self.outbox.push(bytes);
        self.signed = self.store.size();
        self.store.tail().cover(self.signed);
    }

    fn settle(&mut self) {
        self.store.settle().unwrap();
        self.synced = (self.log(), self.records.len());
        self.outbox.clear();
    }

    /// Opens the log again over `log`.
    fn reopen(self, log: &[u8]) -> (Result<AuditStore, AuditStoreError>, tempfile::TempDir) {
        let Self { folder, store, outbox, .. } = self;
        drop(store);
        fs::write(folder.path().join(LOG), log).unwrap();
        let found = CarriedRecords::of(ORIGIN, outbox.iter().map(Vec::as_slice)).unwrap();
        (AuditStore::open_with(folder.path(), ORIGIN, &found), folder)
    }
}

/// What a power cut leaves of `written`, of which `synced` is certain: blocks of what came after
/// are there, are empty, or hold anything, and the size is any.
fn cut(synced: &[u8], written: &[u8], size: usize, blocks: &[u8]) -> Vec<u8> {
    let mut left = written[..synced.len() + size % (written.len() - synced.len() + 1)].to_vec();
    for (at, byte) in left.iter_mut().enumerate().skip(synced.len()) {
        match blocks[at / 16 % blocks.len()] % 4 {
            0 => *byte = 0,
            1 => *byte = 0x5a,
            _ => {}
        }
    }
    left
}

#[derive(Debug, Clone, Copy)]
enum LogStep {
    /// Appended, and covered by the outbox.
    Covered(usize),
    Synced(usize),
    Settle,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn after_a_power_cut_a_log_has_each_record_that_it_or_the_outbox_had_on_a_disk(
        steps in prop::collection::vec(prop_oneof![
            5 => (1usize..60).prop_map(LogStep::Covered),
            1 => (1usize..60).prop_map(LogStep::Synced),
            1 => Just(LogStep::Settle),
        ], 1..12),
        // A last one that was under way: whether the outbox had it on its disk.
        last in prop::option::of((1usize..60, any::<bool>())),
        size: prop::sample::Index,
        blocks in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let mut device = Device::new();
        for step in steps {
            match step {
                LogStep::Covered(length) => {
                    let bytes = device.carried(length);
                    device.cover(bytes);
                }
                LogStep::Synced(length) => device.append(length, Durability::Synced),
                LogStep::Settle => device.settle(),
            }
        }
        let mut durable = device.records.len();
        if let Some((length, is_stored)) = last {
            let bytes = device.carried(length);
            if is_stored {
                device.outbox.push(bytes);
                device.signed = device.store.size();
                durable += 1;
            }
        }
        let (in_outbox, signed) = (device.outbox.len(), device.signed);
        let (all, log) = (device.records.clone(), device.log());
        let left = cut(&device.synced.0, &log, size.index(log.len()), &blocks);
        let (store, folder) = device.reopen(&left);
        let store = store.unwrap();
        let found = store.size() as usize;
        prop_assert!((durable..=all.len()).contains(&found), "{durable} {found} {}", all.len());
        prop_assert_eq!(&records(folder.path())[..], &all[..found]);
        if in_outbox > 0 {
            let note = read_checkpoint(folder.path()).unwrap().expect("it was in the outbox");
            prop_assert_eq!(tree_in(&note, ORIGIN).unwrap().size, signed);
        }
        let root = store.root();
        drop(store);
        let alone = open(folder.path()).unwrap();
        prop_assert_eq!(alone.root(), root, "the outbox is needed no more");
    }
}

#[test]
fn what_the_outbox_does_not_explain_is_refused() {
    let device = || {
        let mut device = Device::new();
        device.append(40, Durability::Synced);
        for _ in 0..3 {
            let bytes = device.carried(40);
            device.cover(bytes);
        }
        device
    };
    // All of them are mended.
    let (log, synced) = (device().log(), device().synced.0.len());
    let (store, _folder) = device().reopen(&log[..synced]);
    assert_eq!(store.map(|store| (store.size(), store.mended())).unwrap(), (4, 3));
    // One that comes after what is missing.
    let mut gap = device();
    gap.outbox.remove(0);
    let refused = gap.reopen(&log[..synced]).0.unwrap_err();
    assert!(matches!(refused, AuditStoreError::RolledBack { found: 1, signed: 4 }), "{refused}");
    // A whole record that is another.
    let other = [&[9; 40][..]].map(|record| scan::frame(&TreeHash::leaf(record), record)).concat();
    let rewritten = [&log[..synced], &other].concat();
    let refused = device().reopen(&rewritten).0.unwrap_err();
    assert!(matches!(refused, AuditStoreError::Conflict { index: 1 }), "{refused}");
    // A record before those that the outbox has.
    let mut damaged = log.clone();
    damaged[synced - 1] ^= 1;
    let refused = device().reopen(&damaged).0.unwrap_err();
    assert!(matches!(refused, AuditStoreError::RolledBack { found: 0, .. }), "{refused}");
    // Another log's roots.
    let mut forged = device();
    let note = Checkpoint::new(ORIGIN, 4, TreeHash([7; 32])).sign(&forged.key).unwrap();
    forged.outbox[2] = carried(3, &note, forged.records.last().unwrap());
    let refused = forged.reopen(&log).0.unwrap_err();
    assert!(matches!(refused, AuditStoreError::Rewritten { signed: 4 }), "{refused}");
    // Nothing was changed by any of them.
    let mut whole = device();
    let others =
        Checkpoint::new("watchpost/gate-2", 9, TreeHash([7; 32])).sign(&whole.key).unwrap();
    whole.outbox.push(carried(8, &others, b"another log's"));
    assert_eq!(whole.reopen(&log).0.unwrap().size(), 4);
    let read = |bytes: &[u8]| CarriedRecords::of(ORIGIN, [bytes]).map(|found| found.is_empty());
    assert!(matches!(read(b"no record"), Err(AuditStoreError::Carried)));
    let (one, two) = (device().outbox[0].clone(), device().outbox[0].clone());
    let two = [&two[..two.len() - 1], b"x"].concat();
    let both = CarriedRecords::of(ORIGIN, [&one[..], &two]).map(|found| found.is_empty());
    assert!(matches!(both, Err(AuditStoreError::Conflict { index: 1 })));
}

#[test]
fn one_record_at_most_is_durable_nowhere_and_none_that_was_covered_needs_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, plan) = failing(dir.path());
    for n in 1..=9u8 {
        store.append_as(&[n; 40], Durability::Covered).unwrap();
        store.tail().cover(store.size());
    }
    assert_eq!((store.writes().syncs, store.writes().covered), (0, 9));
    assert!(store.tail().is_durable() && !store.tail().is_settled());
    store.append_as(&[10; 40], Durability::Covered).unwrap();
    assert!(!store.tail().is_durable());
    // It is brought to the disk before the next one begins.
    plan.lock().unwrap().sync = true;
    assert!(store.append_as(&[11; 40], Durability::Covered).is_err());
    assert!(store.tail().is_failing());
    assert_eq!(store.size(), 10, "what was covered is never cut off");
    // After a sync that failed nothing is known of what came before it: it is written again.
    let path = dir.path().join(LOG);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 500]).unwrap();
    *plan.lock().unwrap() = Failures::default();
    store.append(&[11; 40]).unwrap();
    assert!(store.tail().is_settled() && !store.tail().is_failing());
    assert_eq!(records(dir.path()), (1..=11u8).map(|n| vec![n; 40]).collect::<Vec<_>>());
}
