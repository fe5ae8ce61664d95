//! Two people look at each candidate: with the real daemon, a real broker, and verdicts as
//! `watchpost review` gives them.

mod support;

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use watchpost::delivery::event::EventId;
use watchpost::review::control::{self, Control};
use watchpost::review::verdict::CandidateId;
use watchpost::watchlist::keys::SecretKey;
use watchpost::watchlist::seal::{self, DeviceKey};

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

#[test]
fn a_candidate_that_went_out_without_its_picture_is_judged_as_it_went_out() {
    let Some(mut field) = field() else { return };
    field.broker.kill();
    field.broker.start("allow_anonymous true\nmax_packet_size 7000\n");
    field.listener = Subscriber::new(field.broker.port, "site/#");
    let _daemon = with_candidate(&field);
    let published = fs::read(field.desk.path("candidate.json")).expect("a candidate");
    let event: Value = serde_json::from_slice(&published).expect("an event");
    assert_eq!(event["data"].get("crop"), None, "the broker takes no picture");
    assert_eq!(judges(&field, "dora.key", "same"), (true, "pending".into()));
    assert_eq!(judges(&field, "emil.key", "same"), (true, "confirmed".into()));
}

#[test]
fn what_is_replayed_on_the_broker_grows_neither_the_log_nor_what_is_published() {
    let Some(field) = field() else { return };
    let daemon = with_candidate(&field);
    let desk = &field.desk;
    assert_eq!(judges(&field, "dora.key", "same"), (true, "pending".into()));
    field.order("revoke", "alice.key", &["--list", "promises", "--entry", "case-1"]);
    field.await_("review/state", "withdrawn", |s| s["state"] == "withdrawn");
    let replies = Subscriber::new(field.broker.port, &format!("{TOPIC}/#"));
    // One after the other, as what waits already is one message however often it comes.
    let replay = |topic: &str, bytes: &[u8], counter: &str, times: u64| {
        for n in 1..=times {
            field.listener.publish(&format!("{TOPIC}/{topic}"), false, bytes.to_vec());
            if n % 10 == 0 {
                std::thread::yield_now();
            }
        }
        field.await_("stats", "that it came again", |s| s["drops"][counter].as_u64() > Some(2));
    };
    replay("review", &fs::read(desk.path("verdict.cose")).expect("sent"), "reviews.repeated", 3000);
    replay("revoke", &fs::read(desk.path("order.cose")).expect("sent"), "orders.repeated", 3000);
    let came = replies.so_far();
    let on = |below: &str| came.iter().filter(|m| m.topic.ends_with(below.as_bytes())).count();
    assert!((1..=6).contains(&on("/review/state")), "{}", on("/review/state"));
    assert!(on("/watchlist/state") <= 6, "{}", on("/watchlist/state"));
    assert!(on("/audit/entry") <= 20, "{}", on("/audit/entry"));
    assert!(daemon.terminate().success());
    let log = ok(&["audit", "show", "--log", &desk.arg("audit")]);
    let orders = log.lines().filter(|line| line.contains("revoke")).count();
    assert!((1..=8).contains(&orders), "{orders}: {log}");
}

