//! Which of a driver's formats is taken, and what the driver's answer means. No call into the
//! kernel.

use serde::{Deserialize, Serialize};
use v4l::FourCC;
use v4l::v4l_sys as sys;

use super::super::{MAX_FRAME_BYTES, Payload};
use crate::frame::{FrameError, Layout, PixelFormat, Range};

/// Most formats that are looked at; drivers list a dozen.
pub(super) const MAX_FORMATS: usize = 64;

/// The formats that a driver lists.
pub(super) type Formats = heapless::Vec<FourCC, MAX_FORMATS>;

/// Most sizes of one format that are looked at.
pub(super) const MAX_SIZES: usize = 64;

/// A size that a driver offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Width and height.
    Exactly(u32, u32),
    /// Any from the first to the second, in the driver's steps.
    Between((u32, u32), (u32, u32)),
}

/// The sizes of one format.
pub(super) type Sizes = heapless::Vec<Size, MAX_SIZES>;

/// A format and what the driver says of it for the wanted size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Offer {
    pub(super) fourcc: FourCC,
    /// Most frames a second; `None` where the driver does not say.
    pub(super) fps: Option<f32>,
}

/// The offers of one device.
pub(super) type Offers = heapless::Vec<Offer, MAX_FORMATS>;

/// A format that is read here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraFormat {
    /// Uncompressed up to `raw_pixels`, MJPG above.
    #[default]
    Auto,
    /// Packed 4:2:2 (`YUYV`).
    Yuyv,
    /// Luma, then interleaved chroma (`NV12`).
    Nv12,
    /// Planar 4:2:0 (`YU12`).
    I420,
    /// Luma alone (`GREY`).
    Grey,
    /// JPEG frames (`MJPG`, `JPEG`).
    Mjpg,
}

impl CameraFormat {
    /// The name used in configuration and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Yuyv => "yuyv",
            Self::Nv12 => "nv12",
            Self::I420 => "i420",
            Self::Grey => "grey",
            Self::Mjpg => "mjpg",
        }
    }
}

/// Our name for a driver's format, or `None` where it is not read here.
pub(super) fn known(fourcc: FourCC) -> Option<CameraFormat> {
    Some(match &fourcc.repr {
        b"YUYV" => CameraFormat::Yuyv,
        b"NV12" => CameraFormat::Nv12,
        b"YU12" => CameraFormat::I420,
        b"GREY" => CameraFormat::Grey,
        b"MJPG" | b"JPEG" => CameraFormat::Mjpg,
        _ => return None,
    })
}

/// Whether a format is a sensor's unprocessed mosaic: 8 to 16 bits, packed or not, in any phase.
pub(super) fn is_bayer(fourcc: FourCC) -> bool {
    let [a, b, c, d] = fourcc.repr;
    let pair = [a, b];
    let phase = matches!(&pair, b"BA" | b"BG" | b"GB" | b"GR" | b"RG");
    // SRGGB8 is `RGGB`, SBGGR8 is `BA81`; 10 to 16 bits are `BG10`, `RG12`, `BYR2`; packed ones are
    // `pBAA`, `pgCC`.
    matches!(&fourcc.repr, b"RGGB" | b"GRBG" | b"GBRG" | b"BA81" | b"BYR2")
        || (phase && c == b'1' && d.is_ascii_digit())
        || (a == b'p'
            && matches!(b, b'B' | b'G' | b'g' | b'R')
            && matches!(c, b'A' | b'C' | b'E' | b'F' | b'P'))
        // Raspberry Pi 5's compressed mosaic: `PC1B` and its relatives.
        || (a == b'P' && b == b'C' && matches!(c, b'1' | b'2') && d.is_ascii_alphabetic())
}

/// The order of preference. `watchpost bench formats` measures what each costs from the captured
/// frame to the detector's input. The three uncompressed ones with colour differ by less than a
/// tenth, so those with fewer bytes a pixel come first; MJPG costs ten times as much and five times
/// at 1280x720. Grey is the cheapest, and last because colour is lost.
const CHEAPEST_FIRST: [CameraFormat; 5] = [
    CameraFormat::Nv12,
    CameraFormat::I420,
    CameraFormat::Yuyv,
    CameraFormat::Mjpg,
    CameraFormat::Grey,
];

/// What is wanted of a camera.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) format: CameraFormat,
    pub(super) pixels: u64,
    /// 0: any.
    pub(super) fps: u32,
    /// See [`super::V4l2Config::raw_pixels`].
    pub(super) raw_pixels: u32,
}

