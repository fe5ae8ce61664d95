use super::super::cbor::CborError;
use super::super::codec::{self, FormatError, SALT};
use super::super::fixture::{DEVICE, EMBEDDER, PROMISE, content, key, now, trust, trust_text};
use super::super::model::{
    Aim, Area, ContentError, Hours, MAX_ENTRIES, MAX_SITE_RECORD, StoredTemplate, Window,
};
use super::super::tampering::{
    encode_and_sign, encoded, made_elsewhere, made_elsewhere_in_format_two, signed,
};
use super::*;
use crate::promise::Stage;
use crate::template::Template;
use proptest::prelude::*;
use time::Duration;

fn check(bytes: &[u8]) -> Result<Watchlist, Refusal> {
    verify(bytes, &trust(), now(), DEVICE, &EMBEDDER)
}

/// All that a list says, templates included, without a look at its signatures.
fn read(bytes: &[u8]) -> Result<Content, Refusal> {
    Ok(codec::decode(&read_container(bytes)?)?.0)
}

#[test]
fn two_different_signers_pass() {
    let list = check(&signed(&content(5), &[1, 2])).unwrap();
    assert_eq!((list.id().as_str(), list.version(), list.entries().len()), ("north-gate", 7, 5));
    let without_templates =
        content(5).entries.into_iter().map(|e| Entry { templates: vec![], ..e });
    assert_eq!(list.entries(), without_templates.collect::<Vec<_>>());
    assert_eq!(list.authorisation(), &content(5).authorisation);
    assert!(check(&signed(&content(5), &[3, 2, 1])).is_ok());
}

#[test]
fn a_list_made_by_other_software_from_the_schema_passes() {
    let bytes = made_elsewhere();
    let list = check(&bytes).unwrap();
    assert_eq!(
        (list.id().as_str(), list.version(), list.entries().len()),
        ("made-elsewhere", 3, 1)
    );
    let stored = &read(&bytes).unwrap().entries[0].templates[0];
    let qualities: Vec<f32> = stored.photographs.iter().map(|p| p.quality).collect();
    assert_eq!(qualities, [0.875, 0.5, 1.0]);
    assert_eq!(stored.template.values()[20], (7 * 20 + 1) as u8 as i8);
    assert_eq!((list.stage(), list.promise()), (Stage::Silent, &b"a promise made elsewhere"[..]));
    assert_eq!(
        list.standing(now(), Some(Position { latitude: 52.525, longitude: 13.405 })),
        Standing::Valid
    );
    // One content has one encoding, for every writer.
    let container = Container::read(&LIST, &bytes).unwrap();
    let again = codec::encode(&read(&bytes).unwrap(), || [0xa0; SALT]).unwrap();
    assert_eq!(again.payload, container.payload());
    assert!(container.items().iter().all(|(item, _)| again.items.ends_with(item.unwrap())));
}

#[test]
fn too_few_are_one_twice_one_unknown_a_revoker_or_nobody() {
    for (signers, have) in [
        (&[1][..], 1),
        (&[1, 1], 1),
        (&[1, 1, 1, 1], 1),
        (&[1, 9], 1),
        (&[1, 4], 1),
        (&[8, 9], 0),
        (&[], 0),
    ] {
        let refused = check(&signed(&content(1), signers)).unwrap_err();
        assert_eq!(refused, Refusal::TooFewSigners { have, need: 2 }, "{signers:?}");
    }
    assert!(check(&signed(&content(1), &[9, 1, 1, 2])).is_ok(), "others do no harm");
}

#[test]
fn one_person_with_two_keys_is_one_signer() {
    let text = trust_text(2, &[("signer", 1), ("signer", 2), ("signer", 3)])
        .replace("label = \"person 1\"\n", "person = \"p-1\"\n")
        .replace("label = \"person 2\"\n", "person = \"p-1\"\n");
    let trust = Trust::parse(&text).unwrap();
    let check = |signers: &[u8]| {
        verify(&signed(&content(1), signers), &trust, now(), DEVICE, &EMBEDDER).map(|_| ())
    };
    assert_eq!(check(&[1, 2]), Err(Refusal::TooFewSigners { have: 1, need: 2 }));
    assert_eq!(check(&[1, 2, 3]), Ok(()));
    assert_eq!(check(&[2, 3]), Ok(()));
}

#[test]
fn one_bad_signature_of_a_pinned_signer_refuses_the_list_whatever_the_others_say() {
    let mut bytes = signed(&content(1), &[1, 2, 3]);
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(check(&bytes).unwrap_err(), Refusal::Altered(key(3).public().id()));
}

