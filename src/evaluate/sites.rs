//! Whether a calibration on site keeps its bound: places drawn from people whose truth is known.
//!
//! * Three thirds of the people: the list is drawn from one, the decoys from another, those who
//!   pass from the third. Each draws its own mixture of the groups (Dirichlet: list and passers-by
//!   .5, decoys 2), so that the street's mixture differs from the decoys'.
//! * What is counted and judged is the device's own code: [`Counter`], then [`SiteCurve`]. The
//!   truth of a place is the covered entries' rate over *all* who may pass there, not only over
//!   those who did.
//! * People return: somebody who is drawn again passes with the same similarity again.
//!
//! Not promised: anything beyond the people that there are. A third of a few thousand is a small
//! street; one photograph a person stands for a track and for an entry.

use serde::Serialize;

use super::duplicates::{JudgedPeople, Suspect};
use super::protocol::draw::Draw;
use super::statistics::interval::Rate;
use crate::calibrate::counts::{BINS, Counter, Counts, Setup, edge};
use crate::calibrate::strata::SiteCurve;
use crate::promise::FLOOR;
use crate::template::Template;

/// Thresholds at which bounds are held against the truth.
pub const THRESHOLDS: [f32; 4] = [0.35, 0.40, 0.45, 0.50];
/// Days over which the tracks of a place are spread.
const DAYS: u32 = 7;

/// Somebody whose group is known. One photograph, one template.
pub struct GroupedPerson {
    /// Position in [`Population::groups`].
    pub group: usize,
    /// Of the photograph.
    pub template: Template,
}

/// Of `people` who hang together by similarities of `from` or more, the first: research sets hold
/// one person under several names.
pub fn one_of_each(people: Vec<GroupedPerson>, from: f32) -> Vec<GroupedPerson> {
    let mut pairs = Vec::new();
    for (a, first) in people.iter().enumerate() {
        for (b, second) in people[..a].iter().enumerate() {
            let similarity = first.template.cosine(&second.template);
            if similarity >= from {
                pairs.push(Suspect { a, b, similarity });
            }
        }
    }
    let all: Vec<u32> = (0..people.len() as u32).collect();
    let stay = JudgedPeople::default().one_of_each(&all, &pairs, &all);
    people.into_iter().zip(all).filter(|(_, at)| stay.contains(at)).map(|(p, _)| p).collect()
}

/// Everybody, and how similar each is to each.
pub struct Population {
    /// Names.
    groups: Vec<String>,
    group_of: Vec<usize>,
    /// Similarity of each to each, in hundredths rounded down, 0 below zero.
    hundredths: Vec<u8>,
}

/// What is drawn.
#[derive(Debug, Clone, Serialize)]
pub struct SitePlan {
    /// Places.
    pub sites: u32,
    /// Entries of each list.
    pub entries: usize,
    /// Decoys of each set.
    pub decoys: usize,
    /// Tracks that pass at each place.
    pub tracks: u32,
    /// Groups that are missing among the decoys.
    pub without: Vec<String>,
    /// Of the draws.
    pub seed: u64,
    /// What a list is to keep, where lists are to be planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

/// What lists are planned for.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Goal {
    /// False alerts a track that a list may give.
    pub alerts_a_face: f64,
    /// The highest threshold at which enough of the listed people are found.
    pub highest: f32,
}

/// What came of one place at one threshold.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    truth: f64,
    bound: f64,
    estimate: f64,
    average_decoy: f64,
    /// The covered entries' and the others' truth.
    uncovered_truth: f64,
}

/// What a place allows.
#[derive(Debug, Clone, Copy)]
struct Planned {
    /// Most entries like those drawn that the bound lets in, at the best threshold up to the
    /// goal's.
    largest: f64,
    /// Threshold at which the list that was drawn keeps the goal, and its true rate there.
    kept: Option<(f32, f64)>,
}

/// What came of planning lists.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedLists {
    /// Entries of the largest list, in the median of places.
    pub largest: f64,
    /// In nineteen of twenty places it is at least as large.
    pub largest_of_nearly_all: f64,
    /// Places in which the list that was drawn keeps the goal by its bound.
    pub fits: Rate,
    /// Of these, places in which its true rate is within the goal.
    pub held: Rate,
}

