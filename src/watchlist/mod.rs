//! Who may be looked for: the authorised watch list, from the workstation that authors it to the
//! gallery that is searched.
//!
//! ```text
//!  workstation                                    device
//!  author: draft -> sign -> another signs -> seal -> list file -> open -> verify -> Watchlist
//!                     keys                            |   |   device key  trust       |
//!                                                     |   |             rotation   Gallery: search
//!                                                     |  memory (highest version, last time seen)
//!                                 encrypted from here on; plain again only in locked memory
//! ```
//!
//! # What it promises
//!
//! * **A [`Watchlist`] can only be made by [`verify()`]**: enough different pinned signers,
//!   unaltered, for this device, for this embedder, valid now. Everything else is a [`Refusal`]
//!   that says why and what to do. The content of a list is not even parsed before its signatures
//!   hold.
//! * Starting takes at least two people; a trust file that needs fewer is refused ([`Trust`]).
//! * Every entry has an opaque reference, a legal basis, a purpose and its own expiry. There is no
//!   field for a name or for a photograph ([`mod@model`]).
//! * A list is secret on its way and at rest: sealed to the device's key ([`seal`]), plain only in
//!   [`locked`] memory.
//! * Keys rotate by the signatures of those who were pinned before ([`rotation`]).
//! * Stopping takes one: an [`order`] by a pinned revoker or suspender, remembered over restarts.
//! * Time, versions and place only ever narrow what is matched: [`Watchlist::standing`] is
//!   evaluated with the time of each frame, [`memory::DeviceMemory`] refuses older versions and
//!   [`clock::clock_trust`] clocks that went back.
//! * Templates are wiped from memory when a list, an entry or a gallery is dropped; an entry that
//!   is revoked is removed from the stored list, too, which stays verifiable without it
//!   ([`removal`]).
//! * No network and no threads here; files are read and written only in [`keys`], [`seal`],
//!   [`trust`], [`memory`] and by [`read_list`].
//!
//! # Floors
//!
//! A module uses those of lower floors only.
//!
//! | floor | modules |
//! |---|---|
//! | 6 | [`author`]: drafts, signing, case sheets, what people see of a list |
//! | 5 | [`memory`], [`removal`]: what a device remembers and destroys |
//! | 4 | [`mod@verify`]: the only way to a list in force; [`roster`](mod@roster); [`rotation`]; [`order`] |
//! | 3 | `refusal`, `signatures`: why not |
//! | 2 | [`codec`]: a list's bytes; [`trust`]; [`search`]; [`seal`], `list_file` |
//! | 1 | [`model`]: what a list says; `container`, `sign1`: COSE; `config` |
//! | 0 | `cbor`, `place`, `hours`, [`promotion`], [`opaque`], `row`, `text`, [`keys`], [`clock`], [`locked`] |

#[cfg(any(feature = "author", test))]
pub mod author;
pub(crate) mod cbor;
pub(crate) mod clock;
pub mod codec;
mod config;
pub(crate) mod container;
mod hours;
pub mod keys;
mod list_file;
pub(crate) mod memory;
pub mod model;
pub mod opaque;
pub mod order;
mod place;
pub mod promotion;
mod reference;
mod refusal;
pub mod removal;
#[cfg(any(feature = "author", test))]
pub mod roster;
pub mod rotation;
mod row;
pub mod seal;
pub(crate) mod search;
pub(crate) mod sign1;
pub(crate) mod signatures;
pub(crate) mod text;
pub mod trust;
pub(crate) mod verify;

pub use cbor::CborError;
pub use config::WatchlistConfig;
pub use list_file::{is_signed_container, read_list};
pub use model::{Aim, Entry, PhotographDigest, Position, Reference, StoredTemplate};
pub use refusal::Refusal;
pub use search::{Gallery, Hit, TopK};
pub use signatures::SignatureError;
pub use trust::Trust;
pub use verify::{Standing, Watchlist, verify};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
pub(crate) mod tampering;
