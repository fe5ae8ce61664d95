//! `[source.pipe]`: what another program writes, and how it is cut into frames.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::framer::Framer;
use crate::frame::{Layout, PixelFormat, Range};
use crate::problem::Problem;
use crate::source::{MAX_FRAME_BYTES, SourceError, problem, side_problem};

/// What the bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PipeFormat {
    /// Planar 4:2:0 of the configured size: `rpicam-vid --codec yuv420`.
    #[default]
    I420,
    /// Luma, then interleaved chroma, of the configured size.
    Nv12,
    /// Packed 4:2:2 of the configured size.
    Yuyv,
    /// Luma alone, of the configured size.
    Grey,
    /// YUV4MPEG2: carries its size itself.
    Y4m,
    /// JPEG pictures one after the other: carries its size itself.
    Mjpeg,
}

impl PipeFormat {
    pub(super) fn raw(self) -> Option<PixelFormat> {
        match self {
            Self::I420 => Some(PixelFormat::I420),
            Self::Nv12 => Some(PixelFormat::Nv12),
            Self::Yuyv => Some(PixelFormat::Yuyv),
            Self::Grey => Some(PixelFormat::Grey),
            Self::Y4m | Self::Mjpeg => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Y4m => "y4m",
            Self::Mjpeg => "mjpeg",
            Self::I420 => "i420",
            Self::Nv12 => "nv12",
            Self::Yuyv => "yuyv",
            Self::Grey => "grey",
        }
    }
}

/// The span of the codes, in the configuration's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PipeRange {
    /// Luma 16 to 235: most cameras.
    #[default]
    Limited,
    /// Luma 0 to 255.
    Full,
}

impl From<PipeRange> for Range {
    fn from(range: PipeRange) -> Self {
        match range {
            PipeRange::Limited => Self::Limited,
            PipeRange::Full => Self::Full,
        }
    }
}

/// `[source.pipe]`: frames that another program writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipeConfig {
    /// `-` for standard input, or the path of a FIFO or a file.
    pub path: PathBuf,
    /// `i420`, `nv12`, `yuyv`, `grey`, `y4m` or `mjpeg`.
    pub format: PipeFormat,
    /// Pixels; for the raw formats.
    pub width: u32,
    /// Pixels; for the raw formats.
    pub height: u32,
    /// Bytes from one row to the next; 0 where rows follow each other directly. For the raw
    /// formats.
    pub stride: u32,
    /// `limited` or `full`; YUV4MPEG2 may say otherwise in its header, JPEG is always full.
    pub range: PipeRange,
}

impl Default for PipeConfig {
    fn default() -> Self {
        Self {
            path: "-".into(),
            format: PipeFormat::default(),
            width: 1280,
            height: 720,
            stride: 0,
            range: PipeRange::default(),
        }
    }
}

impl PipeConfig {
    pub(in crate::source) fn problems(&self, out: &mut Vec<Problem>) {
        if self.path.as_os_str().is_empty() {
            out.push(problem(
                setting!(source.pipe.path),
                "",
                "Write \"-\" for standard input or the path of a FIFO.",
            ));
        }
        if self.format.raw().is_some() {
            let before = out.len();
            side_problem(setting!(source.pipe.width), self.width, out);
            side_problem(setting!(source.pipe.height), self.height, out);
            if before == out.len()
                && let Err(what) = self.layout(self.format.raw().unwrap_or(PixelFormat::Grey))
            {
                out.push(problem(
                    setting!(source.pipe.stride),
                    self.stride,
                    &format!("{what}; write 0 for packed rows."),
                ));
            }
        }
    }

    /// The layout of a raw frame.
    fn layout(&self, format: PixelFormat) -> Result<Layout, crate::frame::FrameError> {
        let range = self.range.into();
        match self.stride {
            0 => Layout::packed(format, range, self.width, self.height),
            stride => Layout::with_stride(format, range, self.width, self.height, stride as usize),
        }
    }

    /// Layout of a raw frame and the bytes that the writer sends for it, the last row's padding
    /// included.
    pub(super) fn raw_frame(&self, format: PixelFormat) -> Result<(Layout, usize), SourceError> {
        let layout = self.layout(format).map_err(|e| {
            SourceError::configuration(
                e.to_string(),
                concat!("correct [", setting!(source.pipe), "] width, height and stride"),
            )
        })?;
        let (rows, stride) = (self.height as usize, self.stride as usize);
        let chroma_rows = rows.div_ceil(2);
        let bytes = match format {
            _ if stride == 0 => layout.min_len(),
            PixelFormat::Nv12 => stride * (rows + chroma_rows),
            PixelFormat::I420 => stride * rows + 2 * stride.div_ceil(2) * chroma_rows,
            _ => stride * rows,
        };
        let bytes = bytes.max(layout.min_len());
        if bytes > MAX_FRAME_BYTES {
            return Err(SourceError::configuration(
                format!("a frame of {bytes} bytes is beyond {MAX_FRAME_BYTES}"),
                "let the writer scale down",
            ));
        }
        Ok((layout, bytes))
    }

    pub(super) fn framer(&self) -> Result<Framer, SourceError> {
        Ok(match (self.format, self.format.raw()) {
            (_, Some(format)) => {
                let (layout, bytes) = self.raw_frame(format)?;
                Framer::raw(layout, bytes)
            }
            (PipeFormat::Mjpeg, _) => Framer::mjpeg(),
            _ => Framer::y4m(self.range.into()),
        })
    }
}
