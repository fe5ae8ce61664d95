//! Signed notes (C2SP `signed-note`): a text that ends in a newline, an empty line, and signatures.
//!
//! * [`SignedNote::parse`] takes at most [`MAX_NOTE`] bytes and [`MAX_SIGNATURES`] signatures; what
//!   is no note is one clear error. Nothing of a note may be believed before a [`NoteKey`] that is
//!   trusted has verified it.
//! * A key is its name, what it signs (the log's own statement or a witness's), and 32 bytes of
//!   Ed25519. Its short id tells keys apart and proves nothing.
//! * A signature by a key that is not known is skipped; one by a known key that does not hold makes
//!   the whole note unusable.
//!
//! ML-DSA-44, which the formats recommend for new logs, is not read: no crate for it has been
//! reviewed for boards of this size. Its lines are skipped as those of unknown keys are.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::lines;
use crate::watchlist::keys::PublicKey;

/// Longest note that is read, in bytes.
pub const MAX_NOTE: usize = 64 * 1024;
/// Most signatures of a note that is read; the format asks for 16 at least.
pub const MAX_SIGNATURES: usize = 64;
/// Longest name of a key, in bytes.
pub const MAX_NAME: usize = 255;

const DASH: &str = "\u{2014} ";

/// What is wrong with a note or the line of a key.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum NoteError {
    /// More bytes than are read.
    #[error("the note has {0} bytes, and {MAX_NOTE} are read at most")]
    TooLarge(usize),
    /// A control character other than a newline.
    #[error("the note has a control character")]
    Control,
    /// No empty line between text and signatures, or no newline at the end.
    #[error("this is no signed note: a text, an empty line and signatures are needed")]
    Shape,
    /// A line among the signatures that is none.
    #[error("signature {0} of the note is not written as one")]
    Line(usize),
    /// More signatures than are read.
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A known key's signature that does not hold.
    #[error("the signature of {0} does not belong to this text")]
    Forged(String),
    /// None of the keys that are trusted has signed.
    #[error("none of the known keys has signed the note; is it the right key, and the right log?")]
    Unknown,
    /// Not a name that a key can have.
    #[error(
        "{0:?} cannot name a key: it needs 1 to {MAX_NAME} bytes without spaces, control \
         characters and `+`"
    )]
    Name(String),
    /// Not the line of a key.
    #[error(
        "{0:?} is no verifier key; one looks like `NAME+1234abcd+BASE64`, name and id included"
    )]
    Key(String),
}

/// What a key states by a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureKind {
    /// The text, as the log's own.
    Note,
    /// That at some time the text's tree followed from all that a witness had seen.
    Cosignature,
}

impl SignatureKind {
    fn byte(self) -> u8 {
        match self {
            Self::Note => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

/// A public key as notes name it. Written as a verifier key: `NAME+ID+BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    kind: SignatureKind,
    public: PublicKey,
}

impl NoteKey {
    /// The key of `name` that signs as `kind` says.
    ///
    /// # Errors
    /// Where notes cannot write the name.
    pub fn new(name: &str, kind: SignatureKind, public: PublicKey) -> Result<Self, NoteError> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.len() > MAX_NAME || name.contains(bad) {
            return Err(NoteError::Name(name.chars().take(MAX_NAME).collect()));
        }
        Ok(Self { name: name.to_owned(), kind, public })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it states.
    pub fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// The key itself.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The first four bytes of the hash over name, kind and key.
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.kind.byte()])
            .chain_update(self.public.to_bytes())
            .finalize();
        hash[..4].try_into().expect("SHA-256 has 32 bytes")
    }

    /// The line of a signature by this key.
    pub fn line(&self, signature: &[u8]) -> String {
        format!("{DASH}{} {}\n", self.name, lines::base64(&[&self.id()[..], signature].concat()))
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let key = [&[self.kind.byte()][..], &self.public.to_bytes()].concat();
        write!(f, "{}+{id:08x}+{}", self.name, lines::base64(&key))
    }
}

