//! The section `[calibrate]` of the daemon's configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Counting passers-by against decoys beside matching.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalibrateConfig {
    /// The set of decoys, signed by two and sealed as lists are. Where absent nothing is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoys: Option<PathBuf>,
    /// Where the counts lie. They are for this device alone: counts of single decoys leave it
    /// nowhere.
    pub counts: PathBuf,
    /// Where the site record is written when the signed days are over. One that is there ends the
    /// counting: move it away to begin anew.
    pub record: PathBuf,
}

impl Default for CalibrateConfig {
    fn default() -> Self {
        Self {
            decoys: None,
            counts: "/var/lib/watchpost/decoy-counts.cbor".into(),
            record: "/var/lib/watchpost/site-record.cbor".into(),
        }
    }
}

impl CalibrateConfig {
    /// Adds what is wrong with the section to `out`.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        let mut paths = vec![
            (setting!(calibrate.counts), &self.counts),
            (setting!(calibrate.record), &self.record),
        ];
        paths.extend(self.decoys.as_ref().map(|decoys| (setting!(calibrate.decoys), decoys)));
        for (i, (key, path)) in paths.iter().enumerate() {
            let remedy = match paths[..i].iter().find(|(_, other)| other == path) {
                _ if path.as_os_str().is_empty() => "write the path of a file".into(),
                Some((other, _)) => format!("write another path than that of {other}"),
                None => continue,
            };
            let value = path.display().to_string();
            out.push(Problem { key: (*key).into(), value, remedy });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem_and_each_problem_names_its_key() {
        let problems = |config: &CalibrateConfig| {
            let mut out = Vec::new();
            config.problems(&mut out);
            out.into_iter().map(|p| p.key).collect::<Vec<_>>()
        };
        let good = CalibrateConfig::default();
        assert!(problems(&good).is_empty());
        let same = CalibrateConfig { record: good.counts.clone(), ..good.clone() };
        assert_eq!(problems(&same), ["calibrate.record"]);
        let empty = CalibrateConfig { decoys: Some("".into()), ..good };
        assert_eq!(problems(&empty), ["calibrate.decoys"]);
    }
}
