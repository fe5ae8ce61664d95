use std::io;
use std::sync::Mutex;

use time::OffsetDateTime;

use super::*;
use crate::delivery::event::{ClockQuality, State};
use crate::delivery::exchange::Exchange;
use crate::delivery::inbound::TakesNothing;
use crate::delivery::outbox::{Carried, CarriedLog, MemoryStore, Outbox, Together};
use crate::delivery::session;

/// A log whose disk takes nothing for a while.
#[derive(Default)]
struct Log {
    works: Mutex<bool>,
    covered: Mutex<u64>,
}

impl CarriedLog for Log {
    fn is_settled(&self) -> bool {
        *self.works.lock().unwrap()
    }

    fn settle(&self) -> io::Result<()> {
        if self.is_settled() { Ok(()) } else { Err(io::Error::other("the log's disk")) }
    }

    fn covered(&self, records: u64) {
        *self.covered.lock().unwrap() = records;
    }
}

/// A worker with a broker that has just answered.
fn connected() -> DeliveryWorker {
    let config = BrokerConfig::default();
    let device = DeviceId::new("cam").unwrap();
    let topics = Topics::new("w", &device).unwrap();
    let store: Box<dyn Store> = Box::new(MemoryStore::default());
    let outbox = Outbox::new(store, config.limits()).unwrap();
    let status = Status {
        state: State::Blind,
        since: OffsetDateTime::UNIX_EPOCH,
        version: String::new(),
        matching: false,
        list: None,
        reason: None,
        threshold: None,
        clock: ClockQuality::Unknown,
        degraded: None,
        promises: Default::default(),
        ends_soon: Vec::new(),
    };
    let (_, events) = tokio::sync::mpsc::channel(1);
    let exchange = Arc::new(Exchange::default());
    let mut worker = DeliveryWorker::new(
        &config,
        Names {
            url: "mqtt://127.0.0.1:1".parse().unwrap(),
            client_id: "cam".into(),
            device,
            topics: topics.clone(),
        },
        Clock::default(),
        Session::new(outbox, topics),
        status,
        Inputs { events, exchange },
        Box::new(TakesNothing),
    );
    let now = worker.clock.now();
    worker.session.connected(false, None, None, now);
    worker
}

fn sent(worker: &mut DeliveryWorker) -> Vec<(String, Vec<u8>)> {
    let now = worker.clock.now();
    std::iter::from_fn(|| worker.session.next(now)).map(|p| (p.topic, p.payload)).collect()
}

fn candidate(log: &Arc<Log>) -> Batch {
    let golden = include_bytes!("../event/golden/candidate.v1.json");
    let expires = OffsetDateTime::now_utc() + time::Duration::hours(1);
    let event = session::record(EventId::from_u128(1), expires, golden.to_vec());
    let carried = Carried {
        bytes: b"of the log".to_vec(),
        records: 7,
        log: log.clone(),
        checkpoint: "w/cam\n7\nroot\n".into(),
        announcement: Some("grown".into()),
    };
    Batch { events: Together::from_iter([event]), carried: Some(Box::new(carried)) }
}

#[test]
fn nothing_of_a_candidate_is_published_before_a_disk_has_its_record() {
    let (mut worker, log) = (connected(), Arc::new(Log::default()));
    worker.enqueue(candidate(&log));
    assert_eq!(sent(&mut worker), [], "neither of the two disks takes its record");
    assert!(!worker.inputs.exchange.carries());
    worker.retry_unrecorded();
    assert_eq!(sent(&mut worker), []);
    assert_eq!(worker.stop_report(false).lost, 1, "it is in memory only");
    *log.works.lock().unwrap() = true;
    worker.retry_unrecorded();
    let topics: Vec<String> = sent(&mut worker).into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(
        topics,
        ["w/v1/cam/audit/checkpoint", "w/v1/cam/audit/consistency", "w/v1/cam/candidate"]
    );
    assert_eq!(*log.covered.lock().unwrap(), 0, "the log's own disk has it");
}

#[test]
fn a_candidate_that_waits_for_a_disk_and_is_revoked_is_never_published() {
    let (mut worker, log) = (connected(), Arc::new(Log::default()));
    worker.enqueue(candidate(&log));
    let golden: serde_json::Value =
        serde_json::from_slice(&candidate(&log).events[0].payload).unwrap();
    let list = golden["data"]["list"]["id"].as_str().unwrap().to_owned();
    worker.revoking.push(RevokedCandidates { list, through: u64::MAX, entry: None });
    worker.revoke(worker.clock.now());
    *log.works.lock().unwrap() = true;
    worker.retry_unrecorded();
    let topics: Vec<String> = sent(&mut worker).into_iter().map(|(topic, _)| topic).collect();
    assert!(!topics.iter().any(|topic| topic.ends_with("/candidate")), "{topics:?}");
}
