use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;
use crate::audit::tree::{MAX_SIZE, ProofPath};

const ORIGIN: &str = "site/gate-1";

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn log_key(n: u8) -> NoteKey {
    NoteKey::new(ORIGIN, SignatureKind::Note, key(n).public()).unwrap()
}

fn request(old: u64) -> WitnessRequest {
    WitnessRequest { origin: ORIGIN.into(), nonce: Nonce([7; 32]), old }
}

fn freshness(size: u64) -> FreshnessAnswer {
    let root = if size == 0 { TreeHash::empty() } else { TreeHash([3; 32]) };
    let text = Checkpoint::new(ORIGIN, size, root).to_string();
    let signature = (size > 0).then(|| key(1).sign(text.as_bytes()));
    FreshnessAnswer { origin: ORIGIN.into(), nonce: Nonce([7; 32]), size, root, signature }
}

fn answer() -> ConsistencyAnswer {
    let note = Checkpoint::new(ORIGIN, 9, TreeHash([3; 32])).sign(&key(1)).unwrap();
    let path: ProofPath = [TreeHash([5; 32]), TreeHash([6; 32])].into_iter().collect();
    let submission = Submission { old: 4, path, note };
    ConsistencyAnswer { origin: ORIGIN.into(), nonce: Nonce([7; 32]), submission }
}

#[test]
fn each_statement_is_believed_of_its_signer_and_of_nobody_else() {
    let pinned = [key(2).public(), key(3).public()];
    let note = request(5).sign("any.name/w", &key(3)).unwrap();
    let opened = WitnessRequest::open_by(note.as_bytes(), &pinned);
    assert_eq!(opened, Ok((request(5), key(3).public())));
    let stranger = request(5).sign("any.name/w", &key(9)).unwrap();
    assert!(WitnessRequest::open_by(stranger.as_bytes(), &pinned).is_err());
    assert!(FreshnessAnswer::open_by(note.as_bytes(), &pinned).is_err(), "another statement");

    let note = answer().sign(ORIGIN, &key(1)).unwrap();
    assert_eq!(ConsistencyAnswer::open(note.as_bytes(), &log_key(1)), Ok(answer()));
    assert!(ConsistencyAnswer::open(note.as_bytes(), &log_key(2)).is_err());
    let altered = note.replace("\nold 4\n", "\nold 3\n");
    assert!(ConsistencyAnswer::open(altered.as_bytes(), &log_key(1)).is_err());
}

#[test]
fn a_longer_log_counts_only_with_the_devices_own_signature() {
    assert!(freshness(9).is_signed_by(&key(1).public()));
    assert!(!freshness(9).is_signed_by(&key(2).public()));
    assert!(!FreshnessAnswer { size: 10, ..freshness(9) }.is_signed_by(&key(1).public()));
    assert!(!freshness(0).is_signed_by(&key(1).public()));
}

#[test]
fn a_cosigned_checkpoint_gives_the_lines_of_pinned_witnesses_whatever_they_call_themselves() {
    let checkpoint = Checkpoint::new(ORIGIN, 9, TreeHash([3; 32]));
    let at = OffsetDateTime::from_unix_timestamp(1_764_400_000).unwrap();
    let line = |name: &str, n: u8| checkpoint.cosign(name, &key(n), at).unwrap();
    let pinned = [key(2).public(), key(3).public()];
    let note = format!("{checkpoint}\n{}{}{}", line("w/9", 9), line("w/2", 2), line("x", 3));
    let (read, lines) = open_cosigned(note.as_bytes(), &pinned).unwrap();
    assert_eq!(read, checkpoint);
    assert_eq!(lines.iter().map(|l| l.witness).collect::<Vec<_>>(), pinned);
    assert!(lines.iter().all(|l| l.at == 1_764_400_000));
    let other = note.replace("\n9\n", "\n8\n");
    assert!(open_cosigned(other.as_bytes(), &pinned).is_err(), "another size");
    let none = format!("{checkpoint}\n{}", line("w/9", 9));
    assert_eq!(open_cosigned(none.as_bytes(), &pinned), Err(NoteError::Unknown.into()));
    let many = format!("{checkpoint}\n{}", line("w/2", 2).repeat(MAX_LINES + 1));
    let refused = open_cosigned(many.as_bytes(), &pinned);
    assert_eq!(refused, Err(DialogueError::TooManySignatures(MAX_LINES + 1)));
}

