//! From a frame to the best views of the faces in it.
//!
//! ```text
//! Frame -> letterbox -> detect -> track -> quality (geometry) -> views (is one due?)
//!       -> second look -> align -> quality (pixels) -> embed
//! ```
//!
//! [`Analyzer`] is the stage that joins them for a camera, [`photographs`] for photographs; the
//! parts also serve alone. What the networks are is said by the [`Manifest`]; [`engine`] runs them.
//! [`pixels`](crate::kernels::pixels) makes the pixels that letterbox and align ask for;
//! [`Schedule`] says which frames are looked at, from motion and measured cost.
//!
//! Promises:
//! * Work and memory of a frame are bounded.
//! * No frame and no model makes it panic.
//! * Every face that is left out is counted under a reason.
//! * Nothing is kept of a face that was not emitted.
//!
//! Not promised: that a match is a live person, or anything about a person but where the face is.

mod align;
mod analyze;
mod detect;
mod embed;
pub mod engine;
mod faces;
mod fitness;
mod groups;
mod head;
mod judge;
mod letterbox;
pub(crate) mod manifest;
mod misses;
mod outlook;
pub mod photographs;
mod quality;
mod schedule;
mod second_look;
mod track;
mod views;

pub use align::{AlignedFace, Alignment, Placement};
pub use analyze::{
    Analyzer, FrameCounts, HardlyAbleCounts, Sighting, StageTimes, TooPoorCounts, TurnCounts, View,
};
pub use detect::{DetectReport, Detector, LONG_SIDE};
pub use embed::Embedder;
pub use faces::{Detection, Faces, MAX_FACES};
pub use fitness::{Fitness, HardlyAble};
pub use groups::GroupCurve;
pub use head::{HeadView, InCompany};
pub use judge::JudgedFace;
pub use manifest::{Digest, Manifest, ManifestError, Models};
pub use misses::{MissCurve, Missed};
pub use outlook::{Outlook, PoorSight, ViewCounts};
pub use quality::{Quality, QualityGate, TooPoor};
pub use schedule::{FramePlan, Schedule, ScheduleConfig, Skip, SkipCounters, Thumbnail};
pub use second_look::{Refined, SecondLook, Stance};
pub use track::{Assigned, MAX_TRACKS, TrackId, Tracker};
pub use views::ViewConfig;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::template::TemplateError;
use engine::EngineError;

/// `[vision]`: how faces are found and which of their views are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VisionConfig {
    /// Manifest of other models than the built-in ones; their files lie beside it. A watch list is
    /// valid for one embedder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<PathBuf>,
    /// Long side of the picture that the detector sees, in pixels; larger frames are shrunk to it.
    /// Twice as long costs four times the time and finds faces of half the size. 320 suits a
    /// doorway, 640 a street.
    pub long_side: usize,
    /// Least confidence at which something is followed as a face, 0 to 1. Views must also pass
    /// `quality.min_score`.
    pub min_score: f32,
    /// How long a track survives without a face, milliseconds.
    pub track_survives_ms: u64,
    /// What a view must have to be compared.
    pub quality: QualityGate,
    /// How many views of a track are embedded, and when.
    pub views: ViewConfig,
    /// Which frames are looked at.
    pub schedule: ScheduleConfig,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            models: None,
            long_side: 640,
            min_score: 0.6,
            track_survives_ms: 700,
            quality: QualityGate::default(),
            views: ViewConfig::default(),
            schedule: ScheduleConfig::default(),
        }
    }
}

impl VisionConfig {
    /// Adds what is wrong with it to `out`.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        let mut check = |key: &str, value: String, good: bool, remedy: String| {
            if !good {
                out.push(Problem { key: format!("vision.{key}"), value, remedy });
            }
        };
        let (low, high) = (LONG_SIDE.start(), LONG_SIDE.end());
        let side = format!("write a number of pixels from {low} to {high}");
        check("long_side", self.long_side.to_string(), LONG_SIDE.contains(&self.long_side), side);
        let score = (0.1..=1.0).contains(&self.min_score);
        check(
            "min_score",
            self.min_score.to_string(),
            score,
            "write a number from 0.1 to 1".into(),
        );
        let survives = (50..=10_000).contains(&self.track_survives_ms);
        let remedy = "write a number of milliseconds from 50 to 10000".into();
        check("track_survives_ms", self.track_survives_ms.to_string(), survives, remedy);
        self.quality.problems(out);
        self.views.problems(out);
        self.schedule.problems(self.track_survives_ms, out);
    }

    /// The built-in models or those that `models` names.
    ///
    /// # Errors
    /// Any [`ManifestError`].
    pub fn open_models(&self) -> Result<Models, ManifestError> {
        self.models.as_deref().map_or_else(Models::builtin, Models::open)
    }
}

/// Loads both networks for pictures of `long_side` pixels and says which engines run them:
/// detector, embedder.
///
/// # Errors
/// Where one cannot be loaded.
pub fn engines(models: &Models, long_side: usize) -> Result<[String; 2], VisionError> {
    let (detector, embedder) = (Detector::new(models, long_side)?, Embedder::new(models)?);
    Ok([detector.engine().to_owned(), embedder.engine().to_owned()])
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problems_and_survive_a_round_trip_through_toml() {
        let mut out = Vec::new();
        VisionConfig::default().problems(&mut out);
        assert_eq!(out, []);
        let text = toml::to_string(&VisionConfig::default()).unwrap();
        assert_eq!(toml::from_str::<VisionConfig>(&text).unwrap(), VisionConfig::default());
        assert!(toml::from_str::<VisionConfig>("age = true").is_err(), "unknown keys are refused");
    }

    #[test]
    fn an_impossible_value_is_named_with_its_remedy() {
        let mut config =
            VisionConfig { long_side: 10, min_score: f32::NAN, ..VisionConfig::default() };
        config.views.first = 99;
        let mut out = Vec::new();
        config.problems(&mut out);
        let keys: Vec<_> = out.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["vision.long_side", "vision.min_score", "vision.views.first"]);
        assert!(out[0].remedy.contains("64 to 4096"));
    }
}
