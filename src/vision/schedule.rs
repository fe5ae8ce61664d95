//! Which frames are looked at: a motion gate, and a governor of rate and heat. A state machine; it
//! takes the time of each frame, what looking costs and how warm the board is, and asks nothing.
//!
//! Promised, while frames come:
//! * A frame that comes `still_ms` or more after the last one that was looked at is looked at,
//!   whatever the gate and the governor say; of evenly spaced frames the one before is taken where
//!   the next would be too late. With a live track the same holds for `tracked_ms`, so that the
//!   views that must agree are gathered.
//! * A frame after a discontinuity, and the first one, are looked at.
//! * Every frame that is not looked at is counted under one reason.
//!
//! Motion is measured against the frame that was last looked at, not the one before, so that slow
//! motion adds up. Not promised: that motion is distinguished from noise or from a change of light.
//! Both only cost detections.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::frame::{Frame, Pixels, Visitor};
use crate::problem::Problem;

/// `[vision.schedule]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Leave frames out where nothing moves, or where looking at every one would cost too much.
    /// Where false, and for recorded pictures, every frame is looked at.
    pub adaptive: bool,
    /// Longest time without a look, milliseconds.
    pub still_ms: u64,
    /// The same while a face is followed. Below `track_survives_ms`, or tracks break.
    pub tracked_ms: u64,
    /// How much a part of the picture must change to count as motion, in steps of brightness (of
    /// 255); 0 turns the gate off.
    pub motion: f32,
    /// Largest share of one core's time that looking may take, 0.05 to 1.
    pub load: f32,
    /// From this temperature on the rate is halved, up to three times; 0 ignores temperatures.
    pub hot_celsius: f32,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            adaptive: true,
            still_ms: 500,
            tracked_ms: 200,
            motion: 4.0,
            load: 0.8,
            hot_celsius: 78.0,
        }
    }
}

impl ScheduleConfig {
    /// Adds what is wrong with it to `out`; `survives_ms` is how long a track lives without a face.
    pub fn problems(&self, survives_ms: u64, out: &mut Vec<Problem>) {
        let mut check = |key: &str, value: String, good: bool, remedy: String| {
            if !good {
                out.push(Problem {
                    key: format!(
                        "{vision_schedule}.{key}",
                        vision_schedule = setting!(vision.schedule)
                    ),
                    value,
                    remedy,
                });
            }
        };
        let still = (50..=2000).contains(&self.still_ms);
        check(
            "still_ms",
            self.still_ms.to_string(),
            still,
            "write a number of milliseconds from 50 to 2000".into(),
        );
        let most = self.still_ms.min(survives_ms.saturating_sub(1));
        let tracked = (20..=most).contains(&self.tracked_ms);
        let remedy =
            format!("write a number of milliseconds from 20 to {most}: tracks must survive it");
        check("tracked_ms", self.tracked_ms.to_string(), tracked, remedy);
        let motion = (0.0..=255.0).contains(&self.motion);
        check("motion", self.motion.to_string(), motion, "write a number from 0 to 255".into());
        let load = (0.05..=1.0).contains(&self.load);
        check("load", self.load.to_string(), load, "write a number from 0.05 to 1".into());
        let hot = self.hot_celsius == 0.0 || (40.0..=110.0).contains(&self.hot_celsius);
        check(
            "hot_celsius",
            self.hot_celsius.to_string(),
            hot,
            "write degrees from 40 to 110, or 0".into(),
        );
    }
}

/// Why a frame was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Nothing moved.
    Still,
    /// Looking at it would cost more than `load`, or the board is hot.
    Governor,
}

/// What to do with a frame, before its pixels are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramePlan {
    /// Look at it.
    Look,
    /// Look at it if [`Schedule::moved`].
    IfMoved,
    /// Leave it, undecoded.
    Skip(Skip),
}

/// Frames not looked at, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SkipCounters {
    /// Nothing moved.
    pub still: u64,
    /// Rate or heat.
    pub governor: u64,
}

impl SkipCounters {
    /// One more.
    pub fn add(&mut self, reason: Skip) {
        match reason {
            Skip::Still => self.still += 1,
            Skip::Governor => self.governor += 1,
        }
    }
}

const COLUMNS: usize = 16;
const ROWS: usize = 12;
/// Samples along each side of a cell: sixteen of them take a camera's noise to a quarter, and a
/// face of a detectable size covers several.
const SAMPLES: usize = 4;

/// Brightness of the picture's cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail([u8; COLUMNS * ROWS]);

