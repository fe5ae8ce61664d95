//! A frame as the camera gave it, and how its pixels are read.
//!
//! * A [`Layout`] says where the samples of a picture are in a buffer.
//! * A [`Frame`] is a layout with a buffer that is long enough for it, checked once.
//! * Pixels are read straight from the native format, one by one through [`Pixels`], as a
//!   [`SampleLine`] of neighbours, or block by block ([`Frame::block`]). There is no full-frame
//!   conversion to RGB.
//! * Of an interlaced picture one field is read ([`Scan`]).
//! * A frame may be turned and mirrored ([`Frame::oriented`]): nothing is copied, and size, pixels
//!   and blocks are those of the upright picture. Only [`Frame::layout`] and [`Frame::line`] are
//!   about the buffer.
//!
//! Not promised: scaling, or any format in which a pixel is not there yet (JPEG, raw Bayer).

mod block;
mod format;
mod layout;
mod pixels;

use std::fmt;
use std::ops;

pub use self::format::PixelFormat;
pub use self::layout::{Layout, PlaneRows, Scan};
use self::pixels::{AnyLine, Grey, Oriented, Planar, Rgb8, Ycc444, Yuyv};
pub use self::pixels::{Pixels, Visitor};
use crate::geometry::Orientation;
use crate::kernels::pixels::{OtherLine, PackedOrder};
pub use crate::kernels::pixels::{Range, SampleLine, ycc_to_rgb};

/// Longest side that a frame may have, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// Why a layout or a buffer is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum FrameError {
    /// Zero or beyond [`MAX_SIDE`].
    #[error("a picture of {width}x{height}: each side must be 1 to {MAX_SIDE} pixels")]
    Size {
        /// As announced.
        width: u32,
        /// As announced.
        height: u32,
    },
    /// The announced distance between rows is less than a row.
    #[error("rows of {format} at {width} px need {need} bytes, but the stride is {stride}")]
    Stride {
        /// Format.
        format: PixelFormat,
        /// Width in pixels.
        width: u32,
        /// As announced, bytes.
        stride: usize,
        /// Bytes a row holds.
        need: usize,
    },
    /// Fewer bytes than the layout needs.
    #[error("a {width}x{height} {format} frame needs {need} bytes, got {got}")]
    Short {
        /// Format.
        format: PixelFormat,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        got: usize,
    },
}

/// A layout over a buffer that is long enough for it, and which way up the picture is.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    layout: Layout,
    data: &'a [u8],
    orientation: Orientation,
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} {}x{})", self.layout.format, self.width(), self.height())
    }
}

impl<'a> Frame<'a> {
    /// Pairs `layout` with the buffer it describes.
    ///
    /// # Errors
    /// [`FrameError::Short`] where `data` is shorter than announced.
    pub fn new(layout: Layout, data: &'a [u8]) -> Result<Self, FrameError> {
        if data.len() < layout.len {
            return Err(FrameError::Short {
                format: layout.format,
                width: layout.width,
                height: layout.height,
                need: layout.len,
                got: data.len(),
            });
        }
        Ok(Self { layout, data, orientation: Orientation::NATIVE })
    }

    /// The same buffer, seen with another orientation.
    #[must_use]
    pub fn oriented(self, orientation: Orientation) -> Self {
        Self { orientation, ..self }
    }

    /// How the picture in the buffer is turned and mirrored to stand upright.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Where the samples are in the buffer. Its width and height are those of the picture before it
    /// is turned.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Width in pixels of the upright picture, at least 1.
    pub fn width(&self) -> usize {
        self.orientation.size(self.native_size()).0
    }

    /// Height in pixels of the upright picture, at least 1.
    pub fn height(&self) -> usize {
        self.orientation.size(self.native_size()).1
    }

    /// Width and height in pixels of the picture in the buffer.
    fn native_size(&self) -> (usize, usize) {
        (self.layout.width as usize, self.layout.height as usize)
    }

