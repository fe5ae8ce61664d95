//! Pages and pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use time::OffsetDateTime;

use super::{DeskState, Refusal, Shared, signed_in};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::SignedNote;
use crate::delivery::event::{
    Candidate, CloudEvent, EventId, ListState, ReviewStage, ReviewState, ReviewVerdict, Stats,
    Status,
};
use crate::desk::access::DeskUser;
use crate::desk::intake::SaidKind;
use crate::desk::pages;
use crate::desk::pages::views::{
    DeskRole, DeviceRow, FleetView, OutcomeView, OwnStanding, PairView, PeopleView, PersonRow,
    PhotographView, QueueItem, QueueView, Revealed, SignInView,
};
use crate::desk::store::{CaseRow, DeviceSaid, Looked, QueueRow};
use crate::watchlist::text::shown;

/// Most lines of the queue.
const QUEUE: u32 = 100;
/// How far the number of those that wait is counted.
const COUNTED: u32 = 10_000;

const EVERYBODY: [DeskRole; 3] = [DeskRole::Reviewer, DeskRole::Supervisor, DeskRole::Operator];

pub(super) type Page = Result<Response, Refusal>;

/// A page, in which nothing is hidden that devices and other people have written: the page itself
/// has no such character.
pub(super) fn page(markup: maud::Markup) -> Response {
    let text = markup.into_string();
    Html(shown(&text).into_owned()).into_response()
}

/// The candidate's id in a path.
pub(super) fn id_of(text: &str) -> Result<EventId, Refusal> {
    serde_json::from_value(Value::String(text.to_owned())).map_err(|_| Refusal::not_found())
}

/// A candidate whose pictures are there.
pub(super) async fn open_case(desk: &DeskState, candidate: &str) -> Result<CaseRow, Refusal> {
    let case = desk.store.case(id_of(candidate)?).await?.ok_or_else(Refusal::not_found)?;
    if case.erased { Err(Refusal::erased()) } else { Ok(case) }
}

/// The newest event of a case; none where it was erased.
fn event_of(case: &CaseRow) -> Option<Candidate> {
    let event: CloudEvent<Candidate> = serde_json::from_slice(case.payload.as_ref()?).ok()?;
    Some(event.data)
}

/// What is hidden from everybody until it is decided.
fn revealed(event: Candidate) -> Revealed {
    Revealed {
        score: event.score,
        threshold: event.threshold,
        alternatives: event.alternatives,
        legal_basis: event.legal_basis,
        purpose: event.purpose,
        aim: event.aim,
    }
}

/// `GET /`.
pub async fn home(State(desk): Shared, headers: HeaderMap) -> Response {
    match desk.user(&headers) {
        Ok(user) => Redirect::to(match user.role {
            DeskRole::Reviewer => "/queue",
            DeskRole::Supervisor => "/reports",
            DeskRole::Operator => "/fleet",
        })
        .into_response(),
        Err(_) => page(pages::sign_in(&SignInView { origin: desk.origin() })),
    }
}

/// `GET /queue`.
pub async fn queue(State(desk): Shared, headers: HeaderMap) -> Page {
    let user = desk.user_as(&headers, &[DeskRole::Reviewer])?;
    let rows = desk.store.queue(user.key.id().to_bytes(), QUEUE).await?;
    let waiting = desk.store.waiting(COUNTED).await?;
    Ok(lines(&user, rows, Some(waiting)))
}

/// `GET /queue/{candidate}`: all of the burst that the candidate is in.
pub async fn burst(State(desk): Shared, Path(candidate): Path<String>, headers: HeaderMap) -> Page {
    let user = desk.user_as(&headers, &[DeskRole::Reviewer])?;
    let rows = desk.store.alike(id_of(&candidate)?, user.key.id().to_bytes(), QUEUE).await?;
    Ok(lines(&user, rows, None))
}

fn lines(user: &DeskUser, rows: Vec<QueueRow>, waiting: Option<u64>) -> Response {
    let item = |row: QueueRow| QueueItem {
        candidate: row.candidate.to_string(),
        device: row.device,
        camera: row.camera,
        place: row.place,
        decided_at: row.decided,
        standing: row.own,
        alike: row.alike,
    };
    let items = rows.into_iter().map(item).collect();
    let now = OffsetDateTime::now_utc();
    page(pages::queue(&QueueView { me: signed_in(user), now, items, waiting }))
}

