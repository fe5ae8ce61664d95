//! Many segments: what is read of them at a start, what is kept in memory, and what is
//! rewritten.

use super::super::reading::READ_ROUNDS;
use super::super::*;
use super::platter::{Fault, MemDisk};
use super::{opened, positions, record};

/// Compaction by earlier versions of this program copied waiting events to the end, out of their
/// order, and deleted their old place next.
#[test]
fn a_folder_that_an_earlier_version_left_in_the_midst_of_compaction_is_read_in_order_each_event_once()
 {
    let disk = MemDisk::default();
    let event =
        |segment, position| format::event(segment, position, &record(position, 100)).to_vec();
    let file = |segment: u64, next, records: &[Vec<u8>]| {
        let bytes = [&[format::header(segment, next).to_vec()][..], records].concat().concat();
        disk.put(segment, bytes);
    };
    // 0 and 2 wait, both were copied after 5, 1 and 4 are retired, and so is 0, after it was
    // copied.
    file(0, 0, &[event(0, 0), event(0, 1), event(0, 2)]);
    file(
        1,
        3,
        &[
            event(1, 3),
            format::mark(1, 1).into(),
            event(1, 4),
            event(1, 5),
            event(1, 0),
            event(1, 2),
        ],
    );
    file(2, 6, &[format::mark(2, 4).into(), format::mark(2, 0).into(), event(2, 6)]);
    let (mut store, recovered) = opened(&disk);
    assert_eq!(positions(&mut store), [2, 3, 5, 6]);
    assert_eq!(recovered, Recovered { events: 4, bytes: 400, next: 7 });
    assert_eq!(store.read(2).expect("works"), Some(record(2, 100)));
    assert!(store.remove(2).expect("works"));
    assert_eq!(positions(&mut store), [3, 5, 6]);
    drop(store);
    let (mut store, recovered) = opened(&disk);
    assert_eq!(
        (positions(&mut store), recovered.events),
        (vec![3, 5, 6], 3),
        "neither place of it comes back"
    );
    [3, 5, 6].iter().for_each(|p| assert!(store.remove(*p).expect("works")));
    assert_eq!(store.disk_bytes(), (HEADER + 3 * MARK) as u64);
}

#[test]
fn starts_without_an_event_leave_no_files_behind_an_event_that_waits() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    store.append(0, &record(0, 100)).expect("works");
    drop(store);
    for _ in 0..20 {
        drop(opened(&disk));
    }
    assert_eq!((positions(&mut opened(&disk).0), disk.lock().files.len()), (vec![0], 2));
}

/// Sixty segments, and what is known of them beside their summaries is that of a few.
#[test]
fn what_is_kept_in_memory_is_that_of_a_few_segments_however_many_wait() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    (0..60 * 9).for_each(|p| store.append(p, &record(p, 100_000)).expect("works"));
    assert!(store.segments.len() >= 54);
    let most = 8 * 10;
    assert!(store.indices.entries() <= most);
    assert_eq!(positions(&mut store).len(), 60 * 9);
    assert!(store.indices.entries() <= most);
    assert!(store.next_expired(0, i64::MAX).is_some() && store.indices.entries() <= most);
    drop(store);
    let (mut store, recovered) = opened(&disk);
    assert_eq!(recovered.events, 60 * 9);
    assert!(store.indices.entries() <= most);
    // Every second one in the middle: a segment with more runs than are kept would be rewritten.
    let small = 0..3 * 2000;
    let next = recovered.next;
    small.clone().for_each(|n| store.append(next + n, &record(next + n, 400)).expect("works"));
    small.step_by(2).for_each(|n| assert!(store.remove(next + n).expect("works")));
    assert!(store.segments.iter().all(|s| s.retired.len() <= MAX_STRETCHES));
    assert_eq!(positions(&mut store).len(), 60 * 9 + 3 * 1000);
}

