//! `GET /v1/entities/{type}/{id}/timeline`: everything that happened to one entity, and what was known of it at a time.

use axum::Json;
use chrono::TimeDelta;
use serde_json::{Value, json};
use shared::event::Timestamp;
use shared::search::{EntityPattern, Expr, OneOf, Query, Term};

use super::cursor::Cursor;
use super::events::{Paging, parse_time};
use super::path::Path;
use super::reader::Reader;
use super::search;
use super::writes::Parameters;
use super::{Answer, Shared, as_of};
use crate::correlate::state::State;
use crate::store::search::{Scope, altering, page};
use crate::store::{StoreError, events};

/// Acts on an entity that a state is made of; of older ones nothing is taken. Each lies on a page of its own, and is read while
/// somebody waits.
const MAX_FOLDED: usize = 250;

pub(super) async fn timeline(
    state: Shared,
    reader: Reader,
    Path((kind, id)): Path<(String, String)>,
    asked: Parameters,
) -> Result<Json<Value>, Answer> {
    let missing = || Answer::not_found("no event of this entity");
    let pattern = EntityPattern {
        kind: search::entity_type(&kind).map_err(|_| missing())?,
        id: Some(search::exactly(&id).map_err(|_| missing())?),
    };
    let (mut paging, mut as_of) = (Paging::new(), None);
    let search = search::read(asked, |name, value| {
        if name == "as_of" {
            as_of = Some(Timestamp::from(parse_time(value)?));
            return Ok(true);
        }
        paging.take(name, value)
    })?;
    search.check(&reader)?;
    let entity = Query::of(vec![Expr::Term(Term::Entity(OneOf::one(pattern)))]);
    let of = format!("timeline {entity} {} {}", as_of.map_or(0, Timestamp::millis), search.query);
    let cursor = paging.cursor(&state, &reader, &of)?;
    let now = cursor.map_or_else(|| state.clock.now(), |cursor| cursor.now);
    let scope = |query: Query| Scope {
        tenant: reader.tenant.as_str().to_owned(),
        from: state.receiver.oldest(),
        to: as_of.map(|at| at.to_utc() + TimeDelta::milliseconds(1)),
        query,
        now,
    };
    let whole = scope(entity.clone());
    let narrowed = scope(entity.and(search.query.conjuncts().to_vec()));
    // Side by side: where neither is in memory, both wait for the disk.
    let ((rows, next), mut known) =
        tokio::try_join!(paging.page(&state, &narrowed, cursor.map(|cursor| cursor.after)), async {
            match cursor {
                Some(_) => Ok(Value::Null),
                None => known(&state, &whole, as_of.unwrap_or(now)).await,
            }
        },)?;
    if rows.is_empty()
        && page(&as_of::reading(&state), &Scope { to: None, ..whole.clone() }, None, 1).await?.is_empty()
    {
        return Err(missing());
    }
    for (path, field) in known["fields"].as_object_mut().into_iter().flatten() {
        reader.hide(&kind, path, &mut field["value"]);
    }
    let next = next.map(|after| state.cursors.sign(&reader.tenant, &of, Cursor { now, after }));
    let events: Vec<Value> = rows.iter().map(|row| reader.view(row)).collect::<Result<_, _>>()?;
    Ok(Json(json!({
        "entity": {"type": kind, "id": id},
        "state": known,
        "events": events,
        "next_cursor": next,
        "query": search.view(),
    })))
}

/// What is known of the entity after the events of a scope; on the first page only.
async fn known(state: &super::State, scope: &Scope, as_of: Timestamp) -> Result<Value, StoreError> {
    let limit = i64::try_from(MAX_FOLDED + 1).unwrap_or(i64::MAX);
    let mut rows = altering(&as_of::reading(state), scope, limit).await?;
    let is_complete = rows.len() <= MAX_FOLDED;
    rows.truncate(MAX_FOLDED);
    let mut folded = rows
        .iter()
        .map(|row| events::read(&row.opening).ok_or(StoreError::Damaged("event")))
        .collect::<Result<Vec<_>, _>>()?;
    folded.sort_by_key(|event| (event.occurred_at, event.id));
    let mut view = State::after(&folded).view();
    view["as_of"] = as_of.to_string().into();
    // Fields that were last told of before the oldest of these events are not listed.
    view["complete"] = is_complete.into();
    Ok(view)
}
