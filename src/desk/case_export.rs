//! One case as a folder that is verified offline: what came of it, byte for byte, with what proves
//! it.
//!
//! * Each event is as the device published it, its signature beside it.
//! * Where the desk has the device's whole audit log up to its checkpoint, the record of each
//!   candidate's event is proved to be in it. Where records are missing there is no proof, and the
//!   folder says so.
//! * `README.txt` has the commands that verify it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::store::{CaseRow, ExportedEvent};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::SignedNote;
use crate::audit::proof::TlogProof;
use crate::audit::record::{AuditEvent, AuditRecord, CandidateRecord};
use crate::audit::tree::{MemoryNodes, RightEdge, TreeHash, inclusion, root_of};
use crate::delivery::event::{AuditEntry, CloudEvent, EventId};

/// One file of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What a case is made of.
#[derive(Debug, Clone, Copy)]
pub struct ExportedCase<'a> {
    /// The case.
    pub case: &'a CaseRow,
    /// All that came of it.
    pub events: &'a [ExportedEvent],
    /// Events with records of the device's audit log.
    pub entries: &'a [Vec<u8>],
    /// The newest checkpoint of it.
    pub checkpoint: Option<&'a str>,
    /// The device's identity, where it is pinned.
    pub identity: Option<&'a str>,
}

/// The files of the folder.
pub fn files(exported: ExportedCase<'_>) -> Vec<CaseFile> {
    let ExportedCase { case, events, entries, checkpoint, identity } = exported;
    let mut files = Vec::new();
    let mut text = format!(
        "candidate {}\ndevice {}\nlist {} version {}\nentry {}\ndecided {}\nstate {:?}\n",
        case.candidate, case.device, case.list, case.version, case.entry, case.decided, case.stage,
    );
    let key = identity.unwrap_or("KEY-OF-THE-DEVICE");
    let log = checkpoint.and_then(|note| ProvedLog::new(entries, note));
    for (n, event) in (1..).zip(events) {
        let name = format!("{n:02}-{}", event.kind);
        let _ = write!(text, "\n{name}: event {} came {}", event.id, event.received);
        let Some(payload) = &event.payload else {
            text.push_str(", and was erased\n");
            continue;
        };
        text.push('\n');
        files.push(CaseFile { name: format!("{name}.json"), bytes: payload.clone() });
        if let Some(signature) = &event.signature {
            let bytes = signature.clone().into_bytes();
            files.push(CaseFile { name: format!("{name}.signature"), bytes });
            let _ = writeln!(
                text,
                "  watchpost audit verify --key {key} --candidate {name}.json --signature \"$(cat \
                 {name}.signature)\""
            );
        }
        if event.kind != "candidate" {
            continue;
        }
        match log.as_ref().and_then(|log| log.prove(event.id)) {
            Some(proof) => {
                files.push(CaseFile { name: format!("{name}.proof"), bytes: proof.into_bytes() });
                let _ = writeln!(
                    text,
                    "  watchpost audit verify {name}.proof --key {key} --candidate {name}.json"
                );
            }
            None => text.push_str(
                "  no proof: the desk does not have all records of the device's log up to its \
                 checkpoint\n",
            ),
        }
    }
    if let Some(note) = checkpoint {
        files.push(CaseFile { name: "checkpoint".to_owned(), bytes: note.as_bytes().to_vec() });
    }
    files.push(CaseFile { name: "README.txt".to_owned(), bytes: text.into_bytes() });
    files
}

/// A log that is whole up to a checkpoint.
struct ProvedLog<'a> {
    note: &'a str,
    size: u64,
    records: Vec<Vec<u8>>,
    nodes: MemoryNodes,
}

impl<'a> ProvedLog<'a> {
    /// Where `entries` hold each record that the checkpoint covers, and no other.
    fn new(entries: &[Vec<u8>], note: &'a str) -> Option<Self> {
        let signed = Checkpoint::parse(SignedNote::parse(note).ok()?.text).ok()?;
        let mut known = BTreeMap::new();
        for entry in entries {
            let event: CloudEvent<AuditEntry> = serde_json::from_slice(entry).ok()?;
            known.insert(event.data.index, STANDARD.decode(&event.data.record).ok()?);
        }
        let (mut edge, mut nodes) = (RightEdge::default(), MemoryNodes::default());
        let mut records = Vec::new();
        for index in 0..signed.size {
            let record = known.remove(&index)?;
            edge.push(TreeHash::leaf(&record), |node| nodes.0.push(node)).ok()?;
            records.push(record);
        }
        let whole = root_of(&nodes, signed.size).ok()? == signed.root;
        whole.then_some(Self { note, size: signed.size, records, nodes })
    }

    /// That the record of a candidate's event is in the log.
    fn prove(&self, event: EventId) -> Option<String> {
        let wanted = event.as_u128().to_be_bytes();
        let of_event = |bytes: &Vec<u8>| {
            let record = AuditRecord::from_bytes(bytes);
            record.is_ok_and(|record| {
                matches!(&record.event, AuditEvent::Candidate(CandidateRecord { event, .. })
                    if *event == wanted)
            })
        };
        let at = self.records.iter().position(of_event)?;
        let index = at as u64;
        let path = inclusion(&self.nodes, index, self.size).ok()?;
        let (extra, note) = (Some(self.records[at].clone()), self.note.to_owned());
        Some(TlogProof { extra, index, path, note }.to_string())
    }
}
