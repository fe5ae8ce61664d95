//! From counts to the list's rate at this place: decoys in strata of like mild rate, each entry in
//! the stratum that behaves as it does, and the bound of the sum.
//!
//! * Strata are chosen on one fold of tracks and scored on the other, both ways: decoys sorted by
//!   their mild counts, the highest first, in runs of 20, 32, 51, 82, ... A run that would leave
//!   fewer behind it takes them in.
//! * An entry belongs to the first stratum whose lowest mild count is not above its own by more
//!   than one standard deviation (`m + sqrt(m + 1)`): it errs towards the stricter stratum.
//! * An entry is **covered** where, on both folds, at least [`LEAST_DECOYS`] decoys have
//!   [`LIKE`] of its mild count or more. One that is not keeps the bound of the worst group:
//!   nobody among the decoys is as this entry is, and the tool says so.
//! * Decoys that are alike at the mild similarity may be of other groups than an entry, and their
//!   rate then falls faster with the similarity. The bound allows for that.
//! * The bound is Fay and Feuer's ([`super::bound`]) with a design effect
//!   `decoys + tracks - 1 + days`: a passer-by who returns each day shows as one decoy that matches
//!   often, a face that many resemble as one track that matches many, a day unlike the others as a
//!   spread between days that chance does not explain. Nobody is followed for it.
//! * Not promised: anything about strangers who are seldom here; about a person on the list who
//!   has relatives here; a rate for an entry that was not counted.

use std::fmt;

use time::OffsetDateTime;

use super::bound::{Weighted, design_effect, estimate, raise_to_later, upper_bound};
use super::counts::{BINS, CountedHalf, Counts, Day, EntryCounts, FIRST_BIN, Mark, bin, edge};

/// Fewest decoys of a stratum.
pub const LEAST_DECOYS: usize = 20;
/// Each stratum has so many times the decoys of the one before.
const GROWTH: f64 = 1.6;
/// By how much more slowly an entry's rate may fall with the similarity than that of decoys of like
/// mild rate: the difference of two exponential tails, in 1 / similarity. Held-out places whose
/// decoys lack nearly all groups need 3.
const SLOWER: f64 = 3.5;
/// Share of an entry's mild count that a decoy must have to be like it.
const LIKE: f64 = 0.7;
/// Fewest events from which a design effect is estimated.
pub(super) const LEAST_EVENTS: u64 = 10;
/// Pearson residual of a day's mild comparisons from which on days differ.
pub const DRIFT_RESIDUAL: f64 = 4.0;
/// Similarity from which on the events of single decoys are looked at.
const KNOWN_FROM: f32 = 0.45;
/// Share of those events that one decoy must not exceed, and fewest of them that it takes.
const KNOWN_SHARE: f64 = 0.05;
const KNOWN_EVENTS: u64 = 5;

/// Decoys of like mild rate, as one of the folds chose them, and what the other fold's tracks did
/// to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stratum {
    /// How many, at least [`LEAST_DECOYS`].
    pub decoys: u32,
    /// Covered entries that belong here.
    pub entries: u32,
    /// Mild comparisons of all its decoys.
    pub mild: u64,
    /// Tracks and decoys that came together, by the bin of the highest similarity.
    pub reached: [u64; BINS],
}

/// The strata that one fold chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoredStrata {
    /// Tracks of the other fold.
    pub tracks: u64,
    /// Highest mild rate first.
    pub strata: Vec<Stratum>,
}

/// What was measured at one place: enough to bound the covered entries' rate at any threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteCurve {
    /// Strata scored on the second fold, and on the first.
    pub scored: [ScoredStrata; 2],
    /// Design effect at each bin's edge, in thousandths.
    pub effects: [u32; BINS],
    /// The entries whose rate this bounds, ascending.
    pub covered: Vec<Mark>,
    /// Entries that were counted and are like too few decoys.
    pub uncovered: u32,
}

/// Why nothing follows from counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLittle {
    /// Not two strata's worth.
    #[error("{0} decoys were counted; a site curve takes at least {LEAST_DECOYS}")]
    Decoys(usize),
    /// No strangers came near the decoys.
    #[error(
        "strangers reached a decoy {0} times at the lowest threshold; it takes {LEAST_EVENTS} to \
         say how much they bunch: count on more days, or with more decoys"
    )]
    Events(u64),
}

