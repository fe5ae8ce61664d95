//! How error rates differ between groups of people, by labels of the deployer's own. The program
//! infers none.
//!
//! False matches of a group are counted over all pairs of two of its people; false non-matches are
//! the mean over its people of the share of their pairs that is missed. Thresholds are those at
//! which all pairs of two people, whatever their groups, give a false match rate of [`TARGETS`], or
//! the ones that are given. Intervals of the false-match rates come from counts divided by their
//! design effect (see [`super::statistics::tally`]); those of misses count people.
//!
//! The *safety factor* answers: if a threshold gives rate r over all pairs, by how much must r be
//! multiplied to bound the worst-served group? It is the highest quotient of a group's upper bound
//! and the rate over all pairs, at the thresholds (steps of .01, rate over all pairs at most 1 %)
//! where that group has at least [`LEAST_PAIRS`] different pairs of people matched falsely. That
//! the quotient holds at stricter thresholds and for other photographs is an assumption.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde::Serialize;

use super::bounds::Bounds;
use super::compare::{
    AllPairs, Comparison, Ends, TemplateMatrix, all_pairs, record_pairs, thresholds,
};
use super::contact::Strip;
use super::duplicates::{JudgedPeople, LikelyDuplicates, Suspect};
use super::extract::{AcquirerFactory, Acquisition, Photographs, photographs};
use super::left_out::LeftOut;
use super::protocol::duplicates::JudgedCluster;
use super::protocol::folder::shown;
use super::protocol::labels;
use super::records::Records;
use super::statistics::differentials::{Differential, GroupRate, summarise};
use super::statistics::interval::Rate;
use super::statistics::misses::PeopleRate;
use super::statistics::tally::Tally;
use super::{Context, EvaluateError};
use crate::template::Template;

/// False match rates over all pairs whose thresholds are looked at.
pub const TARGETS: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Fewest different pairs of people matched falsely from which a group's rate enters the safety
/// factor (the field's "rule of 30": with 30 errors, a rate is known to within about 30 % at 90 %
/// confidence).
pub const LEAST_PAIRS: u64 = 30;

/// Who is in a group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupCounts {
    /// The deployer's word.
    pub group: String,
    /// People with a template.
    pub people: usize,
    /// Photographs with a template.
    pub photographs: usize,
    /// Photographs without a usable face.
    pub failure_to_acquire: Rate,
    /// Comparisons of two people.
    pub impostor_comparisons: u64,
    /// Comparisons of two photographs of one person.
    pub genuine_comparisons: u64,
}

/// A group's rates at a threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupRates {
    /// The group.
    pub group: String,
    /// False match rate among its people.
    pub fmr: Rate,
    /// By how much bunching of false matches by person widens the interval.
    pub design_effect: f64,
    /// False non-match rate, people counted alike.
    pub fnmr: PeopleRate,
}

/// All groups at a threshold.
#[derive(Debug, Clone, Serialize)]
pub struct RatesAt {
    /// The false match rate over all pairs that was asked for; `None` where the threshold was
    /// given.
    pub target_fmr: Option<f64>,
    /// The threshold.
    pub threshold: Option<f64>,
    /// False match rate over all pairs of two people.
    pub all: Option<Rate>,
    /// Each group.
    pub groups: Vec<GroupRates>,
    /// How unequal the false match rates are.
    pub fmr_differential: Option<Differential>,
    /// How unequal the false non-match rates are.
    pub fnmr_differential: Option<Differential>,
    /// Why the data cannot support this point.
    pub unsupported: Option<String>,
}

/// The factor that covers the worst-served group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SafetyFactor {
    /// The factor, at least 1.
    pub factor: f64,
    /// The group that sets it.
    pub group: String,
    /// The threshold at which it does.
    pub threshold: f64,
    /// Upper bound of that group's rate there.
    pub group_upper: f64,
    /// Rate over all pairs there.
    pub all: f64,
    /// Strictest threshold at which any group could be measured.
    pub measured_to: f64,
}

