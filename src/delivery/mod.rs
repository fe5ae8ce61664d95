//! The published contract, the outbox and MQTT.
//!
//! ```text
//! Delivery (handle, any thread)                      delivery thread
//!   publish_candidate --bounded, try_send-->  Session { Outbox<Store> } <--> connection <--> broker
//!   set_status ---------latest wins-------->     sans-IO: what to send,      sockets, TLS,
//!   publish_stats ------latest wins-------->     what was acknowledged       clock, back-off
//! ```
//!
//! Promises:
//! * A candidate that [`Delivery::publish_candidate`] took is published at QoS 1, never retained,
//!   in the order of its decision, until a broker acknowledges it with a success code; or it is
//!   counted under the name of why it was not. Where receipts are required the broker's word is not
//!   enough: it is published until a desk that the trust file pins says that it has stored it.
//! * No call blocks: vision never waits for a network.
//! * Subscribers get the bytes that were decided. A repetition carries the same event id.
//! * With the store that [`store`] makes, an event that was taken into the outbox survives a kill
//!   and a power cut.
//!
//! Not promised:
//! * Exactly-once: consumers drop repeated ids.
//! * That an event in the bounded queue before the outbox, or in [`outbox::MemoryStore`], survives
//!   this process.
//!
//! | module | one job |
//! |---|---|
//! | [`event`] | the payloads: CloudEvents 1.0 around candidate, status and statistics |
//! | [`topics`] | where they go |
//! | [`outbox`] | what still has to be delivered; sans-IO |
//! | `session` | which publish is next and what an acknowledgement means; sans-IO |
//! | `handle` | what the daemon holds |
//! | `exchange` | what passes between the handle and the delivery thread |
//! | `worker` | the delivery thread: connect, wait, take what is asked for |
//! | `connection` | one connection: moves what the session decides |
//! | `snapshot` | counts and health, and how delivery ended |
//! | `revoked` | which candidates are wiped before they are delivered |
//! | `inbound` | what is sent to the device: screened, bounded, never lost |
//! | `acks` | which of it is acknowledged, and when |
//! | `hearing` | whether all that the broker kept for the device has come |
//! | [`broker`] | the configuration section and the broker's URL |
//! | [`tls`] | certificates, keys and passwords from files |
//! | [`probe`] | whether the broker would accept this device |
//! | [`home_assistant`] | what Home Assistant reads, where that is switched on |
//! | `failure` | what is wrong with a connection, and what to do |
//! | `wire` | our terms in those of the client library |
//! | `signer` | who signs candidates, as a trait |
//! | `dispatch` | which devices have followed what a workstation sends; sans-IO |
//! | `courier` | the workstation's connection for one errand |
//! | `correspondent` | the workstation's connection that lasts |

mod acks;
pub mod broker;
mod connection;
#[cfg(feature = "author")]
pub(crate) mod correspondent;
#[cfg(feature = "author")]
pub(crate) mod courier;
#[cfg(feature = "author")]
pub(crate) mod dispatch;
pub mod event;
mod exchange;
pub(crate) mod failure;
mod handle;
mod hearing;
pub mod home_assistant;
mod inbound;
pub mod outbox;
pub(crate) mod probe;
mod revoked;
mod session;
mod signer;
mod snapshot;
pub(crate) mod tls;
pub(crate) mod topics;
pub(crate) mod wire;
mod worker;

use std::io::ErrorKind;

pub use broker::{BrokerConfig, ReceiptRule};
pub use event::{Candidate, ListState, Stats, Status};
pub use handle::{Delivery, NotTaken, StartError};
pub use inbound::{
    Inbound, InboundCounters, InboundKind, Receipt, ReceiptedEvent, Screen, Screened,
};
pub(crate) use outbox::ledger::examine as examine_ledger;
pub use revoked::RevokedCandidates;
pub use signer::Signer;
pub use snapshot::{Snapshot, StopReport};
pub use topics::{AuditSaying, DeviceId, Topics};

use self::outbox::{MemoryStore, Store, disk};

/// The store that the configuration asks for. Where its folder cannot be used, events wait in
/// memory and the store's health says why: a device with a broken disk still reports what it sees.
///
/// # Errors
/// Where another process has the folder: two would deliver the same events.
pub fn store(config: &BrokerConfig) -> Result<Box<dyn Store>, StartError> {
    let Some(folder) = config.outbox_folder() else {
        log::info!(concat!(
            "Candidates wait for the broker in memory and are lost with the process: ",
            setting!(broker.outbox),
            " is empty."
        ));
        return Ok(Box::new(MemoryStore::default()));
    };
    match disk::open(folder, config.limits()) {
        Ok(store) => Ok(Box::new(store)),
        Err(e) if e.source.kind() == ErrorKind::ResourceBusy => {
            Err(StartError::OutboxInUse(folder.to_owned()))
        }
        Err(e) => {
            let problem = format!(
                concat!(
                    "candidates wait in memory only, as {} cannot be used ({}); let the user that \
                     runs watchpost write there, or set ",
                    setting!(broker.outbox)
                ),
                folder.display(),
                e.source
            );
            log::error!("The outbox is not on disk: {problem}.");
            Ok(Box::new(MemoryStore::instead(problem)))
        }
    }
}
