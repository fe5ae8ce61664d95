//! From a captured frame to pixels.
//!
//! Promises:
//! * Raw frames are passed through as they are.
//! * A JPEG becomes Y, Cb, Cr at full resolution (or grey) in a buffer that is reused, never RGB.
//! * Missing Huffman tables are supplied.
//! * Of a captured picture that comes as fields, one JPEG each, the first is used, at the height of
//!   the whole.
//! * A picture that is cut off, damaged or beyond the pixel limit is an error, never a panic and
//!   never half a picture. One without its end marker is read where its data are all there, which
//!   sequential coding shows and progressive coding does not.
//! * Progressive pictures and one sequential scan for each colour are decoded, CMYK becomes RGB.
//!   Arithmetic and lossless coding, and other sequential coding in several scans, are refused by
//!   name.
//!
//! Not promised:
//! * That damage which still decodes (a flipped bit within a block) is noticed: JPEG has no
//!   checksum.
//! * No allocation: the JPEG library allocates a few rows a frame (whole planes for progressive
//!   pictures).

mod scans;

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation as Exif;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::jpeg::{self, Broken, Coding, Structure};
use super::{Captured, Payload, SourceConfig, Zones};
use crate::frame::{Frame, FrameError, Layout, MAX_SIDE, PixelFormat, Range, Scan};
use crate::geometry::{Orientation, Turn};
use crate::locked::LockedBuffer;

/// Most pixels that a [`Decoder`] takes unless configured otherwise: a photograph of 8000x6000 px
/// fits.
pub const DEFAULT_MAX_PIXELS: u32 = 50_000_000;

/// Most passes of a progressive picture: ten are usual, and each costs as much as decoding the
/// picture once.
const MAX_PROGRESSIVE_PASSES: usize = 64;

/// Replaces the end marker of a picture with a single scan. At an end marker the library fills up
/// with zeroes, so a picture whose data ended early (a lost USB packet) would pass with a grey
/// rest. All ones are no Huffman code (T.81 C.2), so a decoder that reads on into these bytes fails
/// at once. A whole picture ends before them, and they are longer than the library's 64 bits of
/// look-ahead.
const TRIPWIRE: [u8; 32] = {
    let mut bytes = [0xFF; 32];
    let mut i = 1;
    while i < bytes.len() {
        // A stuffed zero makes each 0xFF data and not a marker.
        bytes[i] = 0;
        i += 2;
    }
    bytes
};

/// Why a frame has no pixels.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Does not begin like a JPEG picture.
    #[error("not a JPEG picture")]
    NotJpeg,
    /// Ends before its end marker.
    #[error("the JPEG picture is cut off")]
    Truncated,
    /// Its bytes contradict each other.
    #[error("the JPEG picture is damaged: {0}")]
    Corrupt(String),
    /// A coding that is not read here.
    #[error("the JPEG picture uses {0}; save it as an ordinary (baseline or progressive) JPEG")]
    Unsupported(String),
    /// Beyond the limit.
    #[error(
        "a picture of {width}x{height} px has more than {max_pixels} pixels; raise \
         {source_max_pixels} or scale it",
        source_max_pixels = setting!(source.max_pixels)
    )]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// The limit.
        max_pixels: u32,
    },
    /// The bytes do not fit the layout.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It would lie in memory that may reach swap, and must not.
    #[error("a frame of {bytes} bytes and what is decoded from it cannot be locked in memory")]
    NotLocked {
        /// Bytes of the frame as captured.
        bytes: usize,
    },
}

impl From<Broken> for DecodeError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::NotJpeg => Self::NotJpeg,
            Broken::Truncated => Self::Truncated,
            Broken::Segment => Self::Corrupt("its marker segments make no sense".into()),
        }
    }
}

/// Turns captured frames into pixels.
#[derive(Debug)]
pub struct Decoder {
    max_pixels: u32,
    /// Pictures are decoded only from and into memory that is kept from swap.
    locked_only: bool,
    /// What nobody is to look at.
    zones: Zones,
    /// How a captured picture is turned to stand upright.
    orientation: Orientation,
    /// Decoded samples; keeps its memory.
    pixels: LockedBuffer,
    /// The picture without what does not belong to it; keeps its memory.
    clean: LockedBuffer,
    /// The picture as the library gets it: tables put in, end marker replaced; keeps its memory.
    completed: LockedBuffer,
}

/// What the samples of a JPEG are.
struct DecodedJpeg {
    layout: Layout,
    /// How it must be turned to stand upright.
    orientation: Orientation,
    /// It says that it is one field of a picture.
    is_field: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_PIXELS)
    }
}