    /// The samples of the pixels `columns` of row `row` of the picture in the buffer, before it is
    /// turned. Begins at an even column, where two neighbours may share chroma.
    ///
    /// # Panics
    /// Where `columns` begin at an odd column or a pixel lies outside the picture.
    pub fn line(&self, row: usize, columns: ops::Range<usize>) -> SampleLine<'a> {
        let (data, l) = (self.data, &self.layout);
        let (from, pixels) = (columns.start, columns.len());
        let (width, height) = self.native_size();
        assert!(from.is_multiple_of(2) && columns.end <= width && row < height);
        let samples = |at: usize, len: usize| &data[at..at + len];
        let (luma_row, chroma_row) = l.rows(row);
        let (first, shared) = (luma_row * l.stride, chroma_row * l.chroma_stride);
        let pairs = pixels.div_ceil(2);
        let luma = || samples(first + from, pixels);
        let four = || samples(first + from * 2, pairs * 4);
        // Cb and Cr in turn begin with whichever comes first.
        let interleaved = |from, len| samples(l.chroma[0].min(l.chroma[1]) + shared + from, len);
        if let Some(deep) = l.format.deep() {
            let row = samples(first, deep.bytes(width));
            return SampleLine::Other(OtherLine::Deep { luma: deep, row, from });
        }
        let packed = |order| SampleLine::Other(OtherLine::Packed { order, all: four() });
        match l.format {
            PixelFormat::Yuyv => SampleLine::Yuyv(four()),
            PixelFormat::Uyvy => packed(PackedOrder::Uyvy),
            PixelFormat::Yvyu => packed(PackedOrder::Yvyu),
            PixelFormat::Vyuy => packed(PackedOrder::Vyuy),
            PixelFormat::Nv12 | PixelFormat::Nv16 => {
                SampleLine::Nv12 { luma: luma(), chroma: interleaved(from, pairs * 2) }
            }
            PixelFormat::Nv21 | PixelFormat::Nv61 => SampleLine::Other(OtherLine::Nv21 {
                luma: luma(),
                chroma: interleaved(from, pairs * 2),
            }),
            PixelFormat::Nv24 | PixelFormat::Nv42 => SampleLine::Other(OtherLine::Nv24 {
                luma: luma(),
                chroma: interleaved(from * 2, pixels * 2),
                cr_first: l.format == PixelFormat::Nv42,
            }),
            PixelFormat::I420 | PixelFormat::Yv12 | PixelFormat::I422 | PixelFormat::Yv16 => {
                SampleLine::I420 {
                    luma: luma(),
                    cb: samples(l.chroma[0] + shared + from / 2, pairs),
                    cr: samples(l.chroma[1] + shared + from / 2, pairs),
                }
            }
            PixelFormat::Ycc444 => SampleLine::Ycc444(samples(first + from * 3, pixels * 3)),
            PixelFormat::Rgb8 => SampleLine::Rgb8(samples(first + from * 3, pixels * 3)),
            PixelFormat::Rgb565 => {
                SampleLine::Other(OtherLine::Rgb565(samples(first + from * 2, pixels * 2)))
            }
            PixelFormat::Bgr8
            | PixelFormat::Rgbx
            | PixelFormat::Bgrx
            | PixelFormat::Xrgb
            | PixelFormat::Xbgr => {
                let (step, places) = l.format.rgb_places().expect("bytes for red, green and blue");
                let all = samples(first + from * step, pixels * step);
                SampleLine::Other(OtherLine::Rgb { step, places, all })
            }
            // Deep luma was answered above.
            PixelFormat::Grey
            | PixelFormat::Y10
            | PixelFormat::Y12
            | PixelFormat::Y14
            | PixelFormat::Y16
            | PixelFormat::Y10p
            | PixelFormat::Y12p => SampleLine::Grey(luma()),
        }
    }

    /// Runs `visitor` with a reader made for this frame's format, so that inner loops hold no
    /// format switch; the rarer formats, fields, and pictures that are turned share one that does.
    pub fn read<V: Visitor>(&self, visitor: V) -> V::Output {
        let (data, l) = (self.data, &self.layout);
        match l.format {
            _ if self.orientation != Orientation::NATIVE => visitor.visit(&Oriented(*self)),
            _ if l.scan != Scan::Progressive => visitor.visit(&AnyLine(*self)),
            PixelFormat::Grey => visitor.visit(&Grey { data, stride: l.stride, range: l.range }),
            PixelFormat::Yuyv => visitor.visit(&Yuyv { data, stride: l.stride, range: l.range }),
            PixelFormat::Nv12 => visitor.visit(&Planar::<2> { data, layout: l }),
            PixelFormat::I420 | PixelFormat::Yv12 => {
                visitor.visit(&Planar::<1> { data, layout: l })
            }
            PixelFormat::Ycc444 => {
                visitor.visit(&Ycc444 { data, stride: l.stride, range: l.range })
            }
            PixelFormat::Rgb8 => visitor.visit(&Rgb8 { data, stride: l.stride }),
            _ => visitor.visit(&AnyLine(*self)),
        }
    }
}

