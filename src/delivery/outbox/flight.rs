//! Events on their way: handed to the client, sent, acknowledged or not, sent again on a new link.

use std::time::Duration;

use time::OffsetDateTime;

use super::leave::ReadBack;
use super::{EventRecord, Fate, MAX_WINDOW, Outbox, QueuePosition, Store, Stored, nanoseconds};
use crate::clock::Now;
use crate::delivery::event::EventId;

/// Longest wait before an event that nobody subscribed to is sent again.
pub const MAX_UNHEARD_WAIT: Duration = Duration::from_secs(5);
/// How often one message may be called invalid before it is given up.
pub const MAX_REFUSALS: u8 = 5;

/// After so many links that the broker ended over an event it goes out without its crop.
pub const STRIP_AFTER: u8 = 3;
/// After so many it is set aside, and those after it go on.
pub const ASIDE_AFTER: u8 = 5;
/// First and last wait for a receipt before an event is sent again.
pub const RECEIPT_WAIT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// Most events that are set aside at a time; of more the oldest is given up.
pub const MAX_ASIDE: usize = 32;

/// Why an event is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsideReason {
    /// The broker ended the link over it again and again. It is tried again after a restart.
    EndsLinks,
    /// It is larger than the broker allows. It is tried again on the next link.
    TooLarge,
}

/// What a broker's acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOutcome {
    /// Success (0x00), which retires the event.
    Delivered,
    /// Success (0x00) of an event that only a receipt retires.
    Taken,
    /// No matching subscribers (0x10): the broker dropped it.
    Unheard,
    /// Refused for a reason that has nothing to do with this message: not authorized, quota,
    /// unspecified.
    RefusedForNow,
    /// Refused because of this message: its topic, its format, its size.
    Invalid,
}

/// What became of an event by [`Outbox::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Retired.
    Delivered(EventId),
    /// Stays, and is tried again after this long.
    Again(EventId, Duration),
    /// Left the outbox undelivered.
    GivenUp(EventId),
    /// The broker has it, and no receipt came yet.
    Unreceipted(EventId),
    /// No event is on its way under this packet id.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventStage {
    /// Was refused and waits once more.
    Waiting,
    /// With the client, which has not given it a packet id yet.
    Handed,
    /// Sent on this link.
    Flying(u16),
    /// Sent on an earlier link of a session that the broker may have kept.
    Unsettled(u16),
    /// Does not go out for now, and expires like any other.
    Aside(AsideReason),
    /// The broker has it, and no receipt came yet. It goes out again at this monotonic time.
    Unreceipted(Duration),
}

/// An event that was handed out at least once and has not left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) stored: Stored,
    pub(super) id: EventId,
    pub(super) stage: EventStage,
    /// How often the broker called it invalid.
    invalid: u8,
    /// How many links the broker ended while this was the oldest on its way.
    ended_links: u8,
    /// How often it went without a receipt.
    unreceipted: u8,
    /// When it was handed out first.
    sent_at: OffsetDateTime,
}

impl<S: Store> Outbox<S> {
    /// Events handed out and not settled.
    pub fn in_flight(&self) -> usize {
        let away = |b: &&Begun| {
            matches!(b.stage, EventStage::Handed | EventStage::Flying(_) | EventStage::Unsettled(_))
        };
        self.begun.iter().filter(away).count()
    }

    /// Events that the broker has and of which no receipt came yet.
    pub fn unreceipted(&self) -> usize {
        self.begun.iter().filter(|b| matches!(b.stage, EventStage::Unreceipted(_))).count()
    }

    /// A receiver has stored the event `id`, whose published bytes have the SHA-256 `digest`. True
    /// where that retires it: it went out, and those are its bytes.
    pub fn receipted(&mut self, id: EventId, digest: &[u8; 32], now: Now) -> bool {
        let away = |b: &&Begun| b.id == id && !matches!(b.stage, EventStage::Aside(_));
        let Some(stored) = self.begun.iter().find(away).map(|b| b.stored) else { return false };
        let ReadBack::Record(record) = self.read(stored, now) else { return false };
        if !record.has_form(digest) {
            log::warn!("A receipt is about other bytes than were published: id={id}.");
            return false;
        }
        self.leave(stored, Fate::Delivered, now);
        true
    }

