use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use proptest::prelude::*;

use time::OffsetDateTime;

use self::platter::{Fault, MemDisk};
use super::*;
use crate::delivery::event::EventId;

mod carrying;
mod many;
mod platter;
mod queue;

const LIMITS: Limits = Limits { events: 10_000, bytes: 64 * 1024 * 1024 };

fn record(position: QueuePosition, bytes: usize) -> EventRecord {
    let expires =
        OffsetDateTime::from_unix_timestamp(1_800_000_000 + position as i64).expect("a date");
    let payload = vec![position as u8; bytes].into();
    EventRecord { id: EventId::from_u128(position.into()), expires, payload }
}

fn opened(disk: &MemDisk) -> (DiskStore<MemDisk>, Recovered) {
    let mut store = DiskStore::new(disk.clone(), LIMITS);
    let recovered = store.recover().expect("reading works");
    (store, recovered)
}

/// All that wait, by the store's own word.
fn positions(store: &mut DiskStore<impl Files>) -> Vec<QueuePosition> {
    let mut from = 0;
    std::iter::from_fn(|| {
        let found = store.next(from)?.position;
        from = found + 1;
        Some(found)
    })
    .collect()
}

#[test]
fn what_was_appended_is_there_after_a_kill_and_what_was_retired_is_not() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    (0..5).for_each(|p| store.append(p, &record(p, 100)).expect("works"));
    [0, 3].iter().for_each(|p| assert!(store.remove(*p).expect("works")));
    std::mem::forget(store);
    let (mut store, recovered) = opened(&disk);
    assert_eq!(positions(&mut store), [1, 2, 4]);
    assert_eq!(recovered, Recovered { events: 3, bytes: 300, next: 5 });
    assert_eq!(store.read(2).expect("works"), Some(record(2, 100)));
    assert_eq!(store.read(3).expect("works"), None);
}

#[test]
fn events_that_belong_together_cost_one_write_and_one_sync_and_a_kill_leaves_the_first_of_them() {
    let events: Vec<EventRecord> = (0..TOGETHER as u64).map(|p| record(p, 100)).collect();
    let together: Vec<&EventRecord> = events.iter().collect();
    let mut left = BTreeSet::new();
    for share in 0..=255 {
        let disk = MemDisk::default();
        let (mut store, _) = opened(&disk);
        store.append(0, &events[0]).expect("works");
        assert!(store.remove(0).expect("works"));
        let before = disk.lock().operations;
        disk.lock().plan = (share > 0).then_some((before + 1, Fault::Crash, share));
        store.append_together(1, &together).expect("the disk, or memory, takes them");
        if share == 0 {
            assert_eq!(disk.lock().operations - before, 2);
            assert_eq!(positions(&mut store), [1, 2, 3]);
            assert_eq!(store.read(3).expect("works"), Some(events[2].clone()));
            continue;
        }
        drop(store);
        disk.restart(false, &mut || 0);
        let found = positions(&mut opened(&disk).0);
        assert!([1, 2, 3].starts_with(&found), "{found:?}");
        left.insert(found.len());
    }
    assert_eq!(left, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_position_that_was_retired_is_not_given_again_when_its_event_is_long_gone() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    (0..3).for_each(|p| store.append(p, &record(p, 100)).expect("works"));
    (0..3).for_each(|p| assert!(store.remove(p).expect("works")));
    drop(store);
    let (_, recovered) = opened(&disk);
    assert_eq!(recovered, Recovered { events: 0, bytes: 0, next: 3 });
}

#[test]
fn delivered_events_leave_nothing_of_themselves_in_the_folder() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    (0..300).for_each(|p| store.append(p, &record(p, 20_000)).expect("works"));
    assert!(store.segments.len() > 4);
    (0..300).for_each(|p| assert!(store.remove(p).expect("works")));
    assert_eq!(store.disk_bytes(), HEADER as u64);
    assert_eq!(disk.lock().files.len(), 1);
}

#[test]
fn an_old_event_that_stays_does_not_make_the_files_grow_without_end() {
    let disk = MemDisk::default();
    let limits = Limits { events: 20, bytes: MAX_EVENT };
    let mut store = DiskStore::new(disk.clone(), limits);
    store.recover().expect("works");
    store.append(0, &record(0, 1000)).expect("works");
    for p in 1..2000 {
        store.append(p, &record(p, 20_000)).expect("works");
        store.remove(p).expect("works");
        assert!(store.disk_bytes() <= store.limit, "{} bytes", store.disk_bytes());
    }
    assert_eq!(store.health(), StoreHealth::default());
    drop(store);
    let (mut store, _) = opened(&disk);
    assert_eq!(positions(&mut store), [0]);
    assert_eq!(store.read(0).expect("works"), Some(record(0, 1000)));
}

