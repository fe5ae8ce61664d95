//! A camera with a kernel driver.
//!
//! Promises:
//! * Takes what the driver answers (size, strides, format, field, colours), not what was asked.
//! * Reads single- and multi-planar nodes, with a frame's planes in one buffer or in several.
//! * Of interlaced pictures one field is used, and the log says so.
//! * A buffer is read only while it is ours, and queued again as soon as its bytes were copied.
//! * Damaged, empty and short buffers and gaps in the driver's numbering are counted.
//! * After any error the stream is torn down and built again, first after 0.1 s, then more slowly
//!   up to 5 s; [`Source::next`] keeps returning within about a second meanwhile.
//! * A device that delivers nothing that can be used for [`STALL`] is built again too, less and
//!   less often.
//! * After the machine has slept the stream is built again; no frame from before is delivered.
//! * A camera that comes back under another number is found, and another camera under its number is
//!   not read in its name ([`finding`]).
//! * A control that the camera does not have is logged once and costs nothing else.
//!
//! # Why not the stream of the `v4l` crate
//!
//! Its `mmap::Stream` queues the last buffer again before each wait, also after a wait that timed
//! out, when that buffer is the driver's: the kernel answers EINVAL from then on. It ignores the
//! error flag, hands out the whole mapping whatever `bytesused` says, and panics when stopping
//! fails. So the crate's ioctl numbers, structs and names serve here, and the stream is our own:
//! [`mod@format`] and [`state`] decide, [`driver`] calls, this file joins them.

mod controls;
mod driver;
mod finding;
mod format;
mod identity;
mod refusal;
mod state;
mod survey;

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};
use serde::{Deserialize, Serialize};
use v4l::FourCC;
use v4l::v4l_sys as sys;

pub use self::controls::{Controls, Exposure, PowerLine};
use self::driver::{Driver, KernelDriver};
use self::finding::{CameraName, KnownCamera, Machine};
use self::format::{BufferPlan, Formats, Offer, Offers, Wanted, choose};
pub use self::format::{CameraFormat, Size};
use self::identity::Identity;
use self::refusal::OpenStep;
use self::state::{MAX_BUFFERS, NotTheDrivers, Ring, Sequence, StreamAction, action, judge};
pub use self::survey::{Format, Node, NodeVerdict, survey};
use super::media::{self, GraphOfNode, PadFormat};
use super::{
    Captured, PATIENCE, Pace, Payload, Source, SourceCounters, SourceError, problem, side_problem,
};
use crate::backoff::{Backoff, NO_JITTER};
use crate::clock::Clock;
use crate::frame::Scan;
use crate::problem::Problem;

/// How long a camera may deliver nothing before its stream is built again.
pub(super) const STALL: Duration = Duration::from_secs(5);
/// First and longest wait before the device is opened again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// `[source.v4l2]`: a camera with a kernel driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct V4l2Config {
    /// A path, or `usb:VENDOR:PRODUCT[:SERIAL]`. A path below /dev/v4l/by-id stays the same across
    /// restarts.
    pub device: PathBuf,
    /// Wanted pixels; the driver takes the nearest that it has.
    pub width: u32,
    /// Wanted pixels; the driver takes the nearest that it has.
    pub height: u32,
    /// Wanted frames a second; 0 leaves the rate as it is.
    pub fps: u32,
    /// `auto`, `mjpg`, or an uncompressed format by its name, as in `nv12` or `uyvy`; or by the
    /// driver's name, as in `NM12`.
    pub format: CameraFormat,
    /// Of a camera that lists no rates, `auto` takes uncompressed formats up to this many pixels
    /// and MJPG above.
    pub raw_pixels: u32,
    /// Buffers that the driver fills in turn.
    pub buffers: u32,
    /// Settings of the camera itself.
    pub controls: Controls,
}

impl Default for V4l2Config {
    fn default() -> Self {
        Self {
            device: "/dev/video0".into(),
            width: 1280,
            height: 720,
            fps: 15,
            format: CameraFormat::default(),
            raw_pixels: 640 * 480,
            buffers: 4,
            controls: Controls::default(),
        }
    }
}

