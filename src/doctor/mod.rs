//! `watchpost doctor`: everything on this machine that may keep the daemon from its work, each with
//! the remedy.
//!
//! * Every check ends, within about ten seconds.
//! * A check whose ground is missing is skipped with the reason, never passed.
//! * What fails says what to do.
//! * Nothing is changed: files are read, the camera delivers one frame, the broker accepts one
//!   connection that publishes nothing.
//! * What the daemon itself does is judged by the daemon's own code.
//! * Not promised: faults that show only under load, and a broker's access rules for topics.

mod cameras;
mod disk;
mod link;
mod machine;
mod matching;
mod views;

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Serialize;
use time::OffsetDateTime;

use crate::clock::Clock;
use crate::config::{Config, ConfigError, DeviceConfig, promises};
use crate::delivery::event::{Ending, EndingSoon};
use crate::files::open_to_all;
use crate::watchlist::opaque::{IdentifierOf, is_plainly_opaque};
use crate::watchlist::text::stamp;

/// How a check ended, as one JSON object's `outcome`, `detail` and `remedy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum CheckResult {
    /// As it should be.
    Ok {
        /// What is there, in one line.
        detail: String,
    },
    /// Could not be looked at.
    Skipped {
        /// Why not.
        detail: String,
    },
    /// The daemon works, but not as well as it could.
    Warning {
        /// What is there, in one line.
        detail: String,
        /// What to do.
        remedy: String,
    },
    /// The daemon cannot do its work.
    Failed {
        /// What is there, in one line.
        detail: String,
        /// What to do.
        remedy: String,
    },
}

impl CheckResult {
    fn ok(detail: impl Into<String>) -> Self {
        Self::Ok { detail: detail.into() }
    }

    fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped { detail: why.into() }
    }

    fn warning(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Warning { detail: detail.into(), remedy: remedy.into() }
    }

    fn failed(detail: impl std::fmt::Display, remedy: impl Into<String>) -> Self {
        Self::Failed { detail: detail.to_string(), remedy: remedy.into() }
    }

    /// As [`CheckResult::Ok`], or a warning where what the check looked at ends soon.
    fn ok_until(
        detail: impl Into<String>,
        what: Ending,
        ends: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Self {
        let detail = detail.into();
        if !EndingSoon::is_soon(ends, now) {
            return Self::ok(detail);
        }
        let days = (ends - now).whole_days();
        Self::warning(format!("{detail}; ends on {}, in {days} days", stamp(&ends)), what.remedy())
    }

    /// What is there, in one line; for a skipped check why it was skipped.
    pub fn detail(&self) -> &str {
        match self {
            Self::Ok { detail }
            | Self::Skipped { detail }
            | Self::Warning { detail, .. }
            | Self::Failed { detail, .. } => detail,
        }
    }

    /// What to do, where anything is to be done.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Ok { .. } | Self::Skipped { .. } => None,
            Self::Warning { remedy, .. } | Self::Failed { remedy, .. } => Some(remedy),
        }
    }
}

/// One check and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckOutput {
    /// Stable name for scripts.
    pub check: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub result: CheckResult,
}

/// What the checks of the configuration look at.
struct Configured<'a> {
    config: &'a Config,
    clock: Clock,
}

/// A check of the machine alone.
type MachineCheck = fn() -> CheckResult;

