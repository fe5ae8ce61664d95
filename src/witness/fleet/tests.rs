mod histories;

use std::collections::BTreeMap as Map;

use super::*;
use crate::audit::journal::Journal;
use crate::audit::note::{NoteKey, SignatureKind};
use crate::audit::record::AuditEvent;
use crate::audit::store::AuditStore;
use crate::audit::witness::Remembered;
use crate::clock::Now;
use crate::watchlist::keys::SecretKey;

const ORIGIN: &str = "site/gate-1";

#[derive(Debug, Default)]
struct Memory {
    known: Map<String, Remembered>,
    /// The disk takes nothing.
    full: std::rc::Rc<std::cell::Cell<bool>>,
}

impl WitnessMemory for Memory {
    fn recall(&self, origin: &str) -> Result<Option<Remembered>, String> {
        Ok(self.known.get(origin).cloned())
    }

    fn remember(&mut self, origin: &str, known: &Remembered) -> Result<(), String> {
        if self.full.get() {
            return Err("the disk is full".to_owned());
        }
        self.known.insert(origin.to_owned(), known.clone());
        Ok(())
    }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_764_400_000 + seconds).unwrap()
}

fn fleet() -> FleetWitness<Memory> {
    fleet_with(Memory::default())
}

fn fleet_with(memory: Memory) -> FleetWitness<Memory> {
    fleet_of(key(2), memory)
}

fn fleet_of(secret: SecretKey, memory: Memory) -> FleetWitness<Memory> {
    let log = NoteKey::new(ORIGIN, SignatureKind::Note, key(1).public()).unwrap();
    let witness = LogWitness::new("w1", secret, [log], memory, at(0));
    FleetWitness::new(witness, "site", Duration::minutes(135), Bridge::default())
}

/// A device's log.
struct Device {
    journal: Journal,
    _folder: tempfile::TempDir,
}

impl Device {
    fn new(records: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = AuditStore::open(folder.path(), ORIGIN).unwrap();
        let mut device = Self { journal: Journal::new(store, ORIGIN, key(1)), _folder: folder };
        device.grow(records, 0);
        device
    }

    fn grow(&mut self, records: usize, seconds: i64) -> String {
        let now = Now { monotonic: std::time::Duration::ZERO, wall: at(seconds) };
        for _ in 0..records {
            self.journal.record(AuditEvent::UseBegan, now, &mut |_| ()).unwrap();
        }
        self.journal.checkpoint().unwrap()
    }

    fn answer(&mut self, request: &str) -> String {
        let pinned = [2, 7].map(|n| key(n).public());
        let (request, _) = WitnessRequest::open_by(request.as_bytes(), &pinned).unwrap();
        self.journal.answer(&request).unwrap()
    }
}

fn publish(fleet: &mut FleetWitness<Memory>, note: &str, seconds: i64) -> WitnessOutput {
    fleet.heard("gate-1", DeviceSaying::Checkpoint, note.as_bytes(), at(seconds))
}

/// The one thing that is said to the device.
fn said(output: &WitnessOutput, wanted: WitnessSaying) -> &str {
    let [(device, saying, note)] = &output.said[..] else { panic!("{output:?}") };
    assert_eq!((device.as_str(), *saying), ("gate-1", wanted));
    note
}

/// The witness hears of the log as it is, asks, and is answered.
fn exchange(fleet: &mut FleetWitness<Memory>, device: &mut Device, seconds: i64) -> WitnessOutput {
    let note = device.grow(0, seconds);
    let output = publish(fleet, &note, seconds);
    let answer = device.answer(said(&output, WitnessSaying::Request));
    fleet.heard("gate-1", DeviceSaying::Consistency, answer.as_bytes(), at(seconds))
}

fn finding(output: &WitnessOutput) -> &str {
    let [WitnessReport::Finding { device, finding, evidence }] = &output.reports[..] else {
        panic!("{output:?}")
    };
    assert_eq!(device.as_deref(), Some("gate-1"));
    assert!(!evidence.is_empty());
    finding.name()
}

