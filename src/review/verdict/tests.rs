use proptest::prelude::*;

use super::*;
use crate::watchlist::fixture;

fn trust() -> Trust {
    let keys = [("signer", 1), ("signer", 2), ("reviewer", 3), ("reviewer", 4)];
    Trust::parse(&fixture::trust_text(2, &keys)).expect("a trust file")
}

fn name(text: &str) -> Reference {
    text.parse().expect("a name")
}

fn verdict(opinion: Opinion) -> Verdict {
    Verdict {
        candidate: CandidateId([7; 16]),
        payload: [1; 32],
        list: name("L-42"),
        version: 3,
        device: name("gate-1"),
        opinion,
        confidence: Confidence::Medium,
        judged_at: OffsetDateTime::UNIX_EPOCH,
    }
}

#[test]
fn what_a_reviewer_gives_the_device_opens_and_nobody_else() {
    let (device, other) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    for opinion in Opinion::ALL.iter().copied() {
        let bytes = give(&verdict(opinion), &fixture::key(3), device.recipient()).unwrap();
        assert!(bytes.len() <= MAX_BYTES);
        let envelope = authenticate(&bytes, &trust(), "gate-1").unwrap();
        assert_eq!(envelope.reviewer(), fixture::key(3).public().id());
        assert_eq!(envelope.candidate(), CandidateId([7; 16]));
        let opened = open(&bytes, &trust(), "gate-1", &device).unwrap();
        assert_eq!(*opened, verdict(opinion));
        assert_eq!(opened.reviewer(), fixture::key(3).public().id());
        let refused = open(&bytes, &trust(), "gate-1", &other).unwrap_err();
        assert!(matches!(refused, VerdictError::Seal(SealError::NotForUs(_))), "{refused}");
    }
}

#[test]
fn what_is_sealed_is_of_one_length_whatever_it_says() {
    let device = DeviceKey::generate().unwrap();
    let sealed = |verdict: &Verdict| {
        let bytes = give(verdict, &fixture::key(3), device.recipient()).unwrap();
        assert!(bytes.len() <= MAX_BYTES);
        let opened = open(&bytes, &trust(), verdict.device.as_str(), &device).unwrap();
        assert_eq!(*opened, *verdict);
        seal::open(VerdictEnvelope::read(&bytes).unwrap().sealed, &device).unwrap().len()
    };
    for opinion in Opinion::ALL.iter().copied() {
        for confidence in Confidence::ALL.iter().copied() {
            let verdict = Verdict { confidence, ..verdict(opinion) };
            assert_eq!(sealed(&verdict), VERDICT_BYTES);
        }
    }
    let longest = name(&"x".repeat(64));
    let longest = Verdict {
        list: longest.clone(),
        version: u64::MAX,
        device: longest,
        judged_at: OffsetDateTime::from_unix_timestamp(LATEST as i64).unwrap(),
        ..verdict(Opinion::Same)
    };
    assert_eq!(sealed(&longest), VERDICT_BYTES);
}

#[test]
fn only_a_pinned_reviewer_judges() {
    let device = DeviceKey::generate().unwrap();
    for stranger in [1, 9] {
        let bytes =
            give(&verdict(Opinion::Same), &fixture::key(stranger), device.recipient()).unwrap();
        let refused = open(&bytes, &trust(), "gate-1", &device).unwrap_err();
        assert!(matches!(refused, VerdictError::NotPinned(_)), "{refused}");
    }
}

#[test]
fn a_verdict_for_another_device_or_in_another_s_envelope_does_not_count() {
    let device = DeviceKey::generate().unwrap();
    let good = give(&verdict(Opinion::Same), &fixture::key(3), device.recipient()).unwrap();
    let other = open(&good, &trust(), "gate-2", &device).unwrap_err();
    assert!(matches!(other, VerdictError::OtherDevice(ref found) if found == "gate-1"), "{other}");

    // The sealed part of reviewer 3 in an envelope that reviewer 4 signed, about another candidate,
    // or about another device inside than outside.
    let wrapped = |candidate: [u8; 16], device: &str, sealed: &[u8], by: u8| {
        let mut w = CborWriter::default();
        w.map(4).key(0).uint(1).key(1).bytes(&candidate).key(2).text(device).key(3).bytes(sealed);
        ENVELOPE.sign(&w.finish(), &fixture::key(by))
    };
    let sealed = VerdictEnvelope::read(&good).unwrap().sealed.to_vec();
    let outcome = |bytes: Vec<u8>, name| open(&bytes, &trust(), name, &device).unwrap_err();
    let stolen = outcome(wrapped([7; 16], "gate-1", &sealed, 4), "gate-1");
    assert!(matches!(stolen, VerdictError::Mismatch("reviewer")), "{stolen}");
    let moved = outcome(wrapped([8; 16], "gate-1", &sealed, 3), "gate-1");
    assert!(matches!(moved, VerdictError::Mismatch("candidate")), "{moved}");
    let elsewhere = outcome(wrapped([7; 16], "gate-2", &sealed, 3), "gate-2");
    assert!(matches!(elsewhere, VerdictError::OtherDevice(_)), "{elsewhere}");

    // Sealed again by somebody who opened it under another key.
    let mine = DeviceKey::generate().unwrap();
    let to_me = give(&verdict(Opinion::Same), &fixture::key(3), mine.recipient()).unwrap();
    let opened = seal::open(VerdictEnvelope::read(&to_me).unwrap().sealed, &mine).unwrap();
    let again = seal::seal(&[&opened], std::slice::from_ref(device.recipient())).unwrap();
    let passed_on = outcome(wrapped([7; 16], "gate-1", &again, 3), "gate-1");
    assert!(matches!(passed_on, VerdictError::Mismatch("device key")), "{passed_on}");
}

#[test]
fn a_verdict_is_no_order_and_an_order_no_verdict() {
    use crate::watchlist::order::{self, Action, EVERY_VERSION, OrderId};
    let action = Action::Revoke { list: name("L-42"), through: EVERY_VERSION, entry: None };
    let now = OffsetDateTime::UNIX_EPOCH;
    let order = order::sign(OrderId([1; 16]), &action, &fixture::key(3), now).unwrap();
    let refused = check_shape(&order).unwrap_err();
    assert_eq!(refused.kind(), VerdictErrorKind::Malformed);
    let device = DeviceKey::generate().unwrap();
    let bytes = give(&verdict(Opinion::Same), &fixture::key(3), device.recipient()).unwrap();
    assert!(order::check_shape(&bytes).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_changed_byte_anywhere_is_refused(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let device = DeviceKey::generate().unwrap();
        let (verdict, to) = (verdict(Opinion::Same), device.recipient());
        let mut bytes = give(&verdict, &fixture::key(3), to).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(open(&bytes, &trust(), "gate-1", &device).is_err());
        prop_assert!(authenticate(&bytes, &trust(), "gate-1").is_err());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        let _ = check_shape(&bytes);
        let _ = decode(&bytes);
    }
}
