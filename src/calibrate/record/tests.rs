use super::super::counts::tests::setup;
use super::super::counts::{CountedHalf, Counter, DecoyCounts, EntryCounts};
use super::super::strata::tests::entries;
use super::*;
use proptest::prelude::*;

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(86_400 * 20_008 + 3600).unwrap()
}

/// Seven days of 1,000 faces, 500 decoys: a decoy's mild rate falls with its position, a tenth of
/// it reaches .40. Three entries are like decoys 40, 60 and 80; one is like none. Made directly:
/// what `Counter` makes of views is tested beside it.
fn counts() -> Counts {
    let setup = Setup { least_faces: 1000, ..setup() };
    let mut counter = Counter::new(Counts::new(setup, 500, [3; 16]));
    counter.set_entries(&entries(4));
    let mut counts = counter.counts().clone();
    let mild = |d: u32| 900 - d;
    let mut all = 0;
    for fold in &mut counts.folds {
        *fold = CountedHalf { tracks: 3500, decoys: Vec::new() };
        for d in 0..500 {
            let mut decoy = DecoyCounts { mild: mild(d), reached: [0; BINS] };
            decoy.reached[0] = mild(d) / 2;
            decoy.reached[10] = mild(d) / 10;
            all += u64::from(decoy.mild);
            fold.decoys.push(decoy);
        }
    }
    for (entry, like) in counts.entries.iter_mut().zip([40, 60, 80]) {
        let mild = u64::from(mild(like));
        *entry = EntryCounts { tracks: [3500; 2], mild: [mild; 2], ..*entry };
    }
    let last = counts.entries.last_mut().unwrap();
    *last = EntryCounts { tracks: [3500; 2], mild: [3400; 2], ..*last };
    counts.begun = 7000;
    counts.days = (20_001..20_008)
        .map(|day| Day { day, faces: 1000, mild: all / 7 + u64::from(day == 20_007) * (all % 7) })
        .collect();
    counts.mild_squares = all * 200;
    counts.squares = std::array::from_fn(|b| if b <= 10 { all * 20 } else { 0 });
    counts
}

fn key() -> SiteKey {
    SiteKey::for_tests(1)
}

pub(crate) fn record() -> SiteRecord {
    made(Setup { least_faces: 1000, ..setup() }, now())
}

/// Of another setup and time than [`record`], proven by the key 1.
pub(crate) fn made(setup: Setup, issued: OffsetDateTime) -> SiteRecord {
    let list = Some(("north-gate".parse().unwrap(), 3));
    let mut record = SiteRecord::of(&counts(), list, &key(), now()).unwrap();
    (record.setup, record.issued, record.expires) = (setup, issued, issued + VALID_FOR);
    proven(record)
}

/// As a device with the key 1 would have made it.
pub(crate) fn proven(mut record: SiteRecord) -> SiteRecord {
    record.proof = key().prove(&record.proven());
    record
}

fn place(record: &SiteRecord) -> CountingPlace<'_> {
    CountingPlace {
        device: "gate-3",
        camera: "main",
        position: record.setup.position,
        promises: [record.setup.promise; 2],
    }
}

#[test]
fn a_record_says_what_was_counted_and_counts_where_it_was_made() {
    let record = record();
    assert_eq!((record.curve.covered.len(), record.curve.uncovered), (3, 1));
    assert_eq!(SiteRecord::from_bytes(&record.to_bytes()).as_ref(), Ok(&record));
    assert_eq!(record.counts_at(place(&record), now()), Ok(()));
    assert_eq!(record.drift(), None);
    assert_eq!(record.covers(&entries(5)), [true, true, true, false, false]);
    let twice = [&entries(1)[..], &entries(1)].concat();
    assert_eq!(record.covers(&twice), [true, false], "one template is one entry");
    // What was counted for the promise that the list was signed for counts, too.
    let [signed, device] = [record.setup.promise, [9; 32]];
    for promises in [[signed, device], [device, signed]] {
        let place = CountingPlace { promises, ..place(&record) };
        assert_eq!(record.counts_at(place, now()), Ok(()));
    }
}

