//! No event is lost where a process is killed, a broker is killed, or both: a process with a disk outbox decides events
//! and writes down each one that its outbox has taken; it and a real mosquitto are killed at random moments; what a
//! subscriber got is compared with what was written down.
//!
//! `cargo test --test outage -- --nocapture` prints what was compared. `WATCHPOST_OUTAGE_TRIALS=1000` makes it long, and
//! `cargo test --release --test outage -- --ignored figures --nocapture` prints the figures of this machine.

mod support;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::event::status;
use support::{Link, Mosquitto, Subscriber, say, wait_for};
use watchpost::clock::Clock;
use watchpost::delivery::event::{Candidate, CloudEvent, EventId};
use watchpost::delivery::outbox::{Limits, Record, Store, disk};
use watchpost::delivery::{self, BrokerConfig, Delivery, DeviceId};

/// Nothing of a subscriber's waits inside a broker that is killed.
const MOSQUITTO: &str = "allow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n";
const TOPIC: &str = "site/v1/cam-7/candidate";

fn candidate(number: u64) -> Candidate {
    support::event::candidate(number, 3000)
}

fn open(port: u16, outbox: &Path, events: usize) -> Delivery {
    let config = BrokerConfig {
        url: format!("mqtt://127.0.0.1:{port}"),
        root: "site".to_owned(),
        outbox: Some(outbox.to_owned()),
        outbox_events: events,
        outbox_bytes: 1 << 30,
        ..BrokerConfig::default()
    };
    let device = DeviceId::new("cam-7").expect("a plain id");
    let store = delivery::store(&config).expect("nobody else has the folder");
    assert_eq!(store.health().problem, None);
    Delivery::start_with(&config, &device, status(), Clock::default(), store).expect("a good configuration")
}

