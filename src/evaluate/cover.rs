//! Faces that are partly covered, drawn: what a mask or dark glasses cost.
//!
//! Photographs of the same people with and without them are not at hand in numbers, so a plain
//! shape is painted over a photograph where its landmarks say. Real masks have folds and real
//! glasses reflections; figures from this are about these shapes, and say at least how much hangs
//! on the part of the face that is gone.

use clap::ValueEnum;
use serde::Serialize;

use crate::geometry::Point;

/// What is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Cover {
    /// From the nose to below the chin, light blue.
    Mask,
    /// Over both eyes, nearly black.
    DarkGlasses,
}

impl Cover {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mask => "mask",
            Self::DarkGlasses => "dark-glasses",
        }
    }

    /// Paints it into RGB pixels of `width`, over the face with these landmarks: the eyes, the tip
    /// of the nose and the corners of the mouth.
    pub fn paint(self, rgb: &mut [u8], width: usize, landmarks: &[Point; 5]) {
        let Some(face) = Axes::of(landmarks) else { return };
        let colour = match self {
            Self::Mask => [150, 185, 205],
            Self::DarkGlasses => [18, 18, 20],
        };
        for (y, row) in rgb.chunks_exact_mut(3 * width).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let (across, down) = face.at(Point::new(x as f32 + 0.5, y as f32 + 0.5));
                if self.covers(&face, across, down) {
                    pixel.copy_from_slice(&colour);
                }
            }
        }
    }

    /// Whether a place of the face is covered; in distances of the eyes from the middle between
    /// them.
    fn covers(self, face: &Axes, across: f32, down: f32) -> bool {
        match self {
            Self::Mask => {
                // Narrower towards the chin.
                let (top, bottom) = (face.nose - 0.15, face.mouth + 0.95);
                let share = (down - top) / (bottom - top);
                (0.0..=1.0).contains(&share) && across.abs() <= 1.15 - 0.45 * share
            }
            Self::DarkGlasses => {
                let lens =
                    |centre: f32| ((across - centre) / 0.44).powi(2) + (down / 0.32).powi(2) <= 1.0;
                let bridge = across.abs() <= 0.5 && (-0.12..=0.0).contains(&down);
                lens(-0.5) || lens(0.5) || bridge
            }
        }
    }
}

/// The axes of a face in a picture.
struct Axes {
    middle: Point,
    /// One distance of the eyes, to the right of the picture of an upright face.
    right: [f32; 2],
    /// How far down the nose's tip and the mouth are, in distances of the eyes.
    nose: f32,
    mouth: f32,
}

impl Axes {
    fn of([left, right, nose, a, b]: &[Point; 5]) -> Option<Self> {
        let middle = Point::new((left.x + right.x) / 2.0, (left.y + right.y) / 2.0);
        let axis = [right.x - left.x, right.y - left.y];
        let length = axis[0].hypot(axis[1]);
        if length.is_nan() || length <= 1.0 {
            return None;
        }
        let mut face = Self { middle, right: axis, nose: 0.0, mouth: 0.0 };
        face.nose = face.at(*nose).1;
        face.mouth = (face.at(*a).1 + face.at(*b).1) / 2.0;
        Some(face)
    }

    /// A place across and down the face, in distances of the eyes.
    fn at(&self, p: Point) -> (f32, f32) {
        let [x, y] = self.right;
        let (dx, dy) = (p.x - self.middle.x, p.y - self.middle.y);
        let square = x * x + y * y;
        ((dx * x + dy * y) / square, (dy * x - dx * y) / square)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPRIGHT: [(f32, f32); 5] =
        [(40.0, 50.0), (60.0, 50.0), (50.0, 60.0), (42.0, 70.0), (58.0, 70.0)];

    fn painted(cover: Cover, landmarks: [(f32, f32); 5]) -> impl Fn(usize, usize) -> bool {
        let mut rgb = vec![255; 100 * 120 * 3];
        cover.paint(&mut rgb, 100, &landmarks.map(|(x, y)| Point::new(x, y)));
        move |x, y| rgb[(y * 100 + x) * 3] != 255
    }

    #[test]
    fn a_mask_covers_the_mouth_and_leaves_the_eyes_and_glasses_the_other_way_round() {
        let mask = painted(Cover::Mask, UPRIGHT);
        let glasses = painted(Cover::DarkGlasses, UPRIGHT);
        for (x, y) in [(42, 70), (58, 70), (50, 65), (50, 85)] {
            assert!(mask(x, y) && !glasses(x, y), "{x} {y}");
        }
        for (x, y) in [(40, 50), (60, 50), (50, 49)] {
            assert!(glasses(x, y) && !mask(x, y), "{x} {y}");
        }
        for (x, y) in [(50, 30), (5, 70), (95, 50), (50, 110)] {
            assert!(!mask(x, y) && !glasses(x, y), "{x} {y}");
        }
    }

    #[test]
    fn it_turns_with_the_face_and_a_face_that_is_none_is_left_alone() {
        // A quarter turn to the right: the mouth is left of the eyes.
        let turned = [(50.0, 40.0), (50.0, 60.0), (40.0, 50.0), (30.0, 42.0), (30.0, 58.0)];
        let mask = painted(Cover::Mask, turned);
        assert!(mask(30, 50) && !mask(50, 40) && !mask(70, 50));
        let nowhere = painted(Cover::Mask, [(50.0, 50.0); 5]);
        assert!((0..100).all(|x| (0..120).all(|y| !nowhere(x, y))));
        let nan = painted(Cover::DarkGlasses, [(f32::NAN, 0.0); 5]);
        assert!(!nan(50, 50));
    }
}
