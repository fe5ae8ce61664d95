//! Two people look at each candidate, and neither sees what the other said.
//!
//! * [`verdict`]: what one reviewer says, signed by the reviewer and sealed to the device: neither
//!   broker, nor desk, nor the other reviewer can read it.
//! * [`docket`]: the candidates that wait for verdicts. A candidate is confirmed by two different
//!   people who say the same, and by nothing else. Sans-IO: the time is passed in.
//! * [`control`], [`controls`]: known non-mates that a desk shows as candidates, so that what
//!   reviewers confirm wrongly can be known. The device scores them, and none becomes an outcome.
//!
//! What is promised: nothing tells one verdict before the second one is in; one person never
//! confirms alone, whatever keys they hold; what is unknown, withdrawn or over time is never
//! confirmed. What is not: whoever has root on the device can read the first verdict in its memory.
//!
//! Why the device opens the verdicts is in `decisions/001-verdicts-are-sealed-to-the-device.md`,
//! how controls are kept from betraying themselves in
//! `decisions/002-control-pairs-must-not-betray-themselves.md`.

mod case;
pub mod config;
pub mod control;
pub mod controls;
pub mod docket;
#[cfg(test)]
mod explored;
pub mod verdict;