impl Decoder {
    /// A decoder that refuses pictures of more than `max_pixels`.
    pub fn new(max_pixels: u32) -> Self {
        Self {
            max_pixels,
            locked_only: false,
            zones: Zones::default(),
            orientation: Orientation::NATIVE,
            pixels: LockedBuffer::new(),
            clean: LockedBuffer::new(),
            completed: LockedBuffer::new(),
        }
    }

    /// The decoder of a source: with its limit, and with its zones, which are grey in every frame
    /// that [`Decoder::decode`] gives. These frames are turned as it says.
    pub fn of(config: &SourceConfig) -> Self {
        let orientation = config.orientation();
        let zones = Zones::new(&config.zones, orientation);
        Self { zones, orientation, ..Self::new(config.max_pixels) }
    }

    /// Refuses frames that are not kept from swap, or whose pixels are not.
    #[must_use]
    pub fn only_locked(self, locked_only: bool) -> Self {
        Self { locked_only, ..self }
    }

    /// The upright pixels of `captured`: a view of its own bytes for raw ones, of this decoder's
    /// buffer for JPEG and where there are zones. Nothing is copied for turning. What lies in zones
    /// stays in the bytes of `captured`, which nothing else looks at, and goes with them: a JPEG
    /// picture cannot be made grey in place.
    ///
    /// # Errors
    /// [`DecodeError`]; the decoder stays usable.
    pub fn decode<'a>(&'a mut self, captured: &'a Captured) -> Result<Frame<'a>, DecodeError> {
        let not_locked = Err(DecodeError::NotLocked { bytes: captured.bytes.len() });
        if self.locked_only && !captured.bytes.is_locked() {
            return not_locked;
        }
        match captured.payload {
            Payload::Raw(layout) if self.zones.is_empty() => {
                Ok(Frame::new(layout, &captured.bytes)?.oriented(self.orientation))
            }
            Payload::Raw(layout) => {
                Frame::new(layout, &captured.bytes)?;
                self.pixels.clear();
                self.pixels.extend_from_slice(&captured.bytes[..layout.min_len()]);
                if self.locked_only && !self.is_locked() {
                    return not_locked;
                }
                self.blanked(layout)
            }
            Payload::Jpeg { width, height } => {
                let outcome = self.read_jpeg(&captured.bytes);
                self.forget_input();
                let DecodedJpeg { layout, is_field, .. } = outcome?;
                // Not every driver has the encoder say so.
                let is_announced = (width, height) == (layout.width(), 2 * layout.height());
                let layout = match is_field || is_announced {
                    true => layout.of_field(Scan::OneField)?,
                    false => layout,
                };
                if self.locked_only && !self.is_locked() {
                    return not_locked;
                }
                self.blanked(layout)
            }
        }
    }

    /// Whether all that it holds of pictures is kept from swap.
    fn is_locked(&self) -> bool {
        [&self.pixels, &self.clean, &self.completed].iter().all(|buffer| buffer.is_locked())
    }

