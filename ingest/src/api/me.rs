//! `/v1/me/…`: what people see of themselves, by a token of the application; and what the pages under `/me` answer by.
//!
//! No grant is needed and none helps: whoever proves to be a `sub` sees what is tied to it and nothing else. Keys and sessions of
//! those who read a tenant's log open nothing here, and a token opens nothing elsewhere.

mod cors;
mod guest;

pub(crate) use guest::{Guest, Myself, NotSignedIn};

use axum::Json;
use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::problem::Problem;
use uuid::Uuid;

use super::cursor::Cursor;
use super::path::Path;
use super::writes::once;
use super::{Answer, Shared, State, events};
use crate::auth::{Means, Read, ReadKind};
use crate::own_activity::entry::Entry;
use crate::own_activity::kind::Kind;
use crate::own_activity::quota::Quota;
use crate::own_activity::seen::Seen;
use crate::own_activity::{ACCOUNTS, TOLD};
use crate::privacy::export::Format;
use crate::store::own_activity::{self, Theirs};
use crate::store::search::Position;
use crate::store::subjects::PlacedEvent;
use crate::view::time;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 100;
/// Without a beginning a list goes back as far as addresses and devices are kept.
const DEFAULT_WINDOW: TimeDelta = TimeDelta::days(90);
/// An event may be of a clock ahead of ours.
const AHEAD: TimeDelta = TimeDelta::days(2);
/// What somebody should do who did not do it.
pub(crate) const NEXT: &str = "Change your password now, and sign out everywhere. The people who run the application see what you said.";

/// Parameters by name, in their order.
pub(crate) type Asked = [(String, String)];

/// A refusal with the time after which there is none, in seconds.
#[derive(Debug)]
pub(crate) struct TooOften(pub(crate) u64);

impl From<TooOften> for Response {
    fn from(TooOften(seconds): TooOften) -> Self {
        let problem = Problem::new(429, "too-often", "You asked too often");
        let answer = Answer(problem.detail(format_args!("try again in {seconds} seconds")));
        let mut response = answer.into_response();
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        response
    }
}

/// `GET /v1/me/activity`.
pub(super) async fn activity(
    state: Shared,
    asked: super::writes::Parameters,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        let myself = Myself::of_bearer(&state, &headers).await?;
        allowed(&state.own_activity.reads, &state, &myself)?;
        let Query(asked) = asked.map_err(|error| Answer::parameter("query", error.body_text()))?;
        once(&asked)?;
        let asked: Vec<(String, String)> = asked.into_iter().collect();
        Ok(Json(list(&state, &myself, &asked).await?).into_response())
    };
    answered(&state, &headers, answer.await)
}

/// `POST /v1/me/activity/{id}/disown`.
pub(super) async fn disown(state: Shared, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let answer = async {
        let myself = Myself::of_bearer(&state, &headers).await?;
        allowed(&state.own_activity.disowns, &state, &myself)?;
        Ok(Json(say_not_me(&state, &myself, &id).await?).into_response())
    };
    answered(&state, &headers, answer.await)
}

/// `POST /v1/me/export`.
pub(super) async fn export(state: Shared, asked: super::writes::Parameters, headers: HeaderMap) -> Response {
    let answer = async {
        let myself = Myself::of_bearer(&state, &headers).await?;
        let Query(asked) = asked.map_err(|error| Answer::parameter("query", error.body_text()))?;
        once(&asked)?;
        let mut format = Format::Ndjson;
        for (name, value) in &asked {
            format = match (name.as_str(), value.as_str()) {
                ("format", "ndjson") => Format::Ndjson,
                ("format", "json") => Format::Json,
                ("format", _) => Err(Answer::parameter("format", "is not ndjson or json"))?,
                _ => Err(Answer::parameter(name, "is unknown"))?,
            };
        }
        download(&state, &myself, format).await
    };
    answered(&state, &headers, answer.await)
}

/// `OPTIONS` of all of them: what a browser asks before a page of another site may.
pub(super) async fn preflight(state: Shared, headers: HeaderMap) -> Response {
    cors::preflight(&state.own_activity.origins, &headers)
}

