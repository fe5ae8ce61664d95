//! Where frames come from: a V4L2 camera, a pipe, photographs.
//!
//! Promises:
//! * One [`Source`] trait. [`Source::next`] never blocks for much longer than [`PATIENCE`].
//! * A frame's bytes never exceed [`MAX_FRAME_BYTES`].
//! * Every frame that is not delivered is counted under a name in [`SourceCounters`].
//! * A source that loses its camera or its writer opens it again by itself.
//! * A JPEG stays compressed until a [`Decoder`] is asked, so that a frame that is dropped later
//!   (latest wins) costs no decoding.
//!
//! Not promised: pacing of `pipe` (it reads as fast as the writer writes), colour management,
//! sound.

mod images;
mod jpeg;
mod media;
mod mjpeg;
mod photo;
mod pipe;
mod v4l2;
mod zones;

/// Which cameras the machine has, and which of them can be read.
pub mod cameras {
    pub use super::media::{
        MediaEntity, MediaFunction, MediaGraph, MediaLink, MediaNode, MediaPad, PadFormat, PadPlace,
    };
    pub use super::v4l2::{Format, Node, NodeVerdict, Size, survey};
}

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::images::{Images, ImagesConfig};
pub use self::mjpeg::{DEFAULT_MAX_PIXELS, DecodeError, Decoder};
pub use self::photo::{Photograph, PhotographError};
pub use self::pipe::{Pipe, PipeConfig, PipeFormat, PipeRange};
pub use self::v4l2::{CameraFormat, Controls, Exposure, PowerLine, V4l2Config};
pub use self::zones::{Zone, Zones};
use crate::clock::{Clock, Now};
use crate::frame::{FrameError, Layout, MAX_SIDE};
use crate::geometry::{Orientation, Turn};
use crate::locked::LockedBuffer;
use crate::problem::Problem;

/// Most bytes that one frame may have, compressed or raw: an 8000x6000 picture in YUYV is larger,
/// so cameras are held to about 33 megapixels; photographs arrive compressed.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// How long [`Source::next`] waits before it answers [`SourceError::Timeout`].
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What the bytes of a [`Captured`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Pixels, as the layout says.
    Raw(Layout),
    /// One JPEG picture, possibly without Huffman tables, possibly padded after its end.
    Jpeg {
        /// As the source announced it; 0 where it did not. The picture's own header counts.
        width: u32,
        /// As for `width`.
        height: u32,
    },
}

/// One picture as captured.
#[derive(Debug, Clone)]
pub struct Captured {
    /// What `bytes` are.
    pub payload: Payload,
    /// The frame; the memory is reused from frame to frame, and wiped beyond the present one.
    pub bytes: LockedBuffer,
    /// Position in the stream, frames that were lost on the way included. Never goes back within
    /// one source.
    pub sequence: u64,
    /// When the frame was taken over from the driver or the pipe; of recorded pictures, when their
    /// turn is by their frame rate, however fast they are taken.
    pub at: Now,
    /// Whether it does not continue the frame before: another photograph. Tracks end there.
    pub discontinuity: bool,
    /// Whether more come whether or not this one is taken.
    pub pace: Pace,
}

/// Whether frames wait for whoever looks at them. The source knows: it is no setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// A camera: what is not looked at in time is skipped or overwritten.
    Live,
    /// Files: every frame is looked at, however long it takes.
    #[default]
    Recorded,
}

impl Default for Captured {
    fn default() -> Self {
        let at = Now { monotonic: Duration::ZERO, wall: OffsetDateTime::UNIX_EPOCH };
        Self {
            payload: Payload::Jpeg { width: 0, height: 0 },
            bytes: LockedBuffer::new(),
            sequence: 0,
            at,
            discontinuity: false,
            pace: Pace::default(),
        }
    }
}

/// Why a single frame was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// The driver marked the buffer as damaged.
    #[error("the driver marked the frame as damaged")]
    Flagged,
    /// Fewer bytes than the format needs.
    #[error("the frame has {got} bytes, {need} are needed")]
    Short {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        got: usize,
    },
    /// More than [`MAX_FRAME_BYTES`].
    #[error("the frame has more than {MAX_FRAME_BYTES} bytes")]
    Oversized,
    /// The stream went on, or ended, in the middle of the frame.
    #[error("the frame was cut off")]
    Truncated,
    /// Bytes between frames that belong to none.
    #[error("the stream is out of step; looking for the next frame")]
    OutOfStep,
    /// A file that cannot be read as a picture.
    #[error("the file is not a readable picture")]
    Unreadable,
}

