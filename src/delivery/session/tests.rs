use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::delivery::event::{EventData as _, ReviewState};
use crate::delivery::outbox::{Limits, MAX_EVENT, MemoryStore};
use crate::delivery::topics::DeviceId;

fn at(seconds: u64) -> Now {
    let wall = OffsetDateTime::from_unix_timestamp(1_800_000_000 + seconds as i64).expect("a date");
    Now { monotonic: Duration::from_secs(seconds), wall }
}

fn session() -> Session<MemoryStore> {
    let outbox = Outbox::new(MemoryStore::default(), Limits { events: 100, bytes: MAX_EVENT })
        .expect("memory");
    let device = DeviceId::new("cam").expect("plain");
    let mut session = Session::new(outbox, Topics::new("w", &device).expect("plain"));
    session.set_status(b"online".to_vec());
    session
}

fn enqueue(s: &mut Session<MemoryStore>, ids: std::ops::RangeInclusive<u8>) {
    for id in ids {
        enqueue_payload(s, id, vec![id]);
    }
}

fn payloads(s: &mut Session<MemoryStore>, now: Now) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| s.next(now)).map(|p| p.payload).collect()
}

#[test]
fn status_goes_first_then_candidates_in_order_then_counts() {
    let mut s = session();
    enqueue(&mut s, 1..=2);
    s.set_stats(b"old".to_vec());
    s.set_stats(b"new".to_vec());
    assert_eq!(payloads(&mut s, at(0)), Vec::<Vec<u8>>::new(), "nothing without a connection");
    s.connecting(at(0));
    s.connected(false, None, None, at(0));
    assert_eq!(payloads(&mut s, at(0)), [b"online".to_vec(), vec![1], b"new".to_vec()]);
    [1, 2, 0].iter().for_each(|packet| s.sent(*packet));
    s.acknowledged(2, AckOutcome::Delivered, at(0), 0);
    assert_eq!(
        payloads(&mut s, at(0)),
        [vec![2]],
        "the window opens when the first has been heard"
    );
}

#[derive(Debug)]
struct Length;

impl Signer for Length {
    fn sign(&self, payload: &[u8]) -> String {
        format!("{} bytes", payload.len())
    }
}

#[test]
fn what_goes_out_is_signed_as_it_is_and_a_repetition_has_the_same_signature() {
    let mut s = session();
    s.sign_with(Box::new(Length));
    enqueue_payload(&mut s, 1, with_crop(1, 2000));
    enqueue_payload(&mut s, 2, entry(2));
    s.connecting(at(0));
    s.connected(false, None, None, at(0));
    s.sent(1);
    let signed = |publishes: Vec<Publish>| -> Vec<(usize, Option<String>)> {
        publishes.into_iter().map(|p| (p.payload.len(), p.signature)).collect()
    };
    let whole = with_crop(1, 2000).len();
    let first = signed(std::iter::from_fn(|| s.next(at(0))).collect());
    assert_eq!(first, [(6, None), (whole, Some(format!("{whole} bytes")))], "and no status");
    s.sent(1);
    s.sent(2);
    s.disconnected();
    assert_eq!(signed(s.connecting(at(1))), first[1..], "a repetition");
    s.connected(true, None, None, at(1));
    s.disconnected();
    s.connecting(at(2));
    s.connected(false, None, Some(1200), at(2));
    let again = signed(std::iter::from_fn(|| s.next(at(2))).collect());
    let (bytes, signature) = &again[1];
    assert!(*bytes < 1200 && *signature == Some(format!("{bytes} bytes")), "without its crop");
    s.sent(1);
    s.sent(2);
    s.acknowledged(2, AckOutcome::Delivered, at(2), 0);
    let entry = signed(std::iter::from_fn(|| s.next(at(2))).collect());
    assert_eq!(entry.last().map(|(_, signature)| signature), Some(&None), "the log proves it");
}

/// An event of the audit log, as far as the session looks at it.
fn entry(number: u8) -> Vec<u8> {
    format!("{{\"type\":\"org.watchpost.audit-entry.v1\",\"n\":{number}}}").into_bytes()
}

