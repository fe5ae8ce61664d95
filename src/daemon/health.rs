//! Whether the threads are alive, judged by what they do, and reported to the service manager.
//!
//! * Frames that were processed feed the watchdog.
//! * Where no frame comes because the camera is away, a restart would not bring it back: the
//!   watchdog is fed all the same. The service's status line and the published status say why
//!   nobody is matched.
//! * A restart helps where a thread hangs: in a driver's call, in a network's arithmetic, in a
//!   resolver. Then nothing is fed, and the log names the thread.
//! * A thread that waits on purpose, for a picture to be taken or for the next attempt, says that
//!   it is alive. Pictures that wait for orders are no stall, for however long.
//! * A thread counts as hung only after a time that its slowest regular step does not need
//!   ([`WatchedThread::time_limit`]).
//! * Whether the broker answers is not judged here: delivery does that, and candidates wait in the
//!   outbox.
//!
//! Sans-IO: the clock is passed in.

use std::fmt;
use std::time::Duration;

/// A thread that can hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchedThread {
    /// Waits for frames.
    Capture,
    /// Looks at them.
    Vision,
    /// Talks to the broker.
    Delivery,
}

impl WatchedThread {
    /// All of them, in the order of the data.
    pub const ALL: [WatchedThread; 3] =
        [WatchedThread::Capture, WatchedThread::Vision, WatchedThread::Delivery];

    /// How long the thread may give no sign of life.
    pub fn time_limit(self) -> Duration {
        Duration::from_secs(match self {
            // A source answers within about a second; opening one takes a few where a bus is slow.
            WatchedThread::Capture => 20,
            // Half a second between two checks of the list, and one frame: a crowd in a large
            // picture on a small board.
            WatchedThread::Vision => 20,
            // The time between two searches for expired candidates.
            WatchedThread::Delivery => 90,
        })
    }
}

impl fmt::Display for WatchedThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WatchedThread::Capture => "capture",
            WatchedThread::Vision => "vision",
            WatchedThread::Delivery => "delivery",
        })
    }
}

/// What can be seen of the threads from outside: numbers that grow while they work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// Signs of life, in the order of [`WatchedThread::ALL`].
    pub beats: [u64; 3],
    /// Frames that the source gave.
    pub captured: u64,
    /// Frames that were looked at.
    pub processed: u64,
    /// Recorded pictures wait until orders are heard, and are not to be looked at before.
    pub pictures_wait: bool,
    /// Why no frame comes, where the source says so.
    pub no_frames: Option<String>,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Frames are processed.
    Working,
    /// None come, and why; a restart would not help.
    NoFrames(String),
    /// A thread hangs.
    Hung(WatchedThread),
    /// Frames come and none is processed.
    Stalled,
}

impl Health {
    /// Whether the watchdog is fed.
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Working | Self::NoFrames(_))
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Working => f.write_str("frames are processed"),
            Self::NoFrames(reason) => write!(f, "no frame comes: {reason}"),
            Self::Hung(thread) => {
                write!(
                    f,
                    "the {thread} thread has given no sign of life for {} s",
                    thread.time_limit().as_secs()
                )
            }
            Self::Stalled => f.write_str("frames come, and none is processed"),
        }
    }
}

/// Watches the threads.
#[derive(Debug)]
pub struct HealthMonitor {
    seen: Activity,
    /// When each thread last gave a sign of life.
    alive: [Duration; 3],
    /// Since when frames come without one being processed.
    unprocessed: Option<Duration>,
}

impl HealthMonitor {
    /// Nothing has happened at `now` (monotonic).
    pub fn new(now: Duration) -> Self {
        Self { seen: Activity::default(), alive: [now; 3], unprocessed: None }
    }

    /// Judges what is to be seen at `now` (monotonic).
    pub fn judge(&mut self, activity: Activity, now: Duration) -> Health {
        for (i, alive) in self.alive.iter_mut().enumerate() {
            if activity.beats[i] != self.seen.beats[i] {
                *alive = now;
            }
        }
        if activity.processed != self.seen.processed || activity.pictures_wait {
            self.unprocessed = None;
        } else if activity.captured != self.seen.captured {
            self.unprocessed.get_or_insert(now);
        }
        self.seen = activity;
        let hung = WatchedThread::ALL
            .into_iter()
            .enumerate()
            .find(|(i, s)| now.saturating_sub(self.alive[*i]) >= s.time_limit());
        match hung {
            Some((_, thread)) => Health::Hung(thread),
            None if self.unprocessed.is_some_and(|since| {
                now.saturating_sub(since) >= WatchedThread::Vision.time_limit()
            }) =>
            {
                Health::Stalled
            }
            None => self.seen.no_frames.clone().map_or(Health::Working, Health::NoFrames),
        }
    }
}

