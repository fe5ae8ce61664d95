//! Which log the daemon opens: the one on the disk, or one that a trust file begins anew.
//!
//! * A log is begun anew only where a signed rotation of the trust file names a later one of this
//!   device; it is never gone back to an earlier one, whatever the trust file says. What the pinned
//!   file names by itself is said to be left out.
//! * What was before is kept aside, whole, also where it was put back or altered.
//! * Records that only the outbox has on its disk are written to the log before anything else: the
//!   outbox is opened after the log, and lets go of them then.

use log::warn;

use super::witnesses::{ReadKeys, shown_rolled_back};
use crate::audit::generation::{AskedLog, Generation};
use crate::audit::journal::Journal;
use crate::audit::store::{
    self, AuditStore, AuditStoreError, CarriedRecords, origin_of, set_aside,
};
use crate::cause::Cause;
use crate::config::Config;
use crate::daemon::identity;
use crate::decision::policy::Blindness;
use crate::delivery::outbox::disk;

fn unusable(error: &dyn std::fmt::Display) -> Blindness {
    Blindness::new(Cause::AuditUnusable, error)
}

fn not_as_it_was(error: &AuditStoreError) -> Blindness {
    match error {
        AuditStoreError::RolledBack { .. }
        | AuditStoreError::Rewritten { .. }
        | AuditStoreError::Conflict { .. }
        | AuditStoreError::Damaged { .. } => Blindness::new(Cause::AuditRolledBack, error),
        _ => unusable(error),
    }
}

/// The log that is to be opened.
struct NamedLog {
    origin: String,
    /// The name of the one that lies there and is to be set aside for it.
    before: Option<String>,
}

/// Which log is to be opened, where the trust file asks for `asked`.
fn named_log(config: &Config, asked: AskedLog) -> NamedLog {
    let (folder, root, device) = (&config.audit.log, &config.broker.root, &config.device.id);
    let below = |origin: String| Some(origin.strip_prefix(root)?.strip_prefix('/')?.to_owned());
    // One that cannot be read, or is another device's, is found when it is opened.
    let named = origin_of(folder).ok().flatten().and_then(below);
    let had = named.as_deref().and_then(|name| Generation::named(name, device));
    let opened = asked.after(had);
    if had.is_some_and(|had| asked.is_unsigned_reset_of(had)) {
        warn!(
            "The trust file begins the audit log anew, and is no rotation that two have signed; the \
             log stays as it is: log={}. Sign that file with `watchpost key sign-trust`, and send \
             it with `watchpost orders send`.",
            opened.name(device)
        );
    }
    let before = named.filter(|_| had.is_some_and(|had| had < opened));
    NamedLog { origin: format!("{root}/{}", opened.name(device)), before }
}

/// As [`named_log`], and a log of before is set aside.
fn origin(config: &Config, asked: AskedLog) -> Result<String, Blindness> {
    let root = &config.broker.root;
    let NamedLog { origin, before } = named_log(config, asked);
    if let Some(name) = before {
        // What the outbox holds of it belongs to it. One that may not be used is kept as it is.
        if let Err(error) = open_store(config, &format!("{root}/{name}")) {
            warn!("The audit log of before is set aside as it is: log={name} {error}.");
        }
        let aside = set_aside(&config.audit.log, &name).map_err(|e| unusable(&e))?;
        warn!(
            "The audit log begins anew, as the trust file says; the one before is kept: \
             log={origin} before={}.",
            aside.display()
        );
    }
    Ok(origin)
}

/// How many records the log has that `config` names; `None` where the device has no identity.
/// Judged as [`open`] does, and nothing is changed: for commands that only look.
///
/// # Errors
/// Why it may not be used.
pub fn examine(config: &Config) -> Result<Option<u64>, Blindness> {
    if identity::of(config).map_err(|e| unusable(&e))?.is_none() {
        return Ok(None);
    }
    let folder = &config.audit.log;
    let NamedLog { origin, before } =
        named_log(config, ReadKeys::of(config).asked(&config.device.id));
    // One that begins anew has none.
    if before.is_some() {
        return Ok(Some(0));
    }
    match shown_rolled_back(folder) {
        Some(blindness) => Err(blindness),
        None => carried(config, &origin)
            .and_then(|outbox| store::examine(folder, &origin, &outbox))
            .map(Some)
            .map_err(|e| not_as_it_was(&e)),
    }
}

/// What the outbox holds for the log `origin`.
fn carried(config: &Config, origin: &str) -> Result<CarriedRecords, AuditStoreError> {
    let outbox = config.broker.outbox_folder().map(disk::carried).transpose();
    let outbox =
        outbox.map_err(|source| AuditStoreError::Io { what: "read the outbox of", source })?;
    let outbox = outbox.unwrap_or_default();
    CarriedRecords::of(origin, outbox.iter().map(Vec::as_slice))
}

/// The log `origin`, with what the outbox holds for it.
fn open_store(config: &Config, origin: &str) -> Result<AuditStore, AuditStoreError> {
    AuditStore::open_with(&config.audit.log, origin, &carried(config, origin)?)
}

/// Opens the log that `config` and `asked`, of the trust file, name; `None` where the device has no
/// identity.
///
/// # Errors
/// Why it may not be used.
pub fn open(config: &Config, asked: AskedLog) -> Result<Option<Journal>, Blindness> {
    let identity = identity::of(config).map_err(|e| unusable(&e))?;
    let Some(identity) = identity else { return Ok(None) };
    let origin = origin(config, asked)?;
    if let Some(blindness) = shown_rolled_back(&config.audit.log) {
        return Err(blindness);
    }
    let store = open_store(config, &origin).map_err(|e| not_as_it_was(&e))?;
    if store.torn() > 0 {
        warn!("An audit record was never finished, and is cut off: bytes={}.", store.torn());
    }
    if store.mended() > 0 {
        let records = store.mended();
        warn!("Audit records that only the outbox had are written again: records={records}.");
    }
    Ok(Some(Journal::new(store, &origin, identity)))
}

#[cfg(test)]
mod tests;
