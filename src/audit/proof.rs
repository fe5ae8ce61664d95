//! Proofs as texts that need no network to be verified.
//!
//! * A [`TlogProof`] (C2SP `tlog-proof`) holds that a record is in a log: its index, the hashes,
//!   the checkpoint with its cosignatures, and the record itself as the format's extra data.
//! * A [`Submission`] (the body of C2SP `tlog-witness`' `add-checkpoint`) holds that a log only
//!   grew: the old size, the hashes, the new checkpoint.
//!
//! Both are bounded before anything of them is copied. Reading one verifies nothing;
//! [`TlogProof::verify`] does.

use std::fmt;

use super::checkpoint::{CheckedCosignature, Checkpoint, CheckpointError, cosignatures};
use super::lines;
use super::note::{MAX_NOTE, NoteKey, SignedNote};
use super::tree::{MAX_PROOF, ProofPath, TreeError, TreeHash, verify_inclusion};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Longest proof or submission that is read, in bytes.
pub const MAX_TEXT: usize = MAX_NOTE + 64 * 1024;
/// Most hashes of a submission, as the format says.
pub const MAX_SUBMITTED: usize = 63;

/// What is wrong with a proof or a submission.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ProofError {
    /// More bytes than are read.
    #[error("the proof has {0} bytes, and {MAX_TEXT} are read at most")]
    TooLarge(usize),
    /// A line is not what the format has there.
    #[error("line {line} of the proof is not {wanted}")]
    Line {
        /// From one.
        line: usize,
        /// What belongs there.
        wanted: &'static str,
    },
    /// More hashes than a proof of any size has.
    #[error("the proof has more than {0} hashes")]
    TooManyHashes(usize),
    /// The record is not with the proof.
    #[error("the proof carries no record; give the record's file, too")]
    NoRecord,
    /// Fewer witnesses than were asked for.
    #[error("{found} known witnesses have cosigned, and {wanted} are asked for")]
    TooFewWitnesses {
        /// Whose cosignature holds.
        found: usize,
        /// As asked.
        wanted: usize,
    },
    /// The checkpoint cannot be believed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The hashes prove something else.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// That one record is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The record, where it comes with the proof; believed only once it is verified.
    pub extra: Option<Vec<u8>>,
    /// Of the record, from zero.
    pub index: u64,
    /// From the record's sibling up.
    pub path: ProofPath,
    /// The signed checkpoint, as it came.
    pub note: String,
}

/// What a proof proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The log at some time.
    pub checkpoint: Checkpoint,
    /// The witnesses that saw it so.
    pub cosignatures: Vec<CheckedCosignature>,
}

/// The lines of a text, counted.
struct LineReader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> LineReader<'a> {
    fn new(text: &'a str) -> Result<Self, ProofError> {
        if text.len() > MAX_TEXT {
            return Err(ProofError::TooLarge(text.len()));
        }
        Ok(Self { rest: text, line: 0 })
    }

    fn next(&mut self, wanted: &'static str) -> Result<&'a str, ProofError> {
        self.line += 1;
        let line = self.line;
        let (text, after) = self.rest.split_once('\n').ok_or(ProofError::Line { line, wanted })?;
        self.rest = after;
        Ok(text)
    }

    fn wrong<T>(&self, wanted: &'static str) -> Result<T, ProofError> {
        Err(ProofError::Line { line: self.line, wanted })
    }

    /// A number after `word` and a space.
    fn number(&self, text: &str, word: &'static str) -> Result<u64, ProofError> {
        let number = text.strip_prefix(word).and_then(|n| lines::decimal(n.strip_prefix(' ')?));
        number.map_or_else(|| self.wrong("a number below 2^63 after its word"), Ok)
    }

    /// Hashes up to the empty line after them.
    fn hashes(&mut self, most: usize) -> Result<ProofPath, ProofError> {
        let mut path = ProofPath::new();
        loop {
            let wanted = "a hash, or the empty line before the checkpoint";
            let text = self.next(wanted)?;
            if text.is_empty() {
                return Ok(path);
            }
            let Some(hash) = lines::hash(text) else { return self.wrong(wanted) };
            if path.len() == most || path.push(hash).is_err() {
                return Err(ProofError::TooManyHashes(most));
            }
        }
    }
}

