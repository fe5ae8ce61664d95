//! The receiving end: stores what devices publish, and lets two people judge each candidate.
//!
//! ```text
//!  broker --> receiver --> intake --> store (SQLite) --acknowledged--> receipts --> broker
//!                          sans-IO      |      ^
//!                                       v      | sealed verdicts --> broker --> device
//!  browser <-- pages <-- http <------ views    |
//!     |                   ^ access (sans-IO)   |
//!     +-------------------+--------------------+
//! ```
//!
//! Promises:
//! * An event is stored, once, before the broker is told that it came. What cannot be stored is not
//!   acknowledged, and comes again.
//! * The desk cannot read a verdict: it is signed and sealed to the device in the reviewer's
//!   browser. Score, threshold and what others said are shown to nobody before it is decided.
//! * Nobody is let in without a key that they hold, and who looked at which picture is recorded.
//! * Who may review is decided by the signed trust file, never here.
//!
//! Not promised: whoever runs the desk serves its script, so that a hostile desk could read what
//! its reviewers say. Blindness holds against the broker, the store, the other reviewer and those
//! who run an honest desk.
//!
//! | module | one job |
//! |---|---|
//! | [`config`] | `desk.toml` |
//! | [`intake`] | a message's bytes: what to store, or why not; sans-IO |
//! | [`store`] | events, candidates, verdicts, people and accesses in one database |
//! | [`receiver`] | the connection to the broker |
//! | [`notify`] | tells people who are elsewhere that a candidate waits |
//! | [`access`] | who is let in: challenges, sessions, rates; sans-IO |
//! | [`directory`] | whose key may do what |
//! | [`trust`] | the trust file, and the signed rotations that followed it |
//! | [`http`] | routes, limits, TLS |
//! | [`pages`] | markup from plain values |
//! | [`web`] | script and style, in the binary |
//! | [`retention`] | what is erased when |
//! | [`device_log`] | a device's audit log, as far as it came, and what it supports; sans-IO |
//! | [`case_export`] | one case as a folder that is verified offline |
//! | [`service`] | starts all of it, and ends it |

pub mod access;
pub mod case_export;
pub mod config;
pub mod device_log;
pub mod directory;
pub mod http;
pub mod intake;
pub mod notify;
pub mod pages;
pub mod receiver;
pub mod retention;
pub mod service;
pub mod store;
pub mod trust;
pub mod web;

pub use config::DeskConfig;
