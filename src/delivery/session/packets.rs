//! What goes to the client, and whether the broker takes it.
//!
//! * One place compares sizes with the broker's limit.
//! * What never fits is dropped and counted, but for candidates, which wait.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{EventRecord, Handed, OVERHEAD, QueuePosition, ReportStage, Session, Store};
use crate::clock::Now;
use crate::delivery::event::{CONTENT_TYPE, EventKind};
use crate::delivery::signer::Signer;

/// One message for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub topic: String,
    /// The payload, byte for byte.
    pub payload: Vec<u8>,
    /// QoS 1 where true, otherwise 0.
    pub acknowledged: bool,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// MQTT message expiry interval in seconds.
    pub expiry_s: Option<u32>,
    /// When it was sent first, RFC 3339: the user property `sentat`. The payload stays as it was
    /// decided.
    pub sent_at: String,
    /// The signature of the payload: the user property `signature`.
    pub signature: Option<String>,
    /// MQTT content type.
    pub content_type: &'static str,
    /// The packet id under which it was sent before; then the DUP flag is set.
    pub again: Option<u16>,
}

impl<S: Store> Session<S> {
    /// Has candidates signed by `signer` from now on.
    pub fn sign_with(&mut self, signer: Box<dyn Signer>) {
        self.signer = Some(signer);
    }

    /// Whether there is somebody who signs: the device has an identity, and a log.
    pub fn signs(&self) -> bool {
        self.signer.is_some()
    }

    /// What the broker keeps of the device's log has come on this connection, and was compared with
    /// the log.
    pub fn compared_kept(&mut self) {
        self.compared = true;
    }

    /// Whether the newest checkpoint is to go out: not before the one that the broker has kept was
    /// compared, where a log is held against that. What convicts a log must not be replaced by it.
    pub(super) fn may_replace_checkpoint(&self) -> bool {
        self.checkpoint_due && (self.compared || !self.signs())
    }

    /// Whether a publish of `payload` on `topic` is one that the broker takes: the one place that
    /// compares sizes with its limit.
    pub(super) fn fits(&self, topic: &str, payload: &[u8]) -> bool {
        packet_bytes(topic, payload) <= self.limit.bytes()
    }

    /// `publish` is on its way to the broker.
    pub fn sends(&mut self, publish: &Publish) {
        self.limit.sends(packet_bytes(&publish.topic, &publish.payload));
    }

    /// The broker ended the link over something that it calls too large: nothing as large is sent
    /// any more, and what it has not acknowledged is sent anew. False where nothing was sent.
    pub fn refused_as_too_large(&mut self, now: Now) -> bool {
        let Some(limit) = self.limit.refused(now.monotonic) else { return false };
        log::error!(
            "The broker ends the link over a packet that it calls too large; raise its limits. \
             Nothing larger is sent for a day: limit={limit}."
        );
        self.outbox.disconnected();
        self.outbox.session_lost();
        true
    }

    /// The newest status with less in it, for a broker that takes no packet as large as it.
    pub fn shorten_status(&mut self, payload: Vec<u8>) {
        self.short_status = payload;
    }

    /// The newest status, in the form that the broker takes; `None` where it takes neither.
    pub(super) fn fitting_status(&self) -> Option<&[u8]> {
        let forms = [&self.status, &self.short_status].into_iter().filter(|form| !form.is_empty());
        forms.map(Vec::as_slice).find(|form| self.fits(&self.topics.status(), form))
    }

    /// The broker took the status.
    pub(super) fn note_taken_status(&mut self) {
        let topic = self.topics.status();
        let bytes = self.fitting_status().map(|status| packet_bytes(&topic, status));
        self.limit.took(bytes.unwrap_or_default());
    }

    /// What the event at `position` is. That nobody need listen to it is remembered for its
    /// acknowledgement.
    pub(super) fn kind_of(&mut self, position: QueuePosition, event: &[u8]) -> EventKind {
        let kind = EventKind::of(event);
        if !kind.needs_listener() && self.spare_out(position).is_none() {
            if self.spare_out.is_full() {
                self.spare_out.pop_front();
            }
            self.spare_out.push_back((position, kind)).expect("room was made");
        }
        kind
    }

    pub(super) fn topic(&self, kind: EventKind) -> String {
        match kind {
            EventKind::Candidate => self.topics.candidate(),
            EventKind::AuditEntry => self.topics.audit_entry(),
            EventKind::ReviewState => self.topics.review_state(),
            EventKind::ControlAnswer => self.topics.control_answer(),
        }
    }

    /// What the event at `position` is, where it is one that nobody need listen to.
    pub(super) fn spare_out(&self, position: QueuePosition) -> Option<EventKind> {
        self.spare_out.iter().find(|(p, _)| *p == position).map(|(_, kind)| *kind)
    }