/// Pictures of noise, and copies that are turned, for tests.
#[cfg(test)]
pub mod fixture {
    use super::{Frame, Layout, PixelFormat, Pixels, Range, Visitor};
    use crate::geometry::Orientation;

    /// Every pixel of a picture of this width and height, row after row.
    pub struct AllPixels(pub usize, pub usize);

    impl Visitor for AllPixels {
        type Output = Vec<[u8; 3]>;
        fn visit<P: Pixels>(self, pixels: &P) -> Vec<[u8; 3]> {
            let Self(width, height) = self;
            (0..width * height).map(|i| pixels.rgb(i % width, i / width)).collect()
        }
    }

    /// A copy of `native` in red, green and blue, turned pixel by pixel.
    pub fn turned_copy(native: &Frame<'_>, orientation: Orientation) -> (Layout, Vec<u8>) {
        let size = (native.width(), native.height());
        let pixels = native.read(AllPixels(size.0, size.1));
        let (width, height) = orientation.size(size);
        let layout =
            Layout::packed(PixelFormat::Rgb8, Range::Full, width as u32, height as u32).unwrap();
        let turned = (0..width * height).flat_map(|i| {
            let (x, y) = orientation.native((i % width, i / width), size);
            pixels[y * size.0 + x]
        });
        (layout, turned.collect())
    }

    /// Bytes that follow from `seed` alone.
    pub fn noise(seed: u32) -> impl Iterator<Item = u8> {
        std::iter::successors(Some(seed), |state| {
            Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
        })
        .skip(1)
        .map(|state| (state >> 24) as u8)
    }

