//! Watches the logs of a fleet. Sans-IO: what a device published and the time in, what is to be
//! sent and reported out.
//!
//! * A checkpoint that a broker hands over says only that it was signed once. Before a log is
//!   cosigned for the first time, and before its device is accused of anything but a fork, the
//!   device is asked, with a nonce, for its log as it is now: what it answers is its own word of
//!   now, which no broker can have kept. That a log grew it may say unasked.
//! * So an old checkpoint is no offence by itself: where the device's answer is whole, somebody
//!   else published it again (`replay`).
//! * Two signed logs of one size are an offence however they came (`fork`).
//! * A question is repeated until it is answered, and stays the same question as long as nothing
//!   else was cosigned: however late its answer is, it counts. Nobody is waited for.
//! * No answer starts a question by itself. What a device says of its own accord does, where none
//!   is open or once that is answered; what was cosigned meanwhile does. So what is sent is bounded
//!   by these, and by time.
//! * A clock that is put back lengthens no wait.
//! * One offence is reported once an hour at most, as long as it stays the same; that the witness
//!   cannot remember or sign is reported until it can, at growing intervals.
//! * What is kept of a log is made by its own signature alone: what strangers claim costs nothing.

mod reports;
mod sayings;

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};

pub use self::sayings::{DeviceSaying, WitnessReport, WitnessSaying};
use super::bridge::{Bridge, BridgeOutcome, ForeignErrand, ForeignReply};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::dialogue::{
    Challenge, ConsistencyAnswer, DialogueError, Nonce, Statement as _, WitnessRequest,
};
use crate::audit::generation::Generation;
use crate::audit::note::{NoteKey, SignedNote};
use crate::audit::proof::{ProofError, Submission};
use crate::audit::tree::{ProofPath, TreeHash};
use crate::audit::witness::{Cosigned, LogWitness, WitnessFinding, WitnessMemory};
use crate::backoff::Recurring;

/// How long a question waits for its answer before it is repeated.
pub const ASK_AGAIN: Duration = Duration::seconds(10);
/// First and last interval at which it is reported that the witness cannot do its own work.
const OWN_AGAIN: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_secs(60), std::time::Duration::from_secs(3600));

/// What follows from what came.
#[derive(Debug, Default)]
pub struct WitnessOutput {
    /// To which device, what, and its text.
    pub said: Vec<(String, WitnessSaying, String)>,
    /// For those who keep an eye on the fleet.
    pub reports: Vec<WitnessReport>,
    /// What is to be submitted to witnesses of others.
    pub errands: Vec<ForeignErrand>,
}

/// A question that is open.
#[derive(Debug, Clone, Copy)]
struct OpenQuestion {
    nonce: Nonce,
    old: u64,
    at: OffsetDateTime,
}

/// What is known of one log beside what was cosigned.
#[derive(Debug, Default)]
struct WatchedLog {
    device: String,
    question: Option<OpenQuestion>,
    /// The most records that the device spoke of while it was open: its answer may be of before.
    newer: u64,
    /// The older checkpoint for which the device was asked.
    doubt: Option<String>,
    /// What was reported last.
    reported: Option<(String, OffsetDateTime)>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct FleetWitness<M> {
    witness: LogWitness<M>,
    root: String,
    silence: Duration,
    logs: BTreeMap<String, WatchedLog>,
    unknown: BTreeSet<String>,
    /// Failures of the witness itself.
    own: Recurring,
    bridge: Bridge,
}

impl<M: WitnessMemory> FleetWitness<M> {
    /// `witness` for the devices below the topic `root`; a log that says nothing for `silence` is
    /// named. What is cosigned goes over `bridge`, too.
    pub fn new(witness: LogWitness<M>, root: &str, silence: Duration, bridge: Bridge) -> Self {
        let (root, unknown) = (root.to_owned(), BTreeSet::new());
        let own = Recurring::new(OWN_AGAIN.0, OWN_AGAIN.1);
        Self { witness, root, silence, logs: BTreeMap::new(), unknown, own, bridge }
    }

