//! The marker structure of JPEG files (ITU-T T.81 annex B), as far as a camera daemon needs it:
//! where a picture begins and ends, how large it says it is, whether it has its Huffman tables.
//!
//! Promises:
//! * Never reads past the slice, never recurses, decodes nothing.
//! * Skips marker segments by their length, so that the end marker of a thumbnail inside one is not
//!   taken for the end of the picture.

#[cfg(test)]
pub(super) mod samples;
mod splitter;
mod tables;

pub(super) use self::splitter::{SplitStep, Splitter};
pub(super) use self::tables::STANDARD_TABLES;

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
    /// A DHT segment comes before the first scan.
    pub(super) has_huffman_tables: bool,
    /// Offset of the first SOS marker's 0xFF.
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

/// The body of the segment whose length field is at `at`.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All pictures in `stream`, fed in pieces of `piece` bytes, and how often it was broken.
    fn split(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut splitter, mut picture) = (Splitter::Seek, crate::locked::LockedBuffer::new());
        let (mut pictures, mut broken) = (Vec::new(), 0);
        for mut chunk in stream.chunks(piece) {
            loop {
                let (used, step) = splitter.feed(chunk, &mut picture);
                chunk = &chunk[used..];
                match step {
                    SplitStep::More => break,
                    SplitStep::Whole => pictures.push(picture.to_vec()),
                    SplitStep::Broken => broken += 1,
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
        fn pictures_come_out_as_they_went_in_whatever_the_pieces(
            piece in 1usize..400,
            w in 1u32..40,
            gap in 0usize..5,
        ) {
            let a = samples::colour(w, 9);
            let b = samples::grey(w, 5);
            let stream = [&a[..], &vec![0; gap], &b, &a].concat();
            let (pictures, broken) = split(&stream, piece);
            prop_assert_eq!((pictures, broken), (vec![a.clone(), b, a], 0));
        }

        #[test]
        fn nothing_makes_the_walk_panic(
            bytes in prop::collection::vec(
                prop_oneof![Just(0xFFu8), Just(0xD8), Just(0xDA), Just(0xD9), any::<u8>()],
                0..200,
            ),
        ) {
            let mut jpeg = vec![0xFF, 0xD8];
            jpeg.extend(&bytes);
            if let Ok(s) = inspect(&jpeg) {
                prop_assert!(s.end <= jpeg.len() && s.scan_at < s.end);
            }
            let _ = split(&bytes, 3);
        }
    }
}
