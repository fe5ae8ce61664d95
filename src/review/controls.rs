//! The controls of one device: pairs that a desk shows as candidates, and that are none.
//!
//! ```text
//! registered --two have judged, or three where two differ--> judged
//!    |----its time is over--------------------------------> time over
//!    `----its list or entry is revoked--------------------> withdrawn
//! ```
//!
//! * **Never a candidate's**: they lie apart from the docket, [`MAX_WAITING`] of them wait at most,
//!   and none takes a candidate's place.
//! * **Never a candidate**: an id that the device has published, or may have, is refused, and so
//!   are the bytes of an event of its own. Whoever looks for what a verdict is about asks the
//!   docket first.
//! * **Never an outcome**: what a control comes to is a [`ControlScore`], which nothing takes that
//!   takes an outcome.
//! * Verdicts are counted by the code that counts those on candidates, and answered in its words.
//! * **Scored at the end, and not before**: where two people have judged it and agree, where three
//!   have, or where two have and its time is over. Of one verdict alone nothing is told, ever. Nor
//!   of what was withdrawn.
//! * A control is remembered until its time is over, so that a registration or a verdict that comes
//!   again changes nothing.
//! * Not found out: bytes of an event that was published long ago. A desk that wants to show a face
//!   under a control's id can write it down in other bytes.
//!
//! Sans-IO, as the docket is. [`ControlDocket::to_bytes`] has to survive a restart before anything
//! that was said may be acknowledged; what was published is not in it ([`ControlDocket::begin`]).

mod codec;

use std::collections::VecDeque;

use time::{Duration, OffsetDateTime};

use super::case::{Agreement, Case, CaseEnd, NotCounted, Waiting};
use super::control::SignedControl;
use super::docket::{Docket, DocketError};
use super::verdict::{CandidateId, SignedVerdict};
use crate::judgement::Opinion;
use crate::watchlist::Reference;
use crate::watchlist::cbor::CborWriter;
use crate::watchlist::keys::KeyId;
use crate::watchlist::seal::Recipient;
use crate::watchlist::trust::Trust;

/// Most controls that wait to be judged.
pub const MAX_WAITING: usize = 32;
/// Most controls that are remembered.
pub const MAX_CONTROLS: usize = 128;
/// Most bytes of a control docket.
pub const MAX_BYTES: usize = 128 * 1024;
/// How far in the future the time in a control's id may be: a desk registers it beforehand.
pub const MAX_AHEAD: Duration = Duration::minutes(15);
/// What was published last is known one by one, in each of its forms; of what came before, the time
/// is.
const MAX_PUBLISHED: usize = 1024;
/// For so long after its deadline a control's end can be asked for again.
const REMEMBERED: Duration = Duration::days(7);

/// Why a control is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRegistered {
    /// Nothing is known of what was published so far: the clock is not believed, or nobody reviews.
    #[error("the device has no clock that it believes, or nobody who reviews")]
    NotReady,
    /// The id is not one as devices make them.
    #[error("the id is no UUID of version 7")]
    NotAnId,
    /// The device has published this id, or may have: it began to remember after the id's time.
    #[error("the device has published this id, or may have")]
    PublishedId,
    /// The device has published these bytes.
    #[error("the device has published these bytes")]
    PublishedEvent,
    /// The id's time is too far away.
    #[error("the time in the id is too far in the future")]
    TooFar,
    /// Another control has this id.
    #[error("another control has this id")]
    OtherControl,
    /// The list is not the one in force, or has no such entry.
    #[error("the list in force is another one, or has no such entry")]
    OtherList,
    /// Its deadline has passed.
    #[error("its time is over")]
    Over,
    /// Its deadline is later than a candidate's would be.
    #[error("its deadline is later than a candidate's would be")]
    TooLong,
    /// Too many wait, or are remembered.
    #[error("no more controls are remembered")]
    Full,
}

/// How a control ended. None of these is an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlEnd {
    /// Enough people have judged it.
    Judged,
    /// Its time was over.
    TimeOver,
    /// Its list or its entry was revoked.
    Withdrawn,
}

impl ControlEnd {
    /// All of them, by number.
    pub const ALL: [Self; 3] = [Self::Judged, Self::TimeOver, Self::Withdrawn];

    /// As it is stored, from 1.
    pub const fn number(self) -> u64 {
        match self {
            Self::Judged => 1,
            Self::TimeOver => 2,
            Self::Withdrawn => 3,
        }
    }

    fn of_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.number() == number)
    }
}

impl CaseEnd for ControlEnd {
    /// Whatever people agree on: of what is known nothing is to be decided.
    fn of(_: Agreement) -> Self {
        Self::Judged
    }
}

/// For each verdict on a control, whether it said that it is the same person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlScore {
    said: Vec<(KeyId, bool)>,
}

impl ControlScore {
    /// In the order in which they came.
    pub fn said(&self) -> &[(KeyId, bool)] {
        &self.said
    }

