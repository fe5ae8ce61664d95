//! Parts of the picture that nobody looks at: a neighbour's window, a playground, a screen that
//! shows faces.
//!
//! Promises:
//! * Every pixel that a zone touches is grey before anything sees the frame: the detector, the
//!   crop of an event, a measurement.
//! * A zone belongs to the picture and not to its size: corners are shares of width and height.
//! * It belongs to the upright picture, as people see it, however the camera hangs.
//! * A zone that is no area is refused when the configuration is read; none is left out silently.
//!
//! Not promised:
//! * That somebody half inside a zone is not seen: the other half is looked at.
//! * That the driver's buffer is grey; it is overwritten by the next frames.

use serde::{Deserialize, Serialize};

use super::problem;
use crate::frame::Layout;
use crate::geometry::Orientation;
use crate::problem::Problem;

/// Most zones, and most corners of each: more than a picture needs, few enough to go through for
/// each row.
const MOST_ZONES: usize = 32;
const MOST_CORNERS: usize = 64;

/// A polygon; its corners are shares of the upright picture's width and height, 0 to 1, from its
/// left top.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zone {
    corners: Vec<[f32; 2]>,
}

impl Zone {
    /// The same part of the picture, in shares of the native one.
    fn native(&self, orientation: Orientation) -> Self {
        Self { corners: self.corners.iter().map(|c| orientation.native_share(*c)).collect() }
    }

    /// The part of the pixels' row `row` of `height` that the zone touches, as stretches in pixels.
    fn stretches(&self, row: usize, (width, height): (usize, usize), out: &mut Vec<[f32; 2]>) {
        let scaled = |[x, y]: [f32; 2]| [x * width as f32, y * height as f32];
        let (top, bottom) = (row as f32, row as f32 + 1.0);
        let middle = top + 0.5;
        let mut crossings: Vec<f32> = Vec::new();
        let next = self.corners.iter().cycle().skip(1);
        for (a, b) in self.corners.iter().zip(next) {
            let ([ax, ay], [bx, by]) = (scaled(*a), scaled(*b));
            let at = |y: f32| if ay == by { ax } else { ax + (bx - ax) * (y - ay) / (by - ay) };
            let (low, high) = (ay.min(by), ay.max(by));
            // What an edge itself touches of the row.
            if low < bottom && high > top {
                let (from, to) = (at(low.max(top)), at(high.min(bottom)));
                out.push([from.min(to), from.max(to)]);
            }
            if low == high && low > top && low < bottom {
                out.push([ax.min(bx), ax.max(bx)]);
            }
            // What lies between two edges, along the row's middle.
            if low <= middle && middle < high {
                crossings.push(at(middle));
            }
        }
        crossings.sort_by(f32::total_cmp);
        out.extend(crossings.as_chunks::<2>().0);
    }
}

/// All zones, ready for pictures of one layout.
#[derive(Debug, Default)]
pub struct Zones {
    /// Of the native picture.
    zones: Vec<Zone>,
    ready: Option<(Layout, Vec<BlankRun>)>,
}

/// Neighbouring pixels of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BlankRun {
    row: usize,
    columns: std::ops::Range<usize>,
}

