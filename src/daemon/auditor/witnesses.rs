//! What the daemon does with witnesses: answers them, keeps what they cosign, and asks them whether
//! its log is the newest.
//!
//! * Until enough of them have said so, the log's freshness is unproved, never assumed:
//!   `audit.on_unproved` says whether anybody is matched meanwhile.
//! * A log that a witness has seen longer, under this device's own signature, was put back. It is
//!   written no more, and the device is blind over restarts, until a trust file begins a new log.
//! * So was one of which the broker has kept a checkpoint that does not follow, under the device's
//!   own signature: a cheap extra, as a broker may keep or withhold what it likes. Until that was
//!   compared, and where it convicts the log, no checkpoint replaces it.
//! * Where too few have cosigned for `audit.quorum_hours`, `audit.on_unwitnessed` says what
//!   follows.
//! * In the supervisor's thread. What keeps the device from matching is read without waiting.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{debug, error, info, warn};
use time::OffsetDateTime;

use crate::audit::AuditConfig;
use crate::audit::OnFailure;
use crate::audit::dialogue::{
    FreshnessAnswer, Nonce, Statement as _, WitnessRequest, open_cosigned,
};
use crate::audit::generation::{AskedLog, Generation};
use crate::audit::journal::{Journal, JournalError};
use crate::audit::store::read_cosigned;
use crate::audit::witnessed::{FreshnessVerdict, PinnedWitnesses, WitnessShortfall, Witnessed};
use crate::cause::Cause;
use crate::clock::Now;
use crate::config::Config;
use crate::decision::policy::Blindness;
use crate::delivery::{AuditSaying, Delivery, Inbound, InboundKind};
use crate::device::keys::{FileStamp, TrustedKeys};
use crate::files::replace;
use crate::watchlist::Trust;

/// Statements that are looked at in one round: four rounds a second.
const MOST_A_ROUND: usize = 4;
/// How often witnesses are shown a log that was put back.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Checkpoints of the broker's that wait for a disk that can be read.
const MOST_KEPT: usize = 4;
/// How often it is looked whether the trust file has changed.
const KEYS_EVERY: Duration = Duration::from_secs(5);
/// The file beside the log that says that a longer one was seen: what shows it.
pub const ROLLED_BACK: &str = "rolled-back";

/// What is missing of witnesses, as the status says it.
#[derive(Debug, Clone, Default, PartialEq)]
struct WitnessStanding {
    blindness: Option<Blindness>,
    degraded: Option<String>,
}

/// See the module's documentation.
pub struct WitnessDesk {
    keys: TrustedKeys,
    device: String,
    settings: AuditConfig,
    state: Mutex<DeskState>,
    standing: Mutex<WitnessStanding>,
}

struct DeskState {
    witnessed: Witnessed,
    /// The trust file and its rotations, as they were read last, and when that was.
    stamps: [FileStamp; 2],
    looked_at: Duration,
    began: Duration,
    /// The log of this device that the trust file asks for, and the one that a signed one had
    /// asked for when the log was opened.
    asked: AskedLog,
    opened: Generation,
    rolled_back: Option<Blindness>,
    /// When witnesses were told so last.
    told: Option<Duration>,
    /// Checkpoints that the broker had kept and that are not compared yet.
    kept: Vec<Inbound>,
}

impl DeskState {
    /// Whether witnesses are shown a log that was put back, so that they ask for it and name it:
    /// what the broker keeps of it is not replaced any more, and nothing else would reach them.
    fn shows(&mut self, now: Now) -> bool {
        let told = self.told.is_some_and(|at| now.monotonic.saturating_sub(at) < TELL_AGAIN);
        if !told {
            self.told = Some(now.monotonic);
        }
        !told
    }
}

/// No invariant spans a panic in these sections.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A trust file, and whether it is a rotation that was signed.
type SignedTrust = (Trust, bool);

/// Which log of `device` it asks for.
fn asked_by((trust, signed): &SignedTrust, device: &str) -> AskedLog {
    AskedLog::new(Generation::asked_for(trust, device), *signed)
}

/// The trust file and its rotations, read once for all that follows from them at the start.
pub struct ReadKeys {
    keys: TrustedKeys,
    /// Those of the files that were read; of none where they cannot be, so that they are read
    /// again.
    stamps: [FileStamp; 2],
    trust: Option<SignedTrust>,
}

