//! The one reader of text files: settings, keys, passwords, tables.
//!
//! * UTF-8, with a byte order mark or without; UTF-16 with one, as Notepad and Excel save it.
//! * Lines end in `\n`, whatever ended them: `\r\n` and a lone `\r` become that.
//! * A file is read up to a limit and no further, so that a device without an end is an error.
//! * What was read is wiped when it is dropped: it may be a secret.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// Bytes for which there is room at once.
const ROOM: usize = 64 << 10;

/// Why bytes are no text.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum NotText {
    /// Some other encoding, or no text at all.
    #[error("line {line} is not UTF-8; save the file as UTF-8")]
    Utf8 {
        /// Counted from 1.
        line: usize,
    },
    /// It begins as UTF-16 does.
    #[error("it begins as UTF-16, but is not; save the file as UTF-8")]
    Utf16,
}

/// The bytes of a file of at most `most`, wiped when dropped.
///
/// # Errors
/// What the system says; [`ErrorKind::FileTooLarge`] beyond `most`.
pub fn read_bytes(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    read_bytes_of(File::open(path)?, most)
}

/// As [`read_bytes`], of a file that is open.
///
/// # Errors
/// As there.
pub fn read_bytes_of(file: File, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // What is small never grows, so no copy is left behind.
    let room = usize::try_from(most + 1).unwrap_or(usize::MAX).min(ROOM);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let what = match most {
            mib if mib.is_multiple_of(1 << 20) => format!("it has more than {} MiB", mib >> 20),
            bytes => format!("it has more than {} KiB", bytes.div_ceil(1024)),
        };
        return Err(io::Error::new(ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// The text of a file of at most `most` bytes.
///
/// # Errors
/// As [`read_bytes`]; [`ErrorKind::InvalidData`] with a [`NotText`].
pub fn read_text(path: &Path, most: u64) -> io::Result<Zeroizing<String>> {
    read_text_of(File::open(path)?, most)
}

/// As [`read_text`], of a file that is open.
///
/// # Errors
/// As there.
pub fn read_text_of(file: File, most: u64) -> io::Result<Zeroizing<String>> {
    text(&read_bytes_of(file, most)?).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
}

/// The text that `bytes` are.
///
/// # Errors
/// [`NotText`].
pub fn text(bytes: &[u8]) -> Result<Zeroizing<String>, NotText> {
    if let Some(units) = utf16(bytes) {
        let text = String::from_utf16(&units?).map_err(|_| NotText::Utf16)?;
        return Ok(with_plain_lines(&Zeroizing::new(text)));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(with_plain_lines(text)),
        Err(e) => {
            let before = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
            Err(NotText::Utf8 { line: before + 1 })
        }
    }
}

#[cfg(any(test, feature = "author"))]
/// As [`text`]; what is not UTF-8 is read as Windows-1252, which Excel and Latin-1 write, and that
/// it was is said.
///
/// # Errors
/// [`NotText::Utf16`].
pub fn text_or_windows_1252(bytes: &[u8]) -> Result<(Zeroizing<String>, bool), NotText> {
    match text(bytes) {
        Err(NotText::Utf8 { .. }) => {
            let text: Zeroizing<String> =
                Zeroizing::new(bytes.iter().map(|b| windows_1252(*b)).collect());
            Ok((with_plain_lines(&text), true))
        }
        other => other.map(|text| (text, false)),
    }
}

/// The units of UTF-16 with a byte order mark.
fn utf16(bytes: &[u8]) -> Option<Result<Zeroizing<Vec<u16>>, NotText>> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xFF, 0xFE, ..] => u16::from_le_bytes,
        [0xFE, 0xFF, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let units = bytes[2..].chunks_exact(2);
    if !units.remainder().is_empty() {
        return Some(Err(NotText::Utf16));
    }
    Some(Ok(Zeroizing::new(units.map(|u| unit([u[0], u[1]])).collect())))
}

fn with_plain_lines(text: &str) -> Zeroizing<String> {
    // Never grows, so no copy is left behind.
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => plain.push('\n'),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(any(test, feature = "author"))]
/// The character of a byte; the five that have none stay control characters.
fn windows_1252(byte: u8) -> char {
    const UPPER: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž',
        '\u{8F}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}',
        'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9F => UPPER[usize::from(byte - 0x80)],
        other => char::from(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utf16_of(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(unit).collect()
    }

    #[test]
    fn marks_encodings_and_line_ends_make_no_difference() {
        let plain = "secret\nBeschluß 1/26 €\n";
        let windows = plain.replace('\n', "\r\n");
        for bytes in [
            plain.as_bytes().to_vec(),
            windows.as_bytes().to_vec(),
            plain.replace('\n', "\r").into_bytes(),
            [b"\xEF\xBB\xBF", windows.as_bytes()].concat(),
            utf16_of(&windows, u16::to_le_bytes),
            utf16_of(plain, u16::to_be_bytes),
        ] {
            assert_eq!(text(&bytes).unwrap().as_str(), plain);
            let read = text_or_windows_1252(&bytes).unwrap();
            assert_eq!((read.0.as_str(), read.1), (plain, false));
        }
    }

    #[test]
    fn other_encodings_are_refused_by_line_or_read_as_windows_1252_and_said() {
        let latin = b"a\nBeschlu\xDF 1/26 \x80\r\n";
        assert_eq!(text(latin), Err(NotText::Utf8 { line: 2 }));
        let (read, guessed) = text_or_windows_1252(latin).unwrap();
        assert_eq!((read.as_str(), guessed), ("a\nBeschluß 1/26 €\n", true));
        assert_eq!(text(b"\xFF\xFEa"), Err(NotText::Utf16));
        assert_eq!(text(b"\xFF\xFE\x00\xD8"), Err(NotText::Utf16));
    }

    #[test]
    fn a_device_without_an_end_is_an_error() {
        let endless = read_text(Path::new("/dev/zero"), 1 << 16).unwrap_err();
        assert_eq!(endless.kind(), ErrorKind::FileTooLarge);
        assert!(endless.to_string().contains("64 KiB"), "{endless}");
        assert!(read_text(Path::new("/nonexistent"), 1).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_lines_have_one_end(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            if let Ok((text, _)) = text_or_windows_1252(&bytes) {
                prop_assert!(!text.contains('\r'));
            }
        }
    }
}
