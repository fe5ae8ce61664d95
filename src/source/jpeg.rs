//! The marker structure of JPEG files (ITU-T T.81 annex B), as far as a camera daemon needs it:
//! where a picture begins and ends, how large it says it is, whether it brings its Huffman tables.
//!
//! Promises: never reads past the slice, never recurses, skips marker segments by their length, so
//! that the end marker of a thumbnail inside one is not taken for the end of the picture. Decodes
//! nothing.

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DHT: u8 = 0xC4;
const APP1: u8 = 0xE1;

/// The frame header's statement of the coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// SOF0, SOF1: sequential, Huffman.
    Sequential,
    /// SOF2: progressive, Huffman.
    Progressive,
    /// Lossless, hierarchical or arithmetic: not decoded here. Holds the marker's code.
    Other(u8),
}

/// What the markers of one picture say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Structure {
    pub(super) width: u32,
    pub(super) height: u32,
    /// 1 grey, 3 colour, 4 CMYK or YCCK.
    pub(super) components: u8,
    pub(super) coding: Coding,
    /// A DHT segment stands before the first scan.
    pub(super) has_huffman_tables: bool,
    /// Where the first SOS marker's 0xFF stands.
    pub(super) scan_at: usize,
    /// How many scans there are; one in every camera's pictures.
    pub(super) scans: usize,
    /// Where the end marker begins.
    pub(super) end_marker_at: usize,
    /// First byte after the end marker; what follows is padding.
    pub(super) end: usize,
    /// The TIFF structure within an Exif segment, as start and end.
    pub(super) exif: Option<(usize, usize)>,
}

/// Why bytes are not one whole JPEG picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// Does not begin with SOI.
    NotJpeg,
    /// Ends before its end marker.
    Truncated,
    /// A marker segment makes no sense.
    Segment,
}

/// Walks the markers from SOI to EOI.
pub(super) fn inspect(bytes: &[u8]) -> Result<Structure, Broken> {
    if !bytes.starts_with(&[0xFF, SOI]) {
        return Err(Broken::NotJpeg);
    }
    let mut frame = None;
    let mut tables = false;
    let mut scan_at = None;
    let mut scans = 0;
    let mut exif = None;
    let mut at = 2;
    loop {
        let marker_at = at;
        let (code, after) = marker(bytes, at)?;
        at = after;
        match code {
            EOI => {
                let (Some((width, height, components, coding)), Some(scan_at)) = (frame, scan_at)
                else {
                    return Err(Broken::Segment);
                };
                return Ok(Structure {
                    width,
                    height,
                    components,
                    coding,
                    has_huffman_tables: tables,
                    scan_at,
                    scans,
                    end_marker_at: marker_at,
                    end: at,
                    exif,
                });
            }
            SOI => return Err(Broken::Truncated),
            _ if is_standalone(code) => continue,
            _ => {}
        }
        let body = segment(bytes, at)?;
        match code {
            DHT if scan_at.is_none() => tables = true,
            0xC0..=0xCF if code != DHT && code != 0xC8 && code != 0xCC => {
                // A second frame header would let the limits be checked on one and the memory be
                // taken for another.
                if body.len() < 6 || frame.is_some() {
                    return Err(Broken::Segment);
                }
                let word = |i: usize| u32::from(u16::from_be_bytes([body[i], body[i + 1]]));
                let coding = match code {
                    0xC0 | 0xC1 => Coding::Sequential,
                    0xC2 => Coding::Progressive,
                    other => Coding::Other(other),
                };
                frame = Some((word(3), word(1), body[5], coding));
            }
            APP1 if body.starts_with(b"Exif\0\0") && exif.is_none() => {
                exif = Some((at + 8, at + 2 + body.len()))
            }
            _ => {}
        }
        at += 2 + body.len();
        if code == SOS {
            scan_at.get_or_insert(marker_at);
            scans += 1;
            at = skip_scan(bytes, at)?;
        }
    }
}

