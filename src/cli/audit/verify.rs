//! `watchpost audit verify`: a log against its checkpoints, a proof, a candidate's signature.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::prove::read_text;
use super::{LogReader, PublishedCandidate, VerifierKeys, of_record};
use crate::audit::checkpoint::{CheckedCosignature, Checkpoint, cosignatures};
use crate::audit::note::SignedNote;
use crate::audit::proof::TlogProof;
use crate::audit::record::{AuditEvent, AuditRecord, commitment, stamp_ms};
use crate::audit::store::{self, LogScan};
use crate::audit::tree::root_of;
use crate::cli::{CliError, output};

/// A log that is what its checkpoint was signed for, and what witnesses have cosigned.
pub struct HeldLog {
    pub checkpoint: Checkpoint,
    pub cosigned: Vec<CheckedCosignature>,
    /// Records below the tree that they are of; none without any.
    pub covered: u64,
    /// Records that are newer than the checkpoint.
    pub unsigned: u64,
    /// Bytes of a record that was never finished.
    pub torn: u64,
    /// Records that only the outbox has.
    pub in_outbox: u64,
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

/// Holds a log against its own signed checkpoint, and against the newest one that was cosigned:
/// whoever rewrites a log can sign the former anew.
pub fn hold(log: &LogReader, keys: &VerifierKeys) -> Result<HeldLog, CliError> {
    let (edge, nodes, found) = log.tree()?;
    let key = keys.log(Some(&found.origin))?;
    let own = log.checkpoint()?;
    let mut held = Vec::new();
    let notes = [(Some(own), "signed for"), (store::read_cosigned(&log.folder)?, "cosigned as")];
    for (note, what) in notes {
        let Some(note) = note else { continue };
        let checkpoint = Checkpoint::open(&note, &key)?;
        let cosigned = cosignatures(&SignedNote::parse(&note)?, &keys.witnesses)?;
        let (size, had) = (checkpoint.size, edge.size());
        if size > had {
            return Err(format!(
                "the log has {had} records and its checkpoint {size}: it was rolled back"
            )
            .into());
        }
        if root_of(&nodes, size)? != checkpoint.root {
            return Err(format!(
                "the log is not the one that its checkpoint of {size} records was {what}: it was \
                 rewritten"
            )
            .into());
        }
        held.push((checkpoint, cosigned));
    }
    let checkpoint = held[0].0.clone();
    // Of the two the one with as many as are asked for, and of those the newest.
    let (of, cosigned) = held
        .into_iter()
        .filter(|(_, cosigned)| !cosigned.is_empty())
        .max_by_key(|(of, cosigned)| (cosigned.len().min(keys.witnesses_needed), of.size))
        .map_or((None, Vec::new()), |(of, cosigned)| (Some(of), cosigned));
    if cosigned.len() < keys.witnesses_needed {
        return Err(format!(
            "{} known witnesses have cosigned, and {} are asked for",
            cosigned.len(),
            keys.witnesses_needed
        )
        .into());
    }
    let unsigned = edge.size() - checkpoint.size;
    let covered = of.map_or(0, |of| of.size);
    let LogScan { torn, mended: in_outbox, .. } = found;
    Ok(HeldLog { checkpoint, cosigned, covered, unsigned, torn, in_outbox })
}

pub fn verify_log(log: &LogReader, keys: &VerifierKeys, json: bool) -> Result<ExitCode, CliError> {
    let HeldLog { checkpoint, cosigned, covered, unsigned, torn, in_outbox } = hold(log, keys)?;
    if json {
        let mut value = of_checkpoint(&checkpoint, &cosigned);
        value["valid"] = true.into();
        value["cosigned_records"] = covered.into();
        value["unsigned"] = unsigned.into();
        value["torn_bytes"] = torn.into();
        value["in_outbox_only"] = in_outbox.into();
        value["outbox_read"] = log.read_alone().is_none().into();
        output::json_line(&value)?;
    } else {
        tell(&checkpoint, &cosigned)?;
        if !cosigned.is_empty() {
            output::line(format!("the first {covered} records are cosigned"))?;
        }
        output::line(format!("valid; {unsigned} records are newer than the checkpoint"))?;
        if in_outbox > 0 {
            output::line(format!(
                "{in_outbox} records are in the outbox only, until the next start"
            ))?;
        }
        if let Some(alone) = log.read_alone() {
            output::line(alone)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn verify_proof(
    path: &Path,
    keys: &VerifierKeys,
    published: &PublishedCandidate,
    json: bool,
) -> Result<ExitCode, CliError> {
    let candidate = published.read(keys)?;
    let signed = published.signature.is_some();
    let proof = TlogProof::parse(&read_text(path)?)?;
    let proved = proof.verify_own(&keys.log(None)?, &keys.witnesses, keys.witnesses_needed)?;
    let record = AuditRecord::from_bytes(proof.extra.as_deref().unwrap_or_default())?;
    if let Some(payload) = &candidate {
        let committed = matches!(&record.event, AuditEvent::Candidate(c)
            if c.commitment == commitment(payload));
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
            "signed": signed,
        }))?;
    } else {
        output::line(format!("{}  {}  {}", proof.index, stamp_ms(record.at_ms), record.event))?;
        tell(&proved.checkpoint, &proved.cosignatures)?;
        output::line(match (candidate.is_some(), signed) {
            (true, true) => {
                "valid, and it is the record of the published candidate, which is \
                signed by the device"
            }
            (true, false) => "valid, and it is the record of the published candidate",
            (false, _) => "valid",
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn verify_signature(
    keys: &VerifierKeys,
    published: &PublishedCandidate,
    json: bool,
) -> Result<ExitCode, CliError> {
    if published.signature.is_none() {
        return Err("name the proof of the candidate's record, or give its --signature".into());
    }
    let payload = published.read(keys)?.unwrap_or_default();
    let index = serde_json::from_slice::<Value>(&payload)
        .ok()
        .and_then(|event| event["data"]["audit"]["index"].as_u64());
    if json {
        output::json_line(&json!({ "valid": true, "signed": true, "index": index }))?;
    } else {
        let record = index.map_or_else(String::new, |index| {
            format!("; its record has the index {index}, and is not looked at")
        });
        output::line(format!("valid: the device signed these bytes{record}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