    /// Has events go out again whose receipt did not come in time.
    pub fn miss_receipts(&mut self, now: Now) {
        for begun in &mut self.begun {
            if matches!(begun.stage, EventStage::Unreceipted(again) if again <= now.monotonic) {
                begun.stage = EventStage::Waiting;
                self.counters.repeated += 1;
            }
        }
    }

    /// Whether the broker refused what went out last, so that nothing is delivered.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Events that are set aside.
    pub fn aside(&self) -> usize {
        self.begun.iter().filter(|b| matches!(b.stage, EventStage::Aside(_))).count()
    }

    /// The broker ended the link: the oldest event on its way may be why. True where one was set
    /// aside for it.
    pub fn link_ended_by_broker(&mut self, now: Now) -> bool {
        let away =
            |b: &&mut Begun| matches!(b.stage, EventStage::Flying(_) | EventStage::Unsettled(_));
        let Some(begun) = self.begun.iter_mut().find(away) else { return false };
        begun.ended_links = begun.ended_links.saturating_add(1);
        let (position, count) = (begun.stored.position, begun.ended_links);
        if count >= ASIDE_AFTER {
            self.set_aside(position, AsideReason::EndsLinks, now);
        }
        count >= ASIDE_AFTER
    }

    /// Whether the event is to go out without its crop.
    pub fn is_suspect(&self, position: QueuePosition) -> bool {
        let found = self.begun.iter().find(|b| b.stored.position == position);
        found.is_some_and(|b| b.ended_links >= STRIP_AFTER)
    }

    /// The event was handed out and is not sent after all.
    pub fn take_back(&mut self, position: QueuePosition) {
        if let Some(begun) = self.begun.iter_mut().find(|b| b.stored.position == position) {
            begun.stage = EventStage::Waiting;
        }
    }

    /// Holds the event back, and lets those after it go on.
    pub fn set_aside(&mut self, position: QueuePosition, reason: AsideReason, now: Now) {
        let Some(begun) = self.begun.iter_mut().find(|b| b.stored.position == position) else {
            return;
        };
        begun.stage = EventStage::Aside(reason);
        log::error!(
            "A candidate is set aside, and those after it go on: id={} reason={reason:?}.",
            begun.id
        );
        self.counters.set_aside += 1;
        if self.aside() > MAX_ASIDE
            && let Some(oldest) =
                self.begun.iter().find(|b| matches!(b.stage, EventStage::Aside(_)))
        {
            let stored = oldest.stored;
            self.leave(stored, Fate::GivenUp, now);
        }
    }

    /// Most events on their way, from what the broker allows; 1 to [`MAX_WINDOW`].
    pub fn set_window(&mut self, window: usize) {
        self.window = window.clamp(1, MAX_WINDOW);
    }

    /// Hands out the oldest waiting event; [`Outbox::sent`] follows. `None` where none waits, the
    /// window is full, a refusal asks for a pause, or events of an earlier link are not settled:
    /// those go first.
    pub fn next_to_send(&mut self, now: Now) -> Option<(QueuePosition, EventRecord)> {
        let window = if self.probing { 1 } else { self.window };
        self.miss_receipts(now);
        // What waits for a receipt keeps its place: a desk that is away holds the rest back.
        let out = self.in_flight() + self.unreceipted();
        let full = self.in_flight() >= window || out >= self.window;
        if full || now.monotonic < self.paused_until || self.has_unsettled() {
            return None;
        }
        if !self.reading.left(now.monotonic).is_zero() {
            return None;
        }
        loop {
            let Some(stored) = self.first_waiting() else {
                self.wait_if_stalled(now);
                return None;
            };
            let position = stored.position;
            // A panic below has changed nothing yet: the event is tried again.
            let record = if stored.expires <= nanoseconds(now.wall) {
                self.leave(stored, Fate::Expired, now);
                None
            } else {
                match self.read(stored, now) {
                    ReadBack::Record(record) => Some(record),
                    ReadBack::Gone => None,
                    ReadBack::Later => return None,
                }
            };
            self.frontier = self.frontier.max(position.saturating_add(1));
            let Some(record) = record else { continue };
            match self.begun.binary_search_by_key(&position, |b| b.stored.position) {
                Ok(at) => self.begun[at].stage = EventStage::Handed,
                Err(at) => {
                    let begun = Begun {
                        stored,
                        id: record.id,
                        stage: EventStage::Handed,
                        invalid: 0,
                        ended_links: 0,
                        unreceipted: 0,
                        sent_at: now.wall,
                    };
                    // Cannot fail, see the field.
                    self.begun.insert(at, begun).ok()?;
                }
            }
            return Some((position, record));
        }
    }

