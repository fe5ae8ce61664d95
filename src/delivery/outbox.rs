//! What still has to be delivered, in the order of its decision. Sans-IO: the clock and the randomness are arguments, and
//! storage is behind [`Store`].
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
//! * An event is retired only by a PUBACK with a success code. Otherwise it leaves under a counted name: expired, dropped
//!   because the outbox was full (the oldest that is not on its way goes first), given up because the broker called
//!   this very message invalid [`MAX_REFUSALS`] times, or unreadable in the store.
//! * `appended + recovered = delivered + expired + dropped + given_up + unreadable + len()`, always.
//! * Events are handed out in the order of their positions. After a refusal only one is on its way at a time, so that
//!   order is kept; refusals for the broker's reasons (not authorized, quota) are repeated with back-off until they
//!   succeed or the event expires.
//! * Events and bytes are bounded. Expiry follows the wall clock, as the event says it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::backoff::Backoff;
use super::event::EventId;
use crate::clock::Now;

/// Most events on their way at a time, whatever a broker allows.
pub const MAX_WINDOW: usize = 32;
/// Largest event in bytes; a crop of [`super::event::MAX_CROP`] in base64 fits.
pub const MAX_EVENT: usize = 128 * 1024;
/// How often one message may be called invalid before it is given up.
pub const MAX_REFUSALS: u8 = 5;

/// Place of an event in the order of decisions; grows by one with each append and is never used again.
pub type Position = u64;

/// An event as it will be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The event's id, for logs and for consumers that drop repetitions.
    pub id: EventId,
    /// From then on it is dropped instead of sent.
    pub expires: OffsetDateTime,
    /// The payload, byte for byte. Wiped when dropped: it may hold the crop of a face.
    pub payload: Zeroizing<Vec<u8>>,
}

/// What the outbox keeps in memory about an event in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub position: Position,
    /// Its id.
    pub id: EventId,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// Bytes of its payload.
    pub bytes: usize,
}

/// Why a store could not do something.
#[derive(Debug, thiserror::Error)]
#[error("the event store failed to {action}: {source}")]
pub struct StoreError {
    /// What was tried, as in `append`.
    pub action: &'static str,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// Where events lie until they are delivered. One caller, one thread; order and bounds are the outbox's affair.
pub trait Store: Send {
    /// What an earlier run left, in ascending order of position. Called once, before anything else.
    ///
    /// # Errors
    /// Where nothing can be read; single bad records are skipped and counted by the store.
    fn recover(&mut self) -> Result<Vec<Stored>, StoreError>;

    /// Keeps `record` at `position`, which is higher than all before; it is as durable as the store can make it when this
    /// returns.
    ///
    /// # Errors
    /// Where it is not kept.
    fn append(&mut self, position: Position, record: &Record) -> Result<(), StoreError>;

    /// Reads it back; `None` where it is not there or not whole.
    ///
    /// # Errors
    /// Where reading failed and may succeed later.
    fn read(&mut self, position: Position) -> Result<Option<Record>, StoreError>;

    /// Forgets it; unknown positions are ignored.
    ///
    /// # Errors
    /// Where it may come back after a restart.
    fn remove(&mut self, position: Position) -> Result<(), StoreError>;
}

/// Keeps events in memory: lost with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: VecDeque<(Position, Record)>,
}

impl MemoryStore {
    fn index(&self, position: Position) -> Option<usize> {
        self.records.binary_search_by_key(&position, |(p, _)| *p).ok()
    }
}

impl Store for MemoryStore {
    fn recover(&mut self) -> Result<Vec<Stored>, StoreError> {
        Ok(Vec::new())
    }

    fn append(&mut self, position: Position, record: &Record) -> Result<(), StoreError> {
        self.records.push_back((position, record.clone()));
        Ok(())
    }

    fn read(&mut self, position: Position) -> Result<Option<Record>, StoreError> {
        Ok(self.index(position).map(|i| self.records[i].1.clone()))
    }

    fn remove(&mut self, position: Position) -> Result<(), StoreError> {
        if let Some(i) = self.index(position) {
            self.records.remove(i);
        }
        Ok(())
    }
}