    /// Drops and counts what the broker would end the link over, but for candidates, which wait.
    pub(super) fn drop_what_never_fits(&mut self) {
        if !self.up || self.limit.bytes() == usize::MAX {
            return;
        }
        let before = self.too_large;
        if self.status_stage == ReportStage::Waiting && self.fitting_status().is_none() {
            (self.status_stage, self.status_taken) = (ReportStage::Settled, false);
            self.too_large += 1;
        }
        while !self.list_state_stage.is_out()
            && let Some(payload) = self.list_states_due.front()
            && !self.fits(&self.topics.watchlist_state(), payload)
        {
            self.list_states_due.pop_front();
            self.too_large += 1;
        }
        if self.checkpoint_due && !self.fits(&self.topics.audit_checkpoint(), &self.checkpoint) {
            self.checkpoint_due = false;
            self.too_large += 1;
        }
        while let Some((topic, payload)) = self.announcements.get(self.announced)
            && !self.fits(topic, payload)
        {
            self.announced += 1;
            self.too_large += 1;
        }
        if self.stats.as_ref().is_some_and(|stats| !self.fits(&self.topics.stats(), stats)) {
            self.stats = None;
            self.too_large += 1;
        }
        if before == 0 && self.too_large > 0 {
            log::error!(
                "The broker takes no packet as large as the status or the counts; raise its packet \
                 size: limit={}.",
                self.limit.bytes()
            );
        }
    }

    pub(super) fn next_checkpoint(&mut self, now: Now) -> Option<Publish> {
        self.checkpoint_due = false;
        self.hand(Handed::Stats, now);
        let payload = self.checkpoint.clone();
        let message = self.message(self.topics.audit_checkpoint(), payload, (false, true), now);
        Some(Publish { content_type: "text/plain; charset=utf-8", ..message })
    }

    /// The next thing that is said to witnesses; what the broker does not take is asked for again.
    pub(super) fn next_said(&mut self, now: Now) -> Option<Publish> {
        let (saying, note) = self.said.pop_front()?;
        let topic = self.topics.audit_saying(saying);
        if !self.fits(&topic, note.as_bytes()) {
            self.too_large += 1;
            return None;
        }
        self.hand(Handed::Stats, now);
        let message = self.message(topic, note.into_bytes(), (false, false), now);
        Some(Publish { content_type: "text/plain; charset=utf-8", ..message })
    }

    /// The next event that is said once, where none is with the client.
    pub(super) fn next_reply(&mut self, now: Now) -> Option<Publish> {
        if self.closing || self.handed.iter().any(|handed| *handed == Handed::Reply) {
            return None;
        }
        while let Some((kind, payload)) = self.replies.pop_front() {
            let topic = self.topic(kind);
            if !self.fits(&topic, &payload) {
                self.too_large += 1;
                continue;
            }
            self.hand(Handed::Reply, now);
            let signature = self.signer.as_ref().map(|signer| signer.sign(&payload));
            let message = self.message(topic, payload, (false, false), now);
            return Some(Publish { signature, ..message });
        }
        None
    }

    pub(super) fn next_stats(&mut self, now: Now) -> Option<Publish> {
        let stats = self.stats.take()?;
        self.hand(Handed::Stats, now);
        Some(self.message(self.topics.stats(), stats, (false, false), now))
    }

    /// An event of the outbox, of `kind`, as it goes out.
    pub(super) fn event(
        &self,
        kind: EventKind,
        record: &EventRecord,
        sent_at: OffsetDateTime,
        now: Now,
        again: Option<u16>,
    ) -> Publish {
        let left = (record.expires - now.wall).whole_seconds().max(1);
        // A record of the log is proved by the log's checkpoint.
        let signer = self.signer.as_ref().filter(|_| kind != EventKind::AuditEntry);
        Publish {
            topic: self.topic(kind),
            signature: signer.map(|signer| signer.sign(&record.payload)),
            payload: record.payload.to_vec(),
            acknowledged: true,
            retain: false,
            expiry_s: Some(u32::try_from(left).unwrap_or(u32::MAX)),
            sent_at: rfc3339(sent_at),
            content_type: CONTENT_TYPE,
            again,
        }
    }

    pub(super) fn message(
        &self,
        topic: String,
        payload: Vec<u8>,
        (acknowledged, retain): (bool, bool),
        now: Now,
    ) -> Publish {
        let (content_type, sent_at) = (CONTENT_TYPE, rfc3339(now.wall));
        Publish {
            topic,
            payload,
            acknowledged,
            retain,
            expiry_s: None,
            sent_at,
            signature: None,
            content_type,
            again: None,
        }
    }
}

/// Bytes of a publish of `payload` on `topic`, at most.
fn packet_bytes(topic: &str, payload: &[u8]) -> usize {
    payload.len() + OVERHEAD + topic.len()
}

/// Empty where the date cannot be written: the property is optional and must not hold a message
/// back.
fn rfc3339(when: OffsetDateTime) -> String {
    when.format(&Rfc3339).unwrap_or_default()
}
