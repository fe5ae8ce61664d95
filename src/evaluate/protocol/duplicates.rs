//! What people have judged of photographs that look like one person under two names: a JSON file.
//!
//! ```json
//! {"clusters": [
//!   {"files": ["ann/1.jpg", "anna/1.jpg"], "verdict": "same_person",
//!    "judged_by": "two archivists", "why": "same event, same scar"},
//!   {"files": ["bob/1.jpg", "rob/2.jpg"], "verdict": "twins",
//!    "judged_by": "family", "why": "birth register"}
//! ]}
//! ```
//!
//! * File names are as reports and `--scores` write them: paths below the root.
//! * A judgement holds for the *people* of the files: all their photographs.
//! * A file that stands in two clusters, a cluster of one, or a judgement without judge and reason
//!   refuses the whole list: it decides which errors count.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairVerdict {
    /// One person under several names: comparisons between them are no false matches.
    SamePerson,
    /// Twins: no face recognition tells them apart, so they are left out and counted.
    Twins,
    /// Different people: their false matches count, and nobody need look again.
    Different,
}

/// Files that were looked at together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedCluster {
    /// Photographs, two or more.
    pub files: Vec<String>,
    /// What was decided.
    pub verdict: PairVerdict,
    /// Who decided it.
    pub judged_by: String,
    /// From what.
    pub why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JudgementFile {
    clusters: Vec<JudgedCluster>,
}

/// Why a file of judgements cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DuplicatesError {
    /// Not the format.
    #[error(
        "the file of --duplicates is not understood: {0}; it must be {{\"clusters\": \
         [{{\"files\": [..], \"verdict\": \"same_person\", \"twins\" or \"different\", \
         \"judged_by\": \"..\", \"why\": \"..\"}}]}}"
    )]
    Json(#[from] serde_json::Error),
    /// A cluster of fewer than two files.
    #[error("cluster {0} of --duplicates names fewer than two files: name all that are alike")]
    TooFew(usize),
    /// Nobody stands for it.
    #[error("cluster {0} of --duplicates does not say who judged it and why: fill both in")]
    Unexplained(usize),
    /// In two clusters, or twice in one.
    #[error("--duplicates names {0} a second time: put each file into one cluster")]
    Again(String),
}

/// Reads the text of a file of judgements.
///
/// # Errors
/// [`DuplicatesError`]; clusters are counted from 1.
pub fn parse(text: &str) -> Result<Vec<JudgedCluster>, DuplicatesError> {
    let file: JudgementFile = serde_json::from_str(text.trim_start_matches('\u{feff}'))?;
    let mut seen = HashSet::new();
    for (number, cluster) in (1..).zip(&file.clusters) {
        if cluster.files.len() < 2 {
            return Err(DuplicatesError::TooFew(number));
        }
        if cluster.judged_by.trim().is_empty() || cluster.why.trim().is_empty() {
            return Err(DuplicatesError::Unexplained(number));
        }
        for file in &cluster.files {
            if !seen.insert(file) {
                return Err(DuplicatesError::Again(file.clone()));
            }
        }
    }
    Ok(file.clusters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cluster(files: &str, judge: &str) -> String {
        format!(
            "{{\"clusters\":[{{\"files\":[{files}],\"verdict\":\"twins\",\"judged_by\":\"{judge}\",\
             \"why\":\"register\"}}]}}"
        )
    }

    #[test]
    fn a_judgement_needs_files_a_judge_and_a_reason() {
        let all = parse(&cluster("\"a\",\"b\"", "Ann")).unwrap();
        assert_eq!((all[0].files.len(), all[0].verdict), (2, PairVerdict::Twins));
        for (text, word) in [
            (cluster("\"a\"", "Ann"), "fewer than two"),
            (cluster("\"a\",\"b\"", " "), "who judged"),
            (cluster("\"a\",\"a\"", "Ann"), "a second time"),
            (cluster("\"a\",\"b\"", "Ann").replace("twins", "cousins"), "same_person"),
            ("[]".into(), "clusters"),
        ] {
            let e = parse(&text).unwrap_err().to_string();
            assert!(e.contains(word), "{e}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
