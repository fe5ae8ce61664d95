use std::collections::BTreeSet;

use super::*;
use crate::audit::tree::{MemoryNodes, RightEdge, consistency};

const ORIGIN: &str = "watchpost/gate-1";

/// In memory; refuses on request.
#[derive(Debug, Default)]
struct Memory {
    known: BTreeMap<String, Remembered>,
    full: bool,
}

impl WitnessMemory for Memory {
    fn recall(&self, origin: &str) -> Result<Option<Remembered>, String> {
        Ok(self.known.get(origin).cloned())
    }

    fn remember(&mut self, origin: &str, known: &Remembered) -> Result<(), String> {
        if self.full {
            return Err("no room".into());
        }
        self.known.insert(origin.to_owned(), known.clone());
        Ok(())
    }
}

/// A device's log, which its owner may change at will.
#[derive(Clone, Default)]
struct Log(Vec<u64>);

impl Log {
    fn nodes(&self) -> (RightEdge, MemoryNodes) {
        let (mut edge, mut nodes) = (RightEdge::default(), MemoryNodes::default());
        for record in &self.0 {
            let leaf = TreeHash::leaf(&record.to_be_bytes());
            edge.push(leaf, |node| nodes.0.push(node)).unwrap();
        }
        (edge, nodes)
    }

    fn checkpoint(&self) -> Checkpoint {
        let (edge, _) = self.nodes();
        Checkpoint::new(ORIGIN, edge.size(), edge.root())
    }

    /// The best proof that the log can give, from `old` records on.
    fn submission(&self, old: u64) -> String {
        let (edge, nodes) = self.nodes();
        let note = self.checkpoint().sign(&device()).unwrap();
        let old = old.min(edge.size());
        let path = consistency(&nodes, old, edge.size()).unwrap();
        Submission { old, path, note }.to_string()
    }
}

fn device() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_764_400_000 + seconds).unwrap()
}

fn witness() -> LogWitness<Memory> {
    let log = NoteKey::new(ORIGIN, SignatureKind::Note, device().public()).unwrap();
    LogWitness::new("w1", SecretKey::from_seed(&[2; 32]), [log], Memory::default(), at(0))
}

/// As a client does: begins where it cosigned last, and again where the witness says that it is
/// elsewhere.
fn send(witness: &mut LogWitness<Memory>, log: &Log, old: u64) -> Result<Cosigned, WitnessFinding> {
    match witness.submit(&log.submission(old), at(1)) {
        Err(WitnessFinding::Gap { had, .. }) => witness.submit(&log.submission(had), at(1)),
        other => other,
    }
}

fn name(outcome: Result<Cosigned, WitnessFinding>) -> &'static str {
    outcome.map_or_else(|finding| finding.name(), |_| "cosigned")
}

#[test]
fn a_log_that_only_grows_is_cosigned_and_each_offence_has_its_name() {
    let mut witness = witness();
    let mut log = Log((0..5).collect());
    let cosigned = send(&mut witness, &log, 0).unwrap();
    let key = witness.key().unwrap();
    let note = log.checkpoint().sign(&device()).unwrap() + &cosigned.line;
    let parsed = SignedNote::parse(&note).unwrap();
    let found = crate::audit::checkpoint::cosignatures(&parsed, &[key]).unwrap();
    assert_eq!((found.len(), found[0].at), (1, 1_764_400_001));
    let early = log.clone();
    log.0.extend(5..9);
    assert_eq!(name(witness.submit(&log.submission(4), at(2))), "gap");
    assert_eq!(name(send(&mut witness, &log, 5)), "cosigned");
    // The same again is cosigned again: it is still the newest.
    assert_eq!(name(send(&mut witness, &log, 9)), "cosigned");
    assert_eq!(name(send(&mut witness, &early, 5)), "rollback");
    assert_eq!(name(send(&mut witness, &Log((0..7).collect()), 5)), "truncation");
    assert_eq!(name(send(&mut witness, &Log::default(), 5)), "truncation");
    let mut other = log.clone();
    other.0[8] = 80;
    assert_eq!(name(send(&mut witness, &other, 5)), "fork");
    other.0.push(9);
    assert_eq!(name(send(&mut witness, &other, 5)), "rewrite");
    log.0.push(9);
    assert_eq!(name(send(&mut witness, &log, 9)), "cosigned", "the true log goes on");
}

