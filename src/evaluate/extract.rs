//! From photographs to templates, on all cores, in memory only: nothing is written to disk, pixels
//! and faces are wiped.
//!
//! A photograph stands for one person. Where the detector finds several faces, one that is large
//! and near the centre counts (see [`crate::vision::photographs::chosen`]). Each photograph ends in
//! one of three ways: a template; a *failure to acquire* (no face, or one that cannot be used),
//! which is a finding about the system and counted as one; or *left out* (an unreadable file),
//! which is a finding about the data.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::cover::Cover;
use super::left_out::{LeftOut, Omission};
use super::protocol::folder::{Person, shown};
use super::statistics::interval::Rate;
use super::work::spread;
use super::{Context, EvaluateError};
use crate::frame::{Frame, Layout, PixelFormat, Pixels, Range, Visitor};
use crate::source::Photograph;
use crate::template::Template;
use crate::vision::photographs::FaceReader;
use crate::vision::{Models, TooPoor, VisionConfig, VisionError};

/// How photographs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Settings {
    /// Long side of the detector's canvas in pixels; smaller photographs are not stretched.
    pub long_side: usize,
    /// Least detector score of a face, 0 to 1.
    pub min_score: f32,
    /// Black border added on each side before detection, as a share of the long side: for chips
    /// cropped to the face.
    pub pad: f32,
    /// Painted over each face before it is looked at, where anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cover: Option<Cover>,
    /// Refuse faces that the quality gate refuses, instead of only counting them.
    pub gate: bool,
    /// Threads.
    #[serde(skip)]
    pub threads: usize,
}

impl Settings {
    /// How a device would look at them.
    pub fn vision(&self) -> VisionConfig {
        let Self { long_side, min_score, .. } = *self;
        VisionConfig { long_side, min_score, ..VisionConfig::default() }
    }
}

/// Why a photograph gave no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAcquired {
    /// Not a picture: the data's fault.
    Unreadable(String),
    /// Nothing there that can be compared: a failure to acquire, under its reason.
    Acquire(&'static str),
    /// The program's own fault, under its message.
    Internal(String),
}

/// A face, ready to be compared.
#[derive(Debug)]
pub struct Acquired {
    /// The template.
    pub template: Template,
    /// Why the quality gate would refuse it.
    pub refused: Option<&'static str>,
}

/// Turns one photograph after another into templates.
pub trait Acquire {
    /// The template of the person that the file's `bytes` show.
    ///
    /// # Errors
    /// [`NotAcquired`].
    fn acquire(&mut self, bytes: &[u8]) -> Result<Acquired, NotAcquired>;
}

/// Makes [`Acquire`]s, one a thread.
pub trait AcquirerFactory: Sync {
    /// One thread's.
    type Acquirer: Acquire;
    /// Makes one.
    ///
    /// # Errors
    /// Where a network does not load.
    fn acquirer(&self) -> Result<Self::Acquirer, VisionError>;
}

/// The models under test, as the device runs them.
pub struct Chain<'a> {
    /// Detector and embedder.
    pub models: &'a Models,
    /// How photographs are looked at.
    pub settings: Settings,
}

/// One thread's chain.
pub struct ChainAcquirer {
    reader: FaceReader,
    pad: f32,
    cover: Option<Cover>,
}

impl AcquirerFactory for Chain<'_> {
    type Acquirer = ChainAcquirer;

    fn acquirer(&self) -> Result<ChainAcquirer, VisionError> {
        let Settings { pad, cover, .. } = self.settings;
        let reader = FaceReader::with(self.models, &self.settings.vision())?;
        Ok(ChainAcquirer { reader, pad, cover })
    }
}

