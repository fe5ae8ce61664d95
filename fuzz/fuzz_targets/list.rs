//! Signed lists and drafts: whatever the bytes, one clear error or a list that encodes to the bytes that it was read from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::watchlist::author::{self, Draft};

fuzz_target!(|bytes: &[u8]| {
    let _ = author::show(bytes, None);
    if let Ok(draft) = Draft::from_json(bytes) {
        let again = Draft::from_json(&draft.to_json()).expect("what was written is read");
        assert!(again == draft);
    }
});
