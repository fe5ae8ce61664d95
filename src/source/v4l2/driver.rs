//! The calls into the kernel, one thin method each, as a trait that tests implement too.
//!
//! Promises:
//! * Every descriptor and mapping is released when the driver is closed or dropped, whatever the
//!   kernel answers.
//! * A buffer's bytes leave only as a copy.
//! * Nothing is decided here.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use v4l::FourCC;
use v4l::v4l_sys as sys;
use v4l::v4l2::{self, vidioc};

use super::super::media::{self, GraphOfNode};
use super::format::{Formats, Granted, GrantedPlane, MAX_PLANES, Size, Sizes, rate};
use super::identity::Identity;
use super::state::{Filled, MAX_BUFFERS, Piece, UsedPlane};
use crate::clock::{Clock, Now};
use crate::locked::LockedBuffer;

const SINGLE: u32 = sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
const MULTI: u32 = sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
const MMAP: u32 = sys::v4l2_memory_V4L2_MEMORY_MMAP;

/// Most rates that are looked at for one size; drivers list a handful.
const MAX_RATES: u32 = 64;

/// The kernel's side of a camera.
pub(super) trait Driver: Send {
    fn open(&mut self, path: &Path) -> io::Result<()>;
    fn identity(&mut self) -> io::Result<Identity>;
    /// The media graph that the node belongs to, where it can be read, and the node's numbers.
    fn graph(&self) -> Option<GraphOfNode>;
    /// What it offers of a picture that reaches it in a media bus format; of any where that is 0.
    fn formats(&mut self, bus_code: u32) -> io::Result<Formats>;
    /// The sizes in which it offers a format. Empty where the driver does not say.
    fn sizes(&mut self, fourcc: FourCC) -> io::Result<Sizes>;
    /// Most frames a second that it offers for a format and a size; `None` where the driver does
    /// not say.
    fn fastest(&mut self, fourcc: FourCC, width: u32, height: u32) -> io::Result<Option<f32>>;
    /// Sets a control (`V4L2_CID_*`).
    fn set_control(&mut self, id: u32, value: i32) -> io::Result<()>;
    /// Asks for a format and a size; the answer is the driver's choice.
    fn set_format(&mut self, fourcc: FourCC, width: u32, height: u32) -> io::Result<Granted>;
    /// Asks for frames a second; `None` where the driver does not say.
    fn set_rate(&mut self, fps: u32) -> io::Result<Option<f32>>;
    /// Maps up to `count` buffers and returns how many there are.
    fn map(&mut self, count: u32) -> io::Result<usize>;
    fn queue(&mut self, index: u32) -> io::Result<()>;
    fn start(&mut self) -> io::Result<()>;
    /// Waits for a filled buffer; `false` where none came in time.
    fn wait(&mut self, patience: Duration) -> io::Result<bool>;
    fn dequeue(&mut self) -> io::Result<Filled>;
    /// Bytes of the mapping of one of a frame's buffers; 0 where there is no such buffer.
    fn mapped(&self, index: u32, plane: usize) -> usize;
    /// Copies pieces of a frame that is ours, each at most its mapping, one after the other over
    /// the contents of `into`.
    fn copy(&self, index: u32, pieces: &[Piece], into: &mut LockedBuffer);
    /// Stops, unmaps, closes. Errors have no consequence: what is left is the kernel's to clean up.
    fn close(&mut self);
    fn now(&self) -> Now;
    fn sleep(&mut self, time: Duration);
}

/// One mapped buffer.
struct Mapping {
    start: *mut c_void,
    length: usize,
}

// SAFETY: the pointer is to a mapping of this process that the struct alone owns; any thread may
// read and unmap it.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap returned, unmapped once, here.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

/// What the kernel says of each buffer of a frame. As many as the interface may ever write.
struct Planes([sys::v4l2_plane; sys::VIDEO_MAX_PLANES as usize]);

impl Default for Planes {
    fn default() -> Self {
        // SAFETY: C structs of integers, for which all zeroes is the value that the interface asks
        // for.
        Self(unsafe { zeroed() })
    }
}

