//! `/v1/sinks…`: where events are forwarded to.

use axum::Json;
use axum::extract::Request;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::problem::Problem;
use uuid::Uuid;

use super::path::Path;
use super::reader::Reader;
use super::{Answer, Shared, body};
use crate::sink::{Invalid, Secret, Settings, SinkError, Wanted};
use crate::store::sinks::{self, SinkRow};

/// A sink as an admin writes it: every field that some kind has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    kind: String,
    #[serde(default)]
    query: String,
    url: Option<String>,
    address: Option<String>,
    format: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    access_key_id: Option<String>,
    secret: Option<String>,
    max_event_bytes: Option<f64>,
}

/// From when on events are sent once more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    from: DateTime<Utc>,
}

impl Written {
    fn read(self) -> Result<Wanted, Invalid> {
        let invalid = |field, reason: String| Invalid { field, reason };
        let Self { url, address, format, endpoint, region, access_key_id, .. } = self;
        let mut given = [
            ("url", url),
            ("address", address),
            ("format", format),
            ("endpoint", endpoint),
            ("region", region),
            ("access_key_id", access_key_id),
        ];
        let mut take = |name: &'static str| {
            let found = given.iter_mut().find(|(known, _)| *known == name);
            found.and_then(|(_, value)| value.take())
        };
        let need = |name: &'static str, value: Option<String>| {
            value.ok_or_else(|| invalid(name, "is missing".to_owned()))
        };
        let either = |format: Option<String>, [usual, other]: [&str; 2]| match format.as_deref() {
            None => Ok(false),
            Some(word) if word == usual => Ok(false),
            Some(word) if word == other => Ok(true),
            Some(_) => Err(invalid("format", format!("is not {usual} or {other}"))),
        };
        let settings = match self.kind.as_str() {
            "webhook" => Settings::Webhook {
                url: need("url", take("url"))?,
                single: either(take("format"), ["batch", "single"])?,
            },
            "syslog" => Settings::Syslog { address: need("address", take("address"))? },
            "cef" => Settings::Cef { address: need("address", take("address"))? },
            "ocsf" => Settings::Ocsf {
                url: need("url", take("url"))?,
                array: either(take("format"), ["ndjson", "array"])?,
            },
            "objects" => Settings::Objects {
                url: need("url", take("url"))?,
                endpoint: take("endpoint"),
                region: take("region"),
                access_key_id: take("access_key_id"),
            },
            "otlp" => Settings::Otlp { url: need("url", take("url"))? },
            _ => return Err(invalid("kind", format!("is not one of {}", Settings::KINDS.join(", ")))),
        };
        if let Some((field, _)) = given.iter().find(|(_, value)| value.is_some()) {
            return Err(invalid(field, format!("has no use for {}", self.kind)));
        }
        Ok(Wanted {
            name: self.name,
            settings,
            secret: self.secret.map(Secret::new),
            query: self.query,
            max_event_bytes: self.max_event_bytes.map(whole).transpose()?,
        })
    }
}

pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let mut views = Vec::new();
    for sink in sinks::list(&state.store, reader.tenant.as_str(), None).await? {
        views.push(state.sinks.view(&sink).await?);
    }
    Ok(Json(json!({"sinks": views})))
}

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(text): Path<String>,
) -> Result<Json<Value>, Answer> {
    let sink = state.sinks.find(&reader.tenant, id(&text)?).await?;
    view(&state, &sink).await
}

/// Makes a sink. A secret that was made for it is in this answer and nowhere else.
pub(super) async fn create(state: Shared, reader: Reader, request: Request) -> Result<Json<Value>, Answer> {
    let wanted = wanted(&state, request).await?;
    let (sink, made) = state.sinks.create(&reader.tenant, &reader.key, wanted).await?;
    let mut view = state.sinks.view(&sink).await?;
    view["secret"] = made.as_ref().map(Secret::reveal).into();
    Ok(Json(view))
}

