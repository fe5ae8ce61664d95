//! The connection to the broker: takes what devices publish, stores it, then acknowledges it; sends
//! receipts and sealed verdicts.
//!
//! ```text
//!  connection --Arrival--> keeper: one transaction for all that wait --> store
//!      ^                      |
//!      +--- acknowledgements, receipts and verdicts that are due --------+
//! ```
//!
//! Promises:
//! * A message is acknowledged after the transaction that stored it has ended. Where the store
//!   fails nothing is acknowledged; it is logged, and tried again at growing intervals.
//! * The broker is asked to send no more than [`RECEIVE_MAX`] messages before one of them is
//!   acknowledged, and twice as many can wait here. One that sends more is read no further until
//!   there is room: memory is bounded, and a slow disk slows the broker down.
//! * The session is kept: what is published while the desk is away waits at the broker.
//! * A receipt goes out until the broker has taken it, a verdict until its device has answered,
//!   over restarts of both.
//! * Where another trust file is believed, retained orders are heard again: one that was set aside
//!   may be genuine by it.
//! * A rotation of the trust file that is offered to a device is followed, as [`super::trust`]
//!   says, and acknowledged after that.
//! * Of desks that share a subscription each hears what becomes of every candidate.
//!
//! Not promised: that a message at QoS 0 (counts) is stored where more wait than fit; that of
//! several desks it is the one with the candidate whose receipt retires a state of its review.

mod keeper;
mod post;

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use time::OffsetDateTime;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, broadcast, mpsc, watch};

use self::keeper::{Done, Incoming, Job, StoreKeeper};
use self::post::DeskPost;
use super::intake::{ArrivedMessage, Intake};
use super::store::{Arrival, DeskNotice, DeskStore, KeepingRules};
use super::trust::{DeskTrust, NotFollowed};
use crate::backoff::{Backoff, Recurring};
use crate::delivery::broker::{BrokerUrl, UrlError};
use crate::delivery::failure::{self, LinkFailure};
use crate::delivery::{BrokerConfig, wire};
use crate::watchlist::keys::SecretKey;

/// Messages that the broker may send before one of them is acknowledged.
pub const RECEIVE_MAX: u16 = 256;
/// Messages that wait to be stored: those, and as many of an earlier connection.
const WAITING: usize = 2 * RECEIVE_MAX as usize;
/// Largest packet taken. A broker drops what is larger.
const MAX_INCOMING: u32 = super::intake::MAX_MESSAGE as u32 + 16 * 1024;
/// How often it is looked for what is due.
const ROUND: Duration = Duration::from_millis(500);
/// First and last wait between connections.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// First wait where only somebody who changes something can help: a wrong password, a certificate.
const RETRY_SLOWLY: Duration = Duration::from_secs(30);

/// What desks share: each candidate is one desk's work. All else is heard by every desk: the answer
/// to a verdict is for the desk that sent it, a proof needs each record of a device's log, and
/// brokers hand nothing that they retain to a shared subscription.
const SHARED: &str = "/candidate";

/// What the receiver needs.
pub struct Receiver {
    /// The broker, its root and who the desk is to it.
    pub broker: BrokerConfig,
    /// Name of a shared subscription; none where empty.
    pub share: String,
    /// Where everything is kept.
    pub store: Arc<DeskStore>,
    /// Who is believed.
    pub intake: Arc<RwLock<Intake>>,
    /// Where rotations of that are kept.
    pub trust: DeskTrust,
    /// Signs receipts.
    pub key: Arc<SecretKey>,
    /// For how long things are kept, and what is shown as one.
    pub rules: KeepingRules,
    /// Tells those who look at pages.
    pub notices: broadcast::Sender<DeskNotice>,
    /// Somebody has handed a verdict in.
    pub verdict: Arc<Notify>,
    /// Whether it is connected, for those who look.
    pub connected: watch::Sender<bool>,
}

