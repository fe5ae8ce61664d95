//! `watchpost`: matches faces against a small, authorised, signed, expiring watch list on the camera itself and publishes
//! only candidates over MQTT.
//!
//! # Data flow: one way
//!
//! ```text
//! source -> Frame -> detector -> tracker -> quality gate -> embedder -> search -> decision -> candidate
//!                                                                         |                     |
//!                                                                     watch list          outbox -> MQTT
//! ```
//!
//! # Map
//!
//! | module | one job | knows |
//! |---|---|---|
//! | [`geometry`], [`frame`], [`template`], [`clock`] | the vocabulary: points, pixels, embeddings, time | nothing else |
//! | [`source`] | where frames come from: V4L2, a pipe, photographs | the vocabulary |
//! | [`vision`] | from a frame to the best views of the faces in it | the vocabulary |
//! | [`watchlist`] | who may be looked for: authoring, signing, verifying, searching | the vocabulary |
//! | [`decision`] | whether views of one track are a candidate | `vision` and `watchlist` types |
//! | [`delivery`] | the published contract, the outbox and MQTT | the vocabulary |
//! | [`daemon`] | threads, bounded hand-overs, start and stop | everything above |
//! | [`demo`] | a bundled scene and a broker for a machine without either | `source`, `delivery` |
//! | [`evaluate`] | measures the models on photographs whose truth is known | `source`, `vision` |
//! | [`config`], [`cli`] | the file and the command line | everything |

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod decision;
pub mod delivery;
pub mod demo;
pub mod evaluate;
pub mod frame;
pub mod geometry;
pub mod source;
pub mod template;
pub mod vision;
pub mod watchlist;
