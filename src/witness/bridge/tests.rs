use super::*;
use crate::audit::note::SignatureKind;
use crate::audit::tree::{ProofPath, TreeHash};
use crate::watchlist::keys::SecretKey;

const ORIGIN: &str = "site/gate-1";

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds)
}

fn bridge() -> Bridge {
    let key = NoteKey::new("f", SignatureKind::Cosignature, key(5).public()).unwrap();
    Bridge::new(vec![ForeignWitness { url: "http://f".parse().unwrap(), key }])
}

fn checkpoint() -> Checkpoint {
    Checkpoint::new(ORIGIN, 9, TreeHash([3; 32]))
}

fn submission(old: u64) -> Submission {
    Submission { old, path: ProofPath::new(), note: checkpoint().sign(&key(1)).unwrap() }
}

#[test]
fn a_conflict_tells_the_size_to_prove_from_and_the_cosignature_goes_to_the_device() {
    let mut bridge = bridge();
    let asked = bridge.grown(ORIGIN, 9, at(0));
    let [(nonce, 0)] = asked[..] else { panic!("{asked:?}") };
    assert!(bridge.grown(ORIGIN, 9, at(1)).is_empty(), "it was asked");
    assert!(bridge.answered(ORIGIN, Nonce([0; 32]), &submission(0)).is_none());
    assert!(bridge.answered("site/gate-2", nonce, &submission(0)).is_none());
    let errand = bridge.answered(ORIGIN, nonce, &submission(0)).unwrap();
    assert!(bridge.answered(ORIGIN, nonce, &submission(0)).is_none(), "once");
    assert!(bridge.grown(ORIGIN, 10, at(60)).is_empty(), "one is under way");
    let conflict = bridge.replied(&errand, &Ok((409, "4\n".into())), at(2));
    let BridgeOutcome::Ask(nonce, 4) = conflict else { panic!("{conflict:?}") };
    let errand = bridge.answered(ORIGIN, nonce, &submission(4)).unwrap();
    let line = checkpoint().cosign("f", &key(5), at(3)).unwrap();
    let cosigned = bridge.replied(&errand, &Ok((200, line.clone())), at(3));
    let BridgeOutcome::Cosigned(note) = cosigned else { panic!("{cosigned:?}") };
    assert_eq!(note, format!("{}\n{line}", checkpoint()));
    assert!(bridge.grown(ORIGIN, 9, at(60)).is_empty(), "it has that");
    assert_eq!(bridge.grown(ORIGIN, 10, at(60))[0].1, 9);
}

#[test]
fn what_another_witness_answers_wrongly_reaches_no_device_and_ends_no_bridge() {
    let mut bridge = bridge();
    let stranger = checkpoint().cosign("f", &key(6), at(0)).unwrap();
    let other = Checkpoint::new(ORIGIN, 8, TreeHash([3; 32]));
    let other = other.cosign("f", &key(5), at(0)).unwrap();
    for (n, reply) in [
        Ok((200, stranger)),
        Ok((200, other)),
        Ok((200, "junk".to_owned())),
        Ok((200, String::new())),
        Ok((404, "unknown\n".to_owned())),
        Ok((409, "x".to_owned())),
        Ok((409, "18446744073709551616\n".to_owned())),
        Ok((409, "0\n".to_owned())),
        Err("refused".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let (nonce, old) = bridge.grown(ORIGIN, 9, at(n as i64))[0];
        assert_eq!(old, 0);
        let errand = bridge.answered(ORIGIN, nonce, &submission(0)).unwrap();
        let outcome = bridge.replied(&errand, &reply, at(n as i64));
        assert!(matches!(outcome, BridgeOutcome::Refused(_)), "{reply:?}: {outcome:?}");
    }
}

#[test]
fn a_witness_that_never_agrees_is_left_until_the_log_grows_again() {
    let mut bridge = bridge();
    let mut nonce = bridge.grown(ORIGIN, 9, at(0))[0].0;
    for round in 0..=MOST_CONFLICTS {
        let errand = bridge.answered(ORIGIN, nonce, &submission(u64::from(round))).unwrap();
        let size = format!("{}\n", round + 1);
        match bridge.replied(&errand, &Ok((409, size)), at(1)) {
            BridgeOutcome::Ask(next, _) if round < MOST_CONFLICTS => nonce = next,
            BridgeOutcome::Refused(_) if round == MOST_CONFLICTS => return,
            other => panic!("{other:?}"),
        }
    }
    panic!("it goes on");
}
