//! What `watchpost demo` needs on a machine without a camera and without a broker: a photograph to
//! enrol, a moving [`scene`] in which that person walks by among others, and a [`broker`] with a
//! subscriber.
//!
//! Promises that everything here is bundled, small and the same on every run; the frames go through
//! the same pipeline as a camera's. Does not promise realism: four people cut out of studio light
//! say nothing about error rates in a street.
//!
//! Where each photograph comes from, and why it may be bundled, is written in
//! `portraits/PROVENANCE.md`.

mod backdrop;
#[cfg(feature = "demo-broker")]
pub mod broker;
pub mod scene;
pub mod source;
pub(crate) mod subscriber;

/// The photograph that the demonstration enrols (JPEG, 524x655 px). [`scene::Scene`] shows the same
/// man in another photograph, taken two years earlier.
pub const ENROLMENT_PHOTOGRAPH: &[u8] = include_bytes!("portraits/obama-2012.jpg");
