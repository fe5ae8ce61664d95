//! The witness of a fleet: what its devices publish of their audit logs comes in, cosignatures and
//! named findings go out. A workstation's part; boards do not have it.
//!
//! * [`fleet`]: what is answered, asked for, cosigned and reported; sans-IO.
//! * [`post`]: the same as letters of a broker.
//!
//! The judgement itself is [`crate::audit::witness`]'s.

pub mod fleet;
pub mod post;

pub use fleet::{FleetWitness, WitnessReport};
