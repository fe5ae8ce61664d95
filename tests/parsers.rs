//! Every parser that takes bytes from outside, fed with broken copies of good input: no panic, no
//! error that takes long.
//!
//! The bodies are those of the fuzz targets. Half a second each; `WATCHPOST_FUZZ_SECONDS` makes it
//! more.

#[path = "../fuzz/bodies.rs"]
mod bodies;
mod support;

use std::time::{Duration, Instant};

use image::ImageEncoder as _;
use support::desk::{Desk, ok};
use time::OffsetDateTime;
use watchpost::audit::checkpoint::Checkpoint;
use watchpost::audit::detached;
use watchpost::audit::dialogue::{
    Challenge, ConsistencyAnswer, FreshnessAnswer, Nonce, Statement as _, WitnessRequest,
};
use watchpost::audit::note::{NoteKey, SignatureKind};
use watchpost::audit::proof::{Submission, TlogProof};
use watchpost::audit::record::{AuditEvent, AuditRecord, EndOfUse};
use watchpost::audit::store::AuditStore;
use watchpost::audit::tree::{consistency, inclusion};
use watchpost::calibrate::counts::{Counter, Counts, Setup};
use watchpost::calibrate::origin::SiteKey;
use watchpost::calibrate::record::SiteRecord;
use watchpost::calibrate::rehearsal::{Rehearsal, Rehearsed};
use watchpost::cause::Cause;
use watchpost::judgement::{Confidence, Opinion};
use watchpost::review::control::{self, Control};
use watchpost::review::docket::{Docket, NewCase};
use watchpost::review::verdict::{self, CandidateId, Verdict};
use watchpost::watchlist::keys::SecretKey;
use watchpost::watchlist::seal::DeviceKey;

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }
}

/// A copy of one of `seeds`, broken in one to eight places: flipped, overwritten, cut out, doubled,
/// filled with what lengths are made of.
fn broken(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        let to = (at + random.below(64)).min(bytes.len());
        match random.below(7) {
            _ if bytes.is_empty() => bytes.push(random.below(256) as u8),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => {
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 0x1b, 0x5b, 0x9b, 0xbb, 0xf6, b'"', b'\n']
                    [random.below(12)]
            }
            2 => drop(bytes.drain(at..to)),
            3 => {
                let part = bytes[at..to].to_vec();
                let into = random.below(bytes.len());
                bytes.splice(into..into, part);
            }
            4 => bytes.truncate(at),
            5 => bytes[at..to].fill(random.below(256) as u8),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                bytes.splice(at..to, other[from..].iter().copied().take(64));
            }
        }
    }
    bytes
}

/// A small picture in colour.
fn picture() -> Vec<u8> {
    let pixels: Vec<u8> = (0..24 * 16 * 3u32).map(|i| (i * 7 % 251) as u8).collect();
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 50)
        .write_image(&pixels, 24, 16, image::ExtendedColorType::Rgb8)
        .expect("a picture");
    jpeg
}

/// Writes the seeds where `fuzz/all` wants them.
fn keep(name: &str, seeds: &[Vec<u8>]) {
    let Some(folder) = std::env::var_os("WATCHPOST_FUZZ_SEEDS") else { return };
    let folder = std::path::Path::new(&folder).join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    for (i, seed) in seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("good-{i}")), seed).expect("writes");
    }
}

fn drive(name: &str, seeds: &[Vec<u8>], body: fn(&[u8])) {
    keep(name, seeds);
    let seconds =
        std::env::var("WATCHPOST_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0.5);
    let (began, patience) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut runs, mut slowest) = (0u64, Duration::ZERO);
    while began.elapsed() < patience {
        let input = broken(seeds, &mut random);
        let from = Instant::now();
        body(&input);
        slowest = slowest.max(from.elapsed());
        runs += 1;
    }
    support::say(&format!("parsers: {name} took {runs} broken inputs, the slowest {slowest:?}."));
    // A machine that does other things meanwhile is slower than this by far less.
    assert!(slowest < Duration::from_secs(10), "{name}: {slowest:?}");
}

