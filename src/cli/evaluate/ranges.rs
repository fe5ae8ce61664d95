//! Values of flags, each held to its range.

fn bounded(text: &str, low: f32, high: f32) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (low..=high).contains(&value) { Ok(value) } else { Err(format!("must be {low} to {high}")) }
}

/// A share, 0 to 1.
pub fn share(text: &str) -> Result<f32, String> {
    bounded(text, 0.0, 1.0)
}

/// A border as a share of the long side, 0 to 4.
pub fn border(text: &str) -> Result<f32, String> {
    bounded(text, 0.0, 4.0)
}

/// A cosine similarity.
pub fn similarity(text: &str) -> Result<f32, String> {
    bounded(text, -1.0, 1.0)
}

/// A similarity from which people are likely the same: below .3, half of all pairs would be listed.
pub fn likely(text: &str) -> Result<f32, String> {
    bounded(text, 0.3, 1.0)
}

/// The detector's long side in pixels.
pub fn long_side(text: &str) -> Result<usize, String> {
    let range = crate::vision::LONG_SIDE;
    let value: usize = text.parse().map_err(|_| "not a whole number".to_owned())?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("must be {} to {}", range.start(), range.end()))
    }
}
