//! No event is lost where a process is killed, a broker is killed, a disk is full, or several of
//! these: see `support::trials`.
//!
//! `cargo test --test outage -- --nocapture` prints what was compared. `cargo bench --bench
//! delivery -- trials 1000` makes it long.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::disk::SmallDisk;
use support::{Mosquitto, Subscriber, trials, wait_for};
use watchpost::clock::Clock;
use watchpost::delivery::event::EventId;

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
