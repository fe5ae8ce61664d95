//! `watchpost witness run` beside a real daemon and a real broker: what is cosigned, what is found,
//! and what the device makes of it.

mod support;

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use support::desk::{Daemon, Desk, ok};
use support::field::{Field, TOPIC};
use support::{Mosquitto, PATIENCE, Subscriber, wait_for};
use watchpost::audit::checkpoint::Checkpoint;
use watchpost::audit::store::{AuditStore, LOG, scan};
use watchpost::audit::tree::TreeHash;
use watchpost::watchlist::keys::SecretKey;

const ORIGIN: &str = "site/gate-1";

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// The verifier key of the device's log.
fn log_key() -> String {
    let public = key(1).public().to_string();
    ok(&["witness", "key", &public, "--name", ORIGIN]).trim().to_owned()
}

/// Gives the device an identity and a log, and pins the witnesses `seeds`, of which `needed` are.
fn audited(desk: &Desk, seeds: &[u8], needed: usize, settings: &str) {
    key(1).create_file(&desk.path("identity.key")).expect("writes");
    let file = desk.path("watchpost.toml");
    let text = fs::read_to_string(&file).expect("text");
    let (identity, log) = (desk.arg("identity.key"), desk.arg("audit"));
    let audit = format!("[audit]\nidentity = \"{identity}\"\nlog = \"{log}\"\n{settings}\n");
    fs::write(&file, format!("{text}\n{audit}")).expect("writes");
    let trust = desk.path("trust.toml");
    let mut text = fs::read_to_string(&trust).expect("text");
    for seed in seeds {
        let public = key(*seed).public();
        text.push_str(&format!("\n[[keys]]\npublic = \"{public}\"\nroles = [\"witness\"]\n"));
    }
    text.push_str(&format!("\n[audit]\nwitnesses_needed = {needed}\n"));
    fs::write(&trust, text).expect("writes");
}

/// A field whose device is audited; it looks at the listed person and at a stranger.
fn field(seeds: &[u8], needed: usize, settings: &str) -> Option<Field> {
    let field = Field::new()?;
    fs::copy(
        Path::new(support::desk::PORTRAITS).join("obama-2010.jpg"),
        field.desk.path("pictures").join("obama-2010.jpg"),
    )
    .expect("a bundled portrait");
    audited(&field.desk, seeds, needed, settings);
    Some(field)
}

/// `watchpost witness run`, and what it prints.
struct Witness {
    child: Child,
    lines: Receiver<Value>,
    seen: RefCell<Vec<Value>>,
}

impl Witness {
    fn start(desk: &Desk, port: u16, seed: u8, more: &[&str]) -> Self {
        let name = format!("w{seed}");
        let secret = desk.path(&format!("{name}.key"));
        if !secret.exists() {
            key(seed).create_file(&secret).expect("writes");
        }
        let config = desk.path("operator.toml");
        let broker = format!("[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\nroot = \"site\"\n");
        fs::write(&config, broker).expect("writes");
        let log = log_key();
        let mut child = Command::new(env!("CARGO_BIN_EXE_watchpost"))
            .args(["witness", "run", "--name", &name, "--log", &log])
            .args(["--key", &secret.display().to_string(), "--state", &desk.arg(&name)])
            .args(["--config", &config.display().to_string()])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (line, lines) = channel();
        std::thread::spawn(move || {
            for text in out.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&text).expect("a line of JSON");
                if line.send(value).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: RefCell::default() }
    }

    /// The next line that is as `wanted`.
    fn await_(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            let mut seen = self.seen.borrow_mut();
            seen.extend(self.lines.try_iter());
            let at = seen.iter().position(&wanted)?;
            seen.drain(..=at).next_back()
        })
    }

    fn cosigns(&self) -> u64 {
        let line = self.await_("a cosigned checkpoint", |l| l["cosigned"] == true);
        assert_eq!(line["origin"], ORIGIN);
        line["size"].as_u64().expect("a number")
    }

    fn finds(&self, finding: &str) -> Value {
        self.await_(finding, |l| l["finding"] == finding)
    }

    fn end(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        Command::new("kill").arg(id).status().expect("kill runs");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The records below the newest checkpoint that was signed for the log in `folder`.
fn records(folder: &Path) -> u64 {
    let note = fs::read_to_string(folder.join("checkpoint")).expect("signed");
    note.lines().nth(1).expect("a size").parse().expect("a number")
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
    }
}