impl Acquire for ChainAcquirer {
    fn acquire(&mut self, bytes: &[u8]) -> Result<Acquired, NotAcquired> {
        let photograph =
            Photograph::decode(bytes).map_err(|e| NotAcquired::Unreadable(e.to_string()))?;
        if self.pad > 0.0 || self.cover.is_some() {
            let (layout, mut pixels) = padded(&photograph.frame(), self.pad)
                .map_err(|e| NotAcquired::Unreadable(e.to_string()))?;
            if let Some(cover) = self.cover {
                let seen = self.reader.subject(&framed(layout, &pixels)?).map_err(internal)?;
                let seen = seen.ok_or(NotAcquired::Acquire("no face found to be covered"))?;
                cover.paint(&mut pixels, layout.width() as usize, &seen.face.landmarks);
            }
            self.look_at(&framed(layout, &pixels)?)
        } else {
            self.look_at(&photograph.frame())
        }
    }
}

impl ChainAcquirer {
    fn look_at(&mut self, frame: &Frame<'_>) -> Result<Acquired, NotAcquired> {
        let seen = self
            .reader
            .subject(frame)
            .map_err(internal)?
            .ok_or(NotAcquired::Acquire("no face found"))?;
        if seen.verdict == Err(TooPoor::Landmarks) {
            return Err(NotAcquired::Acquire("landmarks that cannot be aligned"));
        }
        match self.reader.embed(frame, &seen) {
            Ok(embedding) => Ok(Acquired {
                template: embedding.quantize(),
                refused: seen.verdict.err().map(TooPoor::name),
            }),
            // A direction that is none is a finding about the embedder on this face.
            Err(VisionError::Embedding(_)) => Err(NotAcquired::Acquire("embedding that is none")),
            Err(e) => Err(internal(e)),
        }
    }
}

fn framed(layout: Layout, pixels: &[u8]) -> Result<Frame<'_>, NotAcquired> {
    Frame::new(layout, pixels).map_err(|e| NotAcquired::Internal(e.to_string()))
}

fn internal(error: VisionError) -> NotAcquired {
    NotAcquired::Internal(error.to_string())
}

struct IntoRgb {
    width: usize,
    height: usize,
    border: usize,
}

impl Visitor for IntoRgb {
    type Output = Zeroizing<Vec<u8>>;

    fn visit<P: Pixels>(self, pixels: &P) -> Self::Output {
        let stride = (self.width + 2 * self.border) * 3;
        let mut rgb = Zeroizing::new(vec![0; stride * (self.height + 2 * self.border)]);
        for y in 0..self.height {
            let start = (y + self.border) * stride + self.border * 3;
            for (x, out) in rgb[start..start + self.width * 3].chunks_exact_mut(3).enumerate() {
                out.copy_from_slice(&pixels.rgb(x, y));
            }
        }
        rgb
    }
}

/// The picture as RGB with a black border.
pub fn padded(
    frame: &Frame<'_>,
    share: f32,
) -> Result<(Layout, Zeroizing<Vec<u8>>), crate::frame::FrameError> {
    let (width, height) = (frame.width(), frame.height());
    let border = (width.max(height) as f32 * share).round() as usize;
    let side = |s: usize| u32::try_from(s + 2 * border).unwrap_or(u32::MAX);
    let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, side(width), side(height))?;
    Ok((layout, frame.read(IntoRgb { width, height, border })))
}

/// How many photographs gave a template, and why the others did not.
#[derive(Debug, Clone, Serialize)]
pub struct Acquisition {
    /// Photographs that could be read.
    pub photographs: u64,
    /// Those without a usable face.
    pub failure_to_acquire: Rate,
    /// Those that enrolment would turn away: without a usable face, or with one that the quality
    /// gate refuses.
    pub failure_to_enrol: Rate,
    /// How many for each reason.
    pub reasons: BTreeMap<&'static str, usize>,
    /// Each of them.
    pub failures: Vec<Omission>,
    /// How many the quality gate refuses (counted, but used all the same, unless the gate is on).
    pub refused_by_gate: BTreeMap<&'static str, usize>,
}

