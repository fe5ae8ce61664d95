use super::*;
use crate::watchlist::fixture::{self, key, now, template, trust};
use crate::watchlist::keys::SecretKey;
use proptest::prelude::*;

const HERE: Here<'_> =
    Here { device: "gate-3", camera: "main", embedder: &[0xe5; 32], pipeline: 2 };

fn head() -> Head {
    Head {
        id: "portraits-1".parse().unwrap(),
        issued: now(),
        not_before: now(),
        expires: now() + Duration::days(60),
        embedder: [0xe5; 32],
        pipeline: 2,
        dimensions: 64,
        authority: "District Court".into(),
        decision: "12 Gs 346/26".into(),
        device: "gate-3".parse().unwrap(),
        camera: "main".parse().unwrap(),
        days: 14,
        least_faces: 1000,
        source: "portraits before 1940, public domain".into(),
    }
}

/// Pseudo-random templates below [`TWICE`] of one another.
fn templates(n: usize) -> Vec<Template> {
    let mut kept = Vec::<Template>::new();
    for seed in 1.. {
        if kept.len() == n {
            break;
        }
        let new = template(seed);
        if kept.iter().all(|t| t.cosine(&new) < TWICE) {
            kept.push(new);
        }
    }
    kept
}

fn signed(head: &Head, n: usize, keys: &[u8]) -> Vec<u8> {
    let keys: Vec<SecretKey> = keys.iter().map(|n| key(*n)).collect();
    let mut bytes = sign(head, templates(n), &keys[0], now()).unwrap();
    for key in &keys[1..] {
        bytes = cosign(&bytes, key).unwrap();
    }
    bytes.to_vec()
}

#[test]
fn two_signers_make_a_set_for_one_camera_and_one_is_not_enough() {
    let once = signed(&head(), LEAST, &[1]);
    let refused = verify(&once, &trust(), now(), HERE).unwrap_err();
    let too_few = SignatureError::TooFewSigners { have: 1, need: 2 };
    assert_eq!(refused, DecoysError::Signatures(too_few));
    assert!(matches!(cosign(&once, &key(1)), Err(SignError::AlreadySigned(_))));
    let twice = cosign(&once, &key(2)).unwrap();
    let decoys = verify(&twice, &trust(), now(), HERE).unwrap();
    assert_eq!((decoys.templates().len(), decoys.signers().len()), (LEAST, 2));
    assert_eq!(decoys.head(), &head());
    assert_eq!(format!("{decoys:?}"), "Decoys(portraits-1, 500 of them)");
    for elsewhere in [Here { device: "gate-4", ..HERE }, Here { camera: "side", ..HERE }] {
        let refused = verify(&twice, &trust(), now(), elsewhere).unwrap_err();
        assert!(matches!(refused, DecoysError::Elsewhere(_)), "{refused}");
    }
    for other in [Here { embedder: &[1; 32], ..HERE }, Here { pipeline: 3, ..HERE }] {
        assert_eq!(verify(&twice, &trust(), now(), other).unwrap_err(), DecoysError::OtherModel);
    }
    for at in [now() - Duration::hours(1), now() + Duration::days(60)] {
        let refused = verify(&twice, &trust(), at, HERE).unwrap_err();
        assert!(matches!(refused, DecoysError::NotNow { .. }), "{refused}");
    }
}

#[test]
fn a_list_is_no_set_of_decoys_and_a_set_of_decoys_is_no_list() {
    let set = signed(&head(), LEAST, &[1, 2]);
    let as_list = crate::watchlist::author::show(&set, None);
    assert!(as_list.is_err());
    let list = crate::watchlist::tampering::signed(&fixture::content(3), &[1, 2]);
    let refused = verify(&list, &trust(), now(), HERE).unwrap_err();
    assert!(matches!(refused, DecoysError::Unreadable(_)));
    assert!(refused.to_string().contains("A watch list cannot be used as one"), "{refused}");
}

#[test]
fn fewer_than_five_hundred_or_one_person_twice_are_not_signed() {
    let few = sign(&head(), templates(LEAST - 1), &key(1), now()).unwrap_err();
    assert_eq!(few, SignError::Decoys(DecoysError::TooFew(LEAST - 1)));
    let mut twice = templates(LEAST - 1);
    // The same direction, other bytes: another photograph of one of them.
    let again = twice[7].values().iter().map(|v| v / 2).collect();
    twice.push(Template::new(again).unwrap());
    let refused = sign(&head(), twice, &key(1), now()).unwrap_err();
    assert!(matches!(refused, SignError::Decoys(DecoysError::Twice { .. })), "{refused}");
    let mut longer = templates(LEAST - 1);
    longer.push(Template::new(vec![1; 128].into()).unwrap());
    assert!(sign(&head(), longer, &key(1), now()).is_err());
}

#[test]
fn values_that_would_prove_nothing_are_refused() {
    let breaks: [fn(&mut Head); 7] = [
        |h| h.days = 6,
        |h| h.days = 93,
        |h| h.least_faces = 999,
        |h| h.expires = h.not_before + Duration::days(367),
        |h| h.authority = String::new(),
        |h| h.source = "two\nlines".into(),
        |h| h.dimensions = 63,
    ];
    for broken in breaks {
        let mut head = head();
        broken(&mut head);
        assert!(matches!(head.check(), Err(DecoysError::Value { .. })), "{head:?}");
    }
}

#[test]
fn an_altered_byte_is_noticed_wherever_it_is() {
    let bytes = signed(&head(), LEAST, &[1, 2]);
    for at in (0..bytes.len()).step_by(97) {
        let mut altered = bytes.clone();
        altered[at] ^= 4;
        assert!(verify(&altered, &trust(), now(), HERE).is_err(), "byte {at}");
    }
}

#[test]
fn the_order_of_a_set_is_that_of_its_bytes_whatever_it_was_before() {
    let mut reversed = templates(LEAST);
    reversed.reverse();
    let a = sign(&head(), reversed, &key(1), now()).unwrap();
    let b = sign(&head(), templates(LEAST), &key(1), now()).unwrap();
    assert!(*a == *b);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = decode(&bytes);
        let _ = inspect(&bytes);
    }
}
