use proptest::prelude::*;
use time::Duration;

use super::*;
use crate::watchlist::fixture::{content, now, trust};
use crate::watchlist::model::Content;
use crate::watchlist::tampering::signed;

fn key() -> DeviceKey {
    DeviceKey::generate().unwrap()
}

/// A list of two people: the first has the photographs `a` and `b`, the second `c`.
fn list() -> Content {
    let mut list = content(2);
    let files: [&[u8]; 3] = [b"a", b"b", b"c"];
    let photographs = [&files[..2], &files[2..]];
    for (entry, files) in list.entries.iter_mut().zip(photographs) {
        let one = entry.templates[0].clone();
        entry.templates = files
            .iter()
            .map(|file| {
                let mut template = one.clone();
                template.photographs[0].sha256 = Sha256::digest(file).into();
                template
            })
            .collect();
    }
    list
}

fn sheet(list: &[u8], desk: &DeviceKey, reviewer: &DeviceKey, files: &[&[u8]]) -> Vec<u8> {
    let reviewers = vec![reviewer.recipient().clone()];
    let mut sheet = CaseSheet::of(list, desk.recipient().clone(), reviewers).unwrap();
    for file in files {
        sheet.add(file, Some(Eyes([1, 2, 300, 65_535]))).unwrap();
    }
    sheet.finish().unwrap()
}

#[test]
fn what_a_sheet_brings_the_desk_takes_and_the_reviewer_opens() {
    let (list, desk, reviewer) = (signed(&list(), &[1, 2]), key(), key());
    let bytes = sheet(&list, &desk, &reviewer, &[b"b", b"c", b"a"]);
    let taken = open(&bytes, &trust(), now(), &desk).unwrap();
    assert_eq!((taken.list.as_str(), taken.version), ("north-gate", 7));
    let order: Vec<_> =
        taken.photographs.iter().map(|p| (p.entry.as_str(), p.number, p.sha256)).collect();
    let digest = |file: &[u8]| <[u8; 32]>::from(Sha256::digest(file));
    let wanted =
        [("case-0", 0, digest(b"a")), ("case-0", 1, digest(b"b")), ("case-1", 0, digest(b"c"))];
    assert_eq!(order, wanted);
    for photograph in &taken.photographs {
        assert_eq!(photograph.eyes.unwrap().to_string(), "1,2,300,65535");
        assert_eq!(photograph.until, now() + Duration::days(20));
        let plain = seal::open(&photograph.sealed, &reviewer).unwrap();
        assert_eq!(Sha256::digest(&plain[..])[..], photograph.sha256);
        assert!(seal::open(&photograph.sealed, &key()).is_err());
    }
}

#[test]
fn the_list_in_a_sheet_is_for_the_desk_alone_and_has_only_entries_with_a_photograph() {
    let (list, desk, reviewer) = (signed(&list(), &[1, 2]), key(), key());
    let bytes = sheet(&list, &desk, &reviewer, &[b"c"]);
    let parts = SheetParts::read(&bytes).unwrap();
    assert!(seal::open(parts.list, &reviewer).is_err());
    let inside = roster(&seal::open(parts.list, &desk).unwrap(), &trust(), now()).unwrap();
    let left: Vec<_> = inside.entries.iter().map(|e| e.reference.as_str()).collect();
    assert_eq!(left, ["case-1"]);
    assert_eq!(open(&bytes, &trust(), now(), &desk).unwrap().photographs.len(), 1);
}