/// The real kernel.
pub(super) struct KernelDriver {
    clock: Clock,
    // Dropped before the device is closed, as the order of fields says. Those of one frame follow
    // each other.
    mappings: heapless::Vec<Mapping, { MAX_BUFFERS * MAX_PLANES }>,
    device: Option<File>,
    /// `SINGLE` or `MULTI`: which of the two interfaces the node has.
    kind: u32,
    /// Buffers of a frame, 1 to [`MAX_PLANES`].
    planes: usize,
}

impl KernelDriver {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, mappings: heapless::Vec::new(), device: None, kind: SINGLE, planes: 1 }
    }

    /// Runs an ioctl whose argument is a `T`.
    ///
    /// # Safety
    /// `request` must be one that reads and writes a `T` and nothing else that `T` does not point
    /// to validly.
    unsafe fn ioctl<T>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        let device =
            self.device.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        // SAFETY: an open descriptor; the caller vouches for request and argument, which outlives
        // the call.
        unsafe { v4l2::ioctl(device.as_raw_fd(), request, std::ptr::from_mut(argument).cast()) }
    }

    /// The argument of calls about one frame. Under the multi-planar interface it points to
    /// `planes`, which have to outlive it.
    fn buffer(&self, index: u32, planes: &mut Planes) -> sys::v4l2_buffer {
        // SAFETY: a C struct of integers and pointers, for which all zeroes is the value that the
        // interface asks for.
        let mut buffer: sys::v4l2_buffer = unsafe { zeroed() };
        (buffer.index, buffer.type_, buffer.memory) = (index, self.kind, MMAP);
        if self.kind == MULTI {
            buffer.m.planes = planes.0.as_mut_ptr();
            buffer.length = self.planes as u32;
        }
        buffer
    }

    /// A new mapping of `length` bytes of the device.
    fn mapping(&self, length: usize, offset: u32) -> io::Result<Mapping> {
        let device =
            self.device.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        // SAFETY: a new mapping touches no memory that is in use.
        let start = unsafe {
            v4l2::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                device.as_raw_fd(),
                offset as libc::off_t,
            )?
        };
        Ok(Mapping { start, length })
    }

    fn mapping_of(&self, index: u32, plane: usize) -> Option<&Mapping> {
        let at = (index as usize).checked_mul(self.planes)?.checked_add(plane)?;
        self.mappings.get(at).filter(|_| plane < self.planes)
    }

    fn request_buffers(&self, count: u32) -> io::Result<u32> {
        // SAFETY: as for `buffer`.
        let mut request: sys::v4l2_requestbuffers = unsafe { zeroed() };
        (request.count, request.type_, request.memory) = (count, self.kind, MMAP);
        // SAFETY: the argument is of the request's type.
        unsafe { self.ioctl(vidioc::VIDIOC_REQBUFS, &mut request)? };
        Ok(request.count)
    }
}

impl Driver for KernelDriver {
    fn open(&mut self, path: &Path) -> io::Result<()> {
        self.close();
        let device =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        self.device = Some(device);
        Ok(())
    }

    fn identity(&mut self) -> io::Result<Identity> {
        // SAFETY: as for `buffer`.
        let mut caps: sys::v4l2_capability = unsafe { zeroed() };
        // SAFETY: the argument is of the request's type.
        unsafe { self.ioctl(vidioc::VIDIOC_QUERYCAP, &mut caps)? };
        // Drivers older than `device_caps` speak of the whole device only.
        let own = caps.capabilities & sys::V4L2_CAP_DEVICE_CAPS != 0;
        let capabilities = if own { caps.device_caps } else { caps.capabilities };
        let single = capabilities & sys::V4L2_CAP_VIDEO_CAPTURE != 0;
        let multi = capabilities & sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE != 0;
        self.kind = if multi && !single { MULTI } else { SINGLE };
        Ok(Identity {
            driver: text(&caps.driver),
            card: text(&caps.card),
            bus: text(&caps.bus_info),
            capabilities,
        })
    }

    fn graph(&self) -> Option<GraphOfNode> {
        let number = self.device.as_ref()?.metadata().ok()?.rdev() as libc::dev_t;
        let node = (libc::major(number) as u32, libc::minor(number) as u32);
        Some((media::behind(node)?, node))
    }

