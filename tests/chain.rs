//! What the whole program promises, from photographs to a message at a subscriber: the built
//! binary, its real networks, real brokers. The people are those of the bundled portraits.

// Without the embedded broker some of these promises are not checked, and their helpers lie idle.
#![cfg_attr(not(feature = "demo-broker"), allow(dead_code, unused_imports))]

mod support;

use serde_json::Value;
use support::desk::{Daemon, Desk, PORTRAITS, fails, ok, watchpost};
use support::{Mosquitto, Subscriber, wait_for};

/// Messages by the last level of their topic.
fn received(subscriber: &Subscriber, level: &str) -> Vec<(bool, Value)> {
    subscriber
        .so_far()
        .iter()
        .filter(|m| String::from_utf8_lossy(&m.topic).ends_with(&format!("/{level}")))
        .map(|m| (m.retain, serde_json::from_slice(&m.payload).expect("JSON")))
        .collect()
}

/// Everything up to the last message of a run, the status `stopped`: it may reach the subscriber
/// after the daemon has ended.
fn whole_run(subscriber: &Subscriber) -> Vec<rumqttc::v5::mqttbytes::v5::Publish> {
    let mut messages = Vec::new();
    wait_for("the status `stopped`", || {
        messages.extend(subscriber.so_far());
        let stopped = |m: &rumqttc::v5::mqttbytes::v5::Publish| {
            serde_json::from_slice::<Value>(&m.payload)
                .is_ok_and(|e| e["data"]["state"] == "stopped")
        };
        messages.iter().any(stopped).then_some(())
    });
    messages
}

fn next_status(subscriber: &Subscriber, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for("a status", || {
        received(subscriber, "status")
            .into_iter()
            .map(|(_, event)| event["data"].clone())
            .find(|data| wanted(data))
    })
}

