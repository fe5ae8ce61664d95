//! What a running device promises under attack: orders that people gave reach it whatever else is
//! sent, and nothing is taken from it without a key.

mod support;

use std::path::Path;

use serde_json::Value;
use support::desk::{Daemon, Desk, ok};
use support::disk::SmallDisk;
use support::field::{Field, TOPIC};
use support::wait_for;
use time::OffsetDateTime;
use watchpost::watchlist::keys::SecretKey;
use watchpost::watchlist::order::{Action, EVERY_VERSION, OrderId, sign};

fn order_id(n: u128) -> OrderId {
    OrderId(n.to_be_bytes())
}

/// A signed order as it is published.
fn order(desk: &Desk, key: &str, id: u128, action: &Action) -> Vec<u8> {
    let key = SecretKey::open_file(&desk.path(key)).expect("a key of the desk");
    sign(order_id(id), action, &key, OffsetDateTime::now_utc()).expect("an order")
}

fn revocation(list: &str) -> Action {
    let list = list.parse().expect("a reference");
    Action::Revoke { list, through: EVERY_VERSION, entry: None }
}

/// A suspension of every device from now on, for so many hours.
fn suspension(hours: i64) -> Action {
    let from = OffsetDateTime::now_utc() - time::Duration::minutes(1);
    let to = from + time::Duration::hours(hours);
    Action::Suspend { from, to, devices: Vec::new(), areas: Vec::new() }
}

fn revoked(state: &Value) -> bool {
    state["list"].is_null() && state["last_change"]["what"] == "list-revoked"
}

#[test]
fn junk_that_waits_for_the_device_drowns_no_genuine_order_behind_it() {
    let Some(field) = Field::new() else { return };
    let daemon = Daemon::start(&field.desk);
    field.await_online();
    daemon.kill();
    field.await_("status", "the last will", |s| s["state"] == "offline");
    let genuine = order(&field.desk, "alice.key", 1, &revocation("promises"));
    for n in 0..400 {
        let junk = [b"junk".to_vec(), genuine[..n % genuine.len()].to_vec()].concat();
        field.listener.publish(&format!("{TOPIC}/revoke"), false, junk);
    }
    field.listener.publish(&format!("{TOPIC}/revoke"), false, genuine);
    let daemon = Daemon::start(&field.desk);
    field.await_("watchlist/state", "the revocation", revoked);
    assert!(!field.desk.path("list.cose").exists(), "the stored list is destroyed");
    assert!(daemon.terminate().success());
}

#[test]
fn a_flood_of_junk_and_of_replayed_orders_drowns_no_genuine_order() {
    let Some(field) = Field::new() else { return };
    let daemon = Daemon::start(&field.desk);
    field.await_online();
    let desk = &field.desk;
    let replayed: Vec<_> =
        (0..100).map(|n| order(desk, "bob.key", n, &revocation(&format!("other-{n}")))).collect();
    let by_a_stranger = order(desk, "mallory.key", 900, &revocation("promises"));
    let topic = format!("{TOPIC}/revoke");
    // Not the flood itself, in which a broker drops what one listener cannot take.
    let [stats, answers] = ["stats", "watchlist/state"]
        .map(|t| support::Subscriber::new(field.broker.port, &format!("{TOPIC}/{t}")));
    let flood = support::Flood::start(field.broker.port, topic.clone(), move |n| match n % 3 {
        0 => vec![0x5A; 200],
        1 => by_a_stranger.clone(),
        _ => replayed[n % replayed.len()].clone(),
    });
    let data = |message: rumqttc::v5::mqttbytes::v5::Publish| {
        serde_json::from_slice::<Value>(&message.payload).expect("an event")["data"].clone()
    };
    while data(stats.next())["drops"]["orders.malformed"].as_u64() < Some(500) {}
    let genuine = order(desk, "alice.key", 1000, &revocation("promises"));
    let sender = support::Subscriber::new(field.broker.port, &format!("{TOPIC}/nothing"));
    sender.publish(&format!("{topic}/{}", order_id(1000)), false, genuine);
    while data(answers.next())["last_change"]["detail"] != order_id(1000).to_string() {}
    drop(flood);
    wait_for("the list to go", || (!desk.path("list.cose").exists()).then_some(()));
    assert!(daemon.terminate().success());
}

