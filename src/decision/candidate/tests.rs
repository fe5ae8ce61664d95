use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;

const THRESHOLD: f32 = 0.4;

fn at(ms: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(ms),
        wall: OffsetDateTime::UNIX_EPOCH + Duration::from_millis(ms),
    }
}

fn hits(of: &[(EntryIndex, f32)]) -> std::vec::Vec<Hit> {
    of.iter().map(|(entry, score)| Hit { entry: *entry, template: 0, score: *score }).collect()
}

/// Feeds one view of `track` at `ms`, of which `view` is kept.
fn see(
    d: &mut Decider<usize>,
    (track, ms, view): (u32, u64, usize),
    quality: f32,
    of: &[(EntryIndex, f32)],
) -> Option<Finding<usize>> {
    let mut found = std::vec::Vec::new();
    let id = Uuid::from_u128(u128::from(ms));
    let compared =
        Compared { track: TrackId(track), view, quality, hits: &hits(of), threshold: THRESHOLD };
    d.observe(at(ms), id, compared, &mut |f| found.push(f));
    assert!(found.len() <= 1, "a view makes one finding at most");
    found.pop()
}

/// Feeds views of one track, 100 ms apart and equally good; each view is the list of its hits.
fn feed(
    d: &mut Decider<usize>,
    track: u32,
    from_ms: u64,
    views: &[&[(EntryIndex, f32)]],
) -> std::vec::Vec<Finding<usize>> {
    views
        .iter()
        .enumerate()
        .filter_map(|(i, of)| see(d, (track, from_ms + 100 * i as u64, i), 0.8, of))
        .collect()
}

fn end(d: &mut Decider<usize>, track: u32) -> std::vec::Vec<Finding<usize>> {
    let mut more = std::vec::Vec::new();
    d.end(TrackId(track), &mut |f| more.push(f));
    more
}

fn tick(d: &mut Decider<usize>, ms: u64) -> std::vec::Vec<Finding<usize>> {
    let mut more = std::vec::Vec::new();
    d.tick(at(ms), &mut |f| more.push(f));
    more
}

fn decider() -> Decider<usize> {
    Decider::new(DecisionConfig {
        agreeing_views: 2,
        considered_views: 3,
        ..DecisionConfig::default()
    })
}

#[test]
fn one_view_above_the_threshold_is_no_candidate_and_two_of_three_are_one() {
    let mut d = decider();
    let found = feed(&mut d, 1, 0, &[&[(7, 0.5)], &[(7, 0.2)], &[(7, 0.6)], &[(7, 0.55)]]);
    assert_eq!(found.len(), 1);
    let f = &found[0];
    assert_eq!(
        (f.entry, f.score, f.sequence, f.agreeing, f.considered, f.view),
        (7, 0.6, 1, 2, 3, 2)
    );
    assert!((f.combined - 1.3 / 3.0).abs() < 1e-6, "the mean of all three: {}", f.combined);
    assert_eq!(
        d.counters(),
        DecisionCounters { compared: 4, supporting: 3, candidates: 1, ..Default::default() }
    );
}

#[test]
fn support_that_has_left_the_window_does_not_count() {
    let mut d = decider();
    let poor: &[(EntryIndex, f32)] = &[(7, 0.39)];
    assert!(feed(&mut d, 1, 0, &[&[(7, 0.9)], poor, poor, &[(7, 0.9)], poor]).is_empty());
}

#[test]
fn a_similarity_that_equals_the_threshold_supports_and_one_that_is_no_number_does_not() {
    let mut d = decider();
    assert!(feed(&mut d, 1, 0, &[&[(7, f32::NAN)], &[(7, 0.9)]]).is_empty());
    // The combined similarity is .43, as large as it must be.
    assert_eq!(feed(&mut d, 2, 0, &[&[(7, 0.4)], &[(7, 0.46)]]).len(), 1);
}

#[test]
fn views_of_two_tracks_do_not_add_up() {
    let mut d = decider();
    assert!(feed(&mut d, 1, 0, &[&[(7, 0.5)]]).is_empty());
    assert!(feed(&mut d, 2, 50, &[&[(7, 0.5)]]).is_empty());
}

