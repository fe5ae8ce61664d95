//! Kills at random moments, and the comparison of what was decided with what a subscriber got.
//!
//! A process decides candidates, hands them to delivery with a disk outbox, and writes down each
//! one that the outbox says is on the disk. It is killed with SIGKILL in each trial; beside that
//! the broker is killed, the link is cut, the disk is filled, or it is read-only. What the outbox
//! holds in memory only, as it tells, is not written down before it is on the disk.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use watchpost::clock::Clock;
use watchpost::delivery::event::{Candidate, CloudEvent, EventId};
use watchpost::delivery::{self, BrokerConfig, Delivery, DeviceId};

use super::disk::SmallDisk;
use super::event::status;
use super::wire::Listener;
use super::{Link, Mosquitto, PATIENCE, say, wait_for};

/// Nothing of a subscriber's waits inside a broker that is killed.
pub const MOSQUITTO: &str =
    "allow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n";
pub const TOPIC: &str = "site/v1/cam-7/candidate";

pub fn config(port: u16, outbox: &Path, events: usize) -> BrokerConfig {
    BrokerConfig {
        url: format!("mqtt://127.0.0.1:{port}"),
        root: "site".to_owned(),
        outbox: Some(outbox.to_owned()),
        ledger: std::env::var_os("WATCHPOST_LEDGER").map(Into::into),
        outbox_events: events,
        outbox_bytes: 1 << 30,
        ..BrokerConfig::default()
    }
}

pub fn open(port: u16, outbox: &Path, events: usize) -> Delivery {
    let config = config(port, outbox, events);
    let device = DeviceId::new("cam-7").expect("a plain id");
    let store = delivery::store(&config).expect("nobody else has the folder");
    Delivery::start_with(&config, &device, status(), Clock::default(), store)
        .expect("a good configuration")
}