/// `GET /pair/{candidate}`.
pub async fn pair(State(desk): Shared, Path(candidate): Path<String>, headers: HeaderMap) -> Page {
    let user = desk.user_as(&headers, &[DeskRole::Reviewer])?;
    let case = open_case(&desk, &candidate).await?;
    if case.ended.is_some() {
        return Ok(Redirect::to(&format!("/outcome/{}", case.candidate)).into_response());
    }
    let now = OffsetDateTime::now_utc();
    record(&desk, &user, Looked::Pair, case.candidate, now).await?;
    let (standing, refused) = desk.store.own(case.candidate, user.key.id().to_bytes()).await?;
    let photographs = desk.store.photographs(&case.list, case.version, &case.entry).await?;
    let event = event_of(&case);
    let crop = event.as_ref().is_some_and(|e| picture_of(e).is_some());
    let view = PairView {
        me: signed_in(&user),
        now,
        candidate: case.candidate.to_string(),
        payload: case.digest.iter().map(|b| format!("{b:02x}")).collect(),
        photographs: photographs.into_iter().map(|eyes| PhotographView { eyes }).collect(),
        can_judge: desk.directory().device_key(&case.device).is_some(),
        device: case.device,
        camera: case.camera,
        place: case.place,
        decided_at: case.decided,
        crop,
        standing,
        refused,
    };
    Ok(page(pages::pair(&view)))
}

async fn record(
    desk: &Arc<DeskState>,
    user: &DeskUser,
    what: Looked,
    candidate: EventId,
    now: OffsetDateTime,
) -> Result<(), Refusal> {
    Ok(desk.store.record(user.key.id().to_bytes(), what, Some(candidate), now).await?)
}

/// The face, or its head: a JPEG file.
fn picture_of(event: &Candidate) -> Option<Vec<u8>> {
    let crop = event.crop.as_ref().or(event.head.as_ref())?;
    let file = STANDARD.decode(&crop.base64).ok()?;
    file.starts_with(&[0xff, 0xd8, 0xff]).then_some(file)
}

/// `GET /pair/{candidate}/crop`.
pub async fn crop(State(desk): Shared, Path(candidate): Path<String>, headers: HeaderMap) -> Page {
    let user = desk.user_as(&headers, &[DeskRole::Reviewer, DeskRole::Supervisor])?;
    let case = open_case(&desk, &candidate).await?;
    // A supervisor looks at what is over.
    if user.role == DeskRole::Supervisor && case.ended.is_none() {
        return Err(Refusal::not_yours());
    }
    let picture = event_of(&case).and_then(|e| picture_of(&e)).ok_or_else(Refusal::not_found)?;
    record(&desk, &user, Looked::Crop, case.candidate, OffsetDateTime::now_utc()).await?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], picture).into_response())
}

/// `GET /pair/{candidate}/photograph/{n}`.
pub async fn photograph(
    State(desk): Shared,
    Path((candidate, n)): Path<(String, u32)>,
    headers: HeaderMap,
) -> Page {
    let user = desk.user_as(&headers, &[DeskRole::Reviewer])?;
    let case = open_case(&desk, &candidate).await?;
    let sealed = desk.store.photograph(&case.list, case.version, &case.entry, n).await?;
    let sealed = sealed.ok_or_else(Refusal::not_found)?;
    let now = OffsetDateTime::now_utc();
    record(&desk, &user, Looked::Photograph(n), case.candidate, now).await?;
    Ok(([(header::CONTENT_TYPE, "application/age")], sealed).into_response())
}

/// `GET /outcome/{candidate}`.
pub async fn outcome(
    State(desk): Shared,
    Path(candidate): Path<String>,
    headers: HeaderMap,
) -> Page {
    let user = desk.user_as(&headers, &[DeskRole::Reviewer, DeskRole::Supervisor])?;
    let id = id_of(&candidate)?;
    let case = desk.store.case(id).await?.ok_or_else(Refusal::not_found)?;
    let (own, _) = desk.store.own(id, user.key.id().to_bytes()).await?;
    // Before it is over there is nothing to see but by somebody who has judged: it would tell what
    // others did.
    if case.ended.is_none() {
        match (user.role, own) {
            (DeskRole::Reviewer, OwnStanding::Sent | OwnStanding::Counted) => {}
            (DeskRole::Reviewer, OwnStanding::Open | OwnStanding::Refused) => {
                return Ok(Redirect::to(&format!("/pair/{id}")).into_response());
            }
            _ => return Err(Refusal::not_found()),
        }
    }
    let now = OffsetDateTime::now_utc();
    record(&desk, &user, Looked::Outcome, id, now).await?;
    let states = match case.ended {
        Some(_) => desk.store.states_at_end(id).await?,
        None => Vec::new(),
    };
    let event = event_of(&case);
    let view = OutcomeView {
        me: signed_in(&user),
        now,
        candidate: id.to_string(),
        device: case.device,
        camera: case.camera,
        place: case.place,
        decided_at: case.decided,
        state: shown_stage(case.stage, case.ended.is_some(), own),
        own,
        ended_at: case.ended,
        verdicts: verdicts_of(&states, case.stage),
        // Who has judged may know who judges next.
        revealed: event.filter(|_| case.ended.is_some()).map(revealed),
        erased_at: Some(case.erase_at),
        erased: case.erased,
    };
    Ok(page(pages::outcome(&view)))
}

