//! One connection to the broker, from its first packet to its end: moves what the session decides
//! through the client library.
//!
//! Promises:
//! * The last will says `offline`.
//! * Certificates and passwords are read again for each connection.
//! * A broker that accepts and says nothing, stops saying anything, or acknowledges nothing, is
//!   left.
//! * Orders and offers are subscribed to at QoS 1 on each connection. Each is screened before it
//!   takes a place in the mailbox, and acknowledged when the daemon has dealt with it; what does
//!   not pass the screen, at once. When all that the broker kept was heard is told to the handle.

use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, Packet, PubAckReason, Publish, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop, Request};

use super::broker::ReceiptRule;
use super::event::{State, Status};
use super::failure::{self, LinkFailure};
use super::hearing::Hearing;
use super::inbound::{Given, InboundKind, RECEIVE_MAX, Screened};
use super::outbox::{AckOutcome, Settled};
use super::session::{Acknowledged, MAX_HANDED};
use super::wire;
use super::worker::{DeliveryWorker, End, Names, SWEEP, encode, random};
use crate::clock::Now;

/// Most acknowledgements that wait in the client: a broker sends no more than the receive maximum
/// before one of them; one that keeps no contract ends the link.
const MAX_ACKS: usize = 32 * RECEIVE_MAX as usize;

impl DeliveryWorker {
    /// One connection from the first packet to its end.
    pub(super) async fn connection(&mut self) -> End {
        self.report();
        let (device, topics) = (&self.names.device, &self.names.topics);
        let status = if self.short_will { self.status.shorter() } else { self.status.clone() };
        let will = wire::will(device, topics, &status, self.clock.now(), self.retains);
        let options = will.and_then(|will| {
            let Names { url, client_id, .. } = &self.names;
            wire::options(&self.config, url, client_id, will, &self.ends)
        });
        let options = match options {
            Ok(options) => options,
            Err(failure) => return End::Failed(failure),
        };
        // A new event loop for each connection: what one keeps across connections (queued requests,
        // a collision of packet ids) it keeps by rules that lose or block publishes. What is
        // unsettled is known to the session.
        let (client, mut events) = AsyncClient::new(options, MAX_HANDED + 3 + MAX_ACKS);
        self.hearing = Hearing::default();
        self.acks.connected();
        for publish in self.session.connecting(self.clock.now()) {
            self.session.sends(&publish);
            events.pending.push_back(Request::Publish(wire::packet(publish)));
        }
        let mut silence =
            Duration::from_secs(wire::CONNECT_TIMEOUT_S + 2 * u64::from(self.config.keep_alive_s));
        let mut heard = self.clock.now().monotonic;
        loop {
            match self.event(&client, &mut events, heard + silence).await {
                Ok(Event::Outgoing(Outgoing::Disconnect)) => {
                    return End::Stopped { published: self.session.closed().unwrap_or(false) };
                }
                Ok(event) => {
                    if let Event::Incoming(Packet::ConnAck(ack)) = &event
                        && let Some(keep_alive) =
                            ack.properties.as_ref().and_then(|p| p.server_keep_alive)
                    {
                        silence = Duration::from_secs(
                            wire::CONNECT_TIMEOUT_S + 2 * u64::from(keep_alive),
                        );
                    }
                    heard = self.clock.now().monotonic;
                    if let Err(failure) = self.handle(event) {
                        return End::Failed(failure);
                    }
                }
                Err(end) => return self.without_retain(end),
            }
        }
    }

    /// A broker that refuses the connection because it keeps no messages is tried without at once.
    fn without_retain(&mut self, end: End) -> End {
        if let End::Failed(failure) = &end
            && failure.no_retain
        {
            self.retains = false;
        }
        end
    }

