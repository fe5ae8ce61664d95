//! Whether pictures are really looked at, judged by what became of them and not by the last event.
//!
//! * A picture counts once it was decoded and the networks did not fail on it. What arrives
//!   damaged, cannot be decoded or is never taken over is no sign of life.
//! * [`PATIENCE`] after the last picture that counts, with others since, the answer is why they do
//!   not count. It stays the same while the cause does, so that a status is published once.
//! * Not promised: that nothing arriving at all is noticed. The source says that itself.

use std::fmt;
use std::time::Duration;

/// How long pictures that cannot be used are put up with. A camera that starts, or a link that was
/// cut, recovers within it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What has become of pictures since the start; each count only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pictures {
    /// Handed over by the source.
    pub captured: u64,
    /// Given up by the source: flagged, short, cut off, too large, unreadable.
    pub damaged: u64,
    /// Taken over and decoded, and the networks did not fail.
    pub usable: u64,
    /// Could not be decoded.
    pub undecodable: u64,
    /// The networks failed on them.
    pub failed: u64,
}

/// Why pictures come and none is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// The source gives each of them up.
    Damaged,
    /// None can be decoded.
    Undecodable,
    /// The networks fail on each.
    Failed,
    /// Nobody takes them over.
    Waiting,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "only damaged frames arrive",
            Self::Undecodable => "frames arrive, and none can be decoded",
            Self::Failed => "frames arrive, and the networks fail on each",
            Self::Waiting => "frames arrive, and none is looked at",
        })
    }
}

/// Compares what came with what was looked at, in windows of [`PATIENCE`].
#[derive(Debug, Default)]
pub struct Progress {
    /// The newest counts.
    newest: Pictures,
    /// The counts at the beginning of the window, and when that was (monotonic); `None` while the
    /// last picture that came was usable.
    window: Option<(Pictures, Duration)>,
    obstacle: Option<Unusable>,
}

impl Progress {
    /// Takes over the counts as they are at `now` (monotonic).
    pub fn observe(&mut self, pictures: Pictures, now: Duration) {
        let before = std::mem::replace(&mut self.newest, pictures);
        if pictures.usable != before.usable {
            (self.window, self.obstacle) = (None, None);
            return;
        }
        match self.window {
            None if pictures != before => self.window = Some((before, now)),
            Some((counts, since)) if now.saturating_sub(since) >= PATIENCE => {
                self.obstacle = between(&counts, &pictures);
                self.window = (pictures != counts).then_some((pictures, now));
            }
            _ => {}
        }
    }

    /// Why no picture is looked at.
    pub fn obstacle(&self) -> Option<Unusable> {
        self.obstacle
    }
}

/// What kept the pictures between two counts from being looked at. What lies latest on their way
/// goes first: there the others got through.
fn between(from: &Pictures, to: &Pictures) -> Option<Unusable> {
    if to.failed > from.failed {
        Some(Unusable::Failed)
    } else if to.undecodable > from.undecodable {
        Some(Unusable::Undecodable)
    } else if to.captured > from.captured {
        Some(Unusable::Waiting)
    } else {
        (to.damaged > from.damaged).then_some(Unusable::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Pictures =
        Pictures { captured: 5, damaged: 0, usable: 5, undecodable: 0, failed: 0 };

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// A second a call to `change`, for `seconds`.
    fn run(
        progress: &mut Progress,
        pictures: &mut Pictures,
        from: u64,
        seconds: u64,
        change: impl Fn(&mut Pictures),
    ) -> Option<Unusable> {
        for second in from..from + seconds {
            change(pictures);
            progress.observe(*pictures, secs(second));
        }
        progress.obstacle()
    }

    #[test]
    fn only_bad_frames_are_no_progress_and_the_reason_is_the_present_one() {
        let (mut progress, mut p) = (Progress::default(), Pictures::default());
        let good = |p: &mut Pictures| {
            p.captured += 1;
            p.usable += 1;
        };
        let undecodable = |p: &mut Pictures| {
            p.captured += 1;
            p.undecodable += 1;
        };
        let damaged = |p: &mut Pictures| p.damaged += 1;
        assert_eq!(run(&mut progress, &mut p, 0, 30, good), None);
        assert_eq!(run(&mut progress, &mut p, 30, 9, undecodable), None, "too early to say");
        assert_eq!(run(&mut progress, &mut p, 39, 3, undecodable), Some(Unusable::Undecodable));
        assert_eq!(run(&mut progress, &mut p, 42, 1, good), None, "one is enough");
        assert_eq!(run(&mut progress, &mut p, 43, 12, damaged), Some(Unusable::Damaged));
        assert_eq!(run(&mut progress, &mut p, 55, 21, undecodable), Some(Unusable::Undecodable));
        assert_eq!(run(&mut progress, &mut p, 76, 21, damaged), Some(Unusable::Damaged));
    }

    #[test]
    fn frames_that_were_never_usable_are_said_to_be_so() {
        let (mut progress, mut p) = (Progress::default(), Pictures::default());
        let failing = |p: &mut Pictures| {
            p.captured += 1;
            p.failed += 1;
        };
        assert_eq!(run(&mut progress, &mut p, 100, 12, failing), Some(Unusable::Failed));
    }

    #[test]
    fn a_slow_source_is_no_obstacle_and_one_that_nobody_reads_is() {
        let mut progress = Progress::default();
        progress.observe(START, secs(0));
        progress.observe(START, secs(500));
        assert_eq!(progress.obstacle(), None, "nothing came since");
        progress.observe(Pictures { captured: 6, ..START }, secs(500));
        progress.observe(Pictures { captured: 6, ..START }, secs(501));
        assert_eq!(progress.obstacle(), None);
        progress.observe(Pictures { captured: 9, ..START }, secs(512));
        assert_eq!(progress.obstacle(), Some(Unusable::Waiting));
        progress.observe(Pictures { captured: 9, ..START }, secs(523));
        assert_eq!(progress.obstacle(), None, "now nothing comes, which the source says");
    }
}