/// The marker at `at` (fill bytes allowed) and the position after its code.
fn marker(bytes: &[u8], mut at: usize) -> Result<(u8, usize), Broken> {
    if *bytes.get(at).ok_or(Broken::Truncated)? != 0xFF {
        return Err(Broken::Segment);
    }
    loop {
        match *bytes.get(at).ok_or(Broken::Truncated)? {
            0xFF => at += 1,
            0 => return Err(Broken::Segment),
            code => return Ok((code, at + 1)),
        }
    }
}

/// The body of the segment whose length field stands at `at`.
fn segment(bytes: &[u8], at: usize) -> Result<&[u8], Broken> {
    let field = bytes.get(at..at + 2).ok_or(Broken::Truncated)?;
    let len = usize::from(u16::from_be_bytes([field[0], field[1]]));
    if len < 2 {
        return Err(Broken::Segment);
    }
    bytes.get(at + 2..at + len).ok_or(Broken::Truncated)
}

/// From within entropy-coded data to the 0xFF of the marker that ends it.
fn skip_scan(bytes: &[u8], mut at: usize) -> Result<usize, Broken> {
    loop {
        let rest = bytes.get(at..).ok_or(Broken::Truncated)?;
        at += rest.iter().position(|&b| b == 0xFF).ok_or(Broken::Truncated)?;
        match *bytes.get(at + 1).ok_or(Broken::Truncated)? {
            0 | 0xD0..=0xD7 => at += 2,
            0xFF => at += 1,
            _ => return Ok(at),
        }
    }
}

fn is_standalone(code: u8) -> bool {
    matches!(code, 0x01 | 0xD0..=0xD7)
}

/// What a [`Splitter`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// All of the input belongs to the picture under way, or to none (`keep` false): feed more.
    More,
    /// The picture is whole.
    Whole,
    /// The picture under way is unusable; the splitter is looking for the next one. Nothing of the
    /// input that follows `used` is lost.
    Broken,
}

/// Cuts concatenated JPEG pictures apart, byte by byte, holding no picture itself: sans-IO,
/// constant memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Splitter {
    /// Looking for 0xFF of SOI.
    Seek,
    /// Looking for 0xD8 after it.
    SeekCode,
    /// At a marker's 0xFF.
    Marker,
    /// At a marker's code.
    Code,
    /// At the length's high byte; the marker's code.
    High(u8),
    /// At the low byte; code and high byte.
    Low(u8, u8),
    /// Within a segment; code and bytes left.
    Body(u8, u16),
    /// Within entropy-coded data.
    Scan,
    /// After 0xFF within entropy-coded data.
    ScanCode,
}

impl Splitter {
    /// Whether a picture is under way.
    pub(super) fn inside(self) -> bool {
        !matches!(self, Self::Seek | Self::SeekCode)
    }

