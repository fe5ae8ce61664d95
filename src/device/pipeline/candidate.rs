//! From a finding to its published form.

use std::io::Cursor;
use std::time::Duration;

use image::ImageEncoder;
use zeroize::Zeroizing;

use crate::clock::Now;
use crate::config::Config;
use crate::decision::candidate::{Finding, KeptOfView};
use crate::decision::policy::ActiveList;
use crate::delivery::event::{
    Candidate, Crop, EventId, Evidence, ListVersion, MAX_CROP, ModelDigests, QualityParts,
    SecondView,
};
use crate::geometry::Rect;
use crate::vision::{AlignedFace, HeadView, Models, Quality};

/// What is kept of a view with which its track's probe supports an entry, until the track ends.
pub(super) struct KeptView {
    /// Absent where the configuration forbids crops: then none is kept in memory either.
    pub face: Option<AlignedFace>,
    /// Absent unless the configuration asks for it, and in the second best view.
    pub head: Option<AlignedFace>,
    pub quality: Quality,
    pub rect: Rect,
    /// Width and height of the frame, pixels.
    pub frame: [u32; 2],
}

impl KeptOfView for KeptView {
    fn become_second(&mut self) {
        self.head = None;
    }
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
    head: Option<HeadView>,
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
            head: (config.event.crop && config.event.head).then_some(HeadView {
                side: config.event.head_pixels as usize,
                times: config.event.head_times,
            }),
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

    /// How the head is taken that a candidate carries, where it does.
    pub fn head(&self) -> Option<HeadView> {
        self.head
    }

    /// A picture that a candidate carries, if one was asked for.
    fn picture(&self, face: Option<&AlignedFace>, left: &mut Left) -> Option<Crop> {
        let file = jpeg(face?, self.crop_quality?);
        let file = file.filter(|file| file.len() <= left.bytes);
        left.failed |= file.is_none();
        let file = file?;
        left.bytes -= file.len();
        Some(Crop::jpeg(&file))
    }

    /// The published form of a finding, and whether all pictures that were asked for could be made.
    /// What is too large together is left out from the last.
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
        let mut left = Left { bytes: MAX_CROP, failed: false };
        let crop = self.picture(kept.face.as_ref(), &mut left);
        let second_view = finding.second.map(|(score, view)| SecondView {
            score,
            quality: parts(&view.quality),
            rect: corners(&view.rect),
            frame: view.frame,
            crop: self.picture(view.face.as_ref(), &mut left),
        });
        let head = self.picture(kept.head.as_ref(), &mut left);
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
                quality: parts(&kept.quality),
                rect: corners(&kept.rect),
                frame: kept.frame,
            },
            list: ListVersion {
                id: active.list().id().to_string(),
                version: active.list().version(),
            },
            models: self.models.clone(),
            crop,
            head,
            second_view,
            audit: None,
        };
        (candidate, !left.failed)
    }
}

/// What is left for further pictures.
struct Left {
    bytes: usize,
    /// One could not be made, or was too large.
    failed: bool,
}

fn parts(quality: &Quality) -> QualityParts {
    QualityParts {
        overall: quality.overall,
        eye_distance: quality.eye_distance_px,
        sharpness: quality.sharpness,
        yaw: quality.yaw,
        pitch: quality.pitch,
        roll: quality.roll,
        detector_score: quality.detector_score,
    }
}

fn corners(rect: &Rect) -> [f32; 4] {
    [rect.x, rect.y, rect.width, rect.height]
}

/// The aligned face as a JPEG file, which wipes itself; `None` where it is larger than all pictures
/// together may be. It never moves while it grows, which would leave pieces of it behind.
fn jpeg(face: &AlignedFace, quality: u8) -> Option<Zeroizing<Vec<u8>>> {
    let side = face.side() as u32;
    let mut file = Zeroizing::new(vec![0; MAX_CROP]);
    let mut out = Cursor::new(&mut file[..]);
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality)
        .write_image(face.rgb(), side, side, image::ExtendedColorType::Rgb8)
        .ok()?;
    let length = usize::try_from(out.position()).ok()?;
    file.truncate(length);
    Some(file)
}
