//! The signed container around a list's payload; its shape is described in [`super::format`].

use coset::{
    CborSerializable, CoseSign, CoseSignBuilder, CoseSignatureBuilder, HeaderBuilder, TaggedCborSerializable, iana,
};
use zeroize::{Zeroize, Zeroizing};

use super::cbor::{CborError, Reader};
use super::format::{CONTENT_TYPE, CONTEXT, MAX_BYTES, MAX_SIGNATURES};
use super::keys::{KeyId, SecretKey};

const COSE_SIGN_TAG: u64 = 98;

/// A container that has the one shape described in the module's documentation. Says nothing about its signatures being good.
pub struct Container {
    cose: CoseSign,
}

impl Drop for Container {
    fn drop(&mut self) {
        self.cose.payload.zeroize();
    }
}

impl Container {
    pub fn new(payload: &[u8]) -> Self {
        let protected = HeaderBuilder::new().content_type(CONTENT_TYPE.into()).build();
        Self { cose: CoseSignBuilder::new().protected(protected).payload(payload.to_vec()).build() }
    }

    /// Reads a container.
    ///
    /// The shape is walked first without allocating, so that the general decoder behind it only ever sees small structures.
    pub fn read(bytes: &[u8]) -> Result<Self, CborError> {
        let mut r = Reader::new(bytes);
        r.tag(COSE_SIGN_TAG)?;
        count(r.array(4)?, 4)?;
        if r.bytes(128)? != body_header() {
            return Err(CborError::Unexpected { wanted: "body header with the content type of a watch list", at: 3 });
        }
        r.map(0)?;
        r.bytes(MAX_BYTES)?;
        for _ in 0..r.array(MAX_SIGNATURES)? {
            count(r.array(3)?, 3)?;
            signature_header(r.bytes(32)?)?;
            r.map(0)?;
            count(r.bytes(64)?.len(), 64)?;
        }
        r.end()?;
        let cose = CoseSign::from_tagged_slice(bytes)
            .map_err(|_| CborError::Unexpected { wanted: "COSE_Sign container", at: 0 })?;
        Ok(Self { cose })
    }

    pub fn payload(&self) -> &[u8] {
        self.cose.payload.as_deref().unwrap_or_default()
    }

    /// Each signature's key id, the bytes it is over, and itself.
    pub fn signatures(&self) -> impl Iterator<Item = (KeyId, Zeroizing<Vec<u8>>, [u8; 64])> {
        self.cose.signatures.iter().filter_map(|s| {
            let kid = s.protected.header.key_id.as_slice().try_into().ok()?;
            Some((KeyId(kid), Zeroizing::new(self.cose.tbs_data(CONTEXT, s)), s.signature.as_slice().try_into().ok()?))
        })
    }

    pub fn signers(&self) -> impl Iterator<Item = KeyId> {
        self.cose.signatures.iter().filter_map(|s| Some(KeyId(s.protected.header.key_id.as_slice().try_into().ok()?)))
    }

    pub fn sign(&mut self, key: &SecretKey) {
        let header =
            HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).key_id(key.public().id().0.to_vec()).build();
        let mut signature = CoseSignatureBuilder::new().protected(header).build();
        let message = Zeroizing::new(self.cose.tbs_data(CONTEXT, &signature));
        signature.signature = key.sign(&message).to_vec();
        self.cose.signatures.push(signature);
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.cose.clone().to_tagged_vec().expect("a container made of byte strings and small maps always encodes")
    }
}

fn count(found: usize, wanted: usize) -> Result<(), CborError> {
    if found == wanted {
        Ok(())
    } else {
        Err(CborError::Count { what: "parts", found: found as u64, allowed: wanted as u64, at: 0 })
    }
}

fn body_header() -> Vec<u8> {
    let header = HeaderBuilder::new().content_type(CONTENT_TYPE.into()).build();
    header.to_vec().expect("a header of one text encodes")
}

/// `{1: -8, 4: kid}` in its only encoding.
fn signature_header(bytes: &[u8]) -> Result<KeyId, CborError> {
    let kid = bytes.strip_prefix(&[0xa2, 0x01, 0x27, 0x04, 0x48]).and_then(|kid| kid.try_into().ok());
    kid.map(KeyId).ok_or(CborError::Unexpected { wanted: "signature header {alg: EdDSA, kid: 8 bytes}", at: 0 })
}
