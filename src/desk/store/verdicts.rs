//! Sealed verdicts, until devices have answered; receipts, until the broker has them.

use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use time::OffsetDateTime;

use super::columns::{event_id, id_bytes, parts};
use super::{DeskStore, DeskStoreError, begin, millis};
use crate::delivery::event::EventId;

/// What became of a verdict that a reviewer handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictTaken {
    /// It is stored, and will be published.
    Stored,
    /// The very same was stored before.
    Repeated,
    /// This reviewer has judged the candidate, and the device has not refused that.
    JudgedBefore,
    /// The candidate is over.
    Over,
    /// The desk knows no such candidate of this device.
    Unknown,
}

/// A verdict that a reviewer handed in.
#[derive(Debug, Clone)]
pub struct OwnVerdict<'a> {
    /// Of which candidate.
    pub candidate: EventId,
    /// Whose.
    pub reviewer: [u8; 8],
    /// For which device.
    pub device: &'a str,
    /// Signed and sealed.
    pub envelope: &'a [u8],
}

/// A verdict that the device has not answered.
#[derive(Debug, Clone, PartialEq)]
pub struct DueVerdict {
    /// Of which candidate.
    pub candidate: EventId,
    /// Whose.
    pub reviewer: [u8; 8],
    /// For which device.
    pub device: String,
    /// As it was handed in.
    pub envelope: Vec<u8>,
}

/// A receipt that the broker has not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueReceipt {
    /// Of which event.
    pub event: EventId,
    /// For which device.
    pub device: String,
    /// SHA-256 of the event's bytes.
    pub digest: [u8; 32],
}

impl DeskStore {
    /// Stores a verdict, once for each reviewer and candidate; one that the device has refused may
    /// be replaced.
    ///
    /// # Errors
    /// Where it is not stored.
    pub async fn take_verdict(
        &self,
        verdict: OwnVerdict<'_>,
        now: OffsetDateTime,
    ) -> Result<VerdictTaken, DeskStoreError> {
        let OwnVerdict { candidate, reviewer, device, envelope } = verdict;
        let digest: [u8; 32] = Sha256::digest(envelope).into();
        let mut writer = self.writer.lock().await;
        let mut transaction = begin(&mut writer).await?;
        let case =
            sqlx::query("SELECT ended IS NOT NULL FROM candidate WHERE id = ? AND device = ?")
                .bind(id_bytes(candidate))
                .bind(device)
                .fetch_optional(&mut *transaction)
                .await?;
        let over: bool = match case {
            None => return Ok(VerdictTaken::Unknown),
            Some(row) => row.try_get(0)?,
        };
        let before =
            sqlx::query("SELECT digest, answer FROM verdict WHERE candidate = ? AND reviewer = ?")
                .bind(id_bytes(candidate))
                .bind(&reviewer[..])
                .fetch_optional(&mut *transaction)
                .await?;
        if let Some(row) = before {
            let (had, answer): (Vec<u8>, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
            if had == digest {
                return Ok(VerdictTaken::Repeated);
            }
            if answer.as_deref() != Some("refused") {
                return Ok(VerdictTaken::JudgedBefore);
            }
        }
        if over {
            return Ok(VerdictTaken::Over);
        }
        sqlx::query(
            "INSERT INTO verdict (candidate, reviewer, device, given, envelope, digest)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (candidate, reviewer) DO UPDATE SET given = excluded.given,
                envelope = excluded.envelope, digest = excluded.digest, answer = NULL, why = NULL,
                answered = NULL",
        )
        .bind(id_bytes(candidate))
        .bind(&reviewer[..])
        .bind(device)
        .bind(millis(now))
        .bind(envelope)
        .bind(&digest[..])
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(VerdictTaken::Stored)
    }

    /// Verdicts that no device has answered, oldest first.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn due_verdicts(&self, most: u32) -> Result<Vec<DueVerdict>, DeskStoreError> {
        let rows = sqlx::query(
            "SELECT candidate, reviewer, device, envelope FROM verdict
             WHERE answer IS NULL AND envelope IS NOT NULL ORDER BY given LIMIT ?",
        )
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        let row = |row: &SqliteRow| -> Result<DueVerdict, sqlx::Error> {
            let reviewer: Vec<u8> = row.try_get(1)?;
            let wrong = || sqlx::Error::Decode("an id of 8 bytes".into());
            Ok(DueVerdict {
                candidate: event_id(row.try_get(0)?)?,
                reviewer: reviewer.try_into().map_err(|_| wrong())?,
                device: row.try_get(2)?,
                envelope: row.try_get(3)?,
            })
        };
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }

    /// Receipts that the broker has not taken, by device.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn due_receipts(&self, most: u32) -> Result<Vec<DueReceipt>, DeskStoreError> {
        let rows = sqlx::query("SELECT event, device, digest FROM receipt_due LIMIT ?")
            .bind(most)
            .fetch_all(&self.readers)
            .await?;
        let row = |row: &SqliteRow| -> Result<DueReceipt, sqlx::Error> {
            let digest: Vec<u8> = row.try_get(2)?;
            let wrong = || sqlx::Error::Decode("a digest of 32 bytes".into());
            Ok(DueReceipt {
                event: event_id(row.try_get(0)?)?,
                device: row.try_get(1)?,
                digest: digest.try_into().map_err(|_| wrong())?,
            })
        };
        let mut due: Vec<DueReceipt> = rows.iter().map(row).collect::<Result<_, _>>()?;
        due.sort_by(|a, b| (&a.device, a.event).cmp(&(&b.device, b.event)));
        Ok(due)
    }
}

/// The broker has taken the receipts of these events.
pub(super) async fn settle(
    on: &mut SqliteConnection,
    events: &[EventId],
) -> Result<(), DeskStoreError> {
    for part in parts(events) {
        let places = vec!["?"; part.len()].join(", ");
        let what = format!("DELETE FROM receipt_due WHERE event IN ({places})");
        let query = part.iter().fold(sqlx::query(&what), |q, event| q.bind(id_bytes(*event)));
        query.execute(&mut *on).await?;
    }
    Ok(())
}