    /// The client's next event; takes inputs and hands publishes over while it waits.
    ///
    /// The client's future is polled to its end and never dropped half-way: it would lose a packet
    /// that it had begun to write, and keep it as sent.
    async fn event(
        &mut self,
        client: &AsyncClient,
        events: &mut EventLoop,
        silent_at: Duration,
    ) -> Result<Event, End> {
        let poll = events.poll();
        tokio::pin!(poll);
        loop {
            self.sweep();
            self.feed(client)?;
            self.report();
            let now = self.clock.now();
            if self.session.is_overdue(now) {
                return Err(End::Failed(failure::NO_ACKNOWLEDGEMENT.into()));
            }
            if now.monotonic >= silent_at {
                return Err(End::Failed(failure::SILENT.into()));
            }
            let stop = self.stop.map(|s| if now.monotonic < s.drain { s.drain } else { s.end });
            let wake = [self.session.wake_at(now), stop]
                .into_iter()
                .flatten()
                .fold(silent_at, Duration::min);
            tokio::select! {
                event = &mut poll => return event.map_err(|e| End::Failed(LinkFailure::of(&e))),
                input = self.inputs.next() => {
                    if self.take(input) {
                        return Err(End::Orphaned);
                    }
                }
                () = tokio::time::sleep(wake.saturating_sub(now.monotonic).min(SWEEP)) => {}
            }
        }
    }

    /// Hands over what the session wants sent, and ends the session step by step where that is
    /// asked for.
    fn feed(&mut self, client: &AsyncClient) -> Result<(), End> {
        let now = self.clock.now();
        if self.hearing.is_over() && self.acks.is_compared() {
            self.session.compared_kept();
        }
        while let Some(packet) = self.acks.next() {
            let handed = client.try_ack(&wire::acknowledgement(packet));
            handed.map_err(|_| End::Failed(failure::CLIENT.into()))?;
        }
        if self.close_if_asked(client, now)? {
            return Ok(());
        }
        while let Some(publish) = self.session.next(now) {
            self.session.sends(&publish);
            let qos = if publish.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let properties = wire::properties(&publish);
            let handed = client.try_publish_with_properties(
                publish.topic,
                qos,
                publish.retain && self.retains,
                publish.payload,
                properties,
            );
            handed.map_err(|_| End::Failed(failure::CLIENT.into()))?;
        }
        self.subscribe_once(client)
    }

    /// Takes the next step towards the end that the handle asked for. True where nothing more is
    /// published on this connection.
    fn close_if_asked(&mut self, client: &AsyncClient, now: Now) -> Result<bool, End> {
        let Some(stop) = self.stop else { return Ok(false) };
        if let Some(published) = self.session.closed() {
            if !self.disconnecting {
                self.disconnecting = true;
                client.try_disconnect().map_err(|_| End::Stopped { published })?;
            }
            return Ok(true);
        }
        if now.monotonic >= stop.end {
            return Err(End::Stopped { published: false });
        }
        let closing = self.session.is_drained() || now.monotonic >= stop.drain;
        if closing && self.session.is_up() && !self.session.is_closing() {
            let last = Status {
                state: State::Stopped,
                since: now.wall,
                matching: false,
                reason: None,
                degraded: None,
                ..self.status.clone()
            };
            let short = encode(&self.names.device, now, last.shorter()).unwrap_or_default();
            let payload = encode(&self.names.device, now, last)
                .map_err(|_| End::Stopped { published: false })?;
            self.session.close(payload);
            self.session.shorten_status(short);
        }
        Ok(false)
    }

    /// Subscribes to what is sent to the device: after the status, and not before what an earlier
    /// link left unsettled. Packet ids start over on each link, and one may not name two exchanges
    /// at a time.
    fn subscribe_once(&mut self, client: &AsyncClient) -> Result<(), End> {
        if !self.session.is_up() || self.session.outbox().has_unsettled() {
            return Ok(());
        }
        if self.hearing.asks(self.acks.is_settled()) {
            return self.ask(client);
        }
        if !self.hearing.subscribes() {
            return Ok(());
        }
        // Only a device that waits for receipts or takes controls needs the right to read them.
        let heard = |(_, kind): &(String, InboundKind)| match kind {
            InboundKind::Receipt => self.config.receipt == ReceiptRule::Required,
            InboundKind::Control => self.config.controls,
            _ => true,
        };
        let inbound = self.names.topics.inbound().into_iter().filter(heard);
        let topics = inbound.map(|(topic, _)| topic).chain(self.config.home_assistant.birth());
        let mut filters: Vec<Filter> =
            topics.map(|topic| Filter::new(topic, QoS::AtLeastOnce)).collect();
        if self.session.signs() {
            // At QoS 0, so that the broker queues none of them while the device is away.
            filters.push(Filter::new(self.names.topics.audit_checkpoint(), QoS::AtMostOnce));
        }
        client.try_subscribe_many(filters).map_err(|_| End::Failed(failure::CLIENT.into()))
    }

