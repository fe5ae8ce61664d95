//! `watchpost calibrate run`: counts in the foreground, in place of the daemon.
//!
//! * The status says that nobody is matched, that faces are counted, and who allowed it.
//! * Counts are written every few minutes and when it ends; the same command goes on with them.
//! * It ends where frames are not kept from swap, as the daemon would be blind then.
//! * It ends by itself when the signed days are over, and writes the site record.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::foreground::{FrameTurn, Frames, STOP_TIMEOUT, announce};
use crate::calibrate::counts::day_of;
use crate::calibrate::decoys::Decoys;
use crate::calibrate::record::SiteRecord;
use crate::cause::Cause;
use crate::cli::CliError;
use crate::cli::flags::ConfigFile;
use crate::clock::Clock;
use crate::config::Config;
use crate::device::calibration::{self, OpenedDecoys};
use crate::device::calibrator::Calibrator;
use crate::device::keeper::Keeper;
use crate::device::pipeline::PipelineError;
use crate::files::replace;
use crate::source::DecodeError;

/// How often counts are written: at most so much is lost with the power.
const SAVE_EVERY: Duration = Duration::from_secs(600);

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
    let head = decoys.head();
    let delivery = announce(
        &config,
        clock,
        format!(
            "calibration: nobody is matched; faces are counted against {} decoys for {} days, \
             allowed by {}, {}",
            decoys.templates().len(),
            head.days,
            head.authority,
            head.decision
        ),
    )?;
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

/// Counts until a signal, the end of the source, or the end of the signed days.
fn count(
    args: &Args,
    config: &Config,
    clock: Clock,
    keeper: &mut Keeper,
    calibrator: &mut Calibrator,
    decoys: &Decoys,
) -> Result<(), CliError> {
    let mut frames = Frames::open(config, clock)?;
    let mut saved = Instant::now();
    loop {
        let now = clock.now();
        let head = decoys.head();
        if now.wall >= head.expires || calibrator.counts().is_complete(day_of(now.wall)) {
            break;
        }
        if saved.elapsed() >= SAVE_EVERY {
            replace(&args.counts, &calibrator.counts().to_bytes())?;
            saved = Instant::now();
            let done = calibrator.counts().days_done(day_of(now.wall));
            info!("Counted: tracks={} days={done}.", calibrator.counts().tracks());
        }
        match frames.next()? {
            // A suspension and a clock that went back stop counting as they stop matching.
            FrameTurn::Frame(_) if keeper.permits(clock.now()).is_err() => {}
            FrameTurn::Frame(frame) => {
                if let Err(error) = calibrator.process(frame, clock.now()) {
                    if let PipelineError::Decode(DecodeError::NotLocked { .. }) = error {
                        let remedy = Cause::MemoryNotLocked.remedy();
                        return Err(format!("{error}; {remedy}").into());
                    }
                    warn!("A frame could not be counted: sequence={} {error}.", frame.sequence);
                }
            }
            FrameTurn::None => {}
            FrameTurn::Over => break,
        }
    }
    calibrator.finish(clock.now());
    Ok(())
}
