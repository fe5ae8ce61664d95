//! Which publish is next, and what the broker's answers mean for it. Sans-IO:
//! `connection` moves what this decides.
//!
//! Promises:
//! * On each connection what an earlier one left unsettled goes first, where the broker kept the
//!   session; then the status, the state of the list, the audit log's checkpoint and announcements,
//!   then waiting candidates and audit entries in their order, then replies, then counts.
//! * Of status and counts only the newest is kept; a status is repeated until it is acknowledged.
//! * Each state of the list, which answers an order or an offer, is repeated until it is
//!   acknowledged, over cuts of the link, in their order.
//! * Of status and states of the list at most one is on its way.
//! * Each packet id that the client reports belongs to the publish that was handed over first and
//!   has none yet: the client numbers publishes in the order in which it takes them.
//! * Nothing larger than the broker's limit is sent, which would end the connection. A candidate
//!   goes out without its crop then, or is set aside; the status with its weakened promises
//!   alone; anything else is dropped and counted.
//! * Each candidate is signed as it is sent, where there is somebody to sign: over the very bytes,
//!   so that a repetition carries the same signature, and one without its crop one of its own.
//! * No candidate waits for a record of the log or a state of a review that nobody listens to, or
//!   that the broker refuses: the log on the device has both.
//! * A reply, which answers what changed nothing, is said once at QoS 0, one at a time, when no
//!   candidate can go out: whoever floods the device with questions takes no place of a candidate.
//! * A broker that takes publishes and acknowledges none for [`ACK_TIMEOUT`] counts as lost.

mod limit;
mod packets;
mod progress;

use std::collections::VecDeque;
use std::time::Duration;

use time::OffsetDateTime;

use self::limit::PacketLimit;
pub use self::packets::Publish;
pub use self::progress::Acknowledged;
use self::progress::{Handed, ReportStage};
use super::broker::ReceiptRule;
use super::event::{EventId, EventKind};
use super::exchange::{MAX_ANSWERS, MAX_REPLIES, MAX_SAID};
use super::outbox::{
    AckOutcome, AppendError, AsideReason, EventRecord, MAX_ASIDE, MAX_WINDOW, Outbox,
    QueuePosition, Settled, Store, Witness,
};
use super::signer::Signer;
use super::topics::{AuditSaying, Topics};
use crate::clock::Now;

/// How long the oldest publish may go without acknowledgement before the connection is given up.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// Most publishes handed over to the client without packet id: the window, one status, one message
/// of counts, one about the list.
pub const MAX_HANDED: usize = MAX_WINDOW + 3;

/// Events that nobody need listen to and that are remembered as such: as many as are on their way
/// at most.
const MAX_SPARE_OUT: usize = MAX_WINDOW + MAX_ASIDE + 1;

/// Bytes that MQTT adds to a payload at most: headers, properties and the topic.
pub(super) const OVERHEAD: usize = 512;

