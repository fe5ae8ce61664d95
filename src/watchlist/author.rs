//! Authoring on a workstation: from a draft to a list that enough people have signed.
//!
//! A **draft** is a JSON file, unsigned, that one person builds and others can read and compare:
//! the fields of [`Content`], times in RFC 3339, digests in hexadecimal, templates in base64. The
//! first signer's [`sign`] freezes it into the signed container; further signers add to the same
//! bytes with [`cosign`], one after another, each with an own key, each able to see with [`show`]
//! what it is that they sign. A later version starts from the signed list again
//! ([`Draft::revise`]), so that versions rise by themselves.
//!
//! ```json
//! {
//!   "id": "north-gate",
//!   "version": 1,
//!   "issued": "2026-09-28T12:00:00Z",
//!   "not_before": "2026-09-28T12:00:00Z",
//!   "expires": "2026-10-05T00:00:00Z",
//!   "embedder": "e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5",
//!   "dimensions": 512,
//!   "authorisation": {
//!     "authority": "District Court",
//!     "decision": "12 Gs 345/26",
//!     "aim": "missing-or-victim",
//!     "devices": ["gate-3"],
//!     "areas": [[{ "latitude": 52.5, "longitude": 13.4 }, { "latitude": 52.6, "longitude": 13.4 }, { "latitude": 52.5, "longitude": 13.5 }]],
//!     "hours": { "utc_offset_minutes": 120, "windows": ["mon-fri 06:00-22:00"] },
//!     "most_entries": 10,
//!     "expected_faces_per_day": 50000,
//!     "false_alerts_per_day": 0.5
//!   },
//!   "entries": []
//! }
//! ```
//!
//! Photographs are not opened here: whoever calls has detected, judged and embedded the face and
//! brings the template, its quality and the file's digest. What can be judged from templates alone
//! is judged here: whether the photographs of one entry agree with each other ([`disagreements`]),
//! and which entries will be confused with one another ([`look_alikes`]).

use std::collections::HashMap;

use serde::Serialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::codec::{self, FormatError, SALT};
use super::container::MAX_SIGNATURES;
use super::keys::{KeyError, KeyId, SecretKey};
use super::model::{
    Authorisation, Content, ContentError, Entry, EntryFault, MAX_TEMPLATES, Reference,
    StoredTemplate,
};
use super::refusal::Refusal;
use super::search::Gallery;
use super::text::hex;
use super::trust::{Role, Trust};
use super::verify::read_container;
use crate::template::Template;

/// Most look-alike pairs that are reported one by one.
pub const MAX_PAIRS: usize = 1000;
/// Most bytes of a draft.
pub const MAX_DRAFT_BYTES: usize = 1 << 30;

/// Why a draft or a list cannot be edited or signed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// Not a draft.
    #[error("this is no draft of a watch list ({0}); make one with `watchpost watchlist new`")]
    NotADraft(String),
    /// A rule of the format is broken.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Not the encoding of a list.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Not a signed list.
    #[error(transparent)]
    List(#[from] Refusal),
    /// An entry that there is already.
    #[error(
        "the list has an entry {0} already; add photographs to it, or choose another reference"
    )]
    Exists(Reference),
    /// An entry that there is not.
    #[error("the list has no entry {0}; `watchpost watchlist show` prints those that it has")]
    NoSuchEntry(Reference),
    /// One photograph for two people, or twice for one.
    #[error("this photograph is in entry {0} already")]
    SamePhotograph(Reference),
    /// A second signature by one key.
    #[error(
        "the key {0} has signed this list already; a second signature by the same person does not \
         count, so have another signer sign"
    )]
    AlreadySigned(KeyId),
    /// More than [`MAX_SIGNATURES`].
    #[error("the list has {MAX_SIGNATURES} signatures already; more are not read")]
    TooManySignatures,
    /// No random numbers.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nothing to sign.
    #[error("the list would have expired before it is signed; set a later `expires`")]
    AlreadyExpired,
}

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
    content: Content,
}

impl Draft {
    /// An empty list, version 1.
    ///
    /// # Errors
    /// Where a rule of the format is broken.
    pub fn new(list: NewList, now: OffsetDateTime) -> Result<Self, AuthorError> {
        let NewList { id, not_before, expires, embedder, dimensions, authorisation } = list;
        let content = Content {
            id,
            version: 1,
            issued: whole_seconds(now),
            not_before: whole_seconds(not_before),
            expires: whole_seconds(expires),
            embedder,
            dimensions,
            authorisation,
            entries: Vec::new(),
        };
        content.check()?;
        Ok(Self { content })
    }

