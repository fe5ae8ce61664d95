//! Numbers for people: rates as percentages while those are readable, always with interval and
//! count.

use crate::evaluate::statistics::interval::Rate;
use crate::evaluate::statistics::misses::PeopleRate;
pub use crate::numerals::{share, span, target, thousands};

/// The rate, or that it is not known.
pub fn rate(r: &Rate) -> String {
    r.rate.map_or_else(|| "not known".into(), share)
}

/// The rate over people, or that it is not known.
pub fn of_people(r: &PeopleRate) -> String {
    r.rate.map_or_else(|| "not known".into(), share)
}

/// `97.90 % to 99.10 %`.
pub fn interval(r: &Rate) -> String {
    span(r.lower, r.upper)
}

/// `1479 of 1500`.
pub fn count(r: &Rate) -> String {
    format!("{} of {}", thousands(r.count), thousands(r.of))
}

/// `98.60 % (97.90 % to 99.10 %; 1479 of 1500)`.
pub fn full(r: &Rate) -> String {
    match r.rate {
        Some(_) => format!("{} ({}; {})", rate(r), interval(r), count(r)),
        None => "not known (no trials)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_never_stands_without_its_interval_and_its_count() {
        assert_eq!(full(&Rate::new(0, 0)), "not known (no trials)");
        assert_eq!(full(&Rate::new(5, 10)), "50.00\u{a0}% (18.71\u{a0}% to 81.29\u{a0}%; 5 of 10)");
    }
}
