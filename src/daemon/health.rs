//! Whether the stages are alive, judged by what they do, and told to the service manager.
//!
//! The watchdog is fed by frames that were processed. Where none come because the camera is away, a
//! restart would not bring it back: the watchdog is fed all the same, the service's status line and
//! the published status say why nobody is matched. What a restart can mend is a thread that hangs:
//! in a driver's call, in a network's arithmetic, in a resolver. Then nothing is fed, and the log
//! names the stage.
//!
//! Promises: sans-IO, the clock is passed in; a stage counts as hung only after a time that its
//! slowest lawful step does not need ([`Stage::patience`]). Does not judge whether the broker
//! answers: delivery does that itself, and candidates wait in the outbox.

use std::fmt;
use std::time::Duration;

/// A thread that can hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waits for frames.
    Capture,
    /// Looks at them.
    Vision,
    /// Talks to the broker.
    Delivery,
}

impl Stage {
    /// All stages, in the order of the data.
    pub const ALL: [Stage; 3] = [Stage::Capture, Stage::Vision, Stage::Delivery];

    /// How long the stage may give no sign of life.
    pub fn patience(self) -> Duration {
        Duration::from_secs(match self {
            // A source answers within about a second; opening one takes a few where a bus is slow.
            Stage::Capture => 20,
            // Half a second between two looks at the list, and one frame: a crowd in a large
            // picture on a small board.
            Stage::Vision => 20,
            // Between two looks for expired candidates.
            Stage::Delivery => 90,
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Capture => "capture",
            Stage::Vision => "vision",
            Stage::Delivery => "delivery",
        })
    }
}

/// What can be seen of the stages from outside: numbers that grow while they work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// Signs of life, in the order of [`Stage::ALL`].
    pub beats: [u64; 3],
    /// Frames that the source gave.
    pub captured: u64,
    /// Frames that were looked at.
    pub processed: u64,
    /// Why no frame comes, where the source says so.
    pub away: Option<String>,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Frames are processed.
    Well,
    /// None come, and why; a restart would not help.
    Away(String),
    /// A thread hangs.
    Hung(Stage),
    /// Frames come and none is processed.
    Stuck,
}

impl Health {
    /// Whether the watchdog is fed.
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Well | Self::Away(_))
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("frames are processed"),
            Self::Away(reason) => write!(f, "no frame comes: {reason}"),
            Self::Hung(stage) => {
                write!(
                    f,
                    "the {stage} thread has given no sign of life for {} s",
                    stage.patience().as_secs()
                )
            }
            Self::Stuck => f.write_str("frames come, and none is processed"),
        }
    }
}

/// Watches the stages.
#[derive(Debug)]
pub struct Pulse {
    seen: Signs,
    /// When each stage last gave a sign.
    alive: [Duration; 3],
    /// Since when frames come without one being processed.
    unprocessed: Option<Duration>,
}

impl Pulse {
    /// Nothing has happened at `now` (monotonic).
    pub fn new(now: Duration) -> Self {
        Self { seen: Signs::default(), alive: [now; 3], unprocessed: None }
    }

    /// Judges what is to be seen at `now` (monotonic).
    pub fn judge(&mut self, signs: Signs, now: Duration) -> Health {
        for (i, alive) in self.alive.iter_mut().enumerate() {
            if signs.beats[i] != self.seen.beats[i] {
                *alive = now;
            }
        }
        if signs.processed != self.seen.processed {
            self.unprocessed = None;
        } else if signs.captured != self.seen.captured {
            self.unprocessed.get_or_insert(now);
        }
        self.seen = signs;
        let hung = Stage::ALL
            .into_iter()
            .enumerate()
            .find(|(i, s)| now.saturating_sub(self.alive[*i]) >= s.patience());
        match hung {
            Some((_, stage)) => Health::Hung(stage),
            None if self
                .unprocessed
                .is_some_and(|since| now.saturating_sub(since) >= Stage::Vision.patience()) =>
            {
                Health::Stuck
            }
            None => self.seen.away.clone().map_or(Health::Well, Health::Away),
        }
    }
}