impl Store for Box<dyn Store> {
    fn recover(&mut self) -> Result<Vec<Stored>, StoreError> {
        (**self).recover()
    }

    fn append(&mut self, position: Position, record: &Record) -> Result<(), StoreError> {
        (**self).append(position, record)
    }

    fn read(&mut self, position: Position) -> Result<Option<Record>, StoreError> {
        (**self).read(position)
    }

    fn remove(&mut self, position: Position) -> Result<(), StoreError> {
        (**self).remove(position)
    }
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
    /// Of those: the broker said that nobody listens.
    pub unheard: u64,
    /// Too old when their turn came.
    pub expired: u64,
    /// The oldest, dropped because the outbox was full.
    pub dropped: u64,
    /// Called invalid by the broker too often.
    pub given_up: u64,
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
    /// Sent once more, because a link ended before the acknowledgement.
    pub repeated: u64,
}

/// What a broker's acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Success (0x00).
    Delivered,
    /// No matching subscribers (0x10): also success, nobody listens.
    Unheard,
    /// Refused for a reason that has nothing to do with this message: not authorized, quota, unspecified.
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
    Waiting,
    /// With the client, which has not given it a packet id yet.
    Handed,
    /// Sent on this link.
    Flying(u16),
    /// Sent on an earlier link of a session that the broker may have kept.
    Unsettled(u16),
}

#[derive(Debug)]
struct Entry {
    stored: Stored,
    stage: Stage,
    invalid: u8,
    sent_at: Option<OffsetDateTime>,
}

/// The outbox. See the module's documentation for the states of an event.
#[derive(Debug)]
pub struct Outbox<S> {
    store: S,
    limits: Limits,
    /// All events, ascending in position; those not waiting are among the first few.
    entries: VecDeque<Entry>,
    bytes: usize,
    next_position: Position,
    window: usize,
    /// Positions that are not waiting.
    away: heapless::Vec<Position, MAX_WINDOW>,
    /// After a refusal: nothing is handed out before this monotonic time.
    paused_until: Duration,
    /// After a refusal and until a success: one at a time.
    probing: bool,
    backoff: Backoff,
    counters: Counters,
}

impl<S: Store> Outbox<S> {
    /// Takes over a store with what an earlier run left in it.
    ///
    /// # Errors
    /// Where the store cannot be read at all.
    pub fn new(mut store: S, limits: Limits) -> Result<Self, StoreError> {
        let recovered = store.recover()?;
        let counters = Counters { recovered: recovered.len() as u64, ..Counters::default() };
        let entries: VecDeque<Entry> = recovered
            .into_iter()
            .map(|stored| Entry { stored, stage: Stage::Waiting, invalid: 0, sent_at: None })
            .collect();
        Ok(Self {
            bytes: entries.iter().map(|e| e.stored.bytes).sum(),
            next_position: entries.back().map_or(0, |e| e.stored.position + 1),
            entries,
            store,
            limits: Limits { events: limits.events.max(1), bytes: limits.bytes.max(MAX_EVENT) },
            window: MAX_WINDOW,
            away: heapless::Vec::new(),
            paused_until: Duration::ZERO,
            probing: false,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            counters,
        })
    }

