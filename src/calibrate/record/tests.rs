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

fn record() -> SiteRecord {
    let list = Some(("north-gate".parse().unwrap(), 3));
    SiteRecord::of(&counts(), list, now()).unwrap()
}

fn place(record: &SiteRecord) -> CountingPlace<'_> {
    CountingPlace {
        device: "gate-3",
        camera: "main",
        position: record.setup.position,
        promise: &record.setup.promise,
    }
}

#[test]
fn a_record_says_what_was_counted_and_counts_where_it_was_made() {
    let record = record();
    assert_eq!((record.curve.covered.len(), record.curve.uncovered), (3, 1));
    assert_eq!(SiteRecord::from_bytes(&record.to_bytes()).as_ref(), Ok(&record));
    assert_eq!(record.counts_at(place(&record), now()), Ok(()));
    assert_eq!(record.drift(), None);
    // Covered entries are measured, the others keep the worst group's bound.
    let all = entries(5);
    let rate = record.list_rate(&all, 0.40, 0.01);
    assert_eq!((rate.covered, rate.others), (3, 2));
    let measured = record.curve.upper_bound(0.40);
    assert!((rate.upper_bound - measured - 0.02).abs() < 1e-12);
    assert_eq!(record.list_rate(&all[4..], 0.40, 0.01).upper_bound, 0.01);
}

#[test]
fn a_threshold_keeps_the_budget_and_none_is_named_where_nothing_keeps_it() {
    let record = record();
    let all = entries(5);
    let worst = |t: f32| (t < 0.80).then(|| f64::from(0.1 * (-20.0 * (t - 0.3)).exp()));
    let (threshold, rate) = record.threshold(&all, 0.1, 0.40, worst).unwrap();
    assert!(threshold >= 0.40 && rate.upper_bound <= 0.1, "{threshold} {rate:?}");
    let below = record.list_rate(&all, threshold - 0.01, worst(threshold - 0.01).unwrap());
    assert!(threshold == 0.40 || below.upper_bound > 0.1);
    assert_eq!(record.threshold(&all, 1e-12, 0.40, worst), None);
    assert_eq!(record.threshold(&all, 1.0, 0.62, worst).unwrap().0, 0.62, "the floor stands");
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
        refused(CountingPlace { promise: &[0; 32], ..here }, now()),
        RecordError::OtherPromise
    );
    for at in [now() + VALID_FOR, now() - Duration::days(1)] {
        assert!(matches!(refused(here, at), RecordError::NotNow { .. }));
    }
}

#[test]
fn no_record_is_made_before_the_signed_days_are_over() {
    let mut early = counts();
    early.days[6].faces -= 1;
    early.days[5].faces += 1;
    let refused = SiteRecord::of(&early, None, now()).unwrap_err();
    assert_eq!(refused, RecordError::TooFewDays { done: 6, wanted: 7, least_faces: 1000 });
    let before = now() - Duration::days(1);
    assert!(matches!(
        SiteRecord::of(&counts(), None, before),
        Err(RecordError::TooFewDays { done: 6, .. })
    ));
}

#[test]
fn a_decoy_that_passes_here_stops_the_record_and_is_named() {
    let mut known = counts();
    known.folds[0].decoys[499].reached = [0; BINS];
    known.folds[0].decoys[499].reached[45] = 300;
    assert_eq!(SiteRecord::of(&known, None, now()), Err(RecordError::KnownDecoy(499)));
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
    // With a checksum made anew it is another record, which the device did not make.
    let mut edited = record.clone();
    edited.expires -= Duration::days(1);
    assert!(SiteRecord::from_bytes(&edited.to_bytes()).is_ok());
    assert_ne!(edited.digest(), record.digest());
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
    assert_eq!(hex, "930f40263776ffa07bfd4ee61ca577b12cad916a9145e2eda663b86d6c7c69d1");
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