/// A check that needs the configuration.
type Check = fn(&Configured<'_>) -> CheckResult;

/// Checks that need no configuration.
const OF_THE_MACHINE: [(&str, MachineCheck); 4] = [
    ("cpu", machine::cpu),
    ("temperature", machine::temperature),
    ("swap", machine::swap),
    ("cameras", cameras::nodes),
];

/// Checks in the order of the data: what comes later needs what comes before.
const OF_THE_CONFIGURATION: [(&str, Check); 15] = [
    ("promises", promises),
    ("models", matching::models),
    ("trust", matching::trust),
    ("clock", matching::clock),
    ("device-key", matching::device_key),
    ("watchlist", matching::watchlist),
    ("source", cameras::source),
    ("views", views::views),
    ("state", disk::state),
    ("outbox", disk::outbox),
    ("ledger", disk::ledger),
    ("reviews", disk::reviews),
    ("audit", disk::audit),
    ("broker-files", link::files),
    ("broker", link::broker),
];

/// The checks that need neither camera nor broker: `watchpost check`.
pub const REQUIREMENTS: [&str; 12] = [
    "config",
    "promises",
    "models",
    "trust",
    "clock",
    "device-key",
    "watchlist",
    "state",
    "outbox",
    "ledger",
    "audit",
    "broker-files",
];

/// The names of all checks, in the order in which they run.
pub fn checks() -> impl Iterator<Item = &'static str> {
    let machine = OF_THE_MACHINE.iter().map(|(name, _)| *name);
    machine.chain(["config"]).chain(OF_THE_CONFIGURATION.iter().map(|(name, _)| *name))
}

/// Runs the checks that `wanted` names, and hands each one's output to `report` as it comes.
pub fn run(
    config: &Path,
    clock: Clock,
    wanted: &dyn Fn(&str) -> bool,
    report: &mut dyn FnMut(CheckOutput),
) {
    for (check, run) in OF_THE_MACHINE {
        if wanted(check) {
            report(CheckOutput { check, result: run() });
        }
    }
    let loaded = Config::load(config);
    if wanted("config") {
        let result = match &loaded {
            Ok(loaded) => match safe_from_others(config) {
                CheckResult::Ok { .. } => named_by_no_person(config, &loaded.device),
                unsafe_file => unsafe_file,
            },
            Err(error) => CheckResult::failed(error, remedy(error)),
        };
        report(CheckOutput { check: "config", result });
    }
    for (check, run) in OF_THE_CONFIGURATION {
        if wanted(check) {
            let result = match &loaded {
                Ok(config) => run(&Configured { config, clock }),
                Err(_) => CheckResult::skipped("needs a configuration that can be used"),
            };
            report(CheckOutput { check, result });
        }
    }
}

/// Whether others than its owner could change the configuration, and with it whom the device
/// believes.
fn safe_from_others(config: &Path) -> CheckResult {
    let shown = config.display();
    let is_open = config.metadata().is_ok_and(|about| {
        // A device that is read once, such as a pipe, is nobody's file.
        about.is_file() && about.mode() & 0o002 != 0
    });
    let open = if is_open { Some(config.to_owned()) } else { open_to_all(config).ok().flatten() };
    match open {
        Some(place) => CheckResult::warning(
            format!("every user of this device can change {shown}, and with it whom it believes"),
            format!("run `chmod o-w {}`, and look through the file", place.display()),
        ),
        None => CheckResult::ok(shown.to_string()),
    }
}

/// Whether the names of device and camera, which are published, are plainly no person's.
fn named_by_no_person(config: &Path, device: &DeviceConfig) -> CheckResult {
    let names = [(setting!(device.id), &device.id), (setting!(device.camera), &device.camera)];
    match names.into_iter().find(|(_, name)| !is_plainly_opaque(name, IdentifierOf::Thing)) {
        None => CheckResult::ok(config.display().to_string()),
        Some((key, name)) => CheckResult::warning(
            format!("{name:?} may be a person's name, and is published with what the device says"),
            format!("name it by its place, as in gate-1, in {key}"),
        ),
    }
}