    fn formats(&mut self, bus_code: u32) -> io::Result<Formats> {
        let mut formats = Formats::new();
        while !formats.is_full() {
            // SAFETY: as for `buffer`.
            let mut description: sys::v4l2_fmtdesc = unsafe { zeroed() };
            (description.index, description.type_) = (formats.len() as u32, self.kind);
            description.mbus_code = bus_code;
            // SAFETY: the argument is of the request's type.
            match unsafe { self.ioctl(vidioc::VIDIOC_ENUM_FMT, &mut description) } {
                Ok(()) => formats.push(FourCC::from(description.pixelformat)).expect("is not full"),
                // The end of the list.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(formats)
    }

    fn sizes(&mut self, fourcc: FourCC) -> io::Result<Sizes> {
        let mut sizes = Sizes::new();
        while !sizes.is_full() {
            // SAFETY: as for `buffer`.
            let mut entry: sys::v4l2_frmsizeenum = unsafe { zeroed() };
            (entry.index, entry.pixel_format) = (sizes.len() as u32, fourcc.into());
            // SAFETY: the argument is of the request's type.
            match unsafe { self.ioctl(vidioc::VIDIOC_ENUM_FRAMESIZES, &mut entry) } {
                Ok(()) => {}
                // The end of the list, or a driver that keeps none.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) => break,
                Err(e) => return Err(e),
            }
            let size = if entry.type_ == sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
                // SAFETY: the member that this type uses.
                let s = unsafe { entry.__bindgen_anon_1.discrete };
                Size::Exactly(s.width, s.height)
            } else {
                // SAFETY: the member that the other two types use.
                let s = unsafe { entry.__bindgen_anon_1.stepwise };
                Size::Between((s.min_width, s.min_height), (s.max_width, s.max_height))
            };
            sizes.push(size).expect("is not full");
            if matches!(size, Size::Between(..)) {
                break;
            }
        }
        Ok(sizes)
    }

    fn fastest(&mut self, fourcc: FourCC, width: u32, height: u32) -> io::Result<Option<f32>> {
        let mut fastest: Option<f32> = None;
        for index in 0..MAX_RATES {
            // SAFETY: as for `buffer`.
            let mut entry: sys::v4l2_frmivalenum = unsafe { zeroed() };
            (entry.index, entry.pixel_format, entry.width, entry.height) =
                (index, fourcc.into(), width, height);
            // SAFETY: the argument is of the request's type.
            match unsafe { self.ioctl(vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut entry) } {
                Ok(()) => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) => break,
                Err(e) => return Err(e),
            }
            let discrete = entry.type_ == sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE;
            let period = if discrete {
                // SAFETY: the member that this type uses.
                unsafe { entry.__bindgen_anon_1.discrete }
            } else {
                // SAFETY: the member that the other two types use.
                unsafe { entry.__bindgen_anon_1.stepwise }.min
            };
            if let Some(rate) = rate(period) {
                fastest = Some(fastest.map_or(rate, |f| f.max(rate)));
            }
            if !discrete {
                break;
            }
        }
        Ok(fastest)
    }

    fn set_control(&mut self, id: u32, value: i32) -> io::Result<()> {
        let mut control = sys::v4l2_control { id, value };
        // SAFETY: the argument is of the request's type.
        unsafe { self.ioctl(vidioc::VIDIOC_S_CTRL, &mut control) }
    }

