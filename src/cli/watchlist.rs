//! `watchpost watchlist verify`: judges a list as a device would. Everything that makes a list is
//! in `author`.

#[cfg(feature = "author")]
mod author;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::flags::{Networks, Opening, OutputFormat, PlaceFlags};
use super::{CliError, output};
use crate::calibrate::origin::SiteKey;
use crate::config::Config;
use crate::decision::policy::{ActiveList, Blindness};
use crate::device::judge::ListJudge;
use crate::device::keys::TrustedKeys;
use crate::device::vault::Vault;
use crate::locked::Locked;
use crate::watchlist::seal::SealError;
use crate::watchlist::text::{counted, stamp};
use crate::watchlist::{Trust, read_list};

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
    Verify(Verify),
}

#[derive(clap::Args)]
struct Verify {
    /// Signed list.
    list: PathBuf,
    /// Judge for the device of this configuration: its name, place, keys, networks and settings.
    /// What the device remembers is not asked; `watchpost check` there does.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["trust", "device", "position", "manifest"]
    )]
    config: Option<PathBuf>,
    /// Trust file.
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    trust: Option<PathBuf>,
    /// Name of the device, whose settings are as shipped.
    #[arg(long, value_name = "ID", required_unless_present = "config")]
    device: Option<String>,
    /// Name of its camera, which a site record in the list is held against. Whether the device
    /// made that record only its key can tell: `--config` on the device.
    #[arg(long, value_name = "ID", default_value = "main", conflicts_with = "config")]
    camera: String,
    #[command(flatten)]
    place: PlaceFlags,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    opening: Opening,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        #[cfg(feature = "author")]
        WatchlistCommand::Author(command) => author::run(command),
        WatchlistCommand::Verify(args) => {
            let verdict = match &args.config {
                Some(config) => args.for_configured(&Config::load(config)?)?,
                None => args.for_shipped()?,
            };
            tell(&verdict, args.config.is_some(), args.format.json)
        }
    }
}

/// What the one judge of lists says.
type ListVerdict = Result<ActiveList, Blindness>;

impl Verify {
    /// For the device of a configuration.
    fn for_configured(&self, config: &Config) -> Result<ListVerdict, CliError> {
        let w = &config.watchlist;
        let vault = Vault::new(w);
        let key = vault.key().map(SiteKey::of);
        let judge = ListJudge::of(config, &config.vision.open_models()?, key);
        let list = if self.opening.names_a_key() {
            self.open()?
        } else {
            vault.open(&read_list(&self.list)?).map(|opened| opened.bytes)
        };
        let judged = list.and_then(|list| {
            let trust = TrustedKeys::new(w).current()?;
            judge.usable_now(&list, &trust, OffsetDateTime::now_utc())
        });
        Ok(judged)
    }

    /// For a device whose configuration is as shipped.
    fn for_shipped(&self) -> Result<ListVerdict, CliError> {
        let (Some(trust), Some(device)) = (&self.trust, &self.device) else {
            return Err("name --trust and --device, or --config".into());
        };
        let list = self.open()?;
        let models = self.networks.open()?;
        let judge = ListJudge::as_shipped(device.clone(), self.place.position, &models)
            .with_camera(self.camera.clone());
        let trust = Trust::open(trust)?;
        Ok(list.and_then(|list| judge.usable_now(&list, &trust, OffsetDateTime::now_utc())))
    }

    /// The list; that it cannot be opened is a verdict, that there is none an error.
    fn open(&self) -> Result<Result<Locked<u8>, Blindness>, CliError> {
        self.opening.read(&self.list).map(Ok).or_else(|error| {
            let sealed = error.downcast::<SealError>()?;
            Ok(Err((*sealed).into()))
        })
    }
}

/// `by_device`: whether the device's own key was asked.
fn tell(verdict: &ListVerdict, by_device: bool, json: bool) -> Result<ExitCode, CliError> {
    let list = verdict.as_ref().map(|active| (active, active.list()));
    if json {
        output::json_line(&match list {
            Ok((active, list)) => serde_json::json!({
                "valid": true,
                "id": list.id(),
                "version": list.version(),
                "entries": list.entries().len(),
                "expired_entries": list.expired_entries(),
                "removed_entries": list.removed_entries(),
                "signers": list.signers(),
                "expires": list.expires().format(&Rfc3339)?,
                "stage": list.stage(),
                "threshold": active.plan().threshold,
                "covered": active.covered(),
                "site_until": active.site_until().as_ref().map(stamp),
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
    let (active, list) = list.map_err(|blindness| blindness.to_string())?;
    output::line(format!(
        "valid: {} version {}, {} ({} expired ones left out), {} signers, until {}",
        list.id(),
        list.version(),
        counted(list.entries().len(), "entry", "entries"),
        list.expired_entries(),
        list.signers().len(),
        list.expires().format(&Rfc3339)?
    ))?;
    if let Some(until) = active.site_until() {
        output::line(format!(
            "threshold {:.2}: {} of its entries were measured at its place, until {}{}",
            active.plan().threshold,
            active.covered(),
            stamp(&until),
            if by_device { "" } else { "; whether the device made that record only it can tell" }
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
