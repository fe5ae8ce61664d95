//! What the supervisor publishes: status when it changes, counts now and then.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use time::OffsetDateTime;

use super::auditor::Auditor;
use super::health::{Health, HealthMonitor, ServiceManager};
use super::metrics::TEMPERATURE;
use super::status_board::{Condition, StatusBoard, tally};
use super::stop::Stop;
use crate::clock::Clock;
use crate::config::{Config, promises};
use crate::delivery::event::{ClockQuality, Ending, EndingSoon, Promises, State, Stats, Status};
use crate::delivery::{Delivery, Snapshot};
use crate::device::ListStatus;
use crate::hardware;
use crate::vision::{Outlook, PoorSight};
use crate::watchlist::clock;
use crate::watchlist::text::stamp;

/// How often the supervisor reads the status board.
const ROUND: Duration = Duration::from_millis(250);

/// Names, or beginnings of names that end in a dot, of counts that say that something was lost or
/// turned away.
const DROPS: &[&str] = &[
    "delivery.inbound.dropped",
    "delivery.inbound.oversized",
    "delivery.not_taken",
    "delivery.replies_dropped",
    "delivery.outbox.dropped",
    "delivery.outbox.expired",
    "delivery.outbox.full",
    "delivery.outbox.given_up",
    "delivery.outbox.late",
    "delivery.outbox.revoked",
    "delivery.outbox.store_errors",
    "delivery.outbox.set_aside",
    "delivery.outbox.too_large",
    "delivery.outbox.unreadable",
    "delivery.store.damaged",
    "delivery.stripped",
    "delivery.too_large",
    "orders.malformed",
    "orders.not_authentic",
    "orders.offers_refused",
    "orders.refused",
    "orders.repeated",
    "orders.statements_refused",
    "pipeline.blind",
    "pipeline.crops_failed",
    "pipeline.decision.beyond_capacity",
    "pipeline.decision.cooling",
    "pipeline.decision.faded",
    "pipeline.failed",
    "pipeline.silent",
    "pipeline.undecodable",
    "pipeline.vision.beyond_capacity",
    "pipeline.vision.deferred",
    "pipeline.vision.too_poor.",
    "pipeline.vision.untracked",
    "reviews.not_authentic",
    "reviews.refused",
    "reviews.repeated",
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
const GAUGES: [&str; 4] = [
    "delivery.outbox_events",
    "delivery.outbox_bytes",
    "delivery.outbox_oldest_seconds",
    "delivery.store.in_memory",
];

fn sorted(since: OffsetDateTime, all: BTreeMap<String, u64>) -> Stats {
    let is_drop = |name: &str| {
        DROPS.iter().any(|d| if d.ends_with('.') { name.starts_with(d) } else { name == *d })
    };
    let mut stats =
        Stats { since, counts: BTreeMap::new(), drops: BTreeMap::new(), gauges: BTreeMap::new() };
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

/// Turns what the threads report into status and statistics.
pub struct Reporter {
    clock: Clock,
    started: OffsetDateTime,
    stats_every: Option<Duration>,
    /// Which promises the configuration keeps.
    promises: Promises,
}

impl Reporter {
    /// A reporter that starts to count now.
    pub fn new(config: &Config, clock: Clock) -> Self {
        let every = u64::from(config.broker.stats_interval_s);
        Self {
            clock,
            started: clock.now().wall,
            stats_every: (every > 0).then(|| Duration::from_secs(every)),
            promises: promises::promises(config),
        }
    }

    /// The status to publish in `condition` with `list` in force, where this `problem` does not
    /// keep the device from going on.
    pub fn status(
        &self,
        condition: &Condition,
        list: Option<&ListStatus>,
        problem: Option<String>,
    ) -> Status {
        let (state, reason) = match condition {
            Condition::Starting => {
                (State::Blind, Some("starting: no frame has been looked at yet".to_owned()))
            }
            Condition::Matching => (State::Online, None),
            Condition::Blind(blindness) => (State::Blind, Some(blindness.to_string())),
        };
        Status {
            state,
            since: self.clock.now().wall,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            matching: *condition == Condition::Matching,
            list: list.map(|l| l.list.clone()),
            reason,
            threshold: list.map(|l| l.threshold),
            clock: ClockQuality::of(clock::kernel_synchronised()),
            degraded: problem,
            promises: self.promises.clone(),
            ends_soon: Vec::new(),
        }
    }

    /// All counts so far.
    pub fn stats(&self, board: &StatusBoard, delivery: &Delivery) -> Stats {
        let mut counts = board.counts();
        let snapshot = delivery.snapshot();
        tally("delivery", &snapshot, &mut counts);
        let mut stats = sorted(self.started, counts);
        let mut gauge = |name: &str, value: f64| stats.gauges.insert(name.to_owned(), value);
        gauge("delivery.connected", snapshot.connected.into());
        gauge("matching", (board.condition() == Condition::Matching).into());
        if let Some(list) = board.list() {
            let now = self.clock.now().wall;
            gauge("list.age_seconds", (now - list.issued).whole_seconds() as f64);
            gauge("list.expires_in_seconds", (list.list.expires - now).whole_seconds() as f64);
        }
        for (what, ends) in endings(board.list().as_ref(), board.trust_ends(), &snapshot) {
            let name = match what {
                Ending::List => "list.expires_timestamp_seconds",
                Ending::SiteRecord => "list.site_expires_timestamp_seconds",
                Ending::TrustFile => "trust.expires_timestamp_seconds",
                Ending::DeviceCertificate => "certificate.expires_timestamp_seconds",
                Ending::BrokerCertificate => "broker_certificate.expires_timestamp_seconds",
                Ending::AuthorityCertificate => "authority_certificate.expires_timestamp_seconds",
            };
            gauge(name, ends.unix_timestamp() as f64);
        }
        let thermal = hardware::read(Path::new("/sys"));
        if let Some(celsius) = thermal.warmest() {
            gauge("board.temperature_celsius", celsius);
        }
        for (zone, celsius) in &thermal.zones {
            gauge(&format!("{TEMPERATURE}{zone}"), *celsius);
        }
        if let Some(throttled) = thermal.throttled {
            gauge("board.throttled", throttled.into());
        }
        stats
    }

    /// What a heartbeat of the audit log says.
    pub fn counts(&self, board: &StatusBoard, delivery: &Delivery) -> BTreeMap<String, u64> {
        let Stats { mut counts, drops, .. } = self.stats(board, delivery);
        counts.extend(drops);
        counts
    }

    /// Publishes changes of the condition and, now and then, counts, until the daemon stops.
    pub fn supervise(
        &self,
        board: &StatusBoard,
        delivery: &Delivery,
        auditor: &Auditor,
        stop: &Stop,
    ) {
        let mut published = (Condition::Starting, board.list(), None, Vec::<EndingSoon>::new());
        let mut counted = Instant::now();
        let mut manager = ServiceManager::find();
        let mut monitor = HealthMonitor::new(self.clock.now().monotonic);
        let mut alive = true;
        let mut outlook = Outlook::default();
        let mut sight = None;
        manager.ready();
        while stop.wait(ROUND).is_none() {
            let link = delivery.snapshot();
            let at = self.clock.now().monotonic;
            let health = monitor.judge(board.activity(link.beats), at);
            manager.report(&health, &summary(&health, &board.condition(), link.connected), at);
            if health.is_alive() != alive {
                alive = !alive;
                if alive {
                    info!("All stages are alive again.");
                } else {
                    error!(
                        "A stage hangs; a service manager with a watchdog will restart the \
                         daemon: {health}."
                    );
                }
            }
            let seen = outlook.judge(board.views(), at);
            if seen != sight {
                match seen {
                    Some(poor) => warn!("Hardly anybody can be matched: {poor}."),
                    None => info!("Most views are able to match again, or too few come to tell."),
                }
                sight = seen;
            }
            let list = board.list();
            let problem = degraded(
                [link.store.problem.clone(), auditor.degraded()],
                sight,
                list.as_ref(),
                board.further_problems(),
            );
            let ends = endings(list.as_ref(), board.trust_ends(), &link);
            let ends = ending_soon(ends, self.clock.now().wall);
            let now = (board.condition(), list, problem, ends);
            for ending in now.3.iter().filter(|e| !published.3.contains(e)) {
                warn!(
                    "Something ends soon: what={} ends={} remedy={}.",
                    ending.what,
                    stamp(&ending.ends),
                    ending.what.remedy()
                );
            }
            auditor.condition(&now.0, delivery, self.clock.now());
            auditor.tick(|| self.counts(board, delivery), delivery, self.clock.now());
            board.set_audit(auditor.writes());
            if now.0 != published.0 {
                match &now.0 {
                    Condition::Blind(b) => {
                        warn!("Nobody is matched: reason={} {}.", b.cause, b.reason)
                    }
                    Condition::Matching => info!("Faces are compared with the watch list."),
                    Condition::Starting => {}
                }
            }
            if now != published {
                let status = self.status(&now.0, now.1.as_ref(), now.2.clone());
                delivery.set_status(Status { ends_soon: now.3.clone(), ..status });
                published = now;
            }
            if self.stats_every.is_some_and(|every| counted.elapsed() >= every) {
                delivery.publish_stats(self.stats(board, delivery));
                counted = Instant::now();
            }
        }
        manager.stopping();
    }
}

/// What ends, and when.
fn endings(
    list: Option<&ListStatus>,
    trust: Option<OffsetDateTime>,
    link: &Snapshot,
) -> Vec<(Ending, OffsetDateTime)> {
    let all = [
        (Ending::List, list.map(|list| list.list.expires)),
        (Ending::SiteRecord, list.and_then(|list| list.list.site_until)),
        (Ending::TrustFile, trust),
        (Ending::DeviceCertificate, link.certificate_ends),
        (Ending::BrokerCertificate, link.broker_certificate_ends),
        (Ending::AuthorityCertificate, link.authority_certificate_ends),
    ];
    all.into_iter().filter_map(|(what, ends)| Some((what, ends?))).collect()
}

fn ending_soon(all: Vec<(Ending, OffsetDateTime)>, now: OffsetDateTime) -> Vec<EndingSoon> {
    let soon = all.into_iter().filter(|(_, ends)| EndingSoon::is_soon(*ends, now));
    soon.map(|(what, ends)| EndingSoon { what, ends }).collect()
}

/// All that does not work as it should while the device goes on.
fn degraded(
    problems: [Option<String>; 2],
    sight: Option<PoorSight>,
    list: Option<&ListStatus>,
    further: Vec<String>,
) -> Option<String> {
    let busy = list.filter(|list| list.faces[1] > list.faces[0]).map(|list| {
        let [declared, planned] = list.faces;
        format!(
            "more faces pass than the list declares ({declared} a day): the threshold is that for \
             {planned}, and more listed people are missed; have a list signed for the real number"
        )
    });
    let sight = sight.map(|s| s.to_string());
    let all: Vec<String> =
        problems.into_iter().flatten().chain(sight).chain(busy).chain(further).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// The line that `systemctl status` shows.
fn summary(health: &Health, condition: &Condition, connected: bool) -> String {
    let link = if connected { "broker connected" } else { "broker away, candidates wait" };
    match (health.is_alive(), condition) {
        (false, _) => format!("{health}; {link}"),
        (true, Condition::Starting) => format!("starting; {link}"),
        (true, Condition::Matching) => format!("matching; {link}"),
        (true, Condition::Blind(blindness)) => format!("blind: {blindness}; {link}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_is_wrong_with_the_disk_and_with_the_sight() {
        use crate::vision::HardlyAble;
        assert_eq!(degraded([None, None], None, None, Vec::new()), None);
        let dark = Some(PoorSight::HardlyAble(HardlyAble::Dark));
        let both =
            degraded([Some("the disk is full".into()), None], dark, None, Vec::new()).unwrap();
        assert!(both.starts_with("the disk is full; most views"), "{both}");
        assert!(degraded([None, None], dark, None, Vec::new()).unwrap().contains("add light"));
    }

    #[test]
    fn a_drop_is_published_as_one_under_its_name_and_every_named_drop_exists() {
        let mut all = StatusBoard::default().counts();
        tally("delivery", &crate::delivery::Snapshot::default(), &mut all);
        for drop in DROPS {
            assert!(
                all.keys().any(|name| name == drop || name.starts_with(drop)),
                "no counter is called {drop}"
            );
        }
        for gauge in GAUGES {
            assert!(all.contains_key(gauge), "no figure is called {gauge}");
        }
        let stats = sorted(OffsetDateTime::UNIX_EPOCH, all);
        assert!(stats.drops.contains_key("pipeline.vision.too_poor.blurred"));
        assert!(
            stats.counts.contains_key("source.frames")
                && !stats.drops.contains_key("source.frames")
        );
    }
}