    /// This decoder's buffer without what nobody is to look at.
    fn blanked(&mut self, layout: Layout) -> Result<Frame<'_>, DecodeError> {
        self.zones.blank(&layout, &mut self.pixels);
        Ok(Frame::new(layout, &self.pixels)?.oriented(self.orientation))
    }

    /// The pixels of one JPEG picture; bytes after its end are ignored.
    ///
    /// # Errors
    /// [`DecodeError`]; the decoder stays usable.
    pub fn decode_jpeg(&mut self, bytes: &[u8]) -> Result<Frame<'_>, DecodeError> {
        let outcome = self.read_jpeg(bytes);
        self.forget_input();
        Ok(Frame::new(outcome?.layout, &self.pixels)?)
    }

    /// As [`Decoder::decode_jpeg`], with how the picture must be turned to stand upright.
    pub(super) fn decode_photograph(
        &mut self,
        bytes: &[u8],
    ) -> Result<(Layout, Orientation), DecodeError> {
        let outcome = self.read_jpeg(bytes);
        self.forget_input();
        outcome.map(|decoded| (decoded.layout, decoded.orientation))
    }

    fn read_jpeg(&mut self, bytes: &[u8]) -> Result<DecodedJpeg, DecodeError> {
        let structure = jpeg::read(bytes, &mut self.clean)?;
        let (width, height) = (structure.width, structure.height);
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(FrameError::Size { width, height }.into());
        }
        if u64::from(width) * u64::from(height) > u64::from(self.max_pixels) {
            return Err(DecodeError::TooLarge { width, height, max_pixels: self.max_pixels });
        }
        let Self { clean, completed, pixels, .. } = self;
        let layout = match structure.coding {
            Coding::Other(code) => {
                let what = if code < 0xC8 {
                    "lossless or hierarchical coding"
                } else {
                    "arithmetic coding"
                };
                return Err(DecodeError::Unsupported(what.into()));
            }
            // Without it nobody can tell how many scans are missing.
            Coding::Progressive if !structure.has_end_marker => return Err(DecodeError::Truncated),
            Coding::Progressive => {
                let end = clean.len();
                decode(whole(clean, &structure, end, completed), (width, height), pixels)?
            }
            Coding::Sequential if structure.scans.len() == 1 => {
                let picture = whole(clean, &structure, structure.scans[0].end, completed);
                picture.extend_from_slice(&TRIPWIRE);
                decode(picture, (width, height), pixels)?
            }
            Coding::Sequential if structure.has_one_scan_a_component() => {
                scans::decode_planes(clean, &structure, completed, pixels)?
            }
            // Legal and very rare; the library mixes up the planes where chroma is subsampled,
            // without an error.
            Coding::Sequential => {
                let what = "several sequential scans of several colours";
                return Err(DecodeError::Unsupported(what.into()));
            }
        };
        let orientation = orientation(&structure, clean);
        Ok(DecodedJpeg { layout, orientation, is_field: structure.is_field })
    }

    /// Gives the decoded samples away; the decoder starts with an empty buffer.
    pub(super) fn take_pixels(&mut self) -> LockedBuffer {
        std::mem::take(&mut self.pixels)
    }

    /// Wipes the samples of the last picture.
    pub fn wipe(&mut self) {
        self.pixels.clear();
        self.forget_input();
    }

    fn forget_input(&mut self) {
        self.clean.clear();
        self.completed.clear();
    }
}

/// How a picture must be turned to stand upright.
pub(super) fn orientation(structure: &Structure, picture: &[u8]) -> Orientation {
    structure
        .exif
        .and_then(|(from, to)| Exif::from_exif_chunk(&picture[from..to]))
        .map_or(Orientation::NATIVE, of_exif)
}

/// What a file's Exif data say of it. They too turn first and mirror afterwards.
pub(super) fn of_exif(exif: Exif) -> Orientation {
    let (turn, mirrored) = match exif {
        Exif::NoTransforms => (Turn::Zero, false),
        Exif::FlipHorizontal => (Turn::Zero, true),
        Exif::Rotate90 => (Turn::Quarter, false),
        Exif::Rotate90FlipH => (Turn::Quarter, true),
        Exif::Rotate180 => (Turn::Half, false),
        Exif::FlipVertical => (Turn::Half, true),
        Exif::Rotate270 => (Turn::ThreeQuarters, false),
        Exif::Rotate270FlipH => (Turn::ThreeQuarters, true),
    };
    Orientation { turn, mirrored }
}

/// What the library needs of `picture` up to `end`: in its place, or in `completed` where tables
/// have to be put in.
fn whole<'a>(
    picture: &'a mut LockedBuffer,
    structure: &Structure,
    end: usize,
    completed: &'a mut LockedBuffer,
) -> &'a mut LockedBuffer {
    if structure.has_huffman_tables {
        picture.truncate(end);
        set_height(picture, structure);
        return picture;
    }
    complete(picture, structure, end, completed);
    completed
}

/// Puts into `completed` what the library needs of `picture` up to `end`: with tables and height.
fn complete(picture: &[u8], structure: &Structure, end: usize, completed: &mut LockedBuffer) {
    completed.clear();
    let scan_at = structure.scans.first().map_or(end, |scan| scan.at);
    completed.extend_from_slice(&picture[..scan_at]);
    if !structure.has_huffman_tables {
        completed.extend_from_slice(jpeg::STANDARD_TABLES);
    }
    completed.extend_from_slice(&picture[scan_at..end]);
    set_height(completed, structure);
}

fn set_height(picture: &mut LockedBuffer, structure: &Structure) {
    if let Some(frame_at) = structure.frame_at {
        // Marker, length, precision; then the height, which may have come later.
        let height = (structure.height as u16).to_be_bytes();
        picture[frame_at + 5..frame_at + 7].copy_from_slice(&height);
    }
}

