//! Markup from plain values: escapes by construction, no inline script, no inline style.
//!
//! * Handlers fill the structs of [`views`]; nothing here asks a store.
//! * Each page can be read without the script; what needs the reviewer's keys is in
//!   [`super::web`].
//! * What a reviewer must not know before their verdict is in no page that comes before it.

mod device_report;
mod entrance;
mod fleet;
mod layout;
mod outcome;
mod pair;
mod people;
mod queue;
mod reports;
pub mod views;

pub use device_report::device_report;
pub use entrance::{enrol, error, sign_in};
pub use fleet::fleet;
pub use outcome::outcome;
pub use pair::pair;
pub use people::people;
pub use queue::queue;
pub use reports::reports;

#[cfg(test)]
mod tests;
