//! Supabase Auth: log in and out, read and change the user, publish the keys.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::agent::uuid;
use super::state::{Shared, User};
use crate::clock::unix_now;
use crate::keys::{Alg, ISSUER, LIFETIME};

/// The shortest password that is accepted.
const MIN_PASSWORD: usize = 6;

const CORS: [(&str, &str); 2] = [
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "X-Total-Count, Link, X-Supabase-Api-Version"),
];

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/auth/v1/token", post(token))
        .route("/auth/v1/logout", post(logout))
        .route("/auth/v1/user", get(read).put(update))
        .route("/auth/v1/.well-known/jwks.json", get(jwks))
}

fn refuse(status: u16, code: &'static str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = [("x-sb-error-code", code), ("x-supabase-api-version", "2024-01-01")];
    (status, headers, CORS, Json(json!({ "code": code, "message": message }))).into_response()
}

#[derive(Debug, Deserialize)]
struct Grant {
    grant_type: String,
}

async fn token(State(shared): State<Shared>, Query(grant): Query<Grant>, body: String) -> Response {
    if grant.grant_type != "password" {
        return refuse(400, "validation_failed", "The demo only knows grant_type=password");
    }
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let found = shared
        .state()
        .users
        .iter()
        .find(|user| body["email"] == user.email.as_str() && body["password"] == user.password.as_str())
        .cloned();
    let Some(user) = found else {
        return refuse(400, "invalid_credentials", "Invalid login credentials");
    };
    let (now, session_id) = (unix_now(), uuid());
    let refresh_token: String = uuid().replace('-', "").chars().take(12).collect();
    let access_token = shared.keys.sign(&claims(&user, &session_id, now), Alg::Es256);
    let headers = [
        ("sb-auth-user-id", user.id.clone()),
        ("sb-auth-session-id", session_id),
        ("sb-auth-refresh-token-prefix", refresh_token.chars().take(5).collect()),
    ];
    let session = json!({
        "access_token": access_token, "token_type": "bearer", "expires_in": LIFETIME, "expires_at": now + LIFETIME,
        "refresh_token": refresh_token, "user": public(&user),
    });
    (headers, CORS, Json(session)).into_response()
}

async fn logout(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Some(caller) = shared.by_bearer(&headers) else {
        return refuse(403, "session_not_found", "Session from session_id claim in JWT does not exist");
    };
    shared.state().ended.push(caller.session_id);
    (StatusCode::NO_CONTENT, CORS, [("content-type", "application/json")]).into_response()
}

async fn read(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Some(caller) = shared.by_bearer(&headers) else {
        return refuse(403, "bad_jwt", "invalid JWT");
    };
    match shared.state().user(&caller.user_id) {
        Some(user) => (CORS, Json(public(user))).into_response(),
        None => refuse(403, "user_not_found", "User from sub claim in JWT does not exist"),
    }
}

async fn update(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let Some(caller) = shared.by_bearer(&headers) else {
        return refuse(403, "bad_jwt", "invalid JWT");
    };
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let mut state = shared.state();
    let Some(user) = state.user(&caller.user_id) else {
        return refuse(403, "user_not_found", "User from sub claim in JWT does not exist");
    };
    if let Some(password) = body["password"].as_str() {
        if password == user.password {
            return refuse(422, "same_password", "New password should be different from the old password.");
        }
        if password.len() < MIN_PASSWORD {
            return refuse(422, "weak_password", "Password should be at least 6 characters.");
        }
        password.clone_into(&mut user.password);
    }
    if let Some(name) = body["data"]["full_name"].as_str() {
        name.clone_into(&mut user.name);
    }
    (CORS, Json(public(user))).into_response()
}

async fn jwks(State(shared): State<Shared>) -> Response {
    (CORS, [("cache-control", "public, max-age=600")], Json(shared.keys.jwks())).into_response()
}

fn claims(user: &User, session_id: &str, now: u64) -> Value {
    json!({
        "iss": ISSUER, "sub": user.id, "aud": "authenticated", "exp": now + LIFETIME, "iat": now,
        "email": user.email, "phone": "", "app_metadata": { "provider": "email", "providers": ["email"] },
        "user_metadata": metadata(user), "role": "authenticated", "aal": "aal1",
        "amr": [{ "method": "password", "timestamp": now }], "session_id": session_id, "is_anonymous": false,
    })
}

fn metadata(user: &User) -> Value {
    json!({
        "email": user.email, "email_verified": true, "phone_verified": false, "sub": user.id,
        "full_name": user.name, "onboarding_completed": true,
    })
}

/// The user as Auth shows it.
fn public(user: &User) -> Value {
    let at = &user.created_at;
    json!({
        "id": user.id, "aud": "authenticated", "role": "authenticated", "email": user.email,
        "email_confirmed_at": at, "phone": "", "confirmed_at": at, "last_sign_in_at": at,
        "app_metadata": { "provider": "email", "providers": ["email"] }, "user_metadata": metadata(user),
        "identities": [], "created_at": at, "updated_at": at, "is_anonymous": false,
    })
}
