//! Names in free texts, references and ids, told while something can still be done about it.

use super::output;
use crate::watchlist::Reference;
use crate::watchlist::author::{ListSummary, suspected_name};
use crate::watchlist::opaque::{IdentifierOf, is_plainly_opaque};

/// Entries that are named one by one.
const SHOWN: usize = 20;

/// A sentence for each text that may hold a person's name.
pub fn sentences(summary: &ListSummary) -> Vec<String> {
    let references = summary.entries.iter().map(|e| e.reference.to_string());
    let references = references
        .filter(|reference| !is_plainly_opaque(reference, IdentifierOf::Person))
        .map(|reference| {
            format!(
                "the reference {reference} may be a person's name: references are published with \
                 each candidate; write a case number instead"
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

/// A sentence for the id of a list, and for each of its devices', that may be a person's name.
fn ids(list: &Reference, devices: &[Reference]) -> Vec<String> {
    let all = std::iter::once(("list", list)).chain(devices.iter().map(|id| ("device", id)));
    all.filter(|(_, id)| !is_plainly_opaque(id, IdentifierOf::Thing))
        .map(|(what, id)| {
            format!(
                "the {what} {id} may be called by a person's name, and ids of lists and devices \
                 are published; name it by a place or a file number, as in station-north or \
                 case-0412"
            )
        })
        .collect()
}

/// Warns on standard error of ids.
pub fn warn_of_ids(list: &Reference, devices: &[Reference]) {
    for sentence in ids(list, devices) {
        output::warn(sentence);
    }
}

/// Warns on standard error.
pub fn warn(summary: &ListSummary) {
    for sentence in sentences(summary) {
        output::warn(sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_may_be_names_are_warned_of_and_places_are_not() {
        let of = |text: &str| text.parse::<Reference>().expect("a reference");
        let said = ids(&of("Jane_Doe"), &[of("gate-1"), of("mueller7")]);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("the list Jane_Doe may"), "{said:?}");
        assert!(said[1].starts_with("the device mueller7 may"), "{said:?}");
        assert_eq!(ids(&of("station-north"), &[of("watchpost-1")]), Vec::<String>::new());
    }
}
