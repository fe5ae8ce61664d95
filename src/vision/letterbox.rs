//! The detector's input: a frame shrunk or stretched into the left top of a canvas, straight from
//! its native format.
//!
//! Shrinking weighs every source pixel by the area that it covers of the target (so that nothing
//! aliases), stretching is bilinear. The arithmetic is integer: the same frame gives the same
//! canvas on every machine ([`pixels`](crate::kernels::pixels) has it, and its SIMD forms). The
//! rest of the canvas is black, as the detectors were trained. Rows go through one after the other:
//! there is never more of the frame in pixels than the few rows that make a row of the canvas, and
//! of a frame that lies on its side a band of [`BAND`] rows.

use super::manifest::Channels;
use crate::frame::Frame;
use crate::geometry::{Axes, Orientation, Point};
use crate::kernels::pixels::{PixelKernels, Rgbx, RingRows, Taps, Wide};
use crate::locked::wipe;

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
    /// Fits a frame so that its long side becomes `long_side`, but stretches it by `max_stretch` at
    /// most; the canvas's sides are multiples of `multiple`.
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

/// Rows that are read at once of a frame whose rows are columns in memory: so many lie in two cache
/// lines there. Half as many take a fourth longer.
const BAND: usize = 128;
/// As [`BAND`], of a frame whose rows lie in memory from the bottom: read in its order, which the
/// processor expects.
const REVERSED_BAND: usize = 16;

/// The rows of a frame in pixels, a band at a time.
#[derive(Default)]
struct Band {
    /// Row after row, `stride` pixels apart.
    pixels: Vec<Rgbx>,
    stride: usize,
    rows: usize,
    /// Row of the frame that is the first here, and how many there are.
    first: usize,
    held: usize,
}

impl Band {
    /// Makes room for rows of `stride` pixels of frames that are turned like this.
    fn prepare(&mut self, orientation: Orientation, stride: usize) {
        self.rows = match orientation.axes() {
            Axes { swapped: true, .. } => BAND,
            Axes { rows_reversed: true, .. } => REVERSED_BAND,
            _ => 1,
        };
        self.stride = stride;
        self.pixels.clear();
        self.pixels.resize(self.rows * stride, [0; 4]);
        self.forget();
    }

    /// The rows are those of another frame from now on.
    fn forget(&mut self) {
        self.held = 0;
    }

    /// The row `y` of `frame`, and after it what does not count. Rows are asked for from the top.
    fn row(&mut self, kernels: &dyn PixelKernels, frame: &Frame<'_>, y: usize) -> &[Rgbx] {
        if !(self.first..self.first + self.held).contains(&y) {
            (self.first, self.held) = (y, self.rows.min(frame.height() - y));
            let rows = y..y + self.held;
            frame.block(kernels, 0..frame.width(), rows, &mut self.pixels, self.stride);
        }
        &self.pixels[(y - self.first) * self.stride..][..self.stride]
    }
}

/// The canvas and the working memory that fills it; reused from frame to frame, so that only
/// another size allocates.
pub struct Letterbox {
    kernels: &'static dyn PixelKernels,
    prepared: Option<(Fit, Channels, Orientation)>,
    across: Taps,
    down: Taps,
    /// Source rows in pixels.
    band: Band,
    /// The latest source rows, resized across.
    rows: Vec<Wide>,
    /// One row of the canvas.
    row: Vec<Rgbx>,
    canvas: Vec<u8>,
}

impl Letterbox {
    /// With the kernels given.
    pub fn new(kernels: &'static dyn PixelKernels) -> Self {
        Self {
            kernels,
            prepared: None,
            across: Taps::default(),
            down: Taps::default(),
            band: Band::default(),
            rows: Vec::new(),
            row: Vec::new(),
            canvas: Vec::new(),
        }
    }

