//! Where events are until they are delivered: the trait, and memory.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::delivery::event::{EventId, without_pictures};

/// Place of an event in the order of decisions; grows by one with each append. It is not used again
/// as long as anything on the disk names it or a higher one: a power cut right after the last event
/// was delivered may make them start over.
pub type QueuePosition = u64;

/// An event as it will be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// The event's id, for logs and for consumers that drop repetitions.
    pub id: EventId,
    /// After this it is dropped instead of sent.
    pub expires: OffsetDateTime,
    /// The payload, byte for byte. Wiped when dropped: it may hold the crop of a face.
    pub payload: Zeroizing<Vec<u8>>,
}

/// Digests of the forms of one event: as it is, and without pictures where it has any.
pub type FormDigests = heapless::Vec<[u8; 32], 2>;

impl EventRecord {
    /// SHA-256 of each form in which it may go out. Both are the same event under the same id.
    pub fn form_digests(&self) -> FormDigests {
        let whole = Sha256::digest(&self.payload).into();
        let bare = Sha256::digest(&self.clone().without_crop().payload).into();
        let forms = if bare == whole { 1 } else { 2 };
        [whole, bare].into_iter().take(forms).collect()
    }

    /// Whether `digest` is that of one of its forms.
    pub fn has_form(&self, digest: &[u8; 32]) -> bool {
        Sha256::digest(&self.payload)[..] == digest[..] || self.form_digests().contains(digest)
    }

    /// The same without pictures of the face, for a broker that does not take them; the same where
    /// it has none.
    pub fn without_crop(self) -> Self {
        match without_pictures(&self.payload) {
            Some(payload) => Self { payload: payload.into(), ..self },
            None => self,
        }
    }
}

/// What the outbox knows about an event in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub position: QueuePosition,
    /// When it expires, see [`nanoseconds`].
    pub expires: i64,
    /// Bytes of its payload.
    pub bytes: u32,
}

/// Nanoseconds since 1970 in UTC, at most those of the year 2262 and at least those of 1677: a date
/// in eight bytes.
pub fn nanoseconds(when: OffsetDateTime) -> i64 {
    let exact = when.unix_timestamp_nanos();
    i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
}

/// Why a store could not do something.
#[derive(Debug, thiserror::Error)]
#[error("the event store failed to {action}: {source}")]
pub struct OutboxStoreError {
    /// What was tried, as in `append`.
    pub action: &'static str,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// What an earlier run left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Events that wait.
    pub events: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
    /// The first position that was never used.
    pub next: QueuePosition,
}

/// Events that waited and are no longer found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub events: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

/// How a store is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StoreHealth {
    /// Events that are lost where the process ends.
    pub in_memory: usize,
    /// Records and segments that were found damaged or unreadable.
    pub damaged: u64,
    /// Last records of segments that were never finished, as after a power cut.
    pub torn: u64,
    /// Operations that the disk refused.
    pub failures: u64,
    /// Why events are not as safe as the configuration asks for, and what to do, for people.
    pub problem: Option<String>,
}

/// A log whose records are made durable by the store's sync, before its own. Asked from the store's
/// thread; may wait for the log's disk.
pub trait CarriedLog: Send + Sync {
    /// Whether the log needs nothing of what was carried for it.
    fn is_settled(&self) -> bool;

    /// Brings all of the log to its own disk.
    ///
    /// # Errors
    /// Where it is not there: what was carried is needed still.
    fn settle(&self) -> io::Result<()>;

    /// What was carried is on the store's disk, so that the log has as many records as it names.
    fn covered(&self, records: u64);
}

/// Where events are until they are delivered. One caller, one thread; order and bounds are the
/// outbox's job.
pub trait Store: Send {
    /// What an earlier run left. Called once, before anything else.
    ///
    /// # Errors
    /// Where nothing can be read; single bad records are skipped and counted by the store.
    fn recover(&mut self) -> Result<Recovered, OutboxStoreError>;

    /// Keeps `record` at `position`, which is higher than all before; it is as durable as the store
    /// can make it when this returns.
    ///
    /// # Errors
    /// Where it is not kept.
    fn append(
        &mut self,
        position: QueuePosition,
        record: &EventRecord,
    ) -> Result<(), OutboxStoreError> {
        self.append_together(position, &[record])
    }

