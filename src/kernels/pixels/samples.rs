//! A camera's samples of one row, and what colour they are.

/// How codes become colours: the span of the luma and chroma codes, and whose matrix they were
/// made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Range {
    /// Luma 16..=235, chroma 16..=240, BT.601: most cameras' YUV.
    #[default]
    Limited,
    /// All 256 codes, BT.601: JPEG.
    Full,
    /// Luma 16..=235, chroma 16..=240, BT.709: HDMI at 720 lines and above.
    LimitedHd,
    /// All 256 codes, BT.709.
    FullHd,
}

impl Range {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Limited, Self::Full, Self::LimitedHd, Self::FullHd];

    /// Whether luma uses all 256 codes.
    pub fn is_full(self) -> bool {
        matches!(self, Self::Full | Self::FullHd)
    }
}

/// The order of the four bytes that hold two pixels of packed 4:2:2, where it is not that of
/// [`SampleLine::Yuyv`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackedOrder {
    /// Cb Y0 Cr Y1.
    Uyvy,
    /// Y0 Cr Y1 Cb.
    Yvyu,
    /// Cr Y0 Cb Y1.
    Vyuy,
}

impl PackedOrder {
    /// Where Y0, Cb, Y1 and Cr lie in four bytes.
    #[inline(always)]
    pub(super) const fn places(self) -> [usize; 4] {
        match self {
            Self::Uyvy => [1, 0, 3, 2],
            Self::Yvyu => [0, 3, 2, 1],
            Self::Vyuy => [1, 2, 3, 0],
        }
    }
}

/// How luma of more than 8 bits lies in memory. What is below the upper 8 bits is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeepLuma {
    /// Two bytes a pixel, the lower first; so many bits count, the others are zero.
    Words {
        /// 8 to 16.
        bits: u8,
    },
    /// MIPI's packed 10 bits: the upper bytes of four pixels, then a byte with the rest of all.
    Packed10,
    /// MIPI's packed 12 bits: the upper bytes of two pixels, then a byte with the rest of both.
    Packed12,
}

impl DeepLuma {
    /// The bytes that `pixels` pixels take, groups begun counted whole.
    pub(crate) const fn bytes(self, pixels: usize) -> usize {
        match self {
            Self::Words { .. } => pixels * 2,
            Self::Packed10 => pixels.div_ceil(4) * 5,
            Self::Packed12 => pixels.div_ceil(2) * 3,
        }
    }

    /// The upper 8 bits of the pixel `x` of `row`.
    #[inline(always)]
    pub(super) fn upper(self, row: &[u8], x: usize) -> u8 {
        match self {
            Self::Words { bits } => {
                let code = u16::from_le_bytes([row[x * 2], row[x * 2 + 1]]);
                // A driver that sets more bits than it says gives white, not noise.
                (code >> (bits - 8)).min(255) as u8
            }
            Self::Packed10 => row[x / 4 * 5 + x % 4],
            Self::Packed12 => row[x / 2 * 3 + x % 2],
        }
    }
}

/// Lines that hold what a [`SampleLine`] holds in another order. Kernels bring them into its order
/// a few pixels at a time.
#[derive(Clone, Copy)]
pub enum OtherLine<'a> {
    /// Four bytes for two pixels; the last pair is whole even where its second pixel is not meant.
    Packed {
        /// Which byte is what.
        order: PackedOrder,
        /// All bytes.
        all: &'a [u8],
    },
    /// Chroma as Cr, Cb for two pixels.
    Nv21 {
        /// A byte a pixel.
        luma: &'a [u8],
        /// Two bytes for two pixels.
        chroma: &'a [u8],
    },
    /// Chroma for each pixel.
    Nv24 {
        /// A byte a pixel.
        luma: &'a [u8],
        /// Two bytes a pixel.
        chroma: &'a [u8],
        /// Whether Cr comes before Cb.
        cr_first: bool,
    },
    /// Luma alone, of more than 8 bits.
    Deep {
        /// How.
        luma: DeepLuma,
        /// The row from its beginning.
        row: &'a [u8],
        /// Where in the row the line begins.
        from: usize,
    },
    /// Red, green and blue in bytes.
    Rgb {
        /// Bytes a pixel, 3 or 4.
        step: usize,
        /// Which of them are red, green and blue.
        places: [usize; 3],
        /// All bytes.
        all: &'a [u8],
    },
    /// Five bits of red, six of green, five of blue, the lower byte first.
    Rgb565(&'a [u8]),
}