#[test]
fn a_signature_for_another_purpose_does_not_count() {
    use coset::{CoseSign, TaggedCborSerializable};
    let mut cose = CoseSign::from_tagged_slice(&signed(&content(1), &[1, 2])).unwrap();
    let message = cose.tbs_data(b"watchpost revocation v1", &cose.signatures[1]);
    cose.signatures[1].signature = key(2).sign(&message).to_vec();
    assert_eq!(
        check(&cose.to_tagged_vec().unwrap()).unwrap_err(),
        Refusal::Altered(key(2).public().id())
    );
}

#[test]
fn signatures_do_not_move_to_another_content() {
    use coset::{CoseSign, TaggedCborSerializable};
    let mut cose = CoseSign::from_tagged_slice(&signed(&content(1), &[1, 2])).unwrap();
    cose.payload = Some(encoded(&content(2)).payload);
    assert!(matches!(check(&cose.to_tagged_vec().unwrap()), Err(Refusal::Altered(_))));
}

#[test]
fn what_the_container_may_not_hold_is_unreadable() {
    use coset::{CborSerializable, CoseSign, HeaderBuilder, TaggedCborSerializable};
    let good = CoseSign::from_tagged_slice(&signed(&content(1), &[1, 2])).unwrap();
    let refused = |change: &dyn Fn(&mut CoseSign)| {
        let mut cose = good.clone();
        change(&mut cose);
        matches!(check(&cose.to_tagged_vec().unwrap()), Err(Refusal::Unreadable(_)))
    };
    let extra = HeaderBuilder::new().key_id(vec![1]).build();
    assert!(!refused(&|_| ()));
    assert!(refused(&|c| c.unprotected = extra.clone()));
    assert!(refused(&|c| c.unprotected = Default::default()), "the entries are not there");
    assert!(refused(&|c| c.signatures[0].unprotected = extra.clone()));
    assert!(refused(&|c| c.payload = None));
    assert!(refused(&|c| c.signatures[0].signature.push(0)));
    assert!(refused(&|c| c.signatures = vec![c.signatures[0].clone(); 17]));
    assert!(
        matches!(check(&good.clone().to_vec().unwrap()), Err(Refusal::Unreadable(_))),
        "untagged"
    );
}

#[test]
fn a_list_for_another_device_is_refused() {
    let refused =
        verify(&signed(&content(1), &[1, 2]), &trust(), now(), "gate-33", &EMBEDDER).unwrap_err();
    assert_eq!(refused.cause(), Cause::WrongDevice);
    assert!(
        refused.to_string().contains("gate-33") && refused.to_string().contains("gate-4"),
        "{refused}"
    );
}

#[test]
fn a_list_of_another_model_is_refused() {
    let refused =
        verify(&signed(&content(1), &[1, 2]), &trust(), now(), DEVICE, &[1; 32]).unwrap_err();
    assert_eq!(refused.cause(), Cause::WrongModel);
}

#[test]
fn a_list_is_valid_from_not_before_up_to_expires() {
    let c = content(1);
    let at =
        |now| verify(&signed(&c, &[1, 2]), &trust(), now, DEVICE, &EMBEDDER).map_err(|r| r.cause());
    assert_eq!(at(c.not_before - Duration::SECOND).unwrap_err(), Cause::NotYetValid);
    assert!(at(c.not_before).is_ok());
    assert!(at(c.expires - Duration::SECOND).is_ok());
    assert_eq!(at(c.expires).unwrap_err(), Cause::Expired);
}

#[test]
fn nothing_is_accepted_outside_the_validity_of_the_trust_file() {
    let keys = [("signer", 1), ("signer", 2)];
    let old = Trust::parse(
        &trust_text(2, &keys)
            .replace("2036", "2026-02")
            .replace("-01-01T00:00:00Z\"\n[[", "-01T00:00:00Z\"\n[["),
    )
    .unwrap();
    let refused =
        verify(&signed(&content(1), &[1, 2]), &old, now(), DEVICE, &EMBEDDER).unwrap_err();
    assert_eq!(refused.cause(), Cause::TrustNotValid);
}

#[test]
fn an_expired_entry_is_left_out_and_counted_while_the_list_lives() {
    let mut c = content(3);
    c.entries[1].expires = now();
    let list = check(&signed(&c, &[1, 2])).unwrap();
    let left: Vec<_> = list.entries().iter().map(|e| e.reference.as_str()).collect();
    assert_eq!((left, list.expired_entries()), (vec!["case-0", "case-2"], 1));
}

