//! `watchpost watchlist seal`: encrypts a signed list to the devices that may use it.

use std::path::PathBuf;

use super::{CliError, draft_of, output};
use crate::cli::flags::OutputFormat;
use crate::files::replace;
use crate::watchlist::author;
use crate::watchlist::read_list;
use crate::watchlist::seal::{self, Recipient};

#[derive(clap::Args)]
pub struct Args {
    /// Signed list.
    list: PathBuf,
    /// A device's public key, as `key device` prints it; may be given several times. Each of them
    /// can open the list.
    #[arg(long, required = true, value_name = "age1...")]
    to: Vec<Recipient>,
    /// Sealed list to write.
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
    let sealed = seal::seal(&[&bytes], &args.to)?;
    replace(&args.out, &sealed)?;
    let to: Vec<String> = args.to.iter().map(ToString::to_string).collect();
    if args.format.json {
        output::json_line(&serde_json::json!({
            "id": summary.id,
            "version": summary.version,
            "digest": summary.digest,
            "signatures": summary.signatures.len(),
            "to": to, "bytes": sealed.len(),
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
