//! The device's part in controls: known non-mates that a desk shows as candidates.
//!
//! * A control is recorded in the audit log **before** its registration is answered, and it is not
//!   taken where there is no log ([`Reviews::unlogged`]): nobody has a real candidate judged as a
//!   control without a trace.
//! * Verdicts on it go the way of all others, [`Reviews::follow`]. Until it is over the device says
//!   of it what it would say of a candidate.
//! * No counter has controls in it, and no count against the budget: both are published, or stop a
//!   list. What comes out is a score, sealed to the desk.
//!
//! The state machine is [`crate::review::controls`].

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use log::{error, info, warn};
use time::OffsetDateTime;

use super::told::{control_state, id_of};
use super::{ANSWERED, Answered, Asked, ReviewStep, Reviews, Telling};
use crate::audit::record::{AuditEvent, ControlEnding, ControlRecord};
use crate::delivery::event::{ControlAnswer, ControlStage};
use crate::device::replies::Replies;
use crate::review::control::{self, Control};
use crate::review::controls::{
    Admission, ControlDocket, ControlEnd, ControlNotice, ControlOver, JudgedControl, NotRegistered,
    Registered,
};
use crate::review::verdict::{CandidateId, SignedVerdict};
use crate::watchlist::seal;
use crate::watchlist::trust::Trust;

/// What there is to record and to say to the desk.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlStep {
    /// For the audit log, in this order, before it is answered.
    pub records: Vec<AuditEvent>,
    /// For the desk.
    pub answer: ControlAnswer,
    /// How.
    pub telling: Telling,
    /// The control that is known from now on, where it was not before.
    new: Option<CandidateId>,
}

impl ControlStep {
    /// Whether a control is known by it that was not before.
    pub fn registers(&self) -> bool {
        self.new.is_some()
    }
}

/// What a registration is held against.
pub struct ControlSite<'a> {
    /// The device's time; absent while the clock is not believed.
    pub now: Option<OffsetDateTime>,
    /// Whether there is an audit log that takes records.
    pub logged: bool,
    /// Whether the list in force has the entry that a control is about.
    pub in_force: &'a dyn Fn(&Control) -> bool,
}

/// The controls, and the file of them.
pub(super) struct Controls {
    pub docket: ControlDocket,
    pub path: PathBuf,
    /// The file lacks something.
    pub unstored: bool,
    steps: Vec<ControlStep>,
    /// Registrations that were answered.
    replies: Replies,
}

impl Controls {
    pub fn new(path: PathBuf, docket: ControlDocket) -> Self {
        let replies = Replies::limited(ANSWERED.0, ANSWERED.1);
        Self { docket, path, unstored: false, steps: Vec::new(), replies }
    }
}

impl Reviews {
    /// Takes one registration, of which nothing is believed yet, where it is to be taken.
    pub fn register(&mut self, asked: Asked<'_>, trust: &Trust, site: &ControlSite<'_>) {
        let new = match control::open(asked.message, trust, &self.device) {
            Ok(new) => new,
            Err(error) => {
                warn!("A control is not registered: {error}.");
                return;
            }
        };
        let taken = match site.now {
            None => Err(NotRegistered::NotReady.to_string()),
            // One that is known was recorded when it came first.
            Some(_) if !site.logged && self.controls.docket.standing(new.id).is_none() => {
                Err(NOT_LOGGED.to_owned())
            }
            Some(now) => {
                let admission = Admission {
                    now,
                    deadline: self.deadline,
                    candidates: &self.docket,
                    in_force: (site.in_force)(&new),
                };
                self.controls.docket.register(&new, &admission).map_err(|why| why.to_string())
            }
        };
        let replies = &mut self.controls.replies;
        let mut is_due = |answer: &str| replies.is_due(asked.message, answer, asked.at);
        let step = match taken {
            Ok(Registered::New(waiting)) => {
                self.controls.unstored = true;
                let record = ControlRecord {
                    control: new.id.0,
                    desk: new.receiver(),
                    payload: new.payload,
                    registration: new.digest(),
                };
                ControlStep {
                    records: vec![AuditEvent::ControlRegistered(record)],
                    answer: self.answer_control(&ControlNotice::Waiting(waiting)),
                    telling: Telling::Reply,
                    new: Some(new.id),
                }
            }
            // Where nothing changes nobody counts it, either: what is counted is published.
            Ok(Registered::Before(_)) if !is_due("") => return,
            Err(why) if !is_due(&why) => return,
            Ok(Registered::Before(notice)) => {
                let answer = self.answer_control(&notice);
                ControlStep { records: Vec::new(), answer, telling: Telling::Reply, new: None }
            }
            Err(why) => {
                info!("A control is not registered: control={} why={why}.", new.id);
                let answer = refused(new.id, why);
                ControlStep { records: Vec::new(), answer, telling: Telling::Reply, new: None }
            }
        };
        self.controls.steps.push(step);
    }

