//! What still has to be delivered, in the order of its decision. Sans-IO: the clock and the
//! randomness are arguments, and storage is a [`Store`].
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
//! * Only a PUBACK with a success code retires an event as delivered, or, where receipts are
//!   required, only a receipt of its very bytes. Otherwise it leaves under a
//!   counted name: expired, dropped because the outbox was full (the oldest that is not on its way
//!   goes first), given up because the broker called this very message invalid [`MAX_REFUSALS`]
//!   times, revoked, or unreadable in the store.
//! * `appended + recovered = delivered + expired + dropped + given_up + revoked + unreadable +
//!   len()`, always.
//! * An event that waits for a receipt goes out again after a while, and on each new link.
//! * Events are handed out in the order of their positions. After a refusal, and on a new link,
//!   only one is on its way at a time until one succeeds, so that the order is kept.
//! * What is refused for the broker's reasons (not authorized, quota), or was sent while nobody
//!   subscribed, is tried again with back-off until it succeeds or expires.
//! * An event over which the broker ends the link again and again goes out without its crop, and
//!   then is set aside, so that it holds up none after it; so is one that is larger than the broker
//!   allows. It expires like any other.
//! * Events and bytes are bounded. Expiry follows the wall clock, as the event says it.
//! * Each event that is taken, found, or leaves is reported to a [`Witness`], by its id.
//! * Memory does not grow with the queue. The store knows where events are; known here are their
//!   number and those that are on their way, [`MAX_WINDOW`] at most.
//!
//! Not promised: order within a window of which the first event is refused and a later one is not,
//! because the access list or the subscriber changed in between. The first then arrives late.
//!
//! | file | one job |
//! |---|---|
//! | this | the state, its bounds, taking events |
//! | `flight` | events on their way: handed out, sent, acknowledged, sent again |
//! | `leave` | how events leave, under which name |
//! | `fate` | the names and the counts |
//! | `store` | the store as a trait, and the one in memory |
//! | [`disk`] | the store on a disk |
//! | `ledger` | the file that says what became of each event |

pub mod disk;
mod fate;
mod flight;
mod leave;
pub(super) mod ledger;
mod store;

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

pub use self::fate::{Counters, Fate, Witness};
use self::flight::Begun;
pub use self::flight::{
    AckOutcome, AsideReason, MAX_ASIDE, MAX_REFUSALS, MAX_UNHEARD_WAIT, Settled,
};
pub use self::store::{
    CarriedLog, EventRecord, Lost, MemoryStore, OutboxStoreError, QueuePosition, Recovered, Store,
    StoreHealth, Stored, nanoseconds,
};
use crate::backoff::{Backoff, NO_JITTER};
use crate::clock::Now;
use crate::delivery::event::EventId;

/// Most events on their way at a time, whatever a broker allows.
pub const MAX_WINDOW: usize = 32;
/// Events that were handed out and have not left.
const MAX_BEGUN: usize = MAX_WINDOW + MAX_ASIDE + 1;
/// Most events that are taken together: a candidate, its entry of the audit log, and the entry that
/// says how many before it are missing.
pub const TOGETHER: usize = 3;
/// Events that are stored by one write and one sync, in their order.
pub type Together = heapless::Vec<EventRecord, TOGETHER>;
/// For how long a store may keep what it holds for the audit log alone: one sync of the log settles
/// what came meanwhile.
const KEPT_FOR_LOG: Duration = Duration::from_secs(30);
/// What goes with events to the disk so that the audit log need not be synced for them.
#[derive(Clone)]
pub struct Carried {
    /// For the store, which does not look into it.
    pub bytes: Vec<u8>,
    /// Records that the log has with it.
    pub records: u64,
    /// The log.
    pub log: Arc<dyn CarriedLog>,
    /// The log's checkpoint, which may be published once all is durable.
    pub checkpoint: String,
    /// What is said to witnesses then.
    pub announcement: Option<String>,
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carried").field("records", &self.records).finish_non_exhaustive()
    }
}

/// Events that are stored by one write, and what goes with them.
#[derive(Debug, Clone)]
pub struct Batch {
    /// In their order.
    pub events: Together,
    /// For the audit log.
    pub carried: Option<Box<Carried>>,
}

