//! The delivery thread: connects again and again until it is stopped, and takes what the handle
//! asks for meanwhile.
//!
//! Promises:
//! * One connection at a time, under a stable client id.
//! * Back-off with jitter between attempts, slower where trying soon cannot help.
//! * A panic in the client library costs a connection, not the thread.
//! * What is asked for is taken at once, connected or not.
//!
//! What is published next, and what an acknowledgement means, is decided in [`super::session`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::acks::Acks;
use super::broker::{BrokerConfig, BrokerUrl};
use super::event::{CloudEvent, EncodeError, EventId, Status};
use super::exchange::{Inputs, Requested, StopTimes, WorkerInput};
use super::failure::{self, LinkFailure};
use super::hearing::Hearing;
use super::inbound::Screen;
use super::outbox::{AppendError, Batch, EventRecord, Store};
use super::revoked::RevokedCandidates;
use super::session::Session;
use super::snapshot::{Snapshot, StopReport};
use super::tls::peer::CertificateEnds;
use super::topics::{AuditSaying, DeviceId, Topics};
use crate::backoff::Backoff;
use crate::clock::{Clock, Now};

/// First and last wait between connections.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// A connection that lasted this long resets the back-off; one that a second client of the same id
/// ends sooner does not.
const STABLE: Duration = Duration::from_secs(10);
/// How often expired candidates are looked for, and what is only in memory is written.
pub(super) const SWEEP: Duration = Duration::from_secs(5);

/// The bytes of a status event.
pub(super) fn encode(device: &DeviceId, now: Now, status: Status) -> Result<Vec<u8>, EncodeError> {
    CloudEvent::new(EventId::new(now), device, now, status).to_json()
}

/// How a connection, or the wait for the next, ended.
pub(super) enum End {
    /// Clean: `stopped` may have been taken.
    Stopped { published: bool },
    /// The handle is gone; the link breaks, so that the broker says `offline`.
    Orphaned,
    /// Try again.
    Failed(LinkFailure),
}

/// Where the broker is, and who this device is to it.
pub(super) struct Names {
    pub(super) url: BrokerUrl,
    pub(super) client_id: String,
    pub(super) device: DeviceId,
    pub(super) topics: Topics,
}

/// The thread's state. It outlives connections.
pub(super) struct DeliveryWorker {
    pub(super) config: BrokerConfig,
    pub(super) names: Names,
    pub(super) clock: Clock,
    /// When the certificates of the last connection end.
    pub(super) ends: Arc<CertificateEnds>,
    pub(super) session: Session<Box<dyn Store>>,
    /// The newest, from which the last will and `stopped` are made.
    pub(super) status: Status,
    pub(super) inputs: Inputs,
    /// Looks at what is sent to the device before it is queued.
    pub(super) screen: Box<dyn Screen>,
    /// What of it is not acknowledged on this connection.
    pub(super) acks: Acks,
    /// Set once, when the handle asks for the end.
    pub(super) stop: Option<StopTimes>,
    /// The broker keeps messages for those who subscribe later, as far as it is known.
    pub(super) retains: bool,
    /// The next last will has less in it: the broker closed the last link before it answered.
    pub(super) short_will: bool,
    /// The client was asked to disconnect.
    pub(super) disconnecting: bool,
    /// Whether all that the broker kept has come on this connection.
    pub(super) hearing: Hearing,
    /// It was logged that nobody listens.
    pub(super) unheard: bool,
    pub(super) attempts: u64,
    pub(super) connections: u64,
    pub(super) last_failure: Option<String>,
    /// Revocations whose candidates could not all be looked at.
    revoking: Vec<RevokedCandidates>,
    /// Candidates whose records are on no disk, neither the outbox's nor the log's: they are not
    /// published before.
    unrecorded: Vec<Batch>,
    /// When [`DeliveryWorker::sweep`] last did something.
    swept: Duration,
    backoff: Backoff,
    panics: u64,
}

impl DeliveryWorker {
    pub(super) fn new(
        config: &BrokerConfig,
        names: Names,
        clock: Clock,
        session: Session<Box<dyn Store>>,
        status: Status,
        inputs: Inputs,
        screen: Box<dyn Screen>,
    ) -> Self {
        Self {
            config: config.clone(),
            names,
            clock,
            ends: Arc::default(),
            session,
            status,
            inputs,
            screen,
            acks: Acks::default(),
            stop: None,
            retains: true,
            short_will: false,
            disconnecting: false,
            hearing: Hearing::default(),
            unheard: false,
            attempts: 0,
            connections: 0,
            last_failure: None,
            revoking: Vec::new(),
            unrecorded: Vec::new(),
            swept: Duration::ZERO,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            panics: 0,
        }
    }

