//! temp
pub mod statistics;
