//! What the daemon holds of delivery: publish, revoke, ask, stop.
//!
//! Promises:
//! * No call blocks, but for [`Delivery::stop`], which ends within its deadline.
//! * A candidate that is not taken is returned to the caller as an error, and counted.
//! * Dropped without [`Delivery::stop`], the connection breaks and the broker publishes `offline`.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::broker::{BrokerConfig, BrokerUrl, UrlError, check_client_id};
use super::event::{
    AuditEntry, Candidate, CloudEvent, ControlAnswer, EncodeError, EventData, EventId, EventKind,
    ListState, MAX_CROP, ReviewState, Stats, Status,
};
use super::exchange::{CHANNEL, Exchange, Inputs, StopTimes};
use super::inbound::{Inbound, Receipt, Screen, TakesNothing};
use super::outbox::ledger::Ledger;
use super::outbox::{
    self, Batch, Carried, EventRecord, MAX_EVENT, MemoryStore, Outbox, Store, Together,
};
use super::revoked::RevokedCandidates;
use super::session::{self, Session};
use super::signer::Signer;
use super::snapshot::{Snapshot, StopReport};
use super::topics::{AuditSaying, DeviceId, TopicError, Topics};
use super::worker::{self, DeliveryWorker, Names};
use crate::clock::{Clock, Now};

/// For how long a record of the audit log waits for a broker; it stays in the log.
const AUDIT_ENTRY_EXPIRY: time::Duration = time::Duration::days(30);
/// How long the state of a review waits for the broker.
const REVIEW_STATE_EXPIRY: time::Duration = time::Duration::days(30);

/// Why delivery cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL.
    #[error("{broker_url}: {0}", broker_url = setting!(broker.url))]
    Url(#[from] UrlError),
    /// The root.
    #[error("{broker_root}: {0}", broker_root = setting!(broker.root))]
    Topic(#[from] TopicError),
    /// The client id.
    #[error("{broker_client_id}: {0}", broker_client_id = setting!(broker.client_id))]
    ClientId(&'static str),
    /// The store.
    #[error(transparent)]
    Store(#[from] outbox::OutboxStoreError),
    /// Another process delivers from the same folder.
    #[error(
        "another watchpost uses {0}; end it, or give each its own {broker_outbox}",
        broker_outbox = setting!(broker.outbox)
    )]
    OutboxInUse(PathBuf),
    /// The ledger.
    #[error(
        "{broker_ledger} = {path}: {source}; name a file in a folder that watchpost may write to",
        broker_ledger = setting!(broker.ledger)
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
    #[error(
        "the event has {0} bytes, more than fit; lower {event_crop_quality}, or set {event_crop} = \
         false",
        event_crop_quality = setting!(event.crop_quality),
        event_crop = setting!(event.crop)
    )]
    TooLarge(usize),
    /// It cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The thread has ended.
    #[error("delivery has ended; restart watchpost")]
    Ended,
}

/// The handle. Dropped without [`Delivery::stop`], the connection breaks and the broker publishes
/// `offline`.
#[derive(Debug)]
pub struct Delivery {
    events: mpsc::Sender<Batch>,
    exchange: Arc<Exchange>,
    device: DeviceId,
    expiry: Duration,
    /// That of the thread.
    clock: Clock,
    /// Taken by [`Delivery::stop`] only.
    thread: Option<JoinHandle<StopReport>>,
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

