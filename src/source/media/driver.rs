//! The calls that read media graphs.
//!
//! * Opens `/dev/mediaN` and `/dev/v4l-subdevN` for reading, one at a time, and closes them.
//! * Changes nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use v4l::v4l2::{self, vidioc};

use super::abi::{
    self, EntityAnswer, InterfaceAnswer, LinkAnswer, PadAnswer, PadFormatRequest, TopologyRequest,
};
use super::formats::PadFormat;
use super::graph::{Answers, MAX_ENTITIES, MAX_INTERFACES, MAX_LINKS, MAX_PADS, MediaGraph};

/// Most media devices, and most sub-devices of one, that are looked at.
const MAX_DEVICES: usize = 64;
const MAX_SUBDEVICES: usize = 256;

/// How often a graph is read again that changed while it was read.
const ATTEMPTS: usize = 3;

/// The graph to which the video node with these numbers belongs; `None` where it has none, or none
/// that this user may read.
pub fn behind(node: (u32, u32)) -> Option<MediaGraph> {
    let mut devices = named("media");
    devices.truncate(MAX_DEVICES);
    let mut graph = devices.into_iter().find_map(|path| {
        let graph = read(&path).ok()?;
        graph.video(node).is_some().then_some(graph)
    })?;
    read_formats(&mut graph);
    Some(graph)
}

/// The character devices `/dev/NAMEn`, in the order of their numbers.
fn named(name: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_prefix(name)?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, path)| path).collect()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// # Safety
/// `request` must be one that reads and writes a `T` and nothing else that `T` does not point to
/// validly.
unsafe fn ioctl<T>(file: &File, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
    // SAFETY: an open descriptor; the caller vouches for request and argument, which outlives the
    // call.
    unsafe { v4l2::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(argument).cast()) }
}

fn read(path: &Path) -> io::Result<MediaGraph> {
    let file = open(path)?;
    // SAFETY: integers, for which all zeroes is a value.
    let mut device: abi::DeviceAnswer = unsafe { zeroed() };
    // SAFETY: the argument is of the request's type.
    unsafe { ioctl(&file, abi::MEDIA_IOC_DEVICE_INFO, &mut device)? };
    for _ in 0..ATTEMPTS {
        // SAFETY: integers, for which all zeroes is the value that asks for the counts alone.
        let mut counts: TopologyRequest = unsafe { zeroed() };
        // SAFETY: the argument is of the request's type, and points to nothing.
        unsafe { ioctl(&file, abi::MEDIA_IOC_G_TOPOLOGY, &mut counts)? };
        let fits = [
            (counts.entities, MAX_ENTITIES),
            (counts.interfaces, MAX_INTERFACES),
            (counts.pads, MAX_PADS),
            (counts.links, MAX_LINKS),
        ];
        if fits.iter().any(|(count, most)| *count as usize > *most) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // SAFETY: integers, for which all zeroes is a value; in each of the four.
        let mut entities: Vec<EntityAnswer> = vec![unsafe { zeroed() }; counts.entities as usize];
        // SAFETY: as above.
        let mut interfaces: Vec<InterfaceAnswer> =
            vec![unsafe { zeroed() }; counts.interfaces as usize];
        // SAFETY: as above.
        let mut pads: Vec<PadAnswer> = vec![unsafe { zeroed() }; counts.pads as usize];
        // SAFETY: as above.
        let mut links: Vec<LinkAnswer> = vec![unsafe { zeroed() }; counts.links as usize];
        let mut request = counts;
        // An empty list has no address, as the interface wants it.
        request.entities_at = address(&mut entities);
        request.interfaces_at = address(&mut interfaces);
        request.pads_at = address(&mut pads);
        request.links_at = address(&mut links);
        // SAFETY: the argument is of the request's type; each address is that of as many elements
        // as its count says, and the kernel answers ENOSPC rather than write more.
        match unsafe { ioctl(&file, abi::MEDIA_IOC_G_TOPOLOGY, &mut request) } {
            Ok(()) => {}
            // It grew between the two calls.
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => continue,
            Err(e) => return Err(e),
        }
        // It shrank: what the kernel did not fill is no answer.
        entities.truncate(request.entities as usize);
        interfaces.truncate(request.interfaces as usize);
        pads.truncate(request.pads as usize);
        links.truncate(request.links as usize);
        let answers = Answers { device, entities, interfaces, pads, links };
        return Ok(MediaGraph::of(path.to_owned(), &answers));
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn address<T>(list: &mut [T]) -> u64 {
    if list.is_empty() { 0 } else { list.as_mut_ptr() as usize as u64 }
}

/// Asks each sub-device what its pads are set to; one that cannot be asked has no format.
fn read_formats(graph: &mut MediaGraph) {
    let subdevices: Vec<((u32, u32), PathBuf)> = named("v4l-subdev")
        .into_iter()
        .take(MAX_SUBDEVICES)
        .filter_map(|path| Some((numbers(&path)?, path)))
        .collect();
    for entity in &mut graph.entities {
        let Some(node) = entity.node.filter(|n| !n.video) else { continue };
        let of_it = |(numbers, _): &&((u32, u32), PathBuf)| *numbers == (node.major, node.minor);
        let Some(file) = subdevices.iter().find(of_it).and_then(|(_, path)| open(path).ok()) else {
            continue;
        };
        for pad in &mut entity.pads {
            // SAFETY: integers, for which all zeroes is a value.
            let mut request: PadFormatRequest = unsafe { zeroed() };
            (request.which, request.pad) = (abi::ACTIVE, pad.number);
            // SAFETY: the argument is of the request's type.
            if unsafe { ioctl(&file, abi::VIDIOC_SUBDEV_G_FMT, &mut request) }.is_ok() {
                let PadFormatRequest { code, width, height, .. } = request;
                pad.format = Some(PadFormat { code, width, height });
            }
        }
    }
}

/// Major and minor number of a character device.
fn numbers(path: &Path) -> Option<(u32, u32)> {
    let about = path.metadata().ok()?;
    about.file_type().is_char_device().then(|| split(about.rdev()))
}

/// Major and minor number of a device number.
fn split(device: u64) -> (u32, u32) {
    (libc::major(device as libc::dev_t) as u32, libc::minor(device as libc::dev_t) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_media_device_gives_an_error_and_never_a_panic() {
        assert!(read("/dev/null".as_ref()).is_err());
        assert!(read("/nonexistent/media0".as_ref()).is_err());
        assert_eq!(numbers("/dev/null".as_ref()), Some((1, 3)));
        assert_eq!(numbers("/tmp".as_ref()), None);
        assert_eq!(behind((0xFFFF, 0xFFFF)), None);
    }
}
