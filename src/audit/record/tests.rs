use proptest::prelude::*;

use super::*;
use crate::judgement::{Confidence, Opinion, Outcome};

const SCHEMA: &str = include_str!("../../../config/schemas/audit.cddl");

fn list() -> ListRecord {
    ListRecord {
        id: "north-gate".parse().unwrap(),
        version: 7,
        digest: [1; 32],
        entries: 12,
        threshold: 512_345,
        false_alerts: 100_000,
        authority: "District Court".into(),
        decision: "2026/117".into(),
        aim: Aim::MissingOrVictim,
        stage: Stage::InForce,
        signers: vec![KeyId::from_bytes([2; 8]), KeyId::from_bytes([3; 8])],
        models: [[4; 32], [5; 32]],
    }
}

/// One of each kind.
fn all() -> Vec<AuditEvent> {
    let instruction = |what, answer, order| {
        let keys = vec![KeyId::from_bytes([6; 8])];
        AuditEvent::Instruction(InstructionRecord { what, answer, order, keys })
    };
    let counts = [("orders.followed".to_owned(), 1), ("pipeline.frames".to_owned(), 86_400)];
    vec![
        AuditEvent::Started { program: "0.1.0".into() },
        AuditEvent::Stopped,
        AuditEvent::UseBegan,
        AuditEvent::UseEnded { why: EndOfUse::Blind(Cause::Suspended) },
        AuditEvent::UseEnded { why: EndOfUse::Waiting },
        AuditEvent::UseEnded { why: EndOfUse::Stopped },
        AuditEvent::ListInForce(Box::new(list())),
        instruction(Instruction::Suspend, Answer::Followed, Some([7; 16])),
        instruction(Instruction::Install, Answer::Refused(Cause::RolledBack), None),
        AuditEvent::Candidate(CandidateRecord { event: [8; 16], sequence: 1, commitment: [9; 32] }),
        AuditEvent::Weakened { settings: vec![WeakSetting::AcceptPlain, WeakSetting::Unheard] },
        AuditEvent::ClockJumped { expected_ms: 1_764_400_000_000 },
        AuditEvent::Wiped { what: WipedThing::Entry },
        AuditEvent::Heartbeat { counts: counts.into_iter().collect() },
        AuditEvent::Missed { records: 3 },
        AuditEvent::Verdict(VerdictRecord {
            candidate: [10; 16],
            reviewer: KeyId::from_bytes([11; 8]),
            commitment: [12; 32],
        }),
        AuditEvent::Reviewed(ReviewRecord {
            candidate: [10; 16],
            outcome: Outcome::Confirmed,
            verdicts: vec![ToldVerdict {
                reviewer: KeyId::from_bytes([11; 8]),
                opinion: Opinion::Same,
                confidence: Confidence::High,
            }],
        }),
        AuditEvent::Placed { place: "north gate".into() },
        AuditEvent::ControlRegistered(ControlRecord {
            control: [13; 16],
            desk: KeyId::from_bytes([14; 8]),
            payload: [15; 32],
            registration: [16; 32],
        }),
        AuditEvent::ControlEnded { control: [13; 16], how: ControlEnding::TimeOver },
    ]
}

fn record(event: AuditEvent) -> AuditRecord {
    AuditRecord { at_ms: 1_764_374_400_123, event }
}

#[test]
fn the_bytes_of_each_kind_are_sealed() {
    let of = |i: usize| hex(&record(all()[i].clone()).to_bytes().unwrap());
    let head = "a40001011b0000019acce8cc7b02";
    assert_eq!(of(0), format!("{head}01038165302e312e30"));
    assert_eq!(of(1), format!("{head}020380"));
    assert_eq!(of(3), format!("{head}0403816973757370656e646564"));
    let order =
        format!("{head}0603840368666f6c6c6f77656450{}8148{}", "07".repeat(16), "06".repeat(8));
    assert_eq!(of(7), order);
    let candidate = format!("{head}07038350{}015820{}", "08".repeat(16), "09".repeat(32));
    assert_eq!(of(9), candidate);
    // All of them at once, so that none changes unseen.
    let mut every = Sha256::new();
    let bytes = |e| record(e).to_bytes().unwrap();
    all().into_iter().take(17).for_each(|e| every.update(bytes(e)));
    assert_eq!(hex(&every.finalize()), GOLDEN);
    // What came later.
    assert_eq!(of(17), format!("{head}0f03816a6e6f7274682067617465"));
    let [id, desk, payload, registration] =
        [("0d", 16), ("0e", 8), ("0f", 32), ("10", 32)].map(|(byte, n)| byte.repeat(n));
    let registered = format!("{head}10038450{id}48{desk}5820{payload}5820{registration}");
    assert_eq!(of(18), registered);
    assert_eq!(of(19), format!("{head}11038250{id}02"));
}

const GOLDEN: &str = "b9e3eb70b2ea5c6689124ead46ad583d7db33679ad03c48a64f598156c5d346b";

