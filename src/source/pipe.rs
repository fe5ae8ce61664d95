//! Frames from standard input, a FIFO or a file: the way in which CSI cameras are read without a
//! kernel module, as in `rpicam-vid -t 0 --codec yuv420 --width 1280 --height 720 -o - | watchpost
//! run` or, on a Jetson, `gst-launch-1.0 nvarguscamerasrc ! nvvidconv ! video/x-raw,format=I420 !
//! fdsink | watchpost run`.
//!
//! Promises:
//! * Nothing that the writer sends makes memory grow beyond [`super::MAX_FRAME_BYTES`] a frame.
//! * A writer that pauses in the middle of a frame costs nothing.
//! * A FIFO whose writer goes away is opened again and waits for the next one; that nobody writes
//!   is told apart from a writer who is silent.
//! * A frame that is cut off is counted, and so is a second of bytes that begin none.
//! * MJPEG and YUV4MPEG2 find the next frame after damage; raw frames have no marks, so they
//!   cannot.
//!
//! Not promised: pacing. A file is read as fast as its frames are taken.

mod config;
mod framer;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use log::info;

pub use self::config::{PipeConfig, PipeFormat, PipeRange};
use self::framer::{Framed, Framer, Last};
use super::{BadFrame, Captured, PATIENCE, Pace, Payload, Source, SourceCounters, SourceError};
use crate::clock::Clock;
use crate::locked::{LockedBuffer, wipe};

/// Bytes asked for in one read: a pipe's usual capacity.
const CHUNK: usize = 64 << 10;

/// What the path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PipeKind {
    /// A pipe, a terminal, or a file that was redirected.
    Stdin(Pace),
    Fifo,
    File,
}

impl PipeKind {
    fn pace(self) -> Pace {
        match self {
            Self::Stdin(pace) => pace,
            Self::Fifo => Pace::Live,
            Self::File => Pace::Recorded,
        }
    }
}

/// Frames from a file descriptor.
#[derive(Debug)]
pub struct Pipe {
    config: PipeConfig,
    kind: PipeKind,
    /// `None` while the FIFO is away.
    file: Option<File>,
    framer: Framer,
    /// Bytes read, of which `start..end` still wait.
    chunk: LockedBuffer,
    start: usize,
    end: usize,
    clock: Clock,
    sequence: u64,
    counters: SourceCounters,
    /// Standard input or a file is at its end.
    ended: bool,
}

impl Pipe {
    /// Opens the path. A FIFO needs no writer yet.
    ///
    /// # Errors
    /// [`SourceError::Configuration`].
    pub fn open(config: &PipeConfig, clock: Clock) -> Result<Self, SourceError> {
        let framer = config.framer()?;
        let (kind, file) = open_path(config)?;
        let mut chunk = LockedBuffer::new();
        chunk.resize(CHUNK);
        Ok(Self {
            config: config.clone(),
            kind,
            file: Some(file),
            framer,
            chunk,
            start: 0,
            end: 0,
            clock,
            sequence: 0,
            counters: SourceCounters::default(),
            ended: false,
        })
    }

    fn bad(&mut self, bad: BadFrame) -> SourceError {
        self.counters.count(bad);
        bad.into()
    }

    /// The writer closed its end: what was under way may be a frame.
    fn at_end(&mut self, into: &mut LockedBuffer) -> Last {
        let last = self.framer.finish(into);
        match self.kind {
            PipeKind::Fifo => {
                info!(
                    "The pipe's writer closed it; waiting for the next: path={}.",
                    self.config.path.display()
                );
                // The old descriptor would report the hang-up forever. The new one is opened
                // first, so that a writer who comes right now finds a reader.
                self.file = open_path(&self.config).map(|(_, file)| file).ok();
                self.counters.reopened += u64::from(self.file.is_some());
            }
            PipeKind::Stdin(_) | PipeKind::File => self.ended = true,
        }
        last
    }

