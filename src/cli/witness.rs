//! `watchpost witness`: cosigns a log's checkpoint where it only adds to what was cosigned, and
//! names what is wrong where it does not.

mod run;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use time::OffsetDateTime;

use super::flags::OutputFormat;
use super::{CliError, output};
use crate::audit::note::{NoteKey, SignatureKind};
use crate::audit::proof::MAX_TEXT;
use crate::audit::witness::{FolderMemory, LogWitness};
use crate::files::read_text;
use crate::watchlist::keys::SecretKey;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: WitnessCommand,
}

const RUN_EXAMPLES: &str = "Examples:
  watchpost witness run --name witness.example/w1 --key witness.key --state witness \\
    --logs logs.txt --config operator.toml

operator.toml needs only [broker]: url, root, and what the broker asks for. logs.txt has the
verifier key of a device's log a line, as `watchpost witness key` prints it.";

#[derive(clap::Subcommand)]
enum WitnessCommand {
    /// Judge a submission (`watchpost audit submission`), remember its checkpoint and print the
    /// cosignature; exit 1 and the name of the finding where it is not cosigned.
    Cosign {
        /// The submission; standard input where absent.
        submission: Option<PathBuf>,
        /// Name of the witness.
        #[arg(long)]
        name: String,
        /// Secret key of the witness, as `watchpost key identity` makes one.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Folder in which the witness remembers what it cosigned. Never delete it.
        #[arg(long, value_name = "FOLDER")]
        state: PathBuf,
        /// Verifier key `NAME+ID+BASE64` of a log that is watched; may be repeated.
        #[arg(long = "log", value_name = "KEY", required = true)]
        logs: Vec<NoteKey>,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Watch the logs of a fleet at a broker: cosign what only grows, name what does not, and
    /// answer devices that ask whether their log is the newest. Findings are lines of JSON; exit 1
    /// where there was one.
    #[command(after_help = RUN_EXAMPLES)]
    Run(run::Args),
    /// Print the verifier key of a log or of a witness, for those who pin it.
    Key {
        /// Public key, as `watchpost key show` prints it.
        public: crate::watchlist::keys::PublicKey,
        /// Name of the log, `<root>/<device>`, or of the witness.
        #[arg(long)]
        name: String,
        /// It is the key of a witness, not of a log.
        #[arg(long)]
        cosigns: bool,
    },
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        WitnessCommand::Cosign { submission, name, key, state, logs, format } => {
            let text = read(submission.as_deref())?;
            let memory = FolderMemory::open(&state)
                .map_err(|e| format!("cannot use the folder {}: {e}", state.display()))?;
            let now = OffsetDateTime::now_utc();
            let secret = SecretKey::open_file(&key)?;
            let mut witness = LogWitness::new(&name, secret, logs, memory, now);
            cosign(&mut witness, &text, now, format.json)
        }
        WitnessCommand::Run(args) => run::run(args),
        WitnessCommand::Key { public, name, cosigns } => {
            let kind = if cosigns { SignatureKind::Cosignature } else { SignatureKind::Note };
            output::line(NoteKey::new(&name, kind, public)?.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read(path: Option<&Path>) -> Result<String, CliError> {
    let mut text = String::new();
    let most = MAX_TEXT as u64 + 1;
    match path {
        None => std::io::stdin().lock().take(most).read_to_string(&mut text)?,
        Some(path) => {
            let read = read_text(path, MAX_TEXT as u64);
            return read
                .map(|text| text.to_string())
                .map_err(|e| format!("cannot read {}: {e}", path.display()).into());
        }
    };
    Ok(text)
}

fn cosign(
    witness: &mut LogWitness<FolderMemory>,
    submission: &str,
    now: OffsetDateTime,
    json: bool,
) -> Result<ExitCode, CliError> {
    match witness.submit(submission, now) {
        Ok(cosigned) if json => {
            output::json_line(&json!({
                "cosigned": true,
                "origin": cosigned.checkpoint.origin,
                "size": cosigned.checkpoint.size,
                "line": cosigned.line,
            }))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(cosigned) => {
            output::line(cosigned.line.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(finding) if json => {
            output::json_line(&json!({
                "cosigned": false,
                "finding": finding.name(),
                "offence": finding.is_offence(),
                "status": finding.status(),
                "reason": finding.to_string(),
            }))?;
            Ok(ExitCode::FAILURE)
        }
        Err(finding) => Err(finding.into()),
    }
}
