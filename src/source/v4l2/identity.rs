//! What a device says of itself.

/// Who the device says it is. Read by hand: the `v4l` crate's type panics on names that are not
/// UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) driver: String,
    pub(super) card: String,
    /// Where it is plugged in, as in `usb-0000:01:00.0-1.2`.
    pub(super) bus: String,
    /// `V4L2_CAP_*` of this node, not of the whole device.
    pub(super) capabilities: u32,
}
