//! The capture thread: keeps the source open and hands its frames over.
//!
//! A source that cannot be opened is tried again, slower and slower: a camera may be plugged in
//! later. Why no frame comes is logged at once, and at growing intervals for as long as it lasts,
//! with how often it was tried.

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
                    Pace::Recorded => WhenFull::Wait,
                };
                match frames.put(&mut frame, when_full) {
                    Put::Stored => {}
                    Put::Overwrote => overwritten += 1,
                    Put::Closed => break None,
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
