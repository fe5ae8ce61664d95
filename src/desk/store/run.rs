//! What comes from devices: several messages in one transaction, all of them or none.
//!
//! * What is new of them goes into each table with a few statements, instead of several for each
//!   event.
//! * Each statement is a turn of the database's own thread, and turns are what a busy desk waits
//!   for. What is rare (repetitions, updates, what was revoked, bursts) goes event by event as
//!   before; what comes of it is the same.
//! * The number of rows in a statement is a power of two, so that there are few statements and each
//!   is prepared once.

use std::collections::{BTreeSet, HashSet};

use sqlx::Row as _;
use time::OffsetDateTime;

use super::columns::{id_bytes, parts, stage_word};
use super::keep::{Arrival, Batch, Bound, DeskNotice, KeepingRules, Kept, bind_candidate};
use super::queue::{bursts_of, put_together, those_alike};
use super::verdicts::settle;
use super::{DeskStore, DeskStoreError, begin, millis};
use crate::delivery::event::{EventId, ReviewStage};
use crate::desk::intake::{AboutWhat, ArrivedEvent, CandidateEvent, Intaken};

const INTO_EVENT: &str =
    "INSERT INTO event (id, device, kind, candidate, received, digest, signature, payload) VALUES ";
const INTO_CANDIDATE: &str = "INSERT INTO candidate (id, device, camera, place, list, version, \
                              entry, decided, newest, sequence, stage, erase_at, burst) VALUES \
                              ";
const INTO_RECEIPTS: &str = "INSERT OR IGNORE INTO receipt_due (event, device, digest) VALUES ";

/// A new event, of which nothing is stored.
struct NewEvent<'a> {
    event: &'a ArrivedEvent,
    payload: &'a [u8],
    candidate: Option<&'a CandidateEvent>,
}

/// Whether a message may be in a run: what it says does not depend on those beside it.
fn in_run(arrival: &Arrival) -> bool {
    matches!(
        &arrival.what,
        Intaken::Event(event)
            if !matches!(event.about, AboutWhat::Review(_) | AboutWhat::Control(_))
    )
}

/// `(?, ?), (?, ?)`
fn places(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row; rows].join(", ")
}

impl DeskStore {
    /// Stores messages in one transaction: all of them, or none. What became of each, in their
    /// order, and what is told.
    ///
    /// # Errors
    /// Where nothing was stored: none may be acknowledged.
    pub async fn keep(
        &self,
        batch: &[Arrival],
        rules: &KeepingRules,
        now: OffsetDateTime,
    ) -> Result<(Vec<Kept>, Vec<DeskNotice>), DeskStoreError> {
        self.keep_and_settle(batch, &[], rules, now).await
    }

    /// The same, and the broker has taken the receipts of the events `taken`.
    ///
    /// # Errors
    /// Where nothing was stored: none may be acknowledged, and the receipts are published again.
    pub async fn keep_and_settle(
        &self,
        batch: &[Arrival],
        taken: &[EventId],
        rules: &KeepingRules,
        now: OffsetDateTime,
    ) -> Result<(Vec<Kept>, Vec<DeskNotice>), DeskStoreError> {
        let mut writer = self.writer.lock().await;
        let mut transaction = begin(&mut writer).await?;
        settle(&mut transaction, taken).await?;
        let mut batch_of = Batch { on: &mut transaction, rules, now, notices: Vec::new() };
        let mut kept = Vec::with_capacity(batch.len());
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let run = rest.iter().take_while(|arrival| in_run(arrival)).count();
            let (some, others) = rest.split_at(run.max(1));
            match some {
                [_] => kept.push(batch_of.one(first).await?),
                some => kept.extend(batch_of.run(some).await?),
            }
            rest = others;
        }
        let notices = batch_of.notices;
        transaction.commit().await?;
        drop(writer);
        self.committed.notify_one();
        Ok((kept, notices))
    }
}

