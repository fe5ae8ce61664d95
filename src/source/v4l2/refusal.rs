//! What is wrong with a camera node, and the exact remedy.

use std::io;
use std::path::Path;

use v4l::FourCC;
use v4l::v4l_sys as sys;

use super::super::SourceError;
use super::super::media::{GraphAdvice, GraphOfNode, MediaGraph, advise};
use super::format::{CameraFormat, Unreadable, is_bayer, known};
use super::identity::Identity;

/// The step at which the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenStep {
    Open,
    Identity,
    Formats,
    Format,
    Buffers,
    Start,
}

/// The kernel refused `step`.
pub(super) fn failed(path: &Path, step: OpenStep, e: &io::Error) -> SourceError {
    let device = path.display();
    let (what, remedy) = match (step, e.raw_os_error()) {
        (_, Some(libc::ENOENT)) => (
            format!("there is no {device}"),
            "plug the camera in and list the cameras with `watchpost doctor` or `ls \
             /dev/v4l/by-id`; a path below /dev/v4l/by-id stays the same across restarts"
                .to_owned(),
        ),
        (_, Some(libc::EACCES | libc::EPERM)) => (
            format!("{device} may not be opened by this user"),
            "add the user to the group video (`sudo usermod -aG video $USER`, then log in again), \
             or SupplementaryGroups=video and DeviceAllow=char-video4linux rw in the service unit"
                .to_owned(),
        ),
        (_, Some(libc::EBUSY)) => (
            format!("{device} is in use by another program"),
            format!(
                "find it with `fuser -v {device}` and stop it; a camera delivers to one \
                program at a time"
            ),
        ),
        (OpenStep::Open, Some(libc::ENODEV | libc::ENXIO)) => (
            format!("{device} has no camera behind it"),
            "plug the camera in again, or remove the stale device node".to_owned(),
        ),
        (OpenStep::Open | OpenStep::Identity, _) => (
            format!("{device} is not a V4L2 camera ({e})"),
            concat!("set ", setting!(source.v4l2.device), " to a camera, such as /dev/video0")
                .to_owned(),
        ),
        (OpenStep::Start, Some(libc::EINVAL | libc::EPIPE)) => (
            format!("{device} refuses to start streaming ({e})"),
            format!("this is usual for the raw node of a CSI camera: {}", csi("")),
        ),
        (_, Some(libc::ENOLINK | libc::ENOLCK)) => (
            format!("{device} gets no signal ({e})"),
            format!(
                "plug in and switch on what it is to show; an HDMI input may have to be told what \
                 it can show and take over the signal's timing: `v4l2-ctl -d {device} --set-edid \
                 pad=0,type=hdmi --fix-edid-checksums`, `v4l2-ctl -d {device} --set-dv-bt-timings \
                 query`"
            ),
        ),
        (step, _) => (
            format!("{device} refuses {}: {e}", name(step)),
            concat!(
                "try another ",
                setting!(source.v4l2.format),
                " or size; `v4l2-ctl --list-formats-ext` shows what the camera offers"
            )
            .to_owned(),
        ),
    };
    SourceError::configuration(what, remedy)
}

/// The node refused to stream, and this is the graph behind it, where it has one.
pub(super) fn failed_start(
    path: &Path,
    identity: &Identity,
    graph: Option<GraphOfNode>,
    e: &io::Error,
) -> SourceError {
    let of_links = [libc::EINVAL, libc::EPIPE, libc::ENOLINK];
    if !e.raw_os_error().is_some_and(|code| of_links.contains(&code)) {
        return failed(path, OpenStep::Start, e);
    }
    if let Some((graph, node)) = &graph
        && let Some(error) = unset(path, identity, graph, *node)
    {
        return error;
    }
    if identity.capabilities & sys::V4L2_CAP_IO_MC != 0 {
        if let Some((graph, _)) = graph {
            let media = graph.device.display();
            return SourceError::configuration(
                format!(
                    "{} ({}) refuses to start streaming ({e}), although the links of {media} are \
                     set",
                    path.display(),
                    identity.driver
                ),
                format!("see the kernel's log (`dmesg`) and each pad: `media-ctl -d {media} -p`"),
            );
        }
        return SourceError::configuration(
            format!("{} ({}) refuses to start streaming ({e})", path.display(), identity.driver),
            "the links of its media graph are probably not set; `watchpost cameras`, run as root, \
             shows the graph and the lines to type",
        );
    }
    failed(path, OpenStep::Start, e)
}

