//! What a device decides on: one entry's template of several photographs against one track's
//! running mean of several views.
//!
//! * A template is the unit mean of [`Unit::template_of`] photographs, a probe that of the views so
//!   far, both as int8. Views weigh alike: photographs have no track, and a device's weights by
//!   quality cannot be had from them.
//! * With [`Unit::ever`] the probe is looked at after each view from [`Unit::first_look`] on, and
//!   the highest similarity counts: looking often is part of the rate.
//! * A person gives one template and one track at most, whatever the number of photographs.
//!   Strangers: the template of the first photographs, the track of the last. Misses: of people who
//!   have enough photographs for both, template and track from neighbouring ones, at up to
//!   [`ROTATIONS`] places, people counted alike.
//! * Tracks differ in length, as they do on a street: with [`Unit::track_at_least`] below
//!   [`Unit::track_of`] somebody with few photographs has a short track.
//!
//! Not promised: that photographs of different days stand for the views of one track. Such views
//! are more alike: misses are higher there, and false matches lower.

use std::fmt::Write as _;

use serde::Serialize;

use super::bounds::{Bounds, grid, scored};
use super::compare::TemplateMatrix;
use super::provenance::quoted;
use super::statistics::dyadic::{Design, Scored};
use super::statistics::misses::{GenuineScores, PeopleRate};
use crate::poisson::CONFIDENCE;
use crate::proportion::upper_bound;
use crate::template::{Template, fuse};

/// Most places at which a person's photographs are split into template and track.
pub const ROTATIONS: usize = 4;
/// Similarities of the misses that a manifest carries: thresholds are derived from .40 to .87.
const MISSES_FROM_TO: std::ops::RangeInclusive<f64> = 0.395..=0.905;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Photographs of a template.
    pub template_of: usize,
    /// Most views of a track.
    pub track_of: usize,
    /// Fewest views of a track: somebody with fewer photographs than `track_of` has a shorter one.
    pub track_at_least: usize,
    /// Whether the probe is looked at after each view.
    pub ever: bool,
    /// The view after which it is first looked at, where `ever`; at most `track_of`.
    pub first_look: usize,
}

impl Unit {
    /// One photograph against one.
    #[cfg(test)]
    pub const SINGLE: Self =
        Self { template_of: 1, track_of: 1, track_at_least: 1, ever: false, first_look: 1 };

    /// Whether single photographs are compared.
    pub fn is_single(&self) -> bool {
        self.template_of == 1 && self.track_of == 1
    }

    /// After which views the probe of a track of `last` views is looked at.
    fn looks(&self, last: usize) -> std::ops::RangeInclusive<usize> {
        if self.ever { self.first_look.clamp(1, last)..=last } else { last..=last }
    }

    /// The template of the first of `photographs`; `None` where there are too few, or they cancel.
    fn template(&self, photographs: &[&Template]) -> Option<Template> {
        fuse(photographs.get(..self.template_of)?.iter().copied()).ok()
    }

    /// The fewest and the most views of a track.
    fn views(&self) -> [usize; 2] {
        [self.track_at_least.clamp(1, self.track_of), self.track_of]
    }

    /// The probes of a track of the first of `views`, one a look.
    fn probes(&self, views: &[&Template]) -> Option<Vec<Template>> {
        let [fewest, most] = self.views();
        let views = &views[..views.len().min(most)];
        if views.len() < fewest {
            return None;
        }
        self.looks(views.len()).map(|seen| fuse(views[..seen].iter().copied()).ok()).collect()
    }
}

/// Misses at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct UnitMiss {
    /// Similarity from which a comparison matches.
    pub threshold: f64,
    /// Tracks of listed people that never reach it, people counted alike.
    pub fnmr: PeopleRate,
}

/// What a unit gives.
#[derive(Debug, Clone, Serialize)]
pub struct UnitCurve {
    /// What was compared.
    pub unit: Unit,
    /// People with a template.
    pub templates: usize,
    /// People with a track.
    pub tracks: usize,
    /// Upper bounds of false matches.
    pub bounds: Bounds,
    /// Misses at each threshold of the bounds.
    pub misses: Vec<UnitMiss>,
}

impl UnitCurve {
    /// Compares the `photographs` of each person as `unit` says. `joined` people are not among them
    /// since they are likely the same as somebody who is, from `joined_from` on.
    pub fn of(
        unit: Unit,
        photographs: &[Vec<&Template>],
        joined: usize,
        joined_from: Option<f64>,
    ) -> Self {
        let (design, scored) =
            if unit.is_single() { singles(photographs) } else { strangers(unit, photographs) };
        let genuine = GenuineScores::new(photographs.iter().map(|p| genuine(unit, p)));
        let misses = grid()
            .into_iter()
            .map(|threshold| UnitMiss { threshold, fnmr: genuine.missed(threshold) })
            .collect();
        let at_least = |n: usize| photographs.iter().filter(|p| p.len() >= n).count();
        Self {
            unit,
            templates: at_least(unit.template_of),
            tracks: at_least(unit.views()[0]),
            bounds: Bounds::of("all", &design, &scored, joined, joined_from),
            misses,
        }
    }

