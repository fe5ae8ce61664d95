//! `watchpost key`: the key of a device, and what a device judges new trust files by. Keys of
//! people and the files that pin them are made by `author`.

#[cfg(feature = "author")]
pub mod author;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::flags::OutputFormat;
use super::{CliError, output};
use crate::files::read_bytes;
use crate::watchlist::keys::{KeyId, PublicKey, SecretKey, encrypted};
use crate::watchlist::seal::DeviceKey;
use crate::watchlist::trust::Role;
use crate::watchlist::{Trust, rotation};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    #[cfg(feature = "author")]
    #[command(flatten)]
    Author(author::SigningKeyCommand),
    /// Make the key of a device (mode 0600, age format) and print the public key that lists are
    /// sealed to.
    Device {
        /// File to create; an existing one is never overwritten.
        file: PathBuf,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Make the key by which a device proves who it is (Ed25519, mode 0600), and print its public
    /// key for those who pin it before they believe what comes from the device.
    Identity {
        /// File to create; an existing one is never overwritten.
        file: PathBuf,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Print the public key of a person's or a device's key file.
    Show {
        /// Key file.
        file: PathBuf,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Judge a signed trust file as a device would; exit 0 only where the device would take it
    /// over.
    VerifyTrust {
        /// Signed trust file.
        file: PathBuf,
        /// The trust file before it.
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
        #[command(flatten)]
        format: OutputFormat,
    },
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        #[cfg(feature = "author")]
        KeyCommand::Author(command) => author::run(command)?,
        KeyCommand::Device { file, format: OutputFormat { json } } => {
            let key = DeviceKey::generate()?;
            key.create_file(&file)?;
            show_device(&key, json)?;
        }
        KeyCommand::Identity { file, format: OutputFormat { json } } => {
            let key = SecretKey::generate()?;
            key.create_file(&file)?;
            show(&key.public(), json)?;
        }
        // A device's key is tried second: what is neither is told in the words of a person's.
        KeyCommand::Show { file, format: OutputFormat { json } } => {
            let person = match encrypted::public_of_file(&file) {
                Ok(Some(public)) => Ok(public),
                _ => SecretKey::open_file(&file).map(|key| key.public()),
            };
            match person {
                Ok(public) => show(&public, json)?,
                Err(error) => match DeviceKey::open_file(&file) {
                    Ok(key) => show_device(&key, json)?,
                    Err(_) => return Err(error.into()),
                },
            }
        }
        KeyCommand::VerifyTrust { file, trust, format: OutputFormat { json } } => {
            return verify_trust(&file, &trust, json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(public: &PublicKey, json: bool) -> Result<(), CliError> {
    if json {
        output::json_line(&json!({ "id": public.id(), "public": public.to_string() }))?;
    } else {
        output::line(public.to_string())?;
    }
    Ok(())
}

fn show_device(key: &DeviceKey, json: bool) -> Result<(), CliError> {
    let public = key.recipient().to_string();
    if json {
        output::json_line(&json!({ "recipient": public }))?;
    } else {
        output::line(public)?;
    }
    Ok(())
}

/// The bytes of a trust file or a signed one.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    read_bytes(path, rotation::MAX_BYTES as u64)
        .map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

fn verify_trust(file: &Path, before: &Path, json: bool) -> Result<ExitCode, CliError> {
    let verdict = rotation::rotate(&Trust::open(before)?, &read(file)?);
    if json {
        output::json_line(&match &verdict {
            Ok(trust) => json!({
                "valid": true, "serial": trust.serial(), "signers_needed": trust.signers_needed(),
                "keys": trust.keys().iter().map(|k| json!({
                    "id": k.id,
                    "roles": roles(k.roles()),
                })).collect::<Vec<_>>(),
                "valid_from": trust.valid_from().format(&Rfc3339)?,
                "valid_until": trust.valid_until().format(&Rfc3339)?,
            }),
            Err(error) => {
                json!({ "valid": false, "code": error.cause(), "reason": error.to_string() })
            }
        })?;
        return Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let trust = verdict?;
    output::line(format!(
        "valid: serial {}, {} signers needed, until {}",
        trust.serial(),
        trust.signers_needed(),
        trust.valid_until().format(&Rfc3339)?
    ))?;
    let row = |id: KeyId, of: &[Role]| vec![id.to_string(), roles(of).join(", ")];
    let rows: Vec<_> = trust.keys().iter().map(|k| row(k.id, k.roles())).collect();
    Ok(output::table(&["key", "roles"], &rows).map(|()| ExitCode::SUCCESS)?)
}

fn roles(roles: &[Role]) -> Vec<&'static str> {
    roles.iter().map(|r| r.as_str()).collect()
}
