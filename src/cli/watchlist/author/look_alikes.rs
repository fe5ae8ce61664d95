//! Entries that will be confused with one another, told while something can still be done about it.

use super::{output, site};
use crate::decision::budget::Budget;
use crate::device::judge;
use crate::vision::Models;
use crate::watchlist::author::{self, LookAlikes};
use crate::watchlist::model::Content;

/// Pairs that are printed one by one.
const SHOWN: usize = 20;
/// So far below the threshold two entries are still told: faces of one walk scatter by as much.
const NEAR: f32 = 0.10;

/// The pairs of entries that come near the list's own threshold, and that threshold, by its site
/// record where it has one: a face of one may reach the other. Where the budget cannot be met it is
/// the strictest threshold that was measured; `None` for templates of another embedder than that of
/// `models`, of which no measured curve is at hand.
pub fn find(models: &Models, content: &Content) -> Option<(f32, LookAlikes)> {
    let curve = judge::curve(models)
        .ok()
        .filter(|_| content.embedder == models.manifest.embedder.sha256.0)?;
    let a = &content.authorisation;
    let budget = Budget::of(a.expected_faces_per_day, a.false_alerts_per_day);
    // One that cannot be used is told elsewhere.
    let record = site::of(content).ok().flatten();
    let rates = site::rates(&curve, content, record.as_ref());
    let limit = rates.plan(budget).unwrap_or_else(|_| rates.strictest(budget)).threshold;
    Some((limit, author::look_alikes(content, limit - NEAR, |_| {})))
}

/// Sentences about [`find`]'s pairs.
pub fn sentences(limit: f32, found: &LookAlikes) -> Vec<String> {
    let mut lines: Vec<String> = found
        .pairs
        .iter()
        .take(SHOWN)
        .map(|p| {
            format!(
                "{} and {} look alike (similarity {:.2}, the threshold is {limit:.2}): one person \
                 twice, or relatives? A candidate may name either",
                p.first, p.second, p.score
            )
        })
        .collect();
    if found.total > lines.len() {
        lines.push(format!(
            "and {} more pairs; `watchpost watchlist show --json` lists up to 1000",
            found.total - lines.len()
        ));
    }
    lines
}

/// Warns on standard error.
pub fn warn(models: &Models, content: &Content) {
    let Some((limit, found)) = find(models, content) else { return };
    for sentence in sentences(limit, &found) {
        output::warn(sentence);
    }
}
