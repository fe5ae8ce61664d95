//! The candidates of one device that wait for verdicts, and what became of them.
//!
//! ```text
//! pending --two people agree--> confirmed | refuted | undecided
//!    |----three people, no two agree--> undecided
//!    |----its time is over-----------> expired
//!    `----its list or entry is revoked--> withdrawn
//! ```
//!
//! * **Two different people**: keys of one person count once, and a key that the trust file does
//!   not pin any more when it is decided does not count at all.
//! * **Blind**: what is given out before the decision is how many verdicts there are and whether a
//!   third one is needed, never what one of them says. That a third is needed tells that two
//!   differ, and not how.
//! * **Never forgotten**: where there is no room for one more candidate, that is said
//!   ([`DocketFull`]) and the candidate must not be published. What was decided is remembered until
//!   its time is over, so that a verdict that comes again changes nothing.
//! * By the device's clock alone it is judged whether a candidate's time is over.
//!
//! Sans-IO: what happens and the time in, what to say of it out. [`Docket::to_bytes`] is what has
//! to survive a restart before anything that was said may be acknowledged.

mod codec;

use time::OffsetDateTime;

use super::verdict::{CandidateId, SignedVerdict};
use crate::judgement::{Confidence, Opinion, Outcome};
use crate::watchlist::keys::KeyId;
use crate::watchlist::trust::{Role, Trust};
use crate::watchlist::{CborError, Reference};

/// Most candidates that are remembered.
pub const MAX_CASES: usize = 256;
/// Most bytes of a docket.
pub const MAX_BYTES: usize = 256 * 1024;
/// Most verdicts on one candidate.
pub const MAX_VERDICTS: usize = 3;
/// Most events of one candidate: the first, and one with better evidence.
pub const MAX_PAYLOADS: usize = 2;
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
    /// It was decided before; what is said now changes nothing.
    #[error("the candidate was decided before")]
    Decided,
}

/// There is no room for one more candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_CASES} candidates wait for two people to judge them, and no more are remembered")]
pub struct DocketFull;

/// A candidate that is about to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCase {
    /// Its name.
    pub candidate: CandidateId,
    /// SHA-256 of the event's bytes.
    pub payload: [u8; 32],
    /// The list that it is about.
    pub list: Reference,
    /// Its version.
    pub version: u64,
    /// The entry.
    pub entry: Reference,
    /// From then on it cannot be judged any more.
    pub until: OffsetDateTime,
}

/// What a candidate is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseAbout {
    /// The list.
    pub list: Reference,
    /// Its version.
    pub version: u64,
    /// The entry.
    pub entry: Reference,
    /// From then on it cannot be judged any more.
    pub until: OffsetDateTime,
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

/// What there is to say of a candidate.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// It waits: so many verdicts are in; a third person is needed where two differ.
    Pending {
        /// Which candidate.
        candidate: CandidateId,
        /// How many people have judged it.
        verdicts: usize,
        /// Whether it takes a third.
        third_needed: bool,
        /// Until when it can be judged.
        until: OffsetDateTime,
    },
    /// It is over, and what each has said may be known. An expired or withdrawn candidate keeps to
    /// itself what was said of it.
    Over {
        /// Which candidate.
        candidate: CandidateId,
        /// What it was about.
        about: CaseAbout,
        /// How.
        outcome: Outcome,
        /// In the order in which they came.
        verdicts: Vec<CountedVerdict>,
    },
}

/// What became of a verdict.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// It counts, and this follows.
    Counts(Notice),
    /// It does not count, and nothing changed.
    Not {
        /// Why.
        why: NotCounted,
        /// How the candidate stands, where it is known: whoever asks again is answered again.
        standing: Option<Notice>,
    },
}

#[derive(Debug, Clone, PartialEq)]
struct Case {
    candidate: CandidateId,
    payloads: Vec<[u8; 32]>,
    list: Reference,
    version: u64,
    entry: Reference,
    until: OffsetDateTime,
    verdicts: Vec<CountedVerdict>,
    outcome: Option<Outcome>,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Docket {
    /// In the order in which they came.
    cases: Vec<Case>,
}

impl Docket {
    /// Remembers a candidate that is about to be published; its update where it is known already.
    ///
    /// # Errors
    /// Where there is no room: it must not be published then.
    pub fn add(&mut self, new: NewCase) -> Result<(), DocketFull> {
        if let Some(case) = self.cases.iter_mut().find(|c| c.candidate == new.candidate) {
            if case.payloads.len() == MAX_PAYLOADS {
                return Err(DocketFull);
            }
            case.payloads.push(new.payload);
            return Ok(());
        }
        if self.cases.len() == MAX_CASES {
            // What is over is remembered for as long as there is room.
            let over = self.cases.iter().position(|case| case.outcome.is_some());
            self.cases.remove(over.ok_or(DocketFull)?);
        }
        self.cases.push(Case {
            candidate: new.candidate,
            payloads: vec![new.payload],
            list: new.list,
            version: new.version,
            entry: new.entry,
            until: new.until,
            verdicts: Vec::new(),
            outcome: None,
        });
        Ok(())
    }

    /// Takes a candidate back that was not published after all.
    pub fn take_back(&mut self, candidate: CandidateId, payload: &[u8; 32]) {
        for case in self.cases.iter_mut().filter(|case| case.candidate == candidate) {
            case.payloads.retain(|known| known != payload);
        }
        self.cases.retain(|case| !case.payloads.is_empty());
    }

