//! When a list may be used: windows of the week, in local time at a fixed offset.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A text that is no window.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no part of a week: write days and times as in `mon-fri 08:00-18:30` or `sat,sun \
     00:00-24:00`; what goes over midnight is two windows"
)]
pub struct NotAWindow(String);

/// A part of each week, the same on each of its days. As text: `mon-fri 08:00-18:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// Bit 0 is Monday, bit 6 Sunday.
    pub days: u8,
    /// First minute of the day, 0 to 1439.
    pub from_minute: u16,
    /// First minute after the window, up to 1440.
    pub to_minute: u16,
}

impl Window {
    /// Whether the fields are in range and the window is not empty.
    pub fn is_sound(&self) -> bool {
        (1..=0x7f).contains(&self.days)
            && self.from_minute < self.to_minute
            && self.to_minute <= 1440
    }
}

impl FromStr for Window {
    type Err = NotAWindow;

    fn from_str(text: &str) -> Result<Self, NotAWindow> {
        let parse = || {
            let (names, times) = text.trim().split_once(' ')?;
            let day = |name: &str| DAYS.iter().position(|d| *d == name);
            let mut days = 0u8;
            for part in names.split(',') {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let (first, last) = (day(first)?, day(last)?);
                if first > last {
                    return None;
                }
                days |= (first..=last).fold(0, |bits, d| bits | 1 << d);
            }
            let (from, to) = times.trim().split_once('-')?;
            let window = Self { days, from_minute: minute(from)?, to_minute: minute(to)? };
            window.is_sound().then_some(window)
        };
        parse().ok_or_else(|| NotAWindow(text.chars().take(80).collect()))
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2
        || minute.len() != 2
        || !text.bytes().all(|b| b.is_ascii_digit() || b == b':')
    {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60).then_some(hour * 60 + minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut day = 0;
        let mut comma = "";
        while day < 7 {
            let run = (day..7).take_while(|d| self.days >> d & 1 == 1).count();
            if run > 0 {
                write!(f, "{comma}{}", DAYS[day])?;
                if run > 1 {
                    write!(f, "-{}", DAYS[day + run - 1])?;
                }
                comma = ",";
            }
            day += run.max(1);
        }
        let (from, to) = (self.from_minute, self.to_minute);
        write!(f, " {:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl TryFrom<String> for Window {
    type Error = NotAWindow;
    fn try_from(text: String) -> Result<Self, NotAWindow> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

/// When matching is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// Local time less universal time, in minutes. Fixed: a list that lives over a change to summer
    /// time is an hour off.
    pub utc_offset_minutes: i16,
    /// At least one.
    pub windows: Vec<Window>,
}

impl Hours {
    /// The whole week.
    pub fn always() -> Self {
        Self {
            utc_offset_minutes: 0,
            windows: vec![Window { days: 0x7f, from_minute: 0, to_minute: 1440 }],
        }
    }

    /// Whether `at` is inside a window.
    pub fn contain(&self, at: OffsetDateTime) -> bool {
        let minutes = at.unix_timestamp().div_euclid(60) + i64::from(self.utc_offset_minutes);
        // 1970-01-01 was a Thursday, day 3 of a week that starts on Monday.
        let day = (minutes.div_euclid(1440) + 3).rem_euclid(7);
        let minute = minutes.rem_euclid(1440);
        let hit = |w: &Window| {
            w.days >> day & 1 == 1
                && (i64::from(w.from_minute)..i64::from(w.to_minute)).contains(&minute)
        };
        self.windows.iter().any(hit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_are_written_as_people_write_them() {
        for (text, days, from_minute, to_minute) in [
            ("mon-fri 08:00-18:30", 0b001_1111, 480, 1110),
            ("mon,wed-thu,sun 00:00-24:00", 0b100_1101, 0, 1440),
            ("sat 23:59-24:00", 0b010_0000, 1439, 1440),
        ] {
            let window = Window { days, from_minute, to_minute };
            assert_eq!(text.parse(), Ok(window));
            assert_eq!(window.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "mon",
            "mon 08:00",
            "fri-mon 08:00-09:00",
            "mon 09:00-08:00",
            "mon 08:00-08:00",
            "mon 08:00-24:01",
            "mon 8:00-9:00",
            "mon +8:00-09:00",
            "mon 08:60-09:00",
            "lun 08:00-09:00",
            "mon, 08:00-09:00",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_window_survives_its_text(
            days in 1u8..0x80, from_minute in 0u16..1440, length in 1u16..1440,
        ) {
            let window = Window { days, from_minute, to_minute: (from_minute + length).min(1440) };
            prop_assert_eq!(window.to_string().parse(), Ok(window));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}|(mon|sun|,|-| |:|[0-9]){0,20}") {
            let _ = text.parse::<Window>();
        }
    }
}
