//! Photographs for enrolment and one-shot commands.
//!
//! Promises:
//! * JPEG and PNG are recognised by content, not by name, and turned upright by their Exif
//!   orientation.
//! * JPEG stays YCbCr, as a camera's frames do, so that enrolment and capture see the same pixels.
//!   PNG of any depth becomes 8-bit RGB, transparent parts over white.
//! * Bounded memory, wiped when dropped.
//! * A photograph that is cut off is refused.
//! * Pictures of other formats are refused by their names.
//!
//! Not promised: colour profiles, animations.

mod formats;

use std::fs::OpenOptions;
use std::io::{Cursor, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, Limits};
use zeroize::Zeroizing;

use super::mjpeg::{DecodeError, Decoder};
use super::{MAX_FRAME_BYTES, jpeg, mjpeg};
use crate::frame::{Frame, FrameError, Layout, MAX_SIDE, PixelFormat, Range};
use crate::geometry::{Orientation, Turn};
use crate::locked::LockedBuffer;

/// Most pixels of a photograph: of phones with 108 megapixels. Takes three times as many bytes.
pub const MAX_PIXELS: u32 = 112_000_000;

/// Most bytes that one pixel takes while a PNG is read: 16-bit RGBA.
const MAX_PNG_PIXEL_BYTES: u64 = 8;

/// Bytes that are read at once.
const READ_PIECE: usize = 64 << 10;

const PNG_MAGIC: &[u8] = &[0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A];

/// Why a file is not a usable photograph.
#[derive(Debug, thiserror::Error)]
pub enum PhotographError {
    /// Cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// In the system's words.
        cause: std::io::Error,
    },
    /// Larger than any photograph.
    #[error("the file has more than {MAX_FRAME_BYTES} bytes; scale the photograph down")]
    TooManyBytes,
    /// Neither format.
    #[error("it is {0}; only JPEG and PNG are read: export the picture as one of them")]
    Unknown(&'static str),
    /// More than any camera's.
    #[error("a picture of {width}x{height} px has more than {MAX_PIXELS} pixels; scale it down")]
    TooManyPixels {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// A damaged, cut off or too large JPEG.
    #[error(transparent)]
    Jpeg(#[from] DecodeError),
    /// A damaged, cut off or too large PNG.
    #[error("the PNG picture cannot be read: {0}")]
    Png(String),
}

impl From<FrameError> for PhotographError {
    fn from(e: FrameError) -> Self {
        Self::Jpeg(DecodeError::Frame(e))
    }
}

/// One photograph, upright.
#[derive(Clone)]
pub struct Photograph {
    layout: Layout,
    pixels: LockedBuffer,
}

impl std::fmt::Debug for Photograph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Photograph({} {}x{})",
            self.layout.format(),
            self.layout.width(),
            self.layout.height()
        )
    }
}

impl Photograph {
    /// Reads and decodes a file of at most [`MAX_FRAME_BYTES`].
    ///
    /// # Errors
    /// [`PhotographError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PhotographError> {
        Self::decode(&Self::read(path)?)
    }

    /// Decodes a file's bytes.
    ///
    /// # Errors
    /// [`PhotographError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PhotographError> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(PhotographError::TooManyBytes);
        }
        if bytes.starts_with(PNG_MAGIC) {
            return Self::decode_png(bytes);
        }
        if !jpeg::begins(bytes) {
            return Err(PhotographError::Unknown(formats::name(bytes)));
        }
        let mut decoder = Decoder::new(MAX_PIXELS);
        let (layout, orientation) = decoder.decode_photograph(bytes).map_err(|e| match e {
            DecodeError::TooLarge { width, height, .. } => {
                PhotographError::TooManyPixels { width, height }
            }
            other => other.into(),
        })?;
        Ok(upright(layout, decoder.take_pixels(), orientation)?)
    }

    fn decode_png(bytes: &[u8]) -> Result<Self, PhotographError> {
        let refuse = |e: image::ImageError| PhotographError::Png(e.to_string());
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(u64::from(MAX_PIXELS) * MAX_PNG_PIXEL_BYTES);
        let mut decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(refuse)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > u64::from(MAX_PIXELS) {
            return Err(PhotographError::TooManyPixels { width, height });
        }
        let orientation = decoder.orientation().map_or(Orientation::NATIVE, mjpeg::of_exif);
        let picture = DynamicImage::from_decoder(decoder).map_err(refuse)?;
        let pixels = if picture.color().has_alpha() {
            let rgba = Zeroizing::new(picture.into_rgba8().into_raw());
            LockedBuffer::from(rgba.chunks_exact(4).flat_map(over_white).collect::<Vec<u8>>())
        } else {
            LockedBuffer::from(picture.into_rgb8().into_raw())
        };
        let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, width, height)?;
        Ok(upright(layout, pixels, orientation)?)
    }

    /// The bytes of a photograph's file of at most [`MAX_FRAME_BYTES`], as for
    /// [`Photograph::decode`]. Never waits: what is no regular file is refused.
    ///
    /// # Errors
    /// [`PhotographError::Read`], [`PhotographError::TooManyBytes`].
    pub fn read(path: impl AsRef<Path>) -> Result<LockedBuffer, PhotographError> {
        let mut bytes = LockedBuffer::new();
        read_file(path.as_ref(), &mut bytes)?;
        Ok(bytes)
    }

    /// The same picture, a quarter turn clockwise.
    pub fn turned(&self) -> Self {
        let (layout, pixels) = (self.layout, self.pixels.clone());
        upright(layout, pixels, Orientation { turn: Turn::Quarter, mirrored: false })
            .expect("the sides of a picture that is there are allowed, in either order")
    }

    /// The picture whose negative this is.
    pub fn inverted(&self) -> Self {
        let mut pixels = self.pixels.clone();
        // Of full-range luma, chroma around 128, and red, green and blue alike.
        pixels.iter_mut().for_each(|v| *v = !*v);
        Self { layout: self.layout, pixels }
    }

    /// The pixels.
    pub fn frame(&self) -> Frame<'_> {
        Frame::new(self.layout, &self.pixels).expect("made with as many bytes as the layout needs")
    }

    /// Gives layout and pixels away; the receiver wipes them.
    pub(super) fn into_parts(self) -> (Layout, LockedBuffer) {
        (self.layout, self.pixels)
    }
}