fn publishes_the_enrolled_person_once_and_nothing_of_anybody_else(port: u16) {
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["biden-2010.jpg", "collins.jpg", "hopper.jpg", "obama-2010.jpg"]);
    desk.configure(port, "repeat = 2\n");
    let before = desk.files();
    let everything = Subscriber::new(port, "site/#");
    let output = desk.run();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");

    // Every message of the run is looked at: nothing but status, the list's state, counts and the
    // candidate was sent.
    let messages = whole_run(&everything);
    let mut candidates = Vec::new();
    let mut counted = None;
    for message in &messages {
        let topic = String::from_utf8_lossy(&message.topic).into_owned();
        let event: Value = serde_json::from_slice(&message.payload).expect("JSON");
        match topic.as_str() {
            "site/v1/gate-1/candidate" => {
                assert!(!message.retain);
                assert_eq!(message.qos as u8, 1);
                candidates.push(event);
            }
            "site/v1/gate-1/status" => {}
            "site/v1/gate-1/watchlist/state" => {
                assert!(
                    event["data"]["list"]["id"] == "promises" && event["data"]["entries"] == 1,
                    "{event}"
                );
                assert!(!event.to_string().contains("case-1"), "{event}");
            }
            "site/v1/gate-1/stats" => {
                counted = Some(event["data"].clone());
                for (_, counts) in event["data"]
                    .as_object()
                    .expect("an object")
                    .iter()
                    .filter(|(k, _)| *k != "since")
                {
                    assert!(
                        counts.as_object().expect("counts by name").values().all(Value::is_number)
                    );
                }
            }
            other => panic!("a message on {other}"),
        }
    }
    // People are counted, nobody in particular.
    let counted = counted.expect("counts at the end of the run");
    let count = |name: &str| {
        counted["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {counted}"))
    };
    assert!(
        count("pipeline.vision.faces") >= count("pipeline.decision.compared")
            && count("pipeline.vision.tracks") >= 4
    );
    assert!(count("pipeline.decision.compared") > count("pipeline.decision.supporting"));
    assert_eq!(count("pipeline.decision.candidates"), 1);
    assert!(
        counted["drops"]
            .as_object()
            .expect("drops")
            .keys()
            .any(|k| k.starts_with("pipeline.vision.too_poor."))
    );
    let first: Vec<&Value> = candidates.iter().filter(|c| c["data"]["sequence"] == 1).collect();
    assert_eq!(first.len(), 1, "one candidate: {log}");
    assert!(candidates.iter().all(|c| c["data"]["entry"] == "case-1"));
    let data = &first[0]["data"];
    assert_eq!((&first[0]["specversion"], &first[0]["source"]), (&"1.0".into(), &"gate-1".into()));
    assert_eq!(first[0]["id"].as_str().expect("an id").as_bytes()[14], b'7', "a UUID of version 7");
    assert!(data["score"].as_f64() >= data["threshold"].as_f64());
    assert!(data["evidence"]["agreeing"].as_u64().expect("a count") >= 2);
    assert!(
        data["expected_false_positive_rate"].as_f64().expect("a rate") <= 2e-4,
        "0.2 alerts in 1000 faces"
    );
    assert!(
        data["evidence"]["combined"].as_f64() > data["threshold"].as_f64(),
        "all views together"
    );
    assert_eq!(data["list"]["id"], "promises");
    use base64::Engine as _;
    let crop = base64::engine::general_purpose::STANDARD
        .decode(data["crop"]["base64"].as_str().expect("a crop"));
    let crop = image::load_from_memory(&crop.expect("base64")).expect("a JPEG");
    assert_eq!((crop.width(), crop.height()), (112, 112), "the aligned face and no more");

    // Afterwards the broker keeps the status and which list it was, and the disk the memory of
    // versions alone.
    let later = Subscriber::new(port, "site/#");
    let mut kept = [later.next(), later.next()];
    kept.sort_by_key(|m| m.topic.len());
    let [kept, list] = kept;
    assert_eq!(String::from_utf8_lossy(&kept.topic), "site/v1/gate-1/status");
    assert_eq!(String::from_utf8_lossy(&list.topic), "site/v1/gate-1/watchlist/state");
    let status: Value = serde_json::from_slice(&kept.payload).expect("JSON");
    assert_eq!((kept.retain, &status["data"]["state"]), (true, &"stopped".into()));
    let (outbox, new): (Vec<_>, Vec<_>) =
        desk.files().difference(&before).cloned().partition(|f| f.starts_with(desk.path("outbox")));
    let left: u64 = outbox.iter().map(|f| f.metadata().expect("it is there").len()).sum();
    assert!(left < 256, "no byte of a delivered candidate stays in the outbox: {left} bytes");
    let kept = ["list.cose.seen", "state.json", "state.json.reserve"].map(|n| desk.path(n));
    assert_eq!(new, kept);
    let state = std::fs::read_to_string(desk.path("state.json")).expect("text");
    assert!(state.len() < 500 && state.contains("promises"), "{state}");
    assert!(!log.contains("case-1"), "the log names no entry: {log}");
}

#[test]
fn the_enrolled_person_is_published_once_and_nothing_of_anybody_else_through_mosquitto() {
    let Some(broker) = Mosquitto::running() else { return };
    publishes_the_enrolled_person_once_and_nothing_of_anybody_else(broker.port);
}

#[cfg(feature = "demo-broker")]
#[test]
fn the_enrolled_person_is_published_once_and_nothing_of_anybody_else_through_the_embedded_broker() {
    publishes_the_enrolled_person_once_and_nothing_of_anybody_else(support::embedded_broker());
}

/// Adds `[audit]` to the desk's configuration, with an identity; the public half of it.
fn keep_an_audit_log(desk: &Desk) -> String {
    let [identity, log] = ["identity.key", "audit"].map(|name| desk.arg(name));
    let public = ok(&["key", "identity", &identity]).trim().to_owned();
    let file = desk.path("watchpost.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let audit = format!("{text}[audit]\nidentity = \"{identity}\"\nlog = \"{log}\"\n");
    std::fs::write(file, audit).expect("writes");
    public
}

