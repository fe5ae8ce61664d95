//! Whether a camera sees faces well enough to find anybody, from counts of views.
//!
//! * Most views of the last quarter of an hour are hardly able to match ([`HardlyAble`]): said,
//!   with the reason and what to do. Where fewer than [`LEAST_VIEWS`] were embedded in it, the last
//!   hour is looked at; where fewer in that too, nothing is said.
//! * It begins at [`BEGINS`] of the views and ends at [`ENDS`], so that it does not flicker.
//! * Counts only, nothing about a person. Sans-IO: the clock is passed in.
//!
//! Not promised: that a camera of which nothing is said finds everybody. Views that are turned away
//! before they are embedded are counted elsewhere (`pipeline.vision.too_poor`).

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::HardlyAble;
use crate::geometry::Turn;

/// Views embedded since the start, and those of them that are hardly able to match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ViewCounts {
    /// All.
    pub embedded: u64,
    /// In the order of [`HardlyAble::ALL`].
    pub hardly_able: [u64; HardlyAble::ALL.len()],
    /// Tracks of which a view was embedded.
    pub viewed_tracks: u64,
    /// Tracks of which a face was surer when turned by a quarter or a half.
    pub lying_tracks: u64,
    /// Those of them that would stand with one of [`Turn::ALL`], in that order.
    pub upright_if_rotated: [u64; Turn::ALL.len()],
}

/// Fewest views that say anything. Of 30 good ones, 2.6 % of which are marked, half are never.
pub const LEAST_VIEWS: u64 = 30;
/// Fewest tracks that say how the camera is mounted: somebody may lie down before it.
pub const LEAST_TRACKS: u64 = 10;
/// Share of views hardly able to match, or of tracks that lie, at which it is said.
pub const BEGINS: f64 = 0.5;
/// Share at which it is no longer said.
pub const ENDS: f64 = 0.4;
/// Length of a step of time, and how many are looked at: a quarter of an hour, or an hour.
const STEP: Duration = Duration::from_secs(60);
const SHORT: usize = 15;
const LONG: usize = 60;

/// Why hardly anybody can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoorSight {
    /// Most views are hardly able to match, for this reason more than for any other.
    HardlyAble(HardlyAble),
    /// Most faces lie on their side or stand on their head: they score better turned.
    Turned {
        /// The turn of the captured picture with which most of them would stand, if there is one.
        rotate: Option<Turn>,
    },
}

/// What to do about a camera whose picture has to be turned by so many degrees.
macro_rules! rotate {
    ($degrees:literal) => {
        concat!(
            "set ",
            setting!(source.rotate),
            " = ",
            $degrees,
            " and start the daemon anew, or mount the camera upright"
        )
    };
}

impl PoorSight {
    /// What to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Turned { rotate: Some(Turn::Zero) } => rotate!("0"),
            Self::Turned { rotate: Some(Turn::Quarter) } => rotate!("90"),
            Self::Turned { rotate: Some(Turn::Half) } => rotate!("180"),
            Self::Turned { rotate: Some(Turn::ThreeQuarters) } => rotate!("270"),
            Self::Turned { rotate: None } => {
                concat!(
                    "mount the camera upright, or set ",
                    setting!(source.rotate),
                    " = 90, 180 or 270, so that people stand upright in its picture"
                )
            }
            Self::HardlyAble(HardlyAble::Blurred) => {
                "focus the lens on where people pass, and clean it; shorten the exposure time and \
                 add light where people smear"
            }
            Self::HardlyAble(HardlyAble::Noisy) => {
                "add light or open the aperture, so that the camera needs less gain; let it \
                 compress less"
            }
            Self::HardlyAble(HardlyAble::Dark) => {
                "add light where people pass, from the camera's side; do not let the camera look \
                 against a window or a lamp"
            }
        }
    }
}

impl fmt::Display for PoorSight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Turned { .. } => "most faces score better turned, and cannot match as they lie",
            Self::HardlyAble(HardlyAble::Blurred) => "most views are hardly able to match: blurred",
            Self::HardlyAble(HardlyAble::Noisy) => "most views are hardly able to match: noisy",
            Self::HardlyAble(HardlyAble::Dark) => {
                "most views are hardly able to match: dark or flat"
            }
        };
        write!(f, "{what}; {}", self.remedy())
    }
}

impl ViewCounts {
    fn since(&self, before: &Self) -> Self {
        let mut since = Self {
            embedded: self.embedded.saturating_sub(before.embedded),
            hardly_able: self.hardly_able,
            viewed_tracks: self.viewed_tracks.saturating_sub(before.viewed_tracks),
            lying_tracks: self.lying_tracks.saturating_sub(before.lying_tracks),
            upright_if_rotated: self.upright_if_rotated,
        };
        let Self { hardly_able, upright_if_rotated, .. } = &mut since;
        let hardly_able = hardly_able.iter_mut().zip(before.hardly_able);
        let turned = upright_if_rotated.iter_mut().zip(before.upright_if_rotated);
        for (now, before) in hardly_able.chain(turned) {
            *now = now.saturating_sub(before);
        }
        since
    }

