//! What the desk publishes: receipts until the broker has them, verdicts until devices answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;

use crate::audit::receipt::{self, MOST_EVENTS, ReceivedEvent};
use crate::delivery::event::EventId;
use crate::delivery::outbox::AckOutcome;
use crate::desk::store::{DueReceipt, DueVerdict};
use crate::watchlist::keys::SecretKey;

/// Most messages that the broker has not acknowledged: a thousand devices' receipts a second go out
/// over a broker that takes a quarter of a second.
pub const WINDOW: usize = 256;
/// Most events whose receipts wait or are on their way; of more it is heard again.
pub const MOST_OUT: usize = 4096;
/// First and last wait before a verdict is published again that its device has not answered. A
/// broker keeps each for a device that is away.
const AGAIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));
/// After a receipt that the broker has refused.
const REFUSED: Duration = Duration::from_secs(30);

type VerdictName = (EventId, [u8; 8]);

/// One message, by what it settles.
enum DeskLetter {
    Receipts(Vec<EventId>),
    Verdict(VerdictName),
}

/// When a verdict is published next, and how long after that.
struct NextSending {
    next: Instant,
    wait: Duration,
}

pub struct DeskPost {
    root: String,
    key: Arc<SecretKey>,
    /// Receipts to publish, those of one device together.
    receipts: VecDeque<(String, Vec<ReceivedEvent>)>,
    verdicts: VecDeque<DueVerdict>,
    schedules: BTreeMap<VerdictName, NextSending>,
    /// Events whose receipts wait or are on their way.
    out: BTreeSet<EventId>,
    handed: VecDeque<DeskLetter>,
    flying: Vec<(u16, DeskLetter)>,
    paused_until: Instant,
}

impl DeskPost {
    pub fn new(root: String, key: Arc<SecretKey>) -> Self {
        Self {
            root,
            key,
            receipts: VecDeque::new(),
            verdicts: VecDeque::new(),
            schedules: BTreeMap::new(),
            out: BTreeSet::new(),
            handed: VecDeque::new(),
            flying: Vec::new(),
            paused_until: Instant::now(),
        }
    }

    /// What is on its way may be lost, and what waits is dropped: both are due again.
    pub fn disconnected(&mut self) {
        let letters = self.flying.drain(..).map(|(_, letter)| letter).chain(self.handed.drain(..));
        let sent = letters.filter_map(|letter| match letter {
            DeskLetter::Verdict(name) => Some(name),
            DeskLetter::Receipts(_) => None,
        });
        let waiting = self.verdicts.drain(..).map(|due| (due.candidate, due.reviewer));
        for name in sent.chain(waiting) {
            self.schedules.remove(&name);
        }
        self.receipts.clear();
        self.out.clear();
    }

    /// Takes note of what is due.
    pub fn due(&mut self, receipts: Vec<DueReceipt>, verdicts: Option<Vec<DueVerdict>>) {
        let now = Instant::now();
        if now >= self.paused_until {
            for due in receipts {
                if self.out.len() >= MOST_OUT || !self.out.insert(due.event) {
                    continue;
                }
                let event =
                    ReceivedEvent { id: due.event.as_u128().to_be_bytes(), digest: due.digest };
                match self.receipts.back_mut() {
                    Some((device, events))
                        if *device == due.device && events.len() < MOST_EVENTS =>
                    {
                        events.push(event);
                    }
                    _ => self.receipts.push_back((due.device, vec![event])),
                }
            }
        }
        let Some(verdicts) = verdicts else { return };
        let names: BTreeSet<VerdictName> =
            verdicts.iter().map(|v| (v.candidate, v.reviewer)).collect();
        self.schedules.retain(|name, _| names.contains(name));
        for due in verdicts {
            let name = (due.candidate, due.reviewer);
            let schedule = self.schedules.entry(name);
            let schedule = schedule.or_insert(NextSending { next: now, wait: AGAIN.0 });
            if now >= schedule.next {
                schedule.next = now + schedule.wait;
                schedule.wait = (schedule.wait * 2).min(AGAIN.1);
                self.verdicts.push_back(due);
            }
        }
    }

    /// Hands messages over to the client.
    pub fn feed(&mut self, client: &AsyncClient) {
        while self.handed.len() + self.flying.len() < WINDOW {
            let (topic, payload, letter) = if let Some(verdict) = self.verdicts.pop_front() {
                let topic = format!("{}/v1/{}/review", self.root, verdict.device);
                let letter = DeskLetter::Verdict((verdict.candidate, verdict.reviewer));
                (topic, verdict.envelope, letter)
            } else if let Some((device, events)) = self.receipts.pop_front() {
                let topic = format!("{}/v1/{device}/receipt", self.root);
                let ids = events.iter().map(|e| EventId::from_u128(u128::from_be_bytes(e.id)));
                let letter = DeskLetter::Receipts(ids.collect());
                (topic, receipt::give(&device, &events, &self.key), letter)
            } else {
                return;
            };
            if client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_err() {
                // Its queue is full: the letter is due again.
                self.forget(&letter);
                return;
            }
            self.handed.push_back(letter);
        }
    }

