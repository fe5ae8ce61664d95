//! Names in free texts and references, told while something can still be done about it.

use super::output;
use super::people::looks_like_a_name;
use crate::watchlist::author::{ListSummary, suspected_name};

/// Entries that are named one by one.
const SHOWN: usize = 20;

/// A sentence for each text that may hold a person's name.
pub fn sentences(summary: &ListSummary) -> Vec<String> {
    let references = summary.entries.iter().map(|e| e.reference.to_string());
    let references = references.filter(|reference| looks_like_a_name(reference)).map(|reference| {
        format!(
            "the reference {reference} may be a person's name: references are published with each \
             candidate; write a case number instead"
        )
    });
    let texts = summary
        .entries
        .iter()
        .flat_map(|e| {
            [("purpose", &e.purpose), ("legal basis", &e.legal_basis)].map(|(what, text)| {
                let name = suspected_name(text)?;
                Some(format!(
                    "the {what} of {} says {name:?}: texts are published with each candidate and \
                     hold no name of a person; write a file number instead",
                    e.reference
                ))
            })
        })
        .flatten();
    let mut found: Vec<String> = references.chain(texts).collect();
    if let Some(more) = found.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        found.truncate(SHOWN);
        found.push(format!("and {more} more texts may hold a person's name"));
    }
    found
}

/// Warns on standard error.
pub fn warn(summary: &ListSummary) {
    for sentence in sentences(summary) {
        output::warn(sentence);
    }
}
