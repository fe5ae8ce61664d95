//! The formats: what each is called, and which planes it has.

use std::fmt;
use std::ops::Range;

use crate::kernels::pixels::DeepLuma;

/// How a buffer holds a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 8-bit luma only.
    Grey,
    /// Packed 4:2:2: Y0 Cb Y1 Cr.
    Yuyv,
    /// Packed 4:2:2: Cb Y0 Cr Y1.
    Uyvy,
    /// Packed 4:2:2: Y0 Cr Y1 Cb.
    Yvyu,
    /// Packed 4:2:2: Cr Y0 Cb Y1.
    Vyuy,
    /// Luma plane, then one plane of interleaved Cb, Cr at half width and height.
    Nv12,
    /// As NV12, with Cr before Cb.
    Nv21,
    /// Luma plane, then one plane of interleaved Cb, Cr at half width.
    Nv16,
    /// As NV16, with Cr before Cb.
    Nv61,
    /// Luma plane, then one plane of interleaved Cb, Cr at full resolution.
    Nv24,
    /// As NV24, with Cr before Cb.
    Nv42,
    /// Luma, Cb, Cr planes, chroma at half width and height.
    I420,
    /// Luma, Cr, Cb planes, chroma at half width and height.
    Yv12,
    /// Luma, Cb, Cr planes, chroma at half width.
    I422,
    /// Luma, Cr, Cb planes, chroma at half width.
    Yv16,
    /// Luma of 10 bits in two bytes, the lower first.
    Y10,
    /// Luma of 12 bits in two bytes, the lower first.
    Y12,
    /// Luma of 14 bits in two bytes, the lower first.
    Y14,
    /// Luma of 16 bits in two bytes, the lower first.
    Y16,
    /// Luma of 10 bits, four pixels in five bytes (MIPI CSI-2).
    Y10p,
    /// Luma of 12 bits, two pixels in three bytes (MIPI CSI-2).
    Y12p,
    /// Interleaved Y, Cb, Cr at full resolution: what a JPEG decoder gives before colour
    /// conversion.
    Ycc444,
    /// Interleaved R, G, B.
    Rgb8,
    /// Interleaved B, G, R.
    Bgr8,
    /// R, G, B and a byte without meaning.
    Rgbx,
    /// B, G, R and a byte without meaning.
    Bgrx,
    /// A byte without meaning, then R, G, B.
    Xrgb,
    /// A byte without meaning, then B, G, R.
    Xbgr,
    /// Five bits of red, six of green and five of blue in two bytes, the lower first.
    Rgb565,
}

/// What lies in the planes after the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChromaPlanes {
    /// There are none.
    Absent,
    /// One of Cb and Cr in turn, at half width or not, at half height or not.
    Interleaved { half_width: bool, half_height: bool },
    /// One each, at half width, at half height or not.
    Apart { half_height: bool },
}

impl ChromaPlanes {
    pub(super) fn half_height(self) -> bool {
        match self {
            Self::Absent => false,
            Self::Interleaved { half_height, .. } | Self::Apart { half_height } => half_height,
        }
    }

