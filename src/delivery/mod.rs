//! The published contract, the outbox and MQTT.
//!
//! ```text
//! Delivery (handle, any thread)                      delivery thread
//!   publish_candidate --bounded, try_send-->  Session { Outbox<Store> } <--> mqtt connection <--> broker
//!   set_status ---------latest wins-------->     sans-IO: what to send,        sockets, TLS,
//!   publish_stats ------latest wins-------->     what was acknowledged         clock, back-off
//! ```
//!
//! Promises:
//! * A candidate that [`Delivery::publish_candidate`] took is published at QoS 1, never retained, in the order of its
//!   decision, until a broker acknowledges it with a success code; or it is counted under the name of why it was not.
//! * No call blocks: vision never waits for a network.
//! * The bytes that a subscriber gets are the bytes that were decided. A repetition carries the same event id.
//!
//! Not promised: exactly-once (consumers drop repeated ids), and that an event survives this process as long as the
//! store behind the outbox is [`outbox::MemoryStore`].
//!
//! | module | one job |
//! |---|---|
//! | [`event`] | the payloads: CloudEvents 1.0 around candidate, status and statistics |
//! | [`topics`] | where they go |
//! | [`outbox`] | what still has to be delivered; sans-IO |
//! | [`session`] | which publish is next and what an acknowledgement means; sans-IO |
//! | [`backoff`] | how long to wait before trying again; sans-IO |
//! | [`broker`] | the configuration section and the broker's URL |
//! | [`tls`] | certificates, keys and passwords from files |
//! | `failure` | what is wrong with a connection, in words that say what to do |
//! | [`mqtt`] | the thread, the connection, the handle |

pub mod backoff;
pub mod broker;
pub mod event;
mod failure;
pub mod mqtt;
pub mod outbox;
pub mod session;
pub mod tls;
pub mod topics;

pub use broker::BrokerConfig;
pub use event::{Candidate, Stats, Status};
pub use mqtt::{Delivery, Outcome, Snapshot};
pub use topics::{DeviceId, Topics};
