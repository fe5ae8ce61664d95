//! The desk as people use it: Chromium on a phone-sized screen, the real daemon, the real desk and
//! mosquitto between them.
//!
//! `.ci/browser` runs it. It needs Chromium, and playwright-core and axe-core from npm, in the
//! folder that `WATCHPOST_BROWSER` names.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use support::desk::{Daemon, Desk, PORTRAITS, ok};
use support::field::Field;
use support::free_port;
use support::receiving::ReceivingDesk;

const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/independent/browser/drive.mjs");
/// What a page weighs at most with all that it loads, without pictures.
const MOST_BYTES: u64 = 150_000;
/// Longest from the device's decision to the page, in ms: a page that polls or is loaded anew takes
/// longer. How long it took is printed; on a machine with nothing else to do it is below a second.
const MOST_MS: i64 = 10_000;

/// Everybody's browsers, each person's with storage of its own.
struct Browsers {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Browsers {
    fn start() -> Self {
        let modules = std::env::var("WATCHPOST_BROWSER").expect("a folder with node_modules");
        let mut child = Command::new("node")
            .arg(DRIVER)
            .current_dir(modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, to, from }
    }

    /// What comes of a command; the test ends where it fails.
    fn ask(&mut self, what: &str, who: &str, more: Value) -> Value {
        let mut command = json!({ "do": what, "who": who });
        let fields = more.as_object().expect("fields").clone();
        command.as_object_mut().expect("fields").extend(fields);
        writeln!(self.to, "{command}").expect("the driver reads");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the driver answers");
        let mut answer: Value = serde_json::from_str(&line).expect("JSON");
        assert!(answer.get("error").is_none(), "{what} of {who}: {answer}");
        answer["ok"].take()
    }

    /// Nothing that axe-core finds, nothing wider than the phone, nothing that moved, not too much.
    fn is_sound(&mut self, who: &str, page: &str) {
        let found = self.ask("axe", who, json!({}));
        assert_eq!(found["violations"], json!([]), "{page}");
        let measured = self.ask("measure", who, json!({}));
        assert!(measured["wide"].as_u64().expect("a width") <= 360, "{page}: {measured}");
        assert!(measured["shifted"].as_f64().expect("a sum") < 0.01, "{page}: {measured}");
        let bytes = measured["bytes"].as_u64().expect("a sum");
        support::say(&format!("{page}: {bytes} bytes"));
        assert!((10_000..=MOST_BYTES).contains(&bytes), "{page}: {measured}");
    }

    /// Judges what is open. Where a better picture has come meanwhile, that one is judged.
    fn judge(&mut self, who: &str, said: &Value) {
        let mut problem = self.ask("judge", who, said.clone())["problem"].take();
        if problem.as_str().is_some_and(|p| p.contains("better picture")) {
            self.ask("reload", who, json!({}));
            problem = self.ask("judge", who, said.clone())["problem"].take();
        }
        assert_eq!(problem, Value::Null, "{who}");
    }

    /// Keeps a picture of the page, where somebody asked for some.
    fn picture(&mut self, desk: &Desk, who: &str, name: &str) {
        if std::env::var_os("WATCHPOST_SCREENSHOTS").is_some() {
            let shot = json!({ "path": desk.path(name), "height": 740 });
            self.ask("screenshot", who, shot);
        }
    }

