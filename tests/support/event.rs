//! Events as a device makes them, for tests of their delivery.

use std::time::Duration;

use time::OffsetDateTime;
use watchpost::delivery::event::{
    Candidate, ClockQuality, Crop, EventId, Evidence, ListVersion, ModelDigests, Promises,
    QualityParts, State, Status,
};

/// A device that works.
pub fn status() -> Status {
    Status {
        state: State::Online,
        since: OffsetDateTime::now_utc(),
        version: "0.1.0".to_owned(),
        matching: true,
        list: None,
        reason: None,
        threshold: Some(0.45),
        clock: ClockQuality::Unknown,
        degraded: None,
        promises: Promises::new(),
        ends_soon: Vec::new(),
    }
}

/// A candidate whose crop has `crop` bytes.
pub fn candidate(number: u64, crop: usize) -> Candidate {
    let now = OffsetDateTime::now_utc();
    Candidate {
        candidate: EventId::from_u128(u128::from(number)),
        sequence: 1,
        device: "cam-7".to_owned(),
        camera: "front".to_owned(),
        decided_at: now,
        expires: now + Duration::from_secs(3600),
        entry: format!("E-{number:04}"),
        aim: None,
        legal_basis: None,
        purpose: None,
        place: None,
        alternatives: Vec::new(),
        score: 0.62,
        threshold: 0.45,
        expected_false_positive_rate: None,
        evidence: Evidence {
            views: 5,
            agreeing: 3,
            combined: 0.6,
            quality: QualityParts {
                overall: 0.8,
                eye_distance: 48.5,
                sharpness: 0.7,
                yaw: 0.0,
                pitch: 0.0,
                roll: 0.0,
                detector_score: 0.93,
            },
            rect: [312.0, 80.5, 96.0, 120.0],
            frame: [1280, 720],
        },
        list: ListVersion { id: "L-42".to_owned(), version: 3 },
        models: ModelDigests { detector: "ab".repeat(32), embedder: "cd".repeat(32) },
        crop: Some(Crop::jpeg(&vec![0x55; crop])),
        head: None,
        second_view: None,
        audit: None,
    }
}