    /// What is sealed to the desk: `scores` of `config/schemas/control.cddl`.
    pub fn to_bytes(&self, device: &str, control: CandidateId) -> Vec<u8> {
        let mut w = CborWriter::default();
        w.map(4).key(0).uint(1).key(1).text(device).key(2).bytes(&control.0);
        w.key(3).array(self.said.len());
        for (reviewer, same) in &self.said {
            w.array(2).bytes(&reviewer.to_bytes()).uint((*same).into());
        }
        w.finish()
    }
}

/// A control that is over.
#[derive(Debug, Clone)]
pub struct ControlOver {
    /// Which.
    pub control: CandidateId,
    /// How it ended.
    pub end: ControlEnd,
    /// What was said; absent where fewer than two people have judged it, and where it was
    /// withdrawn.
    pub score: Option<ControlScore>,
    /// For whose eyes.
    pub scores_to: Recipient,
}

/// What there is to say of a control.
#[derive(Debug, Clone)]
pub enum ControlNotice {
    /// It waits, and looks like a candidate.
    Waiting(Waiting),
    /// It is over.
    Over(ControlOver),
}

/// What became of a verdict on a control.
#[derive(Debug, Clone)]
pub enum JudgedControl {
    /// It counts, and this follows.
    Counts(ControlNotice),
    /// It does not count, and nothing changed.
    Not {
        /// Why.
        why: NotCounted,
        /// How the control stands.
        standing: ControlNotice,
    },
}

/// What became of a registration.
#[derive(Debug, Clone)]
pub enum Registered {
    /// It is known from now on.
    New(Waiting),
    /// It was known before, and stands like this.
    Before(ControlNotice),
}

/// What a registration is held against.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    /// The device's time.
    pub now: OffsetDateTime,
    /// In which a candidate has to be judged.
    pub deadline: Duration,
    /// What the device has published and remembers.
    pub candidates: &'a Docket,
    /// Whether the list in force is this one, in this version, and has this entry.
    pub in_force: bool,
}

#[derive(Debug, Clone)]
struct Control {
    case: Case<ControlEnd>,
    scores_to: Recipient,
    /// SHA-256 of the registration.
    registration: [u8; 32],
}

/// What the device has published, so that no control is called the same.
#[derive(Debug, Clone, Default)]
struct Published {
    /// An id of this time, or of before, may have been published: milliseconds since 1970. Absent
    /// while nothing is known.
    since: Option<u64>,
    /// Ids, and digests of their events.
    recent: VecDeque<(CandidateId, [u8; 32])>,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct ControlDocket {
    /// In the order in which they came.
    controls: Vec<Control>,
    published: Published,
}

impl ControlDocket {
    /// From `now` on what is published is remembered; nothing where it is already. `candidates` are
    /// those of before: the clock may have been put back since.
    pub fn begin(&mut self, now: OffsetDateTime, candidates: &Docket) {
        if self.published.since.is_none() {
            let known = candidates.ids().filter_map(time_of).max();
            self.published.since = Some(milliseconds(now).max(known.unwrap_or(0)));
        }
    }

    /// Candidates are not remembered any more: until [`ControlDocket::begin`] no control is taken.
    pub fn cease(&mut self) {
        self.published.since = None;
    }

    /// Takes note of an event that is about to be published.
    pub fn publish(&mut self, candidate: CandidateId, payload: [u8; 32]) {
        let Published { since, recent } = &mut self.published;
        if recent.len() == MAX_PUBLISHED
            && let Some((oldest, _)) = recent.pop_front()
        {
            *since = since.map(|since| since.max(time_of(oldest).unwrap_or(0)));
        }
        recent.push_back((candidate, payload));
    }

    /// Takes a control.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn register(
        &mut self,
        new: &SignedControl,
        admission: &Admission<'_>,
    ) -> Result<Registered, NotRegistered> {
        if let Some(known) = self.controls.iter().find(|c| c.case.candidate == new.id) {
            return match known.registration == new.digest() {
                true => Ok(Registered::Before(known.notice())),
                false => Err(NotRegistered::OtherControl),
            };
        }
        self.admit(new, admission)?;
        let waiting = self.controls.iter().filter(|c| c.case.end.is_none()).count();
        if waiting >= MAX_WAITING {
            return Err(NotRegistered::Full);
        }
        if self.controls.len() >= MAX_CONTROLS {
            // Only what can neither be judged nor registered again makes room.
            let past = |c: &Control| c.case.end.is_some() && c.case.until <= admission.now;
            let past = self.controls.iter().position(past).ok_or(NotRegistered::Full)?;
            self.controls.remove(past);
        }
        let case = Case {
            candidate: new.id,
            payloads: vec![new.payload],
            list: new.list.clone(),
            version: new.version,
            entry: new.entry.clone(),
            until: new.until,
            verdicts: Vec::new(),
            end: None,
        };
        let registered = Registered::New(case.waiting());
        let (scores_to, registration) = (new.scores_to.clone(), new.digest());
        self.controls.push(Control { case, scores_to, registration });
        Ok(registered)
    }

