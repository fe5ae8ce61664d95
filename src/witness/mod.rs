//! The witness of a fleet: what its devices publish of their audit logs comes in, cosignatures and
//! named findings go out. A workstation's part; boards do not have it.
//!
//! * [`fleet`]: what is answered, asked for, cosigned and reported; sans-IO.
//! * [`post`]: the same as letters of a broker.
//! * [`http`]: C2SP `add-checkpoint`, served.
//! * [`bridge`]: devices' checkpoints at witnesses of others; sans-IO. [`foreign`] calls those.
//! * [`reset`]: logs that begin anew, by a trust file that is signed as the device's; sans-IO.
//!
//! The judgement itself is [`crate::audit::witness`]'s.

pub mod bridge;
pub mod fleet;
pub mod foreign;
pub mod http;
pub mod post;
pub mod reset;

pub use fleet::{FleetWitness, WitnessReport};
