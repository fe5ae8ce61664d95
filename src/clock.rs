//! The time that the rest of the crate is told. State machines take a [`Now`] and never ask the system.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

/// One reading of both clocks: `monotonic` orders and measures, `wall` dates and expires.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Now {
    /// Time since the clock was made; never goes back.
    pub monotonic: Duration,
    /// Universal time; may jump.
    pub wall: OffsetDateTime,
}

/// The system's clocks. Made once at start and read at the edges of the program only.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock {
    /// Both clocks as they stand.
    pub fn now(&self) -> Now {
        Now { monotonic: self.start.elapsed(), wall: OffsetDateTime::now_utc() }
    }
}
