//! What commands print: JSON lines for machines, aligned tables for people, and what goes to
//! standard error.
//!
//! * A reader of standard output that has gone (`watchpost detect ... | head`) is neither failure
//!   nor success: what it does not read is dropped, and the command goes on to its verdict, which
//!   alone decides the exit code. Any other failure of standard output is an error, and
//!   [`json_line_for_a_reader`] makes one of this, too.
//! * What cannot be written to standard error is dropped: nothing stops for it.

use std::fmt::Display;
use std::io::{self, ErrorKind, StdoutLock, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use crate::watchlist::text::shown;

/// Standard output.
pub fn stdout() -> Lenient<StdoutLock<'static>> {
    Lenient(io::stdout().lock())
}

/// A writer whose reader may go.
#[derive(Debug)]
pub struct Lenient<W>(W);

impl<W: Write> Write for Lenient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// Says a sentence on standard error, in the program's name.
pub fn say(sentence: impl Display) {
    // `eprintln!` would panic where nobody reads it any more.
    let _ = writeln!(io::stderr().lock(), "watchpost: {sentence}");
}

/// Warns on standard error.
#[cfg(feature = "author")]
pub fn warn(sentence: impl Display) {
    say(format_args!("warning: {sentence}"));
}

/// Prints one JSON line.
pub fn json_line(value: &impl Serialize) -> io::Result<()> {
    write_json(stdout(), value)
}

/// Prints one JSON line of a command that never ends by itself and is nothing without a reader: one
/// that has gone is an error here.
#[cfg(feature = "author")]
pub fn json_line_for_a_reader(value: &impl Serialize) -> io::Result<()> {
    write_json(io::stdout().lock(), value)
}

fn write_json(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, ShortNumbers))?;
    out.write_all(b"\n")
}

/// Compact JSON in which a number that was of single precision, and became one of double precision
/// on its way, is written as short as it was: .62, not .6200000047683716.
struct ShortNumbers;

impl Formatter for ShortNumbers {
    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let single = value as f32;
        if f64::from(single) == value {
            CompactFormatter.write_f32(out, single)
        } else {
            CompactFormatter.write_f64(out, value)
        }
    }
}

/// Prints one line of text. What is hidden in it is shown: devices and files have a say in it.
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = stdout();
    out.write_all(shown(text.as_ref()).as_bytes())?;
    out.write_all(b"\n")
}

/// Prints rows under a header, columns as wide as their widest cell.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let columns = header.len();
    let mut width: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (w, cell) in width.iter_mut().zip(row) {
            *w = (*w).max(cell.chars().count());
        }
    }
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (i, cell) in cells.enumerate().take(columns) {
            if i > 0 {
                text.push_str("  ");
            }
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width[i].saturating_sub(cell.chars().count())));
        }
        line(text.trim_end())
    };
    print(&mut header.iter().copied())?;
    for row in rows {
        print(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that fails in one way.
    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is_one() {
        let mut gone = Lenient(Failing(ErrorKind::BrokenPipe));
        assert!(gone.write_all(b"line").is_ok() && gone.flush().is_ok());
        let mut full = Lenient(Failing(ErrorKind::StorageFull));
        assert!(full.write_all(b"line").is_err() && full.flush().is_err());
    }

    #[test]
    fn a_number_of_single_precision_is_written_as_short_as_it_is() {
        let written = |value: serde_json::Value| {
            let mut out = Vec::new();
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, ShortNumbers);
            value.serialize(&mut serializer).unwrap();
            String::from_utf8(out).unwrap()
        };
        let value = serde_json::json!({
            "a": 0.62f32, "b": [0.1f32, 1e-9f64, 0.1f64, 1.0, 3], "c": 1.0f32 / 3.0
        });
        assert_eq!(written(value), r#"{"a":0.62,"b":[0.1,1e-9,0.1,1.0,3],"c":0.33333334}"#);
    }
}
