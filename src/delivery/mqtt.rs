//! The connection to the broker: a thread of its own, and the handle that other threads hold.
//!
//! Promises of the handle: no call blocks; each candidate that is not taken is told to the caller
//! and counted. Promises of the thread: one connection at a time under a stable client id; the last
//! will says `offline`; back-off with jitter between attempts, slower where trying soon cannot mend
//! it; certificates and passwords read anew at each attempt; a broker that accepts and says
//! nothing, or stops saying anything, is left.
//!
//! Inbound messages (offers, revocations, suspensions) are subscribed at QoS 1 on each connection
//! and wait, unbelieved, in a bounded mailbox for [`Delivery::inbound`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, Request};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc};

use super::backoff::Backoff;
use super::broker::{BrokerConfig, BrokerUrl, UrlError};
use super::event::{
    Candidate, CloudEvent, EncodeError, EventId, ListState, MAX_CROP, State, Stats, Status,
};
use super::failure::{self, Failure};
use super::inbound::{Inbound, InboundCounters, Mailbox};
use super::outbox::ledger::Ledger;
use super::outbox::{
    self, AppendError, MAX_EVENT, MemoryStore, Outbox, Record, Settled, Store, Verdict,
};
use super::session::{self, Acknowledged, MAX_HANDED, Session};
use super::topics::{DeviceId, TopicError, Topics};
use super::wire;
use crate::clock::{Clock, Now};

/// Candidates between the caller and the outbox. The thread empties it at once; it fills only where
/// storage stalls.
const CHANNEL: usize = 64;
/// Most revocations that wait for the thread; it takes them at once.
const MAX_REVOKING: usize = 64;
/// First and last wait between connections.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// A connection that lasted this long ends the back-off; one that a second client of the same id
/// throws out does not.
const STABLE: Duration = Duration::from_secs(10);
/// How often expired candidates are looked for.
const EXPIRY_SWEEP: Duration = Duration::from_secs(30);

/// Why delivery cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL.
    #[error("broker.url: {0}")]
    Url(#[from] UrlError),
    /// The root or the client id.
    #[error("broker.root or broker.client_id: {0}")]
    Topic(#[from] TopicError),
    /// The store.
    #[error(transparent)]
    Store(#[from] outbox::StoreError),
    /// Another process delivers from the same folder.
    #[error("another watchpost uses {0}; end it, or give each its own broker.outbox")]
    OutboxInUse(PathBuf),
    /// The ledger.
    #[error(
        "broker.ledger = {path}: {source}; name a file in a folder that watchpost may write to"
    )]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The first status.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The thread or its runtime.
    #[error("the delivery thread cannot start: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why a candidate was not taken. Each is counted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotTaken {
    /// The bounded channel to the thread is full: storage stalls.
    #[error("delivery cannot keep up with storing candidates; this one is dropped and counted")]
    Busy,
    /// Its crop or the whole event is too large.
    #[error("the event has {0} bytes, more than fit; send a smaller crop")]
    TooLarge(usize),
    /// It cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The thread has ended.
    #[error("delivery has ended; restart watchpost")]
    Ended,
}

/// How delivery is, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Whether the broker accepted the connection that is open.
    pub connected: bool,
    /// Connections tried.
    pub attempts: u64,
    /// Connections accepted by the broker.
    pub connections: u64,
    /// Why the last connection ended or was not made, and what to do; no secret in it.
    pub last_failure: Option<String>,
    /// Candidates not yet delivered.
    pub outbox_events: usize,
    /// Their bytes.
    pub outbox_bytes: usize,
    /// For how many seconds the oldest of them has waited, by the wall clock and
    /// [`BrokerConfig::event_expiry_s`].
    pub outbox_oldest_seconds: u64,
    /// What the outbox counted.
    pub outbox: outbox::Counters,
    /// How safe what waits is.
    pub store: outbox::StoreHealth,
    /// Candidates that the handle did not take.
    pub not_taken: u64,
    /// How often the broker refused the status.
    pub status_refusals: u64,
    /// Connections that ended by a panic in the client library.
    pub panics: u64,
    /// What was sent to the device.
    pub inbound: InboundCounters,
    /// Grows while the thread is alive, at least every half minute.
    #[serde(skip)]
    pub beats: u64,
}

