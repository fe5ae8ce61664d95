//! What a device did in a period, from its log alone; sans-IO.
//!
//! * Every moment of the period is accounted for once: in use, why not, before the log begins, or
//!   not known, as where the power was lost.
//! * Of a face nothing is known but that it was counted; heartbeats have the counts, so that those
//!   between the last one and a loss of power are missing, and it is said for how long.
//! * A figure that the log cannot support is named in [`DeploymentReport::missing`], never guessed.
//! * Intervals are exact: Clopper and Pearson's for shares, Garwood's for rates, 95 % two-sided.

mod figures;
pub mod words;

use std::collections::BTreeMap;

pub use self::figures::{
    ControlCounts, DeploymentReport, Estimate, FaceCounts, InstructionCount, ListUse,
    MissingFigure, ReviewCounts, TimeSpan, UseStanding,
};
use super::record::{Answer, AuditEvent, AuditRecord, EndOfUse};
use crate::promise::Stage;

/// Milliseconds of a day.
const DAY_MS: f64 = 86_400_000.0;
/// Counts that the report has, with their names in heartbeats. A dot at the end: all below it.
const FACES: &str = "pipeline.vision.tracks";
const SIGHTINGS: &str = "pipeline.vision.faces";
const TOO_POOR: &str = "pipeline.vision.too_poor.";
const COMPARED: &str = "pipeline.decision.compared";
const SILENT: &str = "pipeline.silent";

/// Reads a log record by record.
#[derive(Debug)]
pub struct ReportMaker {
    report: DeploymentReport,
    /// From here on the standing is this, with this list.
    since_ms: u64,
    standing: UseStanding,
    list: Option<usize>,
    /// Of the last record.
    last_ms: u64,
    begun: bool,
    run: RunCounts,
    beats: u64,
    counted: FaceCounts,
    counted_candidates: u64,
    instructions: BTreeMap<(&'static str, String), u64>,
}

/// What the heartbeats of one run of the program have said.
#[derive(Debug, Default)]
struct RunCounts {
    /// At the last heartbeat before the period, and at the last one.
    before: BTreeMap<String, u64>,
    now: BTreeMap<String, u64>,
    /// Since the last heartbeat.
    in_use_ms: u64,
    candidates: u64,
}

impl RunCounts {
    fn of(&self, name: &str) -> u64 {
        let is = |key: &str| if name.ends_with('.') { key.starts_with(name) } else { key == name };
        let sum = |counts: &BTreeMap<String, u64>| -> u64 {
            counts.iter().filter(|(key, _)| is(key)).map(|(_, count)| count).sum()
        };
        sum(&self.now).saturating_sub(sum(&self.before))
    }
}

impl ReportMaker {
    /// Of the log `origin`, from `from_ms` up to and without `to_ms`.
    pub fn new(origin: &str, from_ms: u64, to_ms: u64) -> Self {
        let report = DeploymentReport {
            origin: origin.to_owned(),
            from_ms,
            to_ms: to_ms.max(from_ms),
            records: 0,
            records_missing: 0,
            records_unreadable: 0,
            places: Vec::new(),
            spans: Vec::new(),
            lists: Vec::new(),
            counts: None,
            uncounted_ms: 0,
            candidates: 0,
            updates: 0,
            reviews: None,
            controls: None,
            false_alerts_an_alert: None,
            false_alerts_a_face: None,
            alerts_a_face: None,
            alerts_a_day: None,
            announced_a_day: None,
            instructions: Vec::new(),
            weakened: Vec::new(),
            wiped: 0,
            clock_jumps: 0,
            missing: Vec::new(),
        };
        Self {
            report,
            since_ms: 0,
            standing: UseStanding::BeforeLog,
            list: None,
            last_ms: 0,
            begun: false,
            run: RunCounts::default(),
            beats: 0,
            counted: FaceCounts::default(),
            counted_candidates: 0,
            instructions: BTreeMap::new(),
        }
    }

    /// The next record of the log, in its order; `None` where it cannot be read.
    pub fn record(&mut self, record: Option<&AuditRecord>) {
        let Some(record) = record else {
            self.report.records_unreadable += 1;
            return;
        };
        // A clock that is put back makes no time of the log.
        let at = if self.begun { record.at_ms.max(self.last_ms) } else { record.at_ms };
        self.begun = true;
        let inside = (self.report.from_ms..self.report.to_ms).contains(&at);
        self.report.records += u64::from(inside);
        self.follow(&record.event, at, inside);
        self.last_ms = at;
    }