    /// Takes bytes of `input`, appends those of the picture to `picture`, and returns how many were
    /// used. `picture` is emptied at each SOI. At most one picture ends in a call.
    pub(super) fn feed(&mut self, input: &[u8], picture: &mut Vec<u8>) -> (usize, Step) {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            let rest = &input[at..];
            let mut used = 1;
            match *self {
                Self::Seek => match rest.iter().position(|&b| b == 0xFF) {
                    Some(skip) => {
                        used = skip + 1;
                        *self = Self::SeekCode;
                    }
                    None => used = rest.len(),
                },
                Self::SeekCode => match byte {
                    SOI => self.begin(picture),
                    0xFF => {}
                    _ => *self = Self::Seek,
                },
                Self::Marker => {
                    if byte != 0xFF {
                        *self = Self::Seek;
                        return (at, Step::Broken);
                    }
                    picture.push(byte);
                    *self = Self::Code;
                }
                Self::Code => {
                    if byte == SOI {
                        self.begin(picture);
                        return (at + 1, Step::Broken);
                    }
                    picture.push(byte);
                    *self = match byte {
                        0xFF => Self::Code,
                        0 => {
                            *self = Self::Seek;
                            return (at + 1, Step::Broken);
                        }
                        EOI => {
                            *self = Self::Seek;
                            return (at + 1, Step::Whole);
                        }
                        code if is_standalone(code) => Self::Marker,
                        code => Self::High(code),
                    };
                }
                Self::High(code) => {
                    picture.push(byte);
                    *self = Self::Low(code, byte);
                }
                Self::Low(code, high) => {
                    picture.push(byte);
                    let len = u16::from_be_bytes([high, byte]);
                    if len < 2 {
                        *self = Self::Seek;
                        return (at + 1, Step::Broken);
                    }
                    *self = Self::after_body(code, len - 2);
                }
                Self::Body(code, left) => {
                    used = rest.len().min(usize::from(left));
                    picture.extend_from_slice(&rest[..used]);
                    // `used` is at most `left`.
                    *self = Self::after_body(code, left - used as u16);
                }
                Self::Scan => {
                    used = match rest.iter().position(|&b| b == 0xFF) {
                        Some(skip) => {
                            *self = Self::ScanCode;
                            skip + 1
                        }
                        None => rest.len(),
                    };
                    picture.extend_from_slice(&rest[..used]);
                }
                Self::ScanCode => match byte {
                    // The 0xFF already stands in the picture: let `Code` judge what follows it.
                    0 | 0xD0..=0xD7 => {
                        picture.push(byte);
                        *self = Self::Scan;
                    }
                    0xFF => picture.push(byte),
                    _ => {
                        used = 0;
                        *self = Self::Code;
                    }
                },
            }
            at += used;
        }
        (at, Step::More)
    }

    fn begin(&mut self, picture: &mut Vec<u8>) {
        picture.clear();
        picture.extend_from_slice(&[0xFF, SOI]);
        *self = Self::Marker;
    }

    fn after_body(code: u8, left: u16) -> Self {
        match (left, code) {
            (0, SOS) => Self::Scan,
            (0, _) => Self::Marker,
            _ => Self::Body(code, left),
        }
    }
}

/// The Huffman tables that MJPEG leaves out, as one DHT segment: T.81 tables K.3 to K.6.
pub(super) static STANDARD_TABLES: &[u8] = &[
    0xFF, 0xC4, 0x01, 0xA2, // 418 bytes follow the marker.
    0x00, // DC, luma.
    0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, //
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,   //
    0x10, // AC, luma.
    0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D, //
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7,
    0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5,
    0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
    0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
    0xF9, 0xFA, //
    0x01, // DC, chroma.
    0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, //
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,   //
    0x11, // AC, chroma.
    0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77, //
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0,
    0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26,
    0x27, 0x28, 0x29, 0x2A, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5,
    0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
    0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
    0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
    0xF9, 0xFA,
];

/// JPEG pictures for the tests of this module and its siblings.
#[cfg(test)]
pub(super) mod samples {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    /// A smooth picture in three colours.
    pub(in crate::source) fn rgb(width: u32, height: u32) -> Vec<u8> {
        let mut pixels = Vec::new();
        for y in 0..height {
            for x in 0..width {
                pixels.extend([
                    (x * 255 / width) as u8,
                    (y * 255 / height) as u8,
                    ((x + y) % 251) as u8,
                ]);
            }
        }
        pixels
    }

    /// The same as JPEG.
    pub(in crate::source) fn colour(width: u32, height: u32) -> Vec<u8> {
        let mut out = Vec::new();
        JpegEncoder::new_with_quality(&mut out, 90)
            .write_image(&rgb(width, height), width, height, ExtendedColorType::Rgb8)
            .unwrap();
        out
    }

    /// One component.
    pub(in crate::source) fn grey(width: u32, height: u32) -> Vec<u8> {
        let pixels: Vec<u8> =
            (0..width * height).map(|i| (i % width * 255 / width) as u8).collect();
        let mut out = Vec::new();
        JpegEncoder::new_with_quality(&mut out, 90)
            .write_image(&pixels, width, height, ExtendedColorType::L8)
            .unwrap();
        out
    }

    /// `jpeg` with a segment after SOI.
    pub(in crate::source) fn with_segment(jpeg: &[u8], code: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![0xFF, 0xD8, 0xFF, code];
        out.extend(((body.len() + 2) as u16).to_be_bytes());
        out.extend(body);
        out.extend(&jpeg[2..]);
        out
    }

