//! What a device is and what it decides, for the daemon, the one-shot commands, the benchmark and
//! the tests alike.
//!
//! * [`pipeline`]: a captured picture in, candidates out.
//! * [`keeper`]: which list may come into force, which keys and which clock are believed.
//! * [`vault`]: where the list lies and how it is opened.
//! * [`orders`]: revocations, suspensions and offers that came over the network.
//!
//! Owns no thread. The threads are in [`crate::daemon`].

pub mod keeper;
pub mod orders;
pub mod pipeline;
pub mod vault;
