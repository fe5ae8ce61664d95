//! The device's identity: the one place that reads its key, and delivery's use of it, to sign
//! candidates.

use std::path::PathBuf;

use crate::audit::detached;
use crate::config::Config;
use crate::delivery::Signer;
use crate::watchlist::keys::{KeyError, SecretKey};

#[derive(Debug)]
struct DeviceSigner(SecretKey);

impl Signer for DeviceSigner {
    fn sign(&self, payload: &[u8]) -> String {
        detached::sign(payload, &self.0)
    }
}

/// The identity that `config`, or the service manager, gives the device; `None` where there is
/// none.
///
/// # Errors
/// Where there is one and it cannot be used.
pub fn of(config: &Config) -> Result<Option<SecretKey>, KeyError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    config.audit.open_identity(credentials.as_deref())
}

/// Who signs this device's candidates; nobody where it has no identity, or one that cannot be used,
/// which the auditor says.
pub fn signer(config: &Config) -> Option<Box<dyn Signer>> {
    let identity = of(config).ok()??;
    Some(Box::new(DeviceSigner(identity)))
}
