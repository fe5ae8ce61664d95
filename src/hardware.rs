//! The board's temperatures and whether it is throttled, from files that the kernel shows below
//! `/sys`.
//!
//! Promises: few, small, bounded reads; what a board does not report is left out.
//!
//! Sources: `thermal_zone*` and `cooling_device*` (kernel,
//! Documentation/driver-api/thermal/sysfs-api.rst), the Raspberry Pi's `get_throttled` (bits 0 to 3
//! are the present state: under-voltage, frequency capped, throttled, soft temperature limit) and
//! its `rpi_volt` alarm.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most zones that are read; boards have two to ten.
const ZONES: usize = 16;
/// Longest name of a zone that is reported.
const NAME: usize = 32;

/// What was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heat {
    /// Name and degrees Celsius of each zone that can be read; names are lower-case letters, digits
    /// and `_`.
    pub zones: Vec<(String, f64)>,
    /// Whether the board slows itself down at this moment; `None` where it does not say.
    pub throttled: Option<bool>,
}

impl Heat {
    /// The warmest zone of the processor, degrees Celsius; of all zones where none is called after
    /// it.
    pub fn processor(&self) -> Option<f64> {
        let of_processor =
            |name: &str| ["cpu", "soc", "pkg", "tj"].iter().any(|part| name.contains(part));
        let own =
            self.zones.iter().filter(|(name, _)| of_processor(name)).map(|(_, celsius)| *celsius);
        own.reduce(f64::max).or_else(|| self.warmest())
    }

    /// The warmest zone, degrees Celsius.
    pub fn warmest(&self) -> Option<f64> {
        self.zones.iter().map(|(_, celsius)| *celsius).reduce(f64::max)
    }
}

/// Reads what the board reports, below `sys` (`/sys`).
pub fn read(sys: &Path) -> Heat {
    let mut heat = Heat::default();
    for folder in numbered(&sys.join("class/thermal"), "thermal_zone") {
        if let Some(thousandths) = number(&folder.join("temp")) {
            let name = text(&folder.join("type")).unwrap_or_default();
            let mut name = plain(&name);
            if name.is_empty() || heat.zones.iter().any(|(other, _)| *other == name) {
                name = format!("{name}{}", heat.zones.len());
            }
            heat.zones.push((name, thousandths as f64 / 1000.0));
        }
    }
    let mut tell = |now: Option<bool>| {
        if let Some(now) = now {
            heat.throttled = Some(heat.throttled.unwrap_or(false) || now);
        }
    };
    tell(
        text(&sys.join("devices/platform/soc/soc:firmware/get_throttled"))
            .and_then(|t| u32::from_str_radix(t.trim_start_matches("0x"), 16).ok())
            .map(|bits| bits & 0xF != 0),
    );
    for folder in numbered(&sys.join("class/hwmon"), "hwmon") {
        if text(&folder.join("name")).as_deref() == Some("rpi_volt") {
            tell(number(&folder.join("in0_lcrit_alarm")).map(|alarm| alarm != 0));
        }
    }
    for folder in numbered(&sys.join("class/thermal"), "cooling_device") {
        let kind = text(&folder.join("type")).unwrap_or_default();
        // Fans and the like cool and slow nothing down.
        if kind.contains("cpufreq") || kind == "Processor" {
            tell(number(&folder.join("cur_state")).map(|state| state > 0));
        }
    }
    heat
}

/// The first folders of that name followed by a number, from 0 on.
fn numbered(parent: &Path, name: &str) -> impl Iterator<Item = PathBuf> {
    (0..ZONES).map(move |n| parent.join(format!("{name}{n}"))).filter(|folder| folder.is_dir())
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(64).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

fn number(path: &Path) -> Option<i64> {
    text(path)?.parse().ok()
}

fn plain(name: &str) -> String {
    name.chars()
        .take(NAME)
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
            std::fs::write(path, text).expect("writable");
        }
        root
    }

    #[test]
    fn zones_and_the_firmware_of_a_raspberry_pi_are_read() {
        let mut files = vec![
            ("class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("class/thermal/thermal_zone0/temp", "48686\n"),
            ("devices/platform/soc/soc:firmware/get_throttled", "50000\n"),
        ];
        let heat = read(tree(&files).path());
        assert_eq!(
            heat,
            Heat { zones: vec![("cpu_thermal".into(), 48.686)], throttled: Some(false) }
        );
        files[2].1 = "0x50005\n";
        assert_eq!(
            read(tree(&files).path()).throttled,
            Some(true),
            "what was in the past does not count, what is now does"
        );
    }

    #[test]
    fn zones_of_one_name_are_told_apart_and_a_slowed_processor_is_told() {
        let heat = read(
            tree(&[
                ("class/thermal/thermal_zone0/type", "soc"),
                ("class/thermal/thermal_zone0/temp", "40000"),
                ("class/thermal/thermal_zone3/type", "soc"),
                ("class/thermal/thermal_zone3/temp", "-1500"),
                ("class/thermal/thermal_zone4/type", "broken"),
                ("class/thermal/thermal_zone4/temp", "hot"),
                ("class/thermal/cooling_device0/type", "pwm-fan"),
                ("class/thermal/cooling_device0/cur_state", "3"),
                ("class/thermal/cooling_device1/type", "cpufreq-cpu0"),
                ("class/thermal/cooling_device1/cur_state", "0"),
            ])
            .path(),
        );
        assert_eq!(heat.zones, [("soc".to_owned(), 40.0), ("soc1".to_owned(), -1.5)]);
        assert_eq!((heat.throttled, heat.warmest()), (Some(false), Some(40.0)));
    }

    #[test]
    fn the_processor_is_told_from_what_else_is_warm() {
        let zones = |all: &[(&str, f64)]| Heat {
            zones: all.iter().map(|(n, c)| ((*n).into(), *c)).collect(),
            ..Heat::default()
        };
        assert_eq!(
            zones(&[("pmic", 90.0), ("cpu_thermal", 60.0), ("soc1", 61.0)]).processor(),
            Some(61.0)
        );
        assert_eq!(zones(&[("wifi", 50.0)]).processor(), Some(50.0));
        assert_eq!(zones(&[]).processor(), None);
    }

    #[test]
    fn a_board_that_tells_nothing_tells_nothing() {
        assert_eq!(read(Path::new("/nonexistent")), Heat::default());
    }
}