#[test]
fn a_full_disk_is_told_and_events_move_from_memory_to_disk_once_there_is_room() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    store.append(0, &record(0, 100)).expect("works");
    disk.lock().refuses = Some(ErrorKind::StorageFull);
    (1..4).for_each(|p| store.append(p, &record(p, 100)).expect("memory takes it"));
    let health = store.health();
    assert_eq!((health.in_memory, health.failures), (3, 3));
    assert!(health.problem.is_some_and(|p| p.contains("disk is full")));
    assert_eq!(
        store.read(0).expect("works"),
        Some(record(0, 100)),
        "what is on the disk is still there"
    );
    assert_eq!(store.read(2).expect("works"), Some(record(2, 100)));
    store.remove(1).expect("it was in memory only");
    disk.lock().refuses = None;
    store.append(4, &record(4, 100)).expect("works");
    assert_eq!((store.health().in_memory, store.health().problem), (0, None));
    drop(store);
    assert_eq!(positions(&mut opened(&disk).0), [0, 2, 3, 4]);
}

#[test]
fn a_read_only_disk_gives_what_it_has_and_says_so_from_the_start() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    (0..2).for_each(|p| store.append(p, &record(p, 100)).expect("works"));
    drop(store);
    disk.lock().refuses = Some(ErrorKind::ReadOnlyFilesystem);
    let (mut store, _) = opened(&disk);
    assert_eq!(positions(&mut store), [0, 1]);
    assert!(store.health().problem.is_some_and(|p| p.contains("read-only")));
    assert!(store.remove(0).is_err(), "it may come back");
    assert_eq!(store.read(0).expect("works"), None);
    assert_eq!(store.read(1).expect("works"), Some(record(1, 100)));
}

#[test]
fn a_bad_record_costs_itself_and_is_counted() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    (0..3).for_each(|p| store.append(p, &record(p, 100)).expect("works"));
    drop(store);
    disk.lock().files.last_entry().expect("one").get_mut().bytes[HEADER + 152 + 60] ^= 1;
    let (mut store, recovered) = opened(&disk);
    assert_eq!((positions(&mut store), recovered.events), (vec![0, 2], 2));
    assert_eq!(store.health().damaged, 1);
}

#[test]
fn a_segment_of_another_version_is_left_alone() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    store.append(0, &record(0, 100)).expect("works");
    drop(store);
    let foreign = {
        let mut p = disk.lock();
        let file = p.files.values_mut().last().expect("one");
        file.bytes[8] = 3;
        file.bytes.clone()
    };
    let (mut store, recovered) = opened(&disk);
    assert_eq!((recovered.events, store.health().damaged), (0, 1));
    store.append(0, &record(0, 100)).expect("works");
    store.remove(0).expect("works");
    assert!(disk.lock().files.values().any(|f| f.bytes == foreign));
}

#[test]
fn a_real_folder_keeps_events_and_is_one_process_s_alone() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("deep/outbox");
    let mut store = open(&path, LIMITS).expect("it is made");
    store.recover().expect("works");
    (0..3).for_each(|p| store.append(p, &record(p, 100)).expect("works"));
    store.remove(0).expect("works");
    assert_eq!(
        open(&path, LIMITS).expect_err("it is taken").source.kind(),
        ErrorKind::ResourceBusy
    );
    drop(store);
    let mut store = open(&path, LIMITS).expect("it is free");
    store.recover().expect("works");
    assert_eq!(positions(&mut store), [1, 2]);
    assert_eq!(store.read(1).expect("works"), Some(record(1, 100)));
    // As a kill during a replacement leaves it.
    std::fs::write(path.join("00000000000000000000.new"), b"half").expect("writes");
    std::fs::write(path.join("mine.new"), b"not the outbox's").expect("writes");
    drop(store);
    let mut store = open(&path, LIMITS).expect("it is free");
    store.recover().expect("works");
    assert!(!path.join("00000000000000000000.new").exists() && path.join("mine.new").exists());
    std::fs::remove_file(path.join("mine.new")).expect("it is there");
    assert!(store.wipe(1).expect("works"));
    store.scrub().expect("works");
    let held = std::fs::read_dir(&path)
        .expect("there")
        .flatten()
        .map(|f| std::fs::read(f.path()).expect("readable"));
    assert!(held.flatten().filter(|b| *b == 1).count() < 50, "its hundred bytes are gone");
    assert_eq!(
        (positions(&mut store), store.read(2).expect("works")),
        (vec![2], Some(record(2, 100)))
    );
    assert!(store.remove(2).expect("works"));
    let left: u64 = std::fs::read_dir(&path)
        .expect("there")
        .map(|f| f.expect("f").metadata().expect("m").len())
        .sum();
    assert!(left <= (HEADER + 2 * MARK) as u64, "nothing of a delivered event is left");
}

