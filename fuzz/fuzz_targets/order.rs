//! Orders: whatever the bytes, one clear error or an order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::watchlist::order;

fuzz_target!(|bytes: &[u8]| {
    let _ = order::inspect(bytes);
    // The content alone, so that the container need not be guessed.
    let _ = order::inspect_content(bytes);
});