    /// Starts the thread.
    pub(super) fn spawn(mut self) -> std::io::Result<JoinHandle<StopReport>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("delivery".to_owned()).spawn(move || {
            let report = loop {
                // The client library parses what a broker sends and has panics of its own in it.
                // One costs a connection: the session holds no half-made change then, as it is
                // called before and after the library only.
                match catch_unwind(AssertUnwindSafe(|| runtime.block_on(self.run()))) {
                    Ok(report) => break report,
                    Err(_) => self.panics += 1,
                }
            };
            // A name look-up that hangs must not hold up the end of the program.
            runtime.shutdown_background();
            report
        })
    }

    /// Connects until there is reason to end. May be called again after a panic.
    async fn run(&mut self) -> StopReport {
        // Only a panic brings it here after an attempt.
        let mut panicked = self.attempts > 0;
        loop {
            let began = self.clock.now().monotonic;
            let end = if std::mem::take(&mut panicked) {
                End::Failed(failure::PANIC.into())
            } else {
                self.attempts += 1;
                self.connection().await
            };
            let failure = match end {
                End::Failed(failure) => Ok(self.blame(failure)),
                End::Stopped { published } => Err(published),
                End::Orphaned => Err(false),
            };
            self.session.disconnected();
            let failure = match failure {
                Ok(failure) => failure,
                Err(stopped_published) => return self.stop_report(stopped_published),
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
                self.names.url,
                self.names.client_id,
                self.session.outbox().len(),
                wait.as_millis()
            );
            self.last_failure = Some(failure.to_string());
            match self.pause(wait).await {
                Some(End::Stopped { published }) => return self.stop_report(published),
                Some(_) => return self.stop_report(false),
                None => {}
            }
        }
    }

    /// What the end of a link says about what was sent on it; the failure, with what to look at.
    fn blame(&mut self, failure: LinkFailure) -> LinkFailure {
        let now = self.clock.now();
        if !self.session.is_up() {
            if failure.by_broker {
                // All that can be too large before the broker has answered is the last will.
                self.short_will = !self.short_will;
            }
            let is_told = failure.too_large || !failure.by_broker;
            return if is_told { failure } else { failure.before_the_answer() };
        }
        let found = failure.too_large && self.session.refused_as_too_large(now);
        if failure.by_broker && !found {
            self.session.ended_by_broker(now);
        }
        failure
    }

    fn stop_report(&mut self, stopped_published: bool) -> StopReport {
        self.retry_unrecorded();
        self.session.let_go_of_carried(self.clock.now());
        self.report();
        let outbox = self.session.outbox();
        StopReport {
            stopped_published,
            undelivered: outbox.len(),
            lost: outbox.store_health().in_memory + self.unrecorded.len(),
            snapshot: self.inputs.exchange.snapshot(),
        }
    }

    /// Takes inputs until `wait` is over, or there is reason to end.
    async fn pause(&mut self, wait: Duration) -> Option<End> {
        let until = self.clock.now().monotonic + wait;
        loop {
            self.sweep();
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
                () = tokio::time::sleep((end - now.monotonic).min(SWEEP)) => {}
            }
        }
    }

    /// Acts on an input; true where the handle is gone.
    pub(super) fn take(&mut self, input: WorkerInput) -> bool {
        match input {
            WorkerInput::Events(batch) => self.enqueue(batch),
            WorkerInput::Requested(requested) => self.take_requested(*requested),
            WorkerInput::Orphaned => return true,
        }
        false
    }

    /// Takes what is handed over, after what waits for a disk.
    fn enqueue(&mut self, batch: Batch) {
        self.retry_unrecorded();
        self.enqueue_one(batch);
    }

    fn retry_unrecorded(&mut self) {
        for batch in std::mem::take(&mut self.unrecorded) {
            self.enqueue_one(batch);
        }
    }

    /// Nothing is in the outbox before the log's record of it is durable: with the outbox's own
    /// write, or where it takes none, on the log's disk.
    fn enqueue_one(&mut self, batch: Batch) {
        let Batch { events, carried: Some(carried) } = &batch else {
            self.store(&batch.events);
            return;
        };
        if self.session.enqueue_carrying(events, &carried.bytes, self.clock.now()) {
            carried.log.covered(carried.records);
        } else if let Err(error) = carried.log.settle() {
            log::error!(
                "A candidate waits, as no disk takes its record: records={} error={error}.",
                carried.records
            );
            self.unrecorded.push(batch);
            self.show_carries();
            return;
        } else {
            self.store(events);
        }
        let Some(carried) = batch.carried else { return };
        self.session.advance_checkpoint(carried.checkpoint);
        if let Some(announcement) = carried.announcement {
            self.session.say(AuditSaying::Consistency, announcement);
        }
        self.show_carries();
    }

    fn show_carries(&self) {
        let carries = self.unrecorded.is_empty() && self.session.outbox().carries();
        self.inputs.exchange.show_carries(carries);
    }

    fn store(&mut self, events: &[EventRecord]) {
        for (id, error) in self.session.enqueue(events, self.clock.now()) {
            match error {
                AppendError::Store(_) => log::error!("An event is lost: id={id} error={error}."),
                _ => log::warn!("An event is not queued: id={id} error={error}."),
            }
        }
    }

    fn take_requested(&mut self, requested: Requested) {
        let now = self.clock.now();
        if let Some(status) = requested.status {
            match encode(&self.names.device, now, status.clone()) {
                Ok(payload) => {
                    self.session.set_status(payload);
                    let short = encode(&self.names.device, now, status.shorter());
                    self.session.shorten_status(short.unwrap_or_default());
                    self.status = status;
                }
                Err(e) => log::error!("The status is not published: error={e}."),
            }
        }
        if !requested.revoke.is_empty() {
            // What was decided before the revocation is in the channel by now.
            while let Ok(batch) = self.inputs.events.try_recv() {
                self.enqueue(batch);
            }
        }
        self.revoking.extend(requested.revoke);
        self.revoke(now);
        for state in requested.list_states {
            match CloudEvent::new(EventId::new(now), &self.names.device, now, state).to_json() {
                Ok(payload) => self.session.set_list_state(payload),
                Err(e) => log::error!("The state of the list is not published: error={e}."),
            }
        }
        if let Some(note) = requested.checkpoint {
            self.session.set_checkpoint(note);
        }
        for (saying, note) in requested.said {
            self.session.say(saying, note);
        }
        for (kind, payload) in requested.replies {
            if !self.session.reply(kind, payload) {
                self.inputs.exchange.count_dropped_reply(kind);
            }
        }
        // After the state of the list, which answers them.
        requested.done.into_iter().for_each(|receipt| self.acks.done(receipt));
        if let Some(stats) = requested.stats {
            match CloudEvent::new(EventId::new(now), &self.names.device, now, stats).to_json() {
                Ok(payload) => self.session.set_stats(payload),
                Err(e) => log::error!("The counts are not published: error={e}."),
            }
        }
        if requested.stop.is_some() {
            self.stop = requested.stop;
            // The handle is consumed by then: what is in the channel is all there will be.
            while let Ok(batch) = self.inputs.events.try_recv() {
                self.enqueue(batch);
            }
        }
    }

    /// Wipes what was revoked. Where the store cannot be read for now, no candidate goes out until
    /// all that wait were looked at.
    fn revoke(&mut self, now: Now) {
        let Self { revoking, session, unrecorded, .. } = self;
        revoking.retain(|revoked| {
            for batch in unrecorded.iter_mut() {
                batch.events.retain(|event| !revoked.covers(&event.payload));
            }
            let (wiped, complete) = session.revoke(|payload| revoked.covers(payload), now);
            log::info!(
                "Undelivered candidates of what was revoked are wiped: list={} wiped={wiped} \
                 complete={complete}.",
                revoked.list
            );
            !complete
        });
        let hold = !revoking.is_empty();
        session.hold(hold);
    }

    /// Now and then, however busy the thread is: expired candidates, what is only in memory, what
    /// could not be wiped.
    pub(super) fn sweep(&mut self) {
        let now = self.clock.now();
        if now.monotonic.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now.monotonic;
        self.retry_unrecorded();
        self.session.sweep(now);
        if !self.revoking.is_empty() {
            self.revoke(now);
        }
    }

    fn oldest_seconds(&mut self) -> u64 {
        let expires = self.session.oldest_expires();
        let decided = expires
            .map(|e| e.saturating_sub(time::Duration::seconds(self.config.event_expiry_s.into())));
        decided
            .map_or(0, |d| u64::try_from((self.clock.now().wall - d).whole_seconds()).unwrap_or(0))
    }

    pub(super) fn report(&mut self) {
        self.show_carries();
        let outbox_oldest_seconds = self.oldest_seconds();
        let outbox = self.session.outbox();
        let (stripped, too_large) = self.session.diminished();
        let mut store = outbox.store_health();
        if store.problem.is_none() && outbox.is_refused() {
            store.problem = Some(format!(
                "the broker takes no candidates ({} refusals): see that this device's user may \
                 publish its candidates, and look into the broker's log for its limits",
                outbox.counters().refusals
            ));
        }
        if store.problem.is_none() && outbox.aside() > 0 {
            store.problem = Some(format!(
                "{} candidates are set aside, as the broker ends the connection over them or takes \
                 no packet as large; look into its log and raise its packet size",
                outbox.aside()
            ));
        }
        self.inputs.exchange.show(Snapshot {
            connected: self.session.is_up(),
            attempts: self.attempts,
            connections: self.connections,
            last_failure: self.last_failure.clone(),
            outbox_events: outbox.len(),
            outbox_bytes: outbox.bytes(),
            outbox_oldest_seconds,
            outbox: outbox.counters(),
            store,
            stripped,
            too_large,
            status_refusals: self.session.status_refusals(),
            panics: self.panics,
            certificate_ends: self.ends.device(),
            broker_certificate_ends: self.ends.broker(),
            authority_certificate_ends: self.ends.authority(),
            ..Snapshot::default()
        });
    }
}

/// Spreads devices in time; where the system has no randomness, only their clocks' fractions do.
pub(super) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests;
