//! Who looks at a page, and how they want it shown.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};

use super::failure::Failure;
use super::frame::Shown;
use super::url;
use crate::api::answers::Answers;
use crate::api::{Answer, Reader, State, session_token};

/// Somebody who is signed in, looking at a page.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) reader: Reader,
    pub(super) shown: Shown,
    state: Arc<State>,
}

impl Visitor {
    /// What they may read.
    pub(super) fn answers(&self) -> Answers<'_> {
        Answers { state: &self.state, reader: &self.reader }
    }

    /// An answer as a page.
    pub(super) fn or_failure<T>(&self, answer: Result<T, Answer>) -> Result<T, Failure> {
        answer.map_err(|answer| Failure::new(answer, self.shown.clone()))
    }
}

impl FromRequestParts<Arc<State>> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Response> {
        match Reader::from_request_parts(parts, state).await {
            Ok(reader) => {
                let csrf = session_token(&parts.headers).map(|token| token.csrf()).unwrap_or_default();
                let tenant = Some(reader.tenant.as_str().to_owned());
                let role = Some(reader.role);
                let shown = Shown { tenant, role, csrf, ..Shown::of(&parts.headers) };
                Ok(Self { reader, shown, state: Arc::clone(state) })
            }
            Err(answer) => Err(turned_away(parts, answer)),
        }
    }
}

/// A browser without a session is sent to get one; others see why they may not.
pub(crate) fn turned_away(parts: &Parts, answer: Answer) -> Response {
    if answer.0.status == 401 {
        let wanted = parts.uri.path_and_query().map_or("/", |wanted| wanted.as_str());
        let wanted = if wanted == "/" { "" } else { wanted };
        return Redirect::to(&url::with("/sign-in", &[("next", wanted)])).into_response();
    }
    Failure::new(answer, Shown::of(&parts.headers)).into_response()
}

/// The value of a cookie.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}
