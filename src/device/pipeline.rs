//! The work of the vision thread: a captured picture in, candidates out.
//!
//! The pipeline joins decoder, [`Analyzer`], search and [`Decider`]. The daemon, the demo, the
//! benchmark and the tests run the very same code.
//!
//! * It owns no thread, no clock and no socket. The time of a frame is passed in with it, the time
//!   that work takes by a [`Stopwatch`], so that a recorded sequence gives the same choice of
//!   frames again.
//! * While no list is in force, or the list is outside its validity, nothing is detected, embedded
//!   or compared.
//! * What was decoded of a picture is wiped once it was looked at, and so is what looking at it has
//!   left on the stack.
//! * Of a view there stays its share in the mean of its track, until the track ends; of a track
//!   whose mean supports no entry nothing else is kept.
//! * What leaves is a [`Candidate`] about an entry of the list, or a count; of a silent list a
//!   count only. Of decoys nothing leaves ([`DecoyCounter`]).
//! * Of a live source the [`Schedule`] says which pictures are looked at.

mod candidate;
mod counters;

use std::time::Duration;

use uuid::Uuid;

use self::candidate::{CandidateMaker, KeptView};
pub use self::counters::{PipelineCounters, TooPoorTotals, VisionTotals};
use super::decoys::DecoyCounter;
use crate::calibrate::counts::day_of;
use crate::cause::Cause;
use crate::clock::{Now, Stopwatch};
use crate::config::Config;
use crate::decision::candidate::{Decider, Finding, MAX_HITS, Searched, Seen};
use crate::decision::policy::{ActiveList, Blindness};
use crate::decision::traffic::Traffic;
use crate::delivery::event::{Candidate, EventId};
use crate::frame::Frame;
use crate::locked::wipe_stack;
use crate::promise::Stage;
use crate::source::{Captured, DecodeError, Decoder, Pace};
use crate::template::Template;
use crate::vision::{
    Analyzer, FrameCounts, FramePlan, MAX_TRACKS, Models, Schedule, Sighting, Skip, StageTimes,
    Thumbnail, TrackId, VisionError,
};
use crate::watchlist::TopK;
use crate::watchlist::memory::DayCounts;

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

/// From captured pictures to candidates.
pub struct Pipeline {
    decoder: Decoder,
    /// For live sources. `None`: every picture is looked at.
    schedule: Option<Schedule>,
    stopwatch: Box<dyn Stopwatch>,
    active: Result<ActiveList, Blindness>,
    traffic: Traffic,
    /// The threshold follows the traffic and has changed since [`Pipeline::take_replanned`].
    replanned: bool,
    /// Why the list in force may not be used just now, for reasons outside of it.
    held: Option<Blindness>,
    /// A frame could not be locked in memory. No other is looked at until a list is put in force.
    unlocked: Option<Blindness>,
    matcher: Matcher,
    /// Counts tracks against decoys beside matching.
    decoys: Option<DecoyCounter>,
    maker: CandidateMaker,
    counters: PipelineCounters,
    times: StageTimes,
    /// When the last picture was processed.
    processed: Now,
    /// How long a track lives without a face.
    survives: Duration,
}

/// What decodes frames as `config` says: where it says so, only those that are kept from swap.
pub(super) fn decoder(config: &Config) -> Decoder {
    Decoder::of(&config.source).only_locked(config.watchlist.require_locked_memory)
}

/// What chooses frames, where `config` says that not all are looked at.
pub(super) fn schedule(config: &Config) -> Option<Schedule> {
    let settings = config.vision.schedule;
    settings.adaptive.then(|| Schedule::new(settings))
}

impl Pipeline {
    /// A pipeline without a list: blind until [`Pipeline::set_list`]. `stopwatch` measures what
    /// work costs.
    ///
    /// # Errors
    /// Where the networks cannot be loaded.
    pub fn new(
        config: &Config,
        models: &Models,
        stopwatch: impl Stopwatch + 'static,
    ) -> Result<Self, VisionError> {
        Ok(Self {
            decoder: decoder(config),
            schedule: schedule(config),
            stopwatch: Box::new(stopwatch),
            active: Err(Blindness::new(Cause::NoList, "no watch list was loaded")),
            traffic: Traffic::default(),
            replanned: false,
            held: None,
            unlocked: None,
            matcher: Matcher {
                analyzer: Analyzer::new(models, &config.vision)?,
                decider: Box::new(Decider::new(config.decision.clone())),
                top: TopK::new(MAX_HITS),
            },
            decoys: None,
            maker: CandidateMaker::new(config, models),
            counters: PipelineCounters::default(),
            times: StageTimes::default(),
            processed: Captured::default().at,
            survives: Duration::from_millis(config.vision.track_survives_ms),
        })
    }