/// The process that is killed: not a test by itself.
#[test]
#[ignore = "run by the other tests of this file"]
fn the_process_that_decides() {
    let Some(folder) = std::env::var_os("WATCHPOST_OUTAGE_FOLDER").map(PathBuf::from) else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok()).expect("a number");
    let (port, first) = (number("WATCHPOST_OUTAGE_PORT") as u16, number("WATCHPOST_OUTAGE_FIRST"));
    let delivery = open(port, &folder.join("outbox"), 1_000_000);
    let mut audit =
        std::fs::OpenOptions::new().append(true).create(true).open(folder.join("audit")).expect("it can be written");
    for n in 0.. {
        let id = delivery.publish_candidate(candidate(first + n), Clock::default().now()).expect("there is room");
        while delivery.snapshot().outbox.appended <= n {
            std::thread::park_timeout(Duration::from_micros(100));
        }
        // One write call: a kill leaves a whole line or none.
        audit.write_all(format!("{id}\n").as_bytes()).expect("it can be written");
        // Now a burst, now a pause in which the outbox empties.
        if n % 16 == 0 {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn decide(folder: &Path, port: u16, first: u64) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_process_that_decides", "--ignored"])
        .env("WATCHPOST_OUTAGE_FOLDER", folder)
        .env("WATCHPOST_OUTAGE_PORT", port.to_string())
        .env("WATCHPOST_OUTAGE_FIRST", first.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

fn random(below: u64) -> u64 {
    u64::from(getrandom::u32().expect("the system has randomness")) % below
}

fn read(payload: &[u8]) -> (EventId, u64) {
    let event: CloudEvent<Candidate> = serde_json::from_slice(payload).expect("a candidate");
    (event.id, event.data.entry.trim_start_matches("E-").parse().expect("its number"))
}

#[test]
fn whatever_is_killed_everything_decided_arrives_in_order_and_repetitions_carry_the_same_id() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    let trials = std::env::var("WATCHPOST_OUTAGE_TRIALS").ok().and_then(|v| v.parse().ok()).unwrap_or(24);
    broker.start(MOSQUITTO);
    let subscriber = Subscriber::new(broker.port, TOPIC);
    let link = Link::to(broker.port);
    link.open();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (mut process_kills, mut broker_kills, mut cuts) = (0, 0, 0);
    let mut heard = Vec::new();
    for trial in 0..trials {
        let mut process = decide(folder.path(), link.port, trial * 1_000_000);
        std::thread::park_timeout(Duration::from_millis(random(400)));
        let mut broker_is_down = false;
        match random(4) {
            0 => {
                broker_is_down = true;
                broker.kill();
                link.cut();
                broker_kills += 1;
                std::thread::park_timeout(Duration::from_millis(random(100)));
            }
            1 => {
                link.cut();
                cuts += 1;
                std::thread::park_timeout(Duration::from_millis(random(100)));
                link.open();
                // So that it connects once more before it is killed.
                std::thread::park_timeout(Duration::from_millis(random(700)));
            }
            _ => {}
        }
        process.kill().expect("it runs");
        process.wait().expect("it ends");
        process_kills += 1;
        // The device's way stays shut until the subscriber is back: whom a broker does not know it sends nothing.
        link.cut();
        if broker_is_down {
            broker.start(MOSQUITTO);
            subscriber.ready();
        }
        link.open();
        heard.extend(subscriber.so_far());
    }
    let last = open(link.port, &folder.path().join("outbox"), 1_000_000);
    let left = wait_for("the connection", || {
        let snapshot = last.snapshot();
        snapshot.connected.then_some(snapshot.outbox.recovered)
    });
    wait_for("the outbox to empty", || (last.snapshot().outbox_events == 0).then_some(()));
    let outcome = last.stop(support::PATIENCE);
    assert_eq!((outcome.undelivered, outcome.snapshot.store.damaged), (0, 0), "{outcome:?}");

    let audit = std::fs::read_to_string(folder.path().join("audit")).expect("something was decided");
    let decided: Vec<&str> = audit.lines().collect();
    let mut payloads: HashMap<EventId, Vec<u8>> = HashMap::new();
    let (mut numbers, mut repetitions) = (Vec::new(), 0);
    let mut take = |payload: &[u8]| {
        let (id, number) = read(payload);
        match payloads.get(&id) {
            Some(earlier) => {
                assert_eq!(earlier, payload, "a repetition is the same, byte for byte");
                repetitions += 1;
            }
            None => {
                payloads.insert(id, payload.to_vec());
                numbers.push(number);
            }
        }
    };
    heard.iter().for_each(|m| take(&m.payload));
    // What was acknowledged is with the subscriber or on its way through a socket.
    let end = decided.last().expect("something was decided");
    let mut rest = subscriber.so_far();
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        rest.iter().for_each(|m| take(&m.payload));
        if rest.iter().any(|m| read(&m.payload).0.to_string() == *end) || Instant::now() > patience {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(20));
        rest = subscriber.so_far();
    }
    say(&format!(
        "outage: {trials} trials, {process_kills} process kills, {broker_kills} broker kills, {cuts} cuts; {} decided, {} \
         arrived, {repetitions} repetitions, {left} waited at the end.",
        decided.len(),
        numbers.len(),
    ));
    let arrived: std::collections::HashSet<String> = payloads.keys().map(ToString::to_string).collect();
    let lost: Vec<_> = decided.iter().filter(|id| !arrived.contains(**id)).collect();
    assert!(lost.is_empty(), "{} of {} are lost", lost.len(), decided.len());
    assert!(numbers.is_sorted(), "the order of decisions is kept");
}

#[test]
#[ignore = "prints figures; run it with --release"]
fn figures() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    let events: usize = std::env::var("WATCHPOST_FIGURES_EVENTS").ok().and_then(|v| v.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk");
    let outbox = folder.path().join("outbox");
    let mut store = disk::open(&outbox, Limits { events, bytes: 1 << 30 }).expect("a new folder");
    let first = store.recover().expect("empty").next;
    let device = DeviceId::new("cam-7").expect("a plain id");
    let mut times = Vec::with_capacity(events);
    for (n, position) in (0..events).zip(first..) {
        let now = Clock::default().now();
        let mut candidate = candidate(n as u64);
        candidate.crop = candidate.crop.filter(|_| n < 1000);
        let (id, expires) = (EventId::new(now), candidate.expires);
        let payload = CloudEvent::new(id, &device, now, candidate).to_json().expect("JSON").into();
        let began = Instant::now();
        store.append(position, &Record { id, expires, payload }).expect("the disk takes it");
        times.push(began.elapsed());
    }
    drop(store);
    let mut with_crop = times[..1000.min(events)].to_vec();
    with_crop.sort_unstable();
    times.sort_unstable();
    let at = |times: &[Duration], share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    say(&format!(
        "append and fdatasync: {:.2} ms p50, {:.2} ms p99; with a crop of 3 kB {:.2} ms p50.",
        at(&times, 0.5),
        at(&times, 0.99),
        at(&with_crop, 0.5)
    ));
    broker.start(MOSQUITTO);
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = resident();
    let began = Instant::now();
    let delivery = open(broker.port, &outbox, events);
    let opened = (began.elapsed(), resident());
    let began = Instant::now();
    while delivery.snapshot().outbox.delivered < events as u64 {
        assert!(began.elapsed() < Duration::from_secs(300), "{:?}", delivery.snapshot());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let took = began.elapsed();
    say(&format!(
        "{events} events found in {:.0} ms with {} kB of memory; drained in {:.2} s: {:.0} a second.",
        opened.0.as_secs_f64() * 1e3,
        opened.1.saturating_sub(before),
        took.as_secs_f64(),
        events as f64 / took.as_secs_f64()
    ));
    assert_eq!(delivery.stop(support::PATIENCE).undelivered, 0);
}
