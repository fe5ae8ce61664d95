//! A receipt: a desk's word that it has stored events of a device.
//!
//! A tagged `COSE_Sign1` (RFC 9052) by the desk's key over the device and, for each event, its id
//! and the SHA-256 of its bytes as they came. Deterministic CBOR, read as strictly as orders;
//! `config/schemas/receipt.cddl` is the schema.
//!
//! # Promises
//! * [`open`] gives ids out only where a key that is pinned as a receiver's has signed, for this
//!   device.
//! * A receipt for other bytes under a known id retires nothing: whoever reads it compares the
//!   digest with what was sent.
//! * A receipt of one device is none of another. Replayed, it retires what was retired.

use crate::watchlist::cbor::{CborError, CborReader, CborWriter};
use crate::watchlist::keys::{KeyId, SecretKey};
use crate::watchlist::sign1::{Sign1, SignedForm};
use crate::watchlist::trust::{Role, Trust};

/// Content type of a receipt.
pub const RECEIPT_TYPE: &str = "application/vnd.watchpost.receipt+cbor";
/// Most events of one receipt.
pub const MOST_EVENTS: usize = 64;
/// Most bytes of one.
pub const MAX_RECEIPT: usize = 8 * 1024;

const FORMAT_VERSION: u64 = 1;
const RECEIPT: SignedForm =
    SignedForm { content_type: RECEIPT_TYPE, context: b"watchpost receipt v1" };
/// Longest name of a device.
const MAX_DEVICE: usize = 64;

/// Why bytes are no receipt that counts.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// More than [`MAX_RECEIPT`].
    #[error("the receipt has {0} bytes and at most {MAX_RECEIPT} are read")]
    TooLarge(usize),
    /// Not the container, not the schema, or cut short.
    #[error("this is no receipt ({0})")]
    Unreadable(#[from] CborError),
    /// A value that the schema has no meaning for.
    #[error("the receipt's {what} cannot be: {rule}")]
    Value {
        /// Which field.
        what: &'static str,
        /// What is allowed.
        rule: &'static str,
    },
    /// By a key that receives nothing.
    #[error("the receipt is signed by {0}, which the trust file does not pin as a receiver")]
    NotPinned(KeyId),
    /// The signature does not hold.
    #[error("the receipt is not what the key {0} signed")]
    Altered(KeyId),
    /// For another device.
    #[error("the receipt is for another device")]
    OtherDevice,
}

impl ReceiptError {
    /// Whether it is no receipt at all, rather than one that does not count.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::Unreadable(_) | Self::Value { .. })
    }
}

/// One event that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// Its id.
    pub id: [u8; 16],
    /// SHA-256 of its bytes as they came.
    pub digest: [u8; 32],
}

/// Signs that `events` of `device`, [`MOST_EVENTS`] at most, are stored.
pub fn give(device: &str, events: &[ReceivedEvent], desk: &SecretKey) -> Vec<u8> {
    debug_assert!(events.len() <= MOST_EVENTS, "the caller splits them");
    let mut w = CborWriter::default();
    w.map(3).key(0).uint(FORMAT_VERSION).key(1).text(device).key(2).array(events.len());
    for event in events {
        w.array(2).bytes(&event.id).bytes(&event.digest);
    }
    RECEIPT.sign(&w.finish(), desk)
}

/// What a receiver that `trust` pins has stored of `device`.
///
/// # Errors
/// The first reason why it does not count.
pub fn open(bytes: &[u8], trust: &Trust, device: &str) -> Result<Vec<ReceivedEvent>, ReceiptError> {
    if bytes.len() > MAX_RECEIPT {
        return Err(ReceiptError::TooLarge(bytes.len()));
    }
    let read = Sign1::read(bytes, RECEIPT, MAX_RECEIPT)?;
    let signer = read.signer;
    let key = trust.key(signer, Role::Receiver).ok_or(ReceiptError::NotPinned(signer))?;
    if !read.is_by(key) {
        return Err(ReceiptError::Altered(signer));
    }
    let (addressee, events) = decode(read.payload)?;
    if addressee == device { Ok(events) } else { Err(ReceiptError::OtherDevice) }
}

