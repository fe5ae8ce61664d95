//! Photographs as files on the command line.

use std::error::Error;
use std::io;

use serde_json::json;

use super::{CliError, output};
#[cfg(any(feature = "author", feature = "demo", feature = "evaluate"))]
use crate::source::Photograph;
#[cfg(any(feature = "author", feature = "demo", feature = "evaluate"))]
use crate::vision::photographs::Enrolled;
pub use crate::vision::photographs::{FaceReader, JudgedFace};

#[cfg(any(feature = "author", feature = "demo", feature = "evaluate"))]
/// Score of the detector from which a face stands upright.
const SURE: f32 = 0.93;
#[cfg(any(feature = "author", feature = "demo", feature = "evaluate"))]
/// By how much surer the detector must be of a turned or inverted photograph.
const MUCH_SURER: f32 = 0.05;

/// Opens a photograph, its path in the error.
pub fn open(path: &std::path::Path) -> Result<crate::source::Photograph, CliError> {
    crate::source::Photograph::open(path).map_err(|error| {
        let (error, name) = (error.to_string(), path.display().to_string());
        // Some errors name the file themselves.
        if error.contains(&name) { error.into() } else { format!("{name}: {error}").into() }
    })
}

/// Says that one of several photographs cannot be read: in its line of JSON, or on standard error.
pub fn tell_unread(path: &std::path::Path, error: &dyn Error, json: bool) -> io::Result<()> {
    if json {
        return output::json_line(&json!({ "image": path, "error": error.to_string() }));
    }
    output::say(error);
    Ok(())
}

#[cfg(any(feature = "author", feature = "demo", feature = "evaluate"))]
/// The one person of a photograph, good enough to enrol, and by how many degrees clockwise the
/// photograph had to be turned for it.
///
/// A face that lies on its side, as in phones' pictures whose orientation was lost, is found all
/// the same, with a lower score and wrong landmarks: its template would match nobody. So where the
/// detector is not sure, it is asked about the other three ways up, and about the negative.
pub fn single(
    reader: &mut FaceReader,
    photograph: &Photograph,
) -> Result<(Enrolled, u32), CliError> {
    let mut score = |photograph: &Photograph| {
        let subject = reader.subject(&photograph.frame())?;
        Ok::<f32, CliError>(subject.map_or(0.0, |seen| seen.face.score))
    };
    let as_it_is = score(photograph)?;
    if as_it_is < SURE {
        let mut turned = photograph.turned();
        let mut best = (as_it_is + MUCH_SURER, None);
        for degrees in [90, 180, 270] {
            let score = score(&turned)?;
            if score > best.0 {
                best = (score, Some((turned.clone(), degrees)));
            }
            turned = turned.turned();
        }
        if score(&photograph.inverted())? > best.0 {
            return Err("it is a negative; invert its colours, and it can be compared".into());
        }
        if let Some((turned, degrees)) = best.1 {
            return Ok((reader.single(&turned.frame())?, degrees));
        }
    }
    Ok((reader.single(&photograph.frame())?, 0))
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
