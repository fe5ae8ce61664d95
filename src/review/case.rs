//! One thing that waits for two people: what a candidate and a control have in common.
//!
//! * Verdicts on both are checked and counted here and nowhere else, so that a control is answered
//!   as a candidate is until it is over.
//! * `E` is how it ends. [`Agreement`] says no more than that people have come to an end: what it
//!   means is for `E` to say, and only a candidate's makes an outcome of it.

use time::OffsetDateTime;

use super::verdict::{CandidateId, SignedVerdict};
use crate::judgement::{Confidence, Opinion};
use crate::watchlist::Reference;
use crate::watchlist::keys::KeyId;
use crate::watchlist::trust::{Role, Trust};

/// Most verdicts on one candidate.
pub const MAX_VERDICTS: usize = 3;
/// People who have to agree.
const AGREE: usize = 2;

/// Why a verdict does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// This device has published no such candidate, or its time was over long ago.
    #[error("the device knows no such candidate")]
    Unknown,
    /// The bytes that were judged are not those that were published.
    #[error("what was judged is not what the device published")]
    OtherPayload,
    /// The list is another one.
    #[error("the candidate is about another list")]
    OtherList,
    /// The key is no reviewer's any more.
    #[error("the key is not pinned as a reviewer's any more")]
    NotReviewer,
    /// The same person has judged it before.
    #[error("this person has judged the candidate before")]
    SamePerson,
    /// The device believes no keys for now.
    #[error("the device cannot read the keys of its people for now; send the verdict again later")]
    NoKeys,
    /// The device does not believe its clock: whether the time is over cannot be said.
    #[error("the device does not believe its clock for now; send the verdict again later")]
    NoClock,
    /// The envelope is a reviewer's, and the device cannot open it.
    #[error("the device cannot open the verdict: it was sealed to another key, or holds another")]
    Unopened,
    /// It was decided before; what is said now changes nothing.
    #[error("the candidate was decided before")]
    Decided,
}

/// A verdict that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedVerdict {
    /// Who gave it.
    pub reviewer: KeyId,
    /// What was said.
    pub opinion: Opinion,
    /// How sure the reviewer was.
    pub confidence: Confidence,
    /// By the reviewer's clock.
    pub judged_at: OffsetDateTime,
    /// See [`SignedVerdict::commitment`].
    pub commitment: [u8; 32],
}

/// What may be told of what waits: the same words for a candidate and for a control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which candidate.
    pub candidate: CandidateId,
    /// How many people have judged it.
    pub verdicts: usize,
    /// Whether it takes a third: two differ.
    pub third_needed: bool,
    /// Until when it can be judged.
    pub until: OffsetDateTime,
}

/// What people have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// Two say that it is the same person.
    Same,
    /// Two say that it is not, or that nobody was there.
    Another,
    /// Two cannot tell.
    CannotTell,
    /// No two of three agree.
    Nothing,
}

/// How something that people judge may end.
pub(super) trait CaseEnd: Copy {
    /// The end that people have come to.
    fn of(agreement: Agreement) -> Self;
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case<E> {
    pub candidate: CandidateId,
    /// SHA-256 of the bytes that may be judged.
    pub payloads: Vec<[u8; 32]>,
    pub list: Reference,
    pub version: u64,
    pub entry: Reference,
    pub until: OffsetDateTime,
    pub verdicts: Vec<CountedVerdict>,
    pub end: Option<E>,
}

impl<E: CaseEnd> Case<E> {
    /// Counts a verdict, at `now`, where it counts.
    pub fn judge(
        &mut self,
        verdict: &SignedVerdict,
        trust: &Trust,
        now: OffsetDateTime,
    ) -> Result<(), NotCounted> {
        let reviewer = verdict.reviewer();
        if self.end.is_some() {
            return Err(NotCounted::Decided);
        }
        // It may be judged a moment before somebody asks for what is over.
        if self.until <= now {
            return Err(NotCounted::Unknown);
        }
        if verdict.list != self.list || verdict.version != self.version {
            return Err(NotCounted::OtherList);
        }
        if !self.payloads.contains(&verdict.payload) {
            return Err(NotCounted::OtherPayload);
        }
        if trust.key(reviewer, Role::Reviewer).is_none() {
            return Err(NotCounted::NotReviewer);
        }
        self.forget_unpinned(trust);
        if self.verdicts.iter().any(|v| trust.same_person(Role::Reviewer, v.reviewer, reviewer)) {
            return Err(NotCounted::SamePerson);
        }
        self.verdicts.push(CountedVerdict {
            reviewer,
            opinion: verdict.opinion,
            confidence: verdict.confidence,
            judged_at: verdict.judged_at,
            commitment: verdict.commitment(),
        });
        self.end = agreement(&self.verdicts).map(E::of);
        Ok(())
    }

    /// Keys may have been rotated out since: what they said does not count any more.
    pub fn forget_unpinned(&mut self, trust: &Trust) {
        self.verdicts.retain(|v| trust.key(v.reviewer, Role::Reviewer).is_some());
    }

    /// Whether enough people have judged for an end, whatever they said.
    pub fn is_judged(&self) -> bool {
        self.verdicts.len() >= AGREE
    }

    /// Whether it is about a version of `list` through `through`, and about `entry`, where one is
    /// named.
    pub fn is_about(&self, list: &Reference, through: u64, entry: Option<&Reference>) -> bool {
        self.list == *list
            && self.version <= through
            && entry.is_none_or(|entry| self.entry == *entry)
    }

    /// What may be told while it is not over.
    pub fn waiting(&self) -> Waiting {
        Waiting {
            candidate: self.candidate,
            verdicts: self.verdicts.len(),
            third_needed: self.is_judged(),
            until: self.until,
        }
    }
}

fn agreement(verdicts: &[CountedVerdict]) -> Option<Agreement> {
    let said = |what| verdicts.iter().filter(|v| means(v.opinion) == what).count();
    let agreed = [Agreement::Same, Agreement::Another, Agreement::CannotTell]
        .into_iter()
        .find(|what| said(*what) >= AGREE);
    agreed.or((verdicts.len() >= MAX_VERDICTS).then_some(Agreement::Nothing))
}

/// What two of one opinion agree on.
fn means(opinion: Opinion) -> Agreement {
    match opinion {
        Opinion::Same => Agreement::Same,
        Opinion::NotSame | Opinion::NobodyThere => Agreement::Another,
        Opinion::CannotJudge => Agreement::CannotTell,
    }
}
