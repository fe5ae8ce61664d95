//! The requests that all threads share: to stop, on which every thread can wait, and to read the
//! files again.
//!
//! What a stop does, it does one after another: the threads end, witnesses cosign, delivery ends.
//! All of it has one deadline, which counts from the request ([`StopDeadline`]): what one of them
//! takes, the next ones have not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::clock::Clock;

/// A stop by a signal is over within this time where the next start delivers what is left.
const AT_SIGNAL: Duration = Duration::from_secs(5);
/// The same while candidates are under way that are on no disk: containers are killed after ten
/// seconds.
const AT_SIGNAL_IN_MEMORY: Duration = Duration::from_secs(8);
/// The same after the source has ended: nothing else is to be done.
const AT_END: Duration = Duration::from_secs(30);
/// Cosignatures are waited for no longer than this.
const COSIGNING: Duration = Duration::from_secs(2);
/// Of the whole time delivery has this much, however long cosignatures take.
const DELIVERY: Duration = Duration::from_secs(2);
/// However late it is, delivery has this much: `stopped` is one packet and its answer.
const LEAST: Duration = Duration::from_millis(500);

/// Until when a stop is over, in monotonic time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopDeadline(Duration);

impl StopDeadline {
    /// Of a stop that was asked for. `lossy` where candidates are under way that are on no disk.
    pub fn of(requested: StopRequest, lossy: bool) -> Self {
        let whole = match requested.reason {
            Reason::SourceEnded => AT_END,
            Reason::Signal | Reason::ThreadLost if lossy => AT_SIGNAL_IN_MEMORY,
            Reason::Signal | Reason::ThreadLost => AT_SIGNAL,
        };
        Self(requested.at + whole)
    }

    /// Until when cosignatures are waited for from `now` on.
    pub fn of_cosigning(self, now: Duration) -> Duration {
        (now + COSIGNING).min(self.0.saturating_sub(DELIVERY))
    }

    /// Until when delivery may take that is ended at `now`.
    pub fn of_delivery(self, now: Duration) -> Duration {
        self.0.max(now + LEAST)
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopRequest {
    /// Why.
    pub reason: Reason,
    /// When, in monotonic time.
    pub at: Duration,
}

/// Why the daemon is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// SIGTERM or SIGINT.
    Signal,
    /// The source has delivered everything.
    SourceEnded,
    /// A thread ended that should not have.
    ThreadLost,
}

/// Shared by all threads; set once.
#[derive(Debug, Default)]
pub struct Stop {
    /// That of the daemon.
    clock: Clock,
    requested: Mutex<Option<StopRequest>>,
    changed: Condvar,
    reload: AtomicBool,
}

impl Stop {
    /// Not asked for yet; `clock` says when it is.
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<StopRequest>> {
        // An option of a plain value is consistent even after a panic.
        self.requested.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Asks all threads to stop. The first reason counts.
    pub fn request(&self, reason: Reason) {
        let at = self.clock.now().monotonic;
        self.lock().get_or_insert(StopRequest { reason, at });
        self.changed.notify_all();
    }

    /// What was asked for, once something was.
    pub fn requested(&self) -> Option<StopRequest> {
        *self.lock()
    }

    /// The reason, once there is one.
    pub fn reason(&self) -> Option<Reason> {
        self.requested().map(|requested| requested.reason)
    }

    /// Asks for the list and the trust file to be read again. Several requests before it is done
    /// are one.
    pub fn request_reload(&self) {
        self.reload.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for since the last call.
    pub fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }

    /// Waits at most `timeout` for the request to stop.
    pub fn wait(&self, timeout: Duration) -> Option<Reason> {
        let requested = self.lock();
        let (requested, _) = self
            .changed
            .wait_timeout_while(requested, timeout, |r| r.is_none())
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        requested.map(|requested| requested.reason)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_each_step_takes_the_whole_stop_has_one_deadline(
            reason in prop::sample::select(vec![
                Reason::Signal, Reason::SourceEnded, Reason::ThreadLost,
            ]),
            lossy: bool,
            at in 0u64..1_000_000,
            threads in 0u64..40_000,
            cosigning in 0u64..=2_000,
        ) {
            let ms = Duration::from_millis;
            let requested = StopRequest { reason, at: ms(at) };
            let deadline = StopDeadline::of(requested, lossy);
            let whole = deadline.0 - requested.at;
            prop_assert!(reason == Reason::SourceEnded || whole < Duration::from_secs(10));
            let joined = requested.at + ms(threads);
            // It is waited until then at most, and not at all where that is over.
            let cosigned = joined.max((joined + ms(cosigning)).min(deadline.of_cosigning(joined)));
            let over = deadline.of_delivery(cosigned);
            prop_assert!(over >= cosigned + LEAST, "there is time to say `stopped`");
            prop_assert!(over <= deadline.0.max(joined + LEAST), "the waits do not add up");
            prop_assert!(deadline.0 < joined + DELIVERY || over >= cosigned + DELIVERY);
        }
    }

    #[test]
    fn the_first_reason_counts_and_frees_the_waiting_threads() {
        let stop = Stop::default();
        assert_eq!(stop.wait(Duration::ZERO), None);
        std::thread::scope(|s| {
            let waiting = s.spawn(|| stop.wait(Duration::from_secs(20)));
            stop.request(Reason::Signal);
            stop.request(Reason::SourceEnded);
            assert_eq!(waiting.join().expect("waits"), Some(Reason::Signal));
        });
        assert_eq!(stop.reason(), Some(Reason::Signal));
    }
}
