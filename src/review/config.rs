//! The section `[review]` of the daemon's configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::Duration;

use crate::problem::Problem;

/// Seconds in which two people have to judge a candidate: at least and at most.
const DEADLINES_S: std::ops::RangeInclusive<u32> = 300..=2_592_000;

/// Where the candidates that wait for verdicts are remembered, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewConfig {
    /// The file of what waits. It holds what reviewers have said, for this device alone.
    pub docket: PathBuf,
    /// Seconds in which two people have to judge a candidate, by the device's clock: 300 to
    /// 2,592,000 (30 days). It is a deadline of its own: a candidate may be delivered for a shorter
    /// time.
    pub deadline_s: u32,
}

impl Default for ReviewConfig {
    fn default() -> Self {
        Self { docket: "/var/lib/watchpost/reviews.cbor".into(), deadline_s: 259_200 }
    }
}

impl ReviewConfig {
    /// Adds what is wrong with the section.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        if self.docket.as_os_str().is_empty() {
            out.push(Problem {
                key: setting!(review.docket).into(),
                value: "\"\"".into(),
                remedy: "write the path of a file".into(),
            });
        }
        if !DEADLINES_S.contains(&self.deadline_s) {
            out.push(Problem {
                key: setting!(review.deadline_s).into(),
                value: self.deadline_s.to_string(),
                remedy: "write 300 to 2592000 seconds".into(),
            });
        }
    }

    /// See [`ReviewConfig::deadline_s`].
    pub fn deadline(&self) -> Duration {
        Duration::seconds(self.deadline_s.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem_and_each_problem_names_its_key() {
        let problems = |config: &ReviewConfig| {
            let mut out = Vec::new();
            config.problems(&mut out);
            out.into_iter().map(|p| p.key).collect::<Vec<_>>()
        };
        assert_eq!(problems(&ReviewConfig::default()), Vec::<String>::new());
        let wrong = ReviewConfig { docket: "".into(), deadline_s: 299 };
        assert_eq!(problems(&wrong), ["review.docket", "review.deadline_s"]);
    }
}
