//! Signatures of what a device publishes, beside it rather than in it: JWS (RFC 7515) with a
//! detached (appendix F), unencoded payload (RFC 7797) and Ed25519 (RFC 9864).
//!
//! ```text
//! signature = base64url(header) ".." base64url(64 bytes of Ed25519)
//! signed    = base64url(header) "." the payload as it was published, byte for byte
//! header    = {"alg":"Ed25519","b64":false,"crit":["b64"],"kid":"<the identity's key id>"}
//! ```
//!
//! * One payload and one key give one signature: a repetition carries the same.
//! * [`verify`] takes the header of any signer that says the same; what it does not know it
//!   refuses, as `crit` asks for.
//! * No signature of a checkpoint is one of a payload, nor the other way round: a checkpoint begins
//!   with the log's origin, which holds no `{`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::watchlist::keys::{PublicKey, SecretKey};

/// Longest signature that is read, in bytes.
pub const MAX_SIGNATURE: usize = 1024;

/// Why a signature proves nothing.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DetachedError {
    /// Not three parts, of which the second is empty, or more than [`MAX_SIGNATURE`].
    #[error(
        "this is no detached signature: it looks like `HEADER..SIGNATURE`, as the message's user \
         property `signature` has it"
    )]
    Shape,
    /// Another algorithm, or a payload that is encoded first.
    #[error(
        "the signature is of another kind than Ed25519 over the bytes as they are (RFC 9864, RFC \
         7797)"
    )]
    Kind,
    /// By another key, of other bytes, or altered.
    #[error("the signature does not belong to this key and these bytes")]
    Forged,
}

/// What is signed before the payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JwsHeader {
    alg: String,
    b64: bool,
    crit: Vec<String>,
    #[serde(rename = "kid")]
    _key: Option<String>,
}

/// The signature of `payload` by `identity`.
pub fn sign(payload: &[u8], identity: &SecretKey) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!(
        r#"{{"alg":"Ed25519","b64":false,"crit":["b64"],"kid":"{}"}}"#,
        identity.public().id()
    ));
    let signature = identity.sign(&signed(&header, payload));
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Whether `signature` is one of `payload` by `key`.
///
/// # Errors
/// Why it is not.
pub fn verify(payload: &[u8], signature: &str, key: &PublicKey) -> Result<(), DetachedError> {
    if signature.len() > MAX_SIGNATURE {
        return Err(DetachedError::Shape);
    }
    let (header, text) = signature.split_once("..").ok_or(DetachedError::Shape)?;
    let decode = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| DetachedError::Shape);
    let bytes: [u8; 64] = decode(text)?.try_into().map_err(|_| DetachedError::Shape)?;
    let what: JwsHeader =
        serde_json::from_slice(&decode(header)?).map_err(|_| DetachedError::Kind)?;
    if what.alg != "Ed25519" || what.b64 || what.crit != ["b64"] {
        return Err(DetachedError::Kind);
    }
    if key.verifies(&signed(header, payload), &bytes) { Ok(()) } else { Err(DetachedError::Forged) }
}

fn signed(header: &str, payload: &[u8]) -> Vec<u8> {
    [header.as_bytes(), b".", payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    /// Subscribers hold signatures of this form: these bytes never change.
    #[test]
    fn a_signature_is_this_text() {
        let text = sign(b"{\"the\":\"payload\"}", &identity(1));
        let (header, signature) = text.split_once("..").unwrap();
        let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        assert_eq!(
            header,
            r#"{"alg":"Ed25519","b64":false,"crit":["b64"],"kid":"34750f98bd59fcfc"}"#
        );
        assert_eq!(
            signature,
            "PCRe7FBeA2UqSJIMj-g5OztDjTUgJWZhjW69ArPpZK0zrvdnfsHJB_d1fVd4GXsz8T6cvAv5JdFbTeIEnU_YBg"
        );
    }

    #[test]
    fn other_kinds_of_signature_are_refused_by_name() {
        let (key, payload) = (identity(1), b"{}");
        let with = |header: &str| {
            let header = URL_SAFE_NO_PAD.encode(header);
            let bytes = key.sign(&signed(&header, payload));
            let text = format!("{header}..{}", URL_SAFE_NO_PAD.encode(bytes));
            verify(payload, &text, &key.public())
        };
        assert_eq!(with(r#"{"crit":["b64"],"b64":false,"alg":"Ed25519"}"#), Ok(()));
        for header in [
            r#"{"alg":"none","b64":false,"crit":["b64"]}"#,
            r#"{"alg":"Ed448","b64":false,"crit":["b64"]}"#,
            r#"{"alg":"Ed25519","b64":true,"crit":["b64"]}"#,
            r#"{"alg":"Ed25519","b64":false,"crit":["b64","exp"],"exp":1}"#,
            r#"{"alg":"Ed25519","b64":false}"#,
            r#"{"alg":"Ed25519"}"#,
            "",
        ] {
            assert_eq!(with(header), Err(DetachedError::Kind), "{header}");
        }
        let good = sign(payload, &key);
        for other in ["", "..", "a.b.c", &good.replace("..", "."), &format!("{good}=")] {
            assert_eq!(verify(payload, other, &key.public()), Err(DetachedError::Shape), "{other}");
        }
        let long = format!("{}{good}", "A".repeat(MAX_SIGNATURE));
        assert_eq!(verify(payload, &long, &key.public()), Err(DetachedError::Shape));
    }

    proptest! {
        #[test]
        fn only_the_signed_bytes_and_the_key_that_signed_them_verify(
            payload: Vec<u8>, at: prop::sample::Index, bit in 0u8..8, more: u8,
        ) {
            let text = sign(&payload, &identity(1));
            let public = identity(1).public();
            prop_assert_eq!(verify(&payload, &text, &public), Ok(()));
            prop_assert_eq!(sign(&payload, &identity(1)), text.clone());
            let mut other = payload.clone();
            other.push(more);
            prop_assert_eq!(verify(&other, &text, &public), Err(DetachedError::Forged));
            if !payload.is_empty() {
                let mut other = payload.clone();
                other[at.index(payload.len())] ^= 1 << bit;
                prop_assert_eq!(verify(&other, &text, &public), Err(DetachedError::Forged));
            }
            let stranger = identity(2).public();
            prop_assert_eq!(verify(&payload, &text, &stranger), Err(DetachedError::Forged));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[A-Za-z0-9_.-]{0,40}(\\.\\.)?\\PC{0,60}") {
            prop_assert!(verify(b"x", &text, &identity(1).public()).is_err());
        }
    }
}
