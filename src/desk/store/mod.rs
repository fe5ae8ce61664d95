//! What the desk keeps, in one SQLite database.
//!
//! Promises:
//! * A transaction that has ended survives a kill and a power cut (write-ahead log, full
//!   synchronisation).
//! * One writer at a time; readers never wait for it.
//! * What is erased is overwritten in the database, and its write-ahead log is cut
//!   ([`DeskStore::scrub`]).
//! * A database of a newer program is refused, not changed.
//!
//! Not promised: that a disk or a file system keeps no copy of blocks that were overwritten.
//!
//! | file | one job |
//! |---|---|
//! | this | opening, the schema, errors |
//! | `keep` | what comes from devices, several messages in one transaction |
//! | `cases` | candidates as reviewers see them, and their pictures |
//! | `verdicts` | sealed verdicts, until devices have answered; receipts, until the broker has them |
//! | `people` | who is enrolled, invited, and what they looked at |
//! | `erase` | what is erased when |

mod cases;
mod erase;
mod keep;
mod people;
mod verdicts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Row as _};
use time::OffsetDateTime;
use tokio::sync::Mutex;

pub use self::cases::{CaseRow, DeviceSaid, ExportedEvent, KeptPhotograph, QueueRow};
pub use self::erase::Erased;
pub use self::keep::{Arrival, DeskNotice, Kept, stage_word};
pub use self::people::{AccessSum, EnrolError, KnownPerson, Looked};
pub use self::verdicts::{DueReceipt, DueVerdict, OwnVerdict, VerdictTaken};

/// Changes of the schema, oldest first; the database says how many it has had.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];
/// Connections that read.
const READERS: u32 = 4;
/// For how long a lock of another process (a backup) is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeskStoreError {
    /// Its folder cannot be made.
    #[error("cannot make the folder of the database {path}: {error}")]
    Folder {
        /// The database.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// Made by a newer program.
    #[error(
        "the database is of version {found} and this program knows {MOST}; update watchpost",
        MOST = MIGRATIONS.len()
    )]
    Newer {
        /// Its version.
        found: i64,
    },
    /// SQLite.
    #[error("the database does not work: {0}")]
    Sql(#[from] sqlx::Error),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct DeskStore {
    writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
}

impl DeskStore {
    /// Opens a database, or makes it, readable by its owner alone.
    ///
    /// # Errors
    /// Where it cannot be used, or a newer program made it.
    pub async fn open(path: &Path) -> Result<Self, DeskStoreError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(folder) = folder {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|error| DeskStoreError::Folder { path: path.to_path_buf(), error })?;
        }
        if !path.exists() {
            use std::os::unix::fs::OpenOptionsExt as _;
            // SQLite gives its write-ahead log the mode of the database.
            let made = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path);
            made.map_err(|error| DeskStoreError::Folder { path: path.to_path_buf(), error })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .pragma("secure_delete", "ON")
            .disable_statement_logging();
        let mut writer = options.connect().await?;
        migrate(&mut writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await?;
        Ok(Self { writer: Mutex::new(writer), readers })
    }

    /// Copies the whole database into a new file, while it is in use.
    ///
    /// # Errors
    /// Where it cannot be written, or is there.
    pub async fn back_up(&self, to: &Path) -> Result<(), DeskStoreError> {
        let to = to.display().to_string();
        sqlx::query("VACUUM INTO ?").bind(to).execute(&mut *self.writer.lock().await).await?;
        Ok(())
    }
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), DeskStoreError> {
    let row = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let found: i64 = row.try_get(0)?;
    let had = usize::try_from(found).unwrap_or(usize::MAX);
    let due = MIGRATIONS.get(had..).ok_or(DeskStoreError::Newer { found })?;
    for (number, change) in (had + 1..).zip(due) {
        let whole = format!("BEGIN IMMEDIATE; {change} PRAGMA user_version = {number}; COMMIT;");
        sqlx::raw_sql(&whole).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Milliseconds since 1970.
pub(super) fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// The time that [`millis`] wrote.
pub(super) fn time_of(millis: i64) -> OffsetDateTime {
    let nanoseconds = i128::from(millis) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
