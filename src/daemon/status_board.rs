//! What the threads report to the supervisor: counts, and whether anything keeps them from working.
//!
//! * One lock, held for a copy at a time.
//! * Written once a frame, read once a second.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::health::Activity;
use super::progress::{Pictures, Progress, Unusable};
use crate::audit::store::LogWrites;
use crate::cause::Cause;
use crate::decision::policy::Blindness;
use crate::device::ListStatus;
use crate::device::orders::OrderCounters;
use crate::device::pipeline::PipelineCounters;
use crate::device::reviews::ReviewCounters;
use crate::source::SourceCounters;
use crate::vision::ViewCounts;

#[derive(Default)]
struct Reported {
    source: SourceCounters,
    overwritten: u64,
    /// Sums of the sources that were closed before the present one.
    closed: BTreeMap<String, u64>,
    /// Why no frame comes; `None` while frames come.
    source_failure: Option<String>,
    captured: u64,
    /// Frames that were decoded and looked at.
    usable: u64,
    /// Frames came again after none did, and none of them was looked at yet.
    returning: bool,
    /// Signs of life of capture and of vision.
    beats: [u64; 2],
    pipeline: PipelineCounters,
    progress: Progress,
    standing: Option<Result<(), Blindness>>,
    list: Option<ListStatus>,
    trust_ends: Option<OffsetDateTime>,
    orders: OrderCounters,
    reviews: ReviewCounters,
    audit: LogWrites,
    /// Recorded pictures wait until orders are heard.
    pictures_wait: bool,
    /// Orders were waited for in vain.
    orders_unheard: bool,
    /// Why the metrics are not given.
    metrics: Option<String>,
    /// That what was counted against a list's budget is lost.
    review_problem: Option<String>,
    left_on_disk: Option<String>,
}

/// Shared by capture, vision and supervisor.
#[derive(Default)]
pub struct StatusBoard {
    reported: Mutex<Reported>,
}

/// What keeps the daemon from matching, if anything.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// No frame has been decoded and looked at yet.
    Starting,
    /// Faces are compared.
    Matching,
    /// They are not.
    Blind(Blindness),
}

impl Reported {
    /// Why no picture is looked at, if none is.
    fn no_frames(&self) -> Option<String> {
        let unusable = || self.progress.obstacle().map(|obstacle| obstacle.to_string());
        self.source_failure.clone().or_else(unusable)
    }
}

impl StatusBoard {
    fn lock(&self) -> MutexGuard<'_, Reported> {
        // Every critical section is a plain assignment.
        self.reported.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A frame came from the source.
    pub fn frame_captured(&self) {
        let mut reported = self.lock();
        reported.returning |= reported.source_failure.take().is_some();
        reported.captured += 1;
    }

    /// A frame came that the source gave up. Where nothing came before, that is the reason now.
    pub fn frame_damaged(&self) {
        let mut reported = self.lock();
        if reported.source_failure.is_some() {
            reported.source_failure = Some(Unusable::Damaged.to_string());
        }
    }

    /// The capture thread is alive, whatever it got.
    pub fn capture_lives(&self) {
        self.lock().beats[0] += 1;
    }

    /// The vision thread is alive, whatever it did.
    pub fn vision_lives(&self) {
        self.lock().beats[1] += 1;
    }

    /// What is known of the threads' health; `delivery` is that thread's own count of signs
    /// of life.
    pub fn activity(&self, delivery: u64) -> Activity {
        let reported = self.lock();
        let [capture, vision] = reported.beats;
        Activity {
            beats: [capture, vision, delivery],
            captured: reported.captured,
            pictures_wait: reported.pictures_wait,
            processed: reported.pipeline.frames,
            no_frames: reported.no_frames(),
        }
    }

    /// No frame comes, for `reason`.
    pub fn source_failed(&self, reason: String) {
        self.lock().source_failure = Some(reason);
    }

    /// The open source's counts so far, and how many of its frames nobody took in time.
    pub fn source_counted(&self, counters: SourceCounters, overwritten: u64) {
        let mut reported = self.lock();
        reported.source = counters;
        reported.overwritten = overwritten;
    }

    /// The open source's last counts; the next source starts at zero.
    pub fn source_closed(&self, counters: SourceCounters, overwritten: u64) {
        let mut reported = self.lock();
        tally("source", &counters, &mut reported.closed);
        *reported.closed.entry("source.overwritten".into()).or_default() += overwritten;
        reported.source = SourceCounters::default();
        reported.overwritten = 0;
    }

