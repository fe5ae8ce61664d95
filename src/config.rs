//! The daemon's configuration file: one documented section a module, each owned by the module that
//! it configures.
//!
//! A file may leave out whatever it does not change. Unknown keys are refused, so that a misspelt
//! one cannot pass for a setting. `config/watchpost.toml` is the commented template; a test holds
//! it equal to the defaults. Fragments beside the file and the environment may change single keys
//! (`layers`).

mod layers;
mod metrics;
pub mod promises;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::audit::AuditConfig;
use crate::calibrate::config::CalibrateConfig;
use crate::decision::DecisionConfig;
use crate::delivery::{BrokerConfig, DeviceId};
use crate::files;
use crate::problem::Problem;
use crate::review::config::ReviewConfig;
use crate::source::SourceConfig;
use crate::vision::VisionConfig;
use crate::watchlist::WatchlistConfig;
use crate::watchlist::text::is_read_as_written;

pub use self::metrics::{ListenAddress, MetricsConfig};

/// Where the daemon looks when no file is named.
pub const DEFAULT_PATH: &str = "/etc/watchpost/watchpost.toml";

/// Most characters of a place's name.
const MAX_PLACE: usize = 100;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[device]`: what this device is called.
    pub device: DeviceConfig,
    /// `[source]`: where frames come from.
    pub source: SourceConfig,
    /// `[vision]`: detector, tracker, quality gate, embedder.
    pub vision: VisionConfig,
    /// `[watchlist]`: the signed list and the keys that may sign it.
    pub watchlist: WatchlistConfig,
    /// `[decision]`: how much evidence makes a candidate.
    pub decision: DecisionConfig,
    /// `[calibrate]`: counting passers-by against decoys.
    pub calibrate: CalibrateConfig,
    /// `[event]`: what a candidate carries.
    pub event: EventConfig,
    /// `[broker]`: where candidates go.
    pub broker: BrokerConfig,
    /// `[audit]`: the log of what the device did.
    pub audit: AuditConfig,
    /// `[review]`: candidates that wait for two people.
    pub review: ReviewConfig,
    /// `[metrics]`: where figures are given to a monitoring system.
    pub metrics: MetricsConfig,
}

/// `[device]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// Name of the device in topics and in lists' authorisations: 1 to 64 of `A-Z a-z 0-9 . _ -`,
    /// the first a letter or a digit.
    pub id: String,
    /// Name of the camera in events, for devices with several: same alphabet.
    pub camera: String,
    /// What people call the place where the camera stands, for those who look at its candidates: up
    /// to 100 characters on one line. Empty for none.
    pub place: String,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self { id: "watchpost-1".into(), camera: "main".into(), place: String::new() }
    }
}

/// `[event]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventConfig {
    /// Put the matched face's aligned crop into the candidate, so that a person can check it. Never
    /// more than the face, never a face that did not match.
    pub crop: bool,
    /// JPEG quality of the crop, 30 to 95.
    pub crop_quality: u8,
    /// Put the matched face's whole head into the candidate, too. Outside of the head, and where
    /// another face was found, it is grey; somebody who was not found can be in it.
    pub head: bool,
    /// Side of that picture in pixels, 112 to 320.
    pub head_pixels: u32,
    /// Side of that picture, in the longer side of the face: 1.2 to 2.
    pub head_times: f32,
}

impl Default for EventConfig {
    fn default() -> Self {
        Self { crop: true, crop_quality: 85, head: false, head_pixels: 224, head_times: 1.6 }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {error}. Name another one with --config FILE")]
    Read {
        /// File.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The folder of fragments beside the file is there and cannot be listed.
    #[error("cannot list the fragments of the configuration in {folder}: {error}")]
    List {
        /// `conf.d` beside the file.
        folder: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// More fragments than are read.
    #[error(
        "{folder} holds {found} fragments of the configuration, and {most} are read at most; join \
         some of them"
    )]
    TooManyFragments {
        /// `conf.d` beside the file.
        folder: PathBuf,
        /// Fragments in it.
        found: usize,
        /// Fragments that are read.
        most: usize,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{path}, line {line}, at `{text}`: {message}")]
    Syntax {
        /// File.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The line's text.
        text: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// Values that cannot be.
    #[error("{path} cannot be used:{}", list(.problems))]
    Problems {
        /// File.
        path: PathBuf,
        /// Each with key, value and remedy.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("\n  {p}")).collect()
}

/// Most bytes of a configuration; the documented one has some thirty thousand.
const MAX_FILE: u64 = 1 << 20;

/// A text's settings, unchecked.
fn read(text: &str, path: &Path) -> Result<Config, ConfigError> {
    toml::from_str(text).map_err(|e| ConfigError::syntax(&e, text, path))
}

fn table(text: &str, path: &Path) -> Result<toml::Table, ConfigError> {
    toml::from_str(text).map_err(|e| ConfigError::syntax(&e, text, path))
}

impl ConfigError {
    /// What the parser says of the text of a file.
    pub(crate) fn syntax(e: &toml::de::Error, text: &str, path: &Path) -> Self {
        let at = e.span().map_or(0, |s| s.start.min(text.len()));
        let line = text[..at].matches('\n').count();
        Self::Syntax {
            path: path.to_path_buf(),
            line: line + 1,
            text: text.lines().nth(line).unwrap_or_default().trim().to_string(),
            message: e.message().to_string(),
        }
    }
}

fn checked(config: Config, path: &Path) -> Result<Config, ConfigError> {
    let problems = config.problems();
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::Problems { path: path.to_path_buf(), problems })
    }
}

impl Config {
    /// Reads and checks a file, with its fragments and the environment.
    ///
    /// # Errors
    /// [`ConfigError`] names file, key, value and remedy.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path, MAX_FILE)
            .map_err(|error| ConfigError::Read { path: path.to_path_buf(), error })?;
        let variables = layers::variables(std::env::vars_os());
        checked(layers::assemble(path, &text, &layers::fragments(path)?, &variables)?, path)
    }

    /// Reads and checks a file's text alone; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError`] names file, key, value and remedy.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        checked(read(text, path)?, path)
    }

