//! `watchpost watchlist revoke` and `suspend`: orders that one person may give.

use std::path::PathBuf;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bounds::area;
use super::{CliError, create, date, output};
use crate::cli::flags::OutputFormat;
use crate::cli::signer::SignerKey;
use crate::watchlist::model::Area;
use crate::watchlist::order::{self, Action, EVERY_VERSION, Order, OrderId};
use crate::watchlist::{Reference, Trust, keys};

#[derive(clap::Args)]
pub struct Revoke {
    /// Id of the list.
    #[arg(long, value_name = "ID")]
    list: Reference,
    /// Revoke one entry instead of the whole list.
    #[arg(long, value_name = "REF")]
    entry: Option<Reference>,
    /// Revoke versions up to this one, so that a later one may be used; every version that there
    /// will ever be where absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=EVERY_VERSION))]
    through_version: Option<u64>,
    #[command(flatten)]
    signing: Signing,
}

#[derive(clap::Args)]
pub struct Suspend {
    /// Begin; now where absent.
    #[arg(long, value_name = "TIME", value_parser = date)]
    from: Option<OffsetDateTime>,
    /// End, as in 2027-03-31T18:00:00Z; at most 366 days later.
    #[arg(long, value_name = "TIME", value_parser = date)]
    to: OffsetDateTime,
    /// A device that stops; may be given several times. Every device that reads the order where
    /// absent.
    #[arg(long, value_name = "ID")]
    device: Vec<Reference>,
    /// Corners of an area in degrees, as in "52.50,13.40 52.60,13.40 52.50,13.50"; may be given
    /// several times. Everywhere where absent.
    #[arg(long, value_name = "CORNERS", value_parser = area)]
    area: Vec<Area>,
    #[command(flatten)]
    signing: Signing,
}

#[derive(clap::Args)]
struct Signing {
    #[command(flatten)]
    key: SignerKey,
    /// File to write; publish it as it is, retained, on the device's topic.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn revoke(args: Revoke) -> Result<(), CliError> {
    let action = Action::Revoke {
        list: args.list,
        through: args.through_version.unwrap_or(EVERY_VERSION),
        entry: args.entry,
    };
    write(&action, &args.signing, "revoke")
}

pub fn suspend(args: Suspend) -> Result<(), CliError> {
    let from = args.from.unwrap_or_else(OffsetDateTime::now_utc);
    let action = Action::Suspend { from, to: args.to, devices: args.device, areas: args.area };
    write(&action, &args.signing, "suspend")
}

/// Prints what an order says and whether a device with `trust` would follow it now.
pub fn show(
    order: &Order,
    trust: Option<&Trust>,
    bytes: &[u8],
    json: bool,
) -> Result<(), CliError> {
    let verdict = match trust.map(|t| order::verify(bytes, t, OffsetDateTime::now_utc())) {
        None => "not checked; name a trust file with --trust FILE".into(),
        Some(Ok(_)) => "a device follows it".into(),
        Some(Err(refusal)) => refusal.to_string(),
    };
    let what = match order.action() {
        Action::Revoke { list, through, entry } => {
            let versions = match *through {
                EVERY_VERSION => "every version".into(),
                through => format!("versions up to {through}"),
            };
            match entry {
                Some(entry) => format!("revoke entry {entry} of {list}, {versions}"),
                None => format!("revoke {list}, {versions}"),
            }
        }
        Action::Suspend { from, to, devices, areas } => {
            let named: Vec<&str> = devices.iter().map(Reference::as_str).collect();
            let on = if named.is_empty() { "every device".into() } else { named.join(", ") };
            let place = if areas.is_empty() {
                String::new()
            } else {
                format!(" inside {} areas", areas.len())
            };
            format!(
                "suspend from {} to {} on {on}{place}",
                from.format(&Rfc3339)?,
                to.format(&Rfc3339)?
            )
        }
    };
    let (id, signer) = (order.id().to_string(), order.signer().to_string());
    let issued = order.issued().format(&Rfc3339)?;
    if json {
        let value = serde_json::json!({
            "order": id,
            "what": what,
            "signer": signer,
            "issued": issued,
            "verdict": verdict,
        });
        output::json_line(&value)?;
    } else {
        for (name, value) in [
            ("order", id),
            ("what", what),
            ("signer", signer),
            ("issued", issued),
            ("verdict", verdict),
        ] {
            output::line(format!("{name:<10} {value}"))?;
        }
    }
    Ok(())
}

fn write(action: &Action, signing: &Signing, topic: &str) -> Result<(), CliError> {
    let key = signing.key.open()?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| keys::KeyError::Random(e.to_string()))?;
    let now = OffsetDateTime::now_utc();
    let bytes = order::sign(OrderId(id), action, &key, now)?;
    create(&signing.out, &bytes)?;
    let (id, signer, out) = (OrderId(id), key.public().id(), signing.out.display());
    if signing.format.json {
        let (id, signer) = (id.to_string(), signer.to_string());
        output::json_line(
            &serde_json::json!({ "order": id, "signer": signer, "issued": now.format(&Rfc3339)? }),
        )?;
    } else {
        output::line(format!("wrote {out}: order {id} signed by {signer}"))?;
        output::line(format!(
            "publish: mosquitto_pub -q 1 -r -f {out} -t ROOT/v1/DEVICE/{topic}/{id}"
        ))?;
    }
    Ok(())
}
