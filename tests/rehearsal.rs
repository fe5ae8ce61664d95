//! What `watchpost calibrate rehearse` promises, with the built binary and its real networks: it
//! counts in how many passes volunteers are found, publishes nobody, and takes nobody who has not
//! agreed.

mod support;

use std::fs;
use std::process::Output;

use serde_json::Value;
use support::desk::{Desk, PORTRAITS, fails, ok};
use support::{Mosquitto, Subscriber};

/// Three volunteers, and a list that is theirs.
fn volunteers() -> Desk {
    let desk = Desk::new();
    desk.draft();
    let draft = fs::read_to_string(desk.path("draft.json")).expect("a draft");
    let mut draft = draft;
    for (is, to) in [
        ("\"most_entries\": 2", "\"most_entries\": 3"),
        ("\"expected_faces_per_day\": 1000", "\"expected_faces_per_day\": 100"),
        ("\"false_alerts_per_day\": 0.2", "\"false_alerts_per_day\": 5.0"),
    ] {
        assert!(draft.contains(is), "{is}");
        draft = draft.replace(is, to);
    }
    fs::write(desk.path("draft.json"), draft).expect("writes");
    for (reference, portrait) in [("case-2", "biden-2010"), ("case-3", "hopper")] {
        let photograph = format!("{PORTRAITS}/{portrait}.jpg");
        let about = ["--legal-basis", "consent", "--purpose", "a rehearsal"];
        let add = ["watchlist", "add", &desk.arg("draft.json"), &photograph];
        ok(&[&add[..], &["--reference", reference], &about].concat());
    }
    desk.sign("draft.json", "alice.key");
    desk.sign("list.cose", "bob.key");
    desk
}

fn rehearse(desk: &Desk, passes: &str) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_watchpost"))
        .args(["calibrate", "rehearse", "--config", &desk.arg("watchpost.toml")])
        .args(["--list", &desk.arg("list.cose"), "--passes", passes, "--apart-s", "0"])
        .args(["--record", &desk.arg("rehearsal.json")])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the binary runs")
}

#[test]
fn passes_of_volunteers_are_counted_and_nobody_is_published() {
    let Some(broker) = Mosquitto::running() else { return };
    let desk = volunteers();
    // Two of the three walk twice; somebody who is on no list walks, too.
    desk.pictures(&["obama-2010.jpg", "hopper.jpg", "collins.jpg"]);
    desk.configure(broker.port, "repeat = 2\n");
    let listener = Subscriber::new(broker.port, "site/#");
    let output = rehearse(&desk, "2");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("4 of 6 passes of 3 volunteers"), "{said}");
    let record = desk.arg("rehearsal.json");
    let shown: Value =
        serde_json::from_str(&ok(&["calibrate", "show", &record, "--json"])).expect("JSON");
    assert_eq!((&shown["found"], &shown["passes"]), (&4.into(), &6.into()), "{shown}");
    // Two always, one never: as good as three people.
    assert_eq!(shown["design_effect"], 2.0, "{shown}");
    assert!(shown["lower"].as_f64() < Some(0.1) && shown["upper"].as_f64() > Some(0.99), "{shown}");
    let text = fs::read_to_string(&record).expect("a record");
    assert!(!text.contains("case-"), "{text}");

    let messages = listener.so_far();
    let topics: Vec<String> =
        messages.iter().map(|m| String::from_utf8_lossy(&m.topic).into_owned()).collect();
    assert!(topics.iter().all(|t| !t.ends_with("/candidate")), "{topics:?}");
    let says = |m: &rumqttc::v5::mqttbytes::v5::Publish| {
        String::from_utf8_lossy(&m.payload).contains("rehearsal: 3 volunteers walk past")
    };
    assert!(messages.iter().any(says), "the status announces it: {topics:?}");

    let plan = ok(&["watchlist", "plan", &desk.arg("draft.json"), "--rehearsal", &record]);
    assert!(plan.contains("found by the camera main of gate-1 on "), "{plan}");
    assert!(plan.contains("4 of 6 passes of 3 volunteers on the list promises"), "{plan}");
    assert!(!plan.contains("not for that device"), "{plan}");
    let plan =
        ok(&["watchlist", "plan", &desk.arg("draft.json"), "--rehearsal", &record, "--json"]);
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    assert_eq!(plan["rehearsal"]["found"], 4, "{plan}");
    assert_eq!(plan["rehearsal"]["same_device"], true, "{plan}");
    let draft = fs::read_to_string(desk.path("draft.json")).expect("a draft");
    let other = draft.replace("\"gate-1\"", "\"gate-2\"");
    fs::write(desk.path("other.json"), other).expect("writes");
    let other = ok(&["watchlist", "plan", &desk.arg("other.json"), "--rehearsal", &record]);
    assert!(other.contains("this list is not for that device"), "{other}");
    // A record of long ago says nothing.
    let old = text.replace("\"expires\": \"20", "\"expires\": \"19");
    fs::write(&record, old).expect("writes");
    let (_, error) = fails(&["watchlist", "plan", &desk.arg("draft.json"), "--rehearsal", &record]);
    assert!(error.contains("hold another rehearsal"), "{error}");
}

#[test]
fn a_list_of_people_who_have_not_agreed_is_not_rehearsed() {
    let desk = volunteers();
    desk.pictures(&["hopper.jpg"]);
    desk.configure(1, "");
    let draft = fs::read_to_string(desk.path("draft.json")).expect("a draft");
    let other = draft.replace("\"aim\": \"consent\"", "\"aim\": \"serious-crime\"");
    assert_ne!(draft, other);
    fs::write(desk.path("draft.json"), other).expect("writes");
    desk.sign("draft.json", "alice.key");
    // Signed by one: not even judged further.
    let output = rehearse(&desk, "2");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("too-few-signers"), "{error}");
    desk.sign("list.cose", "bob.key");
    let output = rehearse(&desk, "2");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("people who have agreed"), "{error}");
    assert!(!desk.path("rehearsal.json").exists());
}
