//! Faces in photographs, for enrolment and the one-shot commands: the daemon's own detector, gate and embedder, without
//! tracking.

use super::Failure;
use crate::frame::Frame;
use crate::template::Embedding;
use crate::vision::{
    AlignedFace, Detection, Detector, Embedder, Faces, Models, Quality, QualityGate, TooPoor, VisionConfig, VisionError,
};

/// Why a photograph cannot stand for a person.
#[derive(Debug, thiserror::Error)]
pub enum NotEnrollable {
    /// Nobody in it.
    #[error("no face was found; use a photograph in which the face is at least 40 px wide, unobstructed and lit")]
    NoFace,
    /// Somebody else in it.
    #[error("{0} faces were found; crop the photograph to the one person")]
    SeveralFaces(usize),
    /// Not good enough.
    #[error("the face is not good enough to be compared ({}): {value}; use a better photograph", .reason.name())]
    TooPoor {
        /// Which measure.
        reason: TooPoor,
        /// The measured value and the limit.
        value: String,
    },
    /// The networks failed.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

/// A face of a photograph, judged.
pub struct Seen {
    pub face: Detection,
    pub quality: Quality,
    pub verdict: Result<(), TooPoor>,
}

/// A face that may be compared.
pub struct Enrolled {
    pub embedding: Embedding,
    pub quality: Quality,
}

impl Enrolled {
    /// The overall quality in the steps that lists keep: thousandths.
    pub fn stored_quality(&self) -> f32 {
        (self.quality.overall * 1000.0).round() / 1000.0
    }
}

/// Detector, quality gate and embedder.
pub struct FaceReader {
    detector: Detector,
    embedder: Embedder,
    gate: QualityGate,
    min_score: f32,
    faces: Faces,
    aligned: AlignedFace,
}

impl FaceReader {
    /// With the daemon's default settings.
    pub fn new(models: &Models) -> Result<Self, VisionError> {
        let config = VisionConfig::default();
        let embedder = Embedder::new(models)?;
        Ok(Self {
            detector: Detector::new(models, config.long_side)?,
            aligned: AlignedFace::new(embedder.alignment().side),
            embedder,
            gate: config.quality,
            min_score: config.min_score,
            faces: Faces::new(),
        })
    }

    /// All faces, best detector score first, and how many more than fit were left out.
    pub fn faces(&mut self, frame: &Frame<'_>) -> Result<(Vec<Seen>, usize), VisionError> {
        let report = self.detector.detect(frame, self.min_score, &mut self.faces)?;
        let faces = std::mem::take(&mut self.faces);
        let seen = faces.iter().map(|face| self.judge(frame, face)).collect::<Result<_, _>>()?;
        Ok((seen, report.beyond_capacity))
    }

    fn judge(&mut self, frame: &Frame<'_>, face: &Detection) -> Result<Seen, VisionError> {
        let face = self.detector.straighten(frame, face)?;
        let mut quality = Quality::of_detection(&face);
        let verdict = match self.aligned.warp(frame, &face.landmarks, self.embedder.alignment()) {
            Some(placement) => {
                quality = quality.complete(&self.aligned, &placement);
                self.gate.check(&quality)
            }
            None => Err(TooPoor::Landmarks),
        };
        Ok(Seen { face, quality, verdict })
    }

    /// The template of a face found by [`FaceReader::faces`] in the same photograph.
    pub fn embed(&mut self, frame: &Frame<'_>, seen: &Seen) -> Result<Embedding, VisionError> {
        // Where the landmarks coincide the aligned face is black; its verdict has said so.
        let _ = self.aligned.warp(frame, &seen.face.landmarks, self.embedder.alignment());
        self.embedder.embed(&self.aligned)
    }

    /// The one face of a photograph, good enough to enrol.
    pub fn single(&mut self, frame: &Frame<'_>) -> Result<Enrolled, NotEnrollable> {
        let (seen, _) = self.faces(frame)?;
        let [only] = &seen[..] else {
            return Err(if seen.is_empty() { NotEnrollable::NoFace } else { NotEnrollable::SeveralFaces(seen.len()) });
        };
        if let Err(reason) = only.verdict {
            return Err(NotEnrollable::TooPoor { reason, value: self.measured(reason, &only.quality) });
        }
        Ok(Enrolled { embedding: self.embed(frame, only)?, quality: only.quality })
    }

    fn measured(&self, reason: TooPoor, q: &Quality) -> String {
        let g = &self.gate;
        match reason {
            TooPoor::Landmarks => "its landmarks coincide".into(),
            TooPoor::TooSmall => {
                format!(
                    "{:.0} px between the eyes, at least {:.0} are needed",
                    q.eye_distance_px, g.min_eye_distance_px
                )
            }
            TooPoor::LowScore => {
                format!("detector score {:.2}, at least {:.2} is needed", q.detector_score, g.min_score)
            }
            TooPoor::Pose => format!(
                "turned by {:.0}° to the side and {:.0}° up or down, at most {:.0}° and {:.0}° are allowed",
                q.yaw.abs(),
                q.pitch.abs(),
                g.max_yaw,
                g.max_pitch
            ),
            TooPoor::CutOff => {
                format!("{:.0} % lie outside the picture, at most {:.0} %", q.outside * 100.0, g.max_outside * 100.0)
            }
            TooPoor::Blurred => format!("sharpness {:.2}, at least {:.2} is needed", q.sharpness, g.min_sharpness),
        }
    }
}

/// Opens a photograph, its path in the error.
pub fn open(path: &std::path::Path) -> Result<crate::source::Photograph, Failure> {
    crate::source::Photograph::open(path).map_err(|e| format!("{}: {e}", path.display()).into())
}
