//! Signed lists, what is signed in them, their entries, and drafts: whatever the bytes, one clear error or a list that encodes to
//! what it was read from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::watchlist::author::{self, Draft};
use watchpost::watchlist::{format, removal};

fuzz_target!(|bytes: &[u8]| {
    let _ = author::show(bytes, None);
    if let Ok(Some(parts)) = removal::without(bytes, |_| true) {
        assert!(author::show(&parts.concat(), None).is_ok());
    }
    // The parts alone, so that neither container nor digests have to be guessed.
    let _ = format::inspect(bytes, bytes);
    if let Ok(draft) = Draft::from_json(bytes) {
        let again = Draft::from_json(&draft.to_json()).expect("what was written is read");
        assert!(again == draft);
    }
});