/// Chooses among what the driver lists: the cheapest to read of those that come at the wanted rate;
/// where none does, the fastest. Of a driver that lists no rates, uncompressed up to `raw_pixels`
/// and MJPG above.
pub(super) fn choose(wanted: &Wanted, offered: &[Offer]) -> Option<FourCC> {
    use CameraFormat::{Auto, Grey, I420, Mjpg, Nv12, Yuyv};
    let first = |order: &[CameraFormat], fits: &dyn Fn(&Offer) -> bool| {
        order
            .iter()
            .find_map(|want| offered.iter().find(|o| known(o.fourcc) == Some(*want) && fits(o)))
    };
    if wanted.format != Auto {
        return first(&[wanted.format], &|_| true).map(|o| o.fourcc);
    }
    if wanted.fps > 0 && offered.iter().any(|o| o.fps.is_some() && known(o.fourcc).is_some()) {
        // 29.97 is as good as 30.
        let in_time = |o: &Offer| o.fps.is_some_and(|fps| fps >= 0.99 * wanted.fps as f32);
        let fastest = || {
            let rate = |want: &CameraFormat| {
                first(std::slice::from_ref(want), &|o| o.fps.is_some())
                    .and_then(|o| o.fps.map(|fps| (fps, o)))
            };
            // The first of several equally fast ones: the cheapest.
            CHEAPEST_FIRST
                .iter()
                .filter_map(rate)
                .reduce(|a, b| if b.0 > a.0 { b } else { a })
                .map(|(_, o)| o)
        };
        return first(&CHEAPEST_FIRST, &in_time).or_else(fastest).map(|o| o.fourcc);
    }
    let order = if wanted.pixels <= u64::from(wanted.raw_pixels) {
        CHEAPEST_FIRST
    } else {
        // Beyond that, USB 2 carries uncompressed frames at a few a second only.
        [Mjpg, Nv12, I420, Yuyv, Grey]
    };
    first(&order, &|_| true).map(|o| o.fourcc)
}

/// What the driver answered to our request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) fourcc: FourCC,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from row to row; 0 for compressed formats.
    pub(super) stride: u32,
    pub(super) colorspace: u32,
    pub(super) quantization: u32,
}

/// Why the driver's answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Format(FourCC),
    Frame(FrameError),
    TooLarge(usize),
}

impl Granted {
    /// What frames in this format are.
    pub(super) fn payload(&self) -> Result<Payload, Unreadable> {
        let format = match known(self.fourcc) {
            Some(CameraFormat::Yuyv) => PixelFormat::Yuyv,
            Some(CameraFormat::Nv12) => PixelFormat::Nv12,
            Some(CameraFormat::I420) => PixelFormat::I420,
            Some(CameraFormat::Grey) => PixelFormat::Grey,
            Some(CameraFormat::Mjpg) => {
                return Ok(Payload::Jpeg { width: self.width, height: self.height });
            }
            Some(CameraFormat::Auto) | None => return Err(Unreadable::Format(self.fourcc)),
        };
        let (range, width, height) = (self.range(), self.width, self.height);
        // Some drivers leave the stride out; the rows then follow each other directly.
        let layout = match self.stride as usize {
            0 => Layout::packed(format, range, width, height),
            stride => Layout::with_stride(format, range, width, height, stride),
        }
        .map_err(Unreadable::Frame)?;
        match layout.min_len() {
            bytes if bytes > MAX_FRAME_BYTES => Err(Unreadable::TooLarge(bytes)),
            _ => Ok(Payload::Raw(layout)),
        }
    }

    /// `V4L2_MAP_QUANTIZATION_DEFAULT` of linux/videodev2.h for YUV: limited unless the colour
    /// space is JPEG's.
    fn range(&self) -> Range {
        match self.quantization {
            sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE => Range::Full,
            sys::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE => Range::Limited,
            _ if self.colorspace == sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG => Range::Full,
            _ => Range::Limited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&[u8; 4]]) -> Vec<Offer> {
        names.iter().map(|n| Offer { fourcc: FourCC::new(n), fps: None }).collect()
    }

    fn pick(format: CameraFormat, pixels: u64, offered: &[Offer]) -> Option<[u8; 4]> {
        let wanted = Wanted { format, pixels, fps: 15, raw_pixels: 640 * 480 };
        choose(&wanted, offered).map(|f| f.repr)
    }

