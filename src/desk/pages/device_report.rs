//! What the audit log of one device says of a period: the figures of `watchpost audit report`, in
//! its words.

use maud::{Markup, html};

use super::layout::{Facts, PageKind, fact, page};
use super::views::DeviceReportView;
use crate::audit::report::words::{
    INTERVALS, LIST_HEAD, MISSING, a_day, duration, face_counts, false_alerts, idle, list_cells,
    long_totals, places, reviewed, shares, uncounted, whole,
};
use crate::audit::report::{DeploymentReport, UseStanding};
use crate::desk::device_log::{LogProof, LogReport, NotProved};
use crate::numerals::thousands;
use crate::watchlist::text::counted;

/// Stretches of time without use that the page lists.
const SHOWN: usize = 50;

/// The page of one device's report.
pub fn device_report(view: &DeviceReportView) -> Markup {
    let content = html! {
        h1 { "Use of face search by " (view.device) }
        (period(view))
        (standing(view))
        @match &view.told {
            Some(LogReport { report, begins }) => { (told(report, *begins)) }
            None => p class="empty" {
                "Records are missing, and no start of the device came after them: no figure would \
                 be right."
            }
        }
        section aria-labelledby="whole" {
            h2 id="whole" { "All of it, with its proof" }
            p {
                "The device's own log has each record. There, or from a copy that "
                code { "watchpost audit collect" } " makes:"
            }
            pre tabindex="0" { "watchpost audit report --log /var/lib/watchpost/audit --key KEY" }
        }
    };
    page(PageKind::Reports, &view.device, Some(&view.me), &Facts::default(), &content)
}

fn period(view: &DeviceReportView) -> Markup {
    html! {
        form class="period" method="get" action="/reports/device" {
            input type="hidden" name="id" value=(view.device);
            label { span { "First day" } input type="date" name="from" value=(view.from); }
            label { span { "Last day" } input type="date" name="to" value=(view.to); }
            button type="submit" { "Show" }
        }
        p class="quiet-text" { "Days begin at midnight, UTC. " a href="/reports" { "All reports" } }
    }
}

/// Whose the figures are.
fn standing(view: &DeviceReportView) -> Markup {
    let records = |n: u64| counted(usize::try_from(n).unwrap_or(usize::MAX), "record", "records");
    html! {
        @match view.proof {
            LogProof::Signed { signed, newer } => p {
                span class="pill good" { "signed" }
                " The device has signed " (records(signed)) " of these; "
                (thousands(newer)) " came after its signature."
            },
            LogProof::NotSigned(why) => p class="reason" { "Not verified: " (not_proved(why)) }
        }
        @if view.cut { p class="reason" { "Only the newest records were looked at." } }
        @if view.earlier > 0 {
            p { "The device kept another log before this one; the figures are of the newest." }
        }
        @if view.unreadable > 0 {
            p class="reason" { (thousands(view.unreadable)) " of what came is no record." }
        }
    }
}

fn not_proved(why: NotProved) -> String {
    match why {
        NotProved::NoIdentity => "the device's identity is not in the desk's configuration.".into(),
        NotProved::NoCheckpoint => "the device has published no checkpoint of its log.".into(),
        NotProved::OtherCheckpoint => {
            "its identity has not signed the checkpoint that came.".into()
        }
        NotProved::Incomplete { have, of } => format!(
            "its signature covers {} records, and the desk has the first {}.",
            thousands(of),
            thousands(have)
        ),
        NotProved::OtherRecords => {
            "its signature is of other records than these. Compare with the device's log.".into()
        }
        NotProved::TwoRecords(index) => format!(
            "two different records came as number {}. Compare with the device's log.",
            thousands(index)
        ),
    }
}

fn told(report: &DeploymentReport, begins: u64) -> Markup {
    let number = |of: Option<String>| of.unwrap_or_else(|| MISSING.into());
    let faces = report.counts.map(|counts| thousands(counts.faces));
    html! {
        @if begins > 0 {
            p class="reason" {
                "Records are missing before number " (thousands(begins))
                ": what the device did before it is not known here."
            }
        }
        dl class="facts" {
            (fact("Place", &html! { (places(report)) }))
            (fact("Period", &html! { (whole(report.from_ms)) " to " (whole(report.to_ms)) }))
            (fact("In use", &html! { (duration(report.ms_of(|s| s == UseStanding::InUse))) }))
            (fact("Records", &html! { (thousands(report.records)) }))
            (fact("Faces seen", &html! { (number(faces)) }))
            (fact("Candidates", &html! { (thousands(report.candidates)) }))
            (fact("Confirmed", &html! { (number(reviewed(report, |r| r.confirmed))) }))
            (fact("Refuted", &html! { (number(reviewed(report, |r| r.refuted))) }))
        }
        section aria-labelledby="lists" {
            h2 id="lists" { "What was searched for" }
            @if report.lists.is_empty() { p class="empty" { "No list was in use." } }
            ul class="cards" {
                @for used in &report.lists {
                    li {
                        dl class="facts" {
                            @for (name, cell) in LIST_HEAD.iter().zip(list_cells(used)) {
                                (fact(name, &html! { (cell) }))
                            }
                        }
                    }
                }
            }
        }
        section aria-labelledby="alerts" {
            h2 id="alerts" { "Announced and observed" }
            p { (INTERVALS) "." }
            (table(&["Figure", "Value", "Interval"], shares(report).into_iter().chain([a_day(report)])))
            p { (false_alerts(report)) }
        }
        section aria-labelledby="faces" {
            h2 id="faces" { "Faces" }
            @if let Some(counts) = report.counts {
                (table(
                    &["What", "How many"],
                    face_counts(counts).map(|(what, n)| [what.to_owned(), thousands(n)]),
                ))
            }
            @if let Some(uncounted) = uncounted(report) { p { (uncounted) } }
        }
        (times(report))
        section aria-labelledby="missing" {
            h2 id="missing" { "What the log cannot say" }
            (table(
                &["Figure", "Why"],
                report.missing.iter().map(|m| [m.figure.to_owned(), m.why.clone()]),
            ))
        }
    }
}

fn times(report: &DeploymentReport) -> Markup {
    let totals =
        long_totals(report).map(|(standing, ms)| [standing.words().to_owned(), duration(ms)]);
    let idle = idle(report);
    let more = idle.clone().count().saturating_sub(SHOWN);
    let each = idle
        .take(SHOWN)
        .map(|span| [span.standing.words().to_owned(), whole(span.from_ms), whole(span.to_ms)]);
    html! {
        section aria-labelledby="times" {
            h2 id="times" { "Times" }
            (table(&["What the device did", "For"], totals))
        }
        section aria-labelledby="blind" {
            h2 id="blind" { "When nobody was compared, and why" }
            (table(&["Why", "From", "To"], each))
            @if more > 0 { p { "And " (more) " more, which the command has." } }
        }
    }
}

/// A table whose first column names its rows.
fn table<const N: usize>(head: &[&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Markup {
    html! {
        table {
            thead { tr { @for name in head { th scope="col" { (name) } } } }
            tbody {
                @for row in rows {
                    tr {
                        @for (at, cell) in row.iter().enumerate() {
                            @if at == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                        }
                    }
                }
            }
        }
    }
}
