//! Makes the embedding of an aligned face.

use super::VisionError;
use super::align::{AlignedFace, Alignment};
use super::engine::{self, Network, NetworkInput};
use super::manifest::{Channels, Models};
use crate::locked::wipe;
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
    /// [`VisionError::Embedder`] where it does not load, [`VisionError::Outputs`] where it is not
    /// what the manifest says.
    pub fn new(models: &Models) -> Result<Self, VisionError> {
        let spec = &models.manifest.embedder;
        let network = engine::load(models.embedder(), spec.side, spec.side, spec.normalization())
            .map_err(VisionError::Embedder)?;
        let wrong = |reason| VisionError::Outputs { network: spec.name.clone(), reason };
        let output =
            network.output_names().iter().position(|n| *n == spec.output).ok_or_else(|| {
                wrong(format!(
                    "no output `{}`; it has {}",
                    spec.output,
                    network.output_names().join(", ")
                ))
            })?;
        let got = network.output(output).len();
        if got != spec.dimensions {
            return Err(wrong(format!(
                "its output has {got} dimensions, the manifest says {}",
                spec.dimensions
            )));
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

    /// The embedding of `face`. Nothing of the face stays in the network's own buffers.
    ///
    /// # Errors
    /// [`VisionError::FaceSize`], [`VisionError::Embedder`] where the engine fails,
    /// [`VisionError::Embedding`] where the output is not finite or zero.
    pub fn embed(&mut self, face: &AlignedFace) -> Result<Embedding, VisionError> {
        if face.side() != self.alignment.side {
            return Err(VisionError::FaceSize { need: self.alignment.side, got: face.side() });
        }
        self.channels.copy_rgb(face.rgb(), &mut self.input);
        let ran = self
            .network
            .run(&NetworkInput::Interleaved(&self.input))
            .map_err(VisionError::Embedder);
        let embedding = ran.and_then(|()| {
            Embedding::normalised(self.network.output(self.output)).map_err(VisionError::Embedding)
        });
        self.network.wipe();
        wipe(&mut self.input);
        embedding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::Manifest;

    fn with(from: &str, to: &str) -> Result<Embedder, VisionError> {
        let mut models = Models::builtin().unwrap();
        let text = include_str!("../../models/manifest.toml").replacen(from, to, 1);
        models.manifest = Manifest::parse(&text, std::path::Path::new("test")).unwrap();
        Embedder::new(&models)
    }

    fn textured() -> AlignedFace {
        use crate::frame::{Frame, Layout, PixelFormat, Range};
        let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, 112, 112).unwrap();
        let data: Vec<u8> = (0..112 * 112 * 3usize).map(|i| (i * 7 % 253) as u8).collect();
        let alignment = Alignment::from(&Models::builtin().unwrap().manifest.embedder);
        let mut face = AlignedFace::new(112);
        face.warp(&Frame::new(layout, &data).unwrap(), &alignment.template, &alignment).unwrap();
        face
    }

    #[test]
    fn a_network_that_is_not_what_its_manifest_says_is_refused() {
        assert!(matches!(
            with("dimensions = 512", "dimensions = 128"),
            Err(VisionError::Outputs { .. })
        ));
        assert!(matches!(
            with("output = \"embedding\"", "output = \"age\""),
            Err(VisionError::Outputs { .. })
        ));
        assert!(matches!(with("side = 112", "side = 128"), Err(VisionError::Embedder(_))));
        let mut embedder = with("", "").unwrap();
        let small = AlignedFace::new(96);
        assert!(matches!(
            embedder.embed(&small),
            Err(VisionError::FaceSize { need: 112, got: 96 })
        ));
    }

    #[test]
    fn an_embedding_depends_on_the_face_and_on_the_order_of_channels_and_on_nothing_before_it() {
        let mut bgr = with("", "").unwrap();
        let mut models = Models::builtin().unwrap();
        models.manifest.embedder.channels = Channels::Rgb;
        let mut rgb = Embedder::new(&models).unwrap();
        let first = bgr.embed(&textured()).unwrap();
        assert_eq!(first.values().len(), bgr.dimensions());
        let black = bgr.embed(&AlignedFace::new(112)).unwrap();
        assert!(first.cosine(&black) < 0.9);
        assert_eq!(bgr.embed(&textured()).unwrap().values(), first.values());
        assert!(rgb.embed(&textured()).unwrap().cosine(&first) < 0.999);
        assert!(bgr.input.iter().all(|v| *v == 0), "the face is wiped");
    }
}
