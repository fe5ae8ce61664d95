//! From a frame to the best views of the faces in it.

pub mod engine;
