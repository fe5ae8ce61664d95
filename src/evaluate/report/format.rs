//! Numbers for people: rates as percentages while those are readable, always with interval and
//! count.

use crate::evaluate::statistics::interval::Rate;
use crate::evaluate::statistics::misses::PeopleRate;

/// `98.60 %`, `0.120 %`, `0.00034 %`. Number and sign stay on one line.
pub fn share(rate: f64) -> String {
    let percent = rate * 100.0;
    match percent {
        0.0 => "0\u{a0}%".into(),
        p if p >= 1.0 => format!("{p:.2}\u{a0}%"),
        p if p >= 0.01 => format!("{p:.3}\u{a0}%"),
        // Two significant digits; below 1e-10 nothing can be measured.
        p if p >= 1e-8 => format!("{p:.*}\u{a0}%", (1.0 - p.log10().floor()) as usize),
        _ => format!("{rate:.1e}"),
    }
}

/// A rate that was asked for: `1 %`, `0.1 %`, `0.01 %`.
pub fn target(rate: f64) -> String {
    let text = format!("{:.6}", rate * 100.0);
    format!("{}\u{a0}%", text.trim_end_matches('0').trim_end_matches('.'))
}

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

/// `97.90 % to 99.10 %`.
pub fn span(lower: f64, upper: f64) -> String {
    format!("{} to {}", share(lower), share(upper))
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

/// `12 345 678`: digits in threes, kept together by a narrow no-break space.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_stay_readable_at_every_size() {
        let of = |v| share(v);
        assert_eq!(
            [target(1e-2), target(1e-3), target(1e-4)],
            ["1\u{a0}%", "0.1\u{a0}%", "0.01\u{a0}%"]
        );
        assert_eq!(
            [of(0.986), of(0.0012), of(3.4e-6), of(0.0), of(1.0)],
            ["98.60\u{a0}%", "0.120\u{a0}%", "0.00034\u{a0}%", "0\u{a0}%", "100.00\u{a0}%"]
        );
        assert_eq!(full(&Rate::new(0, 0)), "not known (no trials)");
        assert_eq!(full(&Rate::new(5, 10)), "50.00\u{a0}% (18.71\u{a0}% to 81.29\u{a0}%; 5 of 10)");
        assert_eq!(
            [thousands(1), thousands(1234), thousands(1_234_567)],
            ["1", "1\u{202f}234", "1\u{202f}234\u{202f}567"]
        );
    }
}
