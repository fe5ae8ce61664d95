//! Where the samples of a picture lie in a buffer, and which of its rows are used.

use std::ops;

use super::format::ChromaPlanes;
use super::{FrameError, MAX_SIDE, PixelFormat, Range};

/// Farthest that rows may lie apart, bytes: the longest row there is.
const MAX_STRIDE: usize = 4 * MAX_SIDE as usize;

/// Which rows of a buffer are one field of the picture. A television picture is two fields, taken
/// one after the other: only one of them is used, so that nobody who walks has two outlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scan {
    /// Every row belongs to one picture.
    #[default]
    Progressive,
    /// The fields' rows lie in turn: every second row stands for itself and the one below it.
    Interlaced,
    /// The buffer holds one field, whose rows each stand for two of the picture.
    OneField,
    /// One field's rows come first, then the other's; each row of the first stands for two.
    Sequential,
}

/// Where the rows of a plane lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneRows {
    /// Where the first begins, bytes from the buffer's beginning.
    pub offset: usize,
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// Where the samples of a picture are in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    pub(super) format: PixelFormat,
    pub(super) range: Range,
    pub(super) scan: Scan,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from one row of the first plane to the next.
    pub(super) stride: usize,
    /// Bytes from one row of a chroma plane to the next; 0 where there is none.
    pub(super) chroma_stride: usize,
    /// Where Cb and Cr begin; 0 where there are none.
    pub(super) chroma: [usize; 2],
    pub(super) len: usize,
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

    /// A picture whose first plane's rows lie `stride` bytes apart. Chroma rows lie as far apart
    /// where Cb and Cr are interleaved at half width, twice as far at full width, half as far
    /// (rounded up) in planes of their own: the convention of V4L2's single-planar formats. Planes
    /// follow each other directly.
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
        let rows = checked_rows(width, height)?;
        checked_stride(format, width, stride, format.row_bytes(width as usize))?;
        let chroma = format.chroma();
        let chroma_stride = chroma.stride(stride, width as usize);
        let chroma_rows = if chroma.half_height() { rows.div_ceil(2) } else { rows };
        let plane = chroma_stride * chroma_rows;
        let first = PlaneRows { offset: 0, stride };
        let second = PlaneRows { offset: stride * rows, stride: chroma_stride };
        let third = PlaneRows { offset: stride * rows + plane, stride: chroma_stride };
        let planes = [first, second, third];
        Self::with_planes(format, range, width, height, &planes[..format.planes()])
    }

    /// A picture whose planes lie where `planes` says: [`PixelFormat::planes`] of them, in the
    /// format's order. The first begins the buffer; planes of Cb and Cr have one stride.
    ///
    /// # Errors
    /// [`FrameError::Size`], [`FrameError::Stride`].
    ///
    /// # Panics
    /// Where there are fewer planes than the format has, or the first does not begin the buffer:
    /// the caller's mistake.
    pub fn with_planes(
        format: PixelFormat,
        range: Range,
        width: u32,
        height: u32,
        planes: &[PlaneRows],
    ) -> Result<Self, FrameError> {
        let rows = checked_rows(width, height)?;
        assert!(planes.len() >= format.planes(), "a place for each plane");
        let PlaneRows { offset, stride } = planes[0];
        assert_eq!(offset, 0, "the first plane begins the buffer");
        checked_stride(format, width, stride, format.row_bytes(width as usize))?;
        let kind = format.chroma();
        let chroma_row = kind.row_bytes(width as usize);
        let chroma_rows = if kind.half_height() { rows.div_ceil(2) } else { rows };
        let (mut chroma_stride, mut chroma) = (0, [0, 0]);
        let mut len = stride * (rows - 1) + format.row_bytes(width as usize);
        for plane in &planes[1..format.planes()] {
            checked_stride(format, width, plane.stride, chroma_row)?;
            let same = chroma_stride == 0 || chroma_stride == plane.stride;
            if !same {
                let need = chroma_stride;
                return Err(FrameError::Stride { format, width, stride: plane.stride, need });
            }
            chroma_stride = plane.stride;
            len = len.max(plane.offset + plane.stride * (chroma_rows - 1) + chroma_row);
        }
        match kind {
            ChromaPlanes::Absent => {}
            ChromaPlanes::Interleaved { .. } => {
                let first = planes[1].offset;
                chroma = match format {
                    PixelFormat::Nv21 | PixelFormat::Nv61 | PixelFormat::Nv42 => [first + 1, first],
                    _ => [first, first + 1],
                };
            }
            ChromaPlanes::Apart { .. } => {
                chroma = match format {
                    PixelFormat::Yv12 | PixelFormat::Yv16 => [planes[2].offset, planes[1].offset],
                    _ => [planes[1].offset, planes[2].offset],
                };
            }
        }
        if u32::try_from(len).is_err() {
            return Err(FrameError::Size { width, height });
        }
        let scan = Scan::Progressive;
        Ok(Self { format, range, scan, width, height, stride, chroma_stride, chroma, len })
    }

    /// The same buffer as one field of a picture: as high as it is where both fields are in it,
    /// twice as high where it holds one.
    ///
    /// # Errors
    /// [`FrameError::Size`] beyond [`MAX_SIDE`].
    pub fn of_field(self, scan: Scan) -> Result<Self, FrameError> {
        let (width, height) = match scan {
            Scan::Progressive | Scan::Interlaced | Scan::Sequential => (self.width, self.height),
            Scan::OneField => (self.width, self.height * 2),
        };
        checked_rows(width, height)?;
        Ok(Self { scan, height, ..self })
    }

    /// The buffer's row that holds the luma, and the one that holds the chroma, of the picture's
    /// row `y`.
    pub(super) fn rows(&self, y: usize) -> (usize, usize) {
        let half = self.format.chroma().half_height();
        match (self.scan, half) {
            (Scan::Progressive, false) => (y, y),
            (Scan::Progressive, true) => (y, y / 2),
            (Scan::Interlaced, false) => (y & !1, y & !1),
            // Chroma's rows belong to the fields in turn, too: those of the first are even.
            (Scan::Interlaced, true) => (y & !1, y / 4 * 2),
            (Scan::OneField | Scan::Sequential, false) => (y / 2, y / 2),
            (Scan::OneField | Scan::Sequential, true) => (y / 2, y / 4),
        }
    }

    /// Makes the pixels `columns` of the row `row` grey in `data`, the layout's buffer, and with
    /// them those that share bytes or colour with them.
    ///
    /// # Panics
    /// Where the pixels lie outside the picture or the buffer is shorter than
    /// [`Layout::min_len`]: the caller's mistake.
    pub fn blank(&self, data: &mut [u8], row: usize, columns: ops::Range<usize>) {
        assert!(row < self.height as usize && columns.end <= self.width as usize);
        if columns.is_empty() {
            return;
        }
        let (luma_row, chroma_row) = self.rows(row);
        let mut fill = |from: usize, bytes: ops::Range<usize>| {
            // The middle of every code: grey, whatever the bytes stand for.
            data[from + bytes.start..from + bytes.end].fill(128);
        };
        fill(luma_row * self.stride, self.format.first_plane_bytes(columns.clone()));
        let chroma = self.format.chroma_bytes(columns);
        let rows = chroma_row * self.chroma_stride;
        match self.format.chroma() {
            ChromaPlanes::Absent => {}
            ChromaPlanes::Interleaved { .. } => {
                fill(self.chroma[0].min(self.chroma[1]) + rows, chroma);
            }
            ChromaPlanes::Apart { .. } => {
                fill(self.chroma[0] + rows, chroma.clone());
                fill(self.chroma[1] + rows, chroma);
            }
        }
    }

    /// Which rows are used.
    pub fn scan(&self) -> Scan {
        self.scan
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

/// Rows of a picture of this size.
fn checked_rows(width: u32, height: u32) -> Result<usize, FrameError> {
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(FrameError::Size { width, height });
    }
    Ok(height as usize)
}

fn checked_stride(
    format: PixelFormat,
    width: u32,
    stride: usize,
    need: usize,
) -> Result<(), FrameError> {
    // The upper bound keeps all later products within 32 bits.
    if stride < need || stride > MAX_STRIDE {
        return Err(FrameError::Stride { format, width, stride, need });
    }
    Ok(())
}
