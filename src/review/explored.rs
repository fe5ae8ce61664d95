//! For tests: every order of what may happen to something that people judge.
//!
//! Reviewers 3 and 4 count as one person, 5 and 6 are others; 1 and 2 sign lists and review
//! nothing.

use crate::watchlist::fixture;
use crate::watchlist::trust::Trust;

/// Why 3 and 4 count as one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnePerson {
    /// The trust file says so.
    Named,
    /// It says of neither whose it is.
    Unnamed,
}

impl OnePerson {
    pub const ALL: [Self; 2] = [Self::Named, Self::Unnamed];

    /// A trust file of the two signers and these reviewers.
    pub fn trust_of(self, reviewers: &[u8]) -> Trust {
        let mut keys = vec![("signer", 1), ("signer", 2)];
        keys.extend(reviewers.iter().map(|n| ("reviewer", *n)));
        let instead = match self {
            Self::Named => "person = \"p-34\"\n",
            Self::Unnamed => "",
        };
        let text = ["p-3", "p-4"].iter().fold(fixture::trust_text(2, &keys), |text, person| {
            text.replace(&format!("person = \"{person}\"\n"), instead)
        });
        Trust::parse(&text).expect("a trust file")
    }

    /// All four, and all but 5: it is rotated out.
    pub fn trusts(self) -> [Trust; 2] {
        [self.trust_of(&[3, 4, 5, 6]), self.trust_of(&[3, 4, 6])]
    }
}

/// Whose key a reviewer's is, in truth.
pub fn person(reviewer: u8) -> &'static str {
    match reviewer {
        3 | 4 => "p-34",
        5 => "p-5",
        _ => "p-6",
    }
}

/// What has happened so far, and what is true.
pub trait Explored: Clone {
    /// What may happen.
    type Step;

    /// It happens, by the first trust file or the second; what must hold is asserted.
    fn happens(&mut self, step: &Self::Step, trusts: &[Trust; 2]);
}

/// Goes through every order of `left` of `steps`; how many there were.
pub fn explore<H: Explored>(
    history: &H,
    left: usize,
    trusts: &[Trust; 2],
    steps: &[H::Step],
) -> usize {
    if left == 0 {
        return 1;
    }
    let next = |step: &H::Step| {
        let mut history = history.clone();
        history.happens(step, trusts);
        explore(&history, left - 1, trusts, steps)
    };
    steps.iter().map(next).sum()
}
