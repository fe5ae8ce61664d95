//! `watchpost watchlist`: authoring on a workstation, signing by several people, verifying as a device would.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::photographs::FaceReader;
use super::{Failure, output};
use crate::source::Photograph;
use crate::template::Template;
use crate::watchlist::author::{self, Draft, NewEntry, NewList, Summary};
use crate::watchlist::format::{Authorisation, Hours};
use crate::watchlist::keys::SecretKey;
use crate::watchlist::store::{read_list, replace};
use crate::watchlist::{Aim, Reference, StoredTemplate, Trust, verify};

/// Photographs of one entry that are less alike than this are of two people, or one of them is too poor. Genuine pairs
/// of press photographs lie above it in all but about one of fifty cases, pairs of different people never reach it in
/// as many thousands (see `models/MODEL_CARD.md`).
const LEAST_AGREEMENT: f32 = 0.30;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a draft: what the list may be used for, by whom, where, until when.
    New(New),
    /// Add a person to a draft, from photographs.
    Add(Add),
    /// Remove a person from a draft.
    Remove {
        /// Draft file, changed in place.
        draft: PathBuf,
        /// The entry's reference.
        #[arg(long)]
        reference: Reference,
    },
    /// Begin the next version of a signed list as a draft.
    Revise {
        /// Signed list.
        list: PathBuf,
        /// Draft file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
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
    },
    /// Print what a draft or a list says, never its templates.
    Show {
        /// Draft or signed list.
        file: PathBuf,
        /// Say how each signature counts by this trust file.
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
        /// One JSON line instead of tables.
        #[arg(long)]
        json: bool,
    },
    /// Judge a list as a device would; exit 0 only where the device would use it now.
    Verify {
        /// Signed list.
        list: PathBuf,
        /// Trust file.
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
        /// Name of the device.
        #[arg(long, value_name = "ID")]
        device: String,
        /// Manifest of the device's networks; the built-in ones where absent.
        #[arg(long, value_name = "FILE")]
        models: Option<PathBuf>,
        /// One JSON line instead of text.
        #[arg(long)]
        json: bool,
    },
}

/// The closed set of aims, as on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum AimName {
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
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "write a time such as 2027-03-31T18:00:00Z".into())
}

#[derive(clap::Args)]
struct New {
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
    /// Manifest of the devices' networks; the built-in ones where absent.
    #[arg(long, value_name = "FILE")]
    models: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Add {
    /// Draft file, changed in place.
    draft: PathBuf,
    /// Photographs of the one person: JPEG or PNG, one face each.
    #[arg(required = true)]
    photographs: Vec<PathBuf>,
    /// Opaque reference that is published in candidates; never a name.
    #[arg(long)]
    reference: Reference,
    /// The law or order under which this person may be looked for.
    #[arg(long)]
    legal_basis: String,
    /// Why this person is looked for.
    #[arg(long)]
    purpose: String,
    /// End of this entry; the end of the list where absent.
    #[arg(long, value_name = "TIME", value_parser = date)]
    expires: Option<OffsetDateTime>,
    /// Manifest of the networks; the built-in ones where absent.
    #[arg(long, value_name = "FILE")]
    models: Option<PathBuf>,
    /// One JSON line instead of text.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::New(new) => start(new)?,
        Command::Add(new) => add(new)?,
        Command::Remove { draft: path, reference } => {
            let mut draft = read_draft(&path)?;
            draft.remove(&reference)?;
            replace(&path, &draft.to_json())?;
        }
        Command::Revise { list, out } => {
            let draft = Draft::revise(&read_list(&list)?, OffsetDateTime::now_utc())?;
            create(&out, &draft.to_json())?;
        }
        Command::Sign { file, key, out } => {
            let key = SecretKey::open_file(&key)?;
            let bytes = read_list(&file)?;
            let signed = match draft_of(&bytes) {
                Some(draft) => author::sign(&draft?, &key, OffsetDateTime::now_utc())?,
                None => author::cosign(&bytes, &key)?,
            };
            replace(&out, &signed)?;
            let summary = author::show(&signed, None)?;
            output::line(format!(
                "signed by {} ({} in all): {} version {}, digest {}",
                key.public().id(),
                summary.signatures.len(),
                summary.id,
                summary.version,
                summary.digest.as_deref().unwrap_or("none")
            ))?;
        }
        Command::Show { file, trust, json } => {
            let trust = trust.map(|path| Trust::open(&path)).transpose()?;
            let bytes = read_list(&file)?;
            let summary = match draft_of(&bytes) {
                Some(draft) => draft?.summary(),
                None => author::show(&bytes, trust.as_ref())?,
            };
            if json { output::json_line(&summary)? } else { print(&summary)? }
        }
        Command::Verify { list, trust, device, models, json } => {
            return judge(&list, &trust, &device, models.as_deref(), json);
        }
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
        return Err(format!("{} exists already; name another file, or move it away", path.display()).into());
    }
    Ok(replace(path, bytes)?)
}