/// Delivery's state on top of the outbox.
#[derive(Debug)]
pub struct Session<S> {
    outbox: Outbox<S>,
    topics: Topics,
    /// Signs candidates as they are sent.
    signer: Option<Box<dyn Signer>>,
    status: Vec<u8>,
    /// The same with less in it, for a broker that takes no packet as large; may be empty.
    short_status: Vec<u8>,
    status_stage: ReportStage,
    stats: Option<Vec<u8>>,
    list_state: Vec<u8>,
    /// States of the list that the broker has not acknowledged, oldest first: each answers an order
    /// or an offer.
    list_states_due: VecDeque<Vec<u8>>,
    /// Of the oldest of them.
    list_state_stage: ReportStage,
    /// The newest signed checkpoint of the audit log, and whether it is to be published.
    checkpoint: Vec<u8>,
    checkpoint_due: bool,
    /// No checkpoint is published until one is set.
    withdrawn: bool,
    /// What the broker keeps was compared on this connection: a checkpoint of now may replace it.
    compared: bool,
    /// What is said to witnesses on this connection.
    said: VecDeque<(AuditSaying, String)>,
    /// Events that are said once, at most [`MAX_REPLIES`].
    replies: VecDeque<(EventKind, Vec<u8>)>,
    /// Events that were handed out last and that nobody need listen to.
    spare_out: heapless::Deque<(QueuePosition, EventKind), MAX_SPARE_OUT>,
    /// Topics and retained payloads for other systems (Home Assistant), and how many of them are
    /// out on this connection.
    announcements: Vec<(String, Vec<u8>)>,
    announced: usize,
    /// Handed to the client, no packet id reported yet, in the client's order.
    handed: heapless::Deque<Handed, { MAX_HANDED + MAX_WINDOW }>,
    /// Whether the broker accepted this connection.
    up: bool,
    /// Largest packet that the broker takes.
    limit: PacketLimit,
    /// When the broker last showed progress, while something waits for its acknowledgement.
    waiting_since: Option<Duration>,
    /// Whether candidates go out; not while the last status is on its way.
    closing: bool,
    /// Candidates do not go out: some may be revoked.
    held: bool,
    /// On this link: they are all larger than the broker allows.
    nothing_fits: bool,
    /// What the last acknowledgement of a status said.
    status_taken: bool,
    status_refusals: u64,
    /// Whose word retires candidates.
    receipts: ReceiptRule,
    /// Candidates that went out without their crop.
    stripped: u64,
    /// Status, states of the list and counts that the broker's limit has kept back.
    too_large: u64,
}

impl<S: Store> Session<S> {
    /// A session without connection, around an outbox.
    pub fn new(outbox: Outbox<S>, topics: Topics) -> Self {
        Self {
            outbox,
            topics,
            signer: None,
            status: Vec::new(),
            short_status: Vec::new(),
            status_stage: ReportStage::Settled,
            stats: None,
            list_state: Vec::new(),
            list_states_due: VecDeque::new(),
            list_state_stage: ReportStage::Settled,
            checkpoint: Vec::new(),
            checkpoint_due: false,
            withdrawn: false,
            compared: false,
            said: VecDeque::new(),
            replies: VecDeque::new(),
            spare_out: heapless::Deque::new(),
            announcements: Vec::new(),
            announced: 0,
            handed: heapless::Deque::new(),
            up: false,
            limit: PacketLimit::default(),
            waiting_since: None,
            closing: false,
            held: false,
            nothing_fits: false,
            status_taken: false,
            status_refusals: 0,
            receipts: ReceiptRule::Broker,
            stripped: 0,
            too_large: 0,
        }
    }

    /// Reports to `witness` what becomes of each event.
    pub fn report_to(&mut self, witness: Box<dyn Witness>) {
        self.outbox.report_to(witness);
    }

    /// The outbox, to read.
    pub fn outbox(&self) -> &Outbox<S> {
        &self.outbox
    }

    /// When the oldest candidate that waits expires.
    pub fn oldest_expires(&mut self) -> Option<OffsetDateTime> {
        self.outbox.oldest_expires()
    }

    /// Whether the broker accepted this connection.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Takes events that belong together; those that the outbox does not take, each with why.
    pub fn enqueue(&mut self, records: &[EventRecord], now: Now) -> Vec<(EventId, AppendError)> {
        self.outbox.append_together(records, now)
    }

    /// The same with what they carry for the audit log; false where they are not taken so.
    pub fn enqueue_carrying(&mut self, records: &[EventRecord], carried: &[u8], now: Now) -> bool {
        self.outbox.append_carrying(records, carried, now)
    }

    /// Whether candidates are held back, as some of them may be revoked.
    pub fn hold(&mut self, hold: bool) {
        self.held = hold;
    }

    /// Drops candidates that have expired, and tries to write to the disk what is only in memory.
    pub fn sweep(&mut self, now: Now) {
        self.outbox.expire(now);
        self.outbox.flush();
        self.outbox.let_go_of_carried(now, false);
    }

    /// At the end: nothing is kept that is of no use to the next start.
    pub fn let_go_of_carried(&mut self, now: Now) {
        self.outbox.let_go_of_carried(now, true);
    }

    /// The status from now on; it is published at once and on every connection.
    pub fn set_status(&mut self, payload: Vec<u8>) {
        self.status = payload;
        self.short_status.clear();
        self.status_stage = ReportStage::Waiting;
    }

