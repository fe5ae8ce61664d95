//! The detector's input: a frame shrunk or stretched into the left top of a canvas, straight from its native format.
//!
//! Shrinking weighs every source pixel by the area that it covers of the target (so that nothing aliases), stretching is
//! bilinear. The arithmetic is integer: the same frame gives the same canvas on every machine. The rest of the canvas is
//! black, as the detectors were trained.

use super::manifest::Channels;
use crate::frame::{Frame, Pixels, Visitor};
use crate::geometry::Point;

/// Where a frame lies in a canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fit {
    /// Width of the canvas.
    pub canvas_width: usize,
    /// Height of the canvas.
    pub canvas_height: usize,
    /// Width of the picture in it.
    pub width: usize,
    /// Height of the picture in it.
    pub height: usize,
    frame_width: usize,
    frame_height: usize,
}

impl Fit {
    /// Fits a frame so that its long side becomes `long_side`, but stretches it by `max_stretch` at most; the canvas's sides
    /// are multiples of `multiple`.
    pub fn new(frame: &Frame<'_>, long_side: usize, max_stretch: f32, multiple: usize) -> Self {
        let (w, h) = (frame.width(), frame.height());
        let scale = (long_side as f32 / w.max(h) as f32).min(max_stretch);
        let side = |s: usize| ((s as f32 * scale).round() as usize).clamp(1, long_side.max(1));
        let (width, height) = (side(w), side(h));
        let canvas = |s: usize| s.next_multiple_of(multiple.max(1));
        Self {
            canvas_width: canvas(width),
            canvas_height: canvas(height),
            width,
            height,
            frame_width: w,
            frame_height: h,
        }
    }

    /// Pixels of the frame a pixel of the canvas, across and down.
    pub fn scale(&self) -> (f32, f32) {
        (self.frame_width as f32 / self.width as f32, self.frame_height as f32 / self.height as f32)
    }

    /// The frame's point under the canvas's point `p`.
    pub fn to_frame(self, p: Point) -> Point {
        let (sx, sy) = self.scale();
        Point::new((p.x + 0.5) * sx - 0.5, (p.y + 0.5) * sy - 0.5)
    }
}

/// Fraction bits of a weight: those of one target pixel add up to `1 << WEIGHT`.
const WEIGHT: u32 = 14;
/// Fraction bits that a row keeps between the passes.
const KEEP: u32 = 7;

/// The source samples of one target sample along one axis.
#[derive(Debug, Clone, Copy)]
struct Tap {
    start: u32,
    count: u32,
    /// Where its weights begin in [`Axis::weights`].
    weights: u32,
}

/// One axis of a resize.
#[derive(Debug, Default)]
struct Axis {
    taps: Vec<Tap>,
    weights: Vec<u16>,
    /// Target samples are source samples.
    identity: bool,
}

impl Axis {
    fn set(&mut self, source: usize, target: usize) {
        self.taps.clear();
        self.weights.clear();
        self.identity = source == target;
        let scale = source as f64 / target as f64;
        for i in 0..target {
            // The stretch of the source that the target sample covers, at least one pixel wide: where it stretches, the
            // shares of that pixel-wide stretch are the bilinear weights.
            let centre = (i as f64 + 0.5) * scale;
            let width = scale.max(1.0);
            let from = centre - width / 2.0;
            let first = ((from + 1e-9).floor().max(0.0) as usize).min(source - 1);
            let last = ((from + width - 1e-9).ceil() as usize).clamp(first + 1, source) - 1;
            let weights = self.weights.len() as u32;
            // Differences of a rounded running sum add up to one exactly. The outermost pixels repeat beyond the border.
            let mut given = 0;
            for s in first..=last {
                let share = if s == last { 1.0 } else { ((s + 1) as f64 - from) / width };
                let sum = (share.clamp(0.0, 1.0) * f64::from(1 << WEIGHT)).round() as u16;
                self.weights.push(sum - given);
                given = sum;
            }
            self.taps.push(Tap { start: first as u32, count: (last - first + 1) as u32, weights });
        }
    }

    fn at(&self, i: usize) -> (usize, &[u16]) {
        let tap = self.taps[i];
        (tap.start as usize, &self.weights[tap.weights as usize..(tap.weights + tap.count) as usize])
    }
}