    /// The misses as a manifest carries them, ready to paste; `source` names the photographs.
    /// Empty where nobody has photographs enough.
    pub fn misses_table(&self, source: &str) -> String {
        let known = |m: &&UnitMiss| m.fnmr.rate.is_some() && MISSES_FROM_TO.contains(&m.threshold);
        let rows: Vec<&UnitMiss> = self.misses.iter().filter(known).collect();
        let Some(people) = rows.first().map(|m| m.fnmr.people) else { return String::new() };
        let cell = |m: &&UnitMiss| {
            let share = m.fnmr.rate.unwrap_or(1.0);
            let bound = upper_bound(share * people as f64, people as f64, 1.0 - CONFIDENCE);
            // Rounded up: a bound must stay one.
            let up = |v: f64| (v * 1e4).ceil() / 1e4;
            format!("[{:.2}, {:.4}, {:.4}]", m.threshold, up(share), up(bound).min(1.0))
        };
        let [fewest, most] = self.unit.views();
        let source = quoted(source);
        let mut text = format!(
            "[[embedder.misses]]\nphotographs = {}\nviews = [{fewest}, {most}]\nsource = {source}\n\
             people = {people}\nrows = [\n",
            self.unit.template_of
        );
        for rows in rows.chunks(4) {
            let cells: Vec<String> = rows.iter().map(cell).collect();
            writeln!(text, "    {},", cells.join(", ")).expect("writing to a string does not fail");
        }
        text + "]\n"
    }
}

/// One photograph of each person, each pair once.
fn singles(photographs: &[Vec<&Template>]) -> (Design, Vec<Scored>) {
    let first: Vec<&Template> = photographs.iter().filter_map(|p| p.first().copied()).collect();
    (Design::all(&vec![1; first.len()]), scored(&TemplateMatrix::new(first)))
}

/// The template of each person with the track of every other.
fn strangers(unit: Unit, photographs: &[Vec<&Template>]) -> (Design, Vec<Scored>) {
    let templates: Vec<Option<Template>> = photographs.iter().map(|p| unit.template(p)).collect();
    let tracks: Vec<Option<Vec<Template>>> = photographs
        .iter()
        .map(|p| unit.probes(&p[p.len().saturating_sub(unit.track_of)..]))
        .collect();
    let owners: Vec<usize> = (0..templates.len()).filter(|p| templates[*p].is_some()).collect();
    let rows = TemplateMatrix::new(templates.iter().flatten());
    let from = grid()[0] as f32;
    let mut scored = Vec::new();
    let (mut best, mut out) = (vec![0f32; rows.len()], vec![0f32; rows.len()]);
    for (b, probes) in tracks.iter().enumerate() {
        let Some(probes) = probes else { continue };
        best.fill(f32::NEG_INFINITY);
        for probe in probes {
            rows.against(&TemplateMatrix::new([probe]), &mut out);
            best.iter_mut().zip(&out).for_each(|(best, seen)| *best = best.max(*seen));
        }
        for (a, similarity) in owners.iter().zip(best.iter().copied()) {
            if *a != b && similarity >= from {
                scored.push(Scored { a: *a as u32, b: b as u32, similarity });
            }
        }
    }
    let present = |is: &dyn Fn(usize) -> bool| -> Vec<u32> {
        (0..photographs.len()).map(|p| u32::from(is(p))).collect()
    };
    let design =
        Design::cross(&present(&|p| templates[p].is_some()), &present(&|p| tracks[p].is_some()));
    (design, scored)
}

