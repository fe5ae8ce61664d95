//! The work of the vision thread: a captured picture in, candidates out.
//!
//! The pipeline joins decoder, [`Analyzer`], search and [`Decider`]. It owns no thread, no clock
//! and no socket, so the daemon, the demo, the benchmark and the tests run the very same code.
//!
//! Promises: while no list is in force, or the list is outside its validity, nothing is detected,
//! embedded or compared. A probe is dropped, and thereby wiped, as soon as it has been searched; of
//! a view that supports no entry nothing is kept. What leaves is a [`Candidate`] about an entry of
//! the list, or a count. Of a live source the [`Schedule`] says which pictures are looked at.

use std::time::{Duration, Instant};

use image::ImageEncoder;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::cause::Cause;
use crate::clock::Now;
use crate::config::Config;
use crate::decision::candidate::{Compared, Decider, DecisionCounters, Finding, MAX_HITS};
use crate::decision::policy::{Blindness, Force};
use crate::delivery::event::{
    Candidate, Crop, EventId, Evidence, ListVersion, ModelDigests, QualityParts,
};
use crate::geometry::Rect;
use crate::source::{Captured, DecodeError, Decoder};
use crate::vision::{
    AlignedFace, Analyzer, FrameCounts, FramePlan, Models, Quality, Schedule, Sighting, Skip,
    SkipCounters, StageTimes, Thumbnail, TooPoor, VisionError,
};
use crate::watchlist::TopK;

/// What is kept of a view that supports an entry, until its track ends.
struct Kept {
    /// Absent where the configuration forbids crops: then none is kept in memory either.
    face: Option<AlignedFace>,
    quality: Quality,
    rect: Rect,
    frame: [u32; 2],
}

/// Why a picture was not analysed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Not a picture.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The networks failed on it.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

/// Counts since the start, by name.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PipelineCounters {
    /// Pictures taken over.
    pub frames: u64,
    /// Pictures that could not be decoded.
    pub undecodable: u64,
    /// Pictures not looked at because no list was in force.
    pub blind: u64,
    /// Pictures not looked at because the schedule left them out, by reason.
    pub skipped: SkipCounters,
    /// Pictures on which the networks failed.
    pub failed: u64,
    /// Crops that could not be encoded; their candidates went out without.
    pub crops_failed: u64,
    /// Sums over all analysed pictures.
    pub vision: VisionTotals,
    /// The decider's own.
    pub decision: DecisionCounters,
}

/// What the frames held, summed. Counts only: nothing here is about one person.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct VisionTotals {
    /// Tracks that have ended: how many faces passed, as far as the tracker could tell.
    pub tracks: u64,
    /// Faces found, each in every frame in which it was.
    pub faces: u64,
    /// Faces beyond what a frame may hold.
    pub beyond_capacity: u64,
    /// Faces for which no track was free.
    pub untracked: u64,
    /// Views turned away, by reason.
    pub too_poor: TooPoorTotals,
    /// Views embedded.
    pub embedded: u64,
    /// Good views beyond a frame's budget of embeddings.
    pub deferred: u64,
}

/// Views turned away, by [`TooPoor`] reason.
#[derive(Debug, Clone, Copy, Default)]
pub struct TooPoorTotals([u64; TooPoor::ALL.len()]);

impl Serialize for TooPoorTotals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(TooPoor::ALL.iter().map(|r| (r.name(), self.0[*r as usize])))
    }
}

impl VisionTotals {
    fn add(&mut self, frame: &FrameCounts) {
        self.faces += u64::from(frame.faces);
        self.beyond_capacity += u64::from(frame.beyond_capacity);
        self.untracked += u64::from(frame.untracked);
        for reason in TooPoor::ALL {
            self.too_poor.0[reason as usize] += u64::from(frame.too_poor.of(reason));
        }
        self.embedded += u64::from(frame.embedded);
        self.deferred += u64::from(frame.deferred);
    }
}

/// What a candidate says besides the evidence.
struct Labels {
    device: String,
    camera: String,
    models: ModelDigests,
    expiry: Duration,
    crop: bool,
    crop_quality: u8,
}

/// From captured pictures to candidates.
pub struct Pipeline {
    decoder: Decoder,
    analyzer: Analyzer,
    /// `None`: every picture is looked at.
    schedule: Option<Schedule>,
    // Its tracks are large and bounded; on the heap once instead of on every stack that it passes.
    decider: Box<Decider<Kept>>,
    force: Result<Force, Blindness>,
    /// Why the list in force may not be used just now, for reasons outside of it.
    held: Option<Blindness>,
    top: TopK,
    labels: Labels,
    counters: PipelineCounters,
    times: StageTimes,
}

