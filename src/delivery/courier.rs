//! Carries what a workstation sends to devices: connects as `[broker]` says, hears what devices
//! say, and publishes what [`Dispatch`] wants sent.
//!
//! Promises:
//! * What the broker keeps is heard before anything is sent.
//! * A message that is larger than the broker takes is an error, and not sent: a broker would drop
//!   it without a word.
//! * A lost link is made again until the time is over.
//!
//! The connection has a client id of its own, so that nobody else's ends.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, Packet, RetainForwardRule, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use super::broker::{BrokerConfig, BrokerUrl, UrlError};
use super::dispatch::{Dispatch, Heard};
use super::failure::{self, LinkFailure};
use super::hearing::Hearing;
use super::outbox::AckOutcome;
use super::session::OVERHEAD;
use super::tls::CredentialError;
use super::{topics, wire};
use crate::backoff::{Backoff, NO_JITTER};

/// Largest message taken: what devices say of themselves.
const MAX_INCOMING: u32 = 1 << 20;
/// Most messages that the broker has not acknowledged.
const WINDOW: usize = 16;
/// How often the time is looked at.
const ROUND: Duration = Duration::from_millis(100);
/// How long a device that has answered may take to say how it is since.
const GRACE: Duration = Duration::from_secs(2);
/// Between two connections: first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// Why nothing could be sent.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// The URL.
    #[error("{broker_url}: {0}", broker_url = setting!(broker.url))]
    Url(#[from] UrlError),
    /// A file of certificates or secrets.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// No connection in time, or one that trying again does not help.
    #[error("no connection to {url}: {why}")]
    Link {
        /// The broker.
        url: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The broker's access list.
    #[error(
        "the broker does not let this user read {0}; allow it, or nobody can tell who has what"
    )]
    Forbidden(String),
    /// Larger than the broker takes.
    #[error(
        "the message has {bytes} bytes and the broker takes {limit} at most; raise its packet size \
         (mosquitto: max_packet_size), or copy the list into the devices' {inbox} and offer it by \
         its digest",
        inbox = setting!(watchlist.inbox)
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The broker's limit.
        limit: u32,
    },
    /// The system has no thread or socket left, or no randomness.
    #[error("cannot try: {0}")]
    System(#[from] std::io::Error),
}

/// What goes to one device.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Where to.
    pub topic: String,
    /// Byte for byte.
    pub payload: Arc<[u8]>,
    /// Whether the broker keeps it for the device's next start.
    pub retain: bool,
}

