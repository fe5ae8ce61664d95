//! `watchpost review`: a reviewer's verdict on a candidate.
//!
//! What is written is sent with `watchpost orders send`; what became of it is published by the
//! device.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::flags::OutputFormat;
use super::signer::SignerKey;
use super::{CliError, output};
use crate::delivery::event::{Candidate, CloudEvent};
use crate::files;
use crate::judgement::{Confidence, Opinion};
use crate::review::verdict::{CandidateId, Verdict, give};
use crate::watchlist::seal::Recipient;

/// Most bytes of a candidate's event.
const MAX_EVENT: u64 = 1 << 20;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ReviewCommand,
}

#[derive(Subcommand)]
enum ReviewCommand {
    /// Sign what you say of a candidate, and seal it to the device that published it: nobody else
    /// can read it before a second person has judged.
    #[command(after_help = JUDGE_EXAMPLES)]
    Judge(Judge),
}

const JUDGE_EXAMPLES: &str = "Examples:
  watchpost review judge candidate.json --opinion not-same --confidence high --key dora.key \\
    --device-key age1... --out verdict.cose
  watchpost orders send verdict.cose --device gate-1 --config reviewer.toml

candidate.json is the message as the device published it, byte for byte. Compare its crop with the
reference photograph before you look at its score.";

#[derive(clap::Args)]
struct Judge {
    /// The candidate: its message as it was published, byte for byte.
    candidate: PathBuf,
    /// What you say: same, not-same, cannot-judge, or nobody-there where the camera saw a picture
    /// or a screen.
    #[arg(long)]
    opinion: Opinion,
    /// How sure you are: low, medium or high.
    #[arg(long)]
    confidence: Confidence,
    #[command(flatten)]
    key: SignerKey,
    /// The device's public key, as lists are sealed to it.
    #[arg(long, value_name = "KEY")]
    device_key: Recipient,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        ReviewCommand::Judge(args) => judge(&args),
    }
}

fn judge(args: &Judge) -> Result<ExitCode, CliError> {
    let shown = args.candidate.display();
    let published = files::read_bytes(&args.candidate, MAX_EVENT)
        .map_err(|e| format!("cannot read the candidate {shown}: {e}"))?;
    let event: CloudEvent<Candidate> = serde_json::from_slice(&published).map_err(|e| {
        format!("{shown} is no candidate as a device publishes it, byte for byte: {e}")
    })?;
    let candidate = &event.data;
    let name = |what: &str, text: &str| {
        text.parse().map_err(|e| format!("the {what} of the candidate cannot be: {e}"))
    };
    let verdict = Verdict {
        candidate: CandidateId(candidate.candidate.as_u128().to_be_bytes()),
        payload: Sha256::digest(&published[..]).into(),
        list: name("list", &candidate.list.id)?,
        version: candidate.list.version,
        device: name("device", &candidate.device)?,
        opinion: args.opinion,
        confidence: args.confidence,
        judged_at: OffsetDateTime::now_utc(),
    };
    let key = args.key.open()?;
    let reviewer = key.public().id();
    files::replace(&args.out, &give(&verdict, &key, &args.device_key)?)?;
    let (device, candidate) = (verdict.device.to_string(), verdict.candidate.to_string());
    if args.format.json {
        output::json_line(&json!({
            "candidate": candidate,
            "device": device,
            "reviewer": reviewer,
            "file": args.out,
        }))?;
    } else {
        output::line(format!(
            "{}: the verdict of {reviewer} on {candidate}, for {device}",
            args.out.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