/// The canvas and the working memory that fills it; reused from frame to frame.
#[derive(Debug, Default)]
pub struct Letterbox {
    fit: Option<(Fit, Channels)>,
    across: Axis,
    down: Axis,
    /// The two source rows last shrunk, by source row, with [`KEEP`] fraction bits.
    rows: [Vec<u16>; 2],
    sum: Vec<u32>,
    canvas: Vec<u8>,
}

impl Letterbox {
    /// Fills the canvas from `frame`: `canvas_height * canvas_width * 3` bytes, pixel after pixel, in the order `channels`.
    pub fn fill(&mut self, frame: &Frame<'_>, fit: Fit, channels: Channels) -> &[u8] {
        if self.fit != Some((fit, channels)) {
            self.across.set(fit.frame_width, fit.width);
            self.down.set(fit.frame_height, fit.height);
            for row in &mut self.rows {
                row.clear();
                row.resize(fit.width * 3, 0);
            }
            self.sum.clear();
            self.sum.resize(fit.width * 3, 0);
            // What the picture does not cover is black and stays so.
            self.canvas.clear();
            self.canvas.resize(fit.canvas_width * fit.canvas_height * 3, 0);
            self.fit = Some((fit, channels));
        }
        match channels {
            Channels::Rgb => frame.read(Fill::<false> { boxed: self, fit }),
            Channels::Bgr => frame.read(Fill::<true> { boxed: self, fit }),
        }
        &self.canvas
    }
}

struct Fill<'a, const BGR: bool> {
    boxed: &'a mut Letterbox,
    fit: Fit,
}

impl<const BGR: bool> Fill<'_, BGR> {
    #[inline(always)]
    fn pixel<P: Pixels>(pixels: &P, x: usize, y: usize) -> [u8; 3] {
        let [r, g, b] = pixels.rgb(x, y);
        if BGR { [b, g, r] } else { [r, g, b] }
    }

    /// One source row resized across.
    fn row<P: Pixels>(pixels: &P, y: usize, axis: &Axis, row: &mut [u16]) {
        for (x, out) in row.chunks_exact_mut(3).enumerate() {
            let (start, weights) = axis.at(x);
            let mut sum = [0u32; 3];
            for (i, w) in weights.iter().enumerate() {
                let p = Self::pixel(pixels, start + i, y);
                for c in 0..3 {
                    sum[c] += u32::from(p[c]) * u32::from(*w);
                }
            }
            for c in 0..3 {
                out[c] = ((sum[c] + (1 << (WEIGHT - KEEP - 1))) >> (WEIGHT - KEEP)) as u16;
            }
        }
    }
}