    /// The client gave the event at `position` a packet id.
    pub fn sent(&mut self, position: QueuePosition, packet: u16) {
        if let Some(begun) = self.begun.iter_mut().find(|b| b.stored.position == position)
            && begun.stage == EventStage::Handed
        {
            begun.stage = EventStage::Flying(packet);
        }
    }

    /// Which event is on its way under a packet id.
    pub fn position_of(&self, packet: u16) -> Option<QueuePosition> {
        let flying = |b: &&Begun| match b.stage {
            EventStage::Flying(p) | EventStage::Unsettled(p) => p == packet,
            _ => false,
        };
        self.begun.iter().find(flying).map(|b| b.stored.position)
    }

    /// The broker did not take the event under this packet id, and it is kept elsewhere: it leaves.
    pub fn give_up(&mut self, packet: u16, now: Now) -> Settled {
        let found = self.position_of(packet);
        let begun = self.begun.iter().find(|b| Some(b.stored.position) == found);
        let Some(Begun { stored, id, .. }) = begun.copied() else { return Settled::Unknown };
        self.leave(stored, Fate::GivenUp, now);
        Settled::GivenUp(id)
    }

    /// An acknowledgement came. `random` spreads the back-off after a refusal.
    pub fn settle(&mut self, packet: u16, verdict: AckOutcome, now: Now, random: u32) -> Settled {
        let flying = |b: &Begun| match b.stage {
            EventStage::Flying(p) | EventStage::Unsettled(p) => p == packet,
            _ => false,
        };
        let Some(at) = self.begun.iter().position(flying) else { return Settled::Unknown };
        let Begun { stored, id, .. } = self.begun[at];
        if matches!(verdict, AckOutcome::Delivered | AckOutcome::Taken) {
            self.probing = false;
            self.refused = false;
            self.paused_until = Duration::ZERO;
            self.backoff.reset();
            if verdict == AckOutcome::Delivered {
                self.leave(stored, Fate::Delivered, now);
                return Settled::Delivered(id);
            }
            let begun = &mut self.begun[at];
            let wait = RECEIPT_WAIT.0 * (1 << begun.unreceipted.min(6));
            begun.unreceipted = begun.unreceipted.saturating_add(1);
            begun.stage = EventStage::Unreceipted(now.monotonic + wait.min(RECEIPT_WAIT.1));
            return Settled::Unreceipted(id);
        }
        let most = if verdict == AckOutcome::Unheard { MAX_UNHEARD_WAIT } else { Duration::MAX };
        self.counters.unheard += u64::from(verdict == AckOutcome::Unheard);
        self.refused = verdict != AckOutcome::Unheard;
        self.counters.refusals += u64::from(self.refused);
        let begun = &mut self.begun[at];
        begun.stage = EventStage::Waiting;
        begun.invalid += u8::from(verdict == AckOutcome::Invalid);
        if begun.invalid >= MAX_REFUSALS {
            self.leave(stored, Fate::GivenUp, now);
            return Settled::GivenUp(id);
        }
        self.probing = true;
        // Refusals of a whole window come together and are one reason to wait.
        if now.monotonic >= self.paused_until {
            self.paused_until = now.monotonic + self.backoff.next(random).min(most);
        }
        Settled::Again(id, self.paused_until - now.monotonic)
    }

    /// The link ended. What was handed over waits again; what was sent stays with its packet id
    /// until the broker says whether it kept the session.
    pub fn disconnected(&mut self) {
        for begun in &mut self.begun {
            begun.stage = match begun.stage {
                EventStage::Flying(packet) => EventStage::Unsettled(packet),
                EventStage::Handed => EventStage::Waiting,
                EventStage::Waiting
                | EventStage::Unsettled(_)
                | EventStage::Aside(_)
                | EventStage::Unreceipted(_) => continue,
            };
        }
    }

