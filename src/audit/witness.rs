//! The witness: sees every log's checkpoints, and cosigns those that only add to what it saw.
//!
//! * Sans-IO: a submission and the time in, a cosignature or a named finding out. What it must not
//!   forget is a [`WitnessMemory`].
//! * It remembers a checkpoint **before** it cosigns it: what it has cosigned it never forgets, and
//!   where it cannot remember it does not cosign.
//! * Each way in which a log can break its word has a name ([`WitnessFinding`]). A genuine
//!   signature under it is the proof against the log.
//! * The answers are those of C2SP `tlog-witness`; [`WitnessFinding::status`] is the code of HTTP.
//!
//! It trusts nobody but the keys of the logs, and learns nothing but sizes and hashes.

mod folder;
mod kind;
mod statements;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

pub use self::folder::FolderMemory;
pub use self::kind::FindingKind;
pub use self::statements::CosignedLast;
use super::checkpoint::{Checkpoint, CheckpointError};
use super::dialogue::DialogueError;
use super::note::{NoteError, NoteKey, SignatureKind, SignedNote};
use super::proof::{ProofError, Submission};
use super::tree::{TreeError, TreeHash, verify_consistency};
use crate::watchlist::keys::SecretKey;

/// Earlier checkpoints of a log that are remembered, to tell a log that was put back to one of them
/// from one that was cut elsewhere.
pub const MAX_EARLIER: usize = 64;
/// How long a log may say nothing: two of a device's regular checkpoints, and some.
pub const SILENCE: Duration = Duration::minutes(135);

/// Why a checkpoint is not cosigned, or what is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum WitnessFinding {
    /// Not a submission.
    #[error("malformed: {0}")]
    Malformed(ProofError),
    /// A log that the witness was not told of.
    #[error("unknown origin: no key is known for the log {0:?}")]
    UnknownOrigin(String),
    /// No signature of the log's key, or one that does not hold.
    #[error("not authentic: {0}")]
    NotAuthentic(CheckpointError),
    /// A log without records proves nothing and is not cosigned.
    #[error("empty: the log {0} has no record")]
    Empty(String),
    /// The log is as it was at an earlier checkpoint: put back, or an old checkpoint again.
    #[error("rollback: {origin} is back at {found} records and had {had}")]
    Rollback {
        /// Which log.
        origin: String,
        /// Records now.
        found: u64,
        /// Records that were cosigned.
        had: u64,
    },
    /// The log is shorter, and never had a checkpoint as this one.
    #[error("truncation: {origin} has {found} records and had {had}")]
    Truncation {
        /// Which log.
        origin: String,
        /// Records now.
        found: u64,
        /// Records that were cosigned.
        had: u64,
    },
    /// Two logs of one size.
    #[error("fork: {origin} has signed two different logs of {size} records")]
    Fork {
        /// Which log.
        origin: String,
        /// Of both.
        size: u64,
    },
    /// Records that were cosigned are others now: altered, reordered or left out.
    #[error("rewrite: the {had} cosigned records of {origin} are not the first of its {found}")]
    Rewrite {
        /// Which log.
        origin: String,
        /// Records that were cosigned.
        had: u64,
        /// Records now.
        found: u64,
    },
    /// The proof begins at another size than the one that was cosigned last; no offence.
    #[error("gap: the proof begins at {proved} records, and {had} were cosigned")]
    Gap {
        /// Where it has to begin.
        had: u64,
        /// Where it begins.
        proved: u64,
    },
    /// An older checkpoint was published again, and the log itself is whole; no offence.
    #[error("replay: somebody published {origin} of {found} records again, and it has {had}")]
    Replay {
        /// Which log.
        origin: String,
        /// Records in the older checkpoint.
        found: u64,
        /// Records now.
        had: u64,
    },
    /// Not what a device says to its witnesses.
    #[error("malformed: {0}")]
    Unreadable(DialogueError),
    /// A log has said nothing for too long.
    #[error("silence: {origin} has said nothing since {since}")]
    Silence {
        /// Which log.
        origin: String,
        /// The last good checkpoint, or the witness's start.
        since: OffsetDateTime,
    },
    /// The checkpoint cannot be remembered.
    #[error("not remembered: {0}")]
    NotRemembered(String),
    /// The witness's own name cannot be a key's.
    #[error("not cosigned: {0}")]
    NotCosigned(NoteError),
}

