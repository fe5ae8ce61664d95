//! The daemon: three threads, bounded hand-overs, a supervisor, a clean start and stop.
//!
//! ```text
//!  capture thread          vision thread                     delivery thread
//!  Source --frame--> [1 place, latest wins] --> Device --candidate--> [bounded queue] --> outbox
//!       \                      |                                        /                    |
//!        `-- counts, why it does not work --> StatusBoard <-------------'                   MQTT
//!                                             |
//!                              supervisor (main thread): status, stats, signals
//! ```
//!
//! * Capture never waits for vision: a camera's frame that nobody takes is overwritten and counted.
//!   Recorded pictures wait.
//! * Vision never waits for the network, and follows signed orders between two frames
//!   ([`crate::device::orders`]).
//! * After a start nobody is matched before the orders that the broker keeps are heard, for a
//!   bounded time (`watchlist.await_orders_s`).
//! * Whatever keeps the device from matching is in its published status with the reason.
//! * SIGTERM and SIGINT end the daemon cleanly, with `stopped` published where a broker answers,
//!   within one deadline for everything that is waited for ([`stop`]).
//! * SIGHUP reads the list and the trust file again. Certificates and passwords are read at each
//!   connection anyway; other settings need a restart.
//! * A service manager is notified of start, stop and health ([`health`]).
//! * A thread that panics ends the daemon with an error, for the service manager to start it again.

mod auditor;
mod capture_thread;
pub(crate) mod handover;
mod health;
mod identity;
pub(crate) mod metrics;
mod progress;
mod report;
pub(crate) mod status_board;
pub(crate) mod stop;
mod vision_thread;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::{error, info, warn};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::auditor::Auditor;
pub(crate) use self::auditor::examine as examine_audit;
use self::handover::Handover;
use self::report::Reporter;
use self::status_board::{Condition, StatusBoard};
use self::stop::{Reason, Stop, StopDeadline, StopRequest};
use self::vision_thread::VisionThread;
use crate::clock::Clock;
use crate::config::{Config, MetricsConfig};
use crate::delivery::topics::TopicError;
use crate::delivery::{self, Delivery, DeviceId, StartError};
use crate::device::Device;
use crate::device::calibration::Calibration;
use crate::device::keeper::Keeper;
use crate::device::pipeline::Pipeline;
use crate::device::reviews::Reviews;
use crate::locked;
use crate::source::{Captured, Source, SourceError};
use crate::vision::VisionError;

/// Why the daemon cannot start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The networks do not load.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// The connection cannot even be tried.
    #[error(transparent)]
    Delivery(#[from] StartError),
    /// The device's name cannot be part of a topic.
    #[error("{device_id}: {0}", device_id = setting!(device.id))]
    Device(#[from] TopicError),
    /// The system refused.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// A bug; the panic's message is above it in the log.
    #[error("a thread of the daemon ended unexpectedly; please report the lines above as a bug")]
    ThreadLost,
    /// Candidates in memory were still waiting for the broker when the time to stop was over. Those
    /// on disk are delivered by the next start and are no failure.
    #[error(
        "{0} candidates were not delivered before the stop and are lost; is the broker reachable, \
         {broker_outbox} set?",
        broker_outbox = setting!(broker.outbox)
    )]
    Undelivered(usize),
}

/// Turns SIGTERM and SIGINT into a request to stop and SIGHUP into one to read the list again, for
/// as long as it lives.
struct Signals {
    handle: signal_hook::iterator::Handle,
}

impl Signals {
    fn listen(stop: Arc<Stop>) -> std::io::Result<Self> {
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in &mut signals {
                if signal == SIGHUP {
                    info!("The watch list and the trust file are read again.");
                    stop.request_reload();
                    continue;
                }
                info!("Stopping: signal={signal}.");
                stop.request(Reason::Signal);
            }
        })?;
        Ok(Self { handle })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// Ends the other threads when its own dies of a panic.
struct Alarm<'a> {
    stop: &'a Stop,
    frames: &'a Handover<Captured>,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.stop.request(Reason::ThreadLost);
            self.frames.close();
        }
    }
}

/// What the threads share.
#[derive(Clone, Copy)]
struct Links<'a> {
    frames: &'a Handover<Captured>,
    board: &'a StatusBoard,
    delivery: &'a Delivery,
    auditor: &'a Auditor,
    stop: &'a Stop,
}

/// Where frames come from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Opens the source; called again after it could not go on.
    pub open: &'a (dyn Fn() -> Result<Box<dyn Source>, SourceError> + Sync),
}

