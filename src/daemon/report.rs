//! What the supervisor publishes: status when it changes, counts now and then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use log::{info, warn};
use time::OffsetDateTime;

use super::board::{Board, Condition, tally};
use super::stop::Stop;
use crate::clock::Clock;
use crate::config::Config;
use crate::decision::policy::{Blindness, Force};
use crate::delivery::Delivery;
use crate::delivery::event::{ClockQuality, ListInForce, State, Stats, Status};
use crate::watchlist::store;

/// How often the supervisor looks at the board.
const ROUND: Duration = Duration::from_millis(250);

/// Names, or beginnings of names that end in a dot, of counts that say that something was lost or turned away.
const DROPS: [&str; 28] = [
    "delivery.not_taken",
    "delivery.outbox.dropped",
    "delivery.outbox.expired",
    "delivery.outbox.full",
    "delivery.outbox.given_up",
    "delivery.outbox.late",
    "delivery.outbox.store_errors",
    "delivery.outbox.too_large",
    "delivery.outbox.unreadable",
    "pipeline.blind",
    "pipeline.crops_failed",
    "pipeline.decision.beyond_capacity",
    "pipeline.decision.cooling",
    "pipeline.failed",
    "pipeline.undecodable",
    "pipeline.vision.beyond_capacity",
    "pipeline.vision.deferred",
    "pipeline.vision.too_poor.",
    "pipeline.vision.untracked",
    "source.error_flagged",
    "source.missed",
    "source.out_of_step",
    "source.oversized",
    "source.overwritten",
    "source.short",
    "source.timeouts",
    "source.truncated",
    "source.unreadable",
];

/// Figures that are as they are at the moment rather than counted from the start.
const GAUGES: [&str; 2] = ["delivery.outbox_events", "delivery.outbox_bytes"];

fn sorted(since: OffsetDateTime, all: BTreeMap<String, u64>) -> Stats {
    let is_drop = |name: &str| DROPS.iter().any(|d| if d.ends_with('.') { name.starts_with(d) } else { name == *d });
    let mut stats = Stats { since, counts: BTreeMap::new(), drops: BTreeMap::new(), gauges: BTreeMap::new() };
    for (name, value) in all {
        if GAUGES.contains(&name.as_str()) {
            stats.gauges.insert(name, value as f64);
        } else if is_drop(&name) {
            stats.drops.insert(name, value);
        } else {
            stats.counts.insert(name, value);
        }
    }
    stats
}

/// Turns what the board says into status and statistics.
pub struct Reporter {
    clock: Clock,
    started: OffsetDateTime,
    stats_every: Option<Duration>,
    list: Option<ListInForce>,
    threshold: Option<f32>,
}

impl Reporter {
    /// A reporter of the list that is in force, if any.
    pub fn new(config: &Config, force: &Result<Force, Blindness>, clock: Clock) -> Self {
        let force = force.as_ref().ok();
        let every = u64::from(config.broker.stats_interval_s);
        Self {
            clock,
            started: clock.now().wall,
            stats_every: (every > 0).then(|| Duration::from_secs(every)),
            list: force.map(|f| ListInForce {
                id: f.list().id().to_string(),
                version: f.list().version(),
                expires: f.list().expires(),
            }),
            threshold: force.map(|f| f.plan().threshold),
        }
    }

    /// The status to publish in `condition`.
    pub fn status(&self, condition: &Condition) -> Status {
        let (state, reason) = match condition {
            Condition::Starting => (State::Blind, Some("starting: no frame has been looked at yet".to_owned())),
            Condition::Matching => (State::Online, None),
            Condition::Blind(blindness) => (State::Blind, Some(blindness.to_string())),
        };
        Status {
            state,
            since: self.clock.now().wall,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            matching: *condition == Condition::Matching,
            list: self.list.clone(),
            reason,
            threshold: self.threshold,
            clock: if store::kernel_synchronised() { ClockQuality::Synchronized } else { ClockQuality::Unsynchronized },
        }
    }

    /// All counts so far.
    pub fn stats(&self, board: &Board, delivery: &Delivery) -> Stats {
        let mut counts = board.counts();
        tally("delivery", &delivery.snapshot(), &mut counts);
        sorted(self.started, counts)
    }

    /// Publishes changes of the condition and, now and then, counts, until somebody asks to stop.
    pub fn supervise(&self, board: &Board, delivery: &Delivery, stop: &Stop) {
        let mut told = Condition::Starting;
        let mut counted = Instant::now();
        while stop.wait(ROUND).is_none() {
            let condition = board.condition();
            if condition != told {
                match &condition {
                    Condition::Blind(b) => warn!("Nobody is matched: reason={} {}.", b.code, b.reason),
                    Condition::Matching => info!("Faces are compared with the watch list."),
                    Condition::Starting => {}
                }
                delivery.set_status(self.status(&condition));
                told = condition;
            }
            if self.stats_every.is_some_and(|every| counted.elapsed() >= every) {
                delivery.publish_stats(self.stats(board, delivery));
                counted = Instant::now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_is_published_as_one_under_its_name_and_every_named_drop_exists() {
        let mut all = Board::default().counts();
        tally("delivery", &crate::delivery::Snapshot::default(), &mut all);
        for drop in DROPS {
            assert!(all.keys().any(|name| name == drop || name.starts_with(drop)), "no counter is called {drop}");
        }
        for gauge in GAUGES {
            assert!(all.contains_key(gauge), "no figure is called {gauge}");
        }
        let stats = sorted(OffsetDateTime::UNIX_EPOCH, all);
        assert!(stats.drops.contains_key("pipeline.vision.too_poor.blurred"));
        assert!(stats.counts.contains_key("source.frames") && !stats.drops.contains_key("source.frames"));
    }
}