#[derive(Debug, Clone)]
enum StoreStep {
    Append {
        bytes: usize,
    },
    /// Of those that wait, by share of 256.
    Remove {
        which: u8,
    },
    /// The same, and its bytes go.
    Wipe {
        which: u8,
    },
    /// The process ends after so many more writes, in the middle of one.
    Crash {
        after: u64,
        share: u8,
        power: bool,
    },
    Error {
        after: u64,
        share: u8,
        kind: ErrorKind,
    },
    /// A clean end and a new start.
    Restart,
}

fn step() -> impl Strategy<Value = StoreStep> {
    let kind = prop_oneof![Just(ErrorKind::StorageFull), Just(ErrorKind::Other)];
    prop_oneof![
        12 => prop_oneof![0usize..300, Just(120_000)].prop_map(|bytes| StoreStep::Append { bytes }),
        10 => prop_oneof![Just(0u8), any::<u8>()].prop_map(|which| StoreStep::Remove { which }),
        2 => any::<u8>().prop_map(|which| StoreStep::Wipe { which }),
        2 => (1u64..12, any::<u8>(), any::<bool>())
            .prop_map(|(after, share, power)| StoreStep::Crash { after, share, power }),
        1 => (1u64..12, any::<u8>(), kind)
            .prop_map(|(after, share, kind)| StoreStep::Error { after, share, kind }),
        1 => Just(StoreStep::Restart),
    ]
}

/// What the store owes.
#[derive(Default)]
struct StoreModel {
    /// Appended and on disk by the store's word: owed until removed.
    stored: BTreeMap<QueuePosition, usize>,
    /// Appended without that word, or its removal was: may be there or not.
    perhaps: BTreeMap<QueuePosition, usize>,
    /// Removed; may come back after a power cut.
    removed: BTreeMap<QueuePosition, usize>,
    /// Must not come back.
    gone: BTreeSet<QueuePosition>,
}