/// A log, a record, and each text that is made of it.
fn audit_seeds() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let key = SecretKey::from_seed(&[1; 32]);
    let mut log = AuditStore::open(folder.path(), "watchpost/gate-1").expect("a new log");
    let mut record = Vec::new();
    for at_ms in 0..9 {
        let why = EndOfUse::Blind(Cause::Suspended);
        record =
            AuditRecord { at_ms, event: AuditEvent::UseEnded { why } }.to_bytes().expect("small");
        log.append(&record).expect("room");
    }
    let checkpoint = Checkpoint::new("watchpost/gate-1", log.size(), log.root());
    let line = checkpoint.cosign("w1", &key, OffsetDateTime::UNIX_EPOCH).expect("a name");
    let note = checkpoint.sign(&key).expect("a name") + &line;
    let (path, extra) = (inclusion(&log, 8, 9).expect("read"), Some(record.clone()));
    let proof = TlogProof { extra, index: 8, path, note: note.clone() };
    let path = consistency(&log, 5, 9).expect("read");
    let submission = Submission { old: 5, path, note: note.clone() };
    let vkey = NoteKey::new("w1", SignatureKind::Cosignature, key.public()).expect("a name");
    let texts =
        [note, checkpoint.to_string(), proof.to_string(), submission.to_string(), vkey.to_string()];
    let file = std::fs::read(folder.path().join("log")).expect("a file");
    let (origin, nonce) = ("watchpost/gate-1".to_owned(), Nonce([7; 32]));
    let (size, root, signature) = (log.size(), log.root(), Some([3; 64]));
    let request = WitnessRequest { origin: origin.clone(), nonce, old: 5 };
    let challenge = Challenge { origin: origin.clone(), nonce, size, root };
    let fresh = FreshnessAnswer { origin: origin.clone(), nonce, size, root, signature };
    let answer = ConsistencyAnswer { origin, nonce, submission };
    let statements = [
        request.sign("w1", &key),
        challenge.sign("w1", &key),
        fresh.sign("w1", &key),
        answer.sign("w1", &key),
        Ok(format!("{checkpoint}\n{line}")),
    ];
    let statements = statements.map(|note| note.expect("a name"));
    let texts = texts.into_iter().chain(statements);
    let texts = texts.chain([detached::sign(b"payload", &key)]);
    texts.map(String::into_bytes).chain([record, file]).collect()
}

/// A sealed verdict, the docket of a candidate that waits, and the registration of a control.
fn review_seeds() -> Vec<Vec<u8>> {
    let reference = |name: &str| name.parse().expect("a reference");
    let (candidate, payload) = (CandidateId([5; 16]), [6; 32]);
    let said = Verdict {
        candidate,
        payload,
        list: reference("promises"),
        version: 1,
        device: reference("gate-1"),
        opinion: Opinion::NotSame,
        confidence: Confidence::High,
        judged_at: OffsetDateTime::UNIX_EPOCH,
    };
    let device = DeviceKey::generate().expect("a key");
    let envelope =
        verdict::give(&said, &SecretKey::from_seed(&[1; 32]), device.recipient()).expect("sealed");
    let mut docket = Docket::default();
    let until = OffsetDateTime::UNIX_EPOCH + time::Duration::DAY;
    let (list, entry) = (said.list.clone(), reference("e-1"));
    let control = Control {
        device: said.device.clone(),
        id: candidate,
        payload,
        list: list.clone(),
        version: 1,
        entry: entry.clone(),
        until,
        scores_to: device.recipient().clone(),
    };
    let registration =
        control::register(&control, &SecretKey::from_seed(&[2; 32])).expect("registered");
    let payloads = vec![payload];
    docket.add(NewCase { candidate, payloads, list, version: 1, entry, until }).expect("room");
    vec![envelope, docket.to_bytes(), registration]
}

