//! What is wrong with a camera node, and the exact remedy.

use std::io;
use std::path::Path;

use v4l::FourCC;
use v4l::v4l_sys as sys;

use super::super::SourceError;
use super::driver::Identity;
use super::format::{CameraFormat, Unreadable, is_bayer, known};

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
            format!("this is usual for the raw node of a CSI camera: {}", csi(""),),
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
        _ => format!("on a Raspberry Pi `{pi}`, on a Jetson `{jetson}`, {settings}"),
    }
}
