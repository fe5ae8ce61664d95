//! The key of a person who signs: the flags that name it, and how its passphrase is asked for.
//!
//! * A passphrase comes from a file or from the terminal, never from the command line or the
//!   environment, which other processes can read.
//! * On the terminal it is not shown.
//! * A file that is named is read, whether the key needs it or not.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::CliError;
use crate::files::{self, NoSecret};
use crate::watchlist::keys::encrypted::Passphrase;
use crate::watchlist::keys::{KeyError, SecretKey};

/// Longest passphrase, in bytes.
const MAX_BYTES: usize = 1024;
/// Most bytes of a file that has one.
const MAX_FILE: u64 = 64 << 10;
/// Most bytes that a terminal gives for a line, and more.
const MAX_TYPED: u64 = 8 << 10;

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
        // Read whether it is needed or not: a file that is named and cannot be read is a mistake.
        let from_file = self.passphrase_file.as_deref().map(first_line).transpose()?;
        let opened = SecretKey::open_file_with(&self.key, || {
            let shown = self.key.display();
            let typed = match from_file {
                Some(line) => Ok(Some(line)),
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
            Some(file) => first_line(file)?,
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

/// The first line of a file that only its owner can read.
fn first_line(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let named =
        |e: &dyn Display| format!("cannot read the passphrase from {}: {e}", path.display());
    let file = files::open(path).map_err(|e| named(&e))?;
    let mode = file.metadata().map_err(|e| named(&e))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { path: path.display().to_string(), mode }.into());
    }
    let bytes = files::read_bytes_of(file, MAX_FILE).map_err(|e| named(&e))?;
    files::secret(&bytes, MAX_BYTES).map_err(|e| named(&e).into())
}

/// Asks on the terminal, whatever standard input is; `None` where there is no terminal, or nothing
/// is typed.
fn ask(question: &str) -> Result<Option<Zeroizing<String>>, CliError> {
    let Ok(mut terminal) = File::options().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    terminal.write_all(question.as_bytes())?;
    let hidden = Hidden::on(terminal.as_raw_fd())?;
    let line = typed(&terminal);
    drop(hidden);
    terminal.write_all(b"\n")?;
    line
}

/// One line that is typed; `None` where it is empty.
fn typed(terminal: impl io::Read) -> Result<Option<Zeroizing<String>>, CliError> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_TYPED as usize));
    BufReader::new(terminal.take(MAX_TYPED)).read_until(b'\n', &mut line)?;
    match files::secret(&line, MAX_BYTES) {
        Ok(line) => Ok(Some(line)),
        Err(NoSecret::Empty) => Ok(None),
        Err(why) => Err(format!("the passphrase that was typed is not taken: {why}").into()),
    }
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
    fn a_passphrase_that_is_too_long_is_refused_wherever_it_comes_from() {
        let longest = "a".repeat(MAX_BYTES);
        let line = |text: &str| typed(text.as_bytes()).map(|line| line.map(|l| l.to_string()));
        assert_eq!(line(&format!("{longest}\n")).unwrap(), Some(longest.clone()));
        let refused = line(&format!("{longest}DIFFERENT\n")).unwrap_err().to_string();
        assert!(refused.contains("1033 bytes") && !refused.contains("DIFF"), "{refused}");
        assert!(line(&"a".repeat(100_000)).is_err());
        assert_eq!((line("").unwrap(), line("\n").unwrap()), (None, None));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passphrase");
        files::create(&file, &[longest.as_bytes()], 0o600).unwrap();
        assert_eq!(*first_line(&file).unwrap(), longest);
        std::fs::write(&file, format!("{longest}a")).unwrap();
        let refused = first_line(&file).unwrap_err().to_string();
        assert!(refused.contains("1025 bytes and may have 1024"), "{refused}");
    }

    #[test]
    fn a_passphrase_file_that_is_missing_is_an_error_also_where_the_key_needs_none() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("plain.key");
        SecretKey::generate().unwrap().create_file(&key).unwrap();
        let with = |passphrase_file| SignerKey { key: key.clone(), passphrase_file }.open();
        assert!(with(None).is_ok());
        let refused = with(Some(folder.path().join("none"))).expect_err("it is missing");
        assert!(refused.to_string().contains("cannot read the passphrase"), "{refused}");
    }
}