#[test]
fn an_audit_entry_has_a_topic_of_its_own_and_one_that_nobody_hears_holds_up_no_candidate() {
    let mut s = session();
    for (id, payload) in [(1, entry(1)), (2, vec![2])] {
        let event = record(EventId::from_u128(id), at(1000).wall, payload);
        assert!(s.enqueue(&[event], at(0)).is_empty(), "there is room");
    }
    s.connected(false, None, None, at(0));
    let topics: Vec<String> = std::iter::from_fn(|| s.next(at(0))).map(|p| p.topic).collect();
    assert_eq!(topics, ["w/v1/cam/status", "w/v1/cam/audit/entry"]);
    [1, 2].iter().for_each(|packet| s.sent(*packet));
    s.acknowledged(2, AckOutcome::Unheard, at(0), 0);
    let next = s.next(at(0)).expect("the candidate goes on at once");
    assert_eq!((next.topic.as_str(), next.payload), ("w/v1/cam/candidate", vec![2]));
    s.sent(3);
    s.acknowledged(3, AckOutcome::Unheard, at(0), 0);
    assert_eq!(s.outbox().len(), 1, "a candidate that nobody hears waits");
    let event = record(EventId::from_u128(3), at(1000).wall, entry(3));
    assert!(s.enqueue(&[event], at(0)).is_empty(), "there is room");
    s.acknowledged(3, AckOutcome::Unheard, at(0), 0);
    let again = s.next(at(60)).expect("the candidate is tried again");
    assert_eq!(again.topic, "w/v1/cam/candidate");
    s.sent(4);
    s.acknowledged(4, AckOutcome::Delivered, at(60), 0);
    assert_eq!(s.next(at(60)).expect("then the entry").topic, "w/v1/cam/audit/entry");
    s.sent(5);
    s.acknowledged(5, AckOutcome::RefusedForNow, at(60), 0);
    assert_eq!((s.outbox().len(), s.outbox().counters().given_up), (0, 1));
}

#[test]
fn a_review_state_that_nobody_hears_or_may_read_holds_up_no_candidate() {
    for outcome in [AckOutcome::Unheard, AckOutcome::RefusedForNow, AckOutcome::Invalid] {
        let mut s = session();
        let state = format!("{{\"type\":\"{}\"}}", ReviewState::TYPE).into_bytes();
        enqueue_payload(&mut s, 1, state);
        enqueue_payload(&mut s, 2, vec![2]);
        s.connected(false, None, None, at(0));
        let topics: Vec<String> = std::iter::from_fn(|| s.next(at(0))).map(|p| p.topic).collect();
        assert_eq!(topics, ["w/v1/cam/status", "w/v1/cam/review/state"]);
        [1, 2].iter().for_each(|packet| s.sent(*packet));
        s.acknowledged(2, outcome, at(0), 0);
        let next = s.next(at(0)).expect("the candidate goes on at once");
        assert_eq!((next.topic.as_str(), s.outbox().len()), ("w/v1/cam/candidate", 1));
    }
}

#[test]
fn where_receipts_are_required_a_review_state_that_nobody_hears_goes_out_again() {
    let mut s = session();
    s.retire_by(ReceiptRule::Required);
    let state = format!("{{\"type\":\"{}\"}}", ReviewState::TYPE).into_bytes();
    enqueue_payload(&mut s, 1, state);
    s.connected(false, None, None, at(0));
    assert_eq!(std::iter::from_fn(|| s.next(at(0))).count(), 2);
    [1, 2].iter().for_each(|packet| s.sent(*packet));
    s.acknowledged(2, AckOutcome::Unheard, at(0), 0);
    assert_eq!((s.outbox().len(), s.outbox().counters().delivered), (1, 0));
    assert!(s.outbox().wake_at(at(0)).is_some(), "it is tried again");
    assert_eq!(s.outbox().wake_at(at(600)), None, "what is overdue goes out without a wake");
    let again = s.next(at(600)).expect("it goes out again");
    assert_eq!(again.topic, "w/v1/cam/review/state");
}

