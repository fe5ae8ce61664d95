//! What a device knows of its witnesses: who has seen its log, and whether it is the newest.
//! Sans-IO: statements and the time in, what is missing out.
//!
//! * Witnesses are people: two pinned keys of one person count once.
//! * **Fresh** is a log only once `witnesses_needed` of them have answered a nonce of this process,
//!   and none has shown a longer log or another one that the device itself has signed. Silence
//!   proves nothing, and a checkpoint that a broker keeps neither.
//! * **Witnessed** is a log while a tree that as many have cosigned is not older than the limit.
//! * Where the trust file asks for no witness nothing is missing; what pinned witnesses send is
//!   kept all the same.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;

use super::checkpoint::Checkpoint;
use super::dialogue::{FreshnessAnswer, Nonce, WitnessLine};
use super::tree::TreeHash;
use crate::clock::Now;
use crate::watchlist::Trust;
use crate::watchlist::keys::PublicKey;
use crate::watchlist::text::stamp;
use crate::watchlist::trust::Role;

/// How often a question is repeated that too few have answered.
pub const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How often a log that was proved fresh is asked about again.
pub const ASK_EVERY: Duration = Duration::from_secs(3600);
/// Trees for which cosignatures are gathered at a time: the newest.
const GATHERED: usize = 8;

/// The witnesses that a trust file pins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PinnedWitnesses {
    /// How many people are needed.
    needed: usize,
    keys: Vec<PublicKey>,
    /// For each key the first one of the same person.
    people: Vec<usize>,
}

impl PinnedWitnesses {
    /// Those of `trust`.
    pub fn of(trust: &Trust) -> Self {
        let pinned: Vec<_> =
            trust.keys().iter().filter(|key| key.roles().contains(&Role::Witness)).collect();
        let first =
            |key| pinned.iter().position(|other| trust.same_person(Role::Witness, other.id, key));
        Self {
            needed: trust.audit().witnesses_needed,
            people: pinned.iter().map(|key| first(key.id).expect("itself")).collect(),
            keys: pinned.iter().map(|key| key.public).collect(),
        }
    }

    /// Their keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many people are needed; none where the file does not say.
    pub fn needed(&self) -> usize {
        self.needed
    }

    fn person(&self, key: &PublicKey) -> Option<usize> {
        self.keys.iter().position(|k| k == key).map(|at| self.people[at])
    }

    /// Whether those to whom `keys` belong are as many as are needed, and one at least.
    pub fn are_enough<'a>(&self, keys: impl Iterator<Item = &'a PublicKey>) -> bool {
        self.people(keys) >= self.needed.max(1)
    }

    fn people<'a>(&self, keys: impl Iterator<Item = &'a PublicKey>) -> usize {
        let mut people: Vec<usize> = keys.filter_map(|key| self.person(key)).collect();
        people.sort_unstable();
        people.dedup();
        people.len()
    }
}

/// What is missing of witnesses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessShortfall {
    /// Too few have said that they know of no newer log.
    Unproved {
        /// People who have answered.
        answered: usize,
        /// People who are needed.
        needed: usize,
    },
    /// Too few have cosigned the log for too long.
    Unwitnessed {
        /// The last time that enough had, or the start.
        since: OffsetDateTime,
        /// People who are needed.
        needed: usize,
    },
}

impl fmt::Display for WitnessShortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unproved { answered, needed } => write!(
                f,
                "the log's freshness is unproved: {answered} of {needed} witnesses have said since \
                 the start that they know of no newer one"
            ),
            Self::Unwitnessed { since, needed } => write!(
                f,
                "{needed} witnesses have not cosigned the audit log since {}",
                stamp(since)
            ),
        }
    }
}

/// What an answer to the device's question means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreshnessVerdict {
    /// Of another question, another log, or about a log that this device has not signed.
    Ignored,
    /// One witness more knows of nothing newer.
    Counted,
    /// Enough do.
    Proved,
    /// The device has signed a log that it does not have any more.
    RolledBack,
}

/// A tree, and who has cosigned it.
#[derive(Debug)]
struct CosignedTree {
    checkpoint: Checkpoint,
    lines: Vec<WitnessLine>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Witnessed {
    witnesses: PinnedWitnesses,
    /// What was asked last, and when on the monotonic clock.
    asked: Option<(Nonce, Duration)>,
    answered: Vec<PublicKey>,
    /// Of this process.
    proved: bool,
    /// The last time that enough had cosigned, or the start.
    cosigned_at: OffsetDateTime,
    /// Oldest first.
    gathered: VecDeque<CosignedTree>,
    /// Records of the tree that was kept last.
    kept: u64,
}

impl Witnessed {
    /// Nothing is proved yet. `kept`: the records below the cosigned checkpoint that is kept, and
    /// when it was made, as far as there is one.
    pub fn new(witnesses: PinnedWitnesses, kept: Option<(u64, OffsetDateTime)>, now: Now) -> Self {
        let cosigned_at = kept.map(|(_, at)| at);
        Self {
            witnesses,
            asked: None,
            answered: Vec::new(),
            proved: false,
            cosigned_at: cosigned_at.filter(|at| *at <= now.wall).unwrap_or(now.wall),
            gathered: VecDeque::new(),
            kept: kept.map_or(0, |(size, _)| size),
        }
    }

