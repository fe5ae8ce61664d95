//! What still has to be delivered, in the order of its decision. Sans-IO: the clock and the
//! randomness are arguments, and storage is behind [`Store`].
//!
//! ```text
//!             next_to_send            sent(packet id)          settle(success)
//!  Waiting ----------------> Handed ------------------> Flying ----------------> retired
//!     ^                        |                          |  |
//!     |<------ disconnected ---+                          |  +-- link down, session kept: sent again, same packet id
//!     |<------ session_lost / settle(refused) ------------+
//! ```
//!
//! Promises:
//! * An event is retired only by a PUBACK with a success code. Otherwise it leaves under a counted
//!   name: expired, dropped because the outbox was full (the oldest that is not on its way goes
//!   first), given up because the broker called this very message invalid [`MAX_REFUSALS`] times,
//!   or unreadable in the store.
//! * `appended + recovered = delivered + expired + dropped + given_up + revoked + unreadable +
//!   len()`, always.
//! * Events are handed out in the order of their positions. After a refusal, and on a new link,
//!   only one is on its way at a time until one succeeds, so that order is kept; refusals for the
//!   broker's reasons (not authorized, quota) are repeated with back-off until they succeed or the
//!   event expires. So is what nobody listened to: the broker has thrown it away. Where the first
//!   of a window is refused and a later one of it is not, as the access list or the subscriber came
//!   between, the first arrives late.
//! * Events and bytes are bounded. Expiry follows the wall clock, as the event says it.
//! * Each event that is taken, found, or leaves is told to a [`Witness`], by its id.
//!
//! Memory does not grow with the queue: where events lie is the store's affair, and what is known
//! here are their number and those that are on their way, [`MAX_WINDOW`] at most.

pub mod disk;
pub mod ledger;
mod store;

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

pub use self::store::{
    Lost, MemoryStore, Position, Record, Recovered, Store, StoreError, StoreHealth, Stored,
    nanoseconds,
};
use super::backoff::Backoff;
use super::event::EventId;
use crate::clock::Now;

/// Most events on their way at a time, whatever a broker allows.
pub const MAX_WINDOW: usize = 32;
/// Largest event in bytes; a crop of [`super::event::MAX_CROP`] in base64 fits.
pub const MAX_EVENT: usize = 128 * 1024;
/// Longest wait before it is looked again whether somebody listens.
pub const MAX_UNHEARD_WAIT: Duration = Duration::from_secs(5);
/// How often one message may be called invalid before it is given up.
pub const MAX_REFUSALS: u8 = 5;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The outbox took it: from here on it is owed.
    Taken,
    /// An earlier run had taken it, and it waits.
    Recovered,
    /// The broker acknowledged it with success.
    Delivered,
    /// It was too old when its turn came.
    Expired,
    /// It was the oldest in a full outbox.
    Dropped,
    /// The broker called it invalid, or it is larger than the broker allows.
    GivenUp,
    /// What it is about was revoked.
    Revoked,
    /// The store has it no longer.
    Unreadable,
}

/// Is told what becomes of each event. Must not block for long: it is called between two events.
pub trait Witness: Send {
    /// `id` is absent where the store could not say it.
    fn note(
        &mut self,
        fate: Fate,
        position: Position,
        id: Option<EventId>,
        now: Option<OffsetDateTime>,
    );
}

/// How much the outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most events, at least 1.
    pub events: usize,
    /// Most bytes of payload, at least [`MAX_EVENT`].
    pub bytes: usize,
}

/// Why an event was not taken. Each is counted.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Larger than [`MAX_EVENT`].
    #[error("the event has {0} bytes and {MAX_EVENT} are allowed; send a smaller crop")]
    TooLarge(usize),
    /// It was too late before it came.
    #[error("the event has expired already; check the clock and broker.event_expiry_s")]
    Expired,
    /// Everything in the outbox is on its way, so that nothing may be dropped for it.
    #[error("the outbox is full of events on their way; raise broker.outbox_events")]
    Full,
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the outbox counted since it was made. See the module's equation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Found in the store at start.
    pub recovered: u64,
    /// Taken.
    pub appended: u64,
    /// Acknowledged with success.
    pub delivered: u64,
    /// Too old when their turn came.
    pub expired: u64,
    /// The oldest, dropped because the outbox was full.
    pub dropped: u64,
    /// Called invalid by the broker too often.
    pub given_up: u64,
    /// Wiped because what they are about was revoked.
    pub revoked: u64,
    /// In the index and not in the store.
    pub unreadable: u64,
    /// Not taken: too large.
    pub too_large: u64,
    /// Not taken: expired before they came.
    pub late: u64,
    /// Not taken: no room.
    pub full: u64,
    /// Not taken, not read or not removed: the store failed.
    pub store_errors: u64,
    /// Acknowledgements that said no.
    pub refusals: u64,
    /// Acknowledgements that said that nobody listens.
    pub unheard: u64,
    /// Sent once more, because a link ended before the acknowledgement.
    pub repeated: u64,
}