#[test]
fn nobody_elses_and_no_empty_log_is_cosigned() {
    let mut witness = witness();
    let log = Log((0..5).collect());
    assert_eq!(name(witness.submit(&Log::default().submission(0), at(0))), "empty");
    assert_eq!(name(witness.submit("old 0\n\nx", at(0))), "malformed");
    let text = log.submission(0);
    let elsewhere = text.replace(ORIGIN, "watchpost/gate-2");
    assert_eq!(name(witness.submit(&elsewhere, at(0))), "unknown-origin");
    let stranger = log.checkpoint().sign(&SecretKey::from_seed(&[9; 32])).unwrap();
    assert_eq!(name(witness.submit(&format!("old 0\n\n{stranger}"), at(0))), "not-authentic");
    let more = text.replace("\n5\n", "\n6\n");
    assert_eq!(name(witness.submit(&more, at(0))), "not-authentic");
    assert_eq!(name(witness.submit(&text.replace("old 0", "old 6"), at(0))), "malformed");
    assert!(witness.memory().known.is_empty());
}

#[test]
fn what_cannot_be_remembered_is_not_cosigned() {
    let mut witness = witness();
    witness.memory.full = true;
    let log = Log((0..5).collect());
    assert_eq!(name(send(&mut witness, &log, 0)), "not-remembered");
    witness.memory.full = false;
    assert_eq!(name(send(&mut witness, &log, 0)), "cosigned");
    // A memory that was tampered with is not believed.
    let known = witness.memory.known.get_mut(ORIGIN).unwrap();
    known.note = known.note.replace("\n5\n", "\n4\n");
    assert_eq!(name(send(&mut witness, &log, 5)), "not-remembered");
}

#[test]
fn a_log_that_says_nothing_is_named_once_until_it_is_heard_again() {
    let mut witness = witness();
    let log = Log(vec![1]);
    send(&mut witness, &log, 0).unwrap();
    let late = at(1) + SILENCE;
    assert!(witness.silent(SILENCE, late - Duration::SECOND).is_empty());
    let named = witness.silent(SILENCE, late);
    assert!(matches!(&named[..], [WitnessFinding::Silence { origin, .. }] if origin == ORIGIN));
    assert!(witness.silent(SILENCE, late).is_empty());
    witness.submit(&log.submission(1), late).unwrap();
    assert!(witness.silent(SILENCE, late).is_empty());
    assert_eq!(witness.silent(SILENCE, late + SILENCE).len(), 1);
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// Changes the cosigned part of a log of `had` cosigned records in one of seven ways.
fn tamper(log: &Log, snapshots: &[Log], had: usize, random: &mut Random) -> Log {
    let mut other = log.clone();
    let (a, b) = (random.below(had), random.below(had));
    match random.below(7) {
        // A restored disk that goes on, or does not yet.
        0 => {
            other = snapshots[random.below(snapshots.len())].clone();
            other.0.extend((0..random.below(30)).map(|_| random.below(1 << 40) as u64));
        }
        1 => other.0.truncate(random.below(had)),
        2 => drop(other.0.remove(a)),
        3 => other.0.swap(a, b),
        4 => other.0[a] ^= 1 << 50,
        5 => other.0.insert(a, random.below(1 << 40) as u64),
        // A deletion that later records make up for.
        _ => {
            other.0.remove(a);
            other.0.extend((0..=random.below(5)).map(|_| random.below(1 << 40) as u64));
        }
    }
    other
}

#[test]
fn in_ten_thousand_histories_every_tampering_is_named_at_the_next_checkpoint() {
    let mut random = Random(0x5eed_0f10_0000_0001);
    let (mut injected, mut names, mut honest) = (0, BTreeSet::new(), 0);
    for history in 0..11_000u64 {
        let (mut witness, mut log, mut snapshots) = (witness(), Log::default(), Vec::new());
        for round in 0..=random.below(4) {
            let more = 1 + random.below(20);
            log.0.extend((0..more).map(|i| (history << 20) + ((round as u64) << 10) + i as u64));
            let old = snapshots.last().map_or(0, |before: &Log| before.0.len() as u64);
            assert_eq!(name(send(&mut witness, &log, old)), "cosigned");
            snapshots.push(log.clone());
            honest += 1;
        }
        let had = log.0.len();
        let other = tamper(&log, &snapshots, had, &mut random);
        // What leaves every cosigned record in its place is no tampering.
        if other.0.starts_with(&log.0) {
            continue;
        }
        injected += 1;
        // Whatever size the device says that it was at.
        let old = random.below(had + 1) as u64;
        let finding = send(&mut witness, &other, old).expect_err("an altered log was cosigned");
        assert!(finding.is_offence(), "{history}: {finding}");
        names.insert(finding.name());
        // And the witness still knows the true one.
        log.0.push(0);
        assert_eq!(name(send(&mut witness, &log, had as u64)), "cosigned");
    }
    assert!(injected >= 10_000 && honest > 10_000, "{injected} {honest}");
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        ["fork", "rewrite", "rollback", "truncation"]
    );
}
