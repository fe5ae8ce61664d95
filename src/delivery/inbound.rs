//! What is sent to the device: looked at before it is queued, acknowledged after it was dealt with.
//!
//! Promises:
//! * What nobody who may order has signed takes no place: a [`Screen`] looks at each message before
//!   it is queued.
//! * A genuine order is never dropped. Where there is no room for one, [`Given::Full`] says so: at
//!   QoS 1 the link ends unacknowledged and the broker sends it again, at QoS 0 the device is told
//!   ([`Mailbox::take_overflow`]) and stops matching.
//! * The same message twice takes one place, so that replays of old orders crowd nothing out.
//! * Orders come out before lists, and lists before verdicts: what stops goes first.
//! * A receipt takes no place: the delivery thread settles it.
//! * Controls have room of their own and come last. No count has them in it: the counts are
//!   published, and whoever reviews may read them.
//! * What witnesses say has a place of its own, and what finds no room there is dropped: it is said
//!   again.
//! * Neither putting in nor taking out blocks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::event::EventId;
pub use super::topics::InboundKind;

/// Most bytes of an order.
pub const MAX_ORDER: usize = 32 * 1024;
/// Most bytes of a list that comes over the network; about 13,000 templates. A larger one is
/// installed as a file.
pub const MAX_OFFER: usize = 8 * 1024 * 1024;
/// Most bytes of a verdict.
pub const MAX_VERDICT: usize = 4096;
/// Most bytes of a registration of a control.
pub const MAX_CONTROL: usize = 1024;
/// Most bytes of a receipt.
pub const MAX_RECEIPT: usize = 8 * 1024;
/// Messages that a broker may send before one of them is acknowledged: the receive maximum. Bounds
/// the memory that offers take ([`MAX_OFFER`] each).
pub const RECEIVE_MAX: u16 = 8;
/// Genuine orders that wait to be followed, each another one.
const ORDERS: usize = 1024;
/// Verdicts that wait to be counted, each another one.
const VERDICTS: usize = 256;
/// Controls that wait to be registered, each another one.
const CONTROLS: usize = 32;
/// Offers that wait to be taken, each another one. What comes at QoS 1 always finds room, as no
/// more than [`RECEIVE_MAX`] are unacknowledged; a flood at QoS 0 does not.
const OFFERS: usize = RECEIVE_MAX as usize;
/// Most bytes of what a witness says.
pub const MAX_STATEMENT: usize = 16 * 1024;
/// What witnesses have said and nobody has taken yet.
const STATEMENTS: usize = 32;

/// What a look at a message says, before it is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screened {
    /// An order that somebody who may give it has signed, or what has the shape of an offer.
    Genuine,
    /// No order and no offer at all.
    Malformed,
    /// An order that nobody who may give it has signed.
    NotAuthentic,
}

/// Tells genuine messages from others, before they are queued. Counts what it turns away.
pub trait Screen: Send {
    /// Looks at one message. Called once for each that comes, however many: must be cheap for what
    /// is not genuine.
    fn screen(&mut self, kind: InboundKind, payload: &[u8]) -> Screened;

    /// The events that a receipt names, where somebody whose receipts count has signed it for this
    /// device; none otherwise. Counts what it turns away.
    fn receipt(&mut self, payload: &[u8]) -> Vec<ReceiptedEvent> {
        let _ = payload;
        Vec::new()
    }
}

/// One event that a desk has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptedEvent {
    /// Its id.
    pub id: EventId,
    /// SHA-256 of its bytes as they were published.
    pub digest: [u8; 32],
}

/// Takes nothing: for a device that follows no orders, such as a test of delivery.
#[derive(Debug, Clone, Copy)]
pub struct TakesNothing;

impl Screen for TakesNothing {
    fn screen(&mut self, _: InboundKind, _: &[u8]) -> Screened {
        Screened::Malformed
    }
}

/// Which message of which connection is to be acknowledged once it was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The connection's number.
    pub(super) connection: u64,
    /// The broker's packet id.
    pub(super) packet: u16,
}

/// One message that passed the screen. Its receiver verifies it again, with what it remembers.
#[derive(Debug, PartialEq, Eq)]
pub struct Inbound {
    /// By its topic.
    pub kind: InboundKind,
    /// As it came; wiped when dropped, because a list holds templates.
    pub payload: Zeroizing<Vec<u8>>,
    /// To be given back by [`super::Delivery::acknowledge`] when what it says has been followed and
    /// stored, or refused. More than one where the message came again meanwhile.
    pub receipts: Vec<Receipt>,
}

impl Inbound {
    /// A message that waits for no acknowledgement.
    pub fn new(kind: InboundKind, payload: Vec<u8>) -> Self {
        Self { kind, payload: Zeroizing::new(payload), receipts: Vec::new() }
    }
}

/// What became of a message that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// It waits, or one like it did already.
    Waits,
    /// There is no room.
    Full,
}

