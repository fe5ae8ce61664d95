//! Sealing: a list encrypted to the key of the device that may use it, in a format that a standard
//! tool opens and makes.
//!
//! The format is age v1 (<https://age-encryption.org/v1>, binary, X25519 recipients): `age -d -i
//! device.key list.age` gives the signed list, `age -r age1... list.cose` seals one. What is inside
//! is the signed container, unchanged: sealing says who can read a list, never who made it.
//!
//! # The device's key
//! A file as `age-keygen` writes it: one line `AGE-SECRET-KEY-1...`, comments after `#`. It comes
//! from a file that nobody but its owner can read, or from a credential of the service manager
//! ([`CREDENTIAL`] in `$CREDENTIALS_DIRECTORY`).
//!
//! # What is plain, and where
//! [`open`] writes the plain list into [`Locked`] memory and nowhere else; [`seal`] reads it from
//! where it is and works on one piece of 64 KiB at a time, in locked memory too. The crate `age`
//! parses and makes headers and unwraps keys; the payload (its STREAM of ChaCha20-Poly1305 pieces)
//! is here, because that crate's own reader and writer keep plain pieces in ordinary memory, the
//! writer unwiped.
//!
//! Why it is so is in `decisions/003-sealed-with-age.md`.
//!
//! # Bounds
//! A header has at most [`MAX_HEADER`] bytes, looked for before anything is parsed; the list inside
//! at most [`codec::MAX_BYTES`](super::codec::MAX_BYTES). Passphrases are refused unseen: their
//! work factor is the sender's choice.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use age::{DecryptError, Decryptor, EncryptError, Encryptor, x25519};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::hkdf;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};
use zeroize::Zeroizing;

use super::codec::MAX_BYTES;
use crate::cause::Cause;
use crate::files::{self, read_text_of};
use crate::locked::Locked;

/// Name of the credential under which a service manager hands over the device's key.
pub const CREDENTIAL: &str = "watchpost-device-key";
/// How every sealed file begins.
pub const MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// Most bytes of a sealed file's header: some 300 recipients.
pub const MAX_HEADER: usize = 32 * 1024;
/// Most recipients.
pub const MAX_RECIPIENTS: usize = 256;

const MAX_KEY_FILE: u64 = 4096;
const PIECE: usize = 64 * 1024;
const TAG: usize = 16;
const NONCE: usize = 16;

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read, written or created.
    #[error(
        "cannot use the device key {path}: {source}; make one with `watchpost key device FILE`"
    )]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Others could read it.
    #[error(
        "the device key {path} has mode {mode:04o}, so others than its owner can read or change \
         it; run `chmod 600 {path}`, and make a new key if anyone may have copied it"
    )]
    TooOpen {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No age identity.
    #[error(
        "{path} holds no device key: it needs one line that begins with AGE-SECRET-KEY-1, as \
         `watchpost key device` (or age-keygen) writes it"
    )]
    NotADeviceKey {
        /// Its path.
        path: PathBuf,
    },
    /// Not a public key of a device.
    #[error(
        "this is no device's public key; one looks like `age1` and 58 characters more, as \
         `watchpost key show` prints it"
    )]
    NotARecipient,
    /// None or too many.
    #[error(
        "{0} recipients; name 1 to {MAX_RECIPIENTS} devices, or any number in a file of devices, \
         each of which gets a sealed list of its own"
    )]
    Recipients(usize),
    /// Not the format.
    #[error(
        "this is no complete sealed list ({0}); copy it again, or seal it again with `watchpost \
         watchlist seal`"
    )]
    Unreadable(&'static str),
    /// Text instead of bytes.
    #[error("the sealed list is armored text; seal it without it (`age` without -a)")]
    Armored,
    /// With a passphrase.
    #[error(
        "the list is sealed with a passphrase; a device opens only what is sealed to its key \
         (`age -r age1...`)"
    )]
    Passphrase,
    /// To somebody else.
    #[error("the list is not sealed to this device's key; have it sealed to {0}")]
    NotForUs(String),
    /// Sealed, and there is no key.
    #[error(
        "the list is sealed and this device has no key to open it; set {watchlist_device_key} to \
         the file that the list was sealed to, or hand it over as the credential {CREDENTIAL}",
        watchlist_device_key = setting!(watchlist.device_key)
    )]
    NoKey,
    /// Altered or cut.
    #[error(
        "the sealed list was altered or cut; copy it again, or seal it again with `watchpost \
         watchlist seal`"
    )]
    Altered,
    /// More than a list may have.
    #[error("the sealed list has {0} bytes, and a list at most {MAX_BYTES}")]
    TooLarge(usize),
    /// No memory.
    #[error("no memory for the opened list: {0}")]
    Memory(#[from] io::Error),
}