#[test]
fn replies_take_no_place_of_a_candidate_and_go_out_once_after_all_that_can() {
    let mut s = session();
    for n in 0..2 * MAX_REPLIES {
        assert_eq!(s.reply(EventKind::ReviewState, vec![b'r', n as u8]), n < MAX_REPLIES);
    }
    enqueue_payload(&mut s, 1, vec![1]);
    enqueue_payload(&mut s, 2, vec![2]);
    assert_eq!(s.outbox().len(), 2, "they are not in the outbox");
    s.connected(false, None, None, at(0));
    let sent: Vec<_> = std::iter::from_fn(|| s.next(at(0))).collect();
    let said: Vec<&[u8]> = sent.iter().map(|p| &p.payload[..]).collect();
    assert_eq!(said, [b"online", &[1][..], b"r\0"], "one is with the client at a time");
    let reply = &sent[2];
    let how = (reply.topic.as_str(), reply.acknowledged, reply.retain);
    assert_eq!(how, ("w/v1/cam/review/state", false, false));
    [1, 2, 0].iter().for_each(|packet| s.sent(*packet));
    s.acknowledged(2, AckOutcome::Delivered, at(0), 0);
    assert_eq!(s.next(at(0)).map(|p| p.payload), Some(vec![2]), "a candidate goes first");
    assert_eq!(s.next(at(0)).map(|p| p.payload), Some(b"r\x01".to_vec()));
}

#[test]
fn the_newest_checkpoint_is_retained_again_on_each_connection_and_goes_before_the_end() {
    let mut s = session();
    s.set_checkpoint("old".into());
    s.set_checkpoint("new".into());
    s.connected(false, None, None, at(0));
    let sent: Vec<_> = std::iter::from_fn(|| s.next(at(0))).collect();
    let of = |p: &Publish| (p.topic.clone(), p.payload.clone(), p.retain, p.acknowledged);
    assert_eq!(
        of(&sent[1]),
        ("w/v1/cam/audit/checkpoint".to_owned(), b"new".to_vec(), true, false)
    );
    assert_eq!(sent.len(), 2);
    s.disconnected();
    s.connected(false, None, None, at(1));
    s.close(b"stopped".to_vec());
    assert_eq!(payloads(&mut s, at(1)), [b"new".to_vec(), b"stopped".to_vec()]);
}

#[test]
fn the_newest_checkpoint_replaces_the_kept_one_only_after_that_was_compared() {
    let mut s = session();
    s.sign_with(Box::new(Length));
    s.set_checkpoint("new".into());
    for seconds in [0, 1] {
        s.connected(false, None, None, at(seconds));
        assert_eq!(payloads(&mut s, at(seconds)), [b"online".to_vec()]);
        s.compared_kept();
        assert_eq!(payloads(&mut s, at(seconds)), [b"new".to_vec()]);
        s.disconnected();
    }
    s.connected(false, None, None, at(2));
    s.close(b"stopped".to_vec());
    assert_eq!(payloads(&mut s, at(2)), [b"stopped".to_vec()], "an end replaces nothing either");
}

#[test]
fn a_checkpoint_is_not_replaced_by_a_shorter_one_of_its_log_nor_after_it_was_withdrawn() {
    let mut s = session();
    let note = |log: &str, size: u64| format!("{log}\n{size}\nroot\n");
    let mut kept = |advance: bool, note: String| {
        if advance {
            s.advance_checkpoint(note)
        } else {
            s.set_checkpoint(note)
        }
        String::from_utf8(s.checkpoint.clone()).expect("text")
    };
    assert_eq!(kept(false, note("w/cam", 9)), note("w/cam", 9));
    // Candidates and heartbeats come by two ways.
    assert_eq!(kept(true, note("w/cam", 10)), note("w/cam", 10));
    for advance in [true, false] {
        assert_eq!(kept(advance, note("w/cam", 9)), note("w/cam", 10));
    }
    assert_eq!(kept(false, note("w/cam.2", 1)), note("w/cam.2", 1), "a log that begins anew");
    assert_eq!(kept(false, String::new()), "");
    assert_eq!(kept(true, note("w/cam.2", 2)), "", "of a log that was put back");
    assert_eq!(kept(false, note("w/cam.2", 2)), note("w/cam.2", 2));
}

#[test]
fn a_checkpoint_that_is_withdrawn_goes_out_on_no_connection() {
    let mut s = session();
    s.sign_with(Box::new(Length));
    s.set_checkpoint("of a log that was put back".into());
    for seconds in [0, 1] {
        s.connected(false, None, None, at(seconds));
        s.set_checkpoint(String::new());
        s.compared_kept();
        assert_eq!(payloads(&mut s, at(seconds)), [b"online".to_vec()]);
        s.disconnected();
    }
}

