//! Which of a driver's formats is taken, and what the driver's answer means. No call into the
//! kernel.

use serde::{Deserialize, Serialize};
use v4l::FourCC;
use v4l::v4l_sys as sys;

use super::super::{MAX_FRAME_BYTES, Payload};
use crate::frame::{FrameError, Layout, PixelFormat, PlaneRows, Range, Scan};

/// Most formats that are looked at; cameras list a dozen, the kernel's `vivid` 83, and those
/// in several buffers last.
pub(super) const MAX_FORMATS: usize = 128;

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

/// A format that is read here; in the configuration a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum CameraFormat {
    /// Uncompressed up to `raw_pixels`, MJPG above.
    #[default]
    Auto,
    /// Pixels, in one buffer or in one for each plane.
    Raw(PixelFormat),
    /// JPEG frames (`MJPG`, `JPEG`).
    Mjpg,
    /// The one that the driver calls so; one of [`KNOWN`]. Some drivers offer a format twice, with
    /// a frame's planes in one buffer and in several.
    Exactly(&'static [u8; 4]),
}

impl CameraFormat {
    /// The name used in configuration and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Raw(format) => format.name(),
            Self::Mjpg => "mjpg",
            Self::Exactly(fourcc) => {
                std::str::from_utf8(fourcc).expect("names in KNOWN are ASCII").trim_end()
            }
        }
    }
}

impl From<CameraFormat> for &'static str {
    fn from(format: CameraFormat) -> Self {
        format.name()
    }
}

impl TryFrom<String> for CameraFormat {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let all = [Self::Auto, Self::Mjpg].into_iter().chain(KNOWN.iter().map(|k| k.1));
        let drivers = KNOWN.iter().map(|k| Self::Exactly(k.0));
        all.clone().chain(drivers).find(|f| f.name() == name).ok_or_else(|| {
            let mut names: Vec<&str> = all.map(Self::name).collect();
            names.dedup();
            format!(
                "`{name}` is not a camera's format; write one of: {}; or a driver's own name for \
                 one of them, as in NM12",
                names.join(", ")
            )
        })
    }
}

/// The drivers' names of the formats that are read, from `linux/videodev2.h`. An `M` in the middle
/// stands for a buffer for each plane. Of formats with four bytes a pixel the fourth is opacity or
/// nothing.
const KNOWN: [(&[u8; 4], CameraFormat); 43] = [
    (b"GREY", CameraFormat::Raw(PixelFormat::Grey)),
    (b"YUYV", CameraFormat::Raw(PixelFormat::Yuyv)),
    (b"UYVY", CameraFormat::Raw(PixelFormat::Uyvy)),
    (b"YVYU", CameraFormat::Raw(PixelFormat::Yvyu)),
    (b"VYUY", CameraFormat::Raw(PixelFormat::Vyuy)),
    (b"NV12", CameraFormat::Raw(PixelFormat::Nv12)),
    (b"NM12", CameraFormat::Raw(PixelFormat::Nv12)),
    (b"NV21", CameraFormat::Raw(PixelFormat::Nv21)),
    (b"NM21", CameraFormat::Raw(PixelFormat::Nv21)),
    (b"NV16", CameraFormat::Raw(PixelFormat::Nv16)),
    (b"NM16", CameraFormat::Raw(PixelFormat::Nv16)),
    (b"NV61", CameraFormat::Raw(PixelFormat::Nv61)),
    (b"NM61", CameraFormat::Raw(PixelFormat::Nv61)),
    (b"NV24", CameraFormat::Raw(PixelFormat::Nv24)),
    (b"NV42", CameraFormat::Raw(PixelFormat::Nv42)),
    (b"YU12", CameraFormat::Raw(PixelFormat::I420)),
    (b"YM12", CameraFormat::Raw(PixelFormat::I420)),
    (b"YV12", CameraFormat::Raw(PixelFormat::Yv12)),
    (b"YM21", CameraFormat::Raw(PixelFormat::Yv12)),
    (b"422P", CameraFormat::Raw(PixelFormat::I422)),
    (b"YM16", CameraFormat::Raw(PixelFormat::I422)),
    (b"YM61", CameraFormat::Raw(PixelFormat::Yv16)),
    (b"Y10 ", CameraFormat::Raw(PixelFormat::Y10)),
    (b"Y12 ", CameraFormat::Raw(PixelFormat::Y12)),
    (b"Y14 ", CameraFormat::Raw(PixelFormat::Y14)),
    (b"Y16 ", CameraFormat::Raw(PixelFormat::Y16)),
    (b"Y10P", CameraFormat::Raw(PixelFormat::Y10p)),
    (b"Y12P", CameraFormat::Raw(PixelFormat::Y12p)),
    (b"RGB3", CameraFormat::Raw(PixelFormat::Rgb8)),
    (b"BGR3", CameraFormat::Raw(PixelFormat::Bgr8)),
    (b"XB24", CameraFormat::Raw(PixelFormat::Rgbx)),
    (b"AB24", CameraFormat::Raw(PixelFormat::Rgbx)),
    (b"XR24", CameraFormat::Raw(PixelFormat::Bgrx)),
    (b"AR24", CameraFormat::Raw(PixelFormat::Bgrx)),
    (b"BGR4", CameraFormat::Raw(PixelFormat::Bgrx)),
    (b"BX24", CameraFormat::Raw(PixelFormat::Xrgb)),
    (b"BA24", CameraFormat::Raw(PixelFormat::Xrgb)),
    (b"RGB4", CameraFormat::Raw(PixelFormat::Xrgb)),
    (b"RX24", CameraFormat::Raw(PixelFormat::Xbgr)),
    (b"RA24", CameraFormat::Raw(PixelFormat::Xbgr)),
    (b"RGBP", CameraFormat::Raw(PixelFormat::Rgb565)),
    (b"MJPG", CameraFormat::Mjpg),
    (b"JPEG", CameraFormat::Mjpg),
];

