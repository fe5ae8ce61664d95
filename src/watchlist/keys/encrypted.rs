//! The key file of a person, encrypted with a passphrase.
//!
//! ```text
//! watchpost secret key v2 watchpost-ed25519:<base64 of the public key>
//! <base64 of an age file with one scrypt recipient, which holds the 32 bytes of the private key>
//! ```
//!
//! * The public key can be shown without the passphrase. It is held against the secret when the
//!   file is opened.
//! * `tail -n 1 FILE | base64 -d | age -d` opens it as well: the format is age's.
//! * A passphrase protects a copied file as long as it cannot be guessed. scrypt makes each guess
//!   cost 256 MB and about a second; [`LEAST_CHARACTERS`] are the least that is taken.

use std::io::{Read as _, Write as _};
use std::path::Path;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::{DecryptError, Decryptor, Encryptor, scrypt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize as _, Zeroizing};

use super::{KeyError, PublicKey, SecretKey, create, read};

const HEADER: &str = "watchpost secret key v2 ";
/// Fewest characters of a passphrase.
pub const LEAST_CHARACTERS: usize = 10;
/// scrypt's N is two to the power of this: age's own choice for a passphrase that people type.
const WORK: u8 = 18;
/// A file that wants more work than this is no key file of ours.
const MOST_WORK: u8 = 20;

/// What a person types to use their key.
pub struct Passphrase(SecretString);

impl Passphrase {
    /// A passphrase for a new file.
    ///
    /// # Errors
    /// Where it is too short.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        match text.chars().count() {
            found if found < LEAST_CHARACTERS => Err(KeyError::ShortPassphrase { found }),
            _ => Ok(Self::typed(text)),
        }
    }

    /// What was typed for a file that there is already.
    pub fn typed(text: &str) -> Self {
        Self(SecretString::from(text.to_owned()))
    }

    fn secret(&self) -> SecretString {
        SecretString::from(self.0.expose_secret().to_owned())
    }
}

/// Whether the text of a key file is encrypted.
pub(super) fn is_encrypted(text: &str) -> bool {
    text.starts_with(HEADER)
}

/// The public key of a key file, without its passphrase; `None` for one that is not encrypted.
///
/// # Errors
/// Where it cannot be read, or others than its owner can read it.
pub fn public_of_file(path: &Path) -> Result<Option<PublicKey>, KeyError> {
    let text = read(path)?;
    if !is_encrypted(&text) {
        return Ok(None);
    }
    let (public, _) = parse(&text).map_err(|what| not_a_key(path, what))?;
    Ok(Some(public))
}

impl SecretKey {
    /// Writes a new key file, mode 0600, encrypted with `passphrase`. An existing file is never
    /// overwritten.
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub fn create_encrypted_file(
        &self,
        path: &Path,
        passphrase: &Passphrase,
    ) -> Result<(), KeyError> {
        let mut seed = self.0.to_bytes();
        let encrypted = encrypt(&seed, passphrase);
        seed.zeroize();
        let encrypted = encrypted.map_err(|e| KeyError::Random(e.to_string()))?;
        create(path, &format!("{HEADER}{}\n{}\n", self.public(), STANDARD.encode(encrypted)))
    }

    /// Reads a key file; `passphrase` is asked for only where it is encrypted.
    ///
    /// # Errors
    /// As [`SecretKey::open_file`], whatever `passphrase` says, and where it is another one.
    pub fn open_file_with(
        path: &Path,
        passphrase: impl FnOnce() -> Result<Passphrase, KeyError>,
    ) -> Result<Self, KeyError> {
        let text = read(path)?;
        if !is_encrypted(&text) {
            return Self::plain(path, &text);
        }
        let (public, encrypted) = parse(&text).map_err(|what| not_a_key(path, what))?;
        let seed = decrypt(&encrypted, &passphrase()?).map_err(|error| match error {
            Undecipherable::Passphrase => {
                KeyError::WrongPassphrase { path: path.display().to_string() }
            }
            Undecipherable::File => not_a_key(path, "its second line is no encrypted key"),
        })?;
        let key = Self::from_seed(&seed);
        if key.public() != public {
            return Err(not_a_key(path, "its secret does not belong to the key in its first line"));
        }
        Ok(key)
    }
}

fn not_a_key(path: &Path, what: &'static str) -> KeyError {
    KeyError::NotASecretKey { path: path.display().to_string(), what }
}

