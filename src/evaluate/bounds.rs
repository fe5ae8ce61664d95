//! The upper bounds of one population as a manifest carries them: counted up to some similarity,
//! extrapolated beyond.
//!
//! * Each person has one photograph, so that somebody with many decides nothing.
//! * Likely duplicates are joined: of people who hang together by similarities at or above a limit,
//!   one stays. Nobody has judged them, so nothing at or near the limit is read as a measurement:
//!   counts end [`END_MARGIN`] below it, and the tail is truncated there
//!   ([`super::statistics::tail`]). A pair that somebody judged to be different people is not
//!   joined: it is a false match.
//! * Counted rows end where fewer than ten pairs of people match.
//! * Thresholds are [`grid`]. No bound lies below that of a stricter threshold.
//!
//! Not promised: the rates of a population of which fewer than 300 people were measured; whoever
//! reads the rows looks at `people`.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use super::compare::TemplateMatrix;
use super::provenance::quoted;
use super::statistics::dyadic::{CountedAt, Design, Scored, count};
use super::statistics::tail::{self, END_MARGIN, Refused, Sample, Tail};
use crate::template::Template;

/// Fewest different pairs of people matched falsely at the last counted threshold.
pub const LEAST_PAIRS: u64 = 10;

/// Thresholds of the rows: .25 to .90 in steps of .01. Below, too many match to decide by.
pub fn grid() -> Vec<f64> {
    (25..=90).map(|k| f64::from(k) / 100.0).collect()
}

/// What a bound rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Counted false matches.
    Counted,
    /// A fitted tail.
    Extrapolated,
}

impl Basis {
    /// The word that stands beside every figure.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Extrapolated => "extrapolated",
        }
    }
}

/// One threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BoundRow {
    /// Similarity from which a comparison matches.
    pub threshold: f64,
    /// One-sided 95 % upper bound of the false-match rate, never rising from row to row.
    pub upper: f64,
    /// What it rests on.
    pub basis: Basis,
    /// The measured or fitted rate.
    pub rate: f64,
    /// False matches; `None` where the row is extrapolated.
    pub matches: Option<u64>,
    /// Variance over that of independent comparisons; `None` where the row is extrapolated.
    pub design_effect: Option<f64>,
}

/// What came of following the tail.
#[derive(Debug, Clone, PartialEq)]
pub enum Extrapolation {
    /// It passed every check.
    Fitted(Tail),
    /// It did not.
    Refused(Refused),
}

impl Serialize for Extrapolation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct ReasonShown {
            refused: String,
        }
        match self {
            Self::Fitted(tail) => tail.serialize(serializer),
            Self::Refused(why) => ReasonShown { refused: why.to_string() }.serialize(serializer),
        }
    }
}

/// The bounds of one population.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bounds {
    /// Who, in the words of the list; `all` where there is none.
    pub name: String,
    /// People behind the rows.
    pub people: usize,
    /// People left out because somebody who stays is likely the same person, or was judged to be.
    pub joined: usize,
    /// Similarity from which people were joined; `None` where nobody was.
    pub joined_from: Option<f64>,
    /// Comparisons of two people.
    pub pairs: u64,
    /// The last counted threshold.
    pub exact_to: Option<f64>,
    /// The rows, thresholds rising.
    pub rows: Vec<BoundRow>,
    /// What stands behind the extrapolated rows, or why there are none.
    pub extrapolation: Extrapolation,
}

impl Bounds {
    /// The bounds of a population: row `i` of `templates` is a photograph of `people[i]`, of whom
    /// neighbouring ones are one person's. Of those who hang together from `joined_from` on, those
    /// who stay are in `stays`.
    pub fn of_people(
        name: &str,
        templates: &[&Template],
        people: &[u32],
        stays: &HashSet<u32>,
        joined_from: f64,
    ) -> Self {
        let first: Vec<usize> =
            (0..people.len()).filter(|r| *r == 0 || people[*r] != people[r - 1]).collect();
        let kept: Vec<&Template> = first
            .iter()
            .filter(|row| stays.contains(&people[**row]))
            .map(|row| templates[*row])
            .collect();
        let design = Design::all(&vec![1; kept.len()]);
        let joined = first.len() - kept.len();
        let scored = scored(&TemplateMatrix::new(kept));
        Self::of(name, &design, &scored, joined, Some(joined_from))
    }