/// Decodes a completed picture, and survives a fault in the library: hostile bytes must cost one
/// frame, not the daemon.
fn decode(
    bytes: &[u8],
    size: (u32, u32),
    pixels: &mut LockedBuffer,
) -> Result<Layout, DecodeError> {
    catch_unwind(AssertUnwindSafe(|| run(bytes, size, pixels)))
        .unwrap_or_else(|_| Err(DecodeError::Corrupt("the decoder gave up".into())))
}

/// What the library makes of the colours of a picture, and what is wanted of it.
fn colours(
    decoder: &JpegDecoder<ZCursor<&[u8]>>,
) -> Result<(PixelFormat, ColorSpace), DecodeError> {
    match decoder.input_colorspace() {
        Some(ColorSpace::YCbCr) => Ok((PixelFormat::Ycc444, ColorSpace::YCbCr)),
        Some(ColorSpace::Luma) => Ok((PixelFormat::Grey, ColorSpace::Luma)),
        Some(ColorSpace::RGB | ColorSpace::CMYK | ColorSpace::YCCK) => {
            Ok((PixelFormat::Rgb8, ColorSpace::RGB))
        }
        other => Err(DecodeError::Unsupported(format!("the colour space {other:?}"))),
    }
}

fn options() -> DecoderOptions {
    DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE as usize)
        .set_max_height(MAX_SIDE as usize)
        .jpeg_set_max_scans(MAX_PROGRESSIVE_PASSES)
        .jpeg_set_out_colorspace(ColorSpace::RGB)
}

fn run(
    bytes: &[u8],
    (width, height): (u32, u32),
    pixels: &mut LockedBuffer,
) -> Result<Layout, DecodeError> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options());
    decoder.decode_headers().map_err(refusal)?;
    let (format, out) = colours(&decoder)?;
    decoder.set_options(options().jpeg_set_out_colorspace(out));
    let layout = Layout::packed(format, Range::Full, width, height)?;
    // The limits were checked on the header that our reader saw: insist that the library saw the
    // same.
    if decoder.output_buffer_size() != Some(layout.min_len()) {
        return Err(DecodeError::Corrupt("its header changes within the picture".into()));
    }
    pixels.resize(layout.min_len());
    decoder.decode_into(pixels).map_err(refusal)?;
    Ok(layout)
}

