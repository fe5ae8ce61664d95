//! Ed25519 keys of the people who sign lists, revocations and verdicts.
//!
//! # Files
//! A secret key file has mode 0600 and two lines; a public key is one line, meant to be pasted into
//! a trust file:
//!
//! ```text
//! watchpost secret key v1 3f8c21d09ab4e671
//! <base64 of the 32 bytes of RFC 8032's private key>
//!
//! watchpost-ed25519:<base64 of the 32 bytes of the public key>
//! ```
//!
//! The key of a person is encrypted with a passphrase unless they say otherwise; [`encrypted`] has
//! that form.
//!
//! A secret key file that others than its owner can read is refused when loaded: a signature must
//! mean one person. Secrets are wiped from memory when dropped and never printed. A [`KeyId`] names
//! a public key in lists and logs.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::files::{self, read_text_of};

pub mod encrypted;

const SECRET_HEADER: &str = "watchpost secret key v1";
const PUBLIC_PREFIX: &str = "watchpost-ed25519:";
/// A secret key file has 86 bytes, an encrypted one some 500; more than this is another file.
const MOST_FILE_BYTES: u64 = 4096;

/// What is wrong with a key or its file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read, written or created.
    #[error("cannot use the key file {path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Others could read it.
    #[error(
        "the key file {path} has mode {mode:04o}, so others than its owner can read or change it; \
         run `chmod 600 {path}`, and make a new key if anyone may have copied it"
    )]
    TooOpen {
        /// Its path.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Not in the format of the module's documentation.
    #[error("{path} is not a secret key file ({what}); make one with `watchpost key new`")]
    NotASecretKey {
        /// Its path.
        path: String,
        /// The first thing that is wrong.
        what: &'static str,
    },
    /// A passphrase is needed.
    #[error(
        "the key file {path} is encrypted with a passphrase, and nobody can be asked for it here; \
         name a file that has it with --passphrase-file FILE"
    )]
    Encrypted {
        /// Its path.
        path: String,
    },
    /// Another passphrase.
    #[error("the key file {path} cannot be opened: the passphrase is another one")]
    WrongPassphrase {
        /// Its path.
        path: String,
    },
    /// Too easily guessed.
    #[error(
        "a passphrase has at least {least} characters, this one has {found}; take four or more \
         words that do not belong together",
        least = encrypted::LEAST_CHARACTERS
    )]
    ShortPassphrase {
        /// Its characters.
        found: usize,
    },
    /// Not a public key line.
    #[error(
        "{0:?} is not a public key; one looks like `{PUBLIC_PREFIX}` followed by 44 characters, \
         as `watchpost key show` prints it"
    )]
    NotAPublicKey(String),
    /// The operating system gave no random bytes.
    #[error("the operating system's random generator failed: {0}")]
    Random(String),
}

/// The first 64 bits of the SHA-256 of a public key; written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub(super) [u8; 8]);

impl KeyId {
    /// The name that these bytes are.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A public key that signatures are checked against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// A key from its 32 bytes; `None` where they are no point of the curve or one of small order,
    /// under which a signature would prove nothing.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// The 32 bytes that [`PublicKey::from_bytes`] takes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The name of the key.
    pub fn id(&self) -> KeyId {
        let digest = Sha256::digest(self.0.as_bytes());
        KeyId(digest[..8].try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Whether `signature` over `message` was made with the secret key. Strict: no malleable forms.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(line: &str) -> Result<Self, KeyError> {
        let decode = || {
            let bytes = STANDARD.decode(line.trim().strip_prefix(PUBLIC_PREFIX)?).ok()?;
            Self::from_bytes(&bytes.try_into().ok()?)
        };
        // The line may be a secret pasted by mistake: an error shows no more than its beginning.
        decode().ok_or_else(|| {
            KeyError::NotAPublicKey(line.chars().take(PUBLIC_PREFIX.len()).collect())
        })
    }
}

/// A secret key: anybody who has it can sign in its owner's name.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new key from the operating system's generator.
    ///
    /// # Errors
    /// Where the generator fails.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut seed[..]).map_err(|e| KeyError::Random(e.to_string()))?;
        Ok(Self::from_seed(&seed))
    }

