//! `watchpost bench candidate`: how long it takes from entering the picture to the candidate.
//!
//! * The scene's listed person walks into the picture, at several frame rates of the camera, from
//!   every place within a step. Frames come when their turn is; the chain decides by their times,
//!   as it does by a camera's.
//! * A passer-by has entered where half of the face is in the picture. What is told is the time of
//!   the frame that the candidate was made with, and what that frame took on this machine is to be
//!   added (`bench pipeline`).
//! * Once more the person is gone as soon as the second view was looked at: decided on two views.
//! * Not told: how long somebody takes at a place to become large enough and to turn to the camera.

use std::time::Duration;

use serde::Serialize;

use super::{CliError, demo};
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::demo::scene::{FPS, LISTED_LEAVES, PERIOD, Scene, listed_enters};
use crate::device::keeper::Keeper;
use crate::device::pipeline::Pipeline;
use crate::source::{Captured, Pace, Payload};
use crate::vision::Models;

/// Of the scene's frames each so many-th is taken: 15, 7.5, 5, 3, 1.9, 1.5 and 1 a second.
const STEPS: [u64; 7] = [1, 2, 3, 5, 8, 10, 15];

/// Frames of the longest stay that is tried for a candidate on two views.
const LONGEST_STAY: u64 = 15;
/// Seconds that are watched after somebody has left.
const SECONDS_AFTER: u64 = 3;

/// One frame rate.
#[derive(Debug, Serialize)]
pub struct WalkTimes {
    frames_a_second: f64,
    /// Walks: one from each place within a step.
    walks: usize,
    /// Walks that gave a candidate.
    found: usize,
    /// Fewest and most views that it was decided on.
    views: Option<[u32; 2]>,
    /// From entering the picture, mean of the walks that gave one.
    seconds: Option<f64>,
    /// The longest.
    most_seconds: Option<f64>,
}

/// All frame rates.
pub fn arrivals(models: &Models, long_side: usize) -> Result<Vec<WalkTimes>, CliError> {
    let work = tempfile::Builder::new().prefix("watchpost-bench-").tempdir()?;
    let mut config: Config = demo::configuration(work.path())?;
    config.vision.long_side = long_side;
    demo::author_list(&config, models)?;
    let mut rows: Result<Vec<WalkTimes>, CliError> =
        STEPS.iter().map(|step| arrival(&config, models, *step)).collect();
    if let (Ok(rows), Some(gone)) = (&mut rows, gone_after_two(&config, models)?) {
        rows.push(gone);
    }
    rows
}

/// The shortest stay, at the scene's own frame rate, that gives a candidate on two views; `None`
/// where none does.
fn gone_after_two(config: &Config, models: &Models) -> Result<Option<WalkTimes>, CliError> {
    let scene = Scene::new(1).with_frames(u64::MAX);
    let enters = listed_enters(&scene);
    let stays = 1..=LONGEST_STAY.min(LISTED_LEAVES - enters);
    for stay in stays {
        let way = Way { enters, leaves: enters + stay, step: 1, phase: 0 };
        if let Some((seconds, 2)) = walk(config, models, &scene, way)? {
            return Ok(Some(WalkTimes {
                frames_a_second: f64::from(FPS),
                walks: 1,
                found: 1,
                views: Some([2, 2]),
                seconds: Some(seconds),
                most_seconds: Some(seconds),
            }));
        }
    }
    Ok(None)
}

/// How the listed person goes through the picture, in frames of the scene.
#[derive(Clone, Copy)]
struct Way {
    enters: u64,
    /// Is not seen from then on.
    leaves: u64,
    /// Each so many-th frame is taken,
    step: u64,
    /// beginning so many after a step before entering.
    phase: u64,
}

fn arrival(config: &Config, models: &Models, step: u64) -> Result<WalkTimes, CliError> {
    let scene = Scene::new(1).with_frames(u64::MAX);
    let enters = listed_enters(&scene);
    let mut times = Vec::new();
    let mut views: Option<[u32; 2]> = None;
    for phase in 0..step {
        let way = Way { enters, leaves: LISTED_LEAVES.min(PERIOD), step, phase };
        if let Some((seconds, of)) = walk(config, models, &scene, way)? {
            times.push(seconds);
            let [fewest, most] = views.unwrap_or([of, of]);
            views = Some([fewest.min(of), most.max(of)]);
        }
    }
    Ok(WalkTimes {
        frames_a_second: f64::from(FPS) / step as f64,
        walks: step as usize,
        found: times.len(),
        views,
        seconds: (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64),
        most_seconds: times.iter().copied().max_by(f64::total_cmp),
    })
}

/// Seconds from entering to the candidate of one walk, and the views that it was decided on.
fn walk(
    config: &Config,
    models: &Models,
    scene: &Scene,
    way: Way,
) -> Result<Option<(f64, u32)>, CliError> {
    let clock = Clock::default();
    let start = clock.now();
    let mut pipeline = Pipeline::new(config, models, clock)?;
    let active = Keeper::new(config, models).load(start);
    if let Err(blindness) = &active {
        return Err(blindness.to_string().into());
    }
    pipeline.set_list(active);
    let mut captured = Captured::default();
    let Way { enters, leaves, step, phase } = way;
    // What is decided when a track ends is decided soon after.
    let last = leaves + u64::from(FPS) * SECONDS_AFTER;
    for n in (enters.saturating_sub(step) + phase..last).step_by(step as usize) {
        // The scene before anybody came, where the person has left.
        let shown = if n < leaves { n } else { (n - leaves) % enters.max(1) };
        scene.frame(shown, &mut captured.bytes);
        let elapsed = Duration::from_secs_f64(n as f64 / f64::from(FPS));
        captured.payload = Payload::Raw(Scene::layout());
        captured.sequence = n;
        captured.pace = Pace::Recorded;
        captured.at = Now { monotonic: start.monotonic + elapsed, wall: start.wall + elapsed };
        let mut views = None;
        pipeline.process(&captured, captured.at, &mut |candidate| {
            views.get_or_insert(candidate.evidence.views);
        })?;
        if let Some(views) = views {
            return Ok(Some(((n as f64 - enters as f64) / f64::from(FPS), views)));
        }
    }
    Ok(None)
}

impl WalkTimes {
    /// Its row.
    pub fn row(&self) -> [String; 5] {
        let known = |s: Option<f64>| s.map_or_else(|| "-".to_owned(), |s| format!("{s:.2}"));
        let views = match self.views {
            Some([fewest, most]) if fewest == most => fewest.to_string(),
            Some([fewest, most]) => format!("{fewest} to {most}"),
            None => "-".into(),
        };
        [
            format!("{:.1}", self.frames_a_second),
            format!("{} of {}", self.found, self.walks),
            views,
            known(self.seconds),
            known(self.most_seconds),
        ]
    }
}