    /// The witness.
    pub fn witness(&self) -> &LogWitness<M> {
        &self.witness
    }

    /// The device `device` published `payload`.
    pub fn heard(
        &mut self,
        device: &str,
        saying: DeviceSaying,
        payload: &[u8],
        now: OffsetDateTime,
    ) -> WitnessOutput {
        let mut out = WitnessOutput::default();
        // A retained message that was removed.
        if payload.is_empty() {
            return out;
        }
        let heard = match saying {
            DeviceSaying::Checkpoint => self.checkpoint(device, payload, now, &mut out),
            DeviceSaying::Challenge => self.challenge(device, payload, now, &mut out),
            DeviceSaying::Consistency => self.consistency(device, payload, now, &mut out),
        };
        match heard {
            Ok(()) => {}
            Err(finding) if finding.is_own() => {
                self.report_own(Some(device), finding, now, &mut out);
            }
            Err(finding) => self.report_unknown(device, finding, payload, &mut out),
        }
        out
    }

    /// What is due at `now`.
    pub fn tick(&mut self, now: OffsetDateTime) -> WitnessOutput {
        let mut out = WitnessOutput::default();
        let due: Vec<String> = self
            .logs
            .iter()
            .filter(|(_, log)| log.question.is_some_and(|question| is_due(question.at, now)))
            .map(|(origin, _)| origin.clone())
            .collect();
        for origin in due {
            self.ask(&origin, now, &mut out);
        }
        for finding in self.witness.silent(self.silence, now) {
            let WitnessFinding::Silence { origin, .. } = &finding else { continue };
            let device = self.logs.get(origin).map(|log| log.device.clone());
            let device = device.or_else(|| self.device_of(origin));
            out.reports.push(WitnessReport::Finding { device, finding, evidence: Vec::new() });
        }
        out
    }

    /// Judges a submission that came over another way than the broker's, from anybody. Whoever
    /// sends it makes the proof, so that nothing but a fork says anything of the log; that is
    /// reported.
    ///
    /// # Errors
    /// The finding, for the answer.
    pub fn submit(
        &mut self,
        submission: &str,
        now: OffsetDateTime,
        out: &mut WitnessOutput,
    ) -> Result<Cosigned, WitnessFinding> {
        let cosigned = match self.witness.submit(submission, now) {
            Ok(cosigned) => cosigned,
            Err(WitnessFinding::Fork { origin, size }) => {
                let note = Submission::parse(submission).map(|s| s.note).unwrap_or_default();
                let evidence = vec![note, self.remembered(&origin)];
                let finding = || WitnessFinding::Fork { origin: origin.clone(), size };
                self.report(&origin, finding(), evidence, now, out);
                return Err(finding());
            }
            Err(finding) if finding.is_own() => {
                self.report_own(None, finding, now, out);
                let why = "this witness cannot do its work for now, and has said why";
                return Err(WitnessFinding::NotRemembered(why.to_owned()));
            }
            Err(finding) => return Err(finding),
        };
        self.own.over();
        let (checkpoint, line) = (cosigned.checkpoint.clone(), cosigned.line.clone());
        let device = self.logs.get(&checkpoint.origin).map(|log| log.device.clone());
        let device =
            device.filter(|d| !d.is_empty()).or_else(|| self.device_of(&checkpoint.origin));
        if let Some(device) = &device {
            let note = format!("{checkpoint}\n{line}");
            out.said.push((device.clone(), WitnessSaying::Cosign, note));
        }
        out.reports.push(WitnessReport::Cosigned { device, checkpoint, line });
        Ok(cosigned)
    }

    /// What a witness of others says to what was submitted for a device.
    pub fn replied(
        &mut self,
        errand: &ForeignErrand,
        reply: &ForeignReply,
        now: OffsetDateTime,
    ) -> WitnessOutput {
        let mut out = WitnessOutput::default();
        let Some(log) = self.logs.get(&errand.origin) else { return out };
        let device = log.device.clone();
        match self.bridge.replied(errand, reply, now) {
            BridgeOutcome::Cosigned(note) => {
                out.said.push((device, WitnessSaying::Cosign, note));
            }
            BridgeOutcome::Ask(nonce, old) => {
                self.ask_for_bridge(&errand.origin, nonce, old, &mut out)
            }
            BridgeOutcome::Refused(why) => {
                let origin = errand.origin.clone();
                out.reports.push(WitnessReport::NotBridged { device, origin, why });
            }
        }
        out
    }

