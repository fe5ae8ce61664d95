//! Landmarks of tilted heads.
//!
//! Small detectors are trained on upright faces: with the head tilted by twenty degrees and more they still find the face,
//! with a lower score, but place the landmarks as if it were upright, and its embedding no longer resembles the person.
//! [`Detector::straighten`] looks at such a face again, turned by a few angles at a small size, and takes the landmarks of
//! the angle at which the detector is surest. Faces found with a high score are left as they are.
//!
//! Enrolment and probes must treat a face alike: both call this between detection and alignment.

use super::VisionError;
use super::align::AlignedFace;
use super::detect::{Detection, Detector, Faces};
use crate::frame::Frame;
use crate::geometry::{Point, Similarity};

/// A face with at least this score is upright. Half of upright press photographs score less, and are found to be upright;
/// heads tilted by 20 degrees and more all do.
const UPRIGHT_SCORE: f32 = 0.93;
/// By how much the score must rise for other landmarks to be believed.
const GAIN: f32 = 0.015;
/// Side of the turned picture in pixels, and of the face's box in it.
pub(super) const SIDE: usize = 128;
const BOX: f32 = 64.0;
/// The turns in degrees; the second of a pair is looked at only where the first is better than none.
const TURNS: [[f32; 2]; 2] = [[20.0, 40.0], [-20.0, -40.0]];

/// The turned picture, kept from face to face and wiped after each.
pub(super) struct Tilt {
    picture: AlignedFace,
    found: Faces,
}

impl Default for Tilt {
    fn default() -> Self {
        Self { picture: AlignedFace::new(SIDE), found: Faces::new() }
    }
}

impl Detector {
    /// `face` with the landmarks of its tilted head, if it is one; otherwise as it is. Box and score stay.
    ///
    /// # Errors
    /// [`VisionError::Detector`] where the network does not load or run at the small size.
    pub fn straighten(&mut self, frame: &Frame<'_>, face: &Detection) -> Result<Detection, VisionError> {
        let extent = face.rect.width.max(face.rect.height);
        if face.score >= UPRIGHT_SCORE || !(extent.is_finite() && extent > 0.0) {
            return Ok(*face);
        }
        let mut tilt = std::mem::take(&mut self.tilt);
        let result = self.straighten_in(&mut tilt, frame, face, extent);
        tilt.picture.wipe();
        tilt.found.clear();
        self.tilt = tilt;
        result
    }

    fn straighten_in(
        &mut self,
        tilt: &mut Tilt,
        frame: &Frame<'_>,
        face: &Detection,
        extent: f32,
    ) -> Result<Detection, VisionError> {
        let mut turned = |degrees: f32| -> Result<Option<(f32, [Point; 5])>, VisionError> {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let scale = extent / BOX;
            let (a, b) = (scale * cos, scale * sin);
            let (center, half) = (face.rect.center(), SIDE as f32 / 2.0);
            // Takes the middle of the picture to the middle of the face.
            let to_frame =
                Similarity { a, b, tx: center.x - (a * half - b * half), ty: center.y - (b * half + a * half) };
            tilt.picture.sample(frame, &to_frame);
            self.detect_square(&tilt.picture, face.score / 2.0, &mut tilt.found)?;
            let middle = Point::new(half, half);
            let near = tilt.found.iter().find(|f| f.rect.center().distance(middle) < BOX / 3.0);
            Ok(near.map(|f| (f.score, f.landmarks.map(|p| to_frame.apply(p)))))
        };
        let upright = turned(0.0)?.map_or(0.0, |(score, _)| score);
        let mut best = (upright + GAIN, face.landmarks);
        for [first, second] in TURNS {
            let Some((score, landmarks)) = turned(first)? else { continue };
            if score > best.0 {
                best = (score, landmarks);
            }
            if score <= upright {
                continue;
            }
            if let Some((score, landmarks)) = turned(second)?
                && score > best.0
            {
                best = (score, landmarks);
            }
        }
        Ok(Detection { landmarks: best.1, ..*face })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Layout, PixelFormat, Range};
    use crate::geometry::Rect;
    use crate::vision::Models;

    fn face(rect: Rect, score: f32) -> Detection {
        let landmarks = std::array::from_fn(|i| Point::new(20.0 + i as f32, 30.0));
        Detection { rect, landmarks, score }
    }

    #[test]
    fn a_sure_face_is_left_alone_without_another_look() {
        let mut detector = Detector::new(&Models::builtin().unwrap(), 64).unwrap();
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 64, 64).unwrap();
        let data = [90; 64 * 64];
        let sure = face(Rect::new(10.0, 10.0, 40.0, 40.0), 0.95);
        assert_eq!(detector.straighten(&Frame::new(layout, &data).unwrap(), &sure).unwrap(), sure);
        assert!(detector.networks.is_empty(), "no network for its picture was loaded");
    }

    #[test]
    fn where_no_turn_shows_a_face_the_landmarks_stay_whatever_the_box_is() {
        let mut detector = Detector::new(&Models::builtin().unwrap(), 64).unwrap();
        let layout = Layout::packed(PixelFormat::Nv12, Range::Limited, 64, 48).unwrap();
        let data = vec![128; layout.min_len()];
        let frame = Frame::new(layout, &data).unwrap();
        for (x, size) in [(10.0, 40.0), (-1e6, 5.0), (0.0, 1e30), (0.0, f32::NAN), (f32::NAN, 10.0), (0.0, 0.0)] {
            let unsure = face(Rect::new(x, 5.0, size, size), 0.7);
            assert_eq!(detector.straighten(&frame, &unsure).unwrap().landmarks, unsure.landmarks);
        }
        assert!(detector.tilt.picture.rgb().iter().all(|v| *v == 0), "the picture is wiped");
    }
}