    fn set_format(&mut self, fourcc: FourCC, width: u32, height: u32) -> io::Result<Granted> {
        // SAFETY: as for `buffer`.
        let mut format: sys::v4l2_format = unsafe { zeroed() };
        format.type_ = self.kind;
        let granted = if self.kind == MULTI {
            // SAFETY: all zeroes is a valid `pix_mp`, and it is the member that this type uses.
            let pix = unsafe { &mut format.fmt.pix_mp };
            (pix.width, pix.height, pix.pixelformat) = (width, height, fourcc.into());
            pix.field = sys::v4l2_field_V4L2_FIELD_NONE;
            // SAFETY: the argument is of the request's type.
            unsafe { self.ioctl(vidioc::VIDIOC_S_FMT, &mut format)? };
            // SAFETY: the kernel answers in the member of the buffer type; a copy, because the C
            // struct is packed.
            let pix = unsafe { format.fmt.pix_mp };
            let planes = pix.plane_fmt.iter().take(usize::from(pix.num_planes));
            Granted {
                fourcc: FourCC::from(pix.pixelformat),
                width: pix.width,
                height: pix.height,
                // More than can be are none: refused where the answer is read.
                planes: match usize::from(pix.num_planes) <= MAX_PLANES {
                    true => planes.map(|p| GrantedPlane { stride: p.bytesperline }).collect(),
                    false => heapless::Vec::new(),
                },
                field: pix.field,
                colorspace: pix.colorspace,
                // SAFETY: a byte under either name.
                encoding: u32::from(unsafe { pix.__bindgen_anon_1.ycbcr_enc }),
                quantization: u32::from(pix.quantization),
            }
        } else {
            // SAFETY: all zeroes is a valid `pix`, and it is the member that this type uses.
            let pix = unsafe { &mut format.fmt.pix };
            (pix.width, pix.height, pix.pixelformat) = (width, height, fourcc.into());
            pix.field = sys::v4l2_field_V4L2_FIELD_NONE;
            pix.priv_ = sys::V4L2_PIX_FMT_PRIV_MAGIC;
            // SAFETY: the argument is of the request's type.
            unsafe { self.ioctl(vidioc::VIDIOC_S_FMT, &mut format)? };
            // SAFETY: the kernel answers in the member of the buffer type.
            let pix = unsafe { &format.fmt.pix };
            Granted {
                fourcc: FourCC::from(pix.pixelformat),
                width: pix.width,
                height: pix.height,
                planes: heapless::Vec::from_iter([GrantedPlane { stride: pix.bytesperline }]),
                field: pix.field,
                colorspace: pix.colorspace,
                // SAFETY: an integer under either name.
                encoding: unsafe { pix.__bindgen_anon_1.ycbcr_enc },
                quantization: pix.quantization,
            }
        };
        self.planes = granted.planes.len().max(1);
        Ok(granted)
    }

    fn set_rate(&mut self, fps: u32) -> io::Result<Option<f32>> {
        // SAFETY: as for `buffer`.
        let mut parameters: sys::v4l2_streamparm = unsafe { zeroed() };
        parameters.type_ = self.kind;
        parameters.parm.capture.timeperframe = sys::v4l2_fract { numerator: 1, denominator: fps };
        // SAFETY: the argument is of the request's type.
        unsafe { self.ioctl(vidioc::VIDIOC_S_PARM, &mut parameters)? };
        // SAFETY: the kernel answers in the member of the buffer type.
        let period = unsafe { parameters.parm.capture.timeperframe };
        Ok(rate(period))
    }

    fn map(&mut self, count: u32) -> io::Result<usize> {
        self.mappings.clear();
        let count = self.request_buffers(count)?.min(MAX_BUFFERS as u32);
        for index in 0..count {
            let mut planes = Planes::default();
            let mut buffer = self.buffer(index, &mut planes);
            // SAFETY: the argument is of the request's type.
            unsafe { self.ioctl(vidioc::VIDIOC_QUERYBUF, &mut buffer)? };
            if self.kind == MULTI {
                for plane in planes.0.iter().take(self.planes) {
                    // SAFETY: `mem_offset` is the member that MMAP buffers use.
                    let offset = unsafe { plane.m.mem_offset };
                    let mapping = self.mapping(plane.length as usize, offset)?;
                    let _ = self.mappings.push(mapping);
                }
            } else {
                // SAFETY: `offset` is the member that MMAP buffers use.
                let mapping = self.mapping(buffer.length as usize, unsafe { buffer.m.offset })?;
                let _ = self.mappings.push(mapping);
            }
        }
        Ok(count as usize)
    }

    fn queue(&mut self, index: u32) -> io::Result<()> {
        let mut planes = Planes::default();
        let mut buffer = self.buffer(index, &mut planes);
        // SAFETY: the argument is of the request's type.
        unsafe { self.ioctl(vidioc::VIDIOC_QBUF, &mut buffer) }
    }

    fn start(&mut self) -> io::Result<()> {
        // SAFETY: the argument is of the request's type.
        unsafe { self.ioctl(vidioc::VIDIOC_STREAMON, &mut (self.kind as libc::c_int)) }
    }

    fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        let device =
            self.device.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        let mut wait = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = patience.as_millis().clamp(1, 60_000) as libc::c_int;
        // SAFETY: one pollfd that lives through the call, with an open descriptor.
        match unsafe { libc::poll(&raw mut wait, 1, millis) } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(false),
            // A hang-up or an error with a frame still there: the frame first, the error will come
            // again.
            _ if wait.revents & libc::POLLIN != 0 => Ok(true),
            _ => Err(io::Error::from_raw_os_error(if wait.revents & libc::POLLHUP != 0 {
                libc::ENODEV
            } else {
                libc::EIO
            })),
        }
    }

    fn dequeue(&mut self) -> io::Result<Filled> {
        let mut planes = Planes::default();
        let mut buffer = self.buffer(0, &mut planes);
        // SAFETY: the argument is of the request's type.
        unsafe { self.ioctl(vidioc::VIDIOC_DQBUF, &mut buffer)? };
        let used =
            |p: &sys::v4l2_plane| UsedPlane { bytes_used: p.bytesused, data_offset: p.data_offset };
        Ok(Filled {
            index: buffer.index,
            planes: match self.kind {
                MULTI => planes.0.iter().take(self.planes).map(used).collect(),
                _ => heapless::Vec::from_iter([UsedPlane {
                    bytes_used: buffer.bytesused,
                    data_offset: 0,
                }]),
            },
            flags: buffer.flags,
            sequence: buffer.sequence,
        })
    }

    fn mapped(&self, index: u32, plane: usize) -> usize {
        self.mapping_of(index, plane).map_or(0, |m| m.length)
    }

    fn copy(&self, index: u32, pieces: &[Piece], into: &mut LockedBuffer) {
        into.clear();
        for piece in pieces {
            let Some(mapping) = self.mapping_of(index, piece.plane) else { continue };
            let from = piece.from.min(mapping.length);
            let len = piece.len.min(mapping.length - from);
            let end = into.len();
            into.resize(end + len);
            // SAFETY: `from + len` is within the mapping, and `len` bytes were just added behind
            // `end`; the two do not overlap. No reference to the mapping is made, so that it would
            // not matter if a faulty driver still wrote to it.
            unsafe {
                let source = mapping.start.cast::<u8>().add(from);
                std::ptr::copy_nonoverlapping(source, into.as_mut_ptr().add(end), len);
            }
        }
    }

    fn close(&mut self) {
        if self.device.is_some() {
            // SAFETY: the argument is of the request's type.
            let _ =
                unsafe { self.ioctl(vidioc::VIDIOC_STREAMOFF, &mut (self.kind as libc::c_int)) };
        }
        self.mappings.clear();
        self.device = None;
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl Drop for KernelDriver {
    fn drop(&mut self) {
        self.close();
    }
}

/// A C string from the kernel, whatever bytes it holds.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_utf8_is_read_all_the_same() {
        assert_eq!(text(b"uvcvideo\0\0\0"), "uvcvideo");
        assert_eq!(text(b"\xFFcam\0"), "\u{FFFD}cam");
        assert_eq!(text(b"sixteen-bytes-xx"), "sixteen-bytes-xx");
    }

    #[test]
    fn what_is_no_camera_gives_errors_and_never_a_panic() {
        let mut kernel = KernelDriver::new(Clock::default());
        assert!(
            kernel.identity().is_err()
                && kernel.map(4).is_err()
                && kernel.wait(Duration::ZERO).is_err()
        );
        kernel.open(Path::new("/dev/null")).unwrap();
        assert!(
            kernel.identity().is_err() && kernel.formats(0).is_err() && kernel.dequeue().is_err()
        );
        assert!(
            kernel.set_format(FourCC::new(b"YUYV"), 640, 480).is_err()
                && kernel.set_rate(30).is_err()
        );
        assert!(kernel.set_control(sys::V4L2_CID_POWER_LINE_FREQUENCY, 1).is_err());
        assert!(kernel.map(4).is_err() && kernel.queue(0).is_err() && kernel.start().is_err());
        let mut bytes = LockedBuffer::from(vec![1]);
        kernel.copy(0, &[Piece { plane: 0, from: 0, len: 10 }], &mut bytes);
        assert!(bytes.is_empty());
        kernel.close();
    }
}
