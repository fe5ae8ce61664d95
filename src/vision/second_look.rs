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
//! A face that lies on its side, or at more than some 55 degrees, is found with a low score, and
//! its landmarks are wrong whatever they look like: a detector puts them as if it were upright. So
//! where no look gives a high score the turns by a quarter, three eighths and a half are looked at,
//! and a face that is surer there lies ([`Refined::stance`]).
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
use crate::geometry::{Point, Similarity, Turn};

/// A face with at least this score is upright. Half of upright press photographs score less, and
/// are found to be upright; heads tilted by 20 degrees and more all do.
const UPRIGHT_SCORE: f32 = 0.93;
/// By how much the score must rise for the landmarks of a turned face to be believed.
const GAIN: f32 = 0.015;
/// The turns in degrees; the second of a pair is looked at only where the first is better than
/// none.
const TURNS: [[f32; 2]; 2] = [[20.0, 40.0], [-20.0, -40.0]];
/// Where the second of a pair is the best, the face is looked at turned this much further. One that
/// is surer there lies, though hardly surer than at 40 degrees: its landmarks there are wrong.
const FURTHER: f32 = 35.0;
/// Turns at which a face that lies on its side or stands on its head is found again. By quarters
/// alone one that hangs at 225 degrees is 45 off whichever is nearest, scores no more, and passed.
const LYING: [f32; 5] = [90.0, 180.0, 270.0, 135.0, 225.0];
/// Score below which these turns are looked at: of upright faces in press photographs one in
/// twenty has less.
const MAY_LIE: f32 = 0.9;
/// By how much such a turn's score must exceed those of all smaller turns for the face to lie.
const LIES: f32 = 0.03;
/// Sides in pixels of the pictures of the face alone: turned, and upright for finer landmarks. Its
/// box fills half of each.
const SIDES: [usize; 2] = [128, 160];

/// The pictures of the face alone, kept from face to face and wiped after each.
pub struct SecondLook {
    turned: AlignedFace,
    upright: AlignedFace,
    found: Faces,
}

/// How a face is placed in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// It stands upright, or is tilted by less than some 55 degrees.
    Upright,
    /// It lies on its side or stands on its head.
    Lying {
        /// The turn of the picture after which it would stand; absent where none is the nearest.
        stands_after: Option<Turn>,
    },
}

impl Stance {
    /// A face that is surer where it is looked at turned by `degrees`.
    fn lying(degrees: f32) -> Self {
        // The look is turned instead of the face, so the face stands after the opposite turn.
        let stands_after = match degrees as i32 {
            75 | 90 => Some(Turn::ThreeQuarters),
            180 => Some(Turn::Half),
            -75 | 270 => Some(Turn::Quarter),
            _ => None,
        };
        Self::Lying { stands_after }
    }
}

/// What a second look at a face gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Refined {
    /// Box and score as before, landmarks as far as they can be told.
    pub face: Detection,
    /// How it is placed.
    pub stance: Stance,
}

impl Refined {
    fn as_found(face: &Detection) -> Self {
        Self { face: *face, stance: Stance::Upright }
    }
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
    ) -> Result<Refined, VisionError> {
        let extent = face.rect.width.max(face.rect.height);
        if !(extent.is_finite() && extent > 0.0) {
            return Ok(Refined::as_found(face));
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
    ) -> Result<Refined, VisionError> {
        let Self { turned, upright, found } = self;
        if face.score < UPRIGHT_SCORE {
            let (score, straight) = straighten(detector, turned, found, frame, face)?;
            let lies = match straight {
                Some(Straight::Beyond { degrees }) => Some(degrees),
                _ if score < MAY_LIE => lies(detector, turned, found, (frame, face), score)?,
                _ => None,
            };
            if let Some(degrees) = lies {
                return Ok(Refined { face: *face, stance: Stance::lying(degrees) });
            }
            if let Some(Straight::Landmarks(landmarks)) = straight {
                return Ok(Refined::as_found(&Detection { landmarks, ..*face }));
            }
        }
        let again = look_again(detector, upright, found, frame, face, 0.0)?;
        let landmarks = again.map_or(face.landmarks, |(_, again)| mean(&face.landmarks, &again));
        Ok(Refined::as_found(&Detection { landmarks, ..*face }))
    }
}