    /// The bounds of `scored`, all comparisons at or above the first of `grid`, of `design`.
    /// `joined` people were left out since they hang together with somebody by similarities of
    /// `joined_from` or more.
    pub fn of(
        name: &str,
        design: &Design,
        scored: &[Scored],
        joined: usize,
        joined_from: Option<f64>,
    ) -> Self {
        let grid = grid();
        let until = joined_from.unwrap_or(1.0);
        // The addend keeps .55 - .10 from being a little less than .45.
        let readable = |t: f64| joined_from.is_none_or(|limit| t <= limit - END_MARGIN + 1e-9);
        let counted: Vec<CountedAt> = count(design, scored, &grid)
            .into_iter()
            .take_while(|c| c.pairs_of_people >= LEAST_PAIRS && readable(c.threshold))
            .collect();
        let sample = Sample { design, scored, until };
        let extrapolation = match tail::extrapolate(sample, &counted, &grid) {
            Ok(tail) => Extrapolation::Fitted(tail),
            Err(why) => Extrapolation::Refused(why),
        };
        let mut rows: Vec<BoundRow> = counted.iter().map(counted_row).collect();
        if let Extrapolation::Fitted(tail) = &extrapolation {
            rows.extend(tail.rows.iter().map(|row| BoundRow {
                threshold: row.threshold,
                upper: row.upper,
                basis: Basis::Extrapolated,
                rate: row.rate,
                matches: None,
                design_effect: None,
            }));
        }
        let mut least = 0.0f64;
        for row in rows.iter_mut().rev() {
            least = least.max(row.upper);
            row.upper = least;
        }
        Self {
            name: name.into(),
            people: design.people(),
            joined,
            joined_from,
            pairs: design.comparisons() as u64,
            exact_to: counted.last().map(|c| c.threshold),
            rows,
            extrapolation,
        }
    }

    /// The table of a manifest, ready to paste; `source` names the photographs. Empty where there
    /// is no row.
    pub fn manifest_table(&self, source: &str) -> String {
        let Some(exact_to) = self.exact_to else { return String::new() };
        let mut text = String::new();
        let mut line = |l: std::fmt::Arguments<'_>| {
            writeln!(text, "{l}").expect("writing to a string does not fail")
        };
        match &self.extrapolation {
            Extrapolation::Fitted(tail) => line(format_args!(
                "# Beyond exact_to the bounds are EXTRAPOLATED: exponential tail from {:.2} to {:.2}, \
                 {} draws of people.",
                tail.from, tail.until, tail.draws
            )),
            Extrapolation::Refused(why) => line(format_args!("# Not extrapolated: {why}.")),
        }
        if let Some(limit) = self.joined_from {
            line(format_args!(
                "# {} people were joined with others, as likely the same from {limit:.2} on or \
                 judged so.",
                self.joined
            ));
        }
        line(format_args!("[[embedder.groups]]"));
        line(format_args!("name = {}", quoted(&self.name)));
        line(format_args!("source = {}", quoted(source)));
        line(format_args!("people = {}", self.people));
        line(format_args!("pairs = {}", self.pairs));
        line(format_args!("exact_to = {exact_to:.2}"));
        line(format_args!("curve = ["));
        for rows in self.rows.chunks(5) {
            let cells: Vec<String> = rows
                .iter()
                .map(|r| format!("[{:.2}, {}]", r.threshold, rounded_up(r.upper)))
                .collect();
            line(format_args!("    {},", cells.join(", ")));
        }
        line(format_args!("]"));
        text
    }
}

fn counted_row(c: &CountedAt) -> BoundRow {
    BoundRow {
        threshold: c.threshold,
        upper: c.upper(),
        basis: Basis::Counted,
        rate: c.matches as f64 / c.comparisons,
        matches: Some(c.matches),
        design_effect: Some(c.design_effect),
    }
}

/// All comparisons of `rows` at or above the first threshold of [`grid`]; row `i` is person `i`.
pub fn scored(rows: &TemplateMatrix) -> Vec<Scored> {
    let from = grid()[0] as f32;
    let mut scored = Vec::new();
    let mut similarities = vec![0f32; rows.len()];
    for a in 0..rows.len() {
        let out = &mut similarities[a + 1..];
        rows.similarities(a, a + 1, out);
        for (b, similarity) in (a + 1..).zip(out.iter().copied()) {
            if similarity >= from {
                scored.push(Scored { a: a as u32, b: b as u32, similarity });
            }
        }
    }
    scored
}

