//! Points, rectangles and the similarity transform, in pixels of the frame they were found in.
//!
//! Coordinates follow the image convention: x to the right, y down, pixel centres at integers.
//! [`Orientation`] says which way up a picture is. Nothing here knows what a face is.

mod orientation;

pub use self::orientation::{Axes, Orientation, Turn};
use crate::locked::Plain;
use serde::{Deserialize, Serialize};

/// A position in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Down.
    pub y: f32,
}

// SAFETY: two numbers.
unsafe impl Plain for Point {}

impl Point {
    /// A point at (`x`, `y`).
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// Euclidean distance to `other` in pixels.
    pub fn distance(self, other: Point) -> f32 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// An axis-aligned rectangle: left, top, width and height in pixels. Parts may be outside the
/// frame.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width, never negative.
    pub width: f32,
    /// Height, never negative.
    pub height: f32,
}

// SAFETY: four numbers.
unsafe impl Plain for Rect {}

impl Rect {
    /// A rectangle from its left top corner and its size.
    pub const fn new(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self { x, y, width, height }
    }

    /// Area in square pixels.
    pub fn area(&self) -> f32 {
        self.width * self.height
    }

    /// The centre.
    pub fn center(&self) -> Point {
        Point::new(self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// Whether `point` is inside of it.
    pub fn holds(&self, point: Point) -> bool {
        (self.x..=self.x + self.width).contains(&point.x)
            && (self.y..=self.y + self.height).contains(&point.y)
    }

    /// Intersection over union with `other`, 0 to 1; 0 where both are empty.
    pub fn iou(&self, other: &Rect) -> f32 {
        let w = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let h = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if w <= 0.0 || h <= 0.0 {
            return 0.0;
        }
        let inter = w * h;
        let union = self.area() + other.area() - inter;
        if union > 0.0 { inter / union } else { 0.0 }
    }

    /// The rectangle moved by (`dx`, `dy`).
    pub fn translated(&self, dx: f32, dy: f32) -> Rect {
        Rect { x: self.x + dx, y: self.y + dy, ..*self }
    }
}

/// A similarity transform (rotation, uniform scale, translation): `(x, y) -> (a x - b y + tx, b x +
/// a y + ty)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    /// Scale times the cosine of the angle.
    pub a: f32,
    /// Scale times the sine of the angle.
    pub b: f32,
    /// Translation to the right.
    pub tx: f32,
    /// Translation down.
    pub ty: f32,
}

impl Similarity {
    /// The least-squares similarity that takes `from` to `to`, without reflection
    /// (Umeyama 1991, whose two-dimensional case without reflection has this closed form).
    ///
    /// `None` where the points of `from` coincide or a coordinate is not finite.
    pub fn estimate(from: &[Point; 5], to: &[Point; 5]) -> Option<Self> {
        let n = 5.0f64;
        let mean = |p: &[Point; 5]| {
            let (sx, sy) = p
                .iter()
                .fold((0.0f64, 0.0f64), |(x, y), p| (x + f64::from(p.x), y + f64::from(p.y)));
            (sx / n, sy / n)
        };
        let (fx, fy) = mean(from);
        let (gx, gy) = mean(to);
        let (mut dot, mut cross, mut var) = (0.0f64, 0.0f64, 0.0f64);
        for (p, q) in from.iter().zip(to) {
            let (px, py) = (f64::from(p.x) - fx, f64::from(p.y) - fy);
            let (qx, qy) = (f64::from(q.x) - gx, f64::from(q.y) - gy);
            dot += px * qx + py * qy;
            cross += px * qy - py * qx;
            var += px * px + py * py;
        }
        // `is_finite` also rejects the NaN that an infinite coordinate leaves in the sums.
        if !(var.is_finite() && dot.is_finite() && cross.is_finite()) || var <= 1e-6 {
            return None;
        }
        let (a, b) = (dot / var, cross / var);
        if a * a + b * b < 1e-12 {
            return None;
        }
        Some(Self {
            a: a as f32,
            b: b as f32,
            tx: (gx - a * fx + b * fy) as f32,
            ty: (gy - b * fx - a * fy) as f32,
        })
    }

    /// The image of `p`.
    pub fn apply(&self, p: Point) -> Point {
        Point::new(self.a * p.x - self.b * p.y + self.tx, self.b * p.x + self.a * p.y + self.ty)
    }

    /// The inverse transform. Finite because [`Similarity::estimate`] never returns scale zero.
    pub fn inverse(&self) -> Self {
        let d = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / d, -self.b / d);
        Self { a, b, tx: -(a * self.tx - b * self.ty), ty: -(b * self.tx + a * self.ty) }
    }

    /// Uniform scale factor.
    pub fn scale(&self) -> f32 {
        self.a.hypot(self.b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn iou_of_a_rectangle_with_itself_is_one_and_with_a_far_one_zero() {
        let r = Rect::new(3.0, 4.0, 10.0, 20.0);
        assert!((r.iou(&r) - 1.0).abs() < 1e-6);
        assert_eq!(r.iou(&r.translated(100.0, 0.0)), 0.0);
        assert_eq!(Rect::default().iou(&Rect::default()), 0.0);
    }

    #[test]
    fn coincident_or_non_finite_points_give_no_transform() {
        let same = [Point::new(1.0, 1.0); 5];
        let mut bad = same;
        bad[2].x = f32::INFINITY;
        assert!(Similarity::estimate(&same, &same).is_none());
        assert!(Similarity::estimate(&bad, &same).is_none());
    }

    proptest! {
        #[test]
        fn estimate_recovers_a_known_similarity(
            scale in 0.1f32..8.0,
            angle in -3.1f32..3.1,
            tx in -500f32..500.0,
            ty in -500f32..500.0,
        ) {
            let truth = Similarity { a: scale * angle.cos(), b: scale * angle.sin(), tx, ty };
            let from = [
                Point::new(38.0, 51.0),
                Point::new(73.0, 51.0),
                Point::new(56.0, 71.0),
                Point::new(41.0, 92.0),
                Point::new(70.0, 92.0),
            ];
            let to = from.map(|p| truth.apply(p));
            let got = Similarity::estimate(&from, &to).expect("distinct points");
            for p in from {
                prop_assert!(got.apply(p).distance(truth.apply(p)) < 0.05);
                prop_assert!(got.inverse().apply(got.apply(p)).distance(p) < 0.05);
            }
        }
    }
}
