//! `watchpost watchlist` on a workstation: authoring, and signing by several people.

mod enrol;
mod look_alikes;
mod people;
mod plan;
mod seal;
mod stop;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Failure, output};
use crate::cli::flags::{Format, Networks, Opening};
use crate::vision::Models;
use crate::watchlist::author::{self, Draft, ListSummary, NewList};
use crate::watchlist::keys::SecretKey;
use crate::watchlist::model::{Authorisation, Hours};
use crate::watchlist::model::{Authorisation, Hours};
use crate::watchlist::read_list;
use crate::watchlist::{Aim, Reference, Trust, order};

#[derive(Subcommand)]
pub enum Command {
    /// Start a draft: what the list may be used for, by whom, where, until when.
    New(New),
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
        format: Format,
    },
    /// Begin the next version of a signed list as a draft.
    Revise {
        /// Signed list.
        list: PathBuf,
        /// Draft file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        opening: Opening,
        #[command(flatten)]
        format: Format,
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
        #[command(flatten)]
        format: Format,
    },
    /// Encrypt a signed list to the devices that may use it (age format).
    Seal(seal::Args),
    /// Print what a draft, a list or an order says, never its templates.
    Show {
        /// Draft, signed list or order.
        file: PathBuf,
        /// Say how each signature counts by this trust file.
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
        #[command(flatten)]
        opening: Opening,
        #[command(flatten)]
        format: Format,
    },
    /// Show the arithmetic of the false-alert budget, and which lists would keep it.
    Plan(plan::Args),
    /// Sign the order that a list, or one entry of it, may not be matched any more. One revoker is
    /// enough.
    Revoke(stop::Revoke),
    /// Sign the order that nobody is matched for a time. One suspender is enough.
    Suspend(stop::Suspend),
}

/// The closed set of aims, as on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum AimName {
    /// Missing persons; victims of abduction, trafficking or sexual exploitation.
    MissingOrVictim,
    /// A specific, substantial and imminent threat to life, or a terrorist attack.
    ThreatToLife,
    /// A person suspected of one of the serious crimes that the law names.
    SeriousCrime,
    /// Everybody on the list has agreed.
    Consent,
}

impl From<AimName> for Aim {
    fn from(name: AimName) -> Self {
        match name {
            AimName::MissingOrVictim => Aim::MissingOrVictim,
            AimName::ThreatToLife => Aim::ThreatToLife,
            AimName::SeriousCrime => Aim::SeriousCrime,
            AimName::Consent => Aim::Consent,
        }
    }
}

fn date(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write a time such as 2027-03-31T18:00:00Z".into())
}

#[derive(clap::Args)]
pub struct New {
    /// Draft file to create.
    draft: PathBuf,
    /// Names the list through all of its versions.
    #[arg(long)]
    id: Reference,
    /// Court or body that authorised the list.
    #[arg(long)]
    authority: String,
    /// File number of its decision.
    #[arg(long)]
    decision: String,
    /// What the list is for.
    #[arg(long, value_enum)]
    aim: AimName,
    /// A device that may use the list; may be given several times.
    #[arg(long, required = true, value_name = "ID")]
    device: Vec<Reference>,
    /// Most people on the list.
    #[arg(long, value_name = "N")]
    most_entries: u32,
    /// Faces that a device is expected to see a day.
    #[arg(long, value_name = "N")]
    faces_per_day: u32,
    /// False alerts that a device may give a day; the threshold follows from it.
    #[arg(long, value_name = "X")]
    false_alerts_per_day: f64,
    /// Start of validity; now where absent.
    #[arg(long, value_name = "TIME", value_parser = date)]
    not_before: Option<OffsetDateTime>,
    /// End of validity, as in 2027-03-31T18:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = date)]
    expires: OffsetDateTime,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    format: Format,
}

