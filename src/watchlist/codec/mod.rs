//! The one encoding of a list. The schema in CDDL (RFC 8610) is `config/schemas/watchlist.cddl`.
//!
//! * `encode` and `decode` are inverse: one content with its salts has one encoding, and
//!   nothing else is read.
//! * A payload of another [`FORMAT_VERSION`] is refused by its first field, with what to do
//!   ([`FormatError::Older`], [`FormatError::Newer`]), before its signatures are looked at: they
//!   are over another context, and the answer can only refuse. A new format changes
//!   [`write`](mod@write), [`read`](mod@read), the schema, [`FORMAT_VERSION`] and the [`CONTEXT`],
//!   together.
//! * An entry is encoded with one template, whatever a draft has ([`Entry::fused`]).
//! * Signatures are not looked at here, and neither is what a site record says.
//!
//! [`Entry::fused`]: super::model::Entry::fused
//!
//! # Container
//! A tagged `COSE_Sign` (RFC 9052, section 4.1). Body header: protected content type
//! [`CONTENT_TYPE`], unprotected the entries. Each signature: protected `{alg: EdDSA (-8), kid: key
//! id (8 bytes)}`, nothing unprotected, 64 bytes of Ed25519. `external_aad` is [`CONTEXT`]: a
//! signature made for a list is valid for nothing else, nor one made for something else for a list.
//! Everything in the container is signed, or vouched for by a signed digest, or has one possible
//! value, so that no byte can be changed without being noticed. The
//! code is in `container`.
//!
//! # Payload and entries
//! The payload is all but the entries, and the SHA-256 of each. The entries lie beside it, each a
//! byte string of its own, begun by a salt. So an entry can be **removed** from a signed list for
//! good, template and texts, by writing `null` in its place: what remains verifies as before, and
//! the digest that stays says nothing, because the salt is gone with the entry. Nothing can be
//! added or exchanged. (SD-JWT, RFC 9901, discloses claims by the same means;
//! `decisions/002-entries-beside-the-payload.md`.)
//!
//! Deterministic CBOR: maps with ascending integer keys, all fields present, shortest heads,
//! definite lengths, nothing after the end. One content with its salts has one encoding. Times are
//! whole seconds since 1970 in universal time, coordinates 10^-7 degrees, qualities and budgets
//! thousandths.
//!
//! # Why this and not another
//! COSE carries several signatures over the same binary payload, is a published standard that other
//! software reads, and binds a context. Rejected: JWS (three quarters of a list are templates,
//! which would be base64, and JSON has no one encoding), minisign and OpenPGP (one signer a file,
//! or formats far larger than the need), TUF (roles, delegation and a repository; what it teaches,
//! thresholds, expiry and rising versions, is here). ES256 instead of Ed25519: needs randomness to
//! sign well.

mod read;
#[cfg(any(feature = "author", test))]
mod write;

#[cfg(any(feature = "author", test))]
pub(super) use read::decode;
pub use read::inspect;
pub(super) use read::{EntryParts, ListHead, check_version, read_entry, vouched_for};
#[cfg(any(feature = "author", test))]
pub use write::{Encoded, encode};

use super::cbor::CborError;
use super::container::{ItemLimits, SignedKind};
use super::model::{ContentError, MAX_ENTRIES, NotOpaque};

/// Version of the payload's schema.
pub const FORMAT_VERSION: u64 = 3;
/// Content type in the protected header of the container.
pub const CONTENT_TYPE: &str = "application/vnd.watchpost.watchlist+cbor";
/// What every signature is bound to besides the payload (`external_aad`).
pub const CONTEXT: &[u8] = b"watchpost watch list v3";
/// Most bytes of a list: 300,000 entries of 512 components fit, and a small board's memory still
/// holds it.
pub const MAX_BYTES: usize = 256 << 20;
/// Most bytes of one entry: a template of 1024 components, ten photographs and the texts are far
/// below it, and so are the entries of format 2, whose refusal says what to do.
pub const MAX_ENTRY_BYTES: usize = 16 * 1024;
/// Bytes of an entry's salt.
pub const SALT: usize = 16;

/// Watch lists, as the container has to know them.
pub(super) static LIST: SignedKind = SignedKind {
    content_type: CONTENT_TYPE,
    context: CONTEXT,
    max_payload: MAX_BYTES,
    items: Some(ItemLimits { count: MAX_ENTRIES, bytes: MAX_ENTRY_BYTES }),
};

/// Why bytes are no list.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FormatError {
    /// What they say breaks a rule.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The bytes do not follow the schema.
    #[error(
        "the list's content does not follow the schema: {0}; make it again with this version of \
         `watchpost watchlist sign`"
    )]
    Encoding(#[from] CborError),
    /// An older format than [`FORMAT_VERSION`].
    #[error(
        "the list has the older format {0}, which has another template for each photograph and no \
         signed promise, and this program reads format {FORMAT_VERSION}; make it anew: `watchpost \
         watchlist new`, then add the photographs again with `watchpost watchlist add` (templates \
         of an older pipeline cannot be converted), and have it signed"
    )]
    Older(u64),
    /// A newer format than [`FORMAT_VERSION`].
    #[error(
        "the list has the newer format {0} and this program reads format {FORMAT_VERSION}; install \
         the version of watchpost that its authors use, or have them sign it with this one"
    )]
    Newer(u64),
    /// An entry that the signed payload does not vouch for.
    #[error(
        "entry number {0} is not what was signed: it was altered, added or exchanged; fetch the \
         list again from its authors"
    )]
    NotVouchedFor(usize),
    /// Entries were removed where all are needed.
    #[error(
        "{0} entries were removed from this copy of the list, as a device does when they are \
         revoked; use the copy that its authors have"
    )]
    Removed(usize),
}

impl From<NotOpaque> for FormatError {
    fn from(error: NotOpaque) -> Self {
        Self::Content(error.into())
    }
}