impl Batch<'_> {
    /// Stores messages of which each is [`in_run`]. What became of each, in their order.
    async fn run(&mut self, run: &[Arrival]) -> Result<Vec<Kept>, DeskStoreError> {
        let events: Vec<(&ArrivedEvent, &Arrival)> = run.iter().filter_map(event_of).collect();
        let ids: Vec<EventId> = events.iter().map(|(event, _)| event.id).collect();
        let about = |event: &ArrivedEvent| candidate_of(event).map(|c| c.candidate);
        let cases: Vec<EventId> = events.iter().filter_map(|(event, _)| about(event)).collect();
        let mut known = self.known("event", &ids).await?;
        let mut begun = self.known("candidate", &cases).await?;
        let withdrawn = self.withdrawn_among(&events).await?;
        let mut kept = vec![Kept::New; run.len()];
        let (mut new, mut others) = (Vec::with_capacity(run.len()), Vec::new());
        for (at, (event, arrival)) in events.iter().enumerate() {
            let candidate = candidate_of(event);
            let first = known.insert(event.id)
                && candidate.is_none_or(|c| begun.insert(c.candidate))
                && !withdrawn.contains(&event.id);
            if first {
                new.push(NewEvent { event, payload: &arrival.payload, candidate });
            } else {
                others.push(at);
            }
        }
        self.insert(&new).await?;
        for at in others {
            kept[at] = self.one(&run[at]).await?;
        }
        Ok(kept)
    }

    /// Which of `ids` are in a table.
    async fn known(
        &mut self,
        table: &'static str,
        ids: &[EventId],
    ) -> Result<HashSet<EventId>, DeskStoreError> {
        let mut known = HashSet::with_capacity(2 * ids.len());
        for part in parts(ids) {
            let what = format!("SELECT id FROM {table} WHERE id IN {}", places(part.len(), 1));
            let query = part.iter().fold(sqlx::query(&what), |q, id| q.bind(id_bytes(*id)));
            for row in query.fetch_all(&mut *self.on).await? {
                known.insert(super::columns::event_id(row.try_get(0)?)?);
            }
        }
        Ok(known)
    }

    /// Candidates' events of whose list something was revoked: whether it is theirs is looked at
    /// event by event.
    async fn withdrawn_among(
        &mut self,
        events: &[(&ArrivedEvent, &Arrival)],
    ) -> Result<HashSet<EventId>, DeskStoreError> {
        let of = |event: &ArrivedEvent| Some((event.id, candidate_of(event)?.list.clone()));
        let lists: Vec<(EventId, String)> = events.iter().filter_map(|(e, _)| of(e)).collect();
        let distinct: BTreeSet<&str> = lists.iter().map(|(_, list)| list.as_str()).collect();
        let distinct: Vec<&str> = distinct.into_iter().collect();
        let mut revoked: HashSet<String> = HashSet::new();
        for part in parts(&distinct) {
            let places = places(part.len(), 1);
            let what = format!("SELECT DISTINCT list FROM withdrawal WHERE list IN {places}");
            let query = part.iter().fold(sqlx::query(&what), |q, list| q.bind(*list));
            for row in query.fetch_all(&mut *self.on).await? {
                revoked.insert(row.try_get(0)?);
            }
        }
        let theirs = lists.into_iter().filter(|(_, list)| revoked.contains(list));
        Ok(theirs.map(|(id, _)| id).collect())
    }

    async fn insert(&mut self, new: &[NewEvent<'_>]) -> Result<(), DeskStoreError> {
        let now = millis(self.now);
        self.put(INTO_EVENT, 8, new, |query, new| {
            query
                .bind(id_bytes(new.event.id))
                .bind(&new.event.device)
                .bind(if new.candidate.is_some() { "candidate" } else { "audit-entry" })
                .bind(new.candidate.map(|c| id_bytes(c.candidate)))
                .bind(now)
                .bind(&new.event.digest[..])
                .bind(&new.event.signature)
                .bind(new.payload)
        })
        .await?;
        let candidates: Vec<(&ArrivedEvent, &CandidateEvent)> =
            new.iter().filter_map(|new| Some((new.event, new.candidate?))).collect();
        // The log keeps its own records.
        self.put(INTO_RECEIPTS, 3, &candidates, |query, (event, _)| {
            query.bind(id_bytes(event.id)).bind(&event.device).bind(&event.digest[..])
        })
        .await?;
        let erase_at = millis(self.now.saturating_add(self.rules.retention.open()));
        let wanted: Vec<(&str, &CandidateEvent)> =
            candidates.iter().map(|(event, c)| (event.device.as_str(), *c)).collect();
        let bursts = bursts_of(self.on, &wanted).await?;
        self.put(INTO_CANDIDATE, 13, &candidates, |query, (event, c)| {
            bind_candidate(query, event, c)
                .bind(stage_word(ReviewStage::Pending))
                .bind(erase_at)
                .bind(bursts.get(&c.candidate))
        })
        .await?;
        let at_most = self.rules.at_most_alike;
        // One of a burst makes no sound: its line is there.
        let alone = candidates.into_iter().filter(|(_, c)| !bursts.contains_key(&c.candidate));
        let alone: Vec<(&ArrivedEvent, &CandidateEvent)> = alone.collect();
        let ids: Vec<EventId> = alone.iter().map(|(_, c)| c.candidate).collect();
        let alike = those_alike(self.on, &ids, at_most).await?;
        for (event, c) in alone {
            let joins = alike.contains(&c.candidate)
                && put_together(self.on, &event.device, c, at_most).await?;
            if !joins {
                self.notices.push(DeskNotice::Candidate(c.candidate));
            }
        }
        Ok(())
    }

    /// Inserts one row for each of `rows`.
    async fn put<T>(
        &mut self,
        into: &'static str,
        columns: usize,
        rows: &[T],
        bind: impl for<'a> Fn(Bound<'a>, &'a T) -> Bound<'a>,
    ) -> Result<(), DeskStoreError> {
        for part in parts(rows) {
            let what = format!("{into}{}", places(columns, part.len()));
            let query = part.iter().fold(sqlx::query(&what), &bind);
            query.execute(&mut *self.on).await?;
        }
        Ok(())
    }
}

fn event_of(arrival: &Arrival) -> Option<(&ArrivedEvent, &Arrival)> {
    match &arrival.what {
        Intaken::Event(event) => Some((event, arrival)),
        _ => None,
    }
}

fn candidate_of(event: &ArrivedEvent) -> Option<&CandidateEvent> {
    match &event.about {
        AboutWhat::Candidate(candidate) => Some(candidate),
        AboutWhat::Review(_) | AboutWhat::Control(_) | AboutWhat::AuditEntry => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_place_for_each_value_of_each_row() {
        assert_eq!(places(2, 2), "(?, ?), (?, ?)");
    }
}