/// Our name for a driver's format, or `None` where it is not read here.
pub(super) fn known(fourcc: FourCC) -> Option<CameraFormat> {
    KNOWN.iter().find(|(name, _)| **name == fourcc.repr).map(|(_, format)| *format)
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

/// Uncompressed formats with colour, in the order of preference. `watchpost bench formats` measures
/// what each costs from the captured frame to the detector's input: they differ little, so those
/// with fewer bytes a pixel come first, and of these the ones that a kernel reads as they are.
const COLOUR: [PixelFormat; 21] = [
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::Yv12,
    PixelFormat::Nv21,
    PixelFormat::Nv16,
    PixelFormat::I422,
    PixelFormat::Yv16,
    PixelFormat::Yuyv,
    PixelFormat::Nv61,
    PixelFormat::Uyvy,
    PixelFormat::Yvyu,
    PixelFormat::Vyuy,
    PixelFormat::Nv24,
    PixelFormat::Nv42,
    PixelFormat::Rgb8,
    PixelFormat::Bgr8,
    PixelFormat::Rgbx,
    PixelFormat::Bgrx,
    PixelFormat::Xrgb,
    PixelFormat::Xbgr,
    PixelFormat::Rgb565,
];

/// Without colour: the cheapest, and last because colour is lost.
const LUMA: [PixelFormat; 7] = [
    PixelFormat::Grey,
    PixelFormat::Y10,
    PixelFormat::Y12,
    PixelFormat::Y14,
    PixelFormat::Y16,
    PixelFormat::Y10p,
    PixelFormat::Y12p,
];

/// The order of preference. MJPG costs ten times as much as an uncompressed format, five times at
/// 1280x720.
fn order(jpeg_first: bool) -> impl Iterator<Item = CameraFormat> + Clone {
    let jpeg = [CameraFormat::Mjpg];
    let before = jpeg_first.then_some(jpeg).into_iter().flatten();
    let after = (!jpeg_first).then_some(jpeg).into_iter().flatten();
    before
        .chain(COLOUR.into_iter().map(CameraFormat::Raw))
        .chain(after)
        .chain(LUMA.into_iter().map(CameraFormat::Raw))
}

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
    let of = |want: CameraFormat, fits: &dyn Fn(&Offer) -> bool| {
        offered.iter().find(|o| known(o.fourcc) == Some(want) && fits(o))
    };
    match wanted.format {
        CameraFormat::Auto => {}
        CameraFormat::Exactly(fourcc) => {
            return offered.iter().find(|o| o.fourcc.repr == *fourcc).map(|o| o.fourcc);
        }
        format => return of(format, &|_| true).map(|o| o.fourcc),
    }
    if wanted.fps > 0 && offered.iter().any(|o| o.fps.is_some() && known(o.fourcc).is_some()) {
        // 29.97 is as good as 30.
        let in_time = |o: &Offer| o.fps.is_some_and(|fps| fps >= 0.99 * wanted.fps as f32);
        let fastest = || {
            // The first of several equally fast ones: the cheapest.
            order(false)
                .filter_map(|want| of(want, &|o| o.fps.is_some()))
                .reduce(|a, b| if b.fps > a.fps { b } else { a })
        };
        return order(false).find_map(|want| of(want, &in_time)).or_else(fastest).map(|o| o.fourcc);
    }
    // Beyond that, USB 2 carries uncompressed frames at a few a second only.
    let jpeg_first = wanted.pixels > u64::from(wanted.raw_pixels);
    order(jpeg_first).find_map(|want| of(want, &|_| true)).map(|o| o.fourcc)
}