    /// The share that is hardly able to match; `None` of fewer than [`LEAST_VIEWS`].
    fn poor(&self) -> Option<f64> {
        let poor: u64 = self.hardly_able.iter().sum();
        (self.embedded >= LEAST_VIEWS).then(|| poor as f64 / self.embedded as f64)
    }

    /// The share of tracks that lie; `None` of fewer than [`LEAST_TRACKS`].
    fn lying(&self) -> Option<f64> {
        let all = self.viewed_tracks + self.lying_tracks;
        (all >= LEAST_TRACKS).then(|| self.lying_tracks as f64 / all as f64)
    }

    /// That the camera is turned, and by how much where most that lie agree.
    fn turned(&self) -> PoorSight {
        let count = |turn: &Turn| self.upright_if_rotated[*turn as usize];
        let rotate = Turn::ALL.into_iter().find(|turn| 2 * count(turn) > self.lying_tracks);
        PoorSight::Turned { rotate }
    }

    fn most_frequent(&self) -> HardlyAble {
        let count = |r: &HardlyAble| self.hardly_able[*r as usize];
        HardlyAble::ALL.into_iter().rev().max_by_key(count).expect("there are reasons")
    }

    /// What these views say, taken together.
    pub fn judge(&self) -> Option<PoorSight> {
        if self.lying() >= Some(BEGINS) {
            return Some(self.turned());
        }
        (self.poor()? >= BEGINS).then(|| PoorSight::HardlyAble(self.most_frequent()))
    }
}

/// Watches the counts of a camera.
#[derive(Debug, Default)]
pub struct Outlook {
    /// Counts at the ends of past steps, the newest last, and when the newest was taken.
    past: VecDeque<ViewCounts>,
    newest: Duration,
    said: Option<PoorSight>,
}

