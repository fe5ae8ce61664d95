//! The proof that a device made a site record itself.
//!
//! * Two people sign what a record says, and none of them has counted. So the device vouches for
//!   its own numbers: a keyed digest over the whole record, under a key that follows from the key
//!   that lists are sealed to. Whoever edits a record, or brings one of another device, cannot make
//!   it.
//! * The proof names nobody: to all but the device it is 32 random bytes.
//! * A device without such a key makes no record and takes none. With a new key, records under the
//!   old one end.
//! * Not promised: anything against somebody who has the device's key; they can read its lists,
//!   too.

use age_core::primitives::hkdf;
use zeroize::Zeroizing;

use crate::watchlist::seal::DeviceKey;

/// What else is derived from a device's key has another label.
const LABEL: &[u8] = b"watchpost site record v1";

/// The key under which a device vouches for its records.
pub struct SiteKey(Zeroizing<[u8; 32]>);

impl SiteKey {
    /// That of the device that has `key`.
    pub fn of(key: &DeviceKey) -> Self {
        Self(key.derive(LABEL))
    }

    /// The proof for a record of which all else has this digest: HKDF-SHA-256 (RFC 5869), its
    /// expansion keyed by the device's and over the digest.
    pub fn prove(&self, digest: &[u8; 32]) -> [u8; 32] {
        hkdf(LABEL, digest, &*self.0)
    }
}

#[cfg(test)]
impl SiteKey {
    /// One that is always the same.
    pub(crate) fn for_tests(n: u8) -> Self {
        Self(Zeroizing::new([n; 32]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_key_and_one_digest() {
        let (device, other) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
        let proof = SiteKey::of(&device).prove(&[1; 32]);
        assert_eq!(proof, SiteKey::of(&device).prove(&[1; 32]));
        assert_ne!(proof, SiteKey::of(&device).prove(&[2; 32]));
        assert_ne!(proof, SiteKey::of(&other).prove(&[1; 32]));
    }
}
