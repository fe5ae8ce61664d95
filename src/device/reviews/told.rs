//! What is published of a review, from what is known of it.

use crate::audit::record::ToldVerdict;
use crate::delivery::event::{EventId, ReviewStage, ReviewState, ReviewVerdict};
use crate::judgement::Outcome;
use crate::review::controls::ControlNotice;
use crate::review::docket::{CountedVerdict, Notice, Waiting};
use crate::review::verdict::CandidateId;

pub(super) fn told(counted: &CountedVerdict) -> ToldVerdict {
    let CountedVerdict { reviewer, opinion, confidence, .. } = *counted;
    ToldVerdict { reviewer, opinion, confidence }
}

pub(super) fn id_of(candidate: CandidateId) -> EventId {
    EventId::from_u128(u128::from_be_bytes(candidate.0))
}

pub(super) fn unknown(candidate: CandidateId) -> ReviewState {
    ReviewState {
        candidate: id_of(candidate),
        state: ReviewStage::Unknown,
        given: 0,
        until: None,
        reviewer: None,
        envelope: None,
        refused: None,
        verdicts: Vec::new(),
    }
}

/// In the same words for a candidate and for a control.
pub(super) fn waiting_state(waiting: &Waiting) -> ReviewState {
    let Waiting { candidate, verdicts, third_needed, until } = *waiting;
    ReviewState {
        state: if third_needed { ReviewStage::ThirdNeeded } else { ReviewStage::Pending },
        given: verdicts as u64,
        until: Some(until),
        ..unknown(candidate)
    }
}

pub(super) fn state_of(notice: &Notice) -> ReviewState {
    match notice {
        Notice::Pending(waiting) => waiting_state(waiting),
        Notice::Over { candidate, outcome, verdicts, .. } => ReviewState {
            state: match outcome {
                Outcome::Confirmed => ReviewStage::Confirmed,
                Outcome::Refuted => ReviewStage::Refuted,
                Outcome::Undecided => ReviewStage::Undecided,
                Outcome::Expired => ReviewStage::Expired,
                Outcome::Withdrawn => ReviewStage::Withdrawn,
            },
            given: verdicts.len() as u64,
            verdicts: verdicts
                .iter()
                .map(|v| ReviewVerdict {
                    reviewer: v.reviewer.to_string(),
                    opinion: v.opinion,
                    confidence: v.confidence,
                    judged_at: v.judged_at,
                })
                .collect(),
            ..unknown(*candidate)
        },
    }
}

/// Of a control that is over nothing is told but that it was one.
pub(super) fn control_state(notice: &ControlNotice) -> ReviewState {
    match notice {
        ControlNotice::Waiting(waiting) => waiting_state(waiting),
        ControlNotice::Over(over) => {
            ReviewState { state: ReviewStage::Control, ..unknown(over.control) }
        }
    }
}
