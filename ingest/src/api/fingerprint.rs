//! `POST /v1/fingerprint`: whether a value, such as a token that leaked, was used. The value is compared by what the edge makes of
//! it with its key; it is neither stored nor logged, here or there.

use axum::Json;
use axum::extract::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::Severity;
use shared::identity::Jwt;
use shared::problem::Problem;
use shared::search::{Expr, Facet, OneOf, Pattern, Query, Term, TextField};

use super::reader::Reader;
use super::{Answer, Shared, body};
use crate::auth::Notice;
use crate::store::search::{Scope, page};
use crate::store::{self};
use crate::view::time;

/// Events that are counted.
const COUNTED: i64 = 1_000;
/// Bytes of a value.
const MAX_VALUE: usize = 16 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tested {
    value: String,
}

pub(super) async fn test(state: Shared, reader: Reader, request: Request) -> Result<Json<Value>, Answer> {
    let text = body::text(&state, request).await?;
    // What a reader of JSON says of a body quotes it, and it takes an array for an object.
    let text = Some(text.as_str()).filter(|text| text.trim_start().starts_with('{')).unwrap_or_default();
    let Tested { value } = serde_json::from_str(text).map_err(|_| {
        Answer(body::unreadable().detail("value: is not the one member of an object, a text"))
    })?;
    if value.is_empty() || value.len() > MAX_VALUE {
        return Err(Answer::parameter("value", format!("is empty or longer than {MAX_VALUE} bytes")));
    }
    let key = state.fingerprints.as_ref().ok_or_else(|| {
        let problem = Problem::new(409, "no-fingerprint-key", "The key of fingerprints is not here");
        Answer(problem.detail("the operator sets fingerprint.key_file to a file with EDGETRAIL_HASH_KEY"))
    })?;
    let fingerprint = key.of(&value);
    let query =
        query(&value, &fingerprint).ok_or_else(|| Answer::parameter("value", "cannot be looked for"))?;
    let now = state.clock.now();
    let scope = Scope {
        tenant: reader.tenant.to_string(),
        from: state.receiver.oldest(),
        to: None,
        query: query.clone(),
        now,
    };
    let found = page(&state.store, &scope, None, COUNTED).await?;
    let what = ("audit_log", "fingerprint".to_owned());
    let mut transaction = state.store.begin().await?;
    Notice::new(&reader.tenant, "FINGERPRINT_TESTED", &reader.key, what, now)
        .with(Severity::Warning, json!({"fingerprint": fingerprint, "events": found.len()}))
        .keep(&mut transaction)
        .await?;
    store::commit(transaction).await?;
    Ok(Json(json!({
        "fingerprint": fingerprint,
        "query": query.to_string(),
        "events": found.len(),
        "complete": found.len() < usize::try_from(COUNTED).unwrap_or(usize::MAX),
        "first_at": found.last().map(|event| time(event.filed_at)),
        "last_at": found.first().map(|event| time(event.filed_at)),
    })))
}

/// The search for a value: where its fingerprint is a session or stands anywhere in an event, or where the session is the one that
/// the token names. What the backend says of tests is not meant.
fn query(value: &str, fingerprint: &str) -> Option<Query> {
    let session =
        |text: &str| Some(Expr::Term(Term::Text(TextField::Session, OneOf::one(Pattern::exactly(text)?))));
    let named = Jwt::parse(value).and_then(|jwt| jwt.claims.session_id);
    let used = [
        session(fingerprint),
        named.as_deref().and_then(session),
        Some(Expr::Term(Term::Words(Pattern::exactly(fingerprint)?))),
    ];
    let own = Expr::Term(Term::Is(OneOf::one(Facet::Own)));
    Some(Query::of(vec![Expr::any(used.into_iter().flatten().collect())?, own.negated()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_looked_for_by_its_fingerprint_and_never_by_itself() {
        let text = query("opaque-token", "hmac:0011223344556677").expect("a query").to_string();
        assert!(text.contains("session:") && text.contains("hmac:0011223344556677"), "{text}");
        assert!(!text.contains("opaque-token"), "{text}");
        assert!(shared::search::parse(&text).diagnostics.is_empty(), "{text}");
    }
}
