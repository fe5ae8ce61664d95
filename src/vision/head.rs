//! The head of a face, with nothing of anybody else that was found beside it.
//!
//! Promises:
//! * Outside of the head's ellipse there is grey.
//! * Inside it there is grey in the box of any other face that was found in the frame, and wherever
//!   that one's head is as near, or nearer.
//! * What is grey in the frame, as a zone, stays so.
//!
//! Not promised: that nobody else is in it. Who was not found as a face cannot be left out, where
//! they stand within the ellipse.

use super::align::AlignedFace;
use super::faces::Detection;
use crate::frame::Frame;
use crate::geometry::{Point, Rect, Similarity};

/// Width and height of a head with its hair, in those of the face that the detector finds.
const HEAD: (f32, f32) = (1.5, 1.6);
/// What takes the place of everything else.
const GREY: u8 = 128;

/// How a head is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadView {
    /// Side of the picture in pixels.
    pub side: usize,
    /// Side of the picture, in the longer side of the face.
    pub times: f32,
}

/// The faces of a frame, one of which is meant.
#[derive(Debug, Clone, Copy)]
pub struct InCompany<'a> {
    /// All that were found, whether or not they can be compared.
    pub faces: &'a [Detection],
    /// Which of them is meant.
    pub own: usize,
}

impl HeadView {
    /// The head of the face at `rect` of `frame`, among the faces found there.
    pub fn take(&self, frame: &Frame<'_>, rect: &Rect, company: InCompany<'_>) -> AlignedFace {
        let mut picture = AlignedFace::new(self.side);
        let (own, step) = (HeadEllipse::of(rect), self.times * rect.width.max(rect.height));
        let step = step / self.side as f32;
        let middle = (self.side as f32 - 1.0) / 2.0;
        let to_frame = Similarity {
            a: step,
            b: 0.0,
            tx: own.center.x - middle * step,
            ty: own.center.y - middle * step,
        };
        picture.sample(frame, &to_frame);
        let others = company.faces.iter().enumerate().filter(|(i, _)| *i != company.own);
        let others: Vec<HeadEllipse> =
            others.map(|(_, other)| HeadEllipse::of(&other.rect)).collect();
        picture.keep(GREY, |x, y| {
            let at = Point::new(x as f32 * step + to_frame.tx, y as f32 * step + to_frame.ty);
            let distance = own.distance(at);
            distance <= 1.0 && others.iter().all(|other| other.leaves(at, &own))
        });
        picture
    }
}

/// Where a head is, upright.
#[derive(Debug, Clone, Copy)]
struct HeadEllipse {
    face: Rect,
    center: Point,
    half: (f32, f32),
}

impl HeadEllipse {
    fn of(face: &Rect) -> Self {
        let half = (face.width * HEAD.0 / 2.0, face.height * HEAD.1 / 2.0);
        Self { face: *face, center: face.center(), half }
    }

    /// Whether the point belongs rather to `own` than to this one.
    fn leaves(&self, at: Point, own: &Self) -> bool {
        self.distance(at) > own.distance(at) && (!self.face.holds(at) || own.face.holds(at))
    }

