//! `/v1/subjects/{id}/…`: a person's data, exported or erased.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;
use shared::problem::Problem;

use super::erasures::described;
use super::path::Path;
use super::reader::Admin;
use super::writes::{Parameters, once};
use super::{Answer, Shared, body};
use crate::privacy::export::Format;
use crate::privacy::{Mode, PrivacyError, Wish};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    emails: Vec<String>,
    #[serde(default)]
    preview: bool,
    mode: Option<String>,
    legal_basis: Option<String>,
}

pub(super) async fn export(
    state: Shared,
    admin: Admin,
    Path(subject): Path<String>,
    parameters: Parameters,
    request: Request,
) -> Result<Response, Answer> {
    let Query(parameters) = parameters.map_err(|error| Answer::parameter("query", error.body_text()))?;
    once(&parameters)?;
    let mut format = Format::Ndjson;
    for (name, value) in &parameters {
        format = match (name.as_str(), value.as_str()) {
            ("format", "ndjson") => Format::Ndjson,
            ("format", "json") => Format::Json,
            ("format", _) => return Err(Answer::parameter("format", "is not ndjson or json")),
            _ => return Err(Answer::parameter(name, "is unknown")),
        };
    }
    let asked = asked(&state, request).await?;
    let privacy = std::sync::Arc::clone(&state.privacy);
    let pieces = privacy.export(admin.who(), &subject, &asked.emails, format).await?;
    let stream = futures_util::stream::unfold(pieces, |mut pieces| async move {
        pieces.recv().await.map(|piece| (piece, pieces))
    });
    let content_type = match format {
        Format::Ndjson => "application/x-ndjson",
        Format::Json => "application/json",
    };
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(stream)).into_response())
}

pub(super) async fn erase(
    state: Shared,
    admin: Admin,
    Path(subject): Path<String>,
    request: Request,
) -> Result<Response, Answer> {
    let asked = asked(&state, request).await?;
    if asked.preview {
        let preview = state.privacy.preview(&admin.0.tenant, &subject, &asked.emails).await?;
        let hold = preview.held.map(|hold| json!({"id": hold.hold_id, "reason": hold.reason}));
        let preview = json!({"known_by": preview.names, "counts": preview.counts, "hold": hold});
        return Ok(Json(json!({"preview": preview})).into_response());
    }
    let mode = match asked.mode.as_deref() {
        Some("erase") => Mode::Erase,
        Some("pseudonymise") => Mode::Pseudonymise,
        Some("keep") => Mode::Keep,
        _ => return Err(Answer::parameter("mode", "is not erase, pseudonymise or keep")),
    };
    let legal_basis = asked.legal_basis.ok_or_else(|| Answer::parameter("legal_basis", "is missing"))?;
    let wish = Wish { subject, emails: asked.emails, mode, legal_basis };
    let request = state.privacy.request(admin.who(), &wish).await?;
    Ok((StatusCode::ACCEPTED, Json(described(&request))).into_response())
}

async fn asked(state: &Shared, request: Request) -> Result<Asked, Answer> {
    let text = body::text(state, request).await?;
    if text.trim().is_empty() {
        return Ok(Asked::default());
    }
    body::read(&text, body::unreadable())
}

impl From<PrivacyError> for Answer {
    fn from(error: PrivacyError) -> Self {
        let problem = match &error {
            PrivacyError::Unknown | PrivacyError::Missing => {
                Problem::new(404, "not-found", "There is no such thing")
            }
            PrivacyError::Parameter(..) => {
                Problem::new(400, "bad-parameter", "A parameter is not understood")
            }
            PrivacyError::State { .. } => {
                Problem::new(409, "erasure-conflict", "The erasure cannot be changed so")
            }
            PrivacyError::Held { .. } => Problem::new(409, "legal-hold", "A legal hold forbids it"),
            PrivacyError::Second(_) => Problem::new(403, "second-person", "This takes two people"),
            PrivacyError::NotSequenced | PrivacyError::Own(_) | PrivacyError::Archive(_) => {
                tracing::error!(%error, "a request failed");
                Problem::new(503, "store-unavailable", "The store is not available")
            }
            PrivacyError::Store(_) | PrivacyError::Files(_) => {
                tracing::error!(%error, "a request failed");
                Problem::new(500, "internal", "Something broke on our side")
            }
        };
        match error {
            PrivacyError::Store(error) | PrivacyError::Own(crate::own::OwnError::Store(error)) => {
                Self::from(error)
            }
            PrivacyError::Files(_)
            | PrivacyError::Own(_)
            | PrivacyError::NotSequenced
            | PrivacyError::Archive(_) => Self(problem),
            error => Self(problem.detail(error)),
        }
    }
}
