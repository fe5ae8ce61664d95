//! What an evaluation did not use, and why: a count by reason and the whole list, part of every
//! result.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

/// One thing that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Omission {
    /// A file, a line of a list, a pair.
    pub what: String,
    /// A short, countable reason, as in `unreadable photograph`.
    pub reason: &'static str,
    /// Particulars; may be empty.
    pub detail: String,
}

/// Everything that was left out, in the order in which it was met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    omissions: Vec<Omission>,
}

impl LeftOut {
    /// Notes one thing.
    pub fn add(
        &mut self,
        what: impl Into<String>,
        reason: &'static str,
        detail: impl Into<String>,
    ) {
        self.omissions.push(Omission { what: what.into(), reason, detail: detail.into() });
    }

    /// Takes over everything of `other`.
    pub fn append(&mut self, mut other: LeftOut) {
        self.omissions.append(&mut other.omissions);
    }

    /// Everything, in order.
    pub fn omissions(&self) -> &[Omission] {
        &self.omissions
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.omissions.is_empty()
    }

    /// How many for each reason.
    pub fn by_reason(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for omission in &self.omissions {
            *counts.entry(omission.reason).or_insert(0) += 1;
        }
        counts
    }
}

impl Serialize for LeftOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut s = serializer.serialize_struct("LeftOut", 3)?;
        s.serialize_field("count", &self.omissions.len())?;
        s.serialize_field("by_reason", &self.by_reason())?;
        s.serialize_field("list", &self.omissions)?;
        s.end()
    }
}