#[test]
fn a_log_that_grows_is_asked_once_and_cosigned_and_the_device_hears_it() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    for seconds in 1..4 {
        let output = exchange(&mut fleet, &mut device, seconds);
        let note = said(&output, WitnessSaying::Cosign);
        let pinned = [key(2).public()];
        let (checkpoint, lines) =
            crate::audit::dialogue::open_cosigned(note.as_bytes(), &pinned).unwrap();
        assert_eq!((checkpoint.size, lines.len()), (2 + seconds as u64, 1));
        assert!(matches!(output.reports[..], [WitnessReport::Cosigned { .. }]));
        // The same once more changes nothing.
        let note = device.grow(0, seconds);
        assert!(publish(&mut fleet, &note, seconds).said.is_empty());
        device.grow(1, seconds);
    }
}

fn consistency(fleet: &mut FleetWitness<Memory>, note: &str, seconds: i64) -> WitnessOutput {
    fleet.heard("gate-1", DeviceSaying::Consistency, note.as_bytes(), at(seconds))
}

#[test]
fn a_question_without_an_answer_is_repeated_as_it_is_and_a_late_answer_counts_once() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    let note = device.grow(0, 0);
    let first = publish(&mut fleet, &note, 0);
    let late = device.answer(said(&first, WitnessSaying::Request));
    assert!(publish(&mut fleet, &note, 1).said.is_empty(), "it was asked");
    assert!(fleet.tick(at(9)).said.is_empty());
    // A way that takes longer than the time until it is asked again never leads to an answer
    // otherwise.
    for round in 1..5 {
        let again = fleet.tick(at(10 * round));
        assert_eq!(said(&again, WitnessSaying::Request), said(&first, WitnessSaying::Request));
    }
    let other = WitnessRequest { origin: ORIGIN.into(), nonce: Nonce([5; 32]), old: 0 };
    let other = device.answer(&other.sign("w2", &key(7)).unwrap());
    assert!(consistency(&mut fleet, &other, 41).said.is_empty(), "of another question");
    said(&consistency(&mut fleet, &late, 41), WitnessSaying::Cosign);
    assert!(consistency(&mut fleet, &late, 42).said.is_empty(), "played again");
    assert!(fleet.tick(at(60)).said.is_empty());
}

/// The records that were cosigned are others, and there are more of them.
fn rewritten() -> Device {
    let mut device = Device::new(0);
    device.grow(9, 77);
    device
}

#[test]
fn a_rewritten_log_is_named_though_other_answers_come_before_the_one_that_was_asked_for() {
    let (mut fleet, mut device) = (fleet(), Device::new(5));
    exchange(&mut fleet, &mut device, 1);
    let mut device = rewritten();
    let note = device.grow(0, 2);
    let output = publish(&mut fleet, &note, 2);
    let request = said(&output, WitnessSaying::Request).to_owned();
    // On the way at the same time: a word of its own, and an answer to another witness.
    let of_other = WitnessRequest { origin: ORIGIN.into(), nonce: Nonce([5; 32]), old: 5 };
    let of_other = device.answer(&of_other.sign("w2", &key(7)).unwrap());
    for unasked in [device.journal.announce(5).unwrap(), of_other] {
        let output = consistency(&mut fleet, &unasked, 2);
        assert!(output.said.is_empty() && output.reports.is_empty(), "{output:?}");
    }
    let answer = device.answer(&request);
    let output = consistency(&mut fleet, &answer, 2);
    assert_eq!((finding(&output), output.said.len()), ("rewrite", 0));
}

