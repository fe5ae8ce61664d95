//! Counting instead of matching: pictures in, counts against decoys out.
//!
//! * The same decoder, choice of frames, tracks, quality gate and views as the pipeline's, so that
//!   what is measured is what will be used. A track counts by the highest similarity that its fused
//!   probe reaches from the least number of views on: at least as often as the decision rule, which
//!   waits for more views where it can, makes a candidate of it.
//! * Nobody is matched and nothing is published. Entries of the configured list, where there is a
//!   valid one, are counted at the mild similarity only; its budget need not hold yet, because the
//!   calibration is the way there.
//! * A frame that is not kept from swap is not looked at, where `watchlist.require_locked_memory`
//!   says so.
//! * Where the list may not be used (hours, area, end) nothing is counted.

use std::collections::BTreeMap;
use std::io;

use super::decoys::DecoyCounter;
use super::pipeline::{PipelineError, decoder, schedule};
use crate::calibrate::counts::{Counts, day_of};
use crate::clock::{Now, Stopwatch};
use crate::config::Config;
use crate::decision::probe::FusedProbe;
use crate::locked::wipe_stack;
use crate::source::{Captured, Decoder, Pace};
use crate::template::{Embedding, Template};
use crate::vision::{
    Analyzer, FramePlan, MAX_TRACKS, Models, Schedule, Sighting, Thumbnail, TrackId, VisionError,
};
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
struct CountedList {
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
    counted: Option<CountedList>,
    counter: DecoyCounter,
    /// Of the tracks that live.
    probes: BTreeMap<u32, FusedProbe>,
    /// Views from which on a track is compared.
    least_views: u32,
}

/// Adds a view to its track's probe, as the decision does: the probe to compare, once it has
/// `least_views`. A view that has nothing in common with those before begins a new one, and that it
/// did is said.
fn fuse(
    probe: &mut FusedProbe,
    view: &Embedding,
    quality: f32,
    least_views: u32,
) -> (Option<Template>, bool) {
    let replaced = probe.is_of_another(view);
    if replaced {
        *probe = FusedProbe::default();
    }
    probe.add(view, quality);
    let template = if probe.views() >= least_views { probe.template() } else { None };
    (template, replaced)
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
            decoder: decoder(config),
            schedule: schedule(config),
            stopwatch: Box::new(stopwatch),
            analyzer: Analyzer::new(models, &config.vision)?,
            counted: None,
            counter: DecoyCounter::new(decoys, counts)?,
            probes: BTreeMap::new(),
            least_views: config.decision.least_views,
        })
    }

    /// Counts the entries of `list` as well, mildly; `position` is where the camera stands.
    pub fn set_list(&mut self, list: Watchlist, gallery: Gallery, position: Option<Position>) {
        self.counter.set_entries(&gallery);
        self.counted = Some(CountedList { list, gallery, position });
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
        let result = self.look(captured, now);
        self.decoder.wipe();
        wipe_stack();
        result
    }

    // Never in the frame of its caller, which is not wiped.
    #[inline(never)]
    fn look(&mut self, captured: &Captured, now: Now) -> Result<(), PipelineError> {
        let today = day_of(now.wall);
        let rests = self.counted.as_ref().is_some_and(|counted| {
            counted.list.standing(now.wall, counted.position).cause().is_some()
        });
        if rests || self.counter.counts().is_complete(today) {
            self.analyzer.end_all(&mut |_| {});
            self.counter.forget();
            self.probes.clear();
            return Ok(());
        }
        let at = captured.at.monotonic;
        if captured.discontinuity {
            self.finish(now);
        }
        let tracked = self.analyzer.tracks() > 0;
        let Self { decoder, schedule, stopwatch, analyzer, counted, counter, .. } = self;
        let (probes, least_views) = (&mut self.probes, self.least_views);
        let mut schedule = schedule.as_mut().filter(|_| captured.pace == Pace::Live);
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
        let mut replaced: heapless::Vec<TrackId, MAX_TRACKS> = heapless::Vec::new();
        analyzer.analyze(
            &frame,
            captured.at,
            &mut **stopwatch,
            &mut |sighting| match sighting {
                Sighting::Ended { track } => {
                    probes.remove(&track.0);
                    counter.end(track.0, today);
                }
                Sighting::Viewed { track, view, .. } => {
                    let probe = probes.entry(track.0).or_default();
                    if view.beyond && !probe.is_of_another(&view.probe) {
                        return;
                    }
                    let quality = view.quality.overall;
                    let (probe, is_another) = fuse(probe, &view.probe, quality, least_views);
                    if is_another {
                        counter.end(track.0, today);
                        // At most one view a track and frame.
                        let _ = replaced.push(track);
                    }
                    let Some(probe) = probe else { return };
                    let list = counted.as_ref().map(|counted| &counted.gallery);
                    counter.compare(track.0, today, &probe, list);
                }
            },
        )?;
        for track in replaced {
            if let (Some(new), Some(probe)) = (analyzer.replaced(track), probes.remove(&track.0)) {
                probes.insert(new.0, probe);
            }
        }
        if let (Some(schedule), Some(shown)) = (schedule, shown) {
            schedule.looked(at, shown, stopwatch.elapsed().saturating_sub(start));
        }
        Ok(())
    }

    /// Ends all tracks.
    pub fn finish(&mut self, now: Now) {
        self.probes.clear();
        let (counter, today) = (&mut self.counter, day_of(now.wall));
        self.analyzer.end_all(&mut |sighting| {
            if let Sighting::Ended { track } = sighting {
                counter.end(track.0, today);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(direction: usize, more: f32) -> Embedding {
        let mut values = [more; 64];
        values[direction] = 1.0;
        Embedding::normalised(&values).expect("a direction")
    }

    #[test]
    fn a_track_is_compared_by_the_mean_of_its_views_once_there_are_enough() {
        let mut probe = FusedProbe::default();
        assert!(fuse(&mut probe, &view(0, 0.1), 0.5, 2).0.is_none());
        let fused = fuse(&mut probe, &view(1, 0.1), 0.5, 2).0.expect("two views");
        let (a, b) = (view(0, 0.1).quantize(), view(1, 0.1).quantize());
        assert!(fused.cosine(&a) > a.cosine(&b));
        assert!((fused.cosine(&a) - fused.cosine(&b)).abs() < 0.02);
    }

    #[test]
    fn somebody_elses_view_begins_a_probe_of_its_own() {
        let mut probe = FusedProbe::default();
        fuse(&mut probe, &view(0, 0.0), 0.5, 2);
        fuse(&mut probe, &view(0, 0.0), 0.5, 2);
        assert!(matches!(fuse(&mut probe, &view(1, 0.0), 0.5, 2), (None, true)));
        assert_eq!(probe.views(), 1);
    }
}
