//! What the desk keeps, in one SQLite database.
//!
//! Promises:
//! * A transaction that has ended survives a kill and a power cut (write-ahead log, full
//!   synchronisation).
//! * One writer at a time, also of other processes (an invitation, an import); readers never wait
//!   for it.
//! * What is erased is overwritten in the database, and its write-ahead log is cut
//!   ([`DeskStore::scrub`]).
//! * A database of a newer program is refused, not changed.
//! * No invitation is in a copy, and none is left where a copy is put back: one that was used since
//!   would be there again. Sessions are in no database.
//!
//! Not promised: that a disk or a file system keeps no copy of blocks that were overwritten.
//!
//! | file | one job |
//! |---|---|
//! | this | opening, the schema, errors |
//! | `run` | what comes from devices, several messages in one transaction |
//! | `keep` | what becomes of one of them |
//! | `queue` | what waits for a reviewer, with what is shown as one |
//! | `logs` | records of the devices' audit logs |
//! | `cases` | candidates as reviewers see them, and their pictures |
//! | `verdicts` | sealed verdicts, until devices have answered; receipts, until the broker has them |
//! | `notifications` | who is to be told that candidates wait |
//! | `people` | who is enrolled, invited, and what they looked at |
//! | `erase` | what is erased when |
//! | `columns` | how values stand in columns |

mod cases;
mod columns;
mod erase;
mod keep;
mod logs;
mod notifications;
mod people;
mod queue;
mod run;
mod verdicts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, Sqlite, Transaction};
use time::OffsetDateTime;
use tokio::sync::{Mutex, Notify};

use crate::files;

pub use self::cases::{CaseRow, DeviceSaid, ExportedEvent, KeptPhotograph};
pub use self::columns::stage_word;
pub use self::erase::Erased;
pub use self::keep::{Arrival, DeskNotice, KeepingRules, Kept};
pub use self::logs::NewestEntries;
pub use self::notifications::{
    KeptNotifications, NotificationCounts, NotificationEnd, OpenNotification,
};
pub use self::people::{AccessSum, COMMAND_LINE, EnrolError, KnownPerson, Looked};
pub use self::queue::QueueRow;
pub use self::verdicts::{DueReceipt, DueVerdict, OwnVerdict, VerdictTaken};

/// Changes of the schema, oldest first; the database says how many it has had.
const MIGRATIONS: &[&str] =
    &[include_str!("schema.sql"), include_str!("notify.sql"), include_str!("log.sql")];
