//! What made the list in force change, and what is logged of it.

use log::{error, info, warn};

use crate::decision::policy::{ActiveList, Blindness};

/// What made the list in force change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// The start of the process.
    Start,
    /// The clock is right, after it kept the list from being read.
    ClockSet,
    /// What the device remembers is there, after the disk had not given it.
    MemoryRead,
    /// The list or the keys were not valid before, by the clock.
    TimeCame,
    /// Somebody asked for the files to be read again.
    Reload,
    /// A list was offered.
    Offer,
    /// The keys changed.
    Rotation,
    /// The list was revoked as a whole.
    Revocation,
}

impl Trigger {
    /// Logs what came of it.
    pub(super) fn log(self, outcome: Result<&ActiveList, &Blindness>) {
        match outcome {
            Ok(active) => self.log_active(active),
            Err(blindness) => {
                let Blindness { cause, reason } = blindness;
                match self {
                    Self::Start => error!("Nobody is matched: reason={cause} {reason}."),
                    Self::ClockSet | Self::MemoryRead | Self::TimeCame => {
                        warn!("Nobody is matched: reason={cause} {reason}.")
                    }
                    Self::Reload => error!(
                        "The watch list was read again and nobody is matched: reason={cause} \
                         {reason}."
                    ),
                    // Logged as what they are; the status gives the reason.
                    Self::Offer | Self::Rotation | Self::Revocation => {}
                }
            }
        }
    }

    fn log_active(self, active: &ActiveList) {
        let (id, version) = (active.list().id(), active.list().version());
        let threshold = active.plan().threshold;
        match self {
            Self::Start => info!(
                "Watch list in force: list={id} version={version} stage={} entries={} \
                 threshold={threshold} expected_false_alerts_a_day={:.4}.",
                active.list().stage(),
                active.list().entries().len(),
                active.plan().false_alerts_a_day,
            ),
            Self::ClockSet => info!(
                "The clock is right now, and the watch list came into force: list={id} \
                 version={version} threshold={threshold}."
            ),
            Self::MemoryRead => info!(
                "The state file is read now, and the watch list came into force: list={id} \
                 version={version} threshold={threshold}."
            ),
            Self::TimeCame => info!(
                "The time of the watch list has come, and it came into force: list={id} \
                 version={version} threshold={threshold}."
            ),
            Self::Reload => info!(
                "The watch list was read again: list={id} version={version} threshold={threshold}."
            ),
            Self::Offer => {
                info!("A watch list came into force: {id} version {version} threshold={threshold}.")
            }
            Self::Rotation | Self::Revocation => {}
        }
    }
}
