//! JPEG and PNG files played as frames: for trials, demonstrations and tests on a machine without a
//! camera.
//!
//! Promises:
//! * Files come in the order of their paths; folders are searched through.
//! * Each picture is shown for `hold` frames, so that a decision that needs several views can be
//!   reached.
//! * A file that cannot be read is counted, logged once a round, and never stops the run.
//! * A JPEG goes out as it is, unless Exif says that it is rotated; everything else as RGB.
//!
//! Not promised:
//! * That a JPEG decodes: the decoder finds that out.
//! * That files added while it runs are seen before the next round.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::warn;
use serde::{Deserialize, Serialize};

use super::photo::{self, Photograph, PhotographError};
use super::{
    BadFrame, Captured, PATIENCE, Pace, Payload, Source, SourceCounters, SourceError, problem,
};
use crate::clock::{Clock, Now};
use crate::problem::Problem;

/// Most files of one folder tree; more are left out with a warning.
const MAX_FILES: usize = 1_000_000;

/// Deepest folder that is searched, so that a loop of mounts ends.
const MAX_DEPTH: usize = 32;

/// The rate that dates frames which are handed out as fast as they are taken.
const UNPACED_FPS: f64 = 5.0;

/// `[source.images]`: files played as frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// A folder (searched through, sorted by path) or one file.
    pub path: PathBuf,
    /// Further folders or files, played after `path` in this order.
    pub files: Vec<PathBuf>,
    /// Frames a second; 0 plays as fast as the frames are taken.
    pub fps: f32,
    /// Rounds through all files; 0 without end.
    pub repeat: u32,
    /// Frames for which each picture is shown.
    pub hold: u32,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), files: Vec::new(), fps: 5.0, repeat: 1, hold: 5 }
    }
}

impl ImagesConfig {
    pub(super) fn problems(&self, out: &mut Vec<Problem>) {
        if self.path.as_os_str().is_empty() && self.files.is_empty() {
            out.push(problem(
                setting!(source.images.path),
                "",
                "Write the folder that holds the JPEG and PNG files.",
            ));
        }
        if !(self.fps.is_finite() && (0.0..=1000.0).contains(&self.fps)) {
            out.push(problem(
                setting!(source.images.fps),
                self.fps,
                "Write 0 (as fast as possible) to 1000.",
            ));
        }
        if self.hold == 0 {
            out.push(problem(setting!(source.images.hold), 0, "Write 1 or more frames a picture."));
        }
    }

    fn roots(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.path)
            .chain(&self.files)
            .map(PathBuf::as_path)
            .filter(|p| !p.as_os_str().is_empty())
    }
}

/// Which file is shown next. Sans-IO.
#[derive(Debug)]
struct Playlist {
    files: usize,
    repeat: u32,
    hold: u32,
    round: u32,
    file: usize,
    shown: u32,
    /// A picture was shown in this round.
    any: bool,
}

impl Playlist {
    /// The file to show, or `None` at the end: after the last round, or after a round that showed
    /// nothing.
    fn current(&self) -> Option<usize> {
        (self.file < self.files && (self.repeat == 0 || self.round < self.repeat))
            .then_some(self.file)
    }

    fn shown(&mut self) {
        self.any = true;
        self.shown += 1;
        if self.shown >= self.hold {
            self.skip();
        }
    }

    fn skip(&mut self) {
        self.shown = 0;
        self.file += 1;
        if self.file == self.files && self.any {
            self.file = 0;
            self.any = false;
            // Counting stops at the top rather than wrapping to a new beginning; an endless run
            // does not look at it.
            self.round = self.round.saturating_add(1);
        }
    }
}

/// A list of files.
#[derive(Debug)]
pub struct Images {
    label: String,
    files: Vec<PathBuf>,
    playlist: Playlist,
    /// Between frames as they are handed out; zero for none.
    period: Duration,
    /// Between frames by their dates.
    spacing: Duration,
    start: Now,
    due: Instant,
    /// The picture that is held, as it is handed out.
    held: Captured,
    /// Which file `held` is.
    held_file: Option<usize>,
    counters: SourceCounters,
    sequence: u64,
}

