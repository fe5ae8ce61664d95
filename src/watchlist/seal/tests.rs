use super::*;
use age::scrypt;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

fn key() -> DeviceKey {
    DeviceKey::generate().unwrap()
}

fn sealed(plain: &[u8], keys: &[&DeviceKey]) -> Vec<u8> {
    let recipients: Vec<_> = keys.iter().map(|k| k.recipient().clone()).collect();
    seal(&[plain], &recipients).unwrap()
}

#[test]
fn another_implementation_opens_what_is_sealed_and_seals_what_is_opened() {
    // The crate's own reader and writer, at the sizes where pieces begin and end.
    let k = key();
    for n in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 7] {
        let plain: Vec<u8> = (0..n).map(|i| (i * 31 % 251) as u8).collect();
        assert_eq!(age::decrypt(&k.identity(), &sealed(&plain, &[&k])).unwrap(), plain, "{n}");
        assert_eq!(
            *open(&age::encrypt(&k.recipient().0, &plain).unwrap(), &k).unwrap(),
            plain,
            "{n}"
        );
    }
}

#[test]
fn each_recipient_opens_it_and_nobody_else() {
    let [a, b, c] = [key(), key(), key()];
    let bytes = sealed(b"list", &[&a, &b]);
    assert_eq!(
        (&*open(&bytes, &a).unwrap(), &*open(&bytes, &b).unwrap()),
        (&b"list"[..], &b"list"[..])
    );
    let refused = open(&bytes, &c).unwrap_err();
    assert!(
        matches!(&refused, SealError::NotForUs(to) if *to == c.recipient().to_string()),
        "{refused}"
    );
}

#[test]
fn parts_are_sealed_as_one_without_being_joined() {
    let k = key();
    let long = vec![3u8; PIECE];
    let bytes = seal(&[b"ab", &long, b"", b"c"], std::slice::from_ref(k.recipient())).unwrap();
    assert_eq!(*open(&bytes, &k).unwrap(), [b"ab", &long[..], b"c"].concat());
}

#[test]
fn a_flipped_bit_anywhere_and_a_cut_anywhere_are_refused() {
    let k = key();
    let plain = vec![9u8; PIECE + 40];
    let bytes = sealed(&plain, &[&k]);
    let header = bytes.len() - plain.len() - 2 * TAG;
    let refused = |bytes: &[u8]| open(bytes, &k).is_err();
    for bit in (0..header * 8)
        .chain(header * 8..bytes.len() * 8)
        .filter(|b| b / 8 < header || b % 4099 == 0)
    {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&flipped), "bit {bit}");
    }
    for length in
        (0..header + 40).chain((header..bytes.len()).step_by(997)).chain([bytes.len() - 1])
    {
        assert!(refused(&bytes[..length]), "{length}");
    }
    assert!(refused(&[&bytes[..], b"x"].concat()));
    // The last piece left out, and the first repeated.
    assert!(refused(&bytes[..header + PIECE + TAG]));
}

#[test]
fn a_passphrase_is_refused_before_any_work_is_done_for_it() {
    let mut recipient = scrypt::Recipient::new("correct horse".to_owned().into());
    recipient.set_work_factor(2);
    let bytes = age::encrypt(&recipient, b"list").unwrap();
    // 2^63 rounds, if anybody began with them.
    let bomb = String::from_utf8_lossy(&bytes[..60]).replace(" 2\n", " 63\n").into_bytes();
    let bomb = [&bomb[..], &bytes[60..]].concat();
    for bytes in [bytes, bomb] {
        assert!(matches!(open(&bytes, &key()), Err(SealError::Passphrase)));
    }
}

#[test]
fn a_header_that_does_not_end_is_refused_before_it_is_parsed() {
    let mut bytes = MAGIC.to_vec();
    while bytes.len() < 4 << 20 {
        bytes.extend_from_slice(b"-> X25519 AAAA\n\n");
    }
    let start = std::time::Instant::now();
    assert!(matches!(open(&bytes, &key()), Err(SealError::Unreadable(_))));
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn armored_text_and_too_many_recipients_are_refused_with_what_to_do() {
    let text = open(b"-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n", &key()).unwrap_err().to_string();
    assert!(text.contains("without -a"), "{text}");
    assert!(matches!(seal(&[b"x"], &[]), Err(SealError::Recipients(0))));
    let k = key();
    assert!(matches!(
        seal(&[b"x"], &vec![k.recipient().clone(); 257]),
        Err(SealError::Recipients(257))
    ));
    let most = seal(&[b"x"], &vec![k.recipient().clone(); MAX_RECIPIENTS]).unwrap();
    assert_eq!(*open(&most, &k).unwrap(), *b"x", "the most recipients fit the header's bound");
}

#[test]
fn a_key_file_is_the_owners_alone_and_a_credential_is_the_managers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CREDENTIAL);
    assert!(DeviceKey::from_credentials(None).unwrap().is_none());
    assert!(DeviceKey::from_credentials(Some(dir.path())).unwrap().is_none());
    let k = key();
    k.create_file(&path).unwrap();
    assert!(k.create_file(&path).is_err(), "an existing key is never overwritten");
    assert_eq!(
        DeviceKey::open_file(&path).unwrap().recipient().to_string(),
        k.recipient().to_string()
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
    assert!(matches!(DeviceKey::open_file(&path), Err(SealError::TooOpen { .. })));
    assert!(DeviceKey::from_credentials(Some(dir.path())).unwrap().is_some());
    for bad in ["", "# only a comment\n", "AGE-SECRET-KEY-1AAAA\n", "age1qqq\n", "x\ny\n"] {
        std::fs::write(&path, bad).unwrap();
        assert!(DeviceKey::from_credentials(Some(dir.path())).is_err(), "{bad}");
    }
}

#[test]
fn debug_output_and_errors_never_show_a_secret() {
    let k = key();
    let secret = String::from_utf8(k.secret.to_vec()).unwrap();
    assert!(!format!("{k:?}").contains(&secret[16..]));
    assert!(!secret.parse::<Recipient>().unwrap_err().to_string().contains(&secret[16..]));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes: Vec<u8>,
        at in any::<prop::sample::Index>(),
        replaced in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let k = key();
        prop_assert!(open(&bytes, &k).is_err());
        prop_assert!(open(&[MAGIC, &bytes].concat(), &k).is_err());
        let good = sealed(b"some list", &[&k]);
        let mut bad = good.clone();
        let from = at.index(bad.len());
        let to = (from + replaced.len()).min(bad.len());
        bad.splice(from..to, replaced);
        prop_assume!(bad != good);
        prop_assert!(open(&bad, &k).is_err());
    }
}