#[cfg(feature = "demo-broker")]
#[test]
fn a_candidate_is_in_the_audit_log_as_it_was_published_and_others_can_verify_it() {
    use base64::Engine as _;
    use watchpost::audit::record::{AuditEvent, AuditRecord, commitment};
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["biden-2010.jpg", "collins.jpg", "hopper.jpg", "obama-2010.jpg"]);
    let port = support::embedded_broker();
    desk.configure(port, "repeat = 2\n");
    let public = keep_an_audit_log(&desk);
    let everything = Subscriber::new(port, "site/#");
    let output = desk.run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let messages = whole_run(&everything);
    let on = |topic: &str| {
        let topic = format!("site/v1/gate-1/{topic}");
        messages.iter().filter(move |m| m.topic == topic.as_bytes())
    };
    let entries: Vec<(u64, AuditEvent)> = on("audit/entry")
        .map(|m| {
            let event: Value = serde_json::from_slice(&m.payload).expect("JSON");
            let record = event["data"]["record"].as_str().expect("base64");
            let bytes = base64::engine::general_purpose::STANDARD.decode(record).expect("base64");
            let record = AuditRecord::from_bytes(&bytes).expect("a record");
            (event["data"]["index"].as_u64().expect("an index"), record.event)
        })
        .collect();
    let first_word =
        |e: &AuditEvent| e.to_string().split([':', ' ']).next().unwrap_or_default().to_owned();
    let kinds: Vec<String> = entries.iter().map(|(_, event)| first_word(event)).collect();
    assert_eq!(&kinds[..3], ["started", "weaker", "list"], "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("stopped"));
    assert!(entries.iter().map(|(index, _)| *index).eq(0..entries.len() as u64), "none is missing");
    let candidates: Vec<_> = on("candidate").collect();
    assert!(!candidates.is_empty());
    for published in &candidates {
        let event: Value = serde_json::from_slice(&published.payload).expect("JSON");
        let index = event["data"]["audit"]["index"].as_u64().expect("an index") as usize;
        let AuditEvent::Candidate(record) = &entries[index].1 else {
            panic!("{:?}", entries[index])
        };
        assert_eq!(record.commitment, commitment(&published.payload));
        // Proved from the device's disk, and verified by a public key alone.
        let (proof, payload) = (desk.arg("proof"), desk.arg("payload"));
        let id = event["id"].as_str().expect("an id");
        ok(&["audit", "prove", id, "--log", &desk.arg("audit"), "--out", &proof]);
        std::fs::write(&payload, &published.payload).expect("writes");
        let key = ["--key", &public, "--origin", "site/gate-1"];
        ok(&[&["audit", "verify", &proof, "--candidate", &payload][..], &key].concat());
    }
    let checkpoint = on("audit/checkpoint").last().expect("the last checkpoint");
    let kept = std::fs::read(desk.path("audit").join("checkpoint")).expect("a checkpoint");
    assert_eq!(checkpoint.payload, kept, "what is published is what is on the disk");
    ok(&["audit", "verify", "--log", &desk.arg("audit"), "--key", &public]);
    let log = std::fs::read(desk.path("audit").join("log")).expect("a log");
    for forbidden in ["case-1", "Obama", "obama"] {
        let found = log.windows(forbidden.len()).any(|w| w == forbidden.as_bytes());
        assert!(!found, "the log says {forbidden}");
    }
}