pub fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::New(new) => start(new)?,
        Command::Add(args) => return enrol::run(args),
        Command::Remove { draft: path, reference, format: Format { json } } => {
            let mut draft = read_draft(&path)?;
            draft.remove(&reference)?;
            replace(&path, &draft.to_json())?;
            let entries = draft.content().entries.len();
            if json {
                output::json_line(
                    &serde_json::json!({ "removed": reference, "entries": entries }),
                )?;
            } else {
                output::line(format!("removed {reference}; {entries} entries are left"))?;
            }
        }
        Command::Revise { list, out, opening, format: Format { json } } => {
            let draft = Draft::revise(&opening.read(&list)?, OffsetDateTime::now_utc())?;
            create(&out, &draft.to_json())?;
            let (id, version) = (&draft.content().id, draft.content().version);
            if json {
                output::json_line(
                    &serde_json::json!({ "id": id, "version": version, "draft": out }),
                )?;
            } else {
                output::line(format!(
                    "wrote {}: {id} version {version}, to be signed anew",
                    out.display()
                ))?;
            }
        }
        Command::Seal(args) => seal::run(&args)?,
        Command::Sign { file, key, out, format: Format { json } } => {
            let key = SecretKey::open_file(&key)?;
            let bytes = read_list(&file)?;
            let signed = match draft_of(&bytes) {
                Some(draft) => author::sign(&draft?, &key, OffsetDateTime::now_utc())?,
                None => author::cosign(&bytes, &key)?,
            };
            replace(&out, &signed)?;
            let summary = author::show(&signed, None)?;
            // The curve that counts is the devices'; the built-in one says nothing about another
            // embedder.
            let models = Models::builtin()?;
            if summary.embedder == models.manifest.embedder.sha256.to_string() {
                plan::warn_of_budget(&models, &summary.authorisation, summary.templates);
            }
            if json {
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
        }
        Command::Show { file, trust, opening, format: Format { json } } => {
            let trust = trust.map(|path| Trust::open(&path)).transpose()?;
            let bytes = opening.read(&file)?;
            if let Ok(order) = order::inspect(&bytes) {
                stop::show(&order, trust.as_ref(), &bytes, json)?;
                return Ok(ExitCode::SUCCESS);
            }
            let (summary, draft) = match draft_of(&bytes) {
                Some(draft) => {
                    let draft = draft?;
                    (draft.summary(), draft)
                }
                // The next version's draft has this version's entries.
                None => (
                    author::show(&bytes, trust.as_ref())?,
                    Draft::revise(&bytes, OffsetDateTime::now_utc())?,
                ),
            };
            let found = look_alikes::find(&Models::builtin()?, draft.content());
            if json {
                let mut value = serde_json::to_value(&summary)?;
                value["look_alikes"] = serde_json::to_value(found.map(|(_, pairs)| pairs))?;
                output::json_line(&value)?;
            } else {
                print(&summary)?;
                for sentence in
                    found.iter().flat_map(|(limit, pairs)| look_alikes::sentences(*limit, pairs))
                {
                    output::line(sentence)?;
                }
            }
        }
        Command::Revoke(args) => stop::revoke(args)?,
        Command::Suspend(args) => stop::suspend(args)?,
        Command::Plan(args) => plan::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Drafts are JSON objects; signed lists never begin like one.
fn draft_of(bytes: &[u8]) -> Option<Result<Draft, author::AuthorError>> {
    bytes.trim_ascii_start().starts_with(b"{").then(|| Draft::from_json(bytes))
}

fn read_draft(path: &Path) -> Result<Draft, Failure> {
    Ok(Draft::from_json(&read_list(path)?)?)
}

fn create(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if path.exists() {
        return Err(format!(
            "{} exists already; name another file, or move it away",
            path.display()
        )
        .into());
    }
    Ok(replace(path, bytes)?)
}

fn start(new: New) -> Result<(), Failure> {
    let models = new.networks.open()?;
    let embedder = &models.manifest.embedder;
    let now = OffsetDateTime::now_utc();
    let list = NewList {
        id: new.id,
        // Whole seconds would put it up to one second into the future of a list that is verified at
        // once.
        not_before: new.not_before.unwrap_or(now - time::Duration::minutes(1)),
        expires: new.expires,
        embedder: embedder.sha256.0,
        dimensions: embedder.dimensions,
        authorisation: Authorisation {
            authority: new.authority,
            decision: new.decision,
            aim: new.aim.into(),
            devices: new.device,
            areas: Vec::new(),
            hours: Hours::always(),
            most_entries: new.most_entries,
            expected_faces_per_day: new.faces_per_day,
            false_alerts_per_day: new.false_alerts_per_day,
        },
    };
    let draft = Draft::new(list, now)?;
    create(&new.draft, &draft.to_json())?;
    plan::warn_of_budget(&models, &draft.content().authorisation, 0);
    let c = draft.content();
    if new.format.json {
        output::json_line(
            &serde_json::json!({ "draft": new.draft, "id": c.id, "version": c.version }),
        )?;
    } else {
        output::line(format!(
            "wrote {}; add people with `watchpost watchlist add`",
            new.draft.display()
        ))?;
    }
    Ok(())
}

fn print(s: &ListSummary) -> Result<(), Failure> {
    let a = &s.authorisation;
    let devices: Vec<&str> = a.devices.iter().map(Reference::as_str).collect();
    let facts = [
        ("list", format!("{} version {}", s.id, s.version)),
        ("valid", format!("{} to {}", s.not_before.format(&Rfc3339)?, s.expires.format(&Rfc3339)?)),
        ("authority", format!("{}, {}", a.authority, a.decision)),
        ("aim", serde_json::to_value(a.aim)?.as_str().unwrap_or_default().to_string()),
        ("devices", devices.join(", ")),
        (
            "budget",
            format!(
                "{} false alerts in {} faces a day",
                a.false_alerts_per_day, a.expected_faces_per_day
            ),
        ),
        ("embedder", s.embedder.clone()),
        ("digest", s.digest.clone().unwrap_or_else(|| "none: a draft".into())),
    ];
    for (name, value) in facts {
        output::line(format!("{name:<10} {value}"))?;
    }
    for signature in &s.signatures {
        output::line(format!("{:<10} {} ({})", "signature", signature.key, signature.state))?;
    }
    if s.removed > 0 {
        output::line(format!("{:<10} {} entries, after they were revoked", "removed", s.removed))?;
    }
    output::line("")?;
    let rows: Vec<Vec<String>> = s
        .entries
        .iter()
        .map(|e| {
            Ok(vec![
                e.reference.to_string(),
                e.qualities.len().to_string(),
                e.expires.format(&Rfc3339)?,
                e.legal_basis.clone(),
                e.purpose.clone(),
            ])
        })
        .collect::<Result<_, time::error::Format>>()?;
    output::table(&["reference", "templates", "expires", "legal basis", "purpose"], &rows)?;
    Ok(())
}