    /// Keeps at most [`TOGETHER`] records at `first` and the positions after it, by one write and
    /// one sync where the store has such: a power cut meanwhile leaves the first ones of them, all,
    /// or none.
    ///
    /// # Errors
    /// Where none is kept.
    fn append_together(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
    ) -> Result<(), OutboxStoreError>;

    /// The same with bytes that belong to a log, which are on the disk wherever one of the events
    /// is found again. Kept until the log that was given to [`Store::keep_for`] is settled.
    ///
    /// # Errors
    /// Where they are not on the disk: nothing is kept in memory, and a power cut may leave
    /// something of it all the same.
    fn append_carrying(
        &mut self,
        _first: QueuePosition,
        _records: &[&EventRecord],
        _carried: &[u8],
    ) -> Result<(), OutboxStoreError> {
        let source = io::ErrorKind::Unsupported.into();
        Err(OutboxStoreError { action: "carry a record of the audit log", source })
    }

    /// Whether it is likely to carry something for a log.
    fn carries(&self) -> bool {
        false
    }

    /// Keeps what is carried for this log until it is settled. Called before
    /// [`Store::recover`].
    fn keep_for(&mut self, _log: Arc<dyn CarriedLog>) {}

    /// Whether something is kept for the log alone.
    fn waits_for_log(&self) -> bool {
        false
    }

    /// Lets go of it where the log needs it no more; `settle`: and settles the log for it.
    fn let_go_of_carried(&mut self, _settle: bool) {}

    /// The event that waits at `from`, or the first one after it.
    fn next(&mut self, from: QueuePosition) -> Option<Stored>;

    /// The same of those that expire at `deadline` or before, see [`nanoseconds`].
    fn next_expired(&mut self, from: QueuePosition, deadline: i64) -> Option<Stored>;

    /// Reads it back; `None` where it is not there or not whole.
    ///
    /// # Errors
    /// Where reading failed and may succeed later.
    fn read(&mut self, position: QueuePosition) -> Result<Option<EventRecord>, OutboxStoreError>;

    /// Forgets it and returns whether it was there. Whatever is returned, this process does not
    /// name it again.
    ///
    /// # Errors
    /// Where it was there and may come back after a restart.
    fn remove(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError>;

    /// The same, and its bytes are gone after the next [`Store::scrub`].
    ///
    /// # Errors
    /// As [`Store::remove`].
    fn wipe(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError> {
        self.remove(position)
    }

    /// Destroys the bytes of wiped events.
    ///
    /// # Errors
    /// Where they are still there; it is tried again when the store works again.
    fn scrub(&mut self) -> Result<(), OutboxStoreError> {
        Ok(())
    }

    /// Tries to make durable what is only in memory.
    fn flush(&mut self) {}

    /// Whether something could not be read since the last call, so that what was found is not all
    /// that waits. It is not lost: asking again later may find it.
    fn take_stalled(&mut self) -> bool {
        false
    }

    /// Whoever asks waits now, and asks again later: all that could not be read since the last call
    /// counts as one failure, however often it was asked for.
    fn round_failed(&mut self) {}

    /// What was lost since the last call: recovered or appended, neither removed nor read, and no
    /// longer found.
    fn take_lost(&mut self) -> Lost {
        Lost::default()
    }

    /// How it is.
    fn health(&self) -> StoreHealth;
}

/// Keeps events in memory: lost with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: VecDeque<(QueuePosition, EventRecord)>,
    problem: Option<String>,
}

impl MemoryStore {
    /// In place of a store that cannot be used; `problem` says why, for people.
    pub fn instead(problem: String) -> Self {
        Self { problem: Some(problem), ..Self::default() }
    }

    /// Events that it holds.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn front(&self) -> Option<(QueuePosition, EventRecord)> {
        self.records.front().cloned()
    }

    fn index(&self, position: QueuePosition) -> Option<usize> {
        self.records.binary_search_by_key(&position, |(p, _)| *p).ok()
    }
}

