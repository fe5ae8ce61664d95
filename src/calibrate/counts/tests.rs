use super::*;
use proptest::prelude::*;

pub fn setup() -> Setup {
    Setup {
        device: "gate-3".parse().unwrap(),
        camera: "main".parse().unwrap(),
        position: Some([525_000_000, 134_000_000]),
        decoys: [7; 32],
        promise: [8; 32],
        days: 7,
        least_faces: 2,
    }
}

fn template(seed: u8) -> Template {
    Template::new((0..64).map(|i: i32| (i * i32::from(seed) % 100) as i8 + 1).collect()).unwrap()
}

/// Tracks of one view each, one similarity a decoy, on `day`.
pub fn pass(counter: &mut Counter, day: u32, tracks: &[&[f32]]) {
    for similarities in tracks {
        let mut view = counter.view(1, day).unwrap();
        for (decoy, similarity) in similarities.iter().enumerate() {
            view.decoy(decoy, *similarity);
        }
        counter.end(1, day);
    }
}

#[test]
fn a_similarity_falls_into_the_bin_that_begins_at_it_or_below() {
    let cases = [
        (0.2799, None),
        (0.2999, None),
        (0.30, Some(0)),
        (0.309, Some(0)),
        (0.31, Some(1)),
        (0.45, Some(15)),
        (0.77, Some(47)),
        (0.99, Some(69)),
        (1.0, Some(69)),
        (f32::NAN, None),
        (-1.0, None),
    ];
    for (similarity, wanted) in cases {
        assert_eq!(bin(similarity), wanted, "{similarity}");
    }
    for b in 0..BINS {
        assert_eq!(bin(edge(b)), Some(b));
    }
}

#[test]
fn a_track_counts_once_by_the_highest_similarity_that_it_reached() {
    let mut counter = Counter::new(Counts::new(setup(), 3, [1; 16]));
    for similarities in [[0.29, 0.5, 0.1], [0.35, 0.45, 0.1], [0.31, 0.2, 0.1]] {
        let mut view = counter.view(9, 100).unwrap();
        similarities.iter().enumerate().for_each(|(d, s)| view.decoy(d, *s));
    }
    assert_eq!(counter.counts().tracks(), 0, "nothing before its end");
    counter.end(9, 100);
    counter.end(9, 100);
    counter.end(4, 100);
    let counts = counter.counts();
    assert_eq!(counts.tracks(), 1);
    let decoys = &counts.folds[0].decoys;
    assert_eq!([decoys[0].mild, decoys[1].mild, decoys[2].mild], [1, 1, 0]);
    assert_eq!((decoys[0].reached[5], decoys[0].at_least(0)), (1, 1));
    assert_eq!((decoys[1].reached[20], decoys[1].at_least(0)), (1, 1));
    assert_eq!((counts.mild_squares, counts.squares[5], counts.squares[6]), (4, 4, 1));
    assert_eq!(counts.days, [Day { day: 100, faces: 1, mild: 2 }]);
}

#[test]
fn tracks_fall_into_two_folds_in_turn_by_their_start() {
    let mut counter = Counter::new(Counts::new(setup(), 1, [1; 16]));
    for track in 0..5 {
        counter.view(track, 1).unwrap();
    }
    for track in (0..5).rev() {
        counter.end(track, 1);
    }
    assert_eq!(counter.counts().folds.each_ref().map(|f| f.tracks), [3, 2]);
}

#[test]
fn nothing_of_an_ended_track_is_left() {
    let mut counter = Counter::new(Counts::new(setup(), 2, [1; 16]));
    counter.set_entries(&[template(3)]);
    let mut view = counter.view(1, 1).unwrap();
    view.decoy(0, 0.9);
    view.entry(0, 0.9);
    counter.end(1, 1);
    let mut view = counter.view(2, 1).unwrap();
    view.decoy(1, 0.9);
    counter.forget();
    assert!(counter.live.is_empty() && counter.spare.len() == 1);
    assert!(counter.spare.iter().all(|s| s.decoys == [0; 2] && s.entries == [0]));
}

#[test]
fn an_entry_is_counted_at_the_mild_similarity_only() {
    let mut counter = Counter::new(Counts::new(setup(), 1, [1; 16]));
    counter.set_entries(&[template(3), template(5)]);
    for (track, similarity) in [(1, 0.27), (2, 0.28), (3, 0.95)] {
        counter.view(track, 1).unwrap().entry(1, similarity);
        counter.end(track, 1);
    }
    let entry = counter.counts().entries[1];
    assert_eq!((entry.tracks, entry.mild), ([2, 1], [1, 1]));
}

