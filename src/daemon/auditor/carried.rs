//! The log as the outbox sees it: whose records it makes durable by its own sync, and what it keeps
//! for the log until that has them itself.
//!
//! * A log that may not be used is never settled: what the outbox has of its records stays there,
//!   for those who examine it or until the log can be used again.
//! * Without an identity there is no log, and nothing is kept.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::journal::{CoveredRecord, Journal};
use crate::audit::store::LogTail;
use crate::delivery::outbox::{Carried, CarriedLog};

/// The end of one log.
struct OneLog(Arc<LogTail>);

impl CarriedLog for OneLog {
    fn is_settled(&self) -> bool {
        self.0.is_settled()
    }

    fn settle(&self) -> io::Result<()> {
        self.0.settle()
    }

    fn covered(&self, records: u64) {
        self.0.cover(records);
    }
}

/// Which log the device has.
enum LogInUse {
    None,
    Unusable,
    Open(OneLog),
}

/// The log that is in use, over the end of one and the beginning of another.
pub struct LogOfOutbox(Mutex<LogInUse>);

impl LogOfOutbox {
    /// Of a device without a log.
    pub fn none() -> Self {
        Self(Mutex::new(LogInUse::None))
    }

    /// From now on it is the one of `journal`; `None` where it may not be used.
    pub fn set(&self, journal: Option<&Journal>) {
        let tail = |journal: &Journal| LogInUse::Open(OneLog(journal.tail().clone()));
        *self.lock() = journal.map_or(LogInUse::Unusable, tail);
    }

    fn lock(&self) -> MutexGuard<'_, LogInUse> {
        // It is replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CarriedLog for LogOfOutbox {
    fn is_settled(&self) -> bool {
        match &*self.lock() {
            LogInUse::None => true,
            LogInUse::Unusable => false,
            LogInUse::Open(log) => log.is_settled(),
        }
    }

    fn settle(&self) -> io::Result<()> {
        match &*self.lock() {
            LogInUse::None => Ok(()),
            LogInUse::Unusable => Err(io::Error::other("the audit log cannot be used")),
            LogInUse::Open(log) => log.settle(),
        }
    }

    fn covered(&self, records: u64) {
        if let LogInUse::Open(log) = &*self.lock() {
            log.covered(records);
        }
    }
}

/// What goes to the outbox with what is published of `record`, and `announcement` after it.
pub fn carried(journal: &Journal, record: CoveredRecord, announcement: Option<String>) -> Carried {
    let CoveredRecord { index, bytes, note: checkpoint } = record;
    let log = Arc::new(OneLog(journal.tail().clone()));
    Carried { bytes, records: index + 1, log, checkpoint, announcement }
}
