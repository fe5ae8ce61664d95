//! Offers by digest: whatever the bytes, one clear error, as there is no inbox.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchpost::daemon::vault::Vault;
use watchpost::watchlist::WatchlistConfig;

fuzz_target!(|bytes: &[u8]| {
    let vault = Vault::new(&WatchlistConfig::default());
    assert!(vault.named(bytes).is_err());
    let _ = vault.open(bytes);
});