    /// A call is over without a frame; `arrived` says whether with bytes.
    fn fruitless(&mut self, arrived: bool) -> SourceError {
        if arrived && self.framer.is_searching() {
            return self.bad(BadFrame::OutOfStep);
        }
        self.counters.timeouts += 1;
        let fifo = self.file.as_mut().filter(|_| self.kind == PipeKind::Fifo && !arrived);
        match fifo.map(|file| file.read(&mut self.chunk)) {
            // Without a writer a FIFO is at its end, whether or not it ever had one.
            Some(Ok(0)) => SourceError::Lost {
                source_name: self.describe(),
                reason: "nobody writes frames into it".into(),
            },
            // Bytes that came at the last moment.
            Some(Ok(n)) => {
                (self.start, self.end) = (0, n);
                SourceError::Timeout
            }
            _ => SourceError::Timeout,
        }
    }

    fn deliver(&mut self, payload: Payload, into: &mut Captured) {
        into.payload = payload;
        into.sequence = self.sequence;
        into.at = self.clock.now();
        into.discontinuity = false;
        into.pace = self.kind.pace();
        self.sequence += 1;
        self.counters.frames += 1;
    }

    /// Opens a FIFO that was away; where it still is, this takes the time that a call may take.
    fn revive(&mut self) -> Result<(), SourceError> {
        if self.file.is_some() {
            return Ok(());
        }
        match open_path(&self.config) {
            Ok((kind, file)) => {
                (self.kind, self.file) = (kind, Some(file));
                self.counters.reopened += 1;
                Ok(())
            }
            Err(e) => {
                std::thread::sleep(PATIENCE);
                Err(SourceError::Lost { source_name: self.describe(), reason: e.to_string() })
            }
        }
    }
}

impl Source for Pipe {
    fn next(&mut self, into: &mut Captured) -> Result<(), SourceError> {
        let deadline = Instant::now() + PATIENCE;
        self.revive()?;
        let mut arrived = false;
        loop {
            while self.start < self.end {
                let (used, outcome) =
                    self.framer.feed(&self.chunk[self.start..self.end], &mut into.bytes);
                // Its bytes are in a frame now, or in none.
                wipe(&mut self.chunk[self.start..self.start + used]);
                self.start += used;
                match outcome {
                    Framed::More => {}
                    Framed::Frame(payload) => {
                        self.deliver(payload, into);
                        return Ok(());
                    }
                    Framed::Bad(bad) => {
                        self.sequence += 1;
                        return Err(self.bad(bad));
                    }
                    Framed::Refused(what) => {
                        // The rest of such a stream is of no use; another writer may do better.
                        wipe(&mut self.chunk[self.start..self.end]);
                        self.start = self.end;
                        self.ended = self.kind != PipeKind::Fifo;
                        return Err(SourceError::configuration(
                            what,
                            "let the writer send YUV4MPEG2 with C420 or Cmono, as ffmpeg -pix_fmt \
                             yuv420p does",
                        ));
                    }
                }
            }
            if self.ended {
                return Err(SourceError::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(file) =
                self.file.as_mut().filter(|file| !left.is_zero() && readable(file, left))
            else {
                return Err(self.fruitless(arrived));
            };
            let read = file.read(&mut self.chunk);
            arrived |= matches!(read, Ok(1..));
            match read {
                Ok(0) => match self.at_end(&mut into.bytes) {
                    Last::Nothing => {}
                    Last::Frame(payload) => {
                        self.deliver(payload, into);
                        return Ok(());
                    }
                    Last::Cut => return Err(self.bad(BadFrame::Truncated)),
                },
                Ok(n) => (self.start, self.end) = (0, n),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => {
                    let source_name = self.describe();
                    // What cannot be read now will not be read later: a FIFO is opened again,
                    // the others are over.
                    let _ = self.at_end(&mut into.bytes);
                    return Err(SourceError::Lost { source_name, reason: e.to_string() });
                }
            }
        }
    }

    fn describe(&self) -> String {
        let (path, format) = (self.config.path.display(), self.config.format.name());
        match self.framer.size() {
            Some((width, height)) => format!("pipe {path} {width}x{height} {format}"),
            None => format!("pipe {path} {format}"),
        }
    }

    fn counters(&self) -> SourceCounters {
        self.counters
    }
}

fn open_path(config: &PipeConfig) -> Result<(PipeKind, File), SourceError> {
    let path = &config.path;
    let refuse = |what: String, remedy: &str| SourceError::configuration(what, remedy);
    if path.as_os_str() == "-" {
        let fd = std::io::stdin().as_fd().try_clone_to_owned();
        let fd =
            fd.map_err(|e| refuse(format!("standard input: {e}"), "pipe a writer into watchpost"))?;
        let file = File::from(fd);
        let redirected = file.metadata().is_ok_and(|m| m.is_file());
        let pace = if redirected { Pace::Recorded } else { Pace::Live };
        return Ok((PipeKind::Stdin(pace), file));
    }
    // Non-blocking, so that opening a FIFO does not wait for its writer.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|e| {
            let remedy = match e.kind() {
                ErrorKind::NotFound => {
                    format!(
                        concat!("make it with `mkfifo {}` or correct ", setting!(source.pipe.path)),
                        path.display()
                    )
                }
                ErrorKind::PermissionDenied => {
                    format!("give the daemon's user read access to {}", path.display())
                }
                _ => concat!("correct ", setting!(source.pipe.path)).into(),
            };
            SourceError::configuration(format!("cannot open {}: {e}", path.display()), remedy)
        })?;
    let kind = file.metadata().map_err(|e| {
        refuse(format!("{}: {e}", path.display()), concat!("correct ", setting!(source.pipe.path)))
    })?;
    let kind = match kind.file_type() {
        t if t.is_fifo() => PipeKind::Fifo,
        t if t.is_dir() => {
            return Err(refuse(format!("{} is a folder", path.display()), "use kind = \"images\""));
        }
        t if t.is_char_device() && path.starts_with("/dev/video") => {
            return Err(refuse(format!("{} is a camera", path.display()), "use kind = \"v4l2\""));
        }
        _ => PipeKind::File,
    };
    Ok((kind, file))
}

