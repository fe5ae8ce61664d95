//! The one judge of a face: a second look at it, its alignment and its quality, and from the same
//! pixels its embedding.
//!
//! * Enrolment, the one-shot commands, evaluations and the daemon all judge by this, so that a
//!   probe is treated as the template was with which it is compared.
//! * The gate sees the landmarks of the second look, not those of the detector's first pass.
//! * The pixels of a face stay until the next one is judged or [`FaceJudge::wipe`] is called.

use super::align::AlignedFace;
use super::detect::Detector;
use super::embed::Embedder;
use super::faces::Detection;
use super::manifest::Models;
use super::quality::{Quality, QualityGate, TooPoor};
use super::second_look::{Refined, SecondLook, Stance};
use super::{VisionConfig, VisionError};
use crate::frame::Frame;
use crate::template::Embedding;

/// A face, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedFace {
    /// Where it is, in pixels of the frame, with the landmarks of the second look.
    pub face: Detection,
    /// What was measured of it.
    pub quality: Quality,
    /// How it is placed in the picture.
    pub stance: Stance,
    /// Whether the quality gate lets it pass, and it does not lie.
    pub verdict: Result<(), TooPoor>,
}

/// Detector, quality gate and embedder of one chain.
pub(super) struct FaceJudge {
    detector: Detector,
    second_look: SecondLook,
    embedder: Embedder,
    gate: QualityGate,
    aligned: AlignedFace,
}

impl FaceJudge {
    /// With `long_side` and `quality` of `config`.
    ///
    /// # Errors
    /// Where a network does not load or is not what the manifest says.
    pub fn new(models: &Models, config: &VisionConfig) -> Result<Self, VisionError> {
        let embedder = Embedder::new(models)?;
        Ok(Self {
            detector: Detector::new(models, config.long_side)?,
            second_look: SecondLook::default(),
            aligned: AlignedFace::new(embedder.alignment().side),
            embedder,
            gate: config.quality,
        })
    }

    /// Finds the faces that are judged.
    pub fn detector(&mut self) -> &mut Detector {
        &mut self.detector
    }

    /// Embeds what was judged.
    pub fn embedder(&mut self) -> &mut Embedder {
        &mut self.embedder
    }

    /// What a view must have to be compared.
    pub fn gate(&self) -> &QualityGate {
        &self.gate
    }

    /// Judges a face that the detector found in `frame`.
    ///
    /// # Errors
    /// Where the detector's network fails in the second look.
    pub fn judge(
        &mut self,
        frame: &Frame<'_>,
        face: &Detection,
    ) -> Result<JudgedFace, VisionError> {
        let Refined { face, stance } = self.second_look.refine(&mut self.detector, frame, face)?;
        let mut quality = Quality::of_detection(&face);
        let verdict = match self.aligned.warp(frame, &face.landmarks, self.embedder.alignment()) {
            Some(placement) => {
                quality = quality.complete(&self.aligned, &placement);
                self.gate.check(&quality).and(match stance {
                    Stance::Upright => Ok(()),
                    Stance::Lying { .. } => Err(TooPoor::Lying),
                })
            }
            None => Err(TooPoor::Landmarks),
        };
        Ok(JudgedFace { face, quality, stance, verdict })
    }

    /// The embedding of the face that was judged last.
    ///
    /// # Errors
    /// Where the network fails; [`VisionError::Embedding`] where its output is none, as for a face
    /// whose landmarks coincide.
    pub fn embed(&mut self) -> Result<Embedding, VisionError> {
        self.embedder.embed(&self.aligned)
    }

    /// The embedding of a face of `frame` that was judged before others were.
    ///
    /// # Errors
    /// As [`FaceJudge::embed`].
    pub fn embed_again(
        &mut self,
        frame: &Frame<'_>,
        judged: &JudgedFace,
    ) -> Result<Embedding, VisionError> {
        // Where the landmarks coincide the aligned face is black; its verdict has said so.
        let _ = self.aligned.warp(frame, &judged.face.landmarks, self.embedder.alignment());
        self.embed()
    }

    /// The pixels of the face that was judged last.
    pub fn aligned(&self) -> &AlignedFace {
        &self.aligned
    }

    /// Wipes these pixels.
    pub fn wipe(&mut self) {
        self.aligned.wipe();
    }
}
