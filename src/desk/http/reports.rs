//! Counts, and what the log of one device says of a period.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::read::{Page, page};
use super::{Refusal, Shared, signed_in};
use crate::audit::record::milliseconds;
use crate::delivery::DeviceId;
use crate::desk::device_log::DeskLog;
use crate::desk::intake::SaidKind;
use crate::desk::pages;
use crate::desk::pages::views::{DeskRole, DeviceReportView, NotifiedRow, ReportsView};
use crate::desk::store::{COMMAND_LINE, KeptNotifications, Looked, NotificationCounts};
use crate::watchlist::keys::PublicKey;
use crate::watchlist::text::hex;

/// Most people in the report of accesses.
const PEOPLE: u32 = 100;
/// Most devices whose logs are listed; the form finds the others.
const DEVICES: u32 = 1000;
/// Most bytes of entries that one report is made of: some 200 000 records.
const MOST_BYTES: usize = 64 << 20;
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Whose log, and which days.
#[derive(Debug, Deserialize)]
pub struct WantedReport {
    id: String,
    /// `2026-11-01`; empty where a form was sent without it.
    #[serde(default)]
    from: String,
    /// The last day, likewise.
    #[serde(default)]
    to: String,
}

/// `GET /reports`.
pub async fn reports(State(desk): Shared, headers: HeaderMap) -> Page {
    let user = desk.user_as(&headers, &[DeskRole::Supervisor])?;
    let now = OffsetDateTime::now_utc();
    desk.store.record(user.key.id().to_bytes(), Looked::Report, None, now).await?;
    let who = |id: [u8; 8]| match id {
        COMMAND_LINE => "commands on the desk's machine".to_owned(),
        key => hex(&key),
    };
    let accesses = desk.store.accesses(PEOPLE).await?.into_iter();
    let view = ReportsView {
        me: signed_in(&user),
        now,
        states: desk.store.stages().await?,
        set_aside: desk.store.set_aside().await?,
        accesses: accesses.map(|a| (who(a.who), a.pictures, a.last)).collect(),
        logged: desk.store.logged_devices(DEVICES).await?,
        notified: desk.store.notifications().await?.into_iter().map(notified).collect(),
    };
    Ok(page(pages::reports(&view)))
}

fn notified(kept: KeptNotifications) -> NotifiedRow {
    let NotificationCounts { delivered, given_up, overtaken, failed } = kept.counts;
    NotifiedRow {
        destination: kept.destination,
        delivered,
        given_up,
        overtaken,
        failed,
        open_since: kept.open.map(|open| open.opened),
    }
}

/// `GET /reports/device?id=gate-1&from=2026-11-01&to=2026-11-30`: the whole log where no day is
/// given.
pub async fn device_report(
    State(desk): Shared,
    Query(wanted): Query<WantedReport>,
    headers: HeaderMap,
) -> Page {
    let user = desk.user_as(&headers, &[DeskRole::Supervisor])?;
    let WantedReport { id, from, to } = wanted;
    DeviceId::new(&id).map_err(|_| Refusal::not_found())?;
    let (first, last) = (midnight(&from)?, midnight(&to)?);
    if first.zip(last).is_some_and(|(first, last)| first > last) {
        return Err(Refusal::malformed("The last day is before the first."));
    }
    let now = OffsetDateTime::now_utc();
    let of = format!("{id} {from}..{to}");
    desk.store.record_report(user.key.id().to_bytes(), &of, now).await?;
    let place = Arc::clone(&desk.reporting).acquire_owned().await;
    let place = place.map_err(|_| Refusal::too_slow())?;
    let newest = desk.store.newest_entries(&id, MOST_BYTES).await?;
    if newest.entries.is_empty() {
        return Err(Refusal::no_log());
    }
    let note = desk.store.said_of(&id, SaidKind::Checkpoint).await?;
    let identity = desk.config.device(&id).and_then(|device| device.identity.as_deref());
    let identity: Option<PublicKey> = identity.and_then(|key| key.parse().ok());
    let root = desk.config.broker.root.clone();
    let me = signed_in(&user);
    // A long log takes a while to read: others are answered meanwhile.
    let made = tokio::task::spawn_blocking(move || {
        // Until it is made, also where nobody waits for it any more.
        let _place = place;
        let log = DeskLog::of(newest.entries.iter().map(Vec::as_slice));
        let note = note.and_then(|bytes| String::from_utf8(bytes).ok());
        let proof = log.standing(&root, &id, note.as_deref(), identity.as_ref());
        let until = last.map(|last| last.saturating_add(DAY_MS));
        let told = log.report(&format!("{root}/{id}"), first, until);
        pages::device_report(&DeviceReportView {
            me,
            device: id,
            from,
            to,
            proof,
            records: log.len(),
            unreadable: log.unreadable,
            earlier: log.earlier,
            cut: newest.cut,
            told,
        })
    });
    Ok(page(made.await.map_err(|_| Refusal::too_slow())?))
}

/// The beginning of a day, in milliseconds since 1970, UTC; `None` where none is given.
fn midnight(day: &str) -> Result<Option<u64>, Refusal> {
    if day.is_empty() {
        return Ok(None);
    }
    let at = OffsetDateTime::parse(&format!("{day}T00:00:00Z"), &Rfc3339);
    let at = at.map_err(|_| Refusal::malformed("Write a day such as 2026-11-01."))?;
    Ok(Some(milliseconds(at)))
}
