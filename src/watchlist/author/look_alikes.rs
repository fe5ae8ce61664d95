//! What can be judged from templates alone: whether the photographs of one entry agree with each
//! other, and which entries will be confused with one another.

use std::collections::HashMap;

use serde::Serialize;

use crate::template::Template;
use crate::watchlist::model::{Content, Reference};
use crate::watchlist::search::Gallery;

/// Most look-alike pairs that are reported one by one.
pub const MAX_PAIRS: usize = 1000;

/// Two photographs of one entry that do not look like one person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disagreement {
    /// Positions of the two.
    pub photographs: (usize, usize),
    /// Their cosine similarity, below the limit.
    pub score: f32,
}

/// The pairs among one entry's templates whose similarity is below `least`: a photograph of
/// somebody else, or one that is too poor. One such reference makes strangers match.
pub fn disagreements(templates: &[Template], least: f32) -> Vec<Disagreement> {
    let mut out = Vec::new();
    for (j, b) in templates.iter().enumerate() {
        for (i, a) in templates[..j].iter().enumerate() {
            let score = a.cosine(b);
            if score < least {
                out.push(Disagreement { photographs: (i, j), score });
            }
        }
    }
    out
}

/// Two entries that will be confused with one another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookAlike {
    /// The entry that is earlier in the list.
    pub first: Reference,
    /// The other.
    pub second: Reference,
    /// The cosine similarity between their templates.
    pub score: f32,
}

/// What [`look_alikes`] found.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct LookAlikes {
    /// The most similar pairs, most similar first; at most [`MAX_PAIRS`].
    pub pairs: Vec<LookAlike>,
    /// How many pairs there are in all.
    pub total: usize,
}

/// The pairs of entries with a similarity above `limit`. Compares all with all: `progress`
/// gets the number of entries that are done, after each.
pub fn look_alikes(content: &Content, limit: f32, mut progress: impl FnMut(usize)) -> LookAlikes {
    let gallery = Gallery::of(content.dimensions, &content.entries);
    let mut found: Vec<(f32, usize, usize)> = Vec::new();
    let mut total = 0;
    for (first, entry) in content.entries.iter().enumerate() {
        let probes: Vec<Template> = entry.fused().map(|t| t.template).into_iter().collect();
        let mut close: HashMap<usize, f32> = HashMap::new();
        gallery.scan(&probes, first + 1, |_, hit| {
            if hit.score > limit {
                let best = close.entry(hit.entry).or_insert(hit.score);
                *best = best.max(hit.score);
            }
            limit
        });
        total += close.len();
        found.extend(close.into_iter().map(|(second, score)| (score, first, second)));
        if found.len() > 2 * MAX_PAIRS || first + 1 == content.entries.len() {
            found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
            found.truncate(MAX_PAIRS);
        }
        progress(first + 1);
    }
    let name = |i: usize| content.entries[i].reference.clone();
    let pairs = found
        .into_iter()
        .map(|(score, a, b)| LookAlike { first: name(a), second: name(b), score })
        .collect();
    LookAlikes { pairs, total }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::fixture::{content, template};

    #[test]
    fn a_photograph_of_somebody_else_is_pointed_out() {
        let templates = [template(1), template(1), template(2)];
        let found = disagreements(&templates, 0.5);
        assert_eq!(found.iter().map(|d| d.photographs).collect::<Vec<_>>(), [(0, 2), (1, 2)]);
    }

    #[test]
    fn look_alikes_are_found_once_a_pair_and_strangers_not() {
        let mut c = content(30);
        let twin = c.entries[3].templates.clone();
        c.entries[17].templates.clone_from(&twin);
        c.entries[29].templates = twin;
        let found = look_alikes(&c, 0.9, |_| ());
        let pairs: Vec<_> =
            found.pairs.iter().map(|p| (p.first.as_str(), p.second.as_str())).collect();
        assert_eq!(pairs, [("case-3", "case-17"), ("case-3", "case-29"), ("case-17", "case-29")]);
        assert_eq!(found.total, 3);
    }
}