/// Runs until a signal or the end of the source.
///
/// # Errors
/// [`DaemonError`].
pub fn run(config: &Config, clock: Clock, input: Input<'_>) -> Result<(), DaemonError> {
    let stop = Arc::new(Stop::new(clock));
    let _signals = Signals::listen(Arc::clone(&stop)).map_err(DaemonError::Signals)?;
    let id = DeviceId::new(&config.device.id)?;
    let device = start_device(config, clock)?;

    let auditor = Auditor::open(config, clock.now());
    let reporter = Reporter::new(config, clock);
    let board = StatusBoard::default();
    let mut store = delivery::store(&config.broker)?;
    store.keep_for(auditor.log_of_outbox());
    let list = device.list_status();
    let first = reporter.status(&Condition::Starting, list.as_ref(), store.health().problem);
    let screen = Box::new(device.screen(clock));
    let signer = identity::signer(config);
    let delivery =
        Delivery::start_screened(&config.broker, &id, first, clock, store, screen, signer)?;
    auditor.started(&delivery, clock.now());
    let frames = Handover::new(Captured::default());
    let links = Links {
        frames: &frames,
        board: &board,
        delivery: &delivery,
        auditor: &auditor,
        stop: &stop,
    };
    let vision = VisionThread::new(device, Reviews::open(config), clock, links);
    run_threads(input, vision, links, &reporter, &config.metrics);

    auditor.stopped(&reporter.counts(&board, &delivery), &delivery, clock.now());
    let now = || clock.now().monotonic;
    // Whoever ends the threads has asked for it.
    let requested =
        stop.requested().unwrap_or(StopRequest { reason: Reason::ThreadLost, at: now() });
    let deadline = StopDeadline::of(requested, delivery.snapshot().store.in_memory > 0);
    auditor.await_cosigned(&delivery, clock, deadline.of_cosigning(now()));
    delivery.publish_stats(reporter.stats(&board, &delivery));
    let begun = now();
    let until = deadline.of_delivery(begun);
    info!(
        "Delivery ends: after_ms={} within_ms={}.",
        begun.saturating_sub(requested.at).as_millis(),
        until.saturating_sub(begun).as_millis()
    );
    let outcome = delivery.stop_until(until);
    let counts = board.counts();
    info!(
        "Stopped: candidates={} kept_for_next_start={} lost={} stopped_published={}.",
        // Those of a silent list are counted and go nowhere.
        counts["pipeline.decision.candidates"].saturating_sub(counts["pipeline.silent"]),
        outcome.undelivered.saturating_sub(outcome.lost),
        outcome.lost,
        outcome.stopped_published
    );
    if stop.reason() == Some(Reason::ThreadLost) {
        return Err(DaemonError::ThreadLost);
    }
    if outcome.lost > 0 {
        return Err(DaemonError::Undelivered(outcome.lost));
    }
    Ok(())
}

/// Loads networks, memory, keys and list, in this order.
fn start_device(config: &Config, clock: Clock) -> Result<Device, DaemonError> {
    let models = config.vision.open_models().map_err(VisionError::from)?;
    let mut pipeline = Pipeline::new(config, &models, clock)?;
    let [detector, embedder] = pipeline.engines();
    info!("Networks loaded: detector={detector} embedder={embedder}.");
    // Before a key or a template is in memory.
    if let Err(error) = locked::forbid_dumps() {
        warn!("Core files and the reading of this process by others cannot be forbidden: {error}.");
    }
    let keeper = Keeper::new(config, &models);
    keeper.vault().warn();
    let calibration = Calibration::begin(config, &models, &keeper, clock.now());
    let mut device = Device::new(pipeline, keeper);
    device.start(clock.now());
    let patience = Duration::from_secs(config.watchlist.await_orders_s.into());
    if !patience.is_zero() {
        device.await_orders(clock.now().monotonic + patience);
    }
    match calibration {
        Ok(None) => {}
        Ok(Some((calibration, counter))) => device.calibrate(calibration, counter),
        Err(why) => error!("Nobody is counted against decoys; matching goes on: {why}."),
    }
    Ok(device)
}

/// Runs capture, vision and metrics in threads and the supervisor in this one, until all have
/// ended.
fn run_threads(
    input: Input<'_>,
    vision: VisionThread<'_>,
    links: Links<'_>,
    reporter: &Reporter,
    metrics: &MetricsConfig,
) {
    let Links { frames, board, delivery, auditor, stop } = links;
    thread::scope(|scope| {
        let spawn = |name: &str| thread::Builder::new().name(name.into());
        let capture = spawn("capture").spawn_scoped(scope, move || {
            let _alarm = Alarm { stop, frames };
            capture_thread::run(input.open, frames, board, stop);
        });
        let vision = spawn("vision").spawn_scoped(scope, move || {
            let _alarm = Alarm { stop, frames };
            vision.run();
        });
        if !metrics.listen.is_empty() {
            let stats = move || reporter.stats(board, delivery);
            let give = move || metrics::give(metrics, stop, stats, |why| board.set_metrics(why));
            if let Err(e) = spawn("metrics").spawn_scoped(scope, give) {
                error!("The thread of the metrics cannot be started: error={e}.");
            }
        }
        match (capture, vision) {
            (Ok(capture), Ok(vision)) => {
                reporter.supervise(board, delivery, auditor, stop);
                // Capture leaves by the request to stop; vision after the last frame that was
                // handed over.
                if capture.join().is_err() | vision.join().is_err() {
                    stop.request(Reason::ThreadLost);
                }
            }
            _ => {
                error!("The threads of capture and vision cannot be started.");
                stop.request(Reason::ThreadLost);
                frames.close();
            }
        }
    });
}
