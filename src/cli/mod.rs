//! The command line: one file a subcommand, thin over the library.
//!
//! Names of commands and flags are a contract that scripts rely on. Every command that a machine
//! may read has `--json`; errors go to standard error as one sentence that says what to do next.
//!
//! Exit codes: 0 done, 1 failed, 2 not understood (from the argument parser), 65 nothing could be
//! evaluated (`EX_DATAERR`), 78 the configuration is wrong (`EX_CONFIG`). A reader of standard
//! output that has gone changes none of them.
//!
//! A build for a board has the commands that run, check and explain a device. Cargo features add
//! the others: `author` makes and signs lists (parts of `key` and `watchlist`), `desk` is the
//! receiving end, `evaluate` judges
//! the models on photographs (`detect`, `compare`, `evaluate`), `demo` plays and times the bundled
//! scene (`demo`, `bench`).

mod audit;
#[cfg(feature = "demo")]
mod bench;
mod calibrate;
mod cameras;
#[cfg(feature = "author")]
mod certificates;
mod check;
#[cfg(feature = "evaluate")]
mod compare;
#[cfg(feature = "author")]
mod completions;
mod daemon;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "desk")]
mod desk;
#[cfg(feature = "evaluate")]
mod detect;
mod doctor;
#[cfg(feature = "evaluate")]
mod evaluate;
mod flags;
#[cfg(feature = "author")]
mod fleet;
mod identify;
mod key;
#[cfg(feature = "author")]
mod orders;
mod outbox;
mod output;
mod photographs;
#[cfg(feature = "author")]
mod review;
#[cfg(feature = "author")]
mod signer;
mod stop;
mod watchlist;
#[cfg(feature = "author")]
mod witness;

#[cfg(feature = "demo")]
pub use self::bench::Allocator;
use std::error::Error;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::kernels::choice;
use crate::locked;
use crate::watchlist::text::shown;

/// What a failed command says.
type CliError = Box<dyn Error + Send + Sync>;

/// Exit code for a configuration that cannot be used, from `sysexits.h`.
const EX_CONFIG: u8 = 78;

#[derive(Parser)]
#[command(name = "watchpost", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const RUN_EXAMPLES: &str = "Examples:
  watchpost run
  WATCHPOST_LOG=debug watchpost run --config /etc/watchpost/watchpost.toml
  WATCHPOST__BROKER__URL=mqtts://mqtt.example watchpost run

