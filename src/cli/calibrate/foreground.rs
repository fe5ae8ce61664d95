//! What `calibrate run` and `calibrate rehearse` do alike in the daemon's place: say what is going
//! on, and look at frames until they are stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cli::CliError;
use crate::cli::stop::ended_by_signal;
use crate::clock::Clock;
use crate::config::{Config, promises};
use crate::delivery::event::{ClockQuality, State, Status};
use crate::delivery::{self, Delivery, DeviceId};
use crate::source::{self, Captured, Source, SourceError};
use crate::watchlist::clock::kernel_synchronised;

/// How long the status may take to leave at the end.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes that nobody is matched, and why.
pub fn announce(config: &Config, clock: Clock, reason: String) -> Result<Delivery, CliError> {
    let status = Status {
        state: State::Blind,
        since: clock.now().wall,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        matching: false,
        list: None,
        reason: Some(reason),
        threshold: None,
        clock: ClockQuality::of(kernel_synchronised()),
        degraded: None,
        promises: promises::promises(config),
        ends_soon: Vec::new(),
    };
    let id = DeviceId::new(&config.device.id)?;
    let store = delivery::store(&config.broker)?;
    Ok(Delivery::start_with(&config.broker, &id, status, clock, store)?)
}

/// Frames of the configured source, until a signal or its end.
pub struct Frames {
    source: Box<dyn Source>,
    frame: Captured,
    stop: Arc<AtomicBool>,
}

/// What there is to look at.
pub enum FrameTurn<'a> {
    /// A frame. The next turn wipes it.
    Frame(&'a Captured),
    /// None this time: what is due beside frames is due all the same.
    None,
    /// There will be no more.
    Over,
}

impl Frames {
    pub fn open(config: &Config, clock: Clock) -> Result<Self, CliError> {
        let stop = ended_by_signal()?;
        let source = source::open(&config.source, clock)?;
        Ok(Self { source, frame: Captured::default(), stop })
    }

    /// Waits for the next frame, not longer than the source does.
    pub fn next(&mut self) -> Result<FrameTurn<'_>, CliError> {
        // Nothing of a passer-by waits for the next frame.
        self.frame.bytes.clear();
        if self.stop.load(Ordering::Relaxed) {
            return Ok(FrameTurn::Over);
        }
        match self.source.next(&mut self.frame) {
            Ok(()) => Ok(FrameTurn::Frame(&self.frame)),
            Err(SourceError::Ended) => Ok(FrameTurn::Over),
            Err(error @ SourceError::Configuration { .. }) => Err(error.into()),
            Err(SourceError::Timeout | SourceError::Frame(_) | SourceError::Lost { .. }) => {
                Ok(FrameTurn::None)
            }
        }
    }
}