#[test]
fn elsewhere_later_or_under_another_promise_it_does_not_count() {
    let record = record();
    let here = place(&record);
    let refused = |place, at| record.counts_at(place, at).unwrap_err();
    let moved = Some([525_000_001, 134_000_000]);
    assert!(matches!(
        refused(CountingPlace { camera: "side", ..here }, now()),
        RecordError::OtherCamera(_)
    ));
    assert!(matches!(
        refused(CountingPlace { device: "gate-4", ..here }, now()),
        RecordError::OtherCamera(_)
    ));
    assert_eq!(refused(CountingPlace { position: moved, ..here }, now()), RecordError::OtherPlace);
    assert_eq!(refused(CountingPlace { position: None, ..here }, now()), RecordError::OtherPlace);
    assert_eq!(
        refused(CountingPlace { promises: [[0; 32]; 2], ..here }, now()),
        RecordError::OtherPromise
    );
    let body_camera = made(Setup { position: None, ..record.setup.clone() }, now());
    let there = CountingPlace { position: None, ..place(&body_camera) };
    assert_eq!(body_camera.counts_at(there, now()), Err(RecordError::NoPlace));
    for at in [now() + VALID_FOR, now() - Duration::days(1)] {
        assert!(matches!(refused(here, at), RecordError::NotNow { .. }));
    }
}

#[test]
fn no_record_is_made_before_the_signed_days_are_over() {
    let mut early = counts();
    early.days[6].faces -= 1;
    early.days[5].faces += 1;
    let refused = SiteRecord::of(&early, None, &key(), now()).unwrap_err();
    assert_eq!(refused, RecordError::TooFewDays { done: 6, wanted: 7, least_faces: 1000 });
    let before = now() - Duration::days(1);
    assert!(matches!(
        SiteRecord::of(&counts(), None, &key(), before),
        Err(RecordError::TooFewDays { done: 6, .. })
    ));
}

#[test]
fn a_decoy_that_passes_here_stops_the_record_and_is_named() {
    let mut known = counts();
    known.folds[0].decoys[499].reached = [0; BINS];
    known.folds[0].decoys[499].reached[45] = 300;
    assert_eq!(SiteRecord::of(&known, None, &key(), now()), Err(RecordError::KnownDecoy(499)));
}

#[test]
fn an_edited_or_cut_record_is_refused() {
    let record = record();
    let bytes = record.to_bytes();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(SiteRecord::from_bytes(&altered).is_err(), "byte {at}");
        assert!(SiteRecord::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn the_device_knows_its_own_record_and_no_edit_of_it() {
    let record = record();
    assert_eq!(record.is_made_by(Some(&key())), Ok(()));
    assert_eq!(record.is_made_by(None), Err(RecordError::NoKey));
    assert_eq!(record.is_made_by(Some(&SiteKey::for_tests(2))), Err(RecordError::NotOurs));
    // Each can be, and has a good checksum.
    let edits: [fn(&mut SiteRecord); 14] = [
        |r| r.setup.device = "gate-4".parse().unwrap(),
        |r| r.setup.camera = "side".parse().unwrap(),
        |r| r.setup.position = Some([525_000_001, 134_000_000]),
        |r| r.setup.decoys = [1; 32],
        |r| r.setup.promise = [9; 32],
        |r| r.list = None,
        |r| r.list = Some(("north-gate".parse().unwrap(), 4)),
        |r| r.issued += Duration::days(1),
        |r| r.expires -= Duration::days(1),
        |r| r.mild_effect += 1,
        |r| r.salt[0] ^= 1,
        |r| r.curve.scored[0].strata[0].reached[10] -= 1,
        |r| r.curve.effects[20] -= 1,
        |r| r.curve.uncovered = 0,
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let mut edited = record.clone();
        edit(&mut edited);
        let edited = SiteRecord::from_bytes(&edited.to_bytes()).expect("it can be");
        assert_eq!(edited.is_made_by(Some(&key())), Err(RecordError::NotOurs), "edit {n}");
    }
}

#[test]
fn edits_that_cannot_be_are_refused_even_with_a_good_checksum() {
    let edits: [fn(&mut SiteRecord); 12] = [
        |r| r.expires += Duration::days(1),
        |r| r.days.truncate(6),
        |r| r.days[2].faces = 900,
        |r| r.days[2].mild += 1,
        |r| r.setup.days = 3,
        |r| r.setup.least_faces = 10,
        |r| r.curve.effects[20] = 999,
        |r| r.curve.scored[0].strata[0].decoys = 19,
        |r| r.curve.scored[0].strata[1].entries += 1,
        |r| r.curve.scored[1].strata[0].reached[3] = u64::MAX,
        |r| r.curve.covered.swap(0, 1),
        |r| r.curve.scored[1].strata.truncate(1),
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let mut edited = record();
        edit(&mut edited);
        assert!(SiteRecord::from_bytes(&edited.to_bytes()).is_err(), "edit {n}");
    }
}

#[test]
fn a_record_has_the_same_bytes_in_every_version_of_this_program() {
    let hex: String = record().digest().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "56614b6a7939fd4532d08bffa40bf4f58a2831e6b42c48cc79d92f8679c37c1e");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let mut sealed = bytes;
        let checksum = Sha256::digest(&sealed);
        sealed.extend_from_slice(&checksum);
        let _ = SiteRecord::from_bytes(&sealed);
    }
}
