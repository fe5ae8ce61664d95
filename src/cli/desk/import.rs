//! `watchpost desk import`: takes the photographs of a case sheet.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use time::OffsetDateTime;

use super::{DeskFile, runtime};
use crate::cli::flags::OutputFormat;
use crate::cli::{CliError, output};
use crate::desk::DeskConfig;
use crate::desk::store::{DeskStore, KeptPhotograph};
use crate::files;
use crate::watchlist::author::case_sheet::{self, CheckedPhotograph, MAX_SHEET_BYTES};
use crate::watchlist::seal::DeviceKey;

#[derive(clap::Args)]
pub struct Args {
    /// Case sheet, as `watchpost watchlist case-sheets` writes it.
    sheet: PathBuf,
    #[command(flatten)]
    config: DeskFile,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let config = DeskConfig::load(&args.config.path)?;
    let Some(key) = &config.sealing_key else {
        return Err("the desk has no key that opens case sheets: set sealing_key in its \
                    configuration to a file of `watchpost key device`"
            .into());
    };
    let key = DeviceKey::open_file(key)?;
    let bytes = files::read_bytes(&args.sheet, MAX_SHEET_BYTES as u64)
        .map_err(|e| format!("cannot read {}: {e}", args.sheet.display()))?;
    let trust = config.keys().current()?;
    let sheet = case_sheet::open(&bytes, &trust, OffsetDateTime::now_utc(), &key)?;
    let (list, version, all) = (sheet.list, sheet.version, sheet.photographs.len());
    let kept = |p: CheckedPhotograph| KeptPhotograph {
        list: list.to_string(),
        version,
        entry: p.entry.to_string(),
        n: p.number,
        digest: p.sha256,
        eyes: p.eyes.map(|eyes| eyes.to_string()),
        sealed: p.sealed,
        until: p.until,
    };
    let photographs: Vec<_> = sheet.photographs.into_iter().map(kept).collect();
    let taken = runtime()?.block_on(async {
        DeskStore::open(&config.store.path).await?.put_photographs(&photographs).await
    })?;
    if args.format.json {
        output::json_line(&json!({
            "list": list.to_string(),
            "version": version,
            "photographs": taken,
            "revoked": all as u64 - taken,
        }))?;
    } else {
        output::line(format!("took {taken} of {all} photographs of {list} version {version}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