impl Pipeline {
    /// A pipeline without a list: blind until [`Pipeline::enforce`].
    ///
    /// # Errors
    /// Where the networks cannot be loaded.
    pub fn new(config: &Config, models: &Models) -> Result<Self, VisionError> {
        Ok(Self {
            decoder: Decoder::new(config.source.max_pixels),
            analyzer: Analyzer::new(models, &config.vision)?,
            schedule: (config.vision.schedule.adaptive && config.source.is_live())
                .then(|| Schedule::new(config.vision.schedule)),
            decider: Box::new(Decider::new(config.decision.clone())),
            force: Err(Blindness::new(Cause::NoList, "no watch list was loaded")),
            held: None,
            top: TopK::new(MAX_HITS),
            labels: Labels {
                device: config.device.id.clone(),
                camera: config.device.camera.clone(),
                models: ModelDigests {
                    detector: models.manifest.detector.sha256.to_string(),
                    embedder: models.manifest.embedder.sha256.to_string(),
                },
                expiry: config.broker.event_expiry(),
                crop: config.event.crop,
                crop_quality: config.event.crop_quality,
            },
            counters: PipelineCounters::default(),
            times: StageTimes::default(),
        })
    }

    /// Puts a list in force, or none with the reason. Evidence gathered under the list before is
    /// forgotten.
    pub fn enforce(&mut self, force: Result<Force, Blindness>) {
        self.decider.reset();
        self.force = force;
    }

    /// Wipes one entry of the list in force and the evidence for it; false where there is no such
    /// entry any more.
    pub fn revoke(&mut self, reference: &str) -> bool {
        let Some(entry) = self.force.as_mut().ok().and_then(|force| force.revoke(reference)) else {
            return false;
        };
        self.decider.forget(entry);
        true
    }

    /// The list in force, or why there is none; validity at this moment is [`Pipeline::standing`].
    pub fn force(&self) -> Result<&Force, &Blindness> {
        self.force.as_ref()
    }

    /// Stops matching for a reason that lies outside the list, such as the clock, or lifts that
    /// again.
    pub fn hold(&mut self, reason: Option<Blindness>) {
        self.held = reason;
    }

    /// The board's temperature at `now`, where it is known, and whether it slows itself down.
    /// Returns how often the rate is halved because of it.
    pub fn warmth(&mut self, now: Now, celsius: Option<f32>, throttled: bool) -> u32 {
        let Some(schedule) = &mut self.schedule else { return 0 };
        schedule.warmth(now.monotonic, celsius, throttled);
        schedule.heat()
    }

    /// Whether faces are compared at `now`.
    ///
    /// # Errors
    /// Why not.
    pub fn standing(&self, now: Now) -> Result<(), Blindness> {
        permitted(&self.force, &self.held, now).map(|_| ())
    }