    fn follow(&mut self, event: &AuditEvent, at: u64, inside: bool) {
        match event {
            AuditEvent::Started { .. } => self.started(at),
            AuditEvent::Stopped => self.change(UseStanding::Stopped, self.list, at),
            AuditEvent::UseBegan => self.change(UseStanding::InUse, self.list, at),
            AuditEvent::UseEnded { why } => {
                let standing = match why {
                    EndOfUse::Stopped => UseStanding::Stopped,
                    EndOfUse::Waiting => UseStanding::Waiting,
                    EndOfUse::Blind(cause) => UseStanding::Blind(*cause),
                };
                self.change(standing, self.list, at);
            }
            AuditEvent::ListInForce(list) => {
                let lists = &mut self.report.lists;
                let at_list = lists.iter().position(|used| used.list == **list);
                let at_list = at_list.unwrap_or_else(|| {
                    let list = (**list).clone();
                    lists.push(ListUse { list, in_use_ms: 0, candidates: 0 });
                    lists.len() - 1
                });
                self.change(self.standing, Some(at_list), at);
            }
            AuditEvent::Heartbeat { counts } => self.beat(counts, at),
            AuditEvent::Placed { place } if at < self.report.to_ms => {
                let places = &mut self.report.places;
                // Of those before the period only the last counts.
                if !inside {
                    places.clear();
                }
                if !places.contains(place) {
                    places.push(place.clone());
                }
            }
            _ if !inside => {}
            AuditEvent::Candidate(candidate) => {
                let first = u64::from(candidate.sequence == 1);
                self.report.candidates += first;
                self.report.updates += 1 - first;
                self.run.candidates += first;
                if let Some(list) = self.list {
                    self.report.lists[list].candidates += first;
                }
            }
            AuditEvent::Instruction(order) => {
                let answer = match order.answer {
                    Answer::Refused(cause) => format!("refused: {cause}"),
                    other => other.to_string(),
                };
                *self.instructions.entry((order.what.words(), answer)).or_default() += 1;
            }
            AuditEvent::Weakened { settings } => {
                for setting in settings {
                    if !self.report.weakened.contains(&setting.words()) {
                        self.report.weakened.push(setting.words());
                    }
                }
            }
            AuditEvent::ClockJumped { .. } => self.report.clock_jumps += 1,
            AuditEvent::Wiped { .. } => self.report.wiped += 1,
            AuditEvent::Missed { records } => self.report.records_missing += records,
            AuditEvent::Reviewed(review) => {
                self.report.reviews.get_or_insert_default().add(review.outcome);
            }
            AuditEvent::ControlRegistered(_) => {
                self.report.controls.get_or_insert_default().registered += 1;
            }
            AuditEvent::ControlEnded { how, .. } => {
                self.report.controls.get_or_insert_default().end(*how);
            }
            // What one person has said, before anything is decided.
            AuditEvent::Verdict(_) | AuditEvent::Placed { .. } => {}
        }
    }

    fn started(&mut self, at: u64) {
        // A name that this run has comes after this.
        if at < self.report.from_ms {
            self.report.places.clear();
        }
        if !matches!(self.standing, UseStanding::Stopped | UseStanding::BeforeLog) {
            // The run before broke off at some time after its last record.
            self.change(UseStanding::Unknown, None, self.last_ms);
        }
        self.change(UseStanding::Starting, None, at);
        self.end_run();
    }

    fn beat(&mut self, counts: &BTreeMap<String, u64>, at: u64) {
        self.change(self.standing, self.list, at);
        self.run.now.extend(counts.iter().map(|(name, count)| (name.clone(), *count)));
        if at < self.report.from_ms {
            self.run.before.clone_from(&self.run.now);
        } else if at < self.report.to_ms {
            self.beats += 1;
            self.counted_candidates += self.run.candidates;
            let sum = &mut self.counted;
            sum.faces += self.run.of(FACES);
            sum.sightings += self.run.of(SIGHTINGS);
            sum.too_poor += self.run.of(TOO_POOR);
            sum.compared += self.run.of(COMPARED);
            sum.silent += self.run.of(SILENT);
            self.run.before.clone_from(&self.run.now);
            (self.run.in_use_ms, self.run.candidates) = (0, 0);
        }
    }

    fn end_run(&mut self) {
        self.report.uncounted_ms += self.run.in_use_ms;
        self.run = RunCounts::default();
    }