impl<const BGR: bool> Visitor for Fill<'_, BGR> {
    type Output = ();

    fn visit<P: Pixels>(self, pixels: &P) {
        let Self { boxed, fit } = self;
        let Letterbox { across, down, rows, sum, canvas, .. } = boxed;
        let stride = fit.canvas_width * 3;
        if across.identity && down.identity {
            for (y, line) in canvas.chunks_exact_mut(stride).enumerate().take(fit.height) {
                for (x, out) in line.chunks_exact_mut(3).enumerate().take(fit.width) {
                    out.copy_from_slice(&Self::pixel(pixels, x, y));
                }
            }
            return;
        }
        // Neighbouring target rows share at most two source rows, and those are the last two that were read.
        let mut held = [usize::MAX; 2];
        for (y, line) in canvas.chunks_exact_mut(stride).enumerate().take(fit.height) {
            let (start, weights) = down.at(y);
            sum.fill(1 << (WEIGHT + KEEP - 1));
            for (i, w) in weights.iter().enumerate() {
                let source = start + i;
                let slot = source & 1;
                if held[slot] != source {
                    Self::row(pixels, source, across, &mut rows[slot]);
                    held[slot] = source;
                }
                for (s, v) in sum.iter_mut().zip(&rows[slot]) {
                    *s += u32::from(*v) * u32::from(*w);
                }
            }
            for (out, s) in line.iter_mut().zip(sum.iter()) {
                *out = (s >> (WEIGHT + KEEP)) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Layout, PixelFormat, Range};
    use proptest::prelude::*;

    fn rgb(width: u32, height: u32, f: impl Fn(u32, u32) -> [u8; 3]) -> (Layout, Vec<u8>) {
        let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, width, height).unwrap();
        (layout, (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| f(x, y)).collect())
    }

    fn fill(layout: Layout, data: &[u8], long_side: usize, stretch: f32) -> (Fit, Vec<u8>) {
        let frame = Frame::new(layout, data).unwrap();
        let fit = Fit::new(&frame, long_side, stretch, 32);
        (fit, Letterbox::default().fill(&frame, fit, Channels::Rgb).to_vec())
    }

    #[test]
    fn the_canvas_is_a_multiple_of_32_and_black_outside_the_picture() {
        let (layout, data) = rgb(50, 20, |_, _| [200, 100, 50]);
        let (fit, canvas) = fill(layout, &data, 50, 1.0);
        assert_eq!((fit.canvas_width, fit.canvas_height, fit.width, fit.height), (64, 32, 50, 20));
        for (i, p) in canvas.chunks_exact(3).enumerate() {
            let inside = i % 64 < 50 && i / 64 < 20;
            assert_eq!(p, if inside { [200, 100, 50] } else { [0; 3] });
        }
    }

    #[test]
    fn a_pattern_finer_than_the_canvas_becomes_its_mean_instead_of_aliasing() {
        let (layout, data) = rgb(320, 320, |x, y| [if (x + y) % 2 == 0 { 255 } else { 0 }; 3]);
        let (_, canvas) = fill(layout, &data, 80, 1.0);
        let picture = canvas.chunks_exact(96 * 3).take(80).flat_map(|row| &row[..80 * 3]);
        assert!(picture.into_iter().all(|v| (127..=128).contains(v)));
    }

    #[test]
    fn a_ramp_stays_a_ramp_whether_it_is_shrunk_or_stretched() {
        let (layout, data) = rgb(100, 4, |x, _| [(x * 2) as u8; 3]);
        for (long_side, stretch) in [(40, 1.0), (200, 2.0), (73, 1.0)] {
            let (fit, canvas) = fill(layout, &data, long_side, stretch);
            for x in 2..fit.width - 2 {
                let source = fit.to_frame(Point::new(x as f32, 0.0)).x;
                assert!((f32::from(canvas[x * 3]) - 2.0 * source).abs() < 1.6, "{long_side}: {x} {source}");
            }
        }
    }

    #[test]
    fn a_small_picture_is_stretched_no_further_than_allowed() {
        let (layout, data) = rgb(100, 60, |_, _| [9; 3]);
        let frame = Frame::new(layout, &data).unwrap();
        assert_eq!(Fit::new(&frame, 640, 1.5, 32).width, 150);
        assert_eq!(Fit::new(&frame, 640, 1.0, 32).width, 100);
    }

    #[test]
    fn the_canvas_has_the_order_of_channels_that_was_asked_for() {
        let (layout, data) = rgb(8, 8, |_, _| [1, 2, 3]);
        let frame = Frame::new(layout, &data).unwrap();
        let fit = Fit::new(&frame, 8, 1.0, 32);
        let mut boxed = Letterbox::default();
        assert_eq!(boxed.fill(&frame, fit, Channels::Bgr)[..3], [3, 2, 1]);
        assert_eq!(boxed.fill(&frame, fit, Channels::Rgb)[..3], [1, 2, 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_size_and_format_keeps_a_flat_colour_flat(
            w in 1u32..300, h in 1u32..300, long_side in 1usize..200, stretch in 1.0f32..3.0, format in 0usize..6, code in 20u8..230,
        ) {
            let format = PixelFormat::ALL[format];
            let layout = Layout::packed(format, Range::Full, w, h).unwrap();
            let data = vec![code; layout.min_len()];
            let frame = Frame::new(layout, &data).unwrap();
            struct First;
            impl Visitor for First {
                type Output = [u8; 3];
                fn visit<P: Pixels>(self, p: &P) -> [u8; 3] {
                    p.rgb(0, 0)
                }
            }
            let want = frame.read(First);
            let (fit, canvas) = fill(layout, &data, long_side, stretch);
            for y in 0..fit.height {
                for x in 0..fit.width {
                    let at = (y * fit.canvas_width + x) * 3;
                    for c in 0..3 {
                        prop_assert!(canvas[at + c].abs_diff(want[c]) <= 1);
                    }
                }
            }
        }
    }
}
