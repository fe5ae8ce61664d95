//! Candidates as reviewers see them, and their pictures.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use super::columns::{digest, event_id, id_bytes, own_standing, stage_of};
use super::{DeskStore, DeskStoreError, begin, millis, time_of};
use crate::delivery::event::{EventId, ReviewStage};
use crate::desk::intake::SaidKind;
use crate::desk::pages::views::OwnStanding;

/// Most states of one review that are looked at.
const STATES: i64 = 1024;

/// One candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseRow {
    /// Its id.
    pub candidate: EventId,
    /// Its device.
    pub device: String,
    /// Its camera.
    pub camera: String,
    /// What people call the place.
    pub place: Option<String>,
    /// The list.
    pub list: String,
    /// Its version.
    pub version: u64,
    /// The entry.
    pub entry: String,
    /// When the device decided.
    pub decided: OffsetDateTime,
    /// How far it is.
    pub stage: ReviewStage,
    /// Until when it can be judged.
    pub until: Option<OffsetDateTime>,
    /// When the outcome came.
    pub ended: Option<OffsetDateTime>,
    /// When it is erased, or was.
    pub erase_at: OffsetDateTime,
    /// Whether it was erased.
    pub erased: bool,
    /// SHA-256 of the event with the best evidence, as it was published.
    pub digest: [u8; 32],
    /// That event, unless it was erased.
    pub payload: Option<Vec<u8>>,
}

/// What a device said last of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceSaid {
    /// The device.
    pub device: String,
    /// `status`, `stats`, `list` or `checkpoint`.
    pub what: String,
    /// When it came.
    pub received: OffsetDateTime,
    /// As it was published.
    pub payload: Vec<u8>,
}

/// A reference photograph, sealed to those who may see it.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptPhotograph {
    /// The list.
    pub list: String,
    /// Its version.
    pub version: u64,
    /// The entry.
    pub entry: String,
    /// From 0.
    pub n: u32,
    /// SHA-256 of the photograph before it was sealed, as the signed list has it.
    pub digest: [u8; 32],
    /// Where the eyes are, in px: `x,y,x,y`.
    pub eyes: Option<String>,
    /// An age file.
    pub sealed: Vec<u8>,
    /// From then on it is wiped.
    pub until: OffsetDateTime,
}

/// One event of a case, with what proves it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportedEvent {
    /// Its id.
    pub id: EventId,
    /// `candidate`, `review` or `audit-entry`.
    pub kind: String,
    /// When it came.
    pub received: OffsetDateTime,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// The device's signature.
    pub signature: Option<String>,
    /// Its bytes, unless they were erased.
    pub payload: Option<Vec<u8>>,
}