/// Counts of what came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct InboundCounters {
    /// Handed on.
    pub taken: u64,
    /// The same as one that waited already.
    pub repeated: u64,
    /// Larger than its kind may be.
    pub oversized: u64,
    /// More than can wait.
    pub dropped: u64,
}

struct WaitingMessage {
    digest: [u8; 32],
    message: Inbound,
}

#[derive(Default)]
struct Boxes {
    orders: VecDeque<WaitingMessage>,
    offers: VecDeque<WaitingMessage>,
    statements: VecDeque<WaitingMessage>,
    verdicts: VecDeque<WaitingMessage>,
    controls: VecDeque<WaitingMessage>,
    counters: InboundCounters,
    /// A genuine order was dropped and nobody was told yet.
    overflow: bool,
}

/// Where messages wait between the connection and the daemon.
#[derive(Default)]
pub struct Mailbox {
    boxes: Mutex<Boxes>,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Boxes> {
        // Each section leaves the boxes whole.
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message of `kind` may have `bytes` bytes; counts it where not.
    pub fn admits(&self, kind: InboundKind, bytes: usize) -> bool {
        let most = match kind {
            InboundKind::Revoke | InboundKind::Suspend => MAX_ORDER,
            InboundKind::Verdict => MAX_VERDICT,
            InboundKind::Receipt => MAX_RECEIPT,
            InboundKind::Control => MAX_CONTROL,
            InboundKind::Offer => MAX_OFFER,
            InboundKind::AuditRequest
            | InboundKind::AuditCosign
            | InboundKind::AuditFreshness
            | InboundKind::AuditKept => MAX_STATEMENT,
        };
        if bytes > most {
            self.lock().counters.oversized += 1;
        }
        bytes <= most
    }

    /// Puts a genuine message in. `receipt` is absent where no acknowledgement is waited for.
    pub fn give(&self, kind: InboundKind, payload: &[u8], receipt: Option<Receipt>) -> Given {
        let digest = Sha256::digest(payload).into();
        let mut boxes = self.lock();
        let Boxes { orders, offers, statements, verdicts, controls, counters, overflow } =
            &mut *boxes;
        let is_order = kind.is_order();
        let mut untold = InboundCounters::default();
        let counters = if kind == InboundKind::Control { &mut untold } else { counters };
        let (queue, most) = match kind {
            InboundKind::Revoke | InboundKind::Suspend => (orders, ORDERS),
            InboundKind::Offer => (offers, OFFERS),
            InboundKind::Verdict => (verdicts, VERDICTS),
            InboundKind::Control => (controls, CONTROLS),
            // A receipt is settled by the delivery thread, and waits for nobody.
            InboundKind::Receipt => return Given::Waits,
            InboundKind::AuditRequest
            | InboundKind::AuditCosign
            | InboundKind::AuditFreshness
            | InboundKind::AuditKept => (statements, STATEMENTS),
        };
        let same = |w: &&mut WaitingMessage| w.digest == digest && w.message.kind == kind;
        if let Some(waiting) = queue.iter_mut().find(same) {
            counters.repeated += 1;
            waiting.message.receipts.extend(receipt);
            return Given::Waits;
        }
        if queue.len() >= most {
            counters.dropped += 1;
            // With a receipt nothing is lost: it is not acknowledged and comes again.
            *overflow |= is_order && receipt.is_none();
            return Given::Full;
        }
        counters.taken += 1;
        let mut message = Inbound::new(kind, payload.to_vec());
        message.receipts.extend(receipt);
        queue.push_back(WaitingMessage { digest, message });
        Given::Waits
    }

    /// The next message, orders before lists, lists before verdicts, and controls last.
    pub fn take(&self) -> Option<Inbound> {
        let mut boxes = self.lock();
        let next = boxes.orders.pop_front().or_else(|| boxes.offers.pop_front());
        let next = next.or_else(|| boxes.verdicts.pop_front());
        next.or_else(|| boxes.controls.pop_front()).map(|waiting| waiting.message)
    }

    /// The next thing that is for the audit log.
    pub fn take_statement(&self) -> Option<Inbound> {
        self.lock().statements.pop_front().map(|waiting| waiting.message)
    }

    /// Whether a genuine order was dropped since the last call.
    pub fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.lock().overflow)
    }

    /// What was counted.
    pub fn counters(&self) -> InboundCounters {
        self.lock().counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(packet: u16) -> Option<Receipt> {
        Some(Receipt { connection: 1, packet })
    }

    #[test]
    fn an_order_comes_before_a_list_and_what_is_too_large_is_counted() {
        let mailbox = Mailbox::default();
        assert!(!mailbox.admits(InboundKind::Revoke, MAX_ORDER + 1));
        assert!(mailbox.admits(InboundKind::Offer, MAX_OFFER));
        assert_eq!(mailbox.give(InboundKind::Offer, b"list", receipt(1)), Given::Waits);
        assert_eq!(mailbox.give(InboundKind::Suspend, b"order", None), Given::Waits);
        assert_eq!(mailbox.take().map(|m| m.kind), Some(InboundKind::Suspend));
        assert_eq!(mailbox.take().map(|m| m.receipts), Some(vec![receipt(1).expect("one")]));
        assert_eq!(mailbox.take(), None);
        let counted = InboundCounters { taken: 2, oversized: 1, ..InboundCounters::default() };
        assert_eq!(mailbox.counters(), counted);
    }

    #[test]
    fn verdicts_have_room_of_their_own_and_come_last() {
        let mailbox = Mailbox::default();
        for n in 0..VERDICTS {
            let given = mailbox.give(InboundKind::Verdict, &n.to_be_bytes(), None);
            assert_eq!(given, Given::Waits);
        }
        assert_eq!(mailbox.give(InboundKind::Verdict, b"one more", receipt(1)), Given::Full);
        assert!(!mailbox.take_overflow(), "no order was lost");
        assert_eq!(mailbox.give(InboundKind::Offer, b"list", receipt(2)), Given::Waits);
        assert_eq!(mailbox.give(InboundKind::Revoke, b"order", receipt(3)), Given::Waits);
        let kinds: Vec<_> = std::iter::from_fn(|| mailbox.take()).map(|m| m.kind).take(3).collect();
        assert_eq!(kinds, [InboundKind::Revoke, InboundKind::Offer, InboundKind::Verdict]);
    }

    #[test]
    fn controls_come_last_and_no_count_tells_that_there_are_any() {
        let mailbox = Mailbox::default();
        for n in 0..CONTROLS {
            let given = mailbox.give(InboundKind::Control, &n.to_be_bytes(), receipt(1));
            assert_eq!(given, Given::Waits);
        }
        let again = mailbox.give(InboundKind::Control, &0usize.to_be_bytes(), receipt(2));
        assert_eq!(again, Given::Waits);
        assert_eq!(mailbox.give(InboundKind::Control, b"one more", receipt(3)), Given::Full);
        assert_eq!(mailbox.counters(), InboundCounters::default());
        assert_eq!(mailbox.give(InboundKind::Verdict, b"verdict", None), Given::Waits);
        let kinds: Vec<_> = std::iter::from_fn(|| mailbox.take()).map(|m| m.kind).take(2).collect();
        assert_eq!(kinds, [InboundKind::Verdict, InboundKind::Control]);
        assert!(!mailbox.take_overflow(), "no order was lost");
    }

    #[test]
    fn two_offers_back_to_back_both_wait_and_come_in_their_order() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.give(InboundKind::Offer, b"keys", receipt(1)), Given::Waits);
        assert_eq!(mailbox.give(InboundKind::Offer, b"list", receipt(2)), Given::Waits);
        let payloads = [mailbox.take(), mailbox.take()].map(|m| m.expect("waits").payload.to_vec());
        assert_eq!(payloads, [b"keys", b"list"]);
    }

    #[test]
    fn a_replay_takes_no_place_and_its_acknowledgement_waits_for_the_first() {
        let mailbox = Mailbox::default();
        for packet in 0..5000 {
            assert_eq!(mailbox.give(InboundKind::Revoke, b"old", receipt(packet)), Given::Waits);
        }
        assert_eq!(mailbox.give(InboundKind::Revoke, b"new", None), Given::Waits);
        assert_eq!(mailbox.take().map(|m| m.receipts.len()), Some(5000));
        assert_eq!(mailbox.take().map(|m| m.payload.to_vec()), Some(b"new".to_vec()));
        assert!(!mailbox.take_overflow());
    }

    #[test]
    fn what_witnesses_say_crowds_out_neither_orders_nor_lists() {
        let mailbox = Mailbox::default();
        for n in 0..STATEMENTS {
            let said = n.to_be_bytes();
            assert_eq!(mailbox.give(InboundKind::AuditCosign, &said, None), Given::Waits);
        }
        assert_eq!(mailbox.give(InboundKind::AuditRequest, b"one more", None), Given::Full);
        assert!(!mailbox.take_overflow(), "it is said again");
        assert_eq!(mailbox.give(InboundKind::Offer, b"list", None), Given::Waits);
        assert_eq!(mailbox.take().map(|m| m.kind), Some(InboundKind::Offer));
        assert_eq!(mailbox.take(), None);
        assert_eq!(mailbox.take_statement().map(|m| m.kind), Some(InboundKind::AuditCosign));
    }

    #[test]
    fn a_genuine_order_without_room_is_never_dropped_silently() {
        let mailbox = Mailbox::default();
        for n in 0..ORDERS {
            mailbox.give(InboundKind::Suspend, &n.to_be_bytes(), None);
        }
        assert_eq!(mailbox.give(InboundKind::Revoke, b"one more", receipt(7)), Given::Full);
        assert!(!mailbox.take_overflow(), "unacknowledged: it comes again");
        assert_eq!(mailbox.give(InboundKind::Revoke, b"one more", None), Given::Full);
        assert!(mailbox.take_overflow() && !mailbox.take_overflow(), "said once");
        assert_eq!(mailbox.counters().dropped, 2);
    }
}
