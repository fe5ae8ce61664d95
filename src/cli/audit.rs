//! `watchpost audit`: reads the log of a device, holds it against its checkpoint, and proves single
//! records to people who have neither. Changes nothing, and may be used while the daemon runs.
//!
//! Records that only the outbox has on its disk are read from there: from the one that the
//! configuration names, or from `--outbox`. A log that is named alone is read alone, which is said.

#[cfg(feature = "author")]
mod collect;
#[cfg(feature = "evaluate")]
mod papers;
mod prove;
#[cfg(feature = "evaluate")]
mod report;
#[cfg(feature = "evaluate")]
mod told;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use self::prove::{export, prove, submission};
use self::verify::{verify_log, verify_proof, verify_signature};
use super::flags::{ConfigFile, OutputFormat};
use super::{CliError, output};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::detached;
use crate::audit::note::{NoteKey, SignatureKind, SignedNote};
use crate::audit::record::{AuditRecord, stamp_ms};
use crate::audit::store::{self, AuditStoreError, CarriedRecords, LOG, LogScan};
use crate::audit::tree::{MemoryNodes, RightEdge, TreeError, TreeHash};
use crate::delivery::outbox::disk;
use crate::files;
use crate::watchlist::keys::PublicKey;
use crate::watchlist::text::hex;

