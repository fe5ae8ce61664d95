//! Compares many templates with each other: cosine of int8 templates, exactly what the device
//! computes.
//!
//! Components are widened to 16 bits once, so that the inner loop is a multiply-add of neighbouring
//! pairs on every processor, and rows are taken in tiles that stay in the cache. Templates are
//! wiped when dropped.

use indicatif::ProgressBar;
use serde::Serialize;
use zeroize::Zeroize;

use super::duplicates::{JudgedPeople, Suspect};
use super::records::Records;
use super::statistics::misses::GenuineScores;
use super::statistics::tally::{Clustered, Counted, FalseMatchPair, Tally};
use super::work::spread;
use crate::template::Template;

/// Lanes of the inner loop; rows are padded with zeros to a multiple.
const LANES: usize = 32;
/// Rows that one piece of work compares with all later ones.
const TILE: usize = 24;
/// Later rows that are compared with a tile before moving on: 64 rows of 512 dimensions are 64 KiB.
const COLUMNS: usize = 64;

/// Rows of the sample from which the beginning is found.
const SAMPLE: usize = 600;
/// Rate at which the table begins, about.
const BEGIN: f64 = 0.1;

/// Templates of one embedder, one a row.
pub struct TemplateMatrix {
    width: usize,
    values: Vec<i16>,
    inverse_norms: Vec<f32>,
}

impl Drop for TemplateMatrix {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl TemplateMatrix {
    /// Takes over `templates`, all of one length.
    pub fn new<'a>(templates: impl IntoIterator<Item = &'a Template>) -> Self {
        let mut templates = templates.into_iter().peekable();
        let width = templates.peek().map_or(LANES, |t| t.values().len().next_multiple_of(LANES));
        let (lower, _) = templates.size_hint();
        let mut rows = Self {
            width,
            values: Vec::with_capacity(lower * width),
            inverse_norms: Vec::with_capacity(lower),
        };
        for t in templates {
            debug_assert_eq!(
                t.values().len().next_multiple_of(LANES),
                width,
                "templates of two embedders"
            );
            rows.values.extend(t.values().iter().map(|v| i16::from(*v)));
            rows.values.resize((rows.inverse_norms.len() + 1) * width, 0);
            rows.inverse_norms.push(t.inverse_norm());
        }
        rows
    }

    /// Number of templates.
    pub fn len(&self) -> usize {
        self.inverse_norms.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inverse_norms.is_empty()
    }

    fn row(&self, at: usize) -> &[i16] {
        &self.values[at * self.width..(at + 1) * self.width]
    }

    /// Cosine similarity of two rows.
    pub fn similarity(&self, a: usize, b: usize) -> f32 {
        dot(self.row(a), self.row(b)) as f32 * (self.inverse_norms[a] * self.inverse_norms[b])
    }

    /// Cosine similarities of the one row of `probe` with each row here; `out` is as long as there
    /// are rows.
    pub fn against(&self, probe: &TemplateMatrix, out: &mut [f32]) {
        debug_assert!(
            probe.len() == 1
                && out.len() == self.len()
                && (self.is_empty() || probe.width == self.width)
        );
        dots(probe.row(0), &self.values, self.width, out);
        for (value, norm) in out.iter_mut().zip(&self.inverse_norms) {
            *value *= norm * probe.inverse_norms[0];
        }
    }

    /// Cosine similarities of row `a` with each row from `first` on, as many as `out` holds.
    pub fn similarities(&self, a: usize, first: usize, out: &mut [f32]) {
        let (row, norm) = (self.row(a), self.inverse_norms[a]);
        let others = &self.values[first * self.width..(first + out.len()) * self.width];
        let norms = &self.inverse_norms[first..first + out.len()];
        dots(row, others, self.width, out);
        for (value, other) in out.iter_mut().zip(norms) {
            *value *= norm * other;
        }
    }
}

/// Sum of products. Exact: at most 1024 products of at most 127 x 127.
#[inline(always)]
fn dot(a: &[i16], b: &[i16]) -> i32 {
    let mut sums = [0i32; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += i32::from(a[lane]) * i32::from(b[lane]);
        }
    }
    sums.iter().sum()
}