/// Why [`Source::next`] gave no frame, and so what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing arrived within [`PATIENCE`]: call again.
    #[error("no frame within {} ms", PATIENCE.as_millis())]
    Timeout,
    /// This frame is lost and counted: call again.
    #[error("bad frame: {0}")]
    Frame(#[from] BadFrame),
    /// The camera or the writer is gone. The source opens it again by itself: call again.
    #[error("{source_name} stopped delivering: {reason}")]
    Lost {
        /// What was read.
        source_name: String,
        /// In the system's words.
        reason: String,
    },
    /// Everything has been delivered; there will be nothing more.
    #[error("the source has ended")]
    Ended,
    /// It cannot work as configured; trying again without a change is pointless.
    #[error("{what}: {remedy}")]
    Configuration {
        /// What is wrong.
        what: String,
        /// What to do, exactly.
        remedy: String,
    },
}

impl SourceError {
    fn configuration(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Configuration { what: what.into(), remedy: remedy.into() }
    }
}

/// What a source delivered and what it did not, since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SourceCounters {
    /// Frames delivered.
    pub frames: u64,
    /// Frames that the driver marked as damaged.
    pub error_flagged: u64,
    /// Empty frames and frames with fewer bytes than their format needs.
    pub short: u64,
    /// Frames beyond [`MAX_FRAME_BYTES`].
    pub oversized: u64,
    /// Frames that the stream cut off.
    pub truncated: u64,
    /// Times that the reader had to look for the next frame's beginning.
    pub out_of_step: u64,
    /// Frames that the driver dropped before they reached us, by its sequence numbers.
    pub missed: u64,
    /// Files that could not be read as pictures.
    pub unreadable: u64,
    /// Calls that ended without a frame in time.
    pub timeouts: u64,
    /// Times that the camera or the FIFO was opened again.
    pub reopened: u64,
}

impl SourceCounters {
    /// Frames that came and were given up, for whatever reason.
    pub fn damaged(&self) -> u64 {
        let Self { error_flagged, short, oversized, truncated, out_of_step, unreadable, .. } = self;
        error_flagged + short + oversized + truncated + out_of_step + unreadable
    }

    fn count(&mut self, bad: BadFrame) {
        let counter = match bad {
            BadFrame::Flagged => &mut self.error_flagged,
            BadFrame::Short { .. } => &mut self.short,
            BadFrame::Oversized => &mut self.oversized,
            BadFrame::Truncated => &mut self.truncated,
            BadFrame::OutOfStep => &mut self.out_of_step,
            BadFrame::Unreadable => &mut self.unreadable,
        };
        *counter += 1;
    }
}

/// A stream of pictures.
pub trait Source: Send {
    /// Waits for the next frame, at most about [`PATIENCE`], and puts it into `into`, whose buffer
    /// is reused.
    ///
    /// # Errors
    /// See [`SourceError`]: after all but `Ended` and `Configuration` the caller simply calls
    /// again.
    fn next(&mut self, into: &mut Captured) -> Result<(), SourceError>;

    /// What is read and how, in one line: `v4l2 /dev/video0 640x480 YUYV 30 fps`.
    fn describe(&self) -> String;

    /// What was delivered and what was not.
    fn counters(&self) -> SourceCounters;
}

/// Which kind of source is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A camera with a kernel driver (`[source.v4l2]`).
    #[default]
    V4l2,
    /// Frames from standard input, a FIFO or a file (`[source.pipe]`).
    Pipe,
    /// JPEG and PNG files (`[source.images]`).
    Images,
}

/// `[source]`: where frames come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// `v4l2`, `pipe` or `images`; the section of that name applies, the others are ignored.
    pub kind: SourceKind,
    /// Most pixels of a picture; larger JPEG pictures are refused before they are decoded.
    pub max_pixels: u32,
    /// Degrees clockwise by which the picture is turned before anything looks at it: 0, 90, 180 or
    /// 270.
    pub rotate: i64,
    /// Exchange left and right after that.
    pub mirror: bool,
    /// Parts of the picture that are grey before anything looks at them; each a polygon whose
    /// corners are shares of width and height, from the left top, of the picture as it is turned
    /// and mirrored.
    pub zones: Vec<Zone>,
    /// The camera.
    pub v4l2: V4l2Config,
    /// The pipe.
    pub pipe: PipeConfig,
    /// The files.
    pub images: ImagesConfig,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            kind: SourceKind::default(),
            max_pixels: DEFAULT_MAX_PIXELS,
            rotate: 0,
            mirror: false,
            zones: Vec::new(),
            v4l2: V4l2Config::default(),
            pipe: PipeConfig::default(),
            images: ImagesConfig::default(),
        }
    }
}

impl SourceConfig {
    /// How captured pictures become upright. An angle that [`SourceConfig::problems`] refuses is
    /// none.
    pub fn orientation(&self) -> Orientation {
        Orientation {
            turn: Turn::of_degrees(self.rotate).unwrap_or_default(),
            mirrored: self.mirror,
        }
    }