#[test]
fn announcements_go_behind_the_status_on_each_connection_and_when_they_are_asked_for_again() {
    let mut s = session();
    enqueue(&mut s, 1..=1);
    s.set_announcements(vec![
        ("a/config".to_owned(), b"a".to_vec()),
        ("b/config".to_owned(), b"b".to_vec()),
    ]);
    s.connected(false, None, None, at(0));
    assert_eq!(
        payloads(&mut s, at(0)),
        [b"online".to_vec(), b"a".to_vec(), b"b".to_vec(), vec![1]]
    );
    s.announce_again();
    let again: Vec<_> = std::iter::from_fn(|| s.next(at(1))).collect();
    assert_eq!(
        again.iter().map(|p| p.topic.as_str()).collect::<Vec<_>>(),
        ["a/config", "b/config"]
    );
    assert!(
        again.iter().all(|p| p.retain && !p.acknowledged && p.content_type == "application/json")
    );
    s.disconnected();
    s.connected(false, None, None, at(2));
    assert_eq!(payloads(&mut s, at(2)).len(), 4);
}

#[test]
fn candidates_are_never_retained_and_expire_at_the_broker_too() {
    let mut s = session();
    enqueue(&mut s, 1..=1);
    s.connected(false, None, None, at(400));
    let status = s.next(at(400)).expect("status");
    assert!(status.retain && status.acknowledged && status.expiry_s.is_none());
    let candidate = s.next(at(400)).expect("candidate");
    assert!(!candidate.retain && candidate.acknowledged);
    assert_eq!(candidate.expiry_s, Some(600));
    assert_eq!(candidate.sent_at, "2027-01-15T08:06:40Z");
}

/// With the status and the first candidate acknowledged, and the next ones handed over: packet ids
/// 3 and up.
fn opened(events: u8, receive_max: Option<u16>) -> Session<MemoryStore> {
    let mut s = session();
    enqueue(&mut s, 1..=events);
    s.connected(false, receive_max, None, at(0));
    assert_eq!(payloads(&mut s, at(0)), [b"online".to_vec(), vec![1]]);
    (1..=2).for_each(|packet| s.sent(packet));
    let delivered = Acknowledged::Candidate(Settled::Delivered(EventId::from_u128(1)));
    assert_eq!(s.acknowledged(2, AckOutcome::Delivered, at(0), 0), delivered);
    s
}

#[test]
fn each_acknowledgement_meets_its_publish() {
    let mut s = opened(3, None);
    assert_eq!(payloads(&mut s, at(0)), [vec![2], vec![3]]);
    (3..=4).for_each(|packet| s.sent(packet));
    let id = EventId::from_u128;
    assert_eq!(
        s.acknowledged(4, AckOutcome::Delivered, at(0), 0),
        Acknowledged::Candidate(Settled::Delivered(id(3)))
    );
    assert_eq!(s.acknowledged(1, AckOutcome::Delivered, at(0), 0), Acknowledged::Status(true));
    assert_eq!(s.acknowledged(1, AckOutcome::Delivered, at(0), 0), Acknowledged::Unknown);
    assert_eq!(
        s.acknowledged(3, AckOutcome::Delivered, at(0), 0),
        Acknowledged::Candidate(Settled::Delivered(id(2)))
    );
    assert!(s.is_drained());
}

#[test]
fn a_kept_session_settles_the_earlier_events_before_anything_new_gets_a_packet_id() {
    let mut s = opened(4, Some(3));
    assert_eq!(payloads(&mut s, at(0)), [vec![2], vec![3]], "a window of two");
    (3..=4).for_each(|packet| s.sent(packet));
    s.disconnected();
    let again = s.connecting(at(9));
    assert_eq!(
        again.iter().map(|p| (p.again, p.payload[0])).collect::<Vec<_>>(),
        [(Some(3), 2), (Some(4), 3)]
    );
    assert_eq!(again[0].sent_at, "2027-01-15T08:00:00Z", "sent first, not sent again");
    s.connected(true, Some(3), None, at(9));
    assert_eq!(s.next(at(9)), None);
    s.sent(3);
    s.sent(4);
    s.acknowledged(3, AckOutcome::Delivered, at(9), 0);
    s.acknowledged(4, AckOutcome::Delivered, at(9), 0);
    assert_eq!(payloads(&mut s, at(9)), [b"online".to_vec(), vec![4]]);
}