#[inline(always)]
fn dots_portable(row: &[i16], others: &[i16], width: usize, out: &mut [f32]) {
    for (value, other) in out.iter_mut().zip(others.chunks_exact(width)) {
        *value = dot(row, other) as f32;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dots_avx2(row: &[i16], others: &[i16], width: usize, out: &mut [f32]) {
    dots_portable(row, others, width, out);
}

fn dots(row: &[i16], others: &[i16], width: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which is all that the function asks for.
        return unsafe { dots_avx2(row, others, width, out) };
    }
    dots_portable(row, others, width, out);
}

/// What came of comparing all rows with all others.
#[derive(Debug, Clone)]
pub struct AllPairs {
    /// Similarities of two photographs of one person.
    pub genuine: Tally,
    /// The former, person by person.
    pub of_one: GenuineScores,
    /// Similarities of two people.
    pub impostor: Tally,
    /// False matches at each of the thresholds asked for.
    pub at: Vec<Counted>,
    /// Pairs of different people at or above `likely_from`, counted like all others.
    pub likely: Vec<Suspect>,
    /// Comparisons that were left out because somebody judged the two people.
    pub judged: u64,
    /// The most similar pairs of different people that were not left out, most similar first.
    pub closest: Vec<Suspect>,
}

/// How many of the most similar pairs of different people are kept.
const CLOSEST: usize = 20;

/// Keeps the most similar of `pairs`, in an order that does not depend on threads.
fn keep_closest(pairs: &mut Vec<Suspect>) {
    pairs.sort_unstable_by(|x, y| {
        y.similarity.total_cmp(&x.similarity).then((x.a, x.b).cmp(&(y.a, y.b)))
    });
    pairs.truncate(CLOSEST);
}

/// How all pairs are compared.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// Thresholds at which false matches are counted with their bunching, rising.
    pub thresholds: &'a [f32],
    /// Pairs of different people at or above this similarity are kept, for somebody to look at.
    pub likely_from: Option<f32>,
    /// What somebody judged of people, numbered so that the first here is `first_person`.
    pub judged: Option<&'a JudgedPeople>,
    /// Number that `judged` gives the person whom `people` numbers 0.
    pub first_person: u32,
    /// Threads.
    pub threads: usize,
}

impl Comparison<'_> {
    /// Whether somebody judged two people to be one, or twins.
    fn joined(&self, a: u32, b: u32) -> bool {
        let first = self.first_person;
        self.judged.is_some_and(|j| j.joins(a + first, b + first))
    }
}

