//! The section `[watchlist]` of the daemon's configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::place::Position;
use crate::problem::Problem;

/// Where the list, the trust file and the device's memory of them are, and where the camera stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchlistConfig {
    /// The signed list, sealed to the device's key. Without a valid one the daemon runs, but
    /// matches nobody.
    pub list: PathBuf,
    /// The key that lists are sealed to (`watchpost key device`), mode 0600. Where absent, the
    /// credential `watchpost-device-key` of the service manager is it, if there is one; without
    /// either, only lists that are not sealed can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_key: Option<PathBuf>,
    /// Takes lists that are not sealed although there is a device key. They lie on the disk and
    /// cross the network for everybody to read.
    pub accept_plain: bool,
    /// Refuses to match while templates cannot be locked in memory and kept out of dumps. Off only
    /// where the limit cannot be raised and swap is encrypted or absent.
    pub require_locked_memory: bool,
    /// A folder from which lists are taken that an offer names by digest: each is a file named by
    /// its SHA-256. None where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbox: Option<PathBuf>,
    /// The pinned keys of those who may sign, revoke, suspend and review.
    pub trust: PathBuf,
    /// Signed rotations of the pinned keys, which the daemon appends to; `trust.cose` beside
    /// `state` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotations: Option<PathBuf>,
    /// What must survive a restart: the highest version of each list, orders that stop, and the
    /// last time seen. Beside it is `.reserve`, which holds room on a full disk, and beside `list`
    /// is `.seen`, by which a state that is gone or put back is noticed. All belong in a directory
    /// that only the daemon can write: who deletes every trace lets an old list come back.
    pub state: PathBuf,
    /// Refuses to match while the kernel says that its clock is not synchronised. Off only where no
    /// time service is reachable and somebody else answers for the clock; a clock that went back is
    /// refused in any case.
    pub require_synchronised_clock: bool,
    /// Seconds after a start in which nobody is matched unless the orders that the broker keeps for
    /// this device have been heard. Later it is matched with what the device itself remembers, and
    /// the status says so in `degraded` until they are heard. 0: without waiting.
    pub await_orders_s: u32,
    /// Where the camera stands, in degrees (WGS 84). Needed by lists that are restricted to an
    /// area: without it such a list matches nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

impl Default for WatchlistConfig {
    fn default() -> Self {
        Self {
            list: "/var/lib/watchpost/watchlist.cose".into(),
            device_key: None,
            accept_plain: false,
            require_locked_memory: true,
            inbox: None,
            rotations: None,
            trust: "/etc/watchpost/trust.toml".into(),
            state: "/var/lib/watchpost/watchlist-state.json".into(),
            require_synchronised_clock: true,
            await_orders_s: 60,
            position: None,
        }
    }
}

impl WatchlistConfig {
    /// Where rotations of the pinned keys are kept.
    pub fn rotations(&self) -> PathBuf {
        self.rotations.clone().unwrap_or_else(|| self.state.with_file_name("trust.cose"))
    }

    /// How many changes the state has had, kept apart from it.
    pub fn list_seen(&self) -> PathBuf {
        let mut path = self.list.clone().into_os_string();
        path.push(".seen");
        path.into()
    }

    /// Adds what is wrong with the section. Whether the files exist is not a matter of
    /// configuration.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        let mut paths = vec![("list", &self.list), ("trust", &self.trust), ("state", &self.state)];
        let optional = [
            ("device_key", &self.device_key),
            ("inbox", &self.inbox),
            ("rotations", &self.rotations),
        ];
        paths.extend(optional.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?))));
        for (key, path) in &paths {
            if path.as_os_str().is_empty() {
                out.push(Problem {
                    key: format!("watchlist.{key}"),
                    value: "\"\"".into(),
                    remedy: "write the path of a file".into(),
                });
            }
        }
        for (i, (key, path)) in paths.iter().enumerate() {
            if let Some((other, _)) =
                paths[..i].iter().find(|(_, p)| p == path && !path.as_os_str().is_empty())
            {
                out.push(Problem {
                    key: format!("watchlist.{key}"),
                    value: path.display().to_string(),
                    remedy: format!("write another path than that of watchlist.{other}"),
                });
            }
        }
        if let Some(position) = &self.position
            && !position.is_on_earth()
        {
            out.push(Problem {
                key: setting!(watchlist.position).into(),
                value: format!(
                    "{{ latitude = {}, longitude = {} }}",
                    position.latitude, position.longitude
                ),
                remedy: "write degrees: latitude from -90 to 90, longitude from -180 to 180".into(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem_and_survive_toml() {
        let mut out = Vec::new();
        let config = WatchlistConfig::default();
        config.problems(&mut out);
        assert_eq!(out, []);
        assert_eq!(
            toml::from_str::<WatchlistConfig>(&toml::to_string(&config).unwrap()).unwrap(),
            config
        );
        assert!(toml::from_str::<WatchlistConfig>("lst = \"x\"").is_err());
    }

    #[test]
    fn each_problem_names_its_key() {
        let mut out = Vec::new();
        let config = WatchlistConfig {
            list: "".into(),
            trust: "/same".into(),
            state: "/same".into(),
            position: Some(Position { latitude: 91.0, longitude: 0.0 }),
            ..Default::default()
        };
        config.problems(&mut out);
        let keys: Vec<_> = out.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["watchlist.list", "watchlist.state", "watchlist.position"]);
    }
}
