//! What surrounds each page: head, landmarks, navigation, switches, and the regions in which the
//! script says what is new.

use maud::{DOCTYPE, Markup, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::views::{DeskRole, SignedIn};
use crate::watchlist::text::{counted, stamp};

/// Which page, as the script and the navigation know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Of somebody who is not signed in.
    SignIn,
    /// Of an invitation.
    Enrol,
    /// What waits.
    Queue,
    /// One candidate.
    Pair,
    /// What was decided.
    Outcome,
    /// The devices.
    Fleet,
    /// Who is enrolled.
    People,
    /// Counts.
    Reports,
    /// What went wrong.
    Error,
}

impl PageKind {
    fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Enrol => "enrol",
            Self::Queue => "queue",
            Self::Pair => "pair",
            Self::Outcome => "outcome",
            Self::Fleet => "fleet",
            Self::People => "people",
            Self::Reports => "reports",
            Self::Error => "error",
        }
    }

    /// The entry of the navigation under which it is.
    fn under(self) -> Self {
        match self {
            Self::Pair | Self::Outcome => Self::Queue,
            other => other,
        }
    }
}

/// What the script has to know of a page, as `data-` attributes of its body.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// The candidate that it is about.
    pub candidate: Option<&'a str>,
    /// SHA-256 of the published bytes that it shows, hexadecimal.
    pub payload: Option<&'a str>,
    /// The invitation.
    pub token: Option<&'a str>,
}

/// A whole page.
pub fn page(
    kind: PageKind,
    title: &str,
    me: Option<&SignedIn>,
    facts: &Facts<'_>,
    content: &Markup,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                @if let Some(me) = me { meta name="csrf" content=(me.csrf); }
                title { (title) " · watchpost desk" }
                link rel="icon" href="/static/desk.svg" type="image/svg+xml";
                link rel="stylesheet" href="/static/desk.css";
                script type="module" src="/static/desk.js" {}
            }
            body data-page=(kind.name()) data-candidate=[facts.candidate]
                data-payload=[facts.payload] data-token=[facts.token] {
                a class="skip" href="#main" { "Skip to the content" }
                (top(kind, me))
                p id="away" class="away" role="status" hidden {
                    "You are offline. What is on this page stays readable; nothing new arrives, and \
                     a verdict can be sent once the desk is reached again."
                }
                main id="main" tabindex="-1" {
                    (content)
                    p id="problem" class="problem" role="alert" hidden {}
                }
                p id="announcements" class="aloud" role="status" aria-live="polite" {}
            }
        }
    }
}

fn top(kind: PageKind, me: Option<&SignedIn>) -> Markup {
    html! {
        header class="top" {
            a class="brand" href="/" {
                img src="/static/desk.svg" alt="" width="28" height="28";
                span { "watchpost" }
            }
            @if let Some(me) = me {
                nav class="tabs" aria-label="Pages" {
                    @for (to, href, word) in tabs(me.role) {
                        a href=(href) aria-current=[(kind.under() == to).then_some("page")] {
                            (word)
                            @if to == PageKind::Queue {
                                span class="badge" data-count="0" hidden {}
                            }
                        }
                    }
                }
                p id="line" class="line" data-state="live" { span { "Live" } }
                (switches(me))
            }
        }
    }
}

/// What each role finds.
fn tabs(role: DeskRole) -> Vec<(PageKind, &'static str, &'static str)> {
    let fleet = (PageKind::Fleet, "/fleet", "Devices");
    match role {
        DeskRole::Reviewer => vec![(PageKind::Queue, "/queue", "Queue"), fleet],
        DeskRole::Supervisor => vec![
            (PageKind::Reports, "/reports", "Reports"),
            (PageKind::People, "/people", "People"),
            fleet,
        ],
        DeskRole::Operator => vec![fleet],
    }
}

fn switches(me: &SignedIn) -> Markup {
    html! {
        details class="menu" {
            summary { span class="aloud" { "Your settings" } span aria-hidden="true" { "☰" } }
            div {
                p { (role_word(me.role)) ", key " code { (me.who) } }
                (switch("sound", "Sound for a new candidate"))
                (switch("notify", "Notification while I am elsewhere"))
                (switch("keys", "Keys of one letter"))
                button type="button" id="sign-out" class="quiet" { "Sign out" }
            }
        }
    }
}

fn switch(name: &str, words: &str) -> Markup {
    html! { label class="switch" { input type="checkbox" data-switch=(name); span { (words) } } }
}

/// A role, as people read it.
pub fn role_word(role: DeskRole) -> &'static str {
    match role {
        DeskRole::Reviewer => "Reviewer",
        DeskRole::Supervisor => "Supervisor",
        DeskRole::Operator => "Operator",
    }
}

/// A moment: how long ago, kept right by the script, and exactly for whoever asks.
pub fn moment(at: OffsetDateTime, now: OffsetDateTime) -> Markup {
    let exact = at.format(&Rfc3339).unwrap_or_default();
    html! { time datetime=(exact) title=(stamp(&at)) data-age { (ago(at, now)) } }
}

/// How long before or after now, in words; `desk.js` has the same ones.
fn ago(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let seconds = (now - at).whole_seconds();
    let (size, unit) = match seconds.unsigned_abs() {
        0..5 => return "now".into(),
        5..90 => (1, "second"),
        90..5_400 => (60, "minute"),
        5_400..129_600 => (3_600, "hour"),
        _ => (86_400, "day"),
    };
    let number = (seconds.unsigned_abs() + size / 2) / size;
    let words = counted(usize::try_from(number).unwrap_or(usize::MAX), unit, &format!("{unit}s"));
    if seconds > 0 { format!("{words} ago") } else { format!("in {words}") }
}

/// Where something was seen: what people call the place, or the camera's name.
pub fn place(place: Option<&str>, device: &str, camera: &str) -> Markup {
    html! {
        @match place {
            Some(place) => { (place) span class="quiet-text" { " · " (device) "/" (camera) } }
            None => { (device) "/" (camera) }
        }
    }
}

/// One line of a list of facts.
pub fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn a_moment_is_told_in_the_unit_that_people_think_in() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let words = [0, 4, 5, 89, 90, 5_399, 5_400, 129_599, 129_600, -40, -86_400 * 30]
            .map(|seconds| ago(now - Duration::seconds(seconds), now));
        let wanted = [
            "now",
            "now",
            "5 seconds ago",
            "89 seconds ago",
            "2 minutes ago",
            "90 minutes ago",
            "2 hours ago",
            "36 hours ago",
            "2 days ago",
            "in 40 seconds",
            "in 30 days",
        ];
        assert_eq!(words, wanted);
    }
}
