//! What is wrong with a setting, in words that a person can act on. Each module checks its own
//! section of the configuration.

use serde::Serialize;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Dotted path of the key, as in `source.pipe.width`.
    pub key: String,
    /// The value that was found.
    pub value: String,
    /// What to write instead.
    pub remedy: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Texts of the system's files begin with the name themselves.
        if !self.value.is_empty() && self.remedy.starts_with(&self.value) {
            return write!(f, "{} = {}", self.key, self.remedy);
        }
        write!(f, "{} = {}: {}", self.key, self.value, self.remedy)
    }
}