/// Three significant digits, never less than `rate`: a bound must stay one.
pub fn rounded_up(rate: f64) -> String {
    if !(rate > 0.0 && rate < 1.0) {
        return "1.0".into();
    }
    let mut exponent = rate.log10().floor() as i32;
    let mut digits = (rate / 10f64.powi(exponent - 2)).ceil() as u32;
    // 9.991 becomes 1000 hundredths.
    if digits >= 1000 {
        digits = 100;
        exponent += 1;
    }
    let text = format!("{}.{:02}e{exponent}", digits / 100, digits % 100);
    // The decimal may lie an ulp below the binary number it came from.
    if text.parse::<f64>().is_ok_and(|v| v < rate) {
        return format!("{}.{:02}e{exponent}", (digits + 1) / 100, (digits + 1) % 100);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::protocol::draw::Draw;
    use proptest::prelude::*;

    /// All pairs of `people`, 5 % of them from .25 on, falling off by .04.
    fn population(people: u32) -> (Design, Vec<Scored>) {
        let mut draw = Draw::new(1, 0);
        let mut unit = move || (draw.below(1 << 30) + 1) as f64 / f64::from(1u32 << 30);
        let mut scored = Vec::new();
        for a in 0..people {
            for b in a + 1..people {
                if unit() < 0.05 {
                    scored.push(Scored { a, b, similarity: (0.25 - 0.04 * unit().ln()) as f32 });
                }
            }
        }
        scored.retain(|s| s.similarity < 0.55);
        (Design::all(&vec![1; people as usize]), scored)
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ManifestGroup {
        name: String,
        source: String,
        people: u32,
        pairs: u64,
        exact_to: f64,
        curve: Vec<(f64, f64)>,
    }
    #[derive(serde::Deserialize)]
    struct EmbedderPart {
        groups: Vec<ManifestGroup>,
    }
    #[derive(serde::Deserialize)]
    struct ManifestPart {
        embedder: EmbedderPart,
    }

    #[test]
    fn the_table_is_one_group_of_a_manifest_and_says_where_it_is_extrapolated() {
        let (design, scored) = population(360);
        let b = Bounds::of("north \"a\"\n", &design, &scored, 7, Some(0.55));
        let table = b.manifest_table("set\none");
        let mut manifest: ManifestPart = toml::from_str(&table).unwrap();
        let group = manifest.embedder.groups.pop().unwrap();
        assert_eq!((group.name.as_str(), group.source.as_str()), ("north \"a\" ", "set one"));
        assert_eq!((group.people, group.pairs), (360, 360 * 359 / 2));
        assert_eq!(group.exact_to, b.exact_to.unwrap());
        assert!(group.exact_to <= 0.45, "counts near the end lack what was joined");
        assert!(table.contains("EXTRAPOLATED") && table.contains("# 7 people were joined"));
        assert!(group.curve.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 >= w[1].1));
        for (row, (threshold, upper)) in b.rows.iter().zip(&group.curve) {
            assert_eq!(row.threshold, *threshold);
            assert!(*upper >= row.upper && *upper <= row.upper * 1.011 && row.rate < row.upper);
            let counted = row.threshold <= group.exact_to;
            assert_eq!(row.basis == Basis::Counted, counted);
            assert_eq!(row.matches.is_some(), counted);
        }
        assert!(b.rows.last().unwrap().threshold > 0.6);
    }

    #[test]
    fn without_enough_people_only_what_was_counted_is_told() {
        let (design, scored) = population(120);
        let b = Bounds::of("few", &design, &scored, 0, Some(0.55));
        assert!(matches!(b.extrapolation, Extrapolation::Refused(Refused::People(120))));
        assert!(!b.rows.is_empty() && b.rows.iter().all(|r| r.basis == Basis::Counted));
        let json = serde_json::to_value(&b).unwrap();
        assert!(json["extrapolation"]["refused"].as_str().unwrap().contains("300"), "{json}");
        assert_eq!(json["rows"][0]["basis"], "counted");
        assert!(b.manifest_table("s").contains("# Not extrapolated: 120 people"));
        let none = Bounds::of("none", &Design::all(&[1, 1]), &[], 0, None);
        assert!(none.rows.is_empty() && none.manifest_table("s").is_empty());
    }

    proptest! {
        #[test]
        fn a_bound_is_never_rounded_down(rate in 1e-12f64..1.0) {
            let text: f64 = rounded_up(rate).parse().unwrap();
            prop_assert!(text >= rate && text <= rate * 1.0201, "{} {}", rate, text);
        }
    }
}
