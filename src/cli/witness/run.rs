//! `watchpost witness run`: watches the logs of a fleet at a broker, and stands between devices and
//! witnesses of others.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::super::flags::ConfigFile;
use super::super::stop::ended_by_signal;
use super::super::{CliError, output};
use crate::audit::note::{NoteKey, SignatureKind};
use crate::audit::witness::{FolderMemory, LogWitness, SILENCE};
use crate::delivery::correspondent;
use crate::files::read_text;
use crate::watchlist::keys::SecretKey;
use crate::watchlist::text::hex;
use crate::watchlist::{Trust, read_list};
use crate::witness::bridge::{Bridge, ForeignErrand, ForeignWitness};
use crate::witness::foreign::{self, SubmissionUrl};
use crate::witness::post::{Elsewhere, WitnessPost, lock};
use crate::witness::{FleetWitness, WitnessReport, http, reset};

/// Most bytes of a file of logs.
const MAX_LOGS: u64 = 4 << 20;

#[derive(clap::Args)]
pub struct Args {
    /// Name of the witness.
    #[arg(long)]
    name: String,
    /// Secret key of the witness, as `watchpost key identity` makes one.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Folder in which the witness remembers what it cosigned. Never delete it.
    #[arg(long, value_name = "FOLDER")]
    state: PathBuf,
    /// Verifier key `NAME+ID+BASE64` of a log that is watched; may be repeated.
    #[arg(long = "log", value_name = "KEY")]
    logs: Vec<NoteKey>,
    /// File with such a key a line.
    #[arg(long = "logs", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Seconds for which a log may say nothing; devices say something each hour.
    #[arg(long, value_name = "S", default_value_t = SILENCE.whole_seconds() as u32)]
    silence: u32,
    /// End at the first finding.
    #[arg(long)]
    stop_at_finding: bool,
    /// Take submissions (C2SP tlog-witness, add-checkpoint) over HTTP at this address, too.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Allow an address that other machines reach; nothing is encrypted there.
    #[arg(long, requires = "listen")]
    beyond_loopback: bool,
    /// Submit what is cosigned to this witness of others, too, and give its cosignatures to the
    /// devices: where it takes submissions, `=`, and its verifier key. May be repeated.
    #[arg(long, value_name = "http://HOST=KEY")]
    foreign: Vec<Foreign>,
    /// Trust file of the devices, which says who may let a log begin anew.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Signed trust file that begins a log anew; may be repeated, in the order of their serials.
    #[arg(long, value_name = "FILE", requires = "trust")]
    reset: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// A witness of others, as the command line names it.
#[derive(Debug, Clone)]
struct Foreign(ForeignWitness);

impl FromStr for Foreign {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (url, key) = text.split_once('=').ok_or("write http://HOST[:PORT][/PREFIX]=KEY")?;
        let url: SubmissionUrl = url.parse().map_err(|e| format!("{e}"))?;
        let key: NoteKey = key.parse().map_err(|e| format!("{e}"))?;
        if key.kind() != SignatureKind::Cosignature {
            return Err("the key is that of a log, not of a witness".to_owned());
        }
        Ok(Self(ForeignWitness { url, key }))
    }
}

/// The keys that are named one by one and in a file.
fn logs(named: Vec<NoteKey>, file: Option<&Path>) -> Result<Vec<NoteKey>, CliError> {
    let mut logs = named;
    if let Some(path) = file {
        let text = read_text(path, MAX_LOGS)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            logs.push(line.parse()?);
        }
    }
    if logs.is_empty() {
        return Err("name the logs with --log KEY or --logs FILE".into());
    }
    Ok(logs)
}

/// Lets logs begin anew that the signed trust files name.
fn begin_anew(
    args: &Args,
    root: &str,
    logs: &mut Vec<NoteKey>,
    fleet: &mut FleetWitness<FolderMemory>,
    now: OffsetDateTime,
) -> Result<(), CliError> {
    let Some(trust) = &args.trust else { return Ok(()) };
    let mut trust = Trust::open(trust)?;
    for path in &args.reset {
        let signed = read_list(path)?;
        let (next, begun) = reset::follow(&trust, &signed, root, logs)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        log::warn!("A log begins anew: log={} before={}.", begun.log.name(), begun.before);
        fleet.begin_anew(begun.log.clone(), &begun.before, now);
        logs.push(begun.log);
        trust = next;
    }
    Ok(())
}