/// Numbers that follow from `seed` alone.
fn generator(mut seed: u64) -> impl FnMut() -> u8 {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, ..ProptestConfig::default() })]
    /// A store that promises more than a simple model, or less, is found out here.
    #[test]
    fn nothing_stored_is_lost_and_nothing_retired_comes_back(
        steps in proptest::collection::vec(step(), 1..120), seed: u64,
    ) {
        let mut random = generator(seed);
        let disk = MemDisk::default();
        let (mut store, recovered) = opened(&disk);
        let mut next = recovered.next;
        let mut waiting: Vec<QueuePosition> = Vec::new();
        let mut model = StoreModel::default();
        let mut power_at_crash = false;
        for step in steps {
            let mut crash = None;
            match step {
                StoreStep::Append { bytes } => {
                    let position = next;
                    next += 1;
                    let failures = store.health().failures;
                    let kept = store.append(position, &record(position, bytes)).is_ok();
                    prop_assert!(kept, "memory takes what the disk does not");
                    waiting.push(position);
                    if disk.lock().dead {
                        model.perhaps.insert(position, bytes);
                    } else if store.health().in_memory == 0 {
                        model.stored.insert(position, bytes);
                        model.stored.append(
                            &mut model
                                .perhaps
                                .split_off(&0)
                                .into_iter()
                                .filter(|(p, _)| waiting.contains(p))
                                .collect(),
                        );
                        if store.health().failures == failures && !disk.lock().sync_failed {
                            model.gone.extend(std::mem::take(&mut model.removed).into_keys());
                        }
                    } else {
                        model.perhaps.insert(position, bytes);
                    }
                }
                StoreStep::Remove { which } => {
                    if waiting.is_empty() {
                        continue;
                    }
                    let position = waiting.remove(usize::from(which) * waiting.len() / 256);
                    let removed = store.remove(position);
                    let bytes = model
                        .stored
                        .remove(&position)
                        .or_else(|| model.perhaps.remove(&position))
                        .expect("known");
                    if removed.is_err() || disk.lock().dead {
                        model.perhaps.insert(position, bytes);
                    } else {
                        model.removed.insert(position, bytes);
                    }
                }
                StoreStep::Wipe { which } => {
                    if waiting.is_empty() {
                        continue;
                    }
                    let position = waiting.remove(usize::from(which) * waiting.len() / 256);
                    let failures = store.health().failures;
                    let removed = store.wipe(position).and_then(|_| store.scrub());
                    let bytes = model
                        .stored
                        .remove(&position)
                        .or_else(|| model.perhaps.remove(&position))
                        .expect("known");
                    if removed.is_err() || disk.lock().dead || store.health().failures > failures {
                        model.perhaps.insert(position, bytes);
                    } else {
                        prop_assert!(
                            !disk.holds(position),
                            "the bytes of {position} are still there"
                        );
                        model.gone.insert(position);
                    }
                }
                StoreStep::Crash { after, share, power } => {
                    let mut p = disk.lock();
                    if p.plan.is_none() {
                        p.plan = Some((p.operations + after, Fault::Crash, share));
                        power_at_crash = power;
                    }
                }
                StoreStep::Error { after, share, kind } => {
                    let mut p = disk.lock();
                    if p.plan.is_none_or(|(at, ..)| at <= p.operations) {
                        p.plan = Some((p.operations + after, Fault::Error(kind), share));
                    }
                }
                StoreStep::Restart => {
                    let in_memory: Vec<QueuePosition> =
                        waiting.iter().filter(|p| store.locate(**p).is_none()).copied().collect();
                    for position in in_memory {
                        if let Some(bytes) = model.stored.remove(&position) {
                            prop_assert!(
                                false,
                                "{position} of {bytes} bytes was stored and is in memory only"
                            );
                        }
                    }
                    crash = Some(false);
                }
            }
            if disk.lock().dead {
                crash = Some(power_at_crash);
            }
            let Some(power) = crash else {
                // As long as it runs, all that waits can be read.
                if let Some(p) = waiting.first().copied() {
                    prop_assert!(store.read(p).expect("reading works").is_some());
                }
                prop_assert_eq!(&positions(&mut store), &waiting);
                continue;
            };
            drop(store);
            disk.restart(power, &mut random);
            let recovered;
            (store, recovered) = opened(&disk);
            let found = positions(&mut store);
            prop_assert_eq!(found.len(), recovered.events);
            prop_assert!(found.is_sorted(), "order is kept");
            for position in &found {
                let bytes =
                    model.stored.get(position).or_else(|| model.perhaps.get(position)).or_else(
                        || model.removed.get(position).filter(|_| power || disk.lock().sync_failed),
                    );
                let Some(bytes) = bytes else {
                    return Err(TestCaseError::fail(format!(
                        "{position} came back (power cut: {power})"
                    )));
                };
                prop_assert_eq!(
                    store.read(*position).expect("reading works"),
                    Some(record(*position, *bytes))
                );
                prop_assert!(
                    !model.gone.contains(position),
                    "{position} is found and was gone (power cut: {power}), next {next}"
                );
            }
            for position in model.stored.keys() {
                prop_assert!(found.contains(position), "{position} is lost (power cut: {power})");
            }
            prop_assert!(recovered.next >= found.last().map_or(0, |p| p + 1));
            let all: BTreeMap<QueuePosition, usize> =
                [&model.stored, &model.perhaps, &model.removed]
                    .into_iter()
                    .flatten()
                    .map(|(p, b)| (*p, *b))
                    .collect();
            let still = |p: &QueuePosition| found.contains(p);
            model.gone.extend(all.keys().filter(|p| !still(p) && !power).copied());
            let (stored, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
                all.into_iter().partition(|(p, _)| still(p));
            // What an earlier power cut left out may not be forgotten by the disk forever.
            model.removed = rest.into_iter().filter(|(p, _)| !model.gone.contains(p)).collect();
            model.stored = stored;
            model.perhaps.clear();
            waiting = found;
            // Used by events that were never stored, or named by a header that a power cut took,
            // positions come again.
            next = recovered.next;
            model.removed.retain(|p, _| *p < next);
            model.gone.retain(|p| *p < next);
            prop_assert!(store.disk_bytes() <= store.limit);
        }
    }
}
