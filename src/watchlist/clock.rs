//! Whether a clock may be believed: a wrong clock must not extend an authorisation.
//!
//! * A clock that shows an earlier time than the device has seen is not believed, even where the
//!   kernel says that it is kept right.
//! * A clock that nothing keeps right is not believed, unless the configuration says that somebody
//!   else answers for it.
//! * A clock that is held back step by step falls behind the time since the machine's start, which
//!   nobody can set ([`HighWater`]).
//! * It does not judge a clock that is fast: only a time service can. What a time after everything
//!   that this device could have authorised does is for [`super::memory`]: it is not remembered.

use time::{Duration, OffsetDateTime};

use crate::clock::Now;

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

/// How far a clock may fall behind the time since the machine's start, all steps together: the most
/// by which an authorisation can be extended. Time services slew both clocks alike and step one by
/// less than this.
const MAX_LAG: Duration = Duration::seconds(30);

/// The latest times that a believed clock has shown in this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct HighWater {
    latest: Option<OffsetDateTime>,
    /// The wall clock's lead over the monotonic one, at its highest.
    lead: Option<Duration>,
}

impl HighWater {
    /// By how much the clock went back, all steps together, where it is too much.
    pub fn went_back(&self, now: Now) -> Option<Duration> {
        let back = self.latest.map(|latest| latest - now.wall).filter(|back| *back > CLOCK_SLACK);
        let lag = self.lead.map(|lead| lead - lead_of(now)).filter(|lag| *lag > MAX_LAG);
        back.max(lag)
    }

    /// The clock is believed at `now`.
    pub fn raise(&mut self, now: Now) {
        self.latest = self.latest.max(Some(now.wall));
        self.lead = self.lead.max(Some(lead_of(now)));
    }
}

fn lead_of(now: Now) -> Duration {
    let monotonic = Duration::try_from(now.monotonic).unwrap_or(Duration::MAX);
    (now.wall - OffsetDateTime::UNIX_EPOCH).saturating_sub(monotonic)
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
    fn a_clock_that_is_held_back_step_by_step_is_noticed_whatever_the_steps() {
        for step in [1.0f64, 20.0, 31.0, 300.0] {
            let mut seen = HighWater::default();
            let (mut extended, mut blind) = (0.0, false);
            // True time goes on by a second at a time; the clock is set back by `step` as often.
            for second in 0..2000u32 {
                let held = (f64::from(second) / step).floor() * step;
                let now = Now {
                    monotonic: std::time::Duration::from_secs(second.into()),
                    wall: now() + Duration::seconds_f64(f64::from(second) - held),
                };
                match seen.went_back(now) {
                    Some(_) => blind = true,
                    None => {
                        seen.raise(now);
                        extended = held.max(extended);
                    }
                }
            }
            assert!(blind && extended <= 30.0, "{step}: {extended}");
        }
    }

    #[test]
    fn a_clock_that_is_right_and_one_that_is_set_right_by_a_second_are_believed() {
        let mut seen = HighWater::default();
        for second in 0..100_000u32 {
            let leap = Duration::seconds(i64::from(second > 50_000));
            let monotonic = std::time::Duration::from_secs(second.into());
            let now = Now { monotonic, wall: now() + Duration::seconds(second.into()) - leap };
            assert_eq!(seen.went_back(now), None);
            seen.raise(now);
        }
    }

    #[test]
    fn the_kernel_can_be_asked() {
        // Either answer is right here; the call must be sound.
        let _ = kernel_synchronised();
    }
}
