//! The signed container of lists and of trust files: a tagged `COSE_Sign` (RFC 9052, section 4.1)
//! in one shape.
//!
//! ```text
//! 98([ << {3: content type} >>,  {} or {-65537: [entries]},  << payload >>,
//!      [ [ << {1: -8, 4: key id} >>, {}, Ed25519 signature ], ... ] ])
//! ```
//!
//! A list's payload vouches for its entries by their digests, and the entries lie beside it, in the
//! unprotected header, each as a byte string or as `null` where it was removed. All other
//! unprotected headers are empty. Which kinds there are, and what they say, is for those who sign
//! them: each has a [`SignedKind`].
//!
//! Reading accepts that one shape only, borrows from its input, and so costs a hostile list nothing
//! but the walk over its heads. A general COSE decoder would build a tree of all that it is given;
//! the tests hold reader and writer against one.

use zeroize::Zeroizing;

use super::cbor::{CborError, CborReader, CborWriter, NULL};
use super::keys::{KeyId, SecretKey};

const COSE_SIGN_TAG: u64 = 98;
/// Label of the unprotected header that holds a list's entries; from the range for private use.
const ENTRIES_LABEL: i32 = -65537;
/// `{1: -8, 4: h'` in CBOR: the algorithm EdDSA and the head of an 8-byte key id.
const SIGNATURE_HEADER: [u8; 5] = [0xa2, 0x01, 0x27, 0x04, 0x48];

/// Most signatures on one container.
pub const MAX_SIGNATURES: usize = 16;

/// One kind of thing that is signed, and what sets it apart: a signature for one kind is none for
/// another, because content type and context are part of what is signed.
#[derive(Debug, PartialEq, Eq)]
pub struct SignedKind {
    /// Content type in the protected header.
    pub content_type: &'static str,
    /// What every signature is bound to besides the payload (`external_aad`).
    pub context: &'static [u8],
    /// Most bytes of the payload.
    pub max_payload: usize,
    /// Bounds of the items beside the payload; `None` for a kind that has none.
    pub items: Option<ItemLimits>,
}

/// Most items beside a payload, and most bytes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemLimits {
    pub count: usize,
    pub bytes: usize,
}

impl SignedKind {
    /// `{3: content type}` in CBOR.
    fn body_header(&self) -> Vec<u8> {
        let mut w = CborWriter::default();
        w.map(1).key(3).text(self.content_type);
        w.finish()
    }
}

/// The items beside a payload, as they lie there: byte strings and nulls.
#[derive(Clone, Copy, Default)]
pub struct Items<'a> {
    encoded: &'a [u8],
    count: usize,
    most_bytes: usize,
}

impl<'a> Items<'a> {
    /// How many, removed ones included.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Each entry, `None` where it was removed, with the position of its encoding in
    /// [`Items::encoded`].
    pub fn iter(self) -> impl Iterator<Item = (Option<&'a [u8]>, std::ops::Range<usize>)> + 'a {
        let mut r = CborReader::new(self.encoded);
        (0..self.count).map(move |_| {
            let from = r.at();
            let item =
                r.bytes_or_null(self.most_bytes).expect("walked over when the container was read");
            (item, from..r.at())
        })
    }
}

/// A payload, what it vouches for, and its signatures. Whether these hold is not known.
pub struct Container<'a> {
    kind: &'static SignedKind,
    payload: &'a [u8],
    items: Items<'a>,
    /// Where the items lie in the input; 0 in a container that was not read.
    items_at: usize,
    signatures: Vec<(KeyId, [u8; 64])>,
}

impl<'a> Container<'a> {
    /// `payload`, signed by nobody yet.
    pub fn new(kind: &'static SignedKind, payload: &'a [u8]) -> Self {
        Self { kind, payload, items: Items::default(), items_at: 0, signatures: Vec::new() }
    }

    /// `payload` and `count` items beside it, encoded one after another as byte strings.
    #[cfg(any(feature = "author", test))]
    pub fn with_items(
        kind: &'static SignedKind,
        payload: &'a [u8],
        encoded: &'a [u8],
        count: usize,
    ) -> Self {
        let most_bytes = kind.items.map_or(0, |limits| limits.bytes);
        Self { items: Items { encoded, count, most_bytes }, ..Self::new(kind, payload) }
    }

