use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::audit::tree::{self, consistency, inclusion, verify_consistency, verify_inclusion};

const ORIGIN: &str = "watchpost/gate-1";

fn open(folder: &Path) -> Result<AuditStore, AuditStoreError> {
    AuditStore::open(folder, ORIGIN)
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
    let AuditStore { folder, file, length, edge, nodes, unclean, writes, torn, _lock } =
        open(folder).unwrap();
    let plan = Arc::<Mutex<Failures>>::default();
    let file = Failing { file, plan: plan.clone() };
    (AuditStore { folder, file, length, edge, nodes, unclean, writes, torn, _lock }, plan)
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
    let nowhere = open(Path::new("/proc/audit")).unwrap_err();
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
    assert_eq!(store.writes(), LogWrites { records: 3, bytes, syncs: 5 });
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