    /// Puts a list in force, or none with the reason. Evidence gathered under the list before is
    /// forgotten.
    pub fn set_list(&mut self, active: Result<ActiveList, Blindness>) {
        self.matcher.decider.reset();
        self.unlocked = None;
        if let (Some(decoys), Ok(active)) = (&mut self.decoys, &active) {
            decoys.set_entries(active.gallery());
        }
        self.active = active;
    }

    /// Counts tracks against decoys from now on, or no more. A decoy is never found by the search
    /// that candidates come from.
    pub fn count_decoys(&mut self, mut decoys: Option<DecoyCounter>) {
        if let (Some(decoys), Ok(active)) = (&mut decoys, &self.active) {
            decoys.set_entries(active.gallery());
        }
        self.decoys = decoys;
    }

    /// What was counted against decoys, where it is.
    pub fn decoys(&self) -> Option<&DecoyCounter> {
        self.decoys.as_ref()
    }

    /// Wipes one entry of the list in force and the evidence for it; false where there is no such
    /// entry any more.
    pub fn revoke(&mut self, reference: &str) -> bool {
        let Some(entry) = self.active.as_mut().ok().and_then(|active| active.revoke(reference))
        else {
            return false;
        };
        self.matcher.decider.forget(entry);
        true
    }

    /// The list in force, or why there is none; validity at this moment is [`Pipeline::standing`].
    pub fn active_list(&self) -> Result<&ActiveList, &Blindness> {
        self.active.as_ref()
    }

    /// SHA-256 of the detector's and the embedder's file.
    pub fn model_digests(&self) -> [[u8; 32]; 2] {
        self.maker.digests()
    }

    /// Whether the threshold has followed the number of faces that pass since the last call.
    pub fn take_replanned(&mut self) -> bool {
        std::mem::take(&mut self.replanned)
    }

    /// Stops matching for a reason that lies outside the list, such as the clock, or lifts that
    /// again.
    pub fn hold(&mut self, reason: Option<Blindness>) {
        self.held = reason;
    }

    /// Sets the hardware's temperature at `now`, degrees Celsius, where it is known, and whether
    /// the hardware slows itself down. Returns how often the rate of detections is halved because
    /// of it.
    pub fn set_temperature(&mut self, now: Now, celsius: Option<f32>, throttled: bool) -> u32 {
        let Some(schedule) = &mut self.schedule else { return 0 };
        schedule.set_temperature(now.monotonic, celsius, throttled);
        schedule.halvings()
    }

    /// Whether faces are compared at `now`.
    ///
    /// # Errors
    /// Why not.
    pub fn standing(&self, now: Now) -> Result<(), Blindness> {
        if let Some(reason) = self.held.as_ref().or(self.unlocked.as_ref()) {
            return Err(reason.clone());
        }
        self.active.as_ref().map_err(Clone::clone)?.permits(now.wall)
    }

