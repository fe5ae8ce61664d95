//! `watchpost witness run`: watches the logs of a fleet at a broker.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGINT, SIGTERM};
use time::{Duration, OffsetDateTime};

use super::super::flags::ConfigFile;
use super::super::{CliError, output};
use crate::audit::note::NoteKey;
use crate::audit::witness::{FolderMemory, LogWitness, SILENCE};
use crate::delivery::correspondent;
use crate::files::read_text;
use crate::watchlist::keys::SecretKey;
use crate::watchlist::text::hex;
use crate::witness::post::WitnessPost;
use crate::witness::{FleetWitness, WitnessReport};

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
    #[command(flatten)]
    config: ConfigFile,
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

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    super::super::start_logging("warn");
    let config = args.config.load()?.broker;
    let logs = logs(args.logs, args.file.as_deref())?;
    let secret = SecretKey::open_file(&args.key)?;
    let memory = FolderMemory::open(&args.state)
        .map_err(|e| format!("cannot use the folder {}: {e}", args.state.display()))?;
    let now = OffsetDateTime::now_utc();
    // The same witness is the same client: the broker keeps what it has not heard.
    let client = format!("witness-{}", hex(&Sha256::digest(&args.name)[..8]));
    let witness = LogWitness::new(&args.name, secret, logs, memory, now);
    witness.key()?;
    let silence = Duration::seconds(args.silence.into());
    let fleet = Arc::new(Mutex::new(FleetWitness::new(witness, &config.root, silence)));

    let over = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&over))?;
    }
    let (_others, received) = mpsc::channel();
    let (mut found, mut broken) = (false, None);
    let ends = Arc::clone(&over);
    let mut report = |report: &WitnessReport, now| {
        found |= report.is_finding();
        // Whoever reads has gone: nothing is reported any more, and cosigning goes on by another.
        if let Err(error) = output::json_line(&report.to_json(&args.name, now)) {
            broken = Some(error);
            ends.store(true, Ordering::Relaxed);
        }
        if report.is_finding() && args.stop_at_finding {
            ends.store(true, Ordering::Relaxed);
        }
    };
    let mut post = WitnessPost::new(fleet, &config.root, over, received, &mut report);
    correspondent::correspond(&config, &client, &mut post)?;
    drop(post);
    if let Some(error) = broken {
        return Err(error.into());
    }
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