/// Most buffers that hold one frame: one for each plane.
pub(super) const MAX_PLANES: usize = 3;

/// How one of a frame's buffers is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GrantedPlane {
    /// Bytes from row to row; 0 for compressed formats.
    pub(super) stride: u32,
}

/// What the driver answered to our request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) fourcc: FourCC,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) planes: heapless::Vec<GrantedPlane, MAX_PLANES>,
    /// `V4L2_FIELD_*`.
    pub(super) field: u32,
    pub(super) colorspace: u32,
    /// `V4L2_YCBCR_ENC_*`.
    pub(super) encoding: u32,
    pub(super) quantization: u32,
}

/// Why the driver's answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Format(FourCC),
    Frame(FrameError),
    TooLarge(usize),
    /// So many buffers for a frame of this format.
    Planes(FourCC, usize),
    /// `V4L2_FIELD_*` that is not in the kernel's documentation.
    Field(u32),
}

/// What frames are, and what is taken of each buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BufferPlan {
    pub(super) payload: Payload,
    /// Bytes of each buffer that make the frame, one after the other; one entry, and the fewest
    /// that a picture can have, for compressed formats.
    pub(super) needs: heapless::Vec<usize, MAX_PLANES>,
}

impl BufferPlan {
    fn one(payload: Payload, need: usize) -> Self {
        Self { payload, needs: heapless::Vec::from_iter([need]) }
    }
}

impl Granted {
    /// What frames in this format are.
    pub(super) fn plan(&self) -> Result<BufferPlan, Unreadable> {
        let (width, height) = (self.width, self.height);
        let format = match known(self.fourcc) {
            Some(CameraFormat::Raw(format)) => format,
            Some(CameraFormat::Mjpg) => {
                // SOI and EOI; whether the picture is whole is the decoder's business.
                return Ok(BufferPlan::one(Payload::Jpeg { width, height }, 4));
            }
            Some(CameraFormat::Auto | CameraFormat::Exactly(_)) | None => {
                return Err(Unreadable::Format(self.fourcc));
            }
        };
        let range = self.range();
        let (layout, needs) = match self.planes.as_slice() {
            [only] => {
                // Some drivers leave the stride out; the rows then follow each other directly.
                let layout = match only.stride as usize {
                    0 => Layout::packed(format, range, width, height),
                    stride => Layout::with_stride(format, range, width, height, stride),
                };
                let layout = layout.map_err(Unreadable::Frame)?;
                (layout, heapless::Vec::from_iter([layout.min_len()]))
            }
            planes if planes.len() == format.planes() => {
                let mut needs = heapless::Vec::new();
                let mut rows: heapless::Vec<PlaneRows, MAX_PLANES> = heapless::Vec::new();
                let mut offset: usize = 0;
                for (plane, granted) in planes.iter().enumerate() {
                    let stride = granted.stride as usize;
                    let need = format.plane_bytes(plane, (width, height), stride);
                    if need > MAX_FRAME_BYTES {
                        return Err(Unreadable::TooLarge(need));
                    }
                    rows.push(PlaneRows { offset, stride }).expect("as many as planes");
                    needs.push(need).expect("as many as planes");
                    offset += need;
                }
                let layout = Layout::with_planes(format, range, width, height, &rows)
                    .map_err(Unreadable::Frame)?;
                (layout, needs)
            }
            planes => return Err(Unreadable::Planes(self.fourcc, planes.len())),
        };
        let layout = layout.of_field(self.scan()?).map_err(Unreadable::Frame)?;
        match layout.min_len() {
            bytes if bytes > MAX_FRAME_BYTES => Err(Unreadable::TooLarge(bytes)),
            _ => Ok(BufferPlan { payload: Payload::Raw(layout), needs }),
        }
    }

    /// Which rows are used, from what the kernel's documentation says of field orders.
    fn scan(&self) -> Result<Scan, Unreadable> {
        Ok(match self.field {
            sys::v4l2_field_V4L2_FIELD_ANY | sys::v4l2_field_V4L2_FIELD_NONE => Scan::Progressive,
            sys::v4l2_field_V4L2_FIELD_INTERLACED
            | sys::v4l2_field_V4L2_FIELD_INTERLACED_TB
            | sys::v4l2_field_V4L2_FIELD_INTERLACED_BT => Scan::Interlaced,
            sys::v4l2_field_V4L2_FIELD_TOP
            | sys::v4l2_field_V4L2_FIELD_BOTTOM
            | sys::v4l2_field_V4L2_FIELD_ALTERNATE => Scan::OneField,
            sys::v4l2_field_V4L2_FIELD_SEQ_TB | sys::v4l2_field_V4L2_FIELD_SEQ_BT => {
                Scan::Sequential
            }
            other => return Err(Unreadable::Field(other)),
        })
    }

