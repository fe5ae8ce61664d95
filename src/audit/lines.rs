//! How the texts of transparency logs write numbers and hashes: one way each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tree::{MAX_SIZE, TreeHash};

/// A decimal number without sign or leading zeros, at most [`MAX_SIZE`].
pub fn decimal(text: &str) -> Option<u64> {
    let leads = text.len() > 1 && text.starts_with('0');
    if leads || text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| *n <= MAX_SIZE)
}

/// A hash in padded base64.
pub fn hash(text: &str) -> Option<TreeHash> {
    // Larger than 32 bytes because the decoder asks for room in whole groups of three.
    let mut decoded = [0; 48];
    match STANDARD.decode_slice(text, &mut decoded) {
        Ok(32) => Some(TreeHash(decoded[..32].try_into().expect("32 bytes"))),
        _ => None,
    }
}

/// As [`hash`] reads it.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes in padded base64.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_one_spelling() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("9223372036854775807"), Some(MAX_SIZE));
        let others = ["", "00", "01", "+1", "-1", " 1", "1 ", "1_0", "0x1", "9223372036854775808"];
        for other in others.into_iter().chain(["18446744073709551616", "٣"]) {
            assert_eq!(decimal(other), None, "{other}");
        }
    }

    #[test]
    fn one_hash_has_one_spelling() {
        let good = base64(&[0xa5; 32]);
        assert_eq!(hash(&good), Some(TreeHash([0xa5; 32])));
        let unpadded = good.trim_end_matches('=');
        // The last digit carries two bits that belong to no byte.
        let loose = good.replace("U=", "V=");
        assert_ne!(loose, good);
        for other in [unpadded, &loose, &good[..40], &format!("{good}AA=="), ""] {
            assert_eq!(hash(other), None, "{other}");
        }
    }
}
