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
    Answer, Shared, State, access, actors, alerts, compliance, coverage, entities, erasures, events,
    executions, exports, facets, histogram, holds, inbox, integrity, live, policy, proof, retention,
    run_metrics, saved, session, sinks, streams, subjects, unmask,
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

    /// What retention would let go now, by the periods in force or by others.
    pub(crate) async fn retention_preview(&self, periods: Asked<'_>) -> Result<Value, Answer> {
        told(retention::preview(self.shared(), self.reader.clone(), parameters(periods)).await)
    }

    /// Proposes periods.
    pub(crate) async fn propose_periods(&self, wanted: &Value) -> Result<Value, Answer> {
        told(retention::propose(self.shared(), self.reader.clone().admin()?, posted(wanted)).await)
    }

    /// Agrees with periods that another admin proposed.
    pub(crate) async fn approve_periods(&self, version: &str) -> Result<Value, Answer> {
        let admin = self.reader.clone().admin()?;
        told(retention::approve(self.shared(), admin, Path(version.to_owned())).await)
    }

    /// Turns proposed periods down.
    pub(crate) async fn refuse_periods(&self, version: &str) -> Result<Value, Answer> {
        let admin = self.reader.clone().admin()?;
        told(retention::refuse(self.shared(), admin, Path(version.to_owned())).await)
    }

    /// Which controls of a framework there is evidence for.
    pub(crate) async fn compliance(&self, framework: &str, asked: Asked<'_>) -> Result<Value, Answer> {
        told(compliance::report(self.shared(), self.reader.clone(), framework, parameters(asked)).await)
    }

    /// Runs of agents.
    pub(crate) async fn executions(&self, asked: Asked<'_>) -> Result<Value, Answer> {
        told(executions::list(self.shared(), self.reader.clone(), parameters(asked)).await)
    }

    /// One run.
    pub(crate) async fn execution(&self, id: &str) -> Result<Value, Answer> {
        told(executions::read(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
    }

    /// How agents do.
    pub(crate) async fn standing(&self) -> Result<Value, Answer> {
        told(run_metrics::standing(self.shared(), self.reader.clone()).await)
    }

    /// What the runs of each agent add up to.
    pub(crate) async fn agents(&self, asked: Asked<'_>) -> Result<Value, Answer> {
        told(run_metrics::agents(self.shared(), self.reader.clone(), parameters(asked)).await)
    }

    /// What the runs of one agent add up to.
    pub(crate) async fn agent(&self, id: &str, asked: Asked<'_>) -> Result<Value, Answer> {
        let path = Path(id.to_owned());
        told(run_metrics::agent(self.shared(), self.reader.clone(), path, parameters(asked)).await)
    }

    /// What rules of detection found.
    pub(crate) async fn alerts(&self, asked: Asked<'_>) -> Result<Value, Answer> {
        told(alerts::list(self.shared(), self.reader.clone(), parameters(asked)).await)
    }

    /// Closes what a rule found.
    pub(crate) async fn close_alert(&self, id: &str, wanted: &Value) -> Result<Value, Answer> {
        let (reader, id) = (self.reader.clone(), Path(id.to_owned()));
        told(alerts::close(self.shared(), reader, id, posted(wanted)).await)
    }

    /// Saved searches.
    pub(crate) async fn saved_searches(&self) -> Result<Value, Answer> {
        told(saved::list(self.shared(), self.reader.clone()).await)
    }

    /// Saves a search.
    pub(crate) async fn save_search(&self, wanted: &Value) -> Result<Value, Answer> {
        told(saved::save(self.shared(), self.reader.clone(), posted(wanted)).await)
    }

    /// Saves a search in the place of another.
    pub(crate) async fn replace_search(&self, id: &str, wanted: &Value) -> Result<Value, Answer> {
        let (reader, id) = (self.reader.clone(), Path(id.to_owned()));
        told(saved::replace(self.shared(), reader, id, posted(wanted)).await)
    }

    /// Removes a saved search.
    pub(crate) async fn remove_search(&self, id: &str) -> Result<Value, Answer> {
        told(saved::remove(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
    }

    /// The newest exports.
    pub(crate) async fn exports(&self) -> Result<Value, Answer> {
        told(exports::list(self.shared(), self.reader.clone()).await)
    }

    /// Asks for a file that is made in the background.
    pub(crate) async fn ask_export(&self, wanted: &Value) -> Result<Response, Answer> {
        exports::ask(self.shared(), self.reader.clone(), posted(wanted)).await
    }

    /// Shows the session personal data for some minutes.
    pub(crate) async fn unmask(&self, wanted: &Value) -> Result<Value, Answer> {
        told(unmask::session(self.shared(), self.reader.clone(), posted(wanted)).await)
    }

    /// Versions of the tenant's rule packs.
    pub(crate) async fn policies(&self) -> Result<Value, Answer> {
        told(policy::list(self.shared(), self.reader.clone()).await)
    }

    /// One version with what it changes.
    pub(crate) async fn policy(&self, version: &str) -> Result<Value, Answer> {
        told(policy::read(self.shared(), self.reader.clone(), Path(version.to_owned())).await)
    }

    /// Agrees with rule packs that another admin proposed.
    pub(crate) async fn approve_policy(&self, version: &str) -> Result<Value, Answer> {
        let admin = self.reader.clone().admin()?;
        told(policy::approve(self.shared(), admin, Path(version.to_owned())).await)
    }

    /// Turns proposed rule packs down.
    pub(crate) async fn refuse_policy(&self, version: &str) -> Result<Value, Answer> {
        let admin = self.reader.clone().admin()?;
        told(policy::refuse(self.shared(), admin, Path(version.to_owned())).await)
    }

    /// Grants and keys.
    pub(crate) async fn access(&self) -> Result<Value, Answer> {
        told(access::list(self.shared(), self.reader.clone()).await)
    }

    /// Grants a person a role.
    pub(crate) async fn grant(&self, wanted: &Value) -> Result<Value, Answer> {
        told(access::grant(self.shared(), self.reader.clone(), posted(wanted)).await)
    }

    /// Revokes a grant.
    pub(crate) async fn revoke_grant(&self, id: &str) -> Result<Value, Answer> {
        told(access::revoke(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
    }

    /// Sessions that go on.
    pub(crate) async fn sessions(&self) -> Result<Value, Answer> {
        told(session::list(self.shared(), self.reader.clone()).await)
    }

    /// Ends a session.
    pub(crate) async fn end_session(&self, id: &str) -> Result<Value, Answer> {
        told(session::revoke(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
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

    /// Where events are forwarded to.
    pub(crate) async fn sinks(&self) -> Result<Value, Answer> {
        told(sinks::list(self.shared(), self.reader.clone()).await)
    }

    /// One sink with its health.
    pub(crate) async fn sink(&self, id: &str) -> Result<Value, Answer> {
        told(sinks::read(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
    }

    /// Forwards events from now on.
    pub(crate) async fn create_sink(&self, wanted: &Value) -> Result<Value, Answer> {
        told(sinks::create(self.shared(), self.reader.clone(), posted(wanted)).await)
    }

    /// Changes a sink.
    pub(crate) async fn change_sink(&self, id: &str, wanted: &Value) -> Result<Value, Answer> {
        told(sinks::change(self.shared(), self.reader.clone(), Path(id.to_owned()), posted(wanted)).await)
    }

    /// Stops sending.
    pub(crate) async fn pause_sink(&self, id: &str) -> Result<Value, Answer> {
        told(sinks::pause(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
    }

    /// Goes on.
    pub(crate) async fn resume_sink(&self, id: &str) -> Result<Value, Answer> {
        told(sinks::resume(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
    }

    /// Sends once more what arrived from a time on.
    pub(crate) async fn replay_sink(&self, id: &str, wanted: &Value) -> Result<Value, Answer> {
        told(sinks::replay(self.shared(), self.reader.clone(), Path(id.to_owned()), posted(wanted)).await)
    }

    /// Sends a message that is no event of the log.
    pub(crate) async fn test_sink(&self, id: &str) -> Result<Value, Answer> {
        told(sinks::test(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
    }

    /// Removes a sink.
    pub(crate) async fn remove_sink(&self, id: &str) -> Result<Value, Answer> {
        told(sinks::remove(self.shared(), self.reader.clone(), Path(id.to_owned())).await)
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