impl WitnessFinding {
    /// Whether the log itself has broken its word: genuine, and not what it was.
    pub fn is_offence(&self) -> bool {
        matches!(
            self,
            Self::Rollback { .. }
                | Self::Truncation { .. }
                | Self::Fork { .. }
                | Self::Rewrite { .. }
        )
    }

    /// Whether it is a failure of the witness itself, and says nothing of a log.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::NotRemembered(_) | Self::NotCosigned(_))
    }

    /// The HTTP status that `tlog-witness` gives it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Unreadable(_) | Self::Empty(_) => 400,
            Self::NotAuthentic(_) => 403,
            Self::UnknownOrigin(_) => 404,
            Self::Rollback { .. }
            | Self::Truncation { .. }
            | Self::Replay { .. }
            | Self::Fork { .. }
            | Self::Gap { .. } => 409,
            Self::Rewrite { .. } => 422,
            Self::Silence { .. } | Self::NotRemembered(_) | Self::NotCosigned(_) => 500,
        }
    }
}

/// What a witness knows of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// The checkpoint that was cosigned last, signed by the log.
    pub note: String,
    /// Size and root, in base64, of those before it, oldest first; at most [`MAX_EARLIER`].
    pub earlier: Vec<(u64, String)>,
}

/// Where a witness keeps what it must not forget.
pub trait WitnessMemory {
    /// What is known of a log; `None` for one that was never cosigned.
    ///
    /// # Errors
    /// Where it cannot be read: then nothing may be cosigned.
    fn recall(&self, origin: &str) -> Result<Option<Remembered>, String>;
    /// Replaces what is known, so that it survives a power cut once this returns.
    ///
    /// # Errors
    /// Where it does not.
    fn remember(&mut self, origin: &str, known: &Remembered) -> Result<(), String>;
}

/// A checkpoint that was cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Of the log.
    pub checkpoint: Checkpoint,
    /// The witness's line, with its newline.
    pub line: String,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct LogWitness<M> {
    name: String,
    secret: SecretKey,
    logs: BTreeMap<String, NoteKey>,
    /// When each log was last heard.
    heard: BTreeMap<String, OffsetDateTime>,
    memory: M,
}

impl<M: WitnessMemory> LogWitness<M> {
    /// The witness `name` with its key, which watches `logs` from `now` on.
    pub fn new(
        name: &str,
        secret: SecretKey,
        logs: impl IntoIterator<Item = NoteKey>,
        memory: M,
        now: OffsetDateTime,
    ) -> Self {
        let logs: BTreeMap<String, NoteKey> =
            logs.into_iter().map(|key| (key.name().to_owned(), key)).collect();
        let heard = logs.keys().map(|origin| (origin.clone(), now)).collect();
        Self { name: name.to_owned(), secret, logs, heard, memory }
    }

    /// The key by which others verify what it cosigns.
    ///
    /// # Errors
    /// Where its name cannot be a key's.
    pub fn key(&self) -> Result<NoteKey, NoteError> {
        NoteKey::new(&self.name, SignatureKind::Cosignature, self.secret.public())
    }

