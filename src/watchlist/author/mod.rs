//! Authoring on a workstation: from a draft to a list that enough people have signed.
//!
//! * A **draft** is a JSON file, unsigned, that one person builds and others can read and compare:
//!   the fields of [`Content`](super::model::Content), times in RFC 3339, digests in hexadecimal,
//!   templates in base64 ([`Draft`]).
//! * The first signer's [`sign`] makes one template of each entry's photographs, adds what the
//!   false-alert promise rests on, and freezes all into the signed container. Further signers add
//!   to the same bytes with [`cosign`], one after another, each with a key of their own, each able
//!   to see with [`show`] what it is that they sign.
//! * A later version starts from the signed list again ([`Draft::revise`]), so that versions rise
//!   by themselves.
//! * What can be judged from templates alone is judged here: whether the photographs of one entry
//!   agree with each other ([`disagreements`]), and which entries will be confused with one another
//!   ([`look_alikes()`]).
//! * Free texts are published with candidates; what may be a name in them is pointed out
//!   ([`suspected_name`]).
//! * The photographs go to those who review, and to nobody else ([`case_sheet`]).
//! * Photographs are not opened here. The caller has detected, judged and embedded the face and
//!   brings the template, its quality and the file's digest.
//! * No device needs any of this: builds for boards leave it out.
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
//!   "pipeline": 2,
//!   "stage": "in-force",
//!   "authorisation": {
//!     "authority": "District Court",
//!     "decision": "12 Gs 345/26",
//!     "aim": "missing-or-victim",
//!     "devices": ["gate-3"],
//!     "areas": [[
//!       { "latitude": 52.5, "longitude": 13.4 },
//!       { "latitude": 52.6, "longitude": 13.4 },
//!       { "latitude": 52.5, "longitude": 13.5 }
//!     ]],
//!     "hours": { "utc_offset_minutes": 120, "windows": ["mon-fri 06:00-22:00"] },
//!     "most_entries": 10,
//!     "expected_faces_per_day": 50000,
//!     "false_alerts_per_day": 0.5
//!   },
//!   "entries": []
//! }
//! ```

pub mod case_sheet;
mod draft;
mod look_alikes;
mod names;
mod signing;
mod summary;

use time::OffsetDateTime;

pub use draft::{Draft, MAX_DRAFT_BYTES, NewEntry, NewList};
pub use look_alikes::{Disagreement, LookAlike, LookAlikes, MAX_PAIRS, disagreements, look_alikes};
pub use names::suspected_name;
pub use signing::{cosign, sign};
pub use summary::{
    EntrySummary, ListSummary, PromiseSummary, SignatureState, SignatureSummary, show,
};

use super::codec::FormatError;
use super::container::MAX_SIGNATURES;
use super::keys::{KeyError, KeyId};
use super::model::{ContentError, Reference};
use super::refusal::Refusal;
use crate::template::PIPELINE;

/// Why a draft or a list cannot be edited or signed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// Not a draft.
    #[error("this is no draft of a watch list ({0}); make one with `watchpost watchlist new`")]
    NotADraft(String),
    /// Templates of another pipeline.
    #[error(
        "the templates are of the pipeline {0} and this version of watchpost makes those of the \
         pipeline {PIPELINE}, which cannot be compared with them; make a draft anew with \
         `watchpost watchlist new` and add the photographs again"
    )]
    OtherPipeline(u32),
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

/// The format keeps whole seconds; a draft that kept more would change by being signed.
fn whole_seconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).expect("zero is a nanosecond")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{content, entry, now};
    use super::super::model::{Content, Entry};
    use super::*;

    pub fn draft() -> Draft {
        let c = content(0);
        let Content { id, not_before, expires, embedder, dimensions, stage, authorisation, .. } = c;
        let list = NewList { id, not_before, expires, embedder, dimensions, stage, authorisation };
        Draft::new(list, now()).unwrap()
    }

    pub fn person(n: u64) -> NewEntry {
        let Entry { reference, legal_basis, purpose, expires, .. } = entry(n);
        NewEntry { reference, legal_basis, purpose, expires }
    }
}