    /// `V4L2_MAP_QUANTIZATION_DEFAULT` and `V4L2_MAP_YCBCR_ENC_DEFAULT` of linux/videodev2.h for
    /// YUV: limited unless the colour space is JPEG's or a sensor's own. BT.2020 and SMPTE 240M are
    /// read with BT.709's matrix, the nearest that is there.
    fn range(&self) -> Range {
        let full = match self.quantization {
            sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE => true,
            sys::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE => false,
            _ => matches!(
                self.colorspace,
                sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG
                    | sys::v4l2_colorspace_V4L2_COLORSPACE_RAW
            ),
        };
        let hd = match self.encoding {
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_DEFAULT => matches!(
                self.colorspace,
                sys::v4l2_colorspace_V4L2_COLORSPACE_REC709
                    | sys::v4l2_colorspace_V4L2_COLORSPACE_DCI_P3
                    | sys::v4l2_colorspace_V4L2_COLORSPACE_BT2020
                    | sys::v4l2_colorspace_V4L2_COLORSPACE_SMPTE240M
            ),
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_601
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV601
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_SYCC => false,
            _ => true,
        };
        match (full, hd) {
            (true, false) => Range::Full,
            (false, false) => Range::Limited,
            (true, true) => Range::FullHd,
            (false, true) => Range::LimitedHd,
        }
    }
}