/// Connections that read.
const READERS: u32 = 4;
/// Pages of the write-ahead log from which on a transaction writes it into the database itself: 64
/// MiB, which [`DeskStore::keep_log_short`] leaves little of.
const LOG_PAGES: &str = "16384";
/// Between two rounds of that.
const CHECKPOINTS: Duration = Duration::from_millis(200);
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 256;
/// For how long a lock of another process (a backup) is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeskStoreError {
    /// Its folder, or itself, cannot be made.
    #[error("cannot make the database {path}: {error}")]
    Make {
        /// The database.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// There is none, and none is to be made.
    #[error("there is no database at {0}; write its place as store.path into the configuration")]
    Missing(PathBuf),
    /// Where a copy is to be put back there is a database, or what is left of one.
    #[error(
        "{0} is there; stop the desk, and move its database and the files -wal and -shm beside it \
         away"
    )]
    InPlace(PathBuf),
    /// The copy cannot be made.
    #[error("cannot copy the database to {path}: {error}")]
    Copy {
        /// The copy.
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
    /// Writes the log into the database, beside the writer.
    checkpoints: Mutex<SqliteConnection>,
    /// Something was stored.
    committed: Notify,
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
            made.map_err(|error| DeskStoreError::Make { path: path.to_path_buf(), error })?;
        }
        // SQLite gives its write-ahead log the mode of the database.
        match files::create(path, &[], 0o600) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(DeskStoreError::Make { path: path.to_path_buf(), error })
            }
            _ => Self::open_existing(path).await,
        }
    }

    /// Opens a database that is there.
    ///
    /// # Errors
    /// Where there is none, it cannot be used, or a newer program made it.
    pub async fn open_existing(path: &Path) -> Result<Self, DeskStoreError> {
        if !path.exists() {
            return Err(DeskStoreError::Missing(path.to_path_buf()));
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .pragma("secure_delete", "ON")
            .pragma("wal_autocheckpoint", LOG_PAGES)
            .statement_cache_capacity(STATEMENTS)
            .disable_statement_logging();
        let mut writer = options.connect().await?;
        migrate(&mut writer).await?;
        let checkpoints = options.connect().await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self {
            writer: Mutex::new(writer),
            checkpoints: Mutex::new(checkpoints),
            committed: Notify::new(),
            readers,
        })
    }

    /// Writes the write-ahead log into the database as it grows, so that no transaction has to wait
    /// until that is done. Does not end.
    pub async fn keep_log_short(&self) {
        loop {
            self.committed.notified().await;
            let done = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
                .execute(&mut *self.checkpoints.lock().await)
                .await;
            if let Err(error) = done {
                log::warn!("The database's log cannot be written into it yet: {error}.");
            }
            tokio::time::sleep(CHECKPOINTS).await;
        }
    }

    /// Copies the whole database but for invitations into a new file, readable by its owner alone,
    /// while it is in use. What could not be copied whole is removed again.
    ///
    /// # Errors
    /// Where it cannot be written, or is there.
    pub async fn back_up(&self, to: &Path) -> Result<(), DeskStoreError> {
        let failed = |error| DeskStoreError::Copy { path: to.to_path_buf(), error };
        let Some(name) = to.to_str() else {
            let error = std::io::Error::other("its name is no UTF-8");
            return Err(failed(error));
        };
        // SQLite writes into an empty file that is there, and leaves it its mode.
        files::create(to, &[], 0o600).map_err(failed)?;
        let mut writer = self.writer.lock().await;
        let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut *writer).await;
        drop(writer);
        let copied = match copied {
            Ok(_) => forget_invitations(to).await,
            Err(error) => Err(error),
        };
        if let Err(error) = copied {
            files::destroy(to).unwrap_or_else(|e| log::error!("{e}."));
            return Err(error.into());
        }
        std::fs::File::open(to).and_then(|copy| copy.sync_all()).map_err(failed)
    }

    /// Puts the copy `from` at the place `to` of a database, where none is; how many invitations
    /// were in it, which are not there any more. What could not be put back whole is removed again.
    ///
    /// # Errors
    /// Where a database or its write-ahead log is there, or the copy cannot be used.
    pub async fn restore(from: &Path, to: &Path) -> Result<u64, DeskStoreError> {
        let failed = |error| DeskStoreError::Copy { path: to.to_path_buf(), error };
        for suffix in ["", "-wal", "-shm"] {
            let mut name = to.as_os_str().to_owned();
            name.push(suffix);
            if Path::new(&name).exists() {
                return Err(DeskStoreError::InPlace(name.into()));
            }
        }
        let mut copy = std::fs::File::open(from)
            .map_err(|error| DeskStoreError::Copy { path: from.to_path_buf(), error })?;
        files::create(to, &[], 0o600).map_err(failed)?;
        let restored = async {
            let mut place = std::fs::File::options().write(true).open(to).map_err(failed)?;
            std::io::copy(&mut copy, &mut place).map_err(failed)?;
            place.sync_all().map_err(failed)?;
            let forgotten = forget_invitations(to).await?;
            // What cannot be opened is no database of this program.
            Self::open_existing(to).await.map(|_| forgotten)
        };
        let restored = restored.await;
        if restored.is_err() {
            files::destroy(to).unwrap_or_else(|e| log::error!("{e}."));
        }
        restored
    }
}

/// Takes all invitations out of a copy that nobody uses; how many there were.
async fn forget_invitations(copy: &Path) -> Result<u64, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(copy)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON")
        .disable_statement_logging();
    let mut copy = options.connect().await?;
    let forgotten = sqlx::query("DELETE FROM invitation").execute(&mut copy).await?;
    copy.close().await?;
    Ok(forgotten.rows_affected())
}

/// Begins a transaction that may write. It has the right to from its beginning: one that reads
/// first and asks for it later is refused where another process has written in between.
async fn begin(on: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
    on.begin_with("BEGIN IMMEDIATE").await
}

/// How many changes the schema has had.
async fn version(on: &mut SqliteConnection) -> Result<usize, DeskStoreError> {
    let row = sqlx::query("PRAGMA user_version").fetch_one(on).await?;
    let found: i64 = row.try_get(0)?;
    let had = usize::try_from(found).ok().filter(|had| *had <= MIGRATIONS.len());
    had.ok_or(DeskStoreError::Newer { found })
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), DeskStoreError> {
    if version(connection).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let mut transaction = begin(connection).await?;
    // Another process may have changed it meanwhile.
    let had = version(&mut transaction).await?;
    for change in &MIGRATIONS[had..] {
        sqlx::raw_sql(change).execute(&mut *transaction).await?;
    }
    let number = format!("PRAGMA user_version = {}", MIGRATIONS.len());
    sqlx::raw_sql(&number).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
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