    /// Fills the canvas from `frame`: `canvas_height * canvas_width * 3` bytes, pixel after pixel,
    /// in the order `channels`.
    pub fn fill(&mut self, frame: &Frame<'_>, fit: Fit, channels: Channels) -> &[u8] {
        let now = Some((fit, channels, frame.orientation()));
        if self.prepared != now {
            self.prepare(fit, frame.orientation());
            self.prepared = now;
        }
        let Self { kernels, across, down, band, rows, row, canvas, .. } = self;
        let kernels = *kernels;
        let (width, bgr) = (fit.width, channels == Channels::Bgr);
        let lines = canvas.chunks_exact_mut(fit.canvas_width * 3).take(fit.height);
        band.forget();
        if across.identity() && down.identity() {
            for (y, out) in lines.enumerate() {
                let line = band.row(kernels, frame, y);
                kernels.pack(bgr, &line[..width], &mut out[..width * 3]);
            }
            return &self.canvas;
        }
        let slots = down.most();
        // The source row that is resized next. Those of a target row follow those of the one above,
        // or are among them.
        let mut next = 0;
        for (y, out) in lines.enumerate() {
            let (first, weights) = down.at(y);
            for source in next.max(first)..first + weights.len() {
                let line = band.row(kernels, frame, source);
                kernels.across(across, line, &mut rows[source % slots * width..][..width]);
            }
            next = first + weights.len();
            kernels.down(&RingRows { pixels: rows, width }, first, weights, row);
            kernels.pack(bgr, row, &mut out[..width * 3]);
        }
        &self.canvas
    }

    /// Wipes the frame that the canvas was filled from; what it does not cover stays black.
    pub fn wipe(&mut self) {
        wipe(&mut self.band.pixels);
        wipe(&mut self.row);
        wipe(self.rows.as_flattened_mut());
        wipe(&mut self.canvas);
    }

