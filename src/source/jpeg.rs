//! JPEG files (ITU-T T.81 annex B), as far as a camera daemon needs them: where a picture begins
//! and ends, how large it says it is, whether it has its Huffman tables, which scans it has.
//!
//! Promises:
//! * One reader, [`Splitter`], for a stream, a camera's buffer and a file.
//! * Never reads past the slice, never recurses, decodes nothing.
//! * Skips marker segments by their length, so that the end marker of a thumbnail inside one is not
//!   taken for the end of the picture.

#[cfg(test)]
pub(super) mod samples;
mod splitter;
mod tables;

pub(super) use self::splitter::{SplitStep, Splitter};
pub(super) use self::tables::STANDARD_TABLES;
use crate::locked::LockedBuffer;

/// Components of a picture at most: cyan, magenta, yellow, black.
pub(super) const MAX_COMPONENTS: usize = 4;
/// Scans whose place is remembered. Progressive pictures have more, but need none.
pub(super) const MAX_SCANS: usize = 4;
/// Table segments whose place is remembered: four of each kind, and once more for each scan.
const MAX_TABLES: usize = 64;

/// The frame header's statement of the coding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Coding {
    /// SOF0, SOF1: sequential, Huffman.
    #[default]
    Sequential,
    /// SOF2: progressive, Huffman.
    Progressive,
    /// Lossless, hierarchical or arithmetic: not decoded here. Holds the marker's code.
    Other(u8),
}

/// What the frame header says of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors.
    pub(super) across: u8,
    pub(super) down: u8,
    /// Number of its quantization table.
    pub(super) table: u8,
}

/// Where a table segment lies, its marker included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableSegment {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Where a scan lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JpegScan {
    /// Its SOS marker's 0xFF.
    pub(super) at: usize,
    /// First byte after its entropy-coded data.
    pub(super) end: usize,
    /// How many components it holds.
    pub(super) components: usize,
}

/// What the markers of one picture say. Offsets are those of the clean picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Structure {
    pub(super) width: u32,
    /// From the frame header, or from DNL where that has 0.
    pub(super) height: u32,
    pub(super) coding: Coding,
    pub(super) components: heapless::Vec<Component, MAX_COMPONENTS>,
    /// The frame header's 0xFF.
    pub(super) frame_at: Option<usize>,
    /// A DHT segment comes before the first scan.
    pub(super) has_huffman_tables: bool,
    /// The first scans; a camera's pictures have one.
    pub(super) scans: heapless::Vec<JpegScan, MAX_SCANS>,
    /// There are more scans than `scans` holds.
    pub(super) more_scans: bool,
    tables: heapless::Vec<TableSegment, MAX_TABLES>,
    /// `tables` are all there are.
    complete_tables: bool,
    pub(super) has_end_marker: bool,
    /// It says that it is one field of a picture.
    pub(super) is_field: bool,
    /// The TIFF structure within an Exif segment, as start and end.
    pub(super) exif: Option<(usize, usize)>,
}

impl Default for Structure {
    fn default() -> Self {
        Self {
            width: 0,
            height: 0,
            coding: Coding::default(),
            components: heapless::Vec::new(),
            frame_at: None,
            has_huffman_tables: false,
            scans: heapless::Vec::new(),
            more_scans: false,
            tables: heapless::Vec::new(),
            complete_tables: true,
            has_end_marker: false,
            is_field: false,
            exif: None,
        }
    }
}

impl Structure {
    /// The table segments before `scan`; `None` where not all were remembered.
    pub(super) fn tables_before(
        &self,
        scan: &JpegScan,
    ) -> Option<impl Iterator<Item = &TableSegment>> {
        self.complete_tables.then(|| self.tables.iter().take_while(|t| t.start < scan.at))
    }

    /// Whether each component has a scan of its own, and there is no other.
    pub(super) fn has_one_scan_a_component(&self) -> bool {
        !self.more_scans
            && self.scans.len() == self.components.len()
            && self.scans.iter().all(|scan| scan.components == 1)
    }
}

/// Why bytes are not one JPEG picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// Does not begin with SOI.
    NotJpeg,
    /// Ends before its first scan does, or within a segment.
    Truncated,
    /// A marker segment makes no sense.
    Segment,
}

/// Puts the picture that `bytes` begin with into `picture`, clean, and says what it is.
pub(super) fn read(bytes: &[u8], picture: &mut LockedBuffer) -> Result<Structure, Broken> {
    picture.clear();
    if !begins(bytes) {
        return Err(Broken::NotJpeg);
    }
    let mut splitter = Splitter::default();
    match splitter.feed(bytes, picture).1 {
        SplitStep::Whole => {}
        SplitStep::Broken => return Err(Broken::Segment),
        SplitStep::More => splitter.finish()?,
    }
    Ok(splitter.structure().clone())
}