#[test]
fn two_witnesses_of_three_let_a_device_match_and_its_candidate_is_proved_with_both() {
    let Some(field) = field(&[11, 12, 13], 2, "") else { return };
    let (desk, port) = (&field.desk, field.broker.port);
    let daemon = Daemon::start(desk);
    field.await_blind("audit-unproved");
    let one = Witness::start(desk, port, 11, &[]);
    one.cosigns();
    field.await_("stats", "still blind", |s| s["gauges"]["matching"] == 0.0);
    let two = Witness::start(desk, port, 12, &[]);
    field.await_online();
    let candidate = field.await_("candidate", "a candidate", |c| c["audit"]["index"].is_u64());
    let index = candidate["audit"]["index"].as_u64().expect("a number");
    while one.cosigns() <= index {}
    while two.cosigns() <= index {}
    assert_eq!(one.end(), Some(0));
    assert_eq!(two.end(), Some(0));

    let log = desk.arg("audit");
    let event = wait_for("the candidate's record below both cosignatures", || {
        let shown = ok(&["audit", "show", "--log", &log, "--json"]);
        let record = shown.lines().map(|l| serde_json::from_str::<Value>(l).expect("JSON"));
        let record = record.into_iter().find(|r| r["index"] == index)?;
        let note = fs::read_to_string(desk.path("audit").join("cosigned")).ok()?;
        let size: u64 = note.lines().nth(1)?.parse().ok()?;
        (size > index).then(|| record["of"]["event"].as_str().expect("an id").to_owned())
    });
    let event = uuid::Uuid::parse_str(&event).expect("an id").to_string();
    let proof = desk.arg("proof");
    ok(&["audit", "prove", &event, "--log", &log, "--out", &proof]);
    assert!(fs::metadata(&proof).expect("written").len() <= 2048);
    let public = |seed: u8| key(seed).public().to_string();
    let witness = |n: u8| {
        let name = format!("w{n}");
        ok(&["witness", "key", &public(n), "--name", &name, "--cosigns"]).trim().to_owned()
    };
    ok(&[
        "audit",
        "verify",
        &proof,
        "--key",
        &public(1),
        "--origin",
        ORIGIN,
        "--witness",
        &witness(11),
        "--witness",
        &witness(12),
        "--witnesses-needed",
        "2",
    ]);
    assert!(daemon.terminate().success());
}

/// The device runs twice and is witnessed; then its log is put back to what it was in between.
fn put_back(field: &Field, witness: &Witness) {
    let desk = &field.desk;
    let daemon = Daemon::start(desk);
    field.await_online();
    assert!(daemon.terminate().success());
    copy(&desk.path("audit"), &desk.path("old"));
    field.forget();
    let daemon = Daemon::start(desk);
    field.await_online();
    while witness.cosigns() <= records(&desk.path("old")) {}
    assert!(daemon.terminate().success());
    copy(&desk.path("old"), &desk.path("audit"));
    field.forget();
}

#[test]
fn a_disk_that_was_put_back_is_found_at_the_start_and_named_by_the_witness() {
    let Some(field) = field(&[11], 1, "") else { return };
    let (desk, port) = (&field.desk, field.broker.port);
    let witness = Witness::start(desk, port, 11, &[]);
    put_back(&field, &witness);
    let daemon = Daemon::start(desk);
    field.await_blind("audit-rolled-back");
    let found = witness.await_("an offence", |l| l["offence"] == true);
    assert!(["rollback", "truncation"].contains(&found["finding"].as_str().expect("a word")));
    assert!(daemon.terminate().success());
    field.forget();
    // Also where no witness answers.
    assert_eq!(witness.end(), Some(1));
    let daemon = Daemon::start(desk);
    field.await_blind("audit-rolled-back");
    drop(daemon);
}

