//! A frame as the camera gave it, and how its pixels are read.
//!
//! * A [`Layout`] says where the samples of a picture are in a buffer.
//! * A [`Frame`] is a layout with a buffer that is long enough for it, checked once.
//! * Pixels are read straight from the native format, one by one through [`Pixels`] or as a
//!   [`SampleLine`] of neighbours. There is no full-frame conversion to RGB.
//!
//! Not promised: scaling, rotation, or any format in which a pixel is not there yet (JPEG, raw
//! Bayer).

mod pixels;

use std::fmt;
use std::ops;

use self::pixels::{Grey, Planar, Rgb8, Ycc444, Yuyv};
pub use self::pixels::{Pixels, Visitor};
pub use crate::kernels::pixels::{Range, SampleLine, ycc_to_rgb};

/// How a buffer holds a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 8-bit luma only.
    Grey,
    /// Packed 4:2:2: Y0 Cb Y1 Cr.
    Yuyv,
    /// Luma plane, then one plane of interleaved Cb, Cr at half width and height.
    Nv12,
    /// Luma, Cb, Cr planes, chroma at half width and height.
    I420,
    /// Interleaved Y, Cb, Cr at full resolution: what a JPEG decoder gives before colour
    /// conversion.
    Ycc444,
    /// Interleaved R, G, B: photographs only.
    Rgb8,
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [PixelFormat; 6] =
        [Self::Grey, Self::Yuyv, Self::Nv12, Self::I420, Self::Ycc444, Self::Rgb8];

    /// The name used in configuration, logs and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grey => "grey",
            Self::Yuyv => "yuyv",
            Self::Nv12 => "nv12",
            Self::I420 => "i420",
            Self::Ycc444 => "ycc444",
            Self::Rgb8 => "rgb8",
        }
    }

    /// Bytes of one row of the first plane without padding.
    fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Grey | Self::Nv12 | Self::I420 => width,
            Self::Yuyv => width.div_ceil(2) * 4,
            Self::Ycc444 | Self::Rgb8 => width * 3,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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

/// Where the samples of a picture are in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    format: PixelFormat,
    range: Range,
    width: u32,
    height: u32,
    /// Bytes from one row of the first plane to the next.
    stride: usize,
    /// Bytes from one row of a chroma plane to the next; 0 where there is none.
    chroma_stride: usize,
    /// Where the chroma planes begin; 0 where there are none.
    chroma: [usize; 2],
    len: usize,
}

impl Layout {
    /// A picture whose rows follow each other without padding.
    ///
    /// # Errors
    /// [`FrameError::Size`].
    pub fn packed(
        format: PixelFormat,
        range: Range,
        width: u32,
        height: u32,
    ) -> Result<Self, FrameError> {
        let stride = format.row_bytes(width.min(MAX_SIDE) as usize);
        Self::with_stride(format, range, width, height, stride)
    }

    /// A picture whose first plane's rows lie `stride` bytes apart. Chroma rows of NV12 lie as far
    /// apart, those of I420 half as far (rounded up), the convention of V4L2's single-planar
    /// formats; planes follow each other directly.
    ///
    /// # Errors
    /// [`FrameError::Size`], [`FrameError::Stride`].
    pub fn with_stride(
        format: PixelFormat,
        range: Range,
        width: u32,
        height: u32,
        stride: usize,
    ) -> Result<Self, FrameError> {
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(FrameError::Size { width, height });
        }
        let need = format.row_bytes(width as usize);
        // The upper bound keeps all later products within 32 bits.
        if stride < need || stride > 8 * MAX_SIDE as usize {
            return Err(FrameError::Stride { format, width, stride, need });
        }
        let rows = height as usize;
        let chroma_rows = rows.div_ceil(2);
        let chroma_width = (width as usize).div_ceil(2);
        let luma = stride * rows;
        let (chroma_stride, chroma, len) = match format {
            PixelFormat::Nv12 => {
                // An odd width still has a whole Cb, Cr pair in its last column.
                let chroma_stride = stride.max(chroma_width * 2);
                (
                    chroma_stride,
                    [luma, luma + 1],
                    luma + chroma_stride * (chroma_rows - 1) + chroma_width * 2,
                )
            }
            PixelFormat::I420 => {
                let chroma_stride = stride.div_ceil(2);
                let plane = chroma_stride * chroma_rows;
                let len = luma + plane + chroma_stride * (chroma_rows - 1) + chroma_width;
                (chroma_stride, [luma, luma + plane], len)
            }
            _ => (0, [0, 0], stride * (rows - 1) + need),
        };
        Ok(Self { format, range, width, height, stride, chroma_stride, chroma, len })
    }

    /// Format.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Span of the codes.
    pub fn range(&self) -> Range {
        self.range
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes of a row of the first plane without padding.
    pub fn row_bytes(&self) -> usize {
        self.format.row_bytes(self.width as usize)
    }

    /// Fewest bytes that hold the picture (the last row's padding may be missing).
    pub fn min_len(&self) -> usize {
        self.len
    }
}