#[test]
fn agreeing_views_are_not_enough_where_all_views_together_say_otherwise() {
    // A stranger who now and then comes near to somebody on the list.
    let far: &[(EntryIndex, f32)] = &[(7, 0.2)];
    let near: &[(EntryIndex, f32)] = &[(7, 0.45)];
    let mut d = decider();
    assert!(feed(&mut d, 1, 0, &[far, near, far, near, near, far, near, near]).is_empty());
    // It takes the margin as well: two views just above the threshold are not enough, two clearly
    // above it are.
    assert!(feed(&mut d, 2, 0, &[&[(7, 0.41)], &[(7, 0.41)]]).is_empty());
    assert_eq!(feed(&mut d, 3, 0, &[&[(7, 0.43)], &[(7, 0.43)]]).len(), 1);
}

#[test]
fn a_good_view_counts_more_than_a_poor_one_and_even_the_poorest_counts() {
    let mut d = decider();
    // Two good views and one that hardly shows a face; then the other way round.
    let run = |d: &mut Decider<usize>, track: u32, quality: [f32; 3], scores: [f32; 3]| {
        let see_one = |i: usize| see(d, (track, i as u64, i), quality[i], &[(7, scores[i])]);
        (0..3).filter_map(see_one).next()
    };
    assert!(run(&mut d, 1, [0.1, 0.9, 0.9], [0.1, 0.5, 0.5]).is_some());
    d.reset();
    assert!(run(&mut d, 2, [0.9, 0.1, 0.1], [0.1, 0.5, 0.5]).is_none());
    for worthless in [0.0, -1.0, f32::NAN] {
        d.reset();
        let found = run(&mut d, 3, [worthless, worthless, 0.1], [0.5, 0.7, 0.5])
            .expect("weights are never zero");
        assert!((found.combined - 0.6).abs() < 1e-5, "{found:?}");
    }
}

#[test]
fn a_view_in_which_four_others_were_nearer_speaks_against_an_entry() {
    let crowd: &[(EntryIndex, f32)] = &[(1, 0.3), (2, 0.3), (3, 0.3), (4, 0.3), (7, 0.9)];
    let mut d = decider();
    let found = feed(&mut d, 1, 0, &[crowd, &[(7, 0.6)], &[(7, 0.6)]]);
    assert!(found.is_empty(), "a fifth hit is not looked at: {found:?}");
}

#[test]
fn a_candidate_gets_one_better_update_when_the_track_ends() {
    let mut d = decider();
    let found =
        feed(&mut d, 1, 0, &[&[(7, 0.5)], &[(7, 0.5)], &[(7, 0.52)], &[(7, 0.7)], &[(7, 0.6)]]);
    assert_eq!(found.len(), 1);
    let more = end(&mut d, 1);
    assert_eq!(more.len(), 1);
    assert_eq!(
        (more[0].sequence, more[0].score, more[0].view, more[0].id),
        (2, 0.7, 3, found[0].id)
    );
    assert_eq!(more[0].compared, 5);
    assert!(end(&mut d, 1).is_empty(), "the track is forgotten");
    assert_eq!(d.counters().updates, 1);
}

#[test]
fn a_view_that_is_hardly_better_is_no_update() {
    let mut d = decider();
    assert_eq!(feed(&mut d, 1, 0, &[&[(7, 0.5)], &[(7, 0.5)], &[(7, 0.549)]]).len(), 1);
    assert!(end(&mut d, 1).is_empty());
}

#[test]
fn an_update_is_due_after_its_time_and_only_once() {
    let mut d = decider();
    feed(&mut d, 1, 0, &[&[(7, 0.5)], &[(7, 0.5)], &[(7, 0.7)]]);
    assert!(tick(&mut d, 10_099).is_empty());
    assert_eq!(tick(&mut d, 10_100).len(), 1);
    feed(&mut d, 1, 11_000, &[&[(7, 0.9)]]);
    assert!(tick(&mut d, 30_000).is_empty(), "one update a candidate");
    assert!(end(&mut d, 1).is_empty(), "one update a candidate");
}

