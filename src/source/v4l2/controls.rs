//! Settings of the camera itself that decide whether faces are sharp: the flicker filter and the
//! exposure.
//!
//! Promises: only what the configuration names is touched; a control that the camera does not have
//! is a warning that names it, never a camera that is not read.

use log::warn;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use v4l::v4l_sys as sys;

use super::super::problem;
use super::driver::Driver;
use crate::problem::Problem;

/// Against lamps that flicker with the mains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerLine {
    /// As the camera has it.
    #[default]
    #[serde(rename = "as-is")]
    AsIs,
    /// No filter.
    #[serde(rename = "off")]
    Off,
    /// 50 Hz mains: Europe, most of Asia and Africa.
    #[serde(rename = "50hz")]
    Hz50,
    /// 60 Hz mains: the Americas, parts of Asia.
    #[serde(rename = "60hz")]
    Hz60,
    /// The camera finds out.
    #[serde(rename = "auto")]
    Auto,
}

/// How long the shutter is open. People who walk are blurred by more than about 10 ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Exposure {
    /// As the camera has it.
    #[default]
    AsIs,
    /// The camera decides.
    Auto,
    /// Microseconds, 100 to 1,000,000.
    Micros(u32),
}

impl Serialize for Exposure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AsIs => serializer.serialize_str("as-is"),
            Self::Auto => serializer.serialize_str("auto"),
            Self::Micros(us) => serializer.serialize_u32(*us),
        }
    }
}

impl<'de> Deserialize<'de> for Exposure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExposureVisitor;
        impl Visitor<'_> for ExposureVisitor {
            type Value = Exposure;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"as-is\", \"auto\" or microseconds")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Exposure, E> {
                match text {
                    "as-is" => Ok(Exposure::AsIs),
                    "auto" => Ok(Exposure::Auto),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_i64<E: de::Error>(self, us: i64) -> Result<Exposure, E> {
                u32::try_from(us)
                    .map(Exposure::Micros)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(us), &self))
            }
            fn visit_u64<E: de::Error>(self, us: u64) -> Result<Exposure, E> {
                u32::try_from(us)
                    .map(Exposure::Micros)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(us), &self))
            }
        }
        deserializer.deserialize_any(ExposureVisitor)
    }
}

/// `[source.v4l2.controls]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Controls {
    /// `as-is`, `off`, `50hz`, `60hz` or `auto`.
    pub power_line: PowerLine,
    /// `as-is`, `auto`, or microseconds.
    pub exposure: Exposure,
    /// Keep the frame rate in the dark, where many cameras would rather halve it.
    pub steady_rate: bool,
}

impl Controls {
    pub(super) fn problems(&self, out: &mut Vec<Problem>) {
        if let Exposure::Micros(us) = self.exposure
            && !(100..=1_000_000).contains(&us)
        {
            out.push(problem(
                setting!(source.v4l2.controls.exposure),
                us,
                "Write 100 to 1000000 microseconds.",
            ));
        }
    }

    /// Sets what is configured, in the order that drivers need: a fixed exposure is refused while
    /// the automatic one is on.
    pub(super) fn apply(&self, driver: &mut impl Driver) {
        let mut set = |name: &str, tries: &[(u32, i32)]| {
            let mut outcome = Ok(());
            for (id, value) in tries {
                outcome = driver.set_control(*id, *value);
                if outcome.is_ok() {
                    return;
                }
            }
            if let Err(error) = outcome {
                warn!(
                    "The camera does not take a setting; it stays as it is: setting={source_v4l2_controls}.{name} error={error}.",
                    source_v4l2_controls = setting!(source.v4l2.controls)
                );
            }
        };
        let line = match self.power_line {
            PowerLine::AsIs => None,
            PowerLine::Off => {
                Some(sys::v4l2_power_line_frequency_V4L2_CID_POWER_LINE_FREQUENCY_DISABLED)
            }
            PowerLine::Hz50 => {
                Some(sys::v4l2_power_line_frequency_V4L2_CID_POWER_LINE_FREQUENCY_50HZ)
            }
            PowerLine::Hz60 => {
                Some(sys::v4l2_power_line_frequency_V4L2_CID_POWER_LINE_FREQUENCY_60HZ)
            }
            PowerLine::Auto => {
                Some(sys::v4l2_power_line_frequency_V4L2_CID_POWER_LINE_FREQUENCY_AUTO)
            }
        };
        if let Some(line) = line {
            set("power_line", &[(sys::V4L2_CID_POWER_LINE_FREQUENCY, line as i32)]);
        }
        let mode = |mode: sys::v4l2_exposure_auto_type| (sys::V4L2_CID_EXPOSURE_AUTO, mode as i32);
        match self.exposure {
            Exposure::AsIs => {}
            // USB cameras call the automatic mode "aperture priority", others "auto".
            Exposure::Auto => set(
                "exposure",
                &[
                    mode(sys::v4l2_exposure_auto_type_V4L2_EXPOSURE_APERTURE_PRIORITY),
                    mode(sys::v4l2_exposure_auto_type_V4L2_EXPOSURE_AUTO),
                ],
            ),
            Exposure::Micros(us) => {
                set("exposure", &[mode(sys::v4l2_exposure_auto_type_V4L2_EXPOSURE_MANUAL)]);
                // The control counts in units of 100 microseconds.
                set("exposure", &[(sys::V4L2_CID_EXPOSURE_ABSOLUTE, (us / 100).max(1) as i32)]);
            }
        }
        if self.steady_rate {
            set("steady_rate", &[(sys::V4L2_CID_EXPOSURE_AUTO_PRIORITY, 0)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposure_is_a_word_or_microseconds() {
        let parse = |text: &str| toml::from_str::<Controls>(text).map(|c| c.exposure);
        assert_eq!(parse("exposure = \"auto\""), Ok(Exposure::Auto));
        assert_eq!(parse("exposure = 8000"), Ok(Exposure::Micros(8000)));
        assert!(parse("exposure = \"bright\"").unwrap_err().to_string().contains("as-is"));
        assert!(parse("exposure = -1").is_err() && parse("exposure = 99999999999").is_err());
        for controls in [
            Controls::default(),
            Controls {
                power_line: PowerLine::Hz60,
                exposure: Exposure::Micros(100),
                steady_rate: true,
            },
        ] {
            let text = toml::to_string(&controls).unwrap();
            assert_eq!(toml::from_str::<Controls>(&text), Ok(controls));
        }
        let mut out = Vec::new();
        Controls { exposure: Exposure::Micros(99), ..Controls::default() }.problems(&mut out);
        assert_eq!(out[0].key, "source.v4l2.controls.exposure");
    }
}
