//! `watchpost completions`: what a shell completes, from the definitions that `--help` is made of.

use std::io::Write;
use std::process::ExitCode;

use clap_complete::Shell;

use super::{CliError, output};

#[derive(clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    // The generator panics where its writer fails, as a pipe does whose reader has gone.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "watchpost", &mut text);
    output::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}