WATCHPOST_LOG says how much is logged: error, warn, info, debug, or by module as in
`info,watchpost::delivery=debug`. Keys of the configuration can be set by variables as above, and by
fragments conf.d/*.toml beside the file.";
const CHECK_EXAMPLES: &str = "Examples:
  watchpost check
  watchpost check --config watchpost.toml --json";
const DOCTOR_EXAMPLES: &str = "Examples:
  sudo -u watchpost watchpost doctor
  watchpost doctor --only cameras --only broker --json";
const IDENTIFY_EXAMPLES: &str = "Examples:
  watchpost identify street.jpg --watchlist list.cose --trust trust.toml --device gate-1";
const KEY_EXAMPLES: &str = "Examples:
  watchpost key device /etc/watchpost/device-list.key
  watchpost key show /etc/watchpost/device-list.key";
const WATCHLIST_EXAMPLES: &str = "Examples:
  watchpost watchlist verify list.cose --trust trust.toml --device gate-1";
#[cfg(feature = "desk")]
const DESK_EXAMPLES: &str = "Examples:
  watchpost desk --config desk.toml
  watchpost desk invite dora --config desk.toml
  watchpost desk backup desk-backup.sqlite --config desk.toml
  watchpost desk export 01a20ce4-1ba7-70bf-bdd8-e853451d3023 case --config desk.toml";
#[cfg(feature = "author")]
const COMPLETIONS_EXAMPLES: &str = "Examples:
  watchpost completions bash >/usr/share/bash-completion/completions/watchpost
  watchpost completions zsh >_watchpost";

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: camera in, candidates out.
    #[command(after_help = RUN_EXAMPLES)]
    Run(daemon::Args),
    /// Check configuration, models, watch list and trust; exit 78 where the configuration is wrong.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(check::Args),
    /// Find what keeps the daemon from its work on this machine, and say what to do.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(doctor::Args),
    /// List the machine's cameras: formats, sizes, rates, and whether they can be read.
    Cameras(cameras::Args),
    /// Play a bundled scene through the whole chain: no camera, no broker needed.
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    /// Find faces in photographs.
    #[cfg(feature = "evaluate")]
    Detect(detect::Args),
    /// Compare the faces of two photographs.
    #[cfg(feature = "evaluate")]
    Compare(compare::Args),
    /// Search a watch list for the faces in photographs.
    #[command(after_help = IDENTIFY_EXAMPLES)]
    Identify(identify::Args),
    /// Make and show signing keys.
    #[command(after_help = KEY_EXAMPLES)]
    Key(key::Args),
    /// Author, sign and verify watch lists.
    #[command(after_help = WATCHLIST_EXAMPLES)]
    Watchlist(watchlist::Args),
    /// Send orders, lists and keys to devices, and say who has what.
    #[cfg(feature = "author")]
    Orders(orders::Args),
    /// Make the certificates by which a broker knows devices and people.
    #[cfg(feature = "author")]
    Fleet(certificates::Args),
    /// Count strangers at this place against decoys, to know how often a list would be wrong here.
    Calibrate(calibrate::Args),
    /// Look at the log of what a device did, verify it, and prove single records.
    Audit(audit::Args),
    /// See that audit logs only grow, and say so by cosignatures.
    #[cfg(feature = "author")]
    Witness(witness::Args),
    /// Judge candidates as one of two reviewers.
    #[cfg(feature = "author")]
    Review(review::Args),
    /// Run the receiving end: store what devices publish, and let two people judge each candidate.
    #[cfg(feature = "desk")]
    #[command(after_help = DESK_EXAMPLES)]
    Desk(desk::Args),
    /// Look at the candidates that wait on the disk for a broker.
    Outbox(outbox::Args),
    /// Print what a shell completes: `watchpost completions bash`.
    #[cfg(feature = "author")]
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(completions::Args),
    /// Measure detector and embedder on photographs of your own.
    #[cfg(feature = "evaluate")]
    Evaluate(evaluate::Args),
    /// Measure the speed of the stages on this machine.
    #[cfg(feature = "demo")]
    Bench(bench::Args),
}

/// The definitions of all commands and flags, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses, dispatches, reports. The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(
        cli.command,
        Command::Identify(_) | Command::Calibrate(_) | Command::Key(_) | Command::Watchlist(_)
    ) {
        // Keys and templates are in memory. Where it is refused (as in some sandboxes) the work can
        // go on; the daemon says so.
        let _ = locked::forbid_dumps();
    }
    // `doctor` reports it with its other findings.
    if !matches!(cli.command, Command::Doctor(_))
        && let Err(error) = choice::chosen()
    {
        output::say(error);
        return ExitCode::from(EX_CONFIG);
    }
    let outcome = match cli.command {
        Command::Run(args) => daemon::run(args),
        Command::Check(args) => check::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Cameras(args) => cameras::run(args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args),
        #[cfg(feature = "evaluate")]
        Command::Detect(args) => detect::run(args),
        #[cfg(feature = "evaluate")]
        Command::Compare(args) => compare::run(args),
        Command::Identify(args) => identify::run(args),
        Command::Key(args) => key::run(args),
        Command::Watchlist(args) => watchlist::run(args),
        #[cfg(feature = "author")]
        Command::Orders(args) => orders::run(args),
        #[cfg(feature = "author")]
        Command::Fleet(args) => certificates::run(&args),
        #[cfg(feature = "author")]
        Command::Completions(args) => completions::run(&args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Audit(args) => audit::run(args),
        #[cfg(feature = "author")]
        Command::Witness(args) => witness::run(args),
        #[cfg(feature = "author")]
        Command::Review(args) => review::run(args),
        #[cfg(feature = "desk")]
        Command::Desk(args) => desk::run(args),
        Command::Outbox(args) => outbox::run(args),
        #[cfg(feature = "evaluate")]
        Command::Evaluate(args) => evaluate::run(args),
        #[cfg(feature = "demo")]
        Command::Bench(args) => bench::run(args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::say(shown(&chain(&*error)));
            let wrong_config = error.downcast_ref::<crate::config::ConfigError>().is_some();
            if wrong_config { ExitCode::from(EX_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

/// An error and what caused it, as one sentence; a cause that its error already quotes is left out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Logging for commands that run long: level from `WATCHPOST_LOG`, else `default`; to standard
/// error.
fn start_logging(default: &str) {
    // Under a service manager the journal dates the lines.
    let dated = std::env::var_os("JOURNAL_STREAM").is_none();
    let env = env_logger::Env::new().filter_or("WATCHPOST_LOG", default);
    let mut builder = env_logger::Builder::from_env(env);
    if !dated {
        builder.format_timestamp(None);
    }
    builder.init();
}