#[cfg(feature = "demo-broker")]
#[test]
fn without_its_audit_log_the_device_is_blind_and_says_why() {
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["biden-2010.jpg", "obama-2010.jpg"]);
    let port = support::embedded_broker();
    desk.configure(port, "repeat = 0\n");
    keep_an_audit_log(&desk);
    std::fs::write(desk.path("audit"), "no folder").expect("writes");
    let subscriber = Subscriber::new(port, "site/#");
    let daemon = Daemon::start(&desk);
    let status = next_status(&subscriber, |s| {
        s["reason"].as_str().is_some_and(|r| r.contains("audit-unusable"))
    });
    assert_eq!((&status["state"], &status["matching"]), (&"blind".into(), &false.into()));
    assert!(daemon.terminate().success());
    assert_eq!(received(&subscriber, "candidate").len(), 0);
}

#[cfg(feature = "demo-broker")]
#[test]
fn a_list_that_one_person_signed_leaves_the_device_blind_and_the_status_says_why() {
    let desk = Desk::new();
    desk.draft();
    desk.sign("draft.json", "alice.key");
    desk.pictures(&["obama-2010.jpg"]);
    let port = support::embedded_broker();
    desk.configure(port, "repeat = 0\n");
    let subscriber = Subscriber::new(port, "site/#");
    let daemon = Daemon::start(&desk);
    let status = next_status(&subscriber, |s| {
        s["reason"].as_str().is_some_and(|r| r.contains("too-few-signers"))
    });
    assert_eq!((&status["state"], &status["matching"]), (&"blind".into(), &false.into()));
    assert!(status["reason"].as_str().expect("a reason").contains("1 of the 2 signatures"));

    // A second signature by the same key is refused at the desk; altered bytes are refused by the
    // device.
    let again = [
        "watchlist",
        "sign",
        &desk.arg("list.cose"),
        "--key",
        &desk.arg("alice.key"),
        "--out",
        &desk.arg("list.cose"),
        "--yes",
    ];
    assert!(fails(&again).1.contains("has signed this list already"));
    assert!(daemon.terminate().success());
    assert_eq!(received(&subscriber, "candidate").len(), 0);
}

#[cfg(feature = "demo-broker")]
#[test]
fn sigterm_ends_the_daemon_cleanly_with_stopped_published() {
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["collins.jpg"]);
    let port = support::embedded_broker();
    desk.configure(port, "repeat = 0\n");
    let subscriber = Subscriber::new(port, "site/#");
    let daemon = Daemon::start(&desk);
    let status = next_status(&subscriber, |s| s["state"] == "online");
    assert_eq!((&status["matching"], &status["list"]["id"]), (&true.into(), &"promises".into()));
    assert!(daemon.terminate().success());
    next_status(&subscriber, |s| s["state"] == "stopped");
}

#[cfg(feature = "demo-broker")]
#[test]
fn without_its_camera_the_daemon_runs_blind_and_says_what_to_do() {
    let desk = Desk::new();
    desk.list();
    desk.pictures(&[]);
    let port = support::embedded_broker();
    desk.configure(port, "");
    let text = std::fs::read_to_string(desk.path("watchpost.toml")).expect("text");
    let camera = text.replace(
        "kind = \"images\"",
        "kind = \"v4l2\"\n[source.v4l2]\ndevice = \"/dev/video-none\"",
    );
    std::fs::write(desk.path("watchpost.toml"), camera).expect("writes");
    let subscriber = Subscriber::new(port, "site/#");
    let daemon = Daemon::start(&desk);
    let status = next_status(&subscriber, |s| {
        s["reason"].as_str().is_some_and(|r| r.contains("/dev/video-none"))
    });
    assert_eq!(status["state"], "blind");
    assert!(daemon.terminate().success());
}

