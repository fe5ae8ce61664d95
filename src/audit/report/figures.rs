//! What a report has, and how its figures are estimated.

use serde::Serialize;

use crate::audit::record::{ControlEnding, ListRecord, stamp_ms};
use crate::cause::Cause;
use crate::judgement::Outcome;
use crate::poisson::{CONFIDENCE, gamma_quantile};
use crate::proportion::clopper_pearson;

/// What the device was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseStanding {
    /// The log has nothing of the time yet.
    BeforeLog,
    /// The program has started, and nothing more is said yet.
    Starting,
    /// Faces were compared.
    InUse,
    /// Frames were waited for.
    Waiting,
    /// Nobody was compared, for this reason.
    Blind(Cause),
    /// The program had ended in order.
    Stopped,
    /// The log breaks off and goes on with a new start: power or program was lost.
    Unknown,
    /// The log has nothing of the time any more.
    AfterLog,
}

impl UseStanding {
    /// A word for machines; a published cause has its code.
    pub fn code(self) -> &'static str {
        match self {
            Self::BeforeLog => "before-the-log",
            Self::Starting => "starting",
            Self::InUse => "in-use",
            Self::Waiting => "waiting",
            Self::Blind(cause) => cause.code(),
            Self::Stopped => "stopped",
            Self::Unknown => "not-known",
            Self::AfterLog => "after-the-log",
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::BeforeLog => "the log does not reach back so far",
            Self::Starting => "the program was starting",
            Self::InUse => "faces were compared",
            Self::Waiting => "frames were waited for",
            Self::Blind(cause) => cause.meaning(),
            Self::Stopped => "the program was stopped",
            Self::Unknown => "not known: power or program was lost",
            Self::AfterLog => "the log does not reach so far",
        }
    }
}

impl Serialize for UseStanding {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.code())
    }
}

/// A stretch of time with one standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TimeSpan {
    /// First millisecond, since 1970.
    #[serde(serialize_with = "as_stamp")]
    pub from_ms: u64,
    /// The one after the last.
    #[serde(serialize_with = "as_stamp")]
    pub to_ms: u64,
    /// What the device was doing.
    pub standing: UseStanding,
    /// Place in [`DeploymentReport::lists`] of the list that was in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<usize>,
}

impl TimeSpan {
    /// How long it is.
    pub(super) fn ms(&self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }
}

/// A list, and for how long faces were compared with it in the period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListUse {
    /// As the log has it.
    #[serde(flatten)]
    pub list: ListRecord,
    /// Milliseconds for which faces were compared with it.
    pub in_use_ms: u64,
    /// Candidates.
    pub candidates: u64,
}

/// A figure with its two-sided 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// What was counted.
    pub count: u64,
    /// Faces, or days.
    pub of: f64,
    /// Their ratio.
    pub value: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

impl Estimate {
    /// The share of `count` among `of`; `None` where there are none.
    pub(super) fn share(count: u64, of: u64) -> Option<Self> {
        // A face whose track has not ended may have given a candidate and is not counted yet.
        let of = (of.max(count)) as f64;
        if of == 0.0 {
            return None;
        }
        let (lower, upper) = clopper_pearson(count as f64, of);
        Some(Self { count, of, value: count as f64 / of, lower, upper })
    }

    /// The rate of `count` events in `days`; `None` where there was no time.
    pub(super) fn rate(count: u64, days: f64) -> Option<Self> {
        if days <= 0.0 {
            return None;
        }
        let (n, tail) = (count as f64, (1.0 - CONFIDENCE) / 2.0);
        let lower = if count == 0 { 0.0 } else { gamma_quantile(tail, n) / days };
        let upper = gamma_quantile(1.0 - tail, n + 1.0) / days;
        Some(Self { count, of: days, value: n / days, lower, upper })
    }
}

/// Counts of the heartbeats, summed over the period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FaceCounts {
    /// Faces that passed, as far as the tracker could tell.
    pub faces: u64,
    /// The same, each in every picture in which it was.
    pub sightings: u64,
    /// Views that were too poor to compare.
    pub too_poor: u64,
    /// Views that were compared.
    pub compared: u64,
    /// Candidates of silent lists, which are counted only.
    pub silent: u64,
}

/// Reviews that were over in the period, by their outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReviewCounts {
    /// Two people said that it is the same person.
    pub confirmed: u64,
    /// Two people said that it is not.
    pub refuted: u64,
    /// People could not tell.
    pub undecided: u64,
    /// Too few people judged in time.
    pub expired: u64,
    /// The list or the entry was revoked.
    pub withdrawn: u64,
}

