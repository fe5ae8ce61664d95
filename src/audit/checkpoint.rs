//! A log's size and root hash, as the log signs them (C2SP `tlog-checkpoint`) and as witnesses
//! cosign them (C2SP `tlog-cosignature`, version 1).
//!
//! * A [`Checkpoint`] that was read says nothing. One that [`Checkpoint::open`] returns was signed
//!   by a key that the caller trusts for its origin.
//! * The name of the log's key is the log's origin, so that a checkpoint of one log cannot pass for
//!   that of another.
//! * A checkpoint of an empty log is read and written as any other; whether it is of use is the
//!   caller's to say.

use std::fmt;

use time::OffsetDateTime;

use super::lines;
use super::note::{self, NoteError, NoteKey, SignatureKind, SignedNote};
use super::tree::{MAX_SIZE, TreeHash};
use crate::watchlist::keys::SecretKey;

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CheckpointError {
    /// Not a note, or not one of a trusted key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A note, but none of a log.
    #[error("the note is no checkpoint: {0}")]
    Text(&'static str),
    /// It is of another log.
    #[error("the checkpoint is of the log {found}, not of {wanted}")]
    Origin {
        /// As written in it.
        found: String,
        /// Whose key it was held against.
        wanted: String,
    },
    /// A witness's signature that does not hold.
    #[error("the cosignature of {0} does not belong to this checkpoint")]
    Cosignature(String),
}

/// The size and the root of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Its records.
    pub size: u64,
    /// The root of their tree.
    pub root: TreeHash,
    /// Lines after these, each with its newline; ours writes none.
    pub extensions: String,
}

/// A witness's statement that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCosignature {
    /// The witness.
    pub name: String,
    /// When it said so, in seconds since 1970.
    pub at: u64,
    /// Its line in the note.
    pub line: String,
}

impl Checkpoint {
    /// Of a log without extension lines.
    pub fn new(origin: &str, size: u64, root: TreeHash) -> Self {
        Self { origin: origin.to_owned(), size, root, extensions: String::new() }
    }

    /// Reads the text of a checkpoint, with its last newline.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let wrong = |what| Err(CheckpointError::Text(what));
        let mut rest = text;
        let mut line = || {
            let (line, after) = rest.split_once('\n')?;
            rest = after;
            Some(line)
        };
        let (Some(origin), Some(size), Some(root)) = (line(), line(), line()) else {
            return wrong("it has fewer than three lines");
        };
        if origin.is_empty() {
            return wrong("its first line names no log");
        }
        let Some(size) = lines::decimal(size) else {
            return wrong("its second line is no number of records below 2^63");
        };
        let Some(root) = lines::hash(root) else {
            return wrong("its third line is no hash");
        };
        if !rest.is_empty() && (rest.starts_with('\n') || rest.contains("\n\n")) {
            return wrong("it has an empty line");
        }
        if !rest.is_empty() && !rest.ends_with('\n') {
            return wrong("it does not end in a newline");
        }
        if size == 0 && root != TreeHash::empty() {
            return wrong("a log without records has another root hash");
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions: rest.to_owned() })
    }

    /// Signs it as the log.
    ///
    /// # Errors
    /// Where the origin cannot name a key.
    pub fn sign(&self, secret: &SecretKey) -> Result<String, NoteError> {
        debug_assert!(self.size <= MAX_SIZE, "no edge grows beyond it");
        let key = NoteKey::new(&self.origin, SignatureKind::Note, secret.public())?;
        let text = self.to_string();
        Ok(format!("{text}\n{}", key.line(&secret.sign(text.as_bytes()))))
    }

    /// Reads a signed checkpoint and verifies that the owner of `log` has signed it for that log.
    ///
    /// # Errors
    /// Why it cannot be believed.
    pub fn open(note: &str, log: &NoteKey) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(note)?;
        let checkpoint = Self::parse(note.text)?;
        if checkpoint.origin != log.name() {
            let (found, wanted) = (checkpoint.origin, log.name().to_owned());
            return Err(CheckpointError::Origin { found, wanted });
        }
        note.verify(std::slice::from_ref(log))?;
        Ok(checkpoint)
    }

    /// The line by which the witness with `secret` and `name` states at `now` that this follows
    /// from all that it has seen of the log.
    ///
    /// # Errors
    /// Where the name cannot be a key's.
    pub fn cosign(
        &self,
        name: &str,
        secret: &SecretKey,
        now: OffsetDateTime,
    ) -> Result<String, NoteError> {
        let key = NoteKey::new(name, SignatureKind::Cosignature, secret.public())?;
        let at = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        let signature = secret.sign(cosigned(at, &self.to_string()).as_bytes());
        Ok(key.line(&[&at.to_be_bytes()[..], &signature].concat()))
    }
}

/// What a witness signs.
fn cosigned(at: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {at}\n{text}")
}

/// The cosignatures under `note` by `witnesses`, one of each at most.
///
/// # Errors
/// Where one of a known witness does not hold.
pub fn cosignatures(
    note: &SignedNote<'_>,
    witnesses: &[NoteKey],
) -> Result<Vec<CheckedCosignature>, CheckpointError> {
    let mut found = Vec::new();
    for key in witnesses.iter().filter(|key| key.kind() == SignatureKind::Cosignature) {
        let mut newest: Option<CheckedCosignature> = None;
        for signature in note.by(key) {
            let at = statement(signature, note.text, key)
                .ok_or_else(|| CheckpointError::Cosignature(key.name().to_owned()))?;
            if newest.as_ref().is_none_or(|n| n.at < at) {
                let (name, line) = (key.name().to_owned(), signature.line.to_owned());
                newest = Some(CheckedCosignature { name, at, line });
            }
        }
        found.extend(newest);
    }
    Ok(found)
}