/// What became of each file, in the order in which they were given.
#[derive(Debug)]
pub struct Photographs {
    /// The template of each file; `None` for a failure to acquire and what was left out.
    pub templates: Vec<Option<Template>>,
    /// Whether it could be read.
    pub readable: Vec<bool>,
    /// The first file with the same bytes, if that is another.
    pub copy_of: Vec<Option<usize>>,
    /// SHA-256 of each file; `None` where it cannot be read.
    pub digests: Vec<Option<[u8; 32]>>,
    /// The counts.
    pub acquisition: Acquisition,
}

/// Looks at every file once. Unreadable ones go to `left_out`.
///
/// # Errors
/// Where a network does not load.
pub fn photographs<L: AcquirerFactory>(
    factory: &L,
    root: &Path,
    files: &[PathBuf],
    run: &mut Context<'_>,
) -> Result<Photographs, EvaluateError> {
    type Looked = (Option<[u8; 32]>, Result<Acquired, NotAcquired>);
    let look = |worker: &mut L::Acquirer, file: &PathBuf| -> Looked {
        match std::fs::read(file).map(Zeroizing::new) {
            Ok(bytes) => (Some(Sha256::digest(&*bytes).into()), worker.acquire(&bytes)),
            Err(e) => (None, Err(NotAcquired::Unreadable(e.to_string()))),
        }
    };
    let broken = |_: &PathBuf| {
        (None, Err(NotAcquired::Internal("it made the program panic; please report it".into())))
    };
    let looked =
        spread(files, run.settings.threads, run.progress, || factory.acquirer(), look, broken)?;

    let mut first_with: HashMap<[u8; 32], usize> = HashMap::new();
    let mut all = Photographs {
        templates: Vec::with_capacity(files.len()),
        readable: Vec::with_capacity(files.len()),
        copy_of: Vec::with_capacity(files.len()),
        digests: Vec::with_capacity(files.len()),
        acquisition: Acquisition {
            photographs: 0,
            failure_to_acquire: Rate::new(0, 0),
            failure_to_enrol: Rate::new(0, 0),
            reasons: BTreeMap::new(),
            failures: Vec::new(),
            refused_by_gate: BTreeMap::new(),
        },
    };
    let a = &mut all.acquisition;
    for (at, (digest, outcome)) in looked.into_iter().enumerate() {
        let copy_of = digest.and_then(|d| match first_with.entry(d) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(free) => {
                free.insert(at);
                None
            }
        });
        let what = shown(root, &files[at]);
        let mut readable = true;
        let failed = match outcome {
            Ok(Acquired { template, refused }) => {
                if let Some(reason) = refused {
                    *a.refused_by_gate.entry(reason).or_insert(0) += 1;
                }
                match refused.filter(|_| run.settings.gate) {
                    Some(reason) => Err((reason, String::new())),
                    None => Ok(template),
                }
            }
            Err(NotAcquired::Acquire(reason)) => Err((reason, String::new())),
            Err(NotAcquired::Internal(e)) => {
                readable = false;
                run.left_out.add(&what, "internal error", e);
                Err(("", String::new()))
            }
            Err(NotAcquired::Unreadable(e)) => {
                readable = false;
                run.left_out.add(&what, "unreadable photograph", e);
                Err(("", String::new()))
            }
        };
        a.photographs += u64::from(readable);
        if let (true, Err((reason, detail))) = (readable, &failed) {
            *a.reasons.entry(reason).or_insert(0) += 1;
            a.failures.push(Omission { what, reason, detail: detail.clone() });
        }
        all.templates.push(failed.ok());
        all.readable.push(readable);
        all.copy_of.push(copy_of);
        all.digests.push(digest);
    }
    a.failure_to_acquire = Rate::new(a.failures.len() as u64, a.photographs);
    // With the gate on, what it refuses is among the failures already.
    let refused = if run.settings.gate { 0 } else { a.refused_by_gate.values().sum::<usize>() };
    a.failure_to_enrol = Rate::new((a.failures.len() + refused) as u64, a.photographs);
    Ok(all)
}