    /// The pipeline's counts so far and whether it compares faces, at `now` (monotonic).
    pub fn processed(
        &self,
        counters: PipelineCounters,
        standing: Result<(), Blindness>,
        now: Duration,
    ) {
        let mut reported = self.lock();
        let pictures = Pictures {
            captured: reported.captured,
            damaged: reported.source.damaged(),
            usable: counters.frames - counters.undecodable - counters.failed,
            undecodable: counters.undecodable,
            failed: counters.failed,
        };
        reported.progress.observe(pictures, now);
        if pictures.usable > reported.usable {
            (reported.usable, reported.returning) = (pictures.usable, false);
        }
        reported.pipeline = counters;
        reported.standing = Some(standing);
    }

    /// The list in force from now on, if any, and when the keys end that are believed.
    pub fn set_list(&self, list: Option<ListStatus>, trust_ends: Option<OffsetDateTime>) {
        let mut reported = self.lock();
        (reported.list, reported.trust_ends) = (list, trust_ends);
    }

    /// When the keys end that are believed.
    pub fn trust_ends(&self) -> Option<OffsetDateTime> {
        self.lock().trust_ends
    }

    /// The list in force, if any.
    pub fn list(&self) -> Option<ListStatus> {
        self.lock().list.clone()
    }

    /// Whether recorded pictures wait until orders are heard, and whether that was in vain.
    pub fn set_orders(&self, pictures_wait: bool, unheard: bool) {
        let mut reported = self.lock();
        (reported.pictures_wait, reported.orders_unheard) = (pictures_wait, unheard);
    }

    /// Why the metrics are not given, if they are not.
    pub fn set_metrics(&self, problem: Option<String>) {
        self.lock().metrics = problem;
    }

    /// What is wrong with reviews while the device goes on: that what was counted against a list's
    /// budget is lost, or that nobody is asked, as reviewers are not told apart.
    pub fn set_review_problem(&self, problem: Option<String>) {
        self.lock().review_problem = problem;
    }

    /// What was revoked and could not be destroyed, if anything.
    pub fn set_left_on_disk(&self, left: Option<&str>) {
        self.lock().left_on_disk = left.map(|left| {
            format!("what was revoked is used no more and is still on the disk: {left}")
        });
    }

    /// What else does not work as it should: revoked templates that are still there, orders that
    /// nobody has heard, metrics that nobody can read, false alerts that are counted anew,
    /// reviewers who are not told apart.
    pub fn further_problems(&self) -> Vec<String> {
        let reported = self.lock();
        let unheard = reported.orders_unheard.then(|| {
            "the orders that the broker keeps were not heard since the start: what was revoked or \
             suspended meanwhile is not known; see that the broker answers and lets this device \
             read its orders"
                .to_owned()
        });
        let others = [&reported.left_on_disk, &reported.metrics, &reported.review_problem];
        let others = others.into_iter().flatten().cloned();
        unheard.into_iter().chain(others).collect()
    }

    /// What became of the messages to the device so far.
    pub fn set_order_counters(&self, counters: OrderCounters) {
        self.lock().orders = counters;
    }

    /// What became of verdicts.
    pub fn set_review_counters(&self, counters: ReviewCounters) {
        self.lock().reviews = counters;
    }

    /// What was written to the audit log so far.
    pub fn set_audit(&self, writes: LogWrites) {
        self.lock().audit = writes;
    }

    /// Whether faces are compared, and if not, why. What the list forbids goes before a missing
    /// picture: a device that was stopped says so while its camera is away, too.
    pub fn condition(&self) -> Condition {
        let reported = self.lock();
        if let Some(Err(blindness)) = &reported.standing {
            return Condition::Blind(blindness.clone());
        }
        if let Some(reason) = reported.no_frames() {
            return Condition::Blind(Blindness::new(Cause::NoFrames, reason));
        }
        match &reported.standing {
            Some(Ok(())) if reported.usable == 0 => Condition::Starting,
            Some(Ok(())) if reported.returning => {
                let reason = "frames arrive again, and none has been looked at yet";
                Condition::Blind(Blindness::new(Cause::NoFrames, reason))
            }
            Some(Ok(())) => Condition::Matching,
            _ => Condition::Starting,
        }
    }

    /// Views that were compared so far, and how able they were to match.
    pub fn views(&self) -> ViewCounts {
        self.lock().pipeline.vision.views()
    }

