//! What travels over a link: the media bus formats by the names that `media-ctl` reads.

use std::fmt;

use serde::{Serialize, Serializer};

/// The formats of cameras, by `MEDIA_BUS_FMT_*`, in the order of their numbers.
const NAMES: &[(u32, &str)] = &[
    (0x1008, "RGB565_2X8_LE"),
    (0x100A, "RGB888_1X24"),
    (0x100E, "RBG888_1X24"),
    (0x1013, "BGR888_1X24"),
    (0x1017, "RGB565_1X16"),
    (0x101C, "RGB888_3X8"),
    (0x2001, "Y8_1X8"),
    (0x2002, "UYVY8_1_5X8"),
    (0x2003, "VYUY8_1_5X8"),
    (0x2004, "YUYV8_1_5X8"),
    (0x2005, "YVYU8_1_5X8"),
    (0x2006, "UYVY8_2X8"),
    (0x2007, "VYUY8_2X8"),
    (0x2008, "YUYV8_2X8"),
    (0x2009, "YVYU8_2X8"),
    (0x200A, "Y10_1X10"),
    (0x200B, "YUYV10_2X10"),
    (0x200C, "YVYU10_2X10"),
    (0x200D, "YUYV10_1X20"),
    (0x200E, "YVYU10_1X20"),
    (0x200F, "UYVY8_1X16"),
    (0x2010, "VYUY8_1X16"),
    (0x2011, "YUYV8_1X16"),
    (0x2012, "YVYU8_1X16"),
    (0x2013, "Y12_1X12"),
    (0x2018, "UYVY10_2X10"),
    (0x2019, "VYUY10_2X10"),
    (0x201A, "UYVY10_1X20"),
    (0x201B, "VYUY10_1X20"),
    (0x2024, "VUY8_1X24"),
    (0x2025, "YUV8_1X24"),
    (0x202D, "Y14_1X14"),
    (0x3001, "SBGGR8_1X8"),
    (0x3002, "SGRBG8_1X8"),
    (0x3007, "SBGGR10_1X10"),
    (0x3008, "SBGGR12_1X12"),
    (0x300A, "SGRBG10_1X10"),
    (0x300E, "SGBRG10_1X10"),
    (0x300F, "SRGGB10_1X10"),
    (0x3010, "SGBRG12_1X12"),
    (0x3011, "SGRBG12_1X12"),
    (0x3012, "SRGGB12_1X12"),
    (0x3013, "SGBRG8_1X8"),
    (0x3014, "SRGGB8_1X8"),
    (0x3019, "SBGGR14_1X14"),
    (0x301A, "SGBRG14_1X14"),
    (0x301B, "SGRBG14_1X14"),
    (0x301C, "SRGGB14_1X14"),
    (0x301D, "SBGGR16_1X16"),
    (0x301E, "SGBRG16_1X16"),
    (0x301F, "SGRBG16_1X16"),
    (0x3020, "SRGGB16_1X16"),
    (0x4001, "JPEG_1X8"),
];

/// `MEDIA_BUS_FMT_YUYV8_2X8`, what Rockchip's image processor gives.
pub(super) const YUYV8_2X8: u32 = 0x2008;
/// `MEDIA_BUS_FMT_YUV8_1X24`, what the pipes of the i.MX8 give.
pub(super) const YUV8_1X24: u32 = 0x2025;
/// `MEDIA_BUS_FMT_RGB888_1X24`.
pub(super) const RGB888_1X24: u32 = 0x100A;

/// What one end of a link has or expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PadFormat {
    /// `MEDIA_BUS_FMT_*`.
    pub code: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl PadFormat {
    /// Whether it is the sensor's mosaic, from which nobody has made colours yet.
    pub fn is_mosaic(self) -> bool {
        self.code & 0xF000 == 0x3000
    }

    pub(super) fn with_code(self, code: u32) -> Self {
        Self { code, ..self }
    }
}

/// As in `SRGGB10_1X10/1640x1232`; a format without a name here by its number.
impl fmt::Display for PadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.binary_search_by_key(&self.code, |(code, _)| *code) {
            Ok(at) => f.write_str(NAMES[at].1)?,
            Err(_) => write!(f, "{:#06x}", self.code)?,
        }
        write!(f, "/{}x{}", self.width, self.height)
    }
}

impl Serialize for PadFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_the_names_that_media_ctl_reads() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
        let named = |code| PadFormat { code, width: 640, height: 480 }.to_string();
        assert_eq!(named(0x300F), "SRGGB10_1X10/640x480");
        assert_eq!(named(YUYV8_2X8), "YUYV8_2X8/640x480");
        assert_eq!(named(YUV8_1X24), "YUV8_1X24/640x480");
        assert_eq!(named(RGB888_1X24), "RGB888_1X24/640x480");
        assert_eq!(named(0x0001), "0x0001/640x480");
        let mosaic = |code| PadFormat { code, width: 1, height: 1 }.is_mosaic();
        assert!(mosaic(0x3001) && mosaic(0x3020) && !mosaic(YUYV8_2X8) && !mosaic(0x4001));
    }
}