    /// Bytes of a row of a chroma plane of a picture of `width` pixels.
    pub(super) fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Absent => 0,
            // An odd width still has a whole Cb, Cr pair in its last column.
            Self::Interleaved { half_width: true, .. } => width.div_ceil(2) * 2,
            Self::Interleaved { half_width: false, .. } => width * 2,
            Self::Apart { .. } => width.div_ceil(2),
        }
    }

    /// Distance of two rows where that of luma is `stride`: V4L2's convention for all planes in
    /// one buffer.
    pub(super) fn stride(self, stride: usize, width: usize) -> usize {
        match self {
            Self::Absent => 0,
            Self::Interleaved { half_width: true, .. } => stride.max(self.row_bytes(width)),
            Self::Interleaved { half_width: false, .. } => 2 * stride,
            Self::Apart { .. } => stride.div_ceil(2),
        }
    }

    fn count(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Interleaved { .. } => 1,
            Self::Apart { .. } => 2,
        }
    }
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [PixelFormat; 29] = [
        Self::Grey,
        Self::Yuyv,
        Self::Uyvy,
        Self::Yvyu,
        Self::Vyuy,
        Self::Nv12,
        Self::Nv21,
        Self::Nv16,
        Self::Nv61,
        Self::Nv24,
        Self::Nv42,
        Self::I420,
        Self::Yv12,
        Self::I422,
        Self::Yv16,
        Self::Y10,
        Self::Y12,
        Self::Y14,
        Self::Y16,
        Self::Y10p,
        Self::Y12p,
        Self::Ycc444,
        Self::Rgb8,
        Self::Bgr8,
        Self::Rgbx,
        Self::Bgrx,
        Self::Xrgb,
        Self::Xbgr,
        Self::Rgb565,
    ];

    /// The name used in configuration, logs and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grey => "grey",
            Self::Yuyv => "yuyv",
            Self::Uyvy => "uyvy",
            Self::Yvyu => "yvyu",
            Self::Vyuy => "vyuy",
            Self::Nv12 => "nv12",
            Self::Nv21 => "nv21",
            Self::Nv16 => "nv16",
            Self::Nv61 => "nv61",
            Self::Nv24 => "nv24",
            Self::Nv42 => "nv42",
            Self::I420 => "i420",
            Self::Yv12 => "yv12",
            Self::I422 => "i422",
            Self::Yv16 => "yv16",
            Self::Y10 => "y10",
            Self::Y12 => "y12",
            Self::Y14 => "y14",
            Self::Y16 => "y16",
            Self::Y10p => "y10p",
            Self::Y12p => "y12p",
            Self::Ycc444 => "ycc444",
            Self::Rgb8 => "rgb8",
            Self::Bgr8 => "bgr8",
            Self::Rgbx => "rgbx",
            Self::Bgrx => "bgrx",
            Self::Xrgb => "xrgb",
            Self::Xbgr => "xbgr",
            Self::Rgb565 => "rgb565",
        }
    }

    /// Planes of a buffer: 1, 2 or 3.
    pub fn planes(self) -> usize {
        1 + self.chroma().count()
    }

    pub(super) fn chroma(self) -> ChromaPlanes {
        let interleaved =
            |half_width, half_height| ChromaPlanes::Interleaved { half_width, half_height };
        match self {
            Self::Nv12 | Self::Nv21 => interleaved(true, true),
            Self::Nv16 | Self::Nv61 => interleaved(true, false),
            Self::Nv24 | Self::Nv42 => interleaved(false, false),
            Self::I420 | Self::Yv12 => ChromaPlanes::Apart { half_height: true },
            Self::I422 | Self::Yv16 => ChromaPlanes::Apart { half_height: false },
            _ => ChromaPlanes::Absent,
        }
    }

    /// How luma of more than 8 bits lies in memory, where it has more.
    pub(super) fn deep(self) -> Option<DeepLuma> {
        match self {
            Self::Y10 => Some(DeepLuma::Words { bits: 10 }),
            Self::Y12 => Some(DeepLuma::Words { bits: 12 }),
            Self::Y14 => Some(DeepLuma::Words { bits: 14 }),
            Self::Y16 => Some(DeepLuma::Words { bits: 16 }),
            Self::Y10p => Some(DeepLuma::Packed10),
            Self::Y12p => Some(DeepLuma::Packed12),
            _ => None,
        }
    }

    /// Bytes a pixel, and which of them are red, green and blue, where a pixel has bytes for them.
    pub(super) fn rgb_places(self) -> Option<(usize, [usize; 3])> {
        match self {
            Self::Rgb8 => Some((3, [0, 1, 2])),
            Self::Bgr8 => Some((3, [2, 1, 0])),
            Self::Rgbx => Some((4, [0, 1, 2])),
            Self::Bgrx => Some((4, [2, 1, 0])),
            Self::Xrgb => Some((4, [1, 2, 3])),
            Self::Xbgr => Some((4, [3, 2, 1])),
            _ => None,
        }
    }

    /// Fewest bytes of the plane `plane` of a picture of this size whose rows lie `stride` bytes
    /// apart; saturates.
    pub fn plane_bytes(self, plane: usize, (width, height): (u32, u32), stride: usize) -> usize {
        let (width, height) = (width as usize, height as usize);
        let (row, rows) = match plane {
            0 => (self.row_bytes(width), height),
            _ if self.chroma().half_height() => {
                (self.chroma().row_bytes(width), height.div_ceil(2))
            }
            _ => (self.chroma().row_bytes(width), height),
        };
        stride.saturating_mul(rows.saturating_sub(1)).saturating_add(row)
    }

    /// Pixels of the first plane that lie together, and the bytes that they take.
    fn group(self) -> (usize, usize) {
        match self.deep() {
            Some(DeepLuma::Packed10) => return (4, 5),
            Some(DeepLuma::Packed12) => return (2, 3),
            Some(DeepLuma::Words { .. }) => return (1, 2),
            None => {}
        }
        match self {
            Self::Yuyv | Self::Uyvy | Self::Yvyu | Self::Vyuy => (2, 4),
            Self::Ycc444 => (1, 3),
            Self::Rgb565 => (1, 2),
            _ => (1, self.rgb_places().map_or(1, |(step, _)| step)),
        }
    }

    /// Bytes of a row of the first plane that hold any of the pixels `columns`.
    pub(super) fn first_plane_bytes(self, columns: Range<usize>) -> Range<usize> {
        let (pixels, bytes) = self.group();
        columns.start / pixels * bytes..columns.end.div_ceil(pixels) * bytes
    }

    /// Bytes of a row of a chroma plane that hold the colour of any of the pixels `columns`.
    pub(super) fn chroma_bytes(self, columns: Range<usize>) -> Range<usize> {
        let (first, end) = (columns.start, columns.end);
        match self.chroma() {
            ChromaPlanes::Absent => 0..0,
            ChromaPlanes::Interleaved { half_width: true, .. } => {
                first / 2 * 2..end.div_ceil(2) * 2
            }
            ChromaPlanes::Interleaved { half_width: false, .. } => first * 2..end * 2,
            ChromaPlanes::Apart { .. } => first / 2..end.div_ceil(2),
        }
    }

    /// Bytes of one row of the first plane without padding.
    pub(super) fn row_bytes(self, width: usize) -> usize {
        if let Some(deep) = self.deep() {
            return deep.bytes(width);
        }
        if let Some((step, _)) = self.rgb_places() {
            return width * step;
        }
        match self {
            Self::Yuyv | Self::Uyvy | Self::Yvyu | Self::Vyuy => width.div_ceil(2) * 4,
            Self::Ycc444 => width * 3,
            Self::Rgb565 => width * 2,
            _ => width,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
