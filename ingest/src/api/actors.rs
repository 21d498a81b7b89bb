//! `GET /v1/actors/{id}`: one actor at a glance.

use axum::Json;
use serde_json::{Map, Value, json};
use shared::event::Timestamp;
use shared::search::{Expr, OneOf, Query, Term, TextField};

use super::path::Path;
use super::reader::Reader;
use super::search;
use super::writes::Parameters;
use super::{Answer, Shared, as_of};
use crate::auth::MASKED;
use crate::store::search::{Figure, Scope, figures, person};
use crate::view::time;

/// Values of each kind.
const TOP: i64 = 20;

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
    asked: Parameters,
) -> Result<Json<Value>, Answer> {
    let missing = || Answer::not_found("no event of this actor");
    let search = search::read(asked, |_, _| Ok(false))?;
    search.check(&reader)?;
    let pattern = search::exactly(&id).map_err(|_| missing())?;
    let text = |field| Expr::Term(Term::Text(field, OneOf::one(pattern.clone())));
    let now = state.clock.now();
    let window = search.query.window(now);
    let scope = |who: Vec<Expr>| Scope {
        tenant: reader.tenant.as_str().to_owned(),
        from: window.from.map_or_else(|| state.receiver.oldest(), Timestamp::to_utc),
        to: window.to.map(Timestamp::to_utc),
        query: Query::of(who).and(search.query.conjuncts().to_vec()),
        now,
    };
    let theirs = scope(vec![text(TextField::Actor)]);
    let store = as_of::reading(&state);
    let acted = person(&store, &theirs).await?;
    let named = scope(vec![text(TextField::User), text(TextField::Actor).negated()]);
    let named = person(&store, &named).await?;
    if acted.events == 0 && named.events == 0 {
        return Err(missing());
    }
    let figures = figures(&store, &theirs, TOP).await?;
    let lists: Map<String, Value> = ["id", "email", "session", "ip", "country", "action", "entity"]
        .into_iter()
        .map(|kind| (kind.to_owned(), listed(kind, &figures, &reader)))
        .collect();
    Ok(Json(json!({
        "actor": id,
        "events": acted.events,
        "failed": acted.failed,
        "first_seen": acted.first_seen.map(time),
        "last_seen": acted.last_seen.map(time),
        // Events that name them and that nothing proves to be theirs, such as failed logins.
        "named": {
            "events": named.events,
            "failed": named.failed,
            "first_seen": named.first_seen.map(time),
            "last_seen": named.last_seen.map(time),
        },
        "seen": lists,
        "query": search.view(),
    })))
}

fn listed(kind: &str, figures: &[Figure], reader: &Reader) -> Value {
    figures
        .iter()
        .filter(|figure| figure.kind == kind)
        .map(|figure| {
            json!({
                "value": match kind {
                    "session" if reader.is_masked => MASKED.to_owned(),
                    _ => reader.text(&figure.value),
                },
                "events": figure.events,
                "first_seen": time(figure.first_seen),
                "last_seen": time(figure.last_seen),
            })
        })
        .collect()
}
