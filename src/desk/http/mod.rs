//! Routes, limits, headers. Markup is of [`super::pages`]; who is let in is decided by
//! [`super::access`].
//!
//! Promises:
//! * Each answer carries a strict content security policy; pages and pictures are not cached.
//! * A changing request needs a session, its token in `X-Csrf`, and comes from this origin.
//! * Before a verdict of the reader's own was counted, no answer tells a score, a threshold, an
//!   alternative, or whether anybody has judged.
//! * It is recorded who sees a picture before it is shown.
//! * Bodies, heads, connections and the time for a request are bounded.
//!
//! | file | one job |
//! |---|---|
//! | this | state, routes, who asks |
//! | `refusal` | what an error looks like |
//! | `sign_in` | enrolment, challenge, session |
//! | `read` | pages and pictures |
//! | `judge` | what a verdict binds, and taking one |
//! | `live` | server-sent events |
//! | `serve` | sockets, TLS |

mod judge;
mod live;
mod read;
mod refusal;
mod reports;
pub mod serve;
mod sign_in;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore, broadcast};

use self::refusal::Refusal;
use super::access::{Access, DeskUser, is_csrf};
use super::config::DeskConfig;
use super::directory::Directory;
use super::pages::views::{DeskRole, SignedIn};
use super::store::{DeskNotice, DeskStore};
use super::web;
use crate::review::verdict;
use crate::watchlist::text::hex;

/// Most bytes of a body: the largest is a verdict's envelope, or keys in JSON.
const MAX_BODY: usize = verdict::MAX_BYTES + 4096;
/// For one request, to the first byte of its answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Name of the cookie, and over TLS.
const COOKIE: &str = "watchpost";
const HOST_COOKIE: &str = "__Host-watchpost";

/// Header of requests that a page makes by itself.
const REFRESH: &str = "x-refresh";

/// For a year.
const STRICT: &str = "max-age=31536000";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
                      blob:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'";

/// What handlers share.
pub struct DeskState {
    /// Where everything is kept.
    pub store: Arc<DeskStore>,
    /// Who is let in.
    pub access: Mutex<Access>,
    /// Whose key may do what.
    pub directory: RwLock<Directory>,
    /// As configured.
    pub config: DeskConfig,
    /// What happens meanwhile.
    pub notices: broadcast::Sender<DeskNotice>,
    /// Tells the receiver that a verdict was handed in.
    pub verdict: Arc<Notify>,
    /// When the process began: sessions and challenges count from then.
    pub began: Instant,
    /// One report of a log at a time: each may take as much memory as a log may have.
    pub reporting: Arc<Semaphore>,
}

type Shared = State<Arc<DeskState>>;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl DeskState {
    fn origin(&self) -> String {
        self.config.http.origin()
    }

    /// Name of the session's cookie.
    fn cookie_name(&self) -> &'static str {
        cookie_name(self.config.http.is_secure())
    }

    /// The session's cookie of a request.
    fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        cookie(headers, self.cookie_name())
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    fn access(&self) -> std::sync::MutexGuard<'_, Access> {
        // Each call leaves it whole.
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self) -> std::sync::RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `user` still has the session `token`, with the role that they came with.
    fn still_has(&self, token: &str, user: &DeskUser) -> bool {
        let (now, at) = (OffsetDateTime::now_utc(), self.monotonic());
        let directory = self.directory();
        let role = self.access().role_of(token, at, |key| directory.role(key, now));
        role == Some(user.role)
    }

    /// Who asks.
    fn user(&self, headers: &HeaderMap) -> Result<DeskUser, Refusal> {
        let token = self.cookie(headers).ok_or_else(Refusal::signed_out)?;
        let (now, at) = (OffsetDateTime::now_utc(), self.monotonic());
        let directory = self.directory();
        let role = |key: &_| directory.role(key, now);
        let user = if headers.contains_key(REFRESH) {
            self.access().bystander(token, at, role)
        } else {
            self.access().user(token, at, role)
        };
        user.ok_or_else(Refusal::signed_out)
    }

    /// Who asks, if they may as one of `roles`.
    fn user_as(&self, headers: &HeaderMap, roles: &[DeskRole]) -> Result<DeskUser, Refusal> {
        let user = self.user(headers)?;
        if roles.contains(&user.role) { Ok(user) } else { Err(Refusal::not_yours()) }
    }

    /// Who wants to change something.
    fn changer(&self, headers: &HeaderMap, roles: &[DeskRole]) -> Result<DeskUser, Refusal> {
        self.same_origin(headers)?;
        let user = self.user_as(headers, roles)?;
        let carried = headers.get("x-csrf").and_then(|v| v.to_str().ok());
        if is_csrf(&user, carried) { Ok(user) } else { Err(Refusal::no_token()) }
    }

    /// A browser says which page makes a request; one of another site is refused.
    fn same_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match headers.get(header::ORIGIN) {
            Some(origin) if origin.as_bytes() != self.origin().as_bytes() => {
                Err(Refusal::elsewhere())
            }
            _ => Ok(()),
        }
    }

    /// The address that attempts are counted for. Behind a proxy on this machine it is the one that
    /// the proxy has added last.
    fn address(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        let behind = self.config.http.certificate.is_none() && peer.0.is_loopback();
        let last = headers.get_all("x-forwarded-for").iter().next_back();
        let last = last.and_then(|v| v.to_str().ok()).and_then(|v| v.rsplit(',').next());
        match last.and_then(|address| address.trim().parse().ok()) {
            Some(address) if behind => address,
            _ => peer.0,
        }
    }
}