impl Images {
    /// Lists the files. They are read when their turn comes.
    ///
    /// # Errors
    /// [`SourceError::Configuration`] where a path does not exist or there is no picture at all.
    pub fn open(config: &ImagesConfig, clock: Clock) -> Result<Self, SourceError> {
        let mut files = Vec::new();
        for root in config.roots() {
            collect(root, &mut files)?;
        }
        let label = config.roots().next().unwrap_or(Path::new("")).display().to_string();
        if files.is_empty() {
            return Err(SourceError::configuration(
                format!("no .jpg, .jpeg or .png file in {label}"),
                concat!("correct ", setting!(source.images.path), " or put photographs there"),
            ));
        }
        let playlist = Playlist {
            files: files.len(),
            repeat: config.repeat,
            hold: config.hold.max(1),
            round: 0,
            file: 0,
            shown: 0,
            any: false,
        };
        let fps = f64::from(config.fps);
        let spacing = |fps: f64| Duration::try_from_secs_f64(1.0 / fps).unwrap_or(PATIENCE);
        Ok(Self {
            label,
            files,
            playlist,
            period: if fps > 0.0 { spacing(fps) } else { Duration::ZERO },
            spacing: spacing(if fps > 0.0 { fps } else { UNPACED_FPS }),
            start: clock.now(),
            due: Instant::now(),
            held: Captured::default(),
            held_file: None,
            counters: SourceCounters::default(),
            sequence: 0,
        })
    }

    fn load(&mut self, index: usize) -> Result<(), PhotographError> {
        let bytes = &mut self.held.bytes;
        photo::read_file(&self.files[index], bytes)?;
        if photo::is_upright_jpeg(bytes) {
            self.held.payload = Payload::Jpeg { width: 0, height: 0 };
        } else {
            let (layout, pixels) = Photograph::decode(bytes)?.into_parts();
            self.held.payload = Payload::Raw(layout);
            self.held.bytes = pixels;
        }
        Ok(())
    }

    /// Waits for the frame's turn; says whether it has come.
    fn wait(&mut self) -> bool {
        let now = Instant::now();
        let left = self.due.saturating_duration_since(now);
        std::thread::sleep(left.min(PATIENCE));
        if left > PATIENCE {
            return false;
        }
        // Late frames are not caught up with.
        self.due = self.due.max(now.checked_sub(self.period).unwrap_or(now)) + self.period;
        true
    }
}

impl Source for Images {
    fn next(&mut self, into: &mut Captured) -> Result<(), SourceError> {
        let index = self.playlist.current().ok_or(SourceError::Ended)?;
        if self.held_file != Some(index) {
            if let Err(e) = self.load(index) {
                warn!("Picture left out: file={} error={e}.", self.files[index].display());
                self.held_file = None;
                self.playlist.skip();
                self.counters.count(BadFrame::Unreadable);
                return Err(BadFrame::Unreadable.into());
            }
            self.held_file = Some(index);
        }
        if !self.wait() {
            self.counters.timeouts += 1;
            return Err(SourceError::Timeout);
        }
        into.payload = self.held.payload;
        into.bytes.clear();
        into.bytes.extend_from_slice(&self.held.bytes);
        into.sequence = self.sequence;
        into.discontinuity = self.playlist.shown == 0;
        into.pace = Pace::Recorded;
        let elapsed = self.spacing.saturating_mul(u32::try_from(self.sequence).unwrap_or(u32::MAX));
        into.at =
            Now { monotonic: self.start.monotonic + elapsed, wall: self.start.wall + elapsed };
        self.sequence += 1;
        self.counters.frames += 1;
        self.playlist.shown();
        Ok(())
    }

    fn describe(&self) -> String {
        format!(
            "images {} ({} files, each for {} frames)",
            self.label,
            self.files.len(),
            self.playlist.hold
        )
    }

    fn counters(&self) -> SourceCounters {
        self.counters
    }
}

