//! What waits for somebody to look at it.

use maud::{Markup, html};
use time::OffsetDateTime;

use super::layout::{Facts, PageKind, moment, page, place};
use super::views::{OwnStanding, QueueItem, QueueView};

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
            @if view.waiting > view.items.len() as u64 {
                p class="quiet-text" {
                    (view.waiting) " are undecided in all, with those that you have judged."
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
        }
    }
}