impl ReadKeys {
    /// Of the device that `config` describes.
    pub fn of(config: &Config) -> Self {
        let keys = TrustedKeys::new(&config.watchlist);
        let stamps = keys.stamps();
        let trust = keys.current_and_signed().ok();
        Self { keys, stamps: if trust.is_some() { stamps } else { Default::default() }, trust }
    }

    /// Which log of `device` they ask for.
    pub fn asked(&self, device: &str) -> AskedLog {
        let trust = self.trust.as_ref();
        trust.map_or_else(AskedLog::default, |trust| asked_by(trust, device))
    }
}

impl WitnessDesk {
    /// Of the device that `config` describes, whose `keys` were read just now.
    pub fn open(config: &Config, keys: ReadKeys, now: Now) -> Self {
        let device = config.device.id.clone();
        let asked = keys.asked(&device);
        let ReadKeys { keys, stamps, trust } = keys;
        // Without a trust file there is no list either, and nothing is matched for that reason.
        let witnesses = trust.map(|(trust, _)| PinnedWitnesses::of(&trust)).unwrap_or_default();
        let kept = kept(&config.audit.log, &witnesses);
        let state = DeskState {
            witnessed: Witnessed::new(witnesses, kept, now),
            stamps,
            looked_at: now.monotonic,
            began: now.monotonic,
            asked,
            opened: asked.signed(),
            rolled_back: None,
            told: None,
            kept: Vec::new(),
        };
        let desk = Self {
            keys,
            device,
            settings: config.audit.clone(),
            state: Mutex::new(state),
            standing: Mutex::default(),
        };
        desk.judge(&lock(&desk.state), now);
        desk
    }

    /// Why nobody may be matched, where that is because of witnesses.
    pub fn blindness(&self) -> Option<Blindness> {
        lock(&self.standing).blindness.clone()
    }

    /// What is missing while the device goes on without it.
    pub fn degraded(&self) -> Option<String> {
        lock(&self.standing).degraded.clone()
    }

    /// The log that the trust file begins, where that is another than the one that was opened. Said
    /// once; what witnesses have said of the one before counts for nothing from then on.
    pub fn begins_anew(&self, now: Now) -> Option<AskedLog> {
        let mut state = lock(&self.state);
        self.follow_keys(&mut state, now);
        if state.asked.signed() <= state.opened {
            return None;
        }
        state.opened = state.asked.signed();
        state.rolled_back = None;
        state.began = now.monotonic;
        let witnesses = state.witnessed.witnesses().clone();
        state.witnessed = Witnessed::new(witnesses, None, now);
        self.judge(&state, now);
        Some(state.asked)
    }

    /// Tells witnesses by itself that the log has grown, so that they need not ask first: the
    /// shorter the way, the less is there that nobody has seen.
    pub fn announce(&self, journal: &mut Journal, delivery: &Delivery) {
        let kept = lock(&self.state).witnessed.kept();
        if kept == 0 {
            return;
        }
        match journal.announce(kept) {
            Ok(note) => delivery.say_to_witnesses(AuditSaying::Consistency, note),
            Err(error) => warn!("Witnesses are not told of new records: {error}."),
        }
    }

    /// The same of a record that is covered, to be said with its checkpoint; `None` where no
    /// witness has cosigned yet.
    pub fn announcement(&self, journal: &Journal) -> Option<String> {
        let kept = lock(&self.state).witnessed.kept();
        let note = (kept > 0).then(|| journal.announce_covered(kept))?;
        note.inspect_err(|error| warn!("Witnesses are not told of new records: {error}.")).ok()
    }

    /// Whether witnesses, who have cosigned before, have yet to cosign all of `journal`, and can
    /// hear of it.
    pub fn awaits(&self, journal: &Journal, delivery: &Delivery) -> bool {
        let state = lock(&self.state);
        let kept = state.witnessed.kept();
        let pinned = !state.witnessed.witnesses().keys().is_empty();
        pinned && (1..journal.size()).contains(&kept) && delivery.snapshot().connected
    }