/// A pair of different people that was taken for one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuspectPair {
    /// One photograph.
    pub a: String,
    /// The other.
    pub b: String,
    /// Their similarity.
    pub similarity: f32,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct Groups {
    /// The groups, by name.
    pub groups: Vec<GroupCounts>,
    /// At each threshold.
    pub thresholds: Vec<RatesAt>,
    /// The safety factor; `None` with a single group or where none can be measured.
    pub safety_factor: Option<SafetyFactor>,
    /// Photographs of different people that may show one person; where they were looked for.
    pub likely_duplicates: Option<LikelyDuplicates>,
    /// Upper bounds of each group by similarity, as a manifest carries them; where likely
    /// duplicates were looked for.
    pub bounds: Vec<Bounds>,
    /// The likely duplicates' photographs, where a contact sheet was asked for.
    #[serde(skip)]
    pub sheet: Vec<Strip>,
    /// The most similar pairs of different people that were kept: look there for labels that are
    /// wrong.
    pub closest: Vec<SuspectPair>,
}

/// What is asked of [`run`].
#[derive(Debug, Clone, Copy, Default)]
pub struct GroupsQuestion<'a> {
    /// Thresholds to look at beside those of [`TARGETS`].
    pub thresholds: &'a [f64],
    /// List different people as likely duplicates from this similarity on.
    pub likely_from: Option<f32>,
    /// What somebody judged of duplicates and twins.
    pub judged: &'a [JudgedCluster],
}

/// Compares the photographs of `list` (the text of a list of groups) under `root`.
///
/// # Errors
/// A text that is no list of groups, models that do not load.
pub fn run<L: AcquirerFactory>(
    factory: &L,
    root: &Path,
    list: &str,
    question: GroupsQuestion<'_>,
    run: &mut Context<'_>,
) -> Result<(Groups, Acquisition), EvaluateError> {
    let labelled = labels::parse(list, run.left_out)?;
    // Group, then person: rows of one group and of one person become neighbours.
    let mut order: Vec<&labels::LabelLine> = labelled.iter().collect();
    order.sort_by(|a, b| (&a.group, &a.person, &a.file).cmp(&(&b.group, &b.person, &b.file)));
    let files: Vec<PathBuf> = order.iter().map(|l| root.join(&l.file)).collect();
    let looked = photographs(factory, root, &files, run)?;
    let sample = GroupSample::new(root, &order, &files, &looked, run.left_out);
    sample.record(run.records);
    let judged = JudgedPeople::new(question.judged, &sample.files, &sample.people, run.left_out);
    let groups = sample.measure(question, &judged, run.settings.threads, run.progress);
    Ok((groups, looked.acquisition))
}

/// The templates of all groups, in order.
struct GroupSample<'a> {
    groups: Vec<GroupCounts>,
    /// Rows of each group.
    spans: Vec<std::ops::Range<usize>>,
    templates: Vec<&'a Template>,
    files: Vec<String>,
    /// Number of the person of each row, rising.
    people: Vec<u32>,
}

