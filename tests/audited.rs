//! What a real daemon writes into its log, signs and publishes, as those read it who do not trust
//! it: with `openssl`, and with the program's commands on a copy.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rumqttc::v5::mqttbytes::v5::Publish;
use serde_json::Value;
use support::desk::{Daemon, Desk, fails, ok};
use support::disk::SmallDisk;
use support::field::{Field, TOPIC};
use support::{Mosquitto, Subscriber, say, wait_for};
use watchpost::audit::record::commitment;
use watchpost::audit::store::scan;
use watchpost::clock::Clock;

/// A device with an identity whose log is at `log`, in front of which a listed person stands, and
/// its public key.
fn audited(log: &str, more: &str) -> Option<(Field, String)> {
    let mut broker = Mosquitto::installed()?;
    broker.start("allow_anonymous true\nlog_type all\n");
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["obama-2010.jpg", "collins.jpg"]);
    let identity = desk.arg("identity.key");
    let public = ok(&["key", "identity", &identity]).trim().to_owned();
    let audit = format!("[audit]\nidentity = \"{identity}\"\nlog = \"{log}\"\n{more}");
    desk.configure(broker.port, &format!("repeat = 0\n{}", audit.replace("DESK", &desk.arg(""))));
    let listener = Subscriber::new(broker.port, "site/#");
    Some((Field { desk, broker, listener, seen: std::cell::RefCell::default() }, public))
}

/// Reads its configuration's list and trust file again.
fn reload(daemon: &Daemon) {
    let hup = Command::new("kill").args(["-HUP", &daemon.id().to_string()]).status();
    assert!(hup.is_ok_and(|status| status.success()));
}

fn property<'a>(message: &'a Publish, name: &str) -> Option<&'a str> {
    let all = &message.properties.as_ref()?.user_properties;
    all.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Whether `openssl` finds that the key `public` signed `payload`; `None` where there is none.
fn openssl_verifies(folder: &Path, public: &str, payload: &[u8], signature: &str) -> Option<bool> {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        assert!(
            std::env::var_os("CI").is_none_or(|v| v != "true"),
            "CI=true and no openssl: install the Debian package openssl"
        );
        say("audited: no openssl installed; signatures were NOT verified by others.");
        return None;
    }
    let raw = STANDARD.decode(public.trim_start_matches("watchpost-ed25519:")).expect("base64");
    // SubjectPublicKeyInfo of Ed25519 (RFC 8410).
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend(raw);
    let (header, bytes) = signature.split_once("..").expect("a detached signature");
    let files = [
        ("public", der),
        ("signed", [header.as_bytes(), b".", payload].concat()),
        ("signature", URL_SAFE_NO_PAD.decode(bytes).expect("base64url")),
    ];
    for (name, bytes) in &files {
        std::fs::write(folder.join(name), bytes).expect("a folder of this test");
    }
    let verify = ["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER"];
    let files = ["-inkey", "public", "-in", "signed", "-sigfile", "signature"];
    let mut command = Command::new("openssl");
    command.args(verify).args(files).current_dir(folder);
    Some(command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("runs").success())
}

/// The first candidate that comes.
fn candidate(field: &Field) -> Publish {
    let topic = format!("{TOPIC}/candidate");
    wait_for("a candidate", || {
        field.listener.so_far().into_iter().find(|m| m.topic == topic.as_bytes())
    })
}

