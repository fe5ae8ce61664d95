//! `watchpost doctor`.
//!
//! Exit codes: 0 where nothing failed (warnings and skipped checks included), 1 where a check
//! failed, 78 where the configuration itself is wrong.

use std::process::ExitCode;

use super::flags::{ConfigFile, OutputFormat};
use super::{CliError, EX_CONFIG, output};
use crate::clock::Clock;
use crate::doctor::{self, Finding, Outcome};

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
    let mut findings = Vec::new();
    let mut told = Ok(());
    doctor::examine(&args.config.path, Clock::default(), &wanted, &mut |finding| {
        // After the reader has gone the rest is examined for the exit code alone.
        if told.is_ok() {
            told = if args.format.json { output::json_line(&finding) } else { tell(&finding) };
        }
        outputs.push(output);
    });
    told?;
    let failed = |f: &&Finding| f.outcome == Outcome::Failed;
    let wrong_config = findings.iter().filter(failed).any(|f| f.check == "config");
    let failures = findings.iter().filter(failed).count();
    if !args.format.json {
        let warnings = findings.iter().filter(|f| f.outcome == Outcome::Warning).count();
        output::line(format!("{} checks, {failures} failed, {warnings} warnings", findings.len()))?;
    }
    Ok(match (wrong_config, failures) {
        (true, _) => ExitCode::from(EX_CONFIG),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    })
}

fn write(output: &CheckOutput) -> std::io::Result<()> {
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