    /// Watches one more log of a device, which began anew with the signed leave of those who may
    /// give it. Its log of before is expected to say nothing more.
    pub fn begin_anew(&mut self, log: NoteKey, before: &str, now: OffsetDateTime) {
        self.witness.retire(before);
        self.witness.watch(log, now);
    }

    /// The device whose log `origin` is, where it is one below the root: `<root>/<device>`.
    fn device_of(&self, origin: &str) -> Option<String> {
        let device = origin.strip_prefix(&self.root)?.strip_prefix('/')?;
        (!device.is_empty() && !device.contains('/')).then(|| device.to_owned())
    }

    /// That the log `origin` is one of `device`: its first, or one that it began anew.
    fn is_of(&self, origin: &str, device: &str) -> bool {
        self.device_of(origin).is_some_and(|named| Generation::named(&named, device).is_some())
    }

    /// The key of `origin`, where that is a log of `device` that is watched.
    fn watched(&self, origin: &str, device: &str) -> Result<&NoteKey, WitnessFinding> {
        let key = self.witness.log(origin).filter(|_| self.is_of(origin, device));
        key.ok_or_else(|| WitnessFinding::UnknownOrigin(origin.to_owned()))
    }

    /// What is known of the log `origin` of `device`, which has just proved by its signature that
    /// it speaks: what anybody may claim makes nothing here, and moves nothing.
    fn speaks(&mut self, origin: &str, device: &str) -> &mut WatchedLog {
        let log = self.logs.entry(origin.to_owned()).or_default();
        device.clone_into(&mut log.device);
        log
    }

    fn checkpoint(
        &mut self,
        device: &str,
        payload: &[u8],
        now: OffsetDateTime,
        out: &mut WitnessOutput,
    ) -> Result<(), WitnessFinding> {
        let malformed = |error: ProofError| WitnessFinding::Malformed(error);
        let note = text(payload)?;
        let text =
            SignedNote::parse(note).map_err(|e| malformed(ProofError::Checkpoint(e.into())))?;
        let origin = Checkpoint::parse(text.text).map_err(|e| malformed(e.into()))?.origin;
        let key = self.watched(&origin, device)?;
        let new = Checkpoint::open(note, key).map_err(WitnessFinding::NotAuthentic)?;
        self.speaks(&origin, device);
        let last = self.witness.last(&origin)?.map(|last| last.checkpoint);
        let (had, root) = last.map_or((0, TreeHash::empty()), |last| (last.size, last.root));
        if new.size == had && new.root != root {
            let submission = Submission { old: had, path: ProofPath::new(), note: note.to_owned() };
            let finding = self.witness.submit(&submission.to_string(), now);
            if let Err(finding) = finding {
                let evidence = vec![note.to_owned(), self.remembered(&origin)];
                self.report(&origin, finding, evidence, now, out);
            }
            return Ok(());
        }
        let log = self.logs.get_mut(&origin).expect("it was made");
        if new.size < had {
            log.doubt = Some(note.to_owned());
        }
        if new.size != had {
            self.ask_once(&origin, new.size, now, out);
        }
        Ok(())
    }

