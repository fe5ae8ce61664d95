//! The hand-over of frames from capture to vision: one place, the latest frame wins.
//!
//! * Buffers are swapped, never copied or allocated: the producer's buffer goes in, an old one
//!   comes back.
//! * From a live source a frame that was not taken in time is overwritten and counted.
//! * From recorded pictures the producer waits instead, and comes back now and then to say that it
//!   is alive.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// What to do with a frame that was not taken yet when the next one comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Overwrite it: a camera does not wait.
    Overwrite,
    /// Wait for so long until it is taken: recorded pictures lose nothing by it.
    Wait(Duration),
}

/// What became of a frame that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It lies there.
    Stored,
    /// It lies there, in place of one that was not taken.
    Overwrote,
    /// The one before was not taken in time. This one is still the caller's, who may put it again.
    Full,
    /// The other side has gone.
    Closed,
}

/// What came of waiting for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in the caller's buffer.
    Frame,
    /// None came in time.
    Nothing,
    /// None will come.
    Closed,
}

struct Slot<T> {
    slot: T,
    full: bool,
    closed: bool,
}

/// One place for a `T` between two threads.
pub struct Handover<T> {
    state: Mutex<Slot<T>>,
    changed: Condvar,
}

impl<T> Handover<T> {
    /// An empty place. `spare` is the buffer that the producer gets back first.
    pub fn new(spare: T) -> Self {
        Self {
            state: Mutex::new(Slot { slot: spare, full: false, closed: false }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        // A thread that panicked while it held the lock leaves the place consistent: each critical
        // section is a swap and a flag.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Gives `frame` away and leaves an old buffer in its place. Does not wait unless told to by
    /// [`WhenFull::Wait`].
    pub fn put(&self, frame: &mut T, when_full: WhenFull) -> Put {
        let mut state = self.lock();
        if let WhenFull::Wait(most) = when_full {
            (state, _) = self
                .changed
                .wait_timeout_while(state, most, |s| s.full && !s.closed)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            if state.full && !state.closed {
                return Put::Full;
            }
        }
        if state.closed {
            return Put::Closed;
        }
        std::mem::swap(&mut state.slot, frame);
        let overwrote = std::mem::replace(&mut state.full, true);
        self.changed.notify_all();
        if overwrote { Put::Overwrote } else { Put::Stored }
    }

    /// Waits for a frame at most `timeout` and swaps it into `frame`. What was put before the
    /// close is still given.
    pub fn take(&self, frame: &mut T, timeout: Duration) -> Taken {
        let state = self.lock();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, timeout, |s| !s.full && !s.closed)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.full {
            std::mem::swap(&mut state.slot, frame);
            state.full = false;
            self.changed.notify_all();
            Taken::Frame
        } else if state.closed {
            Taken::Closed
        } else {
            Taken::Nothing
        }
    }

    /// Ends the hand-over from either side: the producer stops at once, the consumer after the last
    /// frame.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn the_latest_frame_wins_and_the_overwritten_one_is_reported() {
        let h = Handover::new(0);
        let mut frame = 1;
        assert_eq!(h.put(&mut frame, WhenFull::Overwrite), Put::Stored);
        frame = 2;
        assert_eq!(h.put(&mut frame, WhenFull::Overwrite), Put::Overwrote);
        let mut got = 9;
        assert_eq!((h.take(&mut got, SOON), got), (Taken::Frame, 2));
        assert_eq!(h.take(&mut got, Duration::ZERO), Taken::Nothing);
    }

    #[test]
    fn recorded_frames_wait_and_none_is_lost() {
        let h = Handover::new(0);
        let got: Vec<u32> = std::thread::scope(|s| {
            s.spawn(|| {
                for mut n in 1..=100 {
                    assert_eq!(h.put(&mut n, WhenFull::Wait(SOON)), Put::Stored);
                }
                h.close();
            });
            let mut all = Vec::new();
            let mut frame = 0;
            while h.take(&mut frame, SOON) == Taken::Frame {
                all.push(frame);
            }
            all
        });
        assert_eq!(got, (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn a_close_frees_a_waiting_producer() {
        let h = Handover::new(0);
        let mut frame = 1;
        h.put(&mut frame, WhenFull::Wait(SOON));
        std::thread::scope(|s| {
            let producer = s.spawn(|| h.put(&mut 2, WhenFull::Wait(SOON)));
            h.close();
            assert_eq!(producer.join().expect("producer"), Put::Closed);
        });
    }

    #[test]
    fn a_frame_that_finds_no_room_in_time_stays_with_its_owner_and_the_one_before_lies_there() {
        let h = Handover::new(0);
        let mut frame = 1;
        h.put(&mut frame, WhenFull::Overwrite);
        frame = 2;
        assert_eq!(h.put(&mut frame, WhenFull::Wait(Duration::ZERO)), Put::Full);
        assert_eq!(frame, 2);
        let mut got = 9;
        assert_eq!((h.take(&mut got, SOON), got), (Taken::Frame, 1));
        assert_eq!(h.put(&mut frame, WhenFull::Wait(Duration::ZERO)), Put::Stored);
    }
}