    /// Everything that is wrong with the values, in the file's order.
    pub fn problems(&self) -> Vec<Problem> {
        let mut out = Vec::new();
        for (key, value) in
            [(setting!(device.id), &self.device.id), (setting!(device.camera), &self.device.camera)]
        {
            if let Err(error) = DeviceId::new(value) {
                out.push(Problem {
                    key: key.into(),
                    value: format!("{value:?}"),
                    remedy: error.to_string(),
                });
            }
        }
        let place = &self.device.place;
        if place.chars().count() > MAX_PLACE || !is_read_as_written(place) {
            out.push(Problem {
                key: setting!(device.place).into(),
                value: format!("{place:?}"),
                remedy: "write up to 100 characters on one line, without control characters".into(),
            });
        }
        self.source.problems(&mut out);
        self.vision.problems(&mut out);
        self.watchlist.problems(&mut out);
        self.decision.problems(&mut out);
        self.calibrate.problems(&mut out);
        if !(30..=95).contains(&self.event.crop_quality) {
            out.push(Problem {
                key: setting!(event.crop_quality).into(),
                value: self.event.crop_quality.to_string(),
                remedy: "write a whole number from 30 to 95".into(),
            });
        }
        let EventConfig { crop, head, head_pixels, head_times, .. } = self.event;
        for (wrong, key, value, remedy) in [
            (
                head && !crop,
                setting!(event.head),
                "true".to_owned(),
                concat!("set ", setting!(event.crop), " = true as well, or this to false"),
            ),
            (
                !(112..=320).contains(&head_pixels),
                setting!(event.head_pixels),
                head_pixels.to_string(),
                "write a whole number from 112 to 320",
            ),
            (
                !(1.2..=2.0).contains(&head_times),
                setting!(event.head_times),
                head_times.to_string(),
                "write a number from 1.2 to 2",
            ),
        ] {
            if wrong {
                out.push(Problem { key: key.into(), value, remedy: remedy.into() });
            }
        }
        self.broker.problems(&mut out);
        self.audit.problems(&mut out);
        self.review.problems(&mut out);
        self.metrics.problems(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("test.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_is_the_defaults_and_the_defaults_have_no_problems() {
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn the_commented_template_equals_the_defaults_and_names_every_key() {
        let template = include_str!("../config/watchpost.toml");
        assert_eq!(parse(template), Ok(Config::default()));
        let all = toml::to_string(&Config::default()).expect("the defaults are TOML");
        for key in all.lines().filter_map(|l| l.split_once(" = ").map(|(k, _)| k)) {
            let named = template
                .lines()
                .any(|l| l.trim_start_matches("# ").starts_with(&format!("{key} = ")));
            assert!(named, "config/watchpost.toml does not name `{key}`");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_the_known_ones() {
        let error = parse("[device]\nid = \"a\"\nnmae = 3\n").unwrap_err();
        assert!(
            error.contains("test.toml, line 3, at `nmae = 3`") && error.contains("camera"),
            "{error}"
        );
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_key_value_and_remedy() {
        let error = parse("[device]\nid = \"a/b\"\n[decision]\nviews = 0\n").unwrap_err();
        assert!(error.contains("device.id = \"a/b\": '/' is not allowed; use a-z"), "{error}");
        assert!(error.contains("decision.views = 0: write a whole number from 4 to 8"), "{error}");
    }
}