#[test]
fn the_checkpoint_that_the_broker_kept_finds_a_disk_that_was_put_back_without_any_witness() {
    let Some(field) = field(&[], 0, "") else { return };
    let desk = &field.desk;
    let topic = format!("{TOPIC}/audit/checkpoint");
    let run = || {
        field.forget();
        let daemon = Daemon::start(desk);
        field.await_online();
        assert!(daemon.terminate().success());
    };
    run();
    copy(&desk.path("audit"), &desk.path("old"));
    let first = fs::read(desk.path("audit").join("checkpoint")).expect("signed");
    run();
    // An old one that somebody has put there again, and a broker that lost its store.
    field.listener.publish(&topic, true, first);
    run();
    field.listener.publish(&topic, true, "");
    run();

    copy(&desk.path("audit"), &desk.path("whole"));
    let whole = fs::read(desk.path("whole").join("checkpoint")).expect("signed");
    let put_back = || {
        copy(&desk.path("old"), &desk.path("audit"));
        field.forget();
        let daemon = Daemon::start(desk);
        field.await_blind("audit-rolled-back");
        assert!(daemon.terminate().success());
        let shown = fs::read(desk.path("audit").join("rolled-back")).expect("what shows it");
        assert_eq!(shown, whole);
    };
    put_back();
    // What convicts it stays where it is: the next start is convicted, too, and the true disk is
    // not.
    let kept = Subscriber::new(field.broker.port, &topic).next();
    assert!(kept.retain && kept.payload == whole, "it is replaced by what it convicts");
    put_back();
    copy(&desk.path("whole"), &desk.path("audit"));
    run();

    // Over a restart, also where nobody shows it again.
    copy(&desk.path("old"), &desk.path("audit"));
    field.forget();
    let daemon = Daemon::start(desk);
    field.await_blind("audit-rolled-back");
    drop(daemon);
    field.listener.publish(&topic, true, "");
    field.forget();
    let daemon = Daemon::start(desk);
    field.await_blind("audit-rolled-back");
    drop(daemon);
}

/// The log in `from` without its record 1, signed by the device's own key: what somebody with root
/// makes of it.
fn rewrite(from: &Path, to: &Path) {
    let mut store = AuditStore::open(to, ORIGIN).expect("a new log");
    let mut records = Vec::new();
    let log = fs::File::open(from.join(LOG)).expect("a log");
    scan(log, |index, _, record| records.extend((index != 1).then(|| record.to_vec())))
        .expect("whole");
    for record in records {
        store.append(&record).expect("room");
    }
    let note = Checkpoint::new(ORIGIN, store.size(), store.root()).sign(&key(1)).expect("a name");
    store.keep_checkpoint(&note).expect("room");
}

#[test]
fn a_rewritten_log_is_named_by_two_witnesses_whose_answers_cross() {
    let Some(field) = field(&[11, 12], 0, "") else { return };
    let (desk, port) = (&field.desk, field.broker.port);
    let witnesses = [11, 12].map(|seed| Witness::start(desk, port, seed, &[]));
    let daemon = Daemon::start(desk);
    field.await_online();
    // What is left out below.
    for witness in &witnesses {
        while witness.cosigns() < 2 {}
    }
    assert!(daemon.terminate().success());
    rewrite(&desk.path("audit"), &desk.path("rewritten"));
    copy(&desk.path("rewritten"), &desk.path("audit"));
    let requests = Subscriber::new(port, "site/v1/gate-1/audit/request");
    let daemon = Daemon::start(desk);
    for witness in &witnesses {
        let named = witness.finds("rewrite");
        assert_eq!(named["offence"], true, "{named}");
    }
    // Each answer started a question to which the next one was the answer.
    assert!(requests.so_far().len() <= 20, "they ask without end");
    assert_eq!(witnesses.map(Witness::end), [Some(1); 2]);
    drop(daemon);
}