/// The service manager, where there is one.
#[derive(Debug)]
pub struct ServiceManager {
    /// How often its watchdog must be fed.
    feed_every: Option<Duration>,
    fed: Option<Duration>,
    /// The status line that was sent last.
    sent: String,
}

impl ServiceManager {
    /// Reads from the environment whether there is a manager and a watchdog.
    pub fn find() -> Self {
        // Half of the time, so that one late round costs nothing.
        Self {
            feed_every: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            fed: None,
            sent: String::new(),
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

    /// Sends the status line where it changed, and feeds the watchdog where it is due and
    /// everything is alive.
    pub fn report(&mut self, health: &Health, status: &str, now: Duration) {
        if status != self.sent {
            send(&[sd_notify::NotifyState::Status(status)]);
            status.clone_into(&mut self.sent);
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
        log::debug!("The service manager cannot be notified: error={error}.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Lets `seconds` pass in which the threads in `living` beat and frames are captured and
    /// processed as said.
    fn pass(
        monitor: &mut HealthMonitor,
        seconds: u32,
        living: [bool; 3],
        captured: bool,
        processed: bool,
        from: u32,
    ) -> Health {
        let mut activity = monitor.seen.clone();
        let mut health = Health::Working;
        for second in 1..=seconds {
            for (beat, lives) in activity.beats.iter_mut().zip(living) {
                *beat += u64::from(lives);
            }
            activity.captured += u64::from(captured);
            activity.processed += u64::from(processed);
            health = monitor.judge(activity.clone(), SECOND * (from + second));
        }
        health
    }

    #[test]
    fn while_frames_are_processed_all_is_well() {
        let mut monitor = HealthMonitor::new(Duration::ZERO);
        assert_eq!(pass(&mut monitor, 300, [true; 3], true, true, 0), Health::Working);
    }

    #[test]
    fn a_hung_camera_a_hung_network_and_a_hung_link_are_distinguished() {
        for (thread, living) in WatchedThread::ALL.into_iter().zip([
            [false, true, true],
            [true, false, true],
            [true, true, false],
        ]) {
            let mut monitor = HealthMonitor::new(Duration::ZERO);
            pass(&mut monitor, 10, [true; 3], true, true, 0);
            let limit = thread.time_limit().as_secs() as u32;
            let before = pass(&mut monitor, limit - 1, living, false, false, 10);
            assert!(before.is_alive(), "{thread} too early: {before}");
            assert_eq!(
                pass(&mut monitor, 1, living, false, false, 10 + limit - 1),
                Health::Hung(thread)
            );
        }
    }

    #[test]
    fn frames_that_come_and_are_not_processed_stop_the_feeding() {
        let mut monitor = HealthMonitor::new(Duration::ZERO);
        pass(&mut monitor, 10, [true; 3], true, true, 0);
        assert_eq!(pass(&mut monitor, 30, [true; 3], true, false, 10), Health::Stalled);
        assert_eq!(pass(&mut monitor, 1, [true; 3], true, true, 40), Health::Working);
    }

    #[test]
    fn pictures_that_wait_for_orders_are_no_stall_and_a_thread_that_hangs_meanwhile_is_found() {
        let mut monitor = HealthMonitor::new(Duration::ZERO);
        // Seen before the vision thread has said that they wait, and once more when they do not.
        let captured = Activity { beats: [1; 3], captured: 2, ..Activity::default() };
        assert_eq!(monitor.judge(captured.clone(), SECOND), Health::Working);
        let at = |second: u32, beats| Activity {
            beats,
            pictures_wait: true,
            captured: 2 + u64::from(second % 2),
            ..Activity::default()
        };
        for second in 2..100 {
            let beats = [u64::from(second); 3];
            assert_eq!(monitor.judge(at(second, beats), SECOND * second), Health::Working);
        }
        for (thread, beats) in
            [(WatchedThread::Capture, [99, 0, 0]), (WatchedThread::Vision, [0, 99, 0])]
        {
            let mut monitor = HealthMonitor::new(Duration::ZERO);
            let health = (1..60).map(|second| {
                let beats = beats.map(|fixed| if fixed > 0 { fixed } else { u64::from(second) });
                monitor.judge(at(second, beats), SECOND * second)
            });
            assert_eq!(health.last(), Some(Health::Hung(thread)));
        }
    }

    #[test]
    fn a_camera_that_is_away_is_no_reason_to_restart() {
        let mut monitor = HealthMonitor::new(Duration::ZERO);
        let activity = Activity { no_frames: Some("unplugged".into()), ..Activity::default() };
        let mut beats = 0;
        for second in 1..600 {
            beats += 1;
            let activity = Activity { beats: [beats; 3], ..activity.clone() };
            assert_eq!(
                monitor.judge(activity, SECOND * second),
                Health::NoFrames("unplugged".into())
            );
        }
    }
}
