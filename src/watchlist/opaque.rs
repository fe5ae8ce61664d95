//! Whether an identifier that is published is plainly no person's name.
//!
//! * Fails closed: what is not plainly opaque may be a name. Opaque are a case number (`case-0412`,
//!   `LKA-12-AZ`, `x7`), a hexadecimal number and a UUID; of things, a device or a list, also the
//!   words for where they are (`gate-1`, `station-north`).
//! * No list of names is needed, which would never have all of them.
//! * Not promised: that a number is not somebody's date of birth, or two letters not a forename.

/// What an identifier is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentifierOf {
    /// A person, who is on a list.
    Person,
    /// A list or a device.
    Thing,
}

/// Words of case numbers, in lower case. None of them is a common name.
const CASE_WORDS: [&str; 47] = [
    "akte",
    "az",
    "bka",
    "booking",
    "case",
    "cid",
    "code",
    "decoy",
    "demo",
    "entry",
    "example",
    "fall",
    "file",
    "fir",
    "id",
    "incident",
    "item",
    "js",
    "kls",
    "list",
    "lka",
    "missing",
    "nr",
    "no",
    "num",
    "number",
    "order",
    "person",
    "persons",
    "pid",
    "record",
    "ref",
    "reference",
    "row",
    "sample",
    "serial",
    "sheet",
    "subject",
    "suspect",
    "test",
    "ticket",
    "uid",
    "unit",
    "vorgang",
    "wanted",
    "warrant",
    "watchlist",
];

/// Words for things and where they are, in lower case. Some are surnames, too, so that they say
/// nothing about a person's reference.
const PLACE_WORDS: [&str; 71] = [
    "airport",
    "area",
    "bridge",
    "building",
    "bus",
    "cam",
    "camera",
    "car",
    "center",
    "central",
    "centre",
    "city",
    "concourse",
    "corridor",
    "crossing",
    "desk",
    "dev",
    "device",
    "door",
    "east",
    "entrance",
    "exit",
    "floor",
    "front",
    "gate",
    "hall",
    "harbour",
    "inner",
    "jetson",
    "lab",
    "left",
    "level",
    "lobby",
    "main",
    "market",
    "metro",
    "middle",
    "node",
    "north",
    "office",
    "old",
    "outer",
    "park",
    "parking",
    "patrol",
    "pi",
    "place",
    "platform",
    "port",
    "portrait",
    "portraits",
    "pole",
    "rear",
    "right",
    "room",
    "side",
    "site",
    "south",
    "square",
    "stairs",
    "station",
    "street",
    "terminal",
    "tower",
    "town",
    "tunnel",
    "watch",
    "watchpost",
    "west",
    "yard",
    "zone",
];

/// Most letters of a prefix that is no known word.
const PREFIX: usize = 2;
/// Fewest digits of a hexadecimal number. A forename with a year has as many, but does not go to
/// and fro between letters and digits.
const HEXADECIMAL: usize = 8;
/// How often it does so at least.
const TURNS: usize = 3;
/// Hexadecimal digits of a reference that was drawn, after `ref-`.
const DRAWN: usize = 12;

/// Whether `text` is plainly no person's name.
pub fn is_plainly_opaque(text: &str, of: IdentifierOf) -> bool {
    if !text.is_ascii() || text.contains(char::is_whitespace) {
        return false;
    }
    if is_uuid(text) || is_drawn(text) {
        return true;
    }
    let parts: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    let is_known = |word: &str| {
        let word = word.to_ascii_lowercase();
        CASE_WORDS.contains(&word.as_str())
            || (of == IdentifierOf::Thing && PLACE_WORDS.contains(&word.as_str()))
    };
    let is_prefix =
        |at: (usize, usize), word: &str| at == (0, 0) && has_digit && word.len() <= PREFIX;
    !parts.is_empty()
        && parts.iter().enumerate().all(|(p, part)| {
            is_hexadecimal(part)
                || words(part)
                    .enumerate()
                    .all(|(w, word)| is_known(word) || is_prefix((p, w), word))
        })
}