/// What came of all places at one threshold.
#[derive(Debug, Clone, Serialize)]
pub struct SitesAt {
    /// Similarity.
    pub threshold: f32,
    /// Places where the bound was at or above the truth.
    pub held: Rate,
    /// Median of bound over truth, where there is a truth.
    pub bound_over_truth: f64,
    /// Median of estimate over truth.
    pub estimate_over_truth: f64,
    /// Median of what the average decoy says over truth.
    pub average_decoy_over_truth: f64,
    /// Median of the uncovered entries' rate over the covered ones'.
    pub uncovered_over_covered: f64,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct SitesResult {
    /// What was drawn.
    pub plan: SitePlan,
    /// People of each group.
    pub groups: Vec<(String, usize)>,
    /// Share of entries that were covered, over all places.
    pub covered: f64,
    /// Places at which too few matched for any curve.
    pub no_curve: u32,
    /// At each of [`THRESHOLDS`].
    pub thresholds: Vec<SitesAt>,
    /// Where there is a goal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<PlannedLists>,
}

/// What came of one place.
struct Place {
    covered: f64,
    outcomes: Vec<Outcome>,
    planned: Option<Planned>,
}

impl Population {
    /// Compares everybody with everybody; `progress` gets each person that is done.
    pub fn new(
        groups: Vec<String>,
        people: &[GroupedPerson],
        mut progress: impl FnMut(usize),
    ) -> Self {
        let n = people.len();
        let mut hundredths = vec![0u8; n * n];
        for (i, a) in people.iter().enumerate() {
            for (j, b) in people[..i].iter().enumerate() {
                let similarity = a.template.cosine(&b.template);
                let whole = (f64::from(similarity) * 100.0 + 1e-4).clamp(0.0, 100.0) as u8;
                hundredths[i * n + j] = whole;
                hundredths[j * n + i] = whole;
            }
            progress(i + 1);
        }
        Self { groups, group_of: people.iter().map(|p| p.group).collect(), hundredths }
    }

    fn similarity(&self, a: usize, b: usize) -> f32 {
        f32::from(self.hundredths[a * self.group_of.len() + b]) / 100.0
    }

    /// The weight of each of `people` where the groups are mixed as one draw of a Dirichlet
    /// distribution says.
    fn mixture(
        &self,
        people: &[usize],
        concentration: f64,
        without: &[String],
        draw: &mut Draw,
    ) -> Vec<f64> {
        let share: Vec<f64> = self
            .groups
            .iter()
            .map(|name| {
                let share = draw.gamma(concentration);
                if without.contains(name) { 0.0 } else { share }
            })
            .collect();
        let mut sizes = vec![0f64; self.groups.len()];
        people.iter().for_each(|p| sizes[self.group_of[*p]] += 1.0);
        let weight = |p: &usize| share[self.group_of[*p]] / sizes[self.group_of[*p]];
        let weights: Vec<f64> = people.iter().map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / sum).collect()
    }

    /// Draws one place and judges it; `None` where too few matched.
    fn place(&self, plan: &SitePlan, number: u32) -> Option<Place> {
        let mut draw = Draw::new(plan.seed, number);
        let mut thirds = [Vec::new(), Vec::new(), Vec::new()];
        for person in 0..self.group_of.len() {
            thirds[draw.below(3)].push(person);
        }
        let [listed, decoys, passing] = &thirds;
        let listed_weights = self.mixture(listed, 0.5, &[], &mut draw);
        let entries = without_return(listed, listed_weights, plan.entries, &mut draw);
        let decoy_weights = self.mixture(decoys, 2.0, &plan.without, &mut draw);
        let decoys = without_return(decoys, decoy_weights, plan.decoys, &mut draw);
        let weights = self.mixture(passing, 0.5, &[], &mut draw);
        let counts = self.count(plan, &entries, &decoys, passing, &weights, &mut draw);
        let curve = SiteCurve::of(&counts).ok()?;
        let marks: Vec<bool> = counts.covered_entries(&curve);
        let truths_at = |threshold: f32| {
            let mut truths = [0.0; 2];
            for (entry, covered) in entries.iter().zip(&marks) {
                let rate: f64 = passing
                    .iter()
                    .zip(&weights)
                    .filter(|(p, _)| self.similarity(**p, *entry) >= threshold - 1e-6)
                    .map(|(_, w)| w)
                    .sum();
                truths[usize::from(!covered)] += rate;
            }
            truths
        };
        let outcomes = THRESHOLDS
            .iter()
            .map(|threshold| {
                let truths = truths_at(*threshold);
                Outcome {
                    truth: truths[0],
                    bound: curve.upper_bound(*threshold),
                    estimate: curve.estimate(*threshold),
                    average_decoy: curve.average_decoy(*threshold),
                    uncovered_truth: truths[1],
                }
            })
            .collect();
        let covered = curve.covered.len() as f64 / entries.len().max(1) as f64;
        let planned = plan.goal.map(|goal| {
            let bounds = curve.upper_bounds();
            let allowed = (0..BINS).filter(|b| (FLOOR..=goal.highest + 1e-6).contains(&edge(*b)));
            let mut allowed = allowed.map(|b| (edge(b), bounds[b]));
            // Never rising, so that the last one is the least. It is proportional to the entries.
            let least = allowed.clone().next_back().map_or(f64::INFINITY, |(_, bound)| bound);
            let kept = allowed.find(|(_, bound)| *bound <= goal.alerts_a_face);
            Planned {
                largest: curve.covered.len() as f64 * goal.alerts_a_face / least,
                kept: kept.map(|(threshold, _)| (threshold, truths_at(threshold)[0])),
            }
        });
        Some(Place { covered, outcomes, planned })
    }