    /// The same with another store for the outbox.
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
        Self::start_screened(config, device, status, clock, store, Box::new(TakesNothing), None)
    }

    /// The same with a screen, which tells genuine messages to the device from others, and with
    /// whoever signs candidates. Without the former the device hears none, without the latter they
    /// are not signed.
    ///
    /// # Errors
    /// As [`Delivery::start_with`].
    pub fn start_screened(
        config: &BrokerConfig,
        device: &DeviceId,
        status: Status,
        clock: Clock,
        store: Box<dyn Store>,
        screen: Box<dyn Screen>,
        signer: Option<Box<dyn Signer>>,
    ) -> Result<Self, StartError> {
        let url: BrokerUrl = config.url.parse()?;
        let topics = Topics::new(&config.root, device)?;
        let client_id = match config.client_id.as_str() {
            "" => device.to_string(),
            id => {
                check_client_id(id).map_err(StartError::ClientId)?;
                id.to_owned()
            }
        };
        if !url.tls && !url.is_loopback() && config.password_file.is_some() {
            log::warn!(
                "The broker's password crosses the network in the clear; use mqtts:// in \
                 {broker_url}: url={url}.",
                broker_url = setting!(broker.url)
            );
        }
        let mut session = Session::new(Outbox::new(store, config.limits())?, topics.clone());
        session.retire_by(config.receipt);
        if let Some(signer) = signer {
            session.sign_with(signer);
        }
        session.set_status(worker::encode(device, clock.now(), status.clone())?);
        session.shorten_status(worker::encode(device, clock.now(), status.shorter())?);
        session.set_announcements(config.home_assistant.announcements(
            &topics,
            device,
            config.stats_interval_s,
        ));
        if let Some(path) = &config.ledger {
            let failed = |source| StartError::Ledger { path: path.clone(), source };
            session.report_to(Box::new(Ledger::open(path).map_err(failed)?));
        }
        let (events, inbox) = mpsc::channel(CHANNEL);
        let exchange = Arc::new(Exchange::default());
        exchange.show_carries(session.outbox().carries());
        let worker = DeliveryWorker::new(
            config,
            Names { url, client_id, device: device.clone(), topics },
            clock,
            session,
            status,
            Inputs { events: inbox, exchange: exchange.clone() },
            screen,
        );
        Ok(Self {
            events,
            exchange,
            device: device.clone(),
            expiry: config.event_expiry(),
            clock,
            thread: Some(worker.spawn()?),
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
        self.try_publish(candidate, now).inspect_err(|_| self.exchange.count_not_taken())
    }

    /// The event of a candidate, for those who must know its bytes before
    /// [`Delivery::publish_prepared`] hands it over.
    ///
    /// # Errors
    /// Where it would not be taken; it is counted.
    pub fn prepare(&self, candidate: Candidate, now: Now) -> Result<EventRecord, NotTaken> {
        self.event(candidate, now).inspect_err(|_| self.exchange.count_not_taken())
    }

    /// The event of a record of the audit log.
    ///
    /// # Errors
    /// Where it cannot be written; it is counted, and still in the log.
    pub fn prepare_audit_entry(
        &self,
        entry: AuditEntry,
        now: Now,
    ) -> Result<EventRecord, NotTaken> {
        let (id, expires) = (EventId::new(now), now.wall.saturating_add(AUDIT_ENTRY_EXPIRY));
        let event = CloudEvent::new(id, &self.device, now, entry).to_json();
        let payload = event.inspect_err(|_| self.exchange.count_not_taken())?;
        Ok(session::record(id, expires, payload))
    }

    /// Hands a prepared event over for delivery. Never blocks.
    ///
    /// # Errors
    /// Where it is not taken; it is counted.
    pub fn publish_prepared(&self, record: EventRecord) -> Result<EventId, NotTaken> {
        let id = record.id;
        self.publish_together(Together::from_iter([record])).map(|()| id)
    }

    /// Hands prepared events over that are stored by one write, in their order: where the last is
    /// on the disk, so are those before it. Never blocks.
    ///
    /// # Errors
    /// Where they are not taken, none of them; each is counted.
    pub fn publish_together(&self, events: Together) -> Result<(), NotTaken> {
        self.publish_batch(Batch { events, carried: None })
    }

    /// Whether the outbox is likely to take what is carried for the audit log. Never blocks.
    pub fn carries(&self) -> bool {
        self.exchange.carries()
    }

    /// The same as [`Delivery::publish_together`] of events that carry a record of the audit log:
    /// none is published before the record is durable, by the outbox's own write or on the log's
    /// disk, and the checkpoint after it. Never blocks.
    ///
    /// # Errors
    /// Where they are not taken, none of them; each is counted.
    pub fn publish_carrying(&self, events: Together, carried: Carried) -> Result<(), NotTaken> {
        self.publish_batch(Batch { events, carried: Some(Box::new(carried)) })
    }

    fn publish_batch(&self, batch: Batch) -> Result<(), NotTaken> {
        let number = batch.events.len();
        self.hand_over(batch)
            .inspect_err(|_| (0..number).for_each(|_| self.exchange.count_not_taken()))
    }

    /// Hands over how far the review of a candidate is. Never blocks.
    ///
    /// # Errors
    /// Where it is not taken; it is counted.
    pub fn publish_review_state(&self, state: ReviewState, now: Now) -> Result<EventId, NotTaken> {
        let (id, expires) = (EventId::new(now), now.wall.saturating_add(REVIEW_STATE_EXPIRY));
        let payload = CloudEvent::new(id, &self.device, now, state).to_json()?;
        self.publish_prepared(session::record(id, expires, payload))
    }

    /// Hands over how a control stands, for the desk that registered it. Never blocks.
    ///
    /// # Errors
    /// Where it is not taken; it is counted.
    pub fn publish_control_answer(
        &self,
        answer: ControlAnswer,
        now: Now,
    ) -> Result<EventId, NotTaken> {
        let (id, expires) = (EventId::new(now), now.wall.saturating_add(REVIEW_STATE_EXPIRY));
        let payload = CloudEvent::new(id, &self.device, now, answer).to_json()?;
        self.publish_prepared(session::record(id, expires, payload))
    }

    /// Says once how far the review of a candidate is, to somebody who asked and changed nothing:
    /// in no candidate's room, and not over a cut of the link. Who does not hear it asks again.
    /// Never blocks.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn reply_to_reviewer(&self, state: ReviewState, now: Now) -> Result<(), EncodeError> {
        self.reply(EventKind::ReviewState, state, now)
    }

    /// The same to the desk that registered a control.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn reply_to_desk(&self, answer: ControlAnswer, now: Now) -> Result<(), EncodeError> {
        self.reply(EventKind::ControlAnswer, answer, now)
    }

    fn reply(&self, kind: EventKind, data: impl EventData, now: Now) -> Result<(), EncodeError> {
        let event = CloudEvent::new(EventId::new(now), &self.device, now, data);
        self.exchange.reply(kind, event.to_json()?);
        Ok(())
    }

    fn try_publish(&self, candidate: Candidate, now: Now) -> Result<EventId, NotTaken> {
        let event = self.event(candidate, now)?;
        let id = event.id;
        let events = Together::from_iter([event]);
        self.hand_over(Batch { events, carried: None }).map(|()| id)
    }

    fn event(&self, candidate: Candidate, now: Now) -> Result<EventRecord, NotTaken> {
        let second = candidate.second_view.as_ref().and_then(|view| view.crop.as_ref());
        let pictures = [candidate.crop.as_ref(), candidate.head.as_ref(), second];
        let crop: usize = pictures.into_iter().flatten().map(|c| c.base64.len()).sum();
        if crop > MAX_CROP.div_ceil(3) * 4 {
            return Err(NotTaken::TooLarge(crop));
        }
        let (id, expires) = (EventId::new(now), candidate.expires);
        let payload = CloudEvent::new(id, &self.device, now, candidate).to_json()?;
        if payload.len() > MAX_EVENT {
            return Err(NotTaken::TooLarge(payload.len()));
        }
        Ok(session::record(id, expires, payload))
    }

    fn hand_over(&self, batch: Batch) -> Result<(), NotTaken> {
        match self.events.try_send(batch) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotTaken::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NotTaken::Ended),
        }
    }

    /// The status from now on. Of several in a row only the newest is published. Never blocks.
    pub fn set_status(&self, status: Status) {
        self.exchange.request(|requested| requested.status = Some(status));
    }

    /// Counts, published once at QoS 0 where a broker is connected, else replaced by the next.
    /// Never blocks.
    pub fn publish_stats(&self, stats: Stats) {
        self.exchange.request(|requested| requested.stats = Some(stats));
    }

    /// The newest signed checkpoint of the audit log, retained by the broker. Never blocks.
    pub fn set_checkpoint(&self, note: String) {
        self.exchange.request(|requested| requested.checkpoint = Some(note));
    }

    /// Publishes no checkpoint any more, until another is set: what the broker has kept stays.
    /// Never blocks.
    pub fn withdraw_checkpoint(&self) {
        self.set_checkpoint(String::new());
    }

    /// Says something to the audit log's witnesses, once and only while a broker is connected: they
    /// ask again. Never blocks.
    pub fn say_to_witnesses(&self, saying: AuditSaying, note: String) {
        self.exchange.say(saying, note);
    }

    /// What a witness says, if it passed the screen. Never blocks.
    pub fn statement(&self) -> Option<Inbound> {
        self.exchange.mailbox.take_statement()
    }

    /// Which list is in force and what became of the last order or offer, retained by the broker.
    /// Each is published, so that each answer is heard. Never blocks.
    pub fn set_list_state(&self, state: ListState) {
        self.exchange.add_list_state(state);
    }

    /// Wipes candidates that were not delivered yet; how many is in the snapshot's outbox. Never
    /// blocks. False where too many revocations wait already.
    pub fn revoke(&self, revoked: RevokedCandidates) -> bool {
        self.exchange.revoke(revoked)
    }

    /// The next message to the device that passed the screen. Never blocks.
    pub fn inbound(&self) -> Option<Inbound> {
        self.exchange.mailbox.take()
    }

    /// Whether a genuine order found no room since the last call and is lost, as it came at QoS 0.
    pub fn lost_an_order(&self) -> bool {
        self.exchange.mailbox.take_overflow()
    }

    /// Whether all messages that the broker kept for this device have come since the start, and
    /// those of QoS 1 were acknowledged. True from then on.
    pub fn has_heard_orders(&self) -> bool {
        self.exchange.has_heard()
    }

    /// Acknowledges messages to the broker: what they say was followed and stored, or refused. Of a
    /// checkpoint that the broker had kept: that it was compared.
    /// Never blocks.
    pub fn acknowledge(&self, receipts: Vec<Receipt>) {
        if !receipts.is_empty() {
            self.exchange.request(|requested| requested.done.extend(receipts));
        }
    }

    /// How delivery is.
    pub fn snapshot(&self) -> Snapshot {
        self.exchange.snapshot()
    }

    /// Delivers what waits, publishes `stopped`, disconnects, and ends the thread; all within
    /// `deadline`, of which the candidates may use half. Where no broker answers it ends as soon as
    /// nothing is left to lose.
    pub fn stop(self, deadline: Duration) -> StopReport {
        let until = self.clock.now().monotonic + deadline;
        self.stop_until(until)
    }

    /// As [`Delivery::stop`], with the deadline in monotonic time of the clock that it was started
    /// with.
    pub fn stop_until(mut self, until: Duration) -> StopReport {
        let times = StopTimes::within(self.clock.now().monotonic, until);
        self.exchange.request(|requested| requested.stop = Some(times));
        let thread =
            self.thread.take().expect("only stop takes the thread, and it consumes the handle");
        let mut report = thread.join().unwrap_or_else(|_| {
            log::error!("The delivery thread ended by a panic.");
            StopReport::default()
        });
        report.snapshot = self.exchange.snapshot();
        report
    }
}
