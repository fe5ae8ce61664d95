//! What the log says of the configuration, at each start.

use crate::audit::record::{MAX_PLACE, WeakSetting};
use crate::config::Config;
use crate::config::promises::promises;

/// What people call the place where the camera stands, as much of it as a record takes.
pub fn place(config: &Config) -> Option<String> {
    let place = &config.device.place;
    let end = place.floor_char_boundary(MAX_PLACE.min(place.len()));
    Some(place[..end].to_owned()).filter(|place| !place.is_empty())
}

/// The settings of `config` that weaken a promise, in the order in which a record has them.
pub fn weak_settings(config: &Config) -> Vec<WeakSetting> {
    let promises = promises(config);
    let weak = |key: &str| promises.values().any(|p| p.weakened_by.iter().any(|by| by == key));
    WeakSetting::ALL.iter().copied().filter(|setting| weak(setting.words())).collect()
}
