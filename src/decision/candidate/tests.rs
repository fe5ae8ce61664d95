use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;

const THRESHOLD: f32 = 0.4;

type Hits<'a> = &'a [(EntryIndex, f32)];

fn at(ms: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(ms),
        wall: OffsetDateTime::UNIX_EPOCH + Duration::from_millis(ms),
    }
}

fn hits(of: Hits<'_>) -> std::vec::Vec<Hit> {
    of.iter().map(|(entry, score)| Hit { entry: *entry, template: 0, score: *score }).collect()
}

/// The embedding of a person of whom nothing but the number is known: no two have anything in
/// common.
fn person(n: usize) -> Embedding {
    let mut values = [0.0f32; 64];
    values[n] = 1.0;
    Embedding::normalised(&values).unwrap()
}

/// Shows the decider a view of `who`; `of` is what the search finds for the probe with it, `own`
/// the similarity of the view alone.
fn show(
    d: &mut Decider<usize>,
    (track, ms, view): (u32, u64, usize),
    who: usize,
    of: Hits<'_>,
    own: f32,
) -> std::vec::Vec<Finding<usize>> {
    let mut found = std::vec::Vec::new();
    let seen = Seen { track: TrackId(track), embedding: &person(who), quality: 0.8 };
    if d.observe(at(ms), seen, &mut |f| found.push(f)).is_some() {
        let id = Uuid::from_u128(u128::from(ms) + 1);
        let searched =
            Searched { track: TrackId(track), view, hits: &hits(of), threshold: THRESHOLD };
        d.searched(at(ms), id, searched, |_| own, &mut |f| found.push(f));
    }
    found
}

