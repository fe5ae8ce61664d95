//! What an error looks like: a sentence, and what to do.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Extension, Json};

use crate::desk::access::AccessError;
use crate::desk::pages::{self, views::ErrorView};
use crate::desk::store::{DeskStoreError, EnrolError};

/// An answer that says no: JSON to a script, and a page to whoever follows a link.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    error: String,
    remedy: &'static str,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>, remedy: &'static str) -> Self {
        Self { status, error: error.into(), remedy }
    }

    pub fn signed_out() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Nobody is signed in.", "Sign in again.")
    }

    pub fn not_yours() -> Self {
        let remedy = "Sign in with a key that may.";
        Self::new(StatusCode::FORBIDDEN, "Your key may not see or do this.", remedy)
    }

    pub fn no_token() -> Self {
        let error = "The request does not carry the token of your session.";
        Self::new(StatusCode::FORBIDDEN, error, "Load the page again.")
    }

    pub fn elsewhere() -> Self {
        let error = "The request comes from another site.";
        Self::new(StatusCode::FORBIDDEN, error, "Open the desk itself.")
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is nothing here.", "Go back to the queue.")
    }

    pub fn no_log() -> Self {
        let error = "No record of this device's audit log has come.";
        let remedy = "Look at its id, and whether it keeps a log.";
        Self::new(StatusCode::NOT_FOUND, error, remedy)
    }

    pub fn erased() -> Self {
        let error = "The candidate and its pictures were erased.";
        Self::new(StatusCode::GONE, error, "Its outcome is kept, without pictures.")
    }

    pub fn too_slow() -> Self {
        let error = "It took too long.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, "Try again.")
    }

    pub fn malformed(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, "Load the page again.")
    }

    pub fn over() -> Self {
        let error = "The candidate is over: two people have decided, or its time is.";
        Self::new(StatusCode::CONFLICT, error, "Look at its outcome.")
    }

    pub fn judged() -> Self {
        let error = "You have judged this candidate.";
        Self::new(StatusCode::CONFLICT, error, "A verdict cannot be taken back.")
    }

    pub fn no_device_key() -> Self {
        let error = "The desk does not know the device's key, so that no verdict can be sealed.";
        let remedy = "Have the device's key written into the desk's configuration.";
        Self::new(StatusCode::CONFLICT, error, remedy)
    }

    pub fn spent(error: impl Into<String>) -> Self {
        let remedy = "Ask whoever runs the desk for another invitation.";
        Self::new(StatusCode::GONE, error, remedy)
    }

    pub fn not_its_holder() -> Self {
        let error = "The key has not signed that it enrols here.";
        let remedy = "Open the link in the browser that has the key.";
        Self::new(StatusCode::FORBIDDEN, error, remedy)
    }

    pub fn taken(error: &EnrolError) -> Self {
        let remedy = "The invitation is not spent: open it there.";
        Self::new(StatusCode::CONFLICT, sentence(&error.to_string()), remedy)
    }

    pub fn of_framework(status: StatusCode) -> Self {
        let error = status.canonical_reason().unwrap_or("The request cannot be answered");
        Self::new(status, format!("{error}."), "Load the page again.")
    }
}

/// The same answer as a page, for a browser that follows a link; sign-in where nobody is signed in.
pub fn page(response: Response) -> Response {
    let Some(told) = response.extensions().get::<Refusal>() else { return response };
    if told.status == StatusCode::UNAUTHORIZED {
        return Redirect::to("/").into_response();
    }
    let view = ErrorView { me: None, error: told.error.clone(), remedy: told.remedy.to_owned() };
    (told.status, Html(pages::error(&view).into_string())).into_response()
}

impl From<DeskStoreError> for Refusal {
    fn from(error: DeskStoreError) -> Self {
        log::error!("A request cannot be answered: {error}.");
        let error = "The desk's store does not answer.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, "Try again in a moment.")
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        let (status, remedy) = match error {
            AccessError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "Wait, and try again."),
            AccessError::Stale | AccessError::Forged => {
                (StatusCode::UNAUTHORIZED, "Sign in again.")
            }
            AccessError::Nobody => (StatusCode::FORBIDDEN, "Have your key pinned, and try again."),
        };
        Self::new(status, sentence(&error.to_string()), remedy)
    }
}

/// Begun with a capital and ended with a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).chain(['.']).collect()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.error, "remedy": self.remedy });
        // `page` finds it there.
        let told = self.clone();
        (self.status, Extension(told), Json(body)).into_response()
    }
}
