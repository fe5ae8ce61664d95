//! `watchpost`: matches faces against a small, authorised, signed, expiring watch list on the
//! camera itself and publishes only candidates over MQTT.
//!
//! # Data flow: one way
//!
//! ```text
//!  camera, pipe, files                    watch list (signed by two, expiring)
//!         |                                        |
//!      source                              watchlist: verify -> Gallery
//!         | Captured                                                 |
//!         v                                                          v
//!      decode -> Frame -> detect -> track -> quality -> align -> embed -> search -> decision
//!                 \____________________ vision ___________________/                    |
//!                                                       of a face that is not on     |
//!                                                       the list nothing is kept     v
//!                                           delivery: MQTT <- outbox <------------ Candidate
//! ```
//!
//! Frames live in a few locked buffers that are swapped, and are wiped once they were looked at;
//! probes live until they have been searched, views of listed people until their track ends. What
//! leaves the process is a candidate about an entry of the list, a status, or a count.
//!
//! # Map
//!
//! | module | one job | knows |
//! |---|---|---|
//! | [`geometry`], [`frame`], [`template`], [`clock`], [`backoff`], [`files`], [`locked`], [`setting`], [`problem`], [`cause`], [`promise`], [`judgement`], [`poisson`], [`proportion`], [`numerals`], [`readers`] | the vocabulary: points, pixels, embeddings, time, when to try again, files that are replaced whole, memory that is locked and wiped, the names of settings, what is wrong with a setting, why nobody is matched, what a false-alert budget rests on, what reviewers say, bounds of rare rates, bounds of shares, numbers for people, readers over HTTP | the samples of `kernels` |
//! | [`hardware`] | what the board's kernel tells of its heat and its supply | nothing else |
//! | [`kernels`] | SIMD: networks, pixels, search; one choice of instructions | nothing else |
//! | [`source`] | where pictures come from: V4L2, a pipe, photographs; JPEG | the vocabulary |
//! | [`vision`] | from a frame to the best views of the faces in it; the networks | the vocabulary, `kernels` |
//! | [`watchlist`] | who may be looked for: authoring, signing, verifying, searching | the vocabulary, `kernels` |
//! | [`calibrate`] | what strangers at this place do: counts against decoys, and the bound that follows | `watchlist` |
//! | [`audit`] | a log of what the device did that cannot be rewritten unnoticed | the vocabulary, `watchlist` types |
//! | [`review`] | verdicts of people on candidates: two who agree, neither of whom sees the other's | the vocabulary, `watchlist` types |
//! | [`decision`] | at what threshold, whether now, on what evidence | `vision`, `watchlist` and `calibrate` types |
//! | [`delivery`] | the published contract, the outbox and MQTT | the vocabulary |
//! | [`config`] | the file of settings: each room's own, gathered | `source`, `vision`, `watchlist`, `calibrate`, `decision`, `audit`, `review`, `delivery` |
//! | [`device`] | what a device is and decides: the pipeline, the list and its keys, orders, reviews; no thread, no socket | `source`, `vision`, `watchlist`, `decision`, `calibrate`, `audit`, `review`, `delivery` and `config` types |
//! | [`daemon`] | threads, bounded hand-overs, status, health, metrics, start and stop | everything above |
//! | [`doctor`] | what on this machine keeps the daemon from its work, and the remedy | everything above |
//! | [`demo`] | a bundled scene, a broker, a subscriber | `source`, `delivery` |
//! | `witness` | sees at a broker that the audit logs of a fleet only grow | `audit`, `delivery`, `watchlist` types |
//! | `desk` | the receiving end: stores events, lets two people judge each candidate | `config`, `audit`, `delivery`, `review` and `watchlist` types |
//! | [`evaluate`] | measures the models on photographs whose truth is known | `source`, `vision`, `calibrate` |
//! | [`cli`] | the command line | everything |
//!
//! Names in the last column are all that a module may import, with the vocabulary;
//! `tests/imports.rs` reads the table and the code.
//!
//! A newcomer reads [`device::pipeline`] first: it is the whole chain on one page. Why things are
//! as they are is in `decisions/` beside each module.

// The watch list's fixture is written for tests inside and outside of the crate.
#[cfg(test)]
extern crate self as watchpost;

// First, because its macro is known to those that come after it.
#[macro_use]
mod setting;

pub mod audit;
pub(crate) mod backoff;
pub mod calibrate;
pub mod cause;
pub mod cli;
pub mod clock;
pub mod config;
pub(crate) mod daemon;
pub mod decision;
pub mod delivery;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "desk")]
pub mod desk;
pub mod device;
pub(crate) mod doctor;
#[cfg(feature = "evaluate")]
pub mod evaluate;
pub(crate) mod files;
pub mod frame;
pub mod geometry;
pub(crate) mod hardware;
pub mod judgement;
pub mod kernels;
pub mod locked;
#[cfg(any(feature = "desk", feature = "evaluate"))]
pub(crate) mod numerals;
pub(crate) mod poisson;
pub(crate) mod problem;
pub mod promise;
pub(crate) mod proportion;
pub(crate) mod readers;
pub mod review;
pub mod source;
pub mod template;
pub mod vision;
pub mod watchlist;
#[cfg(feature = "author")]
pub(crate) mod witness;