impl Outlook {
    /// What is to be said at `now` (monotonic), the counts being `counts`.
    pub fn judge(&mut self, counts: ViewCounts, now: Duration) -> Option<PoorSight> {
        if self.past.is_empty() {
            self.past.push_back(counts);
            self.newest = now;
        } else if now.saturating_sub(self.newest) >= STEP {
            self.past.push_back(counts);
            self.newest = now;
            if self.past.len() > LONG {
                self.past.pop_front();
            }
        }
        let ago = |steps: usize| {
            let at = self.past.len().saturating_sub(steps);
            self.past.get(at).map_or(counts, |then| counts.since(then))
        };
        let windows = [SHORT, LONG].map(ago);
        let is_said = matches!(self.said, Some(PoorSight::Turned { .. }));
        let least = if is_said { ENDS } else { BEGINS };
        let enough = windows.iter().find_map(|views| Some((views, views.lying()?)));
        if let Some((views, lying)) = enough
            && lying >= least
        {
            self.said = Some(views.turned());
            return self.said;
        }
        let lately = windows.into_iter().find(|views| views.embedded >= LEAST_VIEWS);
        let said = match self.said {
            Some(PoorSight::HardlyAble(reason)) => Some(reason),
            _ => None,
        };
        self.said = match (lately, said) {
            (None, _) => None,
            (Some(views), None) => {
                views.poor().filter(|poor| *poor >= BEGINS).map(|_| views.most_frequent())
            }
            (Some(views), Some(said)) if views.poor() >= Some(ENDS) => {
                // Another reason must be clearly the more frequent one.
                let other = views.most_frequent();
                let count = |r: HardlyAble| views.hardly_able[r as usize];
                if 2 * count(said) >= count(other) { Some(said) } else { Some(other) }
            }
            (Some(_), Some(_)) => None,
        }
        .map(PoorSight::HardlyAble);
        self.said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(embedded: u64, blurred: u64, noisy: u64, dark: u64) -> ViewCounts {
        ViewCounts { embedded, hardly_able: [blurred, noisy, dark], ..ViewCounts::default() }
    }

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    #[test]
    fn most_views_hardly_able_to_match_are_said_with_the_most_frequent_reason() {
        assert_eq!(counts(29, 29, 0, 0).judge(), None, "too few views");
        assert_eq!(counts(30, 14, 0, 0).judge(), None, "fewer than half");
        assert_eq!(counts(30, 7, 0, 8).judge(), Some(PoorSight::HardlyAble(HardlyAble::Dark)));
        assert_eq!(counts(100, 30, 40, 20).judge(), Some(PoorSight::HardlyAble(HardlyAble::Noisy)));
        for reason in HardlyAble::ALL {
            assert!(
                PoorSight::HardlyAble(reason)
                    .to_string()
                    .contains(PoorSight::HardlyAble(reason).remedy())
            );
        }
    }

    #[test]
    fn the_night_is_said_and_the_morning_takes_it_back_within_a_quarter_of_an_hour() {
        let mut outlook = Outlook::default();
        let (mut c, mut at) = (counts(1000, 0, 0, 0), 0);
        assert_eq!(outlook.judge(c, minutes(at)), None);
        // Four views a minute, all dark.
        let mut said_after = None;
        for minute in 1..=60 {
            at += 1;
            c.embedded += 4;
            c.hardly_able[2] += 4;
            if outlook.judge(c, minutes(at)).is_some() {
                said_after.get_or_insert(minute);
            }
        }
        assert_eq!(said_after, Some(8), "thirty views are enough, a thousand good ones forgotten");
        for minute in 1..=15 {
            at += 1;
            c.embedded += 4;
            if outlook.judge(c, minutes(at)).is_none() {
                assert!(minute > 5);
                return;
            }
        }
        panic!("still said");
    }

    #[test]
    fn a_quiet_place_is_judged_by_its_last_hour_and_an_empty_one_not_at_all() {
        let mut outlook = Outlook::default();
        let mut c = ViewCounts::default();
        let mut said = None;
        for minute in 0..60 {
            said = outlook.judge(c, minutes(minute));
            c.embedded += 1;
            c.hardly_able[0] += 1;
        }
        assert_eq!(said, Some(PoorSight::HardlyAble(HardlyAble::Blurred)));
        for minute in 60..200 {
            said = outlook.judge(c, minutes(minute));
        }
        assert_eq!(said, None);
    }

    #[test]
    fn a_camera_on_its_side_is_said_from_ten_faces_on_and_no_single_person_who_lies_down() {
        let lying = |viewed, lying| ViewCounts {
            viewed_tracks: viewed,
            lying_tracks: lying,
            ..counts(viewed * 5, 0, 0, 0)
        };
        assert_eq!(lying(0, 9).judge(), None);
        assert_eq!(lying(6, 5).judge(), None);
        const TURNED: PoorSight = PoorSight::Turned { rotate: None };
        assert_eq!(lying(2, 8).judge(), Some(TURNED));
        let dark = ViewCounts { hardly_able: [0, 0, 40], embedded: 40, ..lying(5, 5) };
        assert_eq!(dark.judge(), Some(TURNED), "first what makes all others useless");
        assert!(TURNED.to_string().contains(TURNED.remedy()));

        let mut outlook = Outlook::default();
        assert_eq!(outlook.judge(lying(0, 0), minutes(0)), None);
        assert_eq!(outlook.judge(lying(5, 5), minutes(1)), Some(TURNED));
        assert_eq!(outlook.judge(lying(6, 5), minutes(1)), Some(TURNED), "no flicker");
        assert_eq!(outlook.judge(lying(9, 5), minutes(1)), None, "the camera was turned");
        assert_eq!(outlook.judge(lying(9, 8), minutes(1)), None, "from half on again");
    }

    #[test]
    fn a_camera_on_its_side_is_said_with_the_setting_that_most_faces_agree_on() {
        let counts = |upright_if_rotated: [u64; 4]| ViewCounts {
            lying_tracks: 10,
            upright_if_rotated,
            ..ViewCounts::default()
        };
        for turn in Turn::ALL {
            let mut turns = [1; 4];
            turns[turn as usize] = 6;
            let said = counts(turns).judge().unwrap();
            assert_eq!(said, PoorSight::Turned { rotate: Some(turn) });
            let setting = format!("source.rotate = {} ", turn.degrees());
            assert!(said.to_string().contains(&setting), "{said}");
        }
        let undecided = counts([0, 5, 0, 5]).judge().unwrap();
        assert!(undecided.to_string().contains("source.rotate = 90, 180 or 270"), "{undecided}");

        // What was counted before a quarter of an hour is not counted again.
        let mut outlook = Outlook::default();
        outlook.judge(counts([0, 0, 10, 0]), minutes(0));
        let later = ViewCounts { lying_tracks: 20, ..counts([0, 10, 10, 0]) };
        let said = Some(PoorSight::Turned { rotate: Some(Turn::Quarter) });
        assert_eq!(outlook.judge(later, minutes(1)), said);
    }

    #[test]
    fn it_does_not_flicker_at_the_limit_nor_between_reasons() {
        let mut outlook = Outlook::default();
        outlook.judge(ViewCounts::default(), minutes(0));
        assert!(outlook.judge(counts(100, 50, 0, 0), minutes(1)).is_some());
        let blurred = Some(PoorSight::HardlyAble(HardlyAble::Blurred));
        assert_eq!(outlook.judge(counts(110, 50, 0, 0), minutes(1)), blurred);
        assert_eq!(outlook.judge(counts(160, 50, 0, 60), minutes(1)), blurred);
        let dark = Some(PoorSight::HardlyAble(HardlyAble::Dark));
        assert_eq!(outlook.judge(counts(210, 50, 0, 110), minutes(1)), dark);
        assert_eq!(outlook.judge(counts(500, 50, 0, 110), minutes(1)), None);
    }
}