#[test]
fn a_candidate_stays_while_the_evidence_reaches_the_threshold_and_is_not_updated_below_it() {
    let start: &[&[(EntryIndex, f32)]] = &[&[(7, 0.44)], &[(7, 0.42)]];
    let mut d = decider();
    // Down to .41: not enough to become a candidate, enough to stay one.
    assert_eq!(feed(&mut d, 1, 0, start).len(), 1);
    feed(&mut d, 1, 500, &[&[(7, 0.5)], &[(7, 0.28)]]);
    assert_eq!(end(&mut d, 1).len(), 1);
    // Down to .39.
    d.reset();
    assert_eq!(feed(&mut d, 2, 0, start).len(), 1);
    feed(&mut d, 2, 500, &[&[(7, 0.5)], &[(7, 0.2)]]);
    assert!(end(&mut d, 2).is_empty());
    assert_eq!((d.counters().faded, d.counters().updates), (1, 1));
}

#[test]
fn a_track_gives_one_candidate_whoever_else_it_resembles_later() {
    let mut d = decider();
    let other: &[(EntryIndex, f32)] = &[(8, 0.9), (7, 0.1)];
    assert_eq!(feed(&mut d, 1, 0, &[&[(7, 0.5)], &[(7, 0.5)]]).len(), 1);
    assert!(feed(&mut d, 1, 500, &[other; 9]).is_empty());
    assert!(end(&mut d, 1).is_empty(), "no better view of the entry that was named");
    assert_eq!(d.counters().candidates, 1);
}

#[test]
fn an_entry_in_its_cool_down_is_not_announced_and_is_counted() {
    let mut d = decider();
    let two: &[&[(EntryIndex, f32)]] = &[&[(7, 0.5)], &[(7, 0.5)]];
    assert_eq!(feed(&mut d, 1, 0, two).len(), 1);
    assert_eq!(feed(&mut d, 2, 59_999, two).len(), 0);
    assert_eq!(d.counters().cooling, 1);
    feed(&mut d, 2, 61_000, &[&[(7, 0.9)]]);
    assert!(end(&mut d, 2).is_empty(), "nor updated");
    assert_eq!(feed(&mut d, 3, 60_000, two).len(), 1, "60 s after the first");
    assert_eq!(
        feed(&mut d, 4, 60_500, &[&[(8, 0.5)], &[(8, 0.5)]]).len(),
        1,
        "of another entry nothing is known"
    );
}

#[test]
fn a_forgotten_entry_is_neither_announced_nor_updated_nor_named_as_an_alternative() {
    let mut d = decider();
    feed(&mut d, 1, 0, &[&[(7, 0.5)], &[(7, 0.5)], &[(7, 0.8)]]);
    feed(&mut d, 2, 1000, &[&[(8, 0.52), (7, 0.51)]]);
    feed(&mut d, 3, 1000, &[&[(9, 0.52), (7, 0.51)], &[(9, 0.52), (7, 0.51)], &[(9, 0.8)]]);
    feed(&mut d, 4, 1000, &[&[(7, 0.6)]]);
    d.forget(7);
    assert!(end(&mut d, 1).is_empty(), "no update of what was revoked");
    let found = feed(&mut d, 2, 1100, &[&[(8, 0.53)]]);
    assert_eq!(
        (found.len(), found[0].entry, found[0].alternatives.len()),
        (1, 8, 0),
        "what is left still counts"
    );
    assert!(end(&mut d, 3)[0].alternatives.is_empty());
    assert!(
        feed(&mut d, 4, 1100, &[&[(7, 0.6)]]).is_empty(),
        "evidence from before does not count"
    );
    d.reset();
    see(&mut d, (5, 0, 0), 0.9, &[(8, 0.5), (7, 0.5)]);
    d.forget(7);
    // A view that weighs next to nothing: all that is known comes from before.
    let found = see(&mut d, (5, 100, 1), 0.01, &[(8, 0.5)]).expect("two views of the other entry");
    assert!(found.alternatives.is_empty(), "{found:?}");
}