    /// Looks at one picture; `now` is the time of the decision. Candidates go to `out`. What was
    /// decoded is wiped; `captured` is the caller's.
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
        self.processed = now;
        let result = self.look(captured, now, out);
        self.decoder.wipe();
        wipe_stack();
        if let Err(PipelineError::Decode(error @ DecodeError::NotLocked { .. })) = &result {
            self.unlocked = Some(Blindness::new(
                Cause::MemoryNotLocked,
                format_args!(
                    "{error}; {}, or set {} = false where swap is encrypted or absent",
                    Cause::MemoryNotLocked.remedy(),
                    setting!(watchlist.require_locked_memory)
                ),
            ));
        }
        result
    }

    // Never in the frame of its caller, which is not wiped.
    #[inline(never)]
    fn look(
        &mut self,
        captured: &Captured,
        now: Now,
        out: &mut dyn FnMut(Candidate),
    ) -> Result<(), PipelineError> {
        self.counters.frames += 1;
        self.observe_traffic(now);
        if self.standing(now).is_err() {
            self.counters.blind += 1;
            self.forget_sightings();
            return Ok(());
        }
        let Self { decoder, schedule, stopwatch, active, matcher, maker, counters, times, .. } =
            self;
        let mut schedule = schedule.as_mut().filter(|_| captured.pace == Pace::Live);
        let decoys = self.decoys.as_mut();
        let active = active.as_mut().expect("standing, so there is a list in force");
        active.wipe_expired(now.wall);
        let at = captured.at.monotonic;
        let tracked = matcher.analyzer.tracks() > 0;
        let plan = schedule
            .as_mut()
            .map_or(FramePlan::Look, |s| s.plan(at, captured.discontinuity, tracked));
        if let FramePlan::Skip(reason) = plan {
            counters.skipped.add(reason);
            return Ok(());
        }
        let start = stopwatch.elapsed();
        let frame = decoder.decode(captured).inspect_err(|_| counters.undecodable += 1)?;
        let shown = schedule.as_ref().map(|_| Thumbnail::of(&frame));
        if let (FramePlan::IfMoved, Some(schedule), Some(shown)) = (plan, &schedule, &shown)
            && !schedule.moved(shown)
        {
            counters.skipped.add(Skip::Still);
            return Ok(());
        }
        let decode = stopwatch.elapsed().saturating_sub(start);
        let mut outlet = Outlet { active, maker, now, counters, decoys, out };
        let seen = matcher.analyze(&frame, captured, &mut **stopwatch, &mut outlet)?;
        *times = StageTimes { decode, ..seen.times };
        if let (Some(schedule), Some(shown)) = (schedule, shown) {
            schedule.looked(at, shown, stopwatch.elapsed().saturating_sub(start));
        }
        Ok(())
    }

    /// Counts who has passed, and plans for as many. Not by a clock that is not believed, nor by
    /// one beyond the end of the list: a day in the far future would be the last for long.
    fn observe_traffic(&mut self, now: Now) {
        if let Ok(active) = &mut self.active
            && self.held.is_none()
            && now.wall < active.list().expires()
        {
            self.traffic.observe(self.counters.vision.tracks, now.wall);
            self.replanned |= active.follow(&self.traffic);
        }
    }

    /// Goes on counting from what passed before this process.
    pub fn resume_traffic(&mut self, kept: Option<DayCounts>) {
        self.traffic = Traffic::resumed(kept);
    }

    /// What has to be kept over a restart of how many faces have passed, if more have than was
    /// kept.
    pub fn traffic_to_keep(&mut self) -> Option<DayCounts> {
        let declared = self.active.as_ref().ok()?.declared_faces();
        self.traffic.reserve(declared)
    }

    /// How many faces have passed, at the end of the process.
    pub fn traffic_at_the_end(&mut self, now: Now) -> Option<DayCounts> {
        self.observe_traffic(now);
        self.traffic.counts().cloned()
    }

    /// What was seen before matching stopped must not count as evidence when it goes on.
    fn forget_sightings(&mut self) {
        self.matcher.analyzer.end_all(&mut |_| {});
        self.matcher.decider.reset();
        if let Some(decoys) = &mut self.decoys {
            decoys.forget();
        }
        if let Some(schedule) = &mut self.schedule {
            schedule.reset();
        }
    }

    /// Says that no picture has come by `now`. Tracks that would not survive it end, though no
    /// picture comes that shows so.
    pub fn rest(&mut self, now: Now, out: &mut dyn FnMut(Candidate)) {
        if now.monotonic.saturating_sub(self.processed.monotonic) > self.survives {
            self.finish(now, out);
        }
    }

    /// Ends all tracks: their updates that are still due go to `out`.
    pub fn finish(&mut self, now: Now, out: &mut dyn FnMut(Candidate)) {
        self.end_tracks(now, out);
        wipe_stack();
    }

    // As `look`.
    #[inline(never)]
    fn end_tracks(&mut self, now: Now, out: &mut dyn FnMut(Candidate)) {
        let Self { active: Ok(active), matcher, decoys, maker, counters, .. } = self else {
            return;
        };
        let decoys = decoys.as_mut();
        matcher.end_tracks(&mut Outlet { active, maker, now, counters, decoys, out });
    }

    /// Where the time of the last analysed picture went, for `watchpost bench`.
    pub fn times(&self) -> StageTimes {
        self.times
    }

    /// Counts since the start.
    pub fn counters(&self) -> PipelineCounters {
        PipelineCounters { decision: self.matcher.decider.counters(), ..self.counters.clone() }
    }

    /// Tracks since the start whose probe was searched for in a list.
    pub fn searched_tracks(&self) -> u64 {
        self.matcher.decider.counters().searched_tracks
    }

    /// The engines and kernels that run detector and embedder, for reports.
    pub fn engines(&mut self) -> [String; 2] {
        let analyzer = &mut self.matcher.analyzer;
        [analyzer.detector().engine().to_string(), analyzer.embedder().engine().to_string()]
    }
}

/// From a decoded frame to findings.
struct Matcher {
    analyzer: Analyzer,
    // Its tracks are large and bounded; on the heap once instead of on every stack that it passes.
    decider: Box<Decider<KeptView>>,
    top: TopK,
}

