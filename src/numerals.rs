//! How numbers are written for people: shares as percentages while those are readable, digits in
//! threes.

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
#[cfg(feature = "evaluate")]
pub fn target(rate: f64) -> String {
    let text = format!("{:.6}", rate * 100.0);
    format!("{}\u{a0}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `97.90 % to 99.10 %`.
pub fn span(lower: f64, upper: f64) -> String {
    format!("{} to {}", share(lower), share(upper))
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
    fn shares_stay_readable_at_every_size() {
        assert_eq!(
            [0.986, 0.0012, 3.4e-6, 0.0, 1.0].map(share),
            ["98.60\u{a0}%", "0.120\u{a0}%", "0.00034\u{a0}%", "0\u{a0}%", "100.00\u{a0}%"]
        );
        assert_eq!(span(0.0, 0.5), "0\u{a0}% to 50.00\u{a0}%");
        assert_eq!(
            [thousands(1), thousands(1234), thousands(1_234_567)],
            ["1", "1\u{202f}234", "1\u{202f}234\u{202f}567"]
        );
    }

    #[cfg(feature = "evaluate")]
    #[test]
    fn a_rate_that_was_asked_for_has_no_digits_more_than_it_needs() {
        let asked = [1e-2, 1e-3, 1e-4].map(target);
        assert_eq!(asked, ["1\u{a0}%", "0.1\u{a0}%", "0.01\u{a0}%"]);
    }
}
