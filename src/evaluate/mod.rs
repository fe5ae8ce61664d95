//! temp
pub mod left_out;
pub mod protocol;
pub mod statistics;