    /// The next version of a signed list, to be edited. Its signatures are not looked at: the draft
    /// has none and needs new ones. Entries that were removed from this copy are not in it.
    ///
    /// # Errors
    /// Where `bytes` are no signed list.
    pub fn revise(bytes: &[u8], now: OffsetDateTime) -> Result<Self, AuthorError> {
        let (mut content, _) = codec::decode(&read_container(bytes)?)?;
        content.version += 1;
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
        let content =
            serde_json::from_slice(bytes).map_err(|e| AuthorError::NotADraft(e.to_string()))?;
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
            e.templates.iter().map(|t| (t.photo, e.reference.clone())).collect::<Vec<_>>()
        };
        self.content.entries.iter().flat_map(of).collect()
    }

    fn fresh(&self, templates: &[StoredTemplate]) -> Result<(), AuthorError> {
        for entry in &self.content.entries {
            if entry.templates.iter().any(|t| templates.iter().any(|new| new.photo == t.photo)) {
                return Err(AuthorError::SamePhotograph(entry.reference.clone()));
            }
        }
        Ok(())
    }

    /// Adds a person with one to ten templates.
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
        self.fresh(&templates)?;
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

    /// Adds templates to a person who is in the list.
    ///
    /// # Errors
    /// Where there is no such entry, a photograph is in the list already or the entry would have
    /// more than [`MAX_TEMPLATES`].
    pub fn add_templates(
        &mut self,
        to: &Reference,
        templates: Vec<StoredTemplate>,
    ) -> Result<(), AuthorError> {
        self.fresh(&templates)?;
        let dimensions = self.content.dimensions;
        let entry = self.content.entries.iter_mut().find(|e| e.reference == *to);
        let entry = entry.ok_or_else(|| AuthorError::NoSuchEntry(to.clone()))?;
        let total = entry.templates.len() + templates.len();
        if total > MAX_TEMPLATES {
            let what = EntryFault::Templates(total);
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

    /// What the draft says, for people to read.
    pub fn summary(&self) -> Summary {
        Summary::of(&self.content, None, Vec::new())
    }
}

/// Freezes a draft, issued `now`, with its first signature.
///
/// # Errors
/// Where a rule of the format is broken or the list has expired.
pub fn sign(
    draft: &Draft,
    key: &SecretKey,
    now: OffsetDateTime,
) -> Result<Zeroizing<Vec<u8>>, AuthorError> {
    let mut content = draft.content.clone();
    content.issued = whole_seconds(now);
    if content.expires <= now {
        return Err(AuthorError::AlreadyExpired);
    }
    // One failure of the generator is enough: a list whose salts are known tells of what was
    // removed from it.
    let mut failed = None;
    let encoded = codec::encode(&content, || {
        let mut salt = [0; SALT];
        failed = failed.take().or(getrandom::fill(&mut salt).err());
        salt
    })?;
    if let Some(error) = failed {
        return Err(KeyError::Random(error.to_string()).into());
    }
    let mut container = encoded.container();
    container.sign(key);
    Ok(container.to_bytes())
}

/// Adds a signature to a signed list. What the list says is read first: nobody signs what does not
/// parse.
///
/// # Errors
/// Where `bytes` are no signed list, or the key has signed it already.
pub fn cosign(bytes: &[u8], key: &SecretKey) -> Result<Zeroizing<Vec<u8>>, AuthorError> {
    let mut container = read_container(bytes)?;
    let (_, removed) = codec::decode(&container)?;
    if removed > 0 {
        return Err(FormatError::Removed(removed).into());
    }
    let id = key.public().id();
    if container.signatures().iter().any(|(signer, _)| *signer == id) {
        return Err(AuthorError::AlreadySigned(id));
    }
    if container.signatures().len() >= MAX_SIGNATURES {
        return Err(AuthorError::TooManySignatures);
    }
    container.sign(key);
    Ok(container.to_bytes())
}

/// How one signature counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureState {
    /// No trust file was given to judge it by.
    Unchecked,
    /// By a pinned signer, and it holds.
    Counts,
    /// By a pinned signer who has signed before.
    Repeated,
    /// By a key that is not pinned as a signer.
    Unknown,
    /// By a pinned signer, and it does not hold.
    Altered,
}

/// One signature on a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignatureSummary {
    /// By which key.
    pub key: KeyId,
    /// How it counts.
    pub state: SignatureState,
}

impl std::fmt::Display for SignatureState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unchecked => "not checked",
            Self::Counts => "counts",
            Self::Repeated => "does not count: the same key again",
            Self::Unknown => "does not count: not pinned as a signer",
            Self::Altered => "does not hold",
        })
    }
}