/// What keeps the graph behind a node from delivering pictures that are read here; `None` where
/// nothing does, as far as the graph shows.
pub(super) fn unset(
    path: &Path,
    identity: &Identity,
    graph: &MediaGraph,
    node: (u32, u32),
) -> Option<SourceError> {
    let (device, media, driver) = (path.display(), graph.device.display(), &identity.driver);
    let (what, remedy) = match advise(graph, node) {
        GraphAdvice::NoNode | GraphAdvice::Fits => return None,
        GraphAdvice::NoSensor => (
            format!("no sensor leads to {device} ({driver}) in {media}"),
            "check the camera's cable and the overlay or device tree that names it; the kernel's \
             log says which sensor did not answer: `dmesg`; another node of the same device may be \
             the one: `watchpost cameras`"
                .to_owned(),
        ),
        GraphAdvice::Mosaic { format } => (
            format!("{device} ({driver}) gives the sensor's raw mosaic only ({format})"),
            format!("read the camera through its image processor and a pipe: {}", csi(driver)),
        ),
        GraphAdvice::SetUp { missing, lines, processed } => {
            let processed = match processed {
                true => {
                    "; without the board's own camera stack nobody sets exposure and colours: \
                     where the picture stays dark or green, use libcamera and a pipe"
                }
                false => "",
            };
            (
                format!("{device} ({driver}) cannot stream yet: in {media} {missing}"),
                format!(
                    "type this, and have it done at each start: {}{processed}",
                    lines.join(" && ")
                ),
            )
        }
    };
    Some(SourceError::configuration(what, remedy))
}

/// `source.v4l2.device` begins with `usb:` and does not go on as it has to.
pub(super) fn no_usb_name(device: &Path) -> SourceError {
    SourceError::configuration(format!("{} names no USB camera", device.display()), USB_NAME)
}

/// What a name by USB numbers looks like.
pub(super) const USB_NAME: &str = "Write usb:VENDOR:PRODUCT or usb:VENDOR:PRODUCT:SERIAL with \
     numbers of four hexadecimal digits, as in \"usb:046d:0825\"; `watchpost cameras` shows them.";

/// No node belongs to a USB device with these numbers.
pub(super) fn not_plugged_in(wanted: &str) -> SourceError {
    SourceError::configuration(
        format!("no camera {wanted} is plugged in"),
        "plug it in; `watchpost cameras` shows the numbers of those that are",
    )
}

/// More than one device could be the camera.
pub(super) fn ambiguous(wanted: &str, found: impl Iterator<Item = String>) -> SourceError {
    let found: Vec<String> = found.collect();
    SourceError::configuration(
        format!("{wanted} could be each of {} cameras: {}", found.len(), found.join("; ")),
        concat!(
            "let ",
            setting!(source.v4l2.device),
            " name one by its serial number, or by its socket: a path below /dev/v4l/by-path"
        ),
    )
}

/// The camera's place is another camera's now.
pub(super) fn another(device: &Path, there: &str, known: &str) -> SourceError {
    SourceError::configuration(
        format!("{} is another camera now, {there}; {known} is not there", device.display()),
        "plug the camera in again; restart the daemon where the other one is to take its place: \
         zones and site records are of one camera",
    )
}

fn name(step: OpenStep) -> &'static str {
    match step {
        OpenStep::Open => "to open",
        OpenStep::Identity => "to say what it is",
        OpenStep::Formats => "to list its formats",
        OpenStep::Format => "the format",
        OpenStep::Buffers => "to map its buffers",
        OpenStep::Start => "to start streaming",
    }
}

/// What a node is that carries no pictures at all, so that nobody would expect a camera behind
/// it.
pub(super) fn no_camera(identity: &Identity) -> Option<&'static str> {
    let has = |flag| identity.capabilities & flag != 0;
    if has(sys::V4L2_CAP_VIDEO_CAPTURE) || has(sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE) {
        return None;
    }
    Some(if has(sys::V4L2_CAP_META_CAPTURE) {
        "the metadata node of a camera"
    } else if has(sys::V4L2_CAP_VIDEO_M2M) || has(sys::V4L2_CAP_VIDEO_M2M_MPLANE) {
        "a codec or converter"
    } else if has(sys::V4L2_CAP_VIDEO_OUTPUT) || has(sys::V4L2_CAP_VIDEO_OUTPUT_MPLANE) {
        "an output"
    } else {
        "no video capture"
    })
}