#[test]
fn a_format_of_another_version_says_what_to_do_before_its_signatures_are_looked_at() {
    // The version is the second byte after the map's head: {0: 3, ...}.
    let refused = |version: u8, signers: &[u8]| {
        let mut encoded = encoded(&content(1));
        assert_eq!(encoded.payload[..3], [0xac, 0x00, 0x03]);
        encoded.payload[2] = version;
        check(&encode_and_sign(&encoded, signers)).unwrap_err()
    };
    for (version, says, wanted) in [
        (2, "add the photographs again", FormatError::Older(2)),
        (1, "older format", FormatError::Older(1)),
        (4, "install the version of watchpost", FormatError::Newer(4)),
    ] {
        for signers in [&[1u8, 2][..], &[]] {
            let refused = refused(version, signers);
            assert!(refused.to_string().contains(says), "{refused}");
            assert_eq!(refused.cause(), Cause::UnknownFormat);
            assert!(matches!(&refused, Refusal::Content(found) if *found == wanted));
        }
    }
}

/// The first list of format 2 that other software made, signed as that format was.
#[test]
fn a_list_of_format_two_is_refused_with_the_way_to_a_new_one() {
    let refused = check(&made_elsewhere_in_format_two()).unwrap_err();
    assert_eq!(refused, FormatError::Older(2).into());
    let said = refused.to_string();
    assert!(said.contains("watchlist new") && said.contains("cannot be converted"), "{said}");
}

#[test]
fn templates_of_another_pipeline_are_refused_by_their_number() {
    for (pipeline, says) in [(PIPELINE - 1, "enrol the photographs again"), (99, "install")] {
        let mut c = content(1);
        c.pipeline = pipeline;
        let refused = check(&signed(&c, &[1, 2])).unwrap_err();
        assert_eq!(refused, Refusal::WrongPipeline { list: pipeline, device: PIPELINE });
        assert_eq!(refused.cause(), Cause::WrongModel);
        assert!(refused.to_string().contains(says), "{refused}");
    }
}

#[test]
fn a_site_record_is_carried_as_it_was_signed_and_one_that_is_too_long_is_refused() {
    let mut c = content(1);
    for site in [None, Some(vec![]), Some(b"measured".to_vec()), Some(vec![7; MAX_SITE_RECORD])] {
        c.site = site.clone();
        assert_eq!(check(&signed(&c, &[1, 2])).unwrap().site(), site.as_deref());
    }
    let mut e = encoded(&content(1));
    assert_eq!(e.payload.pop(), Some(0xf6));
    e.payload.extend([0x5a, 0, 1, 0, 1]);
    e.payload.extend(vec![7; MAX_SITE_RECORD + 1]);
    let refused = check(&encode_and_sign(&e, &[1, 2])).unwrap_err();
    assert_eq!(refused.cause(), Cause::BadContent);
    c.site = Some(vec![7; MAX_SITE_RECORD + 1]);
    let refused = codec::encode(&c, || [0; SALT]).err().unwrap();
    assert!(matches!(refused, ContentError::Range { what: "site record", .. }));
}

#[test]
fn a_stage_that_is_not_known_and_a_missing_promise_are_refused() {
    let mut e = encoded(&content(1));
    // `10: 0, 11: null` at the end.
    let at = e.payload.len() - 3;
    assert_eq!(e.payload[at - 1..], [10, 0, 11, 0xf6]);
    e.payload[at] = 2;
    assert_eq!(check(&encode_and_sign(&e, &[1, 2])).unwrap_err().cause(), Cause::BadContent);
    let mut silent = content(1);
    silent.stage = Stage::Silent;
    assert_eq!(check(&signed(&silent, &[1, 2])).unwrap().stage(), Stage::Silent);
    silent.promise.clear();
    let refused = codec::encode(&silent, || [0; SALT]).err().unwrap();
    assert!(matches!(refused, ContentError::Range { what: "promise", .. }));
}

#[test]
fn a_list_has_one_template_an_entry_and_the_digests_of_all_photographs() {
    let c = content(3);
    assert_eq!(c.entries[2].templates.len(), 3);
    let read = read(&signed(&c, &[1])).unwrap();
    for (entry, authored) in read.entries.iter().zip(&c.entries) {
        let [one] = &entry.templates[..] else { panic!("{} templates", entry.templates.len()) };
        assert_eq!(one, &authored.fused().unwrap());
        let photographs = authored.templates.iter().flat_map(|t| &t.photographs);
        assert!(one.photographs.iter().eq(photographs));
    }
}

