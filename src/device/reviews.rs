//! The device's part in reviews: which candidates wait for two people, and what they have said.
//!
//! * A candidate is remembered **before** it is published, on the disk: a verdict on it is never
//!   one on something unknown. Where it cannot be, it is not published, and nobody is matched.
//! * Only a device that has a key of its own, and whose trust file pins reviewers of two different
//!   people, remembers candidates. Elsewhere nobody could decide, and nothing changes.
//! * What follows from a verdict is taken out ([`Reviews::take_steps`]), recorded by the caller,
//!   stored ([`Reviews::store`]) and then published. Only what is stored is acknowledged.
//! * A verdict that changes nothing is answered once, and again at growing intervals where it comes
//!   again. Such an answer takes no candidate's room ([`Telling`]): a reviewer who replays, or
//!   anybody who can, fills nothing.
//! * What reviewers refuted, or left unjudged, is held against the announced budget
//!   ([`crate::decision::watchdog`]); what is counted is stored before it is acknowledged. Tracks
//!   that were searched for count while reviews are asked for, and are stored now and then: a kill
//!   forgets minutes of them, which makes the watchdog stricter and never kinder.
//! * Where what was counted is missing beside a docket, that is said ([`Reviews::lost`]).
//! * While the clock is not believed nothing expires, and no verdict counts: each is answered so.
//! * A verdict on what is no candidate may be one on a control: [`controls`].
//!
//! The state machines are [`crate::review::docket`] and the watchdog; here are their files, their
//! keys and their time.

mod budget;
mod controls;
mod files;
mod told;

use std::path::PathBuf;
use std::time::Duration as Monotonic;

use log::{error, info, warn};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use self::budget::WatchedBudget;
use self::controls::Controls;
pub use self::controls::{ControlSite, ControlStep};
pub(crate) use self::files::ReviewFiles;
use self::told::{control_state, state_of, told, unknown};
use super::Watched;
use super::replies::Replies;
use crate::audit::record::{AuditEvent, ReviewRecord, VerdictRecord};
use crate::backoff::Recurring;
use crate::cause::Cause;
use crate::clock::Now;
use crate::config::Config;
use crate::decision::policy::Blindness;
use crate::delivery::event::{Candidate, ReviewState};
use crate::files::replace;
use crate::judgement::Outcome;
use crate::review::controls::JudgedControl;
use crate::review::docket::{Docket, Judged, NewCase, NotCounted, Notice};
use crate::review::verdict::{self, CandidateId, SignedVerdict, VerdictErrorKind};
use crate::watchlist::Reference;
use crate::watchlist::keys::KeyId;
use crate::watchlist::seal::DeviceKey;
use crate::watchlist::text::hex;
use crate::watchlist::trust::{Role, Trust};

/// People who have to be pinned as reviewers before a candidate is remembered.
pub(crate) const REVIEWERS: usize = 2;
/// How often a disk that failed is tried again.
const RETRY_EVERY: Monotonic = Monotonic::from_secs(5);

/// What became of verdicts, by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReviewCounters {
    /// Verdicts that counted.
    pub counted: u64,
    /// Genuine verdicts that did not count.
    pub refused: u64,
    /// No verdict at all, or by nobody who may judge.
    pub not_authentic: u64,
    /// Candidates that two people confirmed.
    pub confirmed: u64,
    /// Candidates that two people refuted.
    pub refuted: u64,
    /// Candidates on which people could not decide.
    pub undecided: u64,
    /// Candidates that too few people judged in time.
    pub expired: u64,
    /// Candidates whose list or entry was revoked.
    pub withdrawn: u64,
    /// Genuine verdicts that did not count and came too often to be answered each time.
    pub repeated: u64,
}

/// Answers that are given at once to verdicts that change nothing, and how often one more is: a
/// reviewer can sign any number of them.
const ANSWERED: (u32, Monotonic) = (32, Monotonic::from_secs(1));

/// A message, of which nothing is believed yet.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its bytes.
    pub message: &'a [u8],
    /// When it came, on the monotonic clock.
    pub at: Monotonic,
}

/// Whom a state answers.
#[derive(Debug, Clone)]
struct Answered {
    /// Id of the reviewer's key.
    reviewer: KeyId,
    /// SHA-256 of the envelope: a reviewer may have sent another one.
    envelope: [u8; 32],
}

