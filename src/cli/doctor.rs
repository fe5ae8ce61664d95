//! `watchpost doctor`.
//!
//! Exit codes: 0 where nothing failed (warnings and skipped checks included), 1 where a check
//! failed, 78 where the configuration itself is wrong.

use std::process::ExitCode;

use super::flags::{ConfigFile, OutputFormat};
use super::{CliError, EX_CONFIG, output};
use crate::clock::Clock;
use crate::doctor::{self, CheckOutput, CheckResult};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Run only these checks.
    #[arg(long, value_name = "CHECK")]
    only: Vec<String>,
    /// Leave these checks out.
    #[arg(long, value_name = "CHECK", conflicts_with = "only")]
    skip: Vec<String>,
    /// Name the checks and run none.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    if args.list {
        for check in doctor::checks() {
            output::line(check)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = args
        .only
        .iter()
        .chain(&args.skip)
        .find(|name| !doctor::checks().any(|c| c == name.as_str()))
    {
        let known = doctor::checks().collect::<Vec<_>>().join(", ");
        return Err(format!("there is no check {unknown:?}; the checks are {known}").into());
    }
    let wanted = |name: &str| {
        if args.only.is_empty() {
            !args.skip.iter().any(|s| s == name)
        } else {
            args.only.iter().any(|o| o == name)
        }
    };
    let mut outputs = Vec::new();
    let mut written = Ok(());
    doctor::run(&args.config.path, Clock::default(), &wanted, &mut |output| {
        // What cannot be written any more is run for the exit code alone.
        if written.is_ok() {
            written = write(&output, &args.format);
        }
        outputs.push(output);
    });
    written?;
    let failed = |o: &&CheckOutput| matches!(o.result, CheckResult::Failed { .. });
    let warned = |o: &&CheckOutput| matches!(o.result, CheckResult::Warning { .. });
    let wrong_config = outputs.iter().filter(failed).any(|o| o.check == "config");
    let failures = outputs.iter().filter(failed).count();
    if !args.format.json {
        let warnings = outputs.iter().filter(warned).count();
        output::line(format!("{} checks, {failures} failed, {warnings} warnings", outputs.len()))?;
    }
    Ok(match (wrong_config, failures) {
        (true, _) => ExitCode::from(EX_CONFIG),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    })
}

/// Prints one check: a JSON object, or a line and its remedy.
pub(super) fn write(output: &CheckOutput, format: &OutputFormat) -> std::io::Result<()> {
    if format.json {
        return output::json_line(output);
    }
    let word = match output.result {
        CheckResult::Ok { .. } => "ok",
        CheckResult::Skipped { .. } => "skip",
        CheckResult::Warning { .. } => "warn",
        CheckResult::Failed { .. } => "FAIL",
    };
    output::line(format!("{word:<5} {:<13} {}", output.check, output.result.detail()))?;
    if let Some(remedy) = output.result.remedy() {
        output::line(format!("{:<19} -> {remedy}", ""))?;
    }
    Ok(())
}
