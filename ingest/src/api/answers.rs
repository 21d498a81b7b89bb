//! What pages show: the endpoints' own answers, so that a page cannot show more than a program may read, and whatever an
//! endpoint does for one reader (masking, keeping a record of the read) it does for the other.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{self, Query, Request};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use super::path::Path;
use super::reader::Reader;
use super::writes::Parameters;
use super::{
    Answer, Shared, State, actors, coverage, entities, erasures, events, facets, histogram, holds, inbox,
    integrity, live, proof, retention, streams, subjects,
};

/// Parameters of a query, by name.
pub(crate) type Asked<'a> = &'a [(&'a str, &'a str)];

/// Somebody's way to the endpoints.
#[derive(Debug)]
pub(crate) struct Answers<'s> {
    pub(crate) state: &'s Arc<State>,
    pub(crate) reader: &'s Reader,
}

impl Answers<'_> {
    /// A page of events.
    pub(crate) async fn events(&self, asked: Asked<'_>) -> Result<Value, Answer> {
        told(events::list(self.shared(), self.reader.clone(), parameters(asked)).await)
    }

    /// One event with what was recorded about it later.
    pub(crate) async fn event(&self, id: &str) -> Result<Value, Answer> {
        told(events::read(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
    }

    /// That an event is in the log.
    pub(crate) async fn proof(&self, id: &str) -> Result<Response, Answer> {
        proof::read(self.shared(), self.reader.clone(), Path(id.to_owned()), HeaderMap::new()).await
    }

    /// What is stored from now on, each event as `write` puts it on one line.
    pub(crate) async fn live(
        &self,
        headers: &HeaderMap,
        asked: Asked<'_>,
        write: fn(&Value) -> Option<String>,
    ) -> Result<Response, Answer> {
        live::follow(self.shared(), self.reader.clone(), headers, parameters(asked), write).await
    }

    /// Counts over time.
    pub(crate) async fn histogram(&self, asked: Asked<'_>) -> Result<Value, Answer> {
        told(histogram::read(self.shared(), self.reader.clone(), parameters(asked)).await)
    }

    /// Frequent values.
    pub(crate) async fn facets(&self, asked: Asked<'_>) -> Result<Value, Answer> {
        told(facets::read(self.shared(), self.reader.clone(), parameters(asked)).await)
    }

    /// What happened to an entity.
    pub(crate) async fn timeline(&self, kind: &str, id: &str, asked: Asked<'_>) -> Result<Value, Answer> {
        let path = Path((kind.to_owned(), id.to_owned()));
        told(entities::timeline(self.shared(), self.reader.clone(), path, parameters(asked)).await)
    }

    /// An actor at a glance.
    pub(crate) async fn actor(&self, id: &str) -> Result<Value, Answer> {
        told(actors::read(self.shared(), self.reader.clone(), Path(id.to_owned()), parameters(&[])).await)
    }

    /// How much of the traffic rules cover.
    pub(crate) async fn coverage(&self) -> Result<Value, Answer> {
        let all = Ok(Query(coverage::Filter::default()));
        told(coverage::read(self.shared(), self.reader.clone(), all).await)
    }

    /// Routes that no rule names.
    pub(crate) async fn inbox(&self) -> Result<Value, Answer> {
        told(inbox::list(self.shared(), self.reader.clone()).await)
    }

    /// What continuous verification found.
    pub(crate) async fn integrity(&self) -> Result<Value, Answer> {
        told(integrity::read(self.shared(), self.reader.clone()).await)
    }

    /// How long events are kept, and what went.
    pub(crate) async fn retention(&self) -> Result<Value, Answer> {
        told(retention::read(self.shared(), self.reader.clone()).await)
    }

    /// Legal holds.
    pub(crate) async fn holds(&self) -> Result<Value, Answer> {
        told(holds::list(self.shared(), self.reader.clone()).await)
    }

    /// Places a legal hold.
    pub(crate) async fn place_hold(&self, wanted: &Value) -> Result<Value, Answer> {
        told(holds::place(self.shared(), self.reader.clone().admin()?, posted(wanted)).await)
    }

    /// Releases a legal hold.
    pub(crate) async fn release_hold(&self, id: &str) -> Result<Value, Answer> {
        told(holds::release(self.shared(), self.reader.clone().admin()?, Path(id.to_owned())).await)
    }

    /// Asks for the erasure of a person's data, to which another admin must consent.
    pub(crate) async fn erase(&self, subject: &str, wanted: &Value) -> Result<Response, Answer> {
        let (admin, subject) = (self.reader.clone().admin()?, Path(subject.to_owned()));
        subjects::erase(self.shared(), admin, subject, posted(wanted)).await
    }

    /// Requests to erase a person's data.
    pub(crate) async fn erasures(&self) -> Result<Value, Answer> {
        told(erasures::list(self.shared(), self.reader.clone()).await)
    }

    /// Consents to an erasure that another admin asked for.
    pub(crate) async fn approve_erasure(&self, id: &str) -> Result<Value, Answer> {
        let admin = self.reader.clone().admin()?;
        told(erasures::approve(self.shared(), admin, Path(id.to_owned())).await)
    }

    /// Ends an erasure that was not carried out.
    pub(crate) async fn cancel_erasure(&self, id: &str) -> Result<Value, Answer> {
        let admin = self.reader.clone().admin()?;
        told(erasures::cancel(self.shared(), admin, Path(id.to_owned())).await)
    }

    /// What arrived of each producer's stream.
    pub(crate) async fn streams(&self) -> Result<Value, Answer> {
        told(streams::list(self.shared(), self.reader.clone()).await)
    }

    fn shared(&self) -> Shared {
        extract::State(Arc::clone(self.state))
    }
}

fn told(answer: Result<Json<Value>, Answer>) -> Result<Value, Answer> {
    answer.map(|Json(value)| value)
}

fn posted(body: &Value) -> Request {
    Request::new(Body::from(body.to_string()))
}

fn parameters(asked: Asked<'_>) -> Parameters {
    Ok(Query(asked.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()))
}
