//! From a finding to its published form.

use std::time::Duration;

use image::ImageEncoder;

use crate::clock::Now;
use crate::config::Config;
use crate::decision::candidate::Finding;
use crate::decision::policy::ActiveList;
use crate::delivery::event::{
    Candidate, Crop, EventId, Evidence, ListVersion, ModelDigests, QualityParts,
};
use crate::geometry::Rect;
use crate::vision::{AlignedFace, Models, Quality};

/// What is kept of a view with which its track's probe supports an entry, until the track ends.
pub(super) struct KeptView {
    /// Absent where the configuration forbids crops: then none is kept in memory either.
    pub face: Option<AlignedFace>,
    pub quality: Quality,
    pub rect: Rect,
    /// Width and height of the frame, pixels.
    pub frame: [u32; 2],
}

/// Makes candidates; holds what each of them says besides the evidence.
pub(super) struct CandidateMaker {
    device: String,
    camera: String,
    /// What people call where it stands.
    place: Option<String>,
    models: ModelDigests,
    expiry: Duration,
    /// Quality of the crop's JPEG; no crop where absent.
    crop_quality: Option<u8>,
    digests: [[u8; 32]; 2],
}

impl CandidateMaker {
    pub fn new(config: &Config, models: &Models) -> Self {
        Self {
            device: config.device.id.clone(),
            camera: config.device.camera.clone(),
            place: Some(config.device.place.clone()).filter(|place| !place.is_empty()),
            models: ModelDigests {
                detector: models.manifest.detector.sha256.to_string(),
                embedder: models.manifest.embedder.sha256.to_string(),
            },
            expiry: config.broker.event_expiry(),
            crop_quality: config.event.crop.then_some(config.event.crop_quality),
            digests: [models.manifest.detector.sha256.0, models.manifest.embedder.sha256.0],
        }
    }

    /// SHA-256 of the detector's and the embedder's file.
    pub fn digests(&self) -> [[u8; 32]; 2] {
        self.digests
    }

    /// Whether a candidate carries the face.
    pub fn wants_crop(&self) -> bool {
        self.crop_quality.is_some()
    }

    /// The published form of a finding, and whether its crop, if one was asked for, could be made.
    pub fn make(
        &self,
        active: &ActiveList,
        now: Now,
        finding: Finding<KeptView>,
    ) -> (Candidate, bool) {
        let entries = active.list().entries();
        let name =
            |entry: usize| entries.get(entry).map_or_else(String::new, |e| e.reference.to_string());
        let about = entries.get(finding.entry);
        let kept = finding.view;
        let crop = kept.face.as_ref().zip(self.crop_quality).map(|(face, q)| jpeg(face, q));
        let cropped = !matches!(crop, Some(None));
        // Of the probe: the curve is of that, not of a single view.
        let rate = active.expected_rate(finding.combined);
        let candidate = Candidate {
            candidate: EventId::from_u128(finding.id.as_u128()),
            sequence: finding.sequence,
            device: self.device.clone(),
            camera: self.camera.clone(),
            decided_at: now.wall,
            expires: now.wall + self.expiry,
            entry: name(finding.entry),
            aim: Some(active.list().authorisation().aim.to_string()),
            legal_basis: about.map(|e| e.legal_basis.clone()),
            purpose: about.map(|e| e.purpose.clone()),
            place: self.place.clone(),
            alternatives: finding.alternatives.iter().map(|e| name(*e)).collect(),
            score: finding.score,
            threshold: active.plan().threshold,
            expected_false_positive_rate: rate,
            evidence: Evidence {
                views: finding.compared,
                agreeing: finding.agreeing,
                combined: finding.combined,
                quality: QualityParts {
                    overall: kept.quality.overall,
                    eye_distance: kept.quality.eye_distance_px,
                    sharpness: kept.quality.sharpness,
                    yaw: kept.quality.yaw,
                    pitch: kept.quality.pitch,
                    roll: kept.quality.roll,
                    detector_score: kept.quality.detector_score,
                },
                rect: [kept.rect.x, kept.rect.y, kept.rect.width, kept.rect.height],
                frame: kept.frame,
            },
            list: ListVersion {
                id: active.list().id().to_string(),
                version: active.list().version(),
            },
            models: self.models.clone(),
            crop: crop.flatten().map(|file| Crop::jpeg(&file)),
            audit: None,
        };
        (candidate, cropped)
    }
}

/// The aligned face as a JPEG file.
fn jpeg(face: &AlignedFace, quality: u8) -> Option<Vec<u8>> {
    let side = face.side() as u32;
    let mut file = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality)
        .write_image(face.rgb(), side, side, image::ExtendedColorType::Rgb8)
        .ok()?;
    Some(file)
}
