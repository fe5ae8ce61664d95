//! Before somebody is signed in: sign-in, enrolment, and what went wrong.

use maud::{Markup, html};

use super::layout::{Facts, PageKind, page};
use super::views::{EnrolView, ErrorView, SignInView};

/// The page on which a person signs in with the key that their browser holds.
pub fn sign_in(view: &SignInView) -> Markup {
    let content = html! {
        div class="door" {
            h1 { "Sign in" }
            p {
                "Your key is in this browser. Signing in proves that you hold it; there is no \
                 password, and the key does not leave this device."
            }
            button type="button" id="sign-in" class="main" { "Sign in with my key" }
            p class="quiet-text" { "You sign for " code { (view.origin) } "." }
            details {
                summary { "I have no key here" }
                p {
                    "A supervisor makes an invitation for you. Open its link in the browser that \
                     you will review with. A key that a browser has deleted cannot be brought \
                     back: ask for another invitation."
                }
            }
            noscript { p class="problem" { "Signing needs JavaScript in this browser." } }
        }
    };
    page(PageKind::SignIn, "Sign in", None, &Facts::default(), &content)
}

/// The page on which a person enrols a key, by a one-time link.
pub fn enrol(view: &EnrolView) -> Markup {
    let content = html! {
        div class="door" {
            section id="before" {
                h1 { "Welcome, " (view.label) }
                p {
                    "This browser makes two keys for you: one signs what you say, one opens the \
                     photographs that you compare with. Neither can be copied out of this browser, \
                     and nobody can bring them back."
                }
                ul {
                    li { "Use the device that you will review with, not somebody else's." }
                    li { "Do not use a private window: it forgets." }
                    li { "This link works once." }
                }
                button type="button" id="enrol" class="main" { "Make my keys" }
                p class="quiet-text" { "For " code { (view.origin) } "." }
                noscript { p class="problem" { "Keys need JavaScript in this browser." } }
            }
            section id="after" hidden {
                h2 tabindex="-1" { "Your keys are made" }
                p {
                    "You cannot review yet. Those who sign the devices' trust file pin your key, \
                     and case sheets are sealed to your reading key. Send both lines to them; they \
                     are not secret."
                }
                p { "Key that signs" }
                p class="copy" {
                    code id="public-key" {}
                    button type="button" class="quiet" data-copies="#public-key" { "Copy" }
                }
                p { "Reading key" }
                p class="copy" {
                    code id="reading-key" {}
                    button type="button" class="quiet" data-copies="#reading-key" { "Copy" }
                }
                p { a class="button" href="/" { "To sign-in" } }
            }
        }
    };
    let facts = Facts { token: Some(&view.token), ..Facts::default() };
    page(PageKind::Enrol, "Enrolment", None, &facts, &content)
}

/// What went wrong, and what to do.
pub fn error(view: &ErrorView) -> Markup {
    let content = html! {
        div class="door" {
            h1 { (view.error) }
            p { (view.remedy) }
            p { a class="button" href="/" { "To the beginning" } }
        }
    };
    page(PageKind::Error, "Not possible", view.me.as_ref(), &Facts::default(), &content)
}