#[test]
fn inseparable_entries_are_named_in_one_candidate_and_later_ones_in_its_update() {
    let mut d = decider();
    let twins: &[&[(EntryIndex, f32)]] =
        &[&[(7, 0.52), (8, 0.51), (9, 0.48)], &[(8, 0.53), (7, 0.52), (9, 0.48)]];
    let found = feed(&mut d, 1, 0, twins);
    assert_eq!(
        (found.len(), found[0].entry, &found[0].alternatives[..]),
        (1, 7, &[8][..]),
        "equal: first in the list"
    );
    feed(&mut d, 1, 500, &[&[(7, 0.6), (9, 0.6), (8, 0.3)], &[(7, 0.55), (9, 0.55), (8, 0.3)]]);
    let more = end(&mut d, 1);
    assert_eq!(
        (more[0].entry, &more[0].alternatives[..]),
        (7, &[8, 9][..]),
        "whoever was named stays named"
    );
    // Too close, but below the threshold: it is an alternative all the same.
    d.reset();
    let below: &[(EntryIndex, f32)] = &[(7, 0.425), (8, 0.397)];
    assert_eq!(feed(&mut d, 2, 0, &[below, below])[0].alternatives, [8]);
}

#[test]
fn tracks_and_cool_downs_beyond_capacity_are_bounded_and_counted() {
    let mut d = decider();
    let two: &[&[(EntryIndex, f32)]] = &[&[(7, 0.5)], &[(7, 0.5)]];
    for track in 0..128 {
        feed(&mut d, track, 0, &[&[(1, 0.1)]]);
    }
    assert!(feed(&mut d, 500, 0, two).is_empty());
    assert_eq!(d.counters().beyond_capacity, 2);
    end(&mut d, 0);
    assert_eq!(feed(&mut d, 500, 0, two).len(), 1, "a track that ended makes room");
    for (track, entry) in (1000..1128).enumerate() {
        let track = track as u32 % 100 + 1;
        end(&mut d, track);
        assert_eq!(feed(&mut d, track, 1000, &[&[(entry, 0.5)], &[(entry, 0.5)]]).len(), 1);
    }
    end(&mut d, 1);
    assert_eq!(feed(&mut d, 1, 2000, two).len(), 1, "the oldest cool-down gave way");
    end(&mut d, 1);
    assert_eq!(
        feed(&mut d, 1, 2000, &[&[(1127, 0.5)], &[(1127, 0.5)]]).len(),
        0,
        "and the latest did not"
    );
}

#[test]
fn of_more_entries_than_a_track_can_hold_the_most_similar_stay() {
    let mut d = Decider::new(DecisionConfig {
        agreeing_views: 8,
        considered_views: 16,
        ..DecisionConfig::default()
    });
    // Five people are the nearest once; of the last no view is kept, because those before were
    // nearer.
    let others: [&[(EntryIndex, f32)]; 5] = [
        &[(1, 0.9), (4, 0.5)],
        &[(2, 0.8), (4, 0.5)],
        &[(3, 0.7), (4, 0.5)],
        &[(4, 0.6)],
        &[(5, 0.5), (4, 0.45)],
    ];
    assert!(feed(&mut d, 1, 0, &others).is_empty());
    let own: &[(EntryIndex, f32)] = &[(4, 0.55)];
    let found = feed(&mut d, 1, 500, &[own; 3]);
    assert_eq!((found.len(), found[0].entry, found[0].score, found[0].view), (1, 4, 0.6, 3));

    let mut t = Track::<()>::default();
    t.weigh(1.0, &hits(&[(0, 0.9), (1, 0.9), (2, 0.9), (3, 0.9)]));
    for first in [4, 8, 12, 16, 20] {
        t.weigh(
            1.0,
            &hits(
                &[first, first + 1, first + 2, first + 3]
                    .map(|entry| (entry, 0.5 - entry as f32 / 100.0)),
            ),
        );
    }
    assert_eq!(t.rivals.len(), MAX_RIVALS);
    for entry in 0..24 {
        let sum = if entry < 4 { 0.9 } else { 0.5 - entry as f32 / 100.0 };
        let expected = if entry < 16 { sum / 6.0 } else { 0.0 };
        assert!((t.combined(entry) - expected).abs() < 1e-6, "{entry}: {}", t.combined(entry));
    }
}

/// What a list of six entries says to a view: similarities, and how good the view is.
fn view() -> impl Strategy<Value = ([f32; 6], f32)> {
    (proptest::array::uniform6(-0.2f32..1.0), 0.0f32..1.0)
}

