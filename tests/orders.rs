//! What the device promises about orders and offers: they reach a running daemon through a real
//! broker, and only those that pinned people signed do anything.

mod support;

use std::time::Instant;

use support::desk::{Daemon, ok};
use support::field::{Field, TOPIC};

#[test]
fn a_revocation_reaches_a_running_daemon_and_one_by_a_stranger_is_nothing_but_a_count() {
    let Some(field) = Field::new() else { return };
    let daemon = Daemon::start(&field.desk);
    field.await_online();
    let before = std::fs::read(field.desk.path("list.cose")).expect("the list");

    field.order("revoke", "mallory.key", &["--list", "promises"]);
    field.listener.publish(&format!("{TOPIC}/revoke"), false, b"no order at all".to_vec());
    let stats = field.await_("stats", "two counted messages", |s| {
        s["drops"]["orders.not_authentic"] == 1 && s["drops"]["orders.malformed"] == 1
    });
    assert_eq!(stats["counts"]["orders.followed"], 0);
    assert_eq!(std::fs::read(field.desk.path("list.cose")).expect("the list"), before);
    assert!(
        field.seen.borrow().iter().all(|(t, d)| !t.ends_with("/status") || d["state"] == "online")
    );

    let began = Instant::now();
    field.order("revoke", "alice.key", &["--list", "promises"]);
    field.await_("watchlist/state", "the state of the list", |s| {
        s["list"].is_null() && s["last_change"]["what"] == "list-revoked"
    });
    support::say(&format!(
        "orders: a revocation took effect {:?} after its signature was begun.",
        began.elapsed()
    ));
    field.await_blind("revoked");
    assert!(!field.desk.path("list.cose").exists(), "the stored list is destroyed");
    assert!(daemon.terminate().success());

    // Neither the file put back by hand nor a restart brings it back, with the broker's retained
    // order or without it.
    std::fs::write(field.desk.path("list.cose"), before).expect("writes");
    field.listener.publish(&format!("{TOPIC}/revoke"), true, Vec::new());
    field.await_("status", "the end", |s| s["state"] == "stopped");
    let daemon = Daemon::start(&field.desk);
    field.await_blind("revoked");
    assert!(daemon.terminate().success());
}

#[test]
fn an_entry_is_revoked_alone_a_suspension_stops_and_a_newer_list_is_installed_while_running() {
    let Some(field) = Field::new() else { return };
    let desk = &field.desk;
    let daemon = Daemon::start(desk);
    field.await_online();
    // The authors' copy; the device's loses what is revoked.
    std::fs::copy(desk.path("list.cose"), desk.path("authors.cose")).expect("copies");

    field.order(
        "revoke",
        "bob.key",
        &["--list", "promises", "--entry", "case-1", "--through-version", "1"],
    );
    let state = field.await_("watchlist/state", "the entry gone", |s| {
        s["last_change"]["what"] == "entry-revoked"
    });
    assert_eq!((&state["entries"], &state["list"]["version"]), (&0.into(), &1.into()));
    field.await_blind("empty-list");

    // An offer that one person signed changes nothing; the same with two signatures comes into
    // force.
    ok(&["watchlist", "revise", &desk.arg("authors.cose"), "--out", &desk.arg("draft2.json")]);
    let [next, both] = ["next.cose", "both.cose"].map(|n| desk.arg(n));
    ok(&[
        "watchlist",
        "sign",
        &desk.arg("draft2.json"),
        "--key",
        &desk.arg("alice.key"),
        "--out",
        &next,
    ]);
    ok(&["watchlist", "sign", &next, "--key", &desk.arg("bob.key"), "--out", &both]);
    let offer = |path: &str| {
        field.listener.publish(
            &format!("{TOPIC}/watchlist/offer"),
            false,
            std::fs::read(path).expect("a list"),
        )
    };
    offer(&next);
    field.await_("stats", "a counted refusal", |s| s["drops"]["orders.offers_refused"] == 1);
    offer(&both);
    let state = field
        .await_("watchlist/state", "the newer list", |s| s["last_change"]["what"] == "installed");
    assert_eq!((&state["entries"], &state["list"]["version"]), (&1.into(), &2.into()));
    field.await_online();
    assert_eq!(
        std::fs::read(desk.path("list.cose")).expect("stored"),
        std::fs::read(&both).expect("offered")
    );

    // Another device's suspension is not ours.
    field.order(
        "suspend",
        "alice.key",
        &["--to", "2099-01-01T00:00:00Z", "--from", "2098-12-31T00:00:00Z", "--device", "gate-2"],
    );
    field.await_("stats", "an order without effect", |s| {
        s["counts"]["orders.without_effect"].as_u64() >= Some(1)
    });
    let to = time::OffsetDateTime::now_utc() + time::Duration::days(1);
    let to = to.format(&time::format_description::well_known::Rfc3339).expect("a date");
    field.order("suspend", "alice.key", &["--to", &to, "--device", "gate-1"]);
    field.await_blind("suspended");
    assert!(daemon.terminate().success());
    field.await_("status", "the end", |s| s["state"] == "stopped");
    // The suspension outlives the process.
    let daemon = Daemon::start(desk);
    field.await_blind("suspended");
    assert!(daemon.terminate().success());
    assert!(field.broker.port > 0);
}