impl V4l2Config {
    pub(super) fn problems(&self, out: &mut Vec<Problem>) {
        if self.device.as_os_str().is_empty() {
            out.push(problem(
                setting!(source.v4l2.device),
                "",
                "Write the camera's path, as in \"/dev/video0\".",
            ));
        } else if CameraName::parse(&self.device).is_none() {
            let device = self.device.display();
            out.push(problem(setting!(source.v4l2.device), device, refusal::USB_NAME));
        }
        side_problem(setting!(source.v4l2.width), self.width, out);
        side_problem(setting!(source.v4l2.height), self.height, out);
        if self.fps > 1000 {
            out.push(problem(setting!(source.v4l2.fps), self.fps, "Write 0 (as it is) to 1000."));
        }
        if !(2..=MAX_BUFFERS as u32).contains(&self.buffers) {
            out.push(problem(
                setting!(source.v4l2.buffers),
                self.buffers,
                &format!("Write 2 to {MAX_BUFFERS}."),
            ));
        }
        self.controls.problems(out);
    }

    fn wanted(&self) -> Wanted {
        let pixels = u64::from(self.width) * u64::from(self.height);
        Wanted { format: self.format, pixels, fps: self.fps, raw_pixels: self.raw_pixels }
    }
}

/// Opens the camera and starts it.
///
/// # Errors
/// [`SourceError::Configuration`] with the remedy.
pub(super) fn open(config: &V4l2Config, clock: Clock) -> Result<Camera, SourceError> {
    let driver = KernelDriver::new(clock);
    Ok(Camera { stream: CameraStream::open(config.clone(), driver, Machine::default())? })
}

/// A camera that delivers.
pub(super) struct Camera {
    stream: CameraStream<KernelDriver>,
}

impl Source for Camera {
    fn next(&mut self, into: &mut Captured) -> Result<(), SourceError> {
        self.stream.next(into)
    }

    fn describe(&self) -> String {
        self.stream.describe()
    }

    fn counters(&self) -> SourceCounters {
        self.stream.counters
    }
}

/// What was agreed with the driver when the stream was built.
struct Agreed {
    plan: BufferPlan,
    fourcc: FourCC,
    size: (u32, u32),
    fps: Option<f32>,
    ring: Ring,
}

/// The stream over any driver.
struct CameraStream<D: Driver> {
    config: V4l2Config,
    driver: D,
    machine: Machine,
    /// The camera that was opened first, at the node where it was last.
    known: KnownCamera,
    /// `None` while the device is lost.
    running: Option<Agreed>,
    backoff: Backoff,
    sequence: Sequence,
    /// Last sign of life: a buffer that could be used, or the stream's start.
    alive: Duration,
    counters: SourceCounters,
}

impl<D: Driver> CameraStream<D> {
    fn open(config: V4l2Config, mut driver: D, machine: Machine) -> Result<Self, SourceError> {
        let known = finding::find(&config.device, &machine, None, &mut driver)?;
        let running = build(&config, &known, &mut driver).inspect_err(|_| driver.close())?;
        let alive = driver.now().monotonic;
        let stream = Self {
            config,
            driver,
            machine,
            known,
            running: Some(running),
            backoff: Backoff::new(RETRY.0, RETRY.1),
            sequence: Sequence::default(),
            alive,
            counters: SourceCounters::default(),
        };
        info!("Camera opened: source={}.", stream.describe());
        Ok(stream)
    }