impl DeskStore {
    /// One candidate.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn case(&self, candidate: EventId) -> Result<Option<CaseRow>, DeskStoreError> {
        let row = sqlx::query(
            "SELECT c.device, c.camera, c.place, c.list, c.version, c.entry, c.decided, c.stage,
                c.until, c.ended, c.erase_at, c.erased, e.digest, e.payload
             FROM candidate c JOIN event e ON e.id = c.newest WHERE c.id = ?",
        )
        .bind(id_bytes(candidate))
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let stage: String = row.try_get(7)?;
        Ok(Some(CaseRow {
            candidate,
            device: row.try_get(0)?,
            camera: row.try_get(1)?,
            place: row.try_get(2)?,
            list: row.try_get(3)?,
            version: u64::try_from(row.try_get::<i64, _>(4)?).unwrap_or(0),
            entry: row.try_get(5)?,
            decided: time_of(row.try_get(6)?),
            stage: stage_of(&stage),
            until: row.try_get::<Option<i64>, _>(8)?.map(time_of),
            ended: row.try_get::<Option<i64>, _>(9)?.map(time_of),
            erase_at: time_of(row.try_get(10)?),
            erased: row.try_get::<Option<i64>, _>(11)?.is_some(),
            digest: digest(row.try_get(12)?)?,
            payload: row.try_get(13)?,
        }))
    }

    /// The states of the candidate's review that came when it ended and after, as they were
    /// published, in the order in which they were stored: what came in one transaction has one
    /// time. The first one of the stage in which the candidate ended is its outcome. The first
    /// 1024 of them.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn states_at_end(&self, candidate: EventId) -> Result<Vec<Vec<u8>>, DeskStoreError> {
        let rows = sqlx::query(
            "SELECT e.payload FROM candidate c JOIN event e ON e.candidate = c.id
             WHERE c.id = ? AND e.kind = 'review' AND e.device = c.device
             AND e.received >= c.ended AND e.payload IS NOT NULL ORDER BY e.rowid LIMIT ?",
        )
        .bind(id_bytes(candidate))
        .bind(STATES)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// All that came of a candidate, in the order in which it came.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn events_of(
        &self,
        candidate: EventId,
    ) -> Result<Vec<ExportedEvent>, DeskStoreError> {
        let rows = sqlx::query(
            "SELECT id, kind, received, digest, signature, payload FROM event
             WHERE candidate = ? AND device = (SELECT device FROM candidate WHERE id = ?)
             ORDER BY rowid",
        )
        .bind(id_bytes(candidate))
        .bind(id_bytes(candidate))
        .fetch_all(&self.readers)
        .await?;
        let row = |row: &SqliteRow| -> Result<ExportedEvent, sqlx::Error> {
            Ok(ExportedEvent {
                id: event_id(row.try_get(0)?)?,
                kind: row.try_get(1)?,
                received: time_of(row.try_get(2)?),
                digest: digest(row.try_get(3)?)?,
                signature: row.try_get(4)?,
                payload: row.try_get(5)?,
            })
        };
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }

    /// What devices said last, by device.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn said(&self) -> Result<Vec<DeviceSaid>, DeskStoreError> {
        let rows = sqlx::query("SELECT device, what, received, payload FROM said ORDER BY device")
            .fetch_all(&self.readers)
            .await?;
        let row = |row: &SqliteRow| -> Result<DeviceSaid, sqlx::Error> {
            Ok(DeviceSaid {
                device: row.try_get(0)?,
                what: row.try_get(1)?,
                received: time_of(row.try_get(2)?),
                payload: row.try_get(3)?,
            })
        };
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }

    /// What one device said last of one thing.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn said_of(
        &self,
        device: &str,
        what: SaidKind,
    ) -> Result<Option<Vec<u8>>, DeskStoreError> {
        let row = sqlx::query("SELECT payload FROM said WHERE device = ? AND what = ?")
            .bind(device)
            .bind(what.as_str())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// How many candidates are in each stage.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn stages(&self) -> Result<Vec<(ReviewStage, u64)>, DeskStoreError> {
        let rows = sqlx::query("SELECT stage, count(*) FROM candidate GROUP BY stage")
            .fetch_all(&self.readers)
            .await?;
        let row = |row: &SqliteRow| -> Result<_, sqlx::Error> {
            let stage: String = row.try_get(0)?;
            Ok((stage_of(&stage), u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0)))
        };
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }

    /// What was not stored, by reason.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn set_aside(&self) -> Result<Vec<(String, u64)>, DeskStoreError> {
        let rows = sqlx::query("SELECT reason, count FROM set_aside ORDER BY reason")
            .fetch_all(&self.readers)
            .await?;
        let row = |row: &SqliteRow| -> Result<_, sqlx::Error> {
            Ok((row.try_get(0)?, u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0)))
        };
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }

    /// Keeps photographs; one that is there is replaced. Those of what was revoked are not taken.
    /// How many were.
    ///
    /// # Errors
    /// Where none was kept.
    pub async fn put_photographs(&self, all: &[KeptPhotograph]) -> Result<u64, DeskStoreError> {
        let mut writer = self.writer.lock().await;
        let mut transaction = begin(&mut writer).await?;
        let mut kept = 0;
        for photograph in all {
            let version = i64::try_from(photograph.version).unwrap_or(i64::MAX);
            let done = sqlx::query(
                "INSERT INTO photograph (list, version, entry, n, digest, eyes, sealed, until)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE NOT EXISTS (SELECT 1 FROM withdrawal
                    WHERE list = ?1 AND entry IN ('', ?3) AND through >= ?2)
                 ON CONFLICT (list, version, entry, n) DO UPDATE SET
                    digest = excluded.digest, eyes = excluded.eyes, sealed = excluded.sealed,
                    until = excluded.until",
            )
            .bind(&photograph.list)
            .bind(version)
            .bind(&photograph.entry)
            .bind(photograph.n)
            .bind(&photograph.digest[..])
            .bind(&photograph.eyes)
            .bind(&photograph.sealed)
            .bind(millis(photograph.until))
            .execute(&mut *transaction)
            .await?;
            kept += done.rows_affected();
        }
        transaction.commit().await?;
        Ok(kept)
    }

    /// The photographs of an entry, in their order: where the eyes are in each.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn photographs(
        &self,
        list: &str,
        version: u64,
        entry: &str,
    ) -> Result<Vec<Option<String>>, DeskStoreError> {
        let rows = sqlx::query(
            "SELECT eyes FROM photograph WHERE list = ? AND version = ? AND entry = ? ORDER BY n",
        )
        .bind(list)
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .bind(entry)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// One of them, sealed as it came.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn photograph(
        &self,
        list: &str,
        version: u64,
        entry: &str,
        n: u32,
    ) -> Result<Option<Vec<u8>>, DeskStoreError> {
        let row = sqlx::query(
            "SELECT sealed FROM photograph WHERE list = ? AND version = ? AND entry = ?
             ORDER BY n LIMIT 1 OFFSET ?",
        )
        .bind(list)
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .bind(entry)
        .bind(n)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// How far `reviewer` is with a candidate, and why the device has refused their verdict.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn own(
        &self,
        candidate: EventId,
        reviewer: [u8; 8],
    ) -> Result<(OwnStanding, Option<String>), DeskStoreError> {
        let row =
            sqlx::query("SELECT answer, why FROM verdict WHERE candidate = ? AND reviewer = ?")
                .bind(id_bytes(candidate))
                .bind(&reviewer[..])
                .fetch_optional(&self.readers)
                .await?;
        let Some(row) = row else { return Ok((OwnStanding::Open, None)) };
        let answer: Option<String> = row.try_get(0)?;
        Ok((own_standing(true, answer.as_deref()), row.try_get(1)?))
    }
}
