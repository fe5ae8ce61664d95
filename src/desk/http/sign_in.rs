//! Enrolment, challenge, session.

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

use super::{Peer, Refusal, Shared};
use crate::desk::access::{CHALLENGE_S, LONGEST, SignInAttempt, enrol_text};
use crate::desk::pages::{self, views::EnrolView};
use crate::desk::store::{EnrolError, Looked};
use crate::watchlist::keys::PublicKey;
use crate::watchlist::seal::Recipient;

/// Longest token of an invitation.
const MAX_TOKEN: usize = 128;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolBody {
    token: String,
    key: String,
    reading_key: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeBody {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    key: String,
    challenge: String,
    signature: String,
}

fn signature(text: &str) -> Result<[u8; 64], Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|s| s.try_into().ok());
    bytes.ok_or_else(|| Refusal::malformed("That is no signature of 64 bytes."))
}

fn key(text: &str) -> Result<PublicKey, Refusal> {
    text.parse().map_err(|e| Refusal::malformed(format!("That is no public key: {e}.")))
}

/// `GET /enrol/{token}`.
pub async fn enrolment(
    State(desk): Shared,
    Path(token): Path<String>,
) -> Result<Response, Refusal> {
    let now = OffsetDateTime::now_utc();
    let label = match token.len() <= MAX_TOKEN {
        true => desk.store.invited(&token, now).await?,
        false => None,
    };
    let label = label.ok_or_else(|| Refusal::spent(format!("{}.", EnrolError::NoInvitation)))?;
    let view = EnrolView { origin: desk.origin(), token, label };
    Ok(Html(pages::enrol(&view).into_string()).into_response())
}

/// `POST /api/enrol`.
pub async fn enrol(
    State(desk): Shared,
    headers: HeaderMap,
    Json(body): Json<EnrolBody>,
) -> Result<Response, Refusal> {
    desk.same_origin(&headers)?;
    let public = key(&body.key)?;
    let reading: Recipient = body
        .reading_key
        .parse()
        .map_err(|_| Refusal::malformed("That is no reading key: it begins with age1."))?;
    // Otherwise whoever has a link could name another's key, and have what is for its holder sealed
    // to a reading key of their own.
    let text = enrol_text(&desk.origin(), &body.token, &body.reading_key);
    if !public.verifies(text.as_bytes(), &signature(&body.signature)?) {
        return Err(Refusal::not_its_holder());
    }
    let enrolled = desk.store.enrol(&body.token, &public, &reading, OffsetDateTime::now_utc());
    match enrolled.await {
        Ok(()) => {
            log::info!("A key is enrolled: key={}.", public.id());
            let role = desk.directory().role(&public, OffsetDateTime::now_utc());
            let body = json!({ "id": public.id().to_string(), "role": role });
            Ok((StatusCode::CREATED, Json(body)).into_response())
        }
        Err(EnrolError::NoInvitation) => {
            Err(Refusal::spent(format!("{}.", EnrolError::NoInvitation)))
        }
        Err(taken @ EnrolError::Taken) => Err(Refusal::taken(&taken)),
        Err(EnrolError::Store(error)) => Err(error.into()),
    }
}

/// `POST /api/challenge`: the same for keys that are known and that are not.
pub async fn challenge(
    State(desk): Shared,
    Json(body): Json<ChallengeBody>,
) -> Result<Response, Refusal> {
    let public = key(&body.key)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| Refusal::too_slow())?;
    let challenge = desk.access().challenge(&public, random, desk.monotonic());
    Ok(Json(json!({ "challenge": challenge, "expires_in_s": CHALLENGE_S })).into_response())
}

/// `POST /api/session`.
pub async fn session(
    State(desk): Shared,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Json(body): Json<SessionBody>,
) -> Result<Response, Refusal> {
    desk.same_origin(&headers)?;
    let public = key(&body.key)?;
    let signature = signature(&body.signature)?;
    let mut random = [0; 64];
    getrandom::fill(&mut random).map_err(|_| Refusal::too_slow())?;
    let attempt = SignInAttempt {
        key: &public,
        challenge: &body.challenge,
        signature: &signature,
        from: desk.address(peer, &headers),
    };
    let now = OffsetDateTime::now_utc();
    let role = desk.directory().role(&public, now);
    let session = desk.access().sign_in(&attempt, role, &random, desk.monotonic());
    let session = session.inspect_err(|why| {
        log::warn!("Somebody was not let in: key={} from={} why={why}.", public.id(), attempt.from);
    })?;
    desk.store.record(public.id().to_bytes(), Looked::SignIn, None, now).await?;
    let secure = if desk.config.http.is_secure() { " Secure;" } else { "" };
    let cookie = format!(
        "{}={}; HttpOnly;{secure} SameSite=Strict; Path=/; Max-Age={}",
        desk.cookie_name(),
        session.token,
        LONGEST.as_secs()
    );
    let body = json!({ "csrf": session.csrf, "role": session.role });
    Ok(([(header::SET_COOKIE, cookie)], Json(body)).into_response())
}

/// `POST /api/sign-out`.
pub async fn sign_out(State(desk): Shared, headers: HeaderMap) -> Result<Response, Refusal> {
    use crate::desk::pages::views::DeskRole;
    desk.changer(&headers, &[DeskRole::Reviewer, DeskRole::Supervisor, DeskRole::Operator])?;
    if let Some(token) = desk.cookie(&headers) {
        desk.access().sign_out(token);
    }
    // A browser takes nothing of that name that is not `Secure`, and would keep the cookie.
    let secure = if desk.config.http.is_secure() { " Secure;" } else { "" };
    let name = desk.cookie_name();
    let cookie = format!("{name}=; HttpOnly;{secure} SameSite=Strict; Path=/; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}
