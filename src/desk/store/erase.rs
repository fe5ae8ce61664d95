//! What is erased when: pictures and what was said of people, not that something was.
//!
//! Whoever stores something waits for [`AT_A_TIME`] of it at most, however much is due, and no
//! longer for a reader than [`SCRUB_PATIENCE`].

use sqlx::{Row as _, SqliteConnection};
use time::{Duration, OffsetDateTime};

use super::queue::hour_of;
use super::{BUSY, DeskStore, DeskStoreError, begin, millis};

/// Most rows that are erased in one transaction.
const AT_A_TIME: u32 = 256;

/// How long the log's end waits for a reader. It is tried again.
const SCRUB_PATIENCE: std::time::Duration = std::time::Duration::from_millis(100);

const OVER_PHOTOGRAPHS: &str = "DELETE FROM photograph WHERE rowid IN
    (SELECT rowid FROM photograph WHERE until <= ? LIMIT ?)";
const OVER_ACCESSES: &str = "DELETE FROM access WHERE rowid IN
    (SELECT rowid FROM access WHERE at < ? LIMIT ?)";
const OVER_INVITATIONS: &str = "DELETE FROM invitation WHERE token_digest IN
    (SELECT token_digest FROM invitation WHERE until <= ? LIMIT ?)";

const OVER_BURSTS: &str = "DELETE FROM burst WHERE id IN (SELECT b.id FROM burst b
    WHERE b.hour < ? AND NOT EXISTS
        (SELECT 1 FROM candidate c WHERE c.burst = b.id AND c.ended IS NULL) LIMIT ?)";

/// How much was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Candidates, with their events.
    pub candidates: u64,
    /// Reference photographs.
    pub photographs: u64,
    /// Records of accesses that were older than they are kept.
    pub accesses: u64,
    /// Invitations whose time was over.
    pub invitations: u64,
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
        loop {
            let done = self.erase_candidates(now).await?;
            erased.candidates += u64::from(done);
            if done < AT_A_TIME {
                break;
            }
        }
        let before = millis(now.saturating_sub(keep_accesses));
        erased.photographs = self.delete(OVER_PHOTOGRAPHS, millis(now)).await?;
        erased.accesses = self.delete(OVER_ACCESSES, before).await?;
        erased.invitations = self.delete(OVER_INVITATIONS, millis(now)).await?;
        // Nobody counts these: all of their candidates are over.
        self.delete(OVER_BURSTS, hour_of(now)).await?;
        Ok(erased)
    }

    /// Erases some of the candidates that are due; how many.
    async fn erase_candidates(&self, now: OffsetDateTime) -> Result<u32, DeskStoreError> {
        let mut writer = self.writer.lock().await;
        let mut transaction = begin(&mut writer).await?;
        let rows =
            sqlx::query("SELECT id FROM candidate WHERE erase_at <= ? AND erased IS NULL LIMIT ?")
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
            sqlx::query("UPDATE candidate SET erased = ?, ended = coalesce(ended, ?) WHERE id = ?")
                .bind(millis(now))
                .bind(millis(now))
                .bind(&id)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(u32::try_from(rows.len()).unwrap_or(AT_A_TIME))
    }

    /// Runs a deletion of what is older than `before`, some rows at a time; how many.
    async fn delete(&self, what: &'static str, before: i64) -> Result<u64, DeskStoreError> {
        let mut deleted = 0;
        loop {
            let mut writer = self.writer.lock().await;
            let done = sqlx::query(what).bind(before).bind(AT_A_TIME).execute(&mut *writer).await?;
            deleted += done.rows_affected();
            if done.rows_affected() < u64::from(AT_A_TIME) {
                return Ok(deleted);
            }
        }
    }

    /// Writes the log into the database, where what was erased is overwritten, and cuts the log.
    /// False where a reader held it open: it has to be called again.
    ///
    /// # Errors
    /// Where the database cannot be written.
    pub async fn scrub(&self) -> Result<bool, DeskStoreError> {
        // One at a time: a second one is refused at once.
        let _alone = self.checkpoints.lock().await;
        let mut writer = self.writer.lock().await;
        // It waits for readers with the writer in its hand, and what comes in waits with it.
        set_patience(&mut writer, SCRUB_PATIENCE).await?;
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *writer).await;
        set_patience(&mut writer, BUSY).await?;
        Ok(row?.try_get::<i64, _>(0)? == 0)
    }
}

/// How long statements on `connection` wait for others.
async fn set_patience(
    connection: &mut SqliteConnection,
    patience: std::time::Duration,
) -> Result<(), DeskStoreError> {
    let set = format!("PRAGMA busy_timeout = {}", patience.as_millis());
    sqlx::query(&set).execute(connection).await?;
    Ok(())
}