/// The promises that the configuration keeps, and which keys weaken others; the status says the
/// same.
fn promises(configured: &Configured<'_>) -> CheckResult {
    let (kept, weak): (Vec<_>, Vec<_>) =
        promises::promises(configured.config).into_iter().partition(|(_, state)| state.kept);
    let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    let kept = format!("kept: {}", names.join(", "));
    if weak.is_empty() {
        return CheckResult::ok(kept);
    }
    let weak: Vec<String> = weak
        .iter()
        .map(|(name, state)| format!("{name} (by {})", state.weakened_by.join(", ")))
        .collect();
    CheckResult::warning(
        format!("weakened: {}; {kept}", weak.join(", ")),
        "set these keys back to their defaults, or to what is stricter; whoever reads the status \
         sees them",
    )
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
        ConfigError::List { .. } => {
            "let the user that runs watchpost list the folder conf.d beside the configuration, and \
             read the files in it"
        }
        ConfigError::TooManyFragments { .. } => {
            "join fragments in conf.d; they count in the order of their names, the last one wins"
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
    use crate::review::docket::Docket;
    use crate::watchlist::fixture;

    fn outputs(config: &str) -> Vec<CheckOutput> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("watchpost.toml");
        std::fs::write(&file, config.replace("HERE", &folder.path().display().to_string()))
            .unwrap();
        let mut outputs = Vec::new();
        run(&file, Clock::default(), &|_| true, &mut |output| outputs.push(output));
        outputs
    }

    fn result<'a>(outputs: &'a [CheckOutput], check: &str) -> &'a CheckResult {
        let output = outputs.iter().find(|output| output.check == check);
        &output.unwrap_or_else(|| panic!("no check {check}")).result
    }

    fn failed(outputs: &[CheckOutput], check: &str) -> bool {
        matches!(result(outputs, check), CheckResult::Failed { .. })
    }

    fn skipped(outputs: &[CheckOutput], check: &str) -> bool {
        matches!(result(outputs, check), CheckResult::Skipped { .. })
    }

    fn ok(outputs: &[CheckOutput], check: &str) -> bool {
        matches!(result(outputs, check), CheckResult::Ok { .. })
    }

    #[test]
    fn every_check_is_reported_once_and_in_order() {
        let names: Vec<_> = outputs("").iter().map(|output| output.check).collect();
        assert_eq!(names, checks().collect::<Vec<_>>());
    }

    #[test]
    fn where_everything_is_wrong_each_failure_is_named_and_says_what_to_do() {
        let outputs = outputs(
            "[vision]\nmodels = \"HERE/none.toml\"\n[watchlist]\nlist = \"HERE/list\"\ntrust \
             = \"HERE/trust\"\nstate = \"HERE/state\"\n[source.v4l2]\ndevice \
             = \"HERE/video9\"\n[broker]\nurl = \"mqtts://localhost:1\"\nca_file \
             = \"HERE/ca\"\noutbox = \"/proc/none\"\n",
        );
        for check in ["models", "trust", "source", "outbox", "broker-files", "broker"] {
            assert!(failed(&outputs, check), "{check}: {outputs:?}");
        }
        assert!(skipped(&outputs, "watchlist"), "{outputs:?}");
        assert!(ok(&outputs, "config"), "{outputs:?}");
    }

    #[test]
    fn what_waits_for_reviewers_is_read_and_a_damaged_file_of_it_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let docket = folder.path().join("reviews.cbor");
        let named = |key: &str| format!("[watchlist]\n{key}[review]\ndocket = {docket:?}\n");
        assert!(skipped(&outputs(&named("")), "reviews"));
        let with_key = named("device_key = \"HERE/device.key\"\n");
        let found = outputs(&with_key);
        assert!(result(&found, "reviews").detail().contains("0 candidates"), "{found:?}");
        std::fs::write(&docket, Docket::default().to_bytes()).unwrap();
        let lost = outputs(&with_key);
        let lost = result(&lost, "reviews");
        assert!(matches!(lost, CheckResult::Warning { .. }), "{lost:?}");
        assert!(lost.detail().contains("reviews.budget.json is missing"), "{lost:?}");
        let budget = folder.path().join("reviews.budget.json");
        std::fs::write(&budget, r#"{"lists":[]}"#).unwrap();
        assert!(ok(&outputs(&with_key), "reviews"));
        std::fs::write(&budget, "{}").unwrap();
        assert!(failed(&outputs(&with_key), "reviews"));
        std::fs::write(&docket, "junk").unwrap();
        assert!(failed(&outputs(&with_key), "reviews"));
    }

    /// The check of a trust file that pins these, in the configuration `config`.
    fn trusted(keys: &[(&str, u8)], config: &str) -> CheckResult {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trust.toml");
        let all = [&[("signer", 1), ("signer", 2), ("revoker", 3)], keys].concat();
        std::fs::write(&file, fixture::trust_text(2, &all)).unwrap();
        let config = format!("[watchlist]\ntrust = {file:?}\n{config}");
        result(&outputs(&config), "trust").clone()
    }

    #[test]
    fn a_device_that_waits_for_receipts_that_nobody_can_give_is_a_failure() {
        let required = "[broker]\nreceipt = \"required\"\n";
        let nobody = trusted(&[], required);
        assert!(matches!(nobody, CheckResult::Failed { .. }), "{nobody:?}");
        assert!(nobody.remedy().is_some_and(|r| r.contains("--receiver")), "{nobody:?}");
        for (keys, config) in [(&[("receiver", 4)][..], required), (&[], "")] {
            let right = trusted(keys, config);
            assert!(matches!(right, CheckResult::Ok { .. }), "{right:?}");
        }
    }

    #[test]
    fn reviews_that_fewer_than_two_people_or_a_device_without_a_key_cannot_give_are_a_warning() {
        let key = "device_key = \"HERE/device.key\"\n";
        let review = "device_key = \"HERE/device.key\"\n[review]\ndeadline_s = 3600\n";
        let [one, two] = [&[("reviewer", 4)][..], &[("reviewer", 4), ("reviewer", 5)]];
        for (keys, config, says) in [
            (one, key, "--reviewer"),
            (&[], review, "--reviewer"),
            (two, "", "watchlist.device_key"),
        ] {
            let warned = trusted(keys, config);
            assert!(matches!(warned, CheckResult::Warning { .. }), "{warned:?}");
            assert!(warned.remedy().is_some_and(|r| r.contains(says)), "{warned:?}");
        }
        for (keys, config) in [(two, key), (two, review), (&[], key), (&[], "")] {
            let right = trusted(keys, config);
            assert!(matches!(right, CheckResult::Ok { .. }), "{right:?}");
        }
    }

    #[test]
    fn without_a_usable_configuration_the_machine_is_examined_and_the_rest_skipped() {
        let outputs = outputs("[device]\nid = \"a/b\"\n");
        assert!(failed(&outputs, "config"), "{outputs:?}");
        assert!(skipped(&outputs, "broker"), "{outputs:?}");
        assert!(ok(&outputs, "cpu"), "{outputs:?}");
    }

    #[test]
    fn a_configuration_that_everybody_can_change_or_replace_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        let file = open.join("watchpost.toml");
        std::fs::write(&file, "").unwrap();
        let told = |file_mode, folder_mode| {
            let to = |path, mode| {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            };
            to(&file, file_mode);
            to(&open, folder_mode);
            matches!(safe_from_others(&file), CheckResult::Warning { .. })
        };
        assert_eq!([told(0o644, 0o755), told(0o644, 0o1777)], [false; 2]);
        assert_eq!([told(0o646, 0o755), told(0o644, 0o777)], [true; 2]);
    }

    #[test]
    fn a_device_that_may_be_called_by_a_persons_name_is_told() {
        let told = |id: &str| {
            let device = DeviceConfig { id: id.to_owned(), ..DeviceConfig::default() };
            named_by_no_person(Path::new("watchpost.toml"), &device)
        };
        assert!(matches!(told("Jane_Doe"), CheckResult::Warning { .. }));
        assert!(matches!(told("gate-1"), CheckResult::Ok { .. }));
    }

    #[test]
    fn scripts_read_a_check_as_one_flat_object() {
        let output = CheckOutput { check: "swap", result: CheckResult::failed("on", "swapoff -a") };
        assert_eq!(
            serde_json::to_string(&output).unwrap(),
            r#"{"check":"swap","outcome":"failed","detail":"on","remedy":"swapoff -a"}"#
        );
        let output = CheckOutput { check: "swap", result: CheckResult::ok("none") };
        assert_eq!(
            serde_json::to_string(&output).unwrap(),
            r#"{"check":"swap","outcome":"ok","detail":"none"}"#
        );
    }
}
