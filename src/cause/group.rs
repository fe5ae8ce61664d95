//! What a cause is about.

/// What a cause is about; the sections of the published table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CauseGroup {
    /// The bytes are no list and no offer at all: anybody could have sent them, so that they are
    /// counted and change nothing that is published.
    Bytes,
    /// The way of an offered list to the device.
    Offer,
    /// The list itself.
    List,
    /// The list's encryption and the device's key.
    Seal,
    /// The keys of the people who sign.
    Trust,
    /// The clock, the list's hours and places, suspensions.
    TimeAndPlace,
    /// The device: its camera, memory, disk and networks.
    Device,
}
