//! What whoever carries an envelope can check of it, without a key that opens it.

use super::{CandidateId, VerdictEnvelope, VerdictError};
use crate::watchlist::keys::PublicKey;

/// Checks that `key` signed the envelope, and for which candidate of `device`: what whoever carries
/// it can check. Whether the key is a reviewer's, and what is sealed, is not looked at.
///
/// # Errors
/// The first reason why it is of no use.
pub fn check_envelope(
    bytes: &[u8],
    key: &PublicKey,
    device: &str,
) -> Result<CandidateId, VerdictError> {
    let VerdictEnvelope { cose, candidate, device: addressee, .. } = VerdictEnvelope::read(bytes)?;
    if cose.signer != key.id() {
        return Err(VerdictError::Mismatch("reviewer"));
    }
    if !cose.is_by(key) {
        return Err(VerdictError::Altered(cose.signer));
    }
    if addressee != device {
        return Err(VerdictError::OtherDevice(addressee.to_owned()));
    }
    Ok(candidate)
}
