//! Whether enough of the pinned signers have signed a container.
//!
//! * A signature by a key that is not pinned as a signer is ignored: keys rotate.
//! * A second signature by one key does not count, nor one by another key of the same person.
//! * A signature by a pinned signer that does not hold refuses the whole container, however many
//!   others hold.
//!
//! Lists and trust files are checked by this one function. Its error names the two ways in which
//! signatures fail and nothing else, so that each caller can answer both.

use super::container::Container;
use super::keys::KeyId;
use super::trust::{Role, Trust};

/// Why the signatures of a container do not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A pinned signer's signature does not hold.
    #[error("it is not what the key {0} signed")]
    Altered(KeyId),
    /// Not enough different pinned signers.
    #[error("it has {have} of the {need} signatures that it needs")]
    TooFewSigners {
        /// Different people among the pinned signers whose signatures hold.
        have: usize,
        /// As the trust file asks.
        need: usize,
    },
}

/// The pinned signers whose signatures hold, each once, in the order of the container; at least as
/// many as `trust` asks for.
///
/// # Errors
/// Where one was altered, or they are too few.
pub fn check_signatures(
    container: &Container<'_>,
    trust: &Trust,
) -> Result<Vec<KeyId>, SignatureError> {
    let mut good = Vec::new();
    for (id, signature) in container.signatures() {
        let Some(key) = trust.key(*id, Role::Signer) else { continue };
        if !key.verifies(&container.signed_by(*id), signature) {
            return Err(SignatureError::Altered(*id));
        }
        if !good.contains(id) {
            good.push(*id);
        }
    }
    let (have, need) =
        (trust.count_people(Role::Signer, good.iter().copied()), trust.signers_needed());
    if have < need { Err(SignatureError::TooFewSigners { have, need }) } else { Ok(good) }
}
