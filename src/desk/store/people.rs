//! Who is enrolled, who is invited, and what they looked at.

use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use super::columns::id_bytes;
use super::{DeskStore, DeskStoreError, begin, millis, time_of};
use crate::delivery::event::EventId;
use crate::watchlist::keys::PublicKey;
use crate::watchlist::seal::Recipient;

/// Somebody who has enrolled a key.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownPerson {
    /// Id of their key.
    pub id: [u8; 8],
    /// `watchpost-ed25519:...`
    pub key: String,
    /// `age1...`
    pub reading_key: String,
    /// For whom the invitation was made.
    pub label: String,
    /// When.
    pub enrolled: OffsetDateTime,
}

/// Why a key is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No such invitation, or it was spent, or its time is over.
    #[error("this invitation is spent or over; ask for another one")]
    NoInvitation,
    /// The key is enrolled with another reading key, which an invitation does not change: what is
    /// sealed to its holder would be for whoever has the link.
    #[error(
        "this key is enrolled with another reading key; make a new key, in a browser that has none"
    )]
    Taken,
    /// The store.
    #[error(transparent)]
    Store(#[from] DeskStoreError),
}

impl From<sqlx::Error> for EnrolError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What somebody did or saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// Signed in.
    SignIn,
    /// Looked at a candidate's page.
    Pair,
    /// Looked at a candidate's picture.
    Crop,
    /// Was given a reference photograph, sealed.
    Photograph(u32),
    /// Handed a verdict in.
    Verdict,
    /// Looked at an outcome.
    Outcome,
    /// Looked at the page of counts.
    Report,
    /// Looked at people and their keys.
    People,
    /// Enrolled a key.
    Enrol,
    /// Wrote a candidate with all that came of it into a folder.
    Export,
    /// Copied the database.
    Backup,
    /// Put a copy of the database in its place.
    Restore,
    /// Made a link by which somebody enrols.
    Invite,
}

/// Who uses commands on the desk's own machine, where keys have an id: no key's.
pub const COMMAND_LINE: [u8; 8] = [0; 8];

impl Looked {
    fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Pair => "pair",
            Self::Crop => "crop",
            Self::Photograph(_) => "photograph",
            Self::Verdict => "verdict",
            Self::Outcome => "outcome",
            Self::Report => "report",
            Self::People => "people",
            Self::Enrol => "enrol",
            Self::Export => "export",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Invite => "invite",
        }
    }
}

/// Who looked at how many pictures, and when last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessSum {
    /// Id of their key, or [`COMMAND_LINE`].
    pub who: [u8; 8],
    /// Pictures.
    pub pictures: u64,
    /// When last.
    pub last: OffsetDateTime,
}

fn key_id(bytes: &[u8]) -> Result<[u8; 8], sqlx::Error> {
    bytes.try_into().map_err(|_| sqlx::Error::Decode("an id of 8 bytes".into()))
}

impl DeskStore {
    /// Remembers an invitation, by the digest of its token.
    ///
    /// # Errors
    /// Where it is not stored.
    pub async fn invite(
        &self,
        token: &str,
        label: &str,
        until: OffsetDateTime,
    ) -> Result<(), DeskStoreError> {
        let digest = Sha256::digest(token.as_bytes());
        sqlx::query("INSERT INTO invitation (token_digest, label, until) VALUES (?, ?, ?)")
            .bind(&digest[..])
            .bind(label)
            .bind(millis(until))
            .execute(&mut *self.writer.lock().await)
            .await?;
        Ok(())
    }