impl Receiver {
    /// Receives until `stop` says so.
    ///
    /// # Errors
    /// Where the broker's URL cannot be one.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), UrlError> {
        let url: BrokerUrl = self.broker.url.parse()?;
        let (jobs, to_keep) = mpsc::channel(WAITING);
        let (to_post, done) = mpsc::channel(WAITING);
        let keeper = StoreKeeper {
            store: Arc::clone(&self.store),
            rules: self.rules.clone(),
            notices: self.notices.clone(),
        };
        let keeper = tokio::spawn(keeper.run(to_keep, to_post));
        let post = DeskPost::new(self.broker.root.clone(), Arc::clone(&self.key));
        let mut link = Link {
            receiver: self,
            jobs,
            done,
            post,
            number: 0,
            acks: Vec::new(),
            believed: 0,
            began: Instant::now(),
            passed_by: Recurring::new(Duration::from_secs(60), Duration::from_secs(24 * 3600)),
        };
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        while !*stop.borrow() {
            let began = Instant::now();
            let failure = match link.options(&url) {
                Ok(options) => tokio::select! {
                    failure = link.connection(options) => failure,
                    _ = stop.changed() => break,
                },
                Err(failure) => failure,
            };
            link.receiver.connected.send_replace(false);
            if began.elapsed() > RETRY.1 {
                backoff.reset();
            }
            let random = getrandom::u32().unwrap_or(u32::MAX / 2);
            let wait = backoff.next(random);
            let wait = if failure.slow { wait.max(RETRY_SLOWLY) } else { wait };
            log::warn!(
                "No connection to the broker: {failure} url={url} next_try_ms={}.",
                wait.as_millis()
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => break,
            }
        }
        drop(link);
        // What was taken is stored before the end; it is not acknowledged, and comes again.
        let _ = tokio::time::timeout(Duration::from_secs(5), keeper).await;
        Ok(())
    }
}

struct Link {
    receiver: Receiver,
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Done>,
    post: DeskPost,
    /// Of the connection, from 1.
    number: u64,
    /// Packets that were stored and that the client has not taken the acknowledgement of.
    acks: Vec<u16>,
    /// [`Intake::beliefs`] at the last subscription.
    believed: u64,
    /// Times are counted from then.
    began: Instant,
    /// That rotations have passed the desk by.
    passed_by: Recurring,
}

impl Link {
    fn options(&self, url: &BrokerUrl) -> Result<MqttOptions, LinkFailure> {
        let broker = &self.receiver.broker;
        let mut options = MqttOptions::new(&broker.client_id, url.address(), url.port);
        options
            .set_clean_start(false)
            .set_session_expiry_interval(Some(broker.session_expiry_s))
            .set_manual_acks(true)
            .set_receive_maximum(Some(RECEIVE_MAX))
            .set_max_packet_size(Some(MAX_INCOMING))
            .set_connection_timeout(wire::CONNECT_TIMEOUT_S)
            .set_outgoing_inflight_upper_limit(post::WINDOW as u16 + 2)
            .set_keep_alive(Duration::from_secs(u64::from(broker.keep_alive_s.max(5))));
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        wire::identify(&mut options, broker, url, &Arc::default())
            .map_err(|e| LinkFailure::credentials(&e))?;
        Ok(options)
    }

