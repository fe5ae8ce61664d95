//! Where and when a list may be used, as flags.

use crate::watchlist::model::{Area, Authorisation, Hours, Position, Window};

// No doc comment: clap would take it for the description of the command.
#[derive(clap::Args)]
pub struct ListBounds {
    /// Part of the week in which the list may be used, as in "mon-fri 06:00-22:00"; may be given
    /// several times. The whole week where absent.
    #[arg(long, value_name = "WINDOW", requires = "utc_offset")]
    hours: Vec<Window>,
    /// Local time of --hours less universal time, as in +02:00. It is fixed: over a change to
    /// summer time the hours are an hour off.
    #[arg(
        long,
        value_name = "HH:MM",
        value_parser = offset,
        allow_hyphen_values = true,
        requires = "hours"
    )]
    utc_offset: Option<i16>,
    /// Corners of an area in degrees in which the list may be used, as in
    /// "52.50,13.40 52.60,13.40 52.50,13.50"; may be given several times. Wherever the devices are
    /// where absent.
    #[arg(long, value_name = "CORNERS", value_parser = area)]
    area: Vec<Area>,
}

impl ListBounds {
    /// Sets what was given; the rest stays.
    pub fn apply(self, to: &mut Authorisation) {
        if let Some(utc_offset_minutes) = self.utc_offset {
            to.hours = Hours { utc_offset_minutes, windows: self.hours };
        }
        if !self.area.is_empty() {
            to.areas = self.area;
        }
    }
}

fn offset(text: &str) -> Result<i16, String> {
    let parse = || {
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+')?),
        };
        let (hours, minutes) = rest.split_once(':')?;
        let two = |part: &str| {
            (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse::<i16>())
        };
        let (hours, minutes) = (two(hours)?.ok()?, two(minutes)?.ok()?);
        (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes))
    };
    parse().ok_or_else(|| "write an offset such as +02:00 or -05:30".into())
}

/// A polygon by its corners.
pub fn area(text: &str) -> Result<Area, String> {
    let corner = |pair: &str| -> Option<Position> {
        let (latitude, longitude) = pair.split_once(',')?;
        let position =
            Position { latitude: latitude.parse().ok()?, longitude: longitude.parse().ok()? };
        position.is_on_earth().then_some(position)
    };
    let corners: Option<Vec<Position>> = text.split_whitespace().map(corner).collect();
    corners.filter(|c| c.len() >= 3).map(Area).ok_or_else(|| {
        "write three or more corners as latitude,longitude with spaces between".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_has_a_sign_and_two_times_two_digits() {
        assert_eq!(offset("+02:00"), Ok(120));
        assert_eq!(offset("-05:30"), Ok(-330));
        assert_eq!(offset("+00:00"), Ok(0));
        for wrong in ["02:00", "+2:00", "+2", "+15:00", "+01:60", "+-1:00", "", "+1x:00"] {
            assert!(offset(wrong).is_err(), "{wrong}");
        }
    }
}