impl OtherLine<'_> {
    fn holds(&self, pixels: usize) -> bool {
        let pairs = pixels.div_ceil(2);
        match *self {
            Self::Packed { all, .. } => all.len() == pairs * 4,
            Self::Nv21 { luma, chroma } => luma.len() == pixels && chroma.len() == pairs * 2,
            Self::Nv24 { luma, chroma, .. } => luma.len() == pixels && chroma.len() == pixels * 2,
            Self::Deep { luma, row, from } => row.len() >= luma.bytes(from + pixels),
            Self::Rgb { step, places, all } => {
                all.len() == pixels * step && places.iter().all(|p| *p < step)
            }
            Self::Rgb565(all) => all.len() == pixels * 2,
        }
    }

    fn skip(&self, pixel: usize) -> Self {
        let half = pixel / 2;
        match *self {
            Self::Packed { order, all } => Self::Packed { order, all: &all[half * 4..] },
            Self::Nv21 { luma, chroma } => {
                Self::Nv21 { luma: &luma[pixel..], chroma: &chroma[half * 2..] }
            }
            Self::Nv24 { luma, chroma, cr_first } => {
                Self::Nv24 { luma: &luma[pixel..], chroma: &chroma[pixel * 2..], cr_first }
            }
            Self::Deep { luma, row, from } => Self::Deep { luma, row, from: from + pixel },
            Self::Rgb { step, places, all } => {
                Self::Rgb { step, places, all: &all[pixel * step..] }
            }
            Self::Rgb565(all) => Self::Rgb565(&all[pixel * 2..]),
        }
    }

    #[inline(always)]
    fn pixel(&self, x: usize) -> PixelSamples {
        let pair = x / 2;
        match *self {
            Self::Packed { order, all } => {
                let [first, cb, second, cr] = order.places();
                let four = &all[pair * 4..pair * 4 + 4];
                let luma = if x.is_multiple_of(2) { four[first] } else { four[second] };
                PixelSamples::Ycc([luma, four[cb], four[cr]])
            }
            Self::Nv21 { luma, chroma } => {
                PixelSamples::Ycc([luma[x], chroma[pair * 2 + 1], chroma[pair * 2]])
            }
            Self::Nv24 { luma, chroma, cr_first } => {
                let (first, second) = (chroma[x * 2], chroma[x * 2 + 1]);
                let [cb, cr] = if cr_first { [second, first] } else { [first, second] };
                PixelSamples::Ycc([luma[x], cb, cr])
            }
            Self::Deep { luma, row, from } => PixelSamples::Luma(luma.upper(row, from + x)),
            Self::Rgb { step, places, all } => {
                let bytes = &all[x * step..x * step + step];
                PixelSamples::Rgb(places.map(|p| bytes[p]))
            }
            Self::Rgb565(all) => {
                let code = u16::from_le_bytes([all[x * 2], all[x * 2 + 1]]);
                PixelSamples::Rgb(from_565(code))
            }
        }
    }
}

/// Red, green and blue of all 256 codes; the upper bits are repeated below, so that white is white.
#[inline(always)]
pub(super) fn from_565(code: u16) -> [u8; 3] {
    let five = |v: u16| ((v << 3) | (v >> 2)) as u8;
    let six = |v: u16| ((v << 2) | (v >> 4)) as u8;
    [five(code >> 11), six((code >> 5) & 63), five(code & 31)]
}

