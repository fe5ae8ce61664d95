//! The device's audit log as the daemon keeps it: what is recorded when, and what follows where it
//! cannot be.
//!
//! * A candidate is published only once its record is on the disk, and carries where that record
//!   is. That is the outbox's disk, by the write that stores the candidate and the record's entry,
//!   where there is one that works, and the log's follows. Otherwise it is the log's. Where the log
//!   cannot be written nobody is matched, or the device goes on and says so: `audit.on_failure`.
//! * A log that was put back, cut or altered, or that cannot be opened, leaves the device blind,
//!   whatever is configured.
//! * A checkpoint is signed and published at the start, at each change of the list, after each
//!   candidate, once an hour, and at the end. An orderly stop waits two seconds at most for the
//!   cosignatures under the last one.
//! * Once an hour, and at the end, a heartbeat says that the device is alive and what it counted,
//!   so that silence is visible.
//! * Without an identity there is no log, and all of this does nothing.
//!
//! Shared by the vision thread and the supervisor. Whoever records waits for the disk and for the
//! other's record. A candidate that the outbox stores waits for no disk itself, but for a sync of
//! the log that somebody else has under way just then; any other is late by two syncs. Whether the
//! log works is asked without waiting.

mod carried;
mod configured;
mod entries;
mod opening;
pub(super) mod witnesses;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use log::{error, info};

use self::carried::{LogOfOutbox, carried};
use self::configured::{place, weak_settings};
use self::entries::{entry, hand_over, publish, publish_entries};
pub use self::opening::examine;
use self::opening::open;
use self::witnesses::{ReadKeys, WitnessDesk};
use super::status_board::Condition;
use crate::audit::OnFailure;
use crate::audit::generation::AskedLog;
use crate::audit::journal::{Journal, JournalError};
use crate::audit::record::{
    AuditEvent, CandidateRecord, EndOfUse, WeakSetting, commitment, milliseconds,
};
use crate::audit::store::{AuditStoreError, LogWrites};
use crate::cause::Cause;
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::decision::policy::Blindness;
use crate::delivery::event::{AuditReference, EventId};
use crate::delivery::outbox::{CarriedLog, Together};
use crate::delivery::{Candidate, Delivery, NotTaken};
use crate::device::reviews::Reviews;

/// How often the device says that it is alive, and signs what it has.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3600);
/// How often a disk that failed is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// How often an orderly stop looks for the last cosignatures.
const AWAIT_ROUND: Duration = Duration::from_millis(20);
/// A clock that is off by more than this since the last look has jumped.
const JUMP_MS: i128 = 2000;

/// Why a candidate was not published.
#[derive(Debug, thiserror::Error)]
pub enum NotPublished {
    /// Delivery did not take it.
    #[error(transparent)]
    Delivery(#[from] NotTaken),
    /// It has no record.
    #[error("its record cannot be written to the audit log, and nothing is published without: {0}")]
    Audit(Blindness),
    /// Nobody could judge it.
    #[error("it cannot be remembered for those who judge it: {0}")]
    Reviews(Blindness),
}

/// The log, or why there is none.
enum Book {
    /// No identity is configured.
    Off,
    Open(Box<Journal>),
    /// It was put back: it is written no more, and still says to witnesses what it is.
    Closed(Box<Journal>),
    /// It is there and may not be used.
    Unusable,
}

struct AuditorState {
    book: Book,
    /// What was recorded of the use of the device last.
    standing: Option<LogStanding>,
    /// Monotonic times.
    heartbeat_at: Duration,
    tried_at: Duration,
    looked_at: Option<Now>,
}

/// Whether faces are compared, as far as the log tells it apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LogStanding {
    InUse,
    Not(EndOfUse),
}

impl LogStanding {
    fn of(condition: &Condition) -> Self {
        match condition {
            Condition::Matching => Self::InUse,
            Condition::Starting => Self::Not(EndOfUse::Waiting),
            Condition::Blind(blindness) => Self::Not(EndOfUse::Blind(blindness.cause)),
        }
    }

