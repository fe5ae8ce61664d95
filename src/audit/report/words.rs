//! What a report says, in the same words wherever it is shown: on the command line, in papers, on a
//! page of the desk.

use super::{DeploymentReport, Estimate, FaceCounts, ListUse, ReviewCounts, TimeSpan, UseStanding};
use crate::audit::record::stamp_ms;
use crate::numerals::{share, span, thousands};

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

/// A time to the second: what people look at.
pub fn whole(ms: u64) -> String {
    stamp_ms(ms / 1000 * 1000)
}

/// How the intervals of [`shares`] and [`a_day`] are made.
pub const INTERVALS: &str =
    "With two-sided 95 % intervals (Clopper-Pearson for shares, Garwood for rates)";
/// Stretches of time that are left out are shorter, in milliseconds: a start takes some.
const SHORTEST: u64 = 1000;

/// Where the log does not support a figure.
pub const MISSING: &str = "missing";

/// What people called the place.
pub fn places(report: &DeploymentReport) -> String {
    if report.places.is_empty() {
        format!("{MISSING}: nobody had named it")
    } else {
        report.places.join(", then ")
    }
}

/// What [`list_cells`] has.
pub const LIST_HEAD: [&str; 7] =
    ["List", "Purpose", "Authorised by", "Entries", "Threshold", "Announced a day", "In use"];

/// One list: what was searched for, why, by whose decision, and with what announced.
pub fn list_cells(used: &ListUse) -> [String; 7] {
    let list = &used.list;
    [
        format!("{} version {} ({})", list.id, list.version, list.stage.as_str()),
        list.aim.to_string(),
        format!("{}, {}", list.authority, list.decision),
        thousands(list.entries),
        format!("{:.4}", f64::from(list.threshold) / 1e6),
        format!("{:.4}", list.false_alerts as f64 / 1e6),
        duration(used.in_use_ms),
    ]
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

/// Candidates a day in use, likewise.
pub fn a_day(report: &DeploymentReport) -> [String; 3] {
    let (value, interval) = match &report.alerts_a_day {
        Some(e) => (format!("{:.4}", e.value), format!("{:.4} to {:.4}", e.lower, e.upper)),
        None => (MISSING.into(), String::new()),
    };
    ["Candidates a day in use, false or not".into(), value, interval]
}

/// What a false alert is here, and which candidates nobody has decided.
pub fn false_alerts(report: &DeploymentReport) -> String {
    match report.reviews {
        None => "Which candidates were false nobody knows from the log, as it has no records of \
            reviews: false alerts are at most as many as candidates."
            .to_owned(),
        Some(r) => format!(
            "A false alert is a candidate that two people refuted. Not decided: {} could not be \
             told, {} were judged by too few in time, {} were withdrawn.",
            thousands(r.undecided),
            thousands(r.expired),
            thousands(r.withdrawn)
        ),
    }
}

/// How many controls there were, where the log has any; no figure has them in it.
pub fn controls(report: &DeploymentReport) -> Option<String> {
    report.controls.map(|c| {
        format!(
            "A desk registered {} controls: pairs that reviewers were shown and that are no \
             candidates. Over: {} as people had judged them, {} as their time was over, {} as they \
             were revoked. No figure above has them in it.",
            thousands(c.registered),
            thousands(c.judged),
            thousands(c.time_over),
            thousands(c.withdrawn)
        )
    })
}

/// What heartbeats counted.
pub fn face_counts(c: FaceCounts) -> [(&'static str, u64); 5] {
    [
        ("Faces seen", c.faces),
        ("Faces in pictures, each in every picture", c.sightings),
        ("Views too poor to compare", c.too_poor),
        ("Views compared", c.compared),
        ("Candidates of silent lists, counted only", c.silent),
    ]
}

/// Of which time in use faces are not counted, where there is some.
pub fn uncounted(report: &DeploymentReport) -> Option<String> {
    (report.uncounted_ms > 0).then(|| {
        format!(
            "{} in use came after the last heartbeat of their run: faces of that time are not \
             counted.",
            duration(report.uncounted_ms)
        )
    })
}

/// The time in each standing, longest first, without those that are too short for people.
pub fn long_totals(report: &DeploymentReport) -> impl Iterator<Item = (UseStanding, u64)> {
    report.totals().into_iter().filter(|(_, ms)| *ms >= SHORTEST)
}

/// When nobody was compared, likewise.
pub fn idle(report: &DeploymentReport) -> impl Iterator<Item = &TimeSpan> + Clone {
    report.spans.iter().filter(|s| s.standing != UseStanding::InUse && s.ms() >= SHORTEST)
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