    /// Who they are.
    pub fn witnesses(&self) -> &PinnedWitnesses {
        &self.witnesses
    }

    /// Records of the tree that enough have cosigned last; zero for none.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Others from now on. What was proved stays so.
    pub fn set_witnesses(&mut self, witnesses: PinnedWitnesses) {
        self.answered.retain(|key| witnesses.person(key).is_some());
        self.witnesses = witnesses;
    }

    /// Whether witnesses are to be asked at `now`, and with which nonce. `draw` makes a new one; a
    /// question that is only repeated keeps its own, so that late answers count.
    pub fn asks(&mut self, now: Now, draw: impl FnOnce() -> Option<Nonce>) -> Option<Nonce> {
        if self.witnesses.keys.is_empty() {
            return None;
        }
        let open = self.asked.filter(|_| self.answers() < self.witnesses.needed.max(1));
        let every = if open.is_some() && !self.proved { ASK_AGAIN } else { ASK_EVERY };
        if self.asked.is_some_and(|(_, at)| now.monotonic.saturating_sub(at) < every) {
            return None;
        }
        let nonce = match open.filter(|_| !self.proved) {
            Some((nonce, _)) => nonce,
            None => {
                self.answered.clear();
                draw()?
            }
        };
        self.asked = Some((nonce, now.monotonic));
        Some(nonce)
    }

    fn answers(&self) -> usize {
        self.witnesses.people(self.answered.iter())
    }

    /// The `answer` of the witness `by`, whose signature holds. `has` says whether the device's log
    /// has had so many records with that root, `identity` is its key.
    pub fn answer(
        &mut self,
        by: PublicKey,
        answer: &FreshnessAnswer,
        has: impl FnOnce(u64, TreeHash) -> bool,
        identity: &PublicKey,
    ) -> FreshnessVerdict {
        let asked = self.asked.is_some_and(|(nonce, _)| nonce == answer.nonce);
        if !asked || self.witnesses.person(&by).is_none() {
            return FreshnessVerdict::Ignored;
        }
        // Who has never seen the log knows of no newer one.
        if answer.size > 0 && !has(answer.size, answer.root) {
            return if answer.is_signed_by(identity) {
                FreshnessVerdict::RolledBack
            } else {
                FreshnessVerdict::Ignored
            };
        }
        if !self.answered.contains(&by) {
            self.answered.push(by);
        }
        if self.answers() < self.witnesses.needed.max(1) {
            return FreshnessVerdict::Counted;
        }
        self.proved = true;
        FreshnessVerdict::Proved
    }

    /// Gathers cosignatures under a tree that the device's log has had. All lines under that tree
    /// where they are to be kept: enough have cosigned, and no later one was kept before.
    pub fn cosigned(
        &mut self,
        checkpoint: &Checkpoint,
        lines: Vec<WitnessLine>,
        now: Now,
    ) -> Option<&[WitnessLine]> {
        if checkpoint.size < self.kept {
            return None;
        }
        let at = match self.gathered.iter().position(|tree| tree.checkpoint == *checkpoint) {
            Some(at) => at,
            None => {
                if self.gathered.len() == GATHERED {
                    self.gathered.pop_front();
                }
                let checkpoint = checkpoint.clone();
                self.gathered.push_back(CosignedTree { checkpoint, lines: Vec::new() });
                self.gathered.len() - 1
            }
        };
        let before = self.gathered[at].lines.len();
        for line in lines {
            let known = self.witnesses.person(&line.witness).is_some();
            if known && self.gathered[at].lines.iter().all(|l| l.witness != line.witness) {
                self.gathered[at].lines.push(line);
            }
        }
        let tree = &self.gathered[at];
        let enough = self.witnesses.are_enough(tree.lines.iter().map(|line| &line.witness));
        if tree.lines.len() == before || !enough {
            return None;
        }
        // What was cosigned before, said again, says nothing of now.
        if checkpoint.size > self.kept {
            (self.kept, self.cosigned_at) = (checkpoint.size, now.wall);
        }
        Some(&self.gathered[at].lines)
    }

    /// Whether enough witnesses have said since the start that they know of no newer log.
    pub fn unproved(&self) -> Option<WitnessShortfall> {
        let (answered, needed) = (self.answers(), self.witnesses.needed);
        (needed > 0 && !self.proved).then_some(WitnessShortfall::Unproved { answered, needed })
    }

    /// Whether the last tree that enough have cosigned is older than `limit` at `now`.
    pub fn unwitnessed(&self, limit: time::Duration, now: Now) -> Option<WitnessShortfall> {
        let (since, needed) = (self.cosigned_at, self.witnesses.needed);
        (needed > 0 && now.wall - since >= limit)
            .then_some(WitnessShortfall::Unwitnessed { since, needed })
    }
}

#[cfg(test)]
mod tests;