    fn event(self) -> AuditEvent {
        match self {
            Self::InUse => AuditEvent::UseBegan,
            Self::Not(why) => AuditEvent::UseEnded { why },
        }
    }
}

/// See the module's documentation.
pub struct Auditor {
    on_failure: OnFailure,
    /// With which the log is opened; absent where there is none to open.
    config: Option<Box<Config>>,
    witnesses: Option<WitnessDesk>,
    /// What people call the place where the camera stands.
    place: Option<String>,
    /// Settings that are weaker than their defaults: those of the start, until the next one.
    weakened: Vec<WeakSetting>,
    state: Mutex<AuditorState>,
    /// The log, for the outbox.
    log_of_outbox: Arc<LogOfOutbox>,
    /// Why records cannot be written. Apart from the log, so that whoever asks does not wait for
    /// the disk; held for no longer than it takes to read or replace it.
    problem: Mutex<Option<Blindness>>,
}

impl Auditor {
    /// Opens the log that `config` names, if the device has an identity. What is wrong with it is
    /// logged, and keeps the device from matching.
    pub fn open(config: &Config, now: Now) -> Self {
        let keys = ReadKeys::of(config);
        let (book, problem) = match open(config, keys.asked(&config.device.id)) {
            Ok(None) => (Book::Off, None),
            Ok(Some(journal)) => {
                info!("The audit log is open: records={}.", journal.size());
                (Book::Open(Box::new(journal)), None)
            }
            Err(blindness) => {
                let Blindness { cause, reason } = &blindness;
                error!("The audit log cannot be used: reason={cause} {reason}.");
                (Book::Unusable, Some(blindness))
            }
        };
        let state = AuditorState {
            book,
            standing: None,
            heartbeat_at: Duration::ZERO,
            tried_at: Duration::ZERO,
            looked_at: None,
        };
        let keeps = !matches!(state.book, Book::Off);
        let log_of_outbox = Arc::new(LogOfOutbox::none());
        match &state.book {
            Book::Off => {}
            Book::Open(journal) | Book::Closed(journal) => log_of_outbox.set(Some(journal)),
            Book::Unusable => log_of_outbox.set(None),
        }
        Self {
            on_failure: config.audit.on_failure,
            config: keeps.then(|| Box::new(config.clone())),
            witnesses: keeps.then(|| WitnessDesk::open(config, keys, now)),
            place: place(config),
            weakened: weak_settings(config),
            state: Mutex::new(state),
            log_of_outbox,
            problem: Mutex::new(problem),
        }
    }

    /// For the outbox, which holds records for the log.
    pub fn log_of_outbox(&self) -> Arc<dyn CarriedLog> {
        self.log_of_outbox.clone()
    }

    fn lock(&self) -> MutexGuard<'_, AuditorState> {
        // Each record is whole before the next begins, so that a panic leaves nothing half-made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problem(&self) -> MutexGuard<'_, Option<Blindness>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers whether the log works.
    fn note(&self, outcome: Result<(), JournalError>) {
        let mut problem = self.problem();
        match outcome {
            Ok(()) => {
                if problem.take().is_some() {
                    info!("The audit log is written again.");
                }
            }
            Err(failure) => {
                if problem.is_none() {
                    error!("The audit log cannot be written: {failure}.");
                }
                *problem = Some(Blindness::new(Cause::AuditNotStored, failure));
            }
        }
    }

    /// Why nobody may be matched, where that is because of the log.
    pub fn blindness(&self) -> Option<Blindness> {
        let unwritten = || {
            let problem = self.problem().clone()?;
            // Only a disk that fails while the log is open can be gone on without.
            let passing = problem.cause == Cause::AuditNotStored;
            (!passing || self.on_failure == OnFailure::Blind).then_some(problem)
        };
        unwritten().or_else(|| self.witnesses.as_ref().and_then(WitnessDesk::blindness))
    }

    /// Whether there is a log, and it takes records.
    pub fn takes_records(&self) -> bool {
        matches!(self.lock().book, Book::Open(_)) && self.problem().is_none()
    }