    fn challenge(
        &mut self,
        device: &str,
        payload: &[u8],
        now: OffsetDateTime,
        out: &mut WitnessOutput,
    ) -> Result<(), WitnessFinding> {
        let parsed = SignedNote::parse(text(payload)?).map_err(DialogueError::from);
        let origin = parsed.and_then(|note| Challenge::parse(&note)).map_err(of_dialogue)?.origin;
        let key = self.watched(&origin, device)?;
        let challenge = Challenge::open(payload, key).map_err(of_dialogue)?;
        self.speaks(&origin, device);
        let last = self.witness.last(&origin)?;
        let (had, root) = last
            .as_ref()
            .map_or((0, TreeHash::empty()), |last| (last.checkpoint.size, last.checkpoint.root));
        let answer = self.witness.freshness(&origin, last, challenge.nonce)?;
        out.said.push((device.to_owned(), WitnessSaying::Freshness, answer));
        // A challenge of before may be played again: the device is asked itself.
        if (challenge.size, challenge.root) != (had, root) {
            self.ask_once(&origin, challenge.size, now, out);
        }
        Ok(())
    }

    fn consistency(
        &mut self,
        device: &str,
        payload: &[u8],
        now: OffsetDateTime,
        out: &mut WitnessOutput,
    ) -> Result<(), WitnessFinding> {
        let parsed = SignedNote::parse(text(payload)?).map_err(DialogueError::from);
        let parsed = parsed.and_then(|note| ConsistencyAnswer::parse(&note));
        let origin = parsed.map_err(of_dialogue)?.origin;
        let key = self.watched(&origin, device)?;
        let answer = ConsistencyAnswer::open(payload, key).map_err(of_dialogue)?;
        self.speaks(&origin, device);
        if let Some(errand) = self.bridge.answered(&origin, answer.nonce, &answer.submission) {
            out.errands.push(errand);
            return Ok(());
        }
        let log = self.logs.get_mut(&origin).expect("it was made");
        let asked = log.question.filter(|q| q.nonce == answer.nonce);
        let last = self.witness.last(&origin)?.map(|last| last.checkpoint);
        let had = last.as_ref().map_or(0, |last| last.size);
        if asked.is_none() && (had == 0 || answer.submission.old != had) {
            // An answer to another witness, or one of before.
            return Ok(());
        }
        let Submission { note, .. } = &answer.submission;
        let finding = match self.witness.submit(&answer.submission.to_string(), now) {
            Ok(cosigned) => {
                if asked.is_some() {
                    self.answered(&origin, cosigned.checkpoint.size, now, out);
                }
                self.cosigned(&origin, device, cosigned, now, out);
                return Ok(());
            }
            // The question stays open: it is asked again.
            Err(finding) if finding.is_own() => return Err(finding),
            Err(finding) => finding,
        };
        let proves_itself = matches!(finding, WitnessFinding::Fork { .. });
        let overtaken = asked.is_some_and(|q| q.old != had) && !proves_itself;
        if overtaken && self.opens(note, &origin).is_some_and(|new| Some(new) == last) {
            // Cosigned meanwhile, unasked.
            self.answered(&origin, had, now, out);
        } else if overtaken {
            // What was cosigned meanwhile may be newer than the answer.
            self.ask(&origin, now, out);
        } else if asked.is_some() || proves_itself {
            if asked.is_some() {
                let log = self.logs.get_mut(&origin).expect("it was made");
                (log.question, log.newer) = (None, 0);
            }
            let own = String::from_utf8_lossy(payload).into_owned();
            let evidence = vec![own, self.remembered(&origin)];
            self.report(&origin, finding, evidence, now, out);
        } else if answer.nonce == Nonce::NONE {
            // It may be one of before: the device is asked itself.
            self.ask_once(&origin, 0, now, out);
        }
        Ok(())
    }

    /// What the log `origin` has signed in `note`.
    fn opens(&self, note: &str, origin: &str) -> Option<Checkpoint> {
        Checkpoint::open(note, self.witness.log(origin)?).ok()
    }

    /// The device has said itself that its log is whole, and has `had` records.
    fn answered(&mut self, origin: &str, had: u64, now: OffsetDateTime, out: &mut WitnessOutput) {
        let log = self.logs.get_mut(origin).expect("it was made");
        log.question = None;
        let (older, newer) = (log.doubt.take(), std::mem::take(&mut log.newer));
        if let Some(older) = older
            && let Some(found) = self.opens(&older, origin).map(|found| found.size)
        {
            let finding = WitnessFinding::Replay { origin: origin.to_owned(), found, had };
            self.report(origin, finding, vec![older], now, out);
        }
        if newer > had {
            self.ask(origin, now, out);
        }
    }