impl<'a> GroupSample<'a> {
    fn new(
        root: &Path,
        order: &[&labels::LabelLine],
        files: &[PathBuf],
        looked: &'a Photographs,
        left_out: &mut LeftOut,
    ) -> Self {
        let mut sample = Self {
            groups: Vec::new(),
            spans: Vec::new(),
            templates: Vec::new(),
            files: Vec::new(),
            people: Vec::new(),
        };
        let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        let mut person: Option<&str> = None;
        for (at, label) in order.iter().enumerate().filter(|(at, _)| looked.readable[*at]) {
            if let Some(first) = looked.copy_of[at] {
                let same = format!("the same bytes as {}", shown(root, &files[first]));
                left_out.add(&label.file, "copy of another photograph", same);
                continue;
            }
            let count = counts.entry(&label.group).or_default();
            count[1] += 1;
            let Some(template) = &looked.templates[at] else {
                count[0] += 1;
                continue;
            };
            let row = sample.templates.len();
            if sample.groups.last().is_none_or(|g| g.group != label.group) {
                sample.groups.push(GroupCounts {
                    group: label.group.clone(),
                    people: 0,
                    photographs: 0,
                    failure_to_acquire: Rate::new(0, 0),
                    impostor_comparisons: 0,
                    genuine_comparisons: 0,
                });
                sample.spans.push(row..row);
            }
            let number = sample.people.last().copied();
            let same = person == Some(label.person.as_str());
            sample.people.push(number.map_or(0, |n| n + u32::from(!same)));
            person = Some(&label.person);
            sample.templates.push(template);
            sample.files.push(shown(root, &files[at]));
            let group = sample.groups.last_mut().expect("pushed above");
            group.people += usize::from(!same);
            group.photographs += 1;
            sample.spans.last_mut().expect("pushed with the group").end = row + 1;
        }
        // A group none of whose photographs gave a template must not vanish.
        for (name, [failed, of]) in counts {
            let failure_to_acquire = Rate::new(failed, of);
            match sample.groups.iter_mut().find(|g| g.group == name) {
                Some(group) => group.failure_to_acquire = failure_to_acquire,
                None => left_out.add(
                    name,
                    "group without a template",
                    format!("none of {of} photographs gave one"),
                ),
            }
        }
        sample
    }

    fn record(&self, records: &mut Records) {
        let rows = TemplateMatrix::new(self.templates.iter().copied());
        let group = |row: usize| {
            self.spans.iter().position(|s| s.contains(&row)).map(|g| self.groups[g].group.as_str())
        };
        record_pairs(&rows, &self.people, records, |row| Ends {
            file: self.files[row].clone(),
            group: group(row),
        });
    }

    fn compare(
        &self,
        rows: std::ops::Range<usize>,
        thresholds: &[f32],
        question: &GroupsQuestion<'_>,
        judged: &JudgedPeople,
        threads: usize,
        progress: &ProgressBar,
    ) -> AllPairs {
        let first = self.people.get(rows.start).copied().unwrap_or(0);
        let people: Vec<u32> = self.people[rows.clone()].iter().map(|p| p - first).collect();
        let how = Comparison {
            thresholds,
            likely_from: question.likely_from,
            judged: Some(judged),
            first_person: first,
            threads,
        };
        progress.reset();
        all_pairs(
            &TemplateMatrix::new(self.templates[rows].iter().copied()),
            &people,
            how,
            progress,
        )
    }

    /// The bounds of each group, one photograph a person, likely duplicates from `from` on joined.
    fn bounds(
        &self,
        from: f32,
        likely: &[Suspect],
        judged: &JudgedPeople,
        progress: &ProgressBar,
    ) -> Vec<Bounds> {
        // Three decimals, as they are given.
        let from = (f64::from(from) * 1000.0).round() / 1000.0;
        progress.reset();
        progress.set_length(self.groups.len() as u64);
        self.groups
            .iter()
            .zip(&self.spans)
            .map(|(group, span)| {
                let inside: Vec<Suspect> = likely
                    .iter()
                    .filter(|s| span.contains(&s.a) && span.contains(&s.b))
                    .copied()
                    .collect();
                let stays = judged.one_of_each(&self.people[span.clone()], &inside, &self.people);
                progress.inc(1);
                let people = &self.people[span.clone()];
                let templates = &self.templates[span.clone()];
                Bounds::of_people(&group.group, templates, people, &stays, from)
            })
            .collect()
    }

