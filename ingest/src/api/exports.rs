//! `GET /v1/events/export` and `/v1/exports…`: what a search finds, as a file.
//!
//! A stream that was cut off has no last chunk, no trailers, and a manifest that says so. The trailers are for clients that
//! ask for them (`TE: trailers`); the manifest is for everybody.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::{Value, json};
use shared::problem::Problem;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::path::Path;
use super::reader::Reader;
use super::search::{self, Search};
use super::writes::Parameters;
use super::{Answer, Shared, State, body};
use crate::auth::Capability;
use crate::export::{EncodeError, ExportError, Format, KEEP_FOR, Order, Piece, Summary, file_name};
use crate::store::exports::ExportRow;
use crate::view::time;

const LIST_LIMIT: i64 = 100;
const ID: HeaderName = HeaderName::from_static("x-edgetrail-export");
const ROWS: HeaderName = HeaderName::from_static("x-edgetrail-rows");
const SHA256: HeaderName = HeaderName::from_static("x-edgetrail-sha256");

/// How an export is wanted.
#[derive(Debug, Clone, Copy)]
struct Wish {
    format: Format,
    gzip: bool,
    proofs: bool,
}

impl Wish {
    fn new() -> Self {
        Self { format: Format::Ndjson, gzip: false, proofs: false }
    }

    /// Takes one of its parameters; whether it was one.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let flag = || match value {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err("is not 0 or 1".to_owned()),
        };
        match name {
            "format" => self.format = value.parse()?,
            "gzip" => self.gzip = flag()?,
            "proofs" => self.proofs = flag()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The order of a search. What of it was not understood would be a hole in it, or a leak.
    fn order(self, state: &State, reader: &Reader, search: &Search) -> Result<Order, Answer> {
        if let Some(first) = search.diagnostics().first() {
            return Err(Answer::parameter("q", &first.message));
        }
        if self.proofs && self.format != Format::Ndjson {
            return Err(Answer::parameter("proofs", "is for ndjson"));
        }
        if self.proofs {
            // The bytes that prove an event show all of it.
            reader.require(Capability::Openings)?;
        }
        if reader.is_masked {
            return Err(Answer(
                Problem::new(403, "masked", "An export shows personal data")
                    .detail("unmask the session, or say why in the header x-unmask-reason"),
            ));
        }
        if self.gzip && self.format == Format::Parquet {
            return Err(Answer::parameter("gzip", "is not for parquet, which is compressed"));
        }
        Ok(Order {
            tenant: reader.tenant.clone(),
            by: reader.key.clone(),
            scope: search.scope(state, reader, state.clock.now()).scope,
            format: self.format,
            gzip: self.gzip,
            proofs: self.proofs,
        })
    }
}

/// Streams what a search finds.
pub(super) async fn stream(state: Shared, reader: Reader, asked: Parameters) -> Result<Response, Answer> {
    let mut wish = Wish::new();
    let search = search::read(asked, |name, value| wish.take(name, value))?;
    let order = wish.order(&state, &reader, &search)?;
    let (format, gzip) = (order.format, order.gzip);
    let (id, pieces) = std::sync::Arc::clone(&state.exports).stream(order).await?;
    let mut response = Response::new(Body::new(StreamBody::new(frames(pieces))));
    let headers = response.headers_mut();
    let name = format!("{}-{id}.{}", reader.tenant, format.extension());
    describe(headers, format, &name);
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(ID, value(&id.to_string()));
    headers.insert(header::TRAILER, HeaderValue::from_static("x-edgetrail-rows, x-edgetrail-sha256"));
    Ok(response)
}

fn describe(headers: &mut HeaderMap, format: Format, name: &str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::CONTENT_DISPOSITION, value(&format!("attachment; filename=\"{name}\"")));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Ids, slugs and hex are all that comes here.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

fn frames(
    pieces: mpsc::Receiver<Result<Piece, std::io::Error>>,
) -> impl Stream<Item = Result<Frame<bytes::Bytes>, std::io::Error>> {
    let stream = futures_util::stream::unfold(pieces, |mut pieces| async move {
        pieces.recv().await.map(|piece| (piece, pieces))
    });
    stream.map(|piece| {
        Ok(match piece? {
            Piece::Bytes(bytes) => Frame::data(bytes),
            Piece::End(Summary { rows, sha256, .. }) => {
                let mut trailers = HeaderMap::new();
                trailers.insert(ROWS, HeaderValue::from(rows));
                trailers.insert(SHA256, value(&hex::encode(sha256)));
                Frame::trailers(trailers)
            }
        })
    })
}

