//! Places in degrees, and polygons of them.

use serde::{Deserialize, Serialize};

/// A place in degrees, WGS 84.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// North positive.
    pub latitude: f64,
    /// East positive.
    pub longitude: f64,
}

impl Position {
    /// Whether both are in range.
    pub fn is_on_earth(&self) -> bool {
        (-90.0..=90.0).contains(&self.latitude) && (-180.0..=180.0).contains(&self.longitude)
    }
}

/// A polygon by its corners, in either direction, the last joined to the first. Must not span the
/// antimeridian.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Area(pub Vec<Position>);

impl Area {
    /// Whether `p` is inside, by the even-odd rule on latitude and longitude as a plane. What is
    /// exactly on an edge may count as either.
    pub fn contains(&self, p: Position) -> bool {
        let mut inside = false;
        for (i, a) in self.0.iter().enumerate() {
            let b = &self.0[(i + 1) % self.0.len()];
            if (a.latitude > p.latitude) != (b.latitude > p.latitude) {
                let t = (p.latitude - a.latitude) / (b.latitude - a.latitude);
                inside ^= p.longitude < a.longitude + t * (b.longitude - a.longitude);
            }
        }
        inside
    }
}