impl SealError {
    /// Its published cause.
    pub fn cause(&self) -> Cause {
        match self {
            Self::File { .. } | Self::TooOpen { .. } | Self::NotADeviceKey { .. } => {
                Cause::DeviceKey
            }
            Self::NotARecipient | Self::Recipients(_) => Cause::Recipients,
            Self::Unreadable(_) | Self::Armored => Cause::Unreadable,
            Self::Passphrase => Cause::SealedWithPassphrase,
            Self::NotForUs(_) => Cause::SealedToAnother,
            Self::NoKey => Cause::NoDeviceKey,
            Self::Altered => Cause::SealBroken,
            Self::TooLarge(_) => Cause::TooLarge,
            Self::Memory(_) => Cause::NoMemory,
        }
    }
}

/// The public half of a device's key: a list is sealed to it.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

impl FromStr for Recipient {
    type Err = SealError;
    fn from_str(text: &str) -> Result<Self, SealError> {
        // The text may be a secret pasted by mistake: an error repeats nothing of it.
        text.trim().parse().map(Self).map_err(|_| SealError::NotARecipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A device's key: anybody who has it can read every list that was sealed to it.
pub struct DeviceKey {
    /// `AGE-SECRET-KEY-1...`; parsed for each use, so that it lies in locked memory meanwhile.
    secret: Locked<u8>,
    public: Recipient,
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.public)
    }
}

impl DeviceKey {
    /// A new key.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub fn generate() -> Result<Self, SealError> {
        Self::of(&x25519::Identity::generate())
    }

    fn of(identity: &x25519::Identity) -> Result<Self, SealError> {
        let secret = Locked::copy_of(identity.to_string().expose_secret().as_bytes())?;
        Ok(Self { secret, public: Recipient(identity.to_public()) })
    }

    /// The public half.
    pub fn recipient(&self) -> &Recipient {
        &self.public
    }

    /// A key for another purpose, which follows from this one and does not tell it. Each purpose
    /// has a `label` of its own.
    pub fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hkdf(b"watchpost device key", label, &self.secret))
    }

    fn identity(&self) -> x25519::Identity {
        let text = std::str::from_utf8(&self.secret).expect("an age identity is ASCII");
        text.parse().expect("it was an identity when this value was made")
    }

    /// Writes a new key file, mode 0600. An existing file is never overwritten.
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub fn create_file(&self, path: &Path) -> Result<(), SealError> {
        let about = format!(
            "# watchpost device key; keep it on the device\n# public key: {}\n",
            self.public
        );
        let written = files::create(path, &[about.as_bytes(), &self.secret, b"\n"], 0o600);
        written.map_err(|source| SealError::File { path: path.into(), source })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// Where it cannot be read, others than its owner can read it, or it holds no key.
    pub fn open_file(path: &Path) -> Result<Self, SealError> {
        Self::read(path, true)
    }

    /// The key that the service manager handed over, if it did. The manager guards the file, so
    /// that its mode does not matter.
    ///
    /// # Errors
    /// Where there is one that cannot be read or holds no key.
    pub fn from_credentials(directory: Option<&Path>) -> Result<Option<Self>, SealError> {
        let Some(path) = directory.map(|d| d.join(CREDENTIAL)).filter(|p| p.exists()) else {
            return Ok(None);
        };
        Self::read(&path, false).map(Some)
    }

    fn read(path: &Path, private: bool) -> Result<Self, SealError> {
        let io = |source| SealError::File { path: path.into(), source };
        let file = files::open(path).map_err(io)?;
        // The mode of the open file, not of the path: nothing can be exchanged in between.
        let mode = file.metadata().map_err(io)?.mode() & 0o7777;
        if private && mode & 0o077 != 0 {
            return Err(SealError::TooOpen { path: path.into(), mode });
        }
        let text = read_text_of(file, MAX_KEY_FILE).map_err(io)?;
        let secret = secret_line(&text);
        let identity = secret.and_then(|line| line.parse::<x25519::Identity>().ok());
        Self::of(&identity.ok_or_else(|| SealError::NotADeviceKey { path: path.into() })?)
    }
}