#[test]
fn every_broken_rule_of_the_content_is_refused_although_it_is_signed() {
    // Broken content cannot be encoded here, so that a good encoding is broken byte by byte and
    // signed by two.
    let good = encoded(&content(2));
    for at in 0..good.payload.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut broken = encoded(&content(2));
            broken.payload[at] ^= flip;
            // Either a content that is as good as any, in its one encoding, or an error: never a
            // panic.
            if let Ok(c) = read(&encode_and_sign(&broken, &[1, 2])) {
                assert_eq!(encoded(&c).payload, broken.payload, "byte {at}");
            }
        }
    }
}

#[test]
fn more_false_alerts_than_faces_or_hardly_any_faces_are_no_plausible_budget() {
    let mut c = content(1);
    (c.authorisation.expected_faces_per_day, c.authorisation.false_alerts_per_day) = (10, 1000.0);
    let refused = c.check().unwrap_err();
    assert!(matches!(refused, ContentError::Range { what: "false_alerts_per_day", .. }));
    assert!(refused.to_string().contains("faces pass a day"), "{refused}");
    c.authorisation.false_alerts_per_day = 10.0;
    assert_eq!(c.check(), Ok(()));
    (c.authorisation.expected_faces_per_day, c.authorisation.false_alerts_per_day) = (9, 1.0);
    let refused = c.check().unwrap_err();
    assert!(matches!(refused, ContentError::Range { what: "expected_faces_per_day", .. }));
    // Nobody can write such a list either.
    let refused = codec::encode(&c, || [0; SALT]).err().unwrap();
    assert!(refused.to_string().contains("expected_faces_per_day"), "{refused}");
}

#[test]
fn every_broken_entry_is_refused_although_its_digest_is_signed() {
    let good = encoded(&content(1));
    // After the head of the byte string: the entry itself.
    let entry = &good.items[3..];
    for at in 0..entry.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut broken = entry.to_vec();
            broken[at] ^= flip;
            if let Ok(EntryParts { entry: mut read, values, photographs }) = read_entry(&broken, 64)
            {
                // A salt, a text, a time, a quality, a template, a digest: as good as any.
                let values = values.iter().map(|b| b.cast_signed()).collect();
                let template = Template::new(values).unwrap();
                read.templates.push(StoredTemplate { template, photographs });
                assert_eq!(read.check(64), Ok(()), "byte {at}");
            }
        }
        assert!(read_entry(&entry[..at], 64).is_err(), "cut at {at}");
    }
}

#[test]
fn an_entry_is_removed_for_good_and_the_rest_verifies_as_before() {
    let bytes = signed(&content(3), &[1, 2]);
    let whole = check(&bytes).unwrap();
    let container = Container::read(&LIST, &bytes).unwrap();
    let reduced = container.without(&bytes, &[1]).concat();
    let mut list = check(&reduced).unwrap();
    let left: Vec<_> = list.entries().iter().map(|e| e.reference.as_str()).collect();
    assert_eq!((left, list.removed_entries()), (vec!["case-0", "case-2"], 1));
    assert_eq!((list.digest(), list.signers()), (whole.digest(), whole.signers()));
    assert_eq!(list.take_gallery().unwrap().templates(), 2);
    // Neither its templates nor its salt are anywhere in it.
    let row: Vec<u8> =
        content(3).entries[1].fused().unwrap().template.values().iter().map(|v| *v as u8).collect();
    let has = |bytes: &[u8]| bytes.windows(row.len()).any(|w| w == row);
    assert!(has(&bytes) && !has(&reduced));
    // It cannot come back altered, nor another in its place.
    let other = Container::read(&LIST, &bytes).unwrap();
    let items: Vec<_> = other.items().iter().map(|(i, _)| i.unwrap()).collect();
    let mut w = super::super::cbor::CborWriter::default();
    w.bytes(items[0]).bytes(items[0]).bytes(items[2]);
    let encoded = w.finish();
    let mut exchanged = Container::with_items(&LIST, container.payload(), &encoded, 3);
    exchanged.sign(&key(1));
    exchanged.sign(&key(2));
    let refused = check(&exchanged.to_bytes()).unwrap_err();
    assert_eq!((refused.cause(), refused), (Cause::Altered, FormatError::NotVouchedFor(1).into()));
}