    /// What a device at the place would have counted.
    fn count(
        &self,
        plan: &SitePlan,
        entries: &[usize],
        decoys: &[usize],
        passing: &[usize],
        weights: &[f64],
        draw: &mut Draw,
    ) -> Counts {
        let setup = Setup {
            device: "site".parse().expect("a reference"),
            camera: "site".parse().expect("a reference"),
            position: None,
            decoys: [0; 32],
            promise: [0; 32],
            days: u16::MAX,
            least_faces: 1,
        };
        let mut counter = Counter::new(Counts::new(setup, decoys.len(), [0; 16]));
        let marks: Vec<Template> = entries.iter().map(|e| named(*e)).collect();
        counter.set_entries(&marks);
        let mut cumulated = 0.0;
        let ends: Vec<f64> = weights
            .iter()
            .map(|w| {
                cumulated += w;
                cumulated
            })
            .collect();
        for track in 0..plan.tracks {
            let at = draw.unit() * cumulated;
            let person = passing[ends.partition_point(|end| *end < at).min(passing.len() - 1)];
            let day = track * DAYS / plan.tracks;
            let Some(mut view) = counter.view(track, day) else { continue };
            // In the middle of its hundredth.
            let middle = |other: &usize| self.similarity(person, *other) + 0.005;
            decoys.iter().enumerate().for_each(|(d, other)| view.decoy(d, middle(other)));
            entries.iter().enumerate().for_each(|(e, other)| view.entry(e, middle(other)));
            counter.end(track, day);
        }
        counter.counts().clone()
    }
}

/// Up to `n` of `people` with these weights, nobody twice (Efraimidis and Spirakis 2006: the
/// largest `ln(u) / w`).
fn without_return(people: &[usize], weights: Vec<f64>, n: usize, draw: &mut Draw) -> Vec<usize> {
    let mut keyed: Vec<(f64, usize)> = people
        .iter()
        .zip(weights)
        .map(|(p, w)| (draw.unit().ln() / w, *p))
        .filter(|(key, _)| key.is_finite())
        .collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
    keyed.truncate(n);
    keyed.into_iter().map(|(_, p)| p).collect()
}