impl Answered {
    fn of(asked: Asked<'_>, reviewer: KeyId) -> Self {
        Self { reviewer, envelope: Sha256::digest(asked.message).into() }
    }

    /// `state` as the answer to it.
    fn by(this: Option<&Self>, state: ReviewState) -> ReviewState {
        ReviewState {
            reviewer: this.map(|answered| answered.reviewer.to_string()),
            envelope: this.map(|answered| hex(&answered.envelope)),
            ..state
        }
    }
}

/// How something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Something has changed: it is kept until it is delivered. As many as there are verdicts that
    /// count, and ends.
    News,
    /// Nothing has: it is said once, and takes no candidate's room.
    Reply,
}

/// What there is to record and to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewStep {
    /// For the audit log, in this order, before it is published.
    pub records: Vec<AuditEvent>,
    /// For the broker.
    pub state: ReviewState,
    /// How.
    pub telling: Telling,
}

/// See the module's documentation.
pub struct Reviews {
    docket: Docket,
    path: PathBuf,
    device: String,
    deadline: Duration,
    /// Different people who may review, by the keys that are believed; none where what they say
    /// cannot be opened.
    reviewers: usize,
    /// See [`Reviews::unpaired`].
    unpaired: Option<String>,
    /// Why nothing can be remembered.
    problem: Option<Blindness>,
    /// When a disk that failed was tried last, on the monotonic clock.
    tried: Monotonic,
    /// It could not be read when it was opened: nothing is written over it.
    unreadable: bool,
    /// The docket on the disk lacks something.
    unstored: bool,
    steps: Vec<ReviewStep>,
    counters: ReviewCounters,
    /// Verdicts that changed nothing and were answered.
    replies: Replies,
    /// When it was logged that a verdict does not count.
    said: Recurring,
    controls: Controls,
    budget: WatchedBudget,
    /// See [`Reviews::lost`].
    lost: Option<String>,
}

impl Reviews {
    /// Opens what waits, as `config` says where it is. A file that cannot be used is logged, and
    /// keeps the device from matching where it has reviewers.
    pub fn open(config: &Config) -> Self {
        let path = config.review.docket.clone();
        let (files, problem) = match ReviewFiles::open(&path) {
            Ok(files) => (files, None),
            Err(why) => {
                error!("The candidates that wait for verdicts cannot be read: {why}.");
                let problem = Blindness::new(Cause::ReviewsNotStored, why);
                (ReviewFiles::default(), Some(problem))
            }
        };
        let ReviewFiles { docket, budget, lost, controls } = files;
        let controls = Controls::new(files::of_controls(&path), controls);
        if let Some(lost) = &lost {
            error!("What was counted is lost: {lost}.");
        }
        Self {
            docket,
            path,
            device: config.device.id.clone(),
            deadline: config.review.deadline(),
            reviewers: 0,
            unpaired: None,
            unreadable: problem.is_some(),
            problem,
            tried: Monotonic::ZERO,
            unstored: false,
            steps: Vec::new(),
            counters: ReviewCounters::default(),
            replies: Replies::limited(ANSWERED.0, ANSWERED.1),
            said: Recurring::new(Monotonic::from_secs(1), Monotonic::from_secs(3600)),
            controls,
            budget,
            lost,
        }
    }

    /// Why nobody would be matched with the list that is `watched`, by a device that believes
    /// `trust` and has `key`, where that is because of reviews. Changes nothing: for commands that
    /// only look.
    ///
    /// # Errors
    /// Why not.
    pub fn examine(
        config: &Config,
        watched: Watched<'_>,
        trust: Option<&Trust>,
        key: Option<&DeviceKey>,
    ) -> Result<(), Blindness> {
        let mut reviews = Self::open(config);
        reviews.set_keys(trust, key);
        reviews.budget.watch(Some(watched), reviews.are_asked());
        reviews.blindness().map_or(Ok(()), Err)
    }

    /// Takes note of what false alerts are held against.
    pub fn watch(&mut self, watched: Option<Watched<'_>>, now: Now) {
        self.budget.watch(watched, self.are_asked());
        if self.budget.is_due(now) {
            self.write(now);
        }
    }

    /// Stores how many tracks were searched for: at the end of the process.
    pub fn keep(&mut self, now: Now) {
        if self.budget.has_changed() {
            self.write(now);
        }
    }