impl FromStr for NoteKey {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Self, NoteError> {
        let parse = || {
            // Base64 has a `+` of its own; neither name nor id has.
            let mut parts = line.splitn(3, '+');
            let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
            let key = lines::unbase64(key)?;
            let (kind, public) = key.split_first()?;
            let kind = match kind {
                0x01 => SignatureKind::Note,
                0x04 => SignatureKind::Cosignature,
                _ => return None,
            };
            let public = PublicKey::from_bytes(public.try_into().ok()?)?;
            let key = Self::new(name, kind, public).ok()?;
            (format!("{:08x}", u32::from_be_bytes(key.id())) == id).then_some(key)
        };
        parse().ok_or_else(|| NoteError::Key(line.chars().take(80).collect()))
    }
}

/// One line below a note's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature<'a> {
    /// Of the key.
    pub name: &'a str,
    /// The key's short id.
    pub id: [u8; 4],
    /// What follows, in the key's own format.
    pub signature: Vec<u8>,
    /// The line as it came, with its newline.
    pub line: &'a str,
}

/// A note of which nothing is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote<'a> {
    /// What is signed, with its last newline.
    pub text: &'a str,
    /// In their order.
    pub signatures: Vec<NoteSignature<'a>>,
}

impl<'a> SignedNote<'a> {
    /// Reads a note.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(note: &'a str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::TooLarge(note.len()));
        }
        if note.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(NoteError::Control);
        }
        let end = note.rfind("\n\n").ok_or(NoteError::Shape)?;
        let (text, below) = (&note[..=end], &note[end + 2..]);
        if below.is_empty() || !below.ends_with('\n') {
            return Err(NoteError::Shape);
        }
        let signatures = parse_signatures(below)?;
        Ok(Self { text, signatures })
    }

    /// The signatures by `key`, as far as name and id say so.
    pub fn by(&self, key: &NoteKey) -> impl Iterator<Item = &NoteSignature<'a>> {
        let (name, id) = (key.name.clone(), key.id());
        self.signatures.iter().filter(move |s| s.name == name && s.id == id)
    }

    /// That the log's own key, one of `keys`, has signed; which.
    ///
    /// # Errors
    /// Where none has, or one that should have did not sign this text.
    pub fn verify<'k>(&self, keys: &'k [NoteKey]) -> Result<&'k NoteKey, NoteError> {
        let mut signer = None;
        for key in keys.iter().filter(|key| key.kind == SignatureKind::Note) {
            for signature in self.by(key) {
                let holds = <&[u8; 64]>::try_from(&signature.signature[..])
                    .is_ok_and(|bytes| key.public.verifies(self.text.as_bytes(), bytes));
                if !holds {
                    return Err(NoteError::Forged(key.name.clone()));
                }
                signer = signer.or(Some(key));
            }
        }
        signer.ok_or(NoteError::Unknown)
    }
}

/// Lines of signatures without a text, as a witness answers.
///
/// # Errors
/// Where a line is none, or there are too many.
pub fn parse_signatures(text: &str) -> Result<Vec<NoteSignature<'_>>, NoteError> {
    let mut signatures = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        if i == MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        signatures.push(parse_signature(line).ok_or(NoteError::Line(i + 1))?);
    }
    Ok(signatures)
}

