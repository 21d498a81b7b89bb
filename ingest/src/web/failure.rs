//! What went wrong, as a page.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::frame::{Frame, Shown, page};
use crate::api::Answer;
use crate::store::StoreError;

/// A problem on its way to a person.
#[derive(Debug)]
pub(super) struct Failure {
    answer: Box<Answer>,
    shown: Box<Shown>,
}

#[derive(Debug, Template)]
#[template(path = "failure.html")]
struct FailurePage<'f> {
    frame: Frame,
    status: u16,
    title: &'f str,
    detail: Option<&'f str>,
    hint: &'static str,
}

impl Failure {
    pub(super) fn new(answer: Answer, shown: Shown) -> Self {
        Self { answer: Box::new(answer), shown: Box::new(shown) }
    }

    /// An answer that is not what its endpoint says.
    pub(super) fn unreadable(error: &serde_json::Error, shown: Shown) -> Self {
        tracing::error!(%error, "a page cannot read an answer");
        Self::new(StoreError::Damaged("answer").into(), shown)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Answer(problem) = &*self.answer;
        let hint = match problem.status {
            404 => "It may have gone when its time was over, or belong to somebody else.",
            403 => "Ask an administrator, or sign in as one.",
            503 => "The store is restarting. Try again in a few seconds; nothing is lost in between.",
            400 | 409 | 422 => "Go back and change what was asked for.",
            429 => "Wait a little and try again.",
            _ => "The server's log has the details. What was recorded is not affected.",
        };
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let frame = Frame::new(&*problem.title, None, &self.shown);
        let (title, detail) = (&*problem.title, problem.detail.as_deref());
        page(status, &FailurePage { frame, status: problem.status, title, detail, hint })
    }
}
