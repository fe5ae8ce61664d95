//! Sealed lists: whatever the bytes, one clear error; nothing that was not sealed to the key opens.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use watchpost::watchlist::seal::{self, DeviceKey, MAGIC};

static KEY: OnceLock<DeviceKey> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let key = KEY.get_or_init(|| DeviceKey::generate().expect("a key"));
    assert!(seal::open(bytes, key).is_err());
    assert!(seal::open(&[MAGIC, bytes].concat(), key).is_err());
});