    /// What is due at `now`. False where `journal` may be written no more.
    pub fn attend(&self, journal: &mut Journal, delivery: &Delivery, now: Now) -> bool {
        let mut state = lock(&self.state);
        for message in std::iter::from_fn(|| delivery.statement()).take(MOST_A_ROUND) {
            if message.kind == InboundKind::AuditKept {
                if state.kept.len() == MOST_KEPT {
                    state.kept.remove(0);
                }
                state.kept.push(message);
                continue;
            }
            let taken = self.take(&mut state, &message, journal, delivery, now);
            if let Err(error) = taken {
                warn!("What is said to the audit log is not answered: {error}.");
            }
        }
        self.compare_all_kept(&mut state, journal, delivery);
        // What is asked without a broker is lost, and would be repeated late.
        let nonce = match (delivery.snapshot().connected, &state.rolled_back) {
            (false, _) => None,
            (true, None) => state.witnessed.asks(now, || Nonce::random().ok()),
            (true, Some(_)) => state.shows(now).then(|| Nonce::random().ok()).flatten(),
        };
        if let Some(nonce) = nonce {
            match journal.challenge(nonce) {
                Ok(note) => delivery.say_to_witnesses(AuditSaying::Challenge, note),
                Err(error) => warn!("Witnesses are not asked: {error}."),
            }
        }
        self.judge(&state, now);
        state.rolled_back.is_none()
    }

    /// Reads the pinned witnesses again where their file has changed.
    fn follow_keys(&self, state: &mut DeskState, now: Now) {
        if now.monotonic.saturating_sub(state.looked_at) < KEYS_EVERY {
            return;
        }
        state.looked_at = now.monotonic;
        let stamps = self.keys.stamps();
        if stamps == state.stamps {
            return;
        }
        if let Ok(trust) = self.keys.current_and_signed() {
            state.stamps = stamps;
            state.asked = asked_by(&trust, &self.device);
            state.witnessed.set_witnesses(PinnedWitnesses::of(&trust.0));
        }
    }

    fn take(
        &self,
        state: &mut DeskState,
        message: &Inbound,
        journal: &mut Journal,
        delivery: &Delivery,
        now: Now,
    ) -> Result<(), JournalError> {
        // The screen has verified them; the keys may have changed since.
        let keys = state.witnessed.witnesses().keys().to_vec();
        match message.kind {
            InboundKind::AuditRequest => {
                let Ok((request, _)) = WitnessRequest::open_by(&message.payload, &keys) else {
                    return Ok(());
                };
                if request.origin == journal.origin() {
                    let answer = journal.answer(&request)?;
                    delivery.say_to_witnesses(AuditSaying::Consistency, answer);
                }
            }
            InboundKind::AuditCosign => {
                let Ok((checkpoint, lines)) = open_cosigned(&message.payload, &keys) else {
                    return Ok(());
                };
                if checkpoint.origin == journal.origin()
                    && checkpoint.extensions.is_empty()
                    && journal.has(checkpoint.size, checkpoint.root)?
                    && let Some(all) = state.witnessed.cosigned(&checkpoint, lines, now)
                {
                    journal.keep_cosigned(&checkpoint, all)?;
                }
            }
            InboundKind::AuditFreshness => {
                let Ok((answer, by)) = FreshnessAnswer::open_by(&message.payload, &keys) else {
                    return Ok(());
                };
                if answer.origin != journal.origin() {
                    return Ok(());
                }
                let mut unread = Ok(());
                let has = |size, root| {
                    journal.has(size, root).unwrap_or_else(|error| {
                        unread = Err(error);
                        // Nothing follows from a disk that cannot be read.
                        true
                    })
                };
                let before = state.witnessed.unproved().is_some();
                let verdict = state.witnessed.answer(by, &answer, has, &journal.identity());
                unread?;
                match verdict {
                    FreshnessVerdict::Proved if before => {
                        info!("Witnesses know of no newer audit log: records={}.", journal.size());
                    }
                    FreshnessVerdict::RolledBack => {
                        delivery.withdraw_checkpoint();
                        let seen = format!("a witness has seen {}", answer.size);
                        self.rolled_back(state, &seen, journal.size(), &message.payload);
                    }
                    _ => {}
                }
            }
            // Compared apart.
            InboundKind::AuditKept
            | InboundKind::Revoke
            | InboundKind::Suspend
            | InboundKind::Offer
            | InboundKind::Verdict
            | InboundKind::Receipt
            | InboundKind::Control => {}
        }
        Ok(())
    }

    /// Holds the log against what the broker had kept, and says so; what cannot be compared for now
    /// waits.
    fn compare_all_kept(&self, state: &mut DeskState, journal: &Journal, delivery: &Delivery) {
        for message in std::mem::take(&mut state.kept) {
            if let Err(error) = self.compare_kept(state, &message.payload, journal) {
                debug!("What the broker has kept of the audit log is not compared yet: {error}.");
                state.kept.push(message);
                continue;
            }
            // Before it may be replaced.
            if state.rolled_back.is_some() {
                delivery.withdraw_checkpoint();
            }
            delivery.acknowledge(message.receipts);
        }
    }