#[test]
fn a_segment_that_cannot_be_read_is_tried_again_and_then_left_alone_and_stops_nothing() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    (0..120).for_each(|p| store.append(p, &record(p, 100_000)).expect("works"));
    let (first, count) = (store.segments[0].number, store.segments[0].events as usize);
    disk.lock().unreadable = Some(first);
    store.indices.remove(first);
    for _ in 1..READ_ROUNDS {
        assert_eq!(
            (store.next(0), store.take_stalled()),
            (None, true),
            "what comes first is not known"
        );
        assert_eq!(store.take_lost(), Lost::default());
        store.round_failed();
    }
    disk.lock().unreadable = None;
    assert_eq!(
        store.next(0).map(|s| s.position),
        Some(0),
        "nothing is lost by an error that passes"
    );
    assert!(store.read(0).is_ok_and(|r| r.is_some()) && store.health().problem.is_none());
    disk.lock().unreadable = Some(first);
    for _ in 0..READ_ROUNDS {
        for _ in 0..20 {
            assert!(store.read(0).is_err(), "however many ask for it in one round");
        }
        store.round_failed();
    }
    assert_eq!(store.read(0).expect("given up for this run"), None);
    assert_eq!(store.next(0).map(|s| s.position), Some(count as u64));
    assert_eq!(store.take_lost(), Lost { events: count, bytes: count * 100_000 });
    assert_eq!(store.take_lost(), Lost::default());
    assert!(!store.remove(0).expect("it is known to be lost"));
    (count as u64..120).for_each(|p| assert!(store.remove(p).expect("works")));
    drop(store);
    disk.lock().unreadable = None;
    assert_eq!(opened(&disk).1.events, count, "and found again when it can be read again");
}

#[test]
fn the_positions_of_wiped_events_are_not_used_again() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    (0..3).for_each(|p| store.append(p, &record(p, 100)).expect("works"));
    [1, 2].iter().for_each(|p| assert!(store.wipe(*p).expect("works")));
    store.scrub().expect("works");
    std::mem::forget(store);
    assert!(!disk.holds(1) && !disk.holds(2));
    assert_eq!(opened(&disk).1, Recovered { events: 1, bytes: 100, next: 3 });
}

/// At each write of a wipe the power is cut so that an older segment's deletion is undone, and the
/// segment with its retirements is the new one.
#[test]
fn a_retirement_is_not_dropped_before_the_deletion_of_what_it_retires_lasts() {
    for cut in 1..8 {
        let disk = MemDisk::default();
        let (mut store, _) = opened(&disk);
        (0..15).for_each(|p| store.append(p, &record(p, 100_000)).expect("works"));
        let older = store.segments[0].extent.1;
        (0..=older).for_each(|p| assert!(store.remove(p).expect("works")));
        assert!(store.segments.len() == 1 && store.moved, "it is deleted, and that may be undone");
        store.append(15, &record(15, 100)).expect("works");
        {
            let mut p = disk.lock();
            p.plan = Some((p.operations + cut, Fault::Crash, 255));
        }
        let wiped = store.wipe(older + 1).and_then(|_| store.scrub());
        drop(store);
        let mut calls = 0;
        disk.restart(true, &mut || {
            calls += 1;
            if calls == 1 { 0 } else { 255 }
        });
        let (mut store, _) = opened(&disk);
        let found = positions(&mut store);
        assert!(found[0] > older, "cut at {cut}: {found:?}");
        assert!(wiped.is_err() || found[0] > older + 1, "cut at {cut}: {found:?}");
        assert_eq!(*found.last().expect("some wait"), 15);
    }
}

#[test]
fn what_a_failed_write_left_behind_does_not_come_back_when_it_was_stored_elsewhere_and_wiped() {
    let disk = MemDisk::default();
    let (mut store, _) = opened(&disk);
    store.append(0, &record(0, 100)).expect("works");
    {
        // It is all written, the disk says otherwise, and it cannot be cut off either.
        let mut p = disk.lock();
        (p.plan, p.stiff) =
            (Some((p.operations + 1, Fault::Error(io::ErrorKind::Other), 255)), true);
    }
    store.append(1, &record(1, 100)).expect("in another segment");
    assert!(store.segments[0].doubtful && store.locate(1).is_some_and(|(at, _)| at == 1));
    assert!(store.wipe(1).expect("works"));
    store.scrub().expect("works");
    assert!(!disk.holds(1));
    std::mem::forget(store);
    let (mut store, recovered) = opened(&disk);
    assert_eq!((positions(&mut store), recovered.next), (vec![0], 2));
}
