use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::*;
use crate::delivery::event::EventId;

const START: i64 = 1_800_000_000;

fn at(seconds: u64) -> Now {
    let wall = OffsetDateTime::from_unix_timestamp(START + i64::try_from(seconds).expect("small"))
        .expect("a date");
    Now { monotonic: Duration::from_secs(seconds), wall }
}

fn record(id: u128, expires: u64) -> EventRecord {
    EventRecord {
        id: EventId::from_u128(id),
        expires: at(expires).wall,
        payload: Zeroizing::new(id.to_le_bytes().to_vec()),
    }
}

impl<S: Store> Outbox<S> {
    /// Takes one event; its position.
    fn append(&mut self, record: &EventRecord, now: Now) -> Result<QueuePosition, AppendError> {
        let position = self.next_position;
        let refused = self.append_together(std::slice::from_ref(record), now).pop();
        refused.map_or(Ok(position), |(_, error)| Err(error))
    }
}

fn outbox(events: usize) -> Outbox<MemoryStore> {
    Outbox::new(MemoryStore::default(), Limits { events, bytes: MAX_EVENT }).expect("memory")
}

fn filled(events: u128) -> Outbox<MemoryStore> {
    let mut o = outbox(100);
    for id in 1..=events {
        o.append(&record(id, 1000), at(0)).expect("room");
    }
    o
}

fn send(o: &mut Outbox<MemoryStore>, packet: u16, now: Now) -> Option<u128> {
    let (position, record) = o.next_to_send(now)?;
    o.sent(position, packet);
    Some(record.id.as_u128())
}

#[test]
fn an_event_is_retired_only_by_a_success_code() {
    let mut o = filled(2);
    assert_eq!(send(&mut o, 1, at(0)), Some(1));
    assert_eq!(o.len(), 2, "sent is not delivered");
    let refused = o.settle(1, AckOutcome::RefusedForNow, at(0), 0);
    assert!(matches!(refused, Settled::Again(id, _) if id == EventId::from_u128(1)));
    assert_eq!(o.len(), 2, "refused is not delivered");
    assert_eq!(send(&mut o, 2, at(60)), Some(1));
    assert_eq!(
        o.settle(2, AckOutcome::Delivered, at(60), 0),
        Settled::Delivered(EventId::from_u128(1))
    );
    assert_eq!(send(&mut o, 3, at(60)), Some(2));
    assert_eq!(
        o.settle(3, AckOutcome::Delivered, at(60), 0),
        Settled::Delivered(EventId::from_u128(2))
    );
    assert!(o.is_empty());
    assert_eq!((o.counters().delivered, o.counters().refusals), (2, 1));
}

fn digest(id: u128) -> [u8; 32] {
    Sha256::digest(id.to_le_bytes()).into()
}

#[test]
fn where_receipts_are_required_only_one_of_its_very_bytes_retires_an_event() {
    let mut o = filled(2);
    let id = EventId::from_u128;
    assert_eq!((send(&mut o, 1, at(0)), send(&mut o, 2, at(0))), (Some(1), Some(2)));
    assert_eq!(o.settle(1, AckOutcome::Taken, at(0), 0), Settled::Unreceipted(id(1)));
    assert_eq!((o.len(), o.in_flight(), o.unreceipted()), (2, 1, 1), "taken is not delivered");
    assert!(!o.receipted(id(1), &digest(2), at(0)), "other bytes");
    assert!(!o.receipted(id(3), &digest(3), at(0)), "never sent");
    assert!(o.receipted(id(1), &digest(1), at(0)));
    assert!(!o.receipted(id(1), &digest(1), at(0)), "a replay retires nothing");
    assert!(o.receipted(id(2), &digest(2), at(0)), "before the broker's word");
    assert_eq!(o.settle(2, AckOutcome::Taken, at(0), 0), Settled::Unknown);
    assert_eq!((o.len(), o.counters().delivered), (0, 2));
}

