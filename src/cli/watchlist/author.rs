//! `watchpost watchlist` on a workstation: authoring, and signing by several people.

mod enrol;
mod look_alikes;
mod new;
mod people;
mod plan;
mod seal;
mod show;
mod stop;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{CliError, output};
use crate::cli::flags::{Networks, Opening, OutputFormat};
use crate::decision::{DecisionConfig, promise};
use crate::files::replace;
use crate::promise::{Promise, Stage};
use crate::vision::{Models, VisionConfig};
use crate::watchlist::Reference;
use crate::watchlist::author::{self, Draft};
use crate::watchlist::keys::SecretKey;
use crate::watchlist::read_list;

#[derive(Subcommand)]
pub enum AuthorCommand {
    /// Start a draft: what the list may be used for, by whom, where, until when.
    New(new::Args),
    /// Add people to a draft, from photographs: one, or many from a file or a folder.
    Add(enrol::Args),
    /// Remove a person from a draft.
    Remove {
        /// Draft file, changed in place.
        draft: PathBuf,
        /// The entry's reference.
        #[arg(long)]
        reference: Reference,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Begin the next version of a signed list as a draft.
    Revise {
        /// Signed list.
        list: PathBuf,
        /// Draft file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// End a silent stage: the next version's candidates are published.
        #[arg(long)]
        in_force: bool,
        #[command(flatten)]
        opening: Opening,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Sign a draft, or add a signature to a list that somebody else has signed.
    Sign {
        /// Draft, or signed list.
        file: PathBuf,
        /// The signer's secret key file.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Signed list to write; may be the same file as a signed input.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Seconds for which devices have to wait before they announce an entry again; a device
        /// whose configuration has fewer refuses the list. Only for a draft.
        #[arg(long, value_name = "S", default_value_t = DecisionConfig::default().cool_down_s)]
        cool_down_s: u64,
        #[command(flatten)]
        networks: Networks,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Encrypt a signed list to the devices that may use it (age format).
    Seal(seal::Args),
    /// Print what a draft, a list or an order says, never its templates.
    Show(show::Args),
    /// Show the arithmetic of the false-alert budget, and which lists would keep it.
    Plan(plan::Args),
    /// Sign the order that a list, or one entry of it, may not be matched any more. One revoker is
    /// enough.
    Revoke(stop::Revoke),
    /// Sign the order that nobody is matched for a time. One suspender is enough.
    Suspend(stop::Suspend),
}

fn date(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write a time such as 2027-03-31T18:00:00Z".into())
}

pub fn run(command: AuthorCommand) -> Result<ExitCode, CliError> {
    match command {
        AuthorCommand::New(args) => new::run(args)?,
        AuthorCommand::Add(args) => return enrol::run(args),
        AuthorCommand::Remove { draft, reference, format } => remove(&draft, &reference, format)?,
        AuthorCommand::Revise { list, out, in_force, opening, format } => {
            revise(&opening.read(&list)?, &out, in_force, format)?
        }
        AuthorCommand::Seal(args) => seal::run(&args)?,
        AuthorCommand::Sign { file, key, out, cool_down_s, networks, format } => {
            // With the settings that every device has unless its configuration is stricter.
            let decision = DecisionConfig { cool_down_s, ..DecisionConfig::default() };
            let models = networks.open()?;
            let promise = promise::of(&models, &VisionConfig::default(), &decision);
            sign(&file, &key, &out, &models, &promise, format)?
        }
        AuthorCommand::Show(args) => show::run(&args)?,
        AuthorCommand::Revoke(args) => stop::revoke(args)?,
        AuthorCommand::Suspend(args) => stop::suspend(args)?,
        AuthorCommand::Plan(args) => plan::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(path: &Path, reference: &Reference, format: OutputFormat) -> Result<(), CliError> {
    let mut draft = read_draft(path)?;
    draft.remove(reference)?;
    replace(path, &draft.to_json())?;
    let entries = draft.content().entries.len();
    if format.json {
        output::json_line(&serde_json::json!({ "removed": reference, "entries": entries }))?;
    } else {
        output::line(format!("removed {reference}; {entries} entries are left"))?;
    }
    Ok(())
}

fn revise(list: &[u8], out: &Path, in_force: bool, format: OutputFormat) -> Result<(), CliError> {
    let mut draft = Draft::revise(list, OffsetDateTime::now_utc())?;
    if in_force {
        draft.content_mut().stage = Stage::InForce;
    }
    create(out, &draft.to_json())?;
    let (id, version) = (&draft.content().id, draft.content().version);
    if format.json {
        output::json_line(&serde_json::json!({ "id": id, "version": version, "draft": out }))?;
    } else {
        output::line(format!(
            "wrote {}: {id} version {version}, to be signed anew",
            out.display()
        ))?;
    }
    Ok(())
}

fn sign(
    file: &Path,
    key: &Path,
    out: &Path,
    models: &Models,
    promise: &Promise,
    format: OutputFormat,
) -> Result<(), CliError> {
    let key = SecretKey::open_file(key)?;
    let bytes = read_list(file)?;
    let signed = match draft_of(&bytes) {
        Some(draft) => {
            let draft = draft?;
            if draft.content().embedder != models.manifest.embedder.sha256.0 {
                return Err("the draft was begun for another embedder; name that one's manifest \
                    with --models FILE, because its promise is signed with the list"
                    .into());
            }
            author::sign(&draft, &promise.bytes(), &key, OffsetDateTime::now_utc())?
        }
        None => author::cosign(&bytes, &key)?,
    };
    replace(out, &signed)?;
    let summary = author::show(&signed, None)?;
    if summary.embedder == models.manifest.embedder.sha256.to_string() {
        let entries = summary.entries.iter().map(|e| e.photographs.len()).collect();
        plan::warn_of_budget(models, &summary.authorisation, &entries);
    }
    if format.json {
        output::json_line(&serde_json::json!({
            "signer": key.public().id(), "signatures": summary.signatures.len(), "id": summary.id,
            "version": summary.version, "digest": summary.digest,
        }))?;
    } else {
        output::line(format!(
            "signed by {} ({} in all): {} version {}, digest {}",
            key.public().id(),
            summary.signatures.len(),
            summary.id,
            summary.version,
            summary.digest.unwrap_or_default()
        ))?;
    }
    Ok(())
}

/// Drafts are JSON objects; signed lists never begin like one.
fn draft_of(bytes: &[u8]) -> Option<Result<Draft, author::AuthorError>> {
    bytes.trim_ascii_start().starts_with(b"{").then(|| Draft::from_json(bytes))
}

fn read_draft(path: &Path) -> Result<Draft, CliError> {
    Ok(Draft::from_json(&read_list(path)?)?)
}

fn create(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    if path.exists() {
        return Err(format!(
            "{} exists already; name another file, or move it away",
            path.display()
        )
        .into());
    }
    Ok(replace(path, bytes)?)
}