    /// Puts them side by side into the documentation's folder.
    fn pictures(&mut self, desk: &Desk, names: &[&str]) {
        if let Some(folder) = std::env::var_os("WATCHPOST_SCREENSHOTS") {
            let paths: Vec<_> = names.iter().map(|name| desk.arg(name)).collect();
            let path = PathBuf::from(folder).join("desk.png");
            self.ask("together", "", json!({ "paths": paths, "path": path }));
        }
    }
}

impl Drop for Browsers {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// A device with keys of its own, and keys for a desk.
fn prepare(desk: &Desk) {
    desk.list();
    for key in ["device.key", "sealing.key"] {
        ok(&["key", "device", &desk.arg(key)]);
    }
    for key in ["identity.key", "desk.key"] {
        ok(&["key", "identity", &desk.arg(key)]);
    }
    desk.seal_list();
}

/// The daemon's configuration with a log and a docket, and the desk's.
fn configure(field: &Field, port: u16, supervisors: &[&str]) {
    let desk = &field.desk;
    let file = desk.path("watchpost.toml");
    let mut text = fs::read_to_string(&file).expect("a configuration");
    let [identity, log, docket, trust, key, sealing, store] = [
        "identity.key",
        "audit",
        "reviews.cbor",
        "trust.toml",
        "desk.key",
        "sealing.key",
        "desk.sqlite",
    ]
    .map(|name| desk.arg(name));
    if !text.contains("[audit]") {
        text += &format!(
            "[audit]\nidentity = \"{identity}\"\nlog = \"{log}\"\n[review]\ndocket \
             = \"{docket}\"\n"
        );
        fs::write(&file, text).expect("writes");
    }
    let broker = field.broker.port;
    let (device_key, device) = (desk.public("device.key"), desk.public("identity.key"));
    let text = format!(
        "trust = \"{trust}\"\nkey = \"{key}\"\nsealing_key = \"{sealing}\"\n[broker]\nurl \
         = \"mqtt://127.0.0.1:{broker}\"\nroot = \"site\"\n[store]\npath = \"{store}\"\n\
         [http]\nlisten = \"127.0.0.1:{port}\"\n[people]\nsupervisors = {}\n[[device]]\nid \
         = \"gate-1\"\nkey = \"{device_key}\"\nidentity = \"{device}\"\n",
        json!(supervisors)
    );
    fs::write(desk.path("desk.toml"), text).expect("writes");
}

fn invite(desk: &Desk, label: &str) -> String {
    let link = ok(&["desk", "invite", label, "--config", &desk.arg("desk.toml")]);
    link.trim().to_owned()
}

#[test]
#[ignore = "needs Chromium and packages of npm: .ci/browser"]
fn two_people_judge_a_candidate_on_their_phones_and_neither_sees_the_first_verdict() {
    let Some(field) = Field::with("device_key = \"DESK/device.key\"", prepare) else { return };
    let desk = &field.desk;
    let (port, mut people) = (free_port(), Browsers::start());
    let origin = format!("http://127.0.0.1:{port}");
    configure(&field, port, &[]);

    // Each enrols by a link that works once, with keys that cannot leave the browser.
    let mut serving = ReceivingDesk::configured(&desk.path(""), port);
    serving.start();
    let mut keys = Vec::new();
    for who in ["dora", "emil", "vera"] {
        let link = invite(desk, who);
        people.ask("open", who, json!({ "url": link }));
        people.is_sound(who, "enrolment");
        let made = people.ask("enrol", who, json!({ "url": link }));
        assert_eq!(made["extractable"], json!([false, false]));
        let text = |field: &str| made[field].as_str().expect("a key").to_owned();
        keys.push((text("key"), text("reading")));
    }
    let home = format!("{origin}/");
    people.ask("open", "dora", json!({ "url": home }));
    people.is_sound("dora", "sign-in");
    let refused = people.ask("signIn", "dora", json!({ "url": home }));
    assert!(refused["problem"].is_string(), "who is not pinned is not let in: {refused}");
    serving.kill();

    // Two signers pin both; a sheet brings the photographs.
    let [alice, bob] = ["alice.key", "bob.key"].map(|key| desk.public(key));
    let (dora, emil) = (&keys[0], &keys[1]);
    let trust = desk.arg("trust.toml");
    ok(&[
        "key",
        "trust",
        &alice,
        &bob,
        "--reviewer",
        &format!("p-1={}", dora.0),
        "--reviewer",
        &format!("p-2={}", emil.0),
        "--out",
        &trust,
    ]);
    configure(&field, port, &[&keys[2].0]);
    let [list, sheet, own, config] =
        ["list.cose", "sheet.cbor", "device.key", "desk.toml"].map(|name| desk.arg(name));
    let sealing = desk.public("sealing.key");
    let sheets = ["watchlist", "case-sheets", &list, "--photographs", PORTRAITS, "--out", &sheet];
    let to = ["--desk", &sealing, "--reviewer", &dora.1, "--reviewer", &emil.1];
    ok(&[&sheets[..], &to, &["--identity", &own]].concat());
    serving.start();
    let taken = ok(&["desk", "import", &sheet, "--config", &config]);
    assert!(taken.contains("took 1 of 1 photographs"), "{taken}");

    for who in ["dora", "emil"] {
        let signed_in = people.ask("signIn", who, json!({ "url": home }));
        assert_eq!(signed_in["problem"], Value::Null, "{who}");
        people.is_sound(who, "empty queue");
    }

    // The listed person passes.
    let portrait = "obama-2010.jpg";
    fs::copy(format!("{PORTRAITS}/{portrait}"), desk.path("pictures").join(portrait))
        .expect("a portrait");
    let _daemon = Daemon::start(desk);
    let arrived = people.ask("arrival", "dora", json!({}));
    let after = arrived["after_ms"].as_i64().expect("milliseconds");
    support::say(&format!("on the page {after} ms after the device decided"));
    assert!((0..=MOST_MS).contains(&after), "{after} ms");
    people.ask("arrival", "emil", json!({}));
    people.ask("reload", "dora", json!({}));
    people.is_sound("dora", "queue");
    people.picture(desk, "dora", "queue.png");
    let path = arrived["href"].as_str().expect("a link").to_owned();
    let pair = format!("{origin}{path}");

    // The first one judges.
    people.ask("open", "dora", json!({ "url": pair }));
    let pictures = people.ask("pictures", "dora", json!({}));
    assert_eq!(pictures["crop"], pictures["photograph"], "one size: {pictures}");
    assert!(pictures["crop_there"] == true && pictures["drawn"] == true, "{pictures}");
    people.is_sound("dora", "pair");
    people.picture(desk, "dora", "pair.png");
    people.ask("offline", "dora", json!({ "is": true }));
    let unsent = people.ask("judge", "dora", json!({ "opinion": "same", "confidence": "medium" }));
    let problem = unsent["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("Nothing is lost"), "{unsent}");
    people.ask("offline", "dora", json!({ "is": false }));
    people.judge("dora", &json!({ "opinion": "same", "confidence": "medium" }));
    let counts = json!({ "selector": "#outcome h1", "text": "Your verdict counts" });
    people.ask("awaitText", "dora", counts);
    people.ask("reload", "dora", json!({}));
    people.is_sound("dora", "pending");

    // The other one has received nothing of it, not in any answer and in no event.
    people.ask("open", "emil", json!({ "url": pair }));
    people.ask("pictures", "emil", json!({}));
    let log = people.ask("received", "emil", json!({}));
    let received = log["received"].as_array().expect("a list");
    assert!(received.len() > 10, "{} answers", received.len());
    let dora_id = dora.0.parse::<watchpost::watchlist::keys::PublicKey>().expect("a key").id();
    let secrets = [
        dora_id.to_string(),
        dora.0.clone(),
        "\"opinion\":".to_owned(),
        "\"given\":".to_owned(),
        "Similarity".to_owned(),
        "order 1/26".to_owned(),
        "a promise kept".to_owned(),
        "counted {".to_owned(),
    ];
    for answer in received {
        let (url, body) = (&answer["url"], answer["body"].as_str().unwrap_or_default());
        if url.as_str().is_some_and(|url| url.contains("/static/")) {
            continue;
        }
        for secret in &secrets {
            assert!(!body.contains(secret), "{url} tells {secret}");
        }
    }

    // By keys alone.
    people.judge("emil", &json!({ "keys": ["s", "3", "Enter"] }));
    for who in ["dora", "emil"] {
        let confirmed = json!({ "selector": "#outcome h1", "text": "Confirmed" });
        people.ask("awaitText", who, confirmed);
        let said = people.ask("awaitText", who, json!({ "selector": ".said", "text": "you" }));
        let said = said["text"].as_str().expect("text");
        assert_eq!(said.matches("Same person").count(), 2, "{said}");
        assert!(said.contains("Fairly sure") && said.contains("Without a doubt"), "{said}");
        people.ask("reload", who, json!({}));
        people.is_sound(who, "outcome");
    }
    people.picture(desk, "dora", "outcome.png");
    people.pictures(desk, &["queue.png", "pair.png", "outcome.png"]);

    // The supervisor's pages, and what is not hers.
    people.ask("signIn", "vera", json!({ "url": home }));
    for page in ["reports", "reports/device?id=gate-1", "people", "fleet"] {
        people.ask("open", "vera", json!({ "url": format!("{origin}/{page}") }));
        people.is_sound("vera", page);
    }
    let queue = people.ask("open", "vera", json!({ "url": format!("{origin}/queue") }));
    assert!(queue["title"].as_str().is_some_and(|t| t.contains("Not possible")), "{queue}");
    people.is_sound("vera", "error");

    // And it can be proved.
    let (log, by) = (desk.arg("audit"), desk.public("identity.key"));
    let shown = ok(&["audit", "show", "--log", &log]);
    assert_eq!(shown.matches("  verdict on ").count(), 2, "{shown}");
    assert!(shown.contains(" confirmed; "), "{shown}");
    ok(&["audit", "verify", "--log", &log, "--key", &by]);

    for who in ["dora", "emil", "vera"] {
        let errors = people.ask("received", who, json!({}))["errors"].take();
        // What the browser says of refused requests, and of those while it was offline.
        let errors: Vec<_> = errors
            .as_array()
            .into_iter()
            .flatten()
            .filter(|e| !e.as_str().is_some_and(|e| e.starts_with("Failed to load resource")))
            .collect();
        assert!(errors.is_empty(), "{who}: {errors:?}");
    }
}

/// A demonstration that is ended with the test, and the lines that it says.
struct Demonstration {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Demonstration {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
        command.args(["demo", "--desk"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    /// The next line with `word` in it; the test ends where none comes.
    fn says(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("text");
            assert!(read > 0, "it ended before it said {word}");
            if line.contains(word) {
                return line;
            }
        }
    }
}

impl Drop for Demonstration {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = ".ci/browser runs this"]
fn a_newcomer_can_play_both_reviewers_of_the_demonstration() {
    let (mut demo, mut people) = (Demonstration::start(), Browsers::start());
    let links = ["dora", "emil"].map(|who| {
        let line = demo.says("/enrol/");
        let at = line.find("http://").expect("a link");
        (who, line[at..].trim().to_owned())
    });
    for (who, link) in &links {
        people.ask("open", who, json!({ "url": link }));
        people.ask("enrol", who, json!({ "url": link }));
    }
    let line = demo.says("Sign in at ");
    let (_, after) = line.split_once("Sign in at ").expect("an address");
    let home = after.split(';').next().expect("an address").to_owned();
    for (who, _) in &links {
        let signed_in = people.ask("signIn", who, json!({ "url": home }));
        assert_eq!(signed_in["problem"], Value::Null, "{who}");
    }
    let candidate = demo.says("/candidate ");
    assert!(candidate.contains("entry case-0001"), "{candidate}");
    let arrived = people.ask("arrival", "dora", json!({}));
    let pair = format!("{home}{}", arrived["href"].as_str().expect("a link"));
    for (who, _) in &links {
        people.ask("open", who, json!({ "url": pair }));
        let pictures = people.ask("pictures", who, json!({}));
        assert!(pictures["crop_there"] == true && pictures["drawn"] == true, "{pictures}");
        people.judge(who, &json!({ "opinion": "same", "confidence": "high" }));
    }
    for (who, _) in &links {
        people.ask("awaitText", who, json!({ "selector": "#outcome h1", "text": "Confirmed" }));
    }
}