/// The hits of a search: all entries, nearest first.
fn nearest(scores: &[f32; 6]) -> std::vec::Vec<(EntryIndex, f32)> {
    let mut all: std::vec::Vec<(EntryIndex, f32)> = scores.iter().copied().enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(MAX_HITS);
    all
}

proptest! {
    #[test]
    fn no_track_gives_more_than_a_candidate_and_an_update_and_none_without_the_evidence(
        views in proptest::collection::vec((0u32..4, view(), any::<bool>()), 0..200),
    ) {
        use std::collections::HashMap;
        let config =
            DecisionConfig { cool_down_s: 0, update_after_s: 1, ..DecisionConfig::default() };
        let mut d = Decider::new(config.clone());
        let mut seen = HashMap::<u32, std::vec::Vec<([f32; 6], f32)>>::new();
        let mut announced = HashMap::<u32, std::vec::Vec<(u8, Uuid, EntryIndex)>>::new();
        for (i, (track, (scores, quality), ends)) in views.iter().enumerate() {
            let mut found = std::vec::Vec::new();
            seen.entry(*track).or_default().push((*scores, *quality));
            found.extend(see(&mut d, (*track, i as u64 * 50, i), *quality, &nearest(scores)));
            found.extend(tick(&mut d, i as u64 * 50));
            let over = *ends && i % 7 == 0;
            if over {
                found.extend(end(&mut d, *track));
            }
            for f in found {
                let of = &seen[&f.track.0];
                let earlier = announced.entry(f.track.0).or_default();
                // One candidate, then one update of the same.
                prop_assert_eq!(usize::from(f.sequence), earlier.len() + 1);
                prop_assert!(earlier.iter().all(|t| (t.1, t.2) == (f.id, f.entry)));
                earlier.push((f.sequence, f.id, f.entry));
                let mean = of.iter().map(|(s, q)| s[f.entry] * q.max(0.01)).sum::<f32>()
                    / of.iter().map(|(_, q)| q.max(0.01)).sum::<f32>();
                let least = if f.sequence == 1 { THRESHOLD + EVIDENCE_MARGIN } else { THRESHOLD };
                prop_assert!(f.combined >= least, "{}", f.combined);
                prop_assert!(f.combined <= mean + 0.2, "{} {}", f.combined, mean);
                prop_assert!(f.score >= THRESHOLD && f.view <= i && views[f.view].0 == f.track.0);
                prop_assert_eq!(f.score, views[f.view].1.0[f.entry]);
                prop_assert!(!f.alternatives.contains(&f.entry));
                if f.sequence == 1 {
                    let latest = &of[of.len().saturating_sub(config.considered_views)..];
                    let supports = |s: &[f32; 6]| {
                        nearest(s).contains(&(f.entry, s[f.entry])) && s[f.entry] >= THRESHOLD
                    };
                    let agreeing = latest.iter().filter(|(s, _)| supports(s)).count();
                    prop_assert_eq!(agreeing, f.agreeing);
                    prop_assert!(f.agreeing >= config.agreeing_views);
                }
            }
            if over {
                seen.remove(track);
                announced.remove(track);
            }
        }
    }

    #[test]
    fn the_order_of_the_views_does_not_change_what_they_say_together(
        (views, shuffled) in proptest::collection::vec(view(), 1..12)
            .prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle())),
    ) {
        let combined = |views: &[([f32; 6], f32)]| {
            let mut t = Track::<()>::default();
            views.iter().for_each(|(scores, quality)| t.weigh(*quality, &hits(&nearest(scores))));
            [0, 1, 2, 3, 4, 5].map(|entry| t.combined(entry))
        };
        for (a, b) in combined(&views).into_iter().zip(combined(&shuffled)) {
            prop_assert!((a - b).abs() < 1e-5, "{} {}", a, b);
        }
    }

    #[test]
    fn views_that_all_look_the_same_decide_what_one_of_them_would(
        score in 0.3f32..0.6,
        count in 2usize..12,
    ) {
        let mut d = decider();
        let one: &[(EntryIndex, f32)] = &[(7, score)];
        let found = feed(&mut d, 1, 0, &vec![one; count]);
        prop_assert!(found.is_empty() || score >= THRESHOLD);
        prop_assert!(found.len() == 1 || score < THRESHOLD + EVIDENCE_MARGIN + 1e-5);
    }
}
