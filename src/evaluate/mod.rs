//! temp
pub mod compare;
pub mod left_out;
pub mod protocol;
pub mod statistics;
pub mod work;