    /// Wipes the waiting candidates that were revoked; how many there were.
    ///
    /// Second: whether all that wait were looked at. Until then no candidate goes out.
    pub fn revoke(&mut self, revoked: impl FnMut(&[u8]) -> bool, now: Now) -> (u64, bool) {
        self.outbox.revoke(revoked, now)
    }

    /// Which list is in force; each is published until it is acknowledged, and the newest on every
    /// connection. Of more than [`MAX_ANSWERS`] that wait for a broker the oldest go.
    pub fn set_list_state(&mut self, payload: Vec<u8>) {
        self.list_state.clone_from(&payload);
        if self.list_states_due.len() >= MAX_ANSWERS {
            // The oldest may be on its way.
            let oldest = usize::from(self.list_state_stage.is_out());
            self.list_states_due.remove(oldest);
        }
        self.list_states_due.push_back(payload);
    }

    /// The newest checkpoint of the audit log; it is published once, and on every connection. An
    /// empty one is none: nothing is published any more.
    pub fn set_checkpoint(&mut self, note: String) {
        self.withdrawn = note.is_empty();
        if !self.is_behind(&note) {
            self.checkpoint_due = !note.is_empty();
            self.checkpoint = note.into_bytes();
        }
    }

    /// The same of a candidate whose record became durable: a newer one may have been set before,
    /// and none is published once they were withdrawn.
    pub fn advance_checkpoint(&mut self, note: String) {
        if !self.withdrawn {
            self.set_checkpoint(note);
        }
    }

    /// Whether a longer checkpoint of the same log is there.
    fn is_behind(&self, note: &str) -> bool {
        let had = std::str::from_utf8(&self.checkpoint).ok().and_then(log_and_size);
        match (had, log_and_size(note)) {
            (Some((log, had)), Some((same, size))) => log == same && size < had,
            _ => false,
        }
    }

    /// Says something to witnesses, if this connection is up: what was said before a new one would
    /// be late.
    pub fn say(&mut self, saying: AuditSaying, note: String) {
        if self.up && self.said.len() < MAX_SAID {
            self.said.push_back((saying, note));
        }
    }

    /// Says an event once; false where too many wait.
    pub fn reply(&mut self, kind: EventKind, payload: Vec<u8>) -> bool {
        let room = self.replies.len() < MAX_REPLIES;
        if room {
            self.replies.push_back((kind, payload));
        }
        room
    }

    /// What is published, retained, on every connection after status and list.
    pub fn set_announcements(&mut self, announcements: Vec<(String, Vec<u8>)>) {
        self.announcements = announcements;
        self.announced = 0;
    }

    /// Publishes the announcements again, where all are out: their reader has restarted.
    pub fn announce_again(&mut self) {
        if self.announced == self.announcements.len() {
            self.announced = 0;
        }
    }

    /// Counts; an older message that was not sent yet is replaced.
    pub fn set_stats(&mut self, payload: Vec<u8>) {
        self.stats = Some(payload);
    }

    /// Before a connection: what to send again if the broker kept the session, oldest first. The
    /// client drops it where the broker did not.
    pub fn connecting(&mut self, now: Now) -> Vec<Publish> {
        self.up = false;
        self.handed.clear();
        let unsettled = self.outbox.unsettled_events(now);
        unsettled
            .into_iter()
            .map(|(packet, record, sent_at)| {
                self.handed
                    .push_back(Handed::Again)
                    .expect("no more are unsettled than fit in the window");
                let kind = EventKind::of(&record.payload);
                self.event(kind, &record, sent_at, now, Some(packet))
            })
            .collect()
    }