    fn measure(
        mut self,
        question: GroupsQuestion<'_>,
        judged: &JudgedPeople,
        threads: usize,
        progress: &ProgressBar,
    ) -> Groups {
        let everything = 0..self.templates.len();
        let grid = thresholds(&TemplateMatrix::new(self.templates.iter().copied()), &self.people);
        let all = self.compare(everything, &grid, &question, judged, threads, progress);
        // Three decimals, as the tallies have them.
        let given = question.thresholds.iter().map(|t| (None, Ok((t * 1000.0).round() / 1000.0)));
        let wanted: Vec<(Option<f64>, Result<f64, String>)> = TARGETS
            .iter()
            .map(|t| (Some(*t), all.impostor.threshold_for(*t)))
            .chain(given)
            .collect();
        // One pass a group serves the grid and the thresholds that are looked at.
        let mut steps: Vec<f32> = grid.clone();
        steps.extend(wanted.iter().filter_map(|(_, t)| t.as_ref().ok()).map(|t| *t as f32));
        steps.sort_unstable_by(f32::total_cmp);
        steps.dedup();
        let by_group: Vec<AllPairs> = self
            .spans
            .clone()
            .into_iter()
            .map(|span| self.compare(span, &steps, &question, judged, threads, progress))
            .collect();
        for (group, pairs) in self.groups.iter_mut().zip(&by_group) {
            group.impostor_comparisons = pairs.impostor.total();
            group.genuine_comparisons = pairs.genuine.total();
        }
        let safety_factor = safety_factor(&grid, &all, &steps, &by_group, &self.groups);
        let thresholds = wanted
            .into_iter()
            .map(|(target, threshold)| match threshold {
                Ok(t) => at_threshold(target, t, &all.impostor, &steps, &by_group, &self.groups),
                Err(reason) => RatesAt {
                    target_fmr: target,
                    threshold: None,
                    all: None,
                    groups: Vec::new(),
                    fmr_differential: None,
                    fnmr_differential: None,
                    unsupported: Some(reason),
                },
            })
            .collect();
        let bounds = match question.likely_from {
            Some(from) => self.bounds(from, &all.likely, judged, progress),
            None => Vec::new(),
        };
        let name = |row: usize| self.files[row].clone();
        let named =
            |s: &Suspect| SuspectPair { a: name(s.a), b: name(s.b), similarity: s.similarity };
        Groups {
            thresholds,
            safety_factor,
            likely_duplicates: question.likely_from.map(|from| {
                LikelyDuplicates::new(from, &all.likely, all.judged, judged, &self.people, name)
            }),
            bounds,
            sheet: Vec::new(),
            closest: all.closest.iter().map(named).collect(),
            groups: self.groups,
        }
    }
}

fn at_threshold(
    target_fmr: Option<f64>,
    threshold: f64,
    all: &Tally,
    steps: &[f32],
    by_group: &[AllPairs],
    names: &[GroupCounts],
) -> RatesAt {
    let step = steps
        .iter()
        .position(|s| *s == threshold as f32)
        .expect("every threshold looked at is a step");
    let groups: Vec<GroupRates> = names
        .iter()
        .zip(by_group)
        .map(|(group, pairs)| {
            let counted = &pairs.at[step];
            GroupRates {
                group: group.group.clone(),
                fmr: Rate::clustered(counted.matches, counted.comparisons, counted.design_effect),
                design_effect: counted.design_effect,
                fnmr: pairs.of_one.missed(threshold),
            }
        })
        .collect();
    let false_matches: Vec<GroupRate<'_>> = groups
        .iter()
        .map(|g| GroupRate::of_comparisons(&g.group, g.fmr, g.design_effect))
        .collect();
    let misses: Vec<GroupRate<'_>> =
        groups.iter().map(|g| GroupRate::of_people(&g.group, g.fnmr)).collect();
    RatesAt {
        target_fmr,
        threshold: Some(threshold),
        all: Some(Rate::new(all.at_or_above(threshold), all.total())),
        fmr_differential: Some(summarise(&false_matches)),
        fnmr_differential: Some(summarise(&misses)),
        groups,
        unsupported: None,
    }
}