    /// All counts by name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let reported = self.lock();
        let mut counts = reported.closed.clone();
        tally("source", &reported.source, &mut counts);
        *counts.entry("source.overwritten".into()).or_default() += reported.overwritten;
        tally("pipeline", &reported.pipeline, &mut counts);
        tally("orders", &reported.orders, &mut counts);
        tally("reviews", &reported.reviews, &mut counts);
        tally("audit_log", &reported.audit, &mut counts);
        counts
    }
}

/// Adds every whole number in `counters` to `into` under its dotted path below `prefix`.
pub fn tally(prefix: &str, counters: &impl Serialize, into: &mut BTreeMap<String, u64>) {
    fn walk(path: String, value: &serde_json::Value, into: &mut BTreeMap<String, u64>) {
        match value {
            serde_json::Value::Number(n) => {
                *into.entry(path).or_default() += n.as_u64().unwrap_or(0)
            }
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    walk(format!("{path}.{name}"), value, into);
                }
            }
            _ => {}
        }
    }
    if let Ok(value) = serde_json::to_value(counters) {
        walk(prefix.to_owned(), &value, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_closed_sources_and_of_the_open_one_add_up() {
        let board = StatusBoard::default();
        board.source_closed(SourceCounters { frames: 3, ..SourceCounters::default() }, 1);
        board
            .source_counted(SourceCounters { frames: 4, short: 2, ..SourceCounters::default() }, 5);
        let counts = board.counts();
        assert_eq!(
            (counts["source.frames"], counts["source.short"], counts["source.overwritten"]),
            (7, 2, 6)
        );
    }

    #[test]
    fn what_forbids_matching_is_reported_before_a_missing_picture() {
        let board = StatusBoard::default();
        let at = Duration::from_secs;
        assert_eq!(board.condition(), Condition::Starting);
        board.source_failed("unplugged".into());
        assert!(matches!(board.condition(), Condition::Blind(b) if b.cause == Cause::NoFrames));
        let stopped = Blindness::new(Cause::Suspended, "suspended until noon");
        board.processed(PipelineCounters::default(), Err(stopped), at(1));
        assert!(matches!(board.condition(), Condition::Blind(b) if b.cause == Cause::Suspended));
        board.processed(PipelineCounters::default(), Ok(()), at(2));
        assert!(matches!(board.condition(), Condition::Blind(b) if b.cause == Cause::NoFrames));
        board.frame_captured();
        assert_eq!(board.condition(), Condition::Starting, "captured, and not looked at yet");
        let one = PipelineCounters { frames: 1, ..PipelineCounters::default() };
        board.processed(one, Ok(()), at(3));
        assert_eq!(board.condition(), Condition::Matching);
    }

    #[test]
    fn pictures_that_cannot_be_decoded_are_not_matching_for_a_moment_at_the_start_and_on_return() {
        let board = StatusBoard::default();
        let at = Duration::from_secs;
        let of = |frames, undecodable| PipelineCounters {
            frames,
            undecodable,
            ..PipelineCounters::default()
        };
        board.frame_captured();
        board.processed(of(1, 1), Ok(()), at(1));
        assert_eq!(board.condition(), Condition::Starting);
        board.frame_captured();
        board.processed(of(2, 1), Ok(()), at(2));
        assert_eq!(board.condition(), Condition::Matching);
        board.source_failed("unplugged".into());
        board.frame_captured();
        board.processed(of(3, 2), Ok(()), at(20));
        assert!(matches!(board.condition(), Condition::Blind(b) if b.cause == Cause::NoFrames));
        board.frame_captured();
        board.processed(of(4, 2), Ok(()), at(21));
        assert_eq!(board.condition(), Condition::Matching);
    }

    #[test]
    fn a_minute_of_pictures_that_cannot_be_decoded_is_not_matching() {
        let board = StatusBoard::default();
        let mut counters = PipelineCounters { frames: 1, ..PipelineCounters::default() };
        board.frame_captured();
        board.processed(counters.clone(), Ok(()), Duration::ZERO);
        assert_eq!(board.condition(), Condition::Matching);
        for second in 1..60 {
            board.frame_captured();
            counters.frames += 1;
            counters.undecodable += 1;
            board.processed(counters.clone(), Ok(()), Duration::from_secs(second));
        }
        let Condition::Blind(blindness) = board.condition() else { panic!("it is not blind") };
        assert_eq!(blindness.cause, Cause::NoFrames);
        assert!(blindness.reason.contains("decoded"), "{blindness}");
        assert!(board.activity(0).no_frames.is_some_and(|why| why.contains("decoded")));
    }
}