#[test]
fn each_of_many_orders_and_offers_back_to_back_is_answered_by_its_id() {
    let Some(field) = Field::new() else { return };
    let desk = &field.desk;
    let daemon = Daemon::start(desk);
    field.await_online();
    let mut signed = desk.arg("list.cose");
    for version in ["second", "third"] {
        let [draft, once, both] =
            ["json", "once", "cose"].map(|e| desk.arg(&format!("{version}.{e}")));
        ok(&["watchlist", "revise", &signed, "--out", &draft]);
        desk.sign_into(&draft, "alice.key", &once);
        desk.sign_into(&once, "bob.key", &both);
        signed = both;
    }
    field.offer("second.cose");
    field.offer("third.cose");
    for version in [2, 3] {
        field.await_("watchlist/state", "an installed version", |s| {
            s["last_change"]["what"] == "installed" && s["list"]["version"] == version
        });
    }
    // More than are taken in a round, and more than a broker may send unacknowledged.
    for n in 0..40 {
        let revoke = order(desk, "alice.key", n, &revocation(&format!("old-{n}")));
        field.listener.publish(&format!("{TOPIC}/revoke/{}", order_id(n)), false, revoke);
    }
    for n in [0, 20, 39] {
        field.await_("watchlist/state", "an answer", |s| {
            s["last_change"]["detail"] == order_id(n).to_string()
        });
    }
    let last = order(desk, "bob.key", 999, &revocation("promises"));
    field.listener.publish(&format!("{TOPIC}/revoke"), false, last);
    field.await_("watchlist/state", "the revocation", revoked);
    assert!(daemon.terminate().success());
}

#[test]
fn hundreds_of_orders_about_others_leave_room_for_the_genuine_one() {
    let Some(field) = Field::new() else { return };
    let desk = &field.desk;
    let daemon = Daemon::start(desk);
    field.await_online();
    let send = |n: u128, topic: &str, action: &Action| {
        let signed = order(desk, "alice.key", n, action);
        field.listener.publish(&format!("{TOPIC}/{topic}/{}", order_id(n)), false, signed);
    };
    // More than a memory of 256 revocations and 32 suspensions would hold.
    for n in 0..260 {
        send(n, "revoke", &revocation(&format!("old-{n}")));
    }
    let now = OffsetDateTime::now_utc();
    for n in 0..34u32 {
        let from = now + time::Duration::days(2 * i64::from(n) + 1);
        let to = from + time::Duration::HOUR;
        let later = Action::Suspend { from, to, devices: vec![], areas: vec![] };
        send(1000 + u128::from(n), "suspend", &later);
    }
    field.await_("watchlist/state", "an answer to the last of them", |s| {
        s["last_change"]["detail"] == order_id(1033).to_string()
    });
    send(2000, "revoke", &revocation("promises"));
    field.await_("watchlist/state", "the revocation", revoked);
    field.await_("status", "nobody is matched", |s| s["matching"] == false);
    assert!(daemon.terminate().success());
}