fn decode(payload: &[u8]) -> Result<(&str, Vec<ReceivedEvent>), ReceiptError> {
    let mut r = CborReader::new(payload);
    r.map(3)?;
    r.key(0)?;
    if r.uint(u64::MAX)? != FORMAT_VERSION {
        return Err(ReceiptError::Value { what: "version", rule: "1; update watchpost" });
    }
    r.key(1)?;
    let device = r.text(MAX_DEVICE)?;
    r.key(2)?;
    let count = r.array(MOST_EVENTS)?;
    let mut events = Vec::with_capacity(count);
    let rule = "an id of 16 bytes and a digest of 32";
    let wrong = |_| ReceiptError::Value { what: "event", rule };
    for _ in 0..count {
        if r.array(2)? != 2 {
            return Err(ReceiptError::Value { what: "event", rule });
        }
        let id = r.bytes(16)?.try_into().map_err(wrong)?;
        let digest = r.bytes(32)?.try_into().map_err(wrong)?;
        events.push(ReceivedEvent { id, digest });
    }
    r.end()?;
    Ok((device, events))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::fixture;
    use crate::watchlist::sign1::only_the_very_bytes_count;

    fn trust() -> Trust {
        let people = [("signer", 1), ("signer", 2), ("receiver", 3)];
        Trust::parse(&fixture::trust_text(2, &people)).unwrap()
    }

    fn events(count: u8) -> Vec<ReceivedEvent> {
        (0..count).map(|n| ReceivedEvent { id: [n; 16], digest: [n; 32] }).collect()
    }

    #[test]
    fn what_a_pinned_receiver_signs_for_this_device_is_read_back() {
        for count in [0, 1, 64] {
            let bytes = give("gate-1", &events(count), &fixture::key(3));
            assert!(bytes.len() <= MAX_RECEIPT, "{}", bytes.len());
            assert_eq!(open(&bytes, &trust(), "gate-1").unwrap(), events(count));
        }
    }

    #[test]
    fn an_order_or_a_verdict_of_the_same_key_is_no_receipt() {
        let other = SignedForm { content_type: "application/other", ..RECEIPT };
        let unbound = SignedForm { context: b"other", ..RECEIPT };
        let good = give("gate-1", &events(1), &fixture::key(3));
        let payload = Sign1::read(&good, RECEIPT, MAX_RECEIPT).unwrap().payload;
        let refused = |form: SignedForm| {
            open(&form.sign(payload, &fixture::key(3)), &trust(), "gate-1").unwrap_err()
        };
        assert!(refused(other).is_malformed());
        assert!(matches!(refused(unbound), ReceiptError::Altered(_)));
    }

    #[test]
    fn of_anybody_else_or_for_another_device_it_does_not_count() {
        let by = |key| give("gate-1", &events(2), &fixture::key(key));
        let refused = |bytes: &[u8], device: &str| open(bytes, &trust(), device).unwrap_err();
        assert!(matches!(refused(&by(1), "gate-1"), ReceiptError::NotPinned(_)));
        assert!(matches!(refused(&by(9), "gate-1"), ReceiptError::NotPinned(_)));
        assert!(matches!(refused(&by(3), "gate-2"), ReceiptError::OtherDevice));
        let large = vec![0; MAX_RECEIPT + 1];
        assert!(refused(&large, "gate-1").is_malformed());
    }

    #[test]
    fn one_bit_more_or_less_and_it_does_not_count() {
        let (good, trust) = (give("gate-1", &events(3), &fixture::key(3)), trust());
        only_the_very_bytes_count(&good, |bytes| open(bytes, &trust, "gate-1").is_ok());
    }
}
