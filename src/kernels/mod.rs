//! The inner loops: networks, the pixels around them, and the search.
//!
//! * [`choice`] decides once which instructions all of them use. `WATCHPOST_KERNEL` names them.
//! * [`networks`], [`pixels`] and [`search`] each have a scalar reference and implementations for
//!   instruction sets. All implementations of an operation give the same bytes; property tests
//!   beside them compare each with its scalar twin.
//! * Nothing here knows the rest of the crate, allocates while it runs, reads a clock or keeps
//!   state. It builds with the standard library alone, which `cross/kernels` does to run the
//!   properties on emulated processors.
//! * `unsafe` is for intrinsics and for pointers into slices whose lengths were checked before.
//!
//! How to write one: [`HOWTO.md`](howto).

pub(crate) mod choice;
pub mod networks;
pub mod pixels;
pub mod search;

#[cfg(doc)]
#[doc = include_str!("HOWTO.md")]
pub mod howto {}
