//! What becomes of events: the names under which they leave, and how many left under each.

use serde::Serialize;
use time::OffsetDateTime;

use super::QueuePosition;
use crate::delivery::event::EventId;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The outbox took it: from here on it is owed.
    Taken,
    /// It is in memory only, as the disk does not take it: lost where the process ends, until
    /// `stored`.
    InMemory,
    /// It and all before it that wait are on the disk.
    Stored,
    /// An earlier run had taken it, and it waits.
    Recovered,
    /// The broker acknowledged it with success.
    Delivered,
    /// It was too old when its turn came.
    Expired,
    /// It was the oldest in a full outbox.
    Dropped,
    /// The broker called it invalid, or too many were set aside.
    GivenUp,
    /// What it is about was revoked.
    Revoked,
    /// The store has it no longer.
    Unreadable,
}

/// Records what becomes of each event. Must not block for long: it is called between two events.
pub trait Witness: Send {
    /// `id` is absent where the store could not say it.
    fn note(
        &mut self,
        fate: Fate,
        position: QueuePosition,
        id: Option<EventId>,
        now: Option<OffsetDateTime>,
    );
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
    /// Set aside, as the broker ended the link over them or takes no packet as large.
    pub set_aside: u64,
    /// Acknowledgements that said no.
    pub refusals: u64,
    /// Acknowledgements that said that nobody listens.
    pub unheard: u64,
    /// Sent once more, because a link ended before the acknowledgement.
    pub repeated: u64,
}

impl Counters {
    /// Counts an event that left.
    pub(super) fn count(&mut self, fate: Fate) {
        let counter = match fate {
            Fate::Delivered => &mut self.delivered,
            Fate::Expired => &mut self.expired,
            Fate::Dropped => &mut self.dropped,
            Fate::GivenUp => &mut self.given_up,
            Fate::Revoked => &mut self.revoked,
            Fate::Unreadable | Fate::Taken | Fate::InMemory | Fate::Stored | Fate::Recovered => {
                &mut self.unreadable
            }
        };
        *counter += 1;
    }
}