    /// Asks for an answer that comes after everything that the broker kept: see `hearing`.
    fn ask(&self, client: &AsyncClient) -> Result<(), End> {
        let mut filters = Vec::new();
        for (topic, kind) in self.names.topics.inbound() {
            if kind == InboundKind::Offer {
                let mut filter = Filter::new(topic, QoS::AtLeastOnce);
                filter.retain_forward_rule = RetainForwardRule::Never;
                filters.push(filter);
            }
        }
        client.try_subscribe_many(filters).map_err(|_| End::Failed(failure::CLIENT.into()))
    }

    fn handle(&mut self, event: Event) -> Result<(), LinkFailure> {
        let now = self.clock.now();
        match event {
            Event::Incoming(Packet::ConnAck(ack)) => self.accepted(&ack, now),
            Event::Outgoing(Outgoing::Publish(packet)) => self.session.sent(packet),
            // A broker that acknowledges out of order. A new connection sorts it out.
            Event::Outgoing(Outgoing::AwaitAck(_)) => return Err(failure::OUT_OF_ORDER.into()),
            Event::Incoming(Packet::PubAck(ack)) => self.acknowledged(ack.pkid, ack.reason, now),
            Event::Incoming(Packet::Publish(publish)) => return self.received(&publish),
            Event::Incoming(Packet::SubAck(ack)) => self.subscribed(&ack),
            _ => {}
        }
        Ok(())
    }

    fn acknowledged(&mut self, packet: u16, reason: PubAckReason, now: Now) {
        let verdict = match wire::verdict(reason) {
            // Nobody who listens is nobody who gives a receipt.
            AckOutcome::Unheard
                if !self.config.keep_unheard && self.config.receipt == ReceiptRule::Broker =>
            {
                AckOutcome::Delivered
            }
            verdict => verdict,
        };
        match self.session.acknowledged(packet, verdict, now, random()) {
            Acknowledged::Candidate(Settled::Again(id, _)) if verdict == AckOutcome::Unheard => {
                if !std::mem::replace(&mut self.unheard, true) {
                    log::warn!(
                        "Nobody listens to candidates; they are kept until somebody subscribes: \
                         topic={} id={id}.",
                        self.names.topics.candidate()
                    );
                }
            }
            Acknowledged::Candidate(Settled::Again(id, wait)) => log::warn!(
                "The broker refused a candidate; it is kept and tried again: id={id} \
                 reason={reason:?} wait_ms={}.",
                wait.as_millis()
            ),
            Acknowledged::Candidate(Settled::GivenUp(id)) => log::error!(
                "The broker calls a candidate invalid; it is given up: id={id} reason={reason:?}."
            ),
            Acknowledged::Status(false) => log::warn!(
                "The broker refused the status; allow this client to write it: topic={} \
                 reason={reason:?}.",
                self.names.topics.status()
            ),
            Acknowledged::ListState(false) => log::warn!(
                "The broker refused the state of the list, which answers orders; allow this client \
                 to write it: topic={} reason={reason:?}.",
                self.names.topics.watchlist_state()
            ),
            Acknowledged::Candidate(_) => self.unheard = false,
            Acknowledged::Status(true) | Acknowledged::ListState(true) | Acknowledged::Unknown => {}
        }
    }