/// The service manager, where there is one.
#[derive(Debug)]
pub struct ServiceManager {
    /// How often its watchdog wants to hear of us.
    feed_every: Option<Duration>,
    fed: Option<Duration>,
    told: String,
}

impl ServiceManager {
    /// Reads from the environment whether there is a manager and a watchdog.
    pub fn find() -> Self {
        // Half of the time, so that one late round costs nothing.
        Self {
            feed_every: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            fed: None,
            told: String::new(),
        }
    }

    /// The daemon has started.
    pub fn ready(&self) {
        send(&[sd_notify::NotifyState::Ready]);
    }

    /// The daemon ends.
    pub fn stopping(&self) {
        send(&[sd_notify::NotifyState::Stopping]);
    }

    /// Tells the status line where it changed, and feeds the watchdog where it is due and
    /// everything is alive.
    pub fn tell(&mut self, health: &Health, status: &str, now: Duration) {
        if status != self.told {
            send(&[sd_notify::NotifyState::Status(status)]);
            status.clone_into(&mut self.told);
        }
        let due = self
            .feed_every
            .is_some_and(|every| self.fed.is_none_or(|fed| now.saturating_sub(fed) >= every));
        if due && health.is_alive() {
            send(&[sd_notify::NotifyState::Watchdog]);
            self.fed = Some(now);
        }
    }
}

/// Without a manager this does nothing.
fn send(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("The service manager cannot be told: error={error}.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Lets `seconds` pass in which the stages in `living` beat and frames are captured and
    /// processed as said.
    fn pass(
        pulse: &mut Pulse,
        seconds: u32,
        living: [bool; 3],
        captured: bool,
        processed: bool,
        from: u32,
    ) -> Health {
        let mut signs = pulse.seen.clone();
        let mut health = Health::Well;
        for second in 1..=seconds {
            for (beat, lives) in signs.beats.iter_mut().zip(living) {
                *beat += u64::from(lives);
            }
            signs.captured += u64::from(captured);
            signs.processed += u64::from(processed);
            health = pulse.judge(signs.clone(), SECOND * (from + second));
        }
        health
    }

    #[test]
    fn while_frames_are_processed_all_is_well() {
        let mut pulse = Pulse::new(Duration::ZERO);
        assert_eq!(pass(&mut pulse, 300, [true; 3], true, true, 0), Health::Well);
    }

    #[test]
    fn a_hung_camera_a_hung_network_and_a_hung_link_are_told_apart() {
        for (stage, living) in Stage::ALL.into_iter().zip([
            [false, true, true],
            [true, false, true],
            [true, true, false],
        ]) {
            let mut pulse = Pulse::new(Duration::ZERO);
            pass(&mut pulse, 10, [true; 3], true, true, 0);
            let patience = stage.patience().as_secs() as u32;
            let before = pass(&mut pulse, patience - 1, living, false, false, 10);
            assert!(before.is_alive(), "{stage} too early: {before}");
            assert_eq!(
                pass(&mut pulse, 1, living, false, false, 10 + patience - 1),
                Health::Hung(stage)
            );
        }
    }

    #[test]
    fn frames_that_come_and_are_not_processed_stop_the_feeding() {
        let mut pulse = Pulse::new(Duration::ZERO);
        pass(&mut pulse, 10, [true; 3], true, true, 0);
        assert_eq!(pass(&mut pulse, 30, [true; 3], true, false, 10), Health::Stuck);
        assert_eq!(pass(&mut pulse, 1, [true; 3], true, true, 40), Health::Well);
    }

    #[test]
    fn a_camera_that_is_away_is_no_reason_to_restart() {
        let mut pulse = Pulse::new(Duration::ZERO);
        let signs = Signs { away: Some("unplugged".into()), ..Signs::default() };
        let mut beats = 0;
        for second in 1..600 {
            beats += 1;
            let signs = Signs { beats: [beats; 3], ..signs.clone() };
            assert_eq!(pulse.judge(signs, SECOND * second), Health::Away("unplugged".into()));
        }
    }
}
