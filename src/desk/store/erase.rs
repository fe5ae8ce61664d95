//! What is erased when: pictures and what was said of people, not that something was.

use sqlx::{Connection as _, Row as _};
use time::{Duration, OffsetDateTime};

use super::{DeskStore, DeskStoreError, millis};

/// Most candidates that are erased in one transaction.
const AT_A_TIME: i64 = 256;

/// How much was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Candidates, with their events.
    pub candidates: u64,
    /// Reference photographs.
    pub photographs: u64,
    /// Records of accesses that were older than they are kept.
    pub accesses: u64,
}

impl Erased {
    /// Whether nothing was.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl DeskStore {
    /// Erases what is due at `now`: the bytes of candidates' events and of sealed verdicts, and
    /// photographs. What happened stays: that there was a candidate, when, how it ended, digests.
    ///
    /// # Errors
    /// Where it is not erased; it is tried again.
    pub async fn erase_due(
        &self,
        now: OffsetDateTime,
        keep_accesses: Duration,
    ) -> Result<Erased, DeskStoreError> {
        let mut erased = Erased::default();
        let mut writer = self.writer.lock().await;
        loop {
            let mut transaction = writer.begin().await?;
            let rows = sqlx::query(
                "SELECT id FROM candidate WHERE erase_at <= ? AND erased IS NULL LIMIT ?",
            )
            .bind(millis(now))
            .bind(AT_A_TIME)
            .fetch_all(&mut *transaction)
            .await?;
            for row in &rows {
                let id: Vec<u8> = row.try_get(0)?;
                for what in [
                    "UPDATE event SET payload = NULL, signature = NULL
                     WHERE candidate = ? AND kind = 'candidate'",
                    "UPDATE verdict SET envelope = NULL WHERE candidate = ?",
                ] {
                    sqlx::query(what).bind(&id).execute(&mut *transaction).await?;
                }
                sqlx::query(
                    "UPDATE candidate SET erased = ?, ended = coalesce(ended, ?) WHERE id = ?",
                )
                .bind(millis(now))
                .bind(millis(now))
                .bind(&id)
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            erased.candidates += rows.len() as u64;
            if (rows.len() as i64) < AT_A_TIME {
                break;
            }
        }
        let done = sqlx::query("DELETE FROM photograph WHERE until <= ?")
            .bind(millis(now))
            .execute(&mut *writer)
            .await?;
        erased.photographs = done.rows_affected();
        let done = sqlx::query("DELETE FROM access WHERE at < ?")
            .bind(millis(now.saturating_sub(keep_accesses)))
            .execute(&mut *writer)
            .await?;
        erased.accesses = done.rows_affected();
        Ok(erased)
    }

    /// Writes the log into the database, where what was erased is overwritten, and cuts the log.
    /// False where a reader held it open: it has to be called again.
    ///
    /// # Errors
    /// Where the database cannot be written.
    pub async fn scrub(&self) -> Result<bool, DeskStoreError> {
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&mut *self.writer.lock().await)
            .await?;
        Ok(row.try_get::<i64, _>(0)? == 0)
    }
}
