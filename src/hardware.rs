//! What the board's own kernel tells about its health: temperatures, and whether it has slowed itself down.
//!
//! Promises: reads a few small files below `/sys`, never writes; what a board does not tell is absent.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Most sensors that are read.
const MAX_SENSORS: usize = 32;

/// One sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Temperature {
    /// As the kernel calls it: `cpu-thermal`.
    pub name: String,
    /// Degrees Celsius.
    pub celsius: f32,
}

/// All sensors of the kernel's thermal framework. Empty on machines without.
pub fn temperatures() -> Vec<Temperature> {
    zones(Path::new("/sys/class/thermal"))
}

/// The hottest sensor of the processor; of all sensors where none is called after it.
pub fn processor_temperature() -> Option<f32> {
    hottest(&temperatures())
}

fn hottest(sensors: &[Temperature]) -> Option<f32> {
    let of_processor = |t: &&Temperature| {
        let name = t.name.to_ascii_lowercase();
        ["cpu", "soc", "pkg", "tj"].iter().any(|part| name.contains(part))
    };
    let most = |all: &mut dyn Iterator<Item = &Temperature>| all.map(|t| t.celsius).max_by(f32::total_cmp);
    most(&mut sensors.iter().filter(of_processor)).or_else(|| most(&mut sensors.iter()))
}

fn zones(root: &Path) -> Vec<Temperature> {
    let mut zones: Vec<PathBuf> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("thermal_zone")))
        .collect();
    zones.sort();
    zones.truncate(MAX_SENSORS);
    let read = |path: PathBuf| {
        let millis: f32 = fs::read_to_string(path.join("temp")).ok()?.trim().parse().ok()?;
        let name = fs::read_to_string(path.join("type")).map_or_else(
            |_| path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            |t| t.trim().to_owned(),
        );
        Some(Temperature { name, celsius: millis / 1000.0 })
    };
    zones.into_iter().filter_map(read).collect()
}

/// What a Raspberry Pi's firmware reports (`get_throttled`: bits 0 to 3 now, 16 to 19 since the start).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttling(pub u32);

impl Throttling {
    /// Whether anything slows the board down at the moment.
    pub fn any_now(self) -> bool {
        self.0 & 0xF != 0
    }
}

impl fmt::Display for Throttling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            "the supply's voltage is too low",
            "its frequency is capped",
            "it is throttled",
            "it is at its soft heat limit",
        ];
        let now: Vec<&str> =
            names.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0).map(|(_, n)| *n).collect();
        f.write_str(&now.join(", "))
    }
}

/// Whether a Raspberry Pi slows itself down; `None` on other boards.
pub fn throttling() -> Option<Throttling> {
    let text = fs::read_to_string("/sys/devices/platform/soc/soc:firmware/get_throttled").ok()?;
    parse(&text)
}

fn parse(text: &str) -> Option<Throttling> {
    let text = text.trim();
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok().map(Throttling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_are_read_by_name_and_a_broken_one_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        for (zone, kind, temp) in [("thermal_zone0", "cpu-thermal\n", "51234\n"), ("thermal_zone1", "gpu\n", "none")] {
            fs::create_dir(root.path().join(zone)).unwrap();
            fs::write(root.path().join(zone).join("type"), kind).unwrap();
            fs::write(root.path().join(zone).join("temp"), temp).unwrap();
        }
        let found = zones(root.path());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].celsius.round()), ("cpu-thermal", 51.0));
    }

    #[test]
    fn the_processors_sensor_counts_before_a_hotter_one_of_the_radio() {
        let sensor = |name: &str, celsius| Temperature { name: name.into(), celsius };
        let (cpu, radio) = (sensor("CPU-therm", 50.0), sensor("iwlwifi", 70.0));
        assert_eq!(hottest(&[radio.clone(), cpu]), Some(50.0));
        assert_eq!((hottest(&[radio]), hottest(&[])), (Some(70.0), None));
    }

    #[test]
    fn the_firmwares_bits_are_words() {
        let now = parse("0x50005\n").unwrap();
        assert!(now.any_now());
        assert_eq!(now.to_string(), "the supply's voltage is too low, it is throttled");
        assert!(!parse("50000").unwrap().any_now());
        assert_eq!(parse("nothing"), None);
    }
}