#[test]
fn without_a_receipt_an_event_goes_out_again_later_and_on_each_new_link() {
    let mut o = filled(1);
    let mut now = 0;
    for wait in [60, 120, 240, 480] {
        assert_eq!(send(&mut o, 1, at(now)), Some(1));
        o.settle(1, AckOutcome::Taken, at(now), 0);
        assert_eq!(o.wake_at(at(now)), Some(at(now + wait).monotonic));
        assert_eq!(send(&mut o, 1, Now { monotonic: at(now + wait - 1).monotonic, ..at(0) }), None);
        now += wait;
    }
    let mut o = filled(1);
    send(&mut o, 1, at(0));
    o.settle(1, AckOutcome::Taken, at(0), 0);
    o.disconnected();
    assert_eq!(o.unreceipted(), 1);
    o.connected();
    assert_eq!(send(&mut o, 1, at(1)), Some(1), "the broker may have forgotten it");
}

#[test]
fn a_desk_that_is_away_holds_back_all_but_a_window() {
    let mut o = filled(40);
    for packet in 1..=MAX_WINDOW as u16 {
        assert!(send(&mut o, packet, at(0)).is_some());
        o.settle(packet, AckOutcome::Taken, at(0), 0);
    }
    assert_eq!((send(&mut o, 99, at(0)), o.unreceipted()), (None, MAX_WINDOW));
    assert!(o.receipted(EventId::from_u128(5), &digest(5), at(0)));
    assert_eq!(send(&mut o, 99, at(0)), Some(33));
    o.expire(at(2000));
    assert_eq!((o.len(), o.counters().expired), (1, 38), "what waits for a receipt expires, too");
}

#[test]
fn what_nobody_listened_to_is_kept_and_tried_again_every_few_seconds_in_its_order() {
    let mut o = filled(3);
    o.connected();
    let mut seconds = 0;
    for _ in 0..20 {
        assert_eq!(send(&mut o, 1, at(seconds)), Some(1));
        assert_eq!(send(&mut o, 2, at(seconds)), None, "nothing overtakes it");
        let Settled::Again(_, wait) = o.settle(1, AckOutcome::Unheard, at(seconds), u32::MAX)
        else {
            panic!("it is kept")
        };
        assert!(wait <= MAX_UNHEARD_WAIT);
        seconds += wait.as_secs();
    }
    assert_eq!(send(&mut o, 1, at(seconds)), Some(1));
    o.settle(1, AckOutcome::Delivered, at(seconds), 0);
    assert_eq!((send(&mut o, 2, at(seconds)), send(&mut o, 3, at(seconds))), (Some(2), Some(3)));
    assert_eq!((o.counters().unheard, o.counters().refusals, o.counters().given_up), (20, 0, 0));
}

#[test]
fn what_was_revoked_is_neither_sent_nor_sent_again() {
    let mut o = filled(4);
    assert_eq!((send(&mut o, 1, at(0)), send(&mut o, 2, at(0))), (Some(1), Some(2)));
    assert_eq!(
        o.revoke(|payload| payload[0] % 2 == 1, at(0)),
        (2, true),
        "one on its way and one waiting"
    );
    assert_eq!(
        o.settle(1, AckOutcome::Delivered, at(0), 0),
        Settled::Unknown,
        "its acknowledgement finds nothing"
    );
    o.disconnected();
    assert_eq!(o.unsettled_events(at(0)).len(), 1);
    o.session_lost();
    assert_eq!(
        (send(&mut o, 3, at(0)), send(&mut o, 4, at(0)), send(&mut o, 5, at(0))),
        (Some(2), Some(4), None)
    );
    assert_eq!((o.counters().revoked, o.len(), o.in_flight()), (2, 2, 2));
}

#[test]
fn a_refusal_makes_it_wait_and_then_try_one_at_a_time() {
    let mut o = filled(3);
    assert_eq!(send(&mut o, 1, at(0)), Some(1));
    o.settle(1, AckOutcome::RefusedForNow, at(0), u32::MAX);
    assert!(o.is_refused(), "and the status says so");
    assert_eq!(send(&mut o, 2, at(0)), None);
    assert_eq!(o.wake_at(at(0)), Some(Duration::from_secs(1)));
    assert_eq!(send(&mut o, 2, at(1)), Some(1));
    assert_eq!(send(&mut o, 3, at(1)), None, "one at a time until one succeeds");
    o.settle(2, AckOutcome::Delivered, at(1), 0);
    assert!(!o.is_refused());
    assert_eq!((send(&mut o, 3, at(1)), send(&mut o, 4, at(1))), (Some(2), Some(3)));
}