    /// What a frame of the format with this number holds: noise, or only 0 and 255 where it is
    /// `extreme`; `pad` bytes follow each row.
    pub fn noisy(
        (w, h, pad): (u32, u32, usize),
        (format, full): (usize, bool),
        (seed, extreme): (u32, bool),
    ) -> (Layout, Vec<u8>) {
        let format = PixelFormat::ALL[format];
        let range = if full { Range::Full } else { Range::Limited };
        let stride = Layout::packed(format, range, w, 1).unwrap().row_bytes() + pad;
        let layout = Layout::with_stride(format, range, w, h, stride).unwrap();
        let sharpened = |byte| if byte < 128 { 0 } else { 255 };
        let data = noise(seed)
            .map(|byte| if extreme { sharpened(byte) } else { byte })
            .take(layout.min_len());
        (layout, data.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::pixels::full_luma;
    use proptest::prelude::*;

    const SCANS: [Scan; 4] =
        [Scan::Progressive, Scan::Interlaced, Scan::OneField, Scan::Sequential];

    struct At(usize, usize);
    impl Visitor for At {
        type Output = ([u8; 3], u8);
        fn visit<P: Pixels>(self, p: &P) -> Self::Output {
            (p.rgb(self.0, self.1), p.luma(self.0, self.1))
        }
    }

    #[test]
    fn primary_colours_come_out_of_their_bt601_codes() {
        for (rgb, full, limited) in [
            ([255, 255, 255], [255, 128, 128], [235, 128, 128]),
            ([0, 0, 0], [0, 128, 128], [16, 128, 128]),
            ([255, 0, 0], [76, 85, 255], [81, 90, 240]),
            ([0, 0, 255], [29, 255, 107], [41, 240, 110]),
        ] {
            for (range, c) in [(Range::Full, full), (Range::Limited, limited)] {
                let got = ycc_to_rgb(range, c[0], c[1], c[2]);
                for (g, w) in got.iter().zip(rgb) {
                    assert!(
                        (i32::from(*g) - w).abs() <= 2,
                        "{range:?} {c:?} -> {got:?}, not {rgb:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_sample_is_read_from_where_its_format_keeps_it() {
        let yuyv = [10, 90, 20, 160, 30, 91, 40, 161];
        let l = Layout::packed(PixelFormat::Yuyv, Range::Full, 4, 1).unwrap();
        let got = Frame::new(l, &yuyv).unwrap().read(At(3, 0));
        assert_eq!(got, (ycc_to_rgb(Range::Full, 40, 91, 161), 40));

        // 2x2 luma, stride 4, then one Cb, Cr pair.
        let nv12 = [1, 2, 0, 0, 3, 4, 0, 0, 90, 160];
        let l = Layout::with_stride(PixelFormat::Nv12, Range::Full, 2, 2, 4).unwrap();
        assert_eq!(
            Frame::new(l, &nv12).unwrap().read(At(1, 1)).0,
            ycc_to_rgb(Range::Full, 4, 90, 160)
        );

        let i420 = [1, 2, 3, 4, 90, 160];
        let l = Layout::packed(PixelFormat::I420, Range::Full, 2, 2).unwrap();
        assert_eq!(
            Frame::new(l, &i420).unwrap().read(At(0, 1)).0,
            ycc_to_rgb(Range::Full, 3, 90, 160)
        );
    }

    #[test]
    fn a_buffer_that_is_too_short_and_a_stride_below_the_row_are_refused() {
        let l = Layout::packed(PixelFormat::I420, Range::Limited, 640, 480).unwrap();
        assert_eq!(l.min_len(), 460_800);
        assert!(matches!(
            Frame::new(l, &[0; 460_799]),
            Err(FrameError::Short { need: 460_800, .. })
        ));
        assert!(matches!(
            Layout::with_stride(PixelFormat::Yuyv, Range::Limited, 640, 480, 1279),
            Err(FrameError::Stride { need: 1280, .. })
        ));
        assert!(Layout::packed(PixelFormat::Grey, Range::Full, 0, 5).is_err());
        assert!(Layout::packed(PixelFormat::Grey, Range::Full, MAX_SIDE + 1, 5).is_err());
    }

    /// Four pixels in a row: white, red, blue, and a grey of code 100, in each format.
    #[test]
    fn known_colours_come_out_of_every_format() {
        let rgb = [[255, 255, 255], [255, 0, 0], [0, 0, 255], [100, 100, 100]];
        for (range, codes) in [
            (Range::Full, [[255, 128, 128], [76, 85, 255], [29, 255, 107], [100, 128, 128]]),
            (Range::Limited, [[235, 128, 128], [81, 90, 240], [41, 240, 110], [102, 128, 128]]),
            // BT.709: red is 0.2126, blue 0.0722.
            (Range::FullHd, [[255, 128, 128], [54, 99, 255], [18, 255, 116], [100, 128, 128]]),
            (Range::LimitedHd, [[235, 128, 128], [63, 102, 240], [32, 240, 118], [102, 128, 128]]),
        ] {
            for format in PixelFormat::ALL {
                for (want, code) in rgb.iter().zip(codes) {
                    // The same colour everywhere, so that shared chroma is whole.
                    let (layout, data) = of_one_colour(format, range, *want, code);
                    let got = Frame::new(layout, &data).unwrap().read(At(1, 1)).0;
                    let luma_only = format.deep().is_some() || format == PixelFormat::Grey;
                    let want = if luma_only { [full_luma(range, code[0]); 3] } else { *want };
                    let near = got.iter().zip(want).all(|(g, w)| g.abs_diff(w) <= 4);
                    assert!(near, "{format} {range:?}: {got:?}, not {want:?}");
                }
            }
        }
    }

    /// A picture of 4x4 pixels of one colour.
    fn of_one_colour(
        format: PixelFormat,
        range: Range,
        [r, g, b]: [u8; 3],
        [y, cb, cr]: [u8; 3],
    ) -> (Layout, Vec<u8>) {
        let layout = Layout::packed(format, range, 4, 4).unwrap();
        let planes = |first: u8, second: u8, each: usize| {
            [vec![y; 16], vec![first; each], vec![second; each]].concat()
        };
        let turns = |first: u8, second: u8, pairs: usize| {
            [vec![y; 16], [first, second].repeat(pairs)].concat()
        };
        let word = |bits: u32| (u16::from(y) << (bits - 8)).to_le_bytes().repeat(16);
        let code565 = (u16::from(r) >> 3 << 11) | (u16::from(g) >> 2 << 5) | (u16::from(b) >> 3);
        let data = match format {
            PixelFormat::Grey => vec![y; 16],
            PixelFormat::Yuyv => [y, cb, y, cr].repeat(8),
            PixelFormat::Uyvy => [cb, y, cr, y].repeat(8),
            PixelFormat::Yvyu => [y, cr, y, cb].repeat(8),
            PixelFormat::Vyuy => [cr, y, cb, y].repeat(8),
            PixelFormat::Nv12 => turns(cb, cr, 4),
            PixelFormat::Nv21 => turns(cr, cb, 4),
            PixelFormat::Nv16 => turns(cb, cr, 8),
            PixelFormat::Nv61 => turns(cr, cb, 8),
            PixelFormat::Nv24 => turns(cb, cr, 16),
            PixelFormat::Nv42 => turns(cr, cb, 16),
            PixelFormat::I420 => planes(cb, cr, 4),
            PixelFormat::Yv12 => planes(cr, cb, 4),
            PixelFormat::I422 => planes(cb, cr, 8),
            PixelFormat::Yv16 => planes(cr, cb, 8),
            PixelFormat::Y10 => word(10),
            PixelFormat::Y12 => word(12),
            PixelFormat::Y14 => word(14),
            PixelFormat::Y16 => word(16),
            PixelFormat::Y10p => [y, y, y, y, 0x1b].repeat(4),
            PixelFormat::Y12p => [y, y, 0x21].repeat(8),
            PixelFormat::Ycc444 => [y, cb, cr].repeat(16),
            PixelFormat::Rgb8 => [r, g, b].repeat(16),
            PixelFormat::Bgr8 => [b, g, r].repeat(16),
            PixelFormat::Rgbx => [r, g, b, 9].repeat(16),
            PixelFormat::Bgrx => [b, g, r, 9].repeat(16),
            PixelFormat::Xrgb => [9, r, g, b].repeat(16),
            PixelFormat::Xbgr => [9, b, g, r].repeat(16),
            PixelFormat::Rgb565 => code565.to_le_bytes().repeat(16),
        };
        assert_eq!(data.len(), layout.min_len(), "{format}");
        (layout, data)
    }

    #[test]
    fn of_two_fields_one_is_read() {
        // Rows 10, 20, 30, 40: the first field is 10 and 30.
        let data = [[10u8; 4], [20; 4], [30; 4], [40; 4]].concat();
        let column = |layout: Layout| -> Vec<u8> {
            let frame = Frame::new(layout, &data).unwrap();
            (0..frame.height()).map(|y| frame.read(At(0, y)).1).collect()
        };
        let all = Layout::packed(PixelFormat::Grey, Range::Full, 4, 4).unwrap();
        assert_eq!(column(all), [10, 20, 30, 40]);
        assert_eq!(column(all.of_field(Scan::Interlaced).unwrap()), [10, 10, 30, 30]);
        assert_eq!(column(all.of_field(Scan::Sequential).unwrap()), [10, 10, 20, 20]);
        let half = Layout::packed(PixelFormat::Grey, Range::Full, 4, 2).unwrap();
        assert_eq!(column(half.of_field(Scan::OneField).unwrap()), [10, 10, 20, 20]);
    }

    #[test]
    fn planes_of_chroma_may_lie_anywhere_and_have_one_stride() {
        let rows = |offset, stride| PlaneRows { offset, stride };
        let planes = [rows(0, 8), rows(100, 4), rows(50, 4)];
        let l = Layout::with_planes(PixelFormat::I420, Range::Full, 4, 4, &planes).unwrap();
        assert_eq!(l.min_len(), 100 + 4 + 2);
        let mut data = vec![0; l.min_len()];
        (data[0], data[100], data[50]) = (76, 85, 255);
        let got = Frame::new(l, &data).unwrap().read(At(0, 0)).0;
        assert_eq!(got, ycc_to_rgb(Range::Full, 76, 85, 255));
        let planes = [rows(0, 4), rows(16, 2), rows(32, 3)];
        assert!(matches!(
            Layout::with_planes(PixelFormat::I420, Range::Full, 4, 4, &planes),
            Err(FrameError::Stride { stride: 3, .. })
        ));
    }

    proptest! {
        #[test]
        fn a_line_holds_the_pixels_that_are_read_one_by_one(
            format in 0..PixelFormat::ALL.len(),
            range in 0..Range::ALL.len(),
            scan in 0..SCANS.len(),
            w in 1u32..40,
            h in 1u32..6,
            pad in 0usize..9,
            from in 0usize..20,
            seed: u8,
        ) {
            let format = PixelFormat::ALL[format];
            let range = Range::ALL[range];
            let scan = SCANS[scan];
            let l = Layout::with_stride(format, range, w, h, format.row_bytes(w as usize) + pad)
                .and_then(|l| l.of_field(scan))
                .unwrap();
            let data: Vec<u8> = (0..l.min_len()).map(|i| (i * 73) as u8 ^ seed).collect();
            let frame = Frame::new(l, &data).unwrap();
            let from = (from * 2).min(w as usize & !1);
            for y in 0..frame.height() {
                let line = frame.line(y, from..w as usize);
                prop_assert!(line.holds(w as usize - from));
                for x in from..w as usize {
                    let (want, luma) = frame.read(At(x, y));
                    prop_assert_eq!(line.rgb(x - from, range), want);
                    prop_assert_eq!(line.luma(x - from, range), luma);
                    prop_assert_eq!(line.skip((x - from) & !1).rgb((x - from) & 1, range), want);
                }
            }
        }

        #[test]
        fn pixels_that_are_blanked_are_grey_and_those_far_from_them_as_before(
            format in 0..PixelFormat::ALL.len(),
            scan in 0..SCANS.len(),
            (w, h) in (1u32..40, 1u32..20),
            (row, from, to) in (0usize..40, 0usize..40, 0usize..40),
            seed: u8,
        ) {
            let format = PixelFormat::ALL[format];
            let scan = SCANS[scan];
            let l = Layout::packed(format, Range::Full, w, h)
                .and_then(|l| l.of_field(scan))
                .unwrap();
            let before: Vec<u8> = (0..l.min_len()).map(|i| (i * 73) as u8 ^ seed).collect();
            let (width, height) = (w as usize, l.height() as usize);
            let (row, to) = (row % height, to % (width + 1));
            let columns = from.min(to)..to;
            let mut after = before.clone();
            l.blank(&mut after, row, columns.clone());
            let pixel = |data: &[u8], x, y| Frame::new(l, data).unwrap().read(At(x, y));
            let grey = pixel(&vec![128; l.min_len()], 0, 0);
            for y in 0..height {
                for x in 0..width {
                    let got = pixel(&after, x, y);
                    if y == row && columns.contains(&x) {
                        prop_assert_eq!(got, grey, "{} at {}, {}", format, x, y);
                    }
                    // Four rows share chroma where it is halved and fields lie in turn, and four
                    // pixels their bytes at most.
                    let near = y.abs_diff(row) < 4
                        && (columns.start.saturating_sub(3)..columns.end + 3).contains(&x);
                    if !near || columns.is_empty() {
                        prop_assert_eq!(got, pixel(&before, x, y), "{} at {}, {}", format, x, y);
                    }
                }
            }
        }

        #[test]
        fn every_pixel_of_every_layout_is_in_a_buffer_of_its_least_length(
            format in 0..PixelFormat::ALL.len(), w in 1u32..70, h in 1u32..40, pad in 0usize..9,
        ) {
            let format = PixelFormat::ALL[format];
            let stride = format.row_bytes(w as usize) + pad;
            let l = Layout::with_stride(format, Range::Limited, w, h, stride).unwrap();
            let data = vec![128u8; l.min_len()];
            let frame = Frame::new(l, &data).unwrap();
            for y in 0..h as usize {
                for x in 0..w as usize {
                    frame.read(At(x, y));
                }
            }
        }
    }
}
