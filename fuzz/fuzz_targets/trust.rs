//! Trust files: whatever the text, one clear error or a file under which nobody starts a search alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::watchlist::Trust;

fuzz_target!(|text: &str| {
    if let Ok(trust) = Trust::parse(text) {
        assert!(trust.signers_needed() >= 2);
    }
});
