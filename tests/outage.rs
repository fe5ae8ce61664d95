//! No event is lost where a process is killed, a broker is killed, a disk is full, or several of
//! these: see `support::trials`.
//!
//! `cargo test --test outage -- --nocapture` prints what was compared. `cargo bench --bench
//! delivery -- trials 1000` makes it long.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::disk::SmallDisk;
use support::{Mosquitto, Subscriber, trials, wait_for};
use watchpost::audit::record::{AuditEvent, AuditRecord, CandidateRecord, commitment};
use watchpost::audit::store::{AuditStore, LOG, scan};
use watchpost::clock::Clock;
use watchpost::delivery::event::EventId;
use watchpost::delivery::outbox::{EventRecord, Limits, Store, disk};

/// The process that is killed: not a test by itself.
#[test]
#[ignore = "run by the other tests of this file"]
fn the_process_that_decides() {
    let Some(outbox) = std::env::var_os("WATCHPOST_OUTAGE_OUTBOX").map(PathBuf::from) else {
        return;
    };
    let audit = std::env::var_os("WATCHPOST_OUTAGE_AUDIT")
        .map(PathBuf::from)
        .expect("given with the outbox");
    let number = |name: &str| {
        std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok()).expect("a number")
    };
    trials::decide(
        &outbox,
        &audit,
        number("WATCHPOST_OUTAGE_PORT") as u16,
        number("WATCHPOST_OUTAGE_FIRST"),
    );
}

fn decide(outbox: &Path, audit: &Path, ledger: &Path, port: u16, first: u64) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_process_that_decides", "--ignored"])
        .env("WATCHPOST_OUTAGE_OUTBOX", outbox)
        .env("WATCHPOST_OUTAGE_AUDIT", audit)
        .env("WATCHPOST_LEDGER", ledger)
        .env("WATCHPOST_OUTAGE_PORT", port.to_string())
        .env("WATCHPOST_OUTAGE_FIRST", first.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

#[test]
fn whatever_is_killed_everything_decided_arrives_in_order_and_repetitions_carry_the_same_id() {
    trials::run(24, decide);
}

fn ids(subscriber: &Subscriber, expected: usize) -> Vec<EventId> {
    (0..expected)
        .map(|_| {
            let event: watchpost::delivery::event::CloudEvent<serde_json::Value> =
                serde_json::from_slice(&subscriber.next().payload).expect("an event");
            event.id
        })
        .collect()
}

#[test]
fn a_disk_that_is_full_is_told_and_what_it_did_not_take_is_delivered_from_memory_in_order() {
    let Some(broker) = Mosquitto::running() else { return };
    let Some(disk) = SmallDisk::mounted(8) else { return };
    let link = support::Link::to(broker.port);
    let outbox = disk.path().join("outbox");
    let delivery = trials::open(link.port, &outbox, 1000);
    let publish = |number: u64| {
        let candidate = support::event::candidate(number, 3000);
        delivery.publish_candidate(candidate, Clock::default().now()).expect("there is room")
    };
    let mut decided = vec![publish(0), publish(1)];
    wait_for("both on the disk", || (delivery.snapshot().outbox.appended == 2).then_some(()));
    assert_eq!(delivery.snapshot().store.in_memory, 0);
    disk.fill();
    decided.extend([publish(2), publish(3)]);
    let told = wait_for("the disk to refuse", || delivery.snapshot().store.problem);
    assert!(told.contains("the disk is full"), "{told}");
    wait_for("both in memory", || (delivery.snapshot().store.in_memory == 2).then_some(()));
    disk.empty();
    decided.push(publish(4));
    wait_for("all on the disk", || {
        let snapshot = delivery.snapshot();
        (snapshot.outbox.appended == 5 && snapshot.store.in_memory == 0).then_some(())
    });
    assert_eq!(delivery.snapshot().store.problem, None);
    let subscriber = Subscriber::new(broker.port, trials::TOPIC);
    link.open();
    assert_eq!(ids(&subscriber, 5), decided);
    assert_eq!(delivery.stop(support::PATIENCE).undelivered, 0);
}

#[test]
fn a_disk_that_is_read_only_gives_what_it_has_and_says_so() {
    let Some(broker) = Mosquitto::running() else { return };
    let Some(disk) = SmallDisk::mounted(8) else { return };
    let outbox = disk.path().join("outbox");
    let away = trials::open(support::free_port(), &outbox, 1000);
    let publish = |delivery: &watchpost::delivery::Delivery, number: u64| {
        let candidate = support::event::candidate(number, 3000);
        delivery.publish_candidate(candidate, Clock::default().now()).expect("there is room")
    };
    let mut decided = vec![publish(&away, 0), publish(&away, 1)];
    let outcome = away.stop(Duration::ZERO);
    assert_eq!((outcome.undelivered, outcome.lost), (2, 0));
    assert!(disk.read_only(true), "nobody has a file open for writing");

    let subscriber = Subscriber::new(broker.port, trials::TOPIC);
    let delivery = trials::open(broker.port, &outbox, 1000);
    let told = wait_for("a word about it", || delivery.snapshot().store.problem);
    assert!(told.contains("read-only"), "{told}");
    decided.push(publish(&delivery, 2));
    assert_eq!(ids(&subscriber, 3), decided);
    wait_for("the last acknowledgement", || {
        (delivery.snapshot().outbox.delivered == 3).then_some(())
    });
    assert_eq!(delivery.stop(support::PATIENCE).undelivered, 0);
}

const ORIGIN: &str = "site/cam-7";
const LIMITS: Limits = Limits { events: 100, bytes: 1 << 20 };

/// What lies in a folder, by name.
type Files = std::collections::BTreeMap<String, Vec<u8>>;

fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).expect("a folder of this test").flatten();
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().expect("plain");
    entries.map(|e| (name(&e), fs::read(e.path()).expect("a file of this test"))).collect()
}

