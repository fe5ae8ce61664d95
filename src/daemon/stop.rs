//! The requests that all threads share: to stop, on which every thread can wait, and to read the
//! files again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

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
    reason: Mutex<Option<Reason>>,
    changed: Condvar,
    reload: AtomicBool,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, Option<Reason>> {
        // An option of a plain value is consistent even after a panic.
        self.reason.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Asks all threads to stop. The first reason counts.
    pub fn request(&self, reason: Reason) {
        self.lock().get_or_insert(reason);
        self.changed.notify_all();
    }

    /// The reason, once there is one.
    pub fn reason(&self) -> Option<Reason> {
        *self.lock()
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
        let reason = self.lock();
        let (reason, _) = self
            .changed
            .wait_timeout_while(reason, timeout, |r| r.is_none())
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
