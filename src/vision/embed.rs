//! Makes the embedding of an aligned face.

use zeroize::Zeroize;

use super::VisionError;
use super::align::{AlignedFace, Alignment};
use super::engine::{self, Input, Network};
use super::manifest::{Channels, Models};
use crate::template::Embedding;

/// Runs the embedder of a manifest.
pub struct Embedder {
    network: Box<dyn Network>,
    channels: Channels,
    alignment: Alignment,
    output: usize,
    dimensions: usize,
    /// The face in the network's order of channels; wiped after each run.
    input: Vec<u8>,
}

impl Embedder {
    /// Loads the network.
    ///
    /// # Errors
    /// [`VisionError::Embedder`] where it does not load, [`VisionError::Outputs`] where it is not what the manifest says.
    pub fn new(models: &Models) -> Result<Self, VisionError> {
        let spec = &models.manifest.embedder;
        let network = engine::load(models.embedder(), spec.side, spec.side, spec.normalization())
            .map_err(VisionError::Embedder)?;
        let wrong = |reason| VisionError::Outputs { network: spec.name.clone(), reason };
        let output = network.output_names().iter().position(|n| *n == spec.output).ok_or_else(|| {
            wrong(format!("no output `{}`; it has {}", spec.output, network.output_names().join(", ")))
        })?;
        let got = network.output(output).len();
        if got != spec.dimensions {
            return Err(wrong(format!("its output has {got} dimensions, the manifest says {}", spec.dimensions)));
        }
        Ok(Self {
            network,
            channels: spec.channels,
            alignment: Alignment::from(spec),
            output,
            dimensions: spec.dimensions,
            input: vec![0; spec.side * spec.side * 3],
        })
    }

    /// Length of an embedding.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Where it wants the landmarks of a face.
    pub fn alignment(&self) -> &Alignment {
        &self.alignment
    }

    /// Engine and kernel that run it.
    pub fn engine(&self) -> &str {
        self.network.name()
    }

    /// The embedding of `face`. Nothing of the face stays behind in the network's own buffers.
    ///
    /// # Errors
    /// [`VisionError::FaceSize`], [`VisionError::Embedder`] where the engine fails, [`VisionError::Embedding`] where the
    /// output is not finite or zero.
    pub fn embed(&mut self, face: &AlignedFace) -> Result<Embedding, VisionError> {
        if face.side() != self.alignment.side {
            return Err(VisionError::FaceSize { need: self.alignment.side, got: face.side() });
        }
        self.input.copy_from_slice(face.rgb());
        if self.channels == Channels::Bgr {
            self.input.chunks_exact_mut(3).for_each(|p| p.swap(0, 2));
        }
        let ran = self.network.run(&Input::Interleaved(&self.input)).map_err(VisionError::Embedder);
        let embedding =
            ran.and_then(|()| Embedding::normalised(self.network.output(self.output)).map_err(VisionError::Embedding));
        self.network.wipe();
        self.input.as_mut_slice().zeroize();
        embedding
    }
}
