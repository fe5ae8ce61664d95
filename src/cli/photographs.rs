//! Photographs as files on the command line.

use super::Failure;
pub use crate::vision::photographs::{FaceReader, Seen};

/// Opens a photograph, its path in the error.
pub fn open(path: &std::path::Path) -> Result<crate::source::Photograph, Failure> {
    crate::source::Photograph::open(path).map_err(|e| format!("{}: {e}", path.display()).into())
}