#[test]
fn two_witnesses_name_a_rewritten_log_and_neither_starts_the_other_without_end() {
    let mut fleets = [2, 7].map(|n| fleet_of(key(n), Memory::default()));
    let mut device = Device::new(5);
    for fleet in &mut fleets {
        exchange(fleet, &mut device, 1);
    }
    let mut device = rewritten();
    let mut heard = vec![(DeviceSaying::Checkpoint, device.grow(0, 2))];
    let mut named = [false; 2];
    let mut messages = 0;
    while let Some((saying, note)) = heard.pop() {
        for (n, fleet) in fleets.iter_mut().enumerate() {
            let output = fleet.heard("gate-1", saying, note.as_bytes(), at(2));
            named[n] |= !output.reports.is_empty();
            let requests = output.said.iter().filter(|(_, s, _)| *s == WitnessSaying::Request);
            let answers = requests.map(|(_, _, request)| device.answer(request));
            heard.extend(answers.map(|answer| (DeviceSaying::Consistency, answer)));
        }
        messages += 1;
        assert!(messages < 100, "they ask each other without end");
    }
    assert_eq!((named, messages), ([true; 2], 3));
}

#[test]
fn what_a_device_says_while_it_is_asked_is_asked_for_after_an_answer_of_before() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    let note = device.grow(0, 0);
    let request = said(&publish(&mut fleet, &note, 0), WitnessSaying::Request).to_owned();
    let early = device.answer(&request);
    let note = device.grow(2, 1);
    assert!(publish(&mut fleet, &note, 1).said.is_empty(), "it was asked");
    let output = consistency(&mut fleet, &early, 1);
    let [(_, first, request), (_, second, _)] = &output.said[..] else { panic!("{output:?}") };
    assert_eq!((*first, *second), (WitnessSaying::Request, WitnessSaying::Cosign));
    let answer = device.answer(request);
    let output = consistency(&mut fleet, &answer, 1);
    said(&output, WitnessSaying::Cosign);
}

#[test]
fn an_answer_that_was_overtaken_by_a_submission_over_http_accuses_nobody() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    exchange(&mut fleet, &mut device, 1);
    let note = device.grow(1, 2);
    let request = said(&publish(&mut fleet, &note, 2), WitnessSaying::Request).to_owned();
    let early = device.answer(&request);
    device.grow(2, 2);
    let newer = WitnessRequest { origin: ORIGIN.into(), nonce: Nonce([5; 32]), old: 3 };
    let newer = device.answer(&newer.sign("w2", &key(7)).unwrap());
    let newer = ConsistencyAnswer::parse(&SignedNote::parse(&newer).unwrap()).unwrap();
    let mut out = WitnessOutput::default();
    fleet.submit(&newer.submission.to_string(), at(2), &mut out).unwrap();
    let output = consistency(&mut fleet, &early, 3);
    assert!(output.reports.is_empty(), "{output:?}");
    let answer = device.answer(said(&output, WitnessSaying::Request));
    said(&consistency(&mut fleet, &answer, 3), WitnessSaying::Cosign);
}

#[test]
fn a_word_of_before_that_is_held_back_does_not_answer_for_a_disk_that_was_put_back() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    exchange(&mut fleet, &mut device, 1);
    device.grow(4, 2);
    let held_back = device.journal.announce(3).unwrap();
    let mut back = Device::new(3);
    let note = back.grow(1, 9);
    let request = said(&publish(&mut fleet, &note, 3), WitnessSaying::Request).to_owned();
    said(&consistency(&mut fleet, &held_back, 3), WitnessSaying::Cosign);
    let answer = back.answer(&request);
    let output = consistency(&mut fleet, &answer, 3);
    let answer = back.answer(said(&output, WitnessSaying::Request));
    assert_eq!(finding(&consistency(&mut fleet, &answer, 3)), "truncation");
}