    /// Events not yet delivered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything was delivered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of payload not yet delivered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events handed out and not settled.
    pub fn in_flight(&self) -> usize {
        self.away.len()
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Most events on their way, from what the broker allows; 1 to [`MAX_WINDOW`].
    pub fn set_window(&mut self, window: usize) {
        self.window = window.clamp(1, MAX_WINDOW);
    }

    /// Takes an event behind all others. Where there is no room, expired events and then the oldest waiting ones go.
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
            let Some(oldest) = self.entries.iter().position(|e| e.stage == Stage::Waiting) else {
                self.counters.full += 1;
                return Err(AppendError::Full);
            };
            self.remove(oldest);
            self.counters.dropped += 1;
        }
        let position = self.next_position;
        if let Err(e) = self.store.append(position, record) {
            self.counters.store_errors += 1;
            return Err(e.into());
        }
        self.next_position += 1;
        let stored = Stored { position, id: record.id, expires: record.expires, bytes };
        self.entries.push_back(Entry { stored, stage: Stage::Waiting, invalid: 0, sent_at: None });
        self.bytes += bytes;
        self.counters.appended += 1;
        Ok(position)
    }

    /// Drops every waiting event that has expired.
    pub fn expire(&mut self, now: Now) {
        let mut i = 0;
        while i < self.entries.len() {
            let entry = &self.entries[i];
            if entry.stage == Stage::Waiting && entry.stored.expires <= now.wall {
                self.remove(i);
                self.counters.expired += 1;
            } else {
                i += 1;
            }
        }
    }

    /// The oldest waiting event, which is then handed out, and the time to say that it was sent. `None` where there is
    /// none, the window is full, a refusal asks for patience, or events of an earlier link are not settled: they go first.
    pub fn next_to_send(&mut self, now: Now) -> Option<(Position, Record)> {
        let window = if self.probing { 1 } else { self.window };
        if self.away.len() >= window || now.monotonic < self.paused_until || self.unsettled() > 0 {
            return None;
        }
        loop {
            let i = self.entries.iter().position(|e| e.stage == Stage::Waiting)?;
            let stored = self.entries[i].stored;
            if stored.expires <= now.wall {
                self.remove(i);
                self.counters.expired += 1;
                continue;
            }
            if let Some(record) = self.read(i) {
                self.away.push(stored.position).expect("the window is at most MAX_WINDOW");
                self.entries[i].stage = Stage::Handed;
                self.entries[i].sent_at = Some(now.wall);
                return Some((stored.position, record));
            }
        }
    }

    /// The client gave the event at `position` a packet id.
    pub fn sent(&mut self, position: Position, packet: u16) {
        if let Some(entry) = self.entry(position)
            && entry.stage == Stage::Handed
        {
            entry.stage = Stage::Flying(packet);
        }
    }

    /// An acknowledgement came. `random` spreads the back-off after a refusal.
    pub fn settle(&mut self, packet: u16, verdict: Verdict, now: Now, random: u32) -> Settled {
        let flying = |e: &Entry| matches!(e.stage, Stage::Flying(p) | Stage::Unsettled(p) if p == packet);
        // Events on their way are among the first of the queue, so the search is short wherever it succeeds.
        let Some(i) = self.away.iter().find_map(|p| self.index(*p).filter(|i| flying(&self.entries[*i]))) else {
            return Settled::Unknown;
        };
        let id = self.entries[i].stored.id;
        if matches!(verdict, Verdict::Delivered | Verdict::Unheard) {
            self.remove(i);
            self.counters.delivered += 1;
            self.counters.unheard += u64::from(verdict == Verdict::Unheard);
            self.probing = false;
            self.paused_until = Duration::ZERO;
            self.backoff.reset();
            return Settled::Delivered(id);
        }
        self.counters.refusals += 1;
        self.wait_again(i);
        let entry = &mut self.entries[i];
        entry.invalid += u8::from(verdict == Verdict::Invalid);
        if entry.invalid >= MAX_REFUSALS {
            self.give_up(i);
            return Settled::GivenUp(id);
        }
        self.probing = true;
        // Refusals of a whole window come together and are one reason to wait.
        if now.monotonic >= self.paused_until {
            self.paused_until = now.monotonic + self.backoff.next(random);
        }
        Settled::Again(id, self.paused_until - now.monotonic)
    }

    /// An event handed out cannot be sent at all on this link, as larger than the broker allows.
    pub fn reject(&mut self, position: Position) {
        if let Some(i) = self.index(position) {
            self.give_up(i);
        }
    }

    /// The link ended. What was handed over waits again; what was sent stays with its packet id until the broker says
    /// whether it kept the session.
    pub fn disconnected(&mut self) {
        for position in self.away.clone() {
            let Some(i) = self.index(position) else { continue };
            match self.entries[i].stage {
                Stage::Flying(packet) => self.entries[i].stage = Stage::Unsettled(packet),
                Stage::Handed => self.wait_again(i),
                Stage::Waiting | Stage::Unsettled(_) => {}
            }
        }
    }

    /// Events of an earlier link, oldest first, to be sent again under the same packet id with the DUP flag if the broker
    /// kept the session. Expired ones are dropped. Third: when it was sent first.
    pub fn unsettled_events(&mut self, now: Now) -> heapless::Vec<(u16, Record, OffsetDateTime), MAX_WINDOW> {
        let mut out = heapless::Vec::new();
        let mut positions = self.away.clone();
        positions.sort_unstable();
        for position in positions {
            let Some(i) = self.index(position) else { continue };
            let Stage::Unsettled(packet) = self.entries[i].stage else { continue };
            if self.entries[i].stored.expires <= now.wall {
                self.remove(i);
                self.counters.expired += 1;
            } else if let Some(record) = self.read(i) {
                let sent_at = self.entries[i].sent_at.unwrap_or(now.wall);
                out.push((packet, record, sent_at)).expect("no more are away than fit");
            }
        }
        out
    }

    /// The broker kept the session: what was not settled is being sent again.
    pub fn session_kept(&mut self) {
        self.counters.repeated += self.unsettled() as u64;
    }

    /// The broker knows nothing of an earlier session: what was not settled waits again, in its place.
    pub fn session_lost(&mut self) {
        self.counters.repeated += self.unsettled() as u64;
        for position in self.away.clone() {
            if let Some(i) = self.index(position) {
                self.wait_again(i);
            }
        }
    }

    /// The monotonic time at which [`Outbox::next_to_send`] may have something again, where a refusal made it wait.
    pub fn wake_at(&self, now: Now) -> Option<Duration> {
        (self.paused_until > now.monotonic && !self.entries.is_empty()).then_some(self.paused_until)
    }

    /// Whether events of an earlier link wait for their acknowledgement.
    pub fn has_unsettled(&self) -> bool {
        self.unsettled() > 0
    }

    fn unsettled(&self) -> usize {
        let is = |p: &&Position| self.index(**p).is_some_and(|i| matches!(self.entries[i].stage, Stage::Unsettled(_)));
        self.away.iter().filter(is).count()
    }

    fn fits(&self, bytes: usize) -> bool {
        self.entries.len() < self.limits.events && self.bytes + bytes <= self.limits.bytes
    }

    fn index(&self, position: Position) -> Option<usize> {
        self.entries.binary_search_by_key(&position, |e| e.stored.position).ok()
    }

    fn entry(&mut self, position: Position) -> Option<&mut Entry> {
        self.index(position).map(|i| &mut self.entries[i])
    }

    fn wait_again(&mut self, i: usize) {
        let entry = &mut self.entries[i];
        entry.stage = Stage::Waiting;
        let position = entry.stored.position;
        self.away.retain(|p| *p != position);
    }

    fn give_up(&mut self, i: usize) {
        self.remove(i);
        self.counters.given_up += 1;
    }

    /// The record at index `i`; drops the entry where the store has it no longer. A store that fails is counted and the
    /// event is dropped as unreadable as well: it must not stop those behind it.
    fn read(&mut self, i: usize) -> Option<Record> {
        let found = match self.store.read(self.entries[i].stored.position) {
            Ok(found) => found,
            Err(e) => {
                self.counters.store_errors += 1;
                log::error!("An event cannot be read back: id={} error={e}.", self.entries[i].stored.id);
                None
            }
        };
        if found.is_none() {
            self.remove(i);
            self.counters.unreadable += 1;
        }
        found
    }

    fn remove(&mut self, i: usize) {
        let Some(entry) = self.entries.remove(i) else { return };
        self.bytes -= entry.stored.bytes;
        self.away.retain(|p| *p != entry.stored.position);
        if let Err(e) = self.store.remove(entry.stored.position) {
            self.counters.store_errors += 1;
            log::warn!("A settled event may come again after a restart: id={} error={e}.", entry.stored.id);
        }
    }
}

#[cfg(test)]
mod tests;