/// The one file that grew or is new, and the bytes of it that a power cut may leave: any beginning
/// of what was added, and the same with zeros where nothing came.
fn cuts(before: &Files, after: &Files) -> (String, Vec<Vec<u8>>) {
    let grew = |(name, bytes): &(&String, &Vec<u8>)| before.get(*name) != Some(*bytes);
    let (name, whole) = after.iter().find(grew).expect("something was written");
    let old = before.get(name).map_or(0, Vec::len);
    let zeros = |cut: usize| [&whole[..cut], &vec![0; whole.len() - cut]].concat();
    let cuts = (old..=whole.len()).flat_map(|cut| [whole[..cut].to_vec(), zeros(cut)]);
    (name.clone(), cuts.collect())
}

/// What is found after a cut that left these files: ids of the outbox's events, each of which must
/// have its record, and how many records there are.
fn recovered(log: &Files, outbox: &Files) -> (Vec<EventId>, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let [log_folder, outbox_folder] = ["log", "outbox"].map(|name| folder.path().join(name));
    for (into, files) in [(&log_folder, log), (&outbox_folder, outbox)] {
        fs::create_dir(into).expect("a new folder");
        files.iter().for_each(|(name, bytes)| fs::write(into.join(name), bytes).expect("written"));
    }
    drop(AuditStore::open(&log_folder, ORIGIN).expect("a power cut leaves a log that goes on"));
    let mut records = std::collections::HashMap::new();
    let mut count = 0;
    let file = fs::File::open(log_folder.join(LOG)).expect("a log");
    let each = |_, _, bytes: &[u8]| {
        count += 1;
        match AuditRecord::from_bytes(bytes).expect("as it was written").event {
            AuditEvent::Candidate(c) => drop(records.insert(c.event, c.commitment)),
            other => panic!("invented: {other}"),
        }
    };
    scan(file, each).expect("whole");
    let mut store = disk::open(&outbox_folder, LIMITS).expect("nobody else has it");
    store.recover().expect("readable");
    let (mut ids, mut from) = (Vec::new(), 0);
    while let Some(found) = store.next(from) {
        let event = store.read(found.position).expect("readable").expect("it is there");
        let record = records.get(&event.id.as_u128().to_be_bytes());
        assert_eq!(record, Some(&commitment(&event.payload)), "a candidate without its record");
        ids.push(event.id);
        from = found.position + 1;
    }
    (ids, count)
}

#[test]
fn a_power_cut_at_any_byte_leaves_no_candidate_without_its_record_and_no_record_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let [log_folder, outbox_folder] = ["log", "outbox"].map(|name| folder.path().join(name));
    let mut log = AuditStore::open(&log_folder, ORIGIN).expect("a new log");
    let mut outbox = disk::open(&outbox_folder, LIMITS).expect("a new outbox");
    outbox.recover().expect("it is empty");
    let now = Clock::default().now();
    let (mut decided, mut tried) = (Vec::new(), 0);
    for n in 0u8..3 {
        let id = EventId::from_u128(u128::from(n) + 1);
        let payload = vec![b'a' + n; 40 + 30 * usize::from(n)];
        let candidate = CandidateRecord {
            event: id.as_u128().to_be_bytes(),
            sequence: 1,
            commitment: commitment(&payload),
        };
        let record = AuditRecord::new(AuditEvent::Candidate(candidate), now);
        let [log_before, outbox_before] = [files(&log_folder), files(&outbox_folder)];
        // The order of the daemon: the record is on the disk before the outbox hears of it.
        log.append(&record.to_bytes().expect("small")).expect("room");
        let mut log_after = files(&log_folder);
        // They follow from the log, and are not synced.
        log_after.insert("nodes".into(), log_before["nodes"].clone());
        let (name, torn) = cuts(&log_before, &log_after);
        for bytes in torn {
            let log =
                Files::from_iter(log_before.clone().into_iter().chain([(name.clone(), bytes)]));
            let (ids, records) = recovered(&log, &outbox_before);
            assert_eq!(ids, decided);
            assert!(records == decided.len() || records == decided.len() + 1);
            tried += 1;
        }
        let expires = now.wall + Duration::from_secs(3600);
        let event = EventRecord { id, expires, payload: payload.into() };
        outbox.append(n.into(), &event).expect("room");
        let (name, torn) = cuts(&outbox_before, &files(&outbox_folder));
        for bytes in torn {
            let whole = outbox_before.clone().into_iter().chain([(name.clone(), bytes)]);
            let (ids, records) = recovered(&log_after, &Files::from_iter(whole));
            assert_eq!(records, decided.len() + 1, "a record that came before a candidate");
            assert!(ids.starts_with(&decided) && ids.len() <= decided.len() + 1);
            tried += 1;
        }
        decided.push(id);
        assert_eq!(recovered(&log_after, &files(&outbox_folder)).0, decided);
    }
    support::say(&format!("outage: {tried} power cuts between log and outbox."));
    assert!(tried > 1000, "{tried}");
}
