//! GoTrue: log in with a password, read and change the user, publish the keys. Accounts are rows of `auth.users`.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use super::{Over, answer};
use crate::clock::unix_now;
use crate::keys::{Alg, ISSUER, LIFETIME, random};

/// A user as GoTrue shows it, without what nobody may see.
const SHOWN: &str =
    "jsonb_build_object('id', id, 'email', email, 'aud', 'authenticated', 'role', 'authenticated',
    'user_metadata', raw_user_meta_data, 'last_sign_in_at', last_sign_in_at, 'updated_at', updated_at)::text";

/// What is kept of the second value, a password.
const HASHED: &str = "encode(sha256(convert_to($2, 'UTF8')), 'hex')";

pub(super) fn router(over: Over) -> Router {
    Router::new()
        .route("/auth/v1/token", post(token))
        .route("/auth/v1/user", get(read).put(update))
        .route("/auth/v1/.well-known/jwks.json", get(jwks))
        .with_state(over)
}

async fn token(
    State(over): State<Over>,
    Query(parameters): Query<Vec<(String, String)>>,
    Json(body): Json<Value>,
) -> Response {
    if !parameters.contains(&("grant_type".to_owned(), "password".to_owned())) {
        return refuse(400, "validation_failed", "The stand-in only knows grant_type=password");
    }
    let sql = format!(
        "update auth.users set last_sign_in_at = now() where email = $1 and encrypted_password = {HASHED}
         returning {SHOWN}"
    );
    let found = over.user(sql, &[text(&body["email"]), text(&body["password"])]).await;
    let user = match found {
        Ok(Some(user)) => user,
        Ok(None) => return refuse(400, "invalid_credentials", "Invalid login credentials"),
        Err(error) => return unexpected(&error),
    };
    let (now, session) = (unix_now(), uuid::Builder::from_random_bytes(random()).into_uuid().to_string());
    let claims = json!({
        "iss": ISSUER, "sub": user["id"], "aud": "authenticated", "exp": now + LIFETIME, "iat": now,
        "email": user["email"], "role": "authenticated", "aal": "aal1",
        "amr": [{"method": "password", "timestamp": now}], "session_id": session, "is_anonymous": false,
    });
    let headers =
        [("sb-auth-user-id", text(&user["id"]).to_owned()), ("sb-auth-session-id", session.clone())];
    let body = json!({
        "access_token": over.keys.sign(&claims, Alg::Es256), "token_type": "bearer", "expires_in": LIFETIME,
        "expires_at": now + LIFETIME, "refresh_token": &session[..12], "user": user,
    });
    (headers, Json(body)).into_response()
}

async fn read(State(over): State<Over>, headers: HeaderMap) -> Response {
    over.respond(&headers, format!("select {SHOWN} from auth.users where id = $1::uuid"), &[]).await
}

async fn update(State(over): State<Over>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let (set, given) = match body["password"].as_str() {
        Some(password) => (format!("encrypted_password = {HASHED}"), password.to_owned()),
        None => ("raw_user_meta_data = raw_user_meta_data || $2::jsonb".to_owned(), body["data"].to_string()),
    };
    let sql =
        format!("update auth.users set updated_at = now(), {set} where id = $1::uuid returning {SHOWN}");
    over.respond(&headers, sql, &[&given]).await
}

async fn jwks(State(over): State<Over>) -> Response {
    Json(over.keys.jwks()).into_response()
}

impl Over {
    /// The user whom a statement is about.
    async fn user(&self, sql: String, given: &[&str]) -> Result<Option<Value>, sqlx::Error> {
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in given {
            query = query.bind(*value);
        }
        let row = query.fetch_optional(&self.pool).await?;
        Ok(row.map(|row| serde_json::from_str(row.get::<&str, _>(0)).unwrap_or_default()))
    }

    /// Does a statement about the token's user, whose id is its first value, and shows them.
    async fn respond(&self, headers: &HeaderMap, sql: String, more: &[&str]) -> Response {
        let Some(claims) = self.claims(headers) else { return refuse(403, "bad_jwt", "invalid JWT") };
        match self.user(sql, &[&[text(&claims["sub"])], more].concat()).await {
            Ok(Some(user)) => answer(200, user),
            Ok(None) => refuse(403, "user_not_found", "User from sub claim in JWT does not exist"),
            Err(error) => unexpected(&error),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn unexpected(error: &sqlx::Error) -> Response {
    refuse(500, "unexpected_failure", &error.to_string())
}

fn refuse(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({"code": code, "message": message});
    (status, [("x-sb-error-code", code.to_owned())], Json(body)).into_response()
}
