//! `watchpost watchlist verify`: judges a list as a device would. Everything that makes a list is
//! in `author`.

#[cfg(feature = "author")]
mod author;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::flags::{Networks, Opening, OutputFormat, PlaceFlags};
use super::{CliError, output};
use crate::device::judge::ListJudge;
use crate::watchlist::Trust;
use crate::watchlist::seal::SealError;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: WatchlistCommand,
}

#[derive(Subcommand)]
enum WatchlistCommand {
    #[cfg(feature = "author")]
    #[command(flatten)]
    Author(author::AuthorCommand),
    /// Judge a list as a device would; exit 0 only where the device would use it now.
    Verify {
        /// Signed list.
        list: PathBuf,
        /// Trust file.
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
        /// Name of the device.
        #[arg(long, value_name = "ID")]
        device: String,
        #[command(flatten)]
        place: PlaceFlags,
        #[command(flatten)]
        networks: Networks,
        #[command(flatten)]
        opening: Opening,
        #[command(flatten)]
        format: OutputFormat,
    },
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        #[cfg(feature = "author")]
        WatchlistCommand::Author(command) => author::run(command),
        WatchlistCommand::Verify {
            list,
            trust,
            device,
            place,
            networks,
            opening,
            format: OutputFormat { json },
        } => {
            let bytes = match opening.read(&list) {
                Err(error) if json && error.is::<SealError>() => {
                    let code = error.downcast_ref::<SealError>().map(SealError::cause);
                    let reason = error.to_string();
                    output::json_line(
                        &serde_json::json!({ "valid": false, "code": code, "reason": reason }),
                    )?;
                    return Ok(ExitCode::FAILURE);
                }
                read => read?,
            };
            let models = networks.open()?;
            verify(&bytes, &trust, &ListJudge::as_shipped(device, place.position, &models), json)
        }
    }
}

fn verify(bytes: &[u8], trust: &Path, judge: &ListJudge, json: bool) -> Result<ExitCode, CliError> {
    let trust = Trust::open(trust)?;
    let now = OffsetDateTime::now_utc();
    let verdict = judge.usable_now(bytes, &trust, now);
    let list = verdict.as_ref().map(|active| active.list());
    if json {
        output::json_line(&match list {
            Ok(list) => serde_json::json!({
                "valid": true,
                "id": list.id(),
                "version": list.version(),
                "entries": list.entries().len(),
                "expired_entries": list.expired_entries(),
                "removed_entries": list.removed_entries(),
                "signers": list.signers(),
                "expires": list.expires().format(&Rfc3339)?,
                "stage": list.stage(),
            }),
            Err(blindness) => {
                serde_json::json!({
                    "valid": false,
                    "code": blindness.cause,
                    "reason": blindness.reason,
                })
            }
        })?;
        return Ok(if list.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let list = list.map_err(|blindness| blindness.to_string())?;
    output::line(format!(
        "valid: {} version {}, {} entries ({} expired ones left out), {} signers, until {}",
        list.id(),
        list.version(),
        list.entries().len(),
        list.expired_entries(),
        list.signers().len(),
        list.expires().format(&Rfc3339)?
    ))?;
    Ok(ExitCode::SUCCESS)
}
