//! What delivery costs and keeps: appends to the disk, memory, drain rate, the way to a subscriber,
//! and what arrives when everything is killed.
//!
//! `cargo bench --bench delivery` prints all figures of this machine; `-- append`, `audit`,
//! `writes`, `memory [N]`, `drain`, `latency` or `trials [N]` one of them (1,000 trials take half
//! an hour; `memory 1000000` some minutes and 0.9 GB of disk). Needs mosquitto. `writes` and the
//! trials with a full disk mount a small file system, which takes root. On a machine that others
//! use as well, a wake-up waits for their time slices (4 ms and more), and that is what is
//! measured: `chrt -f 1 cargo bench --bench delivery` goes before them.
#![allow(clippy::print_stdout, reason = "its output is the result")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::disk::SmallDisk;
use support::{Mosquitto, Subscriber, trials};
use watchpost::audit::record::{AuditEvent, AuditRecord, CandidateRecord};
use watchpost::audit::store::AuditStore;
use watchpost::clock::Clock;
use watchpost::delivery::event::{CloudEvent, EventId};
use watchpost::delivery::outbox::{EventRecord, Limits, Store, disk};
use watchpost::delivery::{DeviceId, NotTaken};

/// Of the queue in `drain`, and in `memory` where nothing else is said.
const EVENTS: usize = 100_000;

fn main() {
    // `cargo bench` appends `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["append"] => append(),
        ["audit"] => audit(),
        ["writes"] => writes(),
        ["memory"] => drop(memory(EVENTS)),
        ["memory", n] => drop(memory(n.parse().expect("a number of events"))),
        ["drain"] => drain(),
        ["latency"] => latency(),
        ["trials"] => trials::run(1000, decide),
        ["trials", n] => trials::run(n.parse().expect("a number of trials"), decide),
        // The processes that others of these start.
        ["decide", outbox, audit, port, first] => {
            let number = |n: &str| n.parse::<u64>().expect("a number");
            trials::decide(Path::new(outbox), Path::new(audit), number(port) as u16, number(first));
        }
        ["queue", outbox, n] => queue(Path::new(outbox), n.parse().expect("a number of events")),
        ["empty", outbox, port] => empty(Path::new(outbox), port.parse().expect("a port")),
        _ => {
            append();
            audit();
            writes();
            drain();
            latency();
            trials::run(1000, decide);
        }
    }
}

fn again(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(arguments);
    command
}

fn decide(
    outbox: &Path,
    audit: &Path,
    ledger: &Path,
    port: u16,
    first: u64,
) -> std::process::Child {
    let (outbox, audit) = (outbox.display().to_string(), audit.display().to_string());
    again(&["decide", &outbox, &audit, &port.to_string(), &first.to_string()])
        .env("WATCHPOST_LEDGER", ledger)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk")
}

fn record(number: u64, crop: usize) -> EventRecord {
    let now = Clock::default().now();
    let mut candidate = support::event::candidate(number, crop);
    candidate.crop = candidate.crop.filter(|_| crop > 0);
    let (id, expires) = (EventId::new(now), candidate.expires);
    let device = DeviceId::new("cam-7").expect("a plain id");
    let payload = CloudEvent::new(id, &device, now, candidate).to_json().expect("JSON").into();
    EventRecord { id, expires, payload }
}

fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
}

/// Time of each append, with or without what was stored before being retired first.
fn appends(outbox: &Path, events: u64, crop: usize, queue: bool) -> Vec<Duration> {
    let mut store = disk::open(outbox, Limits { events: EVENTS, bytes: 1 << 30 })
        .expect("nobody has the folder");
    let first = store.recover().expect("it can be read").next;
    let times = (first..first + events)
        .map(|position| {
            let record = record(position, crop);
            let began = Instant::now();
            store.append(position, &record).expect("the disk takes it");
            let took = began.elapsed();
            if !queue {
                store.remove(position).expect("the disk takes it");
            }
            took
        })
        .collect();
    assert_eq!(store.health().problem, None);
    times
}

fn append() {
    for (what, crop, queue) in [
        ("with a queue", 0, true),
        ("with a queue, crop of 3 kB", 3000, true),
        ("without a queue, crop of 3 kB", 3000, false),
    ] {
        let folder = folder();
        let mut times = appends(&folder.path().join("outbox"), 2000, crop, queue);
        println!(
            "append and sync, {what}: p50 {:.3} ms, p90 {:.3} ms, p99 {:.3} ms.",
            quantile(&mut times, 0.5),
            quantile(&mut times, 0.9),
            quantile(&mut times, 0.99)
        );
    }
}

/// Records of candidates in an audit log, each synced before the next.
fn audit() {
    let folder = folder();
    let mut log = AuditStore::open(&folder.path().join("audit"), "site/cam-7").expect("a new log");
    let before = log.bytes();
    let records = 2000;
    let mut times: Vec<Duration> = (0..records)
        .map(|number: u64| {
            let (event, commitment) = ([number as u8; 16], [number as u8; 32]);
            let event = AuditEvent::Candidate(CandidateRecord { event, sequence: 1, commitment });
            let record = AuditRecord { at_ms: number, event }.to_bytes().expect("small");
            let began = Instant::now();
            log.append(&record).expect("the disk takes it");
            began.elapsed()
        })
        .collect();
    println!(
        "audit record, append and sync: p50 {:.3} ms, p90 {:.3} ms, p99 {:.3} ms; {} bytes each \
         and 64 of the tree.",
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.9),
        quantile(&mut times, 0.99),
        (log.bytes() - before) / records
    );
}