fn safety_factor(
    grid: &[f32],
    all: &AllPairs,
    steps: &[f32],
    by_group: &[AllPairs],
    names: &[GroupCounts],
) -> Option<SafetyFactor> {
    const MOST_COMMON: f64 = 1e-2;
    if names.len() < 2 {
        // All pairs are that group's: there is nothing to be worse than.
        return None;
    }
    let mut worst: Option<SafetyFactor> = None;
    let mut measured_to = f64::NEG_INFINITY;
    for (threshold, counted) in grid.iter().zip(&all.at) {
        let rate = counted.matches as f64 / counted.comparisons as f64;
        if !(rate > 0.0 && rate <= MOST_COMMON) {
            continue;
        }
        // Back from f32, so that .73 does not print as .7300000190734863.
        let decimal = (f64::from(*threshold) * 100.0).round() / 100.0;
        let step =
            steps.iter().position(|s| s == threshold).expect("the grid is part of the steps");
        for (group, pairs) in names.iter().zip(by_group) {
            let of_group = &pairs.at[step];
            if of_group.pairs_of_people < LEAST_PAIRS {
                continue;
            }
            measured_to = decimal;
            let factor = (of_group.upper / rate).max(1.0);
            if worst.as_ref().is_none_or(|w| factor > w.factor) {
                worst = Some(SafetyFactor {
                    factor,
                    group: group.group.clone(),
                    threshold: decimal,
                    group_upper: of_group.upper,
                    all: rate,
                    measured_to,
                });
            }
        }
    }
    worst.map(|w| SafetyFactor { measured_to, ..w })
}

