//! Stores what has come, all that waits in one transaction.
//!
//! * After each transaction it is said which receipts are due by it. Those of before, and verdicts,
//!   are looked at where somebody asks; those of before also twice a second while messages come.
//! * Where nothing can be stored it is tried again at growing intervals, for as long as it takes:
//!   what waits is acknowledged by nobody. Where nothing can be read, what is due is looked at at
//!   growing intervals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::sync::{broadcast, mpsc};

use crate::backoff::{Backoff, NO_JITTER};
use crate::delivery::event::EventId;
use crate::desk::intake::{AboutWhat, ArrivedEvent, Intaken};
use crate::desk::store::{
    Arrival, DeskNotice, DeskStore, DueReceipt, DueVerdict, KeepingRules, Kept,
};

/// Most messages of one transaction.
const MOST: usize = 256;
/// Most receipts and verdicts that are looked at at a time.
const DUE: u32 = super::post::MOST_OUT as u32;
/// How often it is looked for receipts that were not taken, while messages come.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// First and last wait while the store fails.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// One message, and where its acknowledgement goes.
#[derive(Debug)]
pub struct Incoming {
    /// Of which connection.
    pub connection: u64,
    /// Its packet; none at QoS 0.
    pub packet: Option<u16>,
    /// What came.
    pub arrival: Arrival,
}

/// What the keeper is asked.
#[derive(Debug)]
pub enum Job {
    /// Store it.
    Keep(Box<Incoming>),
    /// The broker has taken the receipts of these events.
    Taken(Vec<EventId>),
    /// What is due?
    Look,
}

/// What the keeper says.
#[derive(Debug)]
pub enum Done {
    /// These are stored, and may be acknowledged.
    Stored {
        /// On which connection.
        connection: u64,
        /// Their packets.
        packets: Vec<u16>,
    },
    /// What is due.
    Due {
        /// Receipts that the broker has not taken.
        receipts: Vec<DueReceipt>,
        /// Verdicts that no device has answered; absent where they were not looked at.
        verdicts: Option<Vec<DueVerdict>>,
    },
}

pub struct StoreKeeper {
    pub store: Arc<DeskStore>,
    pub rules: KeepingRules,
    pub notices: broadcast::Sender<DeskNotice>,
}

/// When it may be looked at again what is due, after the store could not be read.
struct LookAgain {
    began: Instant,
    /// When it was looked last.
    looked: Instant,
    backoff: Backoff,
}

impl StoreKeeper {
    /// Until nobody asks any more.
    pub async fn run(self, mut jobs: mpsc::Receiver<Job>, done: mpsc::Sender<Done>) {
        let backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut again = LookAgain { began: Instant::now(), looked: Instant::now(), backoff };
        while let Some(job) = jobs.recv().await {
            let (mut incoming, mut taken, mut look) = (Vec::new(), Vec::new(), false);
            let mut next = Some(job);
            while let Some(job) = next.take() {
                match job {
                    Job::Keep(message) => incoming.push(*message),
                    Job::Taken(events) => taken.extend(events),
                    Job::Look => look = true,
                }
                if incoming.len() < MOST {
                    next = jobs.try_recv().ok();
                }
            }
            let kept = !incoming.is_empty();
            if kept || !taken.is_empty() {
                self.keep(incoming, &taken, &done).await;
            }
            if look || kept && again.looked.elapsed() >= LOOK_EVERY {
                self.look(look, &done, &mut again).await;
            }
        }
    }

    async fn keep(&self, incoming: Vec<Incoming>, taken: &[EventId], done: &mpsc::Sender<Done>) {
        let (mut packets, mut batch) = (Vec::new(), Vec::with_capacity(incoming.len()));
        for Incoming { connection, packet, arrival } in incoming {
            packets.extend(packet.map(|packet| (connection, packet)));
            batch.push(arrival);
        }
        let now = OffsetDateTime::now_utc;
        let store = || self.store.keep_and_settle(&batch, taken, &self.rules, now());
        let (kept, notices) = retry("What devices publish", store).await;
        // Packets of one connection come together: a new one begins with none of the old.
        for connection in packets.chunk_by(|a, b| a.0 == b.0) {
            let number = connection[0].0;
            let packets = connection.iter().map(|(_, packet)| *packet).collect();
            let _ = done.send(Done::Stored { connection: number, packets }).await;
        }
        let receipts = receipts(&batch, &kept);
        if !receipts.is_empty() {
            let _ = done.send(Done::Due { receipts, verdicts: None }).await;
        }
        for notice in notices {
            // Nobody looks: then nobody is told.
            let _ = self.notices.send(notice);
        }
    }

    async fn look(&self, verdicts: bool, done: &mpsc::Sender<Done>, again: &mut LookAgain) {
        let now = again.began.elapsed();
        again.looked = Instant::now();
        if again.backoff.left(now) > Duration::ZERO {
            return;
        }
        let receipts = self.store.due_receipts(DUE).await;
        let verdicts = match verdicts {
            true => Some(self.store.due_verdicts(DUE).await),
            false => None,
        };
        match (receipts, verdicts.transpose()) {
            (Ok(receipts), Ok(verdicts)) => {
                again.backoff.reset();
                let _ = done.send(Done::Due { receipts, verdicts }).await;
            }
            (Err(error), _) | (_, Err(error)) => {
                again.backoff.failed(now, NO_JITTER);
                log::error!(
                    "It cannot be read which receipts and verdicts are due: {error} \
                     next_try_ms={}.",
                    again.backoff.left(now).as_millis()
                );
            }
        }
    }
}

/// Receipts of what was stored, by device. A device's log keeps its own records.
fn receipts(batch: &[Arrival], kept: &[Kept]) -> Vec<DueReceipt> {
    let stored = batch.iter().zip(kept).filter(|(_, kept)| **kept != Kept::SetAside);
    let due = |(arrival, _): (&Arrival, _)| match &arrival.what {
        Intaken::Event(event) if !matches!(event.about, AboutWhat::AuditEntry) => {
            let ArrivedEvent { id, device, digest, .. } = &**event;
            Some(DueReceipt { event: *id, device: device.clone(), digest: *digest })
        }
        _ => None,
    };
    let mut receipts: Vec<DueReceipt> = stored.filter_map(due).collect();
    receipts.sort_by(|a, b| (&a.device, a.event).cmp(&(&b.device, b.event)));
    receipts
}

/// Tries again, at growing intervals, until it succeeds.
async fn retry<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, crate::desk::store::DeskStoreError>>,
{
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                let wait = backoff.next(NO_JITTER);
                log::error!(
                    "{what} cannot be stored, and nothing is acknowledged: {error} next_try_ms={}.",
                    wait.as_millis()
                );
                tokio::time::sleep(wait).await;
            }
        }
    }
}
