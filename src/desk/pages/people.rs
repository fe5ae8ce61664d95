//! Who is enrolled, and whether the trust file lets them review.

use maud::{Markup, html};
use time::OffsetDateTime;

use super::layout::{Facts, PageKind, fact, moment, page, role_word};
use super::views::{PeopleView, PersonRow};

/// The page of people and keys.
pub fn people(view: &PeopleView) -> Markup {
    let content = html! {
        h1 { "People and keys" }
        p {
            "The signed trust file decides who reviews; the desk only shows it. "
            @match view.invitations {
                0 => "No invitation is open.",
                1 => "One invitation is open.",
                n => { (n) " invitations are open." }
            }
        }
        @if view.people.is_empty() {
            p class="empty" { "Nobody is enrolled. Invite somebody:" }
            pre tabindex="0" { "watchpost desk invite LABEL --config desk.toml" }
        }
        ul class="cards" { @for person in &view.people { (card(person, view.now)) } }
    };
    page(PageKind::People, "People", Some(&view.me), &Facts::default(), &content)
}

fn card(person: &PersonRow, now: OffsetDateTime) -> Markup {
    html! {
        li {
            div class="card-head" {
                h2 { (person.label) }
                @match person.role {
                    Some(role) => span class="pill good" { (role_word(role)) },
                    None => span class="pill bad" { "not pinned" },
                }
            }
            dl class="facts" {
                (fact("Key", &html! { code { (person.id) } }))
                (fact("Enrolled", &moment(person.enrolled_at, now)))
            }
            @if person.role.is_none() {
                p class="reason" {
                    "They cannot sign in. Two signers make a trust file with this key as a \
                     reviewer's, and each device takes it:"
                }
                pre tabindex="0" { "watchpost key trust … --reviewer PERSON=" (person.key) }
            }
            details class="help" {
                summary { "For case sheets" }
                pre tabindex="0" { (person.reading_key) }
            }
        }
    }
}
