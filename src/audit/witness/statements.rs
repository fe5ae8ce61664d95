//! What a witness says to devices, and what it can say of itself.

use time::OffsetDateTime;

use super::{LogWitness, WitnessFinding, WitnessMemory};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::dialogue::{FreshnessAnswer, Nonce, Statement};
use crate::audit::note::{NoteError, NoteKey, SignedNote};
use crate::audit::tree::TreeHash;

/// What a witness cosigned last of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignedLast {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The log's own signature under it.
    pub signature: [u8; 64],
}

impl<M: WitnessMemory> LogWitness<M> {
    /// The key of the log `origin`, where it is watched.
    pub fn log(&self, origin: &str) -> Option<&NoteKey> {
        self.logs.get(origin)
    }

    /// Its own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Watches one more log from `now` on.
    pub fn watch(&mut self, log: NoteKey, now: OffsetDateTime) {
        self.heard.entry(log.name().to_owned()).or_insert(now);
        self.logs.insert(log.name().to_owned(), log);
    }

    /// Expects to hear nothing more of the log `origin`: its silence is no finding.
    pub fn retire(&mut self, origin: &str) {
        self.heard.remove(origin);
    }

    /// What was cosigned last of the log `origin`; `None` where nothing was.
    ///
    /// # Errors
    /// Where the log is not watched, or what is remembered cannot be read.
    pub fn last(&self, origin: &str) -> Result<Option<CosignedLast>, WitnessFinding> {
        let unknown = || WitnessFinding::UnknownOrigin(origin.to_owned());
        let log = self.logs.get(origin).ok_or_else(unknown)?;
        let known = self.memory.recall(origin).map_err(WitnessFinding::NotRemembered)?;
        let Some(known) = known else { return Ok(None) };
        let unread = || WitnessFinding::NotRemembered("what is remembered cannot be read".into());
        let checkpoint = Checkpoint::open(&known.note, log).map_err(|_| unread())?;
        let note = SignedNote::parse(&known.note).map_err(|_| unread())?;
        let signature = note.by(log).next().map(|s| s.signature.clone());
        let signature = signature.and_then(|s| s.try_into().ok()).ok_or_else(unread)?;
        Ok(Some(CosignedLast { checkpoint, signature }))
    }

    /// Signs a statement to a device.
    ///
    /// # Errors
    /// Where the witness's name cannot be a key's.
    pub fn say(&self, statement: &impl Statement) -> Result<String, NoteError> {
        statement.sign(&self.name, &self.secret)
    }

    /// The signed answer to a device that asks by `nonce` whether its log `origin`, of which `last`
    /// was cosigned last, is the newest.
    ///
    /// # Errors
    /// Where the witness's name cannot be a key's.
    pub fn freshness(
        &self,
        origin: &str,
        last: Option<CosignedLast>,
        nonce: Nonce,
    ) -> Result<String, WitnessFinding> {
        let (size, root, signature) = match last {
            None => (0, TreeHash::empty(), None),
            Some(CosignedLast { checkpoint, signature }) => {
                (checkpoint.size, checkpoint.root, Some(signature))
            }
        };
        let origin = origin.to_owned();
        let answer = FreshnessAnswer { origin, nonce, size, root, signature };
        self.say(&answer).map_err(WitnessFinding::NotCosigned)
    }
}
