//! Who asks, as an extractor: a handler that takes a [`Reader`] cannot run without one.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, Method, header, request::Parts};
use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};
use shared::event::{Severity, TenantId};
use shared::problem::Problem;
use uuid::Uuid;

use super::{Answer, State, origin};
use crate::auth::{
    self, ABSOLUTE, ApiKeyText, COMMAND_LINE, Capability, IDLE, Means, Notice, Role, SessionToken, Standing,
    mask, mask_field, mask_text,
};
use crate::store::events::StoredEvent;
use crate::store::{self, StoreError, access, api_keys};
use crate::view::view;

/// The header with the reason for which personal data is shown in this one answer.
pub(crate) const UNMASK_REASON: &str = "x-unmask-reason";
/// The header with the token that goes with a session's cookie.
pub(crate) const CSRF: &str = "x-csrf-token";
/// A session's last use is written down this often: often enough for half an hour of idleness.
const TOUCH_EVERY: TimeDelta = TimeDelta::minutes(1);
/// Characters of a reason.
const REASON: std::ops::RangeInclusive<usize> = 5..=500;

/// Somebody with an API key or a session. Its tenant is all they see.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) tenant: TenantId,
    /// Who: the id of the key, or the person.
    pub(crate) key: String,
    pub(crate) role: Role,
    /// Which person that is.
    pub(crate) standing: Standing,
    pub(crate) means: Means,
    /// The session, if the request came with its cookie.
    pub(crate) session: Option<Uuid>,
    /// Whether personal data is masked for this request.
    pub(crate) is_masked: bool,
}

/// A reader with the admin role.
#[derive(Debug, Clone)]
pub(crate) struct Admin(pub(crate) Reader);

impl Admin {
    /// Who decides.
    pub(super) fn who(&self) -> auth::Admin<'_> {
        auth::Admin { tenant: &self.0.tenant, key: &self.0.key, standing: &self.0.standing }
    }
}

impl Reader {
    /// The reader as an admin.
    pub(super) fn admin(self) -> Result<Admin, Answer> {
        if self.role == Role::Admin {
            Ok(Admin(self))
        } else {
            Err(Answer(Problem::new(403, "admin-only", "This needs an admin")))
        }
    }

    /// Whoever may do this, and nobody else.
    pub(crate) fn require(&self, capability: Capability) -> Result<(), Answer> {
        if self.role.can(capability) {
            return Ok(());
        }
        let problem = Problem::new(403, "not-permitted", "Your role may not do this");
        Err(Answer(problem.detail(format_args!("a role of {} may not {}", self.role, capability.words()))))
    }

    /// A stored event as this reader may see it.
    pub(crate) fn view(&self, stored: &StoredEvent) -> Result<Value, StoreError> {
        let mut view = view(stored)?;
        if self.is_masked {
            mask(&mut view);
        }
        Ok(view)
    }

    /// Hides the value of an entity's field, if this reader may not see it.
    pub(crate) fn hide(&self, kind: &str, path: &str, value: &mut Value) {
        if self.is_masked {
            mask_field(kind, path, value);
        }
    }

    /// A single value, such as one of a facet, as this reader may see it.
    pub(crate) fn text(&self, text: &str) -> String {
        if self.is_masked { mask_text(text) } else { text.to_owned() }
    }

    /// A key's holder; none if the key is unknown, revoked, over or wrong.
    pub(super) async fn of_key(state: &State, text: &ApiKeyText) -> Result<Option<Self>, StoreError> {
        let now = state.clock.now().to_utc();
        let key = api_keys::find(&state.store, text.id()).await?;
        let key = key.filter(|key| key.matches(text) && !key.tenure.is_over(now));
        Ok(key.map(|key| {
            let role = key.tenure.role();
            let names = key.person.into_iter().collect();
            Self {
                tenant: key.tenant,
                key: key.id,
                role,
                // Keys are made by the operator.
                standing: Standing::new(names, COMMAND_LINE, DateTime::UNIX_EPOCH),
                means: Means::ApiKey,
                session: None,
                is_masked: !role.can(Capability::SeePersonal),
            }
        }))
    }

