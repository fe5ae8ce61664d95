use super::super::counts::tests::{pass, setup};
use super::super::counts::{Counter, Setup};
use super::*;
use crate::template::Template;

/// Entries that are told apart, of no meaning.
pub fn entries(n: u8) -> Vec<Template> {
    (1..=n)
        .map(|n| Template::new(vec![n as i8; 63].into_iter().chain([1]).collect()).unwrap())
        .collect()
}

/// A street of `days` x `faces` strangers, each near decoy `d` with probability
/// `rate(d)` mildly, a fifth of that at .40, a twentieth at .50; entry `e` is near as decoy
/// `like(e)` is. Deterministic.
pub struct Street {
    pub decoys: usize,
    pub entries: Vec<usize>,
    pub days: u32,
    pub faces: u32,
}

impl Street {
    pub fn rate(decoy: usize) -> f64 {
        0.3 / (1.0 + decoy as f64 / 10.0)
    }

    pub fn counter(&self) -> Counter {
        let setup = Setup { days: 366, least_faces: 1, ..setup() };
        let mut counter = Counter::new(Counts::new(setup, self.decoys, [1; 16]));
        counter.set_entries(&entries(self.entries.len() as u8));
        counter
    }

    /// Walks past; `more` may add to each view.
    pub fn walk(
        &self,
        mut more: impl FnMut(&mut super::super::counts::CountedView<'_>, u32),
    ) -> Counts {
        let mut counter = self.counter();
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut similarity = |rate: f64| match uniform() {
            u if u < rate / 20.0 => 0.5,
            u if u < rate / 5.0 => 0.4,
            u if u < rate => 0.3,
            _ => 0.0,
        };
        for day in 0..self.days {
            for _ in 0..self.faces {
                let mut view = counter.view(1, day).unwrap();
                for decoy in 0..self.decoys {
                    view.decoy(decoy, similarity(Self::rate(decoy)));
                }
                for (entry, like) in self.entries.iter().enumerate() {
                    view.entry(entry, similarity(Self::rate(*like)));
                }
                more(&mut view, day);
                counter.end(1, day);
            }
        }
        counter.counts().clone()
    }
}

#[test]
fn strata_are_runs_of_at_least_twenty_and_hold_every_decoy_once() {
    for decoys in [20, 39, 40, 71, 72, 73, 104, 500, 2000] {
        let counts = Counts::new(setup(), decoys, [1; 16]);
        let scored = score(&counts, 0, &[]);
        let sizes: Vec<u32> = scored.strata.iter().map(|s| s.decoys).collect();
        assert_eq!(sizes.iter().sum::<u32>() as usize, decoys);
        assert!(sizes.iter().all(|n| *n >= 20), "{sizes:?}");
        // 500: 20, 32, 51, 81, 316 = 129 and the rest under the next size.
        assert_eq!(sizes[0], if decoys < 40 { decoys as u32 } else { 20 }, "{sizes:?}");
    }
}

#[test]
fn an_entry_is_judged_by_decoys_of_its_own_rate_and_the_average_decoy_is_wrong_about_it() {
    let street = Street { decoys: 200, entries: vec![14, 18, 25], days: 4, faces: 500 };
    let curve = SiteCurve::of(&street.walk(|_, _| ())).unwrap();
    assert_eq!((curve.covered.len(), curve.uncovered), (3, 0));
    let truth: f64 = street.entries.iter().map(|d| Street::rate(*d) / 20.0).sum();
    let (bound, estimate) = (curve.upper_bound(0.5), curve.estimate(0.5));
    assert!(bound > truth && bound < 5.0 * truth, "{bound} {truth}");
    assert!((0.5..1.6).contains(&(estimate / truth)), "{estimate} {truth}");
    assert!(curve.average_decoy(0.5) < 0.6 * truth, "{} {truth}", curve.average_decoy(0.5));
}

#[test]
fn a_bound_allows_for_tails_that_fall_more_slowly_and_no_more_where_events_end() {
    let street = Street { decoys: 200, entries: vec![14, 18, 25], days: 4, faces: 500 };
    let curve = SiteCurve::of(&street.walk(|_, _| ())).unwrap();
    let counted = |t: f32| {
        let b = bin(t).unwrap();
        upper_bound(&curve.terms(b), f64::from(curve.effects[b]) / 1000.0)
    };
    let allowed = |t: f32| curve.upper_bound(t) / counted(t);
    assert!((allowed(0.30) - 1.0).abs() < 1e-9);
    assert!((allowed(0.40) - 0.35f64.exp()).abs() < 1e-6, "{}", allowed(0.40));
    assert!(curve.events(0.9) < LEAST_EVENTS);
    assert!((allowed(0.99) - allowed(0.9)).abs() < 1e-9);
}

#[test]
fn an_entry_that_no_decoy_is_like_is_said_to_be_uncovered() {
    let mut street = Street { decoys: 100, entries: vec![80, 90], days: 3, faces: 300 };
    assert_eq!(SiteCurve::of(&street.walk(|_, _| ())).unwrap().uncovered, 0);
    // As near to strangers as no decoy but the first few.
    street.entries = vec![0, 90];
    let counts = street.walk(|view, _| view.entry(0, 0.3));
    let curve = SiteCurve::of(&counts).unwrap();
    assert_eq!((curve.covered.len(), curve.uncovered), (1, 1));
}

#[test]
fn an_entry_that_was_never_counted_is_not_covered() {
    let street = Street { decoys: 50, entries: vec![5], days: 2, faces: 100 };
    let mut counts = street.walk(|_, _| ());
    counts.entries[0].tracks = [0, 100];
    counts.entries[0].mild = [0, 10];
    assert_eq!(SiteCurve::of(&counts).unwrap().uncovered, 1);
}

#[test]
fn a_bound_never_rises_with_the_threshold_and_ends_above_zero() {
    let street = Street { decoys: 100, entries: vec![50], days: 2, faces: 300 };
    let curve = SiteCurve::of(&street.walk(|_, _| ())).unwrap();
    assert_eq!(curve.upper_bound(0.2), 1.0);
    assert_eq!(curve.upper_bound(f32::NAN), 1.0);
    let bounds = curve.upper_bounds();
    assert!(bounds.windows(2).all(|w| w[1] <= w[0]), "{bounds:?}");
    assert_eq!(curve.events(0.51), 0);
    assert!(bounds[69] > 0.0);
}

#[test]
fn a_passer_by_who_returns_widens_the_bound_and_raises_the_alarm() {
    let street = Street { decoys: 100, entries: vec![30], days: 5, faces: 200 };
    let plain = street.walk(|_, _| ());
    assert_eq!(plain.drifts(), []);
    let mut n = 0;
    // Decoy 42 works here and passes ten times a day.
    let staff = street.walk(|view, _| {
        n += 1;
        if n % 20 == 0 {
            view.decoy(42, 0.8);
        }
    });
    assert_eq!(staff.drifts(), [Drift::Decoy { position: 42 }]);
    let (a, b) = (SiteCurve::of(&plain).unwrap(), SiteCurve::of(&staff).unwrap());
    let at = bin(0.8).unwrap();
    assert!(b.effects[at] > 5 * a.effects[at], "{} {}", b.effects[at], a.effects[at]);
    assert!(b.upper_bound(0.7) > a.upper_bound(0.7));
}

#[test]
fn a_day_unlike_the_others_raises_the_alarm_and_widens_the_bound() {
    let street = Street { decoys: 100, entries: vec![30], days: 6, faces: 200 };
    let odd = street.walk(|view, day| {
        if day == 3 {
            (0..20).for_each(|d| view.decoy(d, 0.31));
        }
    });
    let drifts = odd.drifts();
    assert!(
        matches!(drifts[..], [Drift::Day { day: 3, residual }] if residual > 4.0),
        "{drifts:?}"
    );
    assert!(between_days(&odd) > 0.01, "{}", between_days(&odd));
    assert!(between_days(&street.walk(|_, _| ())) < 0.01);
}

#[test]
fn too_few_events_or_decoys_give_no_curve() {
    let mut counter = Counter::new(Counts::new(setup(), 30, [1; 16]));
    pass(&mut counter, 1, &[&[0.5; 9]]);
    assert_eq!(SiteCurve::of(counter.counts()).unwrap_err(), TooLittle::Events(9));
    let few = Counts::new(setup(), 19, [1; 16]);
    assert_eq!(SiteCurve::of(&few).unwrap_err(), TooLittle::Decoys(19));
}

#[test]
fn a_drift_is_told_with_its_day_even_where_no_calendar_has_it() {
    let told = |day| Drift::Day { day, residual: -5.25 }.to_string();
    assert!(told(20_000).starts_with("the day 2024-10-04 differs"), "{}", told(20_000));
    assert!(
        told(u32::MAX).starts_with("the day 4294967295 since 1970 differs from the others by -5.2")
    );
    assert!(Drift::Decoy { position: 7 }.to_string().starts_with("decoy 7 is matched"));
}
