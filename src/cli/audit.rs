//! `watchpost audit`: reads the log of a device, holds it against its checkpoint, and proves single
//! records to people who have neither. Changes nothing, and may be used while the daemon runs.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::flags::{ConfigFile, OutputFormat};
use super::{CliError, output};
use crate::audit::checkpoint::{CheckedCosignature, Checkpoint, cosignatures};
use crate::audit::note::{NoteKey, SignatureKind, SignedNote};
use crate::audit::proof::{MAX_TEXT, Submission, TlogProof};
use crate::audit::record::{AuditEvent, AuditRecord, CandidateRecord, commitment, stamp_ms};
use crate::audit::store::{self, LOG, LogScan};
use crate::audit::tree::{MemoryNodes, RightEdge, TreeError, consistency, inclusion, root_of};
use crate::files::{self, replace};
use crate::watchlist::keys::PublicKey;
use crate::watchlist::text::hex;

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
        /// The payload of the candidate whose record is proved, as it was published: that it is
        /// what the device committed to.
        #[arg(long, value_name = "FILE", requires = "proof")]
        candidate: Option<PathBuf>,
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
    },
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
struct LogFolder {
    /// Folder of the log, instead of the configuration's.
    #[arg(long = "log", value_name = "FOLDER")]
    folder: Option<PathBuf>,
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

/// A log that was read.
struct LogReader {
    folder: PathBuf,
}

impl LogReader {
    fn of(log: LogFolder, config: &ConfigFile) -> Result<Self, CliError> {
        let folder = match log.folder {
            Some(folder) => folder,
            None => config.load()?.audit.log,
        };
        Ok(Self { folder })
    }

    /// Each record goes to `each` with its index.
    fn scan(&self, mut each: impl FnMut(u64, &[u8])) -> Result<LogScan, CliError> {
        let path = self.folder.join(LOG);
        let file = File::open(&path).map_err(|e| {
            format!(
                "cannot read the audit log {} ({e}); name its folder with --log FOLDER, as its \
                 owner or root",
                path.display()
            )
        })?;
        Ok(store::scan(file, |index, _, record| each(index, record))?)
    }