fn parse_signature(line: &str) -> Option<NoteSignature<'_>> {
    let (name, bytes) = line.strip_prefix(DASH)?.strip_suffix('\n')?.split_once(' ')?;
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
        return None;
    }
    let mut id = lines::unbase64(bytes)?;
    if id.len() < 5 {
        return None;
    }
    let signature = id.split_off(4);
    Some(NoteSignature { name, id: id.try_into().ok()?, signature, line })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::keys::SecretKey;
    use proptest::prelude::*;

    // The note of the format's own text and of Go's `sumdb/note`.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = concat!(
        "If you think cryptography is the answer to your problem,\n",
        "then you don't know what your problem is.\n\n",
        "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfq",
        "dngotpRZb6KE6RyyBwJnAM=\n",
    );

    fn key(seed: u8, kind: SignatureKind) -> (SecretKey, NoteKey) {
        let secret = SecretKey::from_seed(&[seed; 32]);
        let key = NoteKey::new("site/north", kind, secret.public()).unwrap();
        (secret, key)
    }

    fn signed(text: &str, seed: u8) -> String {
        let (secret, key) = key(seed, SignatureKind::Note);
        format!("{text}\n{}", key.line(&secret.sign(text.as_bytes())))
    }

    #[test]
    fn a_note_of_another_implementation_verifies() {
        let peter: NoteKey = PETER.parse().unwrap();
        assert_eq!(peter.to_string(), PETER);
        let note = SignedNote::parse(NOTE).unwrap();
        assert_eq!(note.verify(std::slice::from_ref(&peter)), Ok(&peter));
        let altered = NOTE.replace("problem is", "problem was");
        let forged = SignedNote::parse(&altered).unwrap().verify(&[peter]).unwrap_err();
        assert_eq!(forged, NoteError::Forged("PeterNeumann".into()));
    }

    #[test]
    fn a_signature_by_another_key_or_of_another_kind_is_skipped() {
        let note = signed("a\n", 1);
        let parsed = SignedNote::parse(&note).unwrap();
        let (_, right) = key(1, SignatureKind::Note);
        let (_, stranger) = key(2, SignatureKind::Note);
        let (_, witness) = key(1, SignatureKind::Cosignature);
        assert_eq!(parsed.verify(&[stranger.clone(), right.clone()]), Ok(&right));
        assert_eq!(parsed.verify(&[stranger]), Err(NoteError::Unknown));
        assert_eq!(parsed.verify(&[witness]), Err(NoteError::Unknown));
        assert_eq!(parsed.verify(&[]), Err(NoteError::Unknown));
    }

    #[test]
    fn what_is_no_note_or_no_key_is_one_clear_error() {
        let good = signed("a\n", 1);
        let parse = |note: &str| SignedNote::parse(note).map(drop);
        assert_eq!(parse(&good), Ok(()));
        for cut in 1..good.len() {
            assert!(!good.is_char_boundary(cut) || parse(&good[..cut]).is_err(), "{cut}");
        }
        assert_eq!(parse(&good.replace('a', "a\r")), Err(NoteError::Control));
        assert_eq!(parse("a\n\n"), Err(NoteError::Shape));
        let line = good.split_once("\n\n").unwrap().1;
        assert_eq!(parse(&format!("{good}x\n")), Err(NoteError::Line(2)));
        let many = format!("a\n\n{}", line.repeat(MAX_SIGNATURES + 1));
        assert_eq!(parse(&many), Err(NoteError::TooManySignatures));
        let large = "x".repeat(MAX_NOTE + 1);
        assert_eq!(parse(&large), Err(NoteError::TooLarge(MAX_NOTE + 1)));
        let long = "n".repeat(MAX_NAME + 1);
        for name in ["", "a b", "a+b", "a\u{2003}b", "a\n", &long] {
            let (_, key) = key(1, SignatureKind::Note);
            assert!(NoteKey::new(name, SignatureKind::Note, *key.public()).is_err(), "{name:?}");
        }
        for other in ["", "+", "a+b+c", &PETER[1..], &PETER.replace("c74f", "C74F")] {
            assert!(matches!(other.parse::<NoteKey>(), Err(NoteError::Key(_))), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_note_that_is_read_is_written_the_same(note in "[a\n\u{2014} +A=]{0,60}") {
            if let Ok(parsed) = SignedNote::parse(&note) {
                let below: String = parsed.signatures.iter().map(|s| s.line).collect();
                prop_assert_eq!(format!("{}\n{below}", parsed.text), note);
            }
        }

        #[test]
        fn a_text_is_signed_whatever_empty_lines_it_has(text in "(\\PC{0,9}\n){0,9}", seed: u8) {
            let note = signed(&text, seed);
            let (_, key) = key(seed, SignatureKind::Note);
            // The text that is empty has no line before the empty one.
            if let Ok(parsed) = SignedNote::parse(&note) {
                prop_assert_eq!(parsed.text, &text);
                prop_assert_eq!(parsed.verify(std::slice::from_ref(&key)), Ok(&key));
            } else {
                prop_assert!(text.is_empty());
            }
        }
    }
}
