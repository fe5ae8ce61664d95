//! What a device did, in a log that it cannot rewrite without being found out.
//!
//! ```text
//!  device                                                     others
//!  AuditRecord -> canonical bytes -> store (one file, synced)
//!                        |                 |
//!                    leaf hash -> tree -> checkpoint, signed -> witness: consistent with the one before?
//!                                          |                       | yes
//!                    proof of one record <-+--- cosignature <------'
//! ```
//!
//! # What is promised
//!
//! * History that was **cosigned** cannot be rewritten: whoever holds a witness's cosignature can
//!   prove what the log was, without trusting the device.
//! * A log that goes back, forks, shrinks or loses a record is named by the first witness that sees
//!   a checkpoint of it.
//! * One record can be proved to somebody who has neither the log nor a network.
//!
//! # What is not
//!
//! * Whoever has root on the device holds its identity key. Until a witness has seen a checkpoint
//!   (an hour at most, with the defaults) they can omit or rewrite what it covers.
//! * A log says what the device wrote, not that it wrote everything. A device that never wrote a
//!   record has nothing to be caught by, but for the silence that a missed heartbeat is.
//! * A checkpoint proves no freshness: a broker may withhold the newest.
//!
//! # Formats
//!
//! Those of others, so that tools of others verify them: the tree is that of RFC 6962, the rest is
//! of C2SP (`tlog-checkpoint`, `signed-note`, `tlog-proof`, `tlog-cosignature`, `tlog-witness`).
//! Candidates are signed with a detached JWS (RFC 7515, 7797, 9864; `decisions/005`).
//!
//! | module | one job |
//! |---|---|
//! | [`tree`] | hashes, the right edge, proofs and their verification; sans-IO |
//! | [`note`] | signed notes: texts, keys, signatures |
//! | [`checkpoint`] | a log's size and root, signed; cosignatures |
//! | [`proof`] | a record's inclusion in a signed tree, as one text |
//! | [`record`] | what is written: a closed set of records, their bytes |
//! | [`detached`] | signatures of what is published, beside it |
//! | [`receipt`] | a desk's word that it has stored what a device published |
//! | `report` | what a device did in a period, from its log; sans-IO, on workstations and at a desk |
//! | [`store`] | the log on the disk |
//! | [`journal`] | a device's own log: records in, signed checkpoints out |
//! | [`generation`] | which log of a device it is |
//! | [`dialogue`] | what a device and its witnesses say to each other |
//! | [`witnessed`] | who has seen the log, and whether it is the newest; sans-IO |
//! | `witness` | on a workstation: cosigns what only grows, and names what does not; sans-IO |
//! | `config` | the configuration section |
//! | `lines` | how numbers and hashes are written in all of them |

pub mod checkpoint;
mod config;
pub mod detached;
pub mod dialogue;
pub mod generation;
pub mod journal;
mod lines;
pub mod note;
pub mod proof;
pub mod receipt;
pub mod record;
#[cfg(any(feature = "desk", feature = "evaluate"))]
pub mod report;
pub mod store;
pub mod tree;
#[cfg(feature = "author")]
pub mod witness;
pub mod witnessed;

pub use config::{AuditConfig, CREDENTIAL, OnFailure};

#[cfg(test)]
mod naive;
