//! `watchpost watchlist seal`: encrypts a signed list to the devices that may use it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CliError, draft_of, output};
use crate::cli::flags::OutputFormat;
use crate::cli::fleet::Fleet;
use crate::files::replace;
use crate::watchlist::author::{self, ListSummary};
use crate::watchlist::read_list;
use crate::watchlist::seal::{self, Recipient};

#[derive(clap::Args)]
pub struct Args {
    /// Signed list.
    list: PathBuf,
    /// A device's public key, as `key device` prints it; may be given several times. Each of them
    /// can open the list.
    #[arg(long, required_unless_present = "devices", value_name = "age1...")]
    to: Vec<Recipient>,
    /// File of devices, any number, a line each: `gate-1 age1...`. Each gets a sealed list of its
    /// own, `gate-1.age` in the folder --out.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    devices: Option<PathBuf>,
    /// Sealed list to write; with --devices a folder for them, which is made where it is missing.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), CliError> {
    let bytes = read_list(&args.list)?;
    if seal::is_sealed(&bytes) {
        let path = args.list.display();
        return Err(format!(
            "{path} is sealed already; open it first with `age -d -i device.key {path}`"
        )
        .into());
    }
    if draft_of(&bytes).is_some() {
        return Err("this is a draft; have it signed first (`watchpost watchlist sign`)".into());
    }
    let summary = author::show(&bytes, None)?;
    let Some(devices) = &args.devices else {
        return seal_to(&bytes, &args.to, &args.out, &summary, args.format);
    };
    let fleet = Fleet::open(devices)?;
    fleet.require_keys()?;
    fs::create_dir_all(&args.out)?;
    for device in fleet.devices {
        let out = args.out.join(format!("{}.age", device.id));
        let key = device.key.expect("require_keys has looked at each");
        seal_to(&bytes, &[key], &out, &summary, args.format)?;
    }
    Ok(())
}

fn seal_to(
    bytes: &[u8],
    recipients: &[Recipient],
    out: &Path,
    summary: &ListSummary,
    format: OutputFormat,
) -> Result<(), CliError> {
    let sealed = seal::seal(&[bytes], recipients)?;
    replace(out, &sealed)?;
    let to: Vec<String> = recipients.iter().map(ToString::to_string).collect();
    if format.json {
        output::json_line(&serde_json::json!({
            "id": summary.id,
            "version": summary.version,
            "digest": summary.digest,
            "signatures": summary.signatures.len(),
            "to": to, "bytes": sealed.len(), "out": out,
        }))?;
    } else {
        output::line(format!(
            "sealed {} version {} ({} signatures) to {}",
            summary.id,
            summary.version,
            summary.signatures.len(),
            to.join(", ")
        ))?;
    }
    Ok(())
}