    /// Events of an earlier link, oldest first, to be sent again under the same packet id with the
    /// DUP flag if the broker kept the session. Expired ones are dropped. Third: when it was sent
    /// first.
    pub fn unsettled_events(
        &mut self,
        now: Now,
    ) -> heapless::Vec<(u16, EventRecord, OffsetDateTime), MAX_WINDOW> {
        let mut out = heapless::Vec::new();
        if self.begun.iter().any(|b| b.ended_links >= STRIP_AFTER) {
            // One at a time, the suspect first: those after it must not go down with it.
            self.session_lost();
        }
        for begun in self.begun.clone() {
            let EventStage::Unsettled(packet) = begun.stage else { continue };
            if begun.stored.expires <= nanoseconds(now.wall) {
                self.leave(begun.stored, Fate::Expired, now);
                continue;
            }
            match self.read(begun.stored, now) {
                ReadBack::Record(record) => {
                    let sent = (packet, record, begun.sent_at);
                    out.push(sent).expect("no more are away than fit");
                }
                ReadBack::Gone => {}
                // It is sent anew when it can be read.
                ReadBack::Later => {
                    let position = begun.stored.position;
                    let begun = self.begun.iter_mut().find(|b| b.stored.position == position);
                    begun.expect("it has not left").stage = EventStage::Waiting;
                }
            }
        }
        out
    }

    /// A new link: one event at a time until one succeeds. The broker may have forgotten the
    /// session and with it the subscribers: then the first event is not heard, and those after it
    /// wait instead of overtaking it.
    pub fn connected(&mut self) {
        self.probing = true;
        for begun in &mut self.begun {
            match begun.stage {
                EventStage::Aside(AsideReason::TooLarge) => begun.stage = EventStage::Waiting,
                // A broker that was away may have forgotten what it took.
                EventStage::Unreceipted(_) => {
                    begun.stage = EventStage::Waiting;
                    self.counters.repeated += 1;
                }
                _ => {}
            }
        }
    }

    /// The broker kept the session: what was not settled is being sent again.
    pub fn session_kept(&mut self) {
        self.counters.repeated += self.unsettled() as u64;
    }

    /// The broker knows nothing of an earlier session: what was not settled waits again, in its
    /// place.
    pub fn session_lost(&mut self) {
        self.counters.repeated += self.unsettled() as u64;
        let unsettled = |b: &&mut Begun| matches!(b.stage, EventStage::Unsettled(_));
        self.begun.iter_mut().filter(unsettled).for_each(|b| b.stage = EventStage::Waiting);
    }

    /// The monotonic time at which [`Outbox::next_to_send`] may have something again, where a
    /// refusal made it wait.
    pub fn wake_at(&self, now: Now) -> Option<Duration> {
        let until = self.paused_until.max(now.monotonic + self.reading.left(now.monotonic));
        let refused = (until > now.monotonic && self.events > 0).then_some(until);
        // What is overdue goes out as soon as it may, without a wake.
        let missed = self.begun.iter().filter_map(|b| match b.stage {
            EventStage::Unreceipted(again) if again > now.monotonic => Some(again),
            _ => None,
        });
        missed.chain(refused).min()
    }

    /// Whether events of an earlier link wait for their acknowledgement.
    pub fn has_unsettled(&self) -> bool {
        self.unsettled() > 0
    }

    pub(super) fn unsettled(&self) -> usize {
        self.begun.iter().filter(|b| matches!(b.stage, EventStage::Unsettled(_))).count()
    }

    pub(super) fn is_waiting(&self, position: QueuePosition) -> bool {
        self.begun.binary_search_by_key(&position, |b| b.stored.position).map_or(true, |at| {
            matches!(
                self.begun[at].stage,
                EventStage::Waiting | EventStage::Aside(_) | EventStage::Unreceipted(_)
            )
        })
    }

    /// The oldest that waits: one that was refused, as those were handed out first, or the first
    /// that never was.
    pub(super) fn first_waiting(&mut self) -> Option<Stored> {
        let refused = self.begun.iter().find(|b| b.stage == EventStage::Waiting).map(|b| b.stored);
        refused.or_else(|| self.seek(self.frontier))
    }
}
