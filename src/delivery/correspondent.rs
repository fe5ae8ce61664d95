//! A workstation's lasting connection: hears topics, and publishes what follows from it.
//!
//! Promises:
//! * The session is kept: what is published at QoS 1 while the connection is away comes later.
//! * A message is acknowledged after all that followed from it was taken by the broker.
//! * What a broker did not acknowledge is sent again on the next connection, in its order.
//! * Letters that wait are bounded: of more than [`MOST_WAITING`] the oldest go, and are counted.
//! * A lost link is made again, at growing intervals, until there is reason to end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use super::broker::{BrokerConfig, BrokerUrl};
use super::courier::CourierError;
use super::failure::{self, LinkFailure};
use super::wire;
use crate::backoff::{Backoff, Recurring};

/// Largest message taken.
const MAX_INCOMING: u32 = 256 * 1024;
/// Most messages that the broker has not acknowledged.
const WINDOW: usize = 16;
/// Most letters that wait.
pub const MOST_WAITING: usize = 4096;
/// How often the time is looked at.
const ROUND: Duration = Duration::from_millis(100);
/// First and last wait between connections.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// First wait where only somebody who changes something can help: a wrong password, a certificate.
const RETRY_SLOWLY: Duration = Duration::from_secs(30);
/// First and last interval at which it is logged that letters are dropped.
const SAY_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// What is published, at QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where to.
    pub topic: String,
    /// Byte for byte.
    pub payload: Vec<u8>,
}

/// Who reads and writes letters.
pub trait Correspondent {
    /// What is subscribed to.
    fn filters(&self) -> Vec<String>;
    /// A message came; `out` takes what follows.
    fn received(&mut self, topic: &str, payload: &[u8], out: &mut Vec<Letter>);
    /// Time has passed.
    fn tick(&mut self, out: &mut Vec<Letter>);
    /// Whether to end: what waits is sent first, for a moment.
    fn is_over(&self) -> bool;
}

/// How a connection ended.
enum LinkEnd {
    /// There was reason to.
    Over,
    /// Maybe the next one holds.
    Link(LinkFailure),
    /// No other one helps.
    Error(CourierError),
}

/// A letter, by its number.
struct Numbered(u64, Letter);

struct FleetPost<'a> {
    correspondent: &'a mut dyn Correspondent,
    /// Numbers of letters begin at one.
    next: u64,
    waiting: VecDeque<Numbered>,
    /// Given to the client, in its order, without packet id.
    handed: VecDeque<Numbered>,
    /// By packet id.
    flying: Vec<(u16, Numbered)>,
    /// Packets to acknowledge, each once the letters below that number are gone.
    unacknowledged: VecDeque<(u16, u64)>,
    connected: bool,
    began: Instant,
    /// Letters for which there was no room.
    dropped: Recurring,
}

/// Connects as `config` says under `client_id` and lets `correspondent` write until it is over.
///
/// # Errors
/// Where no connection can ever be made, or the broker does not let it read.
pub fn correspond(
    config: &BrokerConfig,
    client_id: &str,
    correspondent: &mut dyn Correspondent,
) -> Result<(), CourierError> {
    let url: BrokerUrl = config.url.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut post = FleetPost {
        correspondent,
        next: 1,
        waiting: VecDeque::new(),
        handed: VecDeque::new(),
        flying: Vec::new(),
        unacknowledged: VecDeque::new(),
        connected: false,
        began: Instant::now(),
        dropped: Recurring::new(SAY_AGAIN.0, SAY_AGAIN.1),
    };
    let outcome = runtime.block_on(async {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            let mut options = MqttOptions::new(client_id, url.address(), url.port);
            options
                .set_clean_start(false)
                .set_session_expiry_interval(Some(config.session_expiry_s))
                .set_manual_acks(true)
                .set_max_packet_size(Some(MAX_INCOMING))
                .set_connection_timeout(wire::CONNECT_TIMEOUT_S)
                .set_outgoing_inflight_upper_limit(WINDOW as u16 + 2)
                .set_keep_alive(Duration::from_secs(u64::from(config.keep_alive_s.max(5))));
            wire::identify(&mut options, config, &url, &Arc::default())?;
            match post.connection(options).await {
                LinkEnd::Over => return Ok(()),
                LinkEnd::Error(error) => return Err(error),
                LinkEnd::Link(failure) => {
                    if post.connected {
                        backoff.reset();
                    }
                    post.connected = false;
                    let wait = backoff.next(getrandom::u32().unwrap_or(u32::MAX / 2));
                    let wait = if failure.slow { wait.max(RETRY_SLOWLY) } else { wait };
                    log::warn!(
                        "No connection to the broker: {failure} url={url} next_try_ms={}.",
                        wait.as_millis()
                    );
                    if post.pause(wait).await {
                        return Ok(());
                    }
                }
            }
        }
    });
    runtime.shutdown_background();
    outcome
}