    /// Takes a control back whose registration did not get into the log: what to say instead.
    pub fn unlogged(&mut self, step: ControlStep) -> ControlStep {
        let Some(new) = step.new else { return step };
        self.controls.docket.take_back(new);
        self.controls.unstored = true;
        error!("A control is not registered: control={new} why={NOT_LOGGED}.");
        let answer = refused(new, NOT_LOGGED.to_owned());
        ControlStep { records: Vec::new(), answer, telling: Telling::Reply, new: None }
    }

    /// What there is to record, and to say to the desk, since the last call.
    pub fn take_control_steps(&mut self) -> Vec<ControlStep> {
        std::mem::take(&mut self.controls.steps)
    }

    /// Ends what is over at `now`; nothing while the clock is not believed. `trust` is asked only
    /// where something is over.
    pub fn tick_controls(
        &mut self,
        now: Option<OffsetDateTime>,
        trust: impl FnOnce() -> Option<Trust>,
    ) {
        if !self.are_asked() {
            self.controls.docket.cease();
        }
        let Some(now) = now else { return };
        if self.are_asked() {
            self.controls.docket.begin(now, &self.docket);
        }
        let trust = self.controls.docket.is_due(now).then(trust).flatten();
        let over = self.controls.docket.expire(now, trust.as_ref());
        self.end_controls(over);
    }

    /// Counts a verdict on what is no candidate, where it is about a control and counts; `None`
    /// where it is about neither.
    pub(super) fn judge_control(
        &mut self,
        verdict: &SignedVerdict,
        trust: &Trust,
        now: OffsetDateTime,
    ) -> Option<JudgedControl> {
        let judged = self.controls.docket.judge(verdict, trust, now)?;
        self.controls.unstored |= matches!(judged, JudgedControl::Counts(_));
        Some(judged)
    }

    /// What follows from a verdict on a control that counts.
    pub(super) fn note_control(
        &mut self,
        mut records: Vec<AuditEvent>,
        notice: &ControlNotice,
        answered: Option<&Answered>,
    ) {
        if let ControlNotice::Over(over) = notice {
            info!("A control is over: control={}.", over.control);
            records.push(AuditEvent::ControlEnded {
                control: over.control.0,
                how: match over.end {
                    ControlEnd::Judged => ControlEnding::Judged,
                    ControlEnd::TimeOver => ControlEnding::TimeOver,
                    ControlEnd::Withdrawn => ControlEnding::Withdrawn,
                },
            });
            let answer = self.answer_control(notice);
            let (records, telling) = (Vec::new(), Telling::News);
            self.controls.steps.push(ControlStep { records, answer, telling, new: None });
        }
        let state = Answered::by(answered, control_state(notice));
        self.steps.push(ReviewStep { records, state, telling: Telling::News });
    }

    /// Records and publishes what ended by itself.
    pub(super) fn end_controls(&mut self, over: Vec<ControlOver>) {
        for over in over {
            self.controls.unstored = true;
            self.note_control(Vec::new(), &ControlNotice::Over(over), None);
        }
    }

    fn answer_control(&self, notice: &ControlNotice) -> ControlAnswer {
        match notice {
            ControlNotice::Waiting(waiting) => ControlAnswer {
                control: id_of(waiting.candidate),
                state: ControlStage::Known,
                until: Some(waiting.until),
                refused: None,
                scores: None,
            },
            ControlNotice::Over(over) => ControlAnswer {
                control: id_of(over.control),
                state: match over.end {
                    ControlEnd::Judged => ControlStage::Judged,
                    ControlEnd::TimeOver => ControlStage::TimeOver,
                    ControlEnd::Withdrawn => ControlStage::Withdrawn,
                },
                until: None,
                refused: None,
                scores: sealed(over, &self.device),
            },
        }
    }
}

const NOT_LOGGED: &str = "the device keeps no audit log that takes it";

fn refused(control: CandidateId, why: String) -> ControlAnswer {
    ControlAnswer {
        control: id_of(control),
        state: ControlStage::Refused,
        until: None,
        refused: Some(why),
        scores: None,
    }
}

/// What was said, for the desk alone. Where it cannot be sealed the desk asks again.
fn sealed(over: &ControlOver, device: &str) -> Option<String> {
    let bytes = over.score.as_ref()?.to_bytes(device, over.control);
    match seal::seal(&[&bytes], std::slice::from_ref(&over.scores_to)) {
        Ok(sealed) => Some(STANDARD.encode(sealed)),
        Err(error) => {
            error!("What was said of a control cannot be sealed to its desk: {error}.");
            None
        }
    }
}