    /// What is wrong with the log while the device goes on without it.
    pub fn degraded(&self) -> Option<String> {
        if self.blindness().is_some() {
            return None;
        }
        let problem = self.problem().clone();
        let unwritten = problem.map(|problem| format!("no audit log is written: {problem}"));
        let unseen = self.witnesses.as_ref().and_then(WitnessDesk::degraded);
        match (unwritten, unseen) {
            (Some(unwritten), Some(unseen)) => Some(format!("{unwritten}; {unseen}")),
            (one, other) => one.or(other),
        }
    }

    /// Talks with witnesses. A log that one of them has seen longer is written no more.
    fn attend_witnesses(&self, delivery: &Delivery, now: Now) {
        let Some(witnesses) = &self.witnesses else { return };
        if let Some(asked) = witnesses.begins_anew(now) {
            self.begin_anew(asked, delivery, now);
        }
        let mut state = self.lock();
        state.book = match std::mem::replace(&mut state.book, Book::Unusable) {
            Book::Open(mut journal) => {
                let whole = witnesses.attend(&mut journal, delivery, now);
                if whole { Book::Open(journal) } else { Book::Closed(journal) }
            }
            Book::Closed(mut journal) => {
                witnesses.attend(&mut journal, delivery, now);
                Book::Closed(journal)
            }
            other => other,
        };
    }