/// Something in the counts that does not look like strangers who pass by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Drift {
    /// A day unlike the others.
    Day {
        /// In days since 1970-01-01.
        day: u32,
        /// `(counted - expected) / sqrt(design effect * expected)`.
        residual: f64,
    },
    /// A decoy that somebody who passes often is taken for: it may be that person.
    Decoy {
        /// Position in the set.
        position: usize,
    },
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day { day, residual } => {
                let since = time::Duration::days(i64::from(*day));
                match OffsetDateTime::UNIX_EPOCH.checked_add(since) {
                    Some(at) => write!(f, "the day {}", at.date())?,
                    // Beyond the calendar, from a file that somebody made.
                    None => write!(f, "the day {day} since 1970")?,
                }
                write!(
                    f,
                    " differs from the others by {residual:.1} standard deviations: other people, \
                     other light, or another aim of the camera"
                )
            }
            Self::Decoy { position } => write!(
                f,
                "decoy {position} is matched again and again: somebody who passes here often is \
                 that person or is taken for them; have the set signed again without it"
            ),
        }
    }
}

impl SiteCurve {
    /// What follows from `counts`.
    ///
    /// # Errors
    /// Where they are too few.
    pub fn of(counts: &Counts) -> Result<Self, TooLittle> {
        let decoys = counts.folds[0].decoys.len();
        if decoys < LEAST_DECOYS {
            return Err(TooLittle::Decoys(decoys));
        }
        let effects = effects(counts)?;
        let covered: Vec<bool> = counts
            .entries
            .iter()
            .map(|entry| (0..2).all(|f| is_covered(entry, f, &counts.folds[f])))
            .collect();
        let scored = [0, 1].map(|chosen| score(counts, chosen, &covered));
        let mut marks: Vec<Mark> =
            counts.entries.iter().zip(&covered).filter(|(_, c)| **c).map(|(e, _)| e.mark).collect();
        marks.sort_unstable();
        let uncovered = covered.iter().filter(|c| !**c).count() as u32;
        Ok(Self { scored, effects, covered: marks, uncovered })
    }

    /// One-sided 95 % upper bound of the probability that a stranger's track reaches `threshold`
    /// with any of the covered entries, summed over them. Below [`FIRST_BIN`]: their number.
    pub fn upper_bound(&self, threshold: f32) -> f64 {
        let entries = self.covered.len() as f64;
        match bin(threshold) {
            Some(b) if threshold >= FIRST_BIN => {
                let counted = upper_bound(&self.terms(b), f64::from(self.effects[b]) / 1000.0);
                (counted * self.allowance(b)).min(entries)
            }
            _ => entries,
        }
    }

    /// How many times the rate of decoys of like mild rate an entry's may be from the bin `from`
    /// on, at least 1: nothing where they were matched, more the further up. Beyond the strictest
    /// threshold with enough events the bound is wide already, and it grows no more.
    fn allowance(&self, from: usize) -> f64 {
        let counted = (0..=from).rev().find(|b| self.events(edge(*b)) >= LEAST_EVENTS);
        allowance_at(edge(counted.unwrap_or(0)))
    }

    /// [`SiteCurve::upper_bound`] at each bin's edge, none below one further on. The true rate
    /// falls with the threshold, so that the lowest threshold whose bound is within a budget is
    /// right as often as a single bound: picking it is no second chance.
    pub fn upper_bounds(&self) -> [f64; BINS] {
        let mut bounds: [f64; BINS] = std::array::from_fn(|b| self.upper_bound(edge(b)));
        raise_to_later(&mut bounds);
        bounds
    }

    /// The estimate that [`SiteCurve::upper_bound`] bounds.
    pub fn estimate(&self, threshold: f32) -> f64 {
        bin(threshold).map_or(self.covered.len() as f64, |b| estimate(&self.terms(b)))
    }

    /// Matches of tracks with decoys at `threshold` or above.
    pub fn events(&self, threshold: f32) -> u64 {
        let from = bin(threshold).unwrap_or(0);
        let strata = self.scored.iter().flat_map(|s| &s.strata);
        strata.map(|s| s.reached[from..].iter().sum::<u64>()).sum()
    }