/// Feeds views of one person, 100 ms apart; each is what the search finds, and `own` is the
/// similarity to the nearest.
fn feed(
    d: &mut Decider<usize>,
    track: u32,
    from_ms: u64,
    views: &[Hits<'_>],
) -> std::vec::Vec<Finding<usize>> {
    views
        .iter()
        .enumerate()
        .flat_map(|(i, of)| {
            let own = of.first().map_or(0.0, |h| h.1);
            show(d, (track, from_ms + 100 * i as u64, i), 0, of, own)
        })
        .collect()
}

fn end(d: &mut Decider<usize>, track: u32, ms: u64) -> std::vec::Vec<Finding<usize>> {
    let mut more = std::vec::Vec::new();
    d.end(at(ms), TrackId(track), &mut |f| more.push(f));
    more
}

fn tick(d: &mut Decider<usize>, ms: u64) -> std::vec::Vec<Finding<usize>> {
    let mut more = std::vec::Vec::new();
    d.tick(at(ms), &mut |f| more.push(f));
    more
}

fn decider() -> Decider<usize> {
    Decider::new(DecisionConfig::default())
}

const NEAR: Hits<'static> = &[(7, 0.5)];
const FAR: Hits<'static> = &[(7, 0.39)];

#[test]
fn three_views_are_no_candidate_and_the_fourth_is_one() {
    let mut d = decider();
    assert!(feed(&mut d, 1, 0, &[NEAR, &[(7, 0.6)], NEAR]).is_empty());
    let found = feed(&mut d, 1, 300, &[&[(7, 0.45)]]);
    assert_eq!(found.len(), 1);
    let f = &found[0];
    assert_eq!((f.entry, f.sequence, f.agreeing, f.compared), (7, 1, 3, 4));
    assert_eq!((f.score, f.combined, f.view), (0.6, 0.45, 1), "the best view, the probe as it is");
    assert_eq!(f.second, Some((0.5, 2)), "and the one after it; the first was not searched for");
    assert_eq!(
        d.counters(),
        DecisionCounters {
            compared: 4,
            searched_tracks: 1,
            supporting: 3,
            candidates: 1,
            ..Default::default()
        }
    );
}

#[test]
fn a_track_that_ends_early_is_decided_with_two_views_and_never_with_one() {
    let mut d = decider();
    assert!(feed(&mut d, 1, 0, &[NEAR]).is_empty());
    assert!(end(&mut d, 1, 100).is_empty());
    assert!(feed(&mut d, 2, 0, &[NEAR, NEAR]).is_empty());
    assert_eq!(end(&mut d, 2, 200).len(), 1);
    assert!(end(&mut d, 2, 300).is_empty(), "the track is forgotten");
    // What the last search said counts, not the best one.
    assert!(feed(&mut d, 3, 100_000, &[NEAR, NEAR, FAR]).is_empty());
    assert!(end(&mut d, 3, 100_300).is_empty());
}

#[test]
fn a_track_counts_as_searched_once_and_not_before_its_second_view() {
    let mut d = decider();
    feed(&mut d, 1, 0, &[FAR]);
    assert_eq!(d.counters().searched_tracks, 0, "a passer-by of one view could not alert");
    feed(&mut d, 1, 100, &[FAR, NEAR, FAR]);
    assert_eq!(d.counters().searched_tracks, 1);
    feed(&mut d, 2, 100, &[FAR, FAR]);
    assert_eq!(d.counters().searched_tracks, 2);
}

#[test]
fn a_track_that_waits_too_long_for_views_is_decided_with_two() {
    let mut d = decider();
    assert!(feed(&mut d, 1, 0, &[NEAR, NEAR]).is_empty());
    assert!(tick(&mut d, 1499).is_empty());
    assert_eq!(tick(&mut d, 1500).len(), 1);
    assert!(tick(&mut d, 1600).is_empty() && end(&mut d, 1, 1700).is_empty());
    // One view is not enough however long it is.
    assert!(feed(&mut d, 2, 0, &[NEAR]).is_empty());
    assert!(tick(&mut d, 100_000).is_empty());
    // The third view comes late enough to be decided at once.
    assert!(feed(&mut d, 3, 200_000, &[NEAR, NEAR]).is_empty());
    assert_eq!(feed(&mut d, 3, 201_500, &[NEAR]).len(), 1);
}

#[test]
fn a_stricter_device_waits_for_more_views() {
    let config =
        DecisionConfig { views: 6, least_views: 3, patience_ms: 3000, ..DecisionConfig::default() };
    let mut d = Decider::new(config);
    assert!(feed(&mut d, 1, 0, &[NEAR; 5]).is_empty());
    assert_eq!(feed(&mut d, 1, 500, &[NEAR]).len(), 1);
    assert!(feed(&mut d, 2, 100_000, &[NEAR; 2]).is_empty());
    assert!(end(&mut d, 2, 110_000).is_empty());
}

#[test]
fn a_similarity_that_equals_the_threshold_supports_and_one_that_is_no_number_does_not() {
    let mut d = decider();
    let nan: Hits<'_> = &[(7, f32::NAN)];
    assert!(feed(&mut d, 1, 0, &[nan; 8]).is_empty() && end(&mut d, 1, 900).is_empty());
    assert_eq!(feed(&mut d, 2, 0, &[&[(7, THRESHOLD)][..]; 4]).len(), 1);
}

#[test]
fn views_of_two_tracks_do_not_add_up() {
    let mut d = decider();
    assert!(feed(&mut d, 1, 0, &[NEAR, NEAR, NEAR]).is_empty());
    assert!(feed(&mut d, 2, 50, &[NEAR, NEAR, NEAR]).is_empty());
}

#[test]
fn a_view_with_nothing_in_common_with_those_before_starts_anew() {
    let mut d = decider();
    for (i, who) in [0, 0, 0, 1, 1, 1].into_iter().enumerate() {
        let found = show(&mut d, (1, 100 * i as u64, i), who, FAR, 0.2);
        assert!(found.is_empty());
    }
    // Three views of the second: the fourth decides, and the first person's are not in it.
    let found = show(&mut d, (1, 700, 6), 1, NEAR, 0.5);
    assert_eq!((found.len(), found[0].compared), (1, 4));
    // Of the one whose place was taken, what was due is sent, and each has a candidate of their
    // own.
    let mut d = decider();
    assert!(feed(&mut d, 2, 0, &[NEAR, NEAR]).is_empty());
    let found = show(&mut d, (2, 300, 9), 1, &[], 0.0);
    assert_eq!((found.len(), found[0].entry, found[0].view), (1, 7, 1));
    let other: Hits<'_> = &[(8, 0.6)];
    let found: std::vec::Vec<_> =
        (0..3).flat_map(|i| show(&mut d, (2, 400 + 100 * i, 10), 1, other, 0.6)).collect();
    assert_eq!((found.len(), found[0].entry), (1, 8));
}

#[test]
fn a_candidate_gets_one_better_update_when_the_track_ends() {
    let mut d = decider();
    let found =
        feed(&mut d, 1, 0, &[NEAR, NEAR, NEAR, NEAR, &[(7, 0.52)], &[(7, 0.7)], &[(7, 0.6)]]);
    assert_eq!(found.len(), 1);
    let more = end(&mut d, 1, 800);
    assert_eq!(more.len(), 1);
    assert_eq!(
        (more[0].sequence, more[0].score, more[0].view, more[0].id),
        (2, 0.7, 5, found[0].id)
    );
    assert_eq!((more[0].compared, more[0].combined), (7, 0.6));
    assert!(end(&mut d, 1, 900).is_empty(), "the track is forgotten");
    assert_eq!(d.counters().updates, 1);
}

#[test]
fn a_view_that_is_hardly_better_is_no_update() {
    let mut d = decider();
    assert_eq!(feed(&mut d, 1, 0, &[NEAR, NEAR, NEAR, NEAR, &[(7, 0.549)]]).len(), 1);
    assert!(end(&mut d, 1, 900).is_empty());
}

#[test]
fn an_update_is_due_after_its_time_and_only_once() {
    let mut d = decider();
    feed(&mut d, 1, 0, &[NEAR, NEAR, NEAR, NEAR, &[(7, 0.7)]]);
    assert!(tick(&mut d, 10_299).is_empty());
    assert_eq!(tick(&mut d, 10_300).len(), 1);
    feed(&mut d, 1, 11_000, &[&[(7, 0.9)]]);
    assert!(tick(&mut d, 30_000).is_empty(), "one update a candidate");
    assert!(end(&mut d, 1, 30_000).is_empty(), "one update a candidate");
}

#[test]
fn an_update_is_not_sent_where_the_later_views_took_the_probe_below_the_threshold() {
    let mut d = decider();
    assert_eq!(feed(&mut d, 1, 0, &[NEAR, NEAR, NEAR, NEAR, &[(7, 0.7)], FAR]).len(), 1);
    assert!(end(&mut d, 1, 900).is_empty());
    assert_eq!((d.counters().faded, d.counters().updates), (1, 0));
}

#[test]
fn a_track_gives_one_candidate_whoever_else_it_resembles_later() {
    let mut d = decider();
    assert_eq!(feed(&mut d, 1, 0, &[NEAR; 4]).len(), 1);
    assert!(feed(&mut d, 1, 500, &[&[(8, 0.9), (7, 0.1)][..]; 9]).is_empty());
    assert!(end(&mut d, 1, 2000).is_empty(), "no better view of the entry that was named");
    assert_eq!(d.counters().candidates, 1);
}

#[test]
fn an_entry_in_its_cool_down_is_not_announced_and_is_counted() {
    let mut d = decider();
    assert_eq!(feed(&mut d, 1, 0, &[NEAR; 4]).len(), 1);
    assert_eq!(feed(&mut d, 2, 59_900, &[NEAR; 4]).len(), 0);
    assert_eq!(d.counters().cooling, 1);
    feed(&mut d, 2, 61_000, &[&[(7, 0.9)]]);
    assert!(end(&mut d, 2, 62_000).is_empty(), "nor updated");
    assert_eq!(feed(&mut d, 3, 60_300, &[NEAR; 4]).len(), 1, "60 s after the first");
    assert_eq!(
        feed(&mut d, 4, 60_500, &[&[(8, 0.5)][..]; 4]).len(),
        1,
        "of another entry nothing is known"
    );
}

#[test]
fn a_forgotten_entry_is_neither_announced_nor_updated_nor_named_as_an_alternative() {
    let mut d = decider();
    feed(&mut d, 1, 0, &[NEAR, NEAR, NEAR, NEAR, &[(7, 0.8)]]);
    feed(&mut d, 2, 1000, &[NEAR, NEAR]);
    feed(&mut d, 3, 1000, &[&[(9, 0.52), (7, 0.51)][..]; 4]);
    feed(&mut d, 3, 1500, &[&[(9, 0.8)]]);
    d.forget(7);
    assert!(end(&mut d, 1, 2000).is_empty(), "no update of what was revoked");
    assert!(end(&mut d, 2, 2000).is_empty(), "no candidate of what was revoked");
    let more = end(&mut d, 3, 2000);
    assert!(more.len() == 1 && more[0].alternatives.is_empty());
}

#[test]
fn entries_too_close_to_tell_apart_are_named_in_one_candidate_and_who_comes_close_later_in_its_update()
 {
    let mut d = decider();
    let twins: Hits<'_> = &[(7, 0.42), (8, 0.397), (9, 0.38)];
    let found = feed(&mut d, 1, 0, &[twins; 4]);
    assert_eq!(
        (found.len(), found[0].entry, &found[0].alternatives[..]),
        (1, 7, &[8][..]),
        "also one below the threshold"
    );
    feed(&mut d, 1, 500, &[&[(7, 0.6), (9, 0.59), (8, 0.3)]]);
    let more = end(&mut d, 1, 900);
    assert_eq!(
        (more[0].entry, &more[0].alternatives[..]),
        (7, &[8, 9][..]),
        "whoever was named stays named"
    );
}

#[test]
fn tracks_and_cool_downs_beyond_capacity_are_bounded_and_counted() {
    let mut d = decider();
    for track in 0..128 {
        feed(&mut d, track, 0, &[&[(1, 0.1)]]);
    }
    assert!(feed(&mut d, 500, 0, &[NEAR; 4]).is_empty());
    assert_eq!(d.counters().beyond_capacity, 4);
    end(&mut d, 0, 100);
    assert_eq!(feed(&mut d, 500, 0, &[NEAR; 4]).len(), 1, "a track that ended makes room");
    for (track, entry) in (1000..1128).enumerate() {
        let track = track as u32 % 100 + 1;
        end(&mut d, track, 1000);
        assert_eq!(feed(&mut d, track, 1000, &[&[(entry, 0.5)][..]; 4]).len(), 1);
    }
    end(&mut d, 1, 1500);
    assert_eq!(feed(&mut d, 1, 2000, &[NEAR; 4]).len(), 1, "the oldest cool-down gave way");
    end(&mut d, 1, 3000);
    assert_eq!(feed(&mut d, 1, 3000, &[&[(1127, 0.5)][..]; 4]).len(), 0, "and the latest did not");
}

proptest! {
    #[test]
    fn no_track_gives_more_than_a_candidate_and_an_update_and_none_without_the_evidence(
        views in proptest::collection::vec(
            (0u32..4, proptest::array::uniform3(-0.2f32..1.0), any::<bool>()), 0..200),
    ) {
        let config =
            DecisionConfig { cool_down_s: 0, update_after_s: 1, ..DecisionConfig::default() };
        let mut d = Decider::new(config);
        let mut seen: std::collections::HashMap<u32, (u32, f32)> = Default::default();
        type Told = std::vec::Vec<(u8, Uuid, EntryIndex)>;
        let mut told: std::collections::HashMap<u32, Told> = Default::default();
        for (i, (track, scores, ends)) in views.iter().enumerate() {
            let mut of: std::vec::Vec<(EntryIndex, f32)> =
                scores.iter().copied().enumerate().collect();
            of.sort_by(|a, b| b.1.total_cmp(&a.1));
            let now = i as u64 * 50;
            let known = seen.entry(*track).or_default();
            *known = (known.0 + 1, of[0].1);
            let mut found = show(&mut d, (*track, now, i), *track as usize, &of, of[0].1);
            found.extend(tick(&mut d, now));
            let over = *ends && i % 7 == 0;
            if over {
                found.extend(end(&mut d, *track, now));
            }
            for f in found {
                let told = told.entry(f.track.0).or_default();
                // One candidate, then one update of the same.
                prop_assert_eq!(usize::from(f.sequence), told.len() + 1);
                prop_assert!(told.iter().all(|t| (t.1, t.2) == (f.id, f.entry)));
                told.push((f.sequence, f.id, f.entry));
                let (views_so_far, nearest) = seen[&f.track.0];
                prop_assert_eq!(f.compared, views_so_far);
                prop_assert!(f.compared >= 2 && f.combined >= THRESHOLD && f.agreeing >= 1);
                if f.sequence == 1 {
                    prop_assert_eq!(f.combined, nearest);
                }
                prop_assert!(!f.alternatives.contains(&f.entry));
            }
            if over {
                seen.remove(track);
                told.remove(track);
            }
        }
    }
}
