//! Which devices: named one by one, or in a file.
//!
//! * A file has a device a line: its id, and after it, where lists are sealed, its public key as
//!   `watchpost key show` prints it. `#` begins a comment.
//! * Keys come from such a file only, which somebody has made who has seen the devices. A key that
//!   a device publishes would be anybody's who may publish there.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::delivery::DeviceId;
use crate::delivery::topics::TopicError;
use crate::files::read_text;
use crate::watchlist::seal::{Recipient, SealError};

/// Most bytes of a file of devices.
const MAX_FILE: u64 = 16 << 20;

#[derive(Debug, clap::Args)]
pub struct FleetFlags {
    /// A device's id; may be given several times.
    #[arg(long, value_name = "ID")]
    device: Vec<String>,
    /// File of devices: a line has an id and, where lists are sealed, the device's public key.
    #[arg(long, value_name = "FILE")]
    devices: Option<PathBuf>,
}

/// One device of a file.
#[derive(Debug, Clone)]
pub struct FleetDevice {
    /// Its `device.id`.
    pub id: String,
    /// The public half of the key that lists are sealed to.
    pub key: Option<Recipient>,
}

/// Some devices, each once.
#[derive(Debug, Default)]
pub struct Fleet {
    /// In the order in which they were named.
    pub devices: Vec<FleetDevice>,
}

/// What is wrong with a file of devices.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// It cannot be read.
    #[error("cannot read the devices in {path}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Larger than any fleet.
    #[error("{0} is no file of devices: it has more than 16 MiB")]
    TooLarge(PathBuf),
    /// A line.
    #[error("{path}, line {line}: {why}")]
    Line {
        /// Its path.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        why: LineError,
    },
    /// On the command line.
    #[error("--device {0}: {1}")]
    Device(String, TopicError),
    /// Lists would go out unsealed.
    #[error(
        "there is no key for {0}; write what `watchpost key show KEYFILE` prints on the device \
         after its id in the file of devices, seal the list yourself (`watchpost watchlist seal`), \
         or send it readable with --plain"
    )]
    NoKey(String),
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The id.
    #[error("{0}")]
    Device(#[from] TopicError),
    /// The key.
    #[error("{0}")]
    Key(#[from] SealError),
    /// A second line of the device.
    #[error("the device {0} is named twice")]
    Twice(String),
    /// More than an id and a key.
    #[error("write a device's id and, where lists are sealed, its public key: `gate-1 age1...`")]
    Shape,
}

impl FleetFlags {
    /// The devices that are named.
    ///
    /// # Errors
    /// Where an id cannot be one, or the file cannot be used.
    pub fn read(&self) -> Result<Fleet, FleetError> {
        let mut fleet = match &self.devices {
            None => Fleet::default(),
            Some(path) => Fleet::open(path)?,
        };
        for id in &self.device {
            DeviceId::new(id).map_err(|error| FleetError::Device(id.clone(), error))?;
            if !fleet.devices.iter().any(|d| d.id == *id) {
                fleet.devices.push(FleetDevice { id: id.clone(), key: None });
            }
        }
        Ok(fleet)
    }
}

impl Fleet {
    /// Reads a file of devices.
    ///
    /// # Errors
    /// Where it cannot be read, or a line of it is wrong.
    pub fn open(path: &Path) -> Result<Self, FleetError> {
        let failed = |source| FleetError::File { path: path.into(), source };
        let text = read_text(path, MAX_FILE).map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => FleetError::TooLarge(path.into()),
            _ => failed(error),
        })?;
        Self::parse(&text).map_err(|(line, why)| FleetError::Line { path: path.into(), line, why })
    }

    fn parse(text: &str) -> Result<Self, (usize, LineError)> {
        let mut seen = BTreeSet::new();
        let mut devices = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let wrong = |why| (number + 1, why);
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(id) = words.next() else { continue };
            let id = DeviceId::new(id).map_err(|e| wrong(e.into()))?.to_string();
            let key = words.next().map(str::parse).transpose();
            let key = key.map_err(|e: SealError| wrong(e.into()))?;
            if words.next().is_some() {
                return Err(wrong(LineError::Shape));
            }
            if !seen.insert(id.clone()) {
                return Err(wrong(LineError::Twice(id)));
            }
            devices.push(FleetDevice { id, key });
        }
        Ok(Self { devices })
    }

    /// That each device has a key.
    ///
    /// # Errors
    /// Names the first that has none.
    pub fn require_keys(&self) -> Result<(), FleetError> {
        match self.devices.iter().find(|d| d.key.is_none()) {
            Some(device) => Err(FleetError::NoKey(device.id.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::watchlist::seal::DeviceKey;

    #[test]
    fn a_line_is_an_id_and_a_key_and_what_is_wrong_is_named_by_its_line() {
        let key = DeviceKey::generate().expect("memory").recipient().to_string();
        let text = format!("\u{feff}# the north side\r\ngate-1 {key}\r\n\n  gate-2 # no key yet\n");
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("it can be written");
        let fleet = Fleet::open(file.path()).expect("a fleet");
        let ids: Vec<_> = fleet.devices.iter().map(|d| (d.id.as_str(), d.key.is_some())).collect();
        assert_eq!(ids, [("gate-1", true), ("gate-2", false)]);
        let missing = fleet.require_keys().expect_err("gate-2 has none").to_string();
        assert!(missing.contains("gate-2"), "{missing}");
        for (text, line, word) in [
            ("gate-1\ngate-1\n", 2, "twice"),
            ("gate/1\n", 1, "'/'"),
            ("a age1nonsense\n", 1, "public key"),
            ("a b c\n", 1, "public key"),
        ] {
            let (at, why) = Fleet::parse(text).expect_err(text);
            assert_eq!(at, line, "{text}");
            assert!(why.to_string().contains(word), "{why}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(\\PC|\n){0,200}") {
            if let Ok(fleet) = Fleet::parse(&text) {
                prop_assert!(fleet.devices.iter().all(|d| DeviceId::new(&d.id).is_ok()));
            }
        }
    }
}