impl FleetPost<'_> {
    /// Waits without a connection; true where it is over.
    async fn pause(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if self.correspondent.is_over() {
                return true;
            }
            self.tick();
            tokio::time::sleep(ROUND.min(wait)).await;
        }
        false
    }

    fn tick(&mut self) {
        let mut letters = Vec::new();
        self.correspondent.tick(&mut letters);
        self.queue(letters);
    }

    fn queue(&mut self, letters: Vec<Letter>) {
        for letter in letters {
            if self.waiting.len() == MOST_WAITING {
                self.waiting.pop_front();
                if let Some(letters) = self.dropped.happened(self.began.elapsed()) {
                    log::error!(
                        "More waits for the broker than is kept; the oldest are dropped: \
                         letters={letters}."
                    );
                }
            }
            self.waiting.push_back(Numbered(self.next, letter));
            self.next += 1;
        }
    }

    async fn connection(&mut self, options: MqttOptions) -> LinkEnd {
        // What was not acknowledged goes first, in its order.
        let handed = self.handed.drain(..);
        let mut again: Vec<_> = self.flying.drain(..).map(|(_, n)| n).chain(handed).collect();
        again.sort_by_key(|n| n.0);
        again.into_iter().rev().for_each(|n| self.waiting.push_front(n));
        self.unacknowledged.clear();
        let (client, mut events) = AsyncClient::new(options, 4 * WINDOW + 64);
        loop {
            match self.event(&client, &mut events).await {
                Ok(event) => {
                    if let Err(end) = self.handle(&client, &event) {
                        return end;
                    }
                }
                Err(LinkEnd::Over) => {
                    self.leave(&client, &mut events).await;
                    return LinkEnd::Over;
                }
                Err(end) => return end,
            }
        }
    }

    /// The client's next event. Its future is polled to its end: dropped half-way it may lose a
    /// packet.
    async fn event(
        &mut self,
        client: &AsyncClient,
        events: &mut EventLoop,
    ) -> Result<Event, LinkEnd> {
        let poll = events.poll();
        tokio::pin!(poll);
        loop {
            if self.correspondent.is_over() {
                return Err(LinkEnd::Over);
            }
            self.tick();
            self.feed(client);
            tokio::select! {
                event = &mut poll => {
                    return event.map_err(|e| LinkEnd::Link(LinkFailure::of(&e)));
                }
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// Sends what waits, for a moment, and ends cleanly.
    async fn leave(&mut self, client: &AsyncClient, events: &mut EventLoop) {
        let end = async {
            loop {
                self.feed(client);
                if self.waiting.is_empty() && self.handed.is_empty() && self.flying.is_empty() {
                    break;
                }
                match events.poll().await {
                    Ok(event) if self.handle(client, &event).is_ok() => {}
                    _ => return,
                }
            }
            if client.try_disconnect().is_ok() {
                while events.poll().await.is_ok() {}
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), end).await;
    }

    /// Hands over letters, and acknowledges what was dealt with.
    fn feed(&mut self, client: &AsyncClient) {
        if !self.connected {
            return;
        }
        while self.handed.len() + self.flying.len() < WINDOW {
            let Some(Numbered(number, letter)) = self.waiting.pop_front() else { break };
            let Letter { topic, payload } = letter.clone();
            let handed = client.try_publish(topic, QoS::AtLeastOnce, false, payload);
            if handed.is_err() {
                self.waiting.push_front(Numbered(number, letter));
                break;
            }
            self.handed.push_back(Numbered(number, letter));
        }
        let flying = self.flying.iter().map(|(_, n)| n);
        let oldest = flying.chain(&self.handed).chain(&self.waiting).map(|n| n.0).min();
        while let Some((packet, below)) = self.unacknowledged.front().copied()
            && oldest.is_none_or(|oldest| oldest >= below)
            && client.try_ack(&wire::acknowledgement(packet)).is_ok()
        {
            self.unacknowledged.pop_front();
        }
    }

    fn handle(&mut self, client: &AsyncClient, event: &Event) -> Result<(), LinkEnd> {
        match event {
            Event::Outgoing(Outgoing::Publish(packet)) => {
                if let Some(numbered) = self.handed.pop_front() {
                    self.flying.push((*packet, numbered));
                }
            }
            Event::Incoming(Packet::ConnAck(_)) => {
                self.connected = true;
                let filters = self.correspondent.filters().into_iter();
                let filters = filters.map(|f| Filter::new(f, QoS::AtLeastOnce));
                client
                    .try_subscribe_many(filters)
                    .map_err(|_| LinkEnd::Link(failure::CLIENT.into()))?;
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                self.flying.retain(|(packet, _)| *packet != ack.pkid);
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                let refused =
                    |r: &SubscribeReasonCode| !matches!(r, SubscribeReasonCode::Success(_));
                if let Some(at) = ack.return_codes.iter().position(refused) {
                    let filter = self.correspondent.filters().into_iter().nth(at);
                    let error = CourierError::Forbidden(filter.unwrap_or_default());
                    return Err(LinkEnd::Error(error));
                }
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let mut letters = Vec::new();
                let topic = String::from_utf8_lossy(&publish.topic);
                self.correspondent.received(&topic, &publish.payload, &mut letters);
                self.queue(letters);
                if publish.qos != QoS::AtMostOnce {
                    self.unacknowledged.push_back((publish.pkid, self.next));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
