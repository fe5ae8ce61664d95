//! The time that is passed to the rest of the crate. State machines take a [`Now`], and where they
//! measure work a [`Stopwatch`]; they never ask the system.

use std::time::Duration;

use time::OffsetDateTime;

/// One reading of both clocks: `monotonic` orders and measures, `wall` dates and expires.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Now {
    /// Time since the clock was made, the time that the machine was asleep included; never goes
    /// back.
    pub monotonic: Duration,
    /// Universal time; may jump.
    pub wall: OffsetDateTime,
}

/// The system's clocks. Made once at start and read at the edges of the program only.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Since the machine's start.
    start: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: since_boot() }
    }
}

impl Clock {
    /// Both clocks as they are now.
    pub fn now(&self) -> Now {
        Now { monotonic: since_boot() - self.start, wall: OffsetDateTime::now_utc() }
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
        since_boot() - self.start
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
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Time since the machine's start, including what it slept: nobody can set it.
fn since_boot() -> Duration {
    read(libc::CLOCK_BOOTTIME)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the structure that it is given.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(failed, 0, "every Linux has this clock");
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