    /// Reads a container of this kind and nothing after it.
    pub fn read(kind: &'static SignedKind, bytes: &'a [u8]) -> Result<Self, CborError> {
        let (container, length) = Self::read_first(kind, bytes)?;
        match bytes.len() - length {
            0 => Ok(container),
            more => Err(CborError::Trailing(more)),
        }
    }

    /// The first of containers that lie one after another, and its length.
    pub fn read_first(
        kind: &'static SignedKind,
        bytes: &'a [u8],
    ) -> Result<(Self, usize), CborError> {
        let mut r = CborReader::new(bytes);
        r.tag(COSE_SIGN_TAG)?;
        parts(r.array(4)?, 4)?;
        let at = r.at();
        if r.bytes(128)? != kind.body_header() {
            return Err(CborError::Unexpected {
                wanted: "body header with the content type that belongs here",
                at,
            });
        }
        let mut items = Items::default();
        let mut items_at = 0;
        match kind.items {
            None => r.map(0)?,
            Some(limits) => {
                r.map(1)?;
                let at = r.at();
                if r.int()? != ENTRIES_LABEL {
                    return Err(CborError::Unexpected { wanted: "the header of the entries", at });
                }
                items.most_bytes = limits.bytes;
                items.count = r.array(limits.count)?;
                items_at = r.at();
                for _ in 0..items.count {
                    r.bytes_or_null(limits.bytes)?;
                }
                items.encoded = &bytes[items_at..r.at()];
            }
        }
        let payload = r.bytes(kind.max_payload)?;
        let count = r.array(MAX_SIGNATURES)?;
        let mut signatures = Vec::with_capacity(count);
        for _ in 0..count {
            parts(r.array(3)?, 3)?;
            let at = r.at();
            let id = r.bytes(32)?.strip_prefix(&SIGNATURE_HEADER).and_then(|id| id.try_into().ok());
            let id = id.ok_or(CborError::Unexpected {
                wanted: "signature header {alg: EdDSA, kid: 8 bytes}",
                at,
            })?;
            r.map(0)?;
            let signature = r.bytes(64)?;
            parts(signature.len(), 64)?;
            signatures.push((KeyId(id), signature.try_into().expect("64 bytes")));
        }
        Ok((Self { kind, payload, items, items_at, signatures }, r.at()))
    }

    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    pub fn items(&self) -> Items<'a> {
        self.items
    }

    /// The parts of `bytes`, from which this was read, that make the same container without the
    /// entries at `positions` (ascending): what lies between them, and nulls.
    pub fn without<'b>(&self, bytes: &'b [u8], positions: &[usize]) -> Vec<&'b [u8]> {
        let mut out = Vec::with_capacity(2 * positions.len() + 1);
        let mut from = 0;
        for (position, (item, range)) in self.items.iter().enumerate() {
            if item.is_some() && positions.binary_search(&position).is_ok() {
                out.push(&bytes[from..self.items_at + range.start]);
                out.push(&[NULL]);
                from = self.items_at + range.end;
            }
        }
        out.push(&bytes[from..]);
        out
    }

    /// Who signed and the signature, in the order in which they were added.
    pub fn signatures(&self) -> &[(KeyId, [u8; 64])] {
        &self.signatures
    }

    /// The bytes that the signature of `id` is over: RFC 9052's `Sig_structure` (section 4.4).
    pub fn signed_by(&self, id: KeyId) -> Vec<u8> {
        let mut w = CborWriter::with_capacity(self.payload.len() + 256);
        w.array(5).text("Signature");
        w.bytes(&self.kind.body_header())
            .bytes(&signature_header(id))
            .bytes(self.kind.context)
            .bytes(self.payload);
        w.finish()
    }

    pub fn sign(&mut self, key: &SecretKey) {
        let id = key.public().id();
        self.signatures.push((id, key.sign(&self.signed_by(id))));
    }

    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Reserved in full, because a buffer that grows leaves unwiped copies of entries.
        let mut w = CborWriter::with_capacity(
            self.payload.len() + self.items.encoded.len() + self.signatures.len() * 96 + 256,
        );
        w.tag(COSE_SIGN_TAG).array(4).bytes(&self.kind.body_header());
        match self.kind.items {
            None => w.map(0),
            Some(_) => w.map(1).int(ENTRIES_LABEL).array(self.items.count).raw(self.items.encoded),
        };
        w.bytes(self.payload).array(self.signatures.len());
        for (id, signature) in &self.signatures {
            w.array(3).bytes(&signature_header(*id)).map(0).bytes(signature);
        }
        Zeroizing::new(w.finish())
    }
}

