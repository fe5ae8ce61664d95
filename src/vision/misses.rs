//! How often a listed person is missed, as it was measured for an embedder.
//!
//! * A figure is of entries of so many photographs against the mean of so many views, at a
//!   similarity; beside it stands its upper bound.
//! * Between two rows the figure is that of the stricter one, so that none is too small. Beyond the
//!   last row nothing is said.
//! * Decides nothing: `watchpost watchlist plan` shows it.

use serde::{Deserialize, Serialize};

/// `[[embedder.misses]]` of a manifest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissCurve {
    /// Photographs of an entry.
    pub photographs: u32,
    /// Fewest and most views of a track whose mean is compared.
    pub views: [u32; 2],
    /// The set of photographs.
    pub source: String,
    /// Different people.
    pub people: u32,
    /// Cosine similarity, rising; the share of people missed at it, people counted alike; and that
    /// share's upper bound, one-sided, 95 %. Both never fall.
    pub rows: Vec<(f32, f64, f64)>,
}

/// The share of listed people missed at a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Missed {
    /// As measured, 0 to 1.
    pub share: f64,
    /// Its upper bound, one-sided, 95 %.
    pub upper: f64,
}

impl MissCurve {
    /// The share missed at `threshold`; `None` beyond what was measured.
    pub fn at(&self, threshold: f32) -> Option<Missed> {
        let row = self.rows.iter().find(|row| row.0 >= threshold)?;
        Some(Missed { share: row.1, upper: row.2 })
    }

    /// What is wrong with it: a key and what it must be.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let require = |good: bool, key, reason: &str| {
            if good { Ok(()) } else { Err((key, reason.to_owned())) }
        };
        require(self.photographs >= 1, "embedder.misses.photographs", "must be 1 or more")?;
        let [fewest, most] = self.views;
        let views = 1 <= fewest && fewest <= most;
        require(views, "embedder.misses.views", "must be the fewest and the most views")?;
        require(self.people >= 2, "embedder.misses.people", "must be 2 or more")?;
        // Written so that what is not a number is refused.
        let sound = |(t, share, upper): &(f32, f64, f64)| {
            (-1.0..=1.0).contains(t) && (0.0..=*upper).contains(share) && *upper <= 1.0
        };
        let ordered =
            self.rows.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1 && w[0].2 <= w[1].2);
        require(
            !self.rows.is_empty() && self.rows.iter().all(sound) && ordered,
            "embedder.misses.rows",
            "must be [similarity, share missed, upper bound], similarities rising, shares from 0 \
             to 1 that never fall",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::Models;

    fn curve(rows: &[(f32, f64, f64)]) -> MissCurve {
        MissCurve {
            photographs: 3,
            views: [4, 8],
            source: "a test".into(),
            people: 73,
            rows: rows.to_vec(),
        }
    }

    #[test]
    fn between_rows_the_stricter_one_counts_and_beyond_the_last_nothing_is_said() {
        let curve = curve(&[(0.5, 0.0, 0.04), (0.6, 0.02, 0.08)]);
        assert_eq!(curve.at(0.3), Some(Missed { share: 0.0, upper: 0.04 }));
        assert_eq!(curve.at(0.51), Some(Missed { share: 0.02, upper: 0.08 }));
        assert_eq!(curve.at(0.6), Some(Missed { share: 0.02, upper: 0.08 }));
        assert_eq!(curve.at(0.61), None);
    }

    #[test]
    fn rows_that_are_no_measurement_are_refused() {
        for rows in [
            &[][..],
            &[(f32::NAN, 0.0, 0.1)],
            &[(0.5, f64::NAN, 0.1)],
            &[(0.5, 0.2, 0.1)],
            &[(0.5, 0.0, 1.1)],
            &[(0.5, 0.0, 0.1), (0.5, 0.1, 0.2)],
            &[(0.5, 0.1, 0.2), (0.6, 0.0, 0.3)],
        ] {
            assert_eq!(curve(rows).check().unwrap_err().0, "embedder.misses.rows", "{rows:?}");
        }
    }

    #[test]
    fn the_built_in_embedder_has_figures_for_what_plan_shows() {
        let models = Models::builtin().expect("built in");
        for photographs in 1..=3 {
            for views in [[2, 2], [4, 4], [4, 8]] {
                let of = |m: &&MissCurve| m.photographs == photographs && m.views == views;
                assert!(models.manifest.embedder.misses.iter().any(|m| of(&m)), "{views:?}");
            }
        }
    }
}
