use super::super::fixture::{self, DEVICE, key, now, trust_text};
use super::super::memory::{DeviceMemory, MAX_REVOKED, Obeyed};
use super::super::refusal::Refusal;
use super::super::tampering;
use super::super::verify::verify as verify_list;
use super::*;
use coset::{CoseSign1, TaggedCborSerializable};
use proptest::prelude::*;

/// Signers 1 and 2, revoker 4, suspender 5.
fn trust() -> Trust {
    Trust::parse(&trust_text(2, &[("signer", 1), ("signer", 2), ("revoker", 4), ("suspender", 5)]))
        .unwrap()
}

fn id(n: u8) -> OrderId {
    OrderId([n; 16])
}

fn revoke(through: u64, entry: Option<&str>) -> Action {
    Action::Revoke {
        list: "north-gate".parse().unwrap(),
        through,
        entry: entry.map(|e| e.parse().unwrap()),
    }
}

fn suspend(hours: i64) -> Action {
    let corner = |latitude, longitude| Position { latitude, longitude };
    Action::Suspend {
        from: now(),
        to: now() + Duration::hours(hours),
        devices: vec![DEVICE.parse().unwrap()],
        areas: vec![Area(vec![corner(52.0, 13.0), corner(53.0, 13.0), corner(52.0, 14.5)])],
    }
}

fn signed(action: &Action, by: u8) -> Vec<u8> {
    sign(id(by), action, &key(by), now()).unwrap()
}

#[test]
fn an_order_says_what_was_signed_and_another_implementation_of_the_standard_agrees() {
    for (action, by) in
        [(revoke(7, None), 4), (revoke(EVERY_VERSION, Some("case-1")), 4), (suspend(2), 5)]
    {
        let bytes = signed(&action, by);
        let order = verify(&bytes, &trust(), now()).unwrap();
        assert_eq!((order.action(), order.id(), order.issued()), (&action, id(by), now()));
        assert_eq!(order.signer(), key(by).public().id());
        let cose = CoseSign1::from_tagged_slice(&bytes).unwrap();
        assert_eq!(cose.protected.header.key_id, order.signer().0);
        assert_eq!(
            cose.tbs_data(CONTEXT),
            FORM.to_be_signed(order.signer(), cose.payload.as_deref().unwrap())
        );
    }
}

#[test]
fn only_the_key_with_the_role_may_order() {
    let refused =
        |action: &Action, by: u8| verify(&signed(action, by), &trust(), now()).unwrap_err();
    for by in [1, 5, 9] {
        assert!(matches!(
            refused(&revoke(7, None), by),
            OrderError::NotPinned { role: Role::Revoker, .. }
        ));
    }
    assert!(matches!(refused(&suspend(1), 4), OrderError::NotPinned { role: Role::Suspender, .. }));
    assert_eq!(refused(&suspend(1), 4).kind(), OrderErrorKind::NotAuthentic);
}

#[test]
fn no_bit_of_an_order_can_be_changed() {
    let good = signed(&revoke(7, Some("case-1")), 4);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&bad, &trust(), now()).is_err(), "bit {bit}");
    }
    for length in 0..good.len() {
        assert!(verify(&good[..length], &trust(), now()).is_err());
    }
    let longer = [&good[..], &[0]].concat();
    assert!(verify(&longer, &trust(), now()).is_err());
}

#[test]
fn a_suspension_that_is_over_or_too_long_is_refused_and_a_revocation_never_is() {
    let bytes = signed(&suspend(1), 5);
    assert!(verify(&bytes, &trust(), now() + Duration::minutes(59)).is_ok());
    assert!(matches!(
        verify(&bytes, &trust(), now() + Duration::hours(1)),
        Err(OrderError::Over { .. })
    ));
    assert!(matches!(
        sign(id(5), &suspend(24 * 367), &key(5), now()),
        Err(OrderError::Value { .. })
    ));
    // With any clock, and after the trust file has ended.
    for years in [-40, 40] {
        assert!(
            verify(&signed(&revoke(7, None), 4), &trust(), now() + Duration::days(365 * years))
                .is_ok()
        );
    }
}

#[test]
fn a_suspension_is_for_its_devices_and_its_area_and_a_device_without_position_is_in_every_area() {
    let action = suspend(1);
    let at = |latitude, longitude| Some(Position { latitude, longitude });
    assert!(action.concerns(DEVICE, at(52.2, 13.2)) && action.concerns(DEVICE, None));
    assert!(!action.concerns(DEVICE, at(10.0, 10.0)) && !action.concerns("gate-9", at(52.2, 13.2)));
}