/// One entry, without its templates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntrySummary {
    /// Its opaque name.
    pub reference: Reference,
    /// The law or order.
    pub legal_basis: String,
    /// Why.
    pub purpose: String,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    /// Quality of each photograph, 0 to 1; as many as templates.
    pub qualities: Vec<f32>,
}

/// What a list or a draft says, for a table or as JSON. Holds no template.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Names the list.
    pub id: Reference,
    /// Rises.
    pub version: u64,
    /// When it was signed first.
    #[serde(with = "time::serde::rfc3339")]
    pub issued: OffsetDateTime,
    /// Not valid before.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// Not valid from then on.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    /// SHA-256 of the embedder, hexadecimal.
    pub embedder: String,
    /// Components of each template.
    pub dimensions: usize,
    /// SHA-256 of the signed payload, hexadecimal; absent in a draft. Two signers who see the same
    /// digest sign the same.
    pub digest: Option<String>,
    /// The permission.
    pub authorisation: Authorisation,
    /// In the order in which they were added; empty in a draft.
    pub signatures: Vec<SignatureSummary>,
    /// Templates of all entries.
    pub templates: usize,
    /// Entries that were removed from this copy after it was signed.
    pub removed: usize,
    /// Whom.
    pub entries: Vec<EntrySummary>,
}

impl Summary {
    fn of(content: &Content, payload: Option<&[u8]>, signatures: Vec<SignatureSummary>) -> Self {
        let entry = |e: &Entry| EntrySummary {
            reference: e.reference.clone(),
            legal_basis: e.legal_basis.clone(),
            purpose: e.purpose.clone(),
            expires: e.expires,
            qualities: e.templates.iter().map(|t| t.quality).collect(),
        };
        Self {
            id: content.id.clone(),
            version: content.version,
            issued: content.issued,
            not_before: content.not_before,
            expires: content.expires,
            embedder: hex(&content.embedder),
            dimensions: content.dimensions,
            digest: payload.map(|p| hex(&Sha256::digest(p))),
            authorisation: content.authorisation.clone(),
            signatures,
            templates: content.entries.iter().map(|e| e.templates.len()).sum(),
            removed: 0,
            entries: content.entries.iter().map(entry).collect(),
        }
    }
}

/// What a signed list says, whoever signed it, and how its signatures count by `trust`. Not a
/// verification: what is shown may be refused.
///
/// # Errors
/// Where `bytes` are no signed list.
pub fn show(bytes: &[u8], trust: Option<&Trust>) -> Result<Summary, AuthorError> {
    let container = read_container(bytes)?;
    let (content, removed) = codec::decode(&container)?;
    let mut signatures: Vec<SignatureSummary> = Vec::new();
    for (key, signature) in container.signatures() {
        let state = match trust.map(|t| t.key(*key, Role::Signer)) {
            None => SignatureState::Unchecked,
            Some(None) => SignatureState::Unknown,
            Some(Some(public)) if !public.verifies(&container.signed_by(*key), signature) => {
                SignatureState::Altered
            }
            Some(Some(_)) if signatures.iter().any(|s| s.key == *key) => SignatureState::Repeated,
            Some(Some(_)) => SignatureState::Counts,
        };
        signatures.push(SignatureSummary { key: *key, state });
    }
    Ok(Summary { removed, ..Summary::of(&content, Some(container.payload()), signatures) })
}

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
    /// The best cosine similarity between their templates.
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

