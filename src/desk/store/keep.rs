//! What becomes of one message of a device, within a transaction of several.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use time::OffsetDateTime;

use super::columns::{hexadecimal, id_bytes, stage_word};
use super::queue::put_together;
use super::{DeskStoreError, millis};
use crate::delivery::event::{EventId, ReviewStage, ReviewState, are_two_forms};
use crate::desk::config::RetentionConfig;
use crate::desk::intake::{AboutWhat, ArrivedEvent, CandidateEvent, Intaken, SetAside};

/// One message, looked at.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Where it was published.
    pub topic: String,
    /// As it came.
    pub payload: Vec<u8>,
    /// What it is.
    pub what: Intaken,
}

/// By what is kept.
#[derive(Debug, Clone)]
pub struct KeepingRules {
    /// For how long.
    pub retention: RetentionConfig,
    /// How many candidates of one entry by one device within an hour wait one by one.
    pub at_most_alike: u32,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Stored.
    New,
    /// It was stored before.
    Repeated,
    /// Not stored, and counted.
    SetAside,
}

/// What those who look at the pages are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeskNotice {
    /// A candidate waits.
    Candidate(EventId),
    /// A candidate is over.
    Outcome(EventId, ReviewStage),
    /// A verdict does not count.
    Refused {
        /// Of which candidate.
        candidate: EventId,
        /// Whose: the id of their key.
        reviewer: [u8; 8],
        /// Why.
        why: String,
    },
    /// A verdict counts, and the candidate is not over.
    Counted {
        /// Of which candidate.
        candidate: EventId,
        /// Whose: the id of their key.
        reviewer: [u8; 8],
    },
    /// Something was revoked: pictures are to be erased now.
    Withdrawn,
    /// Another trust file counts: somebody may not be let in any more.
    TrustChanged,
}

/// A statement with values bound to it.
pub(super) type Bound<'a> = sqlx::query::Query<'a, sqlx::Sqlite, SqliteArguments<'a>>;

/// Binds what a message says of a candidate: the columns from `id` to `sequence`, in their order.
pub(super) fn bind_candidate<'a>(
    query: Bound<'a>,
    event: &'a ArrivedEvent,
    c: &'a CandidateEvent,
) -> Bound<'a> {
    query
        .bind(id_bytes(c.candidate))
        .bind(&event.device)
        .bind(&c.camera)
        .bind(&c.place)
        .bind(&c.list)
        .bind(i64::try_from(c.version).unwrap_or(i64::MAX))
        .bind(&c.entry)
        .bind(millis(c.decided))
        .bind(id_bytes(event.id))
        .bind(i64::from(c.sequence))
}

/// A transaction that stores messages.
pub(super) struct Batch<'a> {
    pub(super) on: &'a mut SqliteConnection,
    pub(super) rules: &'a KeepingRules,
    pub(super) now: OffsetDateTime,
    pub(super) notices: Vec<DeskNotice>,
}