fn writes() {
    let Some(disk) = SmallDisk::mounted(64) else { return };
    for (what, queue) in [("with a queue", true), ("without a queue", false)] {
        let Some(before) = disk.written() else { return };
        let events = 500;
        drop(appends(&disk.path().join(what), events, 3000, queue));
        let after = disk.written().unwrap_or(before);
        println!(
            "written to the device, {what}, crop of 3 kB: {:.1} KiB an event ({}, journal \
             included; payload {:.1} KiB).",
            (after - before) as f64 / 1024.0 / events as f64,
            disk.kind,
            record(0, 3000).payload.len() as f64 / 1024.0
        );
    }
}

/// Resident memory of this process, kB.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Queues events while no broker is there, and says what memory that takes.
fn memory(events: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let outbox = folder.path().join("outbox");
    let status = again(&["queue", &outbox.display().to_string(), &events.to_string()])
        .status()
        .expect("it starts");
    assert!(status.success());
    (folder, outbox)
}

fn queue(outbox: &Path, events: usize) {
    let delivery = trials::open(support::free_port(), outbox, events);
    let mut line = "resident memory with a queue of".to_owned();
    for n in 0..=events {
        if [100, 1_000, 4_000, 10_000, 100_000, events].contains(&n) {
            support::wait_for("the outbox to take them", || {
                (delivery.snapshot().outbox_events == n).then_some(())
            });
            line.push_str(&format!(" {n}: {} kB,", resident()));
        }
        if n == events {
            break;
        }
        let mut candidate = support::event::candidate(n as u64, 0);
        candidate.crop = None;
        while let Err(e) = delivery.publish_candidate(candidate.clone(), Clock::default().now()) {
            assert_eq!(e, NotTaken::Busy);
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }
    println!("{} outbox on disk.", line);
    assert_eq!(delivery.stop(Duration::ZERO).undelivered, events);
}

fn drain() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    let (_folder, outbox) = memory(EVENTS);
    broker.start(trials::MOSQUITTO);
    let subscriber = Subscriber::new(broker.port, trials::TOPIC);
    let mut child = again(&["empty", &outbox.display().to_string(), &broker.port.to_string()])
        .spawn()
        .expect("it starts");
    for n in 0..EVENTS {
        let event: CloudEvent<serde_json::Value> =
            serde_json::from_slice(&subscriber.next().payload).expect("an event");
        assert_eq!(event.data["entry"], format!("E-{n:04}"), "in order, each once");
    }
    assert!(child.wait().expect("it ends").success());
    println!("{EVENTS} arrived at the subscriber in order, each once.");
}

fn empty(outbox: &Path, port: u16) {
    let before = resident();
    let began = Instant::now();
    let delivery = trials::open(port, outbox, EVENTS);
    let opened = (began.elapsed(), resident());
    let began = Instant::now();
    while delivery.snapshot().outbox.delivered < EVENTS as u64 {
        assert!(began.elapsed() < Duration::from_secs(300), "{:?}", delivery.snapshot());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{EVENTS} events found in {:.0} ms with {} kB of memory; drained in {took:.2} s: {:.0} a \
         second; {} kB afterwards.",
        opened.0.as_secs_f64() * 1e3,
        opened.1.saturating_sub(before),
        EVENTS as f64 / took,
        resident().saturating_sub(before)
    );
    assert_eq!(delivery.stop(support::PATIENCE).undelivered, 0);
}

fn latency() {
    let Some(broker) = Mosquitto::running() else { return };
    let folder = folder();
    let subscriber = Subscriber::new(broker.port, trials::TOPIC);
    let delivery = trials::open(broker.port, &folder.path().join("outbox"), 4096);
    support::wait_for("the connection", || delivery.snapshot().connected.then_some(()));
    let mut times: Vec<Duration> = (0..1000)
        .map(|n| {
            let candidate = support::event::candidate(n, 3000);
            let began = Instant::now();
            let id = delivery
                .publish_candidate(candidate, Clock::default().now())
                .expect("there is room");
            let message = subscriber.next();
            let took = began.elapsed();
            let event: CloudEvent<serde_json::Value> =
                serde_json::from_slice(&message.payload).expect("an event");
            assert_eq!(event.id, id);
            std::thread::park_timeout(Duration::from_millis(5));
            took
        })
        .collect();
    println!(
        "decision to subscriber over mosquitto on loopback, disk outbox, crop of 3 kB: p50 {:.2} \
         ms, p99 {:.2} ms, most {:.2} ms.",
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.99),
        quantile(&mut times, 1.0)
    );
    delivery.stop(support::PATIENCE);
}