    /// What follows from a checkpoint that was cosigned.
    fn cosigned(
        &mut self,
        origin: &str,
        device: &str,
        Cosigned { checkpoint, line }: Cosigned,
        now: OffsetDateTime,
        out: &mut WitnessOutput,
    ) {
        self.own.over();
        let note = format!("{checkpoint}\n{line}");
        out.said.push((device.to_owned(), WitnessSaying::Cosign, note));
        let device = Some(device.to_owned());
        for (nonce, old) in self.bridge.grown(origin, checkpoint.size, now) {
            self.ask_for_bridge(origin, nonce, old, out);
        }
        out.reports.push(WitnessReport::Cosigned { device, checkpoint, line });
    }

    /// Asks a device for the proof that a witness of others needs.
    fn ask_for_bridge(&self, origin: &str, nonce: Nonce, old: u64, out: &mut WitnessOutput) {
        let request = WitnessRequest { origin: origin.to_owned(), nonce, old };
        if let (Ok(note), Some(log)) = (self.witness.say(&request), self.logs.get(origin)) {
            out.said.push((log.device.clone(), WitnessSaying::Request, note));
        }
    }

    /// The checkpoint that was cosigned last, signed by the log.
    fn remembered(&self, origin: &str) -> String {
        let known = self.witness.memory().recall(origin).ok().flatten();
        known.map(|known| known.note).unwrap_or_default()
    }

    /// Asks a device, which spoke of `size` records, for its log as it is now, unless it was asked:
    /// a question that replaces an open one makes the answer to that worthless, and may be replaced
    /// by what follows from it.
    fn ask_once(&mut self, origin: &str, size: u64, now: OffsetDateTime, out: &mut WitnessOutput) {
        match self.logs.get_mut(origin) {
            Some(log) if log.question.is_some() => log.newer = log.newer.max(size),
            Some(_) => self.ask(origin, now, out),
            None => {}
        }
    }

    /// Asks a device for its log as it is now. What is open is repeated as it is, as long as
    /// nothing else was cosigned.
    fn ask(&mut self, origin: &str, now: OffsetDateTime, out: &mut WitnessOutput) {
        let last = match self.witness.last(origin) {
            Ok(last) => last,
            Err(finding) => return self.report_own(None, finding, now, out),
        };
        let old = last.map_or(0, |last| last.checkpoint.size);
        let open = self.logs.get(origin).and_then(|log| log.question).filter(|q| q.old == old);
        let Some(nonce) = open.map(|q| q.nonce).or_else(|| Nonce::random().ok()) else { return };
        let request = WitnessRequest { origin: origin.to_owned(), nonce, old };
        let (Ok(note), Some(log)) = (self.witness.say(&request), self.logs.get_mut(origin)) else {
            return;
        };
        log.question = Some(OpenQuestion { nonce, old, at: now });
        out.said.push((log.device.clone(), WitnessSaying::Request, note));
    }
}

/// Whether a question of `at` is repeated at `now`; also where the clock was put back meanwhile: it
/// would wait for as long as the clock had been wrong.
fn is_due(at: OffsetDateTime, now: OffsetDateTime) -> bool {
    now < at || now - at >= ASK_AGAIN
}

fn text(payload: &[u8]) -> Result<&str, WitnessFinding> {
    std::str::from_utf8(payload).map_err(|_| of_dialogue(DialogueError::NotText))
}

/// A statement that cannot be believed, as a finding.
fn of_dialogue(error: DialogueError) -> WitnessFinding {
    match error {
        DialogueError::Note(error) => WitnessFinding::NotAuthentic(error.into()),
        DialogueError::Checkpoint(error) => WitnessFinding::NotAuthentic(error),
        DialogueError::Proof(error) => WitnessFinding::Malformed(error),
        other => WitnessFinding::Unreadable(other),
    }
}

#[cfg(test)]
mod tests;