/// The process that is killed. Decides for ever, `first` and upwards.
pub fn decide(outbox: &Path, audit: &Path, port: u16, first: u64) {
    let delivery = open(port, outbox, 1_000_000);
    let mut audit = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(audit)
        .expect("it can be written");
    let mut lines = String::new();
    for n in 0.. {
        let candidate = super::event::candidate(first + n, 3000);
        let id =
            delivery.publish_candidate(candidate, Clock::default().now()).expect("there is room");
        lines.push_str(&format!("{id}\n"));
        let snapshot = loop {
            let snapshot = delivery.snapshot();
            if snapshot.outbox.appended > n {
                break snapshot;
            }
            std::thread::park_timeout(Duration::from_micros(100));
        };
        // One write call: a kill leaves whole lines or none.
        if snapshot.store.in_memory == 0 {
            audit.write_all(lines.as_bytes()).expect("it can be written");
            lines.clear();
        }
        // Now a burst, now a pause in which the outbox empties.
        if n % 16 == 0 {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn random(below: u64) -> u64 {
    u64::from(getrandom::u32().expect("the system has randomness")) % below
}

fn pause(most: u64) {
    std::thread::park_timeout(Duration::from_millis(random(most)));
}

fn read(payload: &[u8]) -> (EventId, u64) {
    let event: CloudEvent<Candidate> = serde_json::from_slice(payload).expect("a candidate");
    (event.id, event.data.entry.trim_start_matches("E-").parse().expect("its number"))
}

/// What came, held against itself: a repetition must be the same bytes.
#[derive(Default)]
struct Heard {
    payloads: HashMap<EventId, Vec<u8>>,
    numbers: Vec<u64>,
    repetitions: usize,
}

impl Heard {
    fn take(&mut self, payload: &[u8]) {
        let (id, number) = read(payload);
        match self.payloads.get(&id) {
            Some(earlier) => {
                assert_eq!(earlier, payload, "a repetition is the same, byte for byte");
                self.repetitions += 1;
            }
            None => {
                self.payloads.insert(id, payload.to_vec());
                self.numbers.push(number);
            }
        }
    }
}

/// Runs `trials` of them; `spawn` starts a process that calls [`decide`] with what it is given
/// (outbox, audit, port, first), and the third path as `WATCHPOST_LEDGER` in its environment.
/// Panics where anything that was written down did not arrive, or not in its order.
pub fn run(trials: u64, spawn: impl Fn(&Path, &Path, &Path, u16, u64) -> Child) {
    let Some(mut broker) = Mosquitto::installed() else { return };
    broker.start(MOSQUITTO);
    let subscriber = Listener::new(broker.port, TOPIC);
    let link = Link::to(broker.port);
    link.open();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let audit = folder.path().join("audit");
    let disk = SmallDisk::mounted(8);
    let outbox =
        disk.as_ref().map_or_else(|| folder.path().to_owned(), SmallDisk::path).join("outbox");
    // Evidence for a failure: what the processes wrote down of each event, and when the broker was
    // killed.
    let ledger = folder.path().join("ledger");
    let mut kills = Vec::new();
    let mut kinds = [0u64; 5];
    let mut heard = Heard::default();
    for trial in 0..trials {
        let kind = if disk.is_some() { random(6) } else { random(3) };
        let read_only =
            kind == 4 && outbox.exists() && disk.as_ref().is_some_and(|d| d.read_only(true));
        let mut process = spawn(&outbox, &audit, &ledger, link.port, trial * 1_000_000);
        pause(400);
        let mut broker_is_down = false;
        match (kind, &disk) {
            (1, _) => {
                broker_is_down = true;
                kills.push(time::OffsetDateTime::now_utc().to_string());
                broker.kill();
                link.cut();
                pause(100);
            }
            (2, _) => {
                link.cut();
                pause(100);
                link.open();
                // So that it connects once more before it is killed.
                pause(700);
            }
            (3, Some(disk)) => {
                disk.fill();
                pause(300);
                if random(2) == 0 {
                    disk.empty();
                    pause(100);
                }
            }
            _ => {}
        }
        process.kill().expect("it runs");
        process.wait().expect("it ends");
        kinds[(kind as usize).min(4)] += u64::from(kind < 4 || read_only);
        if let Some(disk) = &disk {
            disk.empty();
            assert!(
                !read_only || disk.read_only(false),
                "the disk can be mounted for writing again"
            );
        }
        if broker_is_down {
            // Whoever is back first: what comes before the subscriber does meets nobody and is sent
            // again.
            broker.start(MOSQUITTO);
            link.open();
        }
        subscriber.so_far().iter().for_each(|payload| heard.take(payload));
        if trials >= 100 && (trial + 1) % 100 == 0 {
            say(&format!("outage: {} trials.", trial + 1));
        }
    }
    let last = open(link.port, &outbox, 1_000_000);
    let left = wait_for("the connection", || {
        let snapshot = last.snapshot();
        snapshot.connected.then_some(snapshot.outbox.recovered)
    });
    wait_for("the outbox to empty", || (last.snapshot().outbox_events == 0).then_some(()));
    let outcome = last.stop(PATIENCE);
    assert_eq!((outcome.undelivered, outcome.snapshot.store.damaged), (0, 0), "{outcome:?}");

    let audit = std::fs::read_to_string(audit).expect("something was decided");
    let decided: Vec<&str> = audit.lines().collect();
    // What was acknowledged is with the subscriber or on its way through a socket.
    let end = decided.last().expect("something was decided");
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        subscriber.so_far().iter().for_each(|payload| heard.take(payload));
        if heard.payloads.keys().any(|id| id.to_string() == *end) || Instant::now() > patience {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let arrived: HashSet<String> = heard.payloads.keys().map(ToString::to_string).collect();
    let lost: Vec<_> = decided.iter().filter(|id| !arrived.contains(**id)).collect();
    let reordered = heard.numbers.windows(2).filter(|w| w[0] > w[1]).count();
    let [_, broker_kills, cuts, full, read_only] = kinds;
    say(&format!(
        "outage: {trials} trials, in each the process killed; beside that {broker_kills} broker \
         kills, {cuts} cuts, {full} full disks and {read_only} read-only ones ({}); {} decided \
         and on the disk, {} arrived, {} lost, {reordered} out of order, {} repetitions, {left} \
         waited at the end.",
        disk.as_ref().map_or("none", |d| d.kind),
        decided.len(),
        heard.numbers.len(),
        lost.len(),
        heard.repetitions,
    ));
    if !lost.is_empty() {
        say(&format!("outage: the broker was killed at {kills:?}."));
        let ledger = std::fs::read_to_string(&ledger).unwrap_or_default();
        for line in ledger.lines().filter(|l| lost.iter().any(|id| l.contains(**id))) {
            say(line);
        }
    }
    assert!(lost.is_empty(), "{} of {} are lost", lost.len(), decided.len());
    assert_eq!(reordered, 0, "the order of decisions is kept");
}
