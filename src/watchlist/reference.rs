//! Opaque names.
//!
//! * What is no opaque name is refused where it is read: no spaces, no path, 64 characters at most.
//! * Not promised: that nobody writes a person's name into one.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is no opaque name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {found:?}: write 1 to 64 of the characters A-Z a-z 0-9 . _ - (an opaque reference such \
     as a case number; never a person's name, because it is published)"
)]
pub struct NotOpaque {
    /// Which field.
    pub what: &'static str,
    /// What was written; its first 80 characters.
    pub found: String,
}

/// An opaque name: 1 to 64 of `A-Z a-z 0-9 . _ -`. Names entries, lists and devices.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference(heapless::String<64>);

impl Reference {
    pub(super) fn parse(what: &'static str, text: &str) -> Result<Self, NotOpaque> {
        let opaque = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        // At most 80 characters of what was written are shown: it may be anything.
        let refuse = || NotOpaque { what, found: text.chars().take(80).collect() };
        if text.is_empty() || !text.bytes().all(opaque) {
            return Err(refuse());
        }
        heapless::String::try_from(text).map(Self).map_err(|_| refuse())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reference {
    type Err = NotOpaque;
    fn from_str(text: &str) -> Result<Self, NotOpaque> {
        Self::parse("reference", text)
    }
}

impl TryFrom<String> for Reference {
    type Error = NotOpaque;
    fn try_from(text: String) -> Result<Self, NotOpaque> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.as_str().into()
    }
}

impl Deref for Reference {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
