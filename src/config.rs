//! The daemon's configuration: one documented struct a section, each owned by the module that it configures.

/// One thing that is wrong with a configuration, in words that a person can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key, as in `source.width`.
    pub key: String,
    /// The value that was found.
    pub value: String,
    /// What to write instead.
    pub remedy: String,
}