/// Most bytes of a candidate's payload.
const MAX_PAYLOAD: u64 = 1 << 20;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(clap::Subcommand)]
enum AuditCommand {
    /// What the device did, one line a record, oldest first.
    Show {
        #[command(flatten)]
        log: LogFolder,
        /// Only so many of the newest records.
        #[arg(long, value_name = "N")]
        last: Option<u64>,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Hold a log against its signed checkpoint, or verify the proof of one record; exit 0 only
    /// where all of it holds.
    Verify {
        /// A proof that `watchpost audit prove` wrote; the log of the device where absent.
        proof: Option<PathBuf>,
        #[command(flatten)]
        log: LogFolder,
        #[command(flatten)]
        keys: VerifierKeys,
        #[command(flatten)]
        published: PublishedCandidate,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Write the proof that a candidate's record is in the log, for those who have only the
    /// device's public key.
    Prove {
        /// Id of the candidate's event.
        event: uuid::Uuid,
        /// File to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// A checkpoint of this log with cosignatures, instead of the device's own.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        #[command(flatten)]
        log: LogFolder,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Print what a witness asks for: the log's checkpoint, and the proof that it follows from the
    /// one that was cosigned last.
    Submission {
        /// Records that the witness cosigned last.
        #[arg(long, value_name = "N", default_value_t = 0)]
        old: u64,
        #[command(flatten)]
        log: LogFolder,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// What the device did in a period, as a deployment record: text, HTML, JSON or CSV.
    #[cfg(feature = "evaluate")]
    Report(report::ReportArgs),
    /// Collect the records that a device publishes into a copy of its log, which the other commands
    /// read with --log; exit 1 where records are missing or others.
    #[cfg(feature = "author")]
    Collect(collect::CollectArgs),
    /// Copy the whole records of a log and its checkpoint to a new folder.
    Export {
        /// Folder to make.
        copy: PathBuf,
        #[command(flatten)]
        log: LogFolder,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        format: OutputFormat,
    },
}

#[derive(clap::Args)]
struct PublishedCandidate {
    /// The payload of a candidate as it was published: that it is what the device committed to in
    /// the record that is proved, or what it signed.
    #[arg(long, value_name = "FILE")]
    candidate: Option<PathBuf>,
    /// The MQTT user property `signature` of the candidate's message: that the device signed it.
    #[arg(long, value_name = "TEXT", requires = "candidate")]
    signature: Option<String>,
}

impl PublishedCandidate {
    /// The payload, once its signature is verified where one is given.
    fn read(&self, keys: &VerifierKeys) -> Result<Option<Vec<u8>>, CliError> {
        let Some(path) = &self.candidate else { return Ok(None) };
        let payload = files::read_bytes(path, MAX_PAYLOAD)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        if let Some(signature) = &self.signature {
            detached::verify(&payload, signature, &keys.public()?)?;
        }
        Ok(Some(payload.to_vec()))
    }
}

#[derive(clap::Args)]
struct LogFolder {
    /// Folder of the log, instead of the configuration's.
    #[arg(long = "log", value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Folder of the outbox of the same device, which may have records that a power cut kept from
    /// the log; the configuration's where no log is named.
    #[arg(long, value_name = "FOLDER")]
    outbox: Option<PathBuf>,
}

#[derive(clap::Args)]
struct VerifierKeys {
    /// Public key of the device, as `watchpost key show` prints it, or a verifier key
    /// `NAME+ID+BASE64`.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// The log's name, `<root>/<device>`; needed where the key does not name it.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// Verifier key `NAME+ID+BASE64` of a witness; may be repeated.
    #[arg(long = "witness", value_name = "KEY")]
    witnesses: Vec<NoteKey>,
    /// How many of the witnesses must have cosigned.
    #[arg(long, value_name = "N", default_value_t = 0)]
    witnesses_needed: usize,
}

impl VerifierKeys {
    /// The key of the log that is called `found` where nobody says otherwise.
    fn log(&self, found: Option<&str>) -> Result<NoteKey, CliError> {
        if let Ok(key) = self.key.parse::<NoteKey>() {
            return Ok(key);
        }
        let public: PublicKey = self.key.parse()?;
        let origin = self.origin.as_deref().or(found).ok_or(
            "the key does not say of which log it is; name the log with --origin <root>/<device>",
        )?;
        Ok(NoteKey::new(origin, SignatureKind::Note, public)?)
    }
}

impl VerifierKeys {
    /// The log's own, and no witnesses'.
    #[cfg(feature = "evaluate")]
    fn of_log(key: &str) -> Self {
        Self { key: key.to_owned(), origin: None, witnesses: Vec::new(), witnesses_needed: 0 }
    }

    /// The device's key itself.
    fn public(&self) -> Result<PublicKey, CliError> {
        if let Ok(key) = self.key.parse::<NoteKey>() {
            return Ok(*key.public());
        }
        Ok(self.key.parse()?)
    }
}

/// A log that was read.
struct LogReader {
    folder: PathBuf,
    /// What the outbox has for it; `None` where none was looked at.
    outbox: Option<CarriedRecords>,
}

impl LogReader {
    fn of(log: &LogFolder, config: &ConfigFile) -> Result<Self, CliError> {
        let (folder, named) = match &log.folder {
            Some(folder) => (folder.clone(), None),
            None => {
                let config = config.load()?;
                let outbox = config.broker.outbox_folder().map(PathBuf::from);
                (config.audit.log, outbox)
            }
        };
        // First the outbox: what it lets go of is in the log that is read after it.
        let outbox = log.outbox.clone().or(named);
        let outbox = outbox.map(|outbox| Self::carried(&folder, &outbox)).transpose()?;
        Ok(Self { folder, outbox })
    }

    fn carried(folder: &Path, outbox: &Path) -> Result<CarriedRecords, CliError> {
        let all = disk::carried(outbox).map_err(|e| {
            format!(
                "cannot read the outbox {} ({e}); read it as its owner or root",
                outbox.display()
            )
        })?;
        // A log that cannot be read is said to be so below.
        let Ok(Some(origin)) = store::origin_of(folder) else {
            return Ok(CarriedRecords::default());
        };
        Ok(CarriedRecords::of(&origin, all.iter().map(Vec::as_slice))?)
    }

    /// What is to be said where no outbox was looked at.
    fn read_alone(&self) -> Option<&'static str> {
        self.outbox.is_none().then_some(
            "the outbox was not read: of a device that lost its power it may have records that \
             the log lacks; name its folder with --outbox FOLDER",
        )
    }

    /// Each record goes to `each` with its index.
    fn scan(&self, mut each: impl FnMut(u64, &[u8])) -> Result<LogScan, CliError> {
        let path = self.folder.join(LOG);
        let file = files::open(&path).map_err(|e| {
            format!(
                "cannot read the audit log {} ({e}); name its folder with --log FOLDER, as its \
                 owner or root",
                path.display()
            )
        })?;
        let none = CarriedRecords::default();
        let outbox = self.outbox.as_ref().unwrap_or(&none);
        let found = store::scan_with(file, outbox, |read| each(read.index, read.record));
        found.map_err(|error| match (&error, self.read_alone()) {
            (AuditStoreError::Damaged { .. }, Some(alone)) => format!("{error}; {alone}").into(),
            _ => error.into(),
        })
    }

    /// The tree, and what was found.
    fn tree(&self) -> Result<(RightEdge, MemoryNodes, LogScan), CliError> {
        let (mut edge, mut nodes) = (RightEdge::default(), MemoryNodes::default());
        let mut full = Ok::<(), TreeError>(());
        let found = self.scan(|_, record| {
            let leaf = TreeHash::leaf(record);
            full = full.and_then(|()| edge.push(leaf, |node| nodes.0.push(node)));
        })?;
        full?;
        Ok((edge, nodes, found))
    }

    /// The newest checkpoint that covers record `index`: one with cosignatures where there is one.
    fn for_proof_of(&self, index: u64) -> Result<String, CliError> {
        if let Some(note) = store::read_cosigned(&self.folder)?
            && Checkpoint::parse(SignedNote::parse(&note)?.text)?.size > index
        {
            return Ok(note);
        }
        self.checkpoint()
    }

    /// The newest checkpoint of the device.
    fn checkpoint(&self) -> Result<String, CliError> {
        let kept = self.kept_checkpoint()?;
        Ok(kept.ok_or("no checkpoint was signed yet; the daemon signs one when it starts")?)
    }

    /// The same, where there is one.
    fn kept_checkpoint(&self) -> Result<Option<String>, CliError> {
        let kept = store::read_checkpoint(&self.folder)?;
        let Some(newest) = self.outbox.as_ref().and_then(CarriedRecords::newest) else {
            return Ok(kept);
        };
        let size = |note: &str| -> Result<u64, CliError> {
            Ok(Checkpoint::parse(SignedNote::parse(note)?.text)?.size)
        };
        Ok(match kept {
            Some(kept) if size(&kept)? >= size(newest)? => Some(kept),
            _ => Some(newest.to_owned()),
        })
    }
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        AuditCommand::Show { log, last, config, format } => {
            show(&LogReader::of(&log, &config)?, last, format.json)
        }
        AuditCommand::Verify { proof: Some(proof), keys, published, format, .. } => {
            verify_proof(&proof, &keys, &published, format.json)
        }
        AuditCommand::Verify { keys, published, format, .. } if published.candidate.is_some() => {
            verify_signature(&keys, &published, format.json)
        }
        AuditCommand::Verify { log, keys, config, format, .. } => {
            verify_log(&LogReader::of(&log, &config)?, &keys, format.json)
        }
        AuditCommand::Prove { event, out, checkpoint, log, config, format } => {
            let log = LogReader::of(&log, &config)?;
            prove(&log, event, &out, checkpoint.as_deref(), format.json)
        }
        AuditCommand::Submission { old, log, config, format } => {
            submission(&LogReader::of(&log, &config)?, old, format.json)
        }
        #[cfg(feature = "author")]
        AuditCommand::Collect(args) => collect::run(args),
        #[cfg(feature = "evaluate")]
        AuditCommand::Report(args) => report::run(&LogReader::of(&args.log, &args.config)?, &args),
        AuditCommand::Export { copy, log, config, format } => {
            export(&LogReader::of(&log, &config)?, &copy, format.json)
        }
    }
}

fn show(log: &LogReader, last: Option<u64>, json: bool) -> Result<ExitCode, CliError> {
    // The number of records is known at the end only.
    let mut records = 0u64;
    if last.is_some() {
        log.scan(|_, _| records += 1)?;
    }
    let first = last.map_or(0, |last| records.saturating_sub(last));
    let mut printed = Ok(());
    log.scan(|index, bytes| {
        if index >= first && printed.is_ok() {
            printed = show_record(index, bytes, json);
        }
    })?;
    printed?;
    Ok(ExitCode::SUCCESS)
}

fn show_record(index: u64, bytes: &[u8], json: bool) -> std::io::Result<()> {
    match AuditRecord::from_bytes(bytes) {
        Ok(record) if json => output::json_line(&of_record(index, &record)),
        Ok(AuditRecord { at_ms, event }) => {
            output::line(format!("{index}  {}  {event}", stamp_ms(at_ms)))
        }
        Err(error) if json => {
            let bytes = hex(bytes);
            output::json_line(
                &json!({ "index": index, "error": error.to_string(), "bytes": bytes }),
            )
        }
        Err(error) => output::line(format!("{index}  cannot be read ({error}): {}", hex(bytes))),
    }
}

fn of_record(index: u64, record: &AuditRecord) -> Value {
    let mut value = serde_json::to_value(record).unwrap_or_default();
    value["index"] = index.into();
    value["at"] = stamp_ms(record.at_ms).into();
    value
}
