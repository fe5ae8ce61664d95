//! A second look at a face: finer landmarks, and those of tilted heads.
//!
//! In the whole frame a face covers few cells of the detector, and its landmarks are off by a pixel
//! or two, which its embedding shows. [`SecondLook::refine`] looks at the face alone, scaled to one
//! size, and gives the mean of both guesses.
//!
//! Small detectors are trained on upright faces: with the head tilted by twenty degrees and more
//! they still find the face, with a lower score, but place the landmarks as if it were upright. A
//! face without a high score is therefore looked at turned by a few angles first, at a smaller size
//! at which the detector's scores tell angles apart. If it is surer of one of them, the landmarks
//! of that look are taken as they are: the first guess was wrong, and a mean with it would be half
//! as wrong.
//!
//! Where no look shows a face in the middle, the first guess stays. Enrolment, probes and
//! evaluation must treat a face alike: all call this between detection and alignment. Costs a run
//! of the detector at 160x160 (a twelfth of one at 640x480), and three to five at 128x128 for a
//! face without a high score.

use super::VisionError;
use super::align::AlignedFace;
use super::detect::Detector;
use super::faces::{Detection, Faces, forget};
use crate::frame::Frame;
use crate::geometry::{Point, Similarity};

/// A face with at least this score is upright. Half of upright press photographs score less, and
/// are found to be upright; heads tilted by 20 degrees and more all do.
const UPRIGHT_SCORE: f32 = 0.93;
/// By how much the score must rise for the landmarks of a turned face to be believed.
const GAIN: f32 = 0.015;
/// The turns in degrees; the second of a pair is looked at only where the first is better than
/// none.
const TURNS: [[f32; 2]; 2] = [[20.0, 40.0], [-20.0, -40.0]];
/// Sides in pixels of the pictures of the face alone: turned, and upright for finer landmarks. Its
/// box fills half of each.
const SIDES: [usize; 2] = [128, 160];

/// The pictures of the face alone, kept from face to face and wiped after each.
pub struct SecondLook {
    turned: AlignedFace,
    upright: AlignedFace,
    found: Faces,
}

/// Landmarks of a second look, in pixels of the frame, and the detector's score of them.
type Again = (f32, [Point; 5]);

impl Default for SecondLook {
    fn default() -> Self {
        let [turned, upright] = SIDES.map(AlignedFace::new);
        Self { turned, upright, found: Faces::new() }
    }
}

impl SecondLook {
    /// `face` with the landmarks of a second look at it, if that shows a face. Box and score stay.
    ///
    /// # Errors
    /// [`VisionError::Detector`] where the network does not load or run at the sizes of the second
    /// look.
    pub fn refine(
        &mut self,
        detector: &mut Detector,
        frame: &Frame<'_>,
        face: &Detection,
    ) -> Result<Detection, VisionError> {
        let extent = face.rect.width.max(face.rect.height);
        if !(extent.is_finite() && extent > 0.0) {
            return Ok(*face);
        }
        let result = self.look(detector, frame, face);
        // Here, so that no way out of the looks leaves the face in memory.
        self.turned.wipe();
        self.upright.wipe();
        forget(&mut self.found);
        result
    }

    fn look(
        &mut self,
        detector: &mut Detector,
        frame: &Frame<'_>,
        face: &Detection,
    ) -> Result<Detection, VisionError> {
        let Self { turned, upright, found } = self;
        if face.score < UPRIGHT_SCORE
            && let Some(landmarks) = straighten(detector, turned, found, frame, face)?
        {
            return Ok(Detection { landmarks, ..*face });
        }
        let again = look_again(detector, upright, found, frame, face, 0.0)?;
        let landmarks = again.map_or(face.landmarks, |(_, again)| mean(&face.landmarks, &again));
        Ok(Detection { landmarks, ..*face })
    }
}

/// The landmarks of a tilted head; `None` for an upright one.
fn straighten(
    detector: &mut Detector,
    picture: &mut AlignedFace,
    found: &mut Faces,
    frame: &Frame<'_>,
    face: &Detection,
) -> Result<Option<[Point; 5]>, VisionError> {
    let mut turned = |degrees: f32| look_again(detector, picture, found, frame, face, degrees);
    let upright = turned(0.0)?.map_or(0.0, |(score, _)| score);
    let (mut most, mut best) = (upright + GAIN, None);
    for [first, second] in TURNS {
        let Some((score, landmarks)) = turned(first)? else { continue };
        if score > most {
            (most, best) = (score, Some(landmarks));
        }
        if score <= upright {
            continue;
        }
        if let Some((score, landmarks)) = turned(second)?
            && score > most
        {
            (most, best) = (score, Some(landmarks));
        }
    }
    Ok(best)
}

