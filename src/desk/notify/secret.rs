//! Secrets of destinations, from files that only the desk can read. Read again at each attempt, so
//! that a new one is used without a restart.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use zeroize::Zeroizing;

use crate::files::{self, NoSecret};

/// Most bytes of such a file.
const MAX_FILE: u64 = 4096;
/// Most bytes of the secret in it.
const MAX_SECRET: usize = 1024;
/// Bytes of a webhook's secret, as the standard has it.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What a webhook's secret begins with.
const PREFIX: &str = "whsec_";

/// Why a secret is not used.
#[derive(Debug, thiserror::Error)]
pub enum NotifySecretError {
    /// Not there or not readable.
    #[error("cannot read {path}: {source}; check that it exists and that the desk may read it")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("others may read {0}; run chmod 600 on it")]
    TooOpen(PathBuf),
    /// Its first line is empty, too long or no text.
    #[error("{path} holds no secret: {why}")]
    NoSecret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: NoSecret,
    },
    /// It is no webhook's secret.
    #[error("{0} does not begin with whsec_ and the base64 of 24 to 64 bytes")]
    NotASecret(PathBuf),
}

/// The first line of a file that only its owner can read.
///
/// # Errors
/// Where it is not one.
pub fn first_line(path: &Path) -> Result<Zeroizing<String>, NotifySecretError> {
    let failed = |source| NotifySecretError::File { path: path.to_owned(), source };
    let file = files::open(path).map_err(failed)?;
    // The mode of the open file, not of the path: nothing can be exchanged in between.
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(NotifySecretError::TooOpen(path.to_owned()));
    }
    let bytes = files::read_bytes_of(file, MAX_FILE).map_err(failed)?;
    files::secret(&bytes, MAX_SECRET)
        .map_err(|why| NotifySecretError::NoSecret { path: path.to_owned(), why })
}

/// What a webhook's messages are signed with: Standard Webhooks, version 1 (HMAC-SHA256).
pub struct WebhookSecret(hmac::Key);

impl WebhookSecret {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it holds no secret, or others may read it.
    pub fn open(path: &Path) -> Result<Self, NotifySecretError> {
        Self::parse(&first_line(path)?)
            .ok_or_else(|| NotifySecretError::NotASecret(path.to_owned()))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim().strip_prefix(PREFIX)?).ok()?);
        KEY_BYTES.contains(&bytes.len()).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        let signature = hmac::sign(&self.0, &[head.as_bytes(), body].concat());
        format!("v1,{}", STANDARD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of the standard's own libraries.
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signature = secret.sign(id, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_no_secret_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let open = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            WebhookSecret::open(&path)
        };
        let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
        assert!(open(good, 0o600).is_ok());
        assert!(matches!(open(good, 0o640), Err(NotifySecretError::TooOpen(_))));
        assert!(matches!(open("\n", 0o600), Err(NotifySecretError::NoSecret { .. })));
        for bad in ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_***"] {
            let error = open(bad, 0o600).err().unwrap();
            assert!(matches!(error, NotifySecretError::NotASecret(_)), "{bad}");
            assert!(!error.to_string().contains("c2hvcnQ"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(WebhookSecret::open(&path), Err(NotifySecretError::File { .. })));
    }
}
