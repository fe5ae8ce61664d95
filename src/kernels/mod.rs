//! The inner loops: networks, the pixels around them, and the search.

pub mod choice;
pub mod networks;
pub mod pixels;
pub mod search;