impl Zones {
    /// The zones of the configuration, of pictures that are turned like this.
    pub fn new(zones: &[Zone], orientation: Orientation) -> Self {
        Self { zones: zones.iter().map(|zone| zone.native(orientation)).collect(), ready: None }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// Makes all zones grey in the buffer `data` of `layout`. Only another layout allocates.
    ///
    /// # Panics
    /// Where `data` is shorter than the layout needs: the caller's mistake.
    pub fn blank(&mut self, layout: &Layout, data: &mut [u8]) {
        if self.ready.as_ref().is_none_or(|(ready, _)| ready != layout) {
            self.ready = Some((*layout, self.runs(layout)));
        }
        let (_, runs) = self.ready.as_ref().expect("made above");
        for run in runs {
            layout.blank(data, run.row, run.columns.clone());
        }
    }

    fn runs(&self, layout: &Layout) -> Vec<BlankRun> {
        let (width, height) = (layout.width() as usize, layout.height() as usize);
        let mut runs = Vec::new();
        let mut stretches = Vec::new();
        for row in 0..height {
            stretches.clear();
            for zone in &self.zones {
                zone.stretches(row, (width, height), &mut stretches);
            }
            let pixels = stretches.iter().map(|[from, to]| {
                // Saturating casts: corners lie within the picture, rounding may not.
                let from = from.floor().max(0.0) as usize;
                from.min(width)..(to.ceil().max(0.0) as usize).min(width)
            });
            runs.extend(pixels.filter(|p| !p.is_empty()).map(|columns| BlankRun { row, columns }));
        }
        runs
    }
}

/// What is wrong with the zones of a configuration.
pub(super) fn problems(zones: &[Zone], out: &mut Vec<Problem>) {
    let mut wrong = |what: String, remedy: &str| {
        out.push(problem(setting!(source.zones), what, remedy));
    };
    if zones.len() > MOST_ZONES {
        wrong(format!("{} zones", zones.len()), &format!("Write at most {MOST_ZONES}."));
    }
    for (number, Zone { corners }) in zones.iter().enumerate() {
        let number = number + 1;
        if !(3..=MOST_CORNERS).contains(&corners.len()) {
            wrong(
                format!("{} corners in zone {number}", corners.len()),
                &format!("Write 3 to {MOST_CORNERS} corners, as [x, y]."),
            );
        }
        if let Some(corner) = corners.iter().flatten().find(|v| !(0.0..=1.0).contains(*v)) {
            wrong(
                format!("{corner} in zone {number}"),
                "Write shares of the picture's width and height, 0 to 1 from its left top.",
            );
        }
        let next = corners.iter().cycle().skip(1);
        let twice: f32 = corners.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
        if corners.len() >= 3 && twice == 0.0 {
            wrong(
                format!("zone {number}, which has no area"),
                "Write its corners in the order in which they follow each other.",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Frame, PixelFormat, Pixels, Range, Visitor};

    fn zone(corners: &[[f32; 2]]) -> Zone {
        Zone { corners: corners.to_vec() }
    }

    /// Which pixels of a picture are grey after it was white.
    fn grey(zones: &[Zone], width: u32, height: u32) -> Vec<Vec<bool>> {
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, width, height).unwrap();
        let mut data = vec![255; layout.min_len()];
        Zones::new(zones, Orientation::NATIVE).blank(&layout, &mut data);
        data.chunks(width as usize).map(|row| row.iter().map(|p| *p == 128).collect()).collect()
    }

    struct Luma(usize, usize);
    impl Visitor for Luma {
        type Output = u8;
        fn visit<P: Pixels>(self, pixels: &P) -> u8 {
            pixels.luma(self.0, self.1)
        }
    }

    #[test]
    fn a_zone_covers_every_pixel_that_it_touches_at_any_size() {
        let quarter = [zone(&[[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]])];
        for (width, height) in [(4, 4), (5, 5), (640, 480)] {
            let grey = grey(&quarter, width, height);
            for (y, row) in grey.iter().enumerate() {
                for (x, is_grey) in row.iter().enumerate() {
                    let inside = 2 * x < width as usize && 2 * y < height as usize;
                    // The pixel in the middle of an odd side is touched.
                    assert_eq!(*is_grey, inside, "{x}, {y} of {width}x{height}");
                }
            }
        }
    }

    #[test]
    fn a_thin_zone_between_two_rows_of_pixels_is_not_lost() {
        let sliver = [zone(&[[0.1, 0.26], [0.9, 0.26], [0.9, 0.27], [0.1, 0.27]])];
        let grey = grey(&sliver, 10, 4);
        assert_eq!(grey[1].iter().filter(|g| **g).count(), 8, "{grey:?}");
    }

    #[test]
    fn the_next_size_has_zones_of_its_own() {
        let whole = [zone(&[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])];
        let mut zones = Zones::new(&whole, Orientation::NATIVE);
        for (width, height) in [(8, 8), (4, 2)] {
            let layout = Layout::packed(PixelFormat::Nv12, Range::Full, width, height).unwrap();
            let mut data = vec![7; layout.min_len()];
            zones.blank(&layout, &mut data);
            assert!(data.iter().all(|b| *b == 128), "{width}x{height}");
        }
    }

    #[test]
    fn what_is_no_area_is_refused_with_what_to_write() {
        let refused = |zones: &[Zone]| {
            let mut out = Vec::new();
            problems(zones, &mut out);
            out.iter().map(|p| format!("{p:?}")).collect::<Vec<_>>().join(" ")
        };
        let square = zone(&[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]);
        assert_eq!(refused(std::slice::from_ref(&square)), "");
        assert!(refused(&[zone(&[[0.0, 0.0], [1.0, 1.0]])]).contains("2 corners in zone 1"));
        assert!(refused(&[zone(&[[0.0, 0.0], [640.0, 0.0], [0.0, 1.0]])]).contains("shares"));
        assert!(refused(&[zone(&[[0.0, 0.0], [f32::NAN, 0.0], [0.0, 1.0]])]).contains("shares"));
        assert!(refused(&[zone(&[[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]])]).contains("no area"));
        assert!(refused(&vec![square; 33]).contains("33 zones"));
    }

    proptest! {
        #[test]
        fn every_pixel_that_people_see_in_a_triangle_is_grey_and_none_far_from_it(
            corners in prop::collection::vec(prop::array::uniform2(0f32..=1.0), 3),
            (width, height) in (1u32..40, 1u32..40),
            orientation in prop::sample::select(Orientation::all().collect::<Vec<_>>()),
        ) {
            let layout = Layout::packed(PixelFormat::Yuyv, Range::Full, width, height).unwrap();
            let mut data = vec![255; layout.min_len()];
            Zones::new(&[zone(&corners)], orientation).blank(&layout, &mut data);
            let frame = Frame::new(layout, &data).unwrap().oriented(orientation);
            let (width, height) = (frame.width(), frame.height());
            // Pixels share bytes with one neighbour.
            let reach = |axis: usize, side: usize| {
                let all = corners.iter().map(|c| c[axis] * side as f32);
                let (least, most) = all.fold((f32::MAX, 0f32), |(a, b), v| (a.min(v), b.max(v)));
                least - 3.0..most + 2.0
            };
            let (columns, rows) = (reach(0, width), reach(1, height));
            let side = |a: [f32; 2], b: [f32; 2], p: [f32; 2]| {
                (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])
            };
            for y in 0..height {
                for x in 0..width {
                    if !columns.contains(&(x as f32)) || !rows.contains(&(y as f32)) {
                        prop_assert_eq!(frame.read(Luma(x, y)), 255, "{} {}", x, y);
                    }
                    let p =
                        [(x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32];
                    let sides: Vec<f32> =
                        (0..3).map(|i| side(corners[i], corners[(i + 1) % 3], p)).collect();
                    // Nearer to an edge than rounding reaches, either answer is right.
                    let inside =
                        sides.iter().all(|s| *s > 1e-4) || sides.iter().all(|s| *s < -1e-4);
                    if inside {
                        prop_assert_eq!(frame.read(Luma(x, y)), 128, "{} {}", x, y);
                    }
                }
            }
        }
    }
}
