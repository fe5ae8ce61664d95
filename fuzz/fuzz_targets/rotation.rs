//! Rotations of the pinned keys: whatever the bytes, one clear error or a trust file under which nobody starts a search alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::watchlist::rotation;

fuzz_target!(|bytes: &[u8]| {
    let _ = rotation::is_rotation(bytes);
    if let Ok((trust, _)) = rotation::inspect(bytes) {
        assert!(trust.signers_needed() >= 2);
    }
});