/// Compares every row with every other once. `people` numbers the person of each row, from 0,
/// rising by at most one from row to row: rows of one person are neighbours.
pub fn all_pairs(
    rows: &TemplateMatrix,
    people: &[u32],
    how: Comparison<'_>,
    progress: &ProgressBar,
) -> AllPairs {
    let mut photographs = vec![0u32; people.last().map_or(0, |p| *p as usize + 1)];
    people.iter().for_each(|p| photographs[*p as usize] += 1);
    let empty = || AllPairs {
        genuine: Tally::default(),
        of_one: GenuineScores::default(),
        impostor: Tally::default(),
        at: Vec::new(),
        likely: Vec::new(),
        judged: 0,
        closest: Vec::new(),
    };
    let tiles = tiles(people);
    let total =
        std::sync::Mutex::new((empty(), Clustered::new(photographs.clone(), how.thresholds.len())));
    // A piece of work: tiles of this number, counted by one thread into its own tallies, merged at
    // the end of the piece.
    let pieces: Vec<&[(usize, usize)]> =
        tiles.chunks(tiles.len().div_ceil(how.threads.max(1) * 8).max(1)).collect();
    let piece = |(): &mut (), piece: &&[(usize, usize)]| {
        let mut part = empty();
        let mut clustered = Clustered::new(photographs.clone(), how.thresholds.len());
        let mut hits: Vec<Vec<FalseMatchPair>> = Vec::new();
        let mut left_out: Vec<Vec<u32>> = Vec::new();
        let mut similarities = [0f32; COLUMNS];
        let mut least = f32::NEG_INFINITY;
        for &(from, to) in piece.iter() {
            let first = people[from];
            hits.resize_with((people[to - 1] - first + 1) as usize, Vec::new);
            left_out.resize_with(hits.len(), Vec::new);
            for column in (from..rows.len()).step_by(COLUMNS) {
                let until = (column + COLUMNS).min(rows.len());
                for a in from..to.min(until) {
                    let start = column.max(a + 1);
                    if start >= until {
                        continue;
                    }
                    let out = &mut similarities[..until - start];
                    rows.similarities(a, start, out);
                    for (b, similarity) in (start..until).zip(out.iter().copied()) {
                        if people[a] == people[b] {
                            part.genuine.add(similarity);
                        } else if how.joined(people[a], people[b]) {
                            part.judged += 1;
                            left_out[(people[a] - first) as usize].push(people[b]);
                        } else {
                            part.impostor.add(similarity);
                            if how.likely_from.is_some_and(|from| similarity >= from) {
                                part.likely.push(Suspect { a, b, similarity });
                            }
                            // Pruned now and then, and always against the least similar one that
                            // was kept.
                            if similarity >= least {
                                part.closest.push(Suspect { a, b, similarity });
                                if part.closest.len() >= 16 * CLOSEST {
                                    keep_closest(&mut part.closest);
                                    least = part.closest.last().map_or(-1.0, |s| s.similarity);
                                }
                            }
                            if how.thresholds.first().is_some_and(|t| similarity >= *t) {
                                let step = how.thresholds.partition_point(|t| *t <= similarity) - 1;
                                hits[(people[a] - first) as usize]
                                    .push(FalseMatchPair { other: people[b], step: step as u16 });
                            }
                        }
                    }
                }
            }
            for (person, (hits, left_out)) in (first..).zip(hits.iter_mut().zip(&mut left_out)) {
                clustered.add(person, hits, left_out);
                hits.clear();
                left_out.clear();
            }
        }
        let mut total = total.lock().expect("merging does not panic");
        total.0.genuine.merge(&part.genuine);
        total.0.impostor.merge(&part.impostor);
        total.0.likely.append(&mut part.likely);
        total.0.judged += part.judged;
        total.0.closest.append(&mut part.closest);
        keep_closest(&mut total.0.closest);
        total.1.merge(&clustered);
    };
    let done: Result<Vec<()>, std::convert::Infallible> =
        spread(&pieces, how.threads, progress, || Ok(()), piece, |_| ());
    let Ok(_) = done;
    let (mut all, clustered) = total.into_inner().expect("merging does not panic");
    all.likely.sort_by_key(|s| (s.a, s.b));
    all.of_one = genuine_scores(rows, people);
    all.at = clustered.finish();
    all
}

/// What a line says of a row.
#[derive(Debug, Clone)]
pub struct Ends<'a> {
    /// The photograph.
    pub file: String,
    /// Its group, where there are groups.
    pub group: Option<&'a str>,
}

#[derive(Serialize)]
struct ComparisonLine<'a> {
    a: &'a str,
    b: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_a: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_b: Option<&'a str>,
    same_person: bool,
    similarity: f32,
}

/// Records every pair of rows, where anybody wants that. `ends` names a row.
pub fn record_pairs<'a>(
    rows: &TemplateMatrix,
    people: &[u32],
    records: &mut Records,
    ends: impl Fn(usize) -> Ends<'a>,
) {
    if !records.wanted() {
        return;
    }
    let names: Vec<Ends<'_>> = (0..rows.len()).map(ends).collect();
    let mut similarities = vec![0f32; rows.len()];
    for (a, first) in names.iter().enumerate() {
        let out = &mut similarities[a + 1..];
        rows.similarities(a, a + 1, out);
        for (b, (other, similarity)) in (a + 1..).zip(names[a + 1..].iter().zip(out.iter())) {
            records.add(&ComparisonLine {
                a: &first.file,
                b: &other.file,
                group_a: first.group,
                group_b: other.group,
                same_person: people[a] == people[b],
                similarity: *similarity,
            });
        }
    }
}

/// Similarities between the photographs of each person; `people` as in [`all_pairs`].
fn genuine_scores(rows: &TemplateMatrix, people: &[u32]) -> GenuineScores {
    let mut first = 0;
    GenuineScores::new(people.chunk_by(|a, b| a == b).map(|of_one| {
        let from = first;
        first += of_one.len();
        (from..first)
            .flat_map(|a| (a + 1..first).map(move |b| (a, b)))
            .map(|(a, b)| rows.similarity(a, b))
            .collect()
    }))
}

/// Cuts the rows into tiles of about [`TILE`] rows that never split a person.
fn tiles(people: &[u32]) -> Vec<(usize, usize)> {
    let mut tiles = Vec::new();
    let mut from = 0;
    for at in 1..=people.len() {
        let ends = at == people.len() || (at - from >= TILE && people[at] != people[at - 1]);
        if ends {
            tiles.push((from, at));
            from = at;
        }
    }
    tiles
}