/// How similar a person's tracks become to their own template.
fn genuine(unit: Unit, photographs: &[&Template]) -> Vec<f32> {
    let [fewest, most] = unit.views();
    if photographs.len() < unit.template_of + fewest {
        return Vec::new();
    }
    let needed = photographs.len().min(unit.template_of + most);
    let places = if photographs.len() == needed { 1 } else { photographs.len().min(ROTATIONS) };
    let mut scores = Vec::new();
    for place in 0..places {
        // Spread over the photographs, wrapping round.
        let start = place * photographs.len() / places;
        let order: Vec<&Template> =
            (0..needed).map(|i| photographs[(start + i) % photographs.len()]).collect();
        let (template, probes) = (unit.template(&order), unit.probes(&order[unit.template_of..]));
        if let (Some(template), Some(probes)) = (template, probes) {
            scores.push(probes.iter().map(|p| p.cosine(&template)).fold(-1.0, f32::max));
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::protocol::draw::Draw;
    use crate::template::Embedding;

    /// Photographs of `people` people around directions of their own.
    fn people(people: u64, photographs: u64, spread: f32) -> Vec<Vec<Template>> {
        let direction = |seed: u64| -> Vec<f32> {
            let mut draw = Draw::new(seed, 0);
            (0..64)
                .map(|_| (0..6).map(|_| draw.below(1000) as f32 - 499.5).sum::<f32>() / 700.0)
                .collect()
        };
        let photograph = |person: u64, i: u64| {
            let noise = direction(1_000_000 + person * 1000 + i);
            let mixed: Vec<f32> =
                direction(person).iter().zip(noise).map(|(a, b)| a + b * spread).collect();
            Embedding::normalised(&mixed).unwrap().quantize()
        };
        (0..people).map(|p| (0..photographs).map(|i| photograph(p, i)).collect()).collect()
    }

    fn curve(unit: Unit, all: &[Vec<Template>]) -> UnitCurve {
        let borrowed: Vec<Vec<&Template>> = all.iter().map(|p| p.iter().collect()).collect();
        UnitCurve::of(unit, &borrowed, 0, None)
    }

    fn missed(curve: &UnitCurve, threshold: f64) -> PeopleRate {
        curve.misses.iter().find(|m| m.threshold == threshold).unwrap().fnmr
    }

    fn rate(curve: &UnitCurve, threshold: f64) -> f64 {
        curve.bounds.rows.iter().find(|r| r.threshold == threshold).unwrap().rate
    }

    #[test]
    fn fusing_misses_fewer_people_and_looking_often_costs_false_matches() {
        let all = people(60, 7, 1.2);
        let single = curve(Unit::SINGLE, &all);
        let fused =
            Unit { template_of: 3, track_of: 4, track_at_least: 4, ever: false, first_look: 4 };
        let last = curve(fused, &all);
        let ever = curve(Unit { ever: true, first_look: 1, ..fused }, &all);
        assert!(missed(&single, 0.5).rate > Some(0.3), "{:?}", missed(&single, 0.5));
        assert!(missed(&last, 0.5).rate < Some(0.1), "{:?}", missed(&last, 0.5));
        assert!(missed(&ever, 0.5).rate <= missed(&last, 0.5).rate);
        assert!(rate(&ever, 0.25) > 1.2 * rate(&last, 0.25));
        assert_eq!((last.templates, last.tracks, last.bounds.pairs), (60, 60, 60 * 59));
        assert_eq!((single.bounds.pairs, missed(&single, 0.5).people), (60 * 59 / 2, 60));
        assert_eq!(missed(&single, 0.5).comparisons, 60 * 4);
    }

    #[test]
    fn people_with_too_few_photographs_give_what_they_can() {
        let mut all = people(40, 5, 0.6);
        all[0].truncate(2);
        all[1].truncate(3);
        all[2].clear();
        let unit =
            Unit { template_of: 3, track_of: 2, track_at_least: 2, ever: true, first_look: 4 };
        let c = curve(unit, &all);
        // A look after the fourth view of two is one after the second.
        assert_eq!(unit.looks(2), 2..=2);
        assert_eq!((c.templates, c.tracks), (38, 39));
        // 38 templates with the tracks of others: all but their own 38.
        assert_eq!(c.bounds.pairs, 38 * 39 - 38);
        assert_eq!(missed(&c, 0.3).people, 37);
        let nobody = curve(unit, &people(3, 1, 0.6));
        assert_eq!((nobody.bounds.pairs, missed(&nobody, 0.3).rate), (0, None));
    }

    #[test]
    fn a_track_that_goes_on_misses_no_more_and_short_ones_count_where_they_are_asked_for() {
        let mut all = people(60, 11, 1.6);
        all[..20].iter_mut().for_each(|p| p.truncate(7));
        let unit = |track_of, track_at_least| Unit {
            template_of: 3,
            track_of,
            track_at_least,
            ever: true,
            first_look: 4,
        };
        let (four, long, both) =
            (curve(unit(4, 4), &all), curve(unit(8, 8), &all), curve(unit(8, 4), &all));
        assert_eq!(missed(&four, 0.6).people, 60);
        assert_eq!((missed(&long, 0.6).people, long.tracks), (40, 40));
        assert_eq!((missed(&both, 0.6).people, both.tracks), (60, 60));
        for threshold in [0.5, 0.6, 0.7] {
            assert!(missed(&both, threshold).rate <= missed(&four, threshold).rate);
        }
        assert!(missed(&four, 0.6).rate > missed(&both, 0.6).rate);
    }

    #[test]
    fn misses_are_written_as_a_manifest_reads_them_with_the_bound_of_so_many_people() {
        #[derive(serde::Deserialize)]
        struct EmbedderPart {
            misses: Vec<crate::vision::MissCurve>,
        }
        #[derive(serde::Deserialize)]
        struct ManifestPart {
            embedder: EmbedderPart,
        }
        let unit =
            Unit { template_of: 3, track_of: 8, track_at_least: 4, ever: true, first_look: 4 };
        let table = curve(unit, &people(60, 8, 0.6)).misses_table("a \"set\"\n");
        let read: ManifestPart = toml::from_str(&table).unwrap();
        let [misses] = &read.embedder.misses[..] else { panic!("{table}") };
        assert_eq!((misses.photographs, misses.views, misses.people), (3, [4, 8], 60));
        assert_eq!((misses.rows[0].0, misses.rows.last().unwrap().0), (0.4, 0.9));
        // Nobody of sixty: 1 - .05^(1/60).
        assert_eq!((misses.rows[0].1, misses.rows[0].2), (0.0, 0.0488));
        assert_eq!(curve(unit, &people(5, 2, 0.6)).misses_table("none"), "");
    }
}
