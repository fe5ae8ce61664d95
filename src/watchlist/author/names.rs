//! Whether a free text may hold a person's name.
//!
//! Purpose and legal basis are signed, and published with each candidate: whoever reads the broker
//! would read the name. No program knows what is a name, so this is a hint for whoever writes or
//! signs, never a refusal; it errs towards asking.

/// Words before a name, in some languages; lower case, without their dot.
const TITLES: [&str; 24] = [
    "mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "lady", "herr", "frau", "monsieur",
    "madame", "mme", "mlle", "signor", "signora", "sig", "señor", "señora", "sr", "sra", "pan",
    "pani",
];
/// Capitalised words that stand in the names of courts, laws and places rather than of people;
/// lower case.
const INSTITUTIONS: [&str; 62] = [
    "act",
    "agency",
    "airport",
    "appeal",
    "article",
    "authority",
    "basic",
    "bureau",
    "case",
    "central",
    "centre",
    "chamber",
    "charter",
    "city",
    "civil",
    "code",
    "commission",
    "convention",
    "council",
    "county",
    "court",
    "criminal",
    "crown",
    "data",
    "department",
    "directive",
    "district",
    "east",
    "federal",
    "gate",
    "hall",
    "high",
    "home",
    "human",
    "immigration",
    "interior",
    "justice",
    "law",
    "magistrates",
    "ministry",
    "missing",
    "national",
    "north",
    "office",
    "order",
    "penal",
    "person",
    "persons",
    "police",
    "procedure",
    "prosecutor",
    "protection",
    "public",
    "regional",
    "regulation",
    "rights",
    "section",
    "south",
    "state",
    "station",
    "supreme",
    "west",
];

/// The part of `text` that may be a person's name, if any: a title with a capitalised word after
/// it, two capitalised words that are not of a court, a law or a place, or two of them with a comma
/// between.
pub fn suspected_name(text: &str) -> Option<&str> {
    let words: Vec<(usize, &str)> = words(text);
    words.windows(2).find_map(|pair| {
        let [(start, first), (second_at, second)] = pair else { return None };
        let found = || text[*start..second_at + second.len()].trim();
        let between = text[start + first.len()..*second_at].trim();
        let is_title = TITLES.contains(&first.to_lowercase().as_str());
        if is_title && matches!(between, "" | ".") && is_capitalised(second) {
            return Some(found());
        }
        let surname_first = between == "," && is_capitalised(first) && is_capitalised(second);
        let plain = between.is_empty() && is_capitalised(first) && is_capitalised(second);
        let institution =
            [first, second].iter().any(|w| INSTITUTIONS.contains(&w.to_lowercase().as_str()));
        ((surname_first || plain) && !institution).then(found)
    })
}

/// Each run of letters, with the apostrophes and hyphens inside it, and where it begins.
fn words(text: &str) -> Vec<(usize, &str)> {
    let is_inside = |c: char| c.is_alphabetic() || matches!(c, '\'' | '\u{2019}' | '-');
    let mut words = Vec::new();
    let mut rest = 0;
    while let Some(start) = text[rest..].find(|c: char| c.is_alphabetic()).map(|at| rest + at) {
        let end = text[start..].find(|c: char| !is_inside(c)).map_or(text.len(), |at| start + at);
        words.push((start, &text[start..end]));
        rest = end;
    }
    words
}

/// Two letters or more, the first large; the others are small in a forename, and may be large in a
/// surname (`DOE`).
fn is_capitalised(word: &str) -> bool {
    let mut letters = word.chars().filter(|c| c.is_alphabetic());
    letters.next().is_some_and(char::is_uppercase) && letters.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_in_the_forms_in_which_they_are_written_are_pointed_out() {
        for (text, name) in [
            ("search for Jane Doe, missing since 2 March", "Jane Doe"),
            ("wanted: DOE, Jane", "DOE, Jane"),
            ("Jane DOE", "Jane DOE"),
            ("daughter of Mrs. Smith", "Mrs. Smith"),
            ("Frau Müller hat sie gesehen", "Frau Müller"),
            ("enlèvement, Élodie Lefèvre-Dupont", "Élodie Lefèvre-Dupont"),
            ("last seen with Sean O'Brien", "Sean O'Brien"),
        ] {
            assert_eq!(suspected_name(text), Some(name), "{text}");
        }
    }

    #[test]
    fn what_lists_say_as_a_rule_is_left_alone() {
        for text in [
            "missing since 2 March",
            "order 3 Gs 114/27",
            "Police Act s. 12",
            "missing person 4711",
            "District Court, 3rd chamber, 12 Gs 345/26",
            "Article 5(1)(h) of Regulation (EU) 2024/1689",
            "Code of Criminal Procedure, section 81b",
            "consent of 2026",
            "a promise kept",
            "§ 163e StPO",
            "Missing since Monday",
            "",
        ] {
            assert_eq!(suspected_name(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_finds_is_in_the_text(text in "\\PC{0,60}") {
            if let Some(name) = suspected_name(&text) {
                prop_assert!(text.contains(name) && !name.is_empty());
            }
        }
    }
}