impl Groups {
    /// Whether any group has comparisons. With a single one its rates stand alone, and the
    /// summaries say that.
    pub fn evaluated(&self) -> bool {
        self.groups.iter().any(|g| g.impostor_comparisons + g.genuine_comparisons > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::extract::fake::{FakeFactory, SETTINGS, with_run};
    use super::*;

    /// Two groups of 100 people with two photographs each.
    fn sample(root: &Path, spread: u32) -> String {
        let mut list = "file,person,group\n".to_owned();
        for (group, people) in [("north", 0..100), ("south", 100..200)] {
            for person in people {
                for photograph in 1..=2 {
                    let file = format!("{group}-{person}-{photograph}.jpg");
                    std::fs::write(
                        root.join(&file),
                        format!("face {person} {photograph} {spread}"),
                    )
                    .unwrap();
                    list += &format!("{file},p{person},{group}\n");
                }
            }
        }
        list
    }

    fn evaluate(
        root: &Path,
        list: &str,
        question: GroupsQuestion<'_>,
    ) -> (Groups, Acquisition, LeftOut) {
        let ((g, a), left_out, lines) =
            with_run(&SETTINGS, |r| run(&FakeFactory, root, list, question, r).unwrap());
        let templates: usize = g.groups.iter().map(|g| g.photographs).sum();
        assert_eq!(lines.len(), templates * templates.saturating_sub(1) / 2);
        (g, a, left_out)
    }

    #[test]
    fn each_groups_pairs_are_counted_within_the_group() {
        let dir = tempfile::tempdir().unwrap();
        let list = sample(dir.path(), 60);
        let (g, a, left_out) = evaluate(
            dir.path(),
            &list,
            GroupsQuestion { thresholds: &[0.3], ..GroupsQuestion::default() },
        );
        assert_eq!(
            g.groups.iter().map(|g| g.group.as_str()).collect::<Vec<_>>(),
            ["north", "south"]
        );
        for group in &g.groups {
            assert_eq!(
                (group.people, group.photographs, group.genuine_comparisons),
                (100, 200, 100)
            );
            assert_eq!(group.impostor_comparisons, 200 * 199 / 2 - 100);
        }
        let all = g.thresholds[0].all.unwrap();
        assert_eq!(all.of, 400 * 399 / 2 - 200);
        assert!(all.rate.unwrap() <= 1e-2);
        assert_eq!(g.thresholds[3].threshold, Some(0.3));
        assert_eq!(g.thresholds[3].groups[0].fnmr.people, 100);
        let factor = g.safety_factor.as_ref().unwrap();
        assert!(factor.factor >= 1.0 && factor.group_upper >= factor.all, "{factor:?}");
        assert!(a.photographs == 400 && left_out.is_empty() && g.evaluated());
    }

    #[test]
    fn likely_duplicates_are_listed_until_somebody_judges_them_and_one_of_them_stays_in_the_bounds()
    {
        let dir = tempfile::tempdir().unwrap();
        let mut list = sample(dir.path(), 60);
        std::fs::write(dir.path().join("twin.jpg"), "face 3 1 61").unwrap();
        list += "twin.jpg,somebody,north\n";
        let (g, _, _) = evaluate(dir.path(), &list, GroupsQuestion::default());
        assert!(g.bounds.is_empty() && g.likely_duplicates.is_none());
        let (unjudged, _, _) = evaluate(
            dir.path(),
            &list,
            GroupsQuestion { likely_from: Some(0.9), ..GroupsQuestion::default() },
        );
        let likely = unjudged.likely_duplicates.unwrap();
        assert_eq!((likely.unjudged, likely.left_out), (1, 0));
        assert_eq!(likely.clusters[0].files, ["north-3-1.jpg", "twin.jpg"]);
        let judged = [JudgedCluster {
            files: likely.clusters[0].files.clone(),
            verdict: super::super::protocol::duplicates::PairVerdict::Twins,
            judged_by: "Ann".into(),
            why: "register".into(),
        }];
        let (g, _, _) = evaluate(
            dir.path(),
            &list,
            GroupsQuestion { likely_from: Some(0.9), judged: &judged, ..GroupsQuestion::default() },
        );
        let likely = g.likely_duplicates.unwrap();
        // Both photographs of the one with the only one of the other.
        assert_eq!((likely.unjudged, likely.left_out), (0, 2));
        assert_eq!(g.groups[0].impostor_comparisons + 2, unjudged.groups[0].impostor_comparisons);
        // Whether likely or judged: of the two, one stays in the group's bounds.
        for bounds in [&unjudged.bounds[0], &g.bounds[0]] {
            assert_eq!((bounds.name.as_str(), bounds.people, bounds.joined), ("north", 100, 1));
        }
        let different = [JudgedCluster {
            verdict: super::super::protocol::duplicates::PairVerdict::Different,
            ..judged[0].clone()
        }];
        let (g, _, _) = evaluate(
            dir.path(),
            &list,
            GroupsQuestion {
                likely_from: Some(0.9),
                judged: &different,
                ..GroupsQuestion::default()
            },
        );
        assert_eq!((g.bounds[0].people, g.bounds[0].joined), (101, 0));
        assert_eq!(g.bounds[0].pairs, 101 * 100 / 2, "one photograph a person");
    }

    #[test]
    fn a_group_without_templates_copies_and_missing_files_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let mut list = sample(dir.path(), 60);
        std::fs::write(dir.path().join("e.jpg"), "empty").unwrap();
        std::fs::copy(dir.path().join("north-1-1.jpg"), dir.path().join("north-z.jpg")).unwrap();
        list += "e.jpg,nobody,west\nnorth-z.jpg,other,north\nmissing.jpg,p1,north\n";
        let (g, a, left_out) = evaluate(dir.path(), &list, GroupsQuestion::default());
        assert_eq!((g.groups.len(), a.failure_to_acquire.count), (2, 1));
        assert_eq!(
            left_out.by_reason().into_iter().collect::<Vec<_>>(),
            [
                ("copy of another photograph", 1),
                ("group without a template", 1),
                ("unreadable photograph", 1)
            ]
        );
        let (g, _, _) = evaluate(dir.path(), "file,person,group\n", GroupsQuestion::default());
        assert!(!g.evaluated() && g.safety_factor.is_none());
    }
}
