//! The promise that a device keeps, from the networks and the configuration that it runs.
//!
//! * Signers sign what [`of`] makes of their networks and configuration; a device compares with
//!   what it makes of its own.
//! * Whatever loosens the promise and is not in it is a hole: a new key that lets more strangers
//!   through belongs into [`Setting`].

use sha2::{Digest as _, Sha256};

use super::DecisionConfig;
use crate::promise::{FLOOR, Promise, Setting};
use crate::template::PIPELINE;
use crate::vision::{Models, VisionConfig};

/// What `models` under this configuration promise.
pub fn of(models: &Models, vision: &VisionConfig, decision: &DecisionConfig) -> Promise {
    let gate = &vision.quality;
    let value = |setting| match setting {
        Setting::EyeDistance => f64::from(gate.min_eye_distance_px),
        Setting::Sharpness => f64::from(gate.min_sharpness),
        Setting::Yaw => f64::from(gate.max_yaw),
        Setting::Pitch => f64::from(gate.max_pitch),
        Setting::Score => f64::from(gate.min_score),
        Setting::Outside => f64::from(gate.max_outside),
        Setting::ViewsATrack => f64::from(vision.views.max_a_track),
        Setting::CoolDown => decision.cool_down_s as f64,
    };
    let manifest = &models.manifest;
    Promise {
        pipeline: PIPELINE,
        detector: manifest.detector.sha256.0,
        embedder: manifest.embedder.sha256.0,
        curve: curve_digest(models),
        settings: Setting::ALL.map(|setting| setting.thousandths(value(setting))),
        floor: (FLOOR * 1000.0).round() as u32,
    }
}

/// Of every number of the measured curve.
fn curve_digest(models: &Models) -> [u8; 32] {
    let embedder = &models.manifest.embedder;
    let mut digest = Sha256::new_with_prefix(b"watchpost false-match curve v1\n");
    digest.update(embedder.worst_group_factor.to_be_bytes());
    for row in &embedder.false_match {
        digest.update(row.threshold.to_be_bytes());
        digest.update(row.fmr_upper.to_be_bytes());
        digest.update(row.impostor_pairs.to_be_bytes());
    }
    digest.finalize().into()
}