fn shown(log: &str) -> Vec<Value> {
    let text = ok(&["audit", "show", "--log", log, "--json"]);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn kinds(records: &[Value]) -> Vec<&str> {
    records.iter().map(|r| r["kind"].as_str().expect("a kind")).collect()
}

#[test]
fn a_candidate_is_signed_and_a_day_of_the_device_is_recorded_proved_and_reported() {
    let Some((field, public)) = audited("DESK/audit", "") else { return };
    let (desk, log) = (&field.desk, field.desk.arg("audit"));
    let collected = collector(&field);
    let daemon = Daemon::start(desk);
    let message = candidate(&field);
    let payload = desk.arg("payload.json");
    std::fs::write(&payload, &message.payload).expect("written");
    let signature = property(&message, "signature").expect("it is signed");
    let checked = |bytes: &[u8]| openssl_verifies(&desk.path(""), &public, bytes, signature);
    assert_ne!(checked(&message.payload), Some(false), "openssl verifies the signature");
    let mut forged = message.payload.to_vec();
    let at = forged.windows(7).position(|w| w == b"\"score\"").expect("a score");
    forged[at + 10] ^= 1;
    assert_ne!(checked(&forged), Some(true), "and refuses it for other bytes");

    let recorded = |wanted: &str, times: usize| {
        wait_for(wanted, || {
            (kinds(&shown(&log)).iter().filter(|k| **k == wanted).count() >= times).then_some(())
        });
    };
    reload(&daemon);
    recorded("weakened", 2);
    let to = Clock::default().now().wall + time::Duration::days(1);
    let to = to.format(&time::format_description::well_known::Rfc3339).expect("a date");
    field.order("suspend", "alice.key", &["--to", &to, "--device", "gate-1"]);
    field.await_blind("suspended");
    field.order("revoke", "alice.key", &["--list", "promises"]);
    recorded("wiped", 1);
    assert!(daemon.terminate().success());

    let records = shown(&log);
    let found: BTreeSet<&str> = kinds(&records).into_iter().collect();
    for kind in [
        "started",
        "weakened",
        "list-in-force",
        "use-began",
        "candidate",
        "instruction",
        "use-ended",
        "wiped",
        "heartbeat",
        "stopped",
    ] {
        assert!(found.contains(kind), "{kind} is not among {found:?}");
    }
    assert_eq!(kinds(&records).last(), Some(&"stopped"));

    let by = ["--key", &public];
    ok(&[&["audit", "verify", "--log", &log][..], &by].concat());
    let signed = ["--candidate", &payload, "--signature", signature];
    let said = ok(&[&["audit", "verify"][..], &signed, &by].concat());
    let event: Value = serde_json::from_slice(&message.payload).expect("JSON");
    let index = event["data"]["audit"]["index"].as_u64().expect("an index");
    assert!(said.contains(&format!("the index {index}")), "{said}");
    let proof = desk.arg("case.tlog-proof");
    let id = event["id"].as_str().expect("an id");
    ok(&["audit", "prove", id, "--log", &log, "--out", &proof]);
    let origin = ["--origin", "site/gate-1"];
    let all = [&["audit", "verify", &proof][..], &signed, &by, &origin].concat();
    assert!(ok(&all).contains("which is signed by the device"));
    let unsigned = [&["audit", "verify", &proof, "--candidate", &payload][..], &by, &origin];
    assert!(!ok(&unsigned.concat()).contains("signed by the device"));
    std::fs::write(&payload, &forged).expect("written");
    let (code, said) = fails(&[&["audit", "verify"][..], &signed, &by].concat());
    assert!(code == 1 && said.contains("does not belong to this key and these bytes"), "{said}");

    the_copy_from_the_broker_is_the_log(collected, desk, &public);
    the_salt_is_all_that_ties_a_leaf_to_a_person(&records[index as usize], &event);
    std::fs::remove_file(&payload).expect("erased");
    ok(&[&["audit", "verify", "--log", &log][..], &by].concat());
    the_report_has_the_sums(desk, &log, &public, &records);
}

/// `watchpost audit collect`, once it has subscribed.
fn collector(field: &Field) -> Child {
    let (copy, config) = (field.desk.arg("copy"), field.desk.arg("watchpost.toml"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
    command.args(["audit", "collect", &copy, "--device", "gate-1", "--config", &config, "--json"]);
    let child = command.stdout(Stdio::piped()).spawn().expect("the program");
    wait_for("the collector to subscribe", || {
        let log = std::fs::read_to_string(field.broker.path("mosquitto.log")).ok()?;
        log.contains("Sending SUBACK to collect-gate-1").then_some(())
    });
    child
}

fn the_copy_from_the_broker_is_the_log(mut collector: Child, desk: &Desk, public: &str) {
    let read = |folder: &str, file: &str| std::fs::read(desk.path(folder).join(file)).ok();
    wait_for("the copy to be whole", || {
        (["log", "checkpoint"].iter().all(|f| read("copy", f) == read("audit", f))).then_some(())
    });
    let ended = Command::new("kill").arg(collector.id().to_string()).status();
    assert!(ended.is_ok_and(|status| status.success()));
    let mut said = String::new();
    let mut out = collector.stdout.take().expect("piped");
    std::io::Read::read_to_string(&mut out, &mut said).expect("text");
    assert!(collector.wait().expect("it ends").success(), "{said}");
    assert!(said.contains("\"finding\":null"), "{said}");
    ok(&["audit", "verify", "--log", &desk.arg("copy"), "--key", public]);
}

/// What the log holds of a candidate, held against the candidate with its salt and without.
fn the_salt_is_all_that_ties_a_leaf_to_a_person(record: &Value, event: &Value) {
    let of = record["of"].as_object().expect("a record");
    let keys: Vec<&str> = of.keys().map(String::as_str).collect();
    assert_eq!(keys, ["commitment", "event", "sequence"], "nothing else is in the leaf");
    let committed = of["commitment"].as_str().expect("hexadecimal");
    let hex = |bytes: [u8; 32]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let salt = event["data"]["audit"]["salt"].as_str().expect("a salt");
    assert_eq!(STANDARD.decode(salt).expect("base64").len(), 32);
    // Whoever knows all of it but the salt cannot tell whether it is this candidate.
    let other = STANDARD.encode([0; 32]);
    let text = event.to_string();
    for guess in [text.replace(salt, &other), text.replace(salt, "")] {
        assert_ne!(hex(commitment(guess.as_bytes())), committed);
    }
}

fn the_report_has_the_sums(desk: &Desk, log: &str, public: &str, records: &[Value]) {
    let (html, csv) = (desk.arg("report.html"), desk.arg("report.csv"));
    let report = ["audit", "report", "--log", log, "--key", public, "--json"];
    let said = ok(&[&report[..], &["--html", &html, "--csv", &csv]].concat());
    let report: Value = serde_json::from_str(&said).expect("JSON");
    let first = |r: &&Value| r["kind"] == "candidate" && r["of"]["sequence"] == 1;
    let candidates = records.iter().filter(first).count();
    assert_eq!(report["candidates"], candidates);
    assert_eq!(report["records"], records.len());
    assert_eq!(report["verified"]["signed"], records.len());
    assert_eq!(report["lists"][0]["entries"], 1);
    assert_eq!(report["lists"][0]["authority"], "a test");
    // The heartbeat at the end has what no other one has.
    let views = report["counts"]["compared"].as_u64().expect("counted");
    assert!(views >= 2, "{report}");
    let used = |at: usize| ["from_ms", "to_ms", "standing"].map(|k| report["spans"][at][k].clone());
    assert_eq!(used(0)[0], report["from_ms"]);
    let missing: Vec<_> =
        report["missing"].as_array().expect("some").iter().map(|m| m["figure"].clone()).collect();
    for figure in ["place", "reviews", "false_alerts_a_face", "false_alerts_an_alert"] {
        assert!(missing.contains(&figure.into()), "{missing:?}");
    }
    let page = std::fs::read_to_string(&html).expect("written");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("suspend</th>"), "{page}");
    let spans = report["spans"].as_array().expect("spans");
    assert!(spans.iter().any(|span| span["standing"] == "suspended"), "{spans:?}");
    // The moment of the stop is one.
    assert!(page.contains("shorter than a second, which --json has"), "{page}");
    for outside in ["<script", " src=", "href=", "url("] {
        assert!(!page.contains(outside), "the page stands alone: {outside}");
    }
    let table = std::fs::read_to_string(&csv).expect("written");
    assert!(table.contains(&format!("\r\ncandidates,{candidates},,,each once\r\n")), "{table}");
    assert!(table.contains("\r\nfalse_alerts_an_alert,missing,,,"), "{table}");
    let none = ["audit", "report", "--log", log, "--from", "2000-01-01", "--to", "2000-01-02"];
    assert!(ok(&none).contains("NOT VERIFIED"), "and says that nobody verified it");
    let (_, said) = fails(&[&none[..6], &["--to", "1999-01-01"]].concat());
    assert!(said.contains("no end after its beginning"), "{said}");
}

#[test]
fn records_that_a_full_disk_did_not_take_are_counted_in_the_log_once_it_does() {
    let Some(disk) = SmallDisk::mounted(8) else { return };
    let log = disk.path().join("audit").display().to_string();
    let Some((field, public)) = audited(&log, "on_failure = \"degraded\"\n") else { return };
    let daemon = Daemon::start(&field.desk);
    field.await_online();
    disk.fill();
    // The log's last block takes records even now, and the outbox what candidates need.
    let told = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(60);
            while !told.load(Ordering::Relaxed) && Instant::now() < until {
                reload(&daemon);
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        field.await_("status", "a degraded device", |s| {
            s["degraded"].as_str().is_some_and(|why| why.contains("no audit log is written"))
        });
        told.store(true, Ordering::Relaxed);
    });
    let bytes = || std::fs::metadata(Path::new(&log).join("log")).expect("a log").len();
    let mut refused = 0;
    while refused < 5 {
        let before = bytes();
        reload(&daemon);
        let until = Instant::now() + Duration::from_millis(300);
        while bytes() == before && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        refused = if bytes() == before { refused + 1 } else { 0 };
    }
    disk.empty();
    wait_for("the log to be whole again", || kinds(&shown(&log)).contains(&"missed").then_some(()));
    assert!(daemon.terminate().success());
    ok(&["audit", "verify", "--log", &log, "--key", &public]);
    let report = ok(&["audit", "report", "--log", &log, "--json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert!(report["records_missing"].as_u64() >= Some(1), "{report}");
}

/// Where the record of the event `id` begins in a log.
fn begin_of(log: &Path, id: &str) -> u64 {
    let id = id.replace('-', "");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let (mut at, mut found) = (None, 0);
    let file = std::fs::File::open(log.join("log")).expect("a log");
    let whole = scan(file, |_, _, record| {
        if hex(record).contains(&id) {
            at = Some(found);
        }
        found += 12 + record.len() as u64;
    });
    // The header is all that is no record.
    at.expect("its record") + whole.expect("a whole log").length - found
}

#[test]
fn records_that_a_power_cut_kept_from_the_log_are_read_and_restored_from_the_outbox() {
    let Some((field, public)) = audited("DESK/audit", "") else { return };
    let desk = &field.desk;
    let (log, outbox) = (desk.arg("audit"), desk.arg("outbox"));
    let daemon = Daemon::start(desk);
    let message = candidate(&field);
    daemon.kill();
    let event: Value = serde_json::from_slice(&message.payload).expect("JSON");
    let id = event["id"].as_str().expect("an id");
    let file = desk.path("audit").join("log");
    let whole = std::fs::read(&file).expect("a log");
    let begin = begin_of(&desk.path("audit"), id) as usize;
    // All that the log's disk has of it and of those after it is what lay there before.
    let mut left = whole.clone();
    left[begin..].fill(0x5a);
    std::fs::write(&file, &left).expect("written");

    let verify = ["audit", "verify", "--log", &log, "--key", &public];
    let (code, said) = fails_or_says(&verify);
    assert!(said.contains("the outbox was not read"), "{code:?} {said}");
    let with = [&verify[..], &["--outbox", &outbox, "--json"]].concat();
    let said: Value = serde_json::from_str(&ok(&with)).expect("JSON");
    assert!(said["in_outbox_only"].as_u64() >= Some(1) && said["valid"] == true, "{said}");
    let proof = desk.arg("case.tlog-proof");
    let both = ["--log", &log, "--outbox", &outbox];
    ok(&[&["audit", "prove", id, "--out", &proof][..], &both].concat());
    let copy = desk.arg("copy");
    ok(&[&["audit", "export", &copy][..], &both].concat());
    ok(&["audit", "verify", "--log", &copy, "--key", &public]);

    let daemon = Daemon::start(desk);
    wait_for("the log to go on", || (shown(&log).len() > 3).then_some(()));
    field.await_online();
    assert!(daemon.terminate().success());
    ok(&verify);
    let restored = std::fs::read(&file).expect("a log");
    let again = begin_of(&desk.path("audit"), id) as usize;
    assert_eq!(again, begin, "where it was");
    assert!(restored.starts_with(&whole[..begin + 12]), "and as it was");
}

/// What a command says, whether it succeeds or not.
fn fails_or_says(args: &[&str]) -> (Option<i32>, String) {
    let out = support::desk::watchpost(args);
    let said = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8_lossy(&said).into_owned())
}
