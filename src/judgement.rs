//! What reviewers say, and how a review ends: the words that verdicts, messages and records share.
//!
//! Each has a number, from 1, by which signed bytes write it, and a word for JSON and for people.
//! Neither ever changes.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    (
        $(#[$of:meta])* $name:ident {
            $($(#[$about:meta])* $variant:ident = $n:literal, $word:literal;)*
        }
    ) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum $name {
            $($(#[$about])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As signed bytes write it, from 1.
            pub const fn number(self) -> u64 {
                match self { $(Self::$variant => $n,)* }
            }

            /// As JSON and people write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// That of a number.
            pub fn of(number: u64) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.number() == number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let words: Vec<_> = Self::ALL.iter().map(|v| v.as_str()).collect();
                let known = Self::ALL.iter().copied().find(|v| v.as_str() == text);
                known.ok_or_else(|| format!("{text:?} is none of {}", words.join(", ")))
            }
        }
    };
}

words! {
    /// What a reviewer says of two pictures.
    Opinion {
        /// They show one person.
        Same = 1, "same";
        /// They show two people.
        NotSame = 2, "not-same";
        /// It cannot be told from these pictures.
        CannotJudge = 3, "cannot-judge";
        /// What the camera saw was a picture, a screen or a mask, not somebody who was there.
        NobodyThere = 4, "nobody-there";
    }
}

words! {
    /// How sure a reviewer is.
    Confidence {
        /// Rather so than otherwise.
        Low = 1, "low";
        /// Sure, with doubts that can be named.
        Medium = 2, "medium";
        /// Without a doubt.
        High = 3, "high";
    }
}

words! {
    /// How the review of a candidate ended.
    Outcome {
        /// Two people say that it is the same person.
        Confirmed = 1, "confirmed";
        /// Two people say that it is not, or that nobody was there.
        Refuted = 2, "refuted";
        /// Two people cannot tell, or no two of three agree.
        Undecided = 3, "undecided";
        /// Too few people have judged it in its time.
        Expired = 4, "expired";
        /// Its list or its entry was revoked.
        Withdrawn = 5, "withdrawn";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_are_as_published_and_read_back() {
        let words = |all: &[Opinion]| all.iter().map(|o| o.as_str()).collect::<Vec<_>>();
        assert_eq!(words(Opinion::ALL), ["same", "not-same", "cannot-judge", "nobody-there"]);
        for (n, opinion) in (1..).zip(Opinion::ALL) {
            assert_eq!((opinion.number(), Opinion::of(n)), (n, Some(*opinion)));
            assert_eq!(opinion.as_str().parse(), Ok(*opinion));
            let json = serde_json::to_string(opinion).expect("a word");
            assert_eq!(json, format!("\"{opinion}\""));
        }
        let numbers = |all: &[Outcome]| all.iter().map(|o| o.number()).collect::<Vec<_>>();
        assert_eq!(numbers(Outcome::ALL), [1, 2, 3, 4, 5]);
        assert_eq!(Confidence::ALL.iter().map(|c| c.number()).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(Opinion::of(0), None);
        let wrong = "yes".parse::<Opinion>().unwrap_err();
        assert_eq!(wrong, "\"yes\" is none of same, not-same, cannot-judge, nobody-there");
    }
}