impl Matcher {
    /// Detects, follows and compares the faces in `frame`.
    fn analyze(
        &mut self,
        frame: &Frame<'_>,
        captured: &Captured,
        stopwatch: &mut dyn Stopwatch,
        outlet: &mut Outlet<'_>,
    ) -> Result<FrameCounts, VisionError> {
        if captured.discontinuity {
            self.end_tracks(outlet);
        }
        let Self { analyzer, decider, top } = self;
        let size = [frame.width() as u32, frame.height() as u32];
        let threshold = outlet.active.plan().threshold;
        let mut replaced: heapless::Vec<TrackId, MAX_TRACKS> = heapless::Vec::new();
        let seen =
            analyzer.analyze(frame, captured.at, stopwatch, &mut |sighting| match sighting {
                Sighting::Ended { track } => {
                    outlet.ended(track);
                    decider.end(captured.at, track, &mut |finding| outlet.publish(finding));
                }
                Sighting::Viewed { track, view, company } => {
                    if view.beyond && !decider.is_of_another(track, &view.probe) {
                        return;
                    }
                    let quality = view.quality.overall;
                    let seen = Seen { track, embedding: &view.probe, quality };
                    let probe = decider.observe(captured.at, seen, &mut |f| outlet.publish(f));
                    if decider.has_replaced() {
                        // At most one view a track and frame.
                        let _ = replaced.push(track);
                    }
                    let Some(probe) = probe else { return };
                    outlet.count(track, &probe);
                    let gallery = outlet.active.gallery();
                    gallery.search(&probe, top);
                    let alone = view.probe.quantize();
                    let own = |entry| gallery.similarity(entry, &alone).unwrap_or(-1.0);
                    let supports = top.hits().first().is_some_and(|hit| hit.score >= threshold);
                    let shown = outlet.active.list().stage() != Stage::Silent && supports;
                    let kept = KeptView {
                        face: (shown && outlet.maker.wants_crop()).then_some(view.face),
                        head: outlet
                            .maker
                            .head()
                            .filter(|_| shown)
                            .map(|head| head.take(frame, &view.rect, company)),
                        quality: view.quality,
                        rect: view.rect,
                        frame: size,
                    };
                    let id = Uuid::from_u128(EventId::new(outlet.now).as_u128());
                    let searched = Searched { track, view: kept, hits: top.hits(), threshold };
                    decider.searched(captured.at, id, searched, own, &mut |f| outlet.publish(f));
                    top.clear();
                }
            });
        for track in replaced {
            outlet.ended(track);
            if let Some(new) = analyzer.replaced(track) {
                decider.renumber(track, new);
            }
        }
        decider.tick(captured.at, &mut |finding| outlet.publish(finding));
        match &seen {
            Ok(counts) => outlet.counters.vision.add(counts),
            Err(_) => outlet.counters.failed += 1,
        }
        seen
    }

    /// Ends all tracks: their updates that are still due are published.
    fn end_tracks(&mut self, outlet: &mut Outlet<'_>) {
        let Self { analyzer, decider, .. } = self;
        analyzer.end_all(&mut |sighting| {
            let Sighting::Ended { track } = sighting else { return };
            outlet.ended(track);
            decider.end(outlet.now, track, &mut |finding| outlet.publish(finding));
        });
    }
}

/// Where the findings of one frame go.
struct Outlet<'a> {
    active: &'a ActiveList,
    maker: &'a CandidateMaker,
    now: Now,
    counters: &'a mut PipelineCounters,
    decoys: Option<&'a mut DecoyCounter>,
    out: &'a mut dyn FnMut(Candidate),
}

impl Outlet<'_> {
    /// A track has ended.
    fn ended(&mut self, track: TrackId) {
        self.counters.vision.tracks += 1;
        if let Some(decoys) = &mut self.decoys {
            decoys.end(track.0, day_of(self.now.wall));
        }
    }

    /// Counts a track's probe against the decoys, and mildly against the list.
    fn count(&mut self, track: TrackId, probe: &Template) {
        if let Some(decoys) = &mut self.decoys {
            decoys.compare(track.0, day_of(self.now.wall), probe, Some(self.active.gallery()));
        }
    }

    fn publish(&mut self, finding: Finding<KeptView>) {
        if self.active.list().stage() == Stage::Silent {
            self.counters.silent += 1;
            return;
        }
        let (candidate, has_its_crop) = self.maker.make(self.active, self.now, finding);
        self.counters.crops_failed += u64::from(!has_its_crop);
        (self.out)(candidate);
    }
}
