//! Cuts a stream of JPEG pictures apart, byte by byte.

use super::{EOI, SOI, SOS, is_standalone};
use crate::locked::LockedBuffer;

/// What a [`Splitter`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum SplitStep {
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
pub(in crate::source) enum Splitter {
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
    pub(in crate::source) fn inside(self) -> bool {
        !matches!(self, Self::Seek | Self::SeekCode)
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
                        return (at, SplitStep::Broken);
                    }
                    picture.push(byte);
                    *self = Self::Code;
                }
                Self::Code => {
                    if byte == SOI {
                        self.begin(picture);
                        return (at + 1, SplitStep::Broken);
                    }
                    picture.push(byte);
                    *self = match byte {
                        0xFF => Self::Code,
                        0 => {
                            *self = Self::Seek;
                            return (at + 1, SplitStep::Broken);
                        }
                        EOI => {
                            *self = Self::Seek;
                            return (at + 1, SplitStep::Whole);
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
                        return (at + 1, SplitStep::Broken);
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
                    // The 0xFF is in the picture already: `Code` judges what follows it.
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
        (at, SplitStep::More)
    }

    fn begin(&mut self, picture: &mut LockedBuffer) {
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
