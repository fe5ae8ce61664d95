//! The draft: an unsigned list that people edit, as JSON.

use std::collections::HashMap;

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{AuthorError, ListSummary, whole_seconds};
use crate::promise::Stage;
use crate::template::PIPELINE;
use crate::watchlist::codec;
use crate::watchlist::model::{
    Authorisation, Content, ContentError, Entry, EntryFault, MAX_PHOTOGRAPHS, Reference,
    StoredTemplate,
};
use crate::watchlist::verify::read_container;

/// Most bytes of a draft.
pub const MAX_DRAFT_BYTES: usize = 1 << 30;

/// What a new list starts from.
#[derive(Debug, Clone)]
pub struct NewList {
    /// Names the list through all of its versions.
    pub id: Reference,
    /// Not valid before.
    pub not_before: OffsetDateTime,
    /// Not valid from then on.
    pub expires: OffsetDateTime,
    /// SHA-256 of the embedder's file.
    pub embedder: [u8; 32],
    /// Components of its templates.
    pub dimensions: usize,
    /// What it is to do.
    pub stage: Stage,
    /// The permission.
    pub authorisation: Authorisation,
}

/// Who is looked for and why; an entry without its templates.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// What is published. Never a name.
    pub reference: Reference,
    /// The law or order.
    pub legal_basis: String,
    /// Why.
    pub purpose: String,
    /// When the entry ends.
    pub expires: OffsetDateTime,
}

/// An unsigned list.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub(super) content: Content,
}

impl Draft {
    /// An empty list, version 1.
    ///
    /// # Errors
    /// Where a rule of the format is broken.
    pub fn new(list: NewList, now: OffsetDateTime) -> Result<Self, AuthorError> {
        let NewList { id, not_before, expires, embedder, dimensions, stage, authorisation } = list;
        let content = Content {
            id,
            version: 1,
            issued: whole_seconds(now),
            not_before: whole_seconds(not_before),
            expires: whole_seconds(expires),
            embedder,
            dimensions,
            pipeline: PIPELINE,
            stage,
            promise: Vec::new(),
            site: None,
            promotion: None,
            authorisation,
            entries: Vec::new(),
        };
        content.check()?;
        Ok(Self { content })
    }

    /// The next version of a signed list, to be edited; its site record stays. Its signatures are
    /// not looked at: the draft has none and needs new ones. Entries that were removed from this
    /// copy are not in it.
    ///
    /// A list has one template an entry, so that photographs that are added to such an entry are
    /// held against that one. It counts as often as the photographs that it was made of.
    ///
    /// # Errors
    /// Where `bytes` are no signed list.
    pub fn revise(bytes: &[u8], now: OffsetDateTime) -> Result<Self, AuthorError> {
        let (mut content, _) = codec::decode(&read_container(bytes)?)?;
        pipeline_ok(content.pipeline)?;
        content.version += 1;
        content.promise.clear();
        content.issued = whole_seconds(now);
        Ok(Self { content })
    }

    /// Reads a draft's JSON.
    ///
    /// # Errors
    /// Where it is none. Rules that an unfinished draft may break are checked when it is signed.
    pub fn from_json(bytes: &[u8]) -> Result<Self, AuthorError> {
        if bytes.len() > MAX_DRAFT_BYTES {
            return Err(AuthorError::NotADraft(format!("more than {MAX_DRAFT_BYTES} bytes")));
        }
        let read = serde_json::from_slice::<Content>(bytes);
        // What an older draft lacks is not worth a message; that it is older is.
        if read.is_err()
            && let Ok(head) = serde_json::from_slice::<DraftHead>(bytes)
        {
            pipeline_ok(head.pipeline)?;
        }
        let content = read.map_err(|e| AuthorError::NotADraft(e.to_string()))?;
        pipeline_ok(content.pipeline)?;
        Ok(Self { content })
    }