/// The one line of a key file that is neither empty nor a comment.
fn secret_line(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let line = lines.next()?;
    lines.next().is_none().then_some(line)
}

/// Whether `bytes` claim to be a sealed list.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.starts_with(ARMOR)
}

const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// Lets an identity unwrap a file key and keeps it: the crate would use it only for its own reader.
struct Unwrapping {
    identity: x25519::Identity,
    payload_key_of: RefCell<Option<FileKey>>,
}

fn copy_of(key: &FileKey) -> FileKey {
    FileKey::init_with_mut(|copy| copy.copy_from_slice(key.expose_secret()))
}

impl age::Identity for Unwrapping {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let unwrapped = self.identity.unwrap_stanza(stanza)?;
        if let Ok(key) = &unwrapped {
            *self.payload_key_of.borrow_mut() = Some(copy_of(key));
        }
        Some(unwrapped)
    }
}

/// The same for making a file.
struct Wrapping<'a> {
    recipients: &'a [Recipient],
    payload_key_of: RefCell<Option<FileKey>>,
}

impl age::Recipient for Wrapping<'_> {
    fn wrap_file_key(&self, key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        *self.payload_key_of.borrow_mut() = Some(copy_of(key));
        let mut all = Vec::new();
        for recipient in self.recipients {
            all.extend(recipient.0.wrap_file_key(key)?.0);
        }
        Ok((all, HashSet::new()))
    }
}

/// The cipher of the payload whose file key is `key` and whose header ends with `nonce`.
fn payload_cipher(key: &FileKey, nonce: &[u8]) -> ChaCha20Poly1305 {
    let key = Zeroizing::new(hkdf(nonce, b"payload", key.expose_secret()));
    ChaCha20Poly1305::new((&*key).into())
}