/// A layout over a buffer that is long enough for it.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    layout: Layout,
    data: &'a [u8],
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} {}x{})", self.layout.format, self.layout.width, self.layout.height)
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
        Ok(Self { layout, data })
    }

    /// Where the samples are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.layout.width as usize
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.layout.height as usize
    }

    /// The samples of the pixels `columns` of row `row`. Begins at an even column, where two
    /// neighbours may share chroma.
    ///
    /// # Panics
    /// Where `columns` begin at an odd column or a pixel lies outside the frame.
    pub fn line(&self, row: usize, columns: ops::Range<usize>) -> SampleLine<'a> {
        let (data, l) = (self.data, &self.layout);
        let (from, pixels) = (columns.start, columns.len());
        assert!(from.is_multiple_of(2) && columns.end <= self.width() && row < self.height());
        let samples = |at: usize, len: usize| &data[at..at + len];
        let first = row * l.stride;
        let shared = (row / 2) * l.chroma_stride;
        let pairs = pixels.div_ceil(2);
        match l.format {
            PixelFormat::Grey => SampleLine::Grey(samples(first + from, pixels)),
            PixelFormat::Yuyv => SampleLine::Yuyv(samples(first + from * 2, pairs * 4)),
            PixelFormat::Nv12 => SampleLine::Nv12 {
                luma: samples(first + from, pixels),
                chroma: samples(l.chroma[0] + shared + from, pairs * 2),
            },
            PixelFormat::I420 => SampleLine::I420 {
                luma: samples(first + from, pixels),
                cb: samples(l.chroma[0] + shared + from / 2, pairs),
                cr: samples(l.chroma[1] + shared + from / 2, pairs),
            },
            PixelFormat::Ycc444 => SampleLine::Ycc444(samples(first + from * 3, pixels * 3)),
            PixelFormat::Rgb8 => SampleLine::Rgb8(samples(first + from * 3, pixels * 3)),
        }
    }

    /// Runs `visitor` with a reader made for this frame's format, so that inner loops hold no
    /// format switch.
    pub fn read<V: Visitor>(&self, visitor: V) -> V::Output {
        let (data, l) = (self.data, &self.layout);
        match l.format {
            PixelFormat::Grey => visitor.visit(&Grey { data, stride: l.stride, range: l.range }),
            PixelFormat::Yuyv => visitor.visit(&Yuyv { data, stride: l.stride, range: l.range }),
            PixelFormat::Nv12 => visitor.visit(&Planar::<2> { data, layout: l }),
            PixelFormat::I420 => visitor.visit(&Planar::<1> { data, layout: l }),
            PixelFormat::Ycc444 => {
                visitor.visit(&Ycc444 { data, stride: l.stride, range: l.range })
            }
            PixelFormat::Rgb8 => visitor.visit(&Rgb8 { data, stride: l.stride }),
        }
    }
}

/// Pictures of noise, for tests.
#[cfg(test)]
pub mod fixture {
    use super::{Layout, PixelFormat, Range};

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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn a_line_holds_the_pixels_that_are_read_one_by_one(
            format in 0usize..6,
            full: bool,
            w in 1u32..40,
            h in 1u32..6,
            pad in 0usize..9,
            from in 0usize..20,
            seed: u8,
        ) {
            let format = PixelFormat::ALL[format];
            let range = if full { Range::Full } else { Range::Limited };
            let l = Layout::with_stride(format, range, w, h, format.row_bytes(w as usize) + pad)
                .unwrap();
            let data: Vec<u8> = (0..l.min_len()).map(|i| (i * 73) as u8 ^ seed).collect();
            let frame = Frame::new(l, &data).unwrap();
            let from = (from * 2).min(w as usize & !1);
            for y in 0..h as usize {
                let line = frame.line(y, from..w as usize);
                prop_assert!(line.holds(w as usize - from));
                for x in from..w as usize {
                    let (want, _) = frame.read(At(x, y));
                    prop_assert_eq!(line.rgb(x - from, range), want);
                    prop_assert_eq!(line.skip((x - from) & !1).rgb((x - from) & 1, range), want);
                }
            }
        }

        #[test]
        fn every_pixel_of_every_layout_is_in_a_buffer_of_its_least_length(
            format in 0usize..6, w in 1u32..70, h in 1u32..40, pad in 0usize..9,
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
