//! The key of a person who signs: the flags that name it, and how its passphrase is asked for.
//!
//! * A passphrase comes from a file or from the terminal, never from the command line or the
//!   environment, which other processes can read.
//! * On the terminal it is not shown.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::CliError;
use crate::files;
use crate::watchlist::keys::encrypted::Passphrase;
use crate::watchlist::keys::{KeyError, SecretKey};

/// Longest passphrase, in bytes.
const MAX_BYTES: u64 = 1024;

// No doc comments on these structs: clap would take one for the description of the command that
// the flags are flattened into.

#[derive(Debug, clap::Args)]
pub struct SignerKey {
    /// The signer's secret key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File with the key's passphrase in its first line, readable by its owner alone; asked for on
    /// the terminal where absent.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl SignerKey {
    /// Reads the key.
    pub fn open(&self) -> Result<SecretKey, CliError> {
        // What the passphrase needs and cannot be had is not an error of the key.
        let mut failed = None;
        let opened = SecretKey::open_file_with(&self.key, || {
            let shown = self.key.display();
            let typed = match &self.passphrase_file {
                Some(file) => first_line(file),
                None => ask(&format!("Passphrase of {shown}: ")),
            };
            let encrypted = || KeyError::Encrypted { path: shown.to_string() };
            match typed {
                Ok(Some(text)) => Ok(Passphrase::typed(&text)),
                Ok(None) => Err(encrypted()),
                Err(error) => {
                    failed = Some(error);
                    Err(encrypted())
                }
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(opened?),
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct NewPassphrase {
    /// File with the passphrase for the key in its first line, readable by its owner alone; asked
    /// for on the terminal where absent.
    #[arg(long, value_name = "FILE", conflicts_with = "no_passphrase")]
    passphrase_file: Option<PathBuf>,
    /// Do not encrypt the key: whoever copies the file signs in its owner's name. For tests.
    #[arg(long)]
    no_passphrase: bool,
}

impl NewPassphrase {
    /// What the new key is encrypted with; `None` where it is not.
    pub fn get(&self) -> Result<Option<Passphrase>, CliError> {
        if self.no_passphrase {
            return Ok(None);
        }
        let nobody = "a key is encrypted with a passphrase, and nobody can be asked for it here; \
            name a file that has it with --passphrase-file FILE, or say --no-passphrase in a test";
        let text = match &self.passphrase_file {
            Some(file) => first_line(file)?.ok_or(nobody)?,
            None => {
                let first = ask("Passphrase for the new key, ten characters or more: ")?;
                let first = first.ok_or(nobody)?;
                let second = ask("Once more: ")?.ok_or(nobody)?;
                if first != second {
                    return Err("the two are different; no key was made".into());
                }
                first
            }
        };
        Ok(Some(Passphrase::new(&text)?))
    }
}

/// The first line of a file that only its owner can read; `None` where it is empty.
fn first_line(path: &Path) -> Result<Option<Zeroizing<String>>, CliError> {
    let named = |e: io::Error| format!("cannot read the passphrase from {}: {e}", path.display());
    let file = files::open(path).map_err(named)?;
    let mode = file.metadata().map_err(named)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { path: path.display().to_string(), mode }.into());
    }
    Ok(line_of(files::Patient::new(file)).map_err(named)?)
}

/// The first line, without its end and without a byte order mark.
fn line_of(file: impl io::Read) -> io::Result<Option<Zeroizing<String>>> {
    let mut text = Zeroizing::new(String::new());
    BufReader::new(file.take(MAX_BYTES)).read_line(&mut text)?;
    let line = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    Ok((!line.is_empty()).then(|| Zeroizing::new(line.to_owned())))
}

/// Asks on the terminal, whatever standard input is; `None` where there is no terminal.
fn ask(question: &str) -> Result<Option<Zeroizing<String>>, CliError> {
    let Ok(mut terminal) = File::options().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    terminal.write_all(question.as_bytes())?;
    let hidden = Hidden::on(terminal.as_raw_fd())?;
    let line = line_of(&terminal);
    drop(hidden);
    terminal.write_all(b"\n")?;
    Ok(line?)
}

/// What is typed is not shown while this lives.
struct Hidden {
    terminal: RawFd,
    before: libc::termios,
}

impl Hidden {
    fn on(terminal: RawFd) -> io::Result<Self> {
        // SAFETY: all zeros is a value of this plain struct, and the call fills it or fails.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: `before` is one such struct, and lives through the call.
        if unsafe { libc::tcgetattr(terminal, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut without = before;
        without.c_lflag &= !libc::ECHO;
        set(terminal, &without)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to show.
        let _ = set(self.terminal, &self.before);
    }
}

fn set(terminal: RawFd, to: &libc::termios) -> io::Result<()> {
    // SAFETY: `to` is one such struct, and is only read.
    if unsafe { libc::tcsetattr(terminal, libc::TCSAFLUSH, to) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_the_first_line_whatever_editor_wrote_it() {
        let line =
            |text: &str| line_of(text.as_bytes()).unwrap().map(|line| line.as_str().to_owned());
        for text in ["four words", "four words\n", "four words\r\nmore\n", "\u{feff}four words\r\n"]
        {
            assert_eq!(line(text).as_deref(), Some("four words"), "{text:?}");
        }
        assert_eq!(line(" kept \n").as_deref(), Some(" kept "));
        assert_eq!((line(""), line("\n")), (None, None));
    }
}