impl Thumbnail {
    /// Reads some three thousand pixels of `frame`.
    pub fn of(frame: &Frame<'_>) -> Self {
        struct Grid(usize, usize);
        impl Visitor for Grid {
            type Output = Thumbnail;
            fn visit<P: Pixels>(self, pixels: &P) -> Thumbnail {
                let Self(width, height) = self;
                // The middle of each of `n` equal parts; inside the frame even where it has fewer
                // pixels than parts.
                let middle = |i: usize, n: usize, side: usize| (2 * i + 1) * side / (2 * n);
                let mut sums = [0u16; COLUMNS * ROWS];
                for row in 0..ROWS * SAMPLES {
                    let y = middle(row, ROWS * SAMPLES, height);
                    let cells = &mut sums[row / SAMPLES * COLUMNS..][..COLUMNS];
                    for (column, sum) in cells.iter_mut().enumerate() {
                        for i in 0..SAMPLES {
                            let x = middle(column * SAMPLES + i, COLUMNS * SAMPLES, width);
                            *sum += u16::from(pixels.luma(x, y));
                        }
                    }
                }
                Thumbnail(sums.map(|sum| (sum / (SAMPLES * SAMPLES) as u16) as u8))
            }
        }
        frame.read(Grid(frame.width(), frame.height()))
    }

    /// The largest change of a cell, 0 to 255: one person far away changes few of them.
    pub fn motion(&self, other: &Self) -> u8 {
        self.0.iter().zip(&other.0).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
    }
}

/// Halvings of the rate at most.
const MOST_HEAT: u32 = 3;
/// How far below `hot_celsius` the board must be for the rate to rise again.
const COOLER: f32 = 5.0;
/// How long one step of heat lasts at least before the next one, up or down: boards warm and cool
/// in tens of seconds.
const HEAT_STEP: Duration = Duration::from_secs(15);
/// The pace is slackened at once, and quickened only where this share of it would do.
const QUICKEN_AT: f32 = 0.8;
/// Share by which the measured cost follows a cheaper frame.
const FOLLOW: f32 = 0.1;

/// The schedule of one camera.
#[derive(Debug, Clone)]
pub struct Schedule {
    config: ScheduleConfig,
    /// When a frame was last looked at, and what it showed.
    looked: Option<(Duration, Thumbnail)>,
    /// When the last frame came, and how long after the one before.
    came: Option<Duration>,
    gap: Duration,
    /// Smoothed cost of a look, in seconds.
    cost: f32,
    /// Least seconds from look to look by cost.
    pace: f32,
    heat: u32,
    heat_since: Option<Duration>,
}

impl Schedule {
    /// One that has seen nothing yet.
    pub fn new(config: ScheduleConfig) -> Self {
        Self {
            config,
            looked: None,
            came: None,
            gap: Duration::ZERO,
            cost: 0.0,
            pace: 0.0,
            heat: 0,
            heat_since: None,
        }
    }

    /// What to do with the frame captured at `at` (monotonic). `tracked`: a track lives.
    pub fn plan(&mut self, at: Duration, discontinuity: bool, tracked: bool) -> FramePlan {
        self.gap = self.came.map_or(Duration::ZERO, |came| at.saturating_sub(came));
        self.came = Some(at);
        let since = match &self.looked {
            // A clock that went back tells nothing.
            Some((looked, _)) if !discontinuity && at >= *looked => at - *looked,
            _ => return FramePlan::Look,
        };
        let bound = Duration::from_millis(if tracked {
            self.config.tracked_ms
        } else {
            self.config.still_ms
        });
        if since + self.gap > bound {
            return FramePlan::Look;
        }
        // A frame a little early is in time.
        if since + self.gap / 8 < self.interval() {
            return FramePlan::Skip(Skip::Governor);
        }
        if self.config.motion > 0.0 { FramePlan::IfMoved } else { FramePlan::Look }
    }

    /// Whether what `now` shows differs from the frame that was last looked at.
    pub fn moved(&self, now: &Thumbnail) -> bool {
        self.looked
            .as_ref()
            .is_none_or(|(_, then)| f32::from(then.motion(now)) >= self.config.motion)
    }

    /// The frame captured at `at` was looked at, which took `cost`.
    pub fn looked(&mut self, at: Duration, shown: Thumbnail, cost: Duration) {
        self.looked = Some((at, shown));
        let cost = cost.as_secs_f32();
        // A dear frame counts at once, cheap ones by and by.
        self.cost = cost.max(self.cost + FOLLOW * (cost - self.cost));
        let wanted = self.cost / self.config.load;
        if wanted > self.pace || wanted < QUICKEN_AT * self.pace {
            self.pace = wanted;
        }
    }

