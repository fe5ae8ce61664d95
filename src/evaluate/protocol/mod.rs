//! How test data are laid out and drawn from: photographs of people in folders, pairs of them,
//! boxes of faces, groups of people, judgements of duplicates, and repeatable draws.
//!
//! Readers take text or folders that others made: whatever they cannot use is left out under a
//! reason, never an abort. A file of judgements alone is refused as a whole.

pub(crate) mod boxes;
pub(crate) mod draw;
pub(crate) mod duplicates;
pub(crate) mod folder;
pub(crate) mod labels;
pub(crate) mod pairs;
