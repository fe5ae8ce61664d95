//! What leaves the log: entries of its records, alone or together with the candidate that they are
//! of.
//!
//! * A candidate can be judged in each form in which it may go out: whole, and without its
//!   pictures.
//! * A candidate goes to the outbox by one write and one sync with the entry of its record, and
//!   after it: whoever has the candidate can have had the entry.
//! * Where the outbox makes the record durable, that write has the record for the log, too.
//! * What delivery does not take is counted there, and its records are in the log all the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use log::warn;

use super::NotPublished;
use crate::audit::journal::LoggedRecord;
use crate::clock::Now;
use crate::delivery::event::{AuditEntry, EventId};
use crate::delivery::outbox::{Carried, EventRecord, Together};
use crate::delivery::{Delivery, NotTaken};
use crate::device::reviews::{CaseToAdd, Reviews};

/// Remembers the event for those who will judge it, and hands it over for delivery, by one write
/// with the entries of its record, two at most, and with what they carry for the log. These go out
/// without it where it cannot be remembered.
pub(super) fn hand_over(
    (mut entries, carried): (Together, Option<Carried>),
    event: EventRecord,
    case: Option<&CaseToAdd>,
    reviews: &mut Reviews,
    delivery: &Delivery,
    now: Now,
) -> Result<EventId, NotPublished> {
    let id = event.id;
    let case = case.map(|case| (case, event.form_digests()));
    if let Some((case, payloads)) = &case
        && let Err(blindness) = reviews.add(case, payloads, now)
    {
        match carried {
            Some(carried) => told(delivery.publish_carrying(entries, carried), 1),
            None => publish_entries(entries, delivery),
        }
        return Err(NotPublished::Reviews(blindness));
    }
    entries.extend([event]);
    let handed = match carried {
        Some(carried) => delivery.publish_carrying(entries, carried),
        None => delivery.publish_together(entries),
    };
    let handed = handed.inspect_err(|_| {
        if let Some((case, payloads)) = &case {
            reviews.take_back(case, payloads);
        }
    });
    Ok(handed.map(|()| id)?)
}

pub(super) fn publish(record: LoggedRecord, delivery: &Delivery, now: Now) {
    publish_entries(Together::from_iter(entry(record, delivery, now)), delivery);
}

/// The event of a record; `None` where it cannot be written.
pub(super) fn entry(record: LoggedRecord, delivery: &Delivery, now: Now) -> Option<EventRecord> {
    let entry = AuditEntry { index: record.index, record: STANDARD.encode(&record.bytes) };
    let prepared = delivery.prepare_audit_entry(entry, now);
    prepared.inspect_err(|error| unpublished(1, error)).ok()
}

pub(super) fn publish_entries(entries: Together, delivery: &Delivery) {
    let records = entries.len();
    if records > 0 {
        told(delivery.publish_together(entries), records);
    }
}

fn told(published: Result<(), NotTaken>, records: usize) {
    if let Err(error) = published {
        unpublished(records, &error);
    }
}

fn unpublished(records: usize, error: &NotTaken) {
    warn!("Audit records are not published; they are in the log: records={records} {error}.");
}