    /// Sets the hardware's temperature at `at`, degrees Celsius, where it is known, and whether the
    /// hardware slows itself down.
    pub fn set_temperature(&mut self, at: Duration, celsius: Option<f32>, throttled: bool) {
        let hot = self.config.hot_celsius;
        if hot == 0.0 || self.heat_since.is_some_and(|since| at.saturating_sub(since) < HEAT_STEP) {
            return;
        }
        let step = if throttled || celsius.is_some_and(|c| c >= hot) {
            (self.heat + 1).min(MOST_HEAT)
        } else if celsius.is_none_or(|c| c <= hot - COOLER) {
            self.heat.saturating_sub(1)
        } else {
            self.heat
        };
        if step != self.heat {
            self.heat = step;
            self.heat_since = Some(at);
        }
    }

    /// How often the rate is halved at the moment because of heat, 0 to 3.
    pub fn halvings(&self) -> u32 {
        self.heat
    }

    /// Forgets what was seen, so that the next frame is looked at. What was measured stays.
    pub fn reset(&mut self) {
        self.looked = None;
        self.came = None;
    }

    /// Least time from look to look.
    fn interval(&self) -> Duration {
        // Never NaN or negative; a minute is more than any bound.
        let pace = Duration::from_secs_f32(self.pace.clamp(0.0, 60.0));
        if self.heat == 0 { pace } else { pace.max(self.gap) * (1 << self.heat) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::fixture::noise;
    use crate::frame::{Layout, PixelFormat, Range};
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn grey(value: u8) -> Thumbnail {
        Thumbnail([value; COLUMNS * ROWS])
    }

    /// Looks at frames `gap` ms apart for `n` of them; says when it looked. `cost` in ms.
    fn looks(
        schedule: &mut Schedule,
        from: u64,
        gap: u64,
        n: u64,
        cost: u64,
        tracked: bool,
        moving: bool,
    ) -> Vec<u64> {
        let mut out = Vec::new();
        for i in 0..n {
            let at = from + i * gap;
            let shown = grey(if moving { (i * 40 % 256) as u8 } else { 90 });
            let look = match schedule.plan(ms(at), false, tracked) {
                FramePlan::Look => true,
                FramePlan::IfMoved => schedule.moved(&shown),
                FramePlan::Skip(_) => false,
            };
            if look {
                schedule.looked(ms(at), shown, ms(cost));
                out.push(at);
            }
        }
        out
    }

    #[test]
    fn a_still_picture_is_looked_at_twice_a_second_a_moving_one_every_time() {
        let mut schedule = Schedule::new(ScheduleConfig::default());
        let still = looks(&mut schedule, 0, 50, 200, 2, false, false);
        assert!((19..=24).contains(&still.len()), "{} looks in ten seconds", still.len());
        let moving = looks(&mut schedule, 10_000, 50, 200, 2, false, true);
        assert!(moving.len() >= 198, "{} of 200 frames", moving.len());
    }

    #[test]
    fn somebody_who_moves_slowly_adds_up() {
        let mut schedule =
            Schedule::new(ScheduleConfig { still_ms: 2000, ..ScheduleConfig::default() });
        schedule.plan(ms(0), false, false);
        schedule.looked(ms(0), grey(100), ms(1));
        let seen = (1..8).find(|i| schedule.moved(&grey(100 + *i as u8)));
        assert_eq!(seen, Some(4), "one step a frame is seen with the fourth");
    }

    #[test]
    fn a_small_change_far_away_is_motion_and_the_noise_of_a_camera_is_not() {
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 640, 480).unwrap();
        // Noise of six steps to either side.
        let noisy =
            |seed| -> Vec<u8> { noise(seed).map(|byte| 100 + byte % 13).take(640 * 480).collect() };
        let of = |data: &[u8]| Thumbnail::of(&Frame::new(layout, data).unwrap());
        let (before, mut after) = (noisy(1), noisy(2));
        assert!(f32::from(of(&before).motion(&of(&after))) < ScheduleConfig::default().motion);
        // A head of 24 pixels, somewhat brighter than the wall.
        for y in 203..227 {
            after[y * 640 + 311..][..24].fill(165);
        }
        assert!(f32::from(of(&before).motion(&of(&after))) >= ScheduleConfig::default().motion);
    }

    #[test]
    fn frames_of_one_pixel_have_a_thumbnail() {
        for (width, height) in [(1, 1), (3, 2), (1, 4001)] {
            let layout = Layout::packed(PixelFormat::Yuyv, Range::Full, width, height).unwrap();
            let data = vec![7; layout.min_len()];
            assert_eq!(Thumbnail::of(&Frame::new(layout, &data).unwrap()), grey(7));
        }
    }

    #[test]
    fn a_dear_detector_is_held_to_its_share_and_a_little_jitter_of_its_cost_changes_nothing() {
        let mut schedule = Schedule::new(ScheduleConfig {
            still_ms: 1000,
            load: 0.5,
            ..ScheduleConfig::default()
        });
        let looked = looks(&mut schedule, 0, 20, 500, 100, false, true);
        assert!((48..=51).contains(&looked.len()), "{} looks of 100 ms in 10 s", looked.len());
        let pace = schedule.pace;
        looks(&mut schedule, 10_000, 20, 500, 85, false, true);
        assert_eq!(schedule.pace, pace);
        looks(&mut schedule, 20_000, 20, 3000, 10, false, true);
        assert!(schedule.pace < 0.03, "it quickens where looking is cheap for good");
    }

    #[test]
    fn heat_halves_the_rate_step_by_step_and_gives_it_back_only_when_it_is_clearly_cooler() {
        let mut schedule = Schedule::new(ScheduleConfig::default());
        let mut heat = |at: u64, celsius: f32| {
            schedule.set_temperature(ms(at * 1000), Some(celsius), false);
            schedule.halvings()
        };
        assert_eq!([heat(0, 77.0), heat(1, 78.0), heat(2, 90.0), heat(17, 80.0)], [0, 1, 1, 2]);
        assert_eq!([heat(40, 76.0), heat(60, 74.0)], [2, 2], "neither hot nor clearly cooler");
        assert_eq!([heat(61, 73.0), heat(62, 40.0), heat(80, 73.0), heat(99, 73.0)], [1, 1, 0, 0]);
        assert_eq!(
            [heat(100, 99.0), heat(120, 99.0), heat(140, 99.0), heat(160, 99.0)],
            [1, 2, 3, 3]
        );
        let hot = looks(&mut schedule, 200_000, 25, 400, 2, true, true).len();
        schedule.heat = 0;
        assert!(
            hot <= 55 && looks(&mut schedule, 300_000, 25, 400, 2, true, true).len() >= 398,
            "{hot} of 400"
        );
    }

    #[test]
    fn a_throttled_board_counts_as_hot_and_one_without_sensors_never_does() {
        let mut schedule = Schedule::new(ScheduleConfig::default());
        schedule.set_temperature(ms(0), None, false);
        assert_eq!(schedule.halvings(), 0);
        schedule.set_temperature(ms(1), None, true);
        assert_eq!(schedule.halvings(), 1);
        schedule.set_temperature(ms(60_000), None, false);
        assert_eq!(schedule.halvings(), 0);
    }

    #[test]
    fn settings_that_would_break_tracks_are_refused() {
        let mut out = Vec::new();
        ScheduleConfig {
            tracked_ms: 700,
            motion: f32::NAN,
            load: 0.0,
            ..ScheduleConfig::default()
        }
        .problems(700, &mut out);
        let keys: Vec<_> = out.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            ["vision.schedule.tracked_ms", "vision.schedule.motion", "vision.schedule.load"]
        );
    }

