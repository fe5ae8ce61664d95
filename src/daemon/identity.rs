//! The device's identity as delivery uses it: to sign candidates.

use std::path::PathBuf;

use crate::audit::detached;
use crate::config::Config;
use crate::delivery::Signer;
use crate::watchlist::keys::SecretKey;

#[derive(Debug)]
struct DeviceSigner(SecretKey);

impl Signer for DeviceSigner {
    fn sign(&self, payload: &[u8]) -> String {
        detached::sign(payload, &self.0)
    }
}

/// Who signs this device's candidates; nobody where it has no identity, or one that cannot be used,
/// which the auditor says.
pub fn signer(config: &Config) -> Option<Box<dyn Signer>> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let identity = config.audit.open_identity(credentials.as_deref()).ok()??;
    Some(Box::new(DeviceSigner(identity)))
}