/// A template that stands for a number, so that entries can be told apart.
fn named(n: usize) -> Template {
    let bits = (0..64).map(|bit| if n >> bit.min(32) & 1 == 1 { 1 } else { -1 }).collect();
    Template::new(bits).expect("no component is zero")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.retain(|v| v.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl PlannedLists {
    fn of(places: &[Planned], goal: Goal) -> Self {
        let mut largest: Vec<f64> = places.iter().map(|p| p.largest).collect();
        largest.sort_by(f64::total_cmp);
        let at = |share: f64| largest.get((largest.len() as f64 * share) as usize).copied();
        let kept: Vec<f64> = places.iter().filter_map(|p| p.kept.map(|(_, truth)| truth)).collect();
        let held = kept.iter().filter(|truth| **truth <= goal.alerts_a_face).count();
        Self {
            largest: at(0.5).unwrap_or(f64::NAN),
            largest_of_nearly_all: at(0.05).unwrap_or(f64::NAN),
            fits: Rate::new(kept.len() as u64, places.len() as u64),
            held: Rate::new(held as u64, kept.len() as u64),
        }
    }
}

/// Draws and judges `plan.sites` places; `progress` gets each that is done.
pub fn evaluate(
    population: &Population,
    plan: SitePlan,
    mut progress: impl FnMut(u32),
) -> SitesResult {
    let mut covered = Vec::new();
    let mut no_curve = 0;
    let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); THRESHOLDS.len()];
    let mut planned: Vec<Planned> = Vec::new();
    for number in 0..plan.sites {
        match population.place(&plan, number) {
            None => no_curve += 1,
            Some(place) => {
                covered.push(place.covered);
                outcomes.iter_mut().zip(place.outcomes).for_each(|(all, one)| all.push(one));
                planned.extend(place.planned);
            }
        }
        progress(number + 1);
    }
    let thresholds = THRESHOLDS
        .iter()
        .zip(&outcomes)
        .map(|(threshold, all)| {
            let held = all.iter().filter(|o| o.bound >= o.truth).count() as u64;
            let of = |f: fn(&Outcome) -> f64| median(all.iter().map(f).collect());
            SitesAt {
                threshold: *threshold,
                held: Rate::new(held, all.len() as u64),
                bound_over_truth: of(|o| o.bound / o.truth),
                estimate_over_truth: of(|o| o.estimate / o.truth),
                average_decoy_over_truth: of(|o| o.average_decoy / o.truth),
                uncovered_over_covered: of(|o| o.uncovered_truth / o.truth),
            }
        })
        .collect();
    let sizes =
        population.groups.iter().enumerate().map(|(g, name)| {
            (name.clone(), population.group_of.iter().filter(|of| **of == g).count())
        });
    SitesResult {
        groups: sizes.collect(),
        covered: covered.iter().sum::<f64>() / covered.len().max(1) as f64,
        no_curve,
        thresholds,
        planned: plan.goal.map(|goal| PlannedLists::of(&planned, goal)),
        plan,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups of 300: pairs within a group are more alike.
    fn population() -> Population {
        let n = 600;
        let mut draw = Draw::new(7, 0);
        let group_of: Vec<usize> = (0..n).map(|i| i % 2).collect();
        let mut hundredths = vec![0; n * n];
        for i in 0..n {
            for j in 0..i {
                let spread = if group_of[i] == group_of[j] { 0.06 } else { 0.03 };
                let similarity = (100.0 * (0.2 - spread * draw.unit().ln())).min(99.0) as u8;
                hundredths[i * n + j] = similarity;
                hundredths[j * n + i] = similarity;
            }
        }
        Population { groups: vec!["a".into(), "b".into()], group_of, hundredths }
    }

    fn plan() -> SitePlan {
        SitePlan {
            sites: 20,
            entries: 20,
            decoys: 120,
            tracks: 600,
            without: Vec::new(),
            seed: 1,
            goal: None,
        }
    }

    #[test]
    fn the_bound_holds_and_the_same_seed_draws_the_same_places() {
        let population = population();
        let result = evaluate(&population, plan(), |_| ());
        assert_eq!(result.no_curve, 0);
        for at in &result.thresholds {
            assert!(at.held.count >= 19, "{at:?}");
        }
        let again = evaluate(&population, plan(), |_| ());
        assert_eq!(again.thresholds[0].bound_over_truth, result.thresholds[0].bound_over_truth);
        let other = evaluate(&population, SitePlan { seed: 2, ..plan() }, |_| ());
        assert_ne!(other.thresholds[0].bound_over_truth, result.thresholds[0].bound_over_truth);
    }

    #[test]
    fn the_largest_list_grows_with_what_is_allowed_and_a_list_that_fits_keeps_it() {
        let population = population();
        let planned = |alerts_a_face| {
            let goal = Some(Goal { alerts_a_face, highest: 0.7 });
            evaluate(&population, SitePlan { goal, ..plan() }, |_| ()).planned.expect("a goal")
        };
        let (strict, loose) = (planned(1e-4), planned(1.0));
        assert!((loose.largest / strict.largest - 1e4).abs() < 1.0, "{strict:?} {loose:?}");
        assert!(strict.largest_of_nearly_all <= strict.largest);
        assert_eq!((strict.fits.count, loose.fits.count), (0, 20), "{strict:?} {loose:?}");
        assert!(loose.held.count >= 19);
    }

    #[test]
    fn of_people_who_hang_together_the_first_stays() {
        // Each is alike to the next one only.
        let alike = |n: usize| {
            let values = (0..64).map(|i| if (8 * n..8 * n + 16).contains(&i) { 100 } else { 1 });
            Template::new(values.collect()).expect("no component is zero")
        };
        let people = |numbers: &[usize]| -> Vec<GroupedPerson> {
            numbers.iter().map(|n| GroupedPerson { group: *n, template: alike(*n) }).collect()
        };
        let stay = |from| -> Vec<usize> {
            one_of_each(people(&[0, 4, 1, 2]), from).iter().map(|p| p.group).collect()
        };
        assert_eq!(stay(0.4), [0, 4]);
        assert_eq!(stay(0.9), [0, 4, 1, 2]);
    }

    #[test]
    fn where_a_group_is_missing_among_the_decoys_fewer_entries_are_covered() {
        let population = population();
        let all = evaluate(&population, plan(), |_| ());
        let without =
            evaluate(&population, SitePlan { without: vec!["b".into()], ..plan() }, |_| ());
        assert!(without.covered < all.covered, "{} {}", without.covered, all.covered);
    }

    #[test]
    fn nobody_is_drawn_twice_and_who_has_no_weight_is_not_drawn() {
        let mut draw = Draw::new(3, 0);
        let people: Vec<usize> = (0..50).collect();
        let weights = people.iter().map(|p| if *p < 10 { 0.0 } else { 1.0 }).collect();
        let mut drawn = without_return(&people, weights, 100, &mut draw);
        drawn.sort_unstable();
        assert_eq!(drawn, (10..50).collect::<Vec<_>>());
    }
}
