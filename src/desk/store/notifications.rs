//! Who is to be told that candidates wait: what is owed, and what is on its way.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use super::columns::{event_id, id_bytes};
use super::{DeskStore, DeskStoreError, begin, millis, time_of};
use crate::delivery::event::EventId;

/// What is kept of one destination.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeptNotifications {
    /// Its name.
    pub destination: String,
    /// Candidates that no notification has told of.
    pub unsaid: u64,
    /// The notification that was not taken yet.
    pub open: Option<OpenNotification>,
    /// When the last one ended.
    pub ended: Option<OffsetDateTime>,
    /// How many ended how.
    pub counts: NotificationCounts,
}

/// A notification that was not taken yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenNotification {
    /// The same at each attempt.
    pub id: EventId,
    /// When it was made.
    pub opened: OffsetDateTime,
    /// Attempts that failed.
    pub tries: u32,
    /// When it is tried next.
    pub due: OffsetDateTime,
}

/// How many notifications ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotificationCounts {
    /// They were taken.
    pub delivered: u64,
    /// Nobody took them in time.
    pub given_up: u64,
    /// Nothing waited any more when they were to be sent.
    pub overtaken: u64,
    /// Attempts that failed.
    pub failed: u64,
}

/// How a notification ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationEnd {
    /// It was taken.
    Delivered,
    /// Nobody took it in time; the last attempt failed.
    GivenUp,
    /// Nothing waits any more.
    Overtaken,
}

impl DeskStore {
    /// From now on candidates are counted for these destinations, and for no others.
    ///
    /// # Errors
    /// Where that is not stored.
    pub async fn notify_only(&self, destinations: &[String]) -> Result<(), DeskStoreError> {
        let mut writer = self.writer.lock().await;
        let mut transaction = begin(&mut writer).await?;
        let rows = sqlx::query("SELECT destination FROM notification")
            .fetch_all(&mut *transaction)
            .await?;
        for row in rows {
            let known: String = row.try_get(0)?;
            if !destinations.contains(&known) {
                sqlx::query("DELETE FROM notification WHERE destination = ?")
                    .bind(known)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        for destination in destinations {
            sqlx::query(
                "INSERT INTO notification (destination) VALUES (?)
                 ON CONFLICT (destination) DO NOTHING",
            )
            .bind(destination)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// What is kept of all destinations.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn notifications(&self) -> Result<Vec<KeptNotifications>, DeskStoreError> {
        let rows = sqlx::query(
            "SELECT destination, unsaid, id, opened, tries, due, ended, delivered, given_up,
                overtaken, failed FROM notification ORDER BY destination",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.iter().map(kept).collect::<Result<_, _>>()?)
    }

    /// Keeps a notification before it is sent.
    ///
    /// # Errors
    /// Where that is not stored: it may not be sent.
    pub async fn open_notification(
        &self,
        destination: &str,
        id: EventId,
        now: OffsetDateTime,
    ) -> Result<(), DeskStoreError> {
        sqlx::query(
            "UPDATE notification SET id = ?, opened = ?, tries = 0, due = ?
             WHERE destination = ? AND id IS NULL",
        )
        .bind(id_bytes(id))
        .bind(millis(now))
        .bind(millis(now))
        .bind(destination)
        .execute(&mut *self.writer.lock().await)
        .await?;
        Ok(())
    }

    /// An attempt has failed; the next one is due then.
    ///
    /// # Errors
    /// Where that is not stored.
    pub async fn notification_failed(
        &self,
        destination: &str,
        due: OffsetDateTime,
    ) -> Result<(), DeskStoreError> {
        sqlx::query(
            "UPDATE notification SET tries = tries + 1, failed = failed + 1, due = ?
             WHERE destination = ?",
        )
        .bind(millis(due))
        .bind(destination)
        .execute(&mut *self.writer.lock().await)
        .await?;
        Ok(())
    }

    /// The open notification has ended, and with it the debt of `covered` candidates: those that
    /// had come before it was sent. One that was overtaken was not said: the next may come soon.
    ///
    /// # Errors
    /// Where that is not stored: it is sent again, under its id.
    pub async fn end_notification(
        &self,
        destination: &str,
        end: NotificationEnd,
        covered: u64,
        now: OffsetDateTime,
    ) -> Result<(), DeskStoreError> {
        let [delivered, given_up, overtaken] =
            [NotificationEnd::Delivered, NotificationEnd::GivenUp, NotificationEnd::Overtaken]
                .map(|one| i64::from(one == end));
        sqlx::query(
            "UPDATE notification SET id = NULL, opened = NULL, tries = 0, due = NULL,
                ended = CASE WHEN ? THEN ended ELSE ? END, unsaid = max(unsaid - ?, 0),
                delivered = delivered + ?, given_up = given_up + ?, failed = failed + ?,
                overtaken = overtaken + ?
             WHERE destination = ?",
        )
        .bind(overtaken)
        .bind(millis(now))
        .bind(i64::try_from(covered).unwrap_or(i64::MAX))
        .bind(delivered)
        .bind(given_up)
        .bind(given_up)
        .bind(overtaken)
        .bind(destination)
        .execute(&mut *self.writer.lock().await)
        .await?;
        Ok(())
    }
}

fn kept(row: &SqliteRow) -> Result<KeptNotifications, sqlx::Error> {
    let number = |at: usize| -> Result<u64, sqlx::Error> {
        Ok(u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or(0))
    };
    let when = |at: usize| -> Result<Option<OffsetDateTime>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(at)?.map(time_of))
    };
    let id: Option<Vec<u8>> = row.try_get(2)?;
    let open = match (id, when(3)?, when(5)?) {
        (Some(id), Some(opened), Some(due)) => {
            let tries = u32::try_from(number(4)?).unwrap_or(u32::MAX);
            Some(OpenNotification { id: event_id(&id)?, opened, tries, due })
        }
        _ => None,
    };
    Ok(KeptNotifications {
        destination: row.try_get(0)?,
        unsaid: number(1)?,
        open,
        ended: when(6)?,
        counts: NotificationCounts {
            delivered: number(7)?,
            given_up: number(8)?,
            overtaken: number(9)?,
            failed: number(10)?,
        },
    })
}
