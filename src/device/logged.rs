//! What the device's own audit log says that it has followed: a memory that lacks it was put back
//! or deleted.
//!
//! * The last revocation that was followed, the last list that came into force, and the last list
//!   that was stopped because it had exceeded its budget. Each was remembered before the log had
//!   its record.
//! * What the memory lacks ends when it is heard again ([`Gap::is_filled`]): after a power cut on
//!   a disk that took the record and not the memory, the order comes once more from the broker.
//! * Changes nothing on the disk. A log that cannot be read says nothing here: the auditor refuses
//!   it.
//! * Not promised: a log that was put back together with the memory. Its witnesses and the broker
//!   find that.

use std::fmt;
use std::fs::File;
use std::path::Path;

use crate::audit::record::{Answer, AuditEvent, AuditRecord, EndOfUse, Instruction};
use crate::audit::store::{LOG, scan};
use crate::cause::Cause;
use crate::watchlist::Reference;
use crate::watchlist::memory::DeviceMemory;
use crate::watchlist::text::hex;

/// Something that the log has and the memory has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// The revocation by the order of this id, in hexadecimal.
    Revocation(String),
    /// That this version of a list was in force.
    List(Reference, u64),
}

impl Gap {
    /// Whether `memory` has it.
    pub fn is_filled(&self, memory: &DeviceMemory) -> bool {
        match self {
            // One that is full matches nobody, and need not name each order.
            Self::Revocation(order) => memory.is_full() || memory.knows_revocation(order),
            // Expired lists may be forgotten, but only where there are others.
            Self::List(id, version) => match memory.highest(id) {
                Some(highest) => highest >= *version,
                None => memory.has_had_lists() || memory.revoked_through(id).is_some(),
            },
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revocation(order) => write!(f, "the revocation by order {order}"),
            Self::List(id, version) => write!(f, "version {version} of the list {id}"),
        }
    }
}

/// What the log has that a memory must have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logged {
    revocation: Option<String>,
    list: Option<(Reference, u64)>,
    exceeded: Option<(Reference, u64)>,
}

impl Logged {
    /// Reads the log in `folder`; nothing where there is none, or it cannot be read.
    pub fn read(folder: &Path) -> Self {
        let mut logged = Self::default();
        let Ok(file) = File::open(folder.join(LOG)) else { return logged };
        let scanned = scan(file, |_, _, record| {
            // One of a newer program says nothing to this one.
            if let Ok(record) = AuditRecord::from_bytes(record) {
                logged.note(&record.event);
            }
        });
        if scanned.is_ok() { logged } else { Self::default() }
    }

    fn note(&mut self, event: &AuditEvent) {
        match event {
            AuditEvent::Instruction(record) if record.answer == Answer::Followed => {
                let revokes =
                    matches!(record.what, Instruction::RevokeList | Instruction::RevokeEntry);
                if let Some(order) = record.order.filter(|_| revokes) {
                    self.revocation = Some(hex(&order));
                }
            }
            AuditEvent::ListInForce(record) => {
                self.list = Some((record.id.clone(), record.version));
            }
            AuditEvent::UseEnded { why: EndOfUse::Blind(Cause::BudgetExceeded) } => {
                self.exceeded.clone_from(&self.list);
            }
            _ => {}
        }
    }

    /// Whether only a device that has run before has such a log.
    pub fn ran_before(&self) -> bool {
        self.revocation.is_some() || self.list.is_some()
    }

    /// Whether this version of the list `id` was stopped because it had exceeded its budget.
    pub fn exceeded(&self, id: &Reference, version: u64) -> bool {
        self.exceeded.as_ref().is_some_and(|(list, through)| list == id && version <= *through)
    }

    /// What of it `memory` lacks.
    pub fn gaps(&self, memory: &DeviceMemory) -> Vec<Gap> {
        let revocation = self.revocation.clone().map(Gap::Revocation);
        let list = self.list.clone().map(|(id, version)| Gap::List(id, version));
        revocation.into_iter().chain(list).filter(|gap| !gap.is_filled(memory)).collect()
    }
}

#[cfg(test)]
mod tests;
