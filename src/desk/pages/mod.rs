//! Markup from plain values: escapes by construction, no inline script, no inline style.
//!
//! Handlers fill the structs of [`views`]; nothing here asks a store.

pub mod views;

use maud::{DOCTYPE, Markup, html};

use self::views::{
    EnrolView, FleetView, OutcomeView, PairView, PeopleView, QueueView, ReportsView, SignInView,
    SignedIn,
};

/// The page on which a person signs in with the key that their browser holds.
pub fn sign_in(view: &SignInView) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Sign in" }
                script src="/desk.js" defer {}
                link rel="stylesheet" href="/desk.css";
            }
            body data-page="sign-in" data-origin=(view.origin) {
                main { h1 { "Sign in" } }
            }
        }
    }
}

/// The page on which a person enrols a key, by a one-time link.
pub fn enrol(view: &EnrolView) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Enrol" }
                script src="/desk.js" defer {}
            }
            body data-page="enrol" data-origin=(view.origin) data-token=(view.token) {
                main { h1 { "Enrol" } p { (view.label) } }
            }
        }
    }
}

/// What every signed-in page has in common.
fn signed_in(me: &SignedIn, name: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="csrf" content=(me.csrf);
                title { (name) }
                script src="/desk.js" defer {}
                link rel="stylesheet" href="/desk.css";
            }
            body data-page=(name) { main { (content) } }
        }
    }
}

/// What waits.
pub fn queue(view: &QueueView) -> Markup {
    let content = html! {
        ul { @for item in &view.items { li { a href={ "/pair/" (item.candidate) } { (item.camera) } } } }
    };
    signed_in(&view.me, "queue", &content)
}

/// One candidate beside the reference photographs.
pub fn pair(view: &PairView) -> Markup {
    let content = html! {
        @if view.crop { img alt="the face" src={ "/pair/" (view.candidate) "/crop" }; }
        @if let Some(revealed) = &view.revealed { p { (revealed.score) " / " (revealed.threshold) } }
    };
    signed_in(&view.me, "pair", &content)
}

/// What two people have decided.
pub fn outcome(view: &OutcomeView) -> Markup {
    let content = html! { p { (format!("{:?}", view.state)) } };
    signed_in(&view.me, "outcome", &content)
}

/// The devices.
pub fn fleet(view: &FleetView) -> Markup {
    let content = html! { ul { @for d in &view.devices { li { (d.id) " " (d.state) } } } };
    signed_in(&view.me, "fleet", &content)
}

/// Who is enrolled.
pub fn people(view: &PeopleView) -> Markup {
    let content = html! { ul { @for p in &view.people { li { (p.id) " " (p.label) } } } };
    signed_in(&view.me, "people", &content)
}

/// Counts.
pub fn reports(view: &ReportsView) -> Markup {
    let content =
        html! { ul { @for (s, n) in &view.states { li { (format!("{s:?}")) " " (n) } } } };
    signed_in(&view.me, "reports", &content)
}
