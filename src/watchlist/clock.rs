//! Whether a clock may be believed: a wrong clock must not extend an authorisation.
//!
//! * A clock that shows an earlier time than the device has seen is not believed, even where the
//!   kernel says that it is kept right.
//! * A clock that nothing keeps right is not believed, unless the configuration says that somebody
//!   else answers for it.
//! * It does not judge a clock that is fast: only a time service can.

use time::{Duration, OffsetDateTime};

/// How far a clock may go back without being distrusted: time services correct by less than this
/// once they have settled.
const CLOCK_SLACK: Duration = Duration::seconds(2);

/// Whether the device's clock may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockTrust {
    /// Yes.
    Trusted,
    /// The kernel says that nothing keeps the clock right.
    Unsynchronised,
    /// It is earlier than it has been.
    WentBack {
        /// By how much.
        by: Duration,
    },
}

/// Judges a clock that shows `now` on a device that has seen `last_seen`. `kernel_synchronised` is
/// what [`kernel_synchronised`] said, or true where the configuration does not ask for it.
pub fn clock_trust(
    now: OffsetDateTime,
    last_seen: Option<OffsetDateTime>,
    kernel_synchronised: bool,
) -> ClockTrust {
    match last_seen {
        Some(last) if now < last - CLOCK_SLACK => ClockTrust::WentBack { by: last - now },
        _ if !kernel_synchronised => ClockTrust::Unsynchronised,
        _ => ClockTrust::Trusted,
    }
}

/// Whether the kernel says that a time service keeps its clock right (`adjtimex`, which any user
/// may ask).
pub fn kernel_synchronised() -> bool {
    // SAFETY: `timex` is plain data for which zeroes are valid, with `modes` 0 the call only reads
    // the clock's state into it, and the pointer is valid for the call.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut timex);
        (state, timex.status)
    };
    // A kernel that does not answer (-1) is one that vouches for nothing.
    state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::super::fixture::now;
    use super::*;

    #[test]
    fn a_clock_that_went_back_is_distrusted_even_where_the_kernel_vouches_for_it() {
        let day = Duration::days(1);
        assert_eq!(clock_trust(now() - day, Some(now()), true), ClockTrust::WentBack { by: day });
        assert_eq!(clock_trust(now() - day, Some(now()), false), ClockTrust::WentBack { by: day });
        assert_eq!(clock_trust(now(), Some(now() - day), false), ClockTrust::Unsynchronised);
        assert_eq!(clock_trust(now(), None, false), ClockTrust::Unsynchronised);
        assert_eq!(clock_trust(now(), None, true), ClockTrust::Trusted);
        assert_eq!(clock_trust(now() - Duration::SECOND, Some(now()), true), ClockTrust::Trusted);
    }

    #[test]
    fn the_kernel_can_be_asked() {
        // Either answer is right here; the call must be sound.
        let _ = kernel_synchronised();
    }
}
