//! What a device says of its promises: which of them its configuration weakens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Status;

/// One promise of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PromiseState {
    /// As shipped, or stricter.
    pub kept: bool,
    /// The keys of the configuration that weaken it; absent where it is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weakened_by: Vec<String>,
}

/// Promises by name.
pub type Promises = BTreeMap<String, PromiseState>;

impl Status {
    /// The same without the promises that are kept, for a broker that takes no larger message: what
    /// is weakened stays visible.
    pub fn shorter(&self) -> Self {
        let mut short = self.clone();
        short.promises.retain(|_, promise| !promise.kept);
        short
    }
}

impl PromiseState {
    /// One that is kept.
    pub fn kept() -> Self {
        Self { kept: true, weakened_by: Vec::new() }
    }

    /// `key` weakens it.
    pub fn weaken(&mut self, key: &str) {
        self.kept = false;
        self.weakened_by.push(key.to_owned());
    }
}