/// Waits until a read would not block: data, end of stream or an error.
fn readable(file: &File, patience: Duration) -> bool {
    let mut wait = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = patience.as_millis().clamp(1, 60_000) as libc::c_int;
    // SAFETY: one pollfd that lives through the call, with an open descriptor.
    unsafe { libc::poll(&raw mut wait, 1, millis) > 0 }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;
    use std::process::Command;

    use super::super::jpeg::samples;
    use super::*;
    use crate::frame::PixelFormat;

    fn config(path: impl Into<PathBuf>, format: PipeFormat) -> PipeConfig {
        PipeConfig { path: path.into(), format, width: 4, height: 2, ..PipeConfig::default() }
    }

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_file_of_raw_frames_is_read_to_its_end_and_the_cut_frame_is_counted() {
        let frames: Vec<u8> = (0..30).collect();
        let file = written(&frames);
        let mut pipe =
            Pipe::open(&config(file.path(), PipeFormat::I420), Clock::default()).unwrap();
        let mut captured = Captured::default();
        for i in 0..2 {
            pipe.next(&mut captured).unwrap();
            assert_eq!((captured.sequence, captured.bytes[0]), (i, i as u8 * 12));
            assert!(matches!(
                captured.payload,
                Payload::Raw(l) if l.format() == PixelFormat::I420 && l.width() == 4
            ));
        }
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Frame(BadFrame::Truncated))));
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Ended)));
        assert_eq!((pipe.counters().frames, pipe.counters().truncated), (2, 1));
    }

    #[test]
    fn padding_of_rows_is_part_of_each_frame() {
        let mut config = config(written(&[]).path(), PipeFormat::Nv12);
        config.stride = 16;
        assert_eq!(config.raw_frame(PixelFormat::Nv12).unwrap().1, 48);
        assert_eq!(config.raw_frame(PixelFormat::I420).unwrap().1, 48);
        assert_eq!(config.raw_frame(PixelFormat::Yuyv).unwrap().1, 32);
        config.stride = 3;
        let mut out = Vec::new();
        config.problems(&mut out);
        assert_eq!(out[0].key, "source.pipe.stride");
    }

    #[test]
    fn a_fifo_that_delivers_nothing_times_out_and_a_second_writer_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut pipe = Pipe::open(&config(&path, PipeFormat::Grey), Clock::default()).unwrap();
        let mut captured = Captured::default();
        let before = Instant::now();
        assert!(matches!(
            pipe.next(&mut captured),
            Err(SourceError::Lost { reason, .. }) if reason.contains("nobody writes")
        ));
        assert!(before.elapsed() < PATIENCE * 3);
        // A writer who is silent is one.
        let silent = OpenOptions::new().write(true).open(&path).unwrap();
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Timeout)));
        assert_eq!(pipe.counters().timeouts, 2);
        drop(silent);
        let _ = pipe.next(&mut captured);

        for round in 1..=2u8 {
            // The reader is there, so opening does not block, and 11 bytes fit a pipe's buffer.
            let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
            writer.write_all(&[round; 11]).unwrap();
            drop(writer);
            pipe.next(&mut captured).unwrap();
            assert_eq!(captured.bytes, [round; 8]);
            assert!(matches!(
                pipe.next(&mut captured),
                Err(SourceError::Frame(BadFrame::Truncated))
            ));
            assert_eq!(pipe.counters().reopened, u64::from(round) + 1);
        }
    }

    #[test]
    fn endless_bytes_that_begin_no_frame_are_damage_and_half_a_frame_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut pipe = Pipe::open(&config(&path, PipeFormat::Mjpeg), Clock::default()).unwrap();
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        let mut captured = Captured::default();
        writer.write_all(&[0x55; 4096]).unwrap();
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Frame(BadFrame::OutOfStep))));
        let jpeg = samples::colour(32, 24);
        writer.write_all(&jpeg[..300]).unwrap();
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Timeout)));
        // The writer dies in the middle of it.
        drop(writer);
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Frame(BadFrame::Truncated))));
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Lost { .. })));
        let counters = pipe.counters();
        assert_eq!((counters.out_of_step, counters.truncated, counters.frames), (1, 1, 0));
    }

    #[test]
    fn a_fifo_that_was_removed_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        let make = || assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        make();
        let mut pipe = Pipe::open(&config(&path, PipeFormat::Grey), Clock::default()).unwrap();
        let mut captured = Captured::default();
        drop(OpenOptions::new().write(true).open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(pipe.next(&mut captured).is_err());
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Lost { .. })));
        make();
        pipe.revive().unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().write_all(&[3; 8]).unwrap();
        pipe.next(&mut captured).unwrap();
        assert_eq!(captured.bytes, [3; 8]);
    }

    #[test]
    fn a_stream_of_a_kind_that_is_not_read_says_so_once_and_is_over() {
        let file = written(b"YUV4MPEG2 W4 H4 C444\nFRAME\n0123456789");
        let mut pipe = Pipe::open(&config(file.path(), PipeFormat::Y4m), Clock::default()).unwrap();
        let mut captured = Captured::default();
        assert!(matches!(
            pipe.next(&mut captured),
            Err(SourceError::Configuration { what, .. }) if what.contains("C444")
        ));
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Ended)));
    }

    #[test]
    fn a_frame_that_arrives_in_pieces_survives_the_timeout_between_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut pipe = Pipe::open(&config(&path, PipeFormat::Mjpeg), Clock::default()).unwrap();
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        let jpeg = samples::colour(32, 24);
        let mut captured = Captured::default();
        writer.write_all(&jpeg[..300]).unwrap();
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Timeout)));
        writer.write_all(&jpeg[300..]).unwrap();
        pipe.next(&mut captured).unwrap();
        assert_eq!(captured.bytes, jpeg);
    }

    #[test]
    fn pictures_without_end_markers_come_out_to_the_last_one_and_a_file_is_recorded() {
        let jpeg = samples::colour(32, 24);
        let bare = &jpeg[..jpeg.len() - 2];
        let file = written(&[bare, bare, bare].concat());
        let config = config(file.path(), PipeFormat::Mjpeg);
        let mut pipe = Pipe::open(&config, Clock::default()).unwrap();
        let mut captured = Captured::default();
        for _ in 0..3 {
            pipe.next(&mut captured).unwrap();
            assert_eq!((&*captured.bytes, captured.pace), (bare, Pace::Recorded));
        }
        assert!(matches!(pipe.next(&mut captured), Err(SourceError::Ended)));
        assert_eq!(pipe.counters().damaged(), 0);
    }

    #[test]
    fn a_path_that_cannot_be_read_comes_with_its_remedy() {
        for (path, part) in [("/nonexistent/fifo", "mkfifo"), ("/tmp", "images")] {
            match Pipe::open(&config(path, PipeFormat::Grey), Clock::default()) {
                Err(SourceError::Configuration { remedy, .. }) => {
                    assert!(remedy.contains(part), "{remedy}")
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