    /// What it remembers by.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Judges a submission, and cosigns its checkpoint where it only adds to what was cosigned.
    ///
    /// # Errors
    /// The finding; nothing is remembered then.
    pub fn submit(
        &mut self,
        submission: &str,
        now: OffsetDateTime,
    ) -> Result<Cosigned, WitnessFinding> {
        let submission = Submission::parse(submission).map_err(WitnessFinding::Malformed)?;
        let (log, new) = self.authentic(&submission.note)?;
        if submission.old > new.size {
            let (old, new) = (submission.old, new.size);
            return Err(WitnessFinding::Malformed(TreeError::Shrinks { old, new }.into()));
        }
        let known = self.memory.recall(log.name()).map_err(WitnessFinding::NotRemembered)?;
        let before = match &known {
            None => None,
            Some(known) => Some(Checkpoint::open(&known.note, &log).map_err(|error| {
                WitnessFinding::NotRemembered(format!(
                    "what is remembered cannot be believed: {error}"
                ))
            })?),
        };
        if new.size == 0 && before.is_none() {
            return Err(WitnessFinding::Empty(new.origin));
        }
        judge(&submission, &new, before.as_ref(), known.as_ref())?;
        let mut earlier = known.map_or_else(Vec::new, |known| known.earlier);
        if let Some(before) = before.filter(|before| before.size < new.size) {
            earlier.push((before.size, before.root.to_string()));
            earlier.drain(..earlier.len().saturating_sub(MAX_EARLIER));
        }
        // Without the signatures of others, which anybody may have added.
        let note = SignedNote::parse(&submission.note).expect("it was opened");
        let own = note.by(&log).next().expect("it was verified").line;
        let known = Remembered { note: format!("{}\n{own}", note.text), earlier };
        self.memory.remember(log.name(), &known).map_err(WitnessFinding::NotRemembered)?;
        let line =
            new.cosign(&self.name, &self.secret, now).map_err(WitnessFinding::NotCosigned)?;
        self.heard.insert(new.origin.clone(), now);
        Ok(Cosigned { checkpoint: new, line })
    }

    /// The checkpoint in `note` and the key of its log, which has signed it.
    fn authentic(&self, note: &str) -> Result<(NoteKey, Checkpoint), WitnessFinding> {
        let malformed = |error: CheckpointError| WitnessFinding::Malformed(error.into());
        let text = SignedNote::parse(note).map_err(|e| malformed(e.into()))?.text;
        let origin = Checkpoint::parse(text).map_err(malformed)?.origin;
        let log = self.logs.get(&origin).ok_or(WitnessFinding::UnknownOrigin(origin))?;
        let checkpoint = Checkpoint::open(note, log).map_err(WitnessFinding::NotAuthentic)?;
        Ok((log.clone(), checkpoint))
    }

    /// The logs that have said nothing for `limit` at `now`; each once, until it is heard again.
    pub fn silent(&mut self, limit: Duration, now: OffsetDateTime) -> Vec<WitnessFinding> {
        let mut found = Vec::new();
        self.heard.retain(|origin, since| {
            // A clock that was put back does not lengthen it.
            *since = now.min(*since);
            let silent = now - *since >= limit;
            if silent {
                found.push(WitnessFinding::Silence { origin: origin.clone(), since: *since });
            }
            !silent
        });
        found
    }
}

/// Whether `new` only adds to the checkpoint `before`.
fn judge(
    submission: &Submission,
    new: &Checkpoint,
    before: Option<&Checkpoint>,
    known: Option<&Remembered>,
) -> Result<(), WitnessFinding> {
    let had = before.map_or(0, |before| before.size);
    let root = before.map_or_else(TreeHash::empty, |before| before.root);
    let (origin, found) = (new.origin.clone(), new.size);
    if found < had {
        let is_earlier =
            |(size, root): &(u64, String)| *size == found && *root == new.root.to_string();
        return Err(if known.is_some_and(|known| known.earlier.iter().any(is_earlier)) {
            WitnessFinding::Rollback { origin, found, had }
        } else {
            WitnessFinding::Truncation { origin, found, had }
        });
    }
    if found == had && new.root != root {
        return Err(WitnessFinding::Fork { origin, size: found });
    }
    if submission.old != had {
        return Err(WitnessFinding::Gap { had, proved: submission.old });
    }
    verify_consistency(had, root, found, new.root, &submission.path)
        .map_err(|_| WitnessFinding::Rewrite { origin, had, found })
}

#[cfg(test)]
mod tests;