/// Devices of which a desk may register controls: the trust file pins its key as a receiver's.
fn field_with_controls() -> Option<Field> {
    let field = field()?;
    let desk = &field.desk;
    let public = |key: &str| ok(&["key", "show", &desk.arg(key)]).trim().to_owned();
    ok(&["key", "new", &desk.arg("receiving.key"), "--no-passphrase"]);
    ok(&["key", "device", &desk.arg("scores.key")]);
    fs::remove_file(desk.path("trust.toml")).expect("was there");
    let [alice, bob, dora, emil, receiving] =
        ["alice.key", "bob.key", "dora.key", "emil.key", "receiving.key"].map(public);
    let [dora, emil] = [format!("p-1={dora}"), format!("p-2={emil}")];
    let reviewers = ["--reviewer", &dora, "--reviewer", &emil, "--receiver", &receiving];
    ok(&[&["key", "trust", &alice, &bob], &reviewers[..], &["--out", &desk.arg("trust.toml")]]
        .concat());
    let file = desk.path("watchpost.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    fs::write(&file, text.replace("[broker]\n", "[broker]\ncontrols = true\n")).expect("writes");
    Some(field)
}

/// The candidate in `candidate.json` under another id, in `control.json`, and its registration.
fn control_of(field: &Field) -> (EventId, Vec<u8>) {
    let desk = &field.desk;
    let published = fs::read(desk.path("candidate.json")).expect("a candidate");
    let mut event: Value = serde_json::from_slice(&published).expect("an event");
    let now = OffsetDateTime::now_utc();
    let ms = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).expect("after 1970");
    let mut id = [0x0c; 16];
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    (id[6], id[8]) = (0x7c, 0x8c);
    let named = EventId::from_u128(u128::from_be_bytes(id));
    event["data"]["candidate"] = named.to_string().into();
    let shown = serde_json::to_vec(&event).expect("JSON");
    fs::write(desk.path("control.json"), &shown).expect("writes");
    let text = |of: &Value| of.as_str().expect("text").parse().expect("a name");
    let key = DeviceKey::open_file(&desk.path("scores.key")).expect("the desk's other key");
    let control = Control {
        device: "gate-1".parse().expect("a name"),
        id: CandidateId(id),
        payload: Sha256::digest(&shown).into(),
        list: text(&event["data"]["list"]["id"]),
        version: event["data"]["list"]["version"].as_u64().expect("a version"),
        entry: text(&event["data"]["entry"]),
        until: now.replace_nanosecond(0).expect("a second") + time::Duration::HOUR,
        scores_to: key.recipient().clone(),
    };
    let signer = SecretKey::open_file(&desk.path("receiving.key")).expect("the desk's key");
    (named, control::register(&control, &signer).expect("a registration"))
}

#[test]
fn a_control_is_answered_as_a_candidate_over_a_kill_and_becomes_a_score_and_no_outcome() {
    let Some(field) = field_with_controls() else { return };
    let daemon = with_candidate(&field);
    let (control, registration) = control_of(&field);
    let unregistered = judges(&field, "dora.key", "same");
    assert_eq!(unregistered, (true, "pending".into()), "of the candidate itself");
    let early = support::reviewed::judges(&field.desk, "control.json", "dora.key", "same");
    assert!(!early.0 && early.1.contains("knows no such candidate"), "{early:?}");

    let register =
        || field.listener.publish(&format!("{TOPIC}/control"), false, registration.clone());
    let of_control =
        |s: &Value, state: &str| s["control"] == control.to_string() && s["state"] == state;
    register();
    field.await_("control/answer", "that it is known", |s| of_control(s, "known"));
    let says = |key: &str| support::reviewed::judges(&field.desk, "control.json", key, "same");
    assert_eq!(says("dora.key"), (true, "pending".into()));
    daemon.kill();
    let _daemon = Daemon::start(&field.desk);
    field.await_online();
    register();
    field.await_("control/answer", "that it is known still", |s| of_control(s, "known"));
    assert_eq!(says("emil.key"), (true, "control".into()));
    let over = field.await_("review/state", "the end", |s| s["state"] == "control");
    assert_eq!((&over["candidate"], over.get("verdicts")), (&control.to_string().into(), None));
    let scored = field.await_("control/answer", "the scores", |s| of_control(s, "judged"));
    let sealed = STANDARD.decode(scored["scores"].as_str().expect("scores")).expect("base64");
    let key = DeviceKey::open_file(&field.desk.path("scores.key")).expect("the desk's other key");
    let scores = seal::open(&sealed, &key).expect("sealed to the desk");
    for reviewer in ["dora.key", "emil.key"] {
        let key = SecretKey::open_file(&field.desk.path(reviewer)).expect("a key").public().id();
        let same = [&key.to_bytes()[..], &[1]].concat();
        assert!(scores.windows(9).any(|said| said == same), "{reviewer} said same");
    }

    let log = ok(&["audit", "show", "--log", &field.desk.arg("audit")]);
    assert_eq!(log.matches(&format!("control {control} registered by ")).count(), 1, "{log}");
    assert!(log.contains(&format!("control {control} over: judged")), "{log}");
    assert!(!log.contains(&format!("review of {control}")), "it has no outcome: {log}");
    let report = ok(&["audit", "report", "--log", &field.desk.arg("audit"), "--json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(
        (&report["controls"]["registered"], &report["controls"]["judged"]),
        (&1.into(), &1.into())
    );
    assert_eq!(report["reviews"], Value::Null, "nothing was decided of a candidate: {report}");
}
