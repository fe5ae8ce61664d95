//! The outbox on a disk, as a whole: many segments, expiry and revocation among them, kills and
//! power cuts at any write, against a plain list of what is owed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::super::*;
use super::platter::{Fault, MemDisk};
use super::{LIMITS, generator};
use crate::clock::Now;
use crate::delivery::event::EventId;
use crate::delivery::outbox::{AckOutcome, Outbox, Settled};

#[derive(Debug, Clone)]
enum QueueStep {
    /// So many events of so many bytes, each of one of four subjects, so many at a time.
    Append {
        events: u8,
        together: usize,
        bytes: usize,
        lifetime: u64,
        subject: u8,
    },
    Send,
    Ack {
        which: u8,
        delivered: bool,
    },
    /// The link ends; whether the broker kept the session.
    Disconnect {
        kept: bool,
    },
    Wait {
        seconds: u64,
    },
    Revoke {
        subject: u8,
    },
    Crash {
        after: u64,
        share: u8,
        power: bool,
    },
    Restart,
}

fn step() -> impl Strategy<Value = QueueStep> {
    let bytes = prop_oneof![3 => Just(100_000usize), 1 => 17usize..2000];
    let lifetime = prop_oneof![Just(20u64), Just(1000)];
    let append = (1u8..12, 1..=TOGETHER, bytes, lifetime, 0u8..4);
    prop_oneof![
        8 => append.prop_map(|(events, together, bytes, lifetime, subject)| QueueStep::Append {
            events, together, bytes, lifetime, subject,
        }),
        8 => Just(QueueStep::Send),
        7 => (any::<u8>(), any::<bool>())
            .prop_map(|(which, d)| QueueStep::Ack { which, delivered: d || which < 200 }),
        1 => any::<bool>().prop_map(|kept| QueueStep::Disconnect { kept }),
        3 => (0u64..30).prop_map(|seconds| QueueStep::Wait { seconds }),
        2 => (0u8..4).prop_map(|subject| QueueStep::Revoke { subject }),
        2 => (1u64..30, any::<u8>(), any::<bool>())
            .prop_map(|(after, share, power)| QueueStep::Crash { after, share, power }),
        1 => Just(QueueStep::Restart),
    ]
}

fn at(seconds: u64) -> Now {
    let wall = OffsetDateTime::from_unix_timestamp(1_800_000_000 + seconds as i64).expect("a date");
    Now { monotonic: Duration::from_secs(seconds), wall }
}

fn record(id: u64, subject: u8, bytes: usize, expires: u64) -> EventRecord {
    let mut payload = vec![subject; bytes];
    payload[1..9].copy_from_slice(&id.to_le_bytes());
    EventRecord {
        id: EventId::from_u128(id.into()),
        expires: at(expires).wall,
        payload: Zeroizing::new(payload),
    }
}

#[derive(Debug, Clone, Copy)]
struct QueueEvent {
    subject: u8,
    expires: u64,
    bytes: usize,
}

/// Ids by what may have become of them.
#[derive(Default)]
struct QueueModel {
    /// Must be there.
    owed: BTreeMap<u64, QueueEvent>,
    /// May be there: the process died around its append or its retirement.
    perhaps: BTreeMap<u64, QueueEvent>,
    /// Left, and may come back after a power cut that came soon.
    left: BTreeMap<u64, QueueEvent>,
    /// Revoked on a disk that worked, or not there at a start.
    gone: BTreeSet<u64>,
    flying: Vec<(u16, u64)>,
}

fn opened(disk: &MemDisk) -> Outbox<DiskStore<MemDisk>> {
    Outbox::new(DiskStore::new(disk.clone(), LIMITS), LIMITS).expect("reading works")
}

