//! How events leave the outbox: acknowledged, expired, revoked or lost, each under its name.

use super::{EventRecord, Fate, Outbox, Store, Stored, nanoseconds};
use crate::clock::Now;
use crate::delivery::event::EventId;

/// What became of reading an event back.
pub(super) enum ReadBack {
    /// As it was taken.
    Record(EventRecord),
    /// It is not there, or not whole.
    Gone,
    /// The store cannot be read for now.
    Later,
}

impl<S: Store> Outbox<S> {
    /// Wipes the events whose payload is `revoked`, those on their way included: they are not sent
    /// again, and the store wipes their bytes. Returns how many there were, and whether all that
    /// wait were looked at: where not, it has to be called again.
    pub fn revoke(&mut self, mut revoked: impl FnMut(&[u8]) -> bool, now: Now) -> (u64, bool) {
        let before = self.counters.revoked;
        let (mut from, mut complete) = (0, true);
        while let Some(stored) = self.seek(from) {
            match self.read(stored, now) {
                ReadBack::Record(record) if revoked(&record.payload) => {
                    self.leave_as(stored, Fate::Revoked, Some(record.id), now);
                }
                ReadBack::Record(_) | ReadBack::Gone => {}
                ReadBack::Later => complete = false,
            }
            let Some(next) = stored.position.checked_add(1) else { break };
            from = next;
        }
        complete &= !self.stalled;
        self.wait_if_stalled(now);
        if let Err(e) = self.store.scrub() {
            self.counters.store_errors += 1;
            log::error!(
                "Revoked candidates are not delivered, but their bytes are still on the disk: \
                 error={e}."
            );
        }
        (self.counters.revoked - before, complete)
    }

    /// Drops every waiting event that has expired.
    pub fn expire(&mut self, now: Now) {
        let deadline = nanoseconds(now.wall);
        let mut from = 0;
        loop {
            let found = self.store.next_expired(from, deadline);
            self.stalled |= self.store.take_stalled();
            self.count_lost();
            let Some(stored) = found else { break };
            if self.is_waiting(stored.position) {
                self.leave(stored, Fate::Expired, now);
            }
            let Some(next) = stored.position.checked_add(1) else { break };
            from = next;
        }
        self.wait_if_stalled(now);
    }

    /// The record. Where the store has it no longer, or it is not whole, the event is dropped.
    /// Where the store cannot be read for now, the event stays.
    pub(super) fn read(&mut self, stored: Stored, now: Now) -> ReadBack {
        match self.store.read(stored.position) {
            Ok(Some(record)) => {
                self.reading.reset();
                ReadBack::Record(record)
            }
            Ok(None) => {
                self.leave_as(stored, Fate::Unreadable, None, now);
                ReadBack::Gone
            }
            Err(e) => {
                let _ = self.store.take_stalled();
                if self.reading.left(now.monotonic).is_zero() {
                    log::error!(
                        "An event cannot be read back and is tried again: position={} error={e}.",
                        stored.position
                    );
                }
                self.stalled = true;
                self.wait_if_stalled(now);
                ReadBack::Later
            }
        }
    }

    /// Takes an event out, under a name.
    pub(super) fn leave(&mut self, stored: Stored, fate: Fate, now: Now) {
        let known = self.begun.iter().find(|b| b.stored.position == stored.position).map(|b| b.id);
        let id = known.or_else(|| self.store.read(stored.position).ok().flatten().map(|r| r.id));
        self.leave_as(stored, fate, id, now);
    }

    pub(super) fn leave_as(&mut self, stored: Stored, fate: Fate, id: Option<EventId>, now: Now) {
        let position = stored.position;
        self.begun.retain(|b| b.stored.position != position);
        let removed = if fate == Fate::Revoked {
            self.store.wipe(position)
        } else {
            self.store.remove(position)
        };
        self.count_lost();
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
        self.counters.count(fate);
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
