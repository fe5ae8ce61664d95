//! Reads JPEG pictures out of bytes, one byte after the other: of a pipe, of a camera's buffer, of
//! a file. The only reader of markers there is.
//!
//! What comes out is clean: it has one SOI, no stray bytes, no fill bytes, and no more than that is
//! promised of it. What goes in may have
//! * SOI twice, or stray bytes between segments, at most [`MOST_STRAY`] in a row,
//! * no end marker: the picture ends at the next one's SOI or with the input,
//! * its height after the first scan (DNL),
//! * anything before SOI and after the end.
//!
//! Whether the picture is whole only its decoder can tell.

use super::{
    Broken, Coding, Component, JpegScan, MAX_COMPONENTS, MAX_SCANS, Structure, TableSegment,
};
use crate::locked::LockedBuffer;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DQT: u8 = 0xDB;
const DNL: u8 = 0xDC;
const DRI: u8 = 0xDD;
const DHT: u8 = 0xC4;
const APP0: u8 = 0xE0;
const APP1: u8 = 0xE1;

/// Most stray bytes between two segments: a camera's padding. More are another stream.
const MOST_STRAY: u32 = 1024;

/// What a [`Splitter`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum SplitStep {
    /// All of the input belongs to the picture under way, or to none: feed more.
    More,
    /// The picture is there; [`Splitter::structure`] says what it is.
    Whole,
    /// The picture under way is unusable; the splitter is looking for the next one. Nothing of the
    /// input that follows `used` is lost.
    Broken,
}

/// Where in the bytes the reader is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Looking for 0xFF of SOI.
    #[default]
    Seek,
    /// Looking for 0xD8 after it.
    SeekCode,
    /// An SOI was read that ended the picture before.
    Begun,
    /// At a marker's 0xFF, or at a stray byte.
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

/// Cuts concatenated JPEG pictures apart, byte by byte, holding no picture itself: sans-IO,
/// constant memory.
#[derive(Debug, Clone, Default)]
pub(in crate::source) struct Splitter {
    place: Place,
    /// Stray bytes since the last segment.
    stray: u32,
    /// Where in the picture the segment under way begins.
    segment_at: usize,
    structure: Structure,
}

impl Splitter {
    /// What the markers of the picture that was whole last say.
    pub(in crate::source) fn structure(&self) -> &Structure {
        &self.structure
    }

    /// Takes bytes of `input`, appends those of the picture to `picture`, and returns how many were
    /// used. `picture` is emptied at each SOI. At most one picture ends in a call.
    pub(in crate::source) fn feed(
        &mut self,
        input: &[u8],
        picture: &mut LockedBuffer,
    ) -> (usize, SplitStep) {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            let (used, step) = self.step(byte, &input[at..], picture);
            at += used;
            if step != SplitStep::More {
                return (at, step);
            }
        }
        (at, SplitStep::More)
    }

    /// The input is over. A picture may be whole without an end marker.
    pub(in crate::source) fn finish(&mut self) -> Result<(), Broken> {
        let place = std::mem::take(&mut self.place);
        match place {
            Place::Seek | Place::SeekCode => Err(Broken::NotJpeg),
            Place::Marker | Place::Code | Place::Scan | Place::ScanCode
                if !self.structure.scans.is_empty() =>
            {
                Ok(())
            }
            _ => Err(Broken::Truncated),
        }
    }

    /// One step: `byte` is the first of `rest`.
    fn step(&mut self, byte: u8, rest: &[u8], picture: &mut LockedBuffer) -> (usize, SplitStep) {
        match self.place {
            Place::Seek => match rest.iter().position(|&b| b == 0xFF) {
                Some(skip) => {
                    self.place = Place::SeekCode;
                    return (skip + 1, SplitStep::More);
                }
                None => return (rest.len(), SplitStep::More),
            },
            Place::SeekCode => match byte {
                SOI => self.begin(picture),
                0xFF => {}
                _ => self.place = Place::Seek,
            },
            Place::Begun => {
                self.begin(picture);
                return (0, SplitStep::More);
            }
            Place::Marker if byte == 0xFF => self.place = Place::Code,
            Place::Marker => return (1, self.stray()),
            Place::Code => return (1, self.code(byte, picture)),
            Place::High(code) => {
                picture.push(byte);
                self.place = Place::Low(code, byte);
            }
            Place::Low(code, high) => {
                picture.push(byte);
                let len = u16::from_be_bytes([high, byte]);
                if len < 2 {
                    return (1, self.give_up());
                }
                return (1, self.after_body(code, len - 2, picture));
            }
            Place::Body(code, left) => {
                let used = rest.len().min(usize::from(left));
                picture.extend_from_slice(&rest[..used]);
                // `used` is at most `left`.
                return (used, self.after_body(code, left - used as u16, picture));
            }
            Place::Scan => {
                let entropy = rest.iter().position(|&b| b == 0xFF);
                let used = entropy.unwrap_or(rest.len());
                picture.extend_from_slice(&rest[..used]);
                self.scan_ends_at(picture.len());
                if entropy.is_some() {
                    self.place = Place::ScanCode;
                    return (used + 1, SplitStep::More);
                }
                return (used, SplitStep::More);
            }
            Place::ScanCode => match byte {
                0 | 0xD0..=0xD7 => {
                    picture.extend_from_slice(&[0xFF, byte]);
                    self.scan_ends_at(picture.len());
                    self.place = Place::Scan;
                }
                0xFF => {}
                _ => {
                    self.stray = 0;
                    self.place = Place::Code;
                    return (0, SplitStep::More);
                }
            },
        }
        (1, SplitStep::More)
    }

    /// A marker's code, between segments or at the end of a scan.
    fn code(&mut self, code: u8, picture: &mut LockedBuffer) -> SplitStep {
        let has_segments = picture.len() > 2;
        match code {
            0xFF => return SplitStep::More,
            SOI if !has_segments => self.begin(picture),
            SOI => {
                self.place = Place::Begun;
                let whole = !self.structure.scans.is_empty();
                return if whole { SplitStep::Whole } else { SplitStep::Broken };
            }
            EOI if self.structure.scans.is_empty() => return self.give_up(),
            EOI => {
                picture.extend_from_slice(&[0xFF, EOI]);
                self.structure.has_end_marker = true;
                self.place = Place::Seek;
                return SplitStep::Whole;
            }
            // Tables, frame headers, scans, application's, comments; JPEG's own extensions.
            0xC0..=0xCF | 0xDA..=0xDF | 0xE0..=0xFE => {
                self.stray = 0;
                self.segment_at = picture.len();
                picture.extend_from_slice(&[0xFF, code]);
                self.place = Place::High(code);
            }
            // A restart without a scan, or no marker at all.
            _ => return self.stray(),
        }
        SplitStep::More
    }

    fn stray(&mut self) -> SplitStep {
        self.place = Place::Marker;
        self.stray += 1;
        if self.stray > MOST_STRAY { self.give_up() } else { SplitStep::More }
    }

    fn give_up(&mut self) -> SplitStep {
        self.place = Place::Seek;
        SplitStep::Broken
    }

    fn begin(&mut self, picture: &mut LockedBuffer) {
        picture.clear();
        picture.extend_from_slice(&[0xFF, SOI]);
        *self = Self { place: Place::Marker, ..Self::default() };
    }

    fn scan_ends_at(&mut self, at: usize) {
        if let Some(scan) = self.structure.scans.last_mut() {
            scan.end = at;
        }
    }

    fn after_body(&mut self, code: u8, left: u16, picture: &[u8]) -> SplitStep {
        if left > 0 {
            self.place = Place::Body(code, left);
            return SplitStep::More;
        }
        if self.structure.note(code, self.segment_at, picture).is_err() {
            return self.give_up();
        }
        self.place = if code == SOS { Place::Scan } else { Place::Marker };
        SplitStep::More
    }
}

