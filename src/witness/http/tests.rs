use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{NoteKey, SignatureKind};
use crate::audit::proof::Submission;
use crate::audit::tree::{MemoryNodes, RightEdge, TreeHash, consistency};
use crate::audit::witness::{FolderMemory, LogWitness};
use crate::watchlist::keys::SecretKey;
use crate::witness::bridge::Bridge;
use crate::witness::fleet::FleetWitness;

const ORIGIN: &str = "site/gate-1";

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn witness(folder: &std::path::Path) -> SharedWitness<FolderMemory> {
    let now = OffsetDateTime::UNIX_EPOCH;
    let log = NoteKey::new(ORIGIN, SignatureKind::Note, key(1).public()).unwrap();
    let memory = FolderMemory::open(folder).unwrap();
    let witness = LogWitness::new("w1", key(2), [log], memory, now);
    let silence = time::Duration::HOUR;
    Arc::new(Mutex::new(FleetWitness::new(witness, "site", silence, Bridge::default())))
}

/// A log of so many records, and the submission of it after `old` records.
fn submission(records: u8, old: u64, salt: u8) -> Submission {
    let (mut edge, mut nodes) = (RightEdge::default(), MemoryNodes::default());
    for n in 0..records {
        edge.push(TreeHash::leaf(&[n, salt]), |node| nodes.0.push(node)).unwrap();
    }
    let path = consistency(&nodes, old, edge.size()).unwrap();
    let note = Checkpoint::new(ORIGIN, edge.size(), edge.root()).sign(&key(1)).unwrap();
    Submission { old, path, note }
}

fn post(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn answered(witness: &SharedWitness<FolderMemory>, request: &[u8]) -> (u16, String, String) {
    let (reply, _) = answer(witness, request, OffsetDateTime::UNIX_EPOCH);
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.split("Content-Type: ").nth(1).unwrap().split("\r\n").next().unwrap();
    (status, kind.to_owned(), body.to_owned())
}

#[test]
fn each_answer_is_the_one_of_the_format() {
    let dir = tempfile::tempdir().unwrap();
    let witness = witness(dir.path());
    let submit = |s: &Submission| answered(&witness, &post(&s.to_string()));
    let (status, _, body) = submit(&submission(3, 0, 0));
    assert_eq!(status, 200);
    assert!(body.starts_with("\u{2014} w1 ") && body.ends_with('\n'), "{body}");
    let size = |n: &str| (409, "text/x.tlog.size".to_owned(), format!("{n}\n"));
    assert_eq!(submit(&submission(5, 0, 0)), size("3"), "another old size");
    assert_eq!(submit(&submission(5, 3, 0)).0, 200);
    assert_eq!(submit(&submission(5, 5, 0)).0, 200, "once more");
    assert_eq!(submit(&submission(5, 5, 1)), size("5"), "another log of that size");
    assert_eq!(submit(&submission(4, 3, 0)), size("5"), "an older one");
    assert_eq!(submit(&submission(9, 5, 1)).0, 422);
    let wrong = Submission { old: 99, ..submission(9, 5, 0) };
    assert_eq!(submit(&wrong).0, 400, "an old size beyond the checkpoint");
    let forged = submission(9, 5, 0);
    let root = TreeHash([9; 32]);
    let forged =
        Submission { note: Checkpoint::new(ORIGIN, 9, root).sign(&key(9)).unwrap(), ..forged };
    assert_eq!(submit(&forged).0, 403);
    let unknown = Checkpoint::new("other", 9, root).sign(&key(1)).unwrap();
    assert_eq!(submit(&Submission { note: unknown, ..submission(9, 5, 0) }).0, 404);
    assert_eq!(answered(&witness, &post("old 1\n")).0, 400);
    assert_eq!(submit(&submission(9, 5, 0)).0, 200, "nothing of that was remembered");
}

#[test]
fn a_fork_is_reported_and_a_proof_that_anybody_made_up_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let witness = witness(dir.path());
    let reports = |s: &Submission| {
        let request = post(&s.to_string());
        answer(&witness, &request, OffsetDateTime::UNIX_EPOCH).1.reports
    };
    assert_eq!(reports(&submission(3, 0, 0)).len(), 1, "cosigned");
    assert!(reports(&submission(9, 3, 1)).is_empty());
    assert!(reports(&submission(2, 2, 0)).is_empty());
    let forked = reports(&submission(3, 3, 1));
    assert!(forked.iter().all(super::super::fleet::WitnessReport::is_finding));
    assert_eq!(forked.len(), 1);
}

#[test]
fn what_is_no_such_request_is_refused_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let witness = witness(dir.path());
    for (request, status) in [
        ("GET /add-checkpoint HTTP/1.1\r\n\r\n", 405),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 404),
        ("POST /add-checkpoint HTTP/1.1\r\n\r\n", 411),
        ("POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        ("POST /add-checkpoint HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413),
        ("POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST /add-checkpoint FTP/1.1\r\n\r\n", 400),
        ("\r\n\r\n", 400),
    ] {
        assert!(is_whole(request.as_bytes()), "{request:?}");
        assert_eq!(answered(&witness, request.as_bytes()).0, status, "{request:?}");
    }
    let whole = post("old 0\n");
    assert!((0..whole.len()).all(|n| !is_whole(&whole[..n])) && is_whole(&whole));
    assert!(is_whole(&vec![b'x'; MAX_HEAD + 1]));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "(POST|GET| |/add-checkpoint|HTTP/1.1|\r\n|content-length:|:|[0-9]|a){0,40}") {
        let _ = (parse(&bytes), is_whole(&bytes));
        let _ = (parse(text.as_bytes()), is_whole(text.as_bytes()));
    }
}