/// Whether these bytes begin like a JPEG picture.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All pictures in `stream`, fed in pieces of `piece` bytes, and how often it was broken.
    fn split(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut splitter, mut picture) = (Splitter::default(), LockedBuffer::new());
        let (mut pictures, mut broken) = (Vec::new(), 0);
        for mut chunk in stream.chunks(piece) {
            while !chunk.is_empty() {
                let (used, step) = splitter.feed(chunk, &mut picture);
                chunk = &chunk[used..];
                match step {
                    SplitStep::More => {}
                    SplitStep::Whole => pictures.push(picture.to_vec()),
                    SplitStep::Broken => broken += 1,
                }
            }
        }
        match splitter.finish() {
            Ok(()) => pictures.push(picture.to_vec()),
            Err(Broken::NotJpeg) => {}
            Err(_) => broken += 1,
        }
        (pictures, broken)
    }

    fn without_end(jpeg: &[u8]) -> Vec<u8> {
        jpeg[..jpeg.len() - 2].to_vec()
    }

    #[test]
    fn the_size_and_the_end_are_read_and_padding_is_left_out() {
        let jpeg = samples::colour(33, 17);
        let mut padded = jpeg.clone();
        padded.extend([0; 100]);
        let mut picture = LockedBuffer::new();
        let s = read(&padded, &mut picture).unwrap();
        assert_eq!(*picture, *jpeg);
        assert_eq!((s.width, s.height, s.components.len(), s.scans.len()), (33, 17, 3, 1));
        assert!(s.has_huffman_tables && s.has_end_marker && s.coding == Coding::Sequential);
        let stripped = samples::without_tables(&jpeg);
        assert!(!samples::structure(&stripped).has_huffman_tables);
    }

    #[test]
    fn what_ends_before_its_scan_is_cut_off_and_later_the_decoder_judges() {
        let jpeg = samples::colour(16, 16);
        let scan = samples::structure(&jpeg).scans[0];
        let mut picture = LockedBuffer::new();
        for len in 0..jpeg.len() {
            let got = read(&jpeg[..len], &mut picture);
            // A scan's header has 14 bytes.
            assert_eq!(got.is_ok(), len >= scan.at + 14, "{len} of {}", jpeg.len());
        }
    }

    #[test]
    fn a_thumbnail_inside_a_segment_does_not_end_the_picture() {
        let jpeg = samples::with_segment(&samples::colour(40, 24), 0xE1, &samples::grey(8, 8));
        let (pictures, broken) = split(&[jpeg.clone(), jpeg.clone()].concat(), 7);
        assert_eq!((pictures, broken), (vec![jpeg.clone(), jpeg], 0));
    }

    #[test]
    fn pictures_without_end_markers_end_where_the_next_begins() {
        let (a, b) = (samples::colour(40, 24), samples::grey(16, 16));
        let stream = [without_end(&a), b.clone(), without_end(&a), without_end(&b)].concat();
        for piece in [1, 3, 50, 10_000] {
            let expected = vec![without_end(&a), b.clone(), without_end(&a), without_end(&b)];
            assert_eq!(split(&stream, piece), (expected, 0));
        }
    }

    #[test]
    fn a_second_start_stray_bytes_and_fill_bytes_do_not_come_out() {
        let jpeg = samples::colour(40, 24);
        for before in [&[0xFF, 0xD8][..], &[0; 3], &[0xFF], &[0xFF, 0], &[7; 1000], &[0xFF, 0xD5]] {
            let odd = [&jpeg[..2], before, &jpeg[2..]].concat();
            let mut picture = LockedBuffer::new();
            read(&odd, &mut picture).unwrap();
            assert_eq!(*picture, *jpeg, "{before:?}");
            assert_eq!(split(&[odd.clone(), odd].concat(), 9), (vec![jpeg.clone(); 2], 0));
        }
        let too_many = [&jpeg[..2], &[7; 2000], &jpeg[2..], &jpeg].concat();
        assert_eq!(split(&too_many, 9), (vec![jpeg], 1));
    }

    #[test]
    fn a_picture_cut_in_its_header_costs_itself_and_not_the_next() {
        let (a, b) = (samples::colour(40, 24), samples::grey(16, 16));
        let stream = [&a[..30], &b[..], &[0; 9], &a[..]].concat();
        assert!(split(&stream, 11).0.ends_with(std::slice::from_ref(&a)));
        let in_the_scan = [&a[..samples::scan_at(&a) + 40], b"\r\n--boundary\r\n", &b[..]].concat();
        let (pictures, broken) = split(&in_the_scan, 11);
        // Entropy-coded data may hold anything but a marker: that they are cut the decoder finds.
        assert_eq!((pictures.len(), &pictures[1], broken), (2, &b, 0));
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
        fn what_comes_out_is_clean_and_the_pieces_do_not_matter(
            bytes in prop::collection::vec(
                prop_oneof![
                    Just(0xFFu8),
                    Just(0xD8),
                    Just(0xDA),
                    Just(0xD9),
                    Just(0xC0),
                    Just(0),
                    Just(3),
                    any::<u8>()
                ],
                0..300,
            ),
            piece in 1usize..20,
        ) {
            let stream = [&[0xFF, 0xD8][..], &bytes].concat();
            let (pictures, broken) = split(&stream, piece);
            prop_assert_eq!((&pictures, broken), (&split(&stream, 1000).0, split(&stream, 1000).1));
            for picture in pictures {
                let mut again = LockedBuffer::new();
                let s = read(&picture, &mut again).unwrap();
                prop_assert!(*again == *picture);
                let inside = |scan: &JpegScan| scan.at < scan.end && scan.end <= picture.len();
                prop_assert!(s.scans.iter().all(inside));
            }
        }
    }
}