/// How far a candidate is, as a reader whose verdict stands like `own` may know: that two people
/// differ tells something of what others said.
pub(super) fn shown_stage(stage: ReviewStage, over: bool, own: OwnStanding) -> ReviewStage {
    if over || own == OwnStanding::Counted { stage } else { ReviewStage::Pending }
}

/// What each has said, by the first of the states that is the one in which it ended.
pub(super) fn verdicts_of(states: &[Vec<u8>], ended: ReviewStage) -> Vec<ReviewVerdict> {
    let mut states = states.iter().filter_map(|bytes| {
        let event: CloudEvent<ReviewState> = serde_json::from_slice(bytes).ok()?;
        Some(event.data)
    });
    states.find(|state| state.state == ended).map(|state| state.verdicts).unwrap_or_default()
}

/// `GET /fleet`.
pub async fn fleet(State(desk): Shared, headers: HeaderMap) -> Page {
    let user = desk.user_as(&headers, &EVERYBODY)?;
    let mut devices: BTreeMap<String, DeviceRow> = BTreeMap::new();
    // Of ten thousand devices nobody is looked for one by one.
    let pinned = desk.config.device.iter().filter(|d| d.identity.is_some());
    let pinned: BTreeSet<&str> = pinned.map(|d| d.id.as_str()).collect();
    let row = |id: &str| DeviceRow {
        id: id.to_owned(),
        state: "unknown".to_owned(),
        since: None,
        matching: false,
        reason: None,
        list: None,
        entries: None,
        outbox: None,
        temperature: None,
        audit_size: None,
        heard: None,
        identity_pinned: pinned.contains(id),
    };
    for device in &desk.config.device {
        devices.insert(device.id.clone(), row(&device.id));
    }
    // A device signs a checkpoint for each verdict that counts: its size, and when it came, would
    // tell a reviewer that somebody has judged.
    let blind = user.role == DeskRole::Reviewer;
    let said = desk.store.said().await?.into_iter();
    for said in said.filter(|said| !blind || said.what != SaidKind::Checkpoint.as_str()) {
        let device = devices.entry(said.device.clone()).or_insert_with(|| row(&said.device));
        take_in(device, &said);
    }
    let view = FleetView {
        me: signed_in(&user),
        now: OffsetDateTime::now_utc(),
        devices: devices.into_values().collect(),
    };
    Ok(page(pages::fleet(&view)))
}

fn take_in(row: &mut DeviceRow, said: &DeviceSaid) {
    row.heard = row.heard.max(Some(said.received));
    match said.what.as_str() {
        "status" => {
            let Ok(event) = serde_json::from_slice::<CloudEvent<Status>>(&said.payload) else {
                return;
            };
            let status = event.data;
            let word = serde_json::to_value(status.state).ok();
            row.state = word.as_ref().and_then(Value::as_str).unwrap_or("unknown").to_owned();
            row.since = Some(status.since);
            row.matching = status.matching;
            row.reason = status.reason.or(status.degraded);
            row.list =
                status.list.map(|list| (list.id, list.version, list.expires)).or(row.list.take());
        }
        "stats" => {
            let Ok(event) = serde_json::from_slice::<CloudEvent<Stats>>(&said.payload) else {
                return;
            };
            let gauge = |name: &str| event.data.gauges.get(name).copied();
            row.outbox = gauge("delivery.outbox_events").map(|n| n.max(0.0) as u64);
            row.temperature = gauge("board.temperature_celsius");
        }
        "list" => {
            let Ok(event) = serde_json::from_slice::<CloudEvent<ListState>>(&said.payload) else {
                return;
            };
            row.entries = Some(event.data.entries);
        }
        "checkpoint" => {
            row.audit_size = checkpoint_size(&said.payload);
        }
        _ => {}
    }
}

/// Records of a log, by a checkpoint of it; nobody has verified its signatures here.
fn checkpoint_size(note: &[u8]) -> Option<u64> {
    let note = SignedNote::parse(std::str::from_utf8(note).ok()?).ok()?;
    Some(Checkpoint::parse(note.text).ok()?.size)
}

/// `GET /people`.
pub async fn people(State(desk): Shared, headers: HeaderMap) -> Page {
    let user = desk.user_as(&headers, &[DeskRole::Supervisor])?;
    let now = OffsetDateTime::now_utc();
    desk.store.record(user.key.id().to_bytes(), Looked::People, None, now).await?;
    let known = desk.store.people().await?;
    let invitations = desk.store.invitations(now).await?;
    let directory = desk.directory();
    let row = |person: crate::desk::store::KnownPerson| PersonRow {
        id: person.id.iter().map(|b| format!("{b:02x}")).collect(),
        role: person.key.parse().ok().and_then(|key| directory.role(&key, now)),
        key: person.key,
        reading_key: person.reading_key,
        label: person.label,
        enrolled_at: person.enrolled,
    };
    let people = known.into_iter().map(row).collect();
    let view = PeopleView { me: signed_in(&user), now, people, invitations };
    Ok(page(pages::people(&view)))
}
