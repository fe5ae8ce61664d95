//! What one key signs: a tagged `COSE_Sign1` (RFC 9052, section 4.2), of an order, of a verdict and
//! of a receipt.
//!
//! * Protected is `{alg: EdDSA (-8), content type, kid}` and nothing else, unprotected nothing, the
//!   payload is inside, all in deterministic CBOR. What is written otherwise is not read.
//! * A signature is bound to its [`SignedForm`]: content type and `external_aad`, so that one of
//!   one kind is valid for no other.
//! * Nothing in it is believed before [`Sign1::is_by`].

use super::cbor::{CborError, CborReader, CborWriter};
use super::keys::{KeyId, PublicKey, SecretKey};

const TAG: u64 = 18;
/// Longest protected header.
const MAX_HEADER: usize = 128;

/// As what something is signed.
#[derive(Debug, Clone, Copy)]
pub struct SignedForm {
    /// In the protected header.
    pub content_type: &'static str,
    /// What the signature is bound to besides (`external_aad`).
    pub context: &'static [u8],
}

impl SignedForm {
    fn protected(self, signer: KeyId) -> Vec<u8> {
        let mut w = CborWriter::default();
        w.map(3).key(1).int(-8).key(3).text(self.content_type).key(4).bytes(&signer.to_bytes());
        w.finish()
    }

    /// RFC 9052's `Sig_structure` for one signer (section 4.4).
    pub fn to_be_signed(self, signer: KeyId, payload: &[u8]) -> Vec<u8> {
        let mut w = CborWriter::default();
        w.array(4).text("Signature1").bytes(&self.protected(signer)).bytes(self.context);
        w.bytes(payload);
        w.finish()
    }

    /// The container of `payload`, signed by `key`.
    pub fn sign(self, payload: &[u8], key: &SecretKey) -> Vec<u8> {
        let signer = key.public().id();
        let mut w = CborWriter::default();
        w.tag(TAG).array(4).bytes(&self.protected(signer)).map(0).bytes(payload);
        w.bytes(&key.sign(&self.to_be_signed(signer, payload)));
        w.finish()
    }
}

/// A container's parts.
#[derive(Debug, Clone, Copy)]
pub struct Sign1<'a> {
    /// Who says to have signed it.
    pub signer: KeyId,
    /// What.
    pub payload: &'a [u8],
    form: SignedForm,
    signature: [u8; 64],
}

impl<'a> Sign1<'a> {
    /// Reads a container of `form`, whose payload has at most `most` bytes.
    ///
    /// # Errors
    /// Where it is none, or one of another form.
    pub fn read(bytes: &'a [u8], form: SignedForm, most: usize) -> Result<Self, CborError> {
        let mut r = CborReader::new(bytes);
        r.tag(TAG)?;
        r.items(4)?;
        let at = r.at();
        let header = r.bytes(MAX_HEADER)?;
        let id = header.len().checked_sub(8).and_then(|at| header[at..].try_into().ok());
        let id = id.map(KeyId::from_bytes).filter(|id| form.protected(*id) == header);
        let wanted = "header {alg: EdDSA, the content type of what is read, kid: 8 bytes}";
        let signer = id.ok_or(CborError::Unexpected { wanted, at })?;
        r.map(0)?;
        let payload = r.bytes(most)?;
        let signature = r.fixed()?;
        r.end()?;
        Ok(Self { signer, payload, form, signature })
    }

    /// Whether `key` has signed it as it is.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        let signed = self.form.to_be_signed(self.signer, self.payload);
        key.id() == self.signer && key.verifies(&signed, &self.signature)
    }
}

/// For tests of what is read from such a container: `good` counts, and with one bit more or less,
/// cut short, or as any other bytes it does not.
#[cfg(test)]
pub fn only_the_very_bytes_count(good: &[u8], counts: impl Fn(&[u8]) -> bool) {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    assert!(counts(good));
    let index = || any::<prop::sample::Index>();
    let damage = (index(), 0u8..8, index(), any::<Vec<u8>>());
    let held = TestRunner::default().run(&damage, |(at, bit, cut, bytes)| {
        let mut other = good.to_vec();
        other[at.index(good.len())] ^= 1 << bit;
        prop_assert!(!counts(&other));
        prop_assert!(!counts(&good[..cut.index(good.len())]));
        prop_assert!(!counts(&bytes));
        Ok(())
    });
    held.unwrap_or_else(|damage| panic!("{damage}"));
}