    #[test]
    fn of_a_driver_without_rates_auto_takes_raw_for_small_pictures_and_mjpg_for_large_ones() {
        let c920 = list(&[b"YUYV", b"H264", b"MJPG"]);
        assert_eq!(pick(CameraFormat::Auto, 640 * 480, &c920), Some(*b"YUYV"));
        assert_eq!(pick(CameraFormat::Auto, 1280 * 720, &c920), Some(*b"MJPG"));
        assert_eq!(
            pick(CameraFormat::Auto, 1280 * 720, &list(&[b"GREY", b"YUYV", b"NV12"])),
            Some(*b"NV12")
        );
        assert_eq!(pick(CameraFormat::Auto, 320 * 240, &list(&[b"GREY"])), Some(*b"GREY"));
        assert_eq!(pick(CameraFormat::Mjpg, 320 * 240, &list(&[b"YUYV", b"JPEG"])), Some(*b"JPEG"));
        assert_eq!(pick(CameraFormat::Nv12, 320 * 240, &c920), None);
        assert_eq!(pick(CameraFormat::Auto, 320 * 240, &list(&[b"H264", b"pBAA"])), None);
    }

    #[test]
    fn auto_takes_the_cheapest_format_that_comes_at_the_wanted_rate_and_else_the_fastest() {
        let rates = |offers: &[(&[u8; 4], f32)]| -> Vec<Offer> {
            offers
                .iter()
                .map(|(n, fps)| Offer { fourcc: FourCC::new(n), fps: Some(*fps) })
                .collect()
        };
        let auto =
            |offers: &[(&[u8; 4], f32)]| pick(CameraFormat::Auto, 1280 * 720, &rates(offers));
        // USB 2: uncompressed at ten frames a second only.
        assert_eq!(auto(&[(b"YUYV", 10.0), (b"MJPG", 30.0)]), Some(*b"MJPG"));
        // USB 3 or a board's own bus.
        assert_eq!(auto(&[(b"MJPG", 30.0), (b"YUYV", 30.0)]), Some(*b"YUYV"));
        assert_eq!(auto(&[(b"YUYV", 14.99), (b"MJPG", 30.0)]), Some(*b"YUYV"));
        assert_eq!(auto(&[(b"YUYV", 5.0), (b"MJPG", 10.0)]), Some(*b"MJPG"));
        assert_eq!(auto(&[(b"YUYV", 10.0), (b"MJPG", 10.0)]), Some(*b"YUYV"));
        assert_eq!(auto(&[(b"GREY", 60.0), (b"MJPG", 30.0)]), Some(*b"MJPG"));
        assert_eq!(auto(&[(b"H264", 60.0)]), None);
    }

    #[test]
    fn mosaics_are_told_from_pictures() {
        for bayer in [
            b"pBAA", b"BG10", b"RG10", b"RGGB", b"BA81", b"GRBG", b"BYR2", b"pgAA", b"pRCC",
            b"PC1B", b"GB12",
        ] {
            assert!(is_bayer(FourCC::new(bayer)), "{bayer:?}");
        }
        for picture in [
            b"YUYV", b"NV12", b"MJPG", b"GREY", b"YU12", b"BGR3", b"RGB3", b"RGBP", b"BGR4",
            b"H264",
        ] {
            assert!(!is_bayer(FourCC::new(picture)), "{picture:?}");
        }
    }

    fn granted(fourcc: &[u8; 4], width: u32, height: u32, stride: u32) -> Granted {
        Granted {
            fourcc: FourCC::new(fourcc),
            width,
            height,
            stride,
            colorspace: 0,
            quantization: 0,
        }
    }

    #[test]
    fn the_drivers_size_stride_and_range_are_taken() {
        // vivid answers 320x180 to 160x120, and some drivers pad rows.
        let mut g = granted(b"YUYV", 320, 180, 704);
        let expected =
            Layout::with_stride(PixelFormat::Yuyv, Range::Limited, 320, 180, 704).unwrap();
        assert_eq!(g.payload(), Ok(Payload::Raw(expected)));
        g.quantization = sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE;
        assert!(matches!(g.payload(), Ok(Payload::Raw(l)) if l.range() == Range::Full));
        (g.quantization, g.colorspace) = (0, sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG);
        assert!(matches!(g.payload(), Ok(Payload::Raw(l)) if l.range() == Range::Full));
        g.quantization = sys::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE;
        assert!(matches!(g.payload(), Ok(Payload::Raw(l)) if l.range() == Range::Limited));
        assert!(
            matches!(granted(b"GREY", 8, 8, 0).payload(), Ok(Payload::Raw(l)) if l.min_len() == 64)
        );
        assert!(matches!(
            granted(b"YUYV", 8, 8, 15).payload(),
            Err(Unreadable::Frame(FrameError::Stride { .. }))
        ));
        assert!(matches!(
            granted(b"YUYV", 16_384, 16_384, 0).payload(),
            Err(Unreadable::TooLarge(_))
        ));
        assert!(matches!(granted(b"pBAA", 8, 8, 0).payload(), Err(Unreadable::Format(_))));
    }
}