/// The nonce of piece `number`: 11 bytes of it, and whether it is the last.
fn piece_nonce(number: usize, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&(number as u64).to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

/// Splits a sealed file into the header, which ends with the nonce, and the payload, before
/// anything is parsed.
fn split(sealed: &[u8]) -> Result<(&[u8], &[u8]), SealError> {
    if sealed.starts_with(ARMOR) {
        return Err(SealError::Armored);
    }
    if !sealed.starts_with(MAGIC) {
        return Err(SealError::Unreadable("it does not begin like one"));
    }
    let start = &sealed[..sealed.len().min(MAX_HEADER)];
    // The header's last line is `--- ` and the base64 of 32 bytes.
    let end = start.windows(5).position(|w| w == b"\n--- ");
    let end = end.and_then(|at| {
        start[at + 5..].iter().position(|b| *b == b'\n').map(|line| at + 5 + line + 1)
    });
    let end = end.ok_or(SealError::Unreadable("its header does not end within 32 KiB"))?;
    if start[..end].split(|b| *b == b'\n').any(|line| line.starts_with(b"-> scrypt ")) {
        return Err(SealError::Passphrase);
    }
    sealed.split_at_checked(end + NONCE).ok_or(SealError::Unreadable("cut short"))
}

/// Opens a sealed list with the device's key. The plain bytes are nowhere but in what is returned.
///
/// # Errors
/// Where it is none, is not sealed to `key`, was altered or is too large.
pub fn open(sealed: &[u8], key: &DeviceKey) -> Result<Locked<u8>, SealError> {
    let (header, payload) = split(sealed)?;
    let pieces = payload.len().div_ceil(PIECE + TAG);
    let Some(plain) = payload.len().checked_sub(pieces * TAG).filter(|_| pieces > 0) else {
        return Err(SealError::Unreadable("cut short"));
    };
    if plain > MAX_BYTES {
        return Err(SealError::TooLarge(plain));
    }
    let unwrapping = Unwrapping { identity: key.identity(), payload_key_of: RefCell::default() };
    let decryptor = Decryptor::new_buffered(header)
        .map_err(|_| SealError::Unreadable("its header does not parse"))?;
    // Unwraps the key and checks the header's authentication code.
    match decryptor.decrypt(std::iter::once(&unwrapping as &dyn age::Identity)) {
        Ok(_) => {}
        Err(DecryptError::NoMatchingKeys) => {
            return Err(SealError::NotForUs(key.public.to_string()));
        }
        Err(_) => return Err(SealError::Altered),
    }
    let file_key = unwrapping.payload_key_of.take().expect("what was decrypted was unwrapped");
    let cipher = payload_cipher(&file_key, &header[header.len() - NONCE..]);
    let mut out = Locked::zeroed(plain)?;
    let mut rest = &mut out[..];
    for (number, piece) in payload.chunks(PIECE + TAG).enumerate() {
        let (ciphered, tag) =
            piece.split_at_checked(piece.len().wrapping_sub(TAG)).ok_or(SealError::Altered)?;
        let last = number + 1 == pieces;
        // Only a file without any content has an empty piece.
        if ciphered.is_empty() && number > 0 {
            return Err(SealError::Altered);
        }
        let (piece, after) = rest.split_at_mut(ciphered.len());
        piece.copy_from_slice(ciphered);
        let nonce = piece_nonce(number, last);
        cipher
            .decrypt_in_place_detached((&nonce).into(), b"", piece, Tag::from_slice(tag))
            .map_err(|_| SealError::Altered)?;
        rest = after;
    }
    Ok(out)
}

/// Seals what `parts` are one after another to each of `recipients`.
///
/// # Errors
/// Where there are no recipients or too many, or it is larger than a list may be.
pub fn seal(parts: &[&[u8]], recipients: &[Recipient]) -> Result<Vec<u8>, SealError> {
    if !(1..=MAX_RECIPIENTS).contains(&recipients.len()) {
        return Err(SealError::Recipients(recipients.len()));
    }
    let plain: usize = parts.iter().map(|p| p.len()).sum();
    if plain > MAX_BYTES {
        return Err(SealError::TooLarge(plain));
    }
    let wrapping = Wrapping { recipients, payload_key_of: RefCell::default() };
    let encryptor = Encryptor::with_recipients(std::iter::once(&wrapping as &dyn age::Recipient))
        .map_err(|_| SealError::Recipients(recipients.len()))?;
    let mut out = Vec::with_capacity(plain + plain / PIECE * TAG + recipients.len() * 128 + 256);
    // Writes header and nonce; the crate's own payload writer is dropped before it has got
    // anything.
    drop(encryptor.wrap_output(&mut out).map_err(SealError::Memory)?);
    let file_key =
        wrapping.payload_key_of.take().expect("a header has its recipients' wrapped keys");
    let cipher = payload_cipher(&file_key, &out[out.len() - NONCE..]);
    let mut piece = Locked::<u8>::zeroed(PIECE)?;
    let (mut filled, mut number) = (0, 0);
    let mut flush = |piece: &mut [u8], last: bool| {
        let tag = cipher
            .encrypt_in_place_detached((&piece_nonce(number, last)).into(), b"", piece)
            .expect("a piece is far below what the cipher can take");
        out.extend_from_slice(piece);
        out.extend_from_slice(&tag);
        number += 1;
    };
    for mut part in parts.iter().copied() {
        while !part.is_empty() {
            if filled == PIECE {
                flush(&mut piece, false);
                filled = 0;
            }
            let n = part.len().min(PIECE - filled);
            piece[filled..filled + n].copy_from_slice(&part[..n]);
            filled += n;
            part = &part[n..];
        }
    }
    flush(&mut piece[..filled], true);
    Ok(out)
}

#[cfg(test)]
mod tests;
