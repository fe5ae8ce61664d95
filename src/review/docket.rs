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

pub(super) mod codec;

use time::OffsetDateTime;

use super::case::{Agreement, Case, CaseEnd};
pub use super::case::{CountedVerdict, MAX_VERDICTS, NotCounted, Waiting};
use super::verdict::{CandidateId, SignedVerdict};
use crate::judgement::Outcome;
use crate::watchlist::trust::Trust;
use crate::watchlist::{CborError, Reference};

/// Most candidates that are remembered.
pub const MAX_CASES: usize = 256;
/// Most bytes of a docket.
pub const MAX_BYTES: usize = 256 * 1024;
/// Most forms of one event: as it was decided, and without its pictures for a broker that does not
/// take them. Which of them people see is not known beforehand.
pub const MAX_FORMS: usize = 2;
/// Most payloads of one candidate: the forms of its first event, and of one with better evidence.
pub const MAX_PAYLOADS: usize = 2 * MAX_FORMS;

/// There is no room for one more candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_CASES} candidates wait for two people to judge them, and no more are remembered")]
pub struct DocketFull;

/// A candidate that is about to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCase {
    /// Its name.
    pub candidate: CandidateId,
    /// SHA-256 of the event's bytes, in each form in which it may go out; [`MAX_FORMS`] at most.
    pub payloads: Vec<[u8; 32]>,
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

/// What there is to say of a candidate.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// It waits.
    Pending(Waiting),
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

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Docket {
    /// In the order in which they came.
    cases: Vec<Case<Outcome>>,
}

impl Docket {
    /// Remembers a candidate that is about to be published; its update where it is known already.
    ///
    /// # Errors
    /// Where there is no room: it must not be published then.
    pub fn add(&mut self, new: NewCase) -> Result<(), DocketFull> {
        if let Some(case) = self.cases.iter_mut().find(|c| c.candidate == new.candidate) {
            if case.payloads.len() + new.payloads.len() > MAX_PAYLOADS {
                return Err(DocketFull);
            }
            case.payloads.extend(new.payloads);
            return Ok(());
        }
        if self.cases.len() == MAX_CASES {
            // What is over is remembered for as long as there is room.
            let over = self.cases.iter().position(|case| case.end.is_some());
            self.cases.remove(over.ok_or(DocketFull)?);
        }
        self.cases.push(Case {
            candidate: new.candidate,
            payloads: new.payloads,
            list: new.list,
            version: new.version,
            entry: new.entry,
            until: new.until,
            verdicts: Vec::new(),
            end: None,
        });
        Ok(())
    }

    /// Takes a candidate back that was not published after all.
    pub fn take_back(&mut self, candidate: CandidateId, payloads: &[[u8; 32]]) {
        for case in self.cases.iter_mut().filter(|case| case.candidate == candidate) {
            case.payloads.retain(|known| !payloads.contains(known));
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
        let notices = over.filter_map(|case| case.close(Outcome::Expired)).collect();
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
        let concerned = self.cases.iter_mut().filter(|case| case.is_about(list, through, entry));
        concerned.filter_map(|case| case.close(Outcome::Withdrawn)).collect()
    }

    /// The candidates that are remembered, decided or not.
    pub fn ids(&self) -> impl Iterator<Item = CandidateId> {
        self.cases.iter().map(|case| case.candidate)
    }

    /// Whether one of them was published as the bytes of which this is the SHA-256.
    pub fn has_payload(&self, payload: &[u8; 32]) -> bool {
        self.cases.iter().any(|case| case.payloads.contains(payload))
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.cases.len() == MAX_CASES && self.cases.iter().all(|case| case.end.is_none())
    }

    /// How many candidates wait.
    pub fn pending(&self) -> usize {
        self.cases.iter().filter(|case| case.end.is_none()).count()
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

impl CaseEnd for Outcome {
    fn of(agreement: Agreement) -> Self {
        match agreement {
            Agreement::Same => Self::Confirmed,
            Agreement::Another => Self::Refuted,
            Agreement::CannotTell | Agreement::Nothing => Self::Undecided,
        }
    }
}

impl Case<Outcome> {
    /// Ends it undecided by people, where it is not over.
    fn close(&mut self, outcome: Outcome) -> Option<Notice> {
        if self.end.is_some() {
            return None;
        }
        self.end = Some(outcome);
        // One verdict alone is nobody's business.
        self.verdicts.clear();
        Some(self.notice())
    }

    /// How it stands.
    fn notice(&self) -> Notice {
        let Some(outcome) = self.end else { return Notice::Pending(self.waiting()) };
        let (list, entry) = (self.list.clone(), self.entry.clone());
        Notice::Over {
            candidate: self.candidate,
            about: CaseAbout { list, version: self.version, entry, until: self.until },
            outcome,
            verdicts: self.verdicts.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