    /// A session's holder; none if the session or what it stands on is over.
    async fn of_session(state: &State, token: &SessionToken) -> Result<Option<Self>, StoreError> {
        let now = state.clock.now().to_utc();
        let Some(session) = access::session(&state.store, &token.sha256()).await? else { return Ok(None) };
        let is_over = session.seen_at + IDLE <= now
            || session.started_at + ABSOLUTE <= now
            || session.tenure.is_over(now);
        if is_over {
            return Ok(None);
        }
        if session.seen_at + TOUCH_EVERY <= now {
            access::touch(&state.store, session.session_id, now).await?;
        }
        let role = session.tenure.role();
        let is_unmasked =
            role.can(Capability::Unmask) && session.unmasked_until.is_some_and(|until| until > now);
        Ok(Some(Self {
            tenant: session.tenant,
            key: session.who,
            role,
            standing: session.standing,
            means: Means::of(&session.means).ok_or(StoreError::Damaged("means of a session"))?,
            session: Some(session.session_id),
            is_masked: !role.can(Capability::SeePersonal) && !is_unmasked,
        }))
    }

    /// Whoever a request comes from.
    async fn of_request(parts: &Parts, state: &State) -> Result<Self, Answer> {
        let mut reader = match parts.headers.get(header::AUTHORIZATION) {
            Some(value) => {
                let text = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
                let key = text.and_then(|text| text.trim().parse().ok()).ok_or_else(unauthorized)?;
                Self::of_key(state, &key).await?.ok_or_else(unauthorized)?
            }
            None => {
                let token = cookie(&parts.headers).ok_or_else(unauthorized)?;
                let reader = Self::of_session(state, &token).await?.ok_or_else(unauthorized)?;
                if !matches!(parts.method, Method::GET | Method::HEAD) {
                    origin::check(state, &parts.headers)?;
                    check_csrf(&parts.headers, parts.uri.query(), &token)?;
                }
                reader
            }
        };
        if let Some(reason) = parts.headers.get(UNMASK_REASON) {
            reader.require(Capability::Unmask)?;
            let reason = reason_of(&String::from_utf8_lossy(reason.as_bytes()))?;
            let route = super::routes::template(&parts.extensions);
            reader.unmask_once(state, &reason, &route).await?;
        }
        Ok(reader)
    }

    /// Shows personal data in this answer; on record before anything is shown.
    async fn unmask_once(&mut self, state: &State, reason: &str, route: &str) -> Result<(), StoreError> {
        let what = ("audit_log", route.to_owned());
        let notice = Notice::new(&self.tenant, "PERSONAL_DATA_UNMASKED", &self.key, what, state.clock.now())
            .with(Severity::Warning, json!({"reason": reason, "for": "one answer"}));
        let mut transaction = state.store.begin().await?;
        notice.keep(&mut transaction).await?;
        store::commit(transaction).await?;
        self.is_masked = false;
        Ok(())
    }
}

/// A reason as somebody gave it: one line, masked where it holds a secret.
pub(super) fn reason_of(text: &str) -> Result<String, Answer> {
    let is_line = !text.chars().any(char::is_control);
    if is_line && REASON.contains(&text.trim().chars().count()) {
        Ok(shared::redact::text(text.trim(), 4 * REASON.end()))
    } else {
        let words = format!("is not one line of {} to {} characters", REASON.start(), REASON.end());
        Err(Answer::parameter("reason", words))
    }
}

/// The session's token that a request brings.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<SessionToken> {
    // HTTP/1.1 has one such header; a second one would be somebody else's.
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let header = cookies.next()?.to_str().ok()?;
    if cookies.next().is_some() { None } else { SessionToken::from_cookies(header) }
}

/// A script sends the token in a header; a form, whose body is not read yet, in the query of its action.
fn check_csrf(headers: &HeaderMap, query: Option<&str>, token: &SessionToken) -> Result<(), Answer> {
    let in_header = headers.get(CSRF).and_then(|value| value.to_str().ok());
    let in_query = || query?.split('&').find_map(|pair| pair.strip_prefix("csrf="));
    if in_header.or_else(in_query).is_some_and(|text| token.is_csrf(text)) {
        return Ok(());
    }
    let problem = Problem::new(403, "csrf", "The request does not prove that it comes from this site");
    Err(Answer(problem.detail(format_args!("send the session's token in {CSRF}, or as the parameter csrf"))))
}

pub(super) fn unauthorized() -> Answer {
    // One answer for whatever is missing, unknown, revoked, over or wrong.
    Answer(
        Problem::new(401, "sign-in-required", "A valid API key or session is required")
            .detail("send Authorization: Bearer etk_…, or sign in at /sign-in"),
    )
}

impl FromRequestParts<Arc<State>> for Reader {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Answer> {
        if let Some(reader) = parts.extensions.get::<Self>() {
            return Ok(reader.clone());
        }
        let reader = Self::of_request(parts, state).await?;
        parts.extensions.insert(reader.clone());
        Ok(reader)
    }
}

impl FromRequestParts<Arc<State>> for Admin {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Answer> {
        Reader::from_request_parts(parts, state).await?.admin()
    }
}