/// Whether the node captures pictures at all.
pub(super) fn check_node(path: &Path, identity: &Identity) -> Result<(), SourceError> {
    let (device, card, caps) = (path.display(), &identity.card, identity.capabilities);
    let has = |flag| caps & flag != 0;
    let captures = has(sys::V4L2_CAP_VIDEO_CAPTURE) || has(sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE);
    if captures && has(sys::V4L2_CAP_STREAMING) {
        return Ok(());
    }
    let (what, remedy) = if has(sys::V4L2_CAP_META_CAPTURE) {
        (
            format!("{device} ({card}) is the camera's metadata node and carries no pictures"),
            "use the other node of the same camera, usually the one with the next lower number"
                .to_owned(),
        )
    } else if captures {
        (
            format!("{device} ({card}) cannot stream into mapped buffers"),
            "use another camera, or feed a v4l2loopback device from it".to_owned(),
        )
    } else {
        (
            format!(
                "{device} ({card}, driver {}) does not capture video (an output or a codec)",
                identity.driver
            ),
            concat!("set ", setting!(source.v4l2.device), " to a camera; `watchpost doctor` lists them. A v4l2loopback device needs exclusive_caps=1 and a running writer; where it refuses the writer's format, load the module anew")
                .to_owned(),
        )
    };
    Err(SourceError::configuration(what, remedy))
}

/// The camera offers nothing that can be read.
pub(super) fn no_format(
    path: &Path,
    identity: &Identity,
    wanted: CameraFormat,
    offered: &[FourCC],
) -> SourceError {
    let device = path.display();
    let list = offered.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let csi_driver = matches!(identity.driver.as_str(), "unicam" | "rp1-cfe" | "tegra-video");
    let bayer = !offered.is_empty() && offered.iter().all(|f| is_bayer(*f));
    if bayer || (csi_driver && !offered.iter().any(|f| known(*f).is_some())) {
        return SourceError::configuration(
            format!("{device} ({}) gives the sensor's raw mosaic only ({list})", identity.driver),
            format!(
                "read the camera through its image processor and a pipe: {}",
                csi(&identity.driver)
            ),
        );
    }
    let mut readable: Vec<&str> =
        offered.iter().filter_map(|f| known(*f)).map(CameraFormat::name).collect();
    readable.dedup();
    if !readable.is_empty() {
        return SourceError::configuration(
            format!("{device} does not offer {}; it offers {}", wanted.name(), readable.join(", ")),
            concat!("set ", setting!(source.v4l2.format), " = \"auto\" or one that is offered"),
        );
    }
    SourceError::configuration(
        format!("{device} offers no format that is read here ({list})"),
        concat!(
            "`watchpost cameras` lists what is read; convert with `ffmpeg -f v4l2 -i \
             DEVICE -pix_fmt yuv420p -f yuv4mpegpipe -` and ",
            setting!(source.kind),
            " = \"pipe\", format = \"y4m\""
        ),
    )
}

/// The driver answered with something else than was asked for, and that is not readable.
pub(super) fn unreadable(path: &Path, why: Unreadable) -> SourceError {
    let device = path.display();
    let what = match why {
        Unreadable::Format(fourcc) => format!("{device} insists on the format {fourcc}"),
        Unreadable::Frame(e) => format!("{device} announces {e}"),
        Unreadable::TooLarge(bytes) => format!("{device} announces frames of {bytes} bytes"),
        Unreadable::Planes(fourcc, 0) => {
            format!("{device} announces frames of {fourcc} and no buffer to put them in")
        }
        Unreadable::Planes(fourcc, planes) => {
            format!("{device} announces frames of {fourcc} in {planes} buffers")
        }
        Unreadable::Field(field) => {
            format!("{device} announces the field order {field}, which no kernel documents")
        }
    };
    SourceError::configuration(
        what,
        concat!("set another ", setting!(source.v4l2.format), " or a smaller size"),
    )
}

/// How a CSI camera is read, by the board that its driver belongs to.
fn csi(driver: &str) -> String {
    let pi = "rpicam-vid -t 0 -n --codec yuv420 --width 1280 --height 720 --framerate 15 -o - | \
        watchpost run";
    let jetson = "gst-launch-1.0 -q nvarguscamerasrc ! \
        'video/x-raw(memory:NVMM),width=1280,height=720,framerate=15/1' ! nvvidconv ! \
        'video/x-raw,format=I420' ! fdsink fd=1 | watchpost run";
    let any = "gst-launch-1.0 -q libcamerasrc ! video/x-raw,width=1280,height=720 ! videoconvert ! \
        video/x-raw,format=I420 ! fdsink fd=1 | watchpost run";
    let settings = concat!(
        "with ",
        setting!(source.kind),
        " = \"pipe\" and [",
        setting!(source.pipe),
        "] path = \"-\", format = \"i420\", width = 1280, height = 720"
    );
    match driver {
        "unicam" | "rp1-cfe" => format!("`{pi}` {settings}"),
        "tegra-video" => format!("`{jetson}` {settings}"),
        "" => format!("on a Raspberry Pi `{pi}`, on a Jetson `{jetson}`, {settings}"),
        _ => format!(
            "on a Raspberry Pi `{pi}`, on a Jetson `{jetson}`, elsewhere `{any}`, {settings}"
        ),
    }
}