/// How delivery ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the broker acknowledged `stopped`.
    pub stopped_published: bool,
    /// Candidates that no broker acknowledged.
    pub undelivered: usize,
    /// Those of them that are on no disk and end with this process.
    pub lost: usize,
    /// The last counts.
    pub snapshot: Snapshot,
}

/// What only the newest of matters.
#[derive(Debug, Default)]
struct Slots {
    status: Option<Status>,
    stats: Option<Stats>,
    list_state: Option<ListState>,
    /// At most [`MAX_REVOKING`].
    revoke: Vec<Revoked>,
    stop: Option<Duration>,
}

/// Which undelivered candidates are wiped: those of a list's versions up to one, of one entry where
/// it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Id of the list.
    pub list: String,
    /// The last version that is revoked.
    pub through: u64,
    /// The entry; all where absent.
    pub entry: Option<String>,
}

impl Revoked {
    /// Whether the candidate event in `payload` is one. A payload that cannot be read is: nothing
    /// of what was revoked may leave.
    fn covers(&self, payload: &[u8]) -> bool {
        #[derive(serde::Deserialize)]
        struct About {
            data: Data,
        }
        #[derive(serde::Deserialize)]
        struct Data {
            entry: String,
            alternatives: Vec<String>,
            list: super::event::ListVersion,
        }
        let Ok(About { data }) = serde_json::from_slice(payload) else { return true };
        data.list.id == self.list
            && data.list.version <= self.through
            && self.entry.as_ref().is_none_or(|e| data.entry == *e || data.alternatives.contains(e))
    }
}

#[derive(Debug, Default)]
struct Shared {
    slots: Mutex<Slots>,
    /// Rung after each change of the slots.
    bell: Notify,
    snapshot: Mutex<Snapshot>,
    not_taken: AtomicU64,
    mailbox: Mailbox,
}

/// No invariant spans a panic in these short sections, so that a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handle. Dropped without [`Delivery::stop`], the connection breaks and the broker publishes
/// `offline`.
#[derive(Debug)]
pub struct Delivery {
    records: mpsc::Sender<Record>,
    shared: Arc<Shared>,
    device: DeviceId,
    expiry: Duration,
    thread: Option<JoinHandle<Outcome>>,
}

impl Delivery {
    /// Starts the thread with an outbox in memory, whatever [`BrokerConfig::outbox`] says. Does not
    /// wait for the broker and does not fail where there is none.
    ///
    /// # Errors
    /// Where the configuration is wrong (see [`BrokerConfig::problems`]) or no thread can be had.
    pub fn start(
        config: &BrokerConfig,
        device: &DeviceId,
        status: Status,
        clock: Clock,
    ) -> Result<Self, StartError> {
        Self::start_with(config, device, status, clock, Box::new(MemoryStore::default()))
    }

