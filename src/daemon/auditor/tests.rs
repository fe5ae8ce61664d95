use time::OffsetDateTime;

use super::*;
use crate::audit::record::{AuditRecord, MAX_PLACE};
use crate::audit::store::{AuditStoreError, LOG, scan};
use crate::clock::Clock;
use crate::delivery::event::{ClockQuality, CloudEvent, State, Status};
use crate::delivery::outbox::disk;
use crate::delivery::{BrokerConfig, DeviceId};
use crate::watchlist::keys::SecretKey;

fn at(seconds: u64, wall: i64) -> Now {
    let wall = OffsetDateTime::from_unix_timestamp(1_764_400_000 + wall).unwrap();
    Now { monotonic: Duration::from_secs(seconds), wall }
}

/// A device without a broker, whose log is in `folder`.
fn device(folder: &std::path::Path) -> (Config, Delivery) {
    let identity = folder.join("identity.key");
    SecretKey::from_seed(&[1; 32]).create_file(&identity).unwrap();
    let mut config = Config::default();
    config.audit.identity = Some(identity);
    config.audit.log = folder.join("audit");
    config.broker.url = "mqtt://127.0.0.1:1".into();
    let broker = BrokerConfig { outbox: None, ..config.broker.clone() };
    let id = DeviceId::new(&config.device.id).unwrap();
    let delivery = Delivery::start(&broker, &id, status(), Clock::default()).unwrap();
    (config, delivery)
}

fn status() -> Status {
    Status {
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
    }
}

/// The same with an outbox on the disk.
fn device_with_an_outbox(folder: &std::path::Path) -> (Config, Auditor, Delivery) {
    let (mut config, memory) = device(folder);
    drop(memory);
    config.broker.outbox = Some(folder.join("outbox"));
    let (auditor, delivery) = started(&config);
    (config, auditor, delivery)
}

fn started(config: &Config) -> (Auditor, Delivery) {
    let auditor = Auditor::open(config, Clock::default().now());
    let mut store = crate::delivery::store(&config.broker).unwrap();
    store.keep_for(auditor.log_of_outbox());
    let id = DeviceId::new(&config.device.id).unwrap();
    let clock = Clock::default();
    let delivery = Delivery::start_with(&config.broker, &id, status(), clock, store).unwrap();
    (auditor, delivery)
}

/// Publishes the candidate `number` of this process, and waits until the outbox has it.
fn publish_one(config: &Config, auditor: &Auditor, delivery: &Delivery, number: u64) {
    let golden = include_str!("../../delivery/event/golden/candidate.v1.json");
    let event: CloudEvent<Candidate> = serde_json::from_str(golden).unwrap();
    let now = Clock::default().now();
    let expires = now.wall + time::Duration::hours(1);
    let candidate = Candidate { expires, ..event.data };
    let mut reviews = Reviews::open(config);
    auditor.publish(candidate, &mut reviews, delivery, now).unwrap();
    // Each record has an entry.
    let handed_over = auditor.writes().records + number;
    while delivery.snapshot().outbox.appended < handed_over {
        std::thread::yield_now();
    }
}

/// Both end without an end, and nobody has the folder of the outbox any more.
fn crash(config: &Config, auditor: Auditor, delivery: Delivery) {
    drop((auditor, delivery));
    let folder = config.broker.outbox_folder().unwrap();
    while disk::open(folder, config.broker.limits()).is_err() {
        std::thread::yield_now();
    }
}

fn events(config: &Config) -> Vec<AuditEvent> {
    let mut found = Vec::new();
    let file = std::fs::File::open(config.audit.log.join(LOG)).unwrap();
    scan(file, |_, _, bytes| found.push(AuditRecord::from_bytes(bytes).unwrap().event)).unwrap();
    found
}

#[test]
fn without_an_identity_there_is_no_log_and_nothing_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, delivery) = device(dir.path());
    config.audit.identity = None;
    let auditor = Auditor::open(&config, at(0, 0));
    auditor.started(&delivery, at(0, 0));
    assert_eq!((auditor.blindness(), auditor.degraded()), (None, None));
    assert!(!config.audit.log.exists());
}

#[test]
fn a_day_of_a_device_is_in_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, delivery) = device(dir.path());
    config.watchlist.accept_plain = true;
    config.device.place = "é".repeat(MAX_PLACE);
    let auditor = Auditor::open(&config, at(0, 0));
    auditor.started(&delivery, at(0, 0));
    auditor.condition(&Condition::Starting, &delivery, at(1, 1));
    let suspended = Condition::Blind(Blindness::new(Cause::Suspended, "until noon"));
    for condition in [&Condition::Matching, &Condition::Matching, &suspended, &Condition::Matching]
    {
        auditor.condition(condition, &delivery, at(2, 2));
    }
    let counts = || BTreeMap::from([("pipeline.frames".to_owned(), 9)]);
    auditor.tick(counts, &delivery, at(3, 3));
    // The wall clock jumps by a day; the machine's own does not.
    auditor.tick(counts, &delivery, at(4, 86_400));
    auditor.tick(counts, &delivery, at(3600, 86_400 + 3596));
    let later = BTreeMap::from([("pipeline.frames".to_owned(), 12)]);
    auditor.stopped(&later, &delivery, at(3601, 86_400 + 3597));
    let used = |why| AuditEvent::UseEnded { why };
    assert_eq!(
        events(&config),
        [
            AuditEvent::Started { program: env!("CARGO_PKG_VERSION").into() },
            AuditEvent::Placed { place: "é".repeat(MAX_PLACE / 2) },
            AuditEvent::Weakened {
                settings: vec![WeakSetting::AcceptPlain, WeakSetting::UnsealedList],
            },
            AuditEvent::UseBegan,
            used(EndOfUse::Blind(Cause::Suspended)),
            AuditEvent::UseBegan,
            AuditEvent::ClockJumped { expected_ms: 1_764_400_004_000 },
            AuditEvent::Heartbeat { counts: counts() },
            AuditEvent::Heartbeat { counts: later },
            used(EndOfUse::Stopped),
            AuditEvent::Stopped,
        ]
    );
}