/// Largest event in bytes; a crop of [`super::event::MAX_CROP`] in base64 fits.
pub const MAX_EVENT: usize = 128 * 1024;

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
    #[error(
        "the event has {0} bytes and {MAX_EVENT} are allowed; lower {event_crop_quality}, or set \
         {event_crop} = false",
        event_crop_quality = setting!(event.crop_quality),
        event_crop = setting!(event.crop)
    )]
    TooLarge(usize),
    /// It had expired before it came.
    #[error(
        "the event has expired already; check the clock and {broker_event_expiry_s}",
        broker_event_expiry_s = setting!(broker.event_expiry_s)
    )]
    Expired,
    /// Everything in the outbox is on its way, so that nothing may be dropped for it.
    #[error(
        "the outbox is full of events on their way; raise {broker_outbox_events}",
        broker_outbox_events = setting!(broker.outbox_events)
    )]
    Full,
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] OutboxStoreError),
}

/// The outbox. See the module's documentation for the states of an event.
pub struct Outbox<S> {
    store: S,
    limits: Limits,
    /// Events that have not left, and the bytes of their payloads.
    events: usize,
    bytes: usize,
    next_position: QueuePosition,
    /// Events at or after it were never handed out; those before it that have not left are in
    /// `begun`.
    frontier: QueuePosition,
    window: usize,
    /// Ascending in position. Never more than fit: an event is handed out only when all before it
    /// were, no more than a window of them is out, and few are set aside.
    begun: heapless::Vec<Begun, MAX_BEGUN>,
    /// After a refusal: nothing is handed out before this monotonic time.
    paused_until: Duration,
    /// After a refusal and until a success: one at a time.
    probing: bool,
    /// The broker refused what went out last.
    refused: bool,
    backoff: Backoff,
    /// Something that the store could not read was met.
    stalled: bool,
    /// When the store is read again after that.
    reading: Backoff,
    /// Events are lost where the process ends.
    in_memory: bool,
    /// Since when the store keeps something for the audit log alone.
    kept_since: Option<Duration>,
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
    pub fn new(mut store: S, limits: Limits) -> Result<Self, OutboxStoreError> {
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
            refused: false,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            stalled: false,
            reading: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            in_memory: false,
            kept_since: None,
            witness: None,
        })
    }

    /// Reports to `witness` from now on, and first what was recovered.
    pub fn report_to(&mut self, mut witness: Box<dyn Witness>) {
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

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How the store is.
    pub fn store_health(&self) -> StoreHealth {
        self.store.health()
    }

    /// Takes events that belong together, last in order, by one write and one sync of the store.
    /// Where there is no room, expired events and then the oldest waiting ones go. Returns those
    /// that are not taken, each with why; they are counted, and the others are taken.
    pub fn append_together(
        &mut self,
        records: &[EventRecord],
        now: Now,
    ) -> Vec<(EventId, AppendError)> {
        let mut refused = Vec::new();
        let mut together = heapless::Vec::<&EventRecord, TOGETHER>::new();
        for record in records {
            // What has to go for it may be one of these.
            if together.is_full() || !self.fits(record.payload.len()) {
                self.store_together(&mut together, now, &mut refused);
            }
            match self.make_room(record, now) {
                Ok(()) => together.push(record).expect("it is not full, or was emptied"),
                Err(e) => refused.push((record.id, e)),
            }
        }
        self.store_together(&mut together, now, &mut refused);
        refused
    }

    /// Takes all of the events, with what they carry for the audit log, by one write and one sync;
    /// false where they cannot be taken so: nothing is taken then.
    pub fn append_carrying(&mut self, records: &[EventRecord], carried: &[u8], now: Now) -> bool {
        let bytes: usize = records.iter().map(|r| r.payload.len()).sum();
        let is_good = |r: &EventRecord| r.payload.len() <= MAX_EVENT && r.expires > now.wall;
        let together: heapless::Vec<&EventRecord, TOGETHER> = records.iter().collect();
        let fit = self.events + records.len() <= self.limits.events
            && self.bytes + bytes <= self.limits.bytes;
        if !fit || !records.iter().all(is_good) {
            return false;
        }
        if self.store.append_carrying(self.next_position, &together, carried).is_err() {
            // They may be on the disk all the same.
            self.next_position += records.len() as u64;
            return false;
        }
        self.events += records.len();
        self.bytes += bytes;
        records.iter().for_each(|record| self.taken(record, now));
        true
    }

    /// Whether [`Outbox::append_carrying`] is likely to take events.
    pub fn carries(&self) -> bool {
        self.store.carries()
    }

    /// Lets go of what is kept for the audit log alone: at once where the log needs it no more,
    /// otherwise after a while, or where it is the end.
    pub fn let_go_of_carried(&mut self, now: Now, end: bool) {
        if !self.store.waits_for_log() {
            self.kept_since = None;
            return;
        }
        let since = *self.kept_since.get_or_insert(now.monotonic);
        let settle = end || now.monotonic.saturating_sub(since) >= KEPT_FOR_LOG;
        self.store.let_go_of_carried(settle);
        if settle {
            self.kept_since = None;
        }
    }

    /// Stores events that have their places; one by one where the store does not take them as one.
    fn store_together(
        &mut self,
        records: &mut heapless::Vec<&EventRecord, TOGETHER>,
        now: Now,
        refused: &mut Vec<(EventId, AppendError)>,
    ) {
        if records.is_empty() {
            return;
        }
        let stored = self.store.append_together(self.next_position, records).is_ok();
        for record in std::mem::take(records) {
            if stored {
                self.taken(record, now);
            } else if let Err(e) = self.store_one(record, now) {
                refused.push((record.id, e));
            }
        }
    }

    /// Checks an event and keeps a place for it.
    fn make_room(&mut self, record: &EventRecord, now: Now) -> Result<(), AppendError> {
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
        self.events += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Stores an event that has its place.
    fn store_one(&mut self, record: &EventRecord, now: Now) -> Result<(), AppendError> {
        if let Err(e) = self.store.append(self.next_position, record) {
            self.counters.store_errors += 1;
            self.events = self.events.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(record.payload.len());
            return Err(e.into());
        }
        self.taken(record, now);
        Ok(())
    }

    /// Counts an event that was stored at the next position.
    fn taken(&mut self, record: &EventRecord, now: Now) {
        let position = self.next_position;
        self.next_position += 1;
        self.counters.appended += 1;
        if let Some(witness) = &mut self.witness {
            witness.note(Fate::Taken, position, Some(record.id), Some(now.wall));
        }
        if self.store.health().in_memory > 0 {
            self.in_memory = true;
            if let Some(witness) = &mut self.witness {
                witness.note(Fate::InMemory, position, Some(record.id), Some(now.wall));
            }
        } else {
            self.note_flushed();
        }
    }

    fn fits(&self, bytes: usize) -> bool {
        self.events < self.limits.events && self.bytes + bytes <= self.limits.bytes
    }

    /// The event at `from` or the first one after it, whether it waits or is on its way; `None`,
    /// too, where the store cannot be read for now.
    fn seek(&mut self, from: QueuePosition) -> Option<Stored> {
        let found = self.store.next(from);
        self.stalled |= self.store.take_stalled();
        self.count_lost();
        found
    }

    /// Waits, longer and longer, where something could not be read. What is asked for meanwhile,
    /// by a new connection or an acknowledgement, makes no wait longer.
    fn wait_if_stalled(&mut self, now: Now) {
        if std::mem::take(&mut self.stalled) {
            self.counters.store_errors += 1;
            if self.reading.left(now.monotonic).is_zero() {
                self.reading.failed(now.monotonic, NO_JITTER);
                self.store.round_failed();
            }
        }
    }

    /// Tries to write to the disk what is only in memory.
    pub fn flush(&mut self) {
        if self.in_memory {
            self.store.flush();
            self.note_flushed();
        }
    }

    fn note_flushed(&mut self) {
        if self.in_memory && self.store.health().in_memory == 0 {
            self.in_memory = false;
            let last = self.next_position.saturating_sub(1);
            if let Some(witness) = &mut self.witness {
                witness.note(Fate::Stored, last, None, None);
            }
        }
    }

    /// Counts what the store no longer found.
    fn count_lost(&mut self) {
        let Lost { events, bytes } = self.store.take_lost();
        self.counters.unreadable += events as u64;
        self.events = self.events.saturating_sub(events);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests;
