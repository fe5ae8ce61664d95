//! The devices: whether each matches, or why not.
//!
//! * A reviewer does not see how long an audit log is: each verdict that counts makes it longer.

use maud::{Markup, html};
use time::OffsetDateTime;

use super::layout::{Facts, PageKind, fact, moment, page};
use super::views::{DeskRole, DeviceRow, FleetView};

/// The page of all devices.
pub fn fleet(view: &FleetView) -> Markup {
    let matching = view.devices.iter().filter(|d| d.matching).count();
    let content = html! {
        div id="devices" data-live {
            h1 { (matching) " of " (view.devices.len()) " devices match" }
            @if view.devices.is_empty() {
                p class="empty" { "No device has published anything yet, and none is configured." }
            }
            ul class="cards" { @for device in &view.devices { (card(device, view.me.role, view.now)) } }
        }
    };
    page(PageKind::Fleet, "Devices", Some(&view.me), &Facts::default(), &content)
}

fn card(device: &DeviceRow, role: DeskRole, now: OffsetDateTime) -> Markup {
    let (word, tone) = match (device.matching, device.state.as_str()) {
        (true, _) => ("matching", "good"),
        (false, "blind") => ("not matching", "bad"),
        (false, "offline") => ("offline", "bad"),
        (false, "stopped") => ("stopped", "calm"),
        (false, "online") => ("not matching", "bad"),
        (false, _) => ("not heard of", "calm"),
    };
    let unknown = || html! { span class="quiet-text" { "not told" } };
    html! {
        li {
            div class="card-head" {
                h2 { (device.id) }
                span class=(format!("pill {tone}")) { (word) }
            }
            @if let Some(reason) = &device.reason { p class="reason" { (reason) } }
            dl class="facts" {
                (fact("List", &match &device.list {
                    Some((id, version, ends)) => html! {
                        (id) " " (version) ", ends " (moment(*ends, now))
                    },
                    None => unknown(),
                }))
                @if let Some(entries) = device.entries { (fact("Entries", &html! { (entries) })) }
                (fact("Outbox", &match device.outbox {
                    Some(0) => html! { "empty" },
                    Some(n) => html! { (n) " waiting" },
                    None => unknown(),
                }))
                @if role != DeskRole::Reviewer {
                    (fact("Audit log", &match device.audit_size {
                        Some(size) => html! { (size) " records" },
                        None => unknown(),
                    }))
                }
                @if let Some(celsius) = device.temperature {
                    (fact("Temperature", &html! { (format!("{celsius:.0} °C")) }))
                }
                @if let Some(heard) = device.heard { (fact("Heard", &moment(heard, now))) }
                @if let Some(since) = device.since { (fact("In this state", &moment(since, now))) }
            }
            @if !device.identity_pinned {
                p class="reason" { "Its identity is not pinned: what it publishes is not checked." }
            }
        }
    }
}