#[test]
fn a_log_that_cannot_be_written_makes_blind_or_degraded_as_configured_and_a_rolled_back_one_blind()
{
    let dir = tempfile::tempdir().unwrap();
    let (mut config, delivery) = device(dir.path());
    let auditor = Auditor::open(&config, at(0, 0));
    auditor.started(&delivery, at(0, 0));
    let full = || JournalError::Store(AuditStoreError::Size(0));
    auditor.note(Err(full()));
    assert_eq!(auditor.blindness().map(|b| b.cause), Some(Cause::AuditNotStored));
    assert_eq!(auditor.degraded(), None);
    auditor.tick(BTreeMap::new, &delivery, at(10, 10));
    assert_eq!(auditor.blindness(), None, "the disk takes records again");
    drop(auditor);
    let log = config.audit.log.join(LOG);
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, &whole[..whole.len() - 1]).unwrap();
    for policy in [OnFailure::Blind, OnFailure::Degraded] {
        config.audit.on_failure = policy;
        let auditor = Auditor::open(&config, at(0, 0));
        assert_eq!(auditor.blindness().map(|b| b.cause), Some(Cause::AuditRolledBack));
    }
    std::fs::write(&log, "x").unwrap();
    let auditor = Auditor::open(&config, at(0, 0));
    assert_eq!(auditor.blindness().map(|b| b.cause), Some(Cause::AuditUnusable));
    assert_eq!(auditor.degraded(), None);
}

#[test]
fn a_disk_that_fails_is_gone_on_without_where_that_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, delivery) = device(dir.path());
    config.audit.on_failure = OnFailure::Degraded;
    let auditor = Auditor::open(&config, at(0, 0));
    auditor.started(&delivery, at(0, 0));
    auditor.note(Err(JournalError::Store(AuditStoreError::Size(0))));
    assert_eq!(auditor.blindness(), None);
    assert!(auditor.degraded().is_some_and(|why| why.contains("no audit log")));
}

#[test]
fn each_key_that_weakens_a_promise_can_be_in_a_record() {
    let keys: std::collections::BTreeSet<_> =
        WeakSetting::ALL.iter().map(|setting| setting.words()).collect();
    let weakening: std::collections::BTreeSet<_> = crate::config::promises::weakening_keys()
        // Without an identity there is no log.
        .filter(|key| *key != "audit.identity")
        .collect();
    assert_eq!(keys, weakening);
}

#[test]
fn candidates_need_no_sync_of_the_log_and_their_records_are_back_after_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (config, auditor, delivery) = device_with_an_outbox(dir.path());
    auditor.started(&delivery, Clock::default().now());
    let log = config.audit.log.join(LOG);
    let (synced, before) = (std::fs::read(&log).unwrap(), auditor.writes());
    for number in 1..=3 {
        publish_one(&config, &auditor, &delivery, number);
    }
    let writes = auditor.writes();
    assert_eq!((writes.syncs - before.syncs, writes.covered - before.covered), (0, 3));
    let all = events(&config);
    // The log's disk has none of it.
    crash(&config, auditor, delivery);
    std::fs::write(&log, &synced).unwrap();
    let (auditor, delivery) = started(&config);
    assert_eq!(auditor.blindness(), None);
    assert_eq!(events(&config), all);
    // From now on the log has them by itself.
    crash(&config, auditor, delivery);
    std::fs::remove_dir_all(config.broker.outbox_folder().unwrap()).unwrap();
    let (auditor, _delivery) = started(&config);
    assert_eq!(auditor.blindness(), None);
    assert_eq!(events(&config), all);
}

#[test]
fn without_an_outbox_on_the_disk_each_candidate_waits_for_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (config, delivery) = device(dir.path());
    let auditor = Auditor::open(&config, Clock::default().now());
    let before = auditor.writes();
    publish_one(&config, &auditor, &delivery, 1);
    let writes = auditor.writes();
    assert_eq!((writes.syncs - before.syncs, writes.covered), (2, 0), "record and checkpoint");
}

#[test]
fn a_log_that_begins_anew_leaves_its_last_candidates_with_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (config, auditor, delivery) = device_with_an_outbox(dir.path());
    auditor.started(&delivery, Clock::default().now());
    let log = config.audit.log.join(LOG);
    let synced = std::fs::read(&log).unwrap();
    publish_one(&config, &auditor, &delivery, 1);
    let whole = std::fs::read(&log).unwrap();
    crash(&config, auditor, delivery);
    std::fs::write(&log, &synced).unwrap();
    let asked = AskedLog::new(
        crate::audit::generation::Generation::named(
            &format!("{}.2", config.device.id),
            &config.device.id,
        )
        .unwrap(),
        true,
    );
    let journal = open(&config, asked).unwrap().expect("an identity");
    assert_eq!(journal.size(), 0, "the outbox holds nothing for this one");
    let before = config.audit.log.join(format!("before-{}", config.device.id)).join(LOG);
    assert_eq!(std::fs::read(before).unwrap(), whole);
}