#[test]
fn a_broker_that_refuses_for_hours_loses_nothing_before_it_expires() {
    let mut o = filled(1);
    for minute in 0..16 {
        assert_eq!(send(&mut o, 1, at(minute * 61)), Some(1));
        o.settle(1, AckOutcome::RefusedForNow, at(minute * 61), u32::MAX);
    }
    assert_eq!(send(&mut o, 1, at(1000)), None);
    assert_eq!((o.len(), o.counters().expired, o.counters().given_up), (0, 1, 0));
}

#[test]
fn a_message_called_invalid_too_often_is_given_up_and_the_next_goes() {
    let mut o = filled(2);
    for try_ in 0..u64::from(MAX_REFUSALS) {
        assert_eq!(send(&mut o, 1, at(try_ * 61)), Some(1));
        o.settle(1, AckOutcome::Invalid, at(try_ * 61), 0);
    }
    assert_eq!(o.counters().given_up, 1);
    assert_eq!(send(&mut o, 1, at(900)), Some(2));
}

#[test]
fn the_oldest_waiting_event_makes_room_and_never_one_on_its_way() {
    let mut o = outbox(2);
    o.append(&record(1, 1000), at(0)).expect("room");
    assert_eq!(send(&mut o, 1, at(0)), Some(1));
    o.append(&record(2, 1000), at(0)).expect("room");
    o.append(&record(3, 1000), at(0)).expect("drops 2");
    assert_eq!(o.counters().dropped, 1);
    assert_eq!(send(&mut o, 2, at(0)), Some(3));
    assert!(matches!(o.append(&record(4, 1000), at(0)), Err(AppendError::Full)));
    assert_eq!(o.counters().full, 1);
}

#[test]
fn an_expired_event_makes_room_before_an_oldest_one() {
    let mut o = outbox(2);
    o.append(&record(1, 1000), at(0)).expect("room");
    o.append(&record(2, 10), at(0)).expect("room");
    o.append(&record(3, 1000), at(11)).expect("2 has expired");
    assert_eq!((o.counters().expired, o.counters().dropped), (1, 0));
    assert_eq!(send(&mut o, 1, at(11)), Some(1));
}

#[test]
fn what_is_too_large_or_too_late_is_refused_by_name() {
    let mut o = outbox(2);
    let mut large = record(1, 1000);
    large.payload = Zeroizing::new(vec![0; MAX_EVENT + 1]);
    assert!(matches!(o.append(&large, at(0)), Err(AppendError::TooLarge(_))));
    assert!(matches!(o.append(&record(1, 5), at(5)), Err(AppendError::Expired)));
    assert_eq!((o.counters().too_large, o.counters().late, o.len()), (1, 1, 0));
}

#[test]
fn after_a_kept_session_the_unsettled_go_again_in_order_under_their_packet_ids_and_before_others() {
    let mut o = filled(4);
    for packet in 1..=3 {
        send(&mut o, packet, at(0));
    }
    o.settle(1, AckOutcome::Delivered, at(0), 0);
    o.disconnected();
    let again: Vec<_> =
        o.unsettled_events(at(1)).iter().map(|(p, r, _)| (*p, r.id.as_u128())).collect();
    assert_eq!(again, [(2, 2), (3, 3)]);
    o.session_kept();
    assert_eq!(send(&mut o, 1, at(1)), None, "those of the earlier link come first");
    o.settle(2, AckOutcome::Delivered, at(1), 0);
    o.settle(3, AckOutcome::Delivered, at(1), 0);
    assert_eq!(send(&mut o, 1, at(1)), Some(4));
    assert_eq!(o.counters().repeated, 2);
}