    /// Begins the log that the trust file names; the one before is set aside.
    fn begin_anew(&self, asked: AskedLog, delivery: &Delivery, now: Now) {
        let Some(config) = &self.config else { return };
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.book, Book::Unusable);
        self.log_of_outbox.set(None);
        if let Book::Open(journal) | Book::Closed(journal) = &before
            && let Err(failure) = journal.settle()
        {
            // The next start has what the outbox holds of it.
            error!("The audit log of before cannot be ended: {failure}.");
            *self.problem() = Some(Blindness::new(Cause::AuditUnusable, failure));
            return;
        }
        // Whoever has the log open holds its lock.
        drop(before);
        let opened = open(config, asked);
        let problem = match opened {
            Ok(Some(journal)) => {
                self.log_of_outbox.set(Some(&journal));
                state.book = Book::Open(Box::new(journal));
                None
            }
            Ok(None) => Some(Blindness::new(Cause::AuditUnusable, "the device's identity is gone")),
            Err(blindness) => {
                error!("The new audit log cannot be used: {blindness}.");
                Some(blindness)
            }
        };
        *self.problem() = problem;
        drop(state);
        self.started(delivery, now);
    }

    /// Records the start of the process, with what its configuration weakens.
    pub fn started(&self, delivery: &Delivery, now: Now) {
        self.lock().heartbeat_at = now.monotonic;
        let program = env!("CARGO_PKG_VERSION").to_owned();
        self.record(AuditEvent::Started { program }, delivery, now);
        if let Some(place) = self.place.clone() {
            self.record(AuditEvent::Placed { place }, delivery, now);
        }
        self.record_weakened(delivery, now);
        self.sign(delivery);
    }

    /// Records under what settings list and trust file were read again. A reload changes none of
    /// them.
    pub fn record_weakened(&self, delivery: &Delivery, now: Now) {
        let settings = self.weakened.clone();
        self.record(AuditEvent::Weakened { settings }, delivery, now);
    }

    /// Records the end of the process, with the counts that no heartbeat has yet.
    pub fn stopped(&self, counts: &BTreeMap<String, u64>, delivery: &Delivery, now: Now) {
        if let Book::Open(journal) = &mut self.lock().book {
            let publish = &mut |record| publish(record, delivery, now);
            self.note(journal.heartbeat(counts, now, publish).map(drop));
        }
        if self.lock().standing == Some(LogStanding::InUse) {
            self.record(AuditEvent::UseEnded { why: EndOfUse::Stopped }, delivery, now);
        }
        self.record(AuditEvent::Stopped, delivery, now);
        self.sign(delivery);
    }

    /// Waits a moment for the cosignatures under the last checkpoint, where witnesses have cosigned
    /// before and there is a broker: what was written last is then seen by others, too. At most
    /// `until`, in monotonic time.
    pub fn await_cosigned(&self, delivery: &Delivery, clock: Clock, until: Duration) {
        while clock.now().monotonic < until {
            self.attend_witnesses(delivery, clock.now());
            let awaited = match (&self.lock().book, &self.witnesses) {
                (Book::Open(journal), Some(witnesses)) => witnesses.awaits(journal, delivery),
                _ => false,
            };
            if !awaited {
                return;
            }
            std::thread::sleep(AWAIT_ROUND);
        }
    }

    /// What was written to the log so far.
    pub fn writes(&self) -> LogWrites {
        match &self.lock().book {
            Book::Open(journal) | Book::Closed(journal) => journal.writes(),
            Book::Off | Book::Unusable => LogWrites::default(),
        }
    }

    /// Records what happens now, if there is a log.
    pub fn record(&self, event: AuditEvent, delivery: &Delivery, now: Now) {
        let mut state = self.lock();
        let Book::Open(journal) = &mut state.book else { return };
        let written = journal.record(event, now, &mut |record| publish(record, delivery, now));
        self.note(written.map(drop));
    }

    /// Signs the log as it is, and publishes that.
    pub fn sign(&self, delivery: &Delivery) {
        let mut state = self.lock();
        let Book::Open(journal) = &mut state.book else { return };
        let signed = journal.checkpoint();
        if signed.is_ok()
            && let Some(witnesses) = &self.witnesses
        {
            witnesses.announce(journal, delivery);
        }
        self.note(signed.map(|note| delivery.set_checkpoint(note)));
    }

    /// Records a candidate, and publishes it once its record is on the disk.
    ///
    /// # Errors
    /// Where it is not published.
    pub fn publish(
        &self,
        mut candidate: Candidate,
        reviews: &mut Reviews,
        delivery: &Delivery,
        now: Now,
    ) -> Result<EventId, NotPublished> {
        if let Some(blindness) = self.blindness() {
            return Err(NotPublished::Audit(blindness));
        }
        let case = reviews.case(&candidate, now.wall);
        // Held until the record's entry is handed over, so that entries go out in their order.
        let mut state = self.lock();
        let journal = match &mut state.book {
            Book::Open(journal) => journal,
            Book::Off => {
                let event = delivery.prepare(candidate, now)?;
                let alone = (Together::new(), None);
                return hand_over(alone, event, case.as_ref(), reviews, delivery, now);
            }
            // The log was closed since it was asked for above.
            Book::Closed(_) | Book::Unusable => {
                drop(state);
                let closed = || Blindness::new(Cause::AuditUnusable, "the audit log is closed");
                return Err(NotPublished::Audit(self.blindness().unwrap_or_else(closed)));
            }
        };
        let mut salt = [0; 32];
        if let Err(error) = getrandom::fill(&mut salt) {
            return Err(NotPublished::Audit(Blindness::new(Cause::AuditNotStored, error)));
        }
        let reference = AuditReference { index: journal.next_index(), salt: STANDARD.encode(salt) };
        let sequence = candidate.sequence;
        // What is published where no record can be and the device goes on.
        let bare = (self.on_failure == OnFailure::Degraded).then(|| candidate.clone());
        candidate.audit = Some(reference);
        let event = delivery.prepare(candidate, now)?;
        let record = AuditEvent::Candidate(CandidateRecord {
            event: event.id.as_u128().to_be_bytes(),
            sequence,
            commitment: commitment(&event.payload),
        });
        let covers = self.problem().is_none() && delivery.carries();
        let mut entries = Together::new();
        // No more than two, so that the candidate fits: how many are missing, and this record.
        let mut out = |record| entries.extend(entry(record, delivery, now));
        let written = if covers {
            journal.record_covered(record, now, &mut out).map(Some)
        } else {
            journal.record(record, now, &mut out).map(|_| None)
        };
        let (written, covered) = match written {
            Ok(covered) => (Ok(()), covered),
            Err(failure) => (Err(failure), None),
        };
        self.note(written);
        // Before others write: what is wrong is what was wrong with this record.
        let problem = self.problem().clone();
        match (problem, bare) {
            (None, _) => {
                let with_it = covered.map(|record| {
                    let desk = self.witnesses.as_ref();
                    let announcement = desk.and_then(|desk| desk.announcement(journal));
                    carried(journal, record, announcement)
                });
                let covers = with_it.is_some();
                let (with_it, case) = ((entries, with_it), case.as_ref());
                let handed = hand_over(with_it, event, case, reviews, delivery, now);
                if covers && handed.is_err() {
                    // Nobody else does.
                    self.note(journal.settle());
                }
                drop(state);
                let id = handed?;
                if !covers {
                    self.sign(delivery);
                }
                Ok(id)
            }
            (Some(_), Some(bare)) => {
                publish_entries(entries, delivery);
                let event = delivery.prepare(bare, now)?;
                let alone = (Together::new(), None);
                hand_over(alone, event, case.as_ref(), reviews, delivery, now)
            }
            (Some(blindness), None) => {
                publish_entries(entries, delivery);
                Err(NotPublished::Audit(blindness))
            }
        }
    }

    /// Records when faces begin and cease to be compared.
    pub fn condition(&self, condition: &Condition, delivery: &Delivery, now: Now) {
        let standing = LogStanding::of(condition);
        let before = self.lock().standing.replace(standing);
        // A start that no use came before is no end of one.
        let begins = before.is_none() && standing == LogStanding::Not(EndOfUse::Waiting);
        if before != Some(standing) && !begins {
            self.record(standing.event(), delivery, now);
        }
    }

    /// What is due at `now`: heartbeat and checkpoint, another try of a disk that failed, a look at
    /// the clock.
    pub fn tick(
        &self,
        counts: impl FnOnce() -> BTreeMap<String, u64>,
        delivery: &Delivery,
        now: Now,
    ) {
        self.attend_witnesses(delivery, now);
        let mut state = self.lock();
        let jumped = state.looked_at.replace(now).and_then(|before| jump(before, now));
        let Book::Open(journal) = &mut state.book else { return };
        if let Some(expected_ms) = jumped {
            let event = AuditEvent::ClockJumped { expected_ms };
            let written = journal.record(event, now, &mut |record| publish(record, delivery, now));
            self.note(written.map(drop));
        }
        if self.problem().is_none() && journal.tail().is_failing() {
            let source = std::io::Error::other("the disk does not take what was written to it");
            self.note(Err(AuditStoreError::Io { what: "sync", source }.into()));
        }
        if self.problem().is_some() && now.monotonic.saturating_sub(state.tried_at) >= RETRY_EVERY {
            state.tried_at = now.monotonic;
            let Book::Open(journal) = &mut state.book else { return };
            let again = journal.make_good(now, &mut |record| publish(record, delivery, now));
            let signed = again.and_then(|()| journal.checkpoint());
            self.note(signed.map(|note| delivery.set_checkpoint(note)));
        }
        if now.monotonic.saturating_sub(state.heartbeat_at) < HEARTBEAT_EVERY {
            return;
        }
        state.heartbeat_at = now.monotonic;
        drop(state);
        let counts = counts();
        let mut state = self.lock();
        let Book::Open(journal) = &mut state.book else { return };
        let written = journal.heartbeat(&counts, now, &mut |record| publish(record, delivery, now));
        let signed = written.and_then(|_| journal.checkpoint());
        self.note(signed.map(|note| delivery.set_checkpoint(note)));
    }
}

/// The wall time in milliseconds that the clock should show at `now`, where it shows another.
fn jump(before: Now, now: Now) -> Option<u64> {
    let passed = now.monotonic.saturating_sub(before.monotonic).as_millis();
    let expected = milliseconds(before.wall).saturating_add(u64::try_from(passed).ok()?);
    let off = i128::from(milliseconds(now.wall)) - i128::from(expected);
    (off.abs() > JUMP_MS).then_some(expected)
}

#[cfg(test)]
mod tests;
