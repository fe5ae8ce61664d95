//! The scene as a source: what a camera in that hall would deliver, as fast as it is taken.

use std::time::Duration;

use super::scene::{FPS, Scene};
use crate::clock::{Clock, Now};
use crate::source::{Captured, Pace, Payload, Source, SourceCounters, SourceError};

/// Plays a [`Scene`]. Frames are dated as if they came at [`super::scene::FPS`], however fast they
/// are taken: a slow machine sees the same walk as a fast one.
pub struct SceneSource {
    scene: Scene,
    start: Now,
    next: u64,
}

impl SceneSource {
    /// The scene from its first frame.
    pub fn new(scene: Scene, clock: Clock) -> Self {
        Self { scene, start: clock.now(), next: 0 }
    }
}

impl Source for SceneSource {
    fn next(&mut self, into: &mut Captured) -> Result<(), SourceError> {
        if !self.scene.frame(self.next, &mut into.bytes) {
            return Err(SourceError::Ended);
        }
        let elapsed = Duration::from_secs_f64(self.next as f64 / f64::from(FPS));
        into.payload = Payload::Raw(Scene::layout());
        into.sequence = self.next;
        into.discontinuity = false;
        into.pace = Pace::Recorded;
        into.at =
            Now { monotonic: self.start.monotonic + elapsed, wall: self.start.wall + elapsed };
        self.next += 1;
        Ok(())
    }

    fn describe(&self) -> String {
        format!("bundled scene {}x{} at {FPS} fps", super::scene::WIDTH, super::scene::HEIGHT)
    }

    fn counters(&self) -> SourceCounters {
        SourceCounters { frames: self.next, ..SourceCounters::default() }
    }
}
