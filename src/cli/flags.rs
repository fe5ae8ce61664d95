//! Flags that several commands have, each defined once.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, DEFAULT_PATH};
use crate::locked::Locked;
use crate::vision::{ManifestError, Models};
use crate::watchlist::seal::{self, DeviceKey};
use crate::watchlist::{Position, read_list};

use super::CliError;

// No doc comments on these structs: clap would take one for the description of the command that
// the flags are flattened into.

#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// Configuration file.
    #[arg(long = "config", value_name = "FILE", default_value = DEFAULT_PATH)]
    pub path: PathBuf,
}

impl ConfigFile {
    /// Reads it.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.path)
    }
}

#[derive(Debug, clap::Args)]
pub struct Networks {
    /// Manifest of the networks, of the devices' where a list is for devices; the built-in ones
    /// where absent.
    #[arg(long = "models", value_name = "FILE")]
    manifest: Option<PathBuf>,
}

impl Networks {
    /// The networks of the manifest, or the built-in ones.
    pub fn open(&self) -> Result<Models, ManifestError> {
        self.manifest.as_deref().map_or_else(Models::builtin, Models::open)
    }
}

#[derive(Debug, clap::Args)]
pub struct PlaceFlags {
    /// Where the camera stands, in degrees; needed where the list is bound to an area.
    #[arg(
        long,
        value_name = "LATITUDE,LONGITUDE",
        value_parser = position,
        allow_hyphen_values = true
    )]
    pub position: Option<Position>,
}

fn position(text: &str) -> Result<Position, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    text.split_once(',')
        .and_then(|(latitude, longitude)| {
            Some(Position { latitude: number(latitude)?, longitude: number(longitude)? })
        })
        .filter(Position::is_on_earth)
        .ok_or_else(|| "write degrees such as 52.52,13.40".into())
}

#[derive(Debug, clap::Args)]
pub struct Opening {
    /// Device key that opens a sealed list.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl Opening {
    /// Whether a device key was named.
    pub fn names_a_key(&self) -> bool {
        self.identity.is_some()
    }

    /// The bytes of a file, opened with the device key where they are sealed.
    pub fn read(&self, path: &Path) -> Result<Locked<u8>, CliError> {
        // Read whether it is needed or not: a key that is named and cannot be read is a mistake.
        let key = self.identity.as_deref().map(DeviceKey::open_file).transpose()?;
        let bytes = read_list(path)?;
        if !seal::is_sealed(&bytes) {
            return Ok(Locked::copy_of(&bytes)?);
        }
        let Some(key) = key else {
            return Err(format!(
                "{} is sealed; name the device key that opens it with --identity FILE",
                path.display()
            )
            .into());
        };
        Ok(seal::open(&bytes, &key)?)
    }
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub struct OutputFormat {
    /// JSON instead of text, one line for each result.
    #[arg(long)]
    pub json: bool,
}
