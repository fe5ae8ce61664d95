//! `watchpost check`: whether the daemon could do its work as configured.
//!
//! * Runs those checks of `watchpost doctor` that need neither camera nor broker, and prints them
//!   in the same shape.
//! * Exit codes: 0 where nothing failed, 1 where a check failed, 78 where the configuration itself
//!   is wrong.

use std::process::ExitCode;

use super::flags::{ConfigFile, OutputFormat};
use super::{CliError, doctor};
use crate::clock::Clock;
use crate::doctor::{self as checks, CheckOutput, CheckResult};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    // A configuration that cannot be used ends here, with exit code 78 and every problem named.
    args.config.load()?;
    let mut written = Ok(());
    let mut failed = false;
    let wanted = |name: &str| checks::REQUIREMENTS.contains(&name);
    checks::run(&args.config.path, Clock::default(), &wanted, &mut |output: CheckOutput| {
        failed |= matches!(output.result, CheckResult::Failed { .. });
        // What cannot be written any more is run for the exit code alone.
        if written.is_ok() {
            written = doctor::write(&output, &args.format);
        }
    });
    written?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
