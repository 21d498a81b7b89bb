//! `/v1/searches…`: searches that people keep under a name, for themselves or for everybody of the tenant.

use axum::Json;
use axum::extract::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::Severity;
use shared::problem::Problem;
use shared::search::{self, Diagnostic, MAX_TEXT_LEN};
use uuid::Uuid;

use super::path::Path;
use super::reader::Reader;
use super::{Answer, Shared, body};
use crate::auth::{Capability, Notice};
use crate::clock::random;
use crate::store::saved::{self, Saved};
use crate::store::{self, Transaction};
use crate::view::time;

/// Searches of one person.
const MAX_SAVED: u16 = 100;
/// Searches that are listed: one's own and those of others.
const LISTED: i64 = 500;
/// Characters of a name.
const NAME: std::ops::RangeInclusive<usize> = 1..=80;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    q: String,
    #[serde(default)]
    shared: bool,
}

/// One's own by name, then what others share.
pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let found = saved::list(&state.store, reader.tenant.as_str(), &reader.key, LISTED).await?;
    let searches: Vec<Value> = found.iter().map(|search| view(search, &reader)).collect();
    Ok(Json(json!({"searches": searches})))
}

/// Saves a search.
pub(super) async fn save(state: Shared, reader: Reader, request: Request) -> Result<Json<Value>, Answer> {
    let wanted = wanted(&state, request).await?;
    let mut transaction = state.store.begin().await?;
    if saved::count(&mut transaction, reader.tenant.as_str(), &reader.key).await? >= i64::from(MAX_SAVED) {
        let problem =
            Problem::new(409, "too-many-searches", "You have as many saved searches as one may have");
        return Err(Answer(problem.limit(usize::from(MAX_SAVED))));
    }
    keep(&state, transaction, &reader, Uuid::from_bytes(random()), wanted).await
}

/// Saves a search in the place of one's own of this id: another name, another query.
pub(super) async fn replace(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Answer> {
    let wanted = wanted(&state, request).await?;
    let mut transaction = state.store.begin().await?;
    // One lock for whoever counts names.
    saved::count(&mut transaction, reader.tenant.as_str(), &reader.key).await?;
    let known = found(&mut transaction, &reader, &id).await?;
    if known.owner != reader.key {
        return Err(Answer(Problem::new(403, "not-yours", "Somebody else saved this search")));
    }
    keep(&state, transaction, &reader, known.search_id, wanted).await
}

/// Removes one's own, or for admins what somebody shares.
pub(super) async fn remove(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    let mut transaction = state.store.begin().await?;
    let known = found(&mut transaction, &reader, &id).await?;
    if known.owner != reader.key {
        reader.require(Capability::Access)?;
    }
    saved::remove(&mut transaction, reader.tenant.as_str(), known.search_id).await?;
    tell(&state, &reader, "SEARCH_REMOVED", &known).keep(&mut transaction).await?;
    store::commit(transaction).await?;
    Ok(Json(json!({"removed": known.search_id})))
}

/// What is another's and not shared is not there.
async fn found(transaction: &mut Transaction, reader: &Reader, id: &str) -> Result<Saved, Answer> {
    let missing = || Answer::not_found("no saved search of this id");
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let known = saved::find(transaction, reader.tenant.as_str(), id).await?;
    known.filter(|known| known.shared || known.owner == reader.key).ok_or_else(missing)
}

async fn keep(
    state: &Shared,
    mut transaction: Transaction,
    reader: &Reader,
    id: Uuid,
    wanted: Wanted,
) -> Result<Json<Value>, Answer> {
    let search = Saved {
        search_id: id,
        owner: reader.key.clone(),
        name: wanted.name,
        query: wanted.q,
        shared: wanted.shared,
        saved_at: state.clock.now().to_utc(),
    };
    if !saved::put(&mut transaction, reader.tenant.as_str(), &search).await? {
        return Err(Answer(Problem::new(409, "name-taken", "You have a saved search of this name")));
    }
    tell(state, reader, "SEARCH_SAVED", &search).keep(&mut transaction).await?;
    store::commit(transaction).await?;
    Ok(Json(view(&search, reader)))
}

fn tell(state: &Shared, reader: &Reader, action: &str, search: &Saved) -> Notice {
    let what = ("search", search.search_id.to_string());
    let details = json!({"name": search.name, "query": search.query, "shared": search.shared});
    Notice::new(&reader.tenant, action, &reader.key, what, state.clock.now()).with(Severity::Info, details)
}

/// A body that can be saved: its query in canonical form.
async fn wanted(state: &Shared, request: Request) -> Result<Wanted, Answer> {
    let mut wanted: Wanted = body::object(state, request).await?;
    wanted.name = wanted.name.trim().to_owned();
    if !NAME.contains(&wanted.name.chars().count()) || wanted.name.chars().any(char::is_control) {
        let words = format!("is not one line of {} to {} characters", NAME.start(), NAME.end());
        return Err(Answer::parameter("name", words));
    }
    wanted.q = canonical(&wanted.q)?;
    for (name, text) in [("name", &wanted.name), ("q", &wanted.q)] {
        if shared::redact::text(text, MAX_TEXT_LEN) != *text {
            return Err(Answer::parameter(name, "holds what looks like a secret"));
        }
    }
    Ok(wanted)
}

/// A query as the grammar prints it. What is not understood is not saved: it would be found out when it is needed.
fn canonical(q: &str) -> Result<String, Answer> {
    let parsed = search::parse(q);
    if let Some(first) = parsed.diagnostics.first() {
        let problem = Problem::new(400, "broken-query", "Not all of the search is understood");
        let told: Vec<String> = parsed.diagnostics.iter().map(|it| placed(q, it)).collect();
        let column = characters(q, first.start) + 1;
        return Err(Answer(problem.detail(format_args!("q: {}", told.join("; "))).at(1, column)));
    }
    let canonical = parsed.query.to_string();
    if canonical.is_empty() {
        return Err(Answer::parameter("q", "has no condition"));
    }
    Ok(canonical)
}

fn placed(q: &str, told: &Diagnostic) -> String {
    format!("characters {} to {}: {}", characters(q, told.start) + 1, characters(q, told.end), told.message)
}

/// Characters before a byte.
fn characters(text: &str, byte: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < byte).count()
}

/// A search as its reader may see it: what others wrote may name people.
fn view(search: &Saved, reader: &Reader) -> Value {
    let is_own = search.owner == reader.key;
    let shown = |text: &str| if is_own { text.to_owned() } else { reader.text(text) };
    json!({
        "id": search.search_id,
        "name": shown(&search.name),
        "query": shown(&search.query),
        "masked": shown(&search.query) != search.query,
        "shared": search.shared,
        "own": is_own,
        "by": shown(&search.owner),
        "saved_at": time(search.saved_at),
    })
}