#[test]
fn sizes_and_hashes_without_end_are_one_clear_error() {
    let signed = |text: &str| {
        let key = NoteKey::new(ORIGIN, SignatureKind::Note, key(1).public()).unwrap();
        format!("{text}\n{}", key.line(&self::key(1).sign(text.as_bytes())))
    };
    let largest = request(MAX_SIZE).to_string();
    let at = |text: &str| WitnessRequest::open(signed(text).as_bytes(), &log_key(1));
    assert!(at(&largest).is_ok());
    for wrong in ["9223372036854775808", "18446744073709551616", "-1", "01", ""] {
        let refused = at(&largest.replace("9223372036854775807", wrong)).unwrap_err();
        assert!(matches!(refused, DialogueError::Line { line: 4, .. }), "{wrong}: {refused}");
    }
    assert!(at(&format!("{largest}more\n")).is_err());
    let text = answer().to_string();
    let hash = TreeHash([5; 32]).to_string();
    let hashes = |n: usize| text.replace(&format!("{hash}\n"), &format!("{hash}\n").repeat(n));
    let opened = |text: &str| ConsistencyAnswer::open(signed(text).as_bytes(), &log_key(1));
    assert!(opened(&hashes(62)).is_ok());
    assert!(matches!(
        opened(&hashes(63)),
        Err(DialogueError::Proof(ProofError::TooManyHashes(63)))
    ));
    assert!(matches!(opened(&hashes(10_000)), Err(DialogueError::TooLarge(_))));
    let bytes = [&[0xff][..], b"\n\n"].concat();
    assert_eq!(WitnessRequest::open(&bytes, &log_key(1)), Err(DialogueError::NotText));
}

proptest! {
    #[test]
    fn what_is_written_is_read_the_same(
        origin in "[a-z/.]{1,30}", nonce: [u8; 32], size in 1..=MAX_SIZE, root: [u8; 32],
    ) {
        let (nonce, root) = (Nonce(nonce), TreeHash(root));
        let key = NoteKey::new("w", SignatureKind::Note, key(1).public()).unwrap();
        let request = WitnessRequest { origin: origin.clone(), nonce, old: size };
        let note = request.sign("w", &self::key(1)).unwrap();
        prop_assert_eq!(WitnessRequest::open(note.as_bytes(), &key), Ok(request));
        let challenge = Challenge { origin: origin.clone(), nonce, size, root };
        let note = challenge.sign("w", &self::key(1)).unwrap();
        prop_assert_eq!(Challenge::open(note.as_bytes(), &key), Ok(challenge));
        let signature = Some([size as u8; 64]);
        let fresh = FreshnessAnswer { origin, nonce, size, root, signature };
        let note = fresh.sign("w", &self::key(1)).unwrap();
        prop_assert_eq!(FreshnessAnswer::open(note.as_bytes(), &key), Ok(fresh));
    }

    #[test]
    fn no_byte_of_a_statement_can_be_another(at in 0usize..400, bit in 0u8..7) {
        let pinned = [key(2).public()];
        let notes = [
            request(5).sign("w", &key(2)).unwrap(),
            freshness(9).sign("w", &key(2)).unwrap(),
            answer().sign("w", &key(2)).unwrap(),
        ];
        for note in notes {
            let mut bytes = note.clone().into_bytes();
            let at = at % bytes.len();
            // The name of the line is not signed; nothing is believed of it.
            let line = note.rfind('\u{2014}').unwrap() + 3;
            bytes[at] ^= 1 << bit;
            if at < line {
                prop_assert!(WitnessRequest::open_by(&bytes, &pinned).is_err());
                prop_assert!(FreshnessAnswer::open_by(&bytes, &pinned).is_err());
                prop_assert!(ConsistencyAnswer::open_by(&bytes, &pinned).is_err());
            }
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(text in "(watchpost audit (request|challenge|consistency|freshness) v1\n)?([a9=\n-]|old |\u{2014} w ){0,60}") {
        let pinned = [key(2).public()];
        let _ = WitnessRequest::open_by(text.as_bytes(), &pinned);
        let _ = FreshnessAnswer::open_by(text.as_bytes(), &pinned);
        let _ = Challenge::open(text.as_bytes(), &log_key(1));
        let _ = ConsistencyAnswer::open(text.as_bytes(), &log_key(1));
        let _ = open_cosigned(text.as_bytes(), &pinned);
    }
}