/// What a device counts in a week, the record of it and that of a rehearsal, each without the
/// checksum that may follow it.
fn calibration_seeds() -> Vec<Vec<u8>> {
    const DECOYS: usize = 500;
    const FACES: u32 = 1000;
    let reference = |name: &str| name.parse().expect("a reference");
    let setup = Setup {
        device: reference("gate-1"),
        camera: reference("main"),
        position: None,
        decoys: [1; 32],
        promise: [2; 32],
        days: 7,
        least_faces: FACES,
    };
    let mut counter = Counter::new(Counts::new(setup, DECOYS, [5; 16]));
    for track in 0..7 * FACES {
        let mut view = counter.view(track, track / FACES).expect("one at a time");
        (0..DECOYS)
            .for_each(|decoy| view.decoy(decoy, ((track as usize + decoy) % 50) as f32 / 100.0));
        counter.end(track, track / FACES);
    }
    let counts = counter.counts();
    let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(8);
    let key = SiteKey::of(&DeviceKey::generate().expect("a key"));
    let record = SiteRecord::of(counts, None, &key, now).expect("a week");
    let rehearsed = Rehearsed {
        device: "gate-1".into(),
        camera: "main".into(),
        list: "promises".into(),
        version: 1,
        threshold: 0.5,
        promise: "5a".repeat(32),
        authority: "an office".into(),
        decision: "1".into(),
        issued: now,
        expires: now + time::Duration::DAY,
    };
    let mut rehearsal = Rehearsal::new(20, Duration::from_secs(60));
    rehearsal.candidate(0, Duration::from_secs(1));
    let rehearsal = rehearsal.finish(rehearsed, 100).expect("enough passes").to_json();
    let content = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() - 32);
        bytes
    };
    vec![content(counts.to_bytes()), content(record.to_bytes()), rehearsal]
}

#[test]
fn no_broken_input_makes_a_parser_panic_or_hang() {
    let desk = Desk::new();
    desk.list();
    let read = |name: &str| std::fs::read(desk.path(name)).expect("a file");
    ok(&["key", "device", &desk.arg("device.key")]);
    let to = ok(&["key", "show", &desk.arg("device.key")]).trim().to_owned();
    ok(&[
        "watchlist",
        "seal",
        &desk.arg("list.cose"),
        "--to",
        &to,
        "--out",
        &desk.arg("sealed.age"),
    ]);
    let key = ["--key", &desk.arg("alice.key")];
    ok(&[
        &["watchlist", "revoke", "--list", "promises", "--out", &desk.arg("revoke.cose")][..],
        &key[..],
    ]
    .concat());
    let suspend = [
        "watchlist",
        "suspend",
        "--from",
        "2026-12-01T00:00:00Z",
        "--to",
        "2027-01-01T00:00:00Z",
        "--area",
        "52.5,13.4 52.6,13.4 52.5,13.5",
    ];
    ok(&[&suspend[..], &["--device", "gate-1", "--out", &desk.arg("suspend.cose")][..], &key[..]]
        .concat());
    let public =
        ["alice.key", "bob.key"].map(|k| ok(&["key", "show", &desk.arg(k)]).trim().to_owned());
    ok(&["key", "trust", &public[0], &public[1], "--serial", "2", "--out", &desk.arg("next.toml")]);
    ok(&[
        &["key", "sign-trust", &desk.arg("next.toml"), "--out", &desk.arg("next.cose")][..],
        &key[..],
    ]
    .concat());

    let list = read("list.cose");
    // The payload and the entry of the list, each from its first byte, so that inspecting them
    // begins well.
    let starts = [&[0xac, 0x00, 0x03][..], &[0x82, 0x50]];
    let parts = starts.map(|s| {
        list[list.windows(s.len()).position(|w| w == s).expect("in every list")..].to_vec()
    });
    drive("list", &[&[list, read("draft.json")][..], &parts[..]].concat(), bodies::list);
    drive("sealed", &[read("sealed.age")], bodies::sealed);
    drive("trust", &[read("trust.toml"), read("next.toml")], bodies::trust);
    drive("rotation", &[read("next.cose")], bodies::rotation);
    drive("order", &[read("revoke.cose"), read("suspend.cose")], bodies::order);
    let named = format!("{{\"sha256\":\"{}\",\"size\":1234}}", "5a".repeat(32)).into_bytes();
    drive("offer", &[named, read("sealed.age")], bodies::offer);
    drive("audit", &audit_seeds(), bodies::audit);
    drive("review", &review_seeds(), bodies::review);
    drive("calibration", &calibration_seeds(), bodies::calibration);
    drive("config", &[include_bytes!("../config/watchpost.toml").to_vec()], bodies::config);
    let picture = picture();
    drive("jpeg", std::slice::from_ref(&picture), bodies::jpeg);
    let frames = [&[0][..], &picture, &picture[..picture.len() - 2], &picture].concat();
    let samples = [b"\x01YUV4MPEG2 W4 H4 Cmono\n", &b"FRAME\n0123456789abcdef".repeat(3)[..]];
    drive("pipe", &[frames, samples.concat()], bodies::pipe);
}