/// Why somebody gets nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A problem.
    Answer(Answer),
    /// Too often.
    TooOften(TooOften),
}

impl<E: Into<Answer>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Answer(error.into())
    }
}

impl Refusal {
    fn response(self) -> Response {
        match self {
            Self::Answer(answer) => answer.into_response(),
            Self::TooOften(too_often) => too_often.into(),
        }
    }
}

fn answered(state: &State, headers: &HeaderMap, answer: Result<Response, Refusal>) -> Response {
    let mut response = answer.unwrap_or_else(Refusal::response);
    let own = response.headers_mut();
    own.entry(header::CACHE_CONTROL).or_insert(header::HeaderValue::from_static("no-store"));
    cors::add(&state.own_activity.origins, headers, own);
    response
}

/// Takes one of what somebody may do so often.
pub(crate) fn allowed(quota: &Quota, state: &State, myself: &Myself) -> Result<(), Refusal> {
    quota.take(&myself.person.subject, state.clock.now()).map_err(|wait| Refusal::TooOften(TooOften(wait)))
}

/// What is asked of a list.
struct Wanted {
    limit: i64,
    kind: Option<Kind>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    cursor: Option<String>,
}

impl Wanted {
    fn read(asked: &Asked) -> Result<Self, Answer> {
        let mut wanted = Self { limit: DEFAULT_LIMIT, kind: None, from: None, to: None, cursor: None };
        for (name, value) in asked {
            let bad = |reason: String| Answer::parameter(name, reason);
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    wanted.limit = limit.ok_or_else(|| bad(format!("is not 1 to {MAX_LIMIT}")))?;
                }
                "kind" => wanted.kind = Some(value.parse().map_err(bad)?),
                "from" => wanted.from = Some(events::parse_time(value).map_err(bad)?),
                "to" => wanted.to = Some(events::parse_time(value).map_err(bad)?),
                "cursor" => wanted.cursor = Some(value.clone()),
                _ => return Err(bad("is unknown".to_owned())),
            }
        }
        Ok(wanted)
    }

    /// What a cursor of this list is good for; the subject stands last, since it may hold anything.
    fn of(&self, subject: &str) -> String {
        let text = |at: Option<DateTime<Utc>>| at.map(time).unwrap_or_default();
        format!("me {} {} {} {subject}", self.kind.map_or("", Kind::word), text(self.from), text(self.to))
    }
}

/// A page of somebody's activity.
pub(crate) async fn list(state: &State, myself: &Myself, asked: &Asked) -> Result<Value, Answer> {
    let wanted = Wanted::read(asked)?;
    let (tenant, subject) = (&myself.tenant, myself.person.subject.as_str());
    let of = wanted.of(subject);
    let read = |text: &String| {
        let cursor = state.cursors.read(tenant, &of, text);
        cursor.ok_or_else(|| Answer::parameter("cursor", "is not a cursor of this list"))
    };
    let cursor = wanted.cursor.as_ref().map(read).transpose()?;
    let now = cursor.map_or_else(|| state.clock.now(), |cursor| cursor.now);
    let from = wanted.from.unwrap_or(now.to_utc() - DEFAULT_WINDOW);
    let to = wanted.to.unwrap_or(now.to_utc() + AHEAD);
    let names = Kind::names(wanted.kind);
    let theirs = Theirs {
        tenant: tenant.as_str(),
        subject,
        accounts: &ACCOUNTS,
        told: &TOLD,
        among: names.among.as_deref(),
        without: &names.without,
        from,
        before: cursor.map_or((to, Uuid::nil()), |cursor| (cursor.after.filed_at, cursor.after.id)),
    };
    // One row beyond the page tells whether there is another page.
    let mut rows = own_activity::page(&state.store, &theirs, wanted.limit + 1).await?;
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|last| Position { filed_at: last.filed_at, id: last.id });
    let next = last.map(|after| state.cursors.sign(tenant, &of, Cursor { now, after }));
    let entries: Vec<Entry> =
        rows.into_iter().filter_map(|row| Entry::of(row, subject).transpose()).collect::<Result<_, _>>()?;
    let seen = Seen::read(&state.store, tenant.as_str(), subject, state.clock.now().to_utc()).await?;
    let views = views(state, myself, &entries, &seen).await?;
    note(state, myself, "activity");
    Ok(json!({
        "activity": views,
        "devices": seen.devices(),
        "places": seen.places(),
        "window": {"from": time(from), "to": wanted.to.map(time), "default": wanted.from.is_none()},
        "next_cursor": next,
    }))
}