    /// 0 in its middle, 1 on its edge; not finite where it has no area.
    fn distance(&self, at: Point) -> f32 {
        let (x, y) = (at.x - self.center.x, at.y - self.center.y);
        (x / self.half.0).hypot(y / self.half.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Layout, PixelFormat, Range};

    const VIEW: HeadView = HeadView { side: 224, times: 1.6 };

    fn face(rect: Rect) -> Detection {
        Detection { rect, landmarks: [rect.center(); 5], score: 0.9 }
    }

    /// The head of the first of `faces` in a frame that is white all over, as whether the pixel at
    /// a point of the frame is shown.
    fn shown(faces: &[Rect]) -> impl Fn(f32, f32) -> bool + use<> {
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 640, 480).unwrap();
        let white = vec![255; layout.min_len()];
        let frame = Frame::new(layout, &white).unwrap();
        let faces: Vec<Detection> = faces.iter().copied().map(face).collect();
        let own = faces[0].rect;
        let head = VIEW.take(&frame, &own, InCompany { faces: &faces, own: 0 });
        assert_eq!(head.side(), 224);
        move |x, y| {
            let step = 1.6 * own.width.max(own.height) / 224.0;
            let at = |v: f32, middle: f32| ((v - middle) / step + 111.5).round() as usize;
            let (x, y) = (at(x, own.center().x), at(y, own.center().y));
            match head.rgb()[(y * 224 + x) * 3..][..3] {
                [255, 255, 255] => true,
                [GREY, GREY, GREY] => false,
                ref other => panic!("{other:?} at {x}, {y}"),
            }
        }
    }

    #[test]
    fn a_head_is_shown_with_its_hair_and_the_corners_are_blank() {
        let shown = shown(&[Rect::new(270.0, 180.0, 100.0, 120.0)]);
        for (x, y) in [(320.0, 240.0), (271.0, 181.0), (369.0, 299.0), (320.0, 150.0)] {
            assert!(shown(x, y), "{x}, {y}");
        }
        for (x, y) in [(226.0, 146.0), (414.0, 146.0), (226.0, 334.0), (414.0, 334.0)] {
            assert!(!shown(x, y), "{x}, {y}");
        }
    }

    #[test]
    fn a_face_beside_it_is_blank_to_its_last_pixel_though_it_cannot_be_compared() {
        let (own, near) =
            (Rect::new(270.0, 180.0, 100.0, 120.0), Rect::new(372.0, 200.0, 60.0, 70.0));
        assert!(shown(&[own])(385.0, 240.0), "in the ellipse, where nobody was found");
        let shown = shown(&[own, near]);
        for x in 373..394 {
            for y in 205..265 {
                assert!(!shown(x as f32, y as f32), "{x}, {y}");
            }
        }
        assert!(shown(320.0, 240.0) && shown(350.0, 240.0), "the face itself stays");
    }

    #[test]
    fn a_small_face_on_its_chest_and_a_large_one_behind_it_are_blank() {
        let (own, print) =
            (Rect::new(270.0, 180.0, 100.0, 120.0), Rect::new(305.0, 300.0, 24.0, 30.0));
        let with_print = shown(&[own, print]);
        assert!(!with_print(317.0, 315.0) && with_print(320.0, 240.0));
        let poster = Rect::new(100.0, 0.0, 300.0, 400.0);
        let with_poster = shown(&[own, poster]);
        assert!(with_poster(320.0, 240.0) && !with_poster(257.0, 220.0));
    }

    #[test]
    fn a_face_without_area_and_one_that_is_found_twice_show_nothing_at_all() {
        let (none, own) =
            (Rect::new(300.0, 200.0, 0.0, 0.0), Rect::new(270.0, 180.0, 100.0, 120.0));
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 640, 480).unwrap();
        let white = vec![255; layout.min_len()];
        let frame = Frame::new(layout, &white).unwrap();
        for faces in [[none, own], [own, own]] {
            let all = faces.map(face);
            let head = VIEW.take(&frame, &faces[0], InCompany { faces: &all, own: 0 });
            assert!(head.rgb().iter().all(|v| *v == GREY), "{faces:?}");
        }
    }

    #[test]
    fn beyond_the_edge_of_the_frame_there_is_nothing_of_anybody() {
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 100, 100).unwrap();
        let white = vec![255; layout.min_len()];
        let frame = Frame::new(layout, &white).unwrap();
        let own = face(Rect::new(-30.0, -30.0, 100.0, 120.0));
        let head = VIEW.take(&frame, &own.rect, InCompany { faces: &[own], own: 0 });
        assert_eq!(head.rgb()[(112 * 224 + 40) * 3], 0);
    }
}