    /// One connection, to its end.
    async fn connection(&mut self, options: MqttOptions) -> LinkFailure {
        self.number += 1;
        self.acks.clear();
        self.post.disconnected();
        let (client, mut events) = AsyncClient::new(options, 2 * WAITING + 4 * post::WINDOW);
        loop {
            let handled = match self.event(&client, &mut events).await {
                Ok(event) => self.handle(&client, &event),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = handled {
                return failure;
            }
        }
    }

    /// The client's next event. Its future is polled to its end: dropped half-way it may lose a
    /// packet.
    async fn event(
        &mut self,
        client: &AsyncClient,
        events: &mut EventLoop,
    ) -> Result<Event, LinkFailure> {
        let poll = events.poll();
        tokio::pin!(poll);
        let verdict = Arc::clone(&self.receiver.verdict);
        loop {
            self.feed(client);
            self.hear_again(client)?;
            tokio::select! {
                event = &mut poll => return event.map_err(|e| LinkFailure::of(&e)),
                Some(done) = self.done.recv() => self.take(done),
                () = verdict.notified() => self.look(),
                () = tokio::time::sleep(ROUND) => self.look(),
            }
        }
    }

    /// Asks the keeper for what is due. One that is busy is asked again.
    fn look(&self) {
        let _ = self.jobs.try_send(Job::Look);
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Stored { connection, packets } if connection == self.number => {
                self.acks.extend(packets);
            }
            // The broker sends them again.
            Done::Stored { .. } => {}
            Done::Due { receipts, verdicts } => self.post.due(receipts, verdicts),
        }
    }

    /// Hands over acknowledgements, receipts and verdicts.
    fn feed(&mut self, client: &AsyncClient) {
        let taken = |packet: &u16| client.try_ack(&wire::acknowledgement(*packet)).is_ok();
        let count = self.acks.iter().take_while(|packet| taken(packet)).count();
        self.acks.drain(..count);
        if *self.receiver.connected.borrow() {
            self.post.feed(client);
        }
    }

    fn handle(&mut self, client: &AsyncClient, event: &Event) -> Result<(), LinkFailure> {
        match event {
            Event::Outgoing(Outgoing::Publish(packet)) => self.post.sent(*packet),
            Event::Outgoing(Outgoing::AwaitAck(_)) => return Err(failure::OUT_OF_ORDER.into()),
            Event::Incoming(Packet::ConnAck(_)) => {
                self.receiver.connected.send_replace(true);
                self.subscribe(client)?;
                self.look();
            }
            Event::Incoming(Packet::SubAck(ack)) => self.subscribed(ack),
            Event::Incoming(Packet::PubAck(ack)) => {
                let taken = self.post.acknowledged(ack.pkid, wire::verdict(ack.reason));
                if !taken.is_empty() {
                    // Full: they are published again.
                    let _ = self.jobs.try_send(Job::Taken(taken));
                }
            }
            Event::Incoming(Packet::Publish(publish)) => return self.received(publish),
            _ => {}
        }
        Ok(())
    }

    /// A subscription has the broker send again what it retains.
    fn subscribe(&mut self, client: &AsyncClient) -> Result<(), LinkFailure> {
        self.believed = self.beliefs();
        let filters = self.filters().into_iter();
        let filters = filters.map(|f| Filter::new(f, QoS::AtLeastOnce));
        client.try_subscribe_many(filters).map_err(|_| failure::CLIENT.into())
    }

    /// Has retained orders sent again where another trust file is believed: a revocation by a key
    /// that is in it now was set aside, and acknowledged.
    fn hear_again(&mut self, client: &AsyncClient) -> Result<(), LinkFailure> {
        let connected = *self.receiver.connected.borrow();
        if connected && self.believed != self.beliefs() { self.subscribe(client) } else { Ok(()) }
    }

    fn beliefs(&self) -> u64 {
        let intake = &self.receiver.intake;
        intake.read().unwrap_or_else(std::sync::PoisonError::into_inner).beliefs()
    }

    fn filters(&self) -> Vec<String> {
        let share = &self.receiver.share;
        let all = Intake::filters(&self.receiver.broker.root).into_iter();
        all.map(|filter| shared(share, filter)).collect()
    }

    fn subscribed(&self, ack: &SubAck) {
        let filters = self.filters();
        let answers = filters.iter().zip(&ack.return_codes);
        for (filter, _) in answers.filter(|(_, r)| !matches!(r, SubscribeReasonCode::Success(_))) {
            log::error!(
                "The broker does not let the desk read {filter}; allow it in its access list."
            );
        }
    }