    /// What was counted against the budget is missing, though it was there once; for people.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref().filter(|_| self.are_asked())
    }

    /// Takes note of who may review, and of the key that opens what they say.
    pub fn set_keys(&mut self, trust: Option<&Trust>, key: Option<&DeviceKey>) {
        let reviewers = trust.map_or(0, |trust| trust.people(Role::Reviewer));
        self.reviewers = if key.is_some() { reviewers } else { 0 };
        let unnamed = trust.map_or(0, Trust::unnamed_reviewers);
        let unpaired = (unnamed > 0 && key.is_some()).then(|| {
            format!(
                "nobody is asked about candidates: {unnamed} keys of reviewers count as one \
                 person's, as the trust file has no person for them; write person = \"...\" below \
                 each key, and sign the rotation"
            )
        });
        if let Some(problem) = unpaired.as_ref().filter(|_| unpaired != self.unpaired) {
            error!("The trust file names no reviewers' people: {problem}.");
        }
        self.unpaired = unpaired;
    }

    /// Keys of reviewers are pinned, and nobody is asked, as the trust file does not say that they
    /// are different people's; for people.
    pub fn unpaired(&self) -> Option<&str> {
        self.unpaired.as_deref().filter(|_| !self.are_asked())
    }

    fn are_asked(&self) -> bool {
        self.reviewers >= REVIEWERS
    }

    /// Why nobody may be matched, where that is because of reviews.
    pub fn blindness(&self) -> Option<Blindness> {
        // Whoever takes the reviewers away does not bring back a list that was stopped.
        let exceeded = self.budget.blindness();
        if !self.are_asked() {
            return exceeded;
        }
        let full = || {
            let waiting = self.docket.pending();
            self.docket.is_full().then(|| {
                let waits = format_args!("{waiting} candidates wait for two people to judge them");
                Blindness::new(Cause::ReviewsFull, waits)
            })
        };
        self.problem.clone().or(exceeded).or_else(full)
    }

    /// What has to be remembered of a candidate whose event is published as `payload`, at `now`;
    /// `None` where nobody reviews. Its deadline is a whole second, as it is stored and as that of
    /// a control is.
    pub fn case(&self, candidate: &Candidate, now: OffsetDateTime) -> Option<CaseToAdd> {
        self.are_asked().then(|| CaseToAdd {
            candidate: CandidateId(candidate.candidate.as_u128().to_be_bytes()),
            list: candidate.list.id.clone(),
            version: candidate.list.version,
            entry: candidate.entry.clone(),
            until: whole_second(now.saturating_add(self.deadline)),
        })
    }

    /// Remembers a candidate, on the disk, before it is published as one of the bytes of which
    /// `payloads` are the SHA-256: whichever form goes out can be judged.
    ///
    /// # Errors
    /// Where it cannot be: it must not be published.
    pub fn add(
        &mut self,
        case: &CaseToAdd,
        payloads: &[[u8; 32]],
        now: Now,
    ) -> Result<(), Blindness> {
        for payload in payloads {
            self.controls.docket.publish(case.candidate, *payload);
        }
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let name = |text: &str| -> Result<Reference, Blindness> {
            text.parse().map_err(|why| Blindness::new(Cause::ReviewsNotStored, why))
        };
        let new = NewCase {
            candidate: case.candidate,
            payloads: payloads.to_vec(),
            list: name(&case.list)?,
            version: case.version,
            entry: name(&case.entry)?,
            until: case.until,
        };
        self.docket.add(new).map_err(|full| Blindness::new(Cause::ReviewsFull, full))?;
        self.unstored = true;
        self.store(now);
        match &self.problem {
            None => Ok(()),
            Some(problem) => {
                self.docket.take_back(case.candidate, payloads);
                Err(problem.clone())
            }
        }
    }

    /// Takes a candidate back that was not published after all.
    pub fn take_back(&mut self, case: &CaseToAdd, payloads: &[[u8; 32]]) {
        self.docket.take_back(case.candidate, payloads);
        self.unstored = true;
    }

    /// Counts one message, of which nothing is believed yet, where it counts. `now` is absent while
    /// the clock is not believed.
    pub fn follow(
        &mut self,
        asked: Asked<'_>,
        trust: &Trust,
        key: Option<&DeviceKey>,
        now: Option<OffsetDateTime>,
    ) {
        let message = asked.message;
        self.set_keys(Some(trust), key);
        let Some(key) = key else {
            self.counters.refused += 1;
            warn!(
                "A verdict cannot be opened, as the device has no key: set {}.",
                setting!(watchlist.device_key)
            );
            return;
        };
        let verdict = match verdict::open(message, trust, &self.device, key) {
            Ok(verdict) => verdict,
            Err(error) => {
                warn!("A verdict does not count: {error}.");
                match (error.kind(), verdict::authenticate(message, trust, &self.device)) {
                    // Whoever gave it waits for an answer, and can give another.
                    (VerdictErrorKind::Refused, Ok(_)) => {
                        self.turn_away(asked, NotCounted::Unopened);
                    }
                    (VerdictErrorKind::Refused, Err(_)) => self.counters.refused += 1,
                    (VerdictErrorKind::Malformed | VerdictErrorKind::NotAuthentic, _) => {
                        self.counters.not_authentic += 1;
                    }
                }
                return;
            }
        };
        // A candidate whose time is over must not be confirmed by a clock that has not been set.
        let Some(now) = now else {
            self.turn_away(asked, NotCounted::NoClock);
            return;
        };
        let answered = Answered::of(asked, verdict.reviewer());
        // A candidate's first: what was published is judged as that, whatever a desk says of it.
        match self.docket.judge(&verdict, trust, now) {
            Judged::Not { why: NotCounted::Unknown, standing: None } => {
                self.follow_control(asked, &verdict, trust, now);
            }
            Judged::Counts(notice) => {
                self.unstored = true;
                let record = self.count(&verdict);
                self.note(vec![record], notice, Some(&answered));
            }
            Judged::Not { why, standing } => {
                let standing = standing.as_ref().map(state_of);
                self.refuse(asked, verdict.candidate, standing, &answered, why);
            }
        }
    }

    /// Counts a verdict on what is no candidate: one on a control where it is one.
    fn follow_control(
        &mut self,
        asked: Asked<'_>,
        verdict: &SignedVerdict,
        trust: &Trust,
        now: OffsetDateTime,
    ) {
        let answered = Answered::of(asked, verdict.reviewer());
        match self.judge_control(verdict, trust, now) {
            Some(JudgedControl::Counts(notice)) => {
                let record = self.count(verdict);
                self.note_control(vec![record], &notice, Some(&answered));
            }
            Some(JudgedControl::Not { why, standing }) => {
                let standing = Some(control_state(&standing));
                self.refuse(asked, verdict.candidate, standing, &answered, why);
            }
            None => self.refuse(asked, verdict.candidate, None, &answered, NotCounted::Unknown),
        }
    }

    /// A verdict counts: what the log says of it.
    fn count(&mut self, verdict: &SignedVerdict) -> AuditEvent {
        let reviewer = verdict.reviewer();
        self.counters.counted += 1;
        info!("A verdict counts: candidate={} reviewer={reviewer}.", verdict.candidate);
        AuditEvent::Verdict(VerdictRecord {
            candidate: verdict.candidate.0,
            reviewer,
            commitment: verdict.commitment(),
        })
    }

    fn refuse(
        &mut self,
        asked: Asked<'_>,
        candidate: CandidateId,
        standing: Option<ReviewState>,
        answered: &Answered,
        why: NotCounted,
    ) {
        self.counters.refused += 1;
        if let Some(verdicts) = self.said.happened(asked.at) {
            let reviewer = answered.reviewer;
            info!("Verdicts do not count: verdicts={verdicts} reviewer={reviewer} why={why}.");
        }
        if !self.replies.is_due(asked.message, &why.to_string(), asked.at) {
            self.counters.repeated += 1;
            return;
        }
        let state = standing.unwrap_or_else(|| unknown(candidate));
        let state = ReviewState { refused: Some(why.to_string()), ..state };
        let state = Answered::by(Some(answered), state);
        self.steps.push(ReviewStep { records: Vec::new(), state, telling: Telling::Reply });
    }

    /// Answers a verdict that cannot be looked at now, such as where no keys are believed: whoever
    /// sent it sends it again. It is not left unacknowledged, as it would hold up orders then.
    pub fn turn_away(&mut self, asked: Asked<'_>, why: NotCounted) {
        let Ok((candidate, reviewer)) = verdict::inspect(asked.message) else {
            self.counters.refused += 1;
            return;
        };
        let standing = self.docket.standing(candidate).as_ref().map(state_of);
        let control = || self.controls.docket.standing(candidate).as_ref().map(control_state);
        let standing = standing.or_else(control);
        self.refuse(asked, candidate, standing, &Answered::of(asked, reviewer), why);
    }

    /// Ends what is over at `now`; nothing while the clock is not believed.
    pub fn tick(&mut self, now: Option<OffsetDateTime>) {
        let Some(now) = now else { return };
        for notice in self.docket.expire(now) {
            self.unstored = true;
            self.note(Vec::new(), notice, None);
        }
    }

    /// Ends what is about versions of `list` through `through`, or about `entry` of them.
    pub fn withdraw(&mut self, list: &str, through: u64, entry: Option<&str>) {
        // Names of a list that was in force; others concern nothing that waits.
        let (Ok(list), Ok(entry)) =
            (list.parse::<Reference>(), entry.map(str::parse::<Reference>).transpose())
        else {
            return;
        };
        for notice in self.docket.withdraw(&list, through, entry.as_ref()) {
            self.unstored = true;
            self.note(Vec::new(), notice, None);
        }
        let over = self.controls.docket.withdraw(&list, through, entry.as_ref());
        self.end_controls(over);
    }

    /// What there is to record and to publish since the last call.
    pub fn take_steps(&mut self) -> Vec<ReviewStep> {
        std::mem::take(&mut self.steps)
    }

    /// Writes what waits, where it changed. A disk that failed is tried again now and then.
    pub fn store(&mut self, now: Now) {
        if !self.is_stored() {
            self.write(now);
        }
    }

    /// Writes what changed.
    fn write(&mut self, now: Now) {
        let waits = now.monotonic.saturating_sub(self.tried) < RETRY_EVERY;
        if self.unreadable || (self.problem.is_some() && waits) {
            return;
        }
        self.tried = now.monotonic;
        // First what is counted against the list: after a cut in between, the verdict comes again
        // and is counted once, as its day is.
        let stored = self.budget.store(now).and_then(|()| match self.unstored {
            true => replace(&self.path, &Zeroizing::new(self.docket.to_bytes())),
            false => Ok(()),
        });
        let Controls { docket, path, unstored, .. } = &self.controls;
        let stored = stored.and_then(|()| match unstored {
            true => replace(path, &Zeroizing::new(docket.to_bytes())),
            false => Ok(()),
        });
        match stored {
            Ok(()) => {
                self.unstored = false;
                self.controls.unstored = false;
                if self.problem.take().is_some() {
                    info!("The candidates that wait for verdicts are stored again.");
                }
            }
            Err(why) => {
                if self.problem.is_none() {
                    error!("The candidates that wait for verdicts cannot be stored: {why}.");
                }
                self.problem = Some(Blindness::new(Cause::ReviewsNotStored, why));
            }
        }
    }

    /// Whether all that counted would survive a restart: only then it is acknowledged.
    pub fn is_stored(&self) -> bool {
        !self.unstored && !self.controls.unstored && !self.budget.has_unstored_alerts()
    }

    /// What became of verdicts.
    pub fn counters(&self) -> ReviewCounters {
        self.counters
    }

    fn note(&mut self, mut records: Vec<AuditEvent>, notice: Notice, answered: Option<&Answered>) {
        if let Notice::Over { candidate, about, outcome, verdicts } = &notice {
            self.budget.count(about, *outcome);
            let counter = match outcome {
                Outcome::Confirmed => &mut self.counters.confirmed,
                Outcome::Refuted => &mut self.counters.refuted,
                Outcome::Undecided => &mut self.counters.undecided,
                Outcome::Expired => &mut self.counters.expired,
                Outcome::Withdrawn => &mut self.counters.withdrawn,
            };
            *counter += 1;
            info!("A review is over: candidate={candidate} outcome={outcome}.");
            records.push(AuditEvent::Reviewed(ReviewRecord {
                candidate: candidate.0,
                outcome: *outcome,
                verdicts: verdicts.iter().map(told).collect(),
            }));
        }
        let state = Answered::by(answered, state_of(&notice));
        self.steps.push(ReviewStep { records, state, telling: Telling::News });
    }
}

/// A candidate that is about to be published; only the digest of its event is missing.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseToAdd {
    candidate: CandidateId,
    list: String,
    version: u64,
    entry: String,
    until: OffsetDateTime,
}

/// The second that `at` is in.
fn whole_second(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).expect("a second begins at its first nanosecond")
}

#[cfg(test)]
mod tests;