/// Frames a second of a time a frame; `None` where the driver says nothing.
pub(super) fn rate(period: sys::v4l2_fract) -> Option<f32> {
    let known = period.numerator != 0 && period.denominator != 0;
    known.then(|| period.denominator as f32 / period.numerator as f32)
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
        assert_eq!(pick(CameraFormat::Raw(PixelFormat::Nv12), 320 * 240, &c920), None);
        assert_eq!(pick(CameraFormat::Auto, 320 * 240, &list(&[b"H264", b"pBAA"])), None);
    }

    #[test]
    fn a_format_that_a_driver_offers_twice_is_named_as_the_driver_does() {
        let both = list(&[b"NV12", b"Y10 ", b"NM12"]);
        let named = |name: &str| CameraFormat::try_from(name.to_owned());
        for (name, taken) in [("nv12", b"NV12"), ("NV12", b"NV12"), ("NM12", b"NM12")] {
            let format = named(name).expect("is known");
            assert_eq!((format.name(), pick(format, 640 * 480, &both)), (name, Some(*taken)));
        }
        assert_eq!(pick(named("Y10").expect("is known"), 640 * 480, &both), Some(*b"Y10 "));
        assert_eq!(pick(named("NM16").expect("is known"), 640 * 480, &both), None);
        assert!(named("H264").is_err() && named("nm12").is_err());
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

    /// The driver's answer with one buffer a frame.
    fn granted(fourcc: &[u8; 4], width: u32, height: u32, stride: u32) -> Granted {
        of_planes(fourcc, width, height, &[stride])
    }

    fn of_planes(fourcc: &[u8; 4], width: u32, height: u32, strides: &[u32]) -> Granted {
        Granted {
            fourcc: FourCC::new(fourcc),
            width,
            height,
            planes: strides.iter().map(|stride| GrantedPlane { stride: *stride }).collect(),
            field: sys::v4l2_field_V4L2_FIELD_NONE,
            colorspace: 0,
            encoding: 0,
            quantization: 0,
        }
    }

    fn layout(granted: &Granted) -> Layout {
        match granted.plan().expect("readable").payload {
            Payload::Raw(layout) => layout,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_drivers_size_and_stride_are_taken() {
        // vivid answers 320x180 to 160x120, and some drivers pad rows.
        let expected =
            Layout::with_stride(PixelFormat::Yuyv, Range::Limited, 320, 180, 704).unwrap();
        assert_eq!(layout(&granted(b"YUYV", 320, 180, 704)), expected);
        assert_eq!(layout(&granted(b"GREY", 8, 8, 0)).min_len(), 64);
        assert!(matches!(
            granted(b"YUYV", 8, 8, 15).plan(),
            Err(Unreadable::Frame(FrameError::Stride { .. }))
        ));
        assert!(matches!(granted(b"YUYV", 16_384, 16_384, 0).plan(), Err(Unreadable::TooLarge(_))));
        assert!(matches!(granted(b"pBAA", 8, 8, 0).plan(), Err(Unreadable::Format(_))));
    }

    #[test]
    fn the_drivers_matrix_and_span_of_codes_are_taken() {
        let mut g = granted(b"YUYV", 8, 8, 0);
        let full = sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE;
        let limited = sys::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE;
        let (jpeg, hd) = (
            sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG,
            sys::v4l2_colorspace_V4L2_COLORSPACE_REC709,
        );
        let (sd_matrix, hd_matrix) = (
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_601,
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709,
        );
        for (colorspace, encoding, quantization, want) in [
            (0, 0, 0, Range::Limited),
            (0, 0, full, Range::Full),
            (jpeg, 0, 0, Range::Full),
            (jpeg, 0, limited, Range::Limited),
            (hd, 0, 0, Range::LimitedHd),
            (hd, 0, full, Range::FullHd),
            (hd, sd_matrix, 0, Range::Limited),
            (0, hd_matrix, 0, Range::LimitedHd),
            (sys::v4l2_colorspace_V4L2_COLORSPACE_RAW, 0, 0, Range::Full),
        ] {
            (g.colorspace, g.encoding, g.quantization) = (colorspace, encoding, quantization);
            assert_eq!(layout(&g).range(), want, "{colorspace} {encoding} {quantization}");
        }
    }

    #[test]
    fn of_interlaced_pictures_one_field_is_used() {
        let mut g = granted(b"UYVY", 720, 288, 0);
        for (field, want) in [
            (sys::v4l2_field_V4L2_FIELD_NONE, (Scan::Progressive, 288)),
            (sys::v4l2_field_V4L2_FIELD_INTERLACED, (Scan::Interlaced, 288)),
            (sys::v4l2_field_V4L2_FIELD_INTERLACED_BT, (Scan::Interlaced, 288)),
            (sys::v4l2_field_V4L2_FIELD_SEQ_TB, (Scan::Sequential, 288)),
            (sys::v4l2_field_V4L2_FIELD_ALTERNATE, (Scan::OneField, 576)),
            (sys::v4l2_field_V4L2_FIELD_TOP, (Scan::OneField, 576)),
        ] {
            g.field = field;
            assert_eq!((layout(&g).scan(), layout(&g).height()), want);
        }
        g.field = 77;
        assert_eq!(g.plan(), Err(Unreadable::Field(77)));
    }

    #[test]
    fn a_buffer_for_each_plane_is_taken_one_after_the_other() {
        let plan = of_planes(b"NM12", 6, 4, &[8, 16]).plan().unwrap();
        assert_eq!(plan.needs.as_slice(), [3 * 8 + 6, 16 + 6]);
        let Payload::Raw(layout) = plan.payload else { panic!("raw") };
        assert_eq!((layout.format(), layout.min_len()), (PixelFormat::Nv12, 30 + 22));
        let plan = of_planes(b"YM12", 6, 4, &[6, 3, 3]).plan().unwrap();
        assert_eq!(plan.needs.as_slice(), [24, 6, 6]);
        // One buffer for all planes under the multi-planar interface is as any other.
        assert_eq!(of_planes(b"NV12", 6, 4, &[8]).plan().unwrap().needs.len(), 1);
        for (strides, planes) in [(&[8u32, 8, 8][..], 3), (&[][..], 0)] {
            let wrong = of_planes(b"NM12", 6, 4, strides).plan();
            assert_eq!(wrong, Err(Unreadable::Planes(FourCC::new(b"NM12"), planes)));
        }
        assert!(matches!(
            of_planes(b"NM12", 6, 4, &[8, 5]).plan(),
            Err(Unreadable::Frame(FrameError::Stride { stride: 5, .. }))
        ));
        assert!(matches!(
            of_planes(b"NM12", 16_000, 16_000, &[u32::MAX, u32::MAX]).plan(),
            Err(Unreadable::TooLarge(_))
        ));
    }

    #[test]
    fn every_format_that_is_preferred_is_known_and_every_known_one_preferred() {
        for (name, format) in KNOWN {
            assert!(order(false).any(|f| f == format), "{}", FourCC::new(name));
        }
        for format in order(true) {
            assert!(KNOWN.iter().any(|(_, known)| *known == format), "{}", format.name());
            assert_eq!(CameraFormat::try_from(format.name().to_owned()), Ok(format));
        }
        let wrong = CameraFormat::try_from("h264".to_owned()).unwrap_err();
        assert!(wrong.contains("auto, mjpg, grey, yuyv, uyvy"), "{wrong}");
    }
}
