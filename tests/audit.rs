//! `watchpost audit` as others use it: the log of a device, its proofs, and public keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use time::OffsetDateTime;
use watchpost::audit::checkpoint::Checkpoint;
use watchpost::audit::journal::Journal;
use watchpost::audit::note::{NoteKey, SignatureKind};
use watchpost::audit::record::{
    AuditEvent, AuditRecord, CandidateRecord, ControlEnding, ControlRecord, EndOfUse, commitment,
};
use watchpost::audit::store::{AuditStore, CHECKPOINT, LOG};
use watchpost::audit::tree::{
    MemoryNodes, RightEdge, TreeHash, consistency, inclusion, verify_consistency, verify_inclusion,
};
use watchpost::cause::Cause;
use watchpost::clock::Now;
use watchpost::watchlist::keys::{KeyId, SecretKey};

const ORIGIN: &str = "watchpost/gate-1";
const EVENT: [u8; 16] = [0x5a; 16];
const PUBLISHED: &[u8] = b"{\"the\":\"payload\"}";

/// A device's log with one candidate in it, and the device's key.
struct DeviceLog {
    directory: tempfile::TempDir,
    key: SecretKey,
}

impl DeviceLog {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let key = SecretKey::from_seed(&[1; 32]);
        let store = AuditStore::open(&directory.path().join("log"), ORIGIN).expect("a new log");
        let mut journal = Journal::new(store, ORIGIN, SecretKey::from_seed(&[1; 32]));
        let candidate =
            CandidateRecord { event: EVENT, sequence: 1, commitment: commitment(PUBLISHED) };
        let suspended = EndOfUse::Blind(Cause::Suspended);
        for event in [
            AuditEvent::Started { program: "0.1.0".into() },
            AuditEvent::UseBegan,
            AuditEvent::Candidate(candidate),
            AuditEvent::UseEnded { why: suspended },
        ] {
            let wall = OffsetDateTime::from_unix_timestamp(1_764_400_000).expect("a time");
            let now = Now { monotonic: Duration::ZERO, wall };
            journal.record(event, now, &mut |_| ()).expect("room");
        }
        journal.checkpoint().expect("room");
        Self { directory, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        self.path("log").display().to_string()
    }
}

