//! `watchpost run`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::clock::Clock;
use crate::config::{Config, DEFAULT_PATH};
use crate::daemon::{self, Input};
use crate::source;

#[derive(clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = Config::load(&args.config)?;
    super::start_logging("info");
    let clock = Clock::default();
    let open = || source::open(&config.source, clock);
    daemon::run(&config, clock, Input { open: &open, live: config.source.is_live() })?;
    Ok(ExitCode::SUCCESS)
}
