//! Who looks at a page, and how they want it shown.
//!
//! [`of`] is the one place that knows how a browser proves who reads.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};

use super::failure::Failure;
use super::frame::Shown;
use super::url;
use crate::api::answers::Answers;
use crate::api::{Answer, Reader, State};

/// The cookie with a reader's API key.
pub(super) const KEY_COOKIE: &str = "__Host-edgetrail-key";

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
        let shown = Shown::of(&parts.headers);
        match of(parts, state).await {
            Ok(reader) => {
                let shown = Shown { tenant: Some(reader.tenant.as_str().to_owned()), ..shown };
                Ok(Self { reader, shown, state: Arc::clone(state) })
            }
            Err(Answer(problem)) if problem.status == 401 => {
                let wanted = parts.uri.path_and_query().map_or("/", |wanted| wanted.as_str());
                let wanted = if wanted == "/" { "" } else { wanted };
                Err(Redirect::to(&url::with("/sign-in", &[("next", wanted)])).into_response())
            }
            Err(answer) => Err(Failure::new(answer, shown).into_response()),
        }
    }
}

/// The reader of a request: by its header, or by the key in its cookie.
async fn of(parts: &mut Parts, state: &Arc<State>) -> Result<Reader, Answer> {
    if !parts.headers.contains_key(header::AUTHORIZATION)
        && let Some(key) = cookie(&parts.headers, KEY_COOKIE)
        && let Ok(bearer) = HeaderValue::try_from(format!("Bearer {key}"))
    {
        parts.headers.insert(header::AUTHORIZATION, bearer);
    }
    Reader::from_request_parts(parts, state).await
}

/// The reader of a key that was typed in.
pub(super) async fn with_key(key: &str, state: &Arc<State>) -> Result<Reader, Answer> {
    let mut request = axum::http::Request::new(());
    if let Ok(bearer) = HeaderValue::try_from(format!("Bearer {key}")) {
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    Reader::from_request_parts(&mut request.into_parts().0, state).await
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
