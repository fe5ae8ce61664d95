//! The section `[audit]` of the daemon's configuration.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::watchlist::keys::{KeyError, SecretKey};

/// The credential of the service manager that holds the identity.
pub const CREDENTIAL: &str = "watchpost-identity";

/// Where the log is, who signs it, and what happens where it cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// The key by which the device proves who it is (`watchpost key identity`), mode 0600. Where
    /// absent, the credential `watchpost-identity` of the service manager is it, if there is one;
    /// without either no log is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// The folder of the log.
    pub log: PathBuf,
    /// What happens while a record cannot be written.
    pub on_failure: OnFailure,
    /// What happens until the trust file's witnesses have said since the start that they know of no
    /// newer log.
    pub on_unproved: OnFailure,
    /// For so many seconds after the start nobody is matched while their answers are awaited, even
    /// where `on_unproved` lets the device go on.
    pub await_witnesses_s: u32,
    /// For so many hours the log may go without the cosignatures that the trust file asks for.
    pub quorum_hours: u32,
    /// What happens then.
    pub on_unwitnessed: OnFailure,
}

/// What a device does while its log is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It matches nobody.
    #[default]
    Blind,
    /// It goes on and says so in its status. Records that are missing are counted in the log once
    /// it can be written.
    Degraded,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            identity: None,
            log: "/var/lib/watchpost/audit".into(),
            on_failure: OnFailure::default(),
            // A disk that was put back looks like this, and nothing else tells.
            on_unproved: OnFailure::Blind,
            await_witnesses_s: 60,
            // Two regular checkpoints were missed, and a third is due.
            quorum_hours: 3,
            // An uplink that is down is no attack yet, and what is decided meanwhile is in the log.
            on_unwitnessed: OnFailure::Degraded,
        }
    }
}

impl AuditConfig {
    /// The device's identity; `None` where there is none, and no log is kept. `credentials` is the
    /// service manager's folder.
    ///
    /// # Errors
    /// Where there is one and it cannot be used.
    pub fn open_identity(&self, credentials: Option<&Path>) -> Result<Option<SecretKey>, KeyError> {
        // Where it cannot be told whether there is one, reading it says why.
        let there = |path: &PathBuf| path.try_exists().unwrap_or(true);
        let passed = || credentials.map(|folder| folder.join(CREDENTIAL)).filter(there);
        self.identity.clone().or_else(passed).map(|path| SecretKey::open_file(&path)).transpose()
    }

    /// Adds what is wrong with the section.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        let paths = [
            (setting!(audit.identity), self.identity.as_ref()),
            (setting!(audit.log), Some(&self.log)),
        ];
        for (key, path) in paths {
            if path.is_some_and(|path| path.as_os_str().is_empty()) {
                out.push(Problem {
                    key: key.into(),
                    value: "\"\"".into(),
                    remedy: "write a path, or leave the key out".into(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_the_configured_file_or_the_credential_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let (file, passed) = (dir.path().join("identity.key"), dir.path().join(CREDENTIAL));
        let mut config = AuditConfig::default();
        assert!(config.open_identity(None).unwrap().is_none());
        assert!(config.open_identity(Some(dir.path())).unwrap().is_none());
        SecretKey::from_seed(&[1; 32]).create_file(&passed).unwrap();
        let public = |seed| SecretKey::from_seed(&[seed; 32]).public();
        let opened =
            |config: &AuditConfig| config.open_identity(Some(dir.path())).unwrap().unwrap();
        assert_eq!(opened(&config).public(), public(1));
        config.identity = Some(file.clone());
        assert!(config.open_identity(Some(dir.path())).is_err(), "a wrong path is no absence");
        SecretKey::from_seed(&[2; 32]).create_file(&file).unwrap();
        assert_eq!(opened(&config).public(), public(2));
    }

    #[test]
    fn each_problem_names_its_key() {
        let mut out = Vec::new();
        AuditConfig::default().problems(&mut out);
        assert_eq!(out, []);
        let config =
            AuditConfig { log: "".into(), identity: Some("".into()), ..Default::default() };
        config.problems(&mut out);
        let keys: Vec<_> = out.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["audit.identity", "audit.log"]);
    }
}
