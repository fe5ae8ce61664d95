//! The subscribers of docs/subscribe.md, with a real daemon and mosquitto. Each stores a candidate
//! once, whatever the broker repeats, keeps the newest view, and misses none while it is away.
//!
//! `.ci/subscribers` installs the clients that they use and runs this.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use serde_json::{Value, json};

use support::desk::{Daemon, PORTRAITS};
use support::field::{Field, TOPIC};
use support::{PATIENCE, wait_for};

/// A subscriber's process, and the lines that it says on either stream.
struct Consumer {
    child: Child,
    lines: Receiver<String>,
}

impl Consumer {
    fn start(mut command: Command) -> Self {
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = piped.expect("the subscriber runs");
        let (said, lines) = mpsc::channel();
        let hear = |stream: Box<dyn std::io::Read + Send>| {
            let said = said.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = said.send(line);
                }
            });
        };
        hear(Box::new(child.stdout.take().expect("piped")));
        hear(Box::new(child.stderr.take().expect("piped")));
        Self { child, lines }
    }

    /// The next thing that it says of candidates.
    fn says(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("it says something");
            if line.starts_with("candidate") || line == "listening" {
                return line;
            }
            support::say(&line);
        }
    }
}

impl Drop for Consumer {
    /// SIGKILL, as a power cut does it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the clients are installed.
fn tools() -> PathBuf {
    let tools = std::env::var("WATCHPOST_SUBSCRIBERS").expect(".ci/subscribers runs this");
    PathBuf::from(tools)
}

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/subscribers").join(name)
}

/// A message that is like `event`, but of another event, and `change`d.
fn like(event: &Value, id: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut other = event.clone();
    other["id"] = id.into();
    change(&mut other["data"]);
    other.to_string().into_bytes()
}

/// Publishes `payloads` and then one of another candidate, which must be what is heard next.
fn says_nothing_of(field: &Field, consumer: &Consumer, event: &Value, payloads: &[Vec<u8>]) {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("after-{number}");
    let last = like(event, &name, |data| data["candidate"] = name.as_str().into());
    for payload in payloads.iter().chain([&last]) {
        field.listener.publish(&format!("{TOPIC}/candidate"), false, payload.clone());
    }
    assert_eq!(consumer.says(), format!("candidate {name} 1"));
}

/// What every subscriber must do; the field, the event, and the subscriber as it was left.
fn stores_each_once(start: impl Fn(&Path) -> Command) -> Option<(Field, Value, Consumer)> {
    let field = Field::new()?;
    let folder = field.desk.path("");
    let consumer = Consumer::start(start(&folder));
    assert_eq!(consumer.says(), "listening");
    drop(consumer);

    // It is away when the daemon publishes.
    let listed = field.desk.path("pictures").join("0.jpg");
    std::fs::copy(format!("{PORTRAITS}/obama-2010.jpg"), listed).expect("a bundled portrait");
    let daemon = Daemon::start(&field.desk);
    let payload = wait_for("a candidate", || {
        let came = field.listener.so_far();
        let found = came.into_iter().find(|m| m.topic == format!("{TOPIC}/candidate"))?;
        Some(found.payload.to_vec())
    });
    daemon.terminate();
    let event: Value = serde_json::from_slice(&payload).expect("JSON");
    let id = event["data"]["candidate"].as_str().expect("an id");
    let consumer = Consumer::start(start(&folder));
    let mut said = [consumer.says(), consumer.says()];
    said.sort();
    assert_eq!(said, [format!("candidate {id} 1"), "listening".to_owned()]);

    // Repeated, expired, and no candidate at all.
    let old = |data: &mut Value| {
        data["candidate"] = "old".into();
        data["expires"] = "2026-01-01T00:00:00.123456789Z".into();
    };
    let junk = [&b"no JSON"[..], br#"{"id": "x"}"#, br#"{"id":"y","data":{"expires":7}}"#];
    let junk = junk.map(<[u8]>::to_vec);
    says_nothing_of(&field, &consumer, &event, &[payload.clone(), payload.clone()]);
    says_nothing_of(&field, &consumer, &event, &[like(&event, "expired", old)]);
    says_nothing_of(&field, &consumer, &event, &junk);

    // The better view is merged; what is older than it changes nothing.
    let better = like(&event, "better", |data| data["sequence"] = json!(2));
    field.listener.publish(&format!("{TOPIC}/candidate"), false, better.clone());
    assert_eq!(consumer.says(), format!("candidate {id} 2"));
    let older = like(&event, "older", |_| {});
    says_nothing_of(&field, &consumer, &event, &[better.clone(), older]);

    // What it stored outlives it.
    drop(consumer);
    let consumer = Consumer::start(start(&folder));
    assert_eq!(consumer.says(), "listening");
    says_nothing_of(&field, &consumer, &event, &[payload, better]);
    Some((field, event, consumer))
}

#[test]
#[ignore = ".ci/subscribers runs this"]
fn the_python_subscriber_stores_each_candidate_once_and_the_newest_view_of_it() {
    let python = |folder: &Path| {
        let mut command = Command::new(tools().join("python/bin/python3"));
        command.arg(page("candidates.py")).args(["127.0.0.1", &port_of(folder).to_string()]);
        command.arg(folder.join("candidates.sqlite"));
        command
    };
    let Some((field, event, consumer)) = stores_each_once(python) else { return };
    drop(consumer);
    let id = event["data"]["candidate"].as_str().expect("an id");
    let ask = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(\
               'select sequence from newest where candidate = ?', sys.argv[2:]).fetchall())";
    let mut command = Command::new(tools().join("python/bin/python3"));
    command.args(["-c", ask]).arg(field.desk.path("candidates.sqlite")).arg(id);
    let answer = command.output().expect("python runs");
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "[(2,)]");
}

