//! Two people look at each candidate: with the real daemon, a real broker, and verdicts as
//! `watchpost review` gives them.

mod support;

use std::fs;

use support::Subscriber;
use support::desk::{Daemon, Desk, PORTRAITS, ok};
use support::field::{Field, TOPIC};
use support::reviewed::{judge, reviewed_field};

fn field() -> Option<Field> {
    reviewed_field(Desk::list)
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

/// See [`support::reviewed::judges`].
fn judges(field: &Field, key: &str, opinion: &str) -> (bool, String) {
    support::reviewed::judges(&field.desk, "candidate.json", key, opinion)
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
    // Who signs lists does not review.
    for key in ["mallory.key", "alice.key"] {
        judge(desk, "candidate.json", key, "same", "forged.cose");
        let forged = fs::read(desk.path("forged.cose")).expect("a verdict");
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