    fn forget(&mut self, letter: &DeskLetter) {
        match letter {
            DeskLetter::Receipts(events) => {
                events.iter().for_each(|event| {
                    self.out.remove(event);
                });
            }
            DeskLetter::Verdict(name) => drop(self.schedules.remove(name)),
        }
    }

    /// The client gave what was handed over first a packet id.
    pub fn sent(&mut self, packet: u16) {
        if let Some(letter) = self.handed.pop_front() {
            self.flying.push((packet, letter));
        }
    }

    /// The broker answered: the events whose receipts are settled by it.
    pub fn acknowledged(&mut self, packet: u16, answer: AckOutcome) -> Vec<EventId> {
        let Some(at) = self.flying.iter().position(|(p, _)| *p == packet) else {
            return Vec::new();
        };
        let (_, letter) = self.flying.swap_remove(at);
        match (letter, answer) {
            // A device that waits for none does not subscribe.
            (
                DeskLetter::Receipts(events),
                AckOutcome::Delivered | AckOutcome::Taken | AckOutcome::Unheard,
            ) => {
                events.iter().for_each(|event| {
                    self.out.remove(event);
                });
                events
            }
            (letter @ DeskLetter::Receipts(_), AckOutcome::RefusedForNow | AckOutcome::Invalid) => {
                log::warn!("The broker refuses receipts; let the desk write them.");
                self.forget(&letter);
                self.paused_until = Instant::now() + REFUSED;
                Vec::new()
            }
            // The device answers, or it is published again.
            (DeskLetter::Verdict(_), _) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(device: &str, event: u128) -> DueReceipt {
        DueReceipt { event: EventId::from_u128(event), device: device.into(), digest: [0; 32] }
    }

    fn post() -> DeskPost {
        DeskPost::new("site".into(), Arc::new(SecretKey::from_seed(&[1; 32])))
    }

    #[test]
    fn receipts_of_one_device_go_together_and_each_is_on_its_way_once() {
        let mut post = post();
        post.due(vec![due("a", 1), due("a", 2), due("b", 3)], None);
        post.due(vec![due("a", 1), due("b", 3), due("b", 4)], None);
        let counts: Vec<_> = post.receipts.iter().map(|(d, e)| (d.as_str(), e.len())).collect();
        assert_eq!(counts, [("a", 2), ("b", 2)]);
    }

    #[test]
    fn what_a_lost_link_had_is_due_again_and_what_the_broker_took_is_settled() {
        let mut post = post();
        let events = vec![EventId::from_u128(1)];
        post.handed.push_back(DeskLetter::Receipts(events.clone()));
        post.sent(7);
        assert_eq!(post.acknowledged(8, AckOutcome::Delivered), []);
        assert_eq!(post.acknowledged(7, AckOutcome::Delivered), events);
        post.due(vec![due("a", 2)], None);
        post.disconnected();
        post.due(vec![due("a", 2)], None);
        assert_eq!(post.receipts.len(), 1);
    }

    fn verdict(candidate: u128) -> DueVerdict {
        DueVerdict {
            candidate: EventId::from_u128(candidate),
            reviewer: [1; 8],
            device: "a".into(),
            envelope: vec![1],
        }
    }

    #[test]
    fn a_verdict_that_a_lost_link_had_is_published_at_once_and_one_that_the_broker_took_is_not() {
        let mut post = post();
        post.due(Vec::new(), Some((1..=4).map(verdict).collect()));
        // The first is taken, the second on its way, the third handed over, the fourth waits.
        for packet in 1..=3 {
            let due = post.verdicts.pop_front().unwrap();
            post.handed.push_back(DeskLetter::Verdict((due.candidate, due.reviewer)));
            if packet < 3 {
                post.sent(packet);
            }
        }
        post.acknowledged(1, AckOutcome::Delivered);
        post.disconnected();
        post.due(Vec::new(), Some((1..=4).map(verdict).collect()));
        let due: Vec<_> = post.verdicts.iter().map(|v| v.candidate.as_u128()).collect();
        assert_eq!(due, [2, 3, 4]);
    }

    #[test]
    fn a_verdict_is_not_published_again_at_once_and_is_forgotten_once_it_is_answered() {
        let mut post = post();
        let verdict = verdict(1);
        post.due(Vec::new(), Some(vec![verdict.clone()]));
        post.due(Vec::new(), Some(vec![verdict.clone()]));
        assert_eq!(post.verdicts.len(), 1);
        post.due(Vec::new(), Some(Vec::new()));
        assert!(post.schedules.is_empty());
    }
}