    /// What one decoy in the middle of all would say: wrong wherever entries and decoys are not of
    /// the same kind, and here to show how wrong.
    pub fn average_decoy(&self, threshold: f32) -> f64 {
        let pairs: f64 = self
            .scored
            .iter()
            .map(|s| s.tracks as f64 * s.strata.iter().map(|q| f64::from(q.decoys)).sum::<f64>())
            .sum();
        self.events(threshold) as f64 / pairs.max(1.0) * self.covered.len() as f64
    }

    fn terms(&self, from: usize) -> Vec<Weighted> {
        let mut terms = Vec::new();
        for scored in &self.scored {
            for stratum in &scored.strata {
                let pairs = f64::from(stratum.decoys) * scored.tracks as f64;
                // Both folds estimate the same sum; each counts half.
                let weight = 0.5 * f64::from(stratum.entries) / pairs;
                let events = stratum.reached[from..].iter().sum::<u64>() as f64;
                terms.push(Weighted { events, weight });
            }
        }
        terms
    }
}

/// By how much more often an entry may match than decoys of like mild rate at `similarity`, where
/// enough events were counted.
pub(super) fn allowance_at(similarity: f32) -> f64 {
    (SLOWER * f64::from(similarity - FIRST_BIN)).exp()
}

/// Mild count of an entry as if it had been counted on all tracks of fold `f`, and one standard
/// deviation above it.
fn mild_of(entry: &EntryCounts, f: usize, tracks: u64) -> (f64, f64) {
    let scale = tracks as f64 / entry.tracks[f].max(1) as f64;
    let mild = entry.mild[f] as f64;
    (mild * scale, (mild + (mild + 1.0).sqrt()) * scale)
}

/// Whether enough decoys are like `entry` on fold `f`. One that no stranger came near in fewer
/// tracks than the fold has is not covered: its rate may be anything.
fn is_covered(entry: &EntryCounts, f: usize, fold: &CountedHalf) -> bool {
    if entry.tracks[f] == 0 || fold.tracks == 0 {
        return false;
    }
    let (mild, _) = mild_of(entry, f, fold.tracks);
    let like = fold.decoys.iter().filter(|d| f64::from(d.mild) >= LIKE * mild).count();
    like >= LEAST_DECOYS
}

/// The strata that fold `chosen` makes, scored on the other one.
fn score(counts: &Counts, chosen: usize, covered: &[bool]) -> ScoredStrata {
    let (choosing, scoring) = (&counts.folds[chosen], &counts.folds[1 - chosen]);
    let mut order: Vec<usize> = (0..choosing.decoys.len()).collect();
    // By position where counts are equal.
    order.sort_by_key(|d| (std::cmp::Reverse(choosing.decoys[*d].mild), *d));
    let mut strata = Vec::new();
    let mut lowest = Vec::new();
    let (mut at, mut size) = (0, LEAST_DECOYS as f64);
    while at < order.len() {
        let mut end = (at + size as usize).min(order.len());
        if order.len() - end < size as usize {
            end = order.len();
        }
        let members = &order[at..end];
        let mut stratum =
            Stratum { decoys: members.len() as u32, entries: 0, mild: 0, reached: [0; BINS] };
        for decoy in members.iter().map(|d| &scoring.decoys[*d]) {
            stratum.mild += u64::from(decoy.mild);
            for (sum, n) in stratum.reached.iter_mut().zip(decoy.reached) {
                *sum += u64::from(n);
            }
        }
        lowest.push(f64::from(choosing.decoys[order[end - 1]].mild));
        strata.push(stratum);
        at = end;
        size = (size * GROWTH).floor();
    }
    for (entry, _) in counts.entries.iter().zip(covered).filter(|(_, covered)| **covered) {
        let (_, upper) = mild_of(entry, chosen, choosing.tracks);
        let own = lowest.iter().position(|lowest| *lowest <= upper);
        strata[own.unwrap_or(lowest.len() - 1)].entries += 1;
    }
    ScoredStrata { tracks: scoring.tracks, strata }
}