    /// A device says which keys it has taken over. Where they are newer than those here, a rotation
    /// has passed the desk by.
    fn compare_keys(&mut self, message: ArrivedMessage<'_>) {
        let intake = self.receiver.intake.read();
        let newer = intake.unwrap_or_else(std::sync::PoisonError::into_inner).newer_keys(message);
        let Some(newer) = newer else { return };
        // One that was followed a moment ago is not read by everybody yet.
        let here = tokio::task::block_in_place(|| self.receiver.trust.current());
        let here = here.map(|trust| trust.serial()).unwrap_or(0);
        if newer > here && self.passed_by.happened(self.began.elapsed()).is_some() {
            log::error!(
                "A device has newer keys than the desk: serial={newer} here={here}. Who was \
                 rotated out may still be let in here: let the broker's access list give the desk \
                 watchlist/offer to read, or put the new trust file in its place."
            );
        }
    }

    /// Something was offered to a device: where it is a rotation of the trust file, the desk
    /// follows it, too. What was stored counts once it is noticed, as a file that is changed by
    /// hand is.
    fn offered(&self, message: ArrivedMessage<'_>) {
        let intake = self.receiver.intake.read();
        let intake = intake.unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(rotation) = intake.rotation(message) else { return };
        let now = OffsetDateTime::now_utc();
        match tokio::task::block_in_place(|| self.receiver.trust.follow(rotation, now)) {
            Ok(serial) => {
                log::info!("A rotation of the trust file is followed: serial={serial}.");
            }
            Err(NotFollowed::Known) => {}
            Err(why) => log::error!(
                "A rotation of the trust file was offered to a device, and the desk does not \
                 follow it: {why}. Who was rotated out may still be let in here; put the new trust \
                 file in its place."
            ),
        }
    }

    fn received(&mut self, publish: &Publish) -> Result<(), LinkFailure> {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let properties = publish.properties.as_ref().map(|p| p.user_properties.as_slice());
        let signature = properties.unwrap_or_default().iter().find(|(name, _)| name == "signature");
        let message = ArrivedMessage {
            topic: &topic,
            payload: &publish.payload,
            signature: signature.map(|(_, value)| value.as_str()),
        };
        let packet = (publish.qos != QoS::AtMostOnce).then_some(publish.pkid);
        if Intake::is_offer(&topic) {
            self.offered(message);
            self.acks.extend(packet);
            return Ok(());
        }
        self.compare_keys(message);
        let what = self
            .receiver
            .intake
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .look_at(message);
        let arrival = Arrival { topic, payload: publish.payload.to_vec(), what };
        let job = Job::Keep(Box::new(Incoming { connection: self.number, packet, arrival }));
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            // Counts that nobody has room for.
            Err(_) if packet.is_none() => Ok(()),
            // A broker that does not keep to the receive maximum (mosquitto with
            // `max_inflight_messages 0`) is slowed down by not being read. Ending the link would
            // have it send everything again.
            Err(TrySendError::Full(job)) => {
                let sent = tokio::task::block_in_place(|| self.jobs.blocking_send(job));
                sent.map_err(|_| failure::CLIENT.into())
            }
            Err(TrySendError::Closed(_)) => Err(failure::CLIENT.into()),
        }
    }
}

/// The filter as desks that have the subscription `share` in common subscribe to it; as it is where
/// there is none.
fn shared(share: &str, filter: String) -> String {
    if !share.is_empty() && filter.ends_with(SHARED) {
        format!("$share/{share}/{filter}")
    } else {
        filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn desks_share_candidates_and_each_hears_what_became_of_its_own() {
        let of = |share: &str| -> Vec<String> {
            let all = Intake::filters("site").into_iter();
            all.map(|f| shared(share, f)).filter(|f| f.starts_with("$share/")).collect()
        };
        assert_eq!(of("desk"), ["$share/desk/site/v1/+/candidate"]);
        assert_eq!(of(""), Vec::<String>::new());
    }
}
