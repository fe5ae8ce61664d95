//! What a verdict binds, and taking one: sealed, so that nobody here can read it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;

use super::read::{id_of, open_case};
use super::{Refusal, Shared};
use crate::delivery::event::EventId;
use crate::desk::pages::views::DeskRole;
use crate::desk::store::{Looked, OwnVerdict, VerdictTaken};
use crate::review::verdict::{self, CandidateId};

/// `GET /api/pair/{candidate}`.
pub async fn binds(
    State(desk): Shared,
    Path(candidate): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    desk.user_as(&headers, &[DeskRole::Reviewer])?;
    let case = open_case(&desk, &candidate).await?;
    let key = desk.directory().device_key(&case.device).map(ToString::to_string);
    let key = key.ok_or_else(Refusal::no_device_key)?;
    let digest: String = case.digest.iter().map(|b| format!("{b:02x}")).collect();
    let body = json!({
        "candidate": case.candidate.to_string(),
        "payload_sha256": digest,
        "list": case.list,
        "version": case.version,
        "device": case.device,
        "device_key": key,
    });
    Ok(Json(body).into_response())
}

/// `POST /api/verdict/{candidate}`: stored, then published until the device answers.
pub async fn take(
    State(desk): Shared,
    Path(candidate): Path<String>,
    headers: HeaderMap,
    envelope: Bytes,
) -> Result<Response, Refusal> {
    let user = desk.changer(&headers, &[DeskRole::Reviewer])?;
    let id = id_of(&candidate)?;
    let case = desk.store.case(id).await?.ok_or_else(Refusal::not_found)?;
    check(&envelope, &user.key, id, &case.device)
        .map_err(|why| Refusal::malformed(format!("The verdict is not taken: {why}.")))?;
    let now = OffsetDateTime::now_utc();
    let own = OwnVerdict {
        candidate: id,
        reviewer: user.key.id().to_bytes(),
        device: &case.device,
        envelope: &envelope,
    };
    match desk.store.take_verdict(own, now).await? {
        VerdictTaken::Stored => {
            desk.store.record(user.key.id().to_bytes(), Looked::Verdict, Some(id), now).await?;
            desk.verdict.notify_one();
        }
        VerdictTaken::Repeated => {}
        VerdictTaken::JudgedBefore => return Err(Refusal::judged()),
        VerdictTaken::Over => return Err(Refusal::over()),
        VerdictTaken::Unknown => return Err(Refusal::not_found()),
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "candidate": id.to_string() }))).into_response())
}

/// What can be checked without opening it: shape, size, signature of the session's key, candidate
/// and device.
fn check(
    envelope: &[u8],
    key: &crate::watchlist::keys::PublicKey,
    candidate: EventId,
    device: &str,
) -> Result<(), String> {
    let about = verdict::check_envelope(envelope, key, device).map_err(|e| e.to_string())?;
    if about == CandidateId(candidate.as_u128().to_be_bytes()) {
        Ok(())
    } else {
        Err("it is about another candidate".to_owned())
    }
}
