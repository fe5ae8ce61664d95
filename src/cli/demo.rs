//! `watchpost demo`: the whole chain on a machine without a camera and without a broker.
//!
//! Everything is real but the camera: keys are made, a photograph is enrolled, the list is signed
//! by two people and verified, the scene runs through the daemon's own threads, and what is printed
//! is what a subscriber got.

#[cfg(feature = "desk")]
mod with_desk;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::flags::OutputFormat;
use super::key::author::trust_file;
use super::photographs::FaceReader;
use super::{CliError, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::{self, Input};
use crate::decision::promise;
use crate::demo::ENROLMENT_PHOTOGRAPH;
use crate::demo::scene::{FPS, PERIOD, Scene};
use crate::demo::source::SceneSource;
use crate::demo::subscriber::{Endpoint, Received, Subscriber};
use crate::files::replace;
use crate::promise::Stage;
use crate::source::{Photograph, Source};
use crate::vision::Models;
use crate::watchlist::author::{self, Draft, NewEntry, NewList};
use crate::watchlist::keys::SecretKey;
use crate::watchlist::model::{Authorisation, Hours};
use crate::watchlist::seal::{self, DeviceKey};
use crate::watchlist::{Aim, StoredTemplate};

const DEVICE: &str = "demo-gate";
const ROOT: &str = "watchpost-demo";
const REFERENCE: &str = "case-0001";
/// How long the list and the keys would be good for: beyond the 30 days in which a device says that
/// something ends soon.
const DAYS: u16 = 40;
/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// Publish through this broker instead of the built-in one, as in mqtt://host:1883.
    #[arg(long, value_name = "URL")]
    broker: Option<Endpoint>,
    /// Length of the scene in seconds; 24, or with --desk until Ctrl-C.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Serve the pages on which two people judge, on loopback, and wait until two have enrolled.
    #[cfg(feature = "desk")]
    #[arg(long)]
    desk: bool,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    super::start_logging("warn");
    let say = |text: &str| if args.format.json { Ok(()) } else { output::line(text) };
    let endpoint = endpoint(&args)?;
    let work = tempfile::Builder::new().prefix("watchpost-demo-").tempdir()?;
    let mut config = configuration(work.path())?;
    connect(&mut config, work.path(), &endpoint)?;

    say("1  Two people make their keys; a device is told to trust lists that both have signed.")?;
    say("2  A photograph is enrolled as case-0001, under a legal basis, with an expiry; both \
         sign; it is sealed to the device.")?;
    author_list(&config, &Models::builtin()?)?;

    let whole = PERIOD / u64::from(FPS);
    #[cfg(feature = "desk")]
    let (_desk, seconds) = if args.desk {
        (Some(with_a_desk(&mut config, work.path(), &say)?), args.seconds.unwrap_or(u64::MAX))
    } else {
        (None, args.seconds.unwrap_or(whole))
    };
    #[cfg(not(feature = "desk"))]
    let seconds = args.seconds.unwrap_or(whole);

    say("3  Four people walk past the camera, one of them twice. A subscriber of the broker \
         receives:")?;
    say("")?;
    let subscriber = Subscriber::connect(&endpoint, "watchpost-demo-subscriber", ROOT, PATIENCE)?;
    let clock = Clock::default();
    let frames = seconds.saturating_mul(FPS.into());
    let open = move || {
        Ok(Box::new(SceneSource::new(Scene::new(1).with_frames(frames), clock)) as Box<dyn Source>)
    };
    let (outcome, tally) = std::thread::scope(|scope| {
        let daemon = scope.spawn(|| daemon::run(&config, clock, Input { open: &open }));
        let tally = listen(&subscriber, &args, || daemon.is_finished());
        (daemon.join(), tally)
    });
    let tally = tally?;
    outcome.map_err(|_| "the daemon's thread ended unexpectedly")??;
    say("")?;
    say(&format!(
        "{} candidate for {REFERENCE}, {} for anybody else; {} faces seen, {} compared, none of \
         the others stored or sent.",
        tally.enrolled, tally.others, tally.faces, tally.compared
    ))?;
    // A scene cut short may end before the enrolled person comes by.
    let as_promised =
        tally.others == 0 && (tally.enrolled == 1 || seconds < whole || seconds == u64::MAX);
    if !as_promised {
        return Err(
            "the demonstration did not come out as promised: please report this as a bug".into()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the desk, prints the links, and waits for two reviewers.
#[cfg(feature = "desk")]
fn with_a_desk(
    config: &mut Config,
    work: &Path,
    say: &impl Fn(&str) -> std::io::Result<()>,
) -> Result<with_desk::DemoDesk, CliError> {
    let desk = with_desk::DemoDesk::start(config, work)?;
    say("")?;
    say(
        "   Two people review. Open each link in a browser, or one in a private window: a browser \
         keeps one person's keys.",
    )?;
    say(&format!("   first reviewer:  {}", desk.invite("first reviewer")?))?;
    say(&format!("   second reviewer: {}", desk.invite("second reviewer")?))?;
    say("")?;
    desk.await_reviewers(config)?;
    say(&format!(
        "   Both are pinned as reviewers in the demonstration's trust file. Sign in at {}; Ctrl-C \
         ends it.",
        desk.origin
    ))?;
    say("")?;
    Ok(desk)
}

#[cfg(feature = "demo-broker")]
fn endpoint(args: &Args) -> Result<Endpoint, CliError> {
    match &args.broker {
        Some(endpoint) => Ok(endpoint.clone()),
        None => Ok(crate::demo::broker::Broker::start()?.url().parse()?),
    }
}

#[cfg(not(feature = "demo-broker"))]
fn endpoint(args: &Args) -> Result<Endpoint, CliError> {
    args.broker
        .clone()
        .ok_or_else(|| "this build has no broker inside; name one with --broker mqtt://HOST".into())
}

/// The defaults, but for where things lie.
pub fn configuration(work: &Path) -> Result<Config, CliError> {
    let mut config = Config::default();
    config.device.id = DEVICE.into();
    config.device.camera = "hall".into();
    config.watchlist.list = work.join("watchlist.cose");
    config.watchlist.trust = work.join("trust.toml");
    config.watchlist.device_key = Some(work.join("device.key"));
    config.broker.outbox = Some(work.join("outbox"));
    config.watchlist.state = work.join("watchlist-state.json");
    // The list is made and used within the same minute by the same clock.
    config.watchlist.require_synchronised_clock = false;
    // The bundled portraits are public, and the demonstration is to run wherever a program may run.
    config.watchlist.require_locked_memory = false;
    Ok(config)
}

fn connect(config: &mut Config, work: &Path, endpoint: &Endpoint) -> Result<(), CliError> {
    let host = if endpoint.host.contains(':') {
        format!("[{}]", endpoint.host)
    } else {
        endpoint.host.clone()
    };
    config.broker.url = format!("mqtt://{host}:{}", endpoint.port);
    config.broker.root = ROOT.into();
    if let Some((user, password)) = &endpoint.credentials {
        let file = work.join("password");
        replace(&file, password.as_bytes())?;
        config.broker.username.clone_from(user);
        config.broker.password_file = Some(file);
    }
    Ok(())
}

/// Makes the device's key, and what two people do at a workstation with `watchpost key` and
/// `watchpost watchlist`.
pub fn author_list(config: &Config, models: &Models) -> Result<(), CliError> {
    let keys = [SecretKey::generate()?, SecretKey::generate()?];
    let now = OffsetDateTime::now_utc();
    let trust = trust_file(&keys.each_ref().map(SecretKey::public), 2, now, DAYS)?;
    replace(&config.watchlist.trust, trust.as_bytes())?;

    let enrolled =
        FaceReader::new(models)?.single(&Photograph::decode(ENROLMENT_PHOTOGRAPH)?.frame())?;
    let embedder = &models.manifest.embedder;
    let expires = now + time::Duration::days(DAYS.into());
    let mut draft = Draft::new(
        NewList {
            id: "demonstration".parse()?,
            not_before: now - time::Duration::minutes(1),
            expires,
            embedder: embedder.sha256.0,
            dimensions: embedder.dimensions,
            stage: Stage::InForce,
            authorisation: Authorisation {
                authority: "watchpost demo".into(),
                decision: "bundled scene".into(),
                aim: Aim::Consent,
                devices: vec![DEVICE.parse()?],
                areas: Vec::new(),
                hours: Hours::always(),
                most_entries: 1,
                expected_faces_per_day: 1000,
                false_alerts_per_day: 0.2,
            },
        },
        now,
    )?;
    draft.add(
        NewEntry {
            reference: REFERENCE.parse()?,
            legal_basis: "demonstration on a bundled photograph".into(),
            purpose: "to show what a subscriber receives".into(),
            expires,
        },
        vec![StoredTemplate::of_one(
            enrolled.embedding.quantize(),
            enrolled.stored_quality(),
            Sha256::digest(ENROLMENT_PHOTOGRAPH).into(),
        )],
    )?;
    let promise = promise::of(models, &config.vision, &config.decision);
    let signed = author::cosign(&author::sign(&draft, &promise.bytes(), &keys[0], now)?, &keys[1])?;
    let device = DeviceKey::generate()?;
    if let Some(file) = &config.watchlist.device_key {
        device.create_file(file)?;
    }
    let sealed = seal::seal(&[&signed], std::slice::from_ref(device.recipient()))?;
    Ok(replace(&config.watchlist.list, &sealed)?)
}

#[derive(Default)]
struct ReceivedCounts {
    enrolled: u32,
    others: u32,
    faces: u64,
    compared: u64,
}

/// Prints what arrives until `stopped` has, or the daemon has ended without it.
fn listen(
    subscriber: &Subscriber,
    args: &Args,
    ended: impl Fn() -> bool,
) -> Result<ReceivedCounts, CliError> {
    let mut tally = ReceivedCounts::default();
    loop {
        let Some(message) = subscriber.receive(Duration::from_millis(200))? else {
            if ended() {
                return Ok(tally);
            }
            continue;
        };
        let event = event_of(&message.payload);
        let data = &event["data"];
        match message.topic.rsplit('/').next() {
            Some("candidate") if data["sequence"] == 1 => {
                let count = if data["entry"] == REFERENCE {
                    &mut tally.enrolled
                } else {
                    &mut tally.others
                };
                *count += 1;
            }
            Some("stats") => {
                let count = |name: &str| data["counts"][name].as_u64().unwrap_or(0);
                tally.faces = count("pipeline.vision.faces");
                tally.compared = count("pipeline.decision.compared");
            }
            _ => {}
        }
        if args.format.json {
            output::json_line(&serde_json::json!({ "topic": message.topic, "payload": event }))?;
        } else {
            output::line(format!("   {}", in_words(&message, data)))?;
        }
        if data["state"] == "stopped" {
            return Ok(tally);
        }
    }
}

/// An event, or what is none, as the checkpoints of an audit log, as text.
fn event_of(payload: &[u8]) -> Value {
    let text = || String::from_utf8_lossy(payload).into_owned();
    serde_json::from_slice(payload).unwrap_or_else(|_| Value::String(text()))
}

fn in_words(message: &Received, data: &Value) -> String {
    let topic = &message.topic;
    match topic.rsplit('/').next() {
        Some("candidate") => {
            let number = |path: &str, digits: usize| {
                data.pointer(path)
                    .and_then(Value::as_f64)
                    .map_or_else(|| "?".into(), |v| format!("{v:.digits$}"))
            };
            let kind = if data["sequence"] == 1 { "candidate" } else { "its one update" };
            format!(
                "{topic}  {kind}: entry {}, mean of {} views has similarity {} (threshold {}), \
                 quality {}, crop {} kB, false-positive rate {}",
                data["entry"].as_str().unwrap_or("?"),
                data["evidence"]["views"],
                number("/evidence/combined", 2),
                number("/threshold", 2),
                number("/evidence/quality/overall", 2),
                data["crop"]["base64"].as_str().map_or(0, |b| b.len() * 3 / 4 / 1024),
                data["expected_false_positive_rate"]
                    .as_f64()
                    .map_or_else(|| "?".into(), |v| format!("{v:.1e}")),
            )
        }
        Some("status") => {
            let reason = data["reason"].as_str().map(|r| format!(" ({r})")).unwrap_or_default();
            format!("{topic}  {}{reason}", data["state"].as_str().unwrap_or("?"))
        }
        Some("stats") => format!(
            "{topic}  counts only: {} faces seen, {} compared, {} candidates",
            data["counts"]["pipeline.vision.faces"],
            data["counts"]["pipeline.decision.compared"],
            data["counts"]["pipeline.decision.candidates"]
        ),
        Some("state") if topic.ends_with("watchlist/state") => format!(
            "{topic}  list {} version {} with {} entries",
            data["list"]["id"].as_str().unwrap_or("none"),
            data["list"]["version"],
            data["entries"]
        ),
        _ => topic.clone(),
    }
}