pub(super) async fn change(
    state: Shared,
    reader: Reader,
    Path(text): Path<String>,
    request: Request,
) -> Result<Json<Value>, Answer> {
    let wanted = wanted(&state, request).await?;
    let sink = state.sinks.change(&reader.tenant, &reader.key, id(&text)?, wanted).await?;
    view(&state, &sink).await
}

pub(super) async fn pause(
    state: Shared,
    reader: Reader,
    Path(text): Path<String>,
) -> Result<Json<Value>, Answer> {
    let sink = state.sinks.pause(&reader.tenant, &reader.key, id(&text)?).await?;
    view(&state, &sink).await
}

pub(super) async fn resume(
    state: Shared,
    reader: Reader,
    Path(text): Path<String>,
) -> Result<Json<Value>, Answer> {
    let sink = state.sinks.resume(&reader.tenant, &reader.key, id(&text)?).await?;
    view(&state, &sink).await
}

pub(super) async fn replay(
    state: Shared,
    reader: Reader,
    Path(text): Path<String>,
    request: Request,
) -> Result<Json<Value>, Answer> {
    let Replay { from } = body::object(&state, request).await?;
    // The database's times end there.
    if !(DateTime::UNIX_EPOCH..=state.clock.now().to_utc()).contains(&from) {
        return Err(refused("from", "is not a time between 1970 and now"));
    }
    let sink = state.sinks.replay(&reader.tenant, &reader.key, id(&text)?, from).await?;
    view(&state, &sink).await
}

pub(super) async fn test(
    state: Shared,
    reader: Reader,
    Path(text): Path<String>,
) -> Result<Json<Value>, Answer> {
    let tried = state.sinks.try_out(&reader.tenant, &reader.key, id(&text)?).await?;
    Ok(Json(json!({"delivered": tried.error.is_none(), "error": tried.error})))
}

pub(super) async fn remove(
    state: Shared,
    reader: Reader,
    Path(text): Path<String>,
) -> Result<Json<Value>, Answer> {
    let sink = state.sinks.remove(&reader.tenant, &reader.key, id(&text)?).await?;
    Ok(Json(json!({"removed": sink.sink_id})))
}

fn id(text: &str) -> Result<Uuid, Answer> {
    text.parse().map_err(|_| SinkError::Missing.into())
}

async fn view(state: &Shared, sink: &SinkRow) -> Result<Json<Value>, Answer> {
    Ok(Json(state.sinks.view(sink).await?))
}

async fn wanted(state: &Shared, request: Request) -> Result<Wanted, Answer> {
    let written: Written = body::object(state, request).await?;
    written.read().map_err(|invalid| SinkError::from(invalid).into())
}

/// A whole number, which JSON may write with a fraction of nothing.
fn whole(number: f64) -> Result<i32, Invalid> {
    let fits = number.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&number);
    let reason = "is not a whole number".to_owned();
    if fits { Ok(number as i32) } else { Err(Invalid { field: "max_event_bytes", reason }) }
}

/// What a sink cannot be told.
fn refused(field: &str, reason: impl std::fmt::Display) -> Answer {
    let problem = Problem::new(422, "sink-refused", "The sink cannot be so");
    Answer(problem.detail(format_args!("{field}: {reason}")))
}

impl From<SinkError> for Answer {
    fn from(error: SinkError) -> Self {
        let conflict = |kind: &'static str, title: &'static str| {
            Self(Problem::new(409, kind, title).detail(error.to_string()))
        };
        match error {
            SinkError::Invalid(Invalid { field, reason }) => refused(field, reason),
            SinkError::Missing => Self::not_found("no sink of this id"),
            SinkError::NoKey => conflict("no-sink-key", "Secrets of sinks cannot be kept"),
            SinkError::Full => conflict("too-many-sinks", "There are as many sinks as a tenant may have"),
            SinkError::NameTaken => conflict("name-taken", "There is a sink of this name"),
            SinkError::FilterLost => conflict("filter-lost", "The sink needs a filter"),
            SinkError::Store(error) => error.into(),
        }
    }
}
