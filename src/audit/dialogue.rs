//! What a device and its witnesses say to each other: four signed texts and a cosigned checkpoint.
//!
//! ```text
//!  witness                                                     device
//!  WitnessRequest (nonce, old size)      ---audit/request--->
//!                                        <--audit/consistency- ConsistencyAnswer (nonce, submission)
//!  cosigned checkpoint                   ---audit/cosign---->  kept beside the log
//!                                        <--audit/challenge--- Challenge (nonce, size, root)
//!  FreshnessAnswer (nonce, size, root)   ---audit/freshness->  proved fresh, or rolled back
//! ```
//!
//! * Each is a signed note whose first line says which it is. No checkpoint begins so, and no
//!   cosignature is made over one: a signature under one text is none under another.
//! * Who asks draws the nonce, so that a broker has no answer of before to give. That a log grew
//!   needs no question: a device says so by itself, under [`Nonce::NONE`].
//! * A device takes the statement of a witness whose key its trust file pins, whatever name the
//!   witness gives itself; a witness that of the log's own key.
//! * Why not a checkpoint that the broker keeps: `decisions/003-witnesses-answer-a-nonce.md`.
//! * Bounded before anything is verified: [`MAX_STATEMENT`] bytes, [`MAX_LINES`] signatures.
//! * A witness that says that it has seen a longer log has to show the device's own signature under
//!   that log: nobody else's word makes a device blind.

use std::fmt;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::lines;
use super::note::{NoteError, NoteKey, SignatureKind, SignedNote};
use super::proof::{ProofError, Submission};
use super::tree::TreeHash;
use crate::watchlist::keys::{PublicKey, SecretKey};

/// Longest statement that is read, in bytes: 63 hashes, a checkpoint, and some signatures.
pub const MAX_STATEMENT: usize = 16 * 1024;
/// Most signatures of a statement that is read.
pub const MAX_LINES: usize = 16;

const REQUEST: &str = "watchpost audit request v1";
const ANSWER: &str = "watchpost audit consistency v1";
const CHALLENGE: &str = "watchpost audit challenge v1";
const FRESHNESS: &str = "watchpost audit freshness v1";

/// What is wrong with a statement.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DialogueError {
    /// More bytes than are read.
    #[error("the statement has {0} bytes, and {MAX_STATEMENT} are read at most")]
    TooLarge(usize),
    /// More signatures than are read.
    #[error("the statement has {0} signatures, and {MAX_LINES} are read at most")]
    TooManySignatures(usize),
    /// Not UTF-8.
    #[error("the statement is no text")]
    NotText,
    /// A line is not what the statement has there.
    #[error("line {line} of the statement is not {wanted}")]
    Line {
        /// From one.
        line: usize,
        /// What belongs there.
        wanted: &'static str,
    },
    /// No note, or none that a trusted key has signed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A checkpoint that is none.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The submission in it.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// What ties an answer to its question: random bytes of whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; 32]);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lines::base64(&self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Nonce {
    /// Of what nobody asked for.
    pub const NONE: Self = Self([0; 32]);

    /// A new one.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map(|()| Self(bytes))
    }
}

/// One of the texts.
pub trait Statement: fmt::Display + Sized {
    /// Its first line.
    const HEADER: &'static str;

    /// Reads what follows the first line.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(reader: &mut StatementReader<'_>) -> Result<Self, DialogueError>;

    /// The note of it that `secret` signs under `name`.
    ///
    /// # Errors
    /// Where the name cannot be a key's.
    fn sign(&self, name: &str, secret: &SecretKey) -> Result<String, NoteError> {
        let key = NoteKey::new(name, SignatureKind::Note, secret.public())?;
        let text = self.to_string();
        Ok(format!("{text}\n{}", key.line(&secret.sign(text.as_bytes()))))
    }

    /// Reads a note that the owner of `key` has signed.
    ///
    /// # Errors
    /// Why it cannot be believed.
    fn open(note: &[u8], key: &NoteKey) -> Result<Self, DialogueError> {
        let note = bounded(note)?;
        let note = SignedNote::parse(note)?;
        let statement = Self::parse(&note)?;
        note.verify(std::slice::from_ref(key))?;
        Ok(statement)
    }

    /// Reads a note that one of `witnesses` has signed; which.
    ///
    /// # Errors
    /// Why it cannot be believed.
    fn open_by(note: &[u8], witnesses: &[PublicKey]) -> Result<(Self, PublicKey), DialogueError> {
        let note = bounded(note)?;
        let note = SignedNote::parse(note)?;
        let statement = Self::parse(&note)?;
        let keys = keys_of(&note, SignatureKind::Note, witnesses)?;
        let key = keys.first().ok_or(NoteError::Unknown)?;
        note.verify(std::slice::from_ref(key))?;
        Ok((statement, *key.public()))
    }