/// Whether these bytes are a JPEG that must not be turned to stand upright.
pub(super) fn is_upright_jpeg(bytes: &[u8]) -> bool {
    let mut picture = LockedBuffer::new();
    jpeg::begins(bytes)
        && jpeg::read(bytes, &mut picture).map_or(true, |structure| {
            mjpeg::orientation(&structure, &picture) == Orientation::NATIVE
        })
}

/// Replaces the contents of `into` by those of a file of at most [`MAX_FRAME_BYTES`].
pub(super) fn read_file(path: &Path, into: &mut LockedBuffer) -> Result<(), PhotographError> {
    let failed = |cause| PhotographError::Read { path: path.display().to_string(), cause };
    into.clear();
    // A FIFO or a device among the files would block forever, one without a writer here already.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "not a regular file",
        )));
    }
    // Reserved at once: what grows is copied, and the copy wiped.
    into.reserve(usize::try_from(about.len()).unwrap_or(usize::MAX).min(MAX_FRAME_BYTES + 1));
    let mut file = file.take(MAX_FRAME_BYTES as u64 + 1);
    let mut piece = Zeroizing::new(vec![0; READ_PIECE]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => into.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    if into.len() > MAX_FRAME_BYTES {
        return Err(PhotographError::TooManyBytes);
    }
    Ok(())
}