    /// From `at` on the standing is another, or may be.
    fn change(&mut self, standing: UseStanding, list: Option<usize>, at: u64) {
        let within = |ms: u64| ms.clamp(self.report.from_ms, self.report.to_ms);
        let span = TimeSpan {
            from_ms: within(self.since_ms),
            to_ms: within(at),
            standing: self.standing,
            list: self.list,
        };
        (self.since_ms, self.standing, self.list) = (at, standing, list);
        if span.ms() == 0 {
            return;
        }
        if span.standing == UseStanding::InUse {
            self.run.in_use_ms += span.ms();
            if let Some(list) = span.list {
                self.report.lists[list].in_use_ms += span.ms();
            }
        }
        match self.report.spans.last_mut() {
            Some(last) if (last.standing, last.list) == (span.standing, span.list) => {
                last.to_ms = span.to_ms;
            }
            _ => self.report.spans.push(span),
        }
    }

    /// The report, once the whole log was read.
    pub fn finish(mut self) -> DeploymentReport {
        if self.begun {
            self.change(UseStanding::AfterLog, None, self.last_ms);
        }
        self.change(UseStanding::AfterLog, None, self.report.to_ms.max(self.last_ms));
        self.end_run();
        let Self { mut report, instructions, beats, counted, counted_candidates, .. } = self;
        report.instructions = instructions
            .into_iter()
            .map(|((what, answer), count)| InstructionCount { what, answer, count })
            .collect();
        if beats > 0 {
            report.counts = Some(counted);
            report.alerts_a_face = Estimate::share(counted_candidates, counted.faces);
        }
        if let Some(reviews) = report.reviews {
            let decided = reviews.confirmed + reviews.refuted;
            report.false_alerts_an_alert = Estimate::share(reviews.refuted, decided);
            if let Some(counts) = report.counts.filter(|_| decided >= report.candidates) {
                report.false_alerts_a_face = Estimate::share(reviews.refuted, counts.faces);
            }
        }
        let days = report.ms_of(|s| s == UseStanding::InUse) as f64 / DAY_MS;
        report.alerts_a_day = Estimate::rate(report.candidates, days);
        let in_force: Vec<&ListUse> =
            report.lists.iter().filter(|u| u.list.stage == Stage::InForce).collect();
        let announced_days = in_force.iter().map(|u| u.in_use_ms).sum::<u64>() as f64 / DAY_MS;
        let announced =
            in_force.iter().map(|u| u.list.false_alerts as f64 / 1e6 * u.in_use_ms as f64 / DAY_MS);
        let announced: f64 = announced.sum();
        report.announced_a_day = (announced_days > 0.0).then(|| announced / announced_days);
        report.lists.retain(|used| used.in_use_ms > 0 || used.candidates > 0);
        // Their places have changed.
        report.spans.iter_mut().for_each(|span| span.list = None);
        report.missing = missing(&report);
        report
    }
}

fn missing(report: &DeploymentReport) -> Vec<MissingFigure> {
    let mut missing = Vec::new();
    let mut add = |figure, why: &str| missing.push(MissingFigure { figure, why: why.to_owned() });
    let reviews = "the log has no records of reviews";
    if report.places.is_empty() {
        let why = concat!(
            "nobody had named the place where the camera stands (",
            setting!(device.place),
            ")"
        );
        add("place", why);
    }
    if report.reviews.is_none() {
        add("reviews", reviews);
    }
    if report.false_alerts_a_face.is_none() {
        add(
            "false_alerts_a_face",
            "there are candidates that two people have not decided; alerts_a_face bounds it",
        );
    }
    if report.false_alerts_an_alert.is_none() {
        add("false_alerts_an_alert", "two people have decided none");
    }
    if report.counts.is_none() {
        let why = "no heartbeat is in the period; faces are counted in heartbeats alone";
        add("counts", why);
        add("alerts_a_face", why);
    } else if report.alerts_a_face.is_none() {
        add("alerts_a_face", "no face was counted");
    }
    if report.uncounted_ms > 0 {
        let minutes = report.uncounted_ms.div_ceil(60_000);
        add("faces_after_the_last_heartbeat", &format!("{minutes} minutes in use are not counted"));
    }
    if report.alerts_a_day.is_none() {
        add("alerts_a_day", "the device was not in use");
    }
    if report.announced_a_day.is_none() {
        add("announced_a_day", "no list that publishes candidates was in use");
    }
    if report.records_missing > 0 {
        let why = format!("{} records could not be written", report.records_missing);
        add("records", &why);
    }
    missing
}

#[cfg(test)]
mod tests;