fn obey(state: &mut DeviceMemory, order: OrderId, action: &Action) -> Obeyed {
    let by = if action.role() == Role::Revoker { 4 } else { 5 };
    let order = verify(&sign(order, action, &key(by), now()).unwrap(), &trust(), now()).unwrap();
    state.obey(&order, DEVICE, None)
}

#[test]
fn a_revoked_list_is_refused_for_ever_but_a_later_version_is_not() {
    let mut state = DeviceMemory::default();
    let list = |version| {
        let content = super::super::model::Content { version, ..fixture::content(2) };
        verify_list(
            &tampering::signed(&content, &[1, 2]),
            &trust(),
            now(),
            DEVICE,
            &fixture::EMBEDDER,
        )
        .unwrap()
    };
    state.admit(&list(7), now()).unwrap();
    assert_eq!(obey(&mut state, id(1), &revoke(7, None)), Obeyed::Now);
    assert!(matches!(state.admit(&list(7), now()), Err(Refusal::Revoked { version: 7, .. })));
    assert_eq!(
        obey(&mut state, id(1), &revoke(7, None)),
        Obeyed::Before,
        "a replay changes nothing"
    );
    assert!(state.admit(&list(8), now()).is_ok());
    assert_eq!(obey(&mut state, id(2), &revoke(EVERY_VERSION, None)), Obeyed::Now);
    assert!(matches!(state.admit(&list(9), now()), Err(Refusal::Revoked { .. })));
}

#[test]
fn orders_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let mut state = DeviceMemory::default();
    obey(&mut state, id(1), &revoke(7, Some("case-1")));
    obey(&mut state, id(2), &suspend(2));
    state.save(&path).unwrap();
    let state = DeviceMemory::load(&path).unwrap().unwrap();
    let entries = |version| {
        state.revoked_entries("north-gate", version).map(|r| r.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((entries(7), entries(8)), (vec!["case-1".to_string()], vec![]));
    assert_eq!(state.suspended_until(now()), Some(now() + Duration::hours(2)));
    assert_eq!(state.suspended_until(now() + Duration::hours(2)), None);
    assert_eq!(state.suspended_until(now() - Duration::SECOND), None);
}

#[test]
fn a_full_memory_still_stops_what_an_order_stops() {
    let mut state = DeviceMemory::default();
    for n in 0..=MAX_REVOKED {
        assert_eq!(obey(&mut state, id(1), &revoke(7, Some(&format!("case-{n}")))), Obeyed::Now);
    }
    assert_eq!(
        state.revoked_through("north-gate"),
        Some(7),
        "the whole list instead of one entry more"
    );
    assert!(!state.is_full());
}

#[test]
fn a_suspension_replayed_under_any_id_changes_nothing() {
    let mut state = DeviceMemory::default();
    assert_eq!(obey(&mut state, id(1), &suspend(2)), Obeyed::Now);
    assert_eq!(obey(&mut state, id(1), &suspend(2)), Obeyed::Before);
    assert_eq!(obey(&mut state, id(2), &suspend(1)), Obeyed::Before, "a part of it");
    assert_eq!(obey(&mut state, id(3), &suspend(3)), Obeyed::Now, "longer");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        replaced in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let _ = verify(&bytes, &trust(), now());
        let _ = decode(&bytes);
        // Near misses of a good payload go deeper than noise.
        let mut payload = encode(id(1), &suspend(1), now()).unwrap();
        let from = at.index(payload.len());
        let to = (from + replaced.len()).min(payload.len());
        payload.splice(from..to, replaced);
        let _ = decode(&payload);
    }

    #[test]
    fn every_action_that_can_be_signed_is_read_as_it_was(
        through in 1u64..=EVERY_VERSION,
        entry in proptest::option::of("[A-Za-z0-9._-]{1,64}"),
        from in 0i64..4_000_000_000,
        length in 1i64..86_400,
    ) {
        let revocation = revoke(through, entry.as_deref());
        prop_assert_eq!(decode(&encode(id(1), &revocation, now()).unwrap()).unwrap().2, revocation);
        let from = OffsetDateTime::from_unix_timestamp(from).unwrap();
        let to = from + Duration::seconds(length);
        let suspension = Action::Suspend { from, to, devices: vec![], areas: vec![] };
        prop_assert_eq!(decode(&encode(id(1), &suspension, now()).unwrap()).unwrap().2, suspension);
    }
}