#[cfg(feature = "demo-broker")]
#[test]
fn a_picture_cut_short_is_counted_under_its_name_and_the_next_one_is_looked_at() {
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["obama-2010.jpg"]);
    let whole = std::fs::read(desk.path("pictures/obama-2010.jpg")).expect("a file");
    std::fs::write(desk.path("pictures/a-half.jpg"), &whole[..whole.len() / 2]).expect("writes");
    std::fs::write(desk.path("pictures/b-none.jpg"), b"no picture at all").expect("writes");
    let port = support::embedded_broker();
    desk.configure(port, "");
    let subscriber = Subscriber::new(port, "site/#");
    assert!(desk.run().status.success());
    let messages = whole_run(&subscriber);
    let last = |level: &str| {
        let of = messages.iter().filter(|m| String::from_utf8_lossy(&m.topic).ends_with(level));
        of.map(|m| serde_json::from_slice::<Value>(&m.payload).expect("JSON")).next_back()
    };
    assert_eq!(last("/candidate").expect("a candidate")["data"]["entry"], "case-1");
    let drops = last("/stats").expect("counts at the end")["data"]["drops"].clone();
    // The half picture in each of the five frames that it was held for, the other file once.
    assert_eq!(
        (&drops["pipeline.undecodable"], &drops["source.unreadable"]),
        (&5.into(), &1.into()),
        "{drops}"
    );
}

#[test]
fn a_wrong_configuration_ends_with_78_and_names_file_key_value_and_remedy() {
    let desk = Desk::new();
    let file = desk.arg("bad.toml");
    for (text, wanted) in [
        ("[decision]\nviews = 0\n", "decision.views = 0: write a whole number from 4 to 8"),
        ("[source]\nkind = \"v4l3\"\n", "line 2, at `kind = \"v4l3\"`"),
        ("[brokr]\n", "unknown field `brokr`"),
    ] {
        std::fs::write(&file, text).expect("writes");
        for command in ["check", "run"] {
            let (code, error) = fails(&[command, "--config", &file]);
            assert_eq!(code, 78, "{error}");
            assert!(error.contains(wanted) && error.contains("bad.toml"), "{error}");
        }
    }
    let (code, error) = fails(&["run", "--config", &desk.arg("missing.toml")]);
    assert_eq!(code, 78, "{error}");
}

#[test]
fn check_tells_whether_models_list_and_trust_would_do() {
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["collins.jpg"]);
    desk.configure(1883, "");
    let output = desk.command("check").arg("--json").output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(!desk.path("state.json").exists(), "a check leaves nothing behind");
    // One byte of the list altered.
    let mut bytes = std::fs::read(desk.path("list.cose")).expect("a list");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(desk.path("list.cose"), bytes).expect("writes");
    let output = desk.command("check").arg("--json").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("altered"));
}

#[test]
fn the_one_shot_commands_give_the_shapes_that_scripts_rely_on() {
    let desk = Desk::new();
    desk.list();
    let [a, b, other] =
        ["obama-2012.jpg", "obama-2010.jpg", "hopper.jpg"].map(|n| format!("{PORTRAITS}/{n}"));
    let json = |args: &[&str]| -> Value { serde_json::from_str(&ok(args)).expect("one JSON line") };

    let faces = &json(&["detect", &b, "--json"])["faces"];
    assert_eq!(faces.as_array().map(Vec::len), Some(1));
    assert_eq!(faces[0]["box"].as_array().map(Vec::len), Some(4));
    assert_eq!(faces[0]["points"].as_array().map(Vec::len), Some(5));
    assert!(
        faces[0]["score"].as_f64() > Some(0.6)
            && faces[0]["quality"]["overall"].as_f64() > Some(0.3)
    );

    let same = json(&["compare", &a, &b, "--json"])["similarity"].as_f64().expect("a number");
    let different =
        json(&["compare", &a, &other, "--json"])["similarity"].as_f64().expect("a number");
    assert!(same > 0.5 && different < 0.3, "{same} {different}");

    let [list, trust] = ["list.cose", "trust.toml"].map(|n| desk.arg(n));
    let identify = |image: &str, device: &str| {
        let args = [
            "identify",
            image,
            "--watchlist",
            &list,
            "--trust",
            &trust,
            "--device",
            device,
            "--json",
        ];
        watchpost(&args)
    };
    let found: Value =
        serde_json::from_slice(&identify(&b, "gate-1").stdout).expect("one JSON line");
    assert_eq!(found["faces"][0]["candidates"][0]["entry"], "case-1");
    assert!(found["faces"][0]["candidates"][0]["expected_false_positive_rate"].is_number());
    let nobody: Value =
        serde_json::from_slice(&identify(&other, "gate-1").stdout).expect("one JSON line");
    assert_eq!(nobody["faces"][0]["candidates"], Value::Array(Vec::new()));
    let elsewhere = identify(&b, "gate-2");
    assert!(
        !elsewhere.status.success()
            && String::from_utf8_lossy(&elsewhere.stderr).contains("gate-1")
    );

    let shown = json(&["watchlist", "show", &list, "--trust", &trust, "--json"]);
    assert_eq!(
        (shown["entries"].as_array().map(Vec::len), shown["signatures"].as_array().map(Vec::len)),
        (Some(1), Some(2))
    );
    let verified =
        json(&["watchlist", "verify", &list, "--trust", &trust, "--device", "gate-1", "--json"]);
    assert_eq!(verified["valid"], true);
}

