//! What is sent to the device: signed orders and lists, handed on as they came.
//!
//! Promises:
//! * Bounded in number and in bytes. What is too large or finds no room is counted under its name.
//! * Neither putting in nor taking out blocks.
//!
//! Not promised: anything about a message. Nothing is parsed here; the receiver verifies.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use zeroize::Zeroizing;

pub use super::topics::InboundKind;

/// Most bytes of an order.
pub const MAX_ORDER: usize = 32 * 1024;
/// Most bytes of a list that comes over the network; about 13,000 templates. A larger one is
/// installed as a file.
pub const MAX_OFFER: usize = 8 * 1024 * 1024;
/// Orders that wait to be taken.
const ORDERS: usize = 64;
/// Lists that wait to be taken.
const OFFERS: usize = 1;

/// One message, not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// By its topic.
    pub kind: InboundKind,
    /// As it came; wiped when dropped, because a list holds templates.
    pub payload: Zeroizing<Vec<u8>>,
}

/// Counts of what came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct InboundCounters {
    /// Handed on.
    pub taken: u64,
    /// Larger than its kind may be.
    pub oversized: u64,
    /// More than can wait.
    pub dropped: u64,
}

/// Where messages wait between the connection and the daemon.
#[derive(Debug)]
pub struct Mailbox {
    orders: (SyncSender<Inbound>, Mutex<Receiver<Inbound>>),
    offers: (SyncSender<Inbound>, Mutex<Receiver<Inbound>>),
    taken: AtomicU64,
    oversized: AtomicU64,
    dropped: AtomicU64,
}

impl Default for Mailbox {
    fn default() -> Self {
        let channel = |bound| {
            let (sender, receiver) = sync_channel(bound);
            (sender, Mutex::new(receiver))
        };
        Self {
            orders: channel(ORDERS),
            offers: channel(OFFERS),
            taken: AtomicU64::default(),
            oversized: AtomicU64::default(),
            dropped: AtomicU64::default(),
        }
    }
}

impl Mailbox {
    /// Puts a message in, or counts why not.
    pub fn give(&self, kind: InboundKind, payload: &[u8]) {
        let (most, box_) = match kind {
            InboundKind::Revoke | InboundKind::Suspend => (MAX_ORDER, &self.orders),
            InboundKind::Offer => (MAX_OFFER, &self.offers),
        };
        let counter = if payload.len() > most {
            &self.oversized
        } else {
            match box_.0.try_send(Inbound { kind, payload: Zeroizing::new(payload.to_vec()) }) {
                Ok(()) => &self.taken,
                Err(_) => &self.dropped,
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The next message, orders before lists.
    pub fn take(&self) -> Option<Inbound> {
        let next = |receiver: &Mutex<Receiver<Inbound>>| {
            receiver.lock().unwrap_or_else(std::sync::PoisonError::into_inner).try_recv().ok()
        };
        next(&self.orders.1).or_else(|| next(&self.offers.1))
    }

    /// What was counted.
    pub fn counters(&self) -> InboundCounters {
        InboundCounters {
            taken: self.taken.load(Ordering::Relaxed),
            oversized: self.oversized.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_or_too_much_is_counted_and_an_order_comes_before_a_list() {
        let mailbox = Mailbox::default();
        mailbox.give(InboundKind::Revoke, &vec![0; MAX_ORDER + 1]);
        mailbox.give(InboundKind::Offer, b"list");
        mailbox.give(InboundKind::Offer, b"another");
        for _ in 0..=ORDERS {
            mailbox.give(InboundKind::Suspend, b"order");
        }
        assert_eq!(mailbox.counters(), InboundCounters { taken: 65, oversized: 1, dropped: 2 });
        assert_eq!(mailbox.take().map(|m| m.kind), Some(InboundKind::Suspend));
        let rest: Vec<_> = std::iter::from_fn(|| mailbox.take()).collect();
        assert_eq!(rest.len(), ORDERS);
        assert_eq!(rest.last().map(|m| &m.payload[..]), Some(&b"list"[..]));
    }
}
