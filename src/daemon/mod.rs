//! Under construction.
pub mod handover;
