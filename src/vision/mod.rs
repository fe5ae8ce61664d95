//! From a frame to the best views of the faces in it.

mod align;
mod detect;
mod embed;
pub mod engine;
mod letterbox;
pub mod manifest;

pub use align::{AlignedFace, Alignment, Placement};
pub use detect::{DetectReport, Detection, Detector, Faces, LONG_SIDE, MAX_FACES};
pub use embed::Embedder;
pub use manifest::{Digest, Manifest, ManifestError, Models};

use crate::template::TemplateError;
use engine::EngineError;

/// Why a frame cannot be looked at, or the stage not be built.
#[derive(Debug, thiserror::Error)]
pub enum VisionError {
    /// No models.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The detector's network does not load or run.
    #[error("detector: {0}")]
    Detector(#[source] EngineError),
    /// The embedder's network does not load or run.
    #[error("embedder: {0}")]
    Embedder(#[source] EngineError),
    /// A network that is not what its manifest says.
    #[error("{network}: {reason}; correct the manifest or the file")]
    Outputs {
        /// Name in the manifest.
        network: String,
        /// What differs.
        reason: String,
    },
    /// An aligned face of another size than the embedder takes.
    #[error("the embedder takes faces of {need}x{need} px, got {got}x{got}")]
    FaceSize {
        /// Side in pixels.
        need: usize,
        /// Side in pixels.
        got: usize,
    },
    /// The embedder gave numbers that are no embedding.
    #[error("the embedder's output is no embedding: {0}")]
    Embedding(#[source] TemplateError),
}