#[test]
#[ignore = ".ci/subscribers runs this"]
fn the_javascript_subscriber_does_so_too_also_after_a_line_that_was_cut_off() {
    let node = |folder: &Path| {
        let mut command = Command::new("node");
        // A module finds packages beside itself, or in a folder above.
        let script = tools().join("candidates.mjs");
        std::fs::copy(page("candidates.mjs"), &script).expect("copies");
        command.arg(script).arg(format!("mqtt://127.0.0.1:{}", port_of(folder)));
        command.arg(folder.join("candidates.jsonl"));
        command
    };
    let Some((field, event, consumer)) = stores_each_once(node) else { return };
    drop(consumer);
    let file = field.desk.path("candidates.jsonl");
    let mut store = std::fs::File::options().append(true).open(&file).expect("the store");
    store.write_all(br#"{"id": "torn", "data": {"cand"#).expect("writes");
    let consumer = Consumer::start(node(&field.desk.path("")));
    assert_eq!(consumer.says(), "listening");
    says_nothing_of(&field, &consumer, &event, &[like(&event, "older", |_| {})]);
}

/// The broker's port, as the device in `folder` has it.
fn port_of(folder: &Path) -> u16 {
    let text = std::fs::read_to_string(folder.join("watchpost.toml")).expect("a configuration");
    let (_, after) = text.split_once("mqtt://127.0.0.1:").expect("the broker's address");
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a port")
}

/// The words of `data` that say something of a person or a picture.
fn personal(data: &Value) -> Vec<String> {
    let mut words: Vec<String> = ["entry", "aim", "legal_basis", "purpose", "candidate"]
        .iter()
        .filter_map(|field| data[field].as_str().map(str::to_owned))
        .collect();
    words.extend(data["list"]["id"].as_str().map(str::to_owned));
    words.extend(data["crop"]["base64"].as_str().map(|picture| picture.chars().take(40).collect()));
    assert!(words.len() >= 5, "{data}");
    words
}

#[test]
#[ignore = ".ci/subscribers runs this"]
fn the_flow_of_node_red_makes_one_sentence_of_a_candidate_and_leaves_the_person_out() {
    let event: Value =
        serde_json::from_str(include_str!("../src/delivery/event/golden/candidate-head.v2.json"))
            .expect("JSON");
    let flow: Value =
        serde_json::from_str(include_str!("../docs/subscribers/node-red.json")).expect("JSON");
    let nodes = flow.as_array().expect("nodes");
    let function = nodes.iter().find(|n| n["type"] == "function").expect("a function");
    let code = function["func"].as_str().expect("code");
    let run = |event: &Value| {
        let script = format!(
            "const msg = {{payload: {event}}}; \
            console.log(JSON.stringify((() => {{ {code} }})()));"
        );
        let answer = Command::new("node").args(["-e", &script]).output().expect("node runs");
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    };
    let mut waiting = event.clone();
    waiting["data"]["expires"] = "2100-01-01T00:00:00Z".into();
    let said = run(&waiting);
    let device = event["data"]["device"].as_str().expect("a device");
    assert!(said.contains(&format!("A candidate of {device} waits")), "{said}");
    for word in personal(&event["data"]) {
        assert!(!said.contains(&word), "{word} in {said}");
    }
    let mut update = waiting.clone();
    update["data"]["sequence"] = json!(2);
    let mut late = waiting;
    late["data"]["expires"] = "2020-01-01T00:00:00Z".into();
    assert_eq!([run(&update), run(&late)], ["null", "null"], "one sentence for each candidate");
}

#[test]
fn no_recipe_for_home_assistant_listens_to_candidates() {
    let recipe = std::fs::read_to_string(page("home-assistant.yaml")).expect("the recipe");
    let rules: Vec<&str> = recipe.lines().filter(|l| !l.trim_start().starts_with('#')).collect();
    assert!(
        rules.iter().all(|l| !l.contains("topic:") && !l.contains("trigger: mqtt")),
        "{rules:?}"
    );
}
