//! `watchpost calibrate rehearse`: volunteers on a test list walk past, in place of the daemon.
//!
//! * Only a list whose aim is consent is taken, signed by two for this device, under the promise
//!   and the budget that the device keeps: the rehearsal runs the chain that the device runs.
//! * Nothing is published but the status, which says what is going on. Candidates are counted and
//!   dropped.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use log::{info, warn};

use super::foreground::{FrameTurn, Frames, STOP_TIMEOUT, announce};
use crate::calibrate::origin::SiteKey;
use crate::calibrate::rehearsal::{Rehearsal, RehearsalRecord, Rehearsed, VALID_FOR};
use crate::cli::CliError;
use crate::cli::flags::ConfigFile;
use crate::clock::Clock;
use crate::config::Config;
use crate::decision::policy::ActiveList;
use crate::decision::{DecisionConfig, promise};
use crate::delivery::event::Candidate;
use crate::device::judge::ListJudge;
use crate::device::keeper::Keeper;
use crate::device::pipeline::Pipeline;
use crate::files::replace;
use crate::vision::Models;
use crate::watchlist::text::hex;
use crate::watchlist::{Aim, read_list};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Test list of the volunteers, signed and sealed as lists are, its aim consent.
    #[arg(long, value_name = "FILE")]
    list: PathBuf,
    /// How often each volunteer walks past, alone, from the entry to the exit of the view.
    #[arg(long, value_name = "N")]
    passes: u32,
    /// Seconds between two passes of one volunteer, at least: what is found closer together is one
    /// pass.
    #[arg(long, value_name = "S", default_value_t = 30)]
    apart_s: u32,
    /// Record to write at the end, by Ctrl-C or where the source ends.
    #[arg(long, value_name = "FILE")]
    record: PathBuf,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let config = args.config.load()?;
    crate::cli::start_logging("info");
    let clock = Clock::default();
    let models = config.vision.open_models()?;
    let mut keeper = Keeper::new(&config, &models);
    keeper.permits(clock.now()).map_err(|b| b.to_string())?;
    let active = test_list(args, &config, &models, &keeper, clock)?;
    let (list, entries) = (active.list(), active.list().entries());
    let now = clock.now().wall;
    let about = Rehearsed {
        device: config.device.id.clone(),
        camera: config.device.camera.clone(),
        list: list.id().to_string(),
        version: list.version(),
        threshold: active.plan().threshold,
        promise: hex(&promise::of(&models, &config.vision, &config.decision).digest()),
        authority: list.authorisation().authority.clone(),
        decision: list.authorisation().decision.clone(),
        issued: now,
        expires: now + VALID_FOR,
    };
    let apart = Duration::from_secs(args.apart_s.into());
    let mut rehearsal = Rehearsal::new(entries.len(), apart);
    let references: Vec<String> = entries.iter().map(|e| e.reference.to_string()).collect();
    // What comes out of it goes nowhere: an entry that was found a minute ago may be found again.
    let decision = DecisionConfig { cool_down_s: 0, ..config.decision.clone() };
    let looked = Config { decision, ..config.clone() };
    let mut pipeline = Pipeline::new(&looked, &models, clock)?;
    pipeline.set_list(Ok(active));
    let delivery = announce(
        &config,
        clock,
        format!(
            "rehearsal: {} volunteers walk past, nobody is published; allowed by {}, {}",
            references.len(),
            about.authority,
            about.decision
        ),
    )?;
    let outcome = watch(&config, clock, &mut keeper, &mut pipeline, |candidate, at| {
        if candidate.sequence == 1
            && let Some(entry) = references.iter().position(|r| *r == candidate.entry)
        {
            rehearsal.candidate(entry, at);
            info!("A volunteer was found: passes={}.", rehearsal.found());
        }
    });
    delivery.stop(STOP_TIMEOUT);
    outcome?;
    let record: RehearsalRecord = rehearsal.finish(about, args.passes)?;
    replace(&args.record, &record.to_json())?;
    super::show_rehearsal(&record, false)?;
    Ok(ExitCode::SUCCESS)
}

/// The list of the volunteers, as the device would use it now.
fn test_list(
    args: &Args,
    config: &Config,
    models: &Models,
    keeper: &Keeper,
    clock: Clock,
) -> Result<ActiveList, CliError> {
    let opened = keeper.vault().open(&read_list(&args.list)?).map_err(|b| b.to_string())?;
    let trust = keeper.trust().map_err(|b| b.to_string())?;
    let active = ListJudge::of(config, models, keeper.vault().key().map(SiteKey::of))
        .usable_now(&opened.bytes, &trust, clock.now().wall)
        .map_err(|b| b.to_string())?;
    let aim = active.list().authorisation().aim;
    if aim != Aim::Consent {
        return Err(format!(
            "the aim of the list is {aim}; a rehearsal takes a list of people who have agreed \
             (`watchpost watchlist new --aim consent`)"
        )
        .into());
    }
    Ok(active)
}

/// Looks until a signal or the end of the source; `found` gets each candidate and its time.
fn watch(
    config: &Config,
    clock: Clock,
    keeper: &mut Keeper,
    pipeline: &mut Pipeline,
    mut found: impl FnMut(&Candidate, Duration),
) -> Result<(), CliError> {
    let mut frames = Frames::open(config, clock)?;
    loop {
        let turn = frames.next()?;
        let now = clock.now();
        // A suspension and a clock that went back stop a rehearsal as they stop matching.
        pipeline.hold(keeper.permits(now).err());
        let frame = match turn {
            FrameTurn::Frame(frame) => frame,
            FrameTurn::None => continue,
            FrameTurn::Over => break,
        };
        let at = frame.at.monotonic;
        let looked = pipeline.process(frame, now, &mut |candidate| found(&candidate, at));
        if let Err(error) = looked {
            warn!("A frame could not be looked at: sequence={} {error}.", frame.sequence);
        }
    }
    let now = clock.now();
    pipeline.finish(now, &mut |candidate| found(&candidate, now.monotonic));
    Ok(())
}
