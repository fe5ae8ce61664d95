//! `watchpost watchlist seal`, and how the other commands read what is sealed.

use std::path::{Path, PathBuf};

use super::{Failure, draft_of, output};
use crate::files::replace;
use crate::watchlist::author;
use crate::watchlist::locked::Locked;
use crate::watchlist::read_list;
use crate::watchlist::seal::{self, DeviceKey, Recipient};

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
    /// One JSON line instead of text.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
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
    if args.json {
        output::json_line(&serde_json::json!({
            "id": summary.id, "version": summary.version, "digest": summary.digest, "signatures": summary.signatures.len(),
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

/// The bytes of a file, opened with the device key in `identity` where they are sealed.
pub fn read(path: &Path, identity: Option<&Path>) -> Result<Locked<u8>, Failure> {
    let bytes = read_list(path)?;
    if !seal::is_sealed(&bytes) {
        return Ok(Locked::copy_of(&bytes)?);
    }
    let Some(identity) = identity else {
        return Err(format!(
            "{} is sealed; name the device key that opens it with --identity FILE",
            path.display()
        )
        .into());
    };
    Ok(seal::open(&bytes, &DeviceKey::open_file(identity)?)?)
}
