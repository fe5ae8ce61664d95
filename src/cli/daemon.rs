//! `watchpost run`.

use std::process::ExitCode;

use super::CliError;
use super::flags::ConfigFile;
use crate::clock::Clock;
use crate::daemon::{self, Input};
use crate::source;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let config = args.config.load()?;
    super::start_logging("info");
    let clock = Clock::default();
    let open = || source::open(&config.source, clock);
    daemon::run(&config, clock, Input { open: &open })?;
    Ok(ExitCode::SUCCESS)
}
