//! Configuration files: whatever the text, one clear error or a configuration without problems.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use watchpost::config::Config;

fuzz_target!(|text: &str| {
    if let Ok(config) = Config::parse(text, Path::new("fuzz.toml")) {
        assert!(config.problems().is_empty());
    }
});
