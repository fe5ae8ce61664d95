//! Server-sent events: what happens while somebody looks.
//!
//! A reviewer is told that a candidate waits, that one is over, and what became of their own
//! verdicts; never that somebody else has judged. What they listen to ends with their session, and
//! as soon as their key has another role or none.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{DeskState, Refusal, Shared};
use crate::desk::access::DeskUser;
use crate::desk::pages::views::DeskRole;
use crate::desk::store::{DeskNotice, stage_word};
use crate::watchlist::text::shown;

/// How often it is looked whether the session still holds, and a sign of life is sent.
const ALIVE: Duration = Duration::from_secs(15);

struct Listening {
    desk: Arc<DeskState>,
    user: DeskUser,
    token: String,
    notices: broadcast::Receiver<DeskNotice>,
}

/// `GET /events`.
pub async fn events(
    State(desk): Shared,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let user = desk.user(&headers)?;
    let token = desk.cookie(&headers).unwrap_or_default().to_owned();
    let notices = desk.notices.subscribe();
    let listening = Listening { desk, user, token, notices };
    let stream = stream::unfold(listening, |mut listening| async move {
        let event = listening.next().await?;
        Some((Ok(event), listening))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE)))
}

impl Listening {
    /// The next event; none where the session is over, or the desk ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let notice = tokio::time::timeout(ALIVE, self.notices.recv()).await;
            if !self.desk.still_has(&self.token, &self.user) {
                return None;
            }
            match notice {
                // Nothing has happened.
                Err(_) => {}
                Ok(Ok(notice)) => {
                    if let Some(event) = told(&notice, &self.user) {
                        return Some(event);
                    }
                }
                // More happened than is kept: the page is loaded anew.
                Ok(Err(RecvError::Lagged(_))) => return Some(event("reload", json!({}))),
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }
}

fn event(name: &str, data: serde_json::Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

/// What `user` is told of it.
fn told(notice: &DeskNotice, user: &DeskUser) -> Option<Event> {
    let reviews = user.role == DeskRole::Reviewer;
    let own = |reviewer: &[u8; 8]| reviews && *reviewer == user.key.id().to_bytes();
    match notice {
        DeskNotice::Candidate(id) if reviews => {
            Some(event("candidate", json!({ "candidate": id.to_string() })))
        }
        DeskNotice::Outcome(id, stage) if user.role != DeskRole::Operator => {
            let data = json!({ "candidate": id.to_string(), "state": stage_word(*stage) });
            Some(event("outcome", data))
        }
        DeskNotice::Refused { candidate, reviewer, why } if own(reviewer) => {
            let data = json!({ "candidate": candidate.to_string(), "why": shown(why) });
            Some(event("refused", data))
        }
        DeskNotice::Counted { candidate, reviewer } if own(reviewer) => {
            Some(event("counted", json!({ "candidate": candidate.to_string() })))
        }
        _ => None,
    }
}