    /// Looks at one picture; `now` is the time of the decision. Candidates go to `out`.
    ///
    /// # Errors
    /// Where the picture cannot be decoded or the networks fail on it; it is counted, and the next
    /// one can be processed.
    pub fn process(
        &mut self,
        captured: &Captured,
        now: Now,
        out: &mut dyn FnMut(Candidate),
    ) -> Result<(), PipelineError> {
        self.counters.frames += 1;
        let Self {
            decoder,
            analyzer,
            schedule,
            decider,
            force,
            held,
            top,
            labels,
            counters,
            times,
        } = self;
        if permitted(force, held, now).is_err() {
            counters.blind += 1;
            // What was seen before the list lapsed must not count as evidence when it is back.
            analyzer.end_all(&mut |_| {});
            decider.reset();
            if let Some(schedule) = schedule {
                schedule.reset();
            }
            return Ok(());
        }
        let force = force.as_mut().expect("permitted, so there is a list in force");
        force.wipe_expired(now.wall);
        let (at, tracked) = (captured.at.monotonic, analyzer.tracks() > 0);
        let plan = schedule
            .as_mut()
            .map_or(FramePlan::Look, |s| s.plan(at, captured.discontinuity, tracked));
        if let FramePlan::Skip(reason) = plan {
            counters.skipped.add(reason);
            return Ok(());
        }
        let start = Instant::now();
        let frame = decoder.decode(captured).inspect_err(|_| counters.undecodable += 1)?;
        let shown = schedule.as_ref().map(|_| Thumbnail::of(&frame));
        if let (FramePlan::IfMoved, Some(schedule), Some(shown)) = (plan, &schedule, &shown)
            && !schedule.moved(shown)
        {
            counters.skipped.add(Skip::Still);
            return Ok(());
        }
        let decoded = start.elapsed();
        let size = [frame.layout().width(), frame.layout().height()];
        let mut publish = |finding: Finding<Kept>| {
            let (candidate, cropped) = candidate(labels, force, now, finding);
            counters.crops_failed += u64::from(!cropped);
            out(candidate);
        };
        if captured.discontinuity {
            analyzer.end_all(&mut |sighting| {
                if let Sighting::Ended { track } = sighting {
                    counters.vision.tracks += 1;
                    decider.end(track, &mut publish);
                }
            });
        }
        let threshold = force.plan().threshold;
        let seen = analyzer.analyze(&frame, captured.at, &mut |sighting| match sighting {
            Sighting::Ended { track } => {
                counters.vision.tracks += 1;
                decider.end(track, &mut publish);
            }
            Sighting::Viewed { track, view } => {
                top.clear();
                force.gallery().search(&view.probe.quantize(), top);
                let kept = Kept {
                    face: labels.crop.then_some(view.face),
                    quality: view.quality,
                    rect: view.rect,
                    frame: size,
                };
                let id = Uuid::from_u128(EventId::new(now).as_u128());
                let quality = kept.quality.overall;
                let compared = Compared { track, view: kept, quality, hits: top.hits(), threshold };
                decider.observe(captured.at, id, compared, &mut publish);
            }
        });
        decider.tick(captured.at, &mut publish);
        match seen {
            Ok(counts) => {
                counters.vision.add(&counts);
                *times = StageTimes { decode: decoded, ..counts.times };
                if let (Some(schedule), Some(shown)) = (schedule, shown) {
                    schedule.looked(at, shown, start.elapsed());
                }
            }
            Err(error) => {
                counters.failed += 1;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Ends all tracks: their updates that are still due go to `out`.
    pub fn finish(&mut self, now: Now, out: &mut dyn FnMut(Candidate)) {
        let Self { analyzer, decider, force, labels, counters, .. } = self;
        let Ok(force) = force else { return };
        analyzer.end_all(&mut |sighting| {
            let Sighting::Ended { track } = sighting else { return };
            counters.vision.tracks += 1;
            decider.end(track, &mut |finding| {
                let (candidate, cropped) = candidate(labels, force, now, finding);
                counters.crops_failed += u64::from(!cropped);
                out(candidate);
            });
        });
    }

    /// Where the time of the last analysed picture went, for `watchpost bench`.
    pub fn times(&self) -> StageTimes {
        self.times
    }

    /// Counts since the start.
    pub fn counters(&self) -> PipelineCounters {
        PipelineCounters { decision: self.decider.counters(), ..self.counters.clone() }
    }

    /// The engines and kernels that run detector and embedder, for reports.
    pub fn engines(&mut self) -> [String; 2] {
        [
            self.analyzer.detector().engine().to_string(),
            self.analyzer.embedder().engine().to_string(),
        ]
    }
}

fn permitted<'a>(
    force: &'a Result<Force, Blindness>,
    held: &Option<Blindness>,
    now: Now,
) -> Result<&'a Force, Blindness> {
    if let Some(reason) = held {
        return Err(reason.clone());
    }
    let force = force.as_ref().map_err(Clone::clone)?;
    force.permits(now.wall)?;
    Ok(force)
}

/// The published form of a finding, and whether its crop, if one was asked for, could be made.
fn candidate(
    labels: &Labels,
    force: &Force,
    now: Now,
    finding: Finding<Kept>,
) -> (Candidate, bool) {
    let entries = force.list().entries();
    let name =
        |entry: usize| entries.get(entry).map_or_else(String::new, |e| e.reference.to_string());
    let kept = finding.view;
    let crop = kept.face.as_ref().map(|face| jpeg(face, labels.crop_quality));
    let cropped = !matches!(crop, Some(None));
    // Of the combined similarity: the best of several views is higher than what the curve was
    // measured with.
    let rate = force.expected_rate(finding.combined);
    let candidate = Candidate {
        candidate: EventId::from_u128(finding.id.as_u128()),
        sequence: finding.sequence,
        device: labels.device.clone(),
        camera: labels.camera.clone(),
        decided_at: now.wall,
        expires: now.wall + labels.expiry,
        entry: name(finding.entry),
        alternatives: finding.alternatives.iter().map(|e| name(*e)).collect(),
        score: finding.score,
        threshold: force.plan().threshold,
        expected_false_positive_rate: rate,
        evidence: Evidence {
            views: finding.compared,
            agreeing: finding.agreeing as u32,
            combined: finding.combined,
            quality: QualityParts {
                overall: kept.quality.overall,
                eye_distance: kept.quality.eye_distance_px,
                sharpness: kept.quality.sharpness,
                yaw: kept.quality.yaw,
                pitch: kept.quality.pitch,
                roll: kept.quality.roll,
                detector_score: kept.quality.detector_score,
            },
            rect: [kept.rect.x, kept.rect.y, kept.rect.width, kept.rect.height],
            frame: kept.frame,
        },
        list: ListVersion { id: force.list().id().to_string(), version: force.list().version() },
        models: labels.models.clone(),
        crop: crop.flatten().map(|file| Crop::jpeg(&file)),
    };
    (candidate, cropped)
}

/// The aligned face as a JPEG file.
fn jpeg(face: &AlignedFace, quality: u8) -> Option<Vec<u8>> {
    let side = face.side() as u32;
    let mut file = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality)
        .write_image(face.rgb(), side, side, image::ExtendedColorType::Rgb8)
        .ok()?;
    Some(file)
}