/// Design effect at each bin's edge, in thousandths, rounded up. Where there are too few events to
/// say, the one of the strictest threshold that has enough, if that is larger.
fn effects(counts: &Counts) -> Result<[u32; BINS], TooLittle> {
    let between = between_days(counts);
    let days = counts.days.len().max(1) as f64;
    let [a, b] = &counts.folds;
    // Over both folds together: somebody who returns is in both.
    let decoys = || a.decoys.iter().zip(&b.decoys);
    let mut effects = [0; BINS];
    let mut strictest = None;
    for (from, effect) in effects.iter_mut().enumerate() {
        let (mut events, mut squares) = (0u64, 0.0);
        for n in decoys().map(|(a, b)| a.at_least(from) + b.at_least(from)) {
            events += n;
            squares += n as f64 * n as f64;
        }
        let sum = events as f64;
        let d = design_effect(squares, sum) + design_effect(counts.squares[from] as f64, sum) - 1.0
            + between * sum / days;
        let d = match strictest {
            _ if events >= LEAST_EVENTS => {
                strictest = Some(d);
                d
            }
            Some(strictest) => d.max(strictest),
            None => return Err(TooLittle::Events(events)),
        };
        *effect = (d * 1000.0).ceil() as u32;
    }
    Ok(effects)
}

/// Variance of the true rate between days, relative to its square, from the mild comparisons: what
/// is left of the days' spread when chance is taken off (the moment estimator of an overdispersed
/// Poisson rate).
fn between_days(counts: &Counts) -> f64 {
    let residuals = residuals(&counts.days, counts.mild_effect());
    let Some(more) = residuals.len().checked_sub(1).filter(|more| *more > 0) else { return 0.0 };
    let spread = residuals.iter().map(|(_, r)| r * r).sum::<f64>() / more as f64;
    let mild = counts.days.iter().map(|d| d.mild as f64).sum::<f64>() / counts.days.len() as f64;
    if mild > 0.0 { ((spread - 1.0) * counts.mild_effect() / mild).max(0.0) } else { 0.0 }
}

/// Each day's Pearson residual, where `effect` is the design effect of a track.
pub fn residuals(days: &[Day], effect: f64) -> Vec<(u32, f64)> {
    let faces: f64 = days.iter().map(|d| d.faces as f64).sum();
    let mild: f64 = days.iter().map(|d| d.mild as f64).sum();
    days.iter()
        .map(|day| {
            let expected = mild * day.faces as f64 / faces.max(1.0);
            let residual = (day.mild as f64 - expected) / (effect * expected).max(1.0).sqrt();
            (day.day, residual)
        })
        .collect()
}

/// The day that is most unlike the others, where it is too much so.
pub fn drift_of_days(days: &[Day], effect: f64) -> Option<Drift> {
    let residuals = residuals(days, effect).into_iter();
    let (day, residual) = residuals.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
    (residual.abs() > DRIFT_RESIDUAL).then_some(Drift::Day { day, residual })
}

impl Counts {
    /// Which of the counted entries `curve` covers, in the order of the list.
    pub fn covered_entries(&self, curve: &SiteCurve) -> Vec<bool> {
        self.entries.iter().map(|e| curve.covered.binary_search(&e.mark).is_ok()).collect()
    }

    /// Design effect of a track in the mild comparisons: days differ by chance as if each track
    /// were one event of this size.
    pub fn mild_effect(&self) -> f64 {
        let mild: f64 = self.days.iter().map(|d| d.mild as f64).sum();
        design_effect(self.mild_squares as f64, mild)
    }

    /// What does not look like strangers who pass by chance.
    pub fn drifts(&self) -> Vec<Drift> {
        let mut found: Vec<Drift> =
            drift_of_days(&self.days, self.mild_effect()).into_iter().collect();
        let from = bin(KNOWN_FROM).expect("above the first bin");
        let [a, b] = &self.folds;
        let own: Vec<u64> = a
            .decoys
            .iter()
            .zip(&b.decoys)
            .map(|(a, b)| a.at_least(from) + b.at_least(from))
            .collect();
        let most = KNOWN_SHARE * own.iter().sum::<u64>() as f64;
        let known = |n: u64| n >= KNOWN_EVENTS && n as f64 > most;
        let known = own.iter().enumerate().filter(|(_, n)| known(**n));
        found.extend(known.map(|(position, _)| Drift::Decoy { position }));
        found
    }
}

#[cfg(test)]
#[path = "strata/tests.rs"]
pub(crate) mod tests;