/// What a broker's acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Success (0x00).
    Delivered,
    /// No matching subscribers (0x10): the broker threw it away, as nobody listens.
    Unheard,
    /// Refused for a reason that has nothing to do with this message: not authorized, quota,
    /// unspecified.
    RefusedForNow,
    /// Refused because of this message: its topic, its format, its size.
    Invalid,
}

/// What became of an event by [`Outbox::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Retired.
    Delivered(EventId),
    /// Stays, and is tried again after this long.
    Again(EventId, Duration),
    /// Left the outbox undelivered.
    GivenUp(EventId),
    /// No event is on its way under this packet id.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Was refused and waits once more.
    Waiting,
    /// With the client, which has not given it a packet id yet.
    Handed,
    /// Sent on this link.
    Flying(u16),
    /// Sent on an earlier link of a session that the broker may have kept.
    Unsettled(u16),
}

/// An event that was handed out at least once and has not left.
#[derive(Debug, Clone, Copy)]
struct Begun {
    stored: Stored,
    id: EventId,
    stage: Stage,
    /// How often the broker called it invalid.
    invalid: u8,
    /// When it was handed out first.
    sent_at: OffsetDateTime,
}

/// The outbox. See the module's documentation for the states of an event.
pub struct Outbox<S> {
    store: S,
    limits: Limits,
    /// That have not left, and the bytes of their payloads.
    events: usize,
    bytes: usize,
    next_position: Position,
    /// What is at it or behind it was never handed out; what is before it and has not left is in
    /// `begun`.
    frontier: Position,
    window: usize,
    /// Ascending in position. Never more than fit: an event is handed out only when all before it
    /// were, and no more than a window of them is out.
    begun: heapless::Vec<Begun, MAX_WINDOW>,
    /// After a refusal: nothing is handed out before this monotonic time.
    paused_until: Duration,
    /// After a refusal and until a success: one at a time.
    probing: bool,
    backoff: Backoff,
    counters: Counters,
    witness: Option<Box<dyn Witness>>,
}