/// What the detector finds in the middle of `picture`, filled with the face turned by
/// `degrees`.
fn look_again(
    detector: &mut Detector,
    picture: &mut AlignedFace,
    found: &mut Faces,
    frame: &Frame<'_>,
    face: &Detection,
    degrees: f32,
) -> Result<Option<Again>, VisionError> {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let half = picture.side() as f32 / 2.0;
    let scale = face.rect.width.max(face.rect.height) / half;
    let (a, b) = (scale * cos, scale * sin);
    let center = face.rect.center();
    // Takes the middle of the picture to the middle of the face.
    let to_frame = Similarity {
        a,
        b,
        tx: center.x - (a * half - b * half),
        ty: center.y - (b * half + a * half),
    };
    picture.sample(frame, &to_frame);
    detector.detect_square(picture, face.score / 2.0, found)?;
    let middle = Point::new(half, half);
    let near = found.iter().find(|f| f.rect.center().distance(middle) < half / 3.0);
    Ok(near.map(|f| (f.score, f.landmarks.map(|p| to_frame.apply(p)))))
}

fn mean(a: &[Point; 5], b: &[Point; 5]) -> [Point; 5] {
    std::array::from_fn(|i| Point::new((a[i].x + b[i].x) / 2.0, (a[i].y + b[i].y) / 2.0))
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

    /// A portrait and its one face.
    fn portrait(detector: &mut Detector) -> (Layout, Vec<u8>, Detection) {
        let image = image::load_from_memory(include_bytes!("../demo/portraits/collins.jpg"))
            .unwrap()
            .to_rgb8();
        let layout =
            Layout::packed(PixelFormat::Rgb8, Range::Full, image.width(), image.height()).unwrap();
        let data = image.into_raw();
        let mut faces = Faces::new();
        detector.detect(&Frame::new(layout, &data).unwrap(), 0.6, &mut faces).unwrap();
        assert_eq!(faces.len(), 1);
        (layout, data, faces[0])
    }

    fn furthest(a: &[Point; 5], b: &[Point; 5]) -> f32 {
        a.iter().zip(b).map(|(p, q)| p.distance(*q)).fold(0.0, f32::max)
    }

    #[test]
    fn landmarks_that_are_off_come_half_as_far_off() {
        let mut detector = Detector::new(&Models::builtin().unwrap(), 640).unwrap();
        let (layout, data, truth) = portrait(&mut detector);
        let frame = Frame::new(layout, &data).unwrap();
        let mut second = SecondLook::default();
        let settled = second.refine(&mut detector, &frame, &truth).unwrap();
        assert_eq!((settled.rect, settled.score), (truth.rect, truth.score));
        let size = truth.rect.width;
        assert!(
            furthest(&settled.landmarks, &truth.landmarks) < 0.05 * size,
            "an upright face stays where it is"
        );
        for (dx, dy) in [(0.1, 0.0), (0.0, -0.1), (-0.1, 0.1)] {
            let shift = |p: Point| Point::new(p.x + dx * size, p.y + dy * size);
            let off = Detection { landmarks: truth.landmarks.map(shift), ..truth };
            let refined = second.refine(&mut detector, &frame, &off).unwrap();
            let (before, after) = (
                Point::new(dx * size, dy * size),
                furthest(&refined.landmarks, &settled.landmarks),
            );
            let half = before.distance(Point::default()) / 2.0;
            assert!((after - half).abs() < 0.01 * size, "{after} of {half}");
        }
        let wiped = &second;
        assert!(
            wiped.upright.rgb().iter().chain(wiped.turned.rgb()).all(|v| *v == 0),
            "nothing of the face is left"
        );
        assert!(wiped.found.is_empty() && wiped.upright.side() == 160);
    }

    #[test]
    fn a_face_that_a_second_look_does_not_show_stays_as_it_is() {
        let mut detector = Detector::new(&Models::builtin().unwrap(), 64).unwrap();
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 64, 64).unwrap();
        let data = [90; 64 * 64];
        let sure = face(Rect::new(10.0, 10.0, 40.0, 40.0), 0.95);
        let frame = Frame::new(layout, &data).unwrap();
        assert_eq!(SecondLook::default().refine(&mut detector, &frame, &sure).unwrap(), sure);
        assert_eq!(detector.networks.len(), 1, "one network: that of the upright picture");
    }

    #[test]
    fn where_no_look_shows_a_face_the_landmarks_stay_whatever_the_box_is() {
        let mut detector = Detector::new(&Models::builtin().unwrap(), 64).unwrap();
        let layout = Layout::packed(PixelFormat::Nv12, Range::Limited, 64, 48).unwrap();
        let data = vec![128; layout.min_len()];
        let frame = Frame::new(layout, &data).unwrap();
        let mut second = SecondLook::default();
        for (x, size) in
            [(10.0, 40.0), (-1e6, 5.0), (0.0, 1e30), (0.0, f32::NAN), (f32::NAN, 10.0), (0.0, 0.0)]
        {
            for score in [0.7, 0.95] {
                let found = face(Rect::new(x, 5.0, size, size), score);
                let refined = second.refine(&mut detector, &frame, &found).unwrap();
                assert_eq!(refined.landmarks, found.landmarks);
            }
        }
    }
}
