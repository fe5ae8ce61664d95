//! Which messages to the device are to be acknowledged, in the order in which they came (MQTT 5,
//! section 4.6). Sans-IO.
//!
//! Promises:
//! * Nothing is acknowledged before it was dealt with, nor before what came earlier.
//! * A receipt of an earlier connection changes nothing: the broker sends that message again.
//! * A checkpoint that the broker had kept comes at QoS 0, and keeps nothing else waiting; whether
//!   each was compared is known all the same.

use std::collections::VecDeque;

use super::inbound::Receipt;

/// More than any receive maximum that we ask for; a broker that sends more keeps no contract.
const MOST: usize = 1024;

/// The messages of one connection that are not acknowledged.
#[derive(Debug, Default)]
pub struct Acks {
    connection: u64,
    /// Packet id, and whether the message was dealt with; oldest first.
    open: VecDeque<(u16, bool)>,
    /// Checkpoints that the broker had kept and that nobody has compared yet.
    uncompared: usize,
}

/// No message at QoS 1 has it.
const UNNUMBERED: u16 = 0;

impl Acks {
    /// A new connection: the broker knows nothing of what was not acknowledged on the one before.
    pub fn connected(&mut self) {
        self.connection += 1;
        self.open.clear();
        self.uncompared = 0;
    }

    /// A checkpoint came that the broker had kept.
    pub fn kept(&mut self) -> Receipt {
        self.uncompared += 1;
        Receipt { connection: self.connection, packet: UNNUMBERED }
    }

    /// Whether each of them was compared.
    pub fn is_compared(&self) -> bool {
        self.uncompared == 0
    }

    /// A message came that waits for its acknowledgement; `None` where there are too many.
    pub fn received(&mut self, packet: u16) -> Option<Receipt> {
        if self.open.len() >= MOST {
            return None;
        }
        self.open.push_back((packet, false));
        Some(Receipt { connection: self.connection, packet })
    }

    /// It was dealt with.
    pub fn done(&mut self, receipt: Receipt) {
        if receipt.connection != self.connection {
            return;
        }
        if receipt.packet == UNNUMBERED {
            self.uncompared = self.uncompared.saturating_sub(1);
        } else if let Some(open) =
            self.open.iter_mut().find(|(packet, _)| *packet == receipt.packet)
        {
            open.1 = true;
        }
    }

    /// Whether no message of this connection waits for its acknowledgement.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// The next packet id to acknowledge.
    pub fn next(&mut self) -> Option<u16> {
        let (packet, _) = self.open.front().copied().filter(|(_, done)| *done)?;
        self.open.pop_front();
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_come_in_the_order_of_the_messages_and_of_this_connection_only() {
        let mut acks = Acks::default();
        acks.connected();
        let receipts = [7, 3, 9].map(|packet| acks.received(packet).expect("room"));
        acks.done(receipts[1]);
        assert_eq!(acks.next(), None, "the first is not dealt with");
        acks.done(receipts[0]);
        assert_eq!([acks.next(), acks.next(), acks.next()], [Some(7), Some(3), None]);

        acks.connected();
        let again = acks.received(9).expect("room");
        acks.done(receipts[2]);
        assert_eq!(acks.next(), None, "of the connection before");
        acks.done(again);
        assert_eq!(acks.next(), Some(9));
    }

    #[test]
    fn a_kept_checkpoint_is_waited_for_on_its_own_connection_and_keeps_no_acknowledgement_waiting()
    {
        let mut acks = Acks::default();
        acks.connected();
        assert!(acks.is_compared());
        let [before, again] = [acks.kept(), acks.kept()];
        let other = acks.received(7).expect("room");
        acks.done(other);
        assert_eq!((acks.next(), acks.is_settled(), acks.is_compared()), (Some(7), true, false));
        acks.done(again);
        assert!(!acks.is_compared(), "one of two");
        acks.connected();
        let now = acks.kept();
        acks.done(before);
        assert!(!acks.is_compared(), "of the connection before");
        acks.done(now);
        assert!(acks.is_compared());
    }

    #[test]
    fn a_broker_that_sends_without_end_is_noticed() {
        let mut acks = Acks::default();
        acks.connected();
        assert!((0..MOST as u16).all(|packet| acks.received(packet).is_some()));
        assert_eq!(acks.received(2000), None);
    }
}