/// The exit code and standard output of the program.
fn watchpost(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
    let output = command.args(arguments).output().expect("the program");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

fn audit(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
    command.arg("audit").args(arguments).output().expect("the program")
}

fn good(arguments: &[&str]) -> String {
    let output = audit(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn refused(arguments: &[&str]) -> String {
    let output = audit(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_log_is_shown_verified_exported_and_its_candidate_proved_without_the_device() {
    let device = DeviceLog::new();
    let (log, public) = (device.log(), device.key.public().to_string());
    let shown = good(&["show", "--log", &log]);
    assert_eq!(shown.lines().count(), 4, "{shown}");
    assert!(shown.contains("0  2025-11-29T07:06:40Z  started: watchpost 0.1.0"), "{shown}");
    assert!(shown.contains("faces are not compared: somebody who may has suspended"), "{shown}");
    let newest = good(&["show", "--log", &log, "--last", "1", "--json"]);
    assert!(
        newest.contains(r#""kind":"use-ended""#) && newest.contains(r#""index":3"#),
        "{newest}"
    );
    let verified = good(&["verify", "--log", &log, "--key", &public, "--json"]);
    assert!(verified.contains(r#""size":4"#) && verified.contains(r#""valid":true"#), "{verified}");

    let copy = text(&device.path("copy"));
    good(&["export", &copy, "--log", &log]);
    let (event, proof) = ("5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a", text(&device.path("proof")));
    good(&["prove", event, "--log", &copy, "--out", &proof]);
    assert!(fs::metadata(&proof).expect("written").len() <= 2048);
    fs::remove_dir_all(device.path("log")).expect("removed");
    fs::write(device.path("payload"), PUBLISHED).expect("written");
    let payload = text(&device.path("payload"));
    let key = ["--key", &public, "--origin", ORIGIN];
    let proved = good(&[&["verify", &proof, "--candidate", &payload][..], &key].concat());
    assert!(proved.contains("it is the record of the published candidate"), "{proved}");
    fs::write(device.path("payload"), b"{}").expect("written");
    let other = refused(&[&["verify", &proof, "--candidate", &payload][..], &key].concat());
    assert!(other.contains("not one of these published bytes"), "{other}");
    let unnamed = refused(&["verify", &proof, "--key", &public]);
    assert!(unnamed.contains("--origin"), "{unnamed}");
    let none = refused(&["prove", &event.replace('5', "6"), "--log", &copy, "--out", &proof]);
    assert!(none.contains("no record of a candidate's event"), "{none}");
}

#[test]
fn a_proof_asks_for_as_many_witnesses_as_its_reader_does() {
    let device = DeviceLog::new();
    let (log, proof) = (device.log(), text(&device.path("proof")));
    let note = fs::read_to_string(device.path("log").join(CHECKPOINT)).expect("a checkpoint");
    let witness = SecretKey::from_seed(&[2; 32]);
    let body = &note[..=note.find("\n\n").expect("a note")];
    let checkpoint = Checkpoint::parse(body).expect("a checkpoint");
    let line = checkpoint.cosign("w1", &witness, OffsetDateTime::UNIX_EPOCH).expect("a name");
    let cosigned = text(&device.path("cosigned"));
    fs::write(&cosigned, format!("{note}{line}")).expect("written");
    let event = "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a";
    good(&["prove", event, "--log", &log, "--out", &proof, "--checkpoint", &cosigned]);
    let log_key = NoteKey::new(ORIGIN, SignatureKind::Note, device.key.public()).expect("a name");
    let key = NoteKey::new("w1", SignatureKind::Cosignature, witness.public()).expect("a name");
    let (log_key, key) = (log_key.to_string(), key.to_string());
    let asked = ["verify", &proof, "--key", &log_key, "--witnesses-needed", "1"];
    let seen = good(&[&asked[..], &["--witness", &key]].concat());
    assert!(seen.contains("cosigned by w1 at 1970-01-01T00:00:00Z"), "{seen}");
    let without = refused(&asked);
    assert!(without.contains("0 known witnesses have cosigned, and 1 are asked for"), "{without}");
}

#[test]
fn a_log_is_held_against_what_was_cosigned_and_a_new_signature_under_another_is_no_help() {
    let device = DeviceLog::new();
    let (log, public) = (device.log(), device.key.public().to_string());
    let witness = SecretKey::from_seed(&[2; 32]);
    let known = NoteKey::new("w1", SignatureKind::Cosignature, witness.public()).expect("a name");
    let known = known.to_string();
    let verify = ["verify", "--log", &log, "--key", &public, "--witnesses-needed", "1"];
    let verify = [&verify[..], &["--witness", &known]].concat();
    assert!(refused(&verify).contains("0 known witnesses have cosigned, and 1 are asked for"));
    let open = |folder: &Path| AuditStore::open(folder, ORIGIN).expect("a log");
    let signed = |store: &AuditStore| Checkpoint::new(ORIGIN, store.size(), store.root());
    let folder = device.path("log");
    let mut store = open(&folder);
    let cosigned = signed(&store);
    let line = cosigned.cosign("w1", &witness, OffsetDateTime::UNIX_EPOCH).expect("a name");
    let note = cosigned.sign(&device.key).expect("a name");
    store.keep_cosigned(&format!("{note}{line}")).expect("room");
    store.append(b"newer").expect("room");
    let newer = signed(&store).sign(&device.key).expect("a name");
    store.keep_checkpoint(&newer).expect("room");
    drop(store);
    let held = good(&verify);
    assert!(held.contains("cosigned by w1") && held.contains("the first 4 records"), "{held}");
    let held = good(&[&verify[..], &["--json"]].concat());
    assert!(held.contains(r#""cosigned_records":4"#) && held.contains(r#""size":5"#), "{held}");

    // Whoever has the device signs another log, and leaves what was cosigned where it is.
    let mut other = open(&device.path("other"));
    for record in [b"1st", b"2nd", b"3rd", b"4th", b"5th", b"6th"] {
        other.append(record).expect("room");
    }
    let forged = signed(&other).sign(&device.key).expect("a name");
    fs::copy(device.path("other").join(LOG), folder.join(LOG)).expect("copied");
    fs::write(folder.join(CHECKPOINT), forged).expect("written");
    let without = ["verify", "--log", &log, "--key", &public];
    for asked in [&verify[..], &without] {
        let why = refused(asked);
        assert!(why.contains("4 records was cosigned as: it was rewritten"), "{why}");
    }
}

#[test]
fn a_witness_cosigns_a_log_that_grows_and_names_one_that_was_put_back() {
    let device = DeviceLog::new();
    let log = device.log();
    let (secret, state) = (text(&device.path("witness.key")), text(&device.path("witness")));
    SecretKey::from_seed(&[2; 32]).create_file(Path::new(&secret)).expect("written");
    let public = device.key.public().to_string();
    let known = watchpost(&["witness", "key", &public, "--name", ORIGIN]).1.trim().to_owned();
    let structured = good(&["submission", "--log", &log, "--json"]);
    let structured: serde_json::Value = serde_json::from_str(&structured).expect("JSON");
    let printed = structured["submission"].as_str().expect("a text").trim_end().to_owned();
    assert_eq!(good(&["submission", "--log", &log]).trim_end(), printed);
    let submit = |old: &str| {
        let submission = text(&device.path("submission"));
        fs::write(&submission, good(&["submission", "--log", &log, "--old", old]))
            .expect("written");
        watchpost(&[
            "witness",
            "cosign",
            &submission,
            "--name",
            "w1",
            "--key",
            &secret,
            "--state",
            &state,
            "--log",
            &known,
            "--json",
        ])
    };
    let (code, cosigned) = submit("0");
    assert_eq!(code, Some(0), "{cosigned}");
    assert!(cosigned.contains(r#""size":4"#), "{cosigned}");
    let early = fs::read(device.path("log").join(LOG)).expect("a log");
    let early_note = fs::read(device.path("log").join(CHECKPOINT)).expect("a checkpoint");
    let record = |event| {
        let store = AuditStore::open(&device.path("log"), ORIGIN).expect("the log");
        let mut journal = Journal::new(store, ORIGIN, SecretKey::from_seed(&[1; 32]));
        let now = Now { monotonic: Duration::ZERO, wall: OffsetDateTime::UNIX_EPOCH };
        journal.record(event, now, &mut |_| ()).expect("room");
        journal.checkpoint().expect("room");
    };
    record(AuditEvent::UseBegan);
    assert!(submit("0").1.contains(r#""finding":"gap""#), "it begins elsewhere");
    assert_eq!(submit("4").0, Some(0));
    // The whole folder is put back, and the device goes on from there.
    fs::write(device.path("log").join(LOG), &early).expect("written");
    fs::write(device.path("log").join(CHECKPOINT), &early_note).expect("written");
    let (code, finding) = submit("4");
    assert_eq!(code, Some(1));
    assert!(finding.contains(r#""finding":"rollback""#), "{finding}");
    record(AuditEvent::Stopped);
    assert!(submit("4").1.contains(r#""finding":"fork""#));
    record(AuditEvent::Stopped);
    assert!(submit("5").1.contains(r#""finding":"rewrite""#));
}

#[test]
fn a_log_that_was_cut_or_altered_is_refused_by_name() {
    let device = DeviceLog::new();
    let (log, public) = (device.log(), device.key.public().to_string());
    let verify = ["verify", "--log", &log, "--key", &public];
    let file = device.path("log").join(LOG);
    let whole = fs::read(&file).expect("a log");
    fs::write(&file, &whole[..whole.len() - 1]).expect("written");
    assert!(refused(&verify).contains("it was rolled back"));
    let mut altered = whole.clone();
    altered[60] ^= 1;
    fs::write(&file, &altered).expect("written");
    assert!(refused(&verify).contains("the audit log is damaged after record 0"));
    fs::write(&file, &whole).expect("written");
    good(&verify);
    let stranger = SecretKey::from_seed(&[9; 32]).public().to_string();
    assert!(refused(&["verify", "--log", &log, "--key", &stranger]).contains("none of the known"));
    let nowhere = refused(&["show", "--log", "/nowhere"]);
    assert!(nowhere.contains("name its folder with --log FOLDER"), "{nowhere}");
}

/// Of some records of the log below: a control that is registered, and each of its ends.
fn control_record(n: usize) -> Option<AuditEvent> {
    let control = [n as u8; 16];
    let record = ControlRecord {
        control,
        desk: KeyId::from_bytes([2; 8]),
        payload: [3; 32],
        registration: [4; 32],
    };
    match n {
        10 => Some(AuditEvent::ControlRegistered(record)),
        20..23 => Some(AuditEvent::ControlEnded { control, how: ControlEnding::ALL[n - 20] }),
        _ => None,
    }
}

/// A log of random records, each checkpoint and each proof of it, as `tests/independent/audit.py`
/// reads it; at `WATCHPOST_AUDIT_PROOFS` where that names a file.
#[test]
fn every_proof_of_a_random_log_is_written_for_others_and_holds_here() {
    const RECORDS: u64 = 48;
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
    let texts = |path: &[TreeHash]| path.iter().map(ToString::to_string).collect::<Vec<String>>();
    let device = SecretKey::generate().expect("randomness");
    let key = NoteKey::new(ORIGIN, SignatureKind::Note, device.public()).expect("a name");
    let (mut edge, mut nodes) = (RightEdge::default(), MemoryNodes::default());
    let mut controls = Vec::new();
    let (mut records, mut checkpoints, mut roots) = (Vec::new(), Vec::new(), vec![edge.root()]);
    for n in 0..RECORDS as usize {
        let mut record = vec![0; 1 + n * 13 % 80];
        getrandom::fill(&mut record).expect("randomness");
        if let Some(event) = control_record(n) {
            let event = AuditRecord { at_ms: 1_764_374_400_123, event };
            record = event.to_bytes().expect("a record");
            let told = serde_json::to_value(&event.event).expect("JSON");
            controls.push(json!([n, told["kind"], told["of"]]));
        }
        edge.push(TreeHash::leaf(&record), |node| nodes.0.push(node)).expect("room");
        let checkpoint = Checkpoint::new(ORIGIN, edge.size(), edge.root());
        checkpoints.push(checkpoint.sign(&device).expect("a name"));
        roots.push(edge.root());
        records.push(record);
    }
    assert_eq!(controls.len(), 4);
    let (mut inclusions, mut consistencies) = (Vec::new(), Vec::new());
    for size in 1..=RECORDS {
        let root = roots[size as usize];
        for index in 0..size {
            let path = inclusion(&nodes, index, size).expect("in memory");
            let leaf = TreeHash::leaf(&records[index as usize]);
            assert_eq!(verify_inclusion(leaf, index, size, root, &path), Ok(()));
            inclusions.push(json!([index, size, texts(&path)]));
        }
        for old in 1..=size {
            let path = consistency(&nodes, old, size).expect("in memory");
            assert_eq!(verify_consistency(old, roots[old as usize], size, root, &path), Ok(()));
            consistencies.push(json!([old, size, texts(&path)]));
        }
    }
    let all = json!({
        "key": key.to_string(),
        "records": records.iter().map(|r| base64(r)).collect::<Vec<_>>(),
        "checkpoints": checkpoints,
        "controls": controls,
        "inclusion": inclusions,
        "consistency": consistencies,
    });
    if let Some(path) = std::env::var_os("WATCHPOST_AUDIT_PROOFS") {
        fs::write(path, all.to_string()).expect("a file that can be written");
    }
}
