//! One case as a folder that is verified offline: what came of it, byte for byte, with what proves
//! it.
//!
//! * Each event is as the device published it, its signature beside it.
//! * Where the desk has the device's whole audit log up to its checkpoint, the record of each
//!   candidate's event is proved to be in it. Where records are missing there is no proof, and the
//!   folder says so.
//! * `README.txt` has the commands that verify it.

use std::fmt::Write as _;

use super::device_log::DeskLog;
use super::store::{CaseRow, ExportedEvent};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::generation::Generation;
use crate::audit::note::SignedNote;
use crate::audit::proof::TlogProof;
use crate::audit::record::{AuditEvent, AuditRecord, CandidateRecord};
use crate::audit::tree::{MemoryNodes, RightEdge, TreeHash, inclusion, root_of};
use crate::delivery::event::EventId;

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
    let log = checkpoint.and_then(|note| ProvedLog::new(entries, note, &case.device));
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
        let proof = log.as_ref().and_then(|log| Some((&log.origin, log.prove(event.id)?)));
        match proof {
            Some((origin, proof)) => {
                files.push(CaseFile { name: format!("{name}.proof"), bytes: proof.into_bytes() });
                let _ = writeln!(
                    text,
                    "  watchpost audit verify {name}.proof --key {key} --origin {origin} --candidate \
                     {name}.json"
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
    /// What it is called.
    origin: String,
    size: u64,
    records: Vec<Vec<u8>>,
    nodes: MemoryNodes,
}

impl<'a> ProvedLog<'a> {
    /// Where `entries` hold each record that the checkpoint covers, and no other, and it is of a
    /// log of `device`.
    fn new(entries: &[Vec<u8>], note: &'a str, device: &str) -> Option<Self> {
        let signed = Checkpoint::parse(SignedNote::parse(note).ok()?.text).ok()?;
        if !is_plain_origin(&signed.origin, device) {
            return None;
        }
        let log = DeskLog::of(entries.iter().map(Vec::as_slice));
        let (mut edge, mut nodes) = (RightEdge::default(), MemoryNodes::default());
        let mut records = Vec::new();
        for record in log.first(signed.size)? {
            edge.push(TreeHash::leaf(record), |node| nodes.0.push(node)).ok()?;
            records.push(record.clone());
        }
        let whole = root_of(&nodes, signed.size).ok()? == signed.root;
        whole.then_some(Self { note, origin: signed.origin, size: signed.size, records, nodes })
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

/// Whether `origin` names a log of `device`, and a shell takes it for nothing but a word: people
/// paste the commands that it stands in.
fn is_plain_origin(origin: &str, device: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    let name = origin.rsplit_once('/').map(|(_, name)| name);
    origin.chars().all(plain) && name.is_some_and(|name| Generation::named(name, device).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_log_is_more_than_a_word_to_a_shell() {
        for good in ["site/gate-1", "city/north/gate-1.2"] {
            assert!(is_plain_origin(good, "gate-1"), "{good}");
        }
        let hostile =
            ["site/gate-2", "gate-1", "$(id)/gate-1", "a b/gate-1", "a;b/gate-1", "'/gate-1"];
        for wrong in hostile {
            assert!(!is_plain_origin(wrong, "gate-1"), "{wrong}");
        }
    }
}
