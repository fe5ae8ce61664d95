//! `watchpost calibrate run`: counts in the foreground, in place of the daemon.
//!
//! * The status says that nobody is matched, that faces are counted, and who allowed it.
//! * Counts are written every few minutes and when it ends; the same command goes on with them.
//! * It ends by itself when the signed days are over, and writes the site record.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::calibrate::counts::day_of;
use crate::calibrate::decoys::Decoys;
use crate::calibrate::record::SiteRecord;
use crate::cli::CliError;
use crate::cli::flags::ConfigFile;
use crate::clock::Clock;
use crate::config::{Config, promises};
use crate::delivery::event::{ClockQuality, State, Status};
use crate::delivery::{self, Delivery, DeviceId};
use crate::device::calibration::{self, OpenedDecoys};
use crate::device::calibrator::Calibrator;
use crate::device::keeper::Keeper;
use crate::files::replace;
use crate::source::{self, Captured, SourceError};
use crate::watchlist::clock::kernel_synchronised;

/// How often counts are written: at most so much is lost with the power.
const SAVE_EVERY: Duration = Duration::from_secs(600);
/// How long the status may take to leave at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Set of decoys, signed, sealed as lists are.
    #[arg(long, value_name = "FILE")]
    decoys: PathBuf,
    /// Counts: made where there are none, otherwise gone on with.
    #[arg(long, value_name = "FILE")]
    counts: PathBuf,
    /// Site record to write when the signed days are over.
    #[arg(long, value_name = "FILE")]
    record: PathBuf,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let config = args.config.load()?;
    crate::cli::start_logging("info");
    let clock = Clock::default();
    let models = config.vision.open_models()?;
    let mut keeper = Keeper::new(&config, &models);
    let now = clock.now();
    keeper.permits(now).map_err(|b| b.to_string())?;
    let OpenedDecoys { decoys, key, setup } =
        calibration::open(&args.decoys, &config, &models, &keeper, now)?;
    let counts = calibration::counts(&args.counts, setup, decoys.templates().len())?;
    let mut calibrator = Calibrator::new(&config, &models, clock, decoys.templates(), counts)?;
    let list = match keeper.for_counting(now) {
        Ok((list, gallery)) => {
            let named = (list.id().clone(), list.version());
            info!("Entries are counted, mildly: list={} version={}.", named.0, named.1);
            calibrator.set_list(list, gallery, config.watchlist.position);
            Some(named)
        }
        Err(blindness) => {
            warn!("Decoys are counted without a list, so that no entry is covered: {blindness}.");
            None
        }
    };
    let delivery = announce(&config, clock, &decoys)?;
    let outcome = count(args, &config, clock, &mut keeper, &mut calibrator, &decoys);
    replace(&args.counts, &calibrator.counts().to_bytes())?;
    delivery.stop(STOP_TIMEOUT);
    outcome?;
    let now = clock.now().wall;
    if !calibrator.counts().is_complete(day_of(now)) {
        info!("Stopped before the signed days are over; the same command goes on.");
        return Ok(ExitCode::SUCCESS);
    }
    let record = SiteRecord::of(calibrator.counts(), list, &key, now)?;
    replace(&args.record, &record.to_bytes())?;
    info!("The signed days are over, and the site record was written.");
    Ok(ExitCode::SUCCESS)
}

/// Publishes that nobody is matched and faces are counted, by whose decision.
fn announce(config: &Config, clock: Clock, decoys: &Decoys) -> Result<Delivery, CliError> {
    let head = decoys.head();
    let status = Status {
        state: State::Blind,
        since: clock.now().wall,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        matching: false,
        list: None,
        reason: Some(format!(
            "calibration: nobody is matched; faces are counted against {} decoys for {} days, \
             allowed by {}, {}",
            decoys.templates().len(),
            head.days,
            head.authority,
            head.decision
        )),
        threshold: None,
        clock: if kernel_synchronised() {
            ClockQuality::Synchronized
        } else {
            ClockQuality::Unsynchronized
        },
        degraded: None,
        promises: promises::promises(config),
        ends_soon: Vec::new(),
    };
    let id = DeviceId::new(&config.device.id)?;
    let store = delivery::store(&config.broker)?;
    Ok(Delivery::start_with(&config.broker, &id, status, clock, store)?)
}

/// Counts until a signal, the end of the source, or the end of the signed days.
fn count(
    args: &Args,
    config: &Config,
    clock: Clock,
    keeper: &mut Keeper,
    calibrator: &mut Calibrator,
    decoys: &Decoys,
) -> Result<(), CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut source = source::open(&config.source, clock)?;
    let mut frame = Captured::default();
    let mut saved = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = clock.now();
        let head = decoys.head();
        let over = now.wall >= head.expires || calibrator.counts().is_complete(day_of(now.wall));
        if over {
            break;
        }
        if saved.elapsed() >= SAVE_EVERY {
            replace(&args.counts, &calibrator.counts().to_bytes())?;
            saved = Instant::now();
            let done = calibrator.counts().days_done(day_of(now.wall));
            info!("Counted: tracks={} days={done}.", calibrator.counts().tracks());
        }
        match source.next(&mut frame) {
            // A suspension and a clock that went back stop counting as they stop matching.
            Ok(()) if keeper.permits(now).is_err() => {}
            Ok(()) => {
                if let Err(error) = calibrator.process(&frame, now) {
                    warn!("A frame could not be counted: sequence={} {error}.", frame.sequence);
                }
            }
            Err(SourceError::Ended) => break,
            Err(error @ SourceError::Configuration { .. }) => return Err(error.into()),
            Err(SourceError::Timeout | SourceError::Frame(_) | SourceError::Lost { .. }) => {}
        }
        // Nothing of a passer-by waits for the next frame.
        frame.bytes.clear();
    }
    calibrator.finish(clock.now());
    Ok(())
}