    /// `jpeg` without its DHT segments, as UVC cameras send it.
    pub(in crate::source) fn without_tables(jpeg: &[u8]) -> Vec<u8> {
        let mut out = jpeg[..2].to_vec();
        let mut at = 2;
        loop {
            assert_eq!(jpeg[at], 0xFF);
            let len = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
            if jpeg[at + 1] == super::SOS {
                out.extend(&jpeg[at..]);
                return out;
            }
            if jpeg[at + 1] != super::DHT {
                out.extend(&jpeg[at..at + len]);
            }
            at += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All pictures in `stream`, fed in pieces of `piece` bytes, and how often it was broken.
    fn split(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut splitter, mut picture) = (Splitter::Seek, Vec::new());
        let (mut pictures, mut broken) = (Vec::new(), 0);
        for mut chunk in stream.chunks(piece) {
            loop {
                let (used, step) = splitter.feed(chunk, &mut picture);
                chunk = &chunk[used..];
                match step {
                    Step::More => break,
                    Step::Whole => pictures.push(picture.clone()),
                    Step::Broken => broken += 1,
                }
            }
        }
        (pictures, broken)
    }

    #[test]
    fn the_size_and_the_end_are_read_and_padding_is_left_out() {
        let mut jpeg = samples::colour(33, 17);
        let whole = jpeg.len();
        jpeg.extend([0; 100]);
        let s = inspect(&jpeg).unwrap();
        assert_eq!((s.width, s.height, s.components, s.end), (33, 17, 3, whole));
        assert!(s.has_huffman_tables && s.coding == Coding::Sequential);
        assert!(!inspect(&samples::without_tables(&jpeg)).unwrap().has_huffman_tables);
    }

    #[test]
    fn every_cut_of_a_picture_is_seen() {
        let jpeg = samples::colour(16, 16);
        for len in 0..jpeg.len() {
            assert!(inspect(&jpeg[..len]).is_err(), "{len} of {}", jpeg.len());
        }
    }

    #[test]
    fn a_thumbnail_inside_a_segment_does_not_end_the_picture() {
        let jpeg = samples::with_segment(&samples::colour(40, 24), 0xE1, &samples::grey(8, 8));
        assert_eq!(inspect(&jpeg).unwrap().end, jpeg.len());
        let (pictures, broken) = split(&[jpeg.clone(), jpeg.clone()].concat(), 7);
        assert_eq!((pictures, broken), (vec![jpeg.clone(), jpeg], 0));
    }

    #[test]
    fn a_cut_picture_costs_itself_and_not_the_next() {
        let (a, b) = (samples::colour(40, 24), samples::grey(16, 16));
        let scan_at = inspect(&a).unwrap().scan_at;
        let stream = [&a[..scan_at + 40], b"\r\n--boundary\r\n", &b[..], &[0; 9], &a[..]].concat();
        // The cut lies within entropy-coded data, which any bytes but a marker may follow.
        let (pictures, broken) = split(&stream, 11);
        assert_eq!((pictures, broken), (vec![b, a], 1));
    }

    proptest! {
        #[test]
        fn pictures_come_out_as_they_went_in_whatever_the_pieces(piece in 1usize..400, w in 1u32..40, gap in 0usize..5) {
            let a = samples::colour(w, 9);
            let b = samples::grey(w, 5);
            let stream = [&a[..], &vec![0; gap], &b, &a].concat();
            let (pictures, broken) = split(&stream, piece);
            prop_assert_eq!((pictures, broken), (vec![a.clone(), b, a], 0));
        }

        #[test]
        fn nothing_makes_the_walk_panic(bytes in prop::collection::vec(prop_oneof![Just(0xFFu8), Just(0xD8), Just(0xDA), Just(0xD9), any::<u8>()], 0..200)) {
            let mut jpeg = vec![0xFF, 0xD8];
            jpeg.extend(&bytes);
            if let Ok(s) = inspect(&jpeg) {
                prop_assert!(s.end <= jpeg.len() && s.scan_at < s.end);
            }
            let _ = split(&bytes, 3);
        }
    }
}