impl ReviewCounts {
    /// Counts one more.
    pub(super) fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Confirmed => &mut self.confirmed,
            Outcome::Refuted => &mut self.refuted,
            Outcome::Undecided => &mut self.undecided,
            Outcome::Expired => &mut self.expired,
            Outcome::Withdrawn => &mut self.withdrawn,
        } += 1;
    }
}

/// Controls: pairs that reviewers were shown and that were no candidates. In none of the rates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ControlCounts {
    /// Registered by a desk in the period.
    pub registered: u64,
    /// Over in the period, as people had judged them.
    pub judged: u64,
    /// Over, as their time was.
    pub time_over: u64,
    /// Over, as their list or entry was revoked.
    pub withdrawn: u64,
}

impl ControlCounts {
    /// Counts one more that is over.
    pub(super) fn end(&mut self, how: ControlEnding) {
        *match how {
            ControlEnding::Judged => &mut self.judged,
            ControlEnding::TimeOver => &mut self.time_over,
            ControlEnding::Withdrawn => &mut self.withdrawn,
        } += 1;
    }
}

/// Orders and offers of one kind with one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstructionCount {
    /// What they asked for.
    pub what: &'static str,
    /// What became of them.
    pub answer: String,
    /// How many.
    pub count: u64,
}

/// A figure that the log does not support.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingFigure {
    /// Its name in the report.
    pub figure: &'static str,
    /// Why.
    pub why: String,
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeploymentReport {
    /// The log's name, `<root>/<device>`.
    pub origin: String,
    /// First millisecond, since 1970.
    #[serde(serialize_with = "as_stamp")]
    pub from_ms: u64,
    /// The one after the last.
    #[serde(serialize_with = "as_stamp")]
    pub to_ms: u64,
    /// Records of the period.
    pub records: u64,
    /// Records that could not be written, as the log says.
    pub records_missing: u64,
    /// What people called the place where the camera stood, in the order of time; more than one
    /// where it was named anew in the period.
    pub places: Vec<String>,
    /// Records that a newer program wrote, or that are no records.
    pub records_unreadable: u64,
    /// The period from its beginning to its end, without a gap.
    pub spans: Vec<TimeSpan>,
    /// Lists that were in force.
    pub lists: Vec<ListUse>,
    /// What heartbeats counted; absent where there was none.
    pub counts: Option<FaceCounts>,
    /// Milliseconds in use that no heartbeat counts.
    pub uncounted_ms: u64,
    /// Candidates, each once.
    pub candidates: u64,
    /// Updates of candidates.
    pub updates: u64,
    /// Reviews that were over; absent where the log has none.
    pub reviews: Option<ReviewCounts>,
    /// Controls; absent where the log has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controls: Option<ControlCounts>,
    /// Refuted candidates among those that two people confirmed or refuted.
    pub false_alerts_an_alert: Option<Estimate>,
    /// Refuted candidates a face, of the time that heartbeats count; absent where there are
    /// candidates that two people have not decided.
    pub false_alerts_a_face: Option<Estimate>,
    /// Candidates a face, of the time that heartbeats count. All candidates and not the false ones
    /// alone: an upper bound of these.
    pub alerts_a_face: Option<Estimate>,
    /// Candidates a day in use; likewise.
    pub alerts_a_day: Option<Estimate>,
    /// False alerts a day in use that were announced for the lists that were in force, by time.
    pub announced_a_day: Option<f64>,
    /// Orders and offers.
    pub instructions: Vec<InstructionCount>,
    /// Settings that were weaker than their defaults at some time.
    pub weakened: Vec<&'static str>,
    /// What was destroyed on order.
    pub wiped: u64,
    /// Jumps of the clock; times before one are as the clock showed them.
    pub clock_jumps: u64,
    /// What the log cannot say.
    pub missing: Vec<MissingFigure>,
}

impl DeploymentReport {
    /// Milliseconds of the period for which `wanted` holds.
    pub fn ms_of(&self, wanted: impl Fn(UseStanding) -> bool) -> u64 {
        self.spans.iter().filter(|s| wanted(s.standing)).map(TimeSpan::ms).sum()
    }

    /// The time in each standing, longest first.
    pub fn totals(&self) -> Vec<(UseStanding, u64)> {
        let mut totals: Vec<(UseStanding, u64)> = Vec::new();
        for span in &self.spans {
            match totals.iter_mut().find(|(standing, _)| *standing == span.standing) {
                Some((_, ms)) => *ms += span.ms(),
                None => totals.push((span.standing, span.ms())),
            }
        }
        totals.sort_by_key(|(_, ms)| std::cmp::Reverse(*ms));
        totals
    }
}

fn as_stamp<S: serde::Serializer>(ms: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&stamp_ms(*ms))
}
