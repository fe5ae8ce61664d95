//! What each fuzz target does with its bytes; also driven, without a fuzzer's map of the code, by
//! `tests/parsers.rs`.
#![allow(dead_code)]

use std::path::Path;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use watchpost::audit::checkpoint::Checkpoint;
use watchpost::audit::detached;
use watchpost::audit::dialogue::{
    Challenge, ConsistencyAnswer, FreshnessAnswer, Statement, WitnessRequest, open_cosigned,
};
use watchpost::audit::note::{NoteKey, SignedNote};
use watchpost::audit::proof::{Submission, TlogProof};
use watchpost::audit::record::AuditRecord;
use watchpost::audit::store;
use watchpost::calibrate::counts::Counts;
use watchpost::calibrate::decoys;
use watchpost::calibrate::record::SiteRecord;
use watchpost::calibrate::rehearsal::RehearsalRecord;
use watchpost::clock::Clock;
use watchpost::config::Config;
use watchpost::device::vault::Vault;
use watchpost::review::control;
use watchpost::review::controls::ControlDocket;
use watchpost::review::docket::Docket;
use watchpost::review::verdict;
use watchpost::source::{
    Captured, Decoder, Photograph, Pipe, PipeConfig, PipeFormat, Source, SourceError,
};
use watchpost::watchlist::author::{self, Draft};
use watchpost::watchlist::keys::SecretKey;
use watchpost::watchlist::seal::{self, DeviceKey, MAGIC};
use watchpost::watchlist::{Trust, WatchlistConfig, codec, order, removal, rotation};

/// Signed lists, what is signed in them, their entries, and drafts: one clear error, or a list that
/// stays one without its entries.
pub fn list(bytes: &[u8]) {
    let shown = author::show(bytes, None);
    if let Ok(Some(reduced)) = removal::without(bytes, |_| true) {
        let left = author::show(&reduced.parts.concat(), None);
        assert!(shown.is_err() || left.is_ok_and(|left| left.entries.is_empty()));
    }
    // The parts alone, so that neither container nor digests have to be guessed.
    let _ = codec::inspect(bytes, bytes);
    if let Ok(draft) = Draft::from_json(bytes) {
        let again = Draft::from_json(&draft.to_json()).expect("what was written is read");
        assert!(again == draft);
    }
}

/// Sealed lists: one clear error; nothing that was not sealed to the key opens.
pub fn sealed(bytes: &[u8]) {
    static KEY: OnceLock<DeviceKey> = OnceLock::new();
    let key = KEY.get_or_init(|| DeviceKey::generate().expect("a key"));
    assert!(seal::open(bytes, key).is_err());
    assert!(seal::open(&[MAGIC, bytes].concat(), key).is_err());
}

/// Trust files: one clear error, or a file under which nobody starts a search alone.
pub fn trust(bytes: &[u8]) {
    if let Ok(trust) = Trust::parse(&String::from_utf8_lossy(bytes)) {
        assert!(trust.signers_needed() >= 2);
    }
}

/// Rotations of the pinned keys: the same.
pub fn rotation(bytes: &[u8]) {
    let _ = rotation::is_rotation(bytes);
    if let Ok((trust, _)) = rotation::inspect(bytes) {
        assert!(trust.signers_needed() >= 2);
    }
}

/// Orders: one clear error, or an order.
pub fn order(bytes: &[u8]) {
    let _ = order::inspect(bytes);
    // The content alone, so that the container need not be guessed.
    let _ = order::inspect_content(bytes);
}

/// Sealed verdicts, registrations of controls, and what waits for verdicts: one clear error, or
/// what is written the same again.
pub fn review(bytes: &[u8]) {
    assert!(verdict::inspect(bytes).is_err() || verdict::check_shape(bytes).is_ok());
    if let Ok(docket) = Docket::from_bytes(bytes) {
        let written = docket.to_bytes();
        let again = Docket::from_bytes(&written).expect("it was written just now");
        assert_eq!(again.to_bytes(), written);
        // One of an earlier format, which its second byte names, is written in today's.
        assert!(written == bytes || written[..2] != bytes[..2]);
    }
    let _ = control::inspect(bytes);
    // The content alone, so that the container need not be guessed.
    let _ = control::inspect_content(bytes);
    if let Ok(controls) = ControlDocket::from_bytes(bytes) {
        assert_eq!(controls.to_bytes(), bytes);
    }
}