/// Multiples of .01 up to 1, from the highest at which about a tenth of a sample of pairs of two
/// people match. The sample: every pair among up to 600 rows, evenly spaced.
pub fn thresholds(rows: &TemplateMatrix, people: &[u32]) -> Vec<f32> {
    let step = rows.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<usize> = (0..rows.len()).step_by(step).collect();
    let mut similarities: Vec<f32> = Vec::new();
    for (at, a) in sample.iter().enumerate() {
        let others = sample[at + 1..].iter().filter(|b| people[*a] != people[**b]);
        similarities.extend(others.map(|b| rows.similarity(*a, *b)));
    }
    similarities.sort_unstable_by(|a, b| b.total_cmp(a));
    let begin =
        similarities.get((BEGIN * similarities.len() as f64) as usize).copied().unwrap_or(0.0);
    let first = (begin * 100.0).floor() as i32;
    (first..=100).map(|k| (f64::from(k) / 100.0) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn templates(n: usize, dimensions: usize, seed: u64) -> Vec<Template> {
        let mut draw = crate::evaluate::protocol::draw::Draw::new(seed, 0);
        (0..n)
            .map(|_| {
                Template::new(
                    (0..dimensions).map(|_| draw.below(255) as i32 as i16 as i8).collect(),
                )
                .unwrap()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_kernel_gives_the_cosine_that_the_templates_give(
            dimensions in 64usize..300,
            seed: u64,
        ) {
            let t = templates(5, dimensions, seed);
            let rows = TemplateMatrix::new(&t);
            let mut out = [0f32; 4];
            rows.similarities(0, 1, &mut out);
            for (at, value) in out.iter().enumerate() {
                let cosine = t[0].cosine(&t[at + 1]);
                let mut all = [0f32; 5];
                rows.against(&TemplateMatrix::new([&t[0]]), &mut all);
                prop_assert_eq!(all[at + 1], *value);
                prop_assert!(
                    (value - cosine).abs() < 1e-6
                        && (rows.similarity(0, at + 1) - cosine).abs() < 1e-6
                );
            }
        }

        #[test]
        fn every_pair_is_compared_once_whatever_the_threads_and_tiles(
            sizes in prop::collection::vec(1usize..40, 1..12),
            threads in 1usize..5,
        ) {
            let people: Vec<u32> =
                sizes.iter().enumerate().flat_map(|(p, n)| vec![p as u32; *n]).collect();
            let t = templates(people.len(), 64, 3);
            let rows = TemplateMatrix::new(&t);
            let thresholds = [0.0, 0.1, 0.2];
            let how = Comparison {
                thresholds: &thresholds,
                likely_from: Some(0.1),
                judged: None,
                first_person: 0,
                threads,
            };
            let got = all_pairs(&rows, &people, how, &ProgressBar::hidden());
            let (mut genuine, mut impostor, mut pairs) = (0, 0, std::collections::HashSet::new());
            let mut matches = [0u64; 3];
            for a in 0..people.len() {
                for b in a + 1..people.len() {
                    let s = rows.similarity(a, b);
                    if people[a] == people[b] {
                        genuine += 1;
                    } else {
                        impostor += 1;
                        for (m, t) in matches.iter_mut().zip(thresholds) {
                            *m += u64::from(s >= t);
                        }
                        if s >= 0.1 {
                            pairs.insert((people[a], people[b]));
                        }
                    }
                }
            }
            prop_assert_eq!((got.genuine.total(), got.impostor.total()), (genuine, impostor));
            for (counted, expected) in got.at.iter().zip(matches) {
                prop_assert_eq!((counted.matches, counted.comparisons), (expected, impostor));
            }
            prop_assert_eq!(got.likely.len() as u64, got.at[1].matches);
            prop_assert_eq!(got.at[1].pairs_of_people, pairs.len() as u64);
        }
    }

    #[test]
    fn nothing_to_compare_is_no_fault() {
        let none: [Template; 0] = [];
        let how = Comparison {
            thresholds: &[0.1],
            likely_from: None,
            judged: None,
            first_person: 0,
            threads: 2,
        };
        let got = all_pairs(&TemplateMatrix::new(&none), &[], how, &ProgressBar::hidden());
        assert_eq!((got.impostor.total(), got.at[0].matches, got.at[0].upper), (0, 0, 1.0));
    }
}