/// Somebody whose photographs were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Name of the folder, or the word in the list.
    pub name: String,
    /// Places of their readable photographs, copies of others left out. With or without a template.
    pub photographs: Vec<usize>,
}

/// The people of a folder with what can be used of each. Copies go to `left_out`, as do people of
/// whom nothing is left.
pub fn subjects(
    root: &Path,
    files: &[PathBuf],
    people: &[Person],
    looked: &Photographs,
    left_out: &mut LeftOut,
) -> Vec<Subject> {
    let mut at = 0;
    let mut subjects = Vec::with_capacity(people.len());
    for person in people {
        let places = at..at + person.photographs.len();
        at = places.end;
        let mut photographs = Vec::with_capacity(places.len());
        for place in places.filter(|p| looked.readable[*p]) {
            match looked.copy_of[place] {
                Some(first) => left_out.add(
                    shown(root, &files[place]),
                    "copy of another photograph",
                    format!("the same bytes as {}", shown(root, &files[first])),
                ),
                None => photographs.push(place),
            }
        }
        if photographs.is_empty() {
            left_out.add(&person.name, "person without a usable photograph", "");
        } else {
            subjects.push(Subject { name: person.name.clone(), photographs });
        }
    }
    subjects
}

#[cfg(test)]
pub(super) mod fake {
    //! A laboratory for tests: a "photograph" is a line of text, `face PERSON PHOTOGRAPH SPREAD`.
    //! Templates of one person lie around a direction of their own; SPREAD (in hundredths) says how
    //! far off.

    use super::*;
    use crate::evaluate::protocol::draw::Draw;
    use crate::template::Embedding;

    pub struct FakeFactory;
    pub struct FakeAcquirer;

    impl AcquirerFactory for FakeFactory {
        type Acquirer = FakeAcquirer;
        fn acquirer(&self) -> Result<FakeAcquirer, VisionError> {
            Ok(FakeAcquirer)
        }
    }

    fn direction(seed: u64) -> Vec<f32> {
        let mut draw = Draw::new(seed, 0);
        (0..64)
            .map(|_| (0..6).map(|_| draw.below(1000) as f32 - 499.5).sum::<f32>() / 700.0)
            .collect()
    }

    impl Acquire for FakeAcquirer {
        fn acquire(&mut self, bytes: &[u8]) -> Result<Acquired, NotAcquired> {
            let text = String::from_utf8_lossy(bytes);
            let fields: Vec<&str> = text.split_whitespace().collect();
            match fields[..] {
                ["face", person, photograph, spread] => {
                    let [person, photograph, spread] =
                        [person, photograph, spread].map(|n| n.parse::<u64>().unwrap());
                    let own = direction(person);
                    let noise = direction(1_000_000 + person * 1000 + photograph);
                    let mixed: Vec<f32> =
                        own.iter().zip(noise).map(|(a, b)| a + b * spread as f32 / 100.0).collect();
                    let template = Embedding::normalised(&mixed).unwrap().quantize();
                    Ok(Acquired { template, refused: (spread > 150).then_some("blurred") })
                }
                ["empty"] => Err(NotAcquired::Acquire("no face found")),
                ["bomb"] => std::panic::panic_any("hostile"),
                _ => Err(NotAcquired::Unreadable("neither JPEG nor PNG".into())),
            }
        }
    }

    pub const SETTINGS: Settings =
        Settings { long_side: 640, min_score: 0.5, pad: 0.0, cover: None, gate: false, threads: 2 };

