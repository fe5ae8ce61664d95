//! What waits for somebody to look at it. Many of one entry, device and hour are one line, from
//! which each of them is reached.

use maud::{Markup, html};
use time::OffsetDateTime;

use super::layout::{Facts, PageKind, moment, page, place};
use super::views::{COUNTED_ALIKE, OwnStanding, QueueItem, QueueView};

/// The queue, oldest first.
pub fn queue(view: &QueueView) -> Markup {
    let content = html! {
        div id="waiting" data-live {
            h1 {
                @match view.items.len() {
                    0 => "Nothing waits for you",
                    1 => "1 candidate waits",
                    n => { (n) " candidates wait" }
                }
            }
            @if view.items.is_empty() {
                p class="empty" {
                    "New candidates appear here by themselves. Switch on their sound in the \
                     settings above."
                }
            } @else {
                ol class="queue" { @for item in &view.items { (line(item, view.now)) } }
            }
            @match view.waiting {
                Some(waiting) if waiting > view.items.len() as u64 => p class="quiet-text" {
                    (waiting) " are undecided in all, with those that you have judged."
                },
                Some(_) => {},
                None => {
                    p class="quiet-text" {
                        "Of one entry, by one device, within one hour; each is judged by itself. \
                         Where the camera saw a picture, a screen or a mask, say so: "
                        em { "Nobody there" } "."
                    }
                    p { a class="button" href="/queue" { "The whole queue" } }
                }
            }
        }
        details class="help" {
            summary { "Keys" }
            p { kbd { "J" } " and " kbd { "K" } " go down and up, " kbd { "Enter" } " opens." }
        }
    };
    page(PageKind::Queue, "Queue", Some(&view.me), &Facts::default(), &content)
}

fn line(item: &QueueItem, now: OffsetDateTime) -> Markup {
    let (page, word, class) = match item.standing {
        OwnStanding::Open => ("pair", "Look", "open"),
        OwnStanding::Sent => ("outcome", "On its way", "sent"),
        OwnStanding::Counted => ("outcome", "You have judged", "counted"),
        OwnStanding::Refused => ("pair", "Judge again", "refused"),
    };
    html! {
        li {
            a id=(format!("c-{}", item.candidate)) href=(format!("/{page}/{}", item.candidate)) {
                span class="where" {
                    (place(item.place.as_deref(), &item.device, &item.camera))
                }
                span class="when" { (moment(item.decided_at, now)) }
                span class=(format!("pill {class}")) { (word) }
            }
            @if item.alike > 1 {
                a class="alike" href=(format!("/queue/{}", item.candidate)) {
                    @if item.alike < COUNTED_ALIKE { (item.alike) }
                    @else { (COUNTED_ALIKE) " or more" }
                    " of one entry within one hour: see each"
                }
            }
        }
    }
}