#[test]
fn after_a_lost_session_everything_unsettled_is_sent_anew_in_order() {
    let mut o = filled(3);
    send(&mut o, 7, at(0));
    send(&mut o, 8, at(0));
    o.next_to_send(at(0)).expect("handed over, no packet id yet");
    o.disconnected();
    o.session_lost();
    let sent: Vec<_> = (1..=3).filter_map(|p| send(&mut o, p, at(1))).collect();
    assert_eq!(sent, [1, 2, 3]);
    assert_eq!(
        o.settle(8, AckOutcome::Delivered, at(1), 0),
        Settled::Unknown,
        "an old packet id settles nothing"
    );
}

/// Fails on demand; otherwise memory.
#[derive(Default)]
struct FailingStore {
    inner: MemoryStore,
    append: bool,
    /// Whether the event of an earlier run was removed.
    removed: bool,
}

fn broken(action: &'static str) -> OutboxStoreError {
    OutboxStoreError { action, source: std::io::Error::other("broken") }
}

impl Store for FailingStore {
    fn recover(&mut self) -> Result<Recovered, OutboxStoreError> {
        Ok(Recovered { events: 1, bytes: 3, next: 20 })
    }
    fn append_together(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
    ) -> Result<(), OutboxStoreError> {
        if self.append { Err(broken("append")) } else { self.inner.append_together(first, records) }
    }
    fn next(&mut self, from: QueuePosition) -> Option<Stored> {
        let event = Stored { position: 7, expires: nanoseconds(at(1000).wall), bytes: 3 };
        if from <= 7 && !self.removed { Some(event) } else { self.inner.next(from) }
    }
    fn next_expired(&mut self, from: QueuePosition, deadline: i64) -> Option<Stored> {
        self.inner.next_expired(from, deadline)
    }
    fn read(&mut self, position: QueuePosition) -> Result<Option<EventRecord>, OutboxStoreError> {
        self.inner.read(position)
    }
    fn remove(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError> {
        self.removed |= position == 7;
        Err(broken("remove"))
    }
    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }
}

#[test]
fn a_failing_store_is_counted_and_stops_nothing() {
    let store = FailingStore { append: true, ..FailingStore::default() };
    let mut o = Outbox::new(store, Limits { events: 9, bytes: MAX_EVENT }).expect("recovers");
    assert_eq!((o.len(), o.bytes()), (1, 3));
    assert!(matches!(o.append(&record(1, 1000), at(0)), Err(AppendError::Store(_))));
    o.store.append = false;
    assert_eq!(
        o.append(&record(2, 1000), at(0)).expect("works again"),
        20,
        "no position is used twice"
    );
    let (_, sent) = o.next_to_send(at(0)).expect("the recovered one is unreadable and skipped");
    assert_eq!(sent.id, EventId::from_u128(2));
    assert_eq!((o.counters().unreadable, o.counters().recovered), (1, 1));
    assert_eq!(o.counters().store_errors, 2);
}

/// Cannot be read for some calls; otherwise memory.
struct UnreadableStore {
    inner: MemoryStore,
    errors: u32,
}