/// Asks for a file that is made in the background: the body holds the parameters of the stream, as JSON.
pub(super) async fn ask(
    state: Shared,
    reader: Reader,
    request: axum::extract::Request,
) -> Result<Response, Answer> {
    let body: serde_json::Map<String, Value> = body::object(&state, request).await?;
    let mut parameters = Vec::with_capacity(body.len());
    for (name, value) in body {
        let is_flag = ["gzip", "proofs"].contains(&name.as_str());
        let text = match value {
            Value::String(text) if !is_flag => text,
            Value::Bool(flag) if is_flag => flag.to_string(),
            _ if is_flag => return Err(Answer::parameter(&name, "is neither true nor false")),
            _ => return Err(Answer::parameter(&name, "is no text")),
        };
        parameters.push((name, text));
    }
    let mut wish = Wish::new();
    let search = search::read(Ok(axum::extract::Query(parameters)), |name, value| wish.take(name, value))?;
    let order = wish.order(&state, &reader, &search)?;
    let id = state.exports.ask(&order).await?;
    let row = found(&state, &reader, id).await?;
    Ok((StatusCode::ACCEPTED, Json(described(&row))).into_response())
}

/// A tenant's exports, newest first.
pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let rows = state.exports.list(&reader.tenant, LIST_LIMIT).await?;
    Ok(Json(json!({"exports": rows.iter().map(described).collect::<Vec<_>>()})))
}

/// How far an export is.
pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    Ok(Json(described(&named(&state, &reader, &id).await?)))
}

/// What an export is of, and what it came to.
pub(super) async fn manifest(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    let row = named(&state, &reader, &id).await?;
    if row.ended_at.is_none() && row.state != "cut_off" {
        return Err(Answer(
            Problem::new(409, "export-not-ready", "The export is not made yet")
                .detail(format_args!("it is {}", row.state)),
        ));
    }
    Ok(Json(json!({
        "id": row.export_id,
        "tenant": row.tenant_id,
        "by": row.made_by,
        "made_at": time(row.began_at),
        "ended_at": row.ended_at.map(time),
        "query": row.query,
        "window": {"from": time(row.window_from), "to": row.window_to.map(time)},
        "until": time(row.until_at),
        "format": row.format,
        "gzip": row.gzip,
        "proofs": row.proofs,
        "complete": row.state == "complete" || row.state == "expired",
        "rows": row.rows,
        "bytes": row.bytes,
        "sha256": row.sha256.map(hex::encode),
    })))
}

/// The file of a job, for whoever asked for it.
pub(super) async fn download(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Response, Answer> {
    let row = named(&state, &reader, &id).await?;
    let missing = || Answer::not_found("no file of this export");
    if !row.job || row.made_by != reader.key {
        return Err(missing());
    }
    match row.state.as_str() {
        "complete" => {}
        "expired" => {
            return Err(Answer(Problem::new(410, "export-expired", "The file of the export has gone")));
        }
        state => {
            return Err(Answer(
                Problem::new(409, "export-not-ready", "The export is not made yet")
                    .detail(format_args!("it is {state}")),
            ));
        }
    }
    let path = state.exports.file(&row);
    let file = tokio::fs::File::open(&path).await.map_err(|error| {
        tracing::error!(%error, path = %path.display(), "the file of an export is not there");
        missing()
    })?;
    let len = file.metadata().await.map_err(|_| missing())?.len();
    let chunks = futures_util::stream::try_unfold(file, |mut file| async move {
        let mut chunk = vec![0; 64 << 10];
        let read = tokio::io::AsyncReadExt::read(&mut file, &mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then(|| (bytes::Bytes::from(chunk), file)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    describe(headers, row.format.parse().unwrap_or(Format::Ndjson), &file_name(&row));
    if row.gzip {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(ID, value(&row.export_id.to_string()));
    Ok(response)
}

async fn named(state: &State, reader: &Reader, id: &str) -> Result<ExportRow, Answer> {
    let id = id.parse().map_err(|_| Answer::not_found("no export of this id"))?;
    found(state, reader, id).await
}

async fn found(state: &State, reader: &Reader, id: Uuid) -> Result<ExportRow, Answer> {
    let found = state.exports.find(&reader.tenant, id).await?;
    found.ok_or_else(|| Answer::not_found("no export of this id"))
}

fn described(row: &ExportRow) -> Value {
    let expires = row.ended_at.filter(|_| row.job && row.state == "complete").map(|at| time(at + KEEP_FOR));
    json!({
        "id": row.export_id,
        "state": row.state,
        "job": row.job,
        "by": row.made_by,
        "query": row.query,
        "format": row.format,
        "gzip": row.gzip,
        "proofs": row.proofs,
        "rows": row.rows,
        "bytes": row.bytes,
        "made_at": time(row.began_at),
        "ended_at": row.ended_at.map(time),
        "expires_at": expires,
    })
}

impl From<EncodeError> for Answer {
    fn from(error: EncodeError) -> Self {
        tracing::error!(%error, "a table was not written");
        Self(Problem::new(500, "internal", "Something broke on our side"))
    }
}

impl From<ExportError> for Answer {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Busy => {
                Self(Problem::new(429, "too-many-exports", "Too many exports at one time").detail(error))
            }
            ExportError::Store(error) | ExportError::Own(crate::own::OwnError::Store(error)) => {
                Self::from(error)
            }
            error => {
                tracing::error!(%error, "an export failed");
                Self(Problem::new(503, "store-unavailable", "The store is not available"))
            }
        }
    }
}