#[test]
fn a_lost_session_sends_the_earlier_events_anew() {
    let mut s = opened(3, None);
    assert_eq!(payloads(&mut s, at(0)), [vec![2], vec![3]]);
    (3..=4).for_each(|packet| s.sent(packet));
    s.disconnected();
    assert_eq!(s.connecting(at(9)).len(), 2);
    s.connected(false, None, None, at(9));
    let mut sent: Vec<_> = std::iter::from_fn(|| s.next(at(9))).collect();
    (1..=2).for_each(|packet| s.sent(packet));
    s.acknowledged(2, AckOutcome::Delivered, at(9), 0);
    sent.extend(std::iter::from_fn(|| s.next(at(9))));
    assert_eq!(
        sent.iter().map(|p| p.payload.clone()).collect::<Vec<_>>(),
        [b"online".to_vec(), vec![2], vec![3]]
    );
    assert!(sent.iter().all(|p| p.again.is_none()));
}

/// A candidate with a crop of so many characters.
fn with_crop(id: u8, characters: usize) -> Vec<u8> {
    let crop = serde_json::json!({ "media_type": "image/jpeg", "base64": "A".repeat(characters) });
    let data = serde_json::json!({ "candidate": id, "crop": crop });
    serde_json::json!({ "id": id, "data": data }).to_string().into_bytes()
}

fn enqueue_payload(s: &mut Session<MemoryStore>, id: u8, payload: Vec<u8>) {
    let event = record(EventId::from_u128(id.into()), at(1000).wall, payload);
    assert!(s.enqueue(&[event], at(0)).is_empty(), "there is room");
}

#[test]
fn a_limit_that_the_broker_does_not_say_is_learned_and_the_candidate_goes_without_its_crop() {
    let mut s = session();
    enqueue_payload(&mut s, 1, with_crop(1, 5000));
    let pumped = |s: &mut Session<MemoryStore>| {
        s.connecting(at(0));
        s.connected(true, None, None, at(0));
        let all: Vec<Publish> = std::iter::from_fn(|| s.next(at(0))).collect();
        all.iter().for_each(|publish| s.sends(publish));
        all.into_iter().map(|publish| publish.payload).collect::<Vec<_>>()
    };
    assert_eq!(pumped(&mut s), [b"online".to_vec(), with_crop(1, 5000)]);
    [1, 2].iter().for_each(|packet| s.sent(*packet));
    assert!(s.refused_as_too_large(at(1)));
    s.disconnected();
    let again = pumped(&mut s);
    assert_eq!((again.len(), &again[0][..]), (2, &b"online"[..]));
    assert!(again[1].len() < 100, "not resent as it was, and not set aside");
    assert_eq!(s.diminished(), (1, 0));
}

#[test]
fn a_status_that_is_too_large_goes_out_shortened_and_the_last_one_does_too() {
    let mut s = session();
    s.set_status(vec![b'x'; 1000]);
    s.shorten_status(b"short".to_vec());
    s.connected(false, None, Some(1000), at(0));
    assert_eq!(payloads(&mut s, at(0)), [b"short".to_vec()]);
    s.sent(1);
    s.acknowledged(1, AckOutcome::Delivered, at(0), 0);
    s.close(vec![b'x'; 1000]);
    s.shorten_status(b"stopped".to_vec());
    assert_eq!(payloads(&mut s, at(0)), [b"stopped".to_vec()]);
    s.set_status(vec![b'x'; 1000]);
    assert_eq!(payloads(&mut s, at(0)), Vec::<Vec<u8>>::new(), "never an older one");
}