    fn next(&mut self, into: &mut Captured) -> Result<(), SourceError> {
        let deadline = self.driver.now().monotonic + PATIENCE;
        self.revive(deadline)?;
        loop {
            let now = self.driver.now().monotonic;
            if now.saturating_sub(self.alive) >= STALL {
                return Err(
                    self.lose(format!("nothing that can be used came for {} s", STALL.as_secs()))
                );
            }
            let left = deadline.saturating_sub(now);
            if left.is_zero() {
                self.counters.timeouts += 1;
                return Err(SourceError::Timeout);
            }
            let filled =
                match self.driver.wait(left).and_then(|ready| {
                    if ready { self.driver.dequeue().map(Some) } else { Ok(None) }
                }) {
                    Ok(Some(filled)) => filled,
                    // No buffer changed hands, so none may be queued: just wait again, or report
                    // that the time is up.
                    Ok(None) => continue,
                    Err(e) if action(&e) == StreamAction::Again => {
                        // A driver that reports a buffer too early must not keep the processor
                        // busy.
                        self.driver.sleep(Duration::from_millis(1));
                        continue;
                    }
                    Err(e) => return Err(self.lose(e.to_string())),
                };
            let at = self.driver.now();
            if at.monotonic.saturating_sub(now) >= STALL {
                // Waiting takes a second at most. What was filled before would be dated now.
                return Err(self.lose("the machine slept".into()));
            }
            let Some(running) = self.running.as_mut() else { return Err(SourceError::Timeout) };
            if let Err(NotTheDrivers(index)) = running.ring.dequeued(filled.index) {
                return Err(
                    self.lose(format!("the driver returned buffer {index}, which it did not have"))
                );
            }
            let (number, missed) = self.sequence.observe(filled.sequence);
            self.counters.missed += missed;
            let mapped = |plane| self.driver.mapped(filled.index, plane);
            let verdict = judge(&filled, mapped, &running.plan);
            if let Ok(pieces) = &verdict {
                self.driver.copy(filled.index, pieces, &mut into.bytes);
                (into.payload, into.sequence, into.at) = (running.plan.payload, number, at);
                (into.discontinuity, into.pace) = (false, Pace::Live);
            }
            match self.driver.queue(filled.index) {
                Ok(()) => running.ring.queued(filled.index),
                Err(e) => {
                    return Err(
                        self.lose(format!("a buffer could not be returned to the driver: {e}"))
                    );
                }
            }
            return match verdict {
                Ok(_) => {
                    self.alive = at.monotonic;
                    self.counters.frames += 1;
                    self.backoff.reset();
                    Ok(())
                }
                Err(bad) => {
                    self.counters.count(bad);
                    Err(SourceError::Frame(bad))
                }
            };
        }
    }

    /// Builds the stream again where it is lost and the time has come.
    fn revive(&mut self, deadline: Duration) -> Result<(), SourceError> {
        if self.running.is_some() {
            return Ok(());
        }
        let now = self.driver.now().monotonic;
        let wait = self.backoff.left(now);
        let patience = deadline.saturating_sub(now);
        self.driver.sleep(wait.min(patience));
        if wait > patience {
            self.counters.timeouts += 1;
            return Err(SourceError::Timeout);
        }
        match self.build_again() {
            Ok(running) => {
                self.running = Some(running);
                self.sequence.restart();
                self.alive = self.driver.now().monotonic;
                self.counters.reopened += 1;
                info!("Camera opened again: source={}.", self.describe());
                Ok(())
            }
            // What was a mistake in the configuration at the start is a camera that is away now:
            // the remedy is to wait.
            Err(SourceError::Configuration { what, .. }) => Err(self.lose(what)),
            Err(e) => Err(self.lose(e.to_string())),
        }
    }

    /// Finds the known camera, and builds its stream.
    fn build_again(&mut self) -> Result<Agreed, SourceError> {
        let (device, known) = (&self.config.device, &self.known);
        let found = finding::find(device, &self.machine, Some(known), &mut self.driver)?;
        if found.path() != known.path() {
            info!(
                "The camera has another node now: was={} is={}.",
                known.path().display(),
                found.path().display()
            );
        }
        self.known = found;
        build(&self.config, &self.known, &mut self.driver)
    }

    fn lose(&mut self, reason: String) -> SourceError {
        self.driver.close();
        let source_name = self.describe();
        if self.running.take().is_some() {
            warn!(
                "Camera stopped delivering; it will be opened again: source={source_name} \
                 error={reason}."
            );
        }
        self.backoff.failed(self.driver.now().monotonic, NO_JITTER);
        SourceError::Lost { source_name, reason }
    }

    fn describe(&self) -> String {
        let mut device = self.config.device.display().to_string();
        if self.known.path() != self.config.device {
            device = format!("{device} ({})", self.known.path().display());
        }
        match &self.running {
            Some(Agreed { fourcc, size: (width, height), fps: Some(fps), .. }) => {
                // 29.97002997 is 29.97, and 30 is 30.
                let fps = (fps * 100.0).round() / 100.0;
                format!("v4l2 {device} {width}x{height} {fourcc} {fps} fps")
            }
            Some(Agreed { fourcc, size: (width, height), .. }) => {
                format!("v4l2 {device} {width}x{height} {fourcc}")
            }
            None => format!("v4l2 {device} (lost)"),
        }
    }
}