    /// The broker accepted. `receive_max` is how many publishes it takes unacknowledged,
    /// `max_packet` their size.
    pub fn connected(
        &mut self,
        session_present: bool,
        receive_max: Option<u16>,
        max_packet: Option<u32>,
        now: Now,
    ) {
        (self.up, self.nothing_fits, self.compared) = (true, false, false);
        self.waiting_since = Some(now.monotonic);
        self.limit.connected(max_packet, now.monotonic);
        // One place of the broker's receive maximum is kept for the status.
        self.outbox
            .set_window(receive_max.map_or(MAX_WINDOW, |m| usize::from(m).saturating_sub(1)));
        self.outbox.connected();
        if session_present {
            self.outbox.session_kept();
        } else {
            self.handed.clear();
            self.outbox.session_lost();
        }
        if !self.status.is_empty() {
            self.status_stage = ReportStage::Waiting;
        }
        if self.list_states_due.is_empty() && !self.list_state.is_empty() {
            self.list_states_due.push_back(self.list_state.clone());
        }
        self.announced = 0;
        self.checkpoint_due = !self.checkpoint.is_empty();
    }

    /// The connection ended or was never made.
    pub fn disconnected(&mut self) {
        self.up = false;
        self.said.clear();
        self.handed.clear();
        self.waiting_since = None;
        self.limit.disconnected();
        self.outbox.disconnected();
        if self.status_stage.is_out() {
            self.status_stage = ReportStage::Waiting;
        }
        self.list_state_stage = ReportStage::Settled;
    }

    /// The next message for the client; `None` where there is none or the client has enough.
    pub fn next(&mut self, now: Now) -> Option<Publish> {
        self.drop_what_never_fits();
        if !self.up || self.handed.len() >= MAX_HANDED {
            return None;
        }
        // Packet ids start over with each connection: a new publish could take one that an
        // unsettled event still has.
        let again = self.outbox.has_unsettled();
        // The last counts and the last checkpoint go before `stopped`: after it the link ends.
        if self.closing && !again && self.stats.is_some() {
            return self.next_stats(now);
        }
        if self.closing && !again && self.may_replace_checkpoint() {
            return self.next_checkpoint(now);
        }
        if self.closing
            && !again
            && let Some(message) = self.next_said(now)
        {
            return Some(message);
        }
        // Answers go before `stopped`, too.
        let last = self.closing && !self.list_states_due.is_empty();
        let due = self.status_stage == ReportStage::Waiting && !last;
        if due && !again && !self.list_state_stage.is_out() {
            self.status_stage = ReportStage::Handed;
            self.hand(Handed::Status, now);
            let status = self.fitting_status().unwrap_or_default().to_vec();
            return Some(self.message(self.topics.status(), status, (true, true), now));
        }
        if !again
            && !self.status_stage.is_out()
            && !self.list_state_stage.is_out()
            && let Some(payload) = self.list_states_due.front().cloned()
        {
            self.list_state_stage = ReportStage::Handed;
            self.hand(Handed::ListState, now);
            return Some(self.message(self.topics.watchlist_state(), payload, (true, true), now));
        }
        if !again && self.may_replace_checkpoint() {
            return self.next_checkpoint(now);
        }
        if !again && let Some(message) = self.next_said(now) {
            return Some(message);
        }
        if self.announced < self.announcements.len() && !again && !self.closing {
            let (topic, payload) = self.announcements[self.announced].clone();
            self.announced += 1;
            self.hand(Handed::Stats, now);
            let message = self.message(topic, payload, (false, true), now);
            return Some(Publish { content_type: "application/json", ..message });
        }
        while !self.closing && !self.held && !self.nothing_fits {
            let Some((position, record)) = self.outbox.next_to_send(now) else { break };
            let suspect = self.outbox.is_suspect(position);
            let kind = self.kind_of(position, &record.payload);
            let topic = self.topic(kind);
            let record = if suspect || !self.fits(&topic, &record.payload) {
                let bytes = record.payload.len();
                let record = record.without_crop();
                self.stripped += u64::from(record.payload.len() != bytes);
                record
            } else {
                record
            };
            if !self.fits(&topic, &record.payload) {
                log::error!(
                    "A candidate is larger than the broker allows; raise the broker's packet size: \
                     id={} bytes={} limit={}.",
                    record.id,
                    record.payload.len(),
                    self.limit.bytes()
                );
                if self.outbox.aside() < MAX_ASIDE {
                    self.outbox.set_aside(position, AsideReason::TooLarge, now);
                    continue;
                }
                // No candidate fits: all wait for another limit.
                self.outbox.take_back(position);
                self.nothing_fits = true;
                break;
            }
            self.hand(Handed::Candidate(position), now);
            return Some(self.event(kind, &record, now.wall, now, None));
        }
        if again {
            return None;
        }
        self.next_reply(now).or_else(|| self.next_stats(now))
    }