/// A place to take submissions at.
fn listen(args: &Args) -> Result<Option<TcpListener>, CliError> {
    let Some(address) = args.listen else { return Ok(None) };
    if !address.ip().is_loopback() && !args.beyond_loopback {
        return Err(format!(
            "other machines reach {address}; use a loopback address behind a proxy, or say \
             --beyond-loopback"
        )
        .into());
    }
    let listener = TcpListener::bind(address)
        .map_err(|e| format!("cannot listen at {address}: {e}; is another program there?"))?;
    Ok(Some(listener))
}

/// Submits what comes to witnesses of others.
fn carry(
    foreign: &[ForeignWitness],
    errands: &Receiver<ForeignErrand>,
    elsewhere: &Sender<Elsewhere>,
) {
    while let Ok(errand) = errands.recv() {
        let url = &foreign[errand.foreign].url;
        let reply = foreign::submit(url, &errand.submission.to_string());
        let reply = reply.map_err(|e| e.to_string());
        if elsewhere.send(Elsewhere::Reply(Box::new(errand), reply)).is_err() {
            return;
        }
    }
}

pub fn run(mut args: Args) -> Result<ExitCode, CliError> {
    super::super::start_logging("warn");
    let config = args.config.load()?.broker;
    let mut logs = logs(std::mem::take(&mut args.logs), args.file.as_deref())?;
    let secret = SecretKey::open_file(&args.key)?;
    let listener = listen(&args)?;
    let memory = FolderMemory::open(&args.state)
        .map_err(|e| format!("cannot use the folder {}: {e}", args.state.display()))?;
    let now = OffsetDateTime::now_utc();
    // The same witness is the same client: the broker keeps what it has not heard.
    let client = format!("witness-{}", hex(&Sha256::digest(&args.name)[..8]));
    let witness = LogWitness::new(&args.name, secret, logs.iter().cloned(), memory, now);
    witness.key()?;
    let silence = Duration::seconds(args.silence.into());
    let foreign: Vec<_> = args.foreign.iter().map(|f| f.0.clone()).collect();
    let bridge = Bridge::new(foreign.clone());
    let mut fleet = FleetWitness::new(witness, &config.root, silence, bridge);
    begin_anew(&args, &config.root, &mut logs, &mut fleet, now)?;
    let fleet = Arc::new(Mutex::new(fleet));

    let over = ended_by_signal()?;
    let (elsewhere, came) = mpsc::channel();
    let (errands, to_carry) = mpsc::channel();
    let replies = elsewhere.clone();
    // Neither is waited for at the end: what they have in hand is done again by the next start.
    thread::Builder::new()
        .name("bridge".into())
        .spawn(move || carry(&foreign, &to_carry, &replies))?;
    if let Some(listener) = listener {
        let (fleet, over) = (Arc::clone(&fleet), Arc::clone(&over));
        // Said once it listens, with the port that port 0 became.
        output::json_line(&serde_json::json!({
            "witness": lock(&fleet).witness().name(),
            "listening": listener.local_addr()?.to_string(),
        }))?;
        thread::Builder::new().name("http".into()).spawn(move || {
            if let Err(error) = http::serve(&listener, &fleet, &elsewhere, &over) {
                log::error!("Submissions over HTTP are not taken: {error}.");
            }
        })?;
    }
    let (mut found, mut broken) = (false, None);
    let ends = Arc::clone(&over);
    let mut report = |report: &WitnessReport, now| {
        found |= report.is_finding();
        // Where whoever reads has gone, what is found would be lost.
        if let Err(error) = output::json_line_for_a_reader(&report.to_json(&args.name, now)) {
            broken = Some(error);
            ends.store(true, Ordering::Relaxed);
        }
        if report.is_finding() && args.stop_at_finding {
            ends.store(true, Ordering::Relaxed);
        }
    };
    let mut post = WitnessPost::new(fleet, &config.root, over, came, errands, &mut report);
    correspondent::correspond(&config, &client, &mut post)?;
    drop(post);
    if let Some(error) = broken {
        return Err(format!("what is found can be written to nobody any more: {error}").into());
    }
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