    /// The key whose private part is `seed` (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Writes a new key file, mode 0600, that is not encrypted. An existing file is never
    /// overwritten.
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub fn create_file(&self, path: &Path) -> Result<(), KeyError> {
        let mut seed = self.0.to_bytes();
        let secret = Zeroizing::new(STANDARD.encode(seed));
        seed.zeroize();
        let id = self.public().id();
        let text = Zeroizing::new(format!("{SECRET_HEADER} {id}\n{}\n", secret.as_str()));
        create(path, &text)
    }

    /// Reads a key file that is not encrypted.
    ///
    /// # Errors
    /// Where it cannot be read, others than its owner can read it, it is no key file, or it is
    /// encrypted.
    pub fn open_file(path: &Path) -> Result<Self, KeyError> {
        Self::plain(path, &read(path)?)
    }

    /// The key in `text`, which was read from `path`.
    fn plain(path: &Path, text: &str) -> Result<Self, KeyError> {
        let path = || path.display().to_string();
        if encrypted::is_encrypted(text) {
            return Err(KeyError::Encrypted { path: path() });
        }
        Self::parse(text).map_err(|what| KeyError::NotASecretKey { path: path(), what })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        let id = lines
            .next()
            .and_then(|line| line.strip_prefix(SECRET_HEADER))
            .ok_or("its first line is not `watchpost secret key v1` and a key id")?;
        let secret = lines.next().ok_or("it has no second line")?;
        if lines.any(|line| !line.trim().is_empty()) {
            return Err("it has more than two lines");
        }
        // Larger than 32 bytes because the decoder asks for room in whole groups of three.
        let mut decoded = Zeroizing::new([0u8; 48]);
        let seed: &[u8; 32] = match STANDARD.decode_slice(secret.trim(), &mut decoded[..]) {
            Ok(32) => decoded[..32].try_into().expect("32 bytes"),
            _ => return Err("its second line is not the base64 of 32 bytes"),
        };
        let key = Self::from_seed(seed);
        if key.public().id().to_string() != id.trim() {
            return Err("its secret does not belong to the key id in its first line");
        }
        Ok(key)
    }
}

/// Writes `text` into a new file, mode 0600.
fn create(path: &Path, text: &str) -> Result<(), KeyError> {
    files::create(path, &[text.as_bytes()], 0o600)
        .map_err(|source| KeyError::File { path: path.display().to_string(), source })
}

/// The text of a file that only its owner can read.
fn read(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let shown = || path.display().to_string();
    let io = |source| KeyError::File { path: shown(), source };
    let file = files::open(path).map_err(io)?;
    // The mode of the open file, not of the path: nothing can be exchanged in between.
    let mode = file.metadata().map_err(io)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { path: shown(), mode });
    }
    read_text_of(file, MOST_FILE_BYTES).map_err(io)
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_brings_back_the_key_and_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let key = SecretKey::generate().unwrap();
        key.create_file(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(SecretKey::open_file(&path).unwrap().public(), key.public());
        assert!(
            matches!(key.create_file(&path), Err(KeyError::File { .. })),
            "an existing key is never overwritten"
        );
        for mode in [0o640, 0o604, 0o620, 0o644] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(SecretKey::open_file(&path), Err(KeyError::TooOpen { .. })),
                "{mode:o}"
            );
        }
    }

    #[test]
    fn debug_output_and_errors_never_show_a_secret() {
        let key = SecretKey::from_seed(&[7; 32]);
        let secret = STANDARD.encode([7u8; 32]);
        assert!(!format!("{key:?}").contains(&secret[..8]));
        assert!(!secret.parse::<PublicKey>().unwrap_err().to_string().contains(&secret));
    }

    #[test]
    fn what_is_no_key_file_is_refused_with_the_reason() {
        let key = SecretKey::from_seed(&[7; 32]);
        let good =
            format!("{SECRET_HEADER} {}\n{}\n", key.public().id(), STANDARD.encode([7u8; 32]));
        assert!(SecretKey::parse(&good).is_ok());
        let other_id = good.replace(&key.public().id().to_string(), "0011223344556677");
        for bad in ["", "x\ny\n", &good[..60], &format!("{good}more\n"), &other_id] {
            assert!(SecretKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_public_key_survives_its_line_and_small_order_points_are_refused() {
        let key = SecretKey::from_seed(&[9; 32]).public();
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        let mut identity = [0u8; 32];
        identity[0] = 1;
        assert!(PublicKey::from_bytes(&identity).is_none());
    }
}