    /// Holds the log against the checkpoint in `note`, which the broker has kept.
    fn compare_kept(
        &self,
        state: &mut DeskState,
        note: &[u8],
        journal: &Journal,
    ) -> Result<(), JournalError> {
        // Anybody may have put one there that is of no log, of another, or of one before.
        let Ok(kept) = journal.own_checkpoint(note) else { return Ok(()) };
        if state.rolled_back.is_none() && !journal.has(kept.size, kept.root)? {
            let seen = format!("the broker has kept a checkpoint of {}", kept.size);
            self.rolled_back(state, &seen, journal.size(), note);
        }
        Ok(())
    }

    /// `seen` says who has seen how many records, `note` is what shows it.
    fn rolled_back(&self, state: &mut DeskState, seen: &str, has: u64, note: &[u8]) {
        let reason = format!(
            "the audit log has {has} records, and {seen} that this device signed and that are not \
             its first: it was put back; keep the folder for those who examine it"
        );
        error!("The audit log is not the newest: {reason}.");
        if let Err(error) = replace(&self.settings.log.join(ROLLED_BACK), note) {
            error!("That the audit log was put back cannot be kept over a restart: {error}.");
        }
        state.rolled_back = Some(Blindness::new(Cause::AuditRolledBack, reason));
    }

    /// What follows from what is missing.
    fn judge(&self, state: &DeskState, now: Now) {
        let AuditConfig { on_unproved, on_unwitnessed, .. } = self.settings;
        let wait = Duration::from_secs(self.settings.await_witnesses_s.into());
        let waits = now.monotonic.saturating_sub(state.began) < wait;
        let limit = time::Duration::hours(self.settings.quorum_hours.into());
        let mut standing = WitnessStanding::default();
        let unproved = state.witnessed.unproved();
        let blind = on_unproved == OnFailure::Blind || waits;
        standing.add(unproved, Cause::AuditUnproved, blind);
        let unwitnessed = state.witnessed.unwitnessed(limit, now);
        let blind = on_unwitnessed == OnFailure::Blind;
        standing.add(unwitnessed, Cause::AuditUnwitnessed, blind);
        if state.rolled_back.is_some() {
            standing.blindness.clone_from(&state.rolled_back);
        }
        *lock(&self.standing) = standing;
    }
}

impl WitnessStanding {
    fn add(&mut self, missing: Option<WitnessShortfall>, cause: Cause, blind: bool) {
        let Some(missing) = missing else { return };
        let missing = Blindness::new(cause, missing);
        if blind {
            self.blindness.get_or_insert(missing);
            return;
        }
        let text = format!("{missing}: {}", cause.remedy());
        match &mut self.degraded {
            Some(all) => all.push_str(&format!("; {text}")),
            None => self.degraded = Some(text),
        }
    }
}

/// The records of the cosigned checkpoint that is kept, and when it was made, as its witnesses say;
/// nothing where those who have cosigned it are too few now.
fn kept(folder: &Path, witnesses: &PinnedWitnesses) -> Option<(u64, OffsetDateTime)> {
    let note = read_cosigned(folder).ok().flatten()?;
    let (checkpoint, lines) = open_cosigned(note.as_bytes(), witnesses.keys()).ok()?;
    if !witnesses.are_enough(lines.iter().map(|line| &line.witness)) {
        return None;
    }
    let at = lines.iter().map(|line| line.at).min()?;
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(at).ok()?).ok()?;
    Some((checkpoint.size, at))
}

/// Why the log in `folder` may be written no more, where it was shown to have been put back.
pub fn shown_rolled_back(folder: &Path) -> Option<Blindness> {
    let path: PathBuf = folder.join(ROLLED_BACK);
    let shown = format_args!("a longer audit log was seen; what shows it is {}", path.display());
    match path.try_exists() {
        Ok(true) => Some(Blindness::new(Cause::AuditRolledBack, shown)),
        Ok(false) => None,
        // What cannot be looked at may be there.
        Err(error) => {
            let reason = format!("cannot look for {}: {error}", path.display());
            Some(Blindness::new(Cause::AuditUnusable, reason))
        }
    }
}

#[cfg(test)]
mod tests;