impl Batch<'_> {
    /// Stores one message.
    pub(super) async fn one(&mut self, arrival: &Arrival) -> Result<Kept, DeskStoreError> {
        match &arrival.what {
            Intaken::Event(event) => self.event(event, arrival).await,
            Intaken::Said { device, what } => {
                // What came last counts, whatever time it names: a device whose clock was put back
                // is heard on.
                sqlx::query(
                    "INSERT INTO said (device, what, received, payload) VALUES (?, ?, ?, ?)
                     ON CONFLICT (device, what) DO UPDATE SET
                     received = excluded.received, payload = excluded.payload",
                )
                .bind(device)
                .bind(what.as_str())
                .bind(millis(self.now))
                .bind(&arrival.payload)
                .execute(&mut *self.on)
                .await?;
                Ok(Kept::New)
            }
            Intaken::Withdraw { list, through, entry } => {
                let entry = entry.as_ref().map_or("", |entry| entry.as_str());
                self.withdraw(list.as_str(), *through, entry).await?;
                Ok(Kept::New)
            }
            Intaken::Nothing(why) => self.set_aside(*why).await,
        }
    }

    async fn set_aside(&mut self, why: SetAside) -> Result<Kept, DeskStoreError> {
        sqlx::query(
            "INSERT INTO set_aside (reason, count) VALUES (?, 1)
             ON CONFLICT (reason) DO UPDATE SET count = count + 1",
        )
        .bind(why.as_str())
        .execute(&mut *self.on)
        .await?;
        Ok(Kept::SetAside)
    }

    async fn event(
        &mut self,
        event: &ArrivedEvent,
        arrival: &Arrival,
    ) -> Result<Kept, DeskStoreError> {
        let (kind, candidate) = match &event.about {
            AboutWhat::Candidate(c) => ("candidate", Some(id_bytes(c.candidate))),
            AboutWhat::Review(state) => ("review", Some(id_bytes(state.candidate))),
            AboutWhat::Control(answer) => ("control", Some(id_bytes(answer.control))),
            AboutWhat::AuditEntry => ("audit-entry", None),
        };
        let withdrawn = match &event.about {
            AboutWhat::Candidate(c) => self.is_withdrawn(c).await?,
            AboutWhat::Review(_) | AboutWhat::Control(_) | AboutWhat::AuditEntry => false,
        };
        let stored = sqlx::query(
            "INSERT INTO event (id, device, kind, candidate, received, digest, signature, payload)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id_bytes(event.id))
        .bind(&event.device)
        .bind(kind)
        .bind(candidate)
        .bind(millis(self.now))
        .bind(&event.digest[..])
        .bind(&event.signature)
        .bind((!withdrawn).then_some(&arrival.payload))
        .execute(&mut *self.on)
        .await?;
        let new = stored.rows_affected() == 1;
        if !new && !self.is_same(event, &arrival.payload).await? {
            return self.set_aside(SetAside::OtherBytes).await;
        }
        // A repetition is answered again: the receipt was lost. The log keeps its own records.
        if !matches!(event.about, AboutWhat::AuditEntry) {
            sqlx::query(
                "INSERT INTO receipt_due (event, device, digest) VALUES (?, ?, ?)
                 ON CONFLICT (event) DO NOTHING",
            )
            .bind(id_bytes(event.id))
            .bind(&event.device)
            .bind(&event.digest[..])
            .execute(&mut *self.on)
            .await?;
        }
        if let (AboutWhat::Candidate(candidate), true) = (&event.about, new) {
            self.candidate(event, candidate, withdrawn).await?;
        }
        if let (AboutWhat::Review(state), true) = (&event.about, new) {
            self.review(&event.device, state).await?;
        }
        Ok(if new { Kept::New } else { Kept::Repeated })
    }

    /// Whether `event` is the one that is stored under its id: the same bytes, or its other form,
    /// with or without the pictures. A device sends that where the broker's limit has changed, and
    /// waits for a receipt of it. Of what was erased the other form is not known any more.
    async fn is_same(
        &mut self,
        event: &ArrivedEvent,
        payload: &[u8],
    ) -> Result<bool, DeskStoreError> {
        let row = sqlx::query("SELECT device, digest, payload FROM event WHERE id = ?")
            .bind(id_bytes(event.id))
            .fetch_one(&mut *self.on)
            .await?;
        let (device, digest): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        if device != event.device || digest == event.digest {
            return Ok(device == event.device);
        }
        let stored: Option<Vec<u8>> = row.try_get(2)?;
        Ok(stored.is_some_and(|stored| are_two_forms(&stored, payload)))
    }

    async fn is_withdrawn(&mut self, c: &CandidateEvent) -> Result<bool, DeskStoreError> {
        let row = sqlx::query(
            "SELECT 1 FROM withdrawal WHERE list = ? AND entry IN ('', ?) AND through >= ?",
        )
        .bind(&c.list)
        .bind(&c.entry)
        .bind(i64::try_from(c.version).unwrap_or(i64::MAX))
        .fetch_optional(&mut *self.on)
        .await?;
        Ok(row.is_some())
    }

    async fn candidate(
        &mut self,
        event: &ArrivedEvent,
        c: &CandidateEvent,
        withdrawn: bool,
    ) -> Result<(), DeskStoreError> {
        let now = millis(self.now);
        let erase_at = millis(self.now.saturating_add(self.rules.retention.open()));
        let insert = sqlx::query(
            "INSERT INTO candidate (id, device, camera, place, list, version, entry, decided,
                newest, sequence, stage, ended, erase_at, erased)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET newest = excluded.newest, sequence = excluded.sequence
             WHERE device = excluded.device AND sequence < excluded.sequence AND ended IS NULL",
        );
        let changed = bind_candidate(insert, event, c)
            .bind(stage_word(if withdrawn { ReviewStage::Withdrawn } else { ReviewStage::Pending }))
            .bind(withdrawn.then_some(now))
            .bind(erase_at)
            .bind(withdrawn.then_some(now))
            .execute(&mut *self.on)
            .await?;
        if changed.rows_affected() == 1 && !withdrawn {
            // One of a burst makes no sound: its line is there.
            let at_most = self.rules.at_most_alike;
            if !put_together(self.on, &event.device, c, at_most).await? {
                self.notices.push(DeskNotice::Candidate(c.candidate));
            }
        } else {
            // An update of what was erased meanwhile.
            sqlx::query(
                "UPDATE event SET payload = NULL, signature = NULL WHERE id = ?
                 AND EXISTS (SELECT 1 FROM candidate WHERE id = ? AND erased IS NOT NULL)",
            )
            .bind(id_bytes(event.id))
            .bind(id_bytes(c.candidate))
            .execute(&mut *self.on)
            .await?;
        }
        Ok(())
    }

    async fn review(&mut self, device: &str, state: &ReviewState) -> Result<(), DeskStoreError> {
        let over = !matches!(state.state, ReviewStage::Pending | ReviewStage::ThirdNeeded);
        let keep = match state.state {
            // The pictures of somebody who has agreed to be a control have done what they are for.
            ReviewStage::Withdrawn | ReviewStage::Control => time::Duration::ZERO,
            ReviewStage::Refuted => self.rules.retention.refuted(),
            _ => self.rules.retention.decided(),
        };
        let now = millis(self.now);
        let erase_at = over.then(|| millis(self.now.saturating_add(keep)));
        let changed = sqlx::query(
            "UPDATE candidate SET stage = ?, until = coalesce(?, until), ended = ?,
                erase_at = coalesce(?, erase_at)
             WHERE id = ? AND device = ? AND ended IS NULL",
        )
        .bind(stage_word(state.state))
        .bind(state.until.map(millis))
        .bind(over.then_some(now))
        .bind(erase_at)
        .bind(id_bytes(state.candidate))
        .bind(device)
        .execute(&mut *self.on)
        .await?;
        self.answer(device, state).await?;
        if over && changed.rows_affected() == 1 {
            // What is not answered by now has come too late.
            sqlx::query(
                "UPDATE verdict SET answer = 'over', answered = ?
                 WHERE candidate = ? AND device = ? AND answer IS NULL",
            )
            .bind(now)
            .bind(id_bytes(state.candidate))
            .bind(device)
            .execute(&mut *self.on)
            .await?;
            self.notices.push(DeskNotice::Outcome(state.candidate, state.state));
            if state.state == ReviewStage::Withdrawn {
                self.notices.push(DeskNotice::Withdrawn);
            }
        }
        Ok(())
    }

    /// The device's answer to one reviewer. The first one stands: a repeated verdict is answered
    /// again, as one that was given before. Where the answer names the envelope it is to that one,
    /// and to no other that the same reviewer may have sent.
    async fn answer(&mut self, device: &str, state: &ReviewState) -> Result<(), DeskStoreError> {
        let Some(reviewer) = state.reviewer.as_deref().and_then(hexadecimal) else {
            return Ok(());
        };
        let answered = sqlx::query(
            "UPDATE verdict SET answer = ?, why = ?, answered = ?
             WHERE candidate = ? AND reviewer = ? AND device = ? AND answer IS NULL
                AND lower(hex(digest)) = coalesce(?, lower(hex(digest)))",
        )
        .bind(if state.refused.is_some() { "refused" } else { "counted" })
        .bind(&state.refused)
        .bind(millis(self.now))
        .bind(id_bytes(state.candidate))
        .bind(&reviewer[..])
        .bind(device)
        .bind(&state.envelope)
        .execute(&mut *self.on)
        .await?;
        if answered.rows_affected() == 1 {
            let candidate = state.candidate;
            self.notices.push(match &state.refused {
                Some(why) => DeskNotice::Refused { candidate, reviewer, why: why.clone() },
                None => DeskNotice::Counted { candidate, reviewer },
            });
        }
        Ok(())
    }

    async fn withdraw(
        &mut self,
        list: &str,
        through: u64,
        entry: &str,
    ) -> Result<(), DeskStoreError> {
        let through = i64::try_from(through).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO withdrawal (list, entry, through) VALUES (?, ?, ?)
             ON CONFLICT (list, entry) DO UPDATE SET through = max(through, excluded.through)",
        )
        .bind(list)
        .bind(entry)
        .bind(through)
        .execute(&mut *self.on)
        .await?;
        let now = millis(self.now);
        sqlx::query(
            "UPDATE candidate SET erase_at = ?,
                stage = CASE WHEN ended IS NULL THEN 'withdrawn' ELSE stage END,
                ended = coalesce(ended, ?)
             WHERE list = ? AND (? = '' OR entry = ?) AND version <= ? AND erased IS NULL",
        )
        .bind(now)
        .bind(now)
        .bind(list)
        .bind(entry)
        .bind(entry)
        .bind(through)
        .execute(&mut *self.on)
        .await?;
        sqlx::query("UPDATE photograph SET until = ? WHERE list = ? AND (? = '' OR entry = ?) AND version <= ?")
            .bind(now)
            .bind(list)
            .bind(entry)
            .bind(entry)
            .bind(through)
            .execute(&mut *self.on)
            .await?;
        self.notices.push(DeskNotice::Withdrawn);
        Ok(())
    }
}