impl TlogProof {
    /// Reads a proof.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let mut reader = LineReader::new(text)?;
        let header = "the header `c2sp.org/tlog-proof@v1`";
        if reader.next(header)? != HEADER {
            return reader.wrong(header);
        }
        let mut line = reader.next("the index")?;
        let mut extra = None;
        if let Some(text) = line.strip_prefix("extra ") {
            let Some(bytes) = lines::unbase64(text) else { return reader.wrong("base64") };
            extra = Some(bytes);
            line = reader.next("the index")?;
        }
        let index = reader.number(line, "index")?;
        let path = reader.hashes(MAX_PROOF)?;
        let note = reader.rest.to_owned();
        SignedNote::parse(&note).map_err(CheckpointError::from)?;
        Ok(Self { extra, index, path, note })
    }

    /// Verifies it for the record that came with it.
    ///
    /// # Errors
    /// Where none came, or as [`TlogProof::verify`].
    pub fn verify_own(
        &self,
        log: &NoteKey,
        witnesses: &[NoteKey],
        needed: usize,
    ) -> Result<Proved, ProofError> {
        let record = self.extra.as_deref().ok_or(ProofError::NoRecord)?;
        self.verify(record, log, witnesses, needed)
    }

    /// Verifies that `record` is in the log of `log`, and that `needed` of `witnesses` have
    /// cosigned that log.
    ///
    /// # Errors
    /// What does not hold.
    pub fn verify(
        &self,
        record: &[u8],
        log: &NoteKey,
        witnesses: &[NoteKey],
        needed: usize,
    ) -> Result<Proved, ProofError> {
        let checkpoint = Checkpoint::open(&self.note, log)?;
        let note = SignedNote::parse(&self.note).map_err(CheckpointError::from)?;
        let cosignatures = cosignatures(&note, witnesses)?;
        let (leaf, size) = (TreeHash::leaf(record), checkpoint.size);
        verify_inclusion(leaf, self.index, size, checkpoint.root, &self.path)?;
        if cosignatures.len() < needed {
            let (found, wanted) = (cosignatures.len(), needed);
            return Err(ProofError::TooFewWitnesses { found, wanted });
        }
        Ok(Proved { checkpoint, cosignatures })
    }
}

fn write_hashes(f: &mut impl fmt::Write, path: &[TreeHash], note: &str) -> fmt::Result {
    path.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
    f.write_char('\n')?;
    f.write_str(note)
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", lines::base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        write_hashes(f, &self.path, &self.note)
    }
}

/// A checkpoint for a witness, with the proof that it follows from one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Records of the tree that the witness cosigned last; zero where none.
    pub old: u64,
    /// From that tree to the checkpoint's.
    pub path: ProofPath,
    /// The signed checkpoint.
    pub note: String,
}

impl Submission {
    /// Reads a submission.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let mut reader = LineReader::new(text)?;
        let line = reader.next("the old size")?;
        let old = reader.number(line, "old")?;
        let path = reader.hashes(MAX_SUBMITTED)?;
        let note = reader.rest.to_owned();
        SignedNote::parse(&note).map_err(CheckpointError::from)?;
        Ok(Self { old, path, note })
    }
}

impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        write_hashes(f, &self.path, &self.note)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::super::note::{NoteError, SignatureKind};
    use super::super::tree::{MemoryNodes, RightEdge, consistency, inclusion};
    use super::*;
    use crate::watchlist::keys::SecretKey;

    const ORIGIN: &str = "watchpost/gate-1";

    fn record(n: u64) -> Vec<u8> {
        format!("record {n}").into_bytes()
    }

    /// A log of `n` records, its signed and cosigned checkpoint, and the two keys.
    fn log(n: u64) -> (MemoryNodes, String, NoteKey, NoteKey) {
        let (mut edge, mut nodes) = (RightEdge::default(), MemoryNodes::default());
        for i in 0..n {
            edge.push(TreeHash::leaf(&record(i)), |node| nodes.0.push(node)).unwrap();
        }
        let (device, witness) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let checkpoint = Checkpoint::new(ORIGIN, n, edge.root());
        let line = checkpoint.cosign("w1", &witness, OffsetDateTime::UNIX_EPOCH).unwrap();
        let note = checkpoint.sign(&device).unwrap() + &line;
        let key = |name, kind, secret: &SecretKey| NoteKey::new(name, kind, secret.public());
        let device = key(ORIGIN, SignatureKind::Note, &device).unwrap();
        let witness = key("w1", SignatureKind::Cosignature, &witness).unwrap();
        (nodes, note, device, witness)
    }

    fn proof(n: u64, index: u64) -> (TlogProof, NoteKey, NoteKey) {
        let (nodes, note, device, witness) = log(n);
        let path = inclusion(&nodes, index, n).unwrap();
        (TlogProof { extra: Some(record(index)), index, path, note }, device, witness)
    }

    #[test]
    fn a_proof_is_verified_from_its_text_and_public_keys_alone() {
        let (written, device, witness) = proof(1000, 777);
        let text = written.to_string();
        let read = TlogProof::parse(&text).unwrap();
        assert_eq!((&read, text.len() <= 2048), (&written, true), "{} bytes", text.len());
        let proved = read.verify_own(&device, std::slice::from_ref(&witness), 1).unwrap();
        assert_eq!((proved.checkpoint.size, proved.cosignatures.len()), (1000, 1));
        let two = read.verify_own(&device, std::slice::from_ref(&witness), 2).unwrap_err();
        assert_eq!(two, ProofError::TooFewWitnesses { found: 1, wanted: 2 });
        let other = read.verify(&record(776), &device, &[], 0).unwrap_err();
        assert_eq!(other, ProofError::Tree(TreeError::Mismatch));
        let bare = TlogProof { extra: None, ..read };
        assert_eq!(TlogProof::parse(&bare.to_string()), Ok(bare.clone()));
        assert_eq!(bare.verify_own(&device, &[], 0).unwrap_err(), ProofError::NoRecord);
        assert!(bare.verify(&record(777), &device, &[], 0).is_ok());
        let unknown = bare.verify(&record(777), &witness, &[], 0).unwrap_err();
        assert!(matches!(unknown, ProofError::Checkpoint(CheckpointError::Origin { .. })));
    }

    #[test]
    fn a_proof_of_a_million_records_fits_two_kilobytes() {
        let (mut written, ..) = proof(4, 1);
        written.path = (0..20).map(|_| TreeHash::empty()).collect();
        written.extra = Some(vec![0; 300]);
        assert!(written.to_string().len() <= 2048, "{}", written.to_string().len());
    }

    #[test]
    fn what_is_too_long_too_large_or_empty_is_refused_by_name() {
        let (good, ..) = proof(8, 3);
        let text = good.to_string();
        let hashes = format!("{}\n", TreeHash::empty()).repeat(10_000);
        let many = text.replacen("index 3\n", &format!("index 3\n{hashes}"), 1);
        assert!(matches!(TlogProof::parse(&many), Err(ProofError::TooLarge(_))));
        let hashes = &hashes[..45 * 65];
        let more = text.replacen("index 3\n", &format!("index 3\n{hashes}"), 1);
        assert_eq!(TlogProof::parse(&more), Err(ProofError::TooManyHashes(64)));
        for index in ["9223372036854775808", "-1", "03", ""] {
            let other = text.replacen("index 3\n", &format!("index {index}\n"), 1);
            assert!(matches!(TlogProof::parse(&other), Err(ProofError::Line { line: 3, .. })));
        }
        // After the log's own signature it is whole, and a witness's may follow.
        let whole = text.find("\n\u{2014} w1").unwrap();
        for cut in (0..=whole).filter(|cut| text.is_char_boundary(*cut)) {
            assert!(TlogProof::parse(&text[..cut]).is_err(), "{cut}");
        }
        let old = format!("old 1\n{hashes}\n{}", good.note);
        assert_eq!(Submission::parse(&old), Err(ProofError::TooManyHashes(63)));
        let empty = Submission::parse("old 0\n\n").unwrap_err();
        assert_eq!(empty, ProofError::Checkpoint(CheckpointError::Note(NoteError::Shape)));
        // An empty log has a checkpoint, and nothing is in it.
        let (_, note, device, _) = log(0);
        let nothing = TlogProof { extra: None, index: 0, path: ProofPath::new(), note };
        let beyond = nothing.verify(b"", &device, &[], 0).unwrap_err();
        assert_eq!(beyond, ProofError::Tree(TreeError::Beyond { index: 0, size: 0 }));
    }

    proptest! {
        #[test]
        fn proofs_and_submissions_are_read_as_written(n in 1u64..300, a: prop::sample::Index) {
            let at = a.index(n as usize) as u64;
            let (written, device, witness) = proof(n, at);
            let read = TlogProof::parse(&written.to_string()).unwrap();
            prop_assert_eq!(&read, &written);
            prop_assert!(read.verify_own(&device, &[witness], 1).is_ok());
            let (nodes, note, ..) = log(n);
            let path = consistency(&nodes, at, n).unwrap();
            let written = Submission { old: at, path, note };
            prop_assert_eq!(Submission::parse(&written.to_string()), Ok(written));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(c2sp.org/tlog-proof@v1\n)?(extra |index |old )?\\PC{0,60}\n{0,3}") {
            let _ = (TlogProof::parse(&text), Submission::parse(&text));
        }
    }
}
