//! `watchpost audit prove`, `submission` and `export`: what goes to those who do not have the log.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::LogReader;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::SignedNote;
use crate::audit::proof::{MAX_TEXT, Submission, TlogProof};
use crate::audit::record::{AuditEvent, AuditRecord, CandidateRecord};
use crate::audit::store::{self, LOG, LogScan};
use crate::audit::tree::{TreeHash, consistency, inclusion, root_of};
use crate::cli::{CliError, output};
use crate::files::{self, replace};

/// A text from outside, bounded.
pub fn read_text(path: &Path) -> Result<String, CliError> {
    let text = files::read_text(path, MAX_TEXT as u64)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(text.to_string())
}

pub fn prove(
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

pub fn submission(log: &LogReader, old: u64, json: bool) -> Result<ExitCode, CliError> {
    let (_, nodes, _) = log.tree()?;
    let note = log.checkpoint()?;
    let signed = Checkpoint::parse(SignedNote::parse(&note)?.text)?;
    let path = consistency(&nodes, old, signed.size)?;
    let text = Submission { old, path, note }.to_string();
    if json {
        output::json_line(&json!({ "old": old, "size": signed.size, "submission": text }))?;
    } else {
        output::line(text.trim_end_matches('\n'))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn export(log: &LogReader, folder: &Path, json: bool) -> Result<ExitCode, CliError> {
    // First the checkpoint: the log that is read after it has all that it covers.
    let note = log.kept_checkpoint()?;
    let cosigned = store::read_cosigned(&log.folder)?;
    let found = log.scan(|_, _| ())?;
    let made = fs::create_dir(folder);
    made.map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))?;
    let failed = |e| format!("cannot copy the log to {}: {e}", folder.display());
    let copied = File::create_new(folder.join(LOG)).map_err(failed)?;
    let mut copied = BufWriter::new(copied);
    let mut written = copied.write_all(store::header(&found.origin).as_bytes());
    log.scan(|index, record| {
        // It may have grown.
        if index < found.records && written.is_ok() {
            written = copied.write_all(&store::frame(&TreeHash::leaf(record), record));
        }
    })?;
    written.and_then(|()| copied.into_inner()?.sync_all()).map_err(failed)?;
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