impl Structure {
    /// Takes what the segment that begins at `at` and ends with `picture` says.
    fn note(&mut self, code: u8, at: usize, picture: &[u8]) -> Result<(), Broken> {
        let body = &picture[at + 4..];
        let word = |i: usize| u32::from(u16::from_be_bytes([body[i], body[i + 1]]));
        match code {
            DHT | DQT | DRI => {
                self.has_huffman_tables |= code == DHT && self.scans.is_empty();
                // More than there is room for are not needed by pictures in one scan.
                self.complete_tables &=
                    self.tables.push(TableSegment { start: at, end: picture.len() }).is_ok();
            }
            DNL if body.len() == 2 && self.height == 0 && self.scans.len() == 1 => {
                self.height = word(0);
            }
            0xC0..=0xCF if code != 0xC8 && code != 0xCC => {
                // A second frame header would let the limits be checked on one and the memory be
                // taken for another.
                if body.len() < 6 || self.frame_at.is_some() {
                    return Err(Broken::Segment);
                }
                self.frame_at = Some(at);
                (self.height, self.width) = (word(1), word(3));
                self.coding = match code {
                    0xC0 | 0xC1 => Coding::Sequential,
                    0xC2 => Coding::Progressive,
                    other => Coding::Other(other),
                };
                if body.len() != 6 + 3 * usize::from(body[5]) {
                    return Err(Broken::Segment);
                }
                for c in body[6..].chunks_exact(3).take(MAX_COMPONENTS) {
                    let component =
                        Component { id: c[0], across: c[1] >> 4, down: c[1] & 15, table: c[2] };
                    self.components.push(component).map_err(|_| Broken::Segment)?;
                }
            }
            SOS => {
                if self.frame_at.is_none() {
                    return Err(Broken::Segment);
                }
                let count = usize::from(*body.first().ok_or(Broken::Segment)?);
                let scan = JpegScan { at, end: picture.len(), components: count };
                if self.scans.is_full() {
                    self.more_scans = true;
                } else {
                    self.scans.push(scan).map_err(|_| Broken::Segment)?;
                }
            }
            // Motion JPEG of television pictures: the next byte is 1 or 2 for a field, 0 for a
            // whole picture.
            APP0 if body.starts_with(b"AVI1") => {
                self.is_field = matches!(body.get(4), Some(1 | 2));
            }
            APP1 if body.starts_with(b"Exif\0\0") && self.exif.is_none() => {
                self.exif = Some((at + 10, picture.len()));
            }
            _ => {}
        }
        Ok(())
    }
}

const _: () = assert!(MAX_SCANS >= MAX_COMPONENTS);
