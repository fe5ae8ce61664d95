//! Erases what is due: now and then, and at once where something was revoked.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use super::config::RetentionConfig;
use super::store::{DeskNotice, DeskStore};
use crate::backoff::{Backoff, NO_JITTER};

/// How often it is looked for what is due.
const EVERY: Duration = Duration::from_secs(60);
/// First wait after an attempt that failed, or while a reader holds the log of the database; the
/// waits grow to [`EVERY`].
const AGAIN: Duration = Duration::from_secs(1);

/// Until `stop` says so.
pub async fn keep(
    store: Arc<DeskStore>,
    retention: RetentionConfig,
    mut notices: broadcast::Receiver<DeskNotice>,
    mut stop: watch::Receiver<bool>,
) {
    // What a run before this one has erased may stand in the log of the database.
    let mut scrubbed = false;
    let mut backoff = Backoff::new(AGAIN, EVERY);
    loop {
        let now = OffsetDateTime::now_utc();
        match store.erase_due(now, retention.accesses()).await {
            Ok(erased) => {
                if !erased.is_nothing() {
                    log::info!(
                        "Erased: candidates={} photographs={} accesses={} invitations={}.",
                        erased.candidates,
                        erased.photographs,
                        erased.accesses,
                        erased.invitations
                    );
                    scrubbed = false;
                }
                if !scrubbed {
                    scrubbed = store.scrub().await.unwrap_or_else(|error| {
                        log::error!("The database's log cannot be cut: {error}.");
                        false
                    });
                }
            }
            Err(error) => {
                log::error!("What is due cannot be erased, and it is tried again: {error}.");
                scrubbed = false;
            }
        }
        let wait = if scrubbed {
            backoff.reset();
            EVERY
        } else {
            backoff.next(NO_JITTER)
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = revoked(&mut notices) => {}
            _ = stop.changed() => return,
        }
    }
}

/// Until something was revoked, or may have been.
async fn revoked(notices: &mut broadcast::Receiver<DeskNotice>) {
    loop {
        match notices.recv().await {
            Ok(DeskNotice::Withdrawn) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