    /// What `work` gives, with what it left out and the lines that it recorded.
    pub fn with_run<R>(
        settings: &Settings,
        work: impl FnOnce(&mut Context<'_>) -> R,
    ) -> (R, LeftOut, Vec<serde_json::Value>) {
        #[derive(Clone, Default)]
        struct Lines(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.borrow_mut().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let mut left_out = LeftOut::default();
        let mut records = crate::evaluate::records::Records::to(lines.clone());
        let progress = indicatif::ProgressBar::hidden();
        let result = work(&mut Context {
            settings,
            progress: &progress,
            left_out: &mut left_out,
            records: &mut records,
        });
        records.finish().unwrap();
        let text = String::from_utf8(lines.0.take()).unwrap();
        (result, left_out, text.lines().map(|l| serde_json::from_str(l).unwrap()).collect())
    }

    /// Writes `people` people with as many photographs each as `photographs` says, in the layout
    /// and naming of LFW.
    pub fn lfw(root: &Path, people: usize, photographs: impl Fn(usize) -> usize, spread: u32) {
        for person in 0..people {
            let name = format!("P{person:03}");
            std::fs::create_dir_all(root.join(&name)).unwrap();
            for i in 1..=photographs(person) {
                let path = root.join(&name).join(format!("{name}_{i:04}.jpg"));
                std::fs::write(path, format!("face {person} {i} {spread}")).unwrap();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_surrounds_the_picture_on_all_sides() {
        let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, 2, 1).unwrap();
        let frame = Frame::new(layout, &[1, 2, 3, 4, 5, 6]).unwrap();
        let (layout, rgb) = padded(&frame, 0.5).unwrap();
        assert_eq!((layout.width(), layout.height()), (4, 3));
        assert_eq!(rgb[(4 + 1) * 3..(4 + 3) * 3], [1, 2, 3, 4, 5, 6]);
        assert_eq!(rgb.iter().map(|v| u32::from(*v)).sum::<u32>(), 21);
    }

    #[test]
    fn every_photograph_ends_as_a_template_a_failure_or_on_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fake::lfw(root, 2, |_| 3, 30);
        std::fs::write(root.join("P000/P000_0004.jpg"), "empty").unwrap();
        std::fs::write(root.join("P000/P000_0005.jpg"), "rubbish").unwrap();
        std::fs::write(root.join("P001/P001_0004.jpg"), "face 1 2 30").unwrap();
        std::fs::write(root.join("P001/P001_0005.jpg"), "bomb").unwrap();
        std::fs::write(root.join("P001/P001_0006.jpg"), "face 1 9 200").unwrap();
        std::fs::create_dir(root.join("P002")).unwrap();
        std::fs::write(root.join("P002/P002_0001.jpg"), "").unwrap();
        let mut left_out = LeftOut::default();
        let people = super::super::protocol::folder::read(root, &mut left_out).unwrap();
        let files: Vec<PathBuf> = people.iter().flat_map(|p| p.photographs.clone()).collect();
        for gate in [false, true] {
            let settings = Settings { gate, ..fake::SETTINGS };
            let (looked, mut left_out, _) = fake::with_run(&settings, |run| {
                photographs(&fake::FakeFactory, root, &files, run).unwrap()
            });
            let subjects = subjects(root, &files, &people, &looked, &mut left_out);
            let a = &looked.acquisition;
            assert_eq!(a.photographs, 9);
            assert_eq!(a.reasons.get("no face found"), Some(&1));
            assert_eq!(a.reasons.get("blurred"), gate.then_some(&1));
            assert_eq!(a.refused_by_gate["blurred"], 1);
            assert_eq!(a.failure_to_acquire.count, 1 + u64::from(gate));
            assert_eq!(a.failure_to_enrol.count, 2);
            assert_eq!(
                left_out.by_reason().into_iter().collect::<Vec<_>>(),
                [
                    ("copy of another photograph", 1),
                    ("internal error", 1),
                    ("person without a usable photograph", 1),
                    ("unreadable photograph", 2),
                ]
            );
            assert_eq!(subjects.iter().map(|s| s.photographs.len()).collect::<Vec<_>>(), [4, 4]);
        }
    }
}