fn signed_in(user: &DeskUser) -> SignedIn {
    SignedIn { csrf: user.csrf.clone(), who: user.key.id().to_string(), role: user.role }
}

/// Over TLS browsers take a cookie of the name with the prefix from this very host alone, over TLS:
/// neither a neighbour's page nor somebody on the way can give a visitor another session.
fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { HOST_COOKIE } else { COOKIE }
}

fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut pairs = cookies.flat_map(|v| v.split(';')).filter_map(|c| c.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

/// All routes.
pub fn router(state: Arc<DeskState>) -> Router {
    let speaks_tls = state.config.http.certificate.is_some();
    let timed = Router::new()
        .route("/", get(read::home))
        .route("/enrol/{token}", get(sign_in::enrolment))
        .route("/api/enrol", post(sign_in::enrol))
        .route("/api/challenge", post(sign_in::challenge))
        .route("/api/session", post(sign_in::session))
        .route("/api/sign-out", post(sign_in::sign_out))
        .route("/queue", get(read::queue))
        .route("/queue/{candidate}", get(read::burst))
        .route("/pair/{candidate}", get(read::pair))
        .route("/pair/{candidate}/crop", get(read::crop))
        .route("/pair/{candidate}/photograph/{n}", get(read::photograph))
        .route("/outcome/{candidate}", get(read::outcome))
        .route("/fleet", get(read::fleet))
        .route("/people", get(read::people))
        .route("/reports", get(reports::reports))
        .route("/reports/device", get(reports::device_report))
        .route("/api/pair/{candidate}", get(judge::binds))
        .route("/api/verdict/{candidate}", post(judge::take))
        .fallback(asset)
        .layer(middleware::from_fn(in_time));
    Router::new()
        .route("/events", get(live::events))
        .merge(timed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(with_headers))
        .layer(middleware::from_fn_with_state(speaks_tls, with_strict_transport))
        .with_state(state)
}

/// Script and style; what is nothing is not found.
async fn asset(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let found = web::ASSETS.iter().find(|asset| asset.path == path);
    match found {
        Some(asset) if request.method() == axum::http::Method::GET => {
            // A new program has new ones: the browser asks, and is told that nothing has changed.
            let tag = format!("\"{}\"", hex(&Sha256::digest(asset.bytes)[..16]));
            let kept = request.headers().get(header::IF_NONE_MATCH);
            let same = kept.is_some_and(|kept| kept.as_bytes() == tag.as_bytes());
            let headers = [
                (header::CONTENT_TYPE, asset.content_type.to_owned()),
                (header::CACHE_CONTROL, "no-cache".to_owned()),
                (header::ETAG, tag),
            ];
            if same {
                return (StatusCode::NOT_MODIFIED, headers).into_response();
            }
            (headers, asset.bytes).into_response()
        }
        _ => Refusal::not_found().into_response(),
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::too_slow().into_response(),
    }
}

/// Where the desk itself speaks TLS, browsers come back over TLS alone. A proxy that does says so
/// by itself.
async fn with_strict_transport(
    State(speaks_tls): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if speaks_tls {
        let headers = response.headers_mut();
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT));
    }
    response
}

async fn with_headers(request: Request, next: Next) -> Response {
    let accepts = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let follows_a_link = request.method() == axum::http::Method::GET
        && accepts.is_some_and(|kinds| kinds.contains("text/html"));
    let mut response = next.run(request).await;
    // A body that is too large, a wrong method or path: the framework's own answers are texts.
    let status = response.status();
    let text = response.headers().get(header::CONTENT_TYPE);
    let own = text.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if (own || text.is_none()) && (status.is_client_error() || status.is_server_error()) {
        response = Refusal::of_framework(status).into_response();
    }
    if follows_a_link {
        response = refusal::page(response);
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Signature"));
    }
    response
}

#[cfg(test)]
mod tests;