    /// The client wrote a publish; `packet` is its packet id, 0 at QoS 0.
    pub fn sent(&mut self, packet: u16) {
        match self.handed.pop_front() {
            Some(Handed::Candidate(position)) => self.outbox.sent(position, packet),
            Some(Handed::Status) if self.status_stage == ReportStage::Handed => {
                self.status_stage = ReportStage::Flying(packet);
            }
            Some(Handed::ListState) if self.list_state_stage == ReportStage::Handed => {
                self.list_state_stage = ReportStage::Flying(packet);
            }
            Some(
                Handed::Status | Handed::ListState | Handed::Stats | Handed::Reply | Handed::Again,
            )
            | None => {}
        }
    }

    /// The broker acknowledged a packet id. `random` spreads the back-off after a refusal.
    pub fn acknowledged(
        &mut self,
        packet: u16,
        verdict: AckOutcome,
        now: Now,
        random: u32,
    ) -> Acknowledged {
        self.waiting_since = Some(now.monotonic);
        let taken = matches!(verdict, AckOutcome::Delivered | AckOutcome::Unheard);
        if self.list_state_stage == ReportStage::Flying(packet) {
            self.list_state_stage = ReportStage::Settled;
            // A refused one is not repeated either: the reason will be the same.
            self.list_states_due.pop_front();
            return Acknowledged::ListState(taken);
        }
        if self.status_stage == ReportStage::Flying(packet) {
            // A refused status is not repeated on this connection: the reason will be the same, and
            // the next connection publishes it again.
            self.status_stage = ReportStage::Settled;
            self.status_taken = taken;
            if taken {
                self.note_taken_status();
            }
            self.status_refusals += u64::from(!taken);
            return Acknowledged::Status(taken);
        }
        // The log itself keeps what nobody listened to: no candidate waits for it.
        let spare = self.outbox.position_of(packet).and_then(|p| self.spare_out(p));
        let needs_receipt =
            spare != Some(EventKind::AuditEntry) && self.receipts == ReceiptRule::Required;
        let settled = match verdict {
            // Without a receipt nobody is known to have it: it goes out again.
            AckOutcome::Unheard if spare.is_some() && needs_receipt => {
                self.outbox.settle(packet, AckOutcome::Taken, now, random)
            }
            AckOutcome::Unheard if spare.is_some() => {
                self.outbox.settle(packet, AckOutcome::Delivered, now, random)
            }
            AckOutcome::Delivered if needs_receipt => {
                self.outbox.settle(packet, AckOutcome::Taken, now, random)
            }
            AckOutcome::RefusedForNow | AckOutcome::Invalid if spare.is_some() => {
                self.outbox.give_up(packet, now)
            }
            verdict => self.outbox.settle(packet, verdict, now, random),
        };
        match settled {
            Settled::Unknown => Acknowledged::Unknown,
            settled => Acknowledged::Candidate(settled),
        }
    }

    fn hand(&mut self, what: Handed, now: Now) {
        // The wait for acknowledgements begins with the first publish after none was on its way.
        if self.outbox.in_flight() <= 1 && self.handed.is_empty() {
            self.waiting_since = Some(now.monotonic);
        }
        self.handed.push_back(what).expect("next() hands nothing over beyond MAX_HANDED");
    }
}

/// The first two lines of a checkpoint.
fn log_and_size(note: &str) -> Option<(&str, u64)> {
    let (log, rest) = note.split_once('\n')?;
    Some((log, rest.split_once('\n')?.0.parse().ok()?))
}

/// A record of an event as it will be queued.
pub fn record(id: EventId, expires: OffsetDateTime, payload: Vec<u8>) -> EventRecord {
    EventRecord { id, expires, payload: payload.into() }
}

#[cfg(test)]
mod tests;
