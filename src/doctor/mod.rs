//! `watchpost doctor`: everything on this machine that may keep the daemon from its work, each with
//! the remedy.
//!
//! Promises: every check ends, within about ten seconds; a check whose ground is missing is skipped
//! with the reason, never passed; what fails says what to do. Nothing is changed: files are read,
//! the camera delivers one frame, the broker accepts one connection that publishes nothing. What
//! the daemon itself does is judged by the daemon's own code.
//!
//! Not promised: to find faults that show only under load, or a broker's access rules for topics.

mod cameras;
mod link;
mod machine;
mod matching;

use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::{Config, ConfigError};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Could not be looked at; the detail says why.
    Skipped,
    /// The daemon works, but not as well as it could.
    Warning,
    /// The daemon cannot do its work.
    Failed,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name for scripts.
    pub check: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What is there, in one line.
    pub detail: String,
    /// What to do; present for every failure and warning, absent where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// The result of a check before it has its name.
struct Found {
    outcome: Outcome,
    detail: String,
    remedy: Option<String>,
}

impl Found {
    fn ok(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Ok, detail: detail.into(), remedy: None }
    }

    fn skipped(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, detail: why.into(), remedy: None }
    }

    fn warning(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { outcome: Outcome::Warning, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    fn failed(detail: impl std::fmt::Display, remedy: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, detail: detail.to_string(), remedy: Some(remedy.into()) }
    }
}

/// What the checks look at.
struct Patient<'a> {
    config: &'a Config,
    clock: Clock,
}

/// A check of the machine alone.
type MachineCheck = fn() -> Found;

/// A check that needs the configuration.
type Check = fn(&Patient<'_>) -> Found;

/// Checks that need no configuration.
const OF_THE_MACHINE: [(&str, MachineCheck); 4] = [
    ("cpu", machine::cpu),
    ("temperature", machine::temperature),
    ("swap", machine::swap),
    ("cameras", cameras::nodes),
];

/// Checks in the order of the data: what comes later needs what comes before.
const OF_THE_CONFIGURATION: [(&str, Check); 9] = [
    ("models", matching::models),
    ("trust", matching::trust),
    ("clock", matching::clock),
    ("watchlist", matching::watchlist),
    ("source", cameras::source),
    ("state", machine::state),
    ("outbox", machine::outbox),
    ("broker-files", link::files),
    ("broker", link::broker),
];

/// The names of all checks, in the order in which they run.
pub fn checks() -> impl Iterator<Item = &'static str> {
    let machine = OF_THE_MACHINE.iter().map(|(name, _)| *name);
    machine.chain(["config"]).chain(OF_THE_CONFIGURATION.iter().map(|(name, _)| *name))
}

/// Runs the checks that `wanted` wants, and tells each finding as soon as it is there.
pub fn examine(
    config: &Path,
    clock: Clock,
    wanted: &dyn Fn(&str) -> bool,
    tell: &mut dyn FnMut(Finding),
) {
    let mut report = |check, found: Found| {
        tell(Finding { check, outcome: found.outcome, detail: found.detail, remedy: found.remedy });
    };
    for (name, check) in OF_THE_MACHINE {
        if wanted(name) {
            report(name, check());
        }
    }
    let loaded = Config::load(config);
    if wanted("config") {
        report(
            "config",
            match &loaded {
                Ok(_) => Found::ok(config.display().to_string()),
                Err(error) => Found::failed(error, remedy(error)),
            },
        );
    }
    for (name, check) in OF_THE_CONFIGURATION {
        if wanted(name) {
            let found = match &loaded {
                Ok(config) => check(&Patient { config, clock }),
                Err(_) => Found::skipped("needs a configuration that can be used"),
            };
            report(name, found);
        }
    }
}

/// What to do about a configuration that cannot be used.
fn remedy(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::Read { error, .. } if error.kind() == ErrorKind::PermissionDenied => {
            "let the user that runs watchpost read it, or run doctor as that user: `sudo -u \
             watchpost watchpost doctor`"
        }
        ConfigError::Read { .. } => {
            "start from the template with every key, config/watchpost.toml, which the package \
             installs as /etc/watchpost/watchpost.toml"
        }
        ConfigError::Syntax { .. } | ConfigError::Problems { .. } => {
            "correct what it names; the template config/watchpost.toml has every key with its \
             meaning"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(config: &str) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("watchpost.toml");
        std::fs::write(&file, config.replace("HERE", &folder.path().display().to_string()))
            .unwrap();
        let mut found = Vec::new();
        examine(&file, Clock::default(), &|_| true, &mut |finding| found.push(finding));
        found
    }

    fn outcome(findings: &[Finding], check: &str) -> Outcome {
        findings
            .iter()
            .find(|f| f.check == check)
            .unwrap_or_else(|| panic!("no check {check}"))
            .outcome
    }

    #[test]
    fn every_check_is_reported_once_and_in_order() {
        let found = findings("");
        assert_eq!(found.iter().map(|f| f.check).collect::<Vec<_>>(), checks().collect::<Vec<_>>());
    }

    #[test]
    fn where_everything_is_wrong_each_failure_is_named_and_says_what_to_do() {
        let found = findings(
            "[vision]\nmodels = \"HERE/none.toml\"\n[watchlist]\nlist = \"HERE/list\"\ntrust \
             = \"HERE/trust\"\nstate = \"HERE/state\"\n[source.v4l2]\ndevice \
             = \"HERE/video9\"\n[broker]\nurl = \"mqtts://localhost:1\"\nca_file \
             = \"HERE/ca\"\noutbox = \"/proc/none\"\n",
        );
        for check in ["models", "trust", "watchlist", "source", "outbox", "broker-files", "broker"]
        {
            let finding = found.iter().find(|f| f.check == check).unwrap();
            let expected = if check == "watchlist" { Outcome::Skipped } else { Outcome::Failed };
            assert_eq!(finding.outcome, expected, "{finding:?}");
        }
        assert_eq!(outcome(&found, "config"), Outcome::Ok);
        assert!(
            found.iter().all(|f| f.remedy.is_some() == (f.outcome >= Outcome::Warning)),
            "{found:?}"
        );
    }

    #[test]
    fn without_a_usable_configuration_the_machine_is_examined_and_the_rest_skipped() {
        let found = findings("[device]\nid = \"a/b\"\n");
        assert_eq!(outcome(&found, "config"), Outcome::Failed);
        assert_eq!(outcome(&found, "broker"), Outcome::Skipped);
        assert_eq!(outcome(&found, "cpu"), Outcome::Ok);
    }
}