/// All ids that wait or are on their way, in the order of positions.
fn waiting(outbox: &mut Outbox<DiskStore<MemDisk>>) -> Vec<u64> {
    super::positions(&mut outbox.store)
        .into_iter()
        .map(|p| {
            outbox
                .store
                .read(p)
                .expect("reading works")
                .expect("what is named is there")
                .id
                .as_u128() as u64
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn a_queue_over_many_segments_keeps_what_it_owes_through_expiry_revocation_and_crashes(
        steps in proptest::collection::vec(step(), 1..60), seed: u64,
    ) {
        let mut random = generator(seed);
        let disk = MemDisk::default();
        let mut outbox = opened(&disk);
        let mut m = QueueModel::default();
        let mut at_position = BTreeMap::new();
        let (mut seconds, mut next_id, mut next_packet) = (0u64, 0u64, 1u16);
        let mut power_at_crash = false;
        for step in steps {
            let now = at(seconds);
            let mut restart = None;
            // What leaves in this step, with what the outbox's counters say.
            match step {
                QueueStep::Append { events, together, bytes, lifetime, subject } => {
                    let events: Vec<(u64, QueueEvent)> = (next_id..)
                        .zip(0..events)
                        .map(|(id, n)| {
                            let subject = (subject + n) % 4;
                            (id, QueueEvent { subject, expires: seconds + lifetime, bytes })
                        })
                        .collect();
                    next_id += events.len() as u64;
                    for set in events.chunks(together) {
                        let first = outbox.next_position;
                        let records: Vec<EventRecord> = set
                            .iter()
                            .map(|(id, e)| record(*id, e.subject, e.bytes, e.expires))
                            .collect();
                        let refused = outbox.append_together(&records, now);
                        prop_assert!(refused.is_empty(), "{refused:?}: there is room");
                        let unsure = disk.lock().dead || outbox.store_health().in_memory > 0;
                        for (position, (id, event)) in (first..).zip(set) {
                            prop_assert!(
                                at_position.insert(position, *id).is_none(),
                                "no position is used twice"
                            );
                            if unsure {
                                m.perhaps.insert(*id, *event);
                            } else {
                                m.owed.insert(*id, *event);
                                m.gone.extend(std::mem::take(&mut m.left).into_keys());
                            }
                        }
                    }
                }
                QueueStep::Send => {
                    if let Some((position, sent)) = outbox.next_to_send(now) {
                        let id = sent.id.as_u128() as u64;
                        let event = m.owed.get(&id).or_else(|| m.perhaps.get(&id)).expect("known");
                        prop_assert_eq!(
                            &sent,
                            &record(id, event.subject, event.bytes, event.expires),
                            "as it was decided"
                        );
                        prop_assert!(event.expires > seconds);
                        let earlier = m.owed.iter().find(|(e, event)| {
                            **e < id
                                && event.expires > seconds
                                && m.flying.iter().all(|(_, f)| f != *e)
                        });
                        prop_assert!(earlier.is_none(), "{earlier:?} goes before {id}");
                        m.flying.push((next_packet, id));
                        outbox.sent(position, next_packet);
                        next_packet += 1;
                    }
                }
                QueueStep::Ack { which, delivered } => {
                    if m.flying.is_empty() {
                        continue;
                    }
                    let (packet, id) = m.flying.remove(usize::from(which) % m.flying.len());
                    let verdict =
                        if delivered { AckOutcome::Delivered } else { AckOutcome::RefusedForNow };
                    let settled = outbox.settle(packet, verdict, now, 0);
                    if delivered {
                        prop_assert_eq!(settled, Settled::Delivered(EventId::from_u128(id.into())));
                        let event =
                            m.owed.remove(&id).or_else(|| m.perhaps.remove(&id)).expect("known");
                        if disk.lock().dead {
                            m.perhaps.insert(id, event);
                        } else {
                            m.left.insert(id, event);
                        }
                    }
                }
                QueueStep::Disconnect { kept } => {
                    outbox.disconnected();
                    let again: Vec<_> = outbox
                        .unsettled_events(now)
                        .iter()
                        .map(|(p, r, _)| (*p, r.id.as_u128() as u64))
                        .collect();
                    if kept {
                        outbox.session_kept()
                    } else {
                        outbox.session_lost()
                    }
                    m.flying = if kept { again } else { Vec::new() };
                }
                QueueStep::Wait { seconds: more } => seconds += more,
                QueueStep::Revoke { subject } => {
                    let (failures, dead) = (outbox.store_health().failures, disk.lock().dead);
                    let (revoked, _) = outbox.revoke(|payload| payload[0] == subject, now);
                    let clean =
                        !dead && !disk.lock().dead && outbox.store_health().failures == failures;
                    let of = |events: &BTreeMap<u64, QueueEvent>| -> Vec<u64> {
                        events
                            .iter()
                            .filter(|(_, e)| e.subject == subject)
                            .map(|(id, _)| *id)
                            .collect()
                    };
                    let (owed, perhaps) = (of(&m.owed), of(&m.perhaps));
                    prop_assert!(revoked as usize >= owed.len(), "all that waited are revoked");
                    let lie = if clean { disk.ids() } else { BTreeSet::new() };
                    for id in owed.into_iter().chain(perhaps) {
                        let event =
                            m.owed.remove(&id).or_else(|| m.perhaps.remove(&id)).expect("known");
                        m.flying.retain(|(_, f)| *f != id);
                        if clean {
                            prop_assert!(
                                !lie.contains(&u128::from(id)),
                                "{id} is gone from the disk at once"
                            );
                            m.gone.insert(id);
                        } else {
                            m.perhaps.insert(id, event);
                        }
                    }
                }
                QueueStep::Crash { after, share, power } => {
                    let mut p = disk.lock();
                    if p.plan.is_none() {
                        p.plan = Some((p.operations + after, Fault::Crash, share));
                        power_at_crash = power;
                    }
                }
                QueueStep::Restart => restart = Some(false),
            }
            outbox.expire(at(seconds));
            // On its way, what has expired stays until it is settled.
            let flying = &m.flying;
            let expired = [&m.owed, &m.perhaps]
                .into_iter()
                .flatten()
                .filter(|(id, e)| e.expires <= seconds && flying.iter().all(|(_, f)| f != *id));
            for id in expired.map(|(id, _)| *id).collect::<Vec<_>>() {
                let event = m.owed.remove(&id).or_else(|| m.perhaps.remove(&id)).expect(
                    "it was just found",
                );
                if disk.lock().dead {
                    m.perhaps.insert(id, event);
                } else {
                    m.left.insert(id, event);
                }
            }
            let c = outbox.counters();
            prop_assert_eq!(
                c.appended + c.recovered,
                c.delivered
                    + c.expired
                    + c.dropped
                    + c.given_up
                    + c.revoked
                    + c.unreadable
                    + outbox.len() as u64,
                "nothing leaves without a name"
            );
            prop_assert_eq!(c.unreadable, 0);
            if disk.lock().dead {
                restart = Some(power_at_crash);
            }
            let found: Vec<u64> =
                super::positions(&mut outbox.store).iter().map(|p| at_position[p]).collect();
            prop_assert_eq!(found.len(), outbox.len(), "as many as are counted");
            let Some(power) = restart else {
                let known: Vec<u64> =
                    found.iter().filter(|id| !m.perhaps.contains_key(id)).copied().collect();
                prop_assert_eq!(known, m.owed.keys().copied().collect::<Vec<_>>());
                continue;
            };
            drop(outbox);
            disk.restart(power, &mut random);
            outbox = opened(&disk);
            let found = waiting(&mut outbox);
            prop_assert_eq!(found.len(), outbox.len());
            // What never came to the disk gives its place to another.
            at_position.retain(|_, id| found.contains(id));
            prop_assert!(found.is_sorted(), "order is kept: {found:?}");
            for id in m.owed.keys() {
                prop_assert!(found.contains(id), "{id} is lost (power cut: {power})");
            }
            for id in &found {
                let may = m.owed.contains_key(id)
                    || m.perhaps.contains_key(id)
                    || power && m.left.contains_key(id);
                prop_assert!(may && !m.gone.contains(id), "{id} came back (power cut: {power})");
            }
            let all = [&m.owed, &m.perhaps, &m.left].into_iter().flatten().map(|(id, e)| (*id, *e));
            let (owed, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
                all.partition(|(id, _)| found.contains(id));
            // What one power cut left out may not be forgotten by the disk forever.
            let left_in_doubt = if power {
                left
            } else {
                m.gone.extend(left.into_keys());
                BTreeMap::new()
            };
            m = QueueModel { owed, left: left_in_doubt, gone: m.gone, ..QueueModel::default() };
        }
    }
}