#[test]
fn growth_is_cosigned_unasked_and_what_is_said_unasked_accuses_nobody() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    let unasked = |fleet: &mut FleetWitness<Memory>, note: &str, seconds| {
        fleet.heard("gate-1", DeviceSaying::Consistency, note.as_bytes(), at(seconds))
    };
    let first = device.journal.announce(0).unwrap();
    assert!(unasked(&mut fleet, &first, 0).said.is_empty(), "the first one is asked for");
    exchange(&mut fleet, &mut device, 1);
    device.grow(2, 2);
    let grown = device.journal.announce(3).unwrap();
    said(&unasked(&mut fleet, &grown, 2), WitnessSaying::Cosign);
    assert!(unasked(&mut fleet, &grown, 3).said.is_empty(), "played again");
    let mut other = Device::new(5);
    other.grow(3, 9);
    let fork = other.journal.announce(5).unwrap();
    let output = unasked(&mut fleet, &fork, 4);
    assert!(output.reports.is_empty());
    let answer = other.answer(said(&output, WitnessSaying::Request));
    assert_eq!(finding(&unasked(&mut fleet, &answer, 5)), "rewrite");
}

#[test]
fn a_disk_that_was_put_back_is_named_by_what_the_device_itself_answers() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    exchange(&mut fleet, &mut device, 1);
    device.grow(4, 2);
    exchange(&mut fleet, &mut device, 2);
    // The same three records, and then one of its own.
    let mut back = Device::new(3);
    assert_eq!(finding(&exchange(&mut fleet, &mut back, 3)), "rollback");
    back.grow(1, 9);
    assert_eq!(finding(&exchange(&mut fleet, &mut back, 4)), "truncation");
    back.grow(3, 9);
    let note = back.grow(0, 9);
    assert_eq!(finding(&publish(&mut fleet, &note, 5)), "fork");
    back.grow(1, 9);
    assert_eq!(finding(&exchange(&mut fleet, &mut back, 6)), "rewrite");
    assert!(exchange(&mut fleet, &mut back, 7).reports.is_empty(), "said a moment ago");
}

#[test]
fn an_old_checkpoint_that_somebody_publishes_again_is_no_offence_of_the_device() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    let old = device.grow(0, 0);
    exchange(&mut fleet, &mut device, 1);
    device.grow(4, 2);
    exchange(&mut fleet, &mut device, 2);
    let output = publish(&mut fleet, &old, 3);
    assert!(output.reports.is_empty());
    let answer = device.answer(said(&output, WitnessSaying::Request));
    let output = fleet.heard("gate-1", DeviceSaying::Consistency, answer.as_bytes(), at(4));
    let [WitnessReport::Finding { finding, .. }, WitnessReport::Cosigned { .. }] =
        &output.reports[..]
    else {
        panic!("{output:?}")
    };
    assert_eq!((finding.name(), finding.is_offence()), ("replay", false));
}

#[test]
fn a_challenge_is_answered_with_what_was_cosigned_and_only_to_its_own_log() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    exchange(&mut fleet, &mut device, 1);
    let nonce = Nonce([9; 32]);
    let challenge = device.journal.challenge(nonce).unwrap();
    let output = fleet.heard("gate-1", DeviceSaying::Challenge, challenge.as_bytes(), at(2));
    let note = said(&output, WitnessSaying::Freshness);
    let pinned = [key(2).public()];
    let (answer, _) =
        crate::audit::dialogue::FreshnessAnswer::open_by(note.as_bytes(), &pinned).unwrap();
    assert_eq!((answer.nonce, answer.size), (nonce, 3));
    assert!(answer.is_signed_by(&key(1).public()));
    let elsewhere = fleet.heard("gate-2", DeviceSaying::Challenge, challenge.as_bytes(), at(2));
    assert!(elsewhere.said.is_empty());
    let again = fleet.heard("gate-1", DeviceSaying::Challenge, b"", at(2));
    assert!(again.said.is_empty() && again.reports.is_empty());
}