fn parts(found: usize, wanted: usize) -> Result<(), CborError> {
    if found == wanted {
        Ok(())
    } else {
        Err(CborError::Count { what: "parts", found: found as u64, allowed: wanted as u64, at: 0 })
    }
}

fn signature_header(id: KeyId) -> [u8; 13] {
    let mut header = [0; 13];
    header[..5].copy_from_slice(&SIGNATURE_HEADER);
    header[5..].copy_from_slice(&id.0);
    header
}

#[cfg(test)]
mod tests {
    use super::super::codec::LIST;
    use super::super::fixture::key;
    use super::super::rotation::TRUST_FILE;
    use super::*;
    use coset::{CoseSign, Label, TaggedCborSerializable};

    #[test]
    fn another_implementation_of_the_standard_reads_the_same_and_would_sign_the_same() {
        let entries = [0x43, 1, 2, 3, NULL, 0x41, 9];
        for mut container in [
            Container::with_items(&LIST, b"payload", &entries, 3),
            Container::new(&TRUST_FILE, b"payload"),
        ] {
            container.sign(&key(1));
            container.sign(&key(2));
            let bytes = container.to_bytes();
            let cose = CoseSign::from_tagged_slice(&bytes).unwrap();
            let ours = Container::read(container.kind, &bytes).unwrap();
            assert_eq!(cose.payload.as_deref(), Some(ours.payload()));
            assert_eq!(cose.signatures.len(), 2);
            for (theirs, (id, signature)) in cose.signatures.iter().zip(ours.signatures()) {
                assert_eq!(theirs.protected.header.key_id, id.0);
                assert_eq!(theirs.signature, signature);
                assert_eq!(cose.tbs_data(container.kind.context, theirs), ours.signed_by(*id));
            }
            let beside: Vec<_> =
                cose.unprotected.rest.iter().map(|(label, _)| label.clone()).collect();
            let expected = if container.kind == &LIST { vec![Label::Int(-65537)] } else { vec![] };
            assert_eq!(beside, expected);
            assert_eq!(cose.to_tagged_vec().unwrap(), *bytes, "and writes the same");
        }
    }

    #[test]
    fn an_entry_is_removed_without_touching_anything_else() {
        let entries = [0x43, 1, 2, 3, NULL, 0x41, 9];
        let mut container = Container::with_items(&LIST, b"payload", &entries, 3);
        container.sign(&key(1));
        let bytes = container.to_bytes();
        let ours = Container::read(&LIST, &bytes).unwrap();
        let reduced = ours.without(&bytes, &[0, 1]).concat();
        let ours = Container::read(&LIST, &reduced).unwrap();
        assert_eq!(
            ours.items().iter().map(|(i, _)| i).collect::<Vec<_>>(),
            [None, None, Some(&[9][..])]
        );
        assert_eq!((ours.payload(), ours.signatures()), (&b"payload"[..], container.signatures()));
        assert_eq!(ours.without(&reduced, &[]).concat(), reduced);
    }

    #[test]
    fn a_signature_for_one_kind_is_none_for_the_other() {
        let [mut list, mut trust] =
            [Container::with_items(&LIST, b"p", &[], 0), Container::new(&TRUST_FILE, b"p")];
        list.sign(&key(1));
        trust.sign(&key(1));
        assert_ne!(list.signatures(), trust.signatures());
        assert!(Container::read(&TRUST_FILE, &list.to_bytes()).is_err());
        assert!(Container::read(&LIST, &trust.to_bytes()).is_err());
    }
}
