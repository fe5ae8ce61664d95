//! The time that is passed to the rest of the crate. State machines take a [`Now`], and where they
//! measure work a [`Stopwatch`]; they never ask the system.

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
    /// Both clocks as they are now.
    pub fn now(&self) -> Now {
        Now { monotonic: self.start.elapsed(), wall: OffsetDateTime::now_utc() }
    }
}

/// Measures what work costs. How often a camera's frames are looked at follows from that, so it is
/// passed in as the time is: the same readings give the same choice again.
pub trait Stopwatch: Send {
    /// Time since a fixed moment; never goes back.
    fn elapsed(&mut self) -> Duration;
}

impl Stopwatch for Clock {
    fn elapsed(&mut self) -> Duration {
        self.start.elapsed()
    }
}

impl<F: FnMut() -> Duration + Send> Stopwatch for F {
    fn elapsed(&mut self) -> Duration {
        self()
    }
}

/// Processor time that this thread has taken, which other programs on the processor do not
/// lengthen. For measuring work, never for deciding.
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the structure that it is given.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "every Linux has this clock");
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
