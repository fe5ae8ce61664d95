//! Counts, and the way to each device's report: how candidates ended, what was not stored, who
//! looked at pictures, who was told.

use maud::{Markup, html};

use super::layout::{Facts, PageKind, moment, page};
use super::outcome::words;
use super::views::ReportsView;

/// Devices of which each has a link; of more than these the form finds one.
const LINKED: usize = 50;

/// The page of counts.
pub fn reports(view: &ReportsView) -> Markup {
    let content = html! {
        h1 { "Reports" }
        section aria-labelledby="ends" {
            h2 id="ends" { "Candidates" }
            @if view.states.is_empty() { p class="empty" { "None has come." } }
            @else {
                table {
                    thead { tr { th scope="col" { "How it ended" } th scope="col" { "Number" } } }
                    tbody {
                        @for (stage, number) in &view.states {
                            tr { th scope="row" { (words(*stage).0) } td { (number) } }
                        }
                    }
                }
            }
        }
        @if !view.set_aside.is_empty() {
            section aria-labelledby="aside" {
                h2 id="aside" { "Messages that were not taken" }
                table {
                    thead { tr { th scope="col" { "Why" } th scope="col" { "Number" } } }
                    tbody {
                        @for (why, number) in &view.set_aside {
                            tr { th scope="row" { (why) } td { (number) } }
                        }
                    }
                }
            }
        }
        @if !view.accesses.is_empty() {
            section aria-labelledby="looks" {
                h2 id="looks" { "Who looked at pictures" }
                table {
                    thead {
                        tr {
                            th scope="col" { "Key" }
                            th scope="col" { "Pictures" }
                            th scope="col" { "Last" }
                        }
                    }
                    tbody {
                        @for (who, number, last) in &view.accesses {
                            tr {
                                th scope="row" { code { (who) } }
                                td { (number) }
                                td { (moment(*last, view.now)) }
                            }
                        }
                    }
                }
            }
        }
        @if !view.notified.is_empty() { (notified(view)) }
        section aria-labelledby="audit" {
            h2 id="audit" { "What each device's audit log says" }
            p {
                "What was searched for and on whose decision, faces, candidates and what became of \
                 them, false alerts, and when nobody was compared."
            }
            @if view.logged.is_empty() {
                p class="empty" { "No record of a device's audit log has come." }
            } @else {
                form class="period" method="get" action="/reports/device" {
                    label {
                        span { "Device" }
                        input name="id" list="logged" required autocomplete="off";
                    }
                    datalist id="logged" {
                        @for device in &view.logged { option value=(device) {} }
                    }
                    label { span { "First day" } input type="date" name="from"; }
                    label { span { "Last day" } input type="date" name="to"; }
                    button type="submit" { "Show" }
                }
                @if view.logged.len() <= LINKED {
                    ul { @for device in &view.logged {
                        li { a href=(format!("/reports/device?id={device}")) { (device) } }
                    } }
                }
            }
        }
    };
    page(PageKind::Reports, "Reports", Some(&view.me), &Facts::default(), &content)
}

/// Who is told that a candidate waits.
fn notified(view: &ReportsView) -> Markup {
    html! {
        section aria-labelledby="told" {
            h2 id="told" { "Notifications" }
            table {
                thead {
                    tr {
                        th scope="col" { "To" }
                        th scope="col" { "Taken" }
                        th scope="col" { "Given up" }
                        th scope="col" { "Overtaken" }
                        th scope="col" { "Failed attempts" }
                        th scope="col" { "On its way since" }
                    }
                }
                tbody {
                    @for row in &view.notified {
                        tr {
                            th scope="row" { (row.destination) }
                            td { (row.delivered) }
                            td { (row.given_up) }
                            td { (row.overtaken) }
                            td { (row.failed) }
                            td {
                                @if let Some(since) = row.open_since { (moment(since, view.now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
