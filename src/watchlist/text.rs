//! How bytes and times are written: for people, and in a draft's JSON for `#[serde(with = ...)]`.

use std::borrow::Cow;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Two lower-case digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A number of things in words: `1 entry`, `2 entries`.
pub fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A time as RFC 3339 writes it; one that it cannot write, as it is.
pub fn stamp(at: &OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

/// Whether a text reads as it is written: in one line, without characters that nobody sees or that
/// turn what follows around. Somebody signs what they read.
pub fn is_read_as_written(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

/// A text that somebody else wrote, for people to read: each character of it that
/// [`is_read_as_written`] refuses is shown by its number, as in `[U+202E]`. Lines and tabs stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_wrong = |c: char| is_hidden(c) && c != '\n' && c != '\t';
    if !text.chars().any(is_wrong) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_wrong(c) {
            true => shown.push_str(&format!("[U+{:04X}]", u32::from(c))),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Whether nobody sees a character, or it turns what follows around.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Marks, embeddings, overrides and isolates of direction.
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2066}'..='\u{2069}'
            // Ends of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // Without width; joiners are letters' business in many scripts and stay.
            | '\u{00AD}' | '\u{180E}' | '\u{200B}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}'
            | '\u{206A}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
        )
}

/// Templates in the draft's JSON.
pub mod as_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::template::Template;

    pub fn serialize<S: Serializer>(template: &Template, s: S) -> Result<S::Ok, S::Error> {
        let bytes = zeroize::Zeroizing::new(
            template.values().iter().map(|v| v.cast_unsigned()).collect::<Vec<u8>>(),
        );
        s.serialize_str(&zeroize::Zeroizing::new(STANDARD.encode(bytes.as_slice())))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Template, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(d)?);
        let bytes =
            zeroize::Zeroizing::new(STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)?);
        Template::new(bytes.iter().map(|b| b.cast_signed()).collect()).map_err(D::Error::custom)
    }
}

/// A file inside the draft's JSON.
pub mod as_base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, s: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => s.serialize_some(&STANDARD.encode(bytes)),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|text| STANDARD.decode(text).map_err(D::Error::custom)).transpose()
    }
}

/// Digests in the draft's JSON.
pub mod as_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(digest: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&super::hex(digest))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(d)?;
        let mut out = [0u8; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(D::Error::custom("a SHA-256 is written as 64 hexadecimal digits"));
        }
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).expect("hexadecimal digits are ASCII");
            *byte = u8::from_str_radix(pair, 16).expect("two hexadecimal digits");
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::{is_read_as_written, shown};

    #[test]
    fn what_turns_a_text_around_or_cannot_be_seen_is_found_and_other_scripts_are_left_alone() {
        for hidden in [
            "order 1\u{202E}62/1\u{202C}",
            "a\u{2066}b",
            "case\u{200B}-1",
            "a\nb",
            "a\u{2028}b",
            "\u{FEFF}order",
            "x\u{E0041}",
        ] {
            assert!(!is_read_as_written(hidden), "{hidden:?}");
            assert!(is_read_as_written(&shown(hidden).replace(['\n', '\t'], "")), "{hidden:?}");
        }
        for plain in
            ["Beschluß 1/26 §\u{a0}5", "قرار المحكمة", "می\u{200C}خواهم", "क्\u{200D}ष", "令 1"]
        {
            assert!(is_read_as_written(plain), "{plain:?}");
            assert_eq!(shown(plain), plain);
        }
    }
}