/// Sends what `dispatch` wants sent, `parcels` by device, and hears the answers, for at most
/// `patience`. Who has answered is in `dispatch`.
///
/// # Errors
/// Where there is no connection, or nothing can be sent over it.
pub fn carry(
    config: &BrokerConfig,
    parcels: &BTreeMap<String, Parcel>,
    dispatch: &mut Dispatch,
    patience: Duration,
) -> Result<(), CourierError> {
    let url: BrokerUrl = config.url.parse()?;
    let mut id = [0; 4];
    getrandom::fill(&mut id).map_err(|e| std::io::Error::other(e.to_string()))?;
    let id = format!("orders-{:08x}", u32::from_be_bytes(id));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut trip = Trip {
        root: &config.root,
        parcels,
        dispatch,
        began: Instant::now(),
        patience,
        connected: false,
        done: None,
        retains: true,
        hearing: Hearing::default(),
        handed: VecDeque::new(),
        flying: HashMap::new(),
    };
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let outcome = runtime.block_on(async {
        loop {
            let mut options = MqttOptions::new(&id, url.address(), url.port);
            options
                .set_clean_start(true)
                .set_max_packet_size(Some(MAX_INCOMING))
                .set_connection_timeout(wire::CONNECT_TIMEOUT_S)
                .set_keep_alive(Duration::from_secs(u64::from(config.keep_alive_s.max(5))));
            wire::identify(&mut options, config, &url, &Arc::default())?;
            match trip.connection(options).await {
                Ok(()) => return Ok(()),
                Err(TripEnd::Error(error)) => return Err(error),
                Err(TripEnd::Link(failure)) => {
                    let hopeless = failure.slow && !trip.connected;
                    let wait = backoff.next(NO_JITTER);
                    if hopeless || trip.began.elapsed() + wait >= patience {
                        let why = failure.to_string();
                        return Err(CourierError::Link { url: url.to_string(), why });
                    }
                    log::info!("The link is made again: {failure}.");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    });
    runtime.shutdown_background();
    outcome
}

/// How a connection ended.
enum TripEnd {
    /// Maybe the next one holds.
    Link(LinkFailure),
    /// No other one helps.
    Error(CourierError),
}

/// What outlives a connection, and the state of the present one.
struct Trip<'a> {
    root: &'a str,
    parcels: &'a BTreeMap<String, Parcel>,
    dispatch: &'a mut Dispatch,
    began: Instant,
    patience: Duration,
    /// The broker has accepted once.
    connected: bool,
    /// Since when all have answered.
    done: Option<Instant>,
    /// The broker keeps messages.
    retains: bool,
    hearing: Hearing,
    /// Handed to the client, in its order, without packet id.
    handed: VecDeque<String>,
    /// By packet id.
    flying: HashMap<u16, String>,
}

impl Trip<'_> {
    fn is_over(&mut self) -> bool {
        if self.began.elapsed() >= self.patience {
            return true;
        }
        if !self.dispatch.is_done() {
            self.done = None;
            return false;
        }
        let done = *self.done.get_or_insert_with(Instant::now);
        self.dispatch.is_current() || done.elapsed() >= GRACE
    }

    async fn connection(&mut self, options: MqttOptions) -> Result<(), TripEnd> {
        self.hearing = Hearing::default();
        self.handed.clear();
        self.flying.clear();
        self.dispatch.link_lost();
        let (client, mut events) = AsyncClient::new(options, WINDOW + 4);
        if self.hearing.subscribes() {
            let filters = topics::of_all_devices(self.root, self.dispatch.topics()).into_iter();
            client
                .try_subscribe_many(filters.map(|f| Filter::new(f, QoS::AtLeastOnce)))
                .map_err(|_| TripEnd::Link(failure::CLIENT.into()))?;
        }
        loop {
            let Some(event) = self.event(&client, &mut events).await? else {
                self.leave(&client, &mut events).await;
                return Ok(());
            };
            self.handle(&event)?;
        }
    }

    /// The client's next event; `None` where the time is over, or nothing is left to wait for.
    ///
    /// The client's future is polled to its end: dropped half-way it may lose a packet.
    async fn event(
        &mut self,
        client: &AsyncClient,
        events: &mut EventLoop,
    ) -> Result<Option<Event>, TripEnd> {
        let poll = events.poll();
        tokio::pin!(poll);
        loop {
            if self.is_over() {
                return Ok(None);
            }
            self.feed(client);
            tokio::select! {
                event = &mut poll => {
                    return event.map(Some).map_err(|e| TripEnd::Link(LinkFailure::of(&e)));
                }
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// A clean end, where the link still holds.
    async fn leave(&self, client: &AsyncClient, events: &mut EventLoop) {
        if client.try_disconnect().is_err() {
            return;
        }
        let end = async { while events.poll().await.is_ok() {} };
        // The answers are known by then.
        let _ = tokio::time::timeout(Duration::from_millis(500), end).await;
    }

    /// Hands over what is to be sent. What the client does not take now is due again.
    fn feed(&mut self, client: &AsyncClient) {
        if self.hearing.asks(true) {
            let mut filter = Filter::new(
                &topics::of_all_devices(self.root, self.dispatch.topics())[0],
                QoS::AtLeastOnce,
            );
            filter.retain_forward_rule = RetainForwardRule::Never;
            let _ = client.try_subscribe_many([filter]);
        }
        while self.handed.len() + self.flying.len() < WINDOW {
            let Some(device) = self.dispatch.next(self.began.elapsed()) else { return };
            let Some(parcel) = self.parcels.get(&device) else { continue };
            let handed = client.try_publish(
                &parcel.topic,
                QoS::AtLeastOnce,
                parcel.retain && self.retains,
                parcel.payload.to_vec(),
            );
            match handed {
                Ok(()) => self.handed.push_back(device),
                Err(_) => self.dispatch.settled(&device, None),
            }
        }
    }

    fn handle(&mut self, event: &Event) -> Result<(), TripEnd> {
        match event {
            Event::Outgoing(Outgoing::Publish(packet)) => {
                if let Some(device) = self.handed.pop_front() {
                    self.flying.insert(*packet, device);
                }
            }
            Event::Incoming(Packet::ConnAck(ack)) => return self.accepted(ack),
            Event::Incoming(Packet::PubAck(ack)) => {
                if let Some(device) = self.flying.remove(&ack.pkid) {
                    let taken = matches!(
                        wire::verdict(ack.reason),
                        AckOutcome::Delivered | AckOutcome::Unheard
                    );
                    let why = format!("the broker refused it ({:?})", ack.reason);
                    self.dispatch.settled(&device, (!taken).then_some(why));
                }
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                let refused =
                    |r: &SubscribeReasonCode| !matches!(r, SubscribeReasonCode::Success(_));
                if let Some(at) = ack.return_codes.iter().position(refused) {
                    let filter = topics::of_all_devices(self.root, self.dispatch.topics())
                        .into_iter()
                        .nth(at)
                        .unwrap_or_default();
                    return Err(TripEnd::Error(CourierError::Forbidden(filter)));
                }
                self.hearing.answered(true);
                if self.hearing.is_complete() {
                    self.dispatch.ready();
                }
            }
            Event::Incoming(Packet::Publish(publish)) => {
                self.hearing.message();
                let topic = String::from_utf8_lossy(&publish.topic);
                if let Some((device, below)) = topics::split(self.root, &topic)
                    && let Some(heard) = Heard::read(below, &publish.payload)
                {
                    self.dispatch.heard(device, heard);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn accepted(&mut self, ack: &ConnAck) -> Result<(), TripEnd> {
        self.connected = true;
        let properties = ack.properties.as_ref();
        self.retains = properties.and_then(|p| p.retain_available) != Some(0);
        if let Some(limit) = properties.and_then(|p| p.max_packet_size) {
            let size = |p: &Parcel| p.payload.len() + p.topic.len() + OVERHEAD;
            if let Some(bytes) = self.parcels.values().map(size).max()
                && bytes > limit as usize
            {
                return Err(TripEnd::Error(CourierError::TooLarge { bytes, limit }));
            }
        }
        Ok(())
    }
}
