//! Photographs as files on the command line.

use serde_json::json;

use super::CliError;
pub use crate::vision::photographs::{FaceReader, JudgedFace};

/// Opens a photograph, its path in the error.
pub fn open(path: &std::path::Path) -> Result<crate::source::Photograph, CliError> {
    crate::source::Photograph::open(path).map_err(|error| {
        let (error, name) = (error.to_string(), path.display().to_string());
        // Some errors name the file themselves.
        if error.contains(&name) { error.into() } else { format!("{name}: {error}").into() }
    })
}

/// A face on the command line's JSON: box `[x, y, width, height]` and five points in pixels, score
/// and quality 0 to 1.
pub fn face_json(seen: &JudgedFace) -> serde_json::Value {
    let r = &seen.face.rect;
    json!({
        "box": [r.x, r.y, r.width, r.height],
        "points": seen.face.landmarks.map(|p| [p.x, p.y]),
        "score": seen.face.score,
        "quality": seen.quality,
        "too_poor": seen.verdict.err().map(|reason| reason.name()),
    })
}