/// The first of these turns in which the face is surer than at `score`, the most of all smaller
/// turns.
fn lies(
    detector: &mut Detector,
    picture: &mut AlignedFace,
    found: &mut Faces,
    (frame, face): (&Frame<'_>, &Detection),
    score: f32,
) -> Result<Option<f32>, VisionError> {
    for degrees in LYING {
        let turned = look_again(detector, picture, found, frame, face, degrees)?;
        if turned.is_some_and(|(turned, _)| turned > score + LIES) {
            return Ok(Some(degrees));
        }
    }
    Ok(None)
}

/// A face that is not upright.
enum Straight {
    /// Landmarks of a tilted head.
    Landmarks([Point; 5]),
    /// Tilted further than can be told, and surest where it is looked at turned by so much.
    Beyond {
        /// One of [`TURNS`] and [`FURTHER`].
        degrees: f32,
    },
}

/// The highest score of the small turns, and what is known of a tilted head; `None` for an upright
/// one.
fn straighten(
    detector: &mut Detector,
    picture: &mut AlignedFace,
    found: &mut Faces,
    frame: &Frame<'_>,
    face: &Detection,
) -> Result<(f32, Option<Straight>), VisionError> {
    let mut turned = |degrees: f32| look_again(detector, picture, found, frame, face, degrees);
    let upright = turned(0.0)?.map_or(0.0, |(score, _)| score);
    let (mut most, mut best) = (upright + GAIN, None);
    let (mut seen, mut further) = (upright, None);
    for [first, second] in TURNS {
        let Some((score, landmarks)) = turned(first)? else { continue };
        seen = seen.max(score);
        if score > most {
            (most, best, further) = (score, Some(landmarks), None);
        }
        if score <= upright {
            continue;
        }
        if let Some((score, landmarks)) = turned(second)? {
            seen = seen.max(score);
            if score > most {
                (most, best) = (score, Some(landmarks));
                further = Some(second + FURTHER.copysign(second));
            }
        }
    }
    if let Some(degrees) = further
        && turned(degrees)?.is_some_and(|(score, _)| score > most)
    {
        return Ok((seen, Some(Straight::Beyond { degrees })));
    }
    Ok((seen, best.map(Straight::Landmarks)))
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
        let settled = second.refine(&mut detector, &frame, &truth).unwrap().face;
        assert_eq!((settled.rect, settled.score), (truth.rect, truth.score));
        let size = truth.rect.width;
        assert!(
            furthest(&settled.landmarks, &truth.landmarks) < 0.05 * size,
            "an upright face stays where it is"
        );
        for (dx, dy) in [(0.1, 0.0), (0.0, -0.1), (-0.1, 0.1)] {
            let shift = |p: Point| Point::new(p.x + dx * size, p.y + dy * size);
            let off = Detection { landmarks: truth.landmarks.map(shift), ..truth };
            let refined = second.refine(&mut detector, &frame, &off).unwrap().face;
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
    fn a_face_that_lies_is_told_from_one_that_stands() {
        let mut detector = Detector::new(&Models::builtin().unwrap(), 640).unwrap();
        let (layout, data, truth) = portrait(&mut detector);
        let mut second = SecondLook::default();
        let frame = Frame::new(layout, &data).unwrap();
        let stance = second.refine(&mut detector, &frame, &truth).unwrap().stance;
        assert_eq!(stance, Stance::Upright);
        let (w, h) = (layout.width() as usize, layout.height() as usize);
        let pixel = |x: usize, y: usize| &data[(y * w + x) * 3..][..3];
        let half: Vec<u8> =
            (0..h * w).flat_map(|i| pixel(w - 1 - i % w, h - 1 - i / w)).copied().collect();
        let quarter: Vec<u8> =
            (0..h * w).flat_map(|i| pixel(i / h, h - 1 - i % h)).copied().collect();
        let mut found = Faces::new();
        let mut lying = 0;
        for (data, w, h, back) in [(half, w, h, Turn::Half), (quarter, h, w, Turn::ThreeQuarters)] {
            let layout =
                Layout::packed(PixelFormat::Rgb8, Range::Full, w as u32, h as u32).unwrap();
            let frame = Frame::new(layout, &data).unwrap();
            detector.detect(&frame, 0.6, &mut found).unwrap();
            for face in &found {
                let stance = second.refine(&mut detector, &frame, face).unwrap().stance;
                assert_eq!(stance, Stance::Lying { stands_after: Some(back) });
                lying += 1;
            }
        }
        assert!(lying > 0, "the detector finds one at least");
    }

    #[test]
    fn a_face_that_a_second_look_does_not_show_stays_as_it_is() {
        let mut detector = Detector::new(&Models::builtin().unwrap(), 64).unwrap();
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 64, 64).unwrap();
        let data = [90; 64 * 64];
        let sure = face(Rect::new(10.0, 10.0, 40.0, 40.0), 0.95);
        let frame = Frame::new(layout, &data).unwrap();
        let refined = SecondLook::default().refine(&mut detector, &frame, &sure).unwrap();
        assert_eq!(refined, Refined { face: sure, stance: Stance::Upright });
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
                let refined = second.refine(&mut detector, &frame, &found).unwrap().face;
                assert_eq!(refined.landmarks, found.landmarks);
            }
        }
    }
}
