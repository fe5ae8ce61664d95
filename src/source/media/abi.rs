//! The kernel's structures of `linux/media.h` and `linux/v4l2-subdev.h`, and the numbers of the
//! calls that take them.
//!
//! The same on every architecture: all members are 32 bits or fewer, but for those of
//! [`TopologyRequest`], which lie at multiples of eight. The sizes, which the calls' numbers carry,
//! are asserted when this is compiled.

use v4l::v4l2::vidioc;

/// `struct media_device_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DeviceAnswer {
    pub(super) driver: [u8; 16],
    pub(super) model: [u8; 32],
    pub(super) serial: [u8; 40],
    pub(super) bus_info: [u8; 32],
    pub(super) media_version: u32,
    pub(super) hw_revision: u32,
    pub(super) driver_version: u32,
    pub(super) reserved: [u32; 31],
}

/// `struct media_v2_entity`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct EntityAnswer {
    pub(super) id: u32,
    pub(super) name: [u8; 64],
    pub(super) function: u32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 5],
}

/// `struct media_v2_interface`; of its union the major and minor number.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct InterfaceAnswer {
    pub(super) id: u32,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 9],
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) rest: [u32; 14],
}

/// `struct media_v2_pad`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct PadAnswer {
    pub(super) id: u32,
    pub(super) entity: u32,
    pub(super) flags: u32,
    pub(super) index: u32,
    pub(super) reserved: [u32; 4],
}

/// `struct media_v2_link`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct LinkAnswer {
    pub(super) id: u32,
    pub(super) source: u32,
    pub(super) sink: u32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 6],
}

/// `struct media_v2_topology`: how many of each there are, and where to put them.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct TopologyRequest {
    pub(super) version: u64,
    pub(super) entities: u32,
    pub(super) reserved_1: u32,
    pub(super) entities_at: u64,
    pub(super) interfaces: u32,
    pub(super) reserved_2: u32,
    pub(super) interfaces_at: u64,
    pub(super) pads: u32,
    pub(super) reserved_3: u32,
    pub(super) pads_at: u64,
    pub(super) links: u32,
    pub(super) reserved_4: u32,
    pub(super) links_at: u64,
}

/// `struct v4l2_subdev_format` with its `struct v4l2_mbus_framefmt`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct PadFormatRequest {
    /// [`ACTIVE`].
    pub(super) which: u32,
    pub(super) pad: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) code: u32,
    pub(super) field: u32,
    pub(super) colorspace: u32,
    pub(super) more: [u16; 4],
    pub(super) reserved_format: [u16; 10],
    pub(super) reserved: [u32; 8],
}

const _: () = {
    assert!(size_of::<DeviceAnswer>() == 256);
    assert!(size_of::<EntityAnswer>() == 96);
    assert!(size_of::<InterfaceAnswer>() == 112);
    assert!(size_of::<PadAnswer>() == 32);
    assert!(size_of::<LinkAnswer>() == 40);
    assert!(size_of::<TopologyRequest>() == 72);
    assert!(size_of::<PadFormatRequest>() == 88);
    assert!(std::mem::offset_of!(DeviceAnswer, media_version) == 120);
    assert!(std::mem::offset_of!(EntityAnswer, function) == 68);
    assert!(std::mem::offset_of!(InterfaceAnswer, major) == 48);
    assert!(std::mem::offset_of!(TopologyRequest, entities_at) == 16);
    assert!(std::mem::offset_of!(TopologyRequest, links_at) == 64);
    assert!(std::mem::offset_of!(PadFormatRequest, code) == 16);
};

/// `_IOWR(group, number, T)`.
const fn read_and_write<T>(group: u8, number: u8) -> vidioc::_IOC_TYPE {
    ((3u64 << 30) | ((size_of::<T>() as u64) << 16) | ((group as u64) << 8) | number as u64)
        as vidioc::_IOC_TYPE
}

pub(super) const MEDIA_IOC_DEVICE_INFO: vidioc::_IOC_TYPE =
    read_and_write::<DeviceAnswer>(b'|', 0x00);
pub(super) const MEDIA_IOC_G_TOPOLOGY: vidioc::_IOC_TYPE =
    read_and_write::<TopologyRequest>(b'|', 0x04);
pub(super) const VIDIOC_SUBDEV_G_FMT: vidioc::_IOC_TYPE =
    read_and_write::<PadFormatRequest>(b'V', 4);

/// `V4L2_SUBDEV_FORMAT_ACTIVE`.
pub(super) const ACTIVE: u32 = 1;

/// `MEDIA_PAD_FL_SINK` and `MEDIA_PAD_FL_SOURCE`.
pub(super) const PAD_SINK: u32 = 1;
pub(super) const PAD_SOURCE: u32 = 1 << 1;
/// `MEDIA_LNK_FL_ENABLED` and `MEDIA_LNK_FL_IMMUTABLE`.
pub(super) const LINK_ENABLED: u32 = 1;
pub(super) const LINK_IMMUTABLE: u32 = 1 << 1;
/// `MEDIA_LNK_FL_LINK_TYPE` and two of its values.
pub(super) const LINK_TYPE: u32 = 0xF << 28;
pub(super) const LINK_DATA: u32 = 0;
pub(super) const LINK_INTERFACE: u32 = 1 << 28;
/// `MEDIA_INTF_T_V4L_VIDEO` and `MEDIA_INTF_T_V4L_SUBDEV`.
pub(super) const INTERFACE_VIDEO: u32 = 0x200;
pub(super) const INTERFACE_SUBDEVICE: u32 = 0x203;

/// Kernels before 4.19 do not number an entity's pads (`MEDIA_V2_PAD_HAS_INDEX`).
pub(super) const fn pads_have_numbers(media_version: u32) -> bool {
    media_version >= (4 << 16) | (19 << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_have_the_numbers_that_the_kernels_headers_give_them() {
        // As a C compiler prints them from linux/media.h and linux/v4l2-subdev.h.
        assert_eq!(MEDIA_IOC_DEVICE_INFO as u32, 0xC100_7C00);
        assert_eq!(MEDIA_IOC_G_TOPOLOGY as u32, 0xC048_7C04);
        assert_eq!(VIDIOC_SUBDEV_G_FMT as u32, 0xC058_5604);
    }
}
