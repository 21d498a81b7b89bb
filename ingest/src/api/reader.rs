//! Permissions as extractors: a handler that takes a [`Reader`] cannot run without one.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use shared::event::TenantId;
use shared::problem::Problem;

use super::{Answer, State};
use crate::auth::{ApiKeyText, Role};
use crate::store::api_keys;

/// Somebody with an API key. The key's tenant is all they see.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) tenant: TenantId,
    /// The id of the key.
    pub(super) key: String,
    role: Role,
}

impl Reader {
    /// Whether the key is an admin's.
    pub(super) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

/// A reader with the admin role.
#[derive(Debug, Clone)]
pub(super) struct Admin(pub(super) Reader);

fn unauthorized() -> Answer {
    // One answer for a missing, unknown, revoked and wrong key.
    Answer(
        Problem::new(401, "api-key-required", "A valid API key is required")
            .detail("send Authorization: Bearer etk_…"),
    )
}

impl FromRequestParts<Arc<State>> for Reader {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Answer> {
        let text: ApiKeyText = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(unauthorized)?;
        let key = api_keys::find(&state.store, text.id())
            .await?
            .filter(|key| key.matches(&text))
            .ok_or_else(unauthorized)?;
        Ok(Self { tenant: key.tenant, key: key.id, role: key.role })
    }
}

impl FromRequestParts<Arc<State>> for Admin {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Answer> {
        let reader = Reader::from_request_parts(parts, state).await?;
        match reader.role {
            Role::Admin => Ok(Self(reader)),
            Role::Viewer => Err(Answer(Problem::new(403, "admin-only", "This needs an admin's key"))),
        }
    }
}
