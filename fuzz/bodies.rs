//! What each fuzz target does with its bytes; also driven, without a fuzzer's map of the code, by
//! `tests/parsers.rs`.
#![allow(dead_code)]

use std::path::Path;
use std::sync::OnceLock;

use watchpost::config::Config;
use watchpost::device::vault::Vault;
use watchpost::watchlist::author::{self, Draft};
use watchpost::watchlist::seal::{self, DeviceKey, MAGIC};
use watchpost::watchlist::{Trust, WatchlistConfig, codec, order, removal, rotation};

/// Signed lists, what is signed in them, their entries, and drafts: one clear error, or a list that
/// stays one without its entries.
pub fn list(bytes: &[u8]) {
    let shown = author::show(bytes, None);
    if let Ok(Some(parts)) = removal::without(bytes, |_| true) {
        let left = author::show(&parts.concat(), None);
        assert!(shown.is_err() || left.is_ok_and(|left| left.entries.is_empty()));
    }
    // The parts alone, so that neither container nor digests have to be guessed.
    let _ = codec::inspect(bytes, bytes);
    if let Ok(draft) = Draft::from_json(bytes) {
        let again = Draft::from_json(&draft.to_json()).expect("what was written is read");
        assert!(again == draft);
    }
}

/// Sealed lists: one clear error; nothing that was not sealed to the key opens.
pub fn sealed(bytes: &[u8]) {
    static KEY: OnceLock<DeviceKey> = OnceLock::new();
    let key = KEY.get_or_init(|| DeviceKey::generate().expect("a key"));
    assert!(seal::open(bytes, key).is_err());
    assert!(seal::open(&[MAGIC, bytes].concat(), key).is_err());
}

/// Trust files: one clear error, or a file under which nobody starts a search alone.
pub fn trust(bytes: &[u8]) {
    if let Ok(trust) = Trust::parse(&String::from_utf8_lossy(bytes)) {
        assert!(trust.signers_needed() >= 2);
    }
}

/// Rotations of the pinned keys: the same.
pub fn rotation(bytes: &[u8]) {
    let _ = rotation::is_rotation(bytes);
    if let Ok((trust, _)) = rotation::inspect(bytes) {
        assert!(trust.signers_needed() >= 2);
    }
}

/// Orders: one clear error, or an order.
pub fn order(bytes: &[u8]) {
    let _ = order::inspect(bytes);
    // The content alone, so that the container need not be guessed.
    let _ = order::inspect_content(bytes);
}

/// Offers by digest: one clear error, as there is no inbox.
pub fn offer(bytes: &[u8]) {
    let vault = Vault::new(&WatchlistConfig::default());
    assert!(vault.named(bytes).is_err());
    let _ = vault.open(bytes);
}

/// Configuration files: one clear error, or a configuration without problems.
pub fn config(bytes: &[u8]) {
    if let Ok(config) = Config::parse(&String::from_utf8_lossy(bytes), Path::new("fuzz.toml")) {
        assert!(config.problems().is_empty());
    }
}
