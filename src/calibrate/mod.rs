//! Calibration on site with decoys: how often strangers at this place, in this light, would be
//! taken for somebody on the list.
//!
//! A set of decoys, people who cannot pass, runs beside the list through the same decision rule.
//! Whoever passes is not among them, so each match with a decoy is a false one, without a label, a
//! picture or a stored embedding.
//!
//! ```text
//!  workstation                         device                                 workstation
//!  decoys: two signatures, sealed ->   counts: numbers of tracks, by decoy -> record: two sign
//!                                      strata, bound: the list's rate         it into a list
//! ```
//!
//! * An entry is judged by the decoys that behave as it does on this street, never by the average
//!   decoy ([`strata`]). What cannot be judged so is named, and keeps the bound of the worst group.
//! * Kept are counts: nothing of a stranger, nothing of a track once it has ended ([`counts`]).
//!   Counts of single decoys stay on the device; what leaves are strata of at least
//!   [`strata::LEAST_DECOYS`] decoys ([`record`]), which the device vouches for ([`origin`]).
//! * A set of decoys is no list, and no list is a set of decoys ([`decoys`]).
//! * Sans-IO: the clock and random numbers are arguments.
//!
//! What a calibration could prove before anybody holds it is in `projection`.
//! What a list finds here, with volunteers who are on a test list, is in [`rehearsal`].
//!
//! Why, and what it means for those who pass, is in `decisions/001-decoys.md`; why the bound is
//! wider than what was counted, in `decisions/002-an-allowance-for-slower-tails.md`.

pub mod bound;
pub mod config;
pub mod counts;
pub mod decoys;
#[cfg(feature = "author")]
pub mod draft;
pub mod origin;
#[cfg(feature = "author")]
pub mod projection;
pub mod promotion;
pub mod record;
pub mod rehearsal;
pub mod strata;

#[cfg(test)]
mod schema_tests;
