//! A list that is wrong too often stops: with the real daemon, a real broker, and verdicts of two
//! people as `watchpost review` gives them.

mod support;

use std::collections::{BTreeSet, VecDeque};
use std::fs;

use serde_json::Value;
use support::desk::{Daemon, Desk, PORTRAITS, ok};
use support::field::{Field, TOPIC};
use support::reviewed::{judges, reviewed_field, seal};
use support::{Subscriber, wait_for};

/// Who passes. Each is enrolled, and each of them is somebody else to those who judge: a list of
/// look-alikes.
const LOOK_ALIKES: [&str; 4] = ["biden-2010.jpg", "collins.jpg", "hopper.jpg", "obama-2010.jpg"];

/// A list of four that two have signed, within a budget that so long a list can keep.
fn list(desk: &Desk) {
    desk.draft();
    let draft = desk.arg("draft.json");
    let text = fs::read_to_string(&draft).expect("a draft");
    let mut content: Value = serde_json::from_str(&text).expect("JSON");
    content["authorisation"]["most_entries"] = 5.into();
    content["authorisation"]["false_alerts_per_day"] = 2.0.into();
    fs::write(&draft, content.to_string()).expect("writes");
    for (n, portrait) in LOOK_ALIKES.iter().enumerate() {
        let (photograph, reference) = (format!("{PORTRAITS}/{portrait}"), format!("like-{n}"));
        let entry =
            ["--reference", &reference, "--legal-basis", "order 2/26", "--purpose", "a test"];
        ok(&[&["watchlist", "add", &draft, &photograph][..], &entry[..]].concat());
    }
    ok(&["watchlist", "remove", &draft, "--reference", "case-1"]);
    desk.sign("draft.json", "alice.key");
    desk.sign("list.cose", "bob.key");
    fs::copy(desk.path("list.cose"), desk.path("plain.cose")).expect("a copy");
}

/// All four pass again and again, one every two seconds: slowly, so that what is announced for all
/// of them together stays far below the alerts.
fn passing(field: &Field) {
    let desk = &field.desk;
    for portrait in LOOK_ALIKES {
        let to = desk.path("pictures").join(portrait);
        fs::copy(format!("{PORTRAITS}/{portrait}"), to).expect("a portrait");
    }
    let file = desk.path("watchpost.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    let text = text.replace("fps = 0.0\n", "fps = 2.5\nhold = 5\n");
    fs::write(&file, text).expect("writes");
}

fn log_of(field: &Field) -> String {
    fs::read_to_string(field.desk.path("log")).expect("a log")
}

fn decided(field: &Field) -> usize {
    log_of(field).matches("Candidate decided").count()
}

#[test]
fn a_list_whose_alerts_two_people_refute_stops_over_a_restart_until_two_sign_a_higher_version() {
    let Some(field) = reviewed_field(list) else { return };
    passing(&field);
    let desk = &field.desk;
    let heard = Subscriber::new(field.broker.port, &format!("{TOPIC}/candidate"));
    let daemon = Daemon::start(desk);
    field.await_online();

    // One alert of each entry is refuted, until they are more than what was announced explains;
    // two of different entries may be, as hardly anybody has passed.
    let (mut waiting, mut known) = (VecDeque::new(), BTreeSet::new());
    let mut next = || {
        wait_for("an alert of another entry, or the end", || {
            waiting.extend(heard.so_far());
            while let Some(message) = waiting.pop_front() {
                let event: Value = serde_json::from_slice(&message.payload).expect("JSON");
                if known.insert(event["data"]["entry"].to_string()) {
                    return Some(Some(message.payload));
                }
            }
            log_of(&field).contains("reason=budget-exceeded").then_some(None)
        })
    };
    let mut refuted = 0;
    while let Some(candidate) = next() {
        fs::write(desk.path("candidate.json"), candidate).expect("writes");
        assert_eq!(judges(desk, "candidate.json", "dora.key", "not-same").1, "pending");
        assert_eq!(judges(desk, "candidate.json", "emil.key", "not-same").1, "refuted");
        refuted += 1;
    }
    assert!((2..=LOOK_ALIKES.len()).contains(&refuted), "{refuted}: one look-alike is no reason");
    field.await_blind("budget-exceeded");
    let (before, frames) = (decided(&field), |s: &Value| s["drops"]["pipeline.blind"].as_u64());
    field.await_("stats", "they pass and are not looked at", |s| frames(s) >= Some(10));
    assert_eq!(decided(&field), before, "nobody is matched any more");

    daemon.kill();
    field.forget();
    let daemon = Daemon::start(desk);
    field.await_blind("budget-exceeded");
    field.await_("stats", "they pass again", |s| frames(s) >= Some(10));
    assert_eq!(decided(&field), 0, "a restart brings it back to nobody");

    // The same version once more is no other.
    fs::copy(desk.path("list.cose"), desk.path("again.age")).expect("a copy");
    field.offer("again.age");
    field.await_("watchlist/state", "the answer", |s| !s["last_change"].is_null());
    field.await_("stats", "a second later", |s| frames(s) >= Some(20));
    assert_eq!(decided(&field), 0);

    // What two sign anew begins anew.
    let [plain, draft, next] = ["plain.cose", "next.json", "next.cose"].map(|name| desk.arg(name));
    ok(&["watchlist", "revise", &plain, "--out", &draft]);
    desk.sign_into(&draft, "alice.key", &next);
    desk.sign_into(&next, "bob.key", &next);
    seal(desk, "next.cose");
    field.offer("next.cose");
    field.await_("watchlist/state", "installed", |s| s["last_change"]["what"] == "installed");
    field.await_online();
    wait_for("somebody to be matched", || (decided(&field) > 0).then_some(()));
    assert!(daemon.terminate().success());
}
