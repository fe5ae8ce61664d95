//! The capture thread: keeps the source open and hands its frames over.
//!
//! A source that cannot be opened is tried again, slower and slower: a camera may be plugged in
//! later. Why no frame comes is logged at once, and at growing intervals for as long as it lasts,
//! with how often it was tried.
//!
//! Whatever it waits for on purpose, for the next attempt or for a recorded picture to be taken, it
//! says meanwhile that it is alive: whether pictures are taken is the vision thread's to show.

use std::time::Duration;

use log::{info, warn};

use super::handover::{Handover, Put, WhenFull};
use super::status_board::StatusBoard;
use super::stop::{Reason, Stop};
use crate::backoff::Recurring;
use crate::clock::Clock;
use crate::source::{Captured, Pace, Source, SourceError};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// A recorded picture waits so long before the thread says again that it is alive.
const WAIT_ROUND: Duration = Duration::from_secs(1);
/// A source that is away is logged again after the first, then ever more seldom.
const SAY_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// Runs until the source ends or somebody asks to stop.
pub fn run(
    open: &dyn Fn() -> Result<Box<dyn Source>, SourceError>,
    frames: &Handover<Captured>,
    board: &StatusBoard,
    stop: &Stop,
) {
    let mut retry = FIRST_RETRY;
    let clock = Clock::default();
    let mut away = Recurring::new(SAY_AGAIN.0, SAY_AGAIN.1);
    let mut logged = String::new();
    while stop.reason().is_none() {
        board.capture_lives();
        let failure = match open() {
            Ok(mut source) => {
                info!("Source opened: {}.", source.describe());
                retry = FIRST_RETRY;
                match deliver(&mut *source, (clock, &mut away), frames, board, stop) {
                    Some(failure) => failure,
                    None => break,
                }
            }
            Err(failure) => failure,
        };
        let reason = failure.to_string();
        let again = away.happened(clock.now().monotonic);
        if reason != logged || again.is_some() {
            let times = again.unwrap_or(1);
            warn!("The source cannot be read; trying again: times={times} {reason}.");
            logged.clone_from(&reason);
        }
        board.source_failed(reason);
        pause(retry, board, stop);
        retry = (retry * 2).min(LAST_RETRY);
    }
    frames.close();
}

/// Waits for the next attempt and reports meanwhile that the thread is alive.
fn pause(time: Duration, board: &StatusBoard, stop: &Stop) {
    let mut left = time;
    while !left.is_zero() && stop.reason().is_none() {
        let step = left.min(FIRST_RETRY);
        stop.wait(step);
        board.capture_lives();
        left -= step;
    }
}

/// Puts a frame, however long it waits to be taken: until then the thread is alive.
fn put(
    frame: &mut Captured,
    when_full: WhenFull,
    frames: &Handover<Captured>,
    board: &StatusBoard,
) -> Put {
    loop {
        match frames.put(frame, when_full) {
            Put::Full => board.capture_lives(),
            done => return done,
        }
    }
}

/// Hands frames over until the end (`None`) or until the source cannot go on as it is.
fn deliver(
    source: &mut dyn Source,
    (clock, away): (Clock, &mut Recurring),
    frames: &Handover<Captured>,
    board: &StatusBoard,
    stop: &Stop,
) -> Option<SourceError> {
    let mut frame = Captured::default();
    let mut overwritten = 0;
    let outcome = loop {
        if stop.reason().is_some() {
            break None;
        }
        let result = source.next(&mut frame);
        board.capture_lives();
        match &result {
            Ok(()) => {
                away.over();
                let when_full = match frame.pace {
                    Pace::Live => WhenFull::Overwrite,
                    Pace::Recorded => WhenFull::Wait(WAIT_ROUND),
                };
                match put(&mut frame, when_full, frames, board) {
                    Put::Overwrote => overwritten += 1,
                    Put::Closed => break None,
                    Put::Stored | Put::Full => {}
                }
                // One that was overwritten, or nothing.
                frame.bytes.clear();
                board.frame_captured();
            }
            // The source counts bad frames and time-outs itself.
            Err(SourceError::Frame(_)) => board.frame_damaged(),
            Err(SourceError::Timeout) => board.source_failed("no frame is arriving".into()),
            Err(SourceError::Lost { .. }) => {
                let reason = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
                if let Some(times) = away.happened(clock.now().monotonic) {
                    warn!("The source was lost and is opened again: times={times} {reason}.");
                }
                board.source_failed(reason);
            }
            Err(SourceError::Ended) => {
                info!("The source has ended: {}.", source.describe());
                stop.request(Reason::SourceEnded);
                break None;
            }
            Err(SourceError::Configuration { .. }) => break result.err(),
        }
        board.source_counted(source.counters(), overwritten);
    };
    board.source_closed(source.counters(), overwritten);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::handover::Taken;
    use crate::source::SourceCounters;

    /// Recorded pictures without end.
    struct Pictures;

    impl Source for Pictures {
        fn next(&mut self, into: &mut Captured) -> Result<(), SourceError> {
            into.pace = Pace::Recorded;
            into.sequence += 1;
            Ok(())
        }

        fn describe(&self) -> String {
            "pictures".into()
        }

        fn counters(&self) -> SourceCounters {
            SourceCounters::default()
        }
    }

    #[test]
    fn a_thread_whose_picture_waits_to_be_taken_says_that_it_is_alive_and_loses_nothing() {
        let (frames, board) = (Handover::new(Captured::default()), StatusBoard::default());
        let stop = Stop::default();
        let beats = || board.activity(0).beats[0];
        let open = || Ok(Box::new(Pictures) as Box<dyn Source>);
        std::thread::scope(|scope| {
            scope.spawn(|| run(&open, &frames, &board, &stop));
            // One picture lies there and the next one waits: nothing moves any more.
            let patience = Duration::from_secs(20);
            let (clock, mut signs) = (Clock::default(), std::collections::BTreeSet::new());
            let until = clock.now().monotonic + patience;
            while signs.len() < 5 && clock.now().monotonic < until {
                signs.insert(beats());
                stop.wait(Duration::from_millis(10));
            }
            let mut frame = Captured::default();
            let taken: Vec<_> = (0..3)
                .map(|_| (frames.take(&mut frame, patience), frame.sequence))
                .map(|(taken, sequence)| (taken == Taken::Frame, sequence))
                .collect();
            stop.request(Reason::Signal);
            frames.close();
            assert!(signs.len() >= 5, "signs of life: {signs:?}");
            assert!(taken.iter().all(|(taken, _)| *taken), "{taken:?}");
        });
    }
}