#[test]
fn unknown_logs_forgeries_and_silence_are_named_once() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    let stranger = Checkpoint::new("site/gate-9", 1, TreeHash([1; 32])).sign(&key(9)).unwrap();
    assert_eq!(finding(&publish(&mut fleet, &stranger, 0)), "unknown-origin");
    assert!(publish(&mut fleet, &stranger, 0).reports.is_empty());
    let forged = Checkpoint::new(ORIGIN, 1, TreeHash([1; 32])).sign(&key(9)).unwrap();
    assert_eq!(finding(&publish(&mut fleet, &forged, 0)), "not-authentic");
    assert_eq!(finding(&publish(&mut fleet, "junk", 0)), "malformed");
    let device_note = device.grow(0, 0);
    assert_eq!(
        finding(&publish(&mut fleet, &device_note.replace("gate-1", "gate-1/x"), 0)),
        "unknown-origin"
    );
    let silent = fleet.tick(at(135 * 60));
    let [WitnessReport::Finding { finding, .. }] = &silent.reports[..] else {
        panic!("{silent:?}")
    };
    assert_eq!(finding.name(), "silence");
    assert!(fleet.tick(at(140 * 60)).reports.is_empty());
    exchange(&mut fleet, &mut device, 141 * 60);
    assert_eq!(fleet.tick(at(400 * 60)).reports.len(), 1, "it was heard since");
}

#[test]
fn what_strangers_claim_is_not_kept_and_takes_no_device_its_log() {
    let (mut fleet, mut device) = (fleet(), Device::new(3));
    for n in 0..1000 {
        let (origin, by) = (format!("site/gate-{n}"), key(9));
        let note = Checkpoint::new(&origin, 1, TreeHash([1; 32])).sign(&by).unwrap();
        fleet.heard(&format!("gate-{n}"), DeviceSaying::Checkpoint, note.as_bytes(), at(0));
    }
    assert!(fleet.logs.is_empty());
    exchange(&mut fleet, &mut device, 1);
    let forged = Checkpoint::new(ORIGIN, 9, TreeHash([1; 32])).sign(&key(9)).unwrap();
    fleet.heard("gate-1", DeviceSaying::Checkpoint, forged.as_bytes(), at(2));
    assert_eq!(fleet.logs.keys().collect::<Vec<_>>(), [ORIGIN]);
    assert!(fleet.logs[ORIGIN].question.is_none(), "nobody was asked for it");
}

#[test]
fn that_nothing_can_be_remembered_is_said_again_until_it_can_be_and_the_log_is_cosigned_then() {
    let memory = Memory::default();
    let full = std::rc::Rc::clone(&memory.full);
    let (mut fleet, mut device) = (fleet_with(memory), Device::new(3));
    full.set(true);
    let mut said_at = Vec::new();
    let mut request = {
        let note = device.grow(0, 0);
        said(&publish(&mut fleet, &note, 0), WitnessSaying::Request).to_owned()
    };
    for seconds in (0..3600).step_by(10) {
        let answer = device.answer(&request);
        let output =
            fleet.heard("gate-1", DeviceSaying::Consistency, answer.as_bytes(), at(seconds));
        assert!(output.said.is_empty(), "not cosigned");
        if let [WitnessReport::Finding { finding, .. }] = &output.reports[..] {
            assert_eq!(finding.name(), "not-remembered");
            said_at.push(seconds);
        }
        let again = fleet.tick(at(seconds + 10));
        request = said(&again, WitnessSaying::Request).to_owned();
    }
    assert_eq!(said_at, [0, 60, 180, 420, 900, 1860]);
    full.set(false);
    let answer = device.answer(&request);
    let output = fleet.heard("gate-1", DeviceSaying::Consistency, answer.as_bytes(), at(3700));
    said(&output, WitnessSaying::Cosign);
}

#[test]
fn a_log_belongs_to_its_device_and_to_no_other() {
    let fleet = fleet();
    for (origin, device, own) in [
        ("site/gate-1", "gate-1", true),
        ("site/gate-1.2", "gate-1", true),
        ("site/gate-1.2", "gate-1.2", true),
        ("site/gate-12", "gate-1", false),
        ("site/gate-1.b", "gate-1", false),
        ("site/gate-1.", "gate-1", false),
        ("site/north/gate-1", "gate-1", false),
        ("other/gate-1", "gate-1", false),
    ] {
        assert_eq!(fleet.is_of(origin, device), own, "{origin} {device}");
    }
}
