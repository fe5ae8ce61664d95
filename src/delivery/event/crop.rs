//! The picture of the matched face inside a candidate.

use std::fmt;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

/// A picture of the matched face only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Crop {
    /// `image/jpeg`.
    pub media_type: String,
    /// The file in base64 (RFC 4648, padded).
    #[cfg_attr(test, schemars(extend("contentEncoding" = "base64")))]
    pub base64: String,
}

impl Crop {
    /// Wraps a JPEG file.
    pub fn jpeg(file: &[u8]) -> Self {
        Self {
            media_type: "image/jpeg".to_owned(),
            base64: base64::engine::general_purpose::STANDARD.encode(file),
        }
    }
}

// By hand, so that no log ever shows a face.
impl fmt::Debug for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crop({}, {} base64 characters)", self.media_type, self.base64.len())
    }
}