#[test]
fn two_logs_of_one_size_and_an_old_checkpoint_that_is_played_again_are_told_apart() {
    let Some(field) = field(&[11], 0, "") else { return };
    let (desk, port) = (&field.desk, field.broker.port);
    let checkpoints = Subscriber::new(port, "site/v1/gate-1/audit/checkpoint");
    let findings = Subscriber::new(port, "site/v1/gate-1/audit/finding");
    let daemon = Daemon::start(desk);
    let first = checkpoints.next().payload;
    field.await_online();
    let witness = Witness::start(desk, port, 11, &[]);
    let old: u64 =
        String::from_utf8_lossy(&first).lines().nth(1).expect("a size").parse().expect("a number");
    while witness.cosigns() <= old {}
    field.listener.publish(&format!("{TOPIC}/audit/checkpoint"), false, first.to_vec());
    let replay = witness.finds("replay");
    assert_eq!(replay["offence"], false, "{replay}");

    // Where the log has grown meanwhile, what was forged is an old one: then the longer one.
    let mut size = witness.cosigns();
    let fork = loop {
        let forged = Checkpoint::new(ORIGIN, size, TreeHash([9; 32])).sign(&key(1));
        let forged = forged.expect("a name").into_bytes();
        field.listener.publish(&format!("{TOPIC}/audit/checkpoint"), false, forged);
        let longer = |l: &Value| l["cosigned"] == true && l["size"].as_u64() > Some(size);
        let line = witness.await_("a fork", |l| l["finding"] == "fork" || longer(l));
        match line["size"].as_u64().filter(|_| longer(&line)) {
            Some(longer) => size = longer,
            None => break line,
        }
    };
    assert_eq!(
        (&fork["offence"], fork["evidence"].as_array().map(Vec::len)),
        (&true.into(), Some(2))
    );
    let published = std::iter::from_fn(|| Some(findings.next()));
    let mut published =
        published.map(|m| serde_json::from_slice::<Value>(&m.payload).expect("JSON"));
    assert!(published.any(|f| f["finding"] == "fork"));
    assert_eq!(witness.end(), Some(1));
    assert!(daemon.terminate().success());
}

#[test]
fn a_device_that_says_nothing_and_a_log_that_nobody_knows_are_named() {
    let Some(broker) = Mosquitto::running() else { return };
    let desk = Desk::new();
    let listener = Subscriber::new(broker.port, "site/#");
    let witness = Witness::start(&desk, broker.port, 11, &["--silence", "1"]);
    let silence = witness.finds("silence");
    assert_eq!((&silence["device"], &silence["offence"]), (&"gate-1".into(), &false.into()));
    let stranger = Checkpoint::new("site/gate-9", 1, TreeHash([9; 32])).sign(&key(9));
    let stranger = stranger.expect("a name").into_bytes();
    listener.publish("site/v1/gate-9/audit/checkpoint", false, stranger);
    witness.finds("unknown-origin");
    assert_eq!(witness.end(), Some(1));

    let witness = Witness::start(&desk, broker.port, 11, &["--silence", "1", "--stop-at-finding"]);
    witness.finds("silence");
    let mut witness = witness;
    let deadline = std::time::Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = witness.child.try_wait().expect("a child") {
            break status;
        }
        assert!(std::time::Instant::now() < deadline, "it does not end");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(1));
}

/// Waits for the address at which a witness takes submissions.
fn address(witness: &Witness) -> String {
    let line = witness.await_("where it listens", |l| l["listening"].is_string());
    line["listening"].as_str().expect("an address").to_owned()
}

/// Status and body of the answer to a POST.
fn post(address: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let length = body.len();
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("it answers");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
}

#[test]
fn a_witness_takes_submissions_over_http_and_its_cosignature_reaches_the_device_over_mqtt() {
    let Some(broker) = Mosquitto::running() else { return };
    let desk = Desk::new();
    let listener = Subscriber::new(broker.port, "site/v1/gate-1/audit/cosign");
    let witness = Witness::start(&desk, broker.port, 11, &["--listen", "127.0.0.1:0"]);
    let address = address(&witness);
    let root = TreeHash::leaf(b"one");
    let note = Checkpoint::new(ORIGIN, 1, root).sign(&key(1)).expect("a name");
    let submission = format!("old 0\n\n{note}");
    let (status, line) = post(&address, "/add-checkpoint", &submission);
    assert_eq!(status, 200, "{line}");
    assert!(String::from_utf8_lossy(&listener.next().payload).ends_with(&line));
    assert_eq!(post(&address, "/add-checkpoint", &submission), (409, "1\n".to_owned()));
    assert_eq!(post(&address, "/add-checkpoint", "junk").0, 400);
    assert_eq!(post(&address, "/other", "").0, 404);
    // One that sends nothing keeps nobody waiting.
    let _mute = TcpStream::connect(&address).expect("it listens");
    assert_eq!(post(&address, "/add-checkpoint", &submission).0, 409);
    assert_eq!(witness.end(), Some(0));
    let beyond = support::desk::fails(&[
        "witness",
        "run",
        "--name",
        "w",
        "--log",
        &log_key(),
        "--key",
        &desk.arg("w11.key"),
        "--state",
        &desk.arg("other"),
        "--config",
        &desk.arg("operator.toml"),
        "--listen",
        "0.0.0.0:0",
    ]);
    assert!(beyond.1.contains("--beyond-loopback"), "{beyond:?}");
}