    /// A message to the device came.
    fn received(&mut self, publish: &Publish) -> Result<(), LinkFailure> {
        let kind = self.names.topics.inbound_kind(&publish.topic);
        // Of its own checkpoints only what the broker had kept tells the device anything.
        if kind == Some(InboundKind::AuditKept) && !publish.retain {
            return Ok(());
        }
        self.hearing.message();
        let receipt = match publish.qos {
            QoS::AtMostOnce => None,
            _ => Some(self.acks.received(publish.pkid).ok_or(failure::FLOODED)?),
        };
        let for_log = kind.is_some_and(InboundKind::is_for_log);
        let waits = match kind {
            Some(InboundKind::Receipt) => {
                self.receipted(&publish.payload);
                false
            }
            Some(InboundKind::Control) if !self.config.controls => false,
            Some(kind) => {
                let mailbox = &self.inputs.exchange.mailbox;
                let genuine = mailbox.admits(kind, publish.payload.len())
                    && self.screen.screen(kind, &publish.payload) == Screened::Genuine;
                // What is for the log is acknowledged at once; what was kept of it is compared.
                let kept = genuine && kind == InboundKind::AuditKept;
                let compared = kept.then(|| self.acks.kept());
                let receipt = receipt.filter(|_| !kind.is_for_log());
                match genuine.then(|| mailbox.give(kind, &publish.payload, receipt.or(compared))) {
                    Some(Given::Full) if receipt.is_some() => return Err(failure::FLOODED.into()),
                    given => given == Some(Given::Waits),
                }
            }
            None => {
                self.heard_elsewhere(publish);
                false
            }
        };
        if let Some(receipt) = receipt.filter(|_| !waits || for_log) {
            self.acks.done(receipt);
        }
        Ok(())
    }

    /// A desk says what it has stored.
    fn receipted(&mut self, payload: &[u8]) {
        if self.config.receipt == ReceiptRule::Broker
            || !self.inputs.exchange.mailbox.admits(InboundKind::Receipt, payload.len())
        {
            return;
        }
        let now = self.clock.now();
        for event in self.screen.receipt(payload) {
            self.session.receipted(event, now);
        }
    }

    /// The broker answered a subscription.
    fn subscribed(&mut self, ack: &SubAck) {
        let refused = |r: &SubscribeReasonCode| !matches!(r, SubscribeReasonCode::Success(_));
        if ack.return_codes.iter().any(refused) {
            log::warn!(
                "The broker does not let this client hear all revocations, suspensions, offers and \
                 witnesses; allow it to read them: reasons={:?}.",
                ack.return_codes
            );
        }
        let mut kinds = self.names.topics.inbound().into_iter().map(|(_, kind)| kind);
        let order_refused = ack
            .return_codes
            .iter()
            .any(|r| kinds.next().is_some_and(InboundKind::is_order) && refused(r));
        self.hearing.answered(!order_refused);
        if self.hearing.is_complete() {
            self.inputs.exchange.all_heard();
        }
    }

    fn heard_elsewhere(&mut self, publish: &Publish) {
        let birth = self.config.home_assistant.birth();
        if birth.is_some_and(|topic| topic.as_bytes() == &publish.topic[..])
            && &publish.payload[..] == b"online"
        {
            self.session.announce_again();
        }
    }

    fn accepted(&mut self, ack: &ConnAck, now: Now) {
        self.connections += 1;
        self.last_failure = None;
        let properties = ack.properties.as_ref();
        let (receive_max, max_packet) =
            (properties.and_then(|p| p.receive_max), properties.and_then(|p| p.max_packet_size));
        self.session.connected(ack.session_present, receive_max, max_packet, now);
        let retains = properties.and_then(|p| p.retain_available) != Some(0);
        if !retains {
            log::warn!(
                "The broker keeps no messages: who subscribes later learns nothing of this device \
                 before its next word, and orders that are sent while it is off are lost unless \
                 they are repeated; switch retained messages on (mosquitto: retain_available true)."
            );
        }
        self.retains = retains;
        log::info!(
            "Connected to the broker: url={} client_id={} session_kept={} waiting={}.",
            self.names.url,
            self.names.client_id,
            ack.session_present,
            self.session.outbox().len()
        );
    }
}
