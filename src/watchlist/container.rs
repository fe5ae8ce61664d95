//! The signed container around a list's payload; its shape is described in [`super::format`].
//!
//! Reading accepts that one shape only, borrows from its input, and so costs a hostile list nothing but the walk over its heads.
//! A general COSE decoder would build a tree of whatever it is given. Writing goes through `coset`, and the tests hold the reader
//! and the signed bytes against it.

use coset::{CoseSignBuilder, CoseSignatureBuilder, HeaderBuilder, TaggedCborSerializable, iana};
use zeroize::Zeroizing;

use super::cbor::{CborError, Reader, Writer};
use super::format::{CONTENT_TYPE, CONTEXT, MAX_BYTES, MAX_SIGNATURES};
use super::keys::{KeyId, SecretKey};

const COSE_SIGN_TAG: u64 = 98;
/// `{1: -8, 4: h'` in CBOR: the algorithm EdDSA and the head of an 8-byte key id.
const SIGNATURE_HEADER: [u8; 5] = [0xa2, 0x01, 0x27, 0x04, 0x48];

/// A payload and its signatures. Says nothing about their being good.
pub struct Container<'a> {
    payload: &'a [u8],
    signatures: Vec<(KeyId, [u8; 64])>,
}

impl<'a> Container<'a> {
    /// `payload`, signed by nobody yet.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { payload, signatures: Vec::new() }
    }

    pub fn read(bytes: &'a [u8]) -> Result<Self, CborError> {
        let mut r = Reader::new(bytes);
        r.tag(COSE_SIGN_TAG)?;
        parts(r.array(4)?, 4)?;
        if r.bytes(128)? != body_header() {
            return Err(CborError::Unexpected { wanted: "body header with the content type of a watch list", at: 3 });
        }
        r.map(0)?;
        let payload = r.bytes(MAX_BYTES)?;
        let count = r.array(MAX_SIGNATURES)?;
        let mut signatures = Vec::with_capacity(count);
        for _ in 0..count {
            parts(r.array(3)?, 3)?;
            let id = r.bytes(32)?.strip_prefix(&SIGNATURE_HEADER).and_then(|id| id.try_into().ok());
            let id =
                id.ok_or(CborError::Unexpected { wanted: "signature header {alg: EdDSA, kid: 8 bytes}", at: 0 })?;
            r.map(0)?;
            let signature = r.bytes(64)?;
            parts(signature.len(), 64)?;
            signatures.push((KeyId(id), signature.try_into().expect("64 bytes")));
        }
        r.end()?;
        Ok(Self { payload, signatures })
    }

    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Who signed and the signature, in the order in which they were added.
    pub fn signatures(&self) -> &[(KeyId, [u8; 64])] {
        &self.signatures
    }

    /// The bytes that the signature of `id` is over: RFC 9052's `Sig_structure` (section 4.4).
    pub fn signed_by(&self, id: KeyId) -> Zeroizing<Vec<u8>> {
        // Written here and not by `coset`, which copies the payload twice and leaves the copies unwiped.
        let mut w = Writer::with_capacity(self.payload.len() + 256);
        w.array(5).text("Signature");
        w.bytes(&body_header()).bytes(&signature_header(id)).bytes(CONTEXT).bytes(self.payload);
        Zeroizing::new(w.finish())
    }

    pub fn sign(&mut self, key: &SecretKey) {
        let id = key.public().id();
        self.signatures.push((id, key.sign(&self.signed_by(id))));
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let body = HeaderBuilder::new().content_type(CONTENT_TYPE.into()).build();
        let mut cose = CoseSignBuilder::new().protected(body).payload(self.payload.to_vec());
        for (id, signature) in &self.signatures {
            let header = HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).key_id(id.0.to_vec()).build();
            cose =
                cose.add_signature(CoseSignatureBuilder::new().protected(header).signature(signature.to_vec()).build());
        }
        cose.build().to_tagged_vec().expect("a container of byte strings and small maps always encodes")
    }
}

fn parts(found: usize, wanted: usize) -> Result<(), CborError> {
    if found == wanted {
        Ok(())
    } else {
        Err(CborError::Count { what: "parts", found: found as u64, allowed: wanted as u64, at: 0 })
    }
}

/// `{3: CONTENT_TYPE}` in CBOR.
fn body_header() -> Vec<u8> {
    let mut w = Writer::default();
    w.map(1).key(3).text(CONTENT_TYPE);
    w.finish()
}

fn signature_header(id: KeyId) -> [u8; 13] {
    let mut header = [0; 13];
    header[..5].copy_from_slice(&SIGNATURE_HEADER);
    header[5..].copy_from_slice(&id.0);
    header
}

#[cfg(test)]
mod tests {
    use super::super::fixture::key;
    use super::*;
    use coset::CoseSign;

    #[test]
    fn another_implementation_of_the_standard_reads_the_same_and_would_sign_the_same() {
        let mut container = Container::new(b"payload");
        container.sign(&key(1));
        container.sign(&key(2));
        let bytes = container.to_bytes();
        let cose = CoseSign::from_tagged_slice(&bytes).unwrap();
        let ours = Container::read(&bytes).unwrap();
        assert_eq!(cose.payload.as_deref(), Some(ours.payload()));
        assert_eq!(cose.signatures.len(), 2);
        for (theirs, (id, signature)) in cose.signatures.iter().zip(ours.signatures()) {
            assert_eq!(theirs.protected.header.key_id, id.0);
            assert_eq!(theirs.signature, signature);
            assert_eq!(cose.tbs_data(CONTEXT, theirs), *ours.signed_by(*id));
        }
    }
}