/// Adds `root` or the pictures below it, sorted. A file that is named itself counts, whatever its
/// extension.
fn collect(root: &Path, out: &mut Vec<PathBuf>) -> Result<(), SourceError> {
    let refuse = |path: &Path, e: std::io::Error| {
        SourceError::configuration(
            format!("cannot read {}: {e}", path.display()),
            concat!("correct ", setting!(source.images.path), " or the permissions"),
        )
    };
    if !std::fs::metadata(root).map_err(|e| refuse(root, e))?.is_dir() {
        out.push(root.to_owned());
        return Ok(());
    }
    let from = out.len();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if depth == 0 => return Err(refuse(&folder, e)),
            Err(e) => {
                warn!("Folder left out: path={} error={e}.", folder.display());
                continue;
            }
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if out.len() == MAX_FILES {
                warn!(
                    "Too many pictures, the rest is left out: limit={MAX_FILES} path={}.",
                    root.display()
                );
                break;
            }
            // Links are followed: to files at once, to folders down to the depth limit.
            if path.is_dir() {
                if depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                }
            } else if is_picture(&path) {
                out.push(path);
            }
        }
    }
    out[from..].sort();
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| ["jpg", "jpeg", "png"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::jpeg::samples;
    use super::*;
    use crate::frame::PixelFormat;

    fn config(path: &Path) -> ImagesConfig {
        ImagesConfig { path: path.to_owned(), fps: 0.0, hold: 1, ..ImagesConfig::default() }
    }

    /// What a whole run gives: first byte counts of frames, and how it ended.
    fn play(images: &mut Images) -> Vec<Result<(usize, Payload), BadFrame>> {
        let mut captured = Captured::default();
        let mut out = Vec::new();
        loop {
            match images.next(&mut captured) {
                Ok(()) => out.push(Ok((captured.bytes.len(), captured.payload))),
                Err(SourceError::Frame(bad)) => out.push(Err(bad)),
                Err(SourceError::Ended) => return out,
                Err(other) => panic!("{other}"),
            }
            assert!(out.len() < 1000);
        }
    }

    #[test]
    fn files_come_sorted_held_and_repeated_and_a_bad_one_is_left_out_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        let (first, second) = (samples::colour(20, 10), samples::colour(40, 30));
        fs::write(folder.path().join("b/2.JPG"), &second).unwrap();
        fs::write(folder.path().join("a.jpeg"), &first).unwrap();
        fs::write(folder.path().join("broken.png"), b"nothing").unwrap();
        fs::write(folder.path().join("notes.txt"), b"left alone").unwrap();
        let config = ImagesConfig { hold: 2, repeat: 2, ..config(folder.path()) };
        let mut images = Images::open(&config, Clock::default()).unwrap();
        let jpeg = |bytes: &Vec<u8>| Ok((bytes.len(), Payload::Jpeg { width: 0, height: 0 }));
        let round =
            [jpeg(&first), jpeg(&first), jpeg(&second), jpeg(&second), Err(BadFrame::Unreadable)];
        assert_eq!(play(&mut images), [round, round].concat());
        let counters = images.counters();
        assert_eq!((counters.frames, counters.unreadable), (8, 2));
    }

    #[test]
    fn a_png_and_a_picture_on_its_side_go_out_as_pixels() {
        let folder = tempfile::tempdir().unwrap();
        let pixels = image::RgbImage::from_raw(6, 4, samples::rgb(6, 4)).unwrap();
        pixels.save(folder.path().join("1.png")).unwrap();
        let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        fs::write(
            folder.path().join("2.jpg"),
            samples::with_segment(&samples::colour(6, 4), 0xE1, exif),
        )
        .unwrap();
        let got = play(&mut Images::open(&config(folder.path()), Clock::default()).unwrap());
        assert!(matches!(
            got[0],
            Ok((72, Payload::Raw(l))) if l.format() == PixelFormat::Rgb8 && l.width() == 6
        ));
        assert!(matches!(
            got[1],
            Ok((72, Payload::Raw(l))) if l.format() == PixelFormat::Ycc444 && l.width() == 4
        ));
    }

    #[test]
    fn a_folder_without_pictures_is_a_mistake_and_one_with_only_bad_ones_ends() {
        let folder = tempfile::tempdir().unwrap();
        let open =
            || Images::open(&ImagesConfig { repeat: 0, ..config(folder.path()) }, Clock::default());
        assert!(matches!(open(), Err(SourceError::Configuration { .. })));
        fs::write(folder.path().join("x.png"), b"").unwrap();
        // Without end, but a round that showed nothing is the last: the processor is not kept busy
        // with it.
        assert_eq!(play(&mut open().unwrap()), [Err(BadFrame::Unreadable)]);
        assert!(Images::open(&config(Path::new("/nonexistent")), Clock::default()).is_err());
    }

    #[test]
    fn frames_are_paced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.jpg"), samples::colour(8, 8)).unwrap();
        let config = ImagesConfig { fps: 50.0, hold: 5, ..config(folder.path()) };
        let mut images = Images::open(&config, Clock::default()).unwrap();
        let before = Instant::now();
        assert_eq!(play(&mut images).len(), 5);
        // There are four periods between five frames.
        assert!(before.elapsed() >= Duration::from_millis(80));
    }
}
