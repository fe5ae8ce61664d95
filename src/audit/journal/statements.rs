//! What a device's log says to witnesses, and what of theirs it keeps.

use super::{Journal, JournalError};
use crate::audit::checkpoint::{Checkpoint, CheckpointError};
use crate::audit::dialogue::{
    Challenge, ConsistencyAnswer, Nonce, Statement as _, WitnessLine, WitnessRequest,
};
use crate::audit::note::{NoteKey, SignatureKind};
use crate::audit::proof::Submission;
use crate::audit::tree::{TreeHash, consistency, root_of};
use crate::watchlist::keys::PublicKey;

impl Journal {
    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The key that its checkpoints are verified with.
    pub fn identity(&self) -> PublicKey {
        self.identity.public()
    }

    /// The signed answer to a witness: the log as it is now, and that it follows from the one that
    /// the witness cosigned last. A log that is shorter than that says so.
    ///
    /// # Errors
    /// Where the log cannot be read, or its checkpoint not be kept.
    pub fn answer(&mut self, request: &WitnessRequest) -> Result<String, JournalError> {
        // Who asks without end writes nothing to the disk.
        if self.note_of_now().is_none() {
            self.checkpoint()?;
        }
        self.make_durable()?;
        self.answer_once_durable(request)
    }

    fn note_of_now(&self) -> Option<&str> {
        let (size, note) = self.signed.as_ref()?;
        (*size == self.store.size()).then_some(note)
    }

    /// The same, to be said only once the log's records are durable; the checkpoint was signed.
    fn answer_once_durable(&self, request: &WitnessRequest) -> Result<String, JournalError> {
        let (size, origin) = (self.store.size(), self.origin.clone());
        let old = request.old.min(size);
        let path = consistency(&self.store, old, size)?;
        let note = match self.note_of_now() {
            Some(note) => note.to_owned(),
            None => Checkpoint::new(&origin, size, self.store.root()).sign(&self.identity)?,
        };
        let submission = Submission { old, path, note };
        let answer = ConsistencyAnswer { origin, nonce: request.nonce, submission };
        Ok(answer.sign(&self.origin, &self.identity)?)
    }

    /// The same without a question, for witnesses that have cosigned `old` records: a log that only
    /// grew needs none.
    ///
    /// # Errors
    /// As [`Journal::answer`].
    pub fn announce(&mut self, old: u64) -> Result<String, JournalError> {
        self.answer(&self.unasked(old))
    }

    /// The same of a record that is [covered](Journal::record_covered): to be said with its
    /// checkpoint, and no sooner.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn announce_covered(&self, old: u64) -> Result<String, JournalError> {
        self.answer_once_durable(&self.unasked(old))
    }

    fn unasked(&self, old: u64) -> WitnessRequest {
        WitnessRequest { origin: self.origin.clone(), nonce: Nonce::NONE, old }
    }

    /// The signed question to witnesses whether they have seen a newer log.
    ///
    /// # Errors
    /// Where the origin cannot name a key, or what it says is not on the disk.
    pub fn challenge(&self, nonce: Nonce) -> Result<String, JournalError> {
        self.make_durable()?;
        let (origin, size, root) = (self.origin.clone(), self.store.size(), self.store.root());
        Ok(Challenge { origin, nonce, size, root }.sign(&self.origin, &self.identity)?)
    }

    /// What the log's own key has signed in `note`.
    ///
    /// # Errors
    /// Where that is no checkpoint of this log.
    pub fn own_checkpoint(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let note = std::str::from_utf8(note).map_err(|_| CheckpointError::Text("it is no text"))?;
        let key = NoteKey::new(&self.origin, SignatureKind::Note, self.identity.public())?;
        Checkpoint::open(note, &key)
    }

    /// Whether this log has had `size` records with that root.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn has(&self, size: u64, root: TreeHash) -> Result<bool, JournalError> {
        Ok(size <= self.store.size() && root_of(&self.store, size)? == root)
    }

    /// Keeps a checkpoint of this log with the cosignatures under it, for proofs.
    ///
    /// # Errors
    /// Where it cannot be signed again or is not on the disk.
    pub fn keep_cosigned(
        &mut self,
        checkpoint: &Checkpoint,
        lines: &[WitnessLine],
    ) -> Result<(), JournalError> {
        // The same bytes as when it was signed first.
        let mut note = checkpoint.sign(&self.identity)?;
        lines.iter().for_each(|line| note.push_str(&line.line));
        Ok(self.store.keep_cosigned(&note)?)
    }
}
