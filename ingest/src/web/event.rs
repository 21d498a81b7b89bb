//! An event as a person reads it: a row of a list, and a page with everything that is known of it.

mod changes;

use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;
use shared::event::{Outcome, Severity};
use shared::search::TextField;

use self::changes::{Change, Side, What};
use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::sentence::{Deed, deed};
use super::{term, url};

/// Changes that a row tells; the page has all.
const TOLD_IN_ROW: usize = 2;
/// Events of each kind beside one event.
const RELATED: &str = "6";

/// An event as the API tells it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) occurred_at: String,
    received_at: String,
    action: String,
    severity: Severity,
    outcome: Outcome,
    reason: Option<String>,
    trust: String,
    class: String,
    actor: Option<Actor>,
    claimed_user: Option<Claimed>,
    pub(super) entity: Option<Entity>,
    context: Context,
    request: Request,
    details: Option<Value>,
    changes: Option<Changes>,
    #[serde(default)]
    compliance: Vec<String>,
    duration_ms: Option<u64>,
    #[serde(default)]
    echo: bool,
    #[serde(default)]
    erased: Vec<String>,
    pseudonym: Option<String>,
    #[serde(default)]
    annotations: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct Actor {
    id: String,
    email: Option<String>,
    role: Option<String>,
    aal: Option<String>,
    method: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Claimed {
    id: String,
    source: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Context {
    ip: Option<String>,
    user_agent: Option<String>,
    session: Option<String>,
    place: Option<Place>,
}

#[derive(Debug, Clone, Deserialize)]
struct Place {
    country: Option<String>,
    colo: Option<String>,
    ray: Option<String>,
    tls: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Request {
    host: String,
    method: String,
    route: String,
    rule: String,
    status: Option<u16>,
}

#[derive(Debug, Clone, Deserialize)]
struct Changes {
    quality: String,
    fields: Value,
}

/// Who an event says acted.
#[derive(Debug)]
struct Who {
    name: String,
    url: Option<String>,
    /// What limits the claim: nothing if a signature proves it.
    doubt: Option<&'static str>,
}

impl Event {
    fn who(&self) -> Who {
        let linked = |name: &str, id: &str| Who {
            name: name.to_owned(),
            url: Some(url::under(&["actors", id])),
            doubt: (self.trust == "asserted").then_some("not proven"),
        };
        if let Some(actor) = &self.actor {
            return linked(actor.email.as_deref().unwrap_or(&actor.id), &actor.id);
        }
        if let Some(pseudonym) = &self.pseudonym {
            return Who { doubt: Some("erased"), ..linked(pseudonym, pseudonym) };
        }
        if let Some(claimed) = &self.claimed_user {
            return Who { doubt: Some("named, not proven"), ..linked(&claimed.id, &claimed.id) };
        }
        let name = match self.trust.as_str() {
            "system" if self.request.host == "ingest" => "Edgetrail",
            "system" => "The system",
            "service" => "A service",
            _ if self.erased.iter().any(|field| field == "actor") => "An erased person",
            _ => "Somebody",
        };
        Who { name: name.to_owned(), url: None, doubt: None }
    }

    fn deed(&self) -> Deed {
        let mut deed =
            deed(&self.action, self.outcome, self.entity.as_ref().map(|entity| entity.kind.as_str()));
        if self.is_about_its_actor() {
            deed.to_entity.clear();
        }
        deed
    }

    /// Whether somebody acted on themselves, so that a sentence need not name them twice.
    fn is_about_its_actor(&self) -> bool {
        let entity = self.entity.as_ref().and_then(|entity| entity.id.as_ref());
        entity.is_some() && entity == self.actor.as_ref().map(|actor| &actor.id)
    }

    /// The entity's name and page.
    fn what(&self) -> Option<(String, Option<String>)> {
        let entity = self.entity.as_ref().filter(|_| !self.is_about_its_actor())?;
        let id = entity.id.as_deref();
        let name = entity.name.clone().or_else(|| self.alert()).or_else(|| id.map(shortened))?;
        Some((name, id.map(|id| url::under(&["entities", &entity.kind, id]))))
    }

    /// What an event about an alert says of it: the rule's words. They are read out of the event when it is shown, so what an
    /// erasure takes away is not said any more.
    fn alert(&self) -> Option<String> {
        if !["SECURITY_ALERT_RAISED", "SECURITY_ALERT_CLOSED"].contains(&self.action.as_str()) {
            return None;
        }
        Some(self.details.as_ref()?.get("title")?.as_str()?.to_owned())
    }

    fn changes(&self) -> Vec<Change> {
        self.changes.as_ref().map(|changes| changes::read(&changes.fields)).unwrap_or_default()
    }

    fn country(&self) -> Option<&str> {
        self.context.place.as_ref()?.country.as_deref()
    }

    /// Its page.
    pub(super) fn url(&self) -> String {
        url::under(&["events", &self.id])
    }
}

/// An id in a sentence: the beginning of a UUID tells it from its neighbours.
fn shortened(id: &str) -> String {
    match id.parse::<uuid::Uuid>() {
        Ok(_) => id.chars().take(8).chain(['…']).collect(),
        Err(_) => id.to_owned(),
    }
}

/// An event as a sentence in a list.
#[derive(Debug, Template)]
#[template(path = "row.html")]
pub(super) struct Row {
    event: Event,
    who: Who,
    deed: Deed,
    what: Option<(String, Option<String>)>,
    changes: Vec<Change>,
    more: usize,
}

impl HtmlSafe for Row {}

impl Row {
    pub(super) fn new(event: Event) -> Self {
        let mut changes = event.changes();
        let more = changes.len().saturating_sub(TOLD_IN_ROW);
        changes.truncate(TOLD_IN_ROW);
        Self { who: event.who(), deed: event.deed(), what: event.what(), changes, more, event }
    }

    /// Rows of a list of events as the API tells them.
    pub(super) fn list(events: &Value) -> Result<Vec<Self>, serde_json::Error> {
        Ok(Vec::<Event>::deserialize(events)?.into_iter().map(Self::new).collect())
    }
}

/// Other events, and the search that finds more of them.
#[derive(Debug)]
struct Related {
    title: &'static str,
    rows: Vec<Row>,
    all: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "event.html")]
struct EventPage {
    frame: Frame,
    row: Row,
    changes: Vec<Change>,
    facts: Vec<Fact>,
    details: Option<String>,
    raw: String,
    related: Vec<Related>,
}

/// A line of the table of facts.
#[derive(Debug)]
struct Fact {
    name: &'static str,
    value: String,
    /// A search for the same value.
    url: Option<String>,
}

pub(super) async fn show(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().event(&id).await)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let event = Event::deserialize(&told).map_err(unreadable)?;
    let raw = serde_json::to_string_pretty(&told).unwrap_or_default();
    let annotations: Vec<Event> =
        event.annotations.iter().filter_map(|told| Event::deserialize(told).ok()).collect();
    let mut related = vec![Related {
        title: "Recorded about this event later",
        rows: annotations.into_iter().map(Row::new).collect(),
        all: None,
    }];
    let of_entity = event.entity.as_ref().filter(|entity| entity.id.is_some());
    if let Some(q) = of_entity.and_then(|entity| term::entity(&entity.kind, entity.id.as_deref())) {
        related.push(others(&visitor, "Same entity", &q, &event).await?);
    }
    if let Some(q) = event.actor.as_ref().and_then(|actor| term::text(TextField::Actor, &actor.id)) {
        related.push(others(&visitor, "Same actor", &q, &event).await?);
    }
    related.retain(|related| !related.rows.is_empty());
    let details = event.details.as_ref().and_then(|details| serde_json::to_string_pretty(details).ok());
    let (changes, facts) = (event.changes(), facts(&event));
    let title = format!("{} {}", event.action, event.occurred_at);
    let frame = Frame::new(title, Some(Section::Search), &visitor.shown);
    let row = Row::new(event);
    Ok(page(StatusCode::OK, &EventPage { frame, row, changes, facts, details, raw, related }))
}

/// The proof that an event is in the log, for the script that checks it.
pub(super) async fn proof(visitor: Visitor, Path(id): Path<String>) -> Response {
    visitor.answers().proof(&id).await.into_response()
}

async fn others(visitor: &Visitor, title: &'static str, q: &str, event: &Event) -> Result<Related, Failure> {
    let around = format!("{q} -id:{}", event.id);
    let told = visitor.answers().events(&[("q", &around), ("limit", RELATED)]).await;
    let told = visitor.or_failure(told)?;
    let rows =
        Row::list(&told["events"]).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?;
    Ok(Related { title, rows, all: Some(url::search(q)) })
}

/// How the search for a fact's value is written.
#[derive(Clone, Copy)]
enum Found {
    /// By a field of texts.
    Text(TextField),
    /// By a field whose values need no quotes.
    Word(&'static str),
    /// As a type of entities.
    Kind,
    /// Not by itself.
    Not,
}

fn facts(event: &Event) -> Vec<Fact> {
    use Found::{Kind, Not, Text, Word};
    let mut facts = Vec::new();
    let mut say = |name, value: Option<String>, found: Found| {
        let Some(value) = value else { return };
        let q = match found {
            Text(field) => term::text(field, &value),
            Word(field) => Some(format!("{field}:{value}")),
            Kind => term::entity(&value, None),
            Not => None,
        };
        facts.push(Fact { name, url: q.map(|q| url::search(&q)), value });
    };
    let (actor, place) = (event.actor.as_ref(), event.context.place.as_ref());
    let (claimed, entity) = (event.claimed_user.as_ref(), event.entity.as_ref());
    let request = &event.request;
    say("Action", Some(event.action.clone()), Text(TextField::Action));
    say("Reason", event.reason.clone(), Text(TextField::Reason));
    say("Actor", actor.map(|actor| actor.id.clone()), Text(TextField::Actor));
    say("E-mail", actor.and_then(|actor| actor.email.clone()), Text(TextField::Actor));
    say("Role", actor.and_then(|actor| actor.role.clone()), Not);
    say("Signed in by", actor.and_then(|actor| actor.method.clone()), Not);
    say("Assurance", actor.and_then(|actor| actor.aal.clone()), Not);
    say("Trust", Some(event.trust.clone()), Word("trust"));
    say("Named user", claimed.map(|claimed| claimed.id.clone()), Text(TextField::User));
    say("Named by", claimed.map(|claimed| claimed.source.clone()), Not);
    say("Entity type", entity.map(|entity| entity.kind.clone()), Kind);
    say("Entity id", entity.and_then(|entity| entity.id.clone()), Not);
    say("Entity name", entity.and_then(|entity| entity.name.clone()), Text(TextField::Name));
    say("Address", event.context.ip.clone(), Word("ip"));
    say("Country", place.and_then(|place| place.country.clone()), Text(TextField::Country));
    say("User agent", event.context.user_agent.clone(), Not);
    say("Session", event.context.session.clone(), Text(TextField::Session));
    say("Host", Some(request.host.clone()), Text(TextField::Host));
    say("Method", Some(request.method.clone()), Text(TextField::Method));
    say("Route", Some(request.route.clone()), Text(TextField::Route));
    say("Status", request.status.map(|status| status.to_string()), Word("status"));
    say("Took", event.duration_ms.map(|ms| format!("{ms} ms")), Not);
    say("Rule", Some(request.rule.clone()), Text(TextField::Rule));
    say("Data centre", place.and_then(|place| place.colo.clone()), Not);
    say("Ray", place.and_then(|place| place.ray.clone()), Not);
    say("TLS", place.and_then(|place| place.tls.clone()), Not);
    say("Kept as", Some(event.class.clone()), Word("class"));
    let listed = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
    say("Compliance", listed(&event.compliance), Not);
    say("Echo", event.echo.then(|| "the application's own server wrote this".to_owned()), Not);
    say("Erased", listed(&event.erased), Not);
    say("Id", Some(event.id.clone()), Word("id"));
    facts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(details: &Value) -> String {
        let event = json!({
            "id": "0198", "occurred_at": "2026-03-02T10:00:00Z", "received_at": "2026-03-02T10:00:00Z",
            "action": "SECURITY_ALERT_RAISED", "severity": "warning", "outcome": "success", "trust": "system",
            "class": "standard", "entity": {"type": "alert", "id": "01983c5e-9f0e-7cc0-8a52-c8ce6f1e2d3b"},
            "context": {}, "details": details,
            "request": {"host": "ingest", "method": "", "route": "", "rule": "ingest/detection"},
        });
        let row = Row::new(Event::deserialize(event).expect("an event"));
        format!("{} {} {}", row.who.name, row.deed.words, row.what.map(|(name, _)| name).unwrap_or_default())
    }

    #[test]
    fn an_alert_is_told_by_what_its_rule_says_as_long_as_the_event_says_it() {
        let whole = json!({"rule": "brute-force", "title": "Many failed sign-ins to one account"});
        assert_eq!(told(&whole), "Edgetrail raised security alert Many failed sign-ins to one account");
        assert_eq!(told(&Value::Null), "Edgetrail raised security alert 01983c5e…");
    }
}
