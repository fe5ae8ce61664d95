//! The words for findings, as they are published.

use std::fmt;

use serde::Serialize;

use super::WitnessFinding;

/// What kind of finding it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum FindingKind {
    /// Not what a device says to its witnesses.
    Malformed,
    /// Of a log that the witness was not told of.
    UnknownOrigin,
    /// Not signed by the log's key.
    NotAuthentic,
    /// A log without records.
    Empty,
    /// The log is back at an earlier checkpoint.
    Rollback,
    /// The log is shorter than it was.
    Truncation,
    /// Two signed logs of one size.
    Fork,
    /// Cosigned records are others now.
    Rewrite,
    /// The proof begins elsewhere; no offence.
    Gap,
    /// Somebody published an old checkpoint again; no offence of the device.
    Replay,
    /// The log has said nothing for too long.
    Silence,
    /// The witness cannot remember what it would cosign.
    NotRemembered,
    /// The witness cannot sign.
    NotCosigned,
}

impl FindingKind {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownOrigin => "unknown-origin",
            Self::NotAuthentic => "not-authentic",
            Self::Empty => "empty",
            Self::Rollback => "rollback",
            Self::Truncation => "truncation",
            Self::Fork => "fork",
            Self::Rewrite => "rewrite",
            Self::Gap => "gap",
            Self::Replay => "replay",
            Self::Silence => "silence",
            Self::NotRemembered => "not-remembered",
            Self::NotCosigned => "not-cosigned",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl WitnessFinding {
    /// What kind of finding it is.
    pub fn kind(&self) -> FindingKind {
        match self {
            Self::Malformed(_) | Self::Unreadable(_) => FindingKind::Malformed,
            Self::Replay { .. } => FindingKind::Replay,
            Self::UnknownOrigin(_) => FindingKind::UnknownOrigin,
            Self::NotAuthentic(_) => FindingKind::NotAuthentic,
            Self::Empty(_) => FindingKind::Empty,
            Self::Rollback { .. } => FindingKind::Rollback,
            Self::Truncation { .. } => FindingKind::Truncation,
            Self::Fork { .. } => FindingKind::Fork,
            Self::Rewrite { .. } => FindingKind::Rewrite,
            Self::Gap { .. } => FindingKind::Gap,
            Self::Silence { .. } => FindingKind::Silence,
            Self::NotRemembered(_) => FindingKind::NotRemembered,
            Self::NotCosigned(_) => FindingKind::NotCosigned,
        }
    }

    /// Its word, for topics, logs and machines.
    pub fn name(&self) -> &'static str {
        self.kind().as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_one_that_is_published() {
        for kind in [FindingKind::UnknownOrigin, FindingKind::NotRemembered, FindingKind::Fork] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