#[test]
fn a_bridge_brings_the_cosignature_of_a_witness_that_speaks_http_only() {
    let Some(field) = field(&[11, 12], 2, "") else { return };
    let (desk, port) = (&field.desk, field.broker.port);
    // The other one is at another broker, where no device is.
    let elsewhere = Mosquitto::running().expect("it was installed a moment ago");
    let other = Desk::new();
    let foreign = Witness::start(
        &other,
        elsewhere.port,
        12,
        &["--listen", "127.0.0.1:0", "--silence", "999999"],
    );
    let public = key(12).public().to_string();
    let vkey = ok(&["witness", "key", &public, "--name", "w12", "--cosigns"]);
    let named = format!("http://{}={}", address(&foreign), vkey.trim());
    // It answers no question of the device: freshness by one, cosignatures by two.
    let daemon = Daemon::start(desk);
    let own = Witness::start(desk, port, 11, &["--foreign", &named]);
    own.cosigns();
    let kept = desk.path("audit").join("cosigned");
    let note = wait_for("both cosignatures", || fs::read_to_string(&kept).ok());
    assert!(note.contains("\u{2014} w11 ") && note.contains("\u{2014} w12 "), "{note}");
    assert_eq!(own.end(), Some(0));
    drop(daemon);
}

#[test]
fn a_log_that_was_put_back_begins_anew_only_by_a_file_that_two_have_signed() {
    let Some(field) = field(&[11], 1, "") else { return };
    let (desk, port) = (&field.desk, field.broker.port);
    let witness = Witness::start(desk, port, 11, &[]);
    put_back(&field, &witness);
    let daemon = Daemon::start(desk);
    field.await_blind("audit-rolled-back");
    witness.await_("an offence", |l| l["offence"] == true);
    assert_eq!(witness.end(), Some(1));

    // Whoever edits the pinned file in place begins no log anew.
    assert!(daemon.terminate().success());
    let pinned_file = fs::read(desk.path("trust.toml")).expect("keys");
    let edited = [&pinned_file[..], b"origin_reset = \"gate-1.2\"\n"].concat();
    fs::write(desk.path("trust.toml"), edited).expect("writes");
    field.forget();
    let daemon = Daemon::start(desk);
    field.await_blind("audit-rolled-back");
    assert!(!desk.path("audit").join("before-gate-1").exists());
    fs::write(desk.path("trust.toml"), pinned_file).expect("writes");

    let signers =
        ["alice.key", "bob.key"].map(|k| ok(&["key", "show", &desk.arg(k)]).trim().to_owned());
    let pinned = key(11).public().to_string();
    let (draft, reset) = (desk.arg("next.toml"), desk.arg("reset.cose"));
    ok(&[
        "key",
        "trust",
        &signers[0],
        &signers[1],
        "--witness",
        &pinned,
        "--witnesses-needed",
        "1",
        "--serial",
        "9",
        "--origin-reset",
        "gate-1.2",
        "--out",
        &draft,
    ]);
    ok(&["key", "sign-trust", &draft, "--key", &desk.arg("alice.key"), "--out", &reset]);
    let trust = desk.arg("trust.toml");
    let more = ["--trust", trust.as_str(), "--reset", reset.as_str()];
    let mut early = Witness::start(desk, port, 11, &more);
    assert_eq!(early.child.wait().expect("it ends").code(), Some(1), "one has signed");
    ok(&["key", "sign-trust", &reset, "--key", &desk.arg("bob.key"), "--out", &reset]);
    field.forget();
    field.offer("reset.cose");
    field.await_blind("audit-unproved");
    let witness = Witness::start(desk, port, 11, &more);
    field.await_online();
    let line = witness.await_("the new log", |l| l["cosigned"] == true);
    assert_eq!(line["origin"], "site/gate-1.2");
    assert!(desk.path("audit").join("before-gate-1").join("log").exists());
    assert!(daemon.terminate().success());
}
