//! The one reader of secrets that people write on a line: passwords and passphrases.
//!
//! * The secret is the first line, blanks and all; what a text is, [`text`] says, the same for each
//!   secret: byte order marks, UTF-16 and the ends of lines make no difference.
//! * One that is too long is refused: cut off it would be another one, without a word.
//! * Nothing of it is in an error.

use zeroize::Zeroizing;

use super::text::{NotText, text};

/// Why there is no secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum NoSecret {
    /// Nothing is in the first line.
    #[error("its first line is empty; write it there")]
    Empty,
    /// More than is taken.
    #[error("its first line has {found} bytes and may have {most} at most; take a shorter one")]
    TooLong {
        /// Its bytes.
        found: usize,
        /// Most that may be.
        most: usize,
    },
    /// Another encoding.
    #[error(transparent)]
    NotText(#[from] NotText),
}

/// The secret in what was read from a file or typed on a terminal, of at most `most` bytes.
///
/// # Errors
/// Where it is empty, longer, or no text.
pub fn secret(bytes: &[u8], most: usize) -> Result<Zeroizing<String>, NoSecret> {
    let text = text(bytes)?;
    match text.split('\n').next().unwrap_or_default() {
        "" => Err(NoSecret::Empty),
        line if line.len() > most => Err(NoSecret::TooLong { found: line.len(), most }),
        line => Ok(Zeroizing::new(line.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, NoSecret> {
        secret(bytes, 12).map(|line| line.to_string())
    }

    #[test]
    fn a_secret_is_the_first_line_whatever_editor_wrote_it() {
        let wide: Vec<u8> =
            "\u{feff}four words\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [
            &b"four words"[..],
            b"four words\n",
            b"four words\r\nmore\n",
            b"four words\rmore",
            b"\xef\xbb\xbffour words\r\n",
            &wide,
        ] {
            assert_eq!(read(bytes).as_deref(), Ok("four words"), "{bytes:?}");
        }
        assert_eq!(read(b" kept \n").as_deref(), Ok(" kept "));
    }

    #[test]
    fn a_secret_is_refused_rather_than_cut_off_or_guessed() {
        assert_eq!(read(b"twelve bytes").as_deref(), Ok("twelve bytes"));
        assert_eq!(read(b"thirteen byte\n"), Err(NoSecret::TooLong { found: 13, most: 12 }));
        for empty in [&b""[..], b"\nfour", b"\rfour", b"\xef\xbb\xbf"] {
            assert_eq!(read(empty), Err(NoSecret::Empty), "{empty:?}");
        }
        let unmarked: Vec<u8> = "four words".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let refused = read(&unmarked).unwrap_err();
        assert!(refused.to_string().contains("UTF-16"), "{refused}");
        assert!(matches!(read(b"four\xff"), Err(NoSecret::NotText(NotText::Utf8 { line: 1 }))));
    }
}
