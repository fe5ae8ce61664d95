//! `watchpost orders`: sends signed orders, lists and keys to devices, and waits for their answers.
//!
//! What is sent is a file that others have made and signed (`watchlist revoke`, `suspend`, `sign`,
//! `seal`, `key sign-trust`). Which of these it is, it says itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use sha2::{Digest as _, Sha256};

use super::flags::{ConfigFile, OutputFormat};
use super::fleet::{Fleet, FleetFlags};
use super::{CliError, output};
use crate::delivery::courier::{self, Parcel};
use crate::delivery::dispatch::{DeviceProgress, Dispatch, Errand, OrderOutcome};
use crate::delivery::{BrokerConfig, DeviceId, InboundKind, Topics};
use crate::review::verdict;
use crate::watchlist::order::{self, Action};
use crate::watchlist::text::hex;
use crate::watchlist::{author, read_list, rotation, seal};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: OrdersCommand,
}

#[derive(Subcommand)]
enum OrdersCommand {
    /// Send a signed order, a list, a rotation of the keys or a verdict to devices, again and again
    /// until each has answered; exit 0 only where all have followed it.
    #[command(after_help = SEND_EXAMPLES)]
    Send(Send),
    /// Say which list each device has and how it is; exit 1 where one that is named says nothing,
    /// or has not the list that is named.
    #[command(after_help = FLEET_EXAMPLES)]
    Fleet(Survey),
}

const SEND_EXAMPLES: &str = "Examples:
  watchpost orders send revoke.cose --device gate-1 --config operator.toml
  watchpost orders send list.cose --devices fleet.txt --config operator.toml --json

operator.toml needs only [broker]: url, root, and what the broker asks for. fleet.txt has a device a
line, with the public key that lists are sealed to where there is one:
  gate-1 age1...";
const FLEET_EXAMPLES: &str = "Examples:
  watchpost orders fleet --config operator.toml
  watchpost orders fleet --devices fleet.txt --list list.cose --config operator.toml --json";

#[derive(clap::Args)]
struct Send {
    /// What `watchlist revoke`, `suspend`, `sign`, `seal`, `key sign-trust` or `review judge` has
    /// written. A list that is not sealed is sealed to each device's own key.
    file: PathBuf,
    #[command(flatten)]
    fleet: FleetFlags,
    /// Send a list that is not sealed to devices whose key is not known. It is then readable on the
    /// network and at the broker.
    #[arg(long)]
    plain: bool,
    /// Digest of a sealed list's content, as `watchlist show` prints it for the list before it was
    /// sealed: then who has it already is known.
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    #[command(flatten)]
    post: OutgoingOrder,
}

#[derive(clap::Args)]
struct Survey {
    #[command(flatten)]
    fleet: FleetFlags,
    /// The list that all should have: a signed list that is not sealed.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    #[command(flatten)]
    post: OutgoingOrder,
}

#[derive(clap::Args)]
struct OutgoingOrder {
    /// Seconds to wait for answers at most.
    #[arg(long, value_name = "S", default_value_t = 60)]
    wait: u64,
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    super::start_logging("error");
    match args.command {
        OrdersCommand::Send(args) => send(&args),
        OrdersCommand::Fleet(args) => survey(&args),
    }
}

