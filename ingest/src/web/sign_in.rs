//! The page to sign in on.

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::frame::{Frame, Shown, page};

/// What the page offers and says.
#[derive(Debug)]
pub(crate) struct SignInForm<'f> {
    /// Whether an identity provider is configured.
    pub(crate) has_provider: bool,
    /// Whether tokens of the application are taken.
    pub(crate) takes_tokens: bool,
    /// Where to go on.
    pub(crate) next: &'f str,
    /// Why nobody was signed in.
    pub(crate) wrong: Option<&'f str>,
}

#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'f> {
    frame: Frame,
    form: &'f SignInForm<'f>,
}

impl SignInForm<'_> {
    /// The page.
    pub(crate) fn show(&self, headers: &HeaderMap, status: StatusCode) -> Response {
        let frame = Frame::new("Sign in", None, &Shown::of(headers));
        page(status, &SignInPage { frame, form: self })
    }
}