/// Agrees on a format with the camera that is open, maps, queues, starts.
fn build<D: Driver>(
    config: &V4l2Config,
    camera: &KnownCamera,
    driver: &mut D,
) -> Result<Agreed, SourceError> {
    let (path, identity): (&Path, _) = (camera.path(), camera.identity());
    let at = |step| move |e: std::io::Error| refusal::failed(path, step, &e);
    let arriving = arriving(identity, driver).1;
    let offered = formats(driver, arriving).map_err(at(OpenStep::Formats))?;
    let fourcc = choose(&config.wanted(), &offers(config, driver, &offered))
        .ok_or_else(|| refusal::no_format(path, identity, config.format, &offered))?;
    // Behind a media graph the node has to be set to what reaches it.
    let (width, height) = arriving.map_or((config.width, config.height), |f| (f.width, f.height));
    let granted = driver.set_format(fourcc, width, height).map_err(at(OpenStep::Format))?;
    let plan = granted.plan().map_err(|why| refusal::unreadable(path, why))?;
    if let Payload::Raw(layout) = plan.payload
        && layout.scan() != Scan::Progressive
    {
        info!("The camera's picture is interlaced; one of its two fields is used.");
    }
    if (granted.width, granted.height) != (config.width, config.height) {
        info!(
            "The camera has another size than configured: wanted={}x{} got={}x{}.",
            config.width, config.height, granted.width, granted.height
        );
    }
    config.controls.apply(driver);
    // Many drivers have no rate to set; that is no reason to refuse them.
    let fps = if config.fps == 0 { None } else { driver.set_rate(config.fps).unwrap_or(None) };
    let count = driver.map(config.buffers).map_err(at(OpenStep::Buffers))?;
    let mut ring = Ring::new(count).filter(|_| count > 0).ok_or_else(|| {
        SourceError::configuration(
            match count {
                0 => format!("{} gives no buffer for its frames", path.display()),
                more => format!("{} gives {more} buffers, more than fit", path.display()),
            },
            concat!("end what else uses the camera, or lower ", setting!(source.v4l2.buffers)),
        )
    })?;
    while let Some(index) = ring.ours() {
        driver.queue(index).map_err(at(OpenStep::Buffers))?;
        ring.queued(index);
    }
    driver.start().map_err(|e| refusal::failed_start(path, identity, driver.graph(), &e))?;
    Ok(Agreed { plan, fourcc: granted.fourcc, size: (granted.width, granted.height), fps, ring })
}

/// The media graph that a person or another program sets up for this node, and what reaches the
/// node through it; `None` where the node sets its own, or the graph cannot be read.
fn arriving<D: Driver>(
    identity: &Identity,
    driver: &D,
) -> (Option<GraphOfNode>, Option<PadFormat>) {
    if identity.capabilities & sys::V4L2_CAP_IO_MC == 0 {
        return (None, None);
    }
    let graph = driver.graph();
    let format = graph.as_ref().and_then(|(graph, node)| media::arriving(graph, *node));
    (graph, format)
}

/// The formats that the driver offers of what reaches the node.
fn formats<D: Driver>(driver: &mut D, arriving: Option<PadFormat>) -> std::io::Result<Formats> {
    let formats = driver.formats(arriving.map_or(0, |f| f.code))?;
    // A driver that does not tell by what reaches it tells nothing then, or all.
    if formats.is_empty() && arriving.is_some() { driver.formats(0) } else { Ok(formats) }
}

/// What the driver says of each format for the wanted size.
fn offers<D: Driver>(config: &V4l2Config, driver: &mut D, formats: &Formats) -> Offers {
    let offer = |fourcc: &FourCC| {
        // A driver that fails to tell a rate may still deliver.
        let fps = driver.fastest(*fourcc, config.width, config.height).unwrap_or(None);
        Offer { fourcc: *fourcc, fps }
    };
    formats.iter().map(offer).collect()
}

#[cfg(test)]
mod tests;