    /// The same with another store behind the outbox.
    ///
    /// # Errors
    /// As [`Delivery::start`], and where the store cannot be read.
    pub fn start_with(
        config: &BrokerConfig,
        device: &DeviceId,
        status: Status,
        clock: Clock,
        store: Box<dyn Store>,
    ) -> Result<Self, StartError> {
        let url: BrokerUrl = config.url.parse()?;
        let topics = Topics::new(&config.root, device)?;
        let client_id = match config.client_id.as_str() {
            "" => device.clone(),
            id => DeviceId::new(id)?,
        };
        if !url.tls && !url.is_loopback() && config.password_file.is_some() {
            log::warn!(
                "The broker's password crosses the network in the clear; use mqtts:// in \
                 broker.url: url={url}."
            );
        }
        let mut session = Session::new(Outbox::new(store, config.limits())?, topics.clone());
        session.set_status(encode(device, clock.now(), status.clone())?);
        session.set_announcements(config.home_assistant.announcements(
            &topics,
            device,
            config.stats_interval_s,
        ));
        if let Some(path) = &config.ledger {
            let failed = |source| StartError::Ledger { path: path.clone(), source };
            session.tell(Box::new(Ledger::open(path).map_err(failed)?));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (records, inbox) = mpsc::channel(CHANNEL);
        let shared = Arc::new(Shared::default());
        let mut worker = Worker {
            config: config.clone(),
            url,
            client_id,
            device: device.clone(),
            topics,
            clock,
            session,
            status,
            inputs: Inputs { records: inbox, shared: shared.clone() },
            stop: None,
            disconnecting: false,
            subscribed: false,
            unheard: false,
            attempts: 0,
            connections: 0,
            last_failure: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            panics: 0,
        };
        let thread = std::thread::Builder::new().name("delivery".to_owned()).spawn(move || {
            let outcome = loop {
                // The client library parses what a broker sends and has panics of its own in it.
                // One costs a connection: the session holds no half-made change then, as it is
                // called before and after the library only.
                match catch_unwind(AssertUnwindSafe(|| runtime.block_on(worker.run()))) {
                    Ok(outcome) => break outcome,
                    Err(_) => worker.panics += 1,
                }
            };
            // A name look-up that hangs must not hold up the end of the program.
            runtime.shutdown_background();
            outcome
        })?;
        Ok(Self {
            records,
            shared,
            device: device.clone(),
            expiry: config.event_expiry(),
            thread: Some(thread),
        })
    }

    /// Until when a candidate that is decided at `decided_at` is of use.
    pub fn expires(&self, decided_at: OffsetDateTime) -> OffsetDateTime {
        decided_at
            .saturating_add(time::Duration::try_from(self.expiry).unwrap_or(time::Duration::MAX))
    }

    /// Hands a candidate over for delivery and returns the id of its event. Never blocks.
    ///
    /// # Errors
    /// Where it is not taken; it is counted.
    pub fn publish_candidate(&self, candidate: Candidate, now: Now) -> Result<EventId, NotTaken> {
        self.try_publish(candidate, now).inspect_err(|_| {
            self.shared.not_taken.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn try_publish(&self, candidate: Candidate, now: Now) -> Result<EventId, NotTaken> {
        let crop = candidate.crop.as_ref().map_or(0, |c| c.base64.len());
        if crop > MAX_CROP.div_ceil(3) * 4 {
            return Err(NotTaken::TooLarge(crop));
        }
        let (id, expires) = (EventId::new(now), candidate.expires);
        let payload = CloudEvent::new(id, &self.device, now, candidate).to_json()?;
        if payload.len() > MAX_EVENT {
            return Err(NotTaken::TooLarge(payload.len()));
        }
        match self.records.try_send(session::record(id, expires, payload)) {
            Ok(()) => Ok(id),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotTaken::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NotTaken::Ended),
        }
    }

    /// The status from now on. Of several in a row only the newest is published. Never blocks.
    pub fn set_status(&self, status: Status) {
        lock(&self.shared.slots).status = Some(status);
        self.shared.bell.notify_one();
    }

    /// Counts, published once at QoS 0 where a broker is connected, else replaced by the next.
    /// Never blocks.
    pub fn publish_stats(&self, stats: Stats) {
        lock(&self.shared.slots).stats = Some(stats);
        self.shared.bell.notify_one();
    }

    /// Which list is in force, retained by the broker. Never blocks.
    pub fn set_list_state(&self, state: ListState) {
        lock(&self.shared.slots).list_state = Some(state);
        self.shared.bell.notify_one();
    }

    /// Wipes candidates that were not delivered yet; how many is in the snapshot's outbox. Never
    /// blocks. False where too many revocations wait already.
    pub fn revoke(&self, revoked: Revoked) -> bool {
        let mut slots = lock(&self.shared.slots);
        let taken = slots.revoke.len() < MAX_REVOKING;
        if taken {
            slots.revoke.push(revoked);
        }
        drop(slots);
        self.shared.bell.notify_one();
        taken
    }

    /// The next message to the device, nothing about it verified. Never blocks.
    pub fn inbound(&self) -> Option<Inbound> {
        self.shared.mailbox.take()
    }

    /// How delivery is.
    pub fn snapshot(&self) -> Snapshot {
        snapshot(&self.shared)
    }

    /// Delivers what waits, publishes `stopped`, disconnects, and ends the thread; all within
    /// `deadline`, of which the candidates may use half. Where no broker answers it ends as soon as
    /// nothing is left to lose.
    pub fn stop(mut self, deadline: Duration) -> Outcome {
        lock(&self.shared.slots).stop = Some(deadline);
        self.shared.bell.notify_one();
        let thread =
            self.thread.take().expect("only stop takes the thread, and it consumes the handle");
        let mut outcome = thread.join().unwrap_or_else(|_| {
            log::error!("The delivery thread ended by a panic.");
            Outcome::default()
        });
        outcome.snapshot = snapshot(&self.shared);
        outcome
    }
}

fn snapshot(shared: &Shared) -> Snapshot {
    let mut snapshot = lock(&shared.snapshot).clone();
    snapshot.not_taken = shared.not_taken.load(Ordering::Relaxed);
    snapshot.inbound = shared.mailbox.counters();
    snapshot
}

fn encode(device: &DeviceId, now: Now, status: Status) -> Result<Vec<u8>, EncodeError> {
    CloudEvent::new(EventId::new(now), device, now, status).to_json()
}

/// What comes from the handle.
enum Input {
    Record(Record),
    Slots(Box<Slots>),
    /// The handle was dropped.
    Orphaned,
}

struct Inputs {
    records: mpsc::Receiver<Record>,
    shared: Arc<Shared>,
}

impl Inputs {
    /// The next input; may be dropped and called again at any time without losing one.
    async fn next(&mut self) -> Input {
        tokio::select! {
            record = self.records.recv() => record.map_or(Input::Orphaned, Input::Record),
            () = self.shared.bell.notified() => Input::Slots(Box::new(std::mem::take(&mut *lock(&self.shared.slots)))),
        }
    }
}

/// When to stop, in monotonic time.
#[derive(Debug, Clone, Copy)]
struct Stop {
    /// Until then waiting candidates are delivered.
    drain: Duration,
    /// Then it ends, whatever is left.
    end: Duration,
}

/// How a connection, or the wait for the next, ended.
enum End {
    /// Clean: `stopped` may have been taken.
    Stopped { published: bool },
    /// The handle is gone; the link breaks, so that the broker says `offline`.
    Orphaned,
    /// Try again.
    Failed(Failure),
}

struct Worker {
    config: BrokerConfig,
    url: BrokerUrl,
    client_id: DeviceId,
    device: DeviceId,
    topics: Topics,
    clock: Clock,
    session: Session<Box<dyn Store>>,
    /// The newest, from which the last will and `stopped` are made.
    status: Status,
    inputs: Inputs,
    stop: Option<Stop>,
    /// The client was told to disconnect.
    disconnecting: bool,
    /// On this connection.
    subscribed: bool,
    /// It was told that nobody listens.
    unheard: bool,
    attempts: u64,
    connections: u64,
    last_failure: Option<String>,
    backoff: Backoff,
    panics: u64,
}

impl Worker {
    /// Connects until there is reason to end. May be called again after a panic.
    async fn run(&mut self) -> Outcome {
        // Only a panic brings it here with attempts behind it.
        let mut panicked = self.attempts > 0;
        loop {
            let began = self.clock.now().monotonic;
            let end = if std::mem::take(&mut panicked) {
                End::Failed(failure::PANIC.into())
            } else {
                self.attempts += 1;
                self.connection().await
            };
            self.session.disconnected();
            let failure = match end {
                End::Stopped { published } => return self.outcome(published),
                End::Orphaned => return self.outcome(false),
                End::Failed(failure) => failure,
            };
            if self.clock.now().monotonic - began >= STABLE {
                self.backoff.reset();
            }
            let wait = if failure.slow {
                self.backoff.next_slow(random())
            } else {
                self.backoff.next(random())
            };
            log::warn!(
                "No connection to the broker: {failure} url={} client_id={} waiting={} \
                 next_try_ms={}.",
                self.url,
                self.client_id,
                self.session.outbox().len(),
                wait.as_millis()
            );
            self.last_failure = Some(failure.to_string());
            match self.pause(wait).await {
                Some(End::Stopped { published }) => return self.outcome(published),
                Some(_) => return self.outcome(false),
                None => {}
            }
        }
    }

    fn outcome(&mut self, stopped_published: bool) -> Outcome {
        self.report();
        let outbox = self.session.outbox();
        Outcome {
            stopped_published,
            undelivered: outbox.len(),
            lost: outbox.store_health().in_memory,
            snapshot: snapshot(&self.inputs.shared),
        }
    }

    /// Takes inputs until `wait` is over, or there is reason to end.
    async fn pause(&mut self, wait: Duration) -> Option<End> {
        let until = self.clock.now().monotonic + wait;
        loop {
            self.report();
            let now = self.clock.now();
            if let Some(stop) = self.stop
                && (self.session.is_drained() || now.monotonic >= stop.end)
            {
                return Some(End::Stopped { published: false });
            }
            let end = self.stop.map_or(until, |s| s.end.min(until));
            if now.monotonic >= end {
                return None;
            }
            tokio::select! {
                input = self.inputs.next() => {
                    if self.take(input) {
                        return Some(End::Orphaned);
                    }
                }
                () = tokio::time::sleep((end - now.monotonic).min(EXPIRY_SWEEP)) => self.session.expire(self.clock.now()),
            }
        }
    }

    /// One connection from the first packet to its end.
    async fn connection(&mut self) -> End {
        self.report();
        let will = wire::will(&self.device, &self.topics, &self.status, self.clock.now());
        let options =
            will.and_then(|will| wire::options(&self.config, &self.url, &self.client_id, will));
        let options = match options {
            Ok(options) => options,
            Err(failure) => return End::Failed(failure),
        };
        // A new event loop for each connection: what one keeps across connections (queued requests,
        // a collision of packet ids) it keeps by rules that lose or block publishes. What is
        // unsettled is known to the session.
        let (client, mut events) = AsyncClient::new(options, MAX_HANDED + 3);
        self.subscribed = false;
        for publish in self.session.connecting(self.clock.now()) {
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
                Err(end) => return end,
            }
        }
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
                event = &mut poll => return event.map_err(|e| End::Failed(Failure::of(&e))),
                input = self.inputs.next() => {
                    if self.take(input) {
                        return Err(End::Orphaned);
                    }
                }
                () = tokio::time::sleep(wake.saturating_sub(now.monotonic).min(EXPIRY_SWEEP)) => {
                    self.session.expire(self.clock.now());
                }
            }
        }
    }