    fn prepare(&mut self, fit: Fit, orientation: Orientation) {
        self.across.set(fit.frame_width, fit.width);
        self.down.set(fit.frame_height, fit.height);
        self.band.prepare(orientation, self.across.padded());
        self.row.clear();
        self.row.resize(fit.width, [0; 4]);
        self.rows.clear();
        self.rows.resize(self.down.most() * fit.width, [0; 4]);
        // What the picture does not cover is black and stays so.
        self.canvas.clear();
        self.canvas.resize(fit.canvas_width * fit.canvas_height * 3, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::fixture::{noisy, turned_copy};
    use crate::frame::{Layout, PixelFormat, Pixels, Range, Visitor};
    use crate::kernels::pixels::{KEEP, WEIGHT, available, in_use};
    use proptest::prelude::*;

    /// The canvas by its definition: one pixel after the other, from single samples.
    struct Definition(Fit, Channels);

    impl Visitor for Definition {
        type Output = Vec<u8>;
        fn visit<P: Pixels>(self, pixels: &P) -> Vec<u8> {
            let Self(fit, channels) = self;
            let (mut across, mut down) = (Taps::default(), Taps::default());
            across.set(fit.frame_width, fit.width);
            down.set(fit.frame_height, fit.height);
            let round = |sum: u32, bits: u32| (sum + (1 << (bits - 1))) >> bits;
            let mut canvas = vec![0; fit.canvas_width * fit.canvas_height * 3];
            for (y, x) in (0..fit.height).flat_map(|y| (0..fit.width).map(move |x| (y, x))) {
                let (left, columns) = across.at(x);
                let (top, rows) = down.at(y);
                let mut sum = [0; 3];
                for (j, weight) in rows.iter().enumerate() {
                    let mut row = [0; 3];
                    for (i, weight) in columns.iter().enumerate() {
                        let rgb = pixels.rgb(left + i, top + j);
                        (0..3).for_each(|c| row[c] += u32::from(rgb[c]) * u32::from(*weight));
                    }
                    (0..3)
                        .for_each(|c| sum[c] += round(row[c], WEIGHT - KEEP) * u32::from(*weight));
                }
                let [r, g, b] = sum.map(|s| round(s, WEIGHT + KEEP) as u8);
                let pixel = if channels == Channels::Bgr { [b, g, r] } else { [r, g, b] };
                canvas[(y * fit.canvas_width + x) * 3..][..3].copy_from_slice(&pixel);
            }
            canvas
        }
    }

    fn rgb(width: u32, height: u32, f: impl Fn(u32, u32) -> [u8; 3]) -> (Layout, Vec<u8>) {
        let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, width, height).unwrap();
        (
            layout,
            (0..height)
                .flat_map(|y| (0..width).map(move |x| (x, y)))
                .flat_map(|(x, y)| f(x, y))
                .collect(),
        )
    }

    fn fill(layout: Layout, data: &[u8], long_side: usize, stretch: f32) -> (Fit, Vec<u8>) {
        let frame = Frame::new(layout, data).unwrap();
        let fit = Fit::new(&frame, long_side, stretch, 32);
        (fit, Letterbox::new(in_use()).fill(&frame, fit, Channels::Rgb).to_vec())
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
                assert!(
                    (f32::from(canvas[x * 3]) - 2.0 * source).abs() < 1.6,
                    "{long_side}: {x} {source}"
                );
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
        let mut boxed = Letterbox::new(in_use());
        assert_eq!(boxed.fill(&frame, fit, Channels::Bgr)[..3], [3, 2, 1]);
        assert_eq!(boxed.fill(&frame, fit, Channels::Rgb)[..3], [1, 2, 3]);
    }

    #[test]
    fn the_canvas_is_what_its_definition_says_for_extreme_shapes() {
        for (w, h, long_side) in [
            (1, 1, 640),
            (17, 4001, 640),
            (1, 4001, 640),
            (4001, 17, 640),
            (16_384, 2, 64),
            (3, 16_384, 96),
            (640, 480, 640),
        ] {
            for format in PixelFormat::ALL {
                let layout = Layout::packed(format, Range::Limited, w, h).unwrap();
                let data: Vec<u8> = (0..layout.min_len()).map(|i| ((i * i) >> 3) as u8).collect();
                let frame = Frame::new(layout, &data).unwrap();
                let fit = Fit::new(&frame, long_side, 1.0, 32);
                let want = frame.read(Definition(fit, Channels::Bgr));
                for kernels in available() {
                    let mut boxed = Letterbox::new(kernels);
                    assert!(
                        boxed.fill(&frame, fit, Channels::Bgr) == want,
                        "{} {format} {w}x{h}",
                        kernels.set()
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_canvas_is_what_its_definition_says(
            (w, h, pad) in (1u32..200, 1u32..120, 0usize..40),
            long_side in 1usize..200,
            stretch in 1.0f32..3.0,
            format in 0usize..6,
            full: bool,
            bgr: bool,
            seed: u32,
            extreme: bool,
        ) {
            let (layout, data) = noisy((w, h, pad), (format, full), (seed, extreme));
            let frame = Frame::new(layout, &data).unwrap();
            let fit = Fit::new(&frame, long_side, stretch, 32);
            let channels = if bgr { Channels::Bgr } else { Channels::Rgb };
            let want = frame.read(Definition(fit, channels));
            for kernels in available() {
                let mut boxed = Letterbox::new(kernels);
                // Twice: nothing may stay of the first.
                for _ in 0..2 {
                    prop_assert!(boxed.fill(&frame, fit, channels) == want, "{}", kernels.set());
                }
            }
        }

        #[test]
        fn the_canvas_of_a_turned_frame_is_that_of_a_copy_that_was_turned(
            (w, h, pad) in (1u32..200, 1u32..150, 0usize..40),
            long_side in 1usize..200,
            stretch in 1.0f32..3.0,
            format in 0..PixelFormat::ALL.len(),
            full: bool,
            seed: u32,
        ) {
            let (layout, data) = noisy((w, h, pad), (format, full), (seed, false));
            let native = Frame::new(layout, &data).unwrap();
            let negative: Vec<u8> = data.iter().map(|byte| !byte).collect();
            let before = Frame::new(layout, &negative).unwrap();
            for kernels in available() {
                // One letterbox for all: nothing may stay of the orientation before, nor of the
                // frame before.
                let mut boxed = Letterbox::new(kernels);
                for orientation in Orientation::all() {
                    let (turned, copy) = turned_copy(&native, orientation);
                    let copy = Frame::new(turned, &copy).unwrap();
                    let fit = Fit::new(&copy, long_side, stretch, 32);
                    let frame = native.oriented(orientation);
                    prop_assert_eq!(Fit::new(&frame, long_side, stretch, 32), fit);
                    let want = Letterbox::new(kernels).fill(&copy, fit, Channels::Rgb).to_vec();
                    boxed.fill(&before.oriented(orientation), fit, Channels::Rgb);
                    let got = boxed.fill(&frame, fit, Channels::Rgb);
                    prop_assert!(got == want, "{} {:?}", kernels.set(), orientation);
                }
            }
        }

        #[test]
        fn any_size_and_format_keeps_a_flat_colour_flat(
            w in 1u32..300,
            h in 1u32..300,
            long_side in 1usize..200,
            stretch in 1.0f32..3.0,
            format in 0usize..6,
            code in 20u8..230,
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