/// The runs of letters in a part, taken apart where a capital follows a small letter (`CaseFile`).
fn words(part: &str) -> impl Iterator<Item = &str> {
    part.split(|c: char| !c.is_ascii_alphabetic())
        .flat_map(|run| {
            let bytes = run.as_bytes();
            let begins =
                |at: &usize| bytes[*at].is_ascii_uppercase() && bytes[*at - 1].is_ascii_lowercase();
            let mut ends: Vec<usize> = (1..bytes.len()).filter(begins).collect();
            ends.push(bytes.len());
            let mut from = 0;
            ends.into_iter().map(move |end| &run[std::mem::replace(&mut from, end)..end])
        })
        .filter(|word| !word.is_empty())
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// As `watchlist add` draws them.
fn is_drawn(text: &str) -> bool {
    text.strip_prefix("ref-").is_some_and(|digits| {
        digits.len() == DRAWN && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_hexadecimal(part: &str) -> bool {
    let bytes = part.as_bytes();
    let one_case = !(part.contains(|c: char| c.is_ascii_lowercase())
        && part.contains(|c: char| c.is_ascii_uppercase()));
    let turns = bytes.windows(2).filter(|w| w[0].is_ascii_digit() != w[1].is_ascii_digit()).count();
    bytes.len() >= HEXADECIMAL
        && one_case
        && turns >= TURNS
        && bytes.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_be_a_name_is_never_taken_for_opaque() {
        for name in [
            "schroeder",
            "JOHN",
            "Schroeder",
            "jane-doe-2",
            "john.smith.1985",
            "JaneDoe1985",
            "DOE-JANE-1",
            "mueller7",
            "K.Annan.3",
            "o_brien",
            "Jane_Doe",
            "Jane Doe",
            "Müller",
            "O'Brien_Pat",
            "Doe_Jane_1970",
            "Ann-1985",
            "case-mueller",
            "ref-Jane",
            "7-smith",
            "1985-li",
            "abbe19850101",
            "Abbe1985",
            "adeba1de",
            "",
            "-",
            "x",
        ] {
            for of in [IdentifierOf::Person, IdentifierOf::Thing] {
                assert!(!is_plainly_opaque(name, of), "{name}");
            }
        }
        for surname in ["North", "park-7", "gate_west"] {
            assert!(!is_plainly_opaque(surname, IdentifierOf::Person), "{surname}");
        }
    }

    #[test]
    fn case_numbers_hexadecimal_numbers_and_uuids_are_opaque() {
        for reference in [
            "case-0412",
            "case-1",
            "Case-1",
            "CaseFile7",
            "2026-17",
            "0412",
            "A1",
            "case",
            "order-1-26",
            "x7",
            "person_0007",
            "LKA-12-AZ",
            "ref-6ffeb683ea7b",
            "ref-abbadeadface",
            "5f3a9c01b2",
            "case-5F3A9C01B2",
            "0b7e6c1a-59d2-4a4f-8c39-2f8f3f1f7a10",
        ] {
            assert!(is_plainly_opaque(reference, IdentifierOf::Person), "{reference}");
        }
        for thing in ["gate-1", "watchpost-1", "station-north", "street", "portraits-1", "cam7"] {
            assert!(is_plainly_opaque(thing, IdentifierOf::Thing), "{thing}");
        }
    }

    proptest! {
        #[test]
        fn nothing_with_an_unknown_word_of_three_letters_is_opaque(
            before in "[0-9._-]{0,6}",
            word in "[g-z]{3,12}",
            after in "[0-9._-]{0,6}",
        ) {
            let known = CASE_WORDS.contains(&word.as_str());
            let opaque = is_plainly_opaque(&format!("{before}{word}{after}"), IdentifierOf::Person);
            prop_assert_eq!(opaque, known);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = is_plainly_opaque(&text, IdentifierOf::Thing);
        }
    }
}
