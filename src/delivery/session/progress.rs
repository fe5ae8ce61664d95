//! How far each message has come.

use std::time::Duration;

use super::super::broker::ReceiptRule;
use super::super::inbound::ReceiptedEvent;
use super::super::outbox::{QueuePosition, Settled};
use super::{ACK_TIMEOUT, Session, Store};
use crate::clock::Now;

/// How far the newest status, or the oldest state of the list that is due, has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportStage {
    /// Nothing to publish, or published.
    Settled,
    Waiting,
    Handed,
    Flying(u16),
}

impl ReportStage {
    /// Whether it is on its way.
    pub(super) fn is_out(self) -> bool {
        matches!(self, Self::Handed | Self::Flying(_))
    }
}

/// What was handed to the connection and has no packet id yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    Candidate(QueuePosition),
    Status,
    ListState,
    /// Counts or an announcement: no acknowledgement is waited for.
    Stats,
    /// An event that is said once: no acknowledgement is waited for.
    Reply,
    /// Already has its packet id: unsettled on an earlier connection.
    Again,
}

/// What an acknowledgement was for, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// A candidate.
    Candidate(Settled),
    /// The status; whether the broker took it.
    Status(bool),
    /// A state of the list; whether the broker took it.
    ListState(bool),
    /// Nothing that is on its way.
    Unknown,
}

impl<S: Store> Session<S> {
    /// Whose word retires candidates from now on.
    pub fn retire_by(&mut self, receipts: ReceiptRule) {
        self.receipts = receipts;
    }

    /// A receiver has stored an event; true where that retires it.
    pub fn receipted(&mut self, event: ReceiptedEvent, now: Now) -> bool {
        self.outbox.receipted(event.id, &event.digest, now)
    }

    /// The last status: no candidate goes out after it.
    pub fn close(&mut self, payload: Vec<u8>) {
        self.set_status(payload);
        self.closing = true;
    }

    /// Whether the last status was set.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Once the last status has been acknowledged: whether the broker took it.
    pub fn closed(&self) -> Option<bool> {
        (self.closing && self.status_stage == ReportStage::Settled).then_some(self.status_taken)
    }

    /// The broker ended the link. True where a candidate is set aside for it.
    pub fn ended_by_broker(&mut self, now: Now) -> bool {
        self.outbox.link_ended_by_broker(now)
    }

    /// Candidates that went out without their crop, and publications that were dropped as larger
    /// than the broker allows.
    pub fn diminished(&self) -> (u64, u64) {
        (self.stripped, self.too_large)
    }

    /// How often the broker refused the status.
    pub fn status_refusals(&self) -> u64 {
        self.status_refusals
    }

    /// Whether everything that was taken is delivered.
    pub fn is_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Whether the broker has left a publish unacknowledged for [`ACK_TIMEOUT`].
    pub fn is_overdue(&self, now: Now) -> bool {
        self.ack_deadline().is_some_and(|deadline| now.monotonic >= deadline)
    }

    /// The monotonic time at which to call [`Session::next`] and [`Session::is_overdue`] again
    /// without another event.
    pub fn wake_at(&self, now: Now) -> Option<Duration> {
        let refused = self.outbox.wake_at(now).filter(|_| self.up);
        [refused, self.ack_deadline()].into_iter().flatten().min()
    }

    fn ack_deadline(&self) -> Option<Duration> {
        let flies = |stage| matches!(stage, ReportStage::Flying(_));
        let waits =
            self.outbox.in_flight() > 0 || flies(self.status_stage) || flies(self.list_state_stage);
        (self.up && waits).then(|| self.waiting_since.unwrap_or_default() + ACK_TIMEOUT)
    }
}