#[test]
fn a_photograph_that_cannot_stand_for_a_person_is_refused_with_the_reason() {
    let desk = Desk::new();
    desk.draft();
    let draft = desk.arg("draft.json");
    let entry =
        ["--reference", "case-2", "--legal-basis", "order 2/26", "--purpose", "a promise kept"];
    let add = |photographs: &[&str]| {
        fails(&[&["watchlist", "add", &draft][..], photographs, &entry[..]].concat()).1
    };

    image::RgbImage::new(1, 1).save(desk.path("dot.png")).expect("writes");
    assert!(add(&[&desk.arg("dot.png")]).contains("no face was found"));

    // Two people side by side.
    let [a, b] = ["collins.jpg", "hopper.jpg"]
        .map(|n| image::open(format!("{PORTRAITS}/{n}")).expect("a JPEG").to_rgb8());
    let mut both = image::RgbImage::new(a.width() + b.width(), a.height().max(b.height()));
    image::imageops::replace(&mut both, &a, 0, 0);
    image::imageops::replace(&mut both, &b, a.width().into(), 0);
    both.save(desk.path("both.png")).expect("writes");
    assert!(add(&[&desk.arg("both.png")]).contains("2 faces were found"));

    // Too small, and smeared.
    let small = image::imageops::resize(
        &b,
        b.width() / 8,
        b.height() / 8,
        image::imageops::FilterType::Triangle,
    );
    small.save(desk.path("small.png")).expect("writes");
    let refusal = add(&[&desk.arg("small.png")]);
    assert!(
        refusal.contains("px between the eyes") || refusal.contains("no face was found"),
        "{refusal}"
    );
    image::imageops::blur(&b, 9.0).save(desk.path("smear.png")).expect("writes");
    let refusal = add(&[&desk.arg("smear.png")]);
    assert!(refusal.contains("sharpness") || refusal.contains("score"), "{refusal}");

    // Photographs of two people as one entry.
    let two = ["collins.jpg", "hopper.jpg"].map(|n| format!("{PORTRAITS}/{n}"));
    assert!(add(&[&two[0], &two[1]]).contains("do not look like one person"));
    let name = ["--reference", "Jane Doe", "--legal-basis", "x", "--purpose", "y"];
    assert!(
        fails(&[&["watchlist", "add", &draft, &two[0]][..], &name[..]].concat())
            .1
            .contains("never a person's name")
    );
}

#[cfg(feature = "demo-broker")]
#[test]
fn the_demonstration_prints_one_candidate_for_the_enrolled_person_and_none_for_the_others() {
    let text = ok(&["demo"]);
    assert!(text.contains("1 candidate for case-0001, 0 for anybody else"), "{text}");
    assert!(!text.contains(" 0 faces seen"), "the counts at the end arrive: {text}");
}