    /// The draft's JSON, indented so that versions can be compared line by line.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let mut text =
            serde_json::to_vec_pretty(&self.content).expect("a draft has string keys only");
        text.push(b'\n');
        Zeroizing::new(text)
    }

    /// What it says so far.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// For changing the list's own fields; the rules are checked when it is signed.
    pub fn content_mut(&mut self) -> &mut Content {
        &mut self.content
    }

    /// Each photograph's digest with the entry that it is in: what a resumed enrolment can leave
    /// out.
    pub fn photographs(&self) -> HashMap<[u8; 32], Reference> {
        let of = |e: &Entry| {
            e.photographs().map(|p| (p.sha256, e.reference.clone())).collect::<Vec<_>>()
        };
        self.content.entries.iter().flat_map(of).collect()
    }

    fn check_new(&self, templates: &[StoredTemplate]) -> Result<(), AuthorError> {
        for entry in &self.content.entries {
            if entry
                .templates
                .iter()
                .any(|t| templates.iter().any(|new| new.shares_a_photograph(t)))
            {
                return Err(AuthorError::SamePhotograph(entry.reference.clone()));
            }
        }
        Ok(())
    }

    /// Adds a person with one to ten photographs, each with its template.
    ///
    /// # Errors
    /// Where the reference or a photograph is in the list already, a rule of the format is broken
    /// or the authorisation allows no more entries.
    pub fn add(
        &mut self,
        new: NewEntry,
        templates: Vec<StoredTemplate>,
    ) -> Result<(), AuthorError> {
        let NewEntry { reference, legal_basis, purpose, expires } = new;
        if self.content.entries.iter().any(|e| e.reference == reference) {
            return Err(AuthorError::Exists(reference));
        }
        self.check_new(&templates)?;
        let entry =
            Entry { reference, legal_basis, purpose, expires: whole_seconds(expires), templates };
        entry.check(self.content.dimensions)?;
        let (entries, allowed) =
            (self.content.entries.len() + 1, self.content.authorisation.most_entries);
        if entries > allowed as usize {
            return Err(ContentError::TooManyEntries { entries, allowed }.into());
        }
        self.content.entries.push(entry);
        Ok(())
    }

    /// Adds photographs to a person who is in the list.
    ///
    /// # Errors
    /// Where there is no such entry, a photograph is in the list already or the entry would have
    /// more than [`MAX_PHOTOGRAPHS`].
    pub fn add_templates(
        &mut self,
        to: &Reference,
        templates: Vec<StoredTemplate>,
    ) -> Result<(), AuthorError> {
        self.check_new(&templates)?;
        let dimensions = self.content.dimensions;
        let entry = self.content.entries.iter_mut().find(|e| e.reference == *to);
        let entry = entry.ok_or_else(|| AuthorError::NoSuchEntry(to.clone()))?;
        let new = templates.iter().map(|t| t.photographs.len()).sum::<usize>();
        let total = entry.photographs().count() + new;
        if total > MAX_PHOTOGRAPHS {
            let what = EntryFault::Photographs(total);
            return Err(ContentError::Entry { reference: to.to_string(), what }.into());
        }
        let before = entry.templates.len();
        entry.templates.extend(templates);
        entry.check(dimensions).inspect_err(|_| entry.templates.truncate(before))?;
        Ok(())
    }

    /// Removes a person; the templates are wiped.
    ///
    /// # Errors
    /// Where there is no such entry.
    pub fn remove(&mut self, reference: &Reference) -> Result<(), AuthorError> {
        let at = self.content.entries.iter().position(|e| e.reference == *reference);
        self.content.entries.remove(at.ok_or_else(|| AuthorError::NoSuchEntry(reference.clone()))?);
        Ok(())
    }

    /// The entry of that reference, if there is one.
    pub fn entry(&self, reference: &Reference) -> Option<&Entry> {
        self.content.entries.iter().find(|e| e.reference == *reference)
    }

    /// Makes an entry what it was `before`: without what was added to it since, or gone.
    ///
    /// # Errors
    /// Where there is no such entry.
    pub fn put_back(
        &mut self,
        reference: &Reference,
        before: Option<Entry>,
    ) -> Result<(), AuthorError> {
        let of = |e: &&mut Entry| e.reference == *reference;
        match (before, self.content.entries.iter_mut().find(of)) {
            (Some(old), Some(entry)) => *entry = old,
            _ => self.remove(reference)?,
        }
        Ok(())
    }

    /// What the draft says, for people to read.
    pub fn summary(&self) -> ListSummary {
        ListSummary::of(&self.content, None, Vec::new())
    }
}

/// What is looked at of a draft that cannot be read.
#[derive(serde::Deserialize)]
struct DraftHead {
    /// A draft of before the first numbered one has none.
    #[serde(default)]
    pipeline: u32,
}

fn pipeline_ok(pipeline: u32) -> Result<(), AuthorError> {
    if pipeline == PIPELINE { Ok(()) } else { Err(AuthorError::OtherPipeline(pipeline)) }
}