/// What the bytes of a file are, and how devices answer to them.
fn errand(path: &Path, bytes: &[u8], digest: Option<String>) -> Result<Message, CliError> {
    let wrong_digest = digest.as_ref().is_some_and(|d| {
        d.len() != 64 || !d.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    if wrong_digest {
        return Err("--digest is 64 characters of 0-9 a-f, as `watchlist show` prints it".into());
    }
    if let Ok(order) = order::inspect(bytes) {
        let kind = match order.action() {
            Action::Revoke { .. } => InboundKind::Revoke,
            Action::Suspend { .. } => InboundKind::Suspend,
        };
        return Ok(Message { kind, errand: Errand::Order(order.id().to_string()), plain: false });
    }
    if let Ok((candidate, reviewer)) = verdict::inspect(bytes) {
        let (candidate, reviewer) = (candidate.to_string(), reviewer.to_string());
        let envelope = hex(&Sha256::digest(bytes));
        let errand = Errand::Verdict { candidate, reviewer, envelope };
        return Ok(Message { kind: InboundKind::Verdict, errand, plain: false });
    }
    let kind = InboundKind::Offer;
    if rotation::is_rotation(bytes) {
        let (trust, _) = rotation::inspect(bytes)?;
        return Ok(Message { kind, errand: Errand::Keys(trust.serial()), plain: false });
    }
    if seal::is_sealed(bytes) {
        return Ok(Message { kind, errand: Errand::List(digest), plain: false });
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Err(format!(
            "{} is a draft; have it signed by two people first (`watchpost watchlist sign`)",
            path.display()
        )
        .into());
    }
    let summary = author::show(bytes, None).map_err(|error| {
        format!("{} is no order, no list and no signed trust file: {error}", path.display())
    })?;
    Ok(Message { kind, errand: Errand::List(summary.digest), plain: true })
}

struct Message {
    kind: InboundKind,
    errand: Errand,
    /// A list that is not sealed.
    plain: bool,
}

fn send(args: &Send) -> Result<ExitCode, CliError> {
    let config = args.post.config.load()?.broker;
    let fleet = args.fleet.read()?;
    if fleet.devices.is_empty() {
        return Err("name the devices with --device ID or --devices FILE".into());
    }
    let bytes = read_list(&args.file)?;
    let message = errand(&args.file, &bytes, args.digest.clone())?;
    if message.plain && !args.plain {
        fleet.require_keys()?;
    }
    let shared: Arc<[u8]> = bytes.as_slice().into();
    let mut parcels = BTreeMap::new();
    for device in &fleet.devices {
        let topics = Topics::new(&config.root, &DeviceId::new(&device.id)?)?;
        let payload = match &device.key {
            Some(key) if message.plain => seal::seal(&[&bytes], std::slice::from_ref(key))?.into(),
            _ => Arc::clone(&shared),
        };
        let order = match &message.errand {
            Errand::Order(id) => id.as_str(),
            Errand::List(_) | Errand::Keys(_) | Errand::Verdict { .. } => "",
        };
        // An order waits at the broker for a device that is away; a list does not lie there.
        let (topic, retain) = (topics.order(message.kind, order), !order.is_empty());
        parcels.insert(device.id.clone(), Parcel { topic, payload, retain });
    }
    let mut dispatch = Dispatch::new(message.errand, parcels.keys().cloned());
    let wait = Duration::from_secs(args.post.wait);
    courier::carry(&config, &parcels, &mut dispatch, wait)?;
    print_answers(&dispatch, args.post.format)
}

fn print_answers(dispatch: &Dispatch, format: OutputFormat) -> Result<ExitCode, CliError> {
    let mut rows = Vec::new();
    let mut all = true;
    for (device, progress) in dispatch.devices() {
        let (outcome, detail) = dispatch.outcome(progress);
        all &= outcome == OrderOutcome::Followed;
        if format.json {
            output::json_line(&serde_json::json!({
                "device": device,
                "answer": outcome,
                "detail": detail,
                "sent": progress.sent,
                "status": dispatch.status(progress),
                "watchlist": progress.state,
            }))?;
        } else {
            let answer = match detail {
                Some(detail) => format!("{outcome}: {detail}"),
                None => outcome.to_string(),
            };
            let mut row = vec![device.to_owned(), answer];
            row.extend(in_words(dispatch, progress));
            rows.push(row);
        }
    }
    if !format.json {
        output::table(&["device", "answer", "list", "entries", "state"], &rows)?;
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// List, entries and state of a device, for a table.
fn in_words(dispatch: &Dispatch, progress: &DeviceProgress) -> [String; 3] {
    let state = progress.state.as_ref();
    let list = state.and_then(|s| s.list.as_ref());
    let list = match (state, list) {
        (None, _) => "unknown".to_owned(),
        (Some(_), None) => "none".to_owned(),
        (Some(_), Some(list)) => format!("{} version {}", list.id, list.version),
    };
    let entries = state.map_or_else(String::new, |s| s.entries.to_string());
    let status = dispatch.status(progress).map_or("unknown".to_owned(), |s| match &s.reason {
        Some(reason) => format!("{}: {reason}", s.state),
        None => s.state.clone(),
    });
    [list, entries, status]
}

fn survey(args: &Survey) -> Result<ExitCode, CliError> {
    let config: BrokerConfig = args.post.config.load()?.broker;
    let Fleet { devices } = args.fleet.read()?;
    let digest = match &args.list {
        None => None,
        Some(path) => {
            let bytes = read_list(path)?;
            if seal::is_sealed(&bytes) {
                return Err("name the list as it was before it was sealed".into());
            }
            author::show(&bytes, None)?.digest
        }
    };
    let mut dispatch = Dispatch::survey(devices.into_iter().map(|d| d.id));
    courier::carry(&config, &BTreeMap::new(), &mut dispatch, Duration::from_secs(args.post.wait))?;
    let mut rows = Vec::new();
    let mut all = true;
    for (device, progress) in dispatch.devices() {
        let has = progress.state.as_ref().and_then(|s| s.digest.as_ref());
        let good = progress.state.is_some() && digest.as_ref().is_none_or(|d| has == Some(d));
        all &= good;
        if args.post.format.json {
            output::json_line(&serde_json::json!({
                "device": device,
                "has_list": digest.as_ref().map(|_| good),
                "status": dispatch.status(progress),
                "watchlist": progress.state,
            }))?;
        } else {
            let mut row = vec![device.to_owned()];
            row.extend(in_words(&dispatch, progress));
            rows.push(row);
        }
    }
    if !args.post.format.json {
        output::table(&["device", "list", "entries", "state"], &rows)?;
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
