//! Signing in with an API key, and out again.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, Request, State as Given};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::act;
use super::failure::Failure;
use super::frame::{Frame, Shown, page};
use super::reader::{self, KEY_COOKIE};
use crate::api::{Answer, State};

#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    next: String,
    refused: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: String,
}

pub(super) async fn show(headers: HeaderMap, Query(asked): Query<Asked>) -> Response {
    form(&headers, asked.next, StatusCode::OK)
}

pub(super) async fn enter(Given(state): Given<Arc<State>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let given = match act::form(request).await {
        Ok(given) => given,
        Err(answer) => return Failure::new(answer, Shown::of(&headers)).into_response(),
    };
    let of = |name: &str| act::value(&given, name).unwrap_or_default();
    let key = of("key").trim();
    match reader::with_key(key, &state).await {
        Ok(_) => {
            let cookie = format!("{KEY_COOKIE}={key}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=43200");
            ([(header::SET_COOKIE, cookie)], Redirect::to(own(of("next")))).into_response()
        }
        Err(Answer(problem)) if problem.status == 401 => {
            form(&headers, of("next").to_owned(), StatusCode::UNAUTHORIZED)
        }
        Err(answer) => Failure::new(answer, Shown::of(&headers)).into_response(),
    }
}

pub(super) async fn leave() -> Response {
    let cookie = format!("{KEY_COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response()
}

fn form(headers: &HeaderMap, next: String, status: StatusCode) -> Response {
    let frame = Frame::new("Sign in", None, &Shown::of(headers));
    page(status, &SignInPage { frame, next, refused: status == StatusCode::UNAUTHORIZED })
}

/// A page of ours, never an address elsewhere: browsers take `//` and `/\` for the beginning of a host.
fn own(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next[1..].starts_with(['/', '\\']);
    if is_path && next.bytes().all(|byte| byte.is_ascii_graphic()) { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn signing_in_leads_to_no_other_host() {
        assert_eq!(own("/?q=a%20b"), "/?q=a%20b");
        for bad in ["", "https://example.com", "//example.com", "/\\example.com", "/a\nb", "/\t/example.com"]
        {
            assert_eq!(own(bad), "/", "{bad:?}");
        }
    }
}