fn start(new: New) -> Result<(), Failure> {
    let models = super::models(new.models.as_deref())?;
    let embedder = &models.manifest.embedder;
    let now = OffsetDateTime::now_utc();
    let list = NewList {
        id: new.id,
        // Whole seconds would put it up to one second into the future of a list that is verified at once.
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
    output::line(format!("wrote {}; add people with `watchpost watchlist add`", new.draft.display()))?;
    Ok(())
}

fn add(new: Add) -> Result<(), Failure> {
    let mut draft = read_draft(&new.draft)?;
    let models = super::models(new.models.as_deref())?;
    if draft.content().embedder != models.manifest.embedder.sha256.0 {
        return Err("the draft was begun for another embedder; name that one's manifest with --models FILE".into());
    }
    let mut reader = FaceReader::new(&models)?;
    let mut templates = Vec::new();
    let mut refused = Vec::new();
    for path in &new.photographs {
        match enrol(&mut reader, path) {
            Ok(stored) => templates.push(stored),
            Err(reason) => refused.push(format!("{}: {reason}", path.display())),
        }
    }
    if !refused.is_empty() {
        return Err(format!("nothing was added:\n  {}", refused.join("\n  ")).into());
    }
    let plain: Vec<Template> = templates.iter().map(|t| t.template.clone()).collect();
    if let Some(d) = author::disagreements(&plain, LEAST_AGREEMENT).first() {
        let (a, b) = d.photographs;
        return Err(format!(
            "nothing was added: {} and {} do not look like one person (similarity {:.2}, at least {LEAST_AGREEMENT} is expected); leave one of them out",
            new.photographs[a].display(),
            new.photographs[b].display(),
            d.score
        )
        .into());
    }
    let qualities: Vec<f32> = templates.iter().map(|t| t.quality).collect();
    let entry = NewEntry {
        reference: new.reference.clone(),
        legal_basis: new.legal_basis,
        purpose: new.purpose,
        expires: new.expires.unwrap_or(draft.content().expires),
    };
    draft.add(entry, templates)?;
    replace(&new.draft, &draft.to_json())?;
    if new.json {
        output::json_line(&serde_json::json!({ "reference": new.reference, "qualities": qualities }))?;
    } else {
        output::line(format!("added {} with {} photographs", new.reference, qualities.len()))?;
    }
    Ok(())
}

fn enrol(reader: &mut FaceReader, path: &Path) -> Result<StoredTemplate, Failure> {
    let bytes = std::fs::read(path)?;
    let photograph = Photograph::decode(&bytes)?;
    let enrolled = reader.single(&photograph.frame())?;
    Ok(StoredTemplate {
        template: enrolled.embedding.quantize(),
        quality: enrolled.stored_quality(),
        photo: Sha256::digest(&bytes).into(),
    })
}

fn judge(list: &Path, trust: &Path, device: &str, models: Option<&Path>, json: bool) -> Result<ExitCode, Failure> {
    let models = super::models(models)?;
    let trust = Trust::open(trust)?;
    let bytes = read_list(list)?;
    let now = OffsetDateTime::now_utc();
    let verdict = verify(&bytes, &trust, now, device, &models.manifest.embedder.sha256.0);
    if json {
        output::json_line(&match &verdict {
            Ok(list) => serde_json::json!({
                "valid": true, "id": list.id(), "version": list.version(), "entries": list.entries().len(),
                "expired_entries": list.expired_entries(), "signers": list.signers(),
                "expires": list.expires().format(&Rfc3339)?,
            }),
            Err(refusal) => {
                serde_json::json!({ "valid": false, "code": refusal.code(), "reason": refusal.to_string() })
            }
        })?;
        return Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let list = verdict?;
    output::line(format!(
        "valid: {} version {}, {} entries ({} expired ones left out), {} signers, until {}",
        list.id(),
        list.version(),
        list.entries().len(),
        list.expired_entries(),
        list.signers().len(),
        list.expires().format(&Rfc3339)?
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn print(s: &Summary) -> Result<(), Failure> {
    let a = &s.authorisation;
    let devices: Vec<&str> = a.devices.iter().map(Reference::as_str).collect();
    let facts = [
        ("list", format!("{} version {}", s.id, s.version)),
        ("valid", format!("{} to {}", s.not_before.format(&Rfc3339)?, s.expires.format(&Rfc3339)?)),
        ("authority", format!("{}, {}", a.authority, a.decision)),
        ("aim", serde_json::to_value(a.aim)?.as_str().unwrap_or_default().to_string()),
        ("devices", devices.join(", ")),
        ("budget", format!("{} false alerts in {} faces a day", a.false_alerts_per_day, a.expected_faces_per_day)),
        ("embedder", s.embedder.clone()),
        ("digest", s.digest.clone().unwrap_or_else(|| "none: a draft".into())),
    ];
    for (name, value) in facts {
        output::line(format!("{name:<10} {value}"))?;
    }
    for signature in &s.signatures {
        output::line(format!("{:<10} {} ({})", "signature", signature.key, signature.state))?;
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