/// Decoys, what is counted of them, and the records of a site and of a rehearsal: one clear error,
/// or what is written the same again.
pub fn calibration(bytes: &[u8]) {
    let _ = decoys::inspect(bytes);
    // So that a checksum need not be guessed.
    let summed = [bytes, &Sha256::digest(bytes)].concat();
    if let Ok(counts) = Counts::from_bytes(&summed) {
        assert_eq!(counts.to_bytes(), summed);
    }
    if let Ok(record) = SiteRecord::from_bytes(&summed) {
        assert_eq!(record.to_bytes(), summed);
    }
    if let Ok(record) = RehearsalRecord::from_json(bytes) {
        let again = RehearsalRecord::from_json(&record.to_json());
        assert!(again.is_ok_and(|again| again == record));
    }
}

/// Offers by digest: one clear error, as there is no inbox.
pub fn offer(bytes: &[u8]) {
    let vault = Vault::new(&WatchlistConfig::default());
    assert!(vault.named(bytes).is_err());
    let _ = vault.open(bytes);
}

/// Configuration files: one clear error, or a configuration without problems.
pub fn config(bytes: &[u8]) {
    if let Ok(config) = Config::parse(&String::from_utf8_lossy(bytes), Path::new("fuzz.toml")) {
        assert!(config.problems().is_empty());
    }
}

/// A statement between device and witness: one clear error, or what is written the same again.
fn statement<S: Statement>(note: &SignedNote<'_>) {
    if let Ok(statement) = S::parse(note) {
        assert_eq!(statement.to_string(), note.text);
    }
}

/// Records, logs, notes, checkpoints, proofs, submissions, detached signatures, and what devices
/// and witnesses say to each other: one clear error, or what is written the same again.
pub fn audit(bytes: &[u8]) {
    if let Ok(record) = AuditRecord::from_bytes(bytes) {
        assert_eq!(record.to_bytes().as_deref(), Ok(bytes));
    }
    let mut records = 0;
    let found = store::scan(std::io::Cursor::new(bytes), |_, _, _| records += 1);
    assert!(found.is_err() || found.is_ok_and(|found| found.records == records));
    let text = String::from_utf8_lossy(bytes);
    if let Ok(note) = SignedNote::parse(&text) {
        statement::<WitnessRequest>(&note);
        statement::<ConsistencyAnswer>(&note);
        statement::<Challenge>(&note);
        statement::<FreshnessAnswer>(&note);
    }
    // Junk that the seeds' keys have not signed.
    let witness = SecretKey::from_seed(&[1; 32]).public();
    let _ = open_cosigned(bytes, &[witness]);
    let _ = WitnessRequest::open_by(bytes, &[witness]);
    let _ = FreshnessAnswer::open_by(bytes, &[witness]);
    if detached::verify(b"payload", &text, &witness).is_ok() {
        assert_eq!(text, detached::sign(b"payload", &SecretKey::from_seed(&[1; 32])));
    }
    if let Ok(key) = text.parse::<NoteKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(checkpoint) = Checkpoint::parse(&text) {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(proof) = TlogProof::parse(&text) {
        assert_eq!(proof.to_string(), text);
    }
    if let Ok(submission) = Submission::parse(&text) {
        assert_eq!(submission.to_string(), text);
    }
}

/// JPEG pictures and photographs: one clear error, or a picture within its limits.
pub fn jpeg(bytes: &[u8]) {
    const MOST: u32 = 1 << 18;
    let mut decoder = Decoder::new(MOST);
    if let Ok(frame) = decoder.decode_jpeg(bytes) {
        assert!(frame.width() * frame.height() <= MOST as usize);
    }
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        let _ = Photograph::decode(bytes);
    }
}

/// Streams of MJPEG and YUV4MPEG2: every frame or a counted loss, and an end. What comes out is
/// what the decoder takes apart.
pub fn pipe(bytes: &[u8]) {
    let Some((format, stream)) = bytes.split_first() else { return };
    let file = std::env::temp_dir().join(format!("watchpost-fuzz-{}", std::process::id()));
    std::fs::write(&file, stream).expect("the temporary folder is writable");
    let format = if format % 2 == 0 { PipeFormat::Mjpeg } else { PipeFormat::Y4m };
    let config = PipeConfig { path: file, format, ..PipeConfig::default() };
    let mut pipe = Pipe::open(&config, Clock::default()).expect("a file");
    let mut captured = Captured::default();
    // Each call but the last takes a byte at least.
    for _ in 0..=stream.len() + 1 {
        match pipe.next(&mut captured) {
            Ok(()) => drop(Decoder::new(1 << 16).decode(&captured).map(|_| ())),
            Err(SourceError::Ended) => return,
            Err(SourceError::Frame(_) | SourceError::Configuration { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the stream does not end");
}