#[test]
fn more_entries_than_a_million_are_refused_by_their_number_alone() {
    let mut bytes = signed(&content(0), &[1, 2]);
    // The array of the entries: its head comes after the label's.
    let at = bytes.windows(6).position(|w| w == [0x3a, 0, 1, 0, 0, 0x80]).unwrap() + 5;
    bytes.splice(at..=at, [0x9a, 0, 0x0f, 0x42, 0x41]);
    assert!(matches!(
        check(&bytes),
        Err(Refusal::Unreadable(CborError::Count { found: 1_000_001, .. }))
    ));
    assert_eq!(MAX_ENTRIES, 1_000_000);
}

#[test]
fn an_entry_twice_is_refused() {
    let mut c = content(3);
    c.entries[2].reference = c.entries[0].reference.clone();
    assert_eq!(
        codec::encode(&c, || [0; SALT]).err().unwrap(),
        ContentError::Entry { reference: "case-0".into(), what: EntryFault::Repeated }
    );
}

#[test]
fn an_empty_list_is_a_list() {
    assert_eq!(check(&signed(&content(0), &[1, 2])).unwrap().entries(), []);
}

#[test]
fn a_list_cut_anywhere_is_refused() {
    let bytes = signed(&content(2), &[1, 2]);
    for length in 0..bytes.len() {
        assert!(check(&bytes[..length]).is_err(), "{length}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(check(&longer).unwrap_err(), Refusal::Unreadable(CborError::Trailing(1)));
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let bytes = signed(&content(2), &[1, 2]);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Not checked for what has the signatures of unknown signers: those are checked by nobody
        // and count for nobody.
        assert!(check(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn a_hundred_thousand_entries_are_read_in_seconds_and_a_list_too_large_at_once() {
    let bytes = signed(&content(100_000), &[1, 2]);
    assert!(bytes.len() < 50 << 20, "{}", bytes.len());
    let start = std::time::Instant::now();
    assert_eq!(check(&bytes).unwrap().entries().len(), 100_000);
    // Far above what it takes, far below what a quadratic check of the references would.
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    assert_eq!(check(&vec![0; MAX_BYTES + 1]).unwrap_err(), Refusal::TooLarge(MAX_BYTES + 1));
}

#[test]
fn weekly_hours_are_kept_in_local_time() {
    let mut c = content(1);
    // Mondays 08:00 to 10:00, two hours ahead of universal time; `now` is a Monday at 12:00.
    let windows = vec![Window { days: 1, from_minute: 480, to_minute: 600 }];
    c.authorisation.hours = Hours { utc_offset_minutes: 120, windows };
    let list = check(&signed(&c, &[1, 2])).unwrap();
    let standing = |at| list.standing(at, None);
    let six = now() - Duration::hours(6);
    assert_eq!(standing(six - Duration::SECOND), Standing::OutsideHours);
    assert_eq!(standing(six), Standing::Valid);
    assert_eq!(standing(six + Duration::hours(2) - Duration::SECOND), Standing::Valid);
    assert_eq!(standing(six + Duration::hours(2)), Standing::OutsideHours);
    assert_eq!(standing(six + Duration::days(1)), Standing::OutsideHours);
    assert_eq!(standing(six + Duration::days(7)), Standing::Valid);
}

#[test]
fn a_list_stops_while_running_when_its_time_or_its_trust_ends() {
    let list = check(&signed(&content(1), &[1, 2])).unwrap();
    assert_eq!(list.standing(now(), None), Standing::Valid);
    assert_eq!(list.standing(list.expires(), None), Standing::Expired { at: list.expires() });
    assert_eq!(list.standing(now() - Duration::days(3), None).cause(), Some(Cause::NotYetValid));
    let mut long = content(1);
    long.expires = now() + Duration::days(36500);
    let list = check(&signed(&long, &[1, 2])).unwrap();
    assert_eq!(list.expires(), trust().valid_until());
    assert_eq!(list.standing(trust().valid_until(), None).cause(), Some(Cause::Expired));
}

#[test]
fn a_list_with_areas_matches_only_inside_them_and_nowhere_without_a_position() {
    let corner = |latitude, longitude| Position { latitude, longitude };
    let mut c = content(1);
    // An L: the square 0..2 without its north-eastern quarter.
    let corners = [(0.0, 0.0), (0.0, 2.0), (1.0, 2.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.0)];
    c.authorisation.areas = vec![Area(corners.map(|(a, b)| corner(a, b)).to_vec())];
    let list = check(&signed(&c, &[1, 2])).unwrap();
    let at = |a, b| list.standing(now(), Some(corner(a, b)));
    assert_eq!(at(0.5, 1.5), Standing::Valid);
    assert_eq!(at(1.5, 0.5), Standing::Valid);
    assert_eq!(at(1.5, 1.5), Standing::OutsideArea);
    assert_eq!(at(-0.5, 0.5), Standing::OutsideArea);
    assert_eq!(
        at(0.5, -0.5),
        Standing::OutsideArea,
        "west of it, where both of its sides lie to the east"
    );
    assert_eq!(list.standing(now(), None), Standing::PositionUnknown);
}

#[test]
fn debug_output_and_refusals_show_no_entry_content() {
    let text = format!("{:?}", check(&signed(&content(3), &[1, 2])).unwrap());
    assert_eq!(text, "Watchlist(north-gate version 7, 3 entries)");
}

/// Every field that a list may hold, somewhere in its range.
fn any_content() -> impl Strategy<Value = Content> {
    let degrees =
        |most: i32| (-most * 10_000_000..=most * 10_000_000).prop_map(|v| f64::from(v) / 1e7);
    let corner = (degrees(90), degrees(180))
        .prop_map(|(latitude, longitude)| Position { latitude, longitude });
    let areas = prop::collection::vec(prop::collection::vec(corner, 3..8).prop_map(Area), 0..3);
    let window = (1u8..=0x7f, 0u16..1440, 1u16..1440).prop_map(|(days, from_minute, more)| {
        Window { days, from_minute, to_minute: (from_minute + more).min(1440) }
    });
    let hours = (-840i16..=840, prop::collection::vec(window, 1..5))
        .prop_map(|(utc_offset_minutes, windows)| Hours { utc_offset_minutes, windows });
    let text = "[ -~äö€]{0,40}[a-z]";
    (
        areas,
        hours,
        text,
        1..=50_000_000u64,
        0..=1000u16,
        1..=1u64 << 53,
        0..20u64,
        prop::sample::select(&Aim::ALL[..]),
    )
        .prop_map(|(areas, hours, text, budget, quality, version, entries, aim)| {
            let mut c = content(entries);
            c.authorisation.authority = text.clone();
            c.authorisation.false_alerts_per_day = budget as f64 / 1000.0;
            (c.authorisation.areas, c.authorisation.hours, c.authorisation.aim, c.version) =
                (areas, hours, aim, version);
            for entry in &mut c.entries {
                entry.purpose = text.clone();
                entry.templates[0].photographs[0].quality = f32::from(quality) / 1000.0;
            }
            c
        })
}

proptest! {
    #[test]
    fn every_content_survives_its_encoding_and_its_draft(c in any_content()) {
        let mut fused = c.clone();
        for entry in &mut fused.entries {
            entry.templates = vec![entry.fused().unwrap()];
        }
        prop_assert_eq!(&read(&signed(&c, &[1])).unwrap(), &fused);
        let draft = serde_json::to_vec(&c).unwrap();
        let mut draft = serde_json::from_slice::<Content>(&draft).unwrap();
        // It is set when the draft is signed.
        prop_assert!(draft.promise.is_empty());
        draft.promise = c.promise.clone();
        prop_assert_eq!(&draft, &c);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
        prop_assert!(check(&bytes).is_err());
        let _ = ListHead::decode(&bytes);
        let _ = read_entry(&bytes, 64);
    }

    #[test]
    fn several_changed_bytes_are_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6),
    ) {
        let good = signed(&content(2), &[1, 2]);
        let mut bytes = good.clone();
        for (at, flip) in changes {
            bytes[at.index(good.len())] ^= flip;
        }
        prop_assume!(bytes != good);
        prop_assert!(check(&bytes).is_err());
    }

    #[test]
    fn an_announced_number_of_entries_allocates_nothing(count: u32) {
        let mut payload = encoded(&content(0)).payload;
        // `8: h'', 9: promise, 10: 0, 11: null`.
        let end = payload.len() - (PROMISE.len() + 6);
        prop_assert_eq!(&payload[end - 2..=end], [8, 0x40, 9]);
        payload.truncate(end - 1);
        payload.push(0x5a);
        payload.extend((count | 0x1_0000).to_be_bytes());
        prop_assert!(matches!(ListHead::decode(&payload), Err(FormatError::Encoding(_))));
    }
}