    /// Reads the text of a note of which nothing is believed.
    ///
    /// # Errors
    /// What is wrong with it.
    fn parse(note: &SignedNote<'_>) -> Result<Self, DialogueError> {
        let mut reader = StatementReader { rest: note.text, line: 0 };
        let header = reader.next(Self::HEADER)?;
        if header != Self::HEADER {
            return reader.wrong(Self::HEADER);
        }
        let statement = Self::read(&mut reader)?;
        if reader.rest.is_empty() { Ok(statement) } else { reader.wrong("the end") }
    }
}

/// The bytes as a text, if they may be read at all.
fn bounded(note: &[u8]) -> Result<&str, DialogueError> {
    if note.len() > MAX_STATEMENT {
        return Err(DialogueError::TooLarge(note.len()));
    }
    std::str::from_utf8(note).map_err(|_| DialogueError::NotText)
}

/// The keys of `witnesses` that have signed `note` as `kind`, as far as their ids say so, each
/// under the name that its line gives it.
fn keys_of(
    note: &SignedNote<'_>,
    kind: SignatureKind,
    witnesses: &[PublicKey],
) -> Result<Vec<NoteKey>, DialogueError> {
    if note.signatures.len() > MAX_LINES {
        return Err(DialogueError::TooManySignatures(note.signatures.len()));
    }
    let mut found = Vec::new();
    for signature in &note.signatures {
        for public in witnesses {
            let key = NoteKey::new(signature.name, kind, *public)?;
            if key.id() == signature.id && !found.contains(&key) {
                found.push(key);
            }
        }
    }
    Ok(found)
}

/// The lines of a statement, counted.
#[derive(Debug)]
pub struct StatementReader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> StatementReader<'a> {
    fn next(&mut self, wanted: &'static str) -> Result<&'a str, DialogueError> {
        self.line += 1;
        let line = self.line;
        let cut = self.rest.split_once('\n');
        let (text, after) = cut.ok_or(DialogueError::Line { line, wanted })?;
        self.rest = after;
        Ok(text)
    }

    fn wrong<T>(&self, wanted: &'static str) -> Result<T, DialogueError> {
        Err(DialogueError::Line { line: self.line, wanted })
    }

    fn origin(&mut self) -> Result<String, DialogueError> {
        let origin = self.next("the name of a log")?;
        if origin.is_empty() { self.wrong("the name of a log") } else { Ok(origin.to_owned()) }
    }

    fn nonce(&mut self) -> Result<Nonce, DialogueError> {
        let wanted = "a nonce of 32 bytes in base64";
        match lines::hash(self.next(wanted)?) {
            Some(TreeHash(bytes)) => Ok(Nonce(bytes)),
            None => self.wrong(wanted),
        }
    }

    fn size(&mut self) -> Result<u64, DialogueError> {
        let wanted = "a number of records below 2^63";
        match lines::decimal(self.next(wanted)?) {
            Some(size) => Ok(size),
            None => self.wrong(wanted),
        }
    }

    /// A size and the root of a tree of so many records.
    fn tree(&mut self) -> Result<(u64, TreeHash), DialogueError> {
        let size = self.size()?;
        let wanted = "the root hash of so many records";
        match lines::hash(self.next(wanted)?) {
            Some(root) if size > 0 || root == TreeHash::empty() => Ok((size, root)),
            _ => self.wrong(wanted),
        }
    }
}

/// A witness asks a device for the proof that its log only grew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessRequest {
    /// Which log.
    pub origin: String,
    /// Of the witness.
    pub nonce: Nonce,
    /// Records that the witness cosigned last.
    pub old: u64,
}

impl Statement for WitnessRequest {
    const HEADER: &'static str = REQUEST;

    fn read(reader: &mut StatementReader<'_>) -> Result<Self, DialogueError> {
        Ok(Self { origin: reader.origin()?, nonce: reader.nonce()?, old: reader.size()? })
    }
}

impl fmt::Display for WitnessRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REQUEST}\n{}\n{}\n{}\n", self.origin, self.nonce, self.old)
    }
}

/// The device's answer: what `add-checkpoint` of C2SP `tlog-witness` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyAnswer {
    /// Which log.
    pub origin: String,
    /// Of the request.
    pub nonce: Nonce,
    /// Old size, proof and checkpoint. Its old size is the device's own where that is smaller than
    /// the one asked for.
    pub submission: Submission,
}

