//! Two people look at each candidate: with the real daemon, a real broker, and verdicts as
//! `watchpost review` gives them.

mod support;

use std::fs;

use serde_json::Value;
use support::Subscriber;
use support::desk::{Daemon, Desk, PORTRAITS, ok, watchpost};
use support::field::{Field, TOPIC};

/// A device with a key of its own and a log, whose trust file pins dora and emil as reviewers.
fn field() -> Option<Field> {
    let field = Field::with("device_key = \"DESK/device.key\"", |desk| {
        desk.list();
        ok(&["key", "device", &desk.arg("device.key")]);
        ok(&["key", "identity", &desk.arg("identity.key")]);
        let list = desk.arg("list.cose");
        ok(&[
            "watchlist",
            "seal",
            &list,
            "--to",
            &device_key(desk),
            "--out",
            &desk.arg("list.age"),
        ]);
        fs::rename(desk.path("list.age"), desk.path("list.cose")).expect("a sealed list");
        let [alice, bob] = ["alice.key", "bob.key"].map(|key| public(desk, key));
        let [dora, emil] = ["dora.key", "emil.key"].map(|key| {
            ok(&["key", "new", &desk.arg(key), "--no-passphrase"]);
            public(desk, key)
        });
        let trust = desk.arg("trust.toml");
        ok(&[
            "key",
            "trust",
            &alice,
            &bob,
            "--reviewer",
            &dora,
            "--reviewer",
            &emil,
            "--out",
            &trust,
        ]);
    })?;
    let file = field.desk.path("watchpost.toml");
    let mut text = fs::read_to_string(&file).expect("a configuration");
    let [identity, log, docket] =
        ["identity.key", "audit", "reviews.cbor"].map(|name| field.desk.arg(name));
    text += &format!(
        "[audit]\nidentity = \"{identity}\"\nlog = \"{log}\"\n[review]\ndocket = \"{docket}\"\n"
    );
    fs::write(&file, text).expect("writes");
    Some(field)
}

fn public(desk: &Desk, key: &str) -> String {
    ok(&["key", "show", &desk.arg(key)]).trim().to_owned()
}

fn device_key(desk: &Desk) -> String {
    public(desk, "device.key")
}

/// Starts a daemon before which the listed person passes, and keeps the candidate as it was
/// published.
fn with_candidate(field: &Field) -> Daemon {
    let portrait = "obama-2010.jpg";
    fs::copy(format!("{PORTRAITS}/{portrait}"), field.desk.path("pictures").join(portrait))
        .expect("a portrait");
    let heard = Subscriber::new(field.broker.port, &format!("{TOPIC}/candidate"));
    let daemon = Daemon::start(&field.desk);
    fs::write(field.desk.path("candidate.json"), &heard.next().payload).expect("writes");
    daemon
}

/// Has `key` judge the candidate, and sends that. Whether the device counted it, and what it
/// said.
fn judges(field: &Field, key: &str, opinion: &str) -> (bool, String) {
    let desk = &field.desk;
    let (secret, out) = (desk.arg(key), desk.arg("verdict.cose"));
    ok(&[
        "review",
        "judge",
        &desk.arg("candidate.json"),
        "--opinion",
        opinion,
        "--confidence",
        "high",
        "--key",
        &secret,
        "--device-key",
        &device_key(desk),
        "--out",
        &out,
    ]);
    let config = desk.arg("watchpost.toml");
    let sent =
        watchpost(&["orders", "send", &out, "--device", "gate-1", "--config", &config, "--json"]);
    let answer: Value = serde_json::from_slice(&sent.stdout).expect("a JSON line");
    (sent.status.success(), answer["detail"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn two_people_confirm_a_candidate_over_a_restart_and_nothing_tells_the_first_before_the_second() {
    let Some(field) = field() else { return };
    let daemon = with_candidate(&field);

    assert_eq!(judges(&field, "dora.key", "same"), (true, "pending".into()));
    let first = field.await_("review/state", "the answer", |s| s["state"] == "pending");
    assert_eq!((&first["given"], first.get("verdicts")), (&1.into(), None));
    let (counted, why) = judges(&field, "dora.key", "not-same");
    assert!(!counted && why.contains("judged the candidate before"), "{why}");

    daemon.kill();
    let _daemon = Daemon::start(&field.desk);
    field.await_online();
    assert_eq!(judges(&field, "emil.key", "same"), (true, "confirmed".into()));
    let over = field.await_("review/state", "the outcome", |s| s["state"] == "confirmed");
    let said: Vec<_> = over["verdicts"].as_array().into_iter().flatten().collect();
    assert_eq!(said.len(), 2, "{over}");
    assert!(said.iter().all(|v| v["opinion"] == "same"), "{over}");

    let log = ok(&["audit", "show", "--log", &field.desk.arg("audit")]);
    assert_eq!(log.matches("  verdict on ").count(), 2, "{log}");
    assert!(log.contains(" confirmed; "), "{log}");
}

#[test]
fn a_verdict_of_nobody_who_may_review_is_not_answered_and_a_revoked_candidate_is_withdrawn() {
    let Some(field) = field() else { return };
    let _daemon = with_candidate(&field);
    let desk = &field.desk;
    let out = desk.arg("forged.cose");
    // Who signs lists does not review.
    for key in ["mallory.key", "alice.key"] {
        ok(&[
            "review",
            "judge",
            &desk.arg("candidate.json"),
            "--opinion",
            "same",
            "--confidence",
            "high",
            "--key",
            &desk.arg(key),
            "--device-key",
            &device_key(desk),
            "--out",
            &out,
        ]);
        let forged = fs::read(&out).expect("a verdict");
        field.listener.publish(&format!("{TOPIC}/review"), false, forged);
    }
    field.await_("stats", "both are turned away", |s| {
        s["drops"]["orders.not_authentic"].as_u64() >= Some(2)
    });
    assert_eq!(judges(&field, "dora.key", "same"), (true, "pending".into()));
    let list = ["--list", "promises", "--entry", "case-1"];
    field.order("revoke", "alice.key", &list);
    let over = field.await_("review/state", "withdrawn", |s| s["state"] == "withdrawn");
    assert_eq!(over.get("verdicts"), None, "{over}");
    let (counted, why) = judges(&field, "emil.key", "same");
    assert!(!counted && why.contains("decided before"), "{why}");
}
