use super::*;
use crate::audit::dialogue::open_cosigned;
use crate::watchlist::keys::SecretKey;

const ORIGIN: &str = "site/gate-1";
const NONCE: Nonce = Nonce([7; 32]);
const ROOT: TreeHash = TreeHash([3; 32]);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn at(seconds: u64) -> Now {
    let wall = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
    Now { monotonic: Duration::from_secs(seconds), wall }
}

/// Two of the witnesses 2, 3, 4, of which 3 and 4 are one person, and 5.
fn pinned() -> PinnedWitnesses {
    PinnedWitnesses {
        needed: 2,
        keys: [2, 3, 4, 5].map(|n| key(n).public()).into(),
        people: vec![0, 1, 1, 3],
    }
}

fn asked() -> Witnessed {
    let mut witnessed = Witnessed::new(pinned(), None, at(0));
    assert_eq!(witnessed.asks(at(0), || Some(NONCE)), Some(NONCE));
    witnessed
}

fn seen(size: u64, by: u8) -> FreshnessAnswer {
    let text = Checkpoint::new(ORIGIN, size, ROOT).to_string();
    let signature = Some(key(by).sign(text.as_bytes()));
    FreshnessAnswer { origin: ORIGIN.into(), nonce: NONCE, size, root: ROOT, signature }
}

fn answer(witnessed: &mut Witnessed, by: u8, answer: &FreshnessAnswer) -> FreshnessVerdict {
    witnessed.answer(key(by).public(), answer, |size, _| size <= 9, &key(1).public())
}

#[test]
fn two_people_prove_that_nothing_is_newer_and_two_keys_of_one_do_not() {
    let mut witnessed = asked();
    assert_eq!(answer(&mut witnessed, 3, &seen(9, 1)), FreshnessVerdict::Counted);
    assert_eq!(answer(&mut witnessed, 4, &seen(5, 1)), FreshnessVerdict::Counted);
    assert_eq!(witnessed.unproved(), Some(WitnessShortfall::Unproved { answered: 1, needed: 2 }));
    let old = FreshnessAnswer { nonce: Nonce([8; 32]), ..seen(9, 1) };
    assert_eq!(answer(&mut witnessed, 2, &old), FreshnessVerdict::Ignored, "a replay");
    assert_eq!(answer(&mut witnessed, 9, &seen(9, 1)), FreshnessVerdict::Ignored, "a stranger");
    assert_eq!(answer(&mut witnessed, 2, &seen(9, 1)), FreshnessVerdict::Proved);
    assert_eq!(witnessed.unproved(), None);
}

#[test]
fn a_longer_log_of_the_devices_own_is_a_rollback_and_one_that_a_witness_made_up_is_nothing() {
    let mut witnessed = asked();
    assert_eq!(answer(&mut witnessed, 2, &seen(10, 2)), FreshnessVerdict::Ignored);
    assert_eq!(answer(&mut witnessed, 2, &seen(10, 1)), FreshnessVerdict::RolledBack);
    assert!(witnessed.unproved().is_some());
}

#[test]
fn a_question_is_repeated_until_it_is_answered_and_a_new_one_asked_each_hour() {
    let mut witnessed = asked();
    assert_eq!(witnessed.asks(at(9), || panic!("too early")), None);
    assert_eq!(witnessed.asks(at(10), || panic!("the same")), Some(NONCE));
    answer(&mut witnessed, 2, &seen(9, 1));
    assert_eq!(witnessed.asks(at(20), || panic!("the same")), Some(NONCE));
    answer(&mut witnessed, 5, &seen(9, 1));
    assert_eq!(witnessed.asks(at(3619), || panic!("too early")), None);
    let next = Nonce([9; 32]);
    assert_eq!(witnessed.asks(at(3620), || Some(next)), Some(next));
    assert_eq!(witnessed.unproved(), None, "what was proved stays so");
    let mut without = Witnessed::new(PinnedWitnesses::default(), None, at(0));
    assert_eq!(without.asks(at(0), || panic!("nobody to ask")), None);
    assert_eq!(
        (without.unproved(), without.unwitnessed(time::Duration::ZERO, at(99))),
        (None, None)
    );
}

#[test]
fn cosignatures_are_kept_once_enough_people_have_made_one() {
    let mut witnessed = Witnessed::new(pinned(), None, at(0));
    let cosigned = |n: u8, size: u64| {
        let checkpoint = Checkpoint::new(ORIGIN, size, ROOT);
        let line = checkpoint.cosign("w", &key(n), at(5).wall).unwrap();
        open_cosigned(format!("{checkpoint}\n{line}").as_bytes(), pinned().keys()).unwrap()
    };
    let mut give = |n, size, seconds| {
        let (checkpoint, lines) = cosigned(n, size);
        witnessed.cosigned(&checkpoint, lines, at(seconds)).map(<[_]>::len)
    };
    assert_eq!(give(3, 9, 10), None);
    assert_eq!(give(4, 9, 11), None, "the same person");
    assert_eq!(give(2, 8, 12), None, "another tree");
    assert_eq!(give(2, 9, 13), Some(3));
    assert_eq!(give(2, 9, 14), None, "nothing new");
    assert_eq!(give(5, 9, 15), Some(4));
    assert_eq!([give(5, 8, 16), give(3, 8, 17)], [None, None], "an older tree");
    let hour = time::Duration::HOUR;
    assert_eq!(witnessed.unwitnessed(hour, at(13 + 3599)), None);
    // What the fifth said of the same records, later, says nothing of what came since.
    let since = at(13).wall;
    let missing = WitnessShortfall::Unwitnessed { since, needed: 2 };
    assert_eq!(witnessed.unwitnessed(hour, at(13 + 3600)), Some(missing));
}