/// The pairs of entries with a similarity above `limit`. Compares all with all: `progress` is told
/// after each entry how many are done.
pub fn look_alikes(content: &Content, limit: f32, mut progress: impl FnMut(usize)) -> LookAlikes {
    let gallery = Gallery::of(content.dimensions, &content.entries);
    let mut found: Vec<(f32, usize, usize)> = Vec::new();
    let mut total = 0;
    for (first, entry) in content.entries.iter().enumerate() {
        let probes: Vec<Template> = entry.templates.iter().map(|t| t.template.clone()).collect();
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

/// The format keeps whole seconds; a draft that kept more would change by being signed.
fn whole_seconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).expect("zero is a nanosecond")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, DEVICE, EMBEDDER, content, entry, key, now, stored, trust};
    use super::super::verify::verify;
    use super::*;
    use time::Duration;

    fn draft() -> Draft {
        let c = content(0);
        let Content { id, not_before, expires, embedder, dimensions, authorisation, .. } = c;
        Draft::new(NewList { id, not_before, expires, embedder, dimensions, authorisation }, now())
            .unwrap()
    }

    fn person(n: u64) -> NewEntry {
        let Entry { reference, legal_basis, purpose, expires, .. } = entry(n);
        NewEntry { reference, legal_basis, purpose, expires }
    }

    #[test]
    fn a_draft_becomes_a_list_once_two_people_have_signed_the_same_bytes() {
        let mut d = draft();
        d.add(person(1), vec![stored(1)]).unwrap();
        d.add_templates(&person(1).reference, vec![stored(2)]).unwrap();
        let d = Draft::from_json(&d.to_json()).unwrap();
        let once = sign(&d, &key(1), now()).unwrap();
        let refused = verify(&once, &trust(), now(), DEVICE, &EMBEDDER).unwrap_err();
        assert_eq!(refused, Refusal::TooFewSigners { have: 1, need: 2 });
        assert!(matches!(cosign(&once, &key(1)), Err(AuthorError::AlreadySigned(_))));
        let twice = cosign(&once, &key(3)).unwrap();
        let list = verify(&twice, &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert_eq!((list.version(), list.entries().len()), (1, 1));
        let mut list = list;
        assert_eq!(list.take_gallery().unwrap().templates(), 2);
        assert_eq!(list.signers(), [key(1).public().id(), key(3).public().id()]);
        assert_eq!(show(&once, None).unwrap().digest, show(&twice, None).unwrap().digest);
    }

    #[test]
    fn the_documented_draft_is_one() {
        let text: String = include_str!("author.rs")
            .lines()
            .skip_while(|l| *l != "//! ```json")
            .skip(1)
            .take_while(|l| *l != "//! ```")
            .map(|l| &l[4..])
            .collect();
        let d = Draft::from_json(text.as_bytes()).unwrap();
        assert!(sign(&d, &key(1), now()).is_ok());
    }

    #[test]
    fn a_revision_rises_and_carries_no_signature() {
        let d = Draft::revise(&fixture::signed(&content(2), &[1, 2]), now()).unwrap();
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
        assert_eq!(d.photographs()[&stored(1).photo], reference);
        d.remove(&reference).unwrap();
        assert!(matches!(d.remove(&reference), Err(AuthorError::NoSuchEntry(_))));
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
    fn an_expired_or_broken_draft_is_not_signed() {
        let mut d = draft();
        assert!(matches!(
            sign(&d, &key(1), now() + Duration::days(31)),
            Err(AuthorError::AlreadyExpired)
        ));
        d.content_mut().authorisation.devices.clear();
        assert!(matches!(
            sign(&d, &key(1), now()),
            Err(AuthorError::Content(ContentError::Range { what: "devices", .. }))
        ));
        assert!(matches!(
            cosign(b"no list", &key(1)),
            Err(AuthorError::List(Refusal::Unreadable(_)))
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

    #[test]
    fn show_tells_how_each_signature_counts_and_never_a_template() {
        let list = fixture::signed(&content(2), &[1, 1, 9, 4, 2]);
        let summary = show(&list, Some(&trust())).unwrap();
        let states: Vec<_> = summary.signatures.iter().map(|s| s.state).collect();
        use SignatureState::{Counts, Repeated, Unknown};
        assert_eq!(states, [Counts, Repeated, Unknown, Unknown, Counts]);
        let json = serde_json::to_string(&summary).unwrap();
        let draft = Draft { content: content(2) };
        let draft: serde_json::Value = serde_json::from_slice(&draft.to_json()).unwrap();
        let template = draft["entries"][0]["templates"][0]["template"].as_str().unwrap();
        assert!(!json.contains(template) && json.contains("case-1"));
        let mut damaged = list.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(
            show(&damaged, Some(&trust())).unwrap().signatures[4].state,
            SignatureState::Altered
        );
    }

    #[test]
    fn a_photograph_of_somebody_else_is_pointed_out() {
        let templates = [fixture::template(1), fixture::template(1), fixture::template(2)];
        let found = disagreements(&templates, 0.5);
        assert_eq!(found.iter().map(|d| d.photographs).collect::<Vec<_>>(), [(0, 2), (1, 2)]);
    }

    #[test]
    fn look_alikes_are_found_once_a_pair_and_strangers_not() {
        let mut c = content(30);
        let twin = c.entries[3].templates[0].template.clone();
        c.entries[17].templates[0].template = twin.clone();
        c.entries[29].templates[0].template = twin;
        let found = look_alikes(&c, 0.9, |_| ());
        let pairs: Vec<_> =
            found.pairs.iter().map(|p| (p.first.as_str(), p.second.as_str())).collect();
        assert_eq!(pairs, [("case-3", "case-17"), ("case-3", "case-29"), ("case-17", "case-29")]);
        assert_eq!(found.total, 3);
    }
}