    /// For whom an invitation was made that can still be used.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn invited(
        &self,
        token: &str,
        now: OffsetDateTime,
    ) -> Result<Option<String>, DeskStoreError> {
        let digest = Sha256::digest(token.as_bytes());
        let row = sqlx::query("SELECT label FROM invitation WHERE token_digest = ? AND until > ?")
            .bind(&digest[..])
            .bind(millis(now))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Enrols a key and spends the invitation, both or neither. One that is enrolled keeps its
    /// reading key.
    ///
    /// # Errors
    /// Where the invitation cannot be used, the key is enrolled with another reading key, or
    /// nothing is stored.
    pub async fn enrol(
        &self,
        token: &str,
        key: &PublicKey,
        reading_key: &Recipient,
        now: OffsetDateTime,
    ) -> Result<(), EnrolError> {
        // Asked of a reader first: a stranger does not take the writer away from what comes in.
        if self.invited(token, now).await?.is_none() {
            return Err(EnrolError::NoInvitation);
        }
        let digest = Sha256::digest(token.as_bytes());
        let mut writer = self.writer.lock().await;
        let mut transaction = begin(&mut writer).await?;
        let row = sqlx::query(
            "DELETE FROM invitation WHERE token_digest = ? AND until > ? RETURNING label",
        )
        .bind(&digest[..])
        .bind(millis(now))
        .fetch_optional(&mut *transaction)
        .await?;
        let label: String = row.ok_or(EnrolError::NoInvitation)?.try_get(0)?;
        let id = key.id().to_bytes();
        let enrolled = sqlx::query(
            "INSERT INTO person (id, key, reading_key, label, enrolled) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET label = excluded.label, enrolled = excluded.enrolled
             WHERE key = excluded.key AND reading_key = excluded.reading_key",
        )
        .bind(&id[..])
        .bind(key.to_string())
        .bind(reading_key.to_string())
        .bind(label)
        .bind(millis(now))
        .execute(&mut *transaction)
        .await?;
        if enrolled.rows_affected() == 0 {
            return Err(EnrolError::Taken);
        }
        note(&mut transaction, id, Looked::Enrol, None, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// All who have enrolled, by the time of it.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn people(&self) -> Result<Vec<KnownPerson>, DeskStoreError> {
        let rows = sqlx::query(
            "SELECT id, key, reading_key, label, enrolled FROM person ORDER BY enrolled",
        )
        .fetch_all(&self.readers)
        .await?;
        let row = |row: &SqliteRow| -> Result<KnownPerson, sqlx::Error> {
            Ok(KnownPerson {
                id: key_id(row.try_get(0)?)?,
                key: row.try_get(1)?,
                reading_key: row.try_get(2)?,
                label: row.try_get(3)?,
                enrolled: time_of(row.try_get(4)?),
            })
        };
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }

    /// Invitations that can still be used.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn invitations(&self, now: OffsetDateTime) -> Result<u64, DeskStoreError> {
        let row = sqlx::query("SELECT count(*) FROM invitation WHERE until > ?")
            .bind(millis(now))
            .fetch_one(&self.readers)
            .await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
    }

    /// Records that `who` did or saw something. Called before it is shown.
    ///
    /// # Errors
    /// Where it is not recorded: it must not be shown.
    pub async fn record(
        &self,
        who: [u8; 8],
        what: Looked,
        candidate: Option<EventId>,
        now: OffsetDateTime,
    ) -> Result<(), DeskStoreError> {
        let mut writer = self.writer.lock().await;
        Ok(note(&mut writer, who, what, candidate, now).await?)
    }

    /// Records that a command of the desk's own machine did or saw something; `by` is the account
    /// that gave it. Called before it is done.
    ///
    /// # Errors
    /// Where it is not recorded: it must not be done.
    pub async fn record_command(
        &self,
        what: Looked,
        candidate: Option<EventId>,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<(), DeskStoreError> {
        sqlx::query("INSERT INTO access (at, who, what, candidate, detail) VALUES (?, ?, ?, ?, ?)")
            .bind(millis(now))
            .bind(&COMMAND_LINE[..])
            .bind(what.as_str())
            .bind(candidate.map(id_bytes))
            .bind(by)
            .execute(&mut *self.writer.lock().await)
            .await?;
        Ok(())
    }

    /// Remembers who looks at what the log of one device says: of which, and of which time, stands
    /// in `of`.
    ///
    /// # Errors
    /// Where it is not stored: then nothing may be shown.
    pub async fn record_report(
        &self,
        who: [u8; 8],
        of: &str,
        now: OffsetDateTime,
    ) -> Result<(), DeskStoreError> {
        sqlx::query("INSERT INTO access (at, who, what, detail) VALUES (?, ?, 'device-report', ?)")
            .bind(millis(now))
            .bind(&who[..])
            .bind(of)
            .execute(&mut *self.writer.lock().await)
            .await?;
        Ok(())
    }

    /// Who looked at how many pictures, or took how many candidates out with them, most first.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn accesses(&self, most: u32) -> Result<Vec<AccessSum>, DeskStoreError> {
        let rows = sqlx::query(
            "SELECT who, count(*), max(at) FROM access WHERE what IN ('crop', 'photograph', 'export')
             GROUP BY who ORDER BY 2 DESC LIMIT ?",
        )
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        let row = |row: &SqliteRow| -> Result<AccessSum, sqlx::Error> {
            Ok(AccessSum {
                who: key_id(row.try_get(0)?)?,
                pictures: u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0),
                last: time_of(row.try_get(2)?),
            })
        };
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }
}

async fn note(
    on: &mut sqlx::SqliteConnection,
    who: [u8; 8],
    what: Looked,
    candidate: Option<EventId>,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let detail = match what {
        Looked::Photograph(n) => Some(n.to_string()),
        _ => None,
    };
    sqlx::query("INSERT INTO access (at, who, what, candidate, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(millis(now))
        .bind(&who[..])
        .bind(what.as_str())
        .bind(candidate.map(id_bytes))
        .bind(detail)
        .execute(on)
        .await?;
    Ok(())
}