    /// Adds to `out` what is wrong with the section that `kind` selects. Opens nothing.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        if self.max_pixels == 0 {
            out.push(problem(
                setting!(source.max_pixels),
                self.max_pixels,
                "Write the largest picture, as in 50000000.",
            ));
        }
        if Turn::of_degrees(self.rotate).is_none() {
            out.push(problem(
                setting!(source.rotate),
                self.rotate,
                "Write 0, 90, 180 or 270: the degrees clockwise by which the picture has to be \
                 turned for people to stand upright in it.",
            ));
        }
        zones::problems(&self.zones, out);
        match self.kind {
            SourceKind::V4l2 => self.v4l2.problems(out),
            SourceKind::Pipe => self.pipe.problems(out),
            SourceKind::Images => self.images.problems(out),
        }
    }
}

/// Opens what `config` names.
///
/// # Errors
/// [`SourceError::Configuration`] with the remedy.
pub fn open(config: &SourceConfig, clock: Clock) -> Result<Box<dyn Source>, SourceError> {
    let mut problems = Vec::new();
    config.problems(&mut problems);
    if let Some(first) = problems.into_iter().next() {
        return Err(SourceError::configuration(
            format!("{} = {}", first.key, first.value),
            first.remedy,
        ));
    }
    Ok(match config.kind {
        SourceKind::V4l2 => Box::new(v4l2::open(&config.v4l2, clock)?),
        SourceKind::Pipe => Box::new(Pipe::open(&config.pipe, clock)?),
        SourceKind::Images => Box::new(Images::open(&config.images, clock)?),
    })
}

fn problem(key: &str, value: impl ToString, remedy: &str) -> Problem {
    Problem { key: key.into(), value: value.to_string(), remedy: remedy.into() }
}

fn side_problem(key: &str, value: u32, out: &mut Vec<Problem>) {
    if value == 0 || value > MAX_SIDE {
        out.push(problem(key, value, &format!("Write 1 to {MAX_SIDE} pixels.")));
    }
}

impl From<FrameError> for BadFrame {
    fn from(e: FrameError) -> Self {
        match e {
            FrameError::Short { need, got, .. } => Self::Short { need, got },
            FrameError::Size { .. } | FrameError::Stride { .. } => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_and_an_empty_section_is_the_default() {
        assert_eq!(toml::from_str::<SourceConfig>("").unwrap(), SourceConfig::default());
        assert!(toml::from_str::<SourceConfig>("kid = \"pipe\"").is_err());
        assert!(toml::from_str::<SourceConfig>("[v4l2]\ndevce = \"/dev/video0\"").is_err());
        let parsed: SourceConfig =
            toml::from_str("kind = \"pipe\"\n[pipe]\nformat = \"y4m\"\npath = \"-\"").unwrap();
        assert_eq!((parsed.kind, parsed.pipe.format), (SourceKind::Pipe, PipeFormat::Y4m));
        let text = toml::to_string(&SourceConfig::default()).unwrap();
        assert_eq!(toml::from_str::<SourceConfig>(&text).unwrap(), SourceConfig::default());
    }

    #[test]
    fn an_angle_that_is_no_right_one_is_refused_with_those_that_are() {
        let problems = |text: &str| {
            let (config, mut out) = (toml::from_str::<SourceConfig>(text).unwrap(), Vec::new());
            config.problems(&mut out);
            out
        };
        for text in ["rotate = 90", "rotate = 180\nmirror = true", "rotate = 270", "rotate = 0"] {
            assert_eq!(problems(text), []);
        }
        for degrees in [-90i64, 45, 360, i64::MAX] {
            let refused = problems(&format!("rotate = {degrees}"));
            let [Problem { key, value, remedy }] = &refused[..] else { panic!("{refused:?}") };
            assert_eq!((&**key, value), ("source.rotate", &degrees.to_string()));
            assert!(remedy.contains("0, 90, 180 or 270"), "{remedy}");
        }
        assert!(toml::from_str::<SourceConfig>("rotate = \"right\"").is_err());
        assert!(toml::from_str::<SourceConfig>("flip = \"vertical\"").is_err());
    }

    #[test]
    fn only_the_selected_section_is_judged() {
        let mut config = SourceConfig::default();
        config.pipe.width = 0;
        let mut out = Vec::new();
        config.problems(&mut out);
        assert_eq!(out, []);
        config.kind = SourceKind::Pipe;
        config.problems(&mut out);
        assert_eq!(out[0].key, "source.pipe.width");
        assert!(matches!(
            open(&config, Clock::default()).map(|_| ()),
            Err(SourceError::Configuration { what, .. }) if what.starts_with("source.pipe.width")
        ));
    }
}
