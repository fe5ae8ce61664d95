//! Whether the photographs of an entry are of one person.

use std::path::PathBuf;

use crate::template::Template;
use crate::watchlist::StoredTemplate;
use crate::watchlist::author;

/// Photographs of one entry that are less alike than this are of two people, or one of them is too
/// poor. Genuine pairs of press photographs lie above it in all but about one of fifty cases, pairs
/// of different people never reach it in as many thousands (see `models/MODEL_CARD.md`).
const LEAST_AGREEMENT: f32 = 0.30;

/// Whether the photographs are of one person, with those that the entry has already. Leniently, the
/// one that disagrees with most of the others is left out until all agree; where none stands out
/// nobody can tell which is right.
pub(super) fn agree(
    before: &[Template],
    fresh: &mut Vec<(&PathBuf, StoredTemplate)>,
    left_out: &mut Vec<(PathBuf, String)>,
    lenient: bool,
) -> Result<(), String> {
    loop {
        let all: Vec<Template> = before
            .iter()
            .chain(fresh.iter().map(|(_, t)| &t.template))
            .map(Template::clone)
            .collect();
        let mut against = vec![0usize; all.len()];
        let pairs = author::disagreements(&all, LEAST_AGREEMENT);
        // What is in the draft already was accepted before and is not judged again.
        let pairs: Vec<_> = pairs.iter().filter(|d| d.photographs.1 >= before.len()).collect();
        let Some(first) = pairs.first() else { return Ok(()) };
        for d in &pairs {
            against[d.photographs.0] += 1;
            against[d.photographs.1] += 1;
        }
        let name = |i: usize| match i.checked_sub(before.len()) {
            Some(new) => fresh[new].0.display().to_string(),
            None => "a photograph in the draft".into(),
        };
        let worst = (before.len()..all.len()).max_by_key(|i| against[*i]).unwrap_or_default();
        let alone =
            (before.len()..all.len()).filter(|i| against[*i] == against[worst]).count() == 1;
        let refusal = format!(
            "{} and {} do not look like one person (similarity {:.2}, at least {LEAST_AGREEMENT} \
             is expected); leave one of them out",
            name(first.photographs.0),
            name(first.photographs.1),
            first.score
        );
        if !lenient || (!alone && before.is_empty()) {
            return Err(refusal);
        }
        let (file, _) = fresh.remove(worst - before.len());
        left_out.push((
            file.clone(),
            format!("it does not look like the person's other photographs: {refusal}"),
        ));
    }
}