/// The time of a cosignature that holds.
fn statement(signature: &note::NoteSignature<'_>, text: &str, key: &NoteKey) -> Option<u64> {
    let (at, bytes) = signature.signature.split_first_chunk::<8>()?;
    let at = u64::from_be_bytes(*at);
    let bytes: &[u8; 64] = bytes.try_into().ok()?;
    let holds = at <= MAX_SIZE && key.public().verifies(cosigned(at, text).as_bytes(), bytes);
    holds.then_some(at)
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n{}", self.origin, self.size, self.root, self.extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // The example of the format's text.
    const BODY: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn log() -> (SecretKey, NoteKey) {
        let secret = SecretKey::from_seed(&[1; 32]);
        let key = NoteKey::new("watchpost/gate-1", SignatureKind::Note, secret.public()).unwrap();
        (secret, key)
    }

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint::new("watchpost/gate-1", size, TreeHash::leaf(&size.to_be_bytes()))
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    #[test]
    fn the_formats_example_is_read_and_written_the_same() {
        let read = Checkpoint::parse(BODY).unwrap();
        assert_eq!((read.origin.as_str(), read.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(read.to_string(), BODY);
        let more = format!("{BODY}extension 1\nextension 2\n");
        let read = Checkpoint::parse(&more).unwrap();
        assert_eq!((read.extensions.lines().count(), read.to_string()), (2, more));
    }

    #[test]
    fn a_checkpoint_is_believed_from_the_logs_own_key_alone() {
        let (secret, key) = log();
        let note = checkpoint(7).sign(&secret).unwrap();
        assert_eq!(Checkpoint::open(&note, &key), Ok(checkpoint(7)));
        let stranger = SecretKey::from_seed(&[2; 32]).public();
        let other = NoteKey::new("watchpost/gate-1", SignatureKind::Note, stranger).unwrap();
        let unknown = Err(CheckpointError::Note(NoteError::Unknown));
        assert_eq!(Checkpoint::open(&note, &other), unknown);
        // The same key for another log.
        let other = NoteKey::new("watchpost/gate-2", SignatureKind::Note, *key.public()).unwrap();
        let refused = Checkpoint::open(&note, &other).unwrap_err();
        assert!(matches!(refused, CheckpointError::Origin { .. }), "{refused}");
        let more = note.replacen("\n7\n", "\n8\n", 1);
        let forged = Checkpoint::open(&more, &key).unwrap_err();
        assert_eq!(forged, CheckpointError::Note(NoteError::Forged("watchpost/gate-1".into())));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused_with_the_reason() {
        let root = TreeHash::leaf(b"").to_string();
        let empty = TreeHash::empty();
        assert!(Checkpoint::parse(&format!("o\n0\n{empty}\n")).is_ok());
        for (text, why) in [
            (String::new(), "fewer than three"),
            ("o\n1\n".into(), "fewer than three"),
            (format!("o\n1\n{root}"), "fewer than three"),
            (format!("\n1\n{root}\n"), "names no log"),
            (format!("o\n01\n{root}\n"), "no number"),
            (format!("o\n-1\n{root}\n"), "no number"),
            (format!("o\n9223372036854775808\n{root}\n"), "no number"),
            (format!("o\n1\n{}\n", &root[1..]), "no hash"),
            (format!("o\n0\n{root}\n"), "without records"),
            (format!("o\n1\n{root}\n\n"), "empty line"),
            (format!("o\n1\n{root}\na\n\nb\n"), "empty line"),
            (format!("o\n1\n{root}\na"), "newline"),
        ] {
            let error = Checkpoint::parse(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_cosignature_states_a_time_and_holds_for_its_checkpoint_alone() {
        let (secret, key) = log();
        let witness = SecretKey::from_seed(&[3; 32]);
        let name = "witness.example/w1";
        let known = NoteKey::new(name, SignatureKind::Cosignature, witness.public()).unwrap();
        let line = |at_| checkpoint(7).cosign(name, &witness, at(at_)).unwrap();
        let note = checkpoint(7).sign(&secret).unwrap();
        // A repeated one counts once, with the newest time; a stranger's is skipped.
        let strangers = checkpoint(7).cosign("w2", &secret, at(5)).unwrap();
        let both = format!("{note}{}{}{strangers}", line(1_679_315_147), line(1_679_315_148));
        let parsed = SignedNote::parse(&both).unwrap();
        let found = cosignatures(&parsed, &[known.clone(), key.clone()]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].at), (name, 1_679_315_148));
        assert_eq!(Checkpoint::open(&both, &key), Ok(checkpoint(7)));
        // Under another checkpoint it does not hold.
        let other = format!("{}{}", checkpoint(8).sign(&secret).unwrap(), line(5));
        let parsed = SignedNote::parse(&other).unwrap();
        let error = cosignatures(&parsed, &[known]).unwrap_err();
        assert_eq!(error, CheckpointError::Cosignature(name.into()));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "[ab0-9=\n]{0,20}\n[0-9]{1,3}\n\\PC{0,44}\n") {
            if let Ok(read) = Checkpoint::parse(&text) {
                prop_assert_eq!(read.to_string(), text);
            }
        }

        #[test]
        fn what_is_written_is_read_the_same(origin in "[a-z/.]{1,30}", size in 1..=MAX_SIZE, h: [u8; 32]) {
            let written = Checkpoint::new(&origin, size, TreeHash(h));
            prop_assert_eq!(Checkpoint::parse(&written.to_string()), Ok(written));
        }
    }
}