/// The public key, and the encrypted secret.
fn parse(text: &str) -> Result<(PublicKey, Vec<u8>), &'static str> {
    let mut lines = text.lines();
    let public = lines.next().and_then(|line| line.strip_prefix(HEADER)?.parse().ok());
    let secret = lines.next().and_then(|line| STANDARD.decode(line.trim()).ok());
    if lines.any(|line| !line.trim().is_empty()) {
        return Err("it has more than two lines");
    }
    Ok((
        public.ok_or("its first line has no public key")?,
        secret.ok_or("its second line is not base64")?,
    ))
}

fn encrypt(seed: &[u8; 32], passphrase: &Passphrase) -> Result<Vec<u8>, std::io::Error> {
    let mut recipient = scrypt::Recipient::new(passphrase.secret());
    recipient.set_work_factor(WORK);
    let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        .map_err(std::io::Error::other)?;
    let mut encrypted = Vec::new();
    let mut writer = encryptor.wrap_output(&mut encrypted)?;
    writer.write_all(seed)?;
    writer.finish()?;
    Ok(encrypted)
}

/// Why a key cannot be decrypted.
enum Undecipherable {
    Passphrase,
    File,
}

fn decrypt(
    encrypted: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<[u8; 32]>, Undecipherable> {
    let decryptor = Decryptor::new_buffered(encrypted).map_err(|_| Undecipherable::File)?;
    if !decryptor.is_scrypt() {
        return Err(Undecipherable::File);
    }
    let mut identity = scrypt::Identity::new(passphrase.secret());
    identity.set_max_work_factor(MOST_WORK);
    let mut reader =
        decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(|error| {
            match error {
                DecryptError::DecryptionFailed => Undecipherable::Passphrase,
                _ => Undecipherable::File,
            }
        })?;
    let mut seed = Zeroizing::new([0; 32]);
    let mut more = [0; 1];
    let whole = reader.read_exact(&mut seed[..]).and_then(|()| reader.read(&mut more));
    match whole {
        Ok(0) => Ok(seed),
        _ => Err(Undecipherable::File),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_alone_and_shows_its_public_half_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let key = SecretKey::from_seed(&[7; 32]);
        let right = Passphrase::new("four words and more").unwrap();
        key.create_encrypted_file(&path, &right).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&STANDARD.encode([7u8; 32])[..20]));
        assert_eq!(public_of_file(&path).unwrap(), Some(key.public()));
        let open = |passphrase: &str| {
            SecretKey::open_file_with(&path, || Ok(Passphrase::typed(passphrase)))
        };
        assert_eq!(open("four words and more").unwrap().public(), key.public());
        assert!(matches!(open("four words and mor"), Err(KeyError::WrongPassphrase { .. })));
        assert!(matches!(SecretKey::open_file(&path), Err(KeyError::Encrypted { .. })));
        assert!(matches!(key.create_encrypted_file(&path, &right), Err(KeyError::File { .. })));

        // Another public key in front of it does not make it another's.
        let other = SecretKey::from_seed(&[8; 32]).public().to_string();
        std::fs::write(&path, text.replace(&key.public().to_string(), &other)).unwrap();
        assert!(matches!(open("four words and more"), Err(KeyError::NotASecretKey { .. })));
        // Nor is a spoiled file taken for a wrong passphrase.
        std::fs::write(&path, &text[..text.len() - 40]).unwrap();
        assert!(matches!(open("four words and more"), Err(KeyError::NotASecretKey { .. })));
        std::fs::write(&path, &text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open("four words and more"), Err(KeyError::TooOpen { .. })));
    }

    #[test]
    fn a_short_passphrase_is_refused_for_a_new_key_only() {
        assert!(matches!(
            Passphrase::new("nine char"),
            Err(KeyError::ShortPassphrase { found: 9 })
        ));
        assert!(Passphrase::new("zehn Zeich").is_ok());
    }

    #[test]
    fn a_key_that_is_not_encrypted_asks_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        SecretKey::from_seed(&[7; 32]).create_file(&path).unwrap();
        let opened = SecretKey::open_file_with(&path, || panic!("nobody is asked"));
        assert_eq!(opened.unwrap().public(), SecretKey::from_seed(&[7; 32]).public());
        assert_eq!(public_of_file(&path).unwrap(), None);
    }
}
