//! What a report and the papers that follow from it say in the same words.

use crate::audit::record::stamp_ms;
use crate::audit::report::{DeploymentReport, Estimate, ReviewCounts};
use crate::evaluate::report::format::{share, span, thousands};
use crate::evaluate::report::{Block, ReportTable, Section};

/// `3 d 4 h 12 min`, `48 s`.
pub fn duration(ms: u64) -> String {
    let minutes = ms / 60_000;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}\u{a0}s", ms / 1000),
        (0, 0, _) => format!("{minutes}\u{a0}min"),
        (0, ..) => format!("{hours}\u{a0}h {minutes}\u{a0}min"),
        _ => format!("{days}\u{a0}d {hours}\u{a0}h {minutes}\u{a0}min"),
    }
}

pub fn whole(ms: u64) -> String {
    // To the second: what people look at.
    stamp_ms(ms / 1000 * 1000)
}

pub const MISSING: &str = "missing";

pub fn places(report: &DeploymentReport) -> String {
    if report.places.is_empty() {
        format!("{MISSING}: nobody had named it")
    } else {
        report.places.join(", then ")
    }
}

pub fn lists(report: &DeploymentReport) -> Section {
    let head =
        ["List", "Purpose", "Authorised by", "Entries", "Threshold", "Announced a day", "In use"];
    let mut table =
        ReportTable::new("Lists with which faces were compared", &head).with_words(&[1, 2]);
    for used in &report.lists {
        let list = &used.list;
        table.row([
            format!("{} version {} ({})", list.id, list.version, list.stage.as_str()),
            list.aim.to_string(),
            format!("{}, {}", list.authority, list.decision),
            thousands(list.entries),
            format!("{:.4}", f64::from(list.threshold) / 1e6),
            format!("{:.4}", list.false_alerts as f64 / 1e6),
            duration(used.in_use_ms),
        ]);
    }
    Section { heading: "What was searched for".into(), blocks: vec![Block::Table(table)] }
}

/// A number of candidates that reviewers decided so, where the log has any of reviews.
pub fn reviewed(report: &DeploymentReport, of: fn(ReviewCounts) -> u64) -> Option<String> {
    report.reviews.map(|reviews| thousands(of(reviews)))
}

/// Figure, value and interval of what was announced and of what was observed.
pub fn shares(report: &DeploymentReport) -> [[String; 3]; 4] {
    let row = |what: &str, estimate: Option<Estimate>| match estimate {
        Some(e) => [what.into(), share(e.value), span(e.lower, e.upper)],
        None => [what.into(), MISSING.into(), String::new()],
    };
    let announced = report.announced_a_day.map_or_else(|| MISSING.into(), |a| format!("{a:.4}"));
    [
        row("Candidates a face, false or not", report.alerts_a_face),
        ["False alerts a day, announced".into(), announced, String::new()],
        row("False alerts a face", report.false_alerts_a_face),
        row("False alerts an alert", report.false_alerts_an_alert),
    ]
}

/// What the log does not support.
pub fn missing(report: &DeploymentReport) -> Block {
    let mut table =
        ReportTable::new("What the log cannot say", &["Figure", "Why"]).with_words(&[1]);
    for figure in &report.missing {
        table.row([figure.figure.to_owned(), figure.why.clone()]);
    }
    Block::Table(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_for_people() {
        let all = [48_000, 120_000, 3_600_000, 90_000_000_000].map(duration);
        assert_eq!(
            all.map(|t| t.replace('\u{a0}', " ")),
            ["48 s", "2 min", "1 h 0 min", "1041 d 16 h 0 min"]
        );
    }
}
