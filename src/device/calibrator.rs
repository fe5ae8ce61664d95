//! Counting instead of matching: pictures in, counts against decoys out.
//!
//! * The same decoder, choice of frames, tracks, quality gate and views as the pipeline's, so that
//!   what is measured is what will be used. A track counts by the best of its compared views, at
//!   least as often as the decision rule, which wants several, makes a candidate of it.
//! * Nobody is matched and nothing is published. Entries of the configured list, where there is a
//!   valid one, are counted at the mild similarity only; its budget need not hold yet, because the
//!   calibration is the way there.
//! * Where the list may not be used (hours, area, end) nothing is counted.

use std::io;

use super::pipeline::PipelineError;
use crate::calibrate::counts::{Counter, Counts, day_of};
use crate::clock::{Now, Stopwatch};
use crate::config::Config;
use crate::source::{Captured, Decoder};
use crate::template::Template;
use crate::vision::{Analyzer, FramePlan, Models, Schedule, Sighting, Thumbnail, VisionError};
use crate::watchlist::{Gallery, Position, Watchlist};

/// Why counting cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum CalibratorError {
    /// The networks.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// No memory for the decoys.
    #[error("no memory for the decoys: {0}")]
    Memory(#[from] io::Error),
}

/// A list whose entries are counted, and its templates.
struct Counted {
    list: Watchlist,
    gallery: Gallery,
    position: Option<Position>,
}

/// From captured pictures to counts.
pub struct Calibrator {
    decoder: Decoder,
    schedule: Option<Schedule>,
    stopwatch: Box<dyn Stopwatch>,
    analyzer: Analyzer,
    decoys: Gallery,
    counted: Option<Counted>,
    counter: Counter,
}

impl Calibrator {
    /// Goes on with `counts` of `decoys`, in the order of their set.
    ///
    /// # Errors
    /// Where the networks cannot be loaded, or there is no memory.
    pub fn new(
        config: &Config,
        models: &Models,
        stopwatch: impl Stopwatch + 'static,
        decoys: &[Template],
        counts: Counts,
    ) -> Result<Self, CalibratorError> {
        Ok(Self {
            decoder: Decoder::new(config.source.max_pixels),
            schedule: (config.vision.schedule.adaptive && config.source.is_live())
                .then(|| Schedule::new(config.vision.schedule)),
            stopwatch: Box::new(stopwatch),
            analyzer: Analyzer::new(models, &config.vision)?,
            decoys: Gallery::of_templates(decoys)?,
            counted: None,
            counter: Counter::new(counts),
        })
    }

    /// Counts the entries of `list` as well, mildly; `position` is where the camera stands.
    pub fn set_list(&mut self, list: Watchlist, gallery: Gallery, position: Option<Position>) {
        self.counter.set_entries(&gallery.first_templates());
        self.counted = Some(Counted { list, gallery, position });
    }

    /// What was counted of tracks that have ended.
    pub fn counts(&self) -> &Counts {
        self.counter.counts()
    }

    /// Looks at one picture.
    ///
    /// # Errors
    /// Where it cannot be decoded or the networks fail on it; the next one can be processed.
    pub fn process(&mut self, captured: &Captured, now: Now) -> Result<(), PipelineError> {
        let today = day_of(now.wall);
        let rests = self.counted.as_ref().is_some_and(|counted| {
            counted.list.standing(now.wall, counted.position).cause().is_some()
        });
        if rests || self.counter.counts().is_complete(today) {
            self.analyzer.end_all(&mut |_| {});
            self.counter.forget();
            return Ok(());
        }
        let at = captured.at.monotonic;
        if captured.discontinuity {
            self.finish(now);
        }
        let tracked = self.analyzer.tracks() > 0;
        let Self { decoder, schedule, stopwatch, analyzer, decoys, counted, counter } = self;
        let plan = schedule
            .as_mut()
            .map_or(FramePlan::Look, |s| s.plan(at, captured.discontinuity, tracked));
        if let FramePlan::Skip(_) = plan {
            return Ok(());
        }
        let start = stopwatch.elapsed();
        let frame = decoder.decode(captured)?;
        let shown = schedule.as_ref().map(|_| Thumbnail::of(&frame));
        if let (FramePlan::IfMoved, Some(schedule), Some(shown)) = (plan, &schedule, &shown)
            && !schedule.moved(shown)
        {
            return Ok(());
        }
        analyzer.analyze(
            &frame,
            captured.at,
            &mut **stopwatch,
            &mut |sighting| match sighting {
                Sighting::Ended { track } => counter.end(track.0, today),
                Sighting::Viewed { track, view } => {
                    let Some(mut counted_view) = counter.view(track.0, today) else { return };
                    let probe = view.probe.quantize();
                    let probe = std::slice::from_ref(&probe);
                    decoys.scan(probe, 0, |_, hit| {
                        counted_view.decoy(hit.entry, hit.score);
                        f32::NEG_INFINITY
                    });
                    if let Some(counted) = counted {
                        counted.gallery.scan(probe, 0, |_, hit| {
                            counted_view.entry(hit.entry, hit.score);
                            f32::NEG_INFINITY
                        });
                    }
                }
            },
        )?;
        if let (Some(schedule), Some(shown)) = (schedule, shown) {
            schedule.looked(at, shown, stopwatch.elapsed().saturating_sub(start));
        }
        Ok(())
    }

    /// Ends all tracks.
    pub fn finish(&mut self, now: Now) {
        let (counter, today) = (&mut self.counter, day_of(now.wall));
        self.analyzer.end_all(&mut |sighting| {
            if let Sighting::Ended { track } = sighting {
                counter.end(track.0, today);
            }
        });
    }
}
