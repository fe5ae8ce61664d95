//! Freezes a set of decoys, and signs it.
//!
//! * What a device would refuse is not signed.
//! * Templates are sorted by their bytes, so that a position does not tell who it is.

use super::*;
use crate::watchlist::cbor::CborWriter;
use crate::watchlist::container::MAX_SIGNATURES;
use crate::watchlist::keys::SecretKey;
use zeroize::Zeroizing;

/// Why decoys cannot be signed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SignError {
    /// What would be signed cannot be.
    #[error(transparent)]
    Decoys(#[from] DecoysError),
    /// A second signature by one key.
    #[error("the key {0} has signed these decoys already; have another signer sign")]
    AlreadySigned(KeyId),
    /// More than a container holds.
    #[error("the decoys have {MAX_SIGNATURES} signatures already; more are not read")]
    TooManySignatures,
    /// Nothing to sign.
    #[error("the decoys would have expired before they are signed; set a later `expires`")]
    AlreadyExpired,
}

fn encode(head: &Head, templates: &[Template]) -> Zeroizing<Vec<u8>> {
    let seconds = |at: OffsetDateTime| at.unix_timestamp() as u64;
    let mut w =
        CborWriter::with_capacity(templates.len() * (head.dimensions + 3) + 4 * MAX_TEXT + 512);
    w.map(13);
    w.key(0).uint(FORMAT_VERSION);
    w.key(1).text(&head.id);
    w.key(2).array(3).uint(seconds(head.issued)).uint(seconds(head.not_before));
    w.uint(seconds(head.expires));
    w.key(3).bytes(&head.embedder);
    w.key(4).uint(head.pipeline.into());
    w.key(5).uint(head.dimensions as u64);
    w.key(6).text(&head.authority);
    w.key(7).text(&head.decision);
    w.key(8).text(&head.device);
    w.key(9).text(&head.camera);
    w.key(10).array(2).uint(head.days.into()).uint(head.least_faces.into());
    w.key(11).text(&head.source);
    w.key(12).array(templates.len());
    for template in templates {
        w.signed_bytes(template.values());
    }
    Zeroizing::new(w.finish())
}

/// Freezes a set, issued `now`, with its first signature. The order of `templates` does not
/// matter.
///
/// # Errors
/// Where it is no set that a device would use.
pub fn sign(
    head: &Head,
    mut templates: Vec<Template>,
    key: &SecretKey,
    now: OffsetDateTime,
) -> Result<Zeroizing<Vec<u8>>, SignError> {
    let head = Head { issued: now, ..head.clone() };
    head.check()?;
    if head.expires <= now {
        return Err(SignError::AlreadyExpired);
    }
    templates.sort_by(|a, b| a.values().cmp(b.values()));
    check_templates(&templates, head.dimensions)?;
    let payload = encode(&head, &templates);
    let mut container = Container::new(&DECOYS, &payload);
    container.sign(key);
    Ok(container.to_bytes())
}

/// Adds a signature to a signed set, once it has been read.
///
/// # Errors
/// Where `bytes` are no signed set, or the key has signed it already.
pub fn cosign(bytes: &[u8], key: &SecretKey) -> Result<Zeroizing<Vec<u8>>, SignError> {
    let mut container = Container::read(&DECOYS, bytes).map_err(DecoysError::from)?;
    decode(container.payload())?;
    let id = key.public().id();
    if container.signatures().iter().any(|(signer, _)| *signer == id) {
        return Err(SignError::AlreadySigned(id));
    }
    if container.signatures().len() >= MAX_SIGNATURES {
        return Err(SignError::TooManySignatures);
    }
    container.sign(key);
    Ok(container.to_bytes())
}