/// Puts the state file on a disk of its own.
fn state_on(desk: &Desk, disk: &Path) {
    let file = desk.path("watchpost.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let (before, after) = (desk.arg("state.json"), disk.join("state/state.json"));
    std::fs::write(&file, text.replace(&before, &after.display().to_string())).expect("writes");
}

/// A running daemon whose state file is on a disk of its own; `None` where nothing may be mounted.
fn with_its_state_on_a_small_disk() -> Option<(Field, SmallDisk, Daemon)> {
    let field = Field::new()?;
    let disk = SmallDisk::mounted(8)?;
    state_on(&field.desk, &disk.path());
    let daemon = Daemon::start(&field.desk);
    field.await_online();
    Some((field, disk, daemon))
}

#[test]
fn a_suspension_that_cannot_be_stored_stops_and_comes_again_after_a_kill() {
    let Some((field, disk, daemon)) = with_its_state_on_a_small_disk() else { return };
    let state = disk.path().join("state");
    // Nobody can make a file there, which is what a failing disk does.
    support::disk::immutable(&state, true);
    let suspend = order(&field.desk, "bob.key", 7, &suspension(24));
    field.listener.publish(&format!("{TOPIC}/suspend"), false, suspend);
    field.await_blind("order-not-stored");
    daemon.kill();
    field.forget();
    let daemon = Daemon::start(&field.desk);
    field.await_blind("order-not-stored");
    support::disk::immutable(&state, false);
    field.await_blind("suspended");
    daemon.kill();
    field.forget();
    // Followed and stored, hence acknowledged: the broker does not send it again.
    let daemon = Daemon::start(&field.desk);
    field.await_blind("suspended");
    assert!(daemon.terminate().success());
    wait_for("the state", || std::fs::metadata(state.join("state.json")).ok());
}

fn two_people(desk: &Desk) {
    desk.draft();
    let draft = desk.arg("draft.json");
    let text = std::fs::read_to_string(&draft).expect("a draft");
    let (strict, two) = ("\"false_alerts_per_day\": 0.2", "\"false_alerts_per_day\": 0.9");
    std::fs::write(&draft, text.replace(strict, two)).expect("writes");
    let photograph = format!("{}/biden-2010.jpg", support::desk::PORTRAITS);
    let entry = ["--reference", "case-2", "--legal-basis", "order 2/26", "--purpose", "a promise"];
    ok(&[&["watchlist", "add", &draft, &photograph][..], &entry[..]].concat());
    desk.sign("draft.json", "alice.key");
    desk.sign("list.cose", "bob.key");
}

/// `list` with its first entry taken out, which needs no key: a null in its place.
fn without_the_first_entry(list: &[u8]) -> Vec<u8> {
    // The unprotected header -65537 holds the entries, each a byte string.
    let label = [0x3A, 0x00, 0x01, 0x00, 0x00];
    let at = list.windows(5).position(|w| w == label).expect("the header with the entries") + 5;
    let (entry, length) = (at + 1, usize::from(u16::from_be_bytes([list[at + 2], list[at + 3]])));
    assert_eq!((list[at] & 0xE0, list[entry]), (0x80, 0x59), "an array of long byte strings");
    [&list[..entry], &[0xF6], &list[entry + 3 + length..]].concat()
}

#[test]
fn nobody_takes_an_entry_from_a_list_without_a_key_and_what_was_revoked_is_nowhere_on_the_disk() {
    let inbox = "inbox = \"DESK/inbox\"\n";
    let Some(field) = Field::with(inbox, two_people) else { return };
    let desk = &field.desk;
    let whole = std::fs::read(desk.path("list.cose")).expect("a list");
    std::fs::create_dir(desk.path("inbox")).expect("a folder");
    std::fs::write(desk.path("inbox/offered"), &whole).expect("writes");
    // As a kill during an installation leaves it.
    std::fs::write(desk.path("list.cose.new"), &whole).expect("writes");
    let daemon = Daemon::start(desk);
    field.await_online();
    assert!(!desk.path("list.cose.new").exists(), "wiped at the start");

    let offer = format!("{TOPIC}/watchlist/offer");
    field.listener.publish(&offer, false, without_the_first_entry(&whole));
    let state =
        field.await_("watchlist/state", "the refusal", |s| s["last_change"]["what"] == "refused");
    assert_eq!(
        (&state["last_change"]["detail"], &state["entries"]),
        (&"entries-missing".into(), &2.into())
    );
    assert_eq!(std::fs::read(desk.path("list.cose")).expect("stored"), whole);

    std::fs::write(desk.path("list.cose.new"), &whole).expect("writes");
    let revoke = order(desk, "alice.key", 5, &revocation("promises"));
    field.listener.publish(&format!("{TOPIC}/revoke"), false, revoke);
    field.await_("watchlist/state", "the revocation", revoked);
    let left: Vec<_> = desk
        .files()
        .into_iter()
        .filter(|f| {
            let bytes = std::fs::read(f).unwrap_or_default();
            bytes.windows(64).any(|w| w == &whole[whole.len() / 2..whole.len() / 2 + 64])
        })
        .collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "templates of what was revoked");
    assert!(daemon.terminate().success());
}

#[test]
fn a_suspension_on_a_full_disk_is_remembered_over_a_kill() {
    let Some((field, disk, daemon)) = with_its_state_on_a_small_disk() else { return };
    disk.fill();
    let suspend = order(&field.desk, "bob.key", 7, &suspension(24));
    field.listener.publish(&format!("{TOPIC}/suspend"), false, suspend);
    field.await_blind("suspended");
    daemon.kill();
    field.forget();
    let daemon = Daemon::start(&field.desk);
    field.await_blind("suspended");
    assert!(daemon.terminate().success());
}

#[test]
fn a_state_that_was_deleted_after_a_revocation_brings_nothing_back() {
    let Some(field) = Field::new() else { return };
    let desk = &field.desk;
    let list = std::fs::read(desk.path("list.cose")).expect("a list");
    let daemon = Daemon::start(desk);
    field.await_online();
    let revoke = order(desk, "alice.key", 5, &revocation("promises"));
    field.listener.publish(&format!("{TOPIC}/revoke"), false, revoke);
    let state = field.await_("watchlist/state", "the revocation", revoked);
    assert_eq!(state["memory"]["changes"], 3, "the start, the list, the revocation: {state}");
    assert!(daemon.terminate().success());
    std::fs::remove_file(desk.path("state.json")).expect("removes");
    std::fs::write(desk.path("list.cose"), list).expect("writes");
    field.forget();
    let daemon = Daemon::start(desk);
    field.await_blind("damaged-state");
    assert!(daemon.terminate().success());
}
