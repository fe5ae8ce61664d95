//! What passes between the handle's threads and the delivery thread.
//!
//! Promises:
//! * Nothing here blocks for longer than a copy takes.
//! * Events queue in a bounded channel; of status and counts only the newest waits. Of states
//!   of the list, which answer orders, [`MAX_ANSWERS`] wait and then the newest.
//! * A wait for the next input may be dropped at any time without losing one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::event::{EventKind, ListState, Stats, Status};
use super::inbound::{Mailbox, Receipt};
use super::outbox::Batch;
use super::revoked::RevokedCandidates;
use super::snapshot::Snapshot;
use super::topics::AuditSaying;

/// Sets of events between the caller and the outbox. The thread empties it at once; it fills only
/// where storage stalls.
pub(super) const CHANNEL: usize = 64;
/// Most revocations that wait for the thread; it takes them at once.
const MAX_REVOKING: usize = 64;
/// Most statements to witnesses that wait for the thread.
pub(super) const MAX_SAID: usize = 16;
/// Most replies that wait for the thread, and as many for the broker.
pub(super) const MAX_REPLIES: usize = 64;

/// Most states of the list that wait for the thread. Each answers an order or an offer.
pub(super) const MAX_ANSWERS: usize = 64;

/// When to stop, in monotonic time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StopTimes {
    /// Until then waiting candidates are delivered.
    pub(super) drain: Duration,
    /// Then it ends, whatever is left.
    pub(super) end: Duration,
}

impl StopTimes {
    /// From `now` until `end`, of which the candidates may use half.
    pub(super) fn within(now: Duration, end: Duration) -> Self {
        Self { drain: now + end.saturating_sub(now) / 2, end }
    }
}

/// What the handle asks for beside events.
#[derive(Debug, Default)]
pub(super) struct Requested {
    pub(super) status: Option<Status>,
    pub(super) stats: Option<Stats>,
    /// The newest signed checkpoint of the audit log.
    pub(super) checkpoint: Option<String>,
    /// What is said to witnesses, at most [`MAX_SAID`].
    pub(super) said: Vec<(AuditSaying, String)>,
    /// Events that are said once, oldest first, at most [`MAX_REPLIES`].
    pub(super) replies: Vec<(EventKind, Vec<u8>)>,
    /// Oldest first, at most [`MAX_ANSWERS`].
    pub(super) list_states: Vec<ListState>,
    /// Messages to the device that were dealt with.
    pub(super) done: Vec<Receipt>,
    /// At most [`MAX_REVOKING`].
    pub(super) revoke: Vec<RevokedCandidates>,
    /// Until when the end may take. Counted from the request: however late the thread comes to it,
    /// it has no more time.
    pub(super) stop: Option<StopTimes>,
}

/// What the handle and the thread share.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    requested: Mutex<Requested>,
    /// Rung after each change of `requested`.
    bell: Notify,
    snapshot: Mutex<Snapshot>,
    not_taken: AtomicU64,
    replies_dropped: AtomicU64,
    /// What the broker kept for this device has all come once, and was dealt with.
    heard: AtomicBool,
    /// The outbox takes what is carried for the audit log, as far as the thread knows.
    carries: AtomicBool,
    pub(super) mailbox: Mailbox,
}

impl Exchange {
    /// Changes what is asked for and wakes the thread.
    pub(super) fn request<T>(&self, change: impl FnOnce(&mut Requested) -> T) -> T {
        let changed = change(&mut lock(&self.requested));
        self.bell.notify_one();
        changed
    }

    /// Asks for candidates to be wiped; false where too many revocations wait already.
    pub(super) fn revoke(&self, revoked: RevokedCandidates) -> bool {
        self.request(|requested| {
            let taken = requested.revoke.len() < MAX_REVOKING;
            if taken {
                requested.revoke.push(revoked);
            }
            taken
        })
    }

    /// Adds a state of the list. Where too many wait it takes the newest one's place: the state is
    /// right, and an answer between is missing.
    pub(super) fn add_list_state(&self, state: ListState) {
        self.request(|requested| {
            requested.list_states.truncate(MAX_ANSWERS - 1);
            requested.list_states.push(state);
        });
    }

    /// Adds what is said to witnesses. Where too much waits it is dropped: they ask again.
    pub(super) fn say(&self, saying: AuditSaying, note: String) {
        self.request(|requested| {
            if requested.said.len() < MAX_SAID {
                requested.said.push((saying, note));
            }
        });
    }

    /// Adds an event that is said once. Where too many wait it is dropped and counted: whoever
    /// waits for it asks again.
    pub(super) fn reply(&self, kind: EventKind, payload: Vec<u8>) {
        let taken = self.request(|requested| {
            let taken = requested.replies.len() < MAX_REPLIES;
            if taken {
                requested.replies.push((kind, payload));
            }
            taken
        });
        if !taken {
            self.count_dropped_reply(kind);
        }
    }

    /// Counts a reply that found no room; not where it is about a control, of which nothing that is
    /// published tells.
    pub(super) fn count_dropped_reply(&self, kind: EventKind) {
        if kind != EventKind::ControlAnswer {
            self.replies_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a candidate that the handle did not take.
    pub(super) fn count_not_taken(&self) {
        self.not_taken.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the outbox takes what is carried for the audit log.
    pub(super) fn carries(&self) -> bool {
        self.carries.load(Ordering::Relaxed)
    }

    /// Shows that.
    pub(super) fn show_carries(&self, carries: bool) {
        self.carries.store(carries, Ordering::Relaxed);
    }

    /// What the broker kept for this device has all come, and was dealt with.
    pub(super) fn all_heard(&self) {
        if !self.heard.swap(true, Ordering::Relaxed) {
            log::info!("All orders that the broker kept for this device were heard.");
        }
    }

    /// Whether that was so once.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Shows how the thread is. It fills in all but `beats` and the handle's own counts.
    pub(super) fn show(&self, snapshot: Snapshot) {
        let mut shown = lock(&self.snapshot);
        *shown = Snapshot { beats: shown.beats + 1, ..snapshot };
    }

    /// What was shown last, with the counts of the handle.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            not_taken: self.not_taken.load(Ordering::Relaxed),
            replies_dropped: self.replies_dropped.load(Ordering::Relaxed),
            inbound: self.mailbox.counters(),
            ..lock(&self.snapshot).clone()
        }
    }
}

/// No invariant spans a panic in these short sections, so that a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One input of the thread.
pub(super) enum WorkerInput {
    Events(Batch),
    Requested(Box<Requested>),
    /// The handle was dropped.
    Orphaned,
}

/// The thread's end of the exchange.
pub(super) struct Inputs {
    pub(super) events: mpsc::Receiver<Batch>,
    pub(super) exchange: Arc<Exchange>,
}

impl Inputs {
    /// The next input; may be dropped and called again at any time without losing one.
    pub(super) async fn next(&mut self) -> WorkerInput {
        tokio::select! {
            events = self.events.recv() => {
                events.map_or(WorkerInput::Orphaned, WorkerInput::Events)
            }
            () = self.exchange.bell.notified() => {
                let requested = std::mem::take(&mut *lock(&self.exchange.requested));
                WorkerInput::Requested(Box::new(requested))
            }
        }
    }
}
