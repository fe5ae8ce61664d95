use std::time::Duration;

use time::OffsetDateTime;

use super::*;
use crate::audit::record::{InstructionRecord, ListRecord};
use crate::audit::store::AuditStore;
use crate::clock::Now;
use crate::promise::Stage;
use crate::watchlist::{Aim, fixture};

fn at(seconds: i64) -> Now {
    let wall = fixture::now() + time::Duration::seconds(seconds);
    Now { monotonic: Duration::from_secs(1_000), wall }
}

fn in_force(id: &str, version: u64) -> AuditEvent {
    AuditEvent::ListInForce(Box::new(ListRecord {
        id: id.parse().expect("a reference"),
        version,
        digest: [1; 32],
        entries: 1,
        threshold: 700_000,
        false_alerts: 1,
        authority: "a court".into(),
        decision: "7/26".into(),
        aim: Aim::MissingOrVictim,
        stage: Stage::InForce,
        signers: Vec::new(),
        models: [[0; 32]; 2],
    }))
}

fn revoked(order: u8, answer: Answer) -> AuditEvent {
    AuditEvent::Instruction(InstructionRecord {
        what: Instruction::RevokeEntry,
        answer,
        order: Some([order; 16]),
        keys: Vec::new(),
    })
}

fn logged(events: &[AuditEvent]) -> Logged {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = AuditStore::open(folder.path(), "watchpost/gate-1").expect("a new log");
    for event in events {
        let record = AuditRecord::new(event.clone(), at(0));
        store.append(&record.to_bytes().expect("small")).expect("appends");
    }
    Logged::read(folder.path())
}

/// A memory as the state file has it: lists with their versions, and orders by which an entry of
/// each was revoked.
fn memory(lists: &[(&str, u64)], orders: &[u8]) -> DeviceMemory {
    let ends = OffsetDateTime::UNIX_EPOCH.unix_timestamp() + 9_000_000_000;
    let lists: Vec<_> = lists
        .iter()
        .map(|(id, version)| {
            serde_json::json!({
                "id": id, "version": version, "digest": "00", "expires": ends,
            })
        })
        .collect();
    let revoked: Vec<_> = orders
        .iter()
        .map(|order| {
            serde_json::json!({
                "list": "north", "through": 9, "entry": format!("case-{order}"),
                "order": hex(&[*order; 16]),
            })
        })
        .collect();
    let state = serde_json::json!({"last_seen": 1, "lists": lists, "revoked": revoked});
    serde_json::from_value(state).expect("a state")
}

#[test]
fn a_memory_without_the_last_revocation_or_with_an_older_list_is_found_until_it_is_heard_again() {
    let log = logged(&[
        in_force("north", 6),
        revoked(1, Answer::Followed),
        in_force("north", 7),
        revoked(2, Answer::Followed),
        revoked(3, Answer::Repeated),
        revoked(4, Answer::NotConcerned),
    ]);
    let lacks = |memory: &DeviceMemory| -> Vec<String> {
        log.gaps(memory).iter().map(ToString::to_string).collect()
    };
    let order = format!("the revocation by order {}", hex(&[2; 16]));
    let version = "version 7 of the list north".to_owned();
    assert_eq!(lacks(&memory(&[("north", 7)], &[1, 2])), Vec::<String>::new());
    assert_eq!(lacks(&memory(&[("north", 8)], &[2])), Vec::<String>::new());
    assert_eq!(lacks(&memory(&[("north", 7)], &[1])), std::slice::from_ref(&order));
    assert_eq!(lacks(&memory(&[("north", 6)], &[1])), [order.clone(), version.clone()]);
    assert_eq!(lacks(&memory(&[], &[])), [order, version]);
    // An expired list may be forgotten where there are others.
    assert_eq!(lacks(&memory(&[("south", 1)], &[2])), Vec::<String>::new());
    assert!(log.ran_before());
}

#[test]
fn a_list_that_exceeded_its_budget_is_known_by_the_log_alone() {
    let ended = |cause| AuditEvent::UseEnded { why: EndOfUse::Blind(cause) };
    let log = logged(&[
        in_force("south", 3),
        ended(Cause::Suspended),
        in_force("north", 6),
        ended(Cause::BudgetExceeded),
        in_force("south", 4),
    ]);
    let exceeded = |id: &str, version| log.exceeded(&id.parse().expect("a reference"), version);
    assert!(exceeded("north", 6) && exceeded("north", 5));
    assert!(!exceeded("north", 7) && !exceeded("south", 4) && !exceeded("south", 3));
}

#[test]
fn no_log_a_new_one_and_a_damaged_one_say_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(Logged::read(folder.path()), Logged::default());
    std::fs::write(folder.path().join(LOG), "something else").expect("writes");
    assert_eq!(Logged::read(folder.path()), Logged::default());
    let started = AuditEvent::Started { program: "0.1.0".into() };
    assert!(!logged(&[started, AuditEvent::UseBegan]).ran_before());
}