/// One of somebody's own events.
pub(crate) async fn entry(state: &State, myself: &Myself, id: &str) -> Result<Value, Answer> {
    let entry = find(state, myself, id).await?;
    let subject = &myself.person.subject;
    let now = state.clock.now().to_utc();
    let seen = Seen::read(&state.store, myself.tenant.as_str(), subject, now).await?;
    note(state, myself, id);
    let mut views = views(state, myself, &[entry], &seen).await?;
    views.pop().ok_or_else(missing)
}

/// Somebody says that an event of theirs was not them.
pub(crate) async fn say_not_me(state: &State, myself: &Myself, id: &str) -> Result<Value, Answer> {
    let entry = find(state, myself, id).await?;
    let disowned = &state.own_activity.disowned;
    let (tenant, subject) = (&myself.tenant, &myself.person.subject);
    let is_new = disowned.disown(tenant, subject, &entry, state.clock.now()).await?;
    Ok(json!({
        "disowned": entry.event.id,
        "already": !is_new,
        "application_is_told": disowned.is_told(),
        "next": NEXT,
    }))
}

/// Everything of theirs, as a file.
pub(crate) async fn download(state: &State, myself: &Myself, format: Format) -> Result<Response, Refusal> {
    let own = &state.own_activity;
    let (tenant, subject) = (&myself.tenant, &myself.person.subject);
    allowed(&own.downloads, state, myself)?;
    let privacy = std::sync::Arc::clone(&state.privacy);
    // What came to nothing does not count.
    let pieces = privacy
        .export_own(tenant, subject, format)
        .await
        .inspect_err(|_| own.downloads.give_back(subject))?;
    let stream = futures_util::stream::unfold(pieces, |mut pieces| async move {
        pieces.recv().await.map(|piece| (piece, pieces))
    });
    let (content_type, disposition) = match format {
        Format::Ndjson => ("application/x-ndjson", "attachment; filename=\"my-activity.ndjson\""),
        Format::Json => ("application/json", "attachment; filename=\"my-activity.json\""),
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((StatusCode::OK, headers, Body::from_stream(stream)).into_response())
}

async fn views(state: &State, myself: &Myself, entries: &[Entry], seen: &Seen) -> Result<Vec<Value>, Answer> {
    let sides: Vec<(Uuid, &str)> = entries.iter().map(|entry| (entry.placed.id, entry.tie.word())).collect();
    let disowned = own_activity::disowned(&state.store, myself.tenant.as_str(), &sides).await?;
    let view = |entry: &Entry| entry.view(&myself.person.subject, seen, disowned.contains(&entry.placed.id));
    Ok(entries.iter().map(view).collect())
}

/// An event by its id, if it is theirs; what is not theirs is not there.
async fn find(state: &State, myself: &Myself, id: &str) -> Result<Entry, Answer> {
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let (from, to) = events::window(state, id).ok_or_else(missing)?;
    let tenant = myself.tenant.as_str();
    let found = crate::store::events::find(&state.store, tenant, id, from, to).await?.ok_or_else(missing)?;
    let placed = PlacedEvent {
        id: found.id,
        filed_at: found.filed_at,
        received_at: found.received_at,
        batch_id: 0,
        position: 0,
        opening: found.opening,
        pseudonym: None,
    };
    Entry::of(placed, &myself.person.subject)?.ok_or_else(missing)
}

fn missing() -> Answer {
    Answer::not_found("no event of yours of this id")
}

/// That somebody read is on record like every read.
fn note(state: &State, myself: &Myself, object: &str) {
    state.reads.note(Read {
        tenant: myself.tenant.clone(),
        who: myself.person.subject.clone(),
        means: Means::AppToken,
        kind: ReadKind::OwnActivity,
        at: state.clock.now(),
        search: None,
        object: object.to_owned(),
        // They see themselves.
        masked: true,
    });
}
