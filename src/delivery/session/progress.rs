//! How far each message has come.

use super::super::outbox::{QueuePosition, Settled};

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