#[test]
fn a_photograph_that_is_not_in_the_signed_list_is_refused_and_all_with_it() {
    let (two_signed, desk, reviewer) = (signed(&list(), &[1, 2]), key(), key());
    let everybody = [desk.recipient().clone(), reviewer.recipient().clone()];
    let good = sheet(&two_signed, &desk, &reviewer, &[b"a", b"c"]);
    let parts = SheetParts::read(&good).unwrap();
    // Somebody who has the desk's public key adds a photograph to a true sheet.
    let with = |digest: [u8; 32], file: &[u8]| {
        let sealed = seal::seal(&[file], &everybody).unwrap();
        let mut w = CborWriter::default();
        w.map(3).key(0).uint(1).key(1).bytes(parts.list).key(2).array(3);
        for (digest, _, sealed) in &parts.photographs {
            w.array(3).bytes(digest).raw(&[NULL]).bytes(sealed);
        }
        w.array(3).bytes(&digest).raw(&[NULL]).bytes(&sealed);
        open(&w.finish(), &trust(), now(), &desk)
    };
    let digest = |file: &[u8]| <[u8; 32]>::from(Sha256::digest(file));
    assert!(with(digest(b"b"), b"b").is_ok());
    assert!(matches!(with(digest(b"x"), b"x"), Err(CaseSheetError::NotInList(_))));
    assert!(matches!(with(digest(b"b"), b"x"), Err(CaseSheetError::OtherFile(_))));
    assert!(matches!(with(digest(b"c"), b"c"), Err(CaseSheetError::Repeated(_))));
    let mut writer = CaseSheet::of(&two_signed, desk.recipient().clone(), Vec::new()).unwrap();
    assert!(matches!(writer.add(b"x", None), Err(CaseSheetError::NotInList(_))));
    assert!(matches!(writer.finish(), Err(CaseSheetError::Empty)));
}

#[test]
fn a_sheet_of_a_list_that_is_not_to_be_believed_or_for_another_desk_is_refused() {
    let (desk, reviewer) = (key(), key());
    let once = sheet(&signed(&list(), &[1]), &desk, &reviewer, &[b"a"]);
    let refused = open(&once, &trust(), now(), &desk).unwrap_err();
    assert!(matches!(refused, CaseSheetError::List(Refusal::TooFewSigners { .. })), "{refused}");
    let good = sheet(&signed(&list(), &[1, 2]), &desk, &reviewer, &[b"a"]);
    let late = open(&good, &trust(), now() + Duration::days(40), &desk).unwrap_err();
    assert!(matches!(late, CaseSheetError::List(Refusal::Expired { .. })), "{late}");
    // The entry has ended, the list has not.
    let ended = open(&good, &trust(), now() + Duration::days(25), &desk).unwrap_err();
    assert!(matches!(ended, CaseSheetError::NotInList(_)), "{ended}");
    let other = open(&good, &trust(), now(), &reviewer).unwrap_err();
    assert!(matches!(other, CaseSheetError::Seal(SealError::NotForUs(_))), "{other}");
    let mut newer = good;
    newer[2] = 2;
    let newer = open(&newer, &trust(), now(), &desk).unwrap_err();
    assert!(matches!(newer, CaseSheetError::Newer(2)), "{newer}");
}

#[test]
fn the_schema_says_what_the_code_does() {
    let schema = include_str!("../../../../config/schemas/case-sheet.cddl");
    for text in [
        format!("case sheet, format {FORMAT_VERSION} "),
        format!("at most {MAX_SHEET_BYTES} bytes"),
        format!("[1*{MAX_SHEET_PHOTOGRAPHS} photograph]"),
        format!("bstr .size (1..{MAX_SEALED_PHOTOGRAPH})"),
    ] {
        assert!(schema.contains(&text), "case-sheet.cddl does not say {text:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        let _ = SheetParts::read(&bytes);
    }

    #[test]
    fn a_sheet_that_was_changed_or_cut_is_not_taken(at: prop::sample::Index, bit in 0u8..8) {
        static MADE: std::sync::OnceLock<(Vec<u8>, DeviceKey)> = std::sync::OnceLock::new();
        let (good, desk) = MADE.get_or_init(|| {
            let desk = key();
            (sheet(&signed(&list(), &[1, 2]), &desk, &key(), &[b"a", b"c"]), desk)
        });
        let place = at.index(good.len());
        prop_assert!(open(&good[..place], &trust(), now(), desk).is_err());
        let mut changed = good.clone();
        changed[place] ^= 1 << bit;
        let before = open(good, &trust(), now(), desk).unwrap();
        // Only the hint where the eyes are can be changed.
        if let Ok(mut after) = open(&changed, &trust(), now(), desk) {
            for (a, b) in after.photographs.iter_mut().zip(&before.photographs) {
                prop_assert_ne!(a.eyes, None);
                a.eyes = b.eyes;
            }
            prop_assert_eq!(after, before);
        }
    }
}