#[test]
fn entries_that_stay_on_the_list_keep_their_counts_wherever_they_stand() {
    let mut counter = Counter::new(Counts::new(setup(), 1, [1; 16]));
    counter.set_entries(&[template(3), template(5)]);
    counter.view(1, 1).unwrap().entry(1, 0.5);
    counter.end(1, 1);
    counter.set_entries(&[template(5), template(7)]);
    let entries = &counter.counts().entries;
    assert_eq!((entries[0].mild, entries[0].tracks), ([1, 0], [1, 0]));
    assert_eq!((entries[1].mild, entries[1].tracks), ([0, 0], [0, 0]));
}

#[test]
fn counting_ends_after_the_signed_days_with_enough_faces() {
    let mut counter = Counter::new(Counts::new(Setup { days: 2, ..setup() }, 1, [1; 16]));
    pass(&mut counter, 10, &[&[0.5], &[0.5]]);
    pass(&mut counter, 11, &[&[0.5]]);
    pass(&mut counter, 12, &[&[0.5], &[0.5], &[0.5]]);
    assert!(!counter.counts().is_complete(12) && counter.counts().is_complete(13));
    assert!(counter.view(1, 13).is_none());
    assert_eq!(counter.counts().days_done(13), 2, "one day had too few");
}

#[test]
fn a_clock_that_went_back_makes_no_new_day() {
    let mut counter = Counter::new(Counts::new(setup(), 1, [1; 16]));
    pass(&mut counter, 10, &[&[0.5]]);
    pass(&mut counter, 9, &[&[0.5]]);
    assert_eq!(counter.counts().days, [Day { day: 10, faces: 2, mild: 2 }]);
}

#[test]
fn memory_is_bounded_by_tracks_and_days() {
    let mut counter = Counter::new(Counts::new(setup(), 1, [1; 16]));
    for track in 0..MAX_LIVE as u32 + 5 {
        let followed = counter.view(track, 1).is_some();
        assert_eq!(followed, (track as usize) < MAX_LIVE);
    }
    assert_eq!(counter.unfollowed(), 5);
    assert!(Counter::most_bytes(2000, 1000) < 1_600_000, "{}", Counter::most_bytes(2000, 1000));
}

#[test]
fn a_mark_tells_templates_apart_and_cannot_be_compared_between_calibrations() {
    let mark = |seed, salt: u8| Mark::of(&template(seed), &[salt; 16]);
    assert_eq!(mark(3, 1), mark(3, 1));
    assert_ne!(mark(3, 1), mark(5, 1));
    assert_ne!(mark(3, 1), mark(3, 2));
}

fn counted(similarities: &[Vec<f32>]) -> Counts {
    let mut counter = Counter::new(Counts::new(setup(), 4, [9; 16]));
    counter.set_entries(&[template(3), template(5)]);
    for (n, similarities) in similarities.iter().enumerate() {
        let mut view = counter.view(1, 1 + n as u32 / 3).unwrap();
        similarities.iter().enumerate().for_each(|(d, s)| view.decoy(d, *s));
        view.entry(0, similarities[0]);
        counter.end(1, 1 + n as u32 / 3);
    }
    counter.counts().clone()
}

#[test]
fn counts_that_were_changed_or_cut_are_refused() {
    let bytes = counted(&[vec![0.3, 0.4, 0.5, 0.6], vec![0.1, 0.99, 0.3, 0.2]]).to_bytes();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(Counts::from_bytes(&altered).is_err(), "byte {at}");
        assert!(Counts::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
    assert!(Counts::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn counts_that_contradict_themselves_are_refused_even_with_a_good_checksum() {
    let good = counted(&[vec![0.3, 0.4, 0.5, 0.6]]);
    let breaks: [fn(&mut Counts); 5] = [
        |c| c.folds[0].decoys[0].mild = 2,
        |c| c.folds[0].decoys[0].reached[3] += 5,
        |c| c.days[0].faces += 1,
        |c| c.entries[0].mild[1] = 1,
        |c| c.folds[1].decoys.truncate(3),
    ];
    for broken in breaks {
        let mut counts = good.clone();
        broken(&mut counts);
        let read = Counts::from_bytes(&counts.to_bytes());
        assert!(matches!(read, Err(CountsError::Contradiction(_))), "{read:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(
        tracks in proptest::collection::vec(proptest::collection::vec(-1.0f32..1.1, 4), 0..20),
    ) {
        let counts = counted(&tracks);
        let read = Counts::from_bytes(&counts.to_bytes()).unwrap();
        prop_assert!(read == counts);
        prop_assert_eq!(read.to_bytes(), counts.to_bytes());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = Counts::from_bytes(&bytes);
        let mut sealed = bytes;
        let checksum = Sha256::digest(&sealed);
        sealed.extend_from_slice(&checksum);
        let _ = Counts::from_bytes(&sealed);
    }
}