fn stored((position, record): &(QueuePosition, EventRecord)) -> Stored {
    // No more than MAX_EVENT.
    Stored {
        position: *position,
        expires: nanoseconds(record.expires),
        bytes: record.payload.len() as u32,
    }
}

impl Store for MemoryStore {
    fn recover(&mut self) -> Result<Recovered, OutboxStoreError> {
        Ok(Recovered::default())
    }

    fn append_together(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
    ) -> Result<(), OutboxStoreError> {
        self.records.extend((first..).zip(records.iter().map(|record| (*record).clone())));
        Ok(())
    }

    fn next(&mut self, from: QueuePosition) -> Option<Stored> {
        self.records.get(self.records.partition_point(|(p, _)| *p < from)).map(stored)
    }

    fn next_expired(&mut self, from: QueuePosition, deadline: i64) -> Option<Stored> {
        let begin = self.records.partition_point(|(p, _)| *p < from);
        self.records.range(begin..).map(stored).find(|s| s.expires <= deadline)
    }

    fn read(&mut self, position: QueuePosition) -> Result<Option<EventRecord>, OutboxStoreError> {
        Ok(self.index(position).map(|i| self.records[i].1.clone()))
    }

    fn remove(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError> {
        let found = self.index(position);
        if let Some(i) = found {
            self.records.remove(i);
        }
        Ok(found.is_some())
    }

    fn health(&self) -> StoreHealth {
        StoreHealth {
            in_memory: self.len(),
            problem: self.problem.clone(),
            ..StoreHealth::default()
        }
    }
}

impl Store for Box<dyn Store> {
    fn recover(&mut self) -> Result<Recovered, OutboxStoreError> {
        (**self).recover()
    }

    fn append_together(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
    ) -> Result<(), OutboxStoreError> {
        (**self).append_together(first, records)
    }

    fn append_carrying(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
        carried: &[u8],
    ) -> Result<(), OutboxStoreError> {
        (**self).append_carrying(first, records, carried)
    }

    fn carries(&self) -> bool {
        (**self).carries()
    }

    fn keep_for(&mut self, log: Arc<dyn CarriedLog>) {
        (**self).keep_for(log);
    }

    fn waits_for_log(&self) -> bool {
        (**self).waits_for_log()
    }

    fn let_go_of_carried(&mut self, settle: bool) {
        (**self).let_go_of_carried(settle);
    }

    fn next(&mut self, from: QueuePosition) -> Option<Stored> {
        (**self).next(from)
    }

    fn next_expired(&mut self, from: QueuePosition, deadline: i64) -> Option<Stored> {
        (**self).next_expired(from, deadline)
    }

    fn read(&mut self, position: QueuePosition) -> Result<Option<EventRecord>, OutboxStoreError> {
        (**self).read(position)
    }

    fn remove(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError> {
        (**self).remove(position)
    }

    fn wipe(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError> {
        (**self).wipe(position)
    }

    fn scrub(&mut self) -> Result<(), OutboxStoreError> {
        (**self).scrub()
    }

    fn flush(&mut self) {
        (**self).flush();
    }

    fn take_stalled(&mut self) -> bool {
        (**self).take_stalled()
    }

    fn round_failed(&mut self) {
        (**self).round_failed();
    }

    fn take_lost(&mut self) -> Lost {
        (**self).take_lost()
    }

    fn health(&self) -> StoreHealth {
        (**self).health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_digest_for_each_form_in_which_it_may_go_out() {
        let record = |payload: &[u8]| EventRecord {
            id: EventId::from_u128(1),
            expires: OffsetDateTime::UNIX_EPOCH,
            payload: payload.to_vec().into(),
        };
        let digest = |payload: &[u8]| -> [u8; 32] { Sha256::digest(payload).into() };
        let whole = record(include_bytes!("../event/golden/candidate-head.v2.json"));
        let bare = whole.clone().without_crop();
        let forms = whole.form_digests();
        assert_eq!(forms[..], [digest(&whole.payload), digest(&bare.payload)]);
        assert!(forms.iter().all(|form| whole.has_form(form)) && !whole.has_form(&[0; 32]));
        assert_eq!(bare.form_digests()[..], [digest(&bare.payload)], "it has no other");
        assert_eq!(record(b"no event").form_digests().len(), 1);
    }
}