impl Store for UnreadableStore {
    fn recover(&mut self) -> Result<Recovered, OutboxStoreError> {
        self.inner.recover()
    }
    fn append_together(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
    ) -> Result<(), OutboxStoreError> {
        self.inner.append_together(first, records)
    }
    fn next(&mut self, from: QueuePosition) -> Option<Stored> {
        self.inner.next(from)
    }
    fn next_expired(&mut self, from: QueuePosition, deadline: i64) -> Option<Stored> {
        self.inner.next_expired(from, deadline)
    }
    fn read(&mut self, position: QueuePosition) -> Result<Option<EventRecord>, OutboxStoreError> {
        if self.errors > 0 {
            self.errors -= 1;
            return Err(broken("read"));
        }
        self.inner.read(position)
    }
    fn remove(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError> {
        self.inner.remove(position)
    }
    fn health(&self) -> StoreHealth {
        self.inner.health()
    }
}

#[test]
fn an_event_that_cannot_be_read_for_a_while_is_tried_again_in_its_order_and_never_retired() {
    let store = UnreadableStore { inner: MemoryStore::default(), errors: 0 };
    let mut o = Outbox::new(store, Limits { events: 9, bytes: MAX_EVENT }).expect("recovers");
    for id in 1..3 {
        o.append(&record(id, 10_000), at(0)).expect("taken");
    }
    o.store.errors = 3;
    assert!(o.next_to_send(at(0)).is_none());
    assert!(o.next_to_send(at(0)).is_none(), "not before its time");
    assert_eq!(o.wake_at(at(0)), Some(at(1).monotonic));
    let (wiped, complete) = o.revoke(|payload| payload[0] == 9, at(0));
    assert_eq!((wiped, complete), (0, false), "what cannot be read may be revoked");
    let sent = (0..200).find_map(|s| o.next_to_send(at(s)));
    assert_eq!(sent.expect("read at last").1.id, EventId::from_u128(1));
    assert_eq!((o.len(), o.counters().unreadable), (2, 0));
    assert_eq!(o.revoke(|_| true, at(300)), (2, true));
}

#[derive(Debug, Clone)]
enum OutboxStep {
    /// Events that belong together, by their lifetimes.
    Append {
        lifetimes: Vec<u64>,
    },
    Send,
    Ack {
        which: usize,
        verdict: AckOutcome,
    },
    Disconnect {
        kept: bool,
    },
    Wait {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = OutboxStep> {
    let verdict = prop_oneof![
        6 => Just(AckOutcome::Delivered),
        1 => Just(AckOutcome::Unheard),
        1 => Just(AckOutcome::RefusedForNow),
        2 => Just(AckOutcome::Invalid),
    ];
    prop_oneof![
        4 => proptest::collection::vec(1u64..200, 1..=TOGETHER + 1)
            .prop_map(|lifetimes| OutboxStep::Append { lifetimes }),
        6 => Just(OutboxStep::Send),
        5 => (0usize..8, verdict).prop_map(|(which, verdict)| OutboxStep::Ack { which, verdict }),
        1 => any::<bool>().prop_map(|kept| OutboxStep::Disconnect { kept }),
        2 => (0u64..40).prop_map(|seconds| OutboxStep::Wait { seconds }),
    ]
}

/// The same promises written down as simply as can be: a list of events and who has them.
#[derive(Default)]
struct OutboxModel {
    /// id, expiry, how often called invalid; in order.
    queue: Vec<(u128, u64, u8)>,
    /// packet id, event id.
    flying: Vec<(u16, u128)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn the_outbox_behaves_like_its_model(
        steps in proptest::collection::vec(step(), 1..200),
        capacity in 1usize..12,
    ) {
        let mut o = outbox(capacity);
        let mut m = OutboxModel::default();
        let (mut seconds, mut next_id, mut next_packet) = (0u64, 1u128, 1u16);
        let mut delivered = Vec::new();
        for step in steps {
            let now = at(seconds);
            match step {
                OutboxStep::Append { lifetimes } => {
                    let (mut records, mut full) = (Vec::new(), Vec::new());
                    for lifetime in lifetimes {
                        let (id, expires) = (next_id, seconds + lifetime);
                        next_id += 1;
                        let waiting =
                            |m: &OutboxModel, id: u128| m.flying.iter().all(|(_, f)| *f != id);
                        if m.queue.len() >= capacity {
                            let flying = std::mem::take(&mut m.flying);
                            m.queue.retain(|(id, e, _)| {
                                *e > seconds || flying.iter().any(|(_, f)| f == id)
                            });
                            m.flying = flying;
                        }
                        if m.queue.len() >= capacity
                            && let Some(i) = m.queue.iter().position(|(id, ..)| waiting(&m, *id))
                        {
                            m.queue.remove(i);
                        }
                        let taken = m.queue.len() < capacity;
                        if taken {
                            m.queue.push((id, expires, 0));
                        }
                        records.push(record(id, expires));
                        if !taken {
                            full.push(EventId::from_u128(id));
                        }
                    }
                    let refused = o.append_together(&records, now);
                    let refused: Vec<EventId> = refused.into_iter().map(|(id, _)| id).collect();
                    prop_assert_eq!(refused, full);
                }
                OutboxStep::Send => {
                    let window = if o.probing { 1 } else { MAX_WINDOW };
                    let may_send = now.monotonic >= o.paused_until
                        && o.unsettled() == 0
                        && o.in_flight() < window;
                    let sent = send(&mut o, next_packet, now);
                    prop_assert!(sent.is_none() || may_send);
                    if let Some(id) = sent {
                        m.queue.retain(|(q, e, _)| {
                            *q >= id || *e > seconds || m.flying.iter().any(|(_, f)| f == q)
                        });
                        let first = m
                            .queue
                            .iter()
                            .find(|(q, ..)| m.flying.iter().all(|(_, f)| f != q))
                            .copied();
                        prop_assert_eq!(
                            first.map(|f| f.0),
                            Some(id),
                            "the oldest waiting one goes"
                        );
                        prop_assert!(first.is_some_and(|f| f.1 > seconds), "nothing expired goes");
                        m.flying.push((next_packet, id));
                        next_packet += 1;
                    } else if may_send {
                        let flying = std::mem::take(&mut m.flying);
                        m.queue.retain(|(id, e, _)| {
                            *e > seconds || flying.iter().any(|(_, f)| f == id)
                        });
                        m.flying = flying;
                        prop_assert_eq!(
                            m.queue.len(),
                            m.flying.len(),
                            "nothing that may go is held back"
                        );
                    }
                }
                OutboxStep::Ack { which, verdict } => {
                    if m.flying.is_empty() {
                        prop_assert_eq!(o.settle(next_packet, verdict, now, 0), Settled::Unknown);
                        continue;
                    }
                    let (packet, id) = m.flying.remove(which % m.flying.len());
                    let i = m.queue.iter().position(|(q, ..)| *q == id).expect(
                        "what flies is queued",
                    );
                    let settled = o.settle(packet, verdict, now, 7);
                    match verdict {
                        AckOutcome::Delivered => {
                            delivered.push(id);
                            m.queue.remove(i);
                            prop_assert_eq!(settled, Settled::Delivered(EventId::from_u128(id)));
                        }
                        _ => {
                            m.queue[i].2 += u8::from(verdict == AckOutcome::Invalid);
                            if m.queue[i].2 == MAX_REFUSALS {
                                m.queue.remove(i);
                                prop_assert_eq!(settled, Settled::GivenUp(EventId::from_u128(id)));
                            } else {
                                prop_assert!(matches!(settled, Settled::Again(..)));
                            }
                        }
                    }
                    prop_assert_eq!(
                        o.settle(packet, verdict, now, 7),
                        Settled::Unknown,
                        "one acknowledgement, one effect"
                    );
                }
                OutboxStep::Disconnect { kept } => {
                    o.disconnected();
                    let again: Vec<_> = o
                        .unsettled_events(now)
                        .iter()
                        .map(|(p, r, _)| (*p, r.id.as_u128()))
                        .collect();
                    let (fresh, stale): (Vec<_>, Vec<_>) = m
                        .flying
                        .drain(..)
                        .partition(|(_, f)| m.queue.iter().any(|(q, e, _)| q == f && *e > seconds));
                    m.queue.retain(|(q, ..)| stale.iter().all(|(_, f)| f != q));
                    let mut fresh: Vec<_> = fresh;
                    fresh.sort_by_key(|(_, id)| *id);
                    prop_assert_eq!(&again, &fresh, "unsettled in order, under their packet ids");
                    if kept {
                        o.session_kept();
                        m.flying = fresh;
                    } else {
                        o.session_lost();
                    }
                }
                OutboxStep::Wait { seconds: s } => seconds += s,
            }
            let c = o.counters();
            prop_assert_eq!(
                c.appended,
                c.delivered
                    + c.expired
                    + c.dropped
                    + c.given_up
                    + c.revoked
                    + c.unreadable
                    + o.len() as u64,
                "nothing leaves without a name"
            );
            prop_assert!(o.len() <= capacity && o.in_flight() <= MAX_WINDOW);
            prop_assert_eq!(o.in_flight(), m.flying.len());
            prop_assert_eq!(o.bytes(), o.len() * 16);
        }
        let unique: std::collections::BTreeSet<_> = delivered.iter().collect();
        prop_assert_eq!(unique.len(), delivered.len(), "nothing is delivered twice");
        prop_assert_eq!(o.counters().delivered as usize, delivered.len());
    }
}