    proptest! {
        #[test]
        fn no_frame_waits_longer_than_promised_and_none_after_a_discontinuity_is_left_out(
            frames in proptest::collection::vec(
                (0u64..600, 0u8..=255, 0u32..30, any::<bool>(), 0u64..5000, 0f32..120.0),
                1..200,
            ),
            load in 0.05f32..1.0,
        ) {
            let config = ScheduleConfig { load, ..ScheduleConfig::default() };
            let mut schedule = Schedule::new(config);
            let (mut at, mut last) = (0, None);
            for (gap, value, cut, tracked, cost, celsius) in frames {
                at += gap;
                schedule.set_temperature(ms(at), Some(celsius), false);
                let look = match schedule.plan(ms(at), cut == 0, tracked) {
                    FramePlan::Look => true,
                    FramePlan::IfMoved => schedule.moved(&grey(value)),
                    FramePlan::Skip(_) => false,
                };
                let bound = if tracked { config.tracked_ms } else { config.still_ms };
                let due = cut == 0 || last.is_none_or(|last| at - last >= bound);
                prop_assert!(look || !due);
                if look {
                    last = Some(at);
                    schedule.looked(ms(at), grey(value), ms(cost));
                }
            }
        }

        #[test]
        fn of_even_frames_no_two_looks_are_further_apart_than_promised(
            gap in 1u64..200,
            cost in 0u64..2000,
            celsius in 20f32..120.0,
            tracked: bool,
            moving: bool,
        ) {
            let config = ScheduleConfig::default();
            let mut schedule = Schedule::new(config);
            for i in 0..4 {
                schedule.set_temperature(ms(i * 20_000), Some(celsius), false);
            }
            let bound = if tracked { config.tracked_ms } else { config.still_ms };
            let at = looks(&mut schedule, 80_000, gap, 300, cost, tracked, moving);
            prop_assert!(at.windows(2).all(|pair| pair[1] - pair[0] <= bound.max(gap)), "{:?}", at);
        }
    }
}