fn refusal(e: DecodeErrors) -> DecodeError {
    match e {
        DecodeErrors::Unsupported(what) => DecodeError::Unsupported(format!("{what:?}")),
        DecodeErrors::ExhaustedData => DecodeError::Truncated,
        other => DecodeError::Corrupt(format!("{other:?}").trim().into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::jpeg::samples;
    use super::*;
    use crate::frame::{Pixels, Visitor, ycc_to_rgb};

    /// Mean absolute difference to the picture that was encoded.
    struct MeanDifference<'a>(&'a [u8], usize, usize);
    impl Visitor for MeanDifference<'_> {
        type Output = f64;
        fn visit<P: Pixels>(self, p: &P) -> f64 {
            let mut sum = 0u64;
            for y in 0..self.2 {
                for x in 0..self.1 {
                    for (a, b) in p.rgb(x, y).iter().zip(&self.0[(y * self.1 + x) * 3..]) {
                        sum += u64::from(a.abs_diff(*b));
                    }
                }
            }
            sum as f64 / (self.1 * self.2 * 3) as f64
        }
    }

    #[test]
    fn a_colour_picture_comes_out_as_full_range_ycc_with_the_right_colours() {
        let mut decoder = Decoder::default();
        for (w, h) in [(64, 48), (33, 17), (1, 1), (1, 40), (16, 1)] {
            let jpeg = samples::colour(w, h);
            let frame = decoder.decode_jpeg(&jpeg).unwrap();
            assert_eq!(
                (frame.layout().format(), frame.layout().range()),
                (PixelFormat::Ycc444, Range::Full)
            );
            let difference =
                frame.read(MeanDifference(&samples::rgb(w, h), w as usize, h as usize));
            assert!(difference < 4.0, "{w}x{h}: {difference}");
        }
        assert_eq!(
            decoder.decode_jpeg(&samples::grey(20, 20)).unwrap().layout().format(),
            PixelFormat::Grey
        );
    }

    #[test]
    fn missing_huffman_tables_are_supplied() {
        // The encoder uses the standard tables, so the pixels must be the same bit for bit.
        let whole = samples::colour(64, 48);
        let stripped = samples::without_tables(&whole);
        assert!(stripped.len() + 400 < whole.len());
        let mut decoder = Decoder::default();
        decoder.decode_jpeg(&whole).unwrap();
        let expected = decoder.take_pixels().to_vec();
        decoder.decode_jpeg(&stripped).unwrap();
        assert_eq!(decoder.take_pixels(), expected);
    }

    #[test]
    fn padding_after_the_end_is_accepted() {
        let mut jpeg = samples::colour(32, 32);
        jpeg.extend([0; 4096]);
        assert!(Decoder::default().decode_jpeg(&jpeg).is_ok());
    }

    #[test]
    fn a_cut_picture_never_passes_and_the_next_is_decoded() {
        let jpeg = samples::colour(64, 64);
        let mut decoder = Decoder::default();
        // The last bytes are padding and the end marker, without which it is whole.
        for len in (0..jpeg.len() - 8).step_by(13) {
            assert!(decoder.decode_jpeg(&jpeg[..len]).is_err(), "{len} of {}", jpeg.len());
        }
        assert!(decoder.decode_jpeg(&jpeg).is_ok());
    }

    #[test]
    fn a_picture_that_lost_data_but_kept_its_end_marker_is_damaged() {
        let mut decoder = Decoder::default();
        for jpeg in [
            samples::colour(64, 128),
            samples::grey(8, 8),
            samples::without_tables(&samples::colour(40, 24)),
        ] {
            let scan_at = samples::scan_at(&jpeg);
            let body = jpeg.len() - 2;
            // Three bytes hold more than the code that the cut may leave unfinished.
            for kept in (scan_at + 20..body - 3).step_by(7).chain([body - 4]) {
                let cut = [&jpeg[..kept], &[0xFF, 0xD9]].concat();
                let got = decoder.decode_jpeg(&cut).map(|_| ());
                assert!(got.is_err(), "{kept} of {body} bytes passed");
            }
        }
    }

    #[test]
    fn a_picture_whose_markers_are_odd_is_the_same_picture() {
        let jpeg = samples::colour(64, 48);
        let mut decoder = Decoder::default();
        decoder.decode_jpeg(&jpeg).unwrap();
        let expected = decoder.take_pixels();
        let twice_begun = [&[0xFF, 0xD8], &jpeg[..]].concat();
        let stray = [&jpeg[..2], &[0; 3], &jpeg[2..]].concat();
        for odd in [
            jpeg[..jpeg.len() - 2].to_vec(),
            twice_begun,
            stray,
            samples::with_height_after_the_scan(&jpeg),
        ] {
            decoder.decode_jpeg(&odd).unwrap();
            assert!(*decoder.take_pixels() == *expected);
        }
    }

    #[test]
    fn one_scan_for_each_colour_is_put_together_and_a_missing_one_is_no_picture() {
        let mut decoder = Decoder::default();
        for (w, h) in [(64, 48), (33, 17), (1, 1)] {
            let jpeg = samples::one_scan_a_colour(w, h);
            let frame = decoder.decode_jpeg(&jpeg).unwrap();
            assert_eq!(frame.layout().format(), PixelFormat::Ycc444);
            let difference =
                frame.read(MeanDifference(&samples::rgb(w, h), w as usize, h as usize));
            assert!(difference < 6.0, "{w}x{h}: {difference}");
            let s = samples::structure(&jpeg);
            for scan in &s.scans {
                let without = [&jpeg[..scan.at], &jpeg[scan.end..]].concat();
                assert!(decoder.decode_jpeg(&without).is_err());
                let short = [&jpeg[..scan.end - 5], &jpeg[scan.end..]].concat();
                assert!(w == 1 || decoder.decode_jpeg(&short).is_err());
            }
        }
    }

    #[test]
    fn a_picture_beyond_the_limit_is_refused_before_its_pixels_are_touched() {
        let mut jpeg = samples::colour(16, 16);
        let sof = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        jpeg[sof + 5..sof + 9].copy_from_slice(&[0x3F, 0xFF, 0x3F, 0xFF]);
        let mut decoder = Decoder::default();
        assert!(matches!(
            decoder.decode_jpeg(&jpeg),
            Err(DecodeError::TooLarge { width: 16_383, .. })
        ));
        assert!(decoder.pixels.is_empty());
        jpeg[sof + 5..sof + 9].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF]);
        assert!(matches!(
            decoder.decode_jpeg(&jpeg),
            Err(DecodeError::Frame(FrameError::Size { .. }))
        ));
        assert!(matches!(
            Decoder::new(255).decode_jpeg(&samples::colour(16, 16)),
            Err(DecodeError::TooLarge { max_pixels: 255, .. })
        ));
    }

    #[test]
    fn arithmetic_coding_is_refused_by_name() {
        let mut jpeg = samples::colour(16, 16);
        let sof = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        jpeg[sof + 1] = 0xC9;
        assert_eq!(
            Decoder::default().decode_jpeg(&jpeg).map(|_| ()),
            Err(DecodeError::Unsupported("arithmetic coding".into()))
        );
    }

    #[test]
    fn sequential_coding_in_several_scans_is_refused_rather_than_decoded_wrongly() {
        let jpeg = samples::colour(16, 16);
        let scan_at = samples::scan_at(&jpeg);
        let twice = [&jpeg[..jpeg.len() - 2], &jpeg[scan_at..]].concat();
        assert!(matches!(
            Decoder::default().decode_jpeg(&twice),
            Err(DecodeError::Unsupported(what)) if what.contains("scan")
        ));
    }

    #[test]
    fn of_two_fields_in_one_buffer_the_first_is_used_at_the_height_of_the_picture() {
        struct Rows;
        impl Visitor for Rows {
            type Output = Vec<[u8; 3]>;
            fn visit<P: Pixels>(self, pixels: &P) -> Vec<[u8; 3]> {
                (0..16).map(|y| pixels.rgb(3, y)).collect()
            }
        }
        let (first, second) = (samples::colour(32, 8), samples::grey(32, 8));
        let mut decoder = Decoder::default();
        decoder.decode_jpeg(&first).unwrap();
        let alone = decoder.take_pixels();
        let marked = |jpeg: &[u8], polarity| {
            samples::with_segment(jpeg, 0xE0, &[&b"AVI1"[..], &[polarity, 0, 0, 0]].concat())
        };
        let mut seen = |bytes: Vec<u8>, (width, height)| {
            let payload = Payload::Jpeg { width, height };
            let captured = Captured { payload, bytes: bytes.into(), ..Captured::default() };
            let frame = decoder.decode(&captured).unwrap();
            let size = (frame.width(), frame.height());
            (size, (size.1 == 16).then(|| frame.read(Rows)))
        };
        // As the encoder says, and as the driver does.
        let pair = [marked(&first, 1), marked(&second, 2)].concat();
        let unmarked = [first.clone(), second.clone()].concat();
        for (bytes, announced) in [(pair.clone(), (32, 16)), (pair, (0, 0)), (unmarked, (32, 16))] {
            let (size, rows) = seen(bytes, announced);
            assert_eq!(size, (32, 16));
            let rows = rows.unwrap();
            let of_field = |y: usize| {
                let at = (y * 32 + 3) * 3;
                ycc_to_rgb(Range::Full, alone[at], alone[at + 1], alone[at + 2])
            };
            assert!((0..16).all(|y| rows[y] == of_field(y / 2)), "{announced:?}");
        }
        // A whole picture, and photographs.
        assert_eq!(seen(marked(&first, 0), (32, 8)).0, (32, 8));
        assert_eq!(decoder.decode_jpeg(&marked(&first, 1)).unwrap().height(), 8);
    }

    #[test]
    fn a_raw_frame_is_passed_through_and_a_short_one_is_an_error() {
        let layout = Layout::packed(PixelFormat::Yuyv, Range::Limited, 8, 4).unwrap();
        let mut captured = Captured {
            payload: Payload::Raw(layout),
            bytes: vec![7; 64].into(),
            ..Captured::default()
        };
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&captured).unwrap().layout(), &layout);
        captured.bytes.truncate(63);
        assert!(matches!(
            decoder.decode(&captured),
            Err(DecodeError::Frame(FrameError::Short { need: 64, .. }))
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_damage_makes_the_decoder_panic_or_overrun(
            w in 1u32..50, h in 1u32..50, grey: bool, strip: bool,
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
            cut in any::<prop::sample::Index>(), do_cut: bool,
        ) {
            let mut jpeg = if grey { samples::grey(w, h) } else { samples::colour(w, h) };
            if strip {
                jpeg = samples::without_tables(&jpeg);
            }
            for (at, value) in &edits {
                let at = at.index(jpeg.len());
                jpeg[at] = *value;
            }
            if do_cut {
                jpeg.truncate(cut.index(jpeg.len()));
            }
            let mut decoder = Decoder::new(1 << 20);
            if let Ok(frame) = decoder.decode_jpeg(&jpeg) {
                prop_assert!(frame.width() * frame.height() <= 1 << 20);
            }
        }
    }
}