impl<S: std::fmt::Debug> std::fmt::Debug for Outbox<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("store", &self.store)
            .field("events", &self.events)
            .field("begun", &self.begun)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<S: Store> Outbox<S> {
    /// Takes over a store with what an earlier run left in it.
    ///
    /// # Errors
    /// Where the store cannot be read at all.
    pub fn new(mut store: S, limits: Limits) -> Result<Self, StoreError> {
        let recovered = store.recover()?;
        let limits = Limits { events: limits.events.max(1), bytes: limits.bytes.max(MAX_EVENT) };
        Ok(Self {
            events: recovered.events,
            bytes: recovered.bytes,
            next_position: recovered.next,
            frontier: 0,
            counters: Counters { recovered: recovered.events as u64, ..Counters::default() },
            store,
            limits,
            window: MAX_WINDOW,
            begun: heapless::Vec::new(),
            paused_until: Duration::ZERO,
            probing: false,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            witness: None,
        })
    }

    /// Tells `witness` from now on, and first what was recovered.
    pub fn tell(&mut self, mut witness: Box<dyn Witness>) {
        let mut from = 0;
        while let Some(stored) = self.seek(from) {
            let id = self.store.read(stored.position).ok().flatten().map(|r| r.id);
            witness.note(Fate::Recovered, stored.position, id, None);
            from = stored.position.saturating_add(1);
        }
        self.witness = Some(witness);
    }

    /// Events not yet delivered.
    pub fn len(&self) -> usize {
        self.events
    }

    /// Whether everything was delivered.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Bytes of payload not yet delivered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest event that waits expires.
    pub fn oldest_expires(&mut self) -> Option<OffsetDateTime> {
        let oldest = self.begun.first().map(|b| b.stored).or_else(|| self.seek(self.frontier));
        oldest.and_then(|e| OffsetDateTime::from_unix_timestamp_nanos(e.expires.into()).ok())
    }

    /// Events handed out and not settled.
    pub fn in_flight(&self) -> usize {
        self.begun.iter().filter(|b| b.stage != Stage::Waiting).count()
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How the store is.
    pub fn store_health(&self) -> StoreHealth {
        self.store.health()
    }

    /// Most events on their way, from what the broker allows; 1 to [`MAX_WINDOW`].
    pub fn set_window(&mut self, window: usize) {
        self.window = window.clamp(1, MAX_WINDOW);
    }

    /// Takes an event behind all others. Where there is no room, expired events and then the oldest
    /// waiting ones go.
    ///
    /// # Errors
    /// Where the event is not taken; it is counted.
    pub fn append(&mut self, record: &Record, now: Now) -> Result<Position, AppendError> {
        let bytes = record.payload.len();
        if bytes > MAX_EVENT {
            self.counters.too_large += 1;
            return Err(AppendError::TooLarge(bytes));
        }
        if record.expires <= now.wall {
            self.counters.late += 1;
            return Err(AppendError::Expired);
        }
        if !self.fits(bytes) {
            self.expire(now);
        }
        while !self.fits(bytes) {
            let Some(oldest) = self.first_waiting() else {
                self.counters.full += 1;
                return Err(AppendError::Full);
            };
            self.leave(oldest, Fate::Dropped, now);
            self.frontier = self.frontier.max(oldest.position.saturating_add(1));
        }
        let position = self.next_position;
        if let Err(e) = self.store.append(position, record) {
            self.counters.store_errors += 1;
            return Err(e.into());
        }
        self.next_position += 1;
        self.events += 1;
        self.bytes += bytes;
        self.counters.appended += 1;
        if let Some(witness) = &mut self.witness {
            witness.note(Fate::Taken, position, Some(record.id), Some(now.wall));
        }
        Ok(position)
    }

    /// Wipes the events of which `revoked` says so by their payload, those on their way included:
    /// they are not sent again, and the store makes their bytes go. How many there were.
    pub fn revoke(&mut self, mut revoked: impl FnMut(&[u8]) -> bool, now: Now) -> u64 {
        let before = self.counters.revoked;
        let mut from = 0;
        while let Some(stored) = self.seek(from) {
            if let Some(record) = self.read(stored, now)
                && revoked(&record.payload)
            {
                self.leave_as(stored, Fate::Revoked, Some(record.id), now);
            }
            let Some(behind) = stored.position.checked_add(1) else { break };
            from = behind;
        }
        if let Err(e) = self.store.scrub() {
            self.counters.store_errors += 1;
            log::error!(
                "Revoked candidates are not delivered, but their bytes are still on the disk: \
                 error={e}."
            );
        }
        self.counters.revoked - before
    }

    /// Drops every waiting event that has expired.
    pub fn expire(&mut self, now: Now) {
        let deadline = nanoseconds(now.wall);
        let mut from = 0;
        loop {
            let found = self.store.next_expired(from, deadline);
            self.reckon();
            let Some(stored) = found else { break };
            if self.is_waiting(stored.position) {
                self.leave(stored, Fate::Expired, now);
            }
            let Some(behind) = stored.position.checked_add(1) else { break };
            from = behind;
        }
    }

    /// The oldest waiting event, which is then handed out, and the time to say that it was sent.
    /// `None` where there is none, the window is full, a refusal asks for patience, or events of an
    /// earlier link are not settled: they go first.
    pub fn next_to_send(&mut self, now: Now) -> Option<(Position, Record)> {
        let window = if self.probing { 1 } else { self.window };
        if self.in_flight() >= window || now.monotonic < self.paused_until || self.has_unsettled() {
            return None;
        }
        loop {
            let stored = self.first_waiting()?;
            let position = stored.position;
            // What panics on the way has changed nothing: it is tried again.
            let record = if stored.expires <= nanoseconds(now.wall) {
                self.leave(stored, Fate::Expired, now);
                None
            } else {
                self.read(stored, now)
            };
            self.frontier = self.frontier.max(position.saturating_add(1));
            let Some(record) = record else { continue };
            match self.begun.binary_search_by_key(&position, |b| b.stored.position) {
                Ok(at) => self.begun[at].stage = Stage::Handed,
                Err(at) => {
                    let begun = Begun {
                        stored,
                        id: record.id,
                        stage: Stage::Handed,
                        invalid: 0,
                        sent_at: now.wall,
                    };
                    // Cannot fail, see the field.
                    self.begun.insert(at, begun).ok()?;
                }
            }
            return Some((position, record));
        }
    }

    /// The client gave the event at `position` a packet id.
    pub fn sent(&mut self, position: Position, packet: u16) {
        if let Some(begun) = self.begun.iter_mut().find(|b| b.stored.position == position)
            && begun.stage == Stage::Handed
        {
            begun.stage = Stage::Flying(packet);
        }
    }

    /// An acknowledgement came. `random` spreads the back-off after a refusal.
    pub fn settle(&mut self, packet: u16, verdict: Verdict, now: Now, random: u32) -> Settled {
        let flying =
            |b: &Begun| matches!(b.stage, Stage::Flying(p) | Stage::Unsettled(p) if p == packet);
        let Some(at) = self.begun.iter().position(flying) else { return Settled::Unknown };
        let Begun { stored, id, .. } = self.begun[at];
        if verdict == Verdict::Delivered {
            self.leave(stored, Fate::Delivered, now);
            self.probing = false;
            self.paused_until = Duration::ZERO;
            self.backoff.reset();
            return Settled::Delivered(id);
        }
        let most = if verdict == Verdict::Unheard { MAX_UNHEARD_WAIT } else { Duration::MAX };
        self.counters.unheard += u64::from(verdict == Verdict::Unheard);
        self.counters.refusals += u64::from(verdict != Verdict::Unheard);
        let begun = &mut self.begun[at];
        begun.stage = Stage::Waiting;
        begun.invalid += u8::from(verdict == Verdict::Invalid);
        if begun.invalid >= MAX_REFUSALS {
            self.leave(stored, Fate::GivenUp, now);
            return Settled::GivenUp(id);
        }
        self.probing = true;
        // Refusals of a whole window come together and are one reason to wait.
        if now.monotonic >= self.paused_until {
            self.paused_until = now.monotonic + self.backoff.next(random).min(most);
        }
        Settled::Again(id, self.paused_until - now.monotonic)
    }

    /// An event handed out cannot be sent at all on this link, as larger than the broker allows.
    pub fn reject(&mut self, position: Position, now: Now) {
        if let Some(stored) = self.begun.iter().map(|b| b.stored).find(|s| s.position == position) {
            self.leave(stored, Fate::GivenUp, now);
        }
    }

    /// The link ended. What was handed over waits again; what was sent stays with its packet id
    /// until the broker says whether it kept the session.
    pub fn disconnected(&mut self) {
        for begun in &mut self.begun {
            begun.stage = match begun.stage {
                Stage::Flying(packet) => Stage::Unsettled(packet),
                Stage::Handed => Stage::Waiting,
                Stage::Waiting | Stage::Unsettled(_) => continue,
            };
        }
    }

    /// Events of an earlier link, oldest first, to be sent again under the same packet id with the
    /// DUP flag if the broker kept the session. Expired ones are dropped. Third: when it was sent
    /// first.
    pub fn unsettled_events(
        &mut self,
        now: Now,
    ) -> heapless::Vec<(u16, Record, OffsetDateTime), MAX_WINDOW> {
        let mut out = heapless::Vec::new();
        for begun in self.begun.clone() {
            let Stage::Unsettled(packet) = begun.stage else { continue };
            if begun.stored.expires <= nanoseconds(now.wall) {
                self.leave(begun.stored, Fate::Expired, now);
            } else if let Some(record) = self.read(begun.stored, now) {
                out.push((packet, record, begun.sent_at)).expect("no more are away than fit");
            }
        }
        out
    }

    /// A new link: one event at a time until one succeeds. Whom a broker has forgotten it throws
    /// away for, and where the first meets nobody, the next ones wait behind it instead of
    /// overtaking it.
    pub fn connected(&mut self) {
        self.probing = true;
    }

    /// The broker kept the session: what was not settled is being sent again.
    pub fn session_kept(&mut self) {
        self.counters.repeated += self.unsettled() as u64;
    }

    /// The broker knows nothing of an earlier session: what was not settled waits again, in its
    /// place.
    pub fn session_lost(&mut self) {
        self.counters.repeated += self.unsettled() as u64;
        self.begun.iter_mut().for_each(|b| b.stage = Stage::Waiting);
    }

    /// The monotonic time at which [`Outbox::next_to_send`] may have something again, where a
    /// refusal made it wait.
    pub fn wake_at(&self, now: Now) -> Option<Duration> {
        (self.paused_until > now.monotonic && self.events > 0).then_some(self.paused_until)
    }

    /// Whether events of an earlier link wait for their acknowledgement.
    pub fn has_unsettled(&self) -> bool {
        self.unsettled() > 0
    }

    fn unsettled(&self) -> usize {
        self.begun.iter().filter(|b| matches!(b.stage, Stage::Unsettled(_))).count()
    }

    fn fits(&self, bytes: usize) -> bool {
        self.events < self.limits.events && self.bytes + bytes <= self.limits.bytes
    }

    /// The event at `from` or the first one behind it, whether it waits or is on its way.
    fn seek(&mut self, from: Position) -> Option<Stored> {
        let found = self.store.next(from);
        self.reckon();
        found
    }

    /// Counts what the store found no more.
    fn reckon(&mut self) {
        let Lost { events, bytes } = self.store.take_lost();
        self.counters.unreadable += events as u64;
        self.events = self.events.saturating_sub(events);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn is_waiting(&self, position: Position) -> bool {
        self.begun
            .binary_search_by_key(&position, |b| b.stored.position)
            .map_or(true, |at| self.begun[at].stage == Stage::Waiting)
    }

    /// The oldest that waits: one that was refused, as those were handed out first, or the first
    /// that never was.
    fn first_waiting(&mut self) -> Option<Stored> {
        let refused = self.begun.iter().find(|b| b.stage == Stage::Waiting).map(|b| b.stored);
        refused.or_else(|| self.seek(self.frontier))
    }

    /// The record; drops the event where the store has it no longer. A store that fails is counted
    /// and the event is dropped as unreadable as well: it must not stop those behind it.
    fn read(&mut self, stored: Stored, now: Now) -> Option<Record> {
        let found = match self.store.read(stored.position) {
            Ok(found) => found,
            Err(e) => {
                self.counters.store_errors += 1;
                log::error!(
                    "An event cannot be read back: position={} error={e}.",
                    stored.position
                );
                None
            }
        };
        if found.is_none() {
            self.leave_as(stored, Fate::Unreadable, None, now);
        }
        found
    }

    /// Takes an event out, under a name.
    fn leave(&mut self, stored: Stored, fate: Fate, now: Now) {
        let known = self.begun.iter().find(|b| b.stored.position == stored.position).map(|b| b.id);
        let id = known.or_else(|| self.store.read(stored.position).ok().flatten().map(|r| r.id));
        self.leave_as(stored, fate, id, now);
    }

    fn leave_as(&mut self, stored: Stored, fate: Fate, id: Option<EventId>, now: Now) {
        let position = stored.position;
        self.begun.retain(|b| b.stored.position != position);
        let removed = if fate == Fate::Revoked {
            self.store.wipe(position)
        } else {
            self.store.remove(position)
        };
        self.reckon();
        let shown = id.map_or_else(|| format!("position {position}"), |id| id.to_string());
        match removed {
            // The store has lost it meanwhile, with others, and it is counted as that.
            Ok(false) => return,
            Ok(true) => {}
            Err(e) => {
                self.counters.store_errors += 1;
                log::warn!("A settled event may come again after a restart: id={shown} error={e}.");
            }
        }
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(stored.bytes as usize);
        let counter = match fate {
            Fate::Delivered => &mut self.counters.delivered,
            Fate::Expired => &mut self.counters.expired,
            Fate::Dropped => &mut self.counters.dropped,
            Fate::GivenUp => &mut self.counters.given_up,
            Fate::Revoked => &mut self.counters.revoked,
            Fate::Unreadable | Fate::Taken | Fate::Recovered => &mut self.counters.unreadable,
        };
        *counter += 1;
        match fate {
            Fate::Expired => log::warn!("A candidate expired before a broker took it: id={shown}."),
            Fate::Dropped => {
                log::warn!("The oldest candidate is dropped, as the outbox is full: id={shown}.")
            }
            _ => {}
        }
        if let Some(witness) = &mut self.witness {
            witness.note(fate, position, id, Some(now.wall));
        }
    }
}

#[cfg(test)]
mod tests;