#[cfg(test)]
mod tests {
    use super::super::sign;
    use super::super::tests::{draft, person};
    use super::*;
    use crate::watchlist::fixture::{PROMISE, content, key, now, stored};
    use crate::watchlist::tampering::signed;

    #[test]
    fn a_revision_rises_and_carries_no_signature() {
        let d = Draft::revise(&signed(&content(2), &[1, 2]), now()).unwrap();
        assert_eq!((d.content().version, d.content().entries.len()), (8, 2));
        assert_eq!(d.summary().signatures, []);
    }

    #[test]
    fn nobody_is_added_twice_and_no_photograph_either() {
        let mut d = draft();
        d.add(person(1), vec![stored(1)]).unwrap();
        assert!(matches!(d.add(person(1), vec![stored(2)]), Err(AuthorError::Exists(_))));
        assert!(matches!(d.add(person(2), vec![stored(1)]), Err(AuthorError::SamePhotograph(_))));
        let reference = person(1).reference;
        assert!(matches!(
            d.add_templates(&reference, vec![stored(1)]),
            Err(AuthorError::SamePhotograph(_))
        ));
        assert!(matches!(
            d.add_templates(&person(2).reference, vec![stored(3)]),
            Err(AuthorError::NoSuchEntry(_))
        ));
        assert!(d.add_templates(&reference, (10..20).map(stored).collect()).is_err(), "eleven");
        assert!(d.add_templates(&reference, vec![stored(5), stored(5)]).is_err());
        assert_eq!(d.content().entries[0].templates.len(), 1, "a refused addition leaves nothing");
        assert_eq!(d.photographs()[&stored(1).photographs[0].sha256], reference);
        let before = d.clone();
        d.add_templates(&reference, vec![stored(6)]).unwrap();
        d.add(person(2), vec![stored(7)]).unwrap();
        d.put_back(&reference, before.entry(&reference).cloned()).unwrap();
        d.put_back(&person(2).reference, None).unwrap();
        assert_eq!(d, before);
        d.remove(&reference).unwrap();
        assert!(matches!(d.remove(&reference), Err(AuthorError::NoSuchEntry(_))));
    }

    #[test]
    fn a_draft_of_another_pipeline_is_refused_with_what_to_do() {
        let text = String::from_utf8(draft().to_json().to_vec()).unwrap();
        let now = format!("\"pipeline\": {PIPELINE},");
        assert!(text.contains(&now));
        for (other, found) in [("", 0), ("\"pipeline\": 1,", 1)] {
            let refused = Draft::from_json(text.replace(&now, other).as_bytes()).unwrap_err();
            assert!(matches!(refused, AuthorError::OtherPipeline(n) if n == found), "{refused}");
            assert!(refused.to_string().contains("add the photographs again"), "{refused}");
        }
    }

    #[test]
    fn a_revised_entry_keeps_one_template_that_counts_as_often_as_its_photographs() {
        let mut d = draft();
        let three: Vec<_> = (1..4).map(stored).collect();
        d.add(person(1), three.clone()).unwrap();
        let once = sign(&d, PROMISE, &key(1), now()).unwrap();
        let mut revised = Draft::revise(&once, now()).unwrap();
        let fused = &revised.content().entries[0].templates;
        assert_eq!((fused.len(), fused[0].photographs.len()), (1, 3));
        let unit = fused[0].template.clone();
        revised.add_templates(&person(1).reference, vec![stored(4)]).unwrap();
        let again = revised.content().entries[0].fused().unwrap();
        assert_eq!(again.photographs.len(), 4);
        assert!(again.template.cosine(&unit) > again.template.cosine(&stored(4).template));
        let same = revised.add_templates(&person(1).reference, vec![three[1].clone()]);
        assert!(matches!(same, Err(AuthorError::SamePhotograph(_))));
    }

    #[test]
    fn more_entries_than_authorised_are_refused_when_added() {
        let mut d = draft();
        d.content_mut().authorisation.most_entries = 1;
        d.add(person(1), vec![stored(1)]).unwrap();
        assert!(matches!(
            d.add(person(2), vec![stored(2)]),
            Err(AuthorError::Content(ContentError::TooManyEntries { .. }))
        ));
    }

    #[test]
    fn a_draft_with_a_name_where_a_reference_belongs_is_refused_with_the_reason() {
        let text = String::from_utf8(draft().to_json().to_vec())
            .unwrap()
            .replace("north-gate", "Jane Doe");
        let refused = Draft::from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(
            refused.contains("Jane Doe") && refused.contains("never a person's name"),
            "{refused}"
        );
    }
}