#[test]
fn each_record_is_read_as_it_was_written_and_by_another_decoder() {
    for event in all() {
        let written = record(event);
        let bytes = written.to_bytes().unwrap();
        assert_eq!(AuditRecord::from_bytes(&bytes).as_ref(), Ok(&written));
        let other: ciborium::Value = ciborium::from_reader(&bytes[..]).unwrap();
        assert_eq!(other.as_map().map(Vec::len), Some(4));
        assert!(!written.event.to_string().is_empty());
        assert!(serde_json::to_value(&written).unwrap()["kind"].is_string());
        for cut in 0..bytes.len() {
            assert!(AuditRecord::from_bytes(&bytes[..cut]).is_err(), "{cut} of {}", written.event);
        }
    }
}

#[test]
fn every_cause_that_ends_a_use_has_a_record() {
    for cause in Cause::ALL {
        let written = record(AuditEvent::UseEnded { why: EndOfUse::Blind(*cause) });
        assert_eq!(AuditRecord::from_bytes(&written.to_bytes().unwrap()), Ok(written));
    }
}

#[test]
fn what_is_larger_than_the_schema_allows_is_refused_when_it_is_written() {
    let counts = |n: usize, name: usize| AuditEvent::Heartbeat {
        counts: (0..n).map(|i| (format!("{i:0name$}"), u64::MAX)).collect(),
    };
    let most = record(counts(MAX_COUNTS, MAX_COUNT_NAME)).to_bytes().unwrap();
    assert!(AuditRecord::from_bytes(&most).is_ok() && most.len() <= MAX_RECORD);
    for event in [
        counts(MAX_COUNTS + 1, 1),
        counts(1, MAX_COUNT_NAME + 1),
        AuditEvent::Started { program: "x".repeat(MAX_PROGRAM + 1) },
        AuditEvent::Placed { place: "x".repeat(MAX_PLACE + 1) },
        AuditEvent::ListInForce(Box::new(ListRecord { authority: "x".repeat(201), ..list() })),
    ] {
        assert!(matches!(record(event).to_bytes(), Err(AuditRecordError::TooLarge(_))));
    }
    assert!(AuditRecord::from_bytes(&vec![0; MAX_RECORD + 1]).is_err());
}

#[test]
fn a_commitment_without_its_salt_says_nothing_and_with_it_proves_the_bytes() {
    let published =
        |entry: &str, salt: &str| format!("{{\"entry\":\"{entry}\",\"salt\":\"{salt}\"}}");
    let committed = commitment(published("case-7", "a1b2").as_bytes());
    assert_eq!(commitment(published("case-7", "a1b2").as_bytes()), committed);
    // Whoever knows every entry of the list, and not the salt, finds none of them.
    for entry in (0..100).map(|n| format!("case-{n}")) {
        assert_ne!(commitment(published(&entry, "").as_bytes()), committed);
    }
}

/// What stands behind `name = ` in the schema, up to the end of the line.
fn rule(name: &str) -> &'static str {
    let after = SCHEMA.split_once(&format!("\n{name} = ")).unwrap_or_else(|| panic!("no {name}")).1;
    after.lines().next().unwrap_or_default()
}

#[test]
fn the_schema_has_the_codes_bounds_kinds_and_words() {
    for wanted in [
        format!("format {VERSION} (RFC"),
        format!("at most {MAX_RECORD} bytes"),
        format!("0: {VERSION},"),
        format!("[0*{MAX_COUNTS} ["),
        format!("tstr .size (0..{MAX_COUNT_NAME})"),
        format!("[0*{MAX_KEYS} key]"),
        format!("tstr .size (0..{MAX_PROGRAM})"),
        format!("[place: tstr .size (0..{MAX_PLACE})]"),
    ] {
        assert!(SCHEMA.contains(&wanted), "the schema has no {wanted:?}");
    }
    let numbers = |all: Vec<u64>| all.iter().map(u64::to_string).collect::<Vec<_>>().join(" / ");
    let instructions = Instruction::ALL.iter().map(|i| i.number()).collect();
    assert!(rule("instruction").starts_with(&numbers(instructions)));
    assert!(
        rule("wiped").starts_with(&numbers(WipedThing::ALL.iter().map(|i| i.number()).collect()))
    );
    assert!(
        rule("setting")
            .starts_with(&numbers(WeakSetting::ALL.iter().map(|i| i.number()).collect()))
    );
    for (name, all) in [
        ("outcome", Outcome::ALL.iter().map(|o| o.number()).collect()),
        ("opinion", Opinion::ALL.iter().map(|o| o.number()).collect()),
        ("confidence", Confidence::ALL.iter().map(|c| c.number()).collect()),
        ("ending", ControlEnding::ALL.iter().map(|e| e.number()).collect()),
    ] {
        assert!(rule(name).starts_with(&numbers(all)), "{name}");
    }
    for kind in 1..=17 {
        assert!(SCHEMA.contains(&format!("2: {kind}, 3: ")), "{kind}");
    }
    assert!(!SCHEMA.contains("2: 18, "));
}

proptest! {
    #[test]
    fn what_is_read_is_written_the_same(
        which in 0usize..20, at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut bytes = record(all()[which].clone()).to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = AuditRecord::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), Ok(bytes));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(read) = AuditRecord::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), Ok(bytes));
        }
    }
}
