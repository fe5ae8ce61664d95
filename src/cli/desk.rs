//! `watchpost desk`: the receiving end.

mod import;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use serde_json::json;
use time::OffsetDateTime;

use super::flags::OutputFormat;
use super::{CliError, output};
use crate::delivery::event::EventId;
use crate::desk::case_export::{self, ExportedCase};
use crate::desk::config::DEFAULT_DESK;
use crate::desk::intake::SaidKind;
use crate::desk::store::{DeskStore, Looked};
use crate::desk::{DeskConfig, service};
use crate::files;

/// Hours for which an invitation can be used.
const INVITATION_HOURS: u16 = 72;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<DeskCommand>,
    #[command(flatten)]
    config: DeskFile,
}

#[derive(clap::Args)]
struct DeskFile {
    /// Configuration of the desk.
    #[arg(long = "config", value_name = "FILE", default_value = DEFAULT_DESK)]
    path: PathBuf,
}

#[derive(Subcommand)]
enum DeskCommand {
    /// Make a one-time link by which a person enrols a key of their own.
    Invite(Invite),
    /// Take the photographs of a case sheet, if two have signed the list that names them.
    Import(import::Args),
    /// Copy the database into a new file, while the desk runs. Invitations are not in it.
    Backup(Backup),
    /// Put a copy of the database in its place, while the desk does not run. Invitations that are
    /// in it count no more.
    Restore(Restore),
    /// Write one candidate, its review and what proves them into a new folder, which
    /// `watchpost audit verify` verifies offline.
    Export(ExportCase),
}

#[derive(clap::Args)]
struct Invite {
    /// For whom, as people and keys show it: initials, a number; up to 100 characters.
    label: String,
    /// Hours for which the link can be used, 1 to 720.
    #[arg(
        long,
        value_name = "N",
        default_value_t = INVITATION_HOURS,
        value_parser = clap::value_parser!(u16).range(1..=720)
    )]
    hours: u16,
    #[command(flatten)]
    config: DeskFile,
    #[command(flatten)]
    format: OutputFormat,
}

#[derive(clap::Args)]
struct Backup {
    /// The file to write; it must not be there.
    file: PathBuf,
    #[command(flatten)]
    config: DeskFile,
}

#[derive(clap::Args)]
struct Restore {
    /// A copy that `backup` has made.
    copy: PathBuf,
    #[command(flatten)]
    config: DeskFile,
}

#[derive(clap::Args)]
struct ExportCase {
    /// Id of the candidate.
    candidate: uuid::Uuid,
    /// The folder to make.
    folder: PathBuf,
    #[command(flatten)]
    config: DeskFile,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        None => serve(&args.config.path),
        Some(DeskCommand::Invite(args)) => invite(&args),
        Some(DeskCommand::Import(args)) => import::run(&args),
        Some(DeskCommand::Backup(args)) => backup(&args),
        Some(DeskCommand::Restore(args)) => restore(&args),
        Some(DeskCommand::Export(args)) => export(&args),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

fn serve(path: &Path) -> Result<ExitCode, CliError> {
    super::start_logging("info");
    let config = DeskConfig::load(path)?;
    // Before anything else: a signal is not to be missed.
    let mut signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
    ])?;
    let runtime = runtime()?;
    let origin = |desk: &service::RunningDesk| {
        let mut http = config.http.clone();
        http.listen = desk.address;
        http.origin()
    };
    let desk = runtime.block_on(service::start(config.clone()))?;
    log::info!("The desk is at {}.", origin(&desk));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    signals.forever().next();
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    runtime.block_on(desk.stop());
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

fn invite(args: &Invite) -> Result<ExitCode, CliError> {
    if args.label.is_empty() || args.label.chars().count() > 100 {
        return Err("write a label of 1 to 100 characters".into());
    }
    let config = DeskConfig::load(&args.config.path)?;
    let mut random = [0; 24];
    getrandom::fill(&mut random)?;
    let token = URL_SAFE_NO_PAD.encode(random);
    let until = OffsetDateTime::now_utc() + time::Duration::hours(args.hours.into());
    runtime()?.block_on(async {
        let store = DeskStore::open(&config.store.path).await?;
        store.record_command(Looked::Invite, None, &account(), OffsetDateTime::now_utc()).await?;
        store.invite(&token, &args.label, until).await
    })?;
    let link = format!("{}/enrol/{token}", config.http.origin());
    if args.format.json {
        output::json_line(&json!({ "link": link, "label": args.label, "hours": args.hours }))?;
    } else {
        output::line(link)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn backup(args: &Backup) -> Result<ExitCode, CliError> {
    let config = DeskConfig::load(&args.config.path)?;
    if args.file.exists() {
        return Err(format!("{} is there; name a new file", args.file.display()).into());
    }
    runtime()?.block_on(async {
        let store = DeskStore::open_existing(&config.store.path).await?;
        store.record_command(Looked::Backup, None, &account(), OffsetDateTime::now_utc()).await?;
        store.back_up(&args.file).await
    })?;
    output::line(args.file.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn restore(args: &Restore) -> Result<ExitCode, CliError> {
    let config = DeskConfig::load(&args.config.path)?;
    let place = &config.store.path;
    let forgotten = runtime()?.block_on(async {
        let forgotten = DeskStore::restore(&args.copy, place).await?;
        let store = DeskStore::open_existing(place).await?;
        store.record_command(Looked::Restore, None, &account(), OffsetDateTime::now_utc()).await?;
        Ok::<_, CliError>(forgotten)
    })?;
    output::line(place.display().to_string())?;
    if forgotten > 0 {
        output::line(format!("invitations that count no more: {forgotten}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The account that gives a command, by the number that the system has for it.
fn account() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata("/proc/self").map(|process| process.uid());
    owner.map_or_else(|_| "uid unknown".to_owned(), |uid| format!("uid {uid}"))
}

fn export(args: &ExportCase) -> Result<ExitCode, CliError> {
    let config = DeskConfig::load(&args.config.path)?;
    let id = EventId::from_u128(args.candidate.as_u128());
    let folder = &args.folder;
    let written = runtime()?.block_on(async {
        let store = DeskStore::open_existing(&config.store.path).await?;
        let Some(case) = store.case(id).await? else {
            return Err(CliError::from(format!("the desk knows no candidate {}", args.candidate)));
        };
        std::fs::create_dir(folder)
            .map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))?;
        let now = OffsetDateTime::now_utc();
        store.record_command(Looked::Export, Some(id), &account(), now).await?;
        let events = store.events_of(id).await?;
        let entries = store.audit_entries(&case.device).await?;
        let checkpoint = store.said_of(&case.device, SaidKind::Checkpoint).await?;
        let checkpoint = checkpoint.and_then(|bytes| String::from_utf8(bytes).ok());
        let identity = config.device(&case.device).and_then(|d| d.identity.as_deref());
        Ok(case_export::files(ExportedCase {
            case: &case,
            events: &events,
            entries: &entries,
            checkpoint: checkpoint.as_deref(),
            identity,
        }))
    })?;
    for file in &written {
        // A candidate's picture is among them.
        files::create(&folder.join(&file.name), &[&file.bytes], 0o600)?;
    }
    output::line(format!("{} files are in {}", written.len(), folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
