//! Single pixels of any format: brightness, and red, green, blue.

use super::{Frame, Layout};
use crate::kernels::pixels::{Range, full_luma, rgb_luma, ycc_to_rgb};

/// Reads single pixels. `x` and `y` lie inside the frame; a reader panics (never reads wild) where
/// they do not.
pub trait Pixels {
    /// Brightness, 0 to 255, full range.
    fn luma(&self, x: usize, y: usize) -> u8;
    /// Red, green, blue, 0 to 255.
    fn rgb(&self, x: usize, y: usize) -> [u8; 3];
}

/// Code that is compiled once for each pixel format.
pub trait Visitor {
    /// What it returns.
    type Output;
    /// Does the work.
    fn visit<P: Pixels>(self, pixels: &P) -> Self::Output;
}

pub(super) struct Grey<'a> {
    pub(super) data: &'a [u8],
    pub(super) stride: usize,
    pub(super) range: Range,
}

impl Pixels for Grey<'_> {
    #[inline(always)]
    fn luma(&self, x: usize, y: usize) -> u8 {
        full_luma(self.range, self.data[y * self.stride + x])
    }
    #[inline(always)]
    fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        [self.luma(x, y); 3]
    }
}

pub(super) struct Yuyv<'a> {
    pub(super) data: &'a [u8],
    pub(super) stride: usize,
    pub(super) range: Range,
}

impl Pixels for Yuyv<'_> {
    #[inline(always)]
    fn luma(&self, x: usize, y: usize) -> u8 {
        full_luma(self.range, self.data[y * self.stride + x * 2])
    }
    #[inline(always)]
    fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let pair = y * self.stride + (x & !1) * 2;
        ycc_to_rgb(
            self.range,
            self.data[pair + (x & 1) * 2],
            self.data[pair + 1],
            self.data[pair + 3],
        )
    }
}

/// NV12 (`STEP` 2: chroma samples interleaved) and I420 (`STEP` 1).
pub(super) struct Planar<'a, const STEP: usize> {
    pub(super) data: &'a [u8],
    pub(super) layout: &'a Layout,
}

impl<const STEP: usize> Pixels for Planar<'_, STEP> {
    #[inline(always)]
    fn luma(&self, x: usize, y: usize) -> u8 {
        full_luma(self.layout.range, self.data[y * self.layout.stride + x])
    }
    #[inline(always)]
    fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y / 2) * self.layout.chroma_stride + (x / 2) * STEP;
        let [cb, cr] = self.layout.chroma;
        ycc_to_rgb(
            self.layout.range,
            self.data[y * self.layout.stride + x],
            self.data[cb + at],
            self.data[cr + at],
        )
    }
}

pub(super) struct Ycc444<'a> {
    pub(super) data: &'a [u8],
    pub(super) stride: usize,
    pub(super) range: Range,
}

impl Pixels for Ycc444<'_> {
    #[inline(always)]
    fn luma(&self, x: usize, y: usize) -> u8 {
        full_luma(self.range, self.data[y * self.stride + x * 3])
    }
    #[inline(always)]
    fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let at = y * self.stride + x * 3;
        let p = &self.data[at..at + 3];
        ycc_to_rgb(self.range, p[0], p[1], p[2])
    }
}

pub(super) struct Rgb8<'a> {
    pub(super) data: &'a [u8],
    pub(super) stride: usize,
}

impl Pixels for Rgb8<'_> {
    #[inline(always)]
    fn luma(&self, x: usize, y: usize) -> u8 {
        rgb_luma(self.rgb(x, y))
    }
    #[inline(always)]
    fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let at = y * self.stride + x * 3;
        let p = &self.data[at..at + 3];
        [p[0], p[1], p[2]]
    }
}

/// Any format and any field, through the line that holds the pixel.
pub(super) struct AnyLine<'a>(pub(super) Frame<'a>);

impl Pixels for AnyLine<'_> {
    #[inline(always)]
    fn luma(&self, x: usize, y: usize) -> u8 {
        self.0.line(y, x & !1..x + 1).luma(x & 1, self.0.layout.range)
    }
    #[inline(always)]
    fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        self.0.line(y, x & !1..x + 1).rgb(x & 1, self.0.layout.range)
    }
}

/// Any format and any field of a picture that is turned or mirrored.
pub(super) struct Oriented<'a>(pub(super) Frame<'a>);

impl<'a> Oriented<'a> {
    /// The native picture, and where in it the pixel is.
    #[inline(always)]
    fn native(&self, x: usize, y: usize) -> (AnyLine<'a>, (usize, usize)) {
        let Self(frame) = *self;
        (AnyLine(frame), frame.orientation.native((x, y), frame.native_size()))
    }
}

impl Pixels for Oriented<'_> {
    #[inline(always)]
    fn luma(&self, x: usize, y: usize) -> u8 {
        let (native, (x, y)) = self.native(x, y);
        native.luma(x, y)
    }
    #[inline(always)]
    fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let (native, (x, y)) = self.native(x, y);
        native.rgb(x, y)
    }
}