impl Statement for ConsistencyAnswer {
    const HEADER: &'static str = ANSWER;

    fn read(reader: &mut StatementReader<'_>) -> Result<Self, DialogueError> {
        let (origin, nonce) = (reader.origin()?, reader.nonce()?);
        let submission = Submission::parse(std::mem::take(&mut reader.rest))?;
        Ok(Self { origin, nonce, submission })
    }
}

impl fmt::Display for ConsistencyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ANSWER}\n{}\n{}\n{}", self.origin, self.nonce, self.submission)
    }
}

/// A device asks its witnesses for the newest log that they have seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Which log.
    pub origin: String,
    /// Of the device.
    pub nonce: Nonce,
    /// Its records.
    pub size: u64,
    /// The root of their tree.
    pub root: TreeHash,
}

impl Statement for Challenge {
    const HEADER: &'static str = CHALLENGE;

    fn read(reader: &mut StatementReader<'_>) -> Result<Self, DialogueError> {
        let (origin, nonce) = (reader.origin()?, reader.nonce()?);
        let (size, root) = reader.tree()?;
        Ok(Self { origin, nonce, size, root })
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, nonce, size, root } = self;
        write!(f, "{CHALLENGE}\n{origin}\n{nonce}\n{size}\n{root}\n")
    }
}

/// A witness's answer: the newest log that it has cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshnessAnswer {
    /// Which log.
    pub origin: String,
    /// Of the challenge.
    pub nonce: Nonce,
    /// Its records; zero where the witness has never seen it.
    pub size: u64,
    /// The root of their tree.
    pub root: TreeHash,
    /// The device's own signature under that log's checkpoint; absent where the witness has never
    /// seen one.
    pub signature: Option<[u8; 64]>,
}

impl FreshnessAnswer {
    /// Whether `identity` has signed the log that the witness has seen.
    pub fn is_signed_by(&self, identity: &PublicKey) -> bool {
        let text = Checkpoint::new(&self.origin, self.size, self.root).to_string();
        self.signature.is_some_and(|bytes| identity.verifies(text.as_bytes(), &bytes))
    }
}

impl Statement for FreshnessAnswer {
    const HEADER: &'static str = FRESHNESS;

    fn read(reader: &mut StatementReader<'_>) -> Result<Self, DialogueError> {
        let (origin, nonce) = (reader.origin()?, reader.nonce()?);
        let (size, root) = reader.tree()?;
        let wanted = "a signature of 64 bytes in base64, or `-`";
        let signature = match reader.next(wanted)? {
            "-" => None,
            text => match lines::unbase64(text).and_then(|bytes| bytes.try_into().ok()) {
                Some(bytes) => Some(bytes),
                None => return reader.wrong(wanted),
            },
        };
        Ok(Self { origin, nonce, size, root, signature })
    }
}

impl fmt::Display for FreshnessAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, nonce, size, root, signature } = self;
        let signature = signature.map_or_else(|| "-".to_owned(), |bytes| lines::base64(&bytes));
        write!(f, "{FRESHNESS}\n{origin}\n{nonce}\n{size}\n{root}\n{signature}\n")
    }
}

/// A witness's cosignature that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessLine {
    /// Whose.
    pub witness: PublicKey,
    /// When it was made, in seconds since 1970, as the witness says.
    pub at: u64,
    /// The line, with its newline.
    pub line: String,
}

/// A checkpoint of the log `origin` with the cosignatures under it that one of `witnesses` has
/// made. Whether the log has signed it is not looked at: who keeps the log knows what it was.
///
/// # Errors
/// Where it is no checkpoint of that log, a known witness's signature does not hold, or none of
/// them has signed.
pub fn open_cosigned(
    note: &[u8],
    witnesses: &[PublicKey],
) -> Result<(Checkpoint, Vec<WitnessLine>), DialogueError> {
    let note = SignedNote::parse(bounded(note)?)?;
    let checkpoint = Checkpoint::parse(note.text)?;
    let keys = keys_of(&note, SignatureKind::Cosignature, witnesses)?;
    let mut found: Vec<WitnessLine> = Vec::new();
    for key in &keys {
        let checked = super::checkpoint::cosignatures(&note, std::slice::from_ref(key))?;
        for cosignature in checked {
            if found.iter().all(|line| line.witness != *key.public()) {
                let (witness, at) = (*key.public(), cosignature.at);
                found.push(WitnessLine { witness, at, line: cosignature.line });
            }
        }
    }
    if found.is_empty() {
        return Err(NoteError::Unknown.into());
    }
    Ok((checkpoint, found))
}

#[cfg(test)]
mod tests;