    /// Counts a verdict, at `now`, where it counts.
    pub fn judge(&mut self, verdict: &SignedVerdict, trust: &Trust, now: OffsetDateTime) -> Judged {
        let Some(case) = self.cases.iter_mut().find(|c| c.candidate == verdict.candidate) else {
            return Judged::Not { why: NotCounted::Unknown, standing: None };
        };
        match case.judge(verdict, trust, now) {
            Ok(()) => Judged::Counts(case.notice()),
            Err(why) => Judged::Not { why, standing: Some(case.notice()) },
        }
    }

    /// How a candidate stands, where it is known.
    pub fn standing(&self, candidate: CandidateId) -> Option<Notice> {
        self.cases.iter().find(|case| case.candidate == candidate).map(Case::notice)
    }

    /// Ends what is over at `now`, and forgets what was decided long enough ago.
    pub fn expire(&mut self, now: OffsetDateTime) -> Vec<Notice> {
        let over = self.cases.iter_mut().filter(|case| case.until <= now);
        let notices = over.filter_map(|case| case.end(Outcome::Expired)).collect();
        self.cases.retain(|case| case.until > now);
        notices
    }

    /// Ends what is about versions of `list` through `through`, or about `entry` of them.
    pub fn withdraw(
        &mut self,
        list: &Reference,
        through: u64,
        entry: Option<&Reference>,
    ) -> Vec<Notice> {
        let concerned = |case: &&mut Case| {
            case.list == *list
                && case.version <= through
                && entry.is_none_or(|entry| case.entry == *entry)
        };
        let concerned = self.cases.iter_mut().filter(concerned);
        concerned.filter_map(|case| case.end(Outcome::Withdrawn)).collect()
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.cases.len() == MAX_CASES && self.cases.iter().all(|case| case.outcome.is_none())
    }

    /// How many candidates wait.
    pub fn pending(&self) -> usize {
        self.cases.iter().filter(|case| case.outcome.is_none()).count()
    }

    /// What has to survive a restart. Holds what reviewers have said: for the owner's eyes alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::write(self)
    }

    /// What [`Docket::to_bytes`] wrote.
    ///
    /// # Errors
    /// Where it was not that.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocketError> {
        codec::read(bytes)
    }
}

/// Why bytes are no docket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocketError {
    /// Not the encoding.
    #[error("the docket of reviews is damaged: {0}")]
    Cbor(#[from] CborError),
    /// Of a newer program.
    #[error("the docket of reviews has version {0}; a newer watchpost reads it")]
    Version(u64),
    /// A value that means nothing.
    #[error("the docket of reviews is damaged: it has no known {0}")]
    Unknown(&'static str),
}

impl Case {
    fn judge(
        &mut self,
        verdict: &SignedVerdict,
        trust: &Trust,
        now: OffsetDateTime,
    ) -> Result<(), NotCounted> {
        let reviewer = verdict.reviewer();
        if self.outcome.is_some() {
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
        // Keys may have been rotated out since: what they said does not count any more.
        self.verdicts.retain(|v| trust.key(v.reviewer, Role::Reviewer).is_some());
        if self.verdicts.iter().any(|v| trust.same_person(v.reviewer, reviewer)) {
            return Err(NotCounted::SamePerson);
        }
        self.verdicts.push(CountedVerdict {
            reviewer,
            opinion: verdict.opinion,
            confidence: verdict.confidence,
            judged_at: verdict.judged_at,
            commitment: verdict.commitment(),
        });
        let said = |outcome| self.verdicts.iter().filter(|v| means(v.opinion) == outcome).count();
        let agreed = [Outcome::Confirmed, Outcome::Refuted, Outcome::Undecided]
            .into_iter()
            .find(|outcome| said(*outcome) >= AGREE);
        let split = self.verdicts.len() >= MAX_VERDICTS;
        self.outcome = agreed.or(split.then_some(Outcome::Undecided));
        Ok(())
    }

    /// Ends it undecided by people, where it is not over.
    fn end(&mut self, outcome: Outcome) -> Option<Notice> {
        if self.outcome.is_some() {
            return None;
        }
        self.outcome = Some(outcome);
        // One verdict alone is nobody's business.
        self.verdicts.clear();
        Some(self.notice())
    }

    /// How it stands.
    fn notice(&self) -> Notice {
        match self.outcome {
            Some(outcome) => {
                let (list, entry) = (self.list.clone(), self.entry.clone());
                Notice::Over {
                    candidate: self.candidate,
                    about: CaseAbout { list, version: self.version, entry, until: self.until },
                    outcome,
                    verdicts: self.verdicts.clone(),
                }
            }
            None => Notice::Pending {
                candidate: self.candidate,
                verdicts: self.verdicts.len(),
                third_needed: self.verdicts.len() >= AGREE,
                until: self.until,
            },
        }
    }
}

/// What two of one opinion decide.
fn means(opinion: Opinion) -> Outcome {
    match opinion {
        Opinion::Same => Outcome::Confirmed,
        Opinion::NotSame | Opinion::NobodyThere => Outcome::Refuted,
        Opinion::CannotJudge => Outcome::Undecided,
    }
}

#[cfg(test)]
mod tests;