fn over_white(rgba: &[u8]) -> [u8; 3] {
    let alpha = u32::from(rgba[3]);
    [0, 1, 2].map(|i| ((u32::from(rgba[i]) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}

/// Applies an orientation to packed pixels of one or three bytes.
fn upright(
    layout: Layout,
    pixels: LockedBuffer,
    how: Orientation,
) -> Result<Photograph, FrameError> {
    if how == Orientation::NATIVE {
        return Ok(Photograph { layout, pixels });
    }
    let (w, h) = (layout.width() as usize, layout.height() as usize);
    let step = pixels.len() / (w * h);
    let (out_w, out_h) = how.size((w, h));
    let mut turned = LockedBuffer::new();
    turned.resize(pixels.len());
    for (y, row) in turned.chunks_exact_mut(out_w * step).enumerate() {
        for (x, to) in row.chunks_exact_mut(step).enumerate() {
            let (fx, fy) = how.native((x, y), (w, h));
            to.copy_from_slice(&pixels[(fy * w + fx) * step..][..step]);
        }
    }
    let layout = Layout::packed(layout.format(), layout.range(), out_w as u32, out_h as u32)?;
    Ok(Photograph { layout, pixels: turned })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use image::codecs::png::PngEncoder;
    use image::metadata::Orientation as Exif;
    use image::{ExtendedColorType, ImageEncoder};
    use proptest::prelude::*;

    use super::super::jpeg::samples;
    use super::*;
    use crate::frame::{Pixels, Visitor};

    struct PixelAt(usize, usize);
    impl Visitor for PixelAt {
        type Output = [u8; 3];
        fn visit<P: Pixels>(self, p: &P) -> [u8; 3] {
            p.rgb(self.0, self.1)
        }
    }

    fn png(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
        let mut out = Vec::new();
        PngEncoder::new(&mut out).write_image(pixels, width, height, colour).unwrap();
        out
    }

    /// An Exif segment that holds the orientation alone.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut out = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        out.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        out
    }

    #[test]
    fn every_exif_orientation_is_turned_as_the_image_crate_turns_it() {
        let plain = samples::colour(48, 32);
        let reference = image::load_from_memory(&plain).unwrap();
        for code in 1..=8 {
            let jpeg = samples::with_segment(&plain, 0xE1, &exif(code));
            let photograph = Photograph::decode(&jpeg).unwrap();
            let mut expected = reference.clone();
            expected.apply_orientation(Exif::from_exif(code).unwrap());
            let expected = expected.into_rgb8();
            let frame = photograph.frame();
            assert_eq!((frame.width() as u32, frame.height() as u32), expected.dimensions());
            for (x, y) in [(0, 0), (1, 5), (frame.width() - 1, 3), (2, frame.height() - 1)] {
                let (got, want) =
                    (frame.read(PixelAt(x, y)), expected.get_pixel(x as u32, y as u32).0);
                for (g, w) in got.iter().zip(want) {
                    assert!(
                        g.abs_diff(w) <= 3,
                        "orientation {code} at {x},{y}: {got:?}, not {want:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn four_quarter_turns_are_none_and_a_negative_of_a_negative_is_the_picture() {
        let photograph = Photograph::decode(&samples::colour(9, 5)).unwrap();
        let turned = photograph.turned();
        assert_eq!((turned.frame().width(), turned.frame().height()), (5, 9));
        // The left lower corner comes to the left top.
        assert_eq!(turned.frame().read(PixelAt(0, 0)), photograph.frame().read(PixelAt(0, 4)));
        assert!(*turned.turned().turned().turned().pixels == *photograph.pixels);
        let negative = photograph.inverted();
        assert_ne!(negative.frame().read(PixelAt(3, 3)), photograph.frame().read(PixelAt(3, 3)));
        assert!(*negative.inverted().pixels == *photograph.pixels);
    }

    #[test]
    fn png_of_every_depth_is_read_and_transparency_lies_over_white() {
        let sixteen: Vec<u8> =
            [0xFFFFu16, 0, 0x8000].iter().flat_map(|v| v.to_ne_bytes()).collect();
        for (bytes, expected) in [
            (png(&[10, 20, 30], 1, 1, ExtendedColorType::Rgb8), [10, 20, 30]),
            (png(&[77], 1, 1, ExtendedColorType::L8), [77, 77, 77]),
            (png(&sixteen, 1, 1, ExtendedColorType::Rgb16), [255, 0, 128]),
            (png(&[10, 20, 30, 0], 1, 1, ExtendedColorType::Rgba8), [255, 255, 255]),
            (png(&[0, 0, 0, 128], 1, 1, ExtendedColorType::Rgba8), [127, 127, 127]),
            (png(&[10, 255], 1, 1, ExtendedColorType::La8), [10, 10, 10]),
        ] {
            assert_eq!(Photograph::decode(&bytes).unwrap().frame().read(PixelAt(0, 0)), expected);
        }
    }

    #[test]
    fn a_small_file_that_claims_a_huge_picture_is_refused() {
        let mut bytes = png(&[0; 64], 8, 8, ExtendedColorType::L8);
        bytes[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        // The header's checksum over type and data, so that the size and not the damage is the
        // reason.
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(Photograph::decode(&bytes), Err(PhotographError::TooManyPixels { .. })));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &b| {
            (0..8).fold(crc ^ u32::from(b), |c, _| {
                if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 }
            })
        })
    }

    #[test]
    fn what_is_no_photograph_is_named() {
        assert!(matches!(Photograph::decode(b""), Err(PhotographError::Unknown(_))));
        assert!(matches!(Photograph::decode(b"GIF89a"), Err(PhotographError::Unknown("a GIF"))));
        let jpeg = samples::colour(16, 16);
        assert!(matches!(
            Photograph::decode(&jpeg[..jpeg.len() - 12]),
            Err(PhotographError::Jpeg(_))
        ));
        let png = png(&[0; 4096], 64, 64, ExtendedColorType::L8);
        assert!(matches!(Photograph::decode(&png[..png.len() / 2]), Err(PhotographError::Png(_))));
        assert!(matches!(Photograph::open("/nonexistent.jpg"), Err(PhotographError::Read { .. })));
        assert!(matches!(Photograph::open("/dev/zero"), Err(PhotographError::Read { .. })));
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo.jpg");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(matches!(Photograph::open(fifo), Err(PhotographError::Read { .. })));
    }

    proptest! {
        #[test]
        fn no_damage_makes_a_png_panic(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = png(&samples::rgb(16, 9), 16, 9, ExtendedColorType::Rgb8);
            for (at, value) in &edits {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            let _ = Photograph::decode(&bytes);
        }
    }
}