    fn admit(&self, new: &SignedControl, admission: &Admission<'_>) -> Result<(), NotRegistered> {
        let Admission { now, deadline, candidates, in_force } = *admission;
        let Published { since: Some(since), recent } = &self.published else {
            return Err(NotRegistered::NotReady);
        };
        let at = time_of(new.id).ok_or(NotRegistered::NotAnId)?;
        if new.until <= now {
            return Err(NotRegistered::Over);
        }
        let by_now = recent.iter().any(|(id, _)| *id == new.id);
        if at <= *since || by_now || candidates.ids().any(|id| id == new.id) {
            return Err(NotRegistered::PublishedId);
        }
        let seen = recent.iter().any(|(_, payload)| *payload == new.payload);
        if seen || candidates.has_payload(&new.payload) {
            return Err(NotRegistered::PublishedEvent);
        }
        if at > milliseconds(now.saturating_add(MAX_AHEAD)) {
            return Err(NotRegistered::TooFar);
        }
        if new.until > now.saturating_add(MAX_AHEAD).saturating_add(deadline) {
            return Err(NotRegistered::TooLong);
        }
        if in_force { Ok(()) } else { Err(NotRegistered::OtherList) }
    }

    /// Takes a control back whose registration left no trace.
    pub fn take_back(&mut self, control: CandidateId) {
        self.controls.retain(|c| c.case.candidate != control);
    }

    /// Counts a verdict, at `now`, where it counts; `None` where it is about no control.
    pub fn judge(
        &mut self,
        verdict: &SignedVerdict,
        trust: &Trust,
        now: OffsetDateTime,
    ) -> Option<JudgedControl> {
        let control = self.controls.iter_mut().find(|c| c.case.candidate == verdict.candidate)?;
        Some(match control.case.judge(verdict, trust, now) {
            Ok(()) => JudgedControl::Counts(control.notice()),
            Err(why) => JudgedControl::Not { why, standing: control.notice() },
        })
    }

    /// How a control stands, where it is known.
    pub fn standing(&self, control: CandidateId) -> Option<ControlNotice> {
        self.controls.iter().find(|c| c.case.candidate == control).map(Control::notice)
    }

    /// Whether a control ends at `now`: then [`ControlDocket::expire`] needs the keys.
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        self.controls.iter().any(|c| c.case.end.is_none() && c.case.until <= now)
    }

    /// Ends what is over at `now`, and forgets what was over long ago. Where no keys are believed
    /// nothing that was said is told.
    pub fn expire(&mut self, now: OffsetDateTime, trust: Option<&Trust>) -> Vec<ControlOver> {
        let over = |c: &&mut Control| c.case.end.is_none() && c.case.until <= now;
        let ended = self.controls.iter_mut().filter(over).map(|control| {
            match trust {
                Some(trust) => control.case.forget_unpinned(trust),
                None => control.case.verdicts.clear(),
            }
            if !control.case.is_judged() {
                control.case.verdicts.clear();
            }
            control.ended(ControlEnd::TimeOver)
        });
        let ended = ended.collect();
        self.controls.retain(|c| c.case.until.saturating_add(REMEMBERED) > now);
        ended
    }

    /// Ends what is about versions of `list` through `through`, or about `entry` of them.
    pub fn withdraw(
        &mut self,
        list: &Reference,
        through: u64,
        entry: Option<&Reference>,
    ) -> Vec<ControlOver> {
        let concerned = self
            .controls
            .iter_mut()
            .filter(|c| c.case.end.is_none() && c.case.is_about(list, through, entry));
        let end = |control: &mut Control| {
            control.case.verdicts.clear();
            control.ended(ControlEnd::Withdrawn)
        };
        concerned.map(end).collect()
    }

    /// How many wait to be judged.
    pub fn waiting(&self) -> usize {
        self.controls.iter().filter(|c| c.case.end.is_none()).count()
    }

    /// What has to survive a restart. Holds what reviewers have said: for the owner's eyes alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::write(self)
    }

    /// What [`ControlDocket::to_bytes`] wrote.
    ///
    /// # Errors
    /// Where it was not that.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocketError> {
        codec::read(bytes)
    }
}

impl Control {
    fn ended(&mut self, end: ControlEnd) -> ControlOver {
        self.case.end = Some(end);
        self.over(end)
    }

    fn over(&self, end: ControlEnd) -> ControlOver {
        // After the end there are verdicts only where they are scored.
        let score = self.case.is_judged().then(|| ControlScore {
            said: self
                .case
                .verdicts
                .iter()
                .map(|v| (v.reviewer, v.opinion == Opinion::Same))
                .collect(),
        });
        let scores_to = self.scores_to.clone();
        ControlOver { control: self.case.candidate, end, score, scores_to }
    }

    fn notice(&self) -> ControlNotice {
        match self.case.end {
            None => ControlNotice::Waiting(self.case.waiting()),
            Some(end) => ControlNotice::Over(self.over(end)),
        }
    }
}

/// The milliseconds since 1970 in a UUID of version 7 (RFC 9562); `None` where it is another.
fn time_of(id: CandidateId) -> Option<u64> {
    let bytes = id.0;
    let is_7 = bytes[6] >> 4 == 7 && bytes[8] >> 6 == 2;
    is_7.then(|| bytes[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte)))
}

fn milliseconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests;
