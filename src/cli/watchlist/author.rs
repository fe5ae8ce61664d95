//! `watchpost watchlist` on a workstation: authoring, and signing by several people.

mod bounds;
mod case_sheets;
mod check;
mod enrol;
mod look_alikes;
mod names;
mod new;
mod people;
mod plan;
mod promotion;
mod seal;
mod show;
mod sign;
mod site;
mod stop;
mod wolves;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{CliError, output};
use crate::cli::flags::{Opening, OutputFormat};
use crate::files::replace;
use crate::promise::Stage;
use crate::watchlist::Reference;
use crate::watchlist::author::{self, Draft};
use crate::watchlist::read_list;
use crate::watchlist::text::counted;

/// Photographs an entry that are asked for: from here on more gain little.
const PHOTOGRAPHS_WANTED: usize = 3;

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
        promotion: promotion::PromotionFlags,
        /// Site record (`watchpost calibrate run`) that the thresholds are to rest on, in the place
        /// of the one before.
        #[arg(long, value_name = "FILE", conflicts_with = "no_site")]
        site: Option<PathBuf>,
        /// Leave the site record of the version before out.
        #[arg(long)]
        no_site: bool,
        #[command(flatten)]
        bounds: bounds::ListBounds,
        #[command(flatten)]
        opening: Opening,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Show what a draft or a list says, ask, and sign it: the first signature or a further one.
    Sign(sign::Args),
    /// Enrol a list's photographs again and compare: whether its templates come from them.
    Check(check::Args),
    /// Encrypt a signed list to the devices that may use it (age format).
    Seal(seal::Args),
    /// Seal a list's photographs to the desk and the reviewers who compare with them. No device
    /// gets one.
    CaseSheets(case_sheets::Args),
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
        AuthorCommand::Revise {
            list,
            out,
            in_force,
            promotion,
            site,
            no_site,
            bounds,
            opening,
            format,
        } => {
            let mut draft = Draft::revise(&opening.read(&list)?, OffsetDateTime::now_utc())?;
            bounds.apply(&mut draft.content_mut().authorisation);
            if in_force {
                draft.content_mut().stage = Stage::InForce;
            }
            if let Some(rule) = promotion.rule() {
                draft.content_mut().promotion = Some(rule);
            }
            match site {
                Some(record) => site::put(&mut draft, &record)?,
                None if no_site => draft.content_mut().site = None,
                None => {}
            }
            revise(&draft, &out, format)?
        }
        AuthorCommand::Seal(args) => seal::run(&args)?,
        AuthorCommand::Sign(args) => sign::run(&args)?,
        AuthorCommand::Check(args) => return check::run(&args),
        AuthorCommand::CaseSheets(args) => case_sheets::run(args)?,
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
        let left = counted(entries, "entry is left", "entries are left");
        output::line(format!("removed {reference}; {left}"))?;
    }
    Ok(())
}

fn revise(draft: &Draft, out: &Path, format: OutputFormat) -> Result<(), CliError> {
    let content = draft.content();
    // One that has ended meanwhile is told when the draft is signed.
    let site = site::of(content).ok().flatten().map(|record| site::describe(content, &record));
    create(out, &draft.to_json())?;
    let (id, version) = (&content.id, content.version);
    if format.json {
        output::json_line(
            &serde_json::json!({ "id": id, "version": version, "draft": out, "site": site }),
        )?;
    } else {
        output::line(format!(
            "wrote {}: {id} version {version}, to be signed anew",
            out.display()
        ))?;
        if let Some(site) = site {
            output::line(format!("with a site record: {site}"))?;
        }
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
