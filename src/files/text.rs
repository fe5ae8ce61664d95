//! The one reader of text files: settings, keys, passwords, tables.
//!
//! * UTF-8, with a byte order mark or without; UTF-16 with one, as Notepad and Excel save it.
//! * Lines end in `\n`, whatever ended them: `\r\n` and a lone `\r` become that.
//! * A file is read up to a limit and no further, so that a device without an end is an error.
//! * A pipe is read while somebody writes, and waited for no longer than [`PATIENCE`].
//! * What was read is wiped when it is dropped: it may be a secret.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

/// Bytes for which there is room at once.
const ROOM: usize = 64 << 10;

/// How long a pipe may say nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// Opens a file to be read by [`read_bytes_of`], [`read_text_of`] or [`Patient`]: a pipe that
/// nobody writes into is not waited for.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// A file that was opened by [`open`], and may be a pipe.
#[derive(Debug)]
pub struct Patient {
    file: File,
    /// Nothing has come of it yet, and it is a pipe.
    is_fresh_pipe: bool,
}

impl Patient {
    /// To read `file`.
    pub fn new(file: File) -> Self {
        let is_fresh_pipe = file.metadata().is_ok_and(|about| about.file_type().is_fifo());
        Self { file, is_fresh_pipe }
    }

    /// Waits until there is something to read.
    fn wait(&self) -> io::Result<()> {
        let mut asked =
            libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one `pollfd`, alive for the call, of a descriptor that `self` holds open.
        match unsafe { libc::poll(&mut asked, 1, PATIENCE.as_millis() as libc::c_int) } {
            0 => Err(io::Error::new(
                ErrorKind::TimedOut,
                "it is a pipe into which nobody writes; name a file",
            )),
            n if n < 0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_fresh_pipe {
            // The end of a pipe that nobody has opened for writing yet is none. A wait that a
            // signal interrupts has not seen a writer.
            self.wait()?;
            self.is_fresh_pipe = false;
        }
        loop {
            match self.file.read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait()?,
                read => return read,
            }
        }
    }
}

/// Why bytes are no text.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum NotText {
    /// Some other encoding, or no text at all.
    #[error("line {line} is not UTF-8; save the file as UTF-8")]
    Utf8 {
        /// Counted from 1.
        line: usize,
    },
    /// UTF-32, or UTF-16 without the mark by which it is known.
    #[error("it is UTF-32, or UTF-16 without its mark; save the file as UTF-8")]
    Wide,
    /// It begins as UTF-16 does.
    #[error("it begins as UTF-16, but is not; save the file as UTF-8")]
    Utf16,
}

/// The bytes of a file of at most `most`, wiped when dropped.
///
/// # Errors
/// What the system says; [`ErrorKind::FileTooLarge`] beyond `most`.
pub fn read_bytes(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    read_bytes_of(open(path)?, most)
}

/// As [`read_bytes`], of a file that is open.
///
/// # Errors
/// As there.
pub fn read_bytes_of(file: File, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // What is small never grows, so no copy is left behind.
    let room = usize::try_from(most + 1).unwrap_or(usize::MAX).min(ROOM);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    Patient::new(file).take(most + 1).read_to_end(&mut bytes)?;
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
    read_text_of(open(path)?, most)
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
    // The mark of UTF-32 begins as that of UTF-16.
    if bytes.starts_with(&[0xFF, 0xFE, 0, 0]) || bytes.get(..4).is_some_and(is_wide) {
        return Err(NotText::Wide);
    }
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

/// Whether four bytes are the beginning of a Latin text in UTF-16 or UTF-32 without a mark.
fn is_wide(begin: &[u8]) -> bool {
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| begin.get(at) == Some(&0));
    let utf16 = a == c && b == d && a != b;
    let utf32 = b && c && a != d;
    utf16 || utf32 || begin == [0, 0, 0xFE, 0xFF]
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
        for wide in [
            "reference".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
            "reference".encode_utf16().flat_map(u16::to_be_bytes).collect(),
            "\u{FEFF}x".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
            "\u{FEFF}x".chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        ] {
            assert_eq!(text_or_windows_1252(&wide), Err(NotText::Wide), "{wide:?}");
        }
        assert_eq!(text(b"\xFF\xFE\x00\xD8"), Err(NotText::Utf16));
    }

    #[test]
    fn a_device_without_an_end_is_an_error() {
        let endless = read_text(Path::new("/dev/zero"), 1 << 16).unwrap_err();
        assert_eq!(endless.kind(), ErrorKind::FileTooLarge);
        assert!(endless.to_string().contains("64 KiB"), "{endless}");
        assert!(read_text(Path::new("/nonexistent"), 1).is_err());
    }

    #[test]
    fn a_pipe_is_read_while_somebody_writes_and_not_waited_for_where_nobody_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: a string that ends with a zero byte, alive for the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let mut nobody = Patient::new(open(&path).unwrap());
        for _ in 0..2 {
            let error = nobody.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "no writer was there, and it is no end");
        }
        // Open on both sides, so that no side waits for the other.
        let mut writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut writer, b"secret\r\n").unwrap();
        let file = open(&path).unwrap();
        drop(writer);
        assert_eq!(read_text_of(file, 1 << 10).unwrap().as_str(), "secret\n");
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
