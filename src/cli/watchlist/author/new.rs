//! `watchpost watchlist new`: starts a draft.

use std::path::PathBuf;

use clap::ValueEnum;
use time::OffsetDateTime;

use super::bounds::ListBounds;
use super::promotion::PromotionFlags;
use super::{CliError, create, date, names, output, plan, site};
use crate::cli::flags::{Networks, OutputFormat};
use crate::promise::Stage;
use crate::watchlist::author::{Draft, NewList};
use crate::watchlist::model::{Authorisation, Hours};
use crate::watchlist::{Aim, Reference};

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

#[derive(clap::Args)]
pub struct Args {
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
    /// Compare and count, but publish no candidate: to see what the list would do on a street.
    /// `watchlist revise --in-force` ends it.
    #[arg(long)]
    silent: bool,
    #[command(flatten)]
    promotion: PromotionFlags,
    /// Site record (`watchpost calibrate run`) that the thresholds are to rest on: for those
    /// entries whose very photographs were on the list that was counted.
    #[arg(long, value_name = "FILE")]
    site: Option<PathBuf>,
    /// Start of validity; now where absent.
    #[arg(long, value_name = "TIME", value_parser = date)]
    not_before: Option<OffsetDateTime>,
    /// End of validity, as in 2027-03-31T18:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = date)]
    expires: OffsetDateTime,
    #[command(flatten)]
    bounds: ListBounds,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(new: Args) -> Result<(), CliError> {
    let models = new.networks.open()?;
    let embedder = &models.manifest.embedder;
    let now = OffsetDateTime::now_utc();
    let mut list = NewList {
        id: new.id,
        // Whole seconds would put it up to one second into the future of a list that is verified at
        // once.
        not_before: new.not_before.unwrap_or(now - time::Duration::minutes(1)),
        expires: new.expires,
        embedder: embedder.sha256.0,
        dimensions: embedder.dimensions,
        stage: if new.silent { Stage::Silent } else { Stage::InForce },
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
    new.bounds.apply(&mut list.authorisation);
    let mut draft = Draft::new(list, now)?;
    draft.content_mut().promotion = new.promotion.rule();
    if draft.content().promotion.is_some() && !new.silent {
        return Err("a list that is to come into force by a rule begins with --silent".into());
    }
    if let Some(record) = &new.site {
        site::put(&mut draft, record)?;
    }
    create(&new.draft, &draft.to_json())?;
    plan::warn_of_budget(&models, draft.content());
    let c = draft.content();
    names::warn_of_ids(&c.id, &c.authorisation.devices);
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
