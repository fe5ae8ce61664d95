//! A camera's samples of one row, and what colour they are.

/// The span of luma and chroma codes (BT.601 matrix in both cases).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Range {
    /// Luma 16..=235, chroma 16..=240: most cameras' YUV.
    #[default]
    Limited,
    /// All 256 codes: JPEG.
    Full,
}

/// The samples of neighbouring pixels of one row, as the format holds them: exactly as many as the
/// pixels need. Where two pixels share chroma, the first of a pair comes first.
#[derive(Clone, Copy)]
pub enum SampleLine<'a> {
    /// A byte a pixel.
    Grey(&'a [u8]),
    /// Y0 Cb Y1 Cr for two pixels; the last pair is whole even where its second pixel is not meant.
    Yuyv(&'a [u8]),
    /// Chroma as Cb, Cr for two pixels.
    Nv12 {
        /// A byte a pixel.
        luma: &'a [u8],
        /// Two bytes for two pixels.
        chroma: &'a [u8],
    },
    /// Chroma for two pixels each.
    I420 {
        /// A byte a pixel.
        luma: &'a [u8],
        /// A byte for two pixels.
        cb: &'a [u8],
        /// A byte for two pixels.
        cr: &'a [u8],
    },
    /// Y, Cb, Cr for each pixel.
    Ycc444(&'a [u8]),
    /// R, G, B for each pixel.
    Rgb8(&'a [u8]),
}

impl SampleLine<'_> {
    /// Whether the slices hold as many samples as `pixels` pixels have.
    pub fn holds(&self, pixels: usize) -> bool {
        let pairs = pixels.div_ceil(2);
        match *self {
            Self::Grey(luma) => luma.len() == pixels,
            Self::Yuyv(all) => all.len() == pairs * 4,
            Self::Nv12 { luma, chroma } => luma.len() == pixels && chroma.len() == pairs * 2,
            Self::I420 { luma, cb, cr } => {
                luma.len() == pixels && cb.len() == pairs && cr.len() == pairs
            }
            Self::Ycc444(all) | Self::Rgb8(all) => all.len() == pixels * 3,
        }
    }

    /// The same line from its pixel `pixel` on, which is even.
    #[must_use]
    pub fn skip(&self, pixel: usize) -> Self {
        let half = pixel / 2;
        match *self {
            Self::Grey(luma) => Self::Grey(&luma[pixel..]),
            Self::Yuyv(all) => Self::Yuyv(&all[half * 4..]),
            Self::Nv12 { luma, chroma } => {
                Self::Nv12 { luma: &luma[pixel..], chroma: &chroma[half * 2..] }
            }
            Self::I420 { luma, cb, cr } => {
                Self::I420 { luma: &luma[pixel..], cb: &cb[half..], cr: &cr[half..] }
            }
            Self::Ycc444(all) => Self::Ycc444(&all[pixel * 3..]),
            Self::Rgb8(all) => Self::Rgb8(&all[pixel * 3..]),
        }
    }

    /// Red, green, blue of the pixel `x`.
    #[inline(always)]
    pub fn rgb(&self, x: usize, range: Range) -> [u8; 3] {
        let pair = x / 2;
        match *self {
            Self::Grey(luma) => [full_luma(range, luma[x]); 3],
            Self::Yuyv(all) => ycc_to_rgb(range, all[x * 2], all[pair * 4 + 1], all[pair * 4 + 3]),
            Self::Nv12 { luma, chroma } => {
                ycc_to_rgb(range, luma[x], chroma[pair * 2], chroma[pair * 2 + 1])
            }
            Self::I420 { luma, cb, cr } => ycc_to_rgb(range, luma[x], cb[pair], cr[pair]),
            Self::Ycc444(all) => ycc_to_rgb(range, all[x * 3], all[x * 3 + 1], all[x * 3 + 2]),
            Self::Rgb8(all) => [all[x * 3], all[x * 3 + 1], all[x * 3 + 2]],
        }
    }
}

/// BT.601 in 16.16 fixed point. Public so that tests and kernels share the one definition.
///
/// Full: R = Y + 1.402 Cr', G = Y - 0.344136 Cb' - 0.714136 Cr', B = Y + 1.772 Cb' (JFIF).
/// Limited: the same after luma is stretched by 255/219 and chroma by 255/224.
#[inline(always)]
pub fn ycc_to_rgb(range: Range, y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    let (y, r, g_cb, g_cr, b) = match range {
        Range::Full => (i32::from(y) << 16, 91_881, 22_554, 46_802, 116_130),
        Range::Limited => ((i32::from(y) - 16) * 76_309, 104_597, 25_675, 53_279, 132_201),
    };
    let clamp = |v: i32| ((v + 32_768) >> 16).clamp(0, 255) as u8;
    [clamp(y + r * cr), clamp(y - g_cb * cb - g_cr * cr), clamp(y + b * cb)]
}

/// Luma, stretched to all 256 codes.
#[inline(always)]
pub fn full_luma(range: Range, y: u8) -> u8 {
    match range {
        Range::Full => y,
        Range::Limited => (((i32::from(y) - 16) * 76_309 + 32_768) >> 16).clamp(0, 255) as u8,
    }
}