/// The samples of one pixel.
enum PixelSamples {
    Luma(u8),
    Ycc([u8; 3]),
    Rgb([u8; 3]),
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
    /// In another order.
    Other(OtherLine<'a>),
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
            Self::Other(ref line) => line.holds(pixels),
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
            Self::Other(ref line) => Self::Other(line.skip(pixel)),
        }
    }

    #[inline(always)]
    fn pixel(&self, x: usize) -> PixelSamples {
        let pair = x / 2;
        match *self {
            Self::Grey(luma) => PixelSamples::Luma(luma[x]),
            Self::Yuyv(all) => {
                PixelSamples::Ycc([all[x * 2], all[pair * 4 + 1], all[pair * 4 + 3]])
            }
            Self::Nv12 { luma, chroma } => {
                PixelSamples::Ycc([luma[x], chroma[pair * 2], chroma[pair * 2 + 1]])
            }
            Self::I420 { luma, cb, cr } => PixelSamples::Ycc([luma[x], cb[pair], cr[pair]]),
            Self::Ycc444(all) => PixelSamples::Ycc([all[x * 3], all[x * 3 + 1], all[x * 3 + 2]]),
            Self::Rgb8(all) => PixelSamples::Rgb([all[x * 3], all[x * 3 + 1], all[x * 3 + 2]]),
            Self::Other(ref line) => line.pixel(x),
        }
    }

    /// Red, green, blue of the pixel `x`.
    #[inline(always)]
    pub fn rgb(&self, x: usize, range: Range) -> [u8; 3] {
        match self.pixel(x) {
            PixelSamples::Luma(luma) => [full_luma(range, luma); 3],
            PixelSamples::Ycc([luma, cb, cr]) => ycc_to_rgb(range, luma, cb, cr),
            PixelSamples::Rgb(rgb) => rgb,
        }
    }

    /// Brightness of the pixel `x`, 0 to 255.
    #[inline(always)]
    pub fn luma(&self, x: usize, range: Range) -> u8 {
        match self.pixel(x) {
            PixelSamples::Luma(luma) | PixelSamples::Ycc([luma, ..]) => full_luma(range, luma),
            PixelSamples::Rgb(rgb) => rgb_luma(rgb),
        }
    }
}

/// Brightness of red, green and blue: BT.601's weights in 1/256.
#[inline(always)]
pub fn rgb_luma(rgb: [u8; 3]) -> u8 {
    let [r, g, b] = rgb.map(u32::from);
    ((77 * r + 150 * g + 29 * b + 128) >> 8) as u8
}

/// BT.601 and BT.709 in 16.16 fixed point. Public so that tests and kernels share the one
/// definition.
///
/// Full: R = Y + 1.402 Cr', G = Y - 0.344136 Cb' - 0.714136 Cr', B = Y + 1.772 Cb' (JFIF), or
/// R = Y + 1.5748 Cr', G = Y - 0.187324 Cb' - 0.468124 Cr', B = Y + 1.8556 Cb' (BT.709, from its
/// Kr .2126 and Kb .0722). Limited: the same after luma is stretched by 255/219 and chroma by
/// 255/224.
#[inline(always)]
pub fn ycc_to_rgb(range: Range, y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    let [r, g_cb, g_cr, b] = match range {
        Range::Full => [91_881, 22_554, 46_802, 116_130],
        Range::Limited => [104_597, 25_675, 53_279, 132_201],
        Range::FullHd => [103_206, 12_276, 30_679, 121_609],
        Range::LimitedHd => [117_489, 13_975, 34_925, 138_438],
    };
    let y = if range.is_full() { i32::from(y) << 16 } else { (i32::from(y) - 16) * 76_309 };
    let clamp = |v: i32| ((v + 32_768) >> 16).clamp(0, 255) as u8;
    [clamp(y + r * cr), clamp(y - g_cb * cb - g_cr * cr), clamp(y + b * cb)]
}

/// Luma, stretched to all 256 codes.
#[inline(always)]
pub fn full_luma(range: Range, y: u8) -> u8 {
    match range.is_full() {
        true => y,
        false => (((i32::from(y) - 16) * 76_309 + 32_768) >> 16).clamp(0, 255) as u8,
    }
}
