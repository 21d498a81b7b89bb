//! Who somebody is who sees only themselves: by a token on `/v1/me`, by a session of its own kind on `/me`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use shared::event::TenantId;
use shared::problem::Problem;

use super::super::{Answer, State, batches, origin, sign_in};
use crate::auth::{Origin, TokenError, Verifier};
use crate::own_activity::session::{Person, Session};

/// A token and what stands around it in a form, in bytes.
const MAX_FORM: usize = 24 * 1024;

/// Somebody whom a token of the application proves.
#[derive(Debug, Clone)]
pub(crate) struct Myself {
    pub(crate) tenant: TenantId,
    pub(crate) person: Person,
}

impl Myself {
    /// Whoever the bearer of a request is.
    pub(super) async fn of_bearer(state: &State, headers: &HeaderMap) -> Result<Self, Answer> {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let token =
            token.ok_or_else(|| unproven("send Authorization: Bearer and a token of the application"))?;
        Ok(prove(state, token).await?.0)
    }
}

/// Whom a token proves, and its end in seconds since 1970.
async fn prove(state: &State, token: &str) -> Result<(Myself, u64), Answer> {
    let (Some(tenant), Some(verifier)) = configured(state) else {
        return Err(unproven(
            "people see nothing of themselves on this server: access.app.tenant is not set",
        ));
    };
    let claims = match verifier.verify(token, state.clock.now()).await {
        Ok(claims) => claims,
        Err(error @ TokenError::Keys(_)) => return Err(error.into()),
        Err(TokenError::Form | TokenError::Invalid) => {
            return Err(unproven("the token is wrong, over, or not for this server"));
        }
    };
    let (Some(subject), Some(ends)) = (claims.sub, claims.exp) else {
        return Err(unproven("the token names nobody"));
    };
    let person = Person { subject, email: claims.email };
    Ok((Myself { tenant: tenant.clone(), person }, ends))
}

fn configured(state: &State) -> (Option<&TenantId>, Option<&Verifier>) {
    (state.own_activity.tenant.as_ref(), state.sign_in.app_tokens.as_ref())
}

fn unproven(detail: &str) -> Answer {
    let problem = Problem::new(401, "token-required", "This needs a valid token of the application");
    Answer(problem.detail(detail))
}

/// Somebody with a session of their own, looking at pages.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) myself: Myself,
    /// What every form brings along.
    pub(crate) csrf: String,
    pub(crate) state: Arc<State>,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// Why nobody was signed in.
#[derive(Debug)]
pub(crate) enum NotSignedIn {
    /// The request is not one of ours, or cannot be answered.
    Answer(Answer),
    /// The token proves nothing.
    Unproven,
    /// Too many failed from this address; for so many seconds.
    LockedOut(u64),
}

impl Guest {
    /// Begins a session by a token in a form, with the cookie that hands it out. Only the address is locked out after failures: a
    /// token cannot be guessed, and anybody can send a wrong one in somebody else's name.
    pub(crate) async fn sign_in(state: &State, request: Request) -> Result<String, NotSignedIn> {
        // Somebody else's page must not sign a browser in as somebody else.
        origin::check(state, request.headers()).map_err(NotSignedIn::Answer)?;
        let address: Option<IpAddr> = sign_in::address(state, &request);
        let origins: Vec<Origin> = address.map(Origin::address).into_iter().collect();
        let now = state.clock.now();
        if let Some(seconds) = state.sign_in.attempts.wait(&origins, now) {
            return Err(NotSignedIn::LockedOut(seconds));
        }
        let body = batches::read(request.into_body(), MAX_FORM).await.map_err(NotSignedIn::Answer)?;
        let token = String::from_utf8(body).ok().and_then(|text| {
            let uri = format!("/?{}", text.trim()).parse().ok()?;
            Query::<Token>::try_from_uri(&uri).ok().map(|Query(form)| form.token)
        });
        let missing = || NotSignedIn::Answer(Answer::parameter("token", "is missing"));
        match prove(state, token.ok_or_else(missing)?.trim()).await {
            Ok((Myself { tenant, person }, ends)) => {
                Ok(state.own_activity.sessions.begin(&tenant, &person, ends, now).cookie())
            }
            Err(Answer(problem)) if problem.status == 401 => {
                state.sign_in.attempts.failed(&origins, now);
                metrics::counter!("edgetrail_sign_in_failures_total", "reason" => "own_activity")
                    .increment(1);
                Err(NotSignedIn::Unproven)
            }
            Err(answer) => Err(NotSignedIn::Answer(answer)),
        }
    }

    fn of(parts: &Parts, state: &Arc<State>) -> Result<Option<Self>, Answer> {
        let (Some(tenant), Some(_)) = configured(state) else { return Ok(None) };
        let sessions = &state.own_activity.sessions;
        let header = parts.headers.get(header::COOKIE).and_then(|value| value.to_str().ok());
        let Some(session) = header.and_then(Session::from_cookies) else { return Ok(None) };
        let Some(person) = sessions.read(tenant, &session, state.clock.now()) else { return Ok(None) };
        if parts.method != Method::GET && parts.method != Method::HEAD {
            origin::check(state, &parts.headers)?;
            let brought = parts
                .uri
                .query()
                .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("csrf=")));
            if !brought.is_some_and(|text| sessions.is_csrf(tenant, &session, text)) {
                let problem =
                    Problem::new(403, "csrf", "The request does not prove that it comes from this site");
                return Err(Answer(problem));
            }
        }
        let csrf = sessions.csrf(tenant, &session);
        let myself = Myself { tenant: tenant.clone(), person };
        Ok(Some(Self { myself, csrf, state: Arc::clone(state) }))
    }
}

impl FromRequestParts<Arc<State>> for Guest {
    type Rejection = Response;

    /// Who has no session is sent to where there is one.
    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Response> {
        match Self::of(parts, state) {
            Ok(Some(guest)) => Ok(guest),
            Ok(None) => Err(Redirect::to("/me").into_response()),
            Err(answer) => Err(answer.into_response()),
        }
    }
}