    /// The tree, and what was found.
    fn tree(&self) -> Result<(RightEdge, MemoryNodes, LogScan), CliError> {
        let (mut edge, mut nodes) = (RightEdge::default(), MemoryNodes::default());
        let mut full = Ok::<(), TreeError>(());
        let found = self.scan(|_, record| {
            let leaf = crate::audit::tree::TreeHash::leaf(record);
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
        Ok(store::read_checkpoint(&self.folder)?
            .ok_or("no checkpoint was signed yet; the daemon signs one when it starts")?)
    }
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        AuditCommand::Show { log, last, config, format } => {
            show(&LogReader::of(log, &config)?, last, format.json)
        }
        AuditCommand::Verify { proof: Some(proof), keys, candidate, format, .. } => {
            verify_proof(&proof, &keys, candidate.as_deref(), format.json)
        }
        AuditCommand::Verify { log, keys, config, format, .. } => {
            verify_log(&LogReader::of(log, &config)?, &keys, format.json)
        }
        AuditCommand::Prove { event, out, checkpoint, log, config, format } => {
            let log = LogReader::of(log, &config)?;
            prove(&log, event, &out, checkpoint.as_deref(), format.json)
        }
        AuditCommand::Submission { old, log, config } => {
            submission(&LogReader::of(log, &config)?, old)
        }
        AuditCommand::Export { copy, log, config, format } => {
            export(&LogReader::of(log, &config)?, &copy, format.json)
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

fn of_checkpoint(checkpoint: &Checkpoint, cosigned: &[CheckedCosignature]) -> Value {
    json!({
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.to_string(),
        "cosigned": cosigned.iter().map(|c| json!({
            "witness": c.name, "at": stamp_ms(c.at.saturating_mul(1000)),
        })).collect::<Vec<_>>(),
    })
}

fn tell(checkpoint: &Checkpoint, cosigned: &[CheckedCosignature]) -> std::io::Result<()> {
    let Checkpoint { origin, size, root, .. } = checkpoint;
    output::line(format!("checkpoint of {origin}: {size} records, root {root}"))?;
    for c in cosigned {
        let at = stamp_ms(c.at.saturating_mul(1000));
        output::line(format!("cosigned by {} at {at}", c.name))?;
    }
    Ok(())
}

fn verify_log(log: &LogReader, keys: &VerifierKeys, json: bool) -> Result<ExitCode, CliError> {
    let (edge, nodes, found) = log.tree()?;
    let note = log.checkpoint()?;
    let checkpoint = Checkpoint::open(&note, &keys.log(Some(&found.origin))?)?;
    let cosigned = cosignatures(&SignedNote::parse(&note)?, &keys.witnesses)?;
    if checkpoint.size > edge.size() {
        return Err(format!(
            "the log has {} records and its checkpoint {}: it was rolled back",
            edge.size(),
            checkpoint.size
        )
        .into());
    }
    if root_of(&nodes, checkpoint.size)? != checkpoint.root {
        return Err("the log is not the one that its checkpoint was signed for: it was \
            rewritten"
            .into());
    }
    if cosigned.len() < keys.witnesses_needed {
        return Err(format!(
            "{} known witnesses have cosigned, and {} are asked for",
            cosigned.len(),
            keys.witnesses_needed
        )
        .into());
    }
    let unsigned = edge.size() - checkpoint.size;
    if json {
        let mut value = of_checkpoint(&checkpoint, &cosigned);
        value["valid"] = true.into();
        value["unsigned"] = unsigned.into();
        value["torn_bytes"] = found.torn.into();
        output::json_line(&value)?;
    } else {
        tell(&checkpoint, &cosigned)?;
        output::line(format!("valid; {unsigned} records are newer than the checkpoint"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A text from outside, bounded.
fn read_text(path: &Path) -> Result<String, CliError> {
    let text = files::read_text(path, MAX_TEXT as u64)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(text.to_string())
}

fn verify_proof(
    path: &Path,
    keys: &VerifierKeys,
    candidate: Option<&Path>,
    json: bool,
) -> Result<ExitCode, CliError> {
    let proof = TlogProof::parse(&read_text(path)?)?;
    let proved = proof.verify_own(&keys.log(None)?, &keys.witnesses, keys.witnesses_needed)?;
    let record = AuditRecord::from_bytes(proof.extra.as_deref().unwrap_or_default())?;
    if let Some(path) = candidate {
        let published = files::read_bytes(path, MAX_TEXT as u64)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let committed = matches!(&record.event, AuditEvent::Candidate(c)
            if c.commitment == commitment(&published));
        if !committed {
            return Err("the record is genuine, and not one of these published bytes".into());
        }
    }
    if json {
        output::json_line(&json!({
            "valid": true,
            "record": of_record(proof.index, &record),
            "checkpoint": of_checkpoint(&proved.checkpoint, &proved.cosignatures),
            "candidate": candidate.is_some(),
        }))?;
    } else {
        output::line(format!("{}  {}  {}", proof.index, stamp_ms(record.at_ms), record.event))?;
        tell(&proved.checkpoint, &proved.cosignatures)?;
        output::line(if candidate.is_some() {
            "valid, and it is the record of the published candidate"
        } else {
            "valid"
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn prove(
    log: &LogReader,
    event: uuid::Uuid,
    out: &Path,
    checkpoint: Option<&Path>,
    json: bool,
) -> Result<ExitCode, CliError> {
    let (_, nodes, _) = log.tree()?;
    let mut found = None;
    log.scan(|index, bytes| {
        let of_event = |r: &AuditRecord| {
            matches!(&r.event, AuditEvent::Candidate(CandidateRecord { event: id, .. })
                if id == event.as_bytes())
        };
        if AuditRecord::from_bytes(bytes).is_ok_and(|r| of_event(&r)) {
            found = Some((index, bytes.to_vec()));
        }
    })?;
    let (index, record) =
        found.ok_or_else(|| format!("the log has no record of a candidate's event {event}"))?;
    let note = checkpoint.map_or_else(|| log.for_proof_of(index), read_text)?;
    let signed = Checkpoint::parse(SignedNote::parse(&note)?.text)?;
    if index >= signed.size {
        return Err(format!(
            "record {index} is newer than the checkpoint of {} records; wait for the next one, \
             which comes within an hour",
            signed.size
        )
        .into());
    }
    if root_of(&nodes, signed.size)? != signed.root {
        return Err("the checkpoint is not one of this log".into());
    }
    let path = inclusion(&nodes, index, signed.size)?;
    let proof = TlogProof { extra: Some(record), index, path, note }.to_string();
    replace(out, proof.as_bytes())?;
    if json {
        let (path, bytes) = (out.display().to_string(), proof.len());
        output::json_line(&json!({ "index": index, "file": path, "bytes": bytes }))?;
    } else {
        output::line(format!("record {index} is proved by {}", out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn submission(log: &LogReader, old: u64) -> Result<ExitCode, CliError> {
    let (_, nodes, _) = log.tree()?;
    let note = log.checkpoint()?;
    let signed = Checkpoint::parse(SignedNote::parse(&note)?.text)?;
    let path = consistency(&nodes, old, signed.size)?;
    let text = Submission { old, path, note }.to_string();
    output::line(text.trim_end_matches('\n'))?;
    Ok(ExitCode::SUCCESS)
}

fn export(log: &LogReader, folder: &Path, json: bool) -> Result<ExitCode, CliError> {
    // First the checkpoint: the log that is read after it has all that it covers.
    let note = store::read_checkpoint(&log.folder)?;
    let cosigned = store::read_cosigned(&log.folder)?;
    let found = log.scan(|_, _| ())?;
    let made = fs::create_dir(folder);
    made.map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))?;
    let copy = || -> std::io::Result<()> {
        let mut whole = File::open(log.folder.join(LOG))?.take(found.length);
        let mut copied = File::create_new(folder.join(LOG))?;
        std::io::copy(&mut whole, &mut copied)?;
        copied.sync_all()
    };
    copy().map_err(|e| format!("cannot copy the log to {}: {e}", folder.display()))?;
    if let Some(note) = &note {
        replace(&folder.join(store::CHECKPOINT), note.as_bytes())?;
    }
    if let Some(note) = &cosigned {
        replace(&folder.join(store::COSIGNED), note.as_bytes())?;
    }
    let LogScan { origin, records, .. } = found;
    if json {
        let signed = note.is_some();
        output::json_line(&json!({ "origin": origin, "records": records, "checkpoint": signed }))?;
    } else {
        output::line(format!("{records} records of {origin} are in {}", folder.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