    /// Hands over what the session wants sent, and ends the session step by step where that is
    /// asked for.
    fn feed(&mut self, client: &AsyncClient) -> Result<(), End> {
        let now = self.clock.now();
        if let Some(stop) = self.stop {
            if let Some(published) = self.session.closed() {
                if !self.disconnecting {
                    self.disconnecting = true;
                    return client.try_disconnect().map_err(|_| End::Stopped { published });
                }
                return Ok(());
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
                    ..self.status.clone()
                };
                match encode(&self.device, now, Status { reason: None, degraded: None, ..last }) {
                    Ok(payload) => self.session.close(payload),
                    Err(_) => return Err(End::Stopped { published: false }),
                }
            }
        }
        while let Some(publish) = self.session.next(now) {
            let qos = if publish.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let properties = wire::properties(&publish);
            let handed = client.try_publish_with_properties(
                publish.topic,
                qos,
                publish.retain,
                publish.payload,
                properties,
            );
            if handed.is_err() {
                return Err(End::Failed(failure::CLIENT.into()));
            }
        }
        // Behind the status, and not before what an earlier link left unsettled: packet ids start
        // anew, and one may not name two exchanges at a time.
        if self.session.is_up() && !self.subscribed && !self.session.outbox().has_unsettled() {
            self.subscribed = true;
            let inbound = self.topics.inbound().map(|(topic, _)| topic);
            let topics = inbound.into_iter().chain(self.config.home_assistant.birth());
            let filters: Vec<Filter> =
                topics.map(|topic| Filter::new(topic, QoS::AtLeastOnce)).collect();
            if client.try_subscribe_many(filters).is_err() {
                return Err(End::Failed(failure::CLIENT.into()));
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), Failure> {
        let now = self.clock.now();
        match event {
            Event::Incoming(Packet::ConnAck(ack)) => self.accepted(&ack, now),
            Event::Outgoing(Outgoing::Publish(packet)) => self.session.sent(packet),
            // A broker that acknowledges out of order. A new connection sorts it out.
            Event::Outgoing(Outgoing::AwaitAck(_)) => return Err(failure::OUT_OF_ORDER.into()),
            Event::Incoming(Packet::PubAck(ack)) => {
                let verdict = match wire::verdict(ack.reason) {
                    Verdict::Unheard if !self.config.keep_unheard => Verdict::Delivered,
                    verdict => verdict,
                };
                match self.session.acknowledged(ack.pkid, verdict, now, random()) {
                    Acknowledged::Candidate(Settled::Again(id, _))
                        if verdict == Verdict::Unheard =>
                    {
                        if !std::mem::replace(&mut self.unheard, true) {
                            log::warn!(
                                "Nobody listens to candidates; they are kept until somebody \
                                 subscribes: topic={} id={id}.",
                                self.topics.candidate()
                            );
                        }
                    }
                    Acknowledged::Candidate(Settled::Again(id, wait)) => log::warn!(
                        "The broker refused a candidate; it is kept and tried again: id={id} \
                         reason={:?} wait_ms={}.",
                        ack.reason,
                        wait.as_millis()
                    ),
                    Acknowledged::Candidate(Settled::GivenUp(id)) => {
                        log::error!(
                            "The broker calls a candidate invalid; it is given up: id={id} \
                             reason={:?}.",
                            ack.reason
                        );
                    }
                    Acknowledged::Status(false) => log::warn!(
                        "The broker refused the status; allow this client to write it: topic={} \
                         reason={:?}.",
                        self.topics.status(),
                        ack.reason
                    ),
                    Acknowledged::Candidate(_) => self.unheard = false,
                    Acknowledged::Status(true) | Acknowledged::Unknown => {}
                }
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let kind = self
                    .topics
                    .inbound()
                    .into_iter()
                    .find(|(topic, _)| topic.as_bytes() == &publish.topic[..]);
                if let Some((_, kind)) = kind {
                    self.inputs.shared.mailbox.give(kind, &publish.payload);
                } else if self
                    .config
                    .home_assistant
                    .birth()
                    .is_some_and(|b| b.as_bytes() == &publish.topic[..])
                    && &publish.payload[..] == b"online"
                {
                    self.session.announce_again();
                }
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                let refused =
                    |r: &SubscribeReasonCode| !matches!(r, SubscribeReasonCode::Success(_));
                if ack.return_codes.iter().any(refused) {
                    log::warn!(
                        "The broker does not let this client hear revocations, suspensions and \
                         offers; allow it to read them: reasons={:?}.",
                        ack.return_codes
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn accepted(&mut self, ack: &ConnAck, now: Now) {
        self.connections += 1;
        self.last_failure = None;
        let properties = ack.properties.as_ref();
        let (receive_max, max_packet) =
            (properties.and_then(|p| p.receive_max), properties.and_then(|p| p.max_packet_size));
        self.session.connected(ack.session_present, receive_max, max_packet, now);
        log::info!(
            "Connected to the broker: url={} client_id={} session_kept={} waiting={}.",
            self.url,
            self.client_id,
            ack.session_present,
            self.session.outbox().len()
        );
    }

    /// Acts on an input; true where the handle is gone.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Record(record) => self.enqueue(&record),
            Input::Slots(slots) => self.take_slots(*slots),
            Input::Orphaned => return true,
        }
        false
    }

    fn enqueue(&mut self, record: &Record) {
        match self.session.enqueue(record, self.clock.now()) {
            Ok(_) => {}
            Err(e @ AppendError::Store(_)) => {
                log::error!("A candidate is lost: id={} error={e}.", record.id)
            }
            Err(e) => log::warn!("A candidate is not queued: id={} error={e}.", record.id),
        }
    }

    fn take_slots(&mut self, slots: Slots) {
        let now = self.clock.now();
        if let Some(status) = slots.status {
            match encode(&self.device, now, status.clone()) {
                Ok(payload) => {
                    self.status = status;
                    self.session.set_status(payload);
                }
                Err(e) => log::error!("The status is not published: error={e}."),
            }
        }
        if !slots.revoke.is_empty() {
            // What was decided before the revocation is in the channel at the latest by now.
            while let Ok(record) = self.inputs.records.try_recv() {
                self.enqueue(&record);
            }
        }
        for revoked in &slots.revoke {
            let wiped = self.session.revoke(|payload| revoked.covers(payload), now);
            log::info!(
                "Undelivered candidates of what was revoked are wiped: list={} wiped={wiped}.",
                revoked.list
            );
        }
        if let Some(state) = slots.list_state {
            match CloudEvent::new(EventId::new(now), &self.device, now, state).to_json() {
                Ok(payload) => self.session.set_list_state(payload),
                Err(e) => log::error!("The state of the list is not published: error={e}."),
            }
        }
        if let Some(stats) = slots.stats {
            match CloudEvent::new(EventId::new(now), &self.device, now, stats).to_json() {
                Ok(payload) => self.session.set_stats(payload),
                Err(e) => log::error!("The counts are not published: error={e}."),
            }
        }
        if let Some(deadline) = slots.stop {
            self.stop =
                Some(Stop { drain: now.monotonic + deadline / 2, end: now.monotonic + deadline });
            // The handle is consumed by then: what is in the channel is all there will be.
            while let Ok(record) = self.inputs.records.try_recv() {
                self.enqueue(&record);
            }
        }
    }

    fn oldest_seconds(&mut self) -> u64 {
        let expires = self.session.oldest_expires();
        let decided = expires
            .map(|e| e.saturating_sub(time::Duration::seconds(self.config.event_expiry_s.into())));
        decided
            .map_or(0, |d| u64::try_from((self.clock.now().wall - d).whole_seconds()).unwrap_or(0))
    }

    fn report(&mut self) {
        let outbox_oldest_seconds = self.oldest_seconds();
        let outbox = self.session.outbox();
        let mut shown = lock(&self.inputs.shared.snapshot);
        *shown = Snapshot {
            connected: self.session.is_up(),
            attempts: self.attempts,
            connections: self.connections,
            last_failure: self.last_failure.clone(),
            outbox_events: outbox.len(),
            outbox_bytes: outbox.bytes(),
            outbox_oldest_seconds,
            outbox: outbox.counters(),
            store: outbox.store_health(),
            not_taken: 0,
            status_refusals: self.session.status_refusals(),
            panics: self.panics,
            inbound: InboundCounters::default(),
            beats: shown.beats + 1,
        };
    }
}

/// Spreads devices in time; where the system has no randomness, they are spread by their clocks'
/// fractions alone.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_covers_the_candidates_of_its_list_versions_and_entry_and_what_cannot_be_read() {
        let payload = |list: &str, version: u64, entry: &str, other: &str| {
            let list = serde_json::json!({ "id": list, "version": version });
            let data = serde_json::json!({ "entry": entry, "alternatives": [other], "list": list });
            serde_json::json!({ "id": "x", "data": data }).to_string().into_bytes()
        };
        let whole = Revoked { list: "north".into(), through: 7, entry: None };
        assert!(
            whole.covers(&payload("north", 7, "a", "b"))
                && whole.covers(&payload("north", 1, "a", "b"))
        );
        assert!(
            !whole.covers(&payload("north", 8, "a", "b"))
                && !whole.covers(&payload("south", 7, "a", "b"))
        );
        let entry = Revoked { entry: Some("b".into()), ..whole };
        assert!(
            entry.covers(&payload("north", 7, "b", "c"))
                && entry.covers(&payload("north", 7, "a", "b"))
        );
        assert!(!entry.covers(&payload("north", 7, "a", "c")));
        assert!(entry.covers(b"no event"));
    }
}
