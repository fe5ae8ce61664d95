//! The inner loops: networks, the pixels around them, and the search.

pub mod networks;
pub mod pixels;
pub mod search;
