//! Submits devices' checkpoints to witnesses of others, and brings their cosignatures back.
//! Sans-IO.
//!
//! * A device speaks MQTT, a witness of others HTTP. In between the device is asked for the proof
//!   from the size that the other witness cosigned last; that one tells it where it is not known.
//! * Only what the own witness has found to grow is submitted.
//! * One submission of a log is under way at each witness.
//! * A cosignature is handed on where the other witness's key has made it; devices pin that key.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use super::foreign::SubmissionUrl;
use crate::audit::checkpoint::{Checkpoint, cosignatures};
use crate::audit::dialogue::Nonce;
use crate::audit::note::{NoteKey, SignedNote};
use crate::audit::proof::Submission;

/// After what time a question that nobody answered is asked anew.
const ASK_AGAIN: Duration = Duration::seconds(30);
/// Conflicts in a row after which it is left for the next checkpoint.
const MOST_CONFLICTS: u8 = 2;

/// A witness of others.
#[derive(Debug, Clone)]
pub struct ForeignWitness {
    /// Where it takes submissions.
    pub url: SubmissionUrl,
    /// The key that it cosigns with.
    pub key: NoteKey,
}

/// A submission that is to be posted.
#[derive(Debug, Clone)]
pub struct ForeignErrand {
    /// Which witness, by its place.
    pub foreign: usize,
    /// Which log.
    pub origin: String,
    /// What.
    pub submission: Submission,
}

/// What came of it.
pub type ForeignReply = Result<(u16, String), String>;

/// What follows.
#[derive(Debug)]
pub enum BridgeOutcome {
    /// The checkpoint with the other's cosignature, for the device.
    Cosigned(String),
    /// The device is to be asked again, from that size.
    Ask(Nonce, u64),
    /// It is not cosigned, and why.
    Refused(String),
}

#[derive(Debug, Default)]
struct ForeignLog {
    /// Records that the other witness has cosigned, as far as is known.
    old: u64,
    question: Option<(Nonce, OffsetDateTime)>,
    /// A submission is under way.
    out: bool,
    conflicts: u8,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Bridge {
    foreign: Vec<ForeignWitness>,
    logs: BTreeMap<(String, usize), ForeignLog>,
}

impl Bridge {
    /// To `foreign` witnesses.
    pub fn new(foreign: Vec<ForeignWitness>) -> Self {
        Self { foreign, logs: BTreeMap::new() }
    }

    /// The log `origin` has grown to `size`: what its device is to be asked for.
    pub fn grown(&mut self, origin: &str, size: u64, now: OffsetDateTime) -> Vec<(Nonce, u64)> {
        let mut asked = Vec::new();
        for foreign in 0..self.foreign.len() {
            let log = self.logs.entry((origin.to_owned(), foreign)).or_default();
            let open = log.question.is_some_and(|(_, at)| now - at < ASK_AGAIN);
            if log.out || open || log.old >= size {
                continue;
            }
            let Ok(nonce) = Nonce::random() else { continue };
            log.question = Some((nonce, now));
            asked.push((nonce, log.old));
        }
        asked
    }

    /// The device has answered to `nonce`: what is to be posted, where it was asked for here.
    pub fn answered(
        &mut self,
        origin: &str,
        nonce: Nonce,
        submission: &Submission,
    ) -> Option<ForeignErrand> {
        let of_origin = |((o, _), log): &(&(String, usize), &mut ForeignLog)| {
            o == origin && log.question.is_some_and(|(n, _)| n == nonce)
        };
        let ((_, foreign), log) = self.logs.iter_mut().find(of_origin)?;
        (log.question, log.out) = (None, true);
        let (foreign, origin) = (*foreign, origin.to_owned());
        Some(ForeignErrand { foreign, origin, submission: submission.clone() })
    }

    /// What the other witness says to `errand`.
    pub fn replied(
        &mut self,
        errand: &ForeignErrand,
        reply: &ForeignReply,
        now: OffsetDateTime,
    ) -> BridgeOutcome {
        let ForeignErrand { foreign, origin, submission } = errand;
        let log = self.logs.entry((origin.clone(), *foreign)).or_default();
        log.out = false;
        let place = self.foreign[*foreign].url.to_string();
        let refused = |why: String| BridgeOutcome::Refused(format!("{place}: {why}"));
        let (status, body) = match reply {
            Ok(answer) => answer,
            Err(why) => return refused(why.clone()),
        };
        match status {
            200 => match cosigned(&submission.note, body, &self.foreign[*foreign].key) {
                Ok((size, note)) => {
                    (log.old, log.conflicts) = (size, 0);
                    BridgeOutcome::Cosigned(note)
                }
                Err(why) => refused(why),
            },
            409 => {
                let size = body.trim_end_matches('\n').parse().ok();
                let Some(size) = size.filter(|size| *size != submission.old) else {
                    return refused("it has cosigned another log of this size".to_owned());
                };
                log.conflicts += 1;
                log.old = size;
                if log.conflicts > MOST_CONFLICTS {
                    log.conflicts = 0;
                    return refused(format!("it has {size} records, and others again"));
                }
                let Ok(nonce) = Nonce::random() else {
                    return refused("there is no randomness".to_owned());
                };
                log.question = Some((nonce, now));
                BridgeOutcome::Ask(nonce, size)
            }
            status => {
                let text: String = body.chars().filter(|c| !c.is_control()).take(200).collect();
                refused(format!("status {status}: {text}"))
            }
        }
    }
}

/// The records of the checkpoint in `note`, and it with those lines of `body` that `key` has made.
fn cosigned(note: &str, body: &str, key: &NoteKey) -> Result<(u64, String), String> {
    let with = format!("{note}{body}");
    let parsed = SignedNote::parse(&with).map_err(|e| e.to_string())?;
    let made = cosignatures(&parsed, std::slice::from_ref(key)).map_err(|e| e.to_string())?;
    let checkpoint = Checkpoint::parse(parsed.text).map_err(|e| e.to_string())?;
    let lines: String = made.into_iter().map(|c| c.line).collect();
    if lines.is_empty() {
        return Err(format!("its answer has no cosignature of {}", key.name()));
    }
    Ok((checkpoint.size, format!("{checkpoint}\n{lines}")))
}

#[cfg(test)]
mod tests;