#[test]
fn nothing_larger_than_the_broker_allows_is_sent_and_no_candidate_is_lost_by_it() {
    let mut s = session();
    enqueue_payload(&mut s, 1, with_crop(1, 5000));
    enqueue_payload(&mut s, 2, vec![b'x'; 5000]);
    enqueue(&mut s, 3..=3);
    s.set_stats(vec![b'x'; 5000]);
    s.set_list_state(vec![b'x'; 5000]);
    s.connected(false, None, Some(2048), at(0));
    let mut sent = Vec::new();
    for packet in 1..9 {
        let Some(publish) = s.next(at(0)) else { break };
        sent.push(publish.payload);
        s.sent(packet);
        s.acknowledged(packet, AckOutcome::Delivered, at(0), 0);
    }
    assert_eq!(sent, [b"online".to_vec(), br#"{"data":{"candidate":1},"id":1}"#.to_vec(), vec![3]]);
    assert_eq!((s.diminished(), s.outbox().aside(), s.outbox().len()), ((1, 2), 1, 1));
    // The broker allows more now.
    s.disconnected();
    s.connecting(at(1));
    s.connected(false, None, None, at(1));
    assert!(payloads(&mut s, at(1)).contains(&vec![b'x'; 5000]));
}

#[test]
fn a_broker_that_allows_no_candidate_at_all_loses_none() {
    let mut s = session();
    (1..=60).for_each(|id| enqueue_payload(&mut s, id, vec![b'x'; 1000]));
    for link in 0..3 {
        s.connecting(at(link));
        s.connected(false, None, Some(600), at(link));
        assert_eq!(payloads(&mut s, at(link)), [b"online".to_vec()]);
        s.disconnected();
    }
    assert_eq!((s.outbox().len(), s.outbox().counters().given_up), (60, 0));
}

#[test]
fn a_candidate_over_which_the_broker_ends_each_link_holds_up_none_behind_it() {
    let mut s = session();
    enqueue_payload(&mut s, 1, with_crop(1, 5000));
    enqueue(&mut s, 2..=5);
    let (mut delivered, mut lengths) = (Vec::new(), Vec::new());
    for link in 0..10 {
        // The broker keeps the session each time.
        let again: Vec<_> = s.connecting(at(link)).into_iter().map(|p| p.payload).collect();
        s.connected(true, None, None, at(link));
        let mut packet = 100;
        again.iter().for_each(|_| s.sent(0));
        let mut poisoned = again.iter().any(|payload| payload.starts_with(b"{"));
        while !poisoned && let Some(publish) = s.next(at(link)) {
            packet += 1;
            s.sent(packet);
            poisoned = publish.payload.starts_with(b"{");
            if poisoned {
                lengths.push(publish.payload.len());
                continue;
            }
            s.acknowledged(packet, AckOutcome::Delivered, at(link), 0);
            delivered.extend(publish.payload.first().filter(|first| **first < 9).copied());
        }
        if poisoned {
            s.ended_by_broker(at(link));
        }
        s.disconnected();
    }
    assert_eq!(delivered, [2, 3, 4, 5]);
    assert!(
        lengths.last().is_some_and(|last| *last < 100),
        "without the crop at last: {lengths:?}"
    );
    assert_eq!((s.outbox().len(), s.outbox().aside(), s.outbox().counters().given_up), (1, 1, 0));
    s.sweep(at(2000));
    assert_eq!((s.outbox().len(), s.outbox().counters().expired), (0, 1), "it expires by its name");
}

#[test]
fn a_broker_that_acknowledges_nothing_is_overdue() {
    let mut s = session();
    s.connected(false, None, None, at(100));
    assert!(!s.is_overdue(at(1000)), "nothing was sent");
    s.next(at(1000)).expect("status");
    s.sent(1);
    assert!(!s.is_overdue(at(1029)));
    assert_eq!(s.wake_at(at(1001)), Some(Duration::from_secs(1030)));
    assert!(s.is_overdue(at(1030)));
    s.acknowledged(1, AckOutcome::Delivered, at(1029), 0);
    assert!(!s.is_overdue(at(2000)));
}

#[test]
fn after_the_last_status_nothing_goes_out() {
    let mut s = session();
    enqueue(&mut s, 1..=1);
    s.connected(false, None, None, at(0));
    s.close(b"stopped".to_vec());
    assert_eq!(payloads(&mut s, at(0)), [b"stopped".to_vec()]);
    assert_eq!(s.closed(), None);
    s.sent(1);
    s.acknowledged(1, AckOutcome::Delivered, at(0), 0);
    assert_eq!(s.closed(), Some(true));
}

#[test]
fn the_last_counts_go_out_before_the_last_status() {
    let mut s = session();
    s.connected(false, None, None, at(0));
    s.next(at(0)).expect("online");
    s.sent(1);
    s.set_stats(b"counts".to_vec());
    s.close(b"stopped".to_vec());
    assert_eq!(payloads(&mut s, at(0)), [b"counts".to_vec(), b"stopped".to_vec()]);
}

#[test]
fn a_status_set_while_one_is_on_its_way_goes_out_too() {
    let mut s = session();
    s.connected(false, None, None, at(0));
    s.next(at(0)).expect("online");
    s.set_status(b"blind".to_vec());
    s.sent(1);
    assert_eq!(s.next(at(0)).expect("blind").payload, b"blind");
    s.sent(2);
    s.acknowledged(1, AckOutcome::Delivered, at(0), 0);
    s.acknowledged(2, AckOutcome::Delivered, at(0), 0);
    assert_eq!(s.next(at(0)), None);
}

/// A link and a broker that keeps what it acknowledges with success.
#[derive(Default)]
struct World {
    /// With the client library, not written yet.
    client: VecDeque<Publish>,
    to_broker: VecDeque<(u16, Publish)>,
    to_device: VecDeque<(u16, AckOutcome)>,
    /// Packet ids in use, as the client library keeps them.
    unacknowledged: Vec<u16>,
    last_packet: u16,
    /// First bytes of the candidates that subscribers got, in order.
    heard: Vec<u8>,
}

impl World {
    /// The client gets all that the session has and writes `most` of what it has.
    fn pump(&mut self, s: &mut Session<MemoryStore>, most: usize, now: Now) {
        self.client.extend(std::iter::from_fn(|| s.next(now)));
        for _ in 0..most.min(self.client.len()) {
            self.last_packet = self.last_packet % (MAX_WINDOW as u16 + 2) + 1;
            assert!(!self.unacknowledged.contains(&self.last_packet), "packet ids never collide");
            self.unacknowledged.push(self.last_packet);
            s.sent(self.last_packet);
            let publish = self.client.pop_front().expect("no more than there are");
            self.to_broker.push_back((self.last_packet, publish));
        }
    }

    fn broker_takes_one(&mut self, verdict: AckOutcome) {
        let Some((packet, publish)) = self.to_broker.pop_front() else { return };
        if verdict == AckOutcome::Delivered && !publish.retain {
            self.heard.push(publish.payload[0]);
        }
        self.to_device.push_back((packet, verdict));
    }

    fn device_hears_one(&mut self, s: &mut Session<MemoryStore>, now: Now) {
        let Some((packet, verdict)) = self.to_device.pop_front() else { return };
        self.unacknowledged.retain(|p| *p != packet);
        let known = s.acknowledged(packet, verdict, now, 7);
        assert_ne!(known, Acknowledged::Unknown, "each acknowledgement meets its publish");
    }

    /// What is on the link is lost; then the client connects again, and packet ids start
    /// over.
    fn cut(&mut self, s: &mut Session<MemoryStore>, kept: bool, now: Now) {
        s.disconnected();
        *self = Self { heard: std::mem::take(&mut self.heard), ..Self::default() };
        let again = s.connecting(now);
        s.connected(kept, Some(20), None, now);
        for publish in again.into_iter().filter(|_| kept) {
            let packet = publish.again.expect("what is sent again has its packet id");
            self.unacknowledged.push(packet);
            s.sent(packet);
            self.to_broker.push_back((packet, publish));
        }
    }
}

#[derive(Debug, Clone)]
enum SessionStep {
    Enqueue,
    Pump { most: usize },
    Broker { refuses: bool },
    Device,
    Cut { kept: bool },
}

fn step() -> impl Strategy<Value = SessionStep> {
    prop_oneof![
        3 => Just(SessionStep::Enqueue),
        3 => (0usize..6).prop_map(|most| SessionStep::Pump { most }),
        4 => (0u8..8).prop_map(|n| SessionStep::Broker { refuses: n == 0 }),
        4 => Just(SessionStep::Device),
        1 => any::<bool>().prop_map(|kept| SessionStep::Cut { kept }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn whatever_a_link_does_everything_arrives_and_in_order(
        steps in proptest::collection::vec(step(), 0..250), may_refuse: bool,
    ) {
        let (mut s, mut world, mut seconds, mut taken) = (session(), World::default(), 0, 0u8);
        world.cut(&mut s, false, at(0));
        for step in steps {
            let now = at(seconds);
            match step {
                SessionStep::Enqueue if taken < 90 => {
                    taken += 1;
                    let id = EventId::from_u128(taken.into());
                    let event = record(id, at(1_000_000).wall, vec![taken]);
                    prop_assert!(s.enqueue(&[event], now).is_empty(), "there is room");
                }
                SessionStep::Enqueue => {}
                SessionStep::Pump { most } => world.pump(&mut s, most, now),
                // A refused status is not repeated, so that refusals are for candidates here.
                SessionStep::Broker { refuses } => {
                    let candidate = world.to_broker.front().is_some_and(|(_, p)| !p.retain);
                    let refused = refuses && may_refuse && candidate;
                    world.broker_takes_one(if refused {
                        AckOutcome::RefusedForNow
                    } else {
                        AckOutcome::Delivered
                    });
                }
                SessionStep::Device => world.device_hears_one(&mut s, now),
                SessionStep::Cut { kept } => world.cut(&mut s, kept, now),
            }
            seconds += 1;
        }
        for _ in 0..300 {
            world.pump(&mut s, usize::MAX, at(seconds));
            world.broker_takes_one(AckOutcome::Delivered);
            world.device_hears_one(&mut s, at(seconds));
            seconds += 1;
        }
        prop_assert!(s.is_drained());
        let mut first = Vec::new();
        world.heard.iter().for_each(|id| {
            if !first.contains(id) {
                first.push(*id)
            }
        });
        if may_refuse {
            first.sort_unstable();
        }
        prop_assert_eq!(first, (1..=taken).collect::<Vec<_>>());
    }
}

#[test]
fn answers_survive_cuts_and_come_in_their_order() {
    let mut s = session();
    s.connected(false, None, None, at(0));
    assert_eq!(payloads(&mut s, at(0)), [b"online".to_vec()]);
    s.sent(1);
    s.acknowledged(1, AckOutcome::Delivered, at(0), 0);
    s.set_list_state(b"one".to_vec());
    s.set_list_state(b"two".to_vec());
    let one = s.next(at(0)).expect("due");
    assert!(one.acknowledged && one.retain && one.payload == b"one");
    assert_eq!(s.next(at(0)), None, "one at a time");
    s.sent(2);
    s.disconnected();
    s.connecting(at(1));
    s.connected(false, None, None, at(1));
    let mut seen = Vec::new();
    for packet in 1..=3 {
        let publish = s.next(at(1)).expect("due");
        assert_eq!(s.next(at(1)), None, "status and answers take turns");
        s.sent(packet);
        s.acknowledged(packet, AckOutcome::Delivered, at(1), 0);
        seen.push(publish.payload);
    }
    assert_eq!(seen, [b"online".to_vec(), b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(s.next(at(1)), None);
    s.set_list_state(b"three".to_vec());
    s.close(b"stopped".to_vec());
    assert_eq!(s.next(at(1)).map(|p| p.payload), Some(b"three".to_vec()), "before the end");
}

#[test]
fn of_more_answers_than_can_wait_the_oldest_go_and_not_the_one_on_its_way() {
    let mut s = session();
    s.connected(false, None, None, at(0));
    assert_eq!(payloads(&mut s, at(0)), [b"online".to_vec()]);
    s.sent(1);
    s.acknowledged(1, AckOutcome::Delivered, at(0), 0);
    (0..=MAX_ANSWERS).for_each(|n| s.set_list_state(n.to_string().into_bytes()));
    assert_eq!(s.next(at(0)).map(|p| p.payload), Some(b"1".to_vec()));
    s.sent(2);
    s.set_list_state(b"newest".to_vec());
    assert_eq!(s.acknowledged(2, AckOutcome::Delivered, at(0), 0), Acknowledged::ListState(true));
    assert_eq!(s.next(at(0)).map(|p| p.payload), Some(b"3".to_vec()));
}
