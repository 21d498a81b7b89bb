//! One operation of the document: what it is asked, and every answer that it can give.

use serde_json::{Map, Value, json};

use super::super::Route;
use super::super::reader::{CSRF, UNMASK_REASON};
use super::schema::{self, named};

/// What an operation is about: a chapter of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Events,
    Searches,
    Exports,
    Capture,
    Policy,
    People,
    OwnActivity,
    Retention,
    Access,
    Detection,
    Executions,
    Forwarding,
    Log,
    Producers,
    Operation,
}

impl Tag {
    /// Every chapter, in order.
    pub(super) const ALL: [Self; 15] = [
        Self::Events,
        Self::Searches,
        Self::Exports,
        Self::Capture,
        Self::Policy,
        Self::People,
        Self::OwnActivity,
        Self::Retention,
        Self::Access,
        Self::Detection,
        Self::Executions,
        Self::Forwarding,
        Self::Log,
        Self::Producers,
        Self::Operation,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Events => "Events",
            Self::Searches => "Searches",
            Self::Exports => "Exports",
            Self::Capture => "Capture",
            Self::Policy => "Policy",
            Self::People => "People",
            Self::OwnActivity => "Activity",
            Self::Retention => "Retention",
            Self::Access => "Access",
            Self::Detection => "Detection",
            Self::Executions => "Executions",
            Self::Forwarding => "Forwarding",
            Self::Log => "Log",
            Self::Producers => "Producers",
            Self::Operation => "Operation",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Events => "What happened, found and counted.",
            Self::Searches => "Searches that are kept under a name.",
            Self::Exports => "What a search finds, as files.",
            Self::Capture => "How much of what happens is recorded, and what is not.",
            Self::Policy => "The rules by which the edge records.",
            Self::People => "A person's data, exported and erased.",
            Self::OwnActivity => "What people see of themselves, by a token of the application.",
            Self::Retention => "How long what is kept, and what is held back.",
            Self::Access => "Who may read, and who is signed in.",
            Self::Detection => "What rules find in what is recorded.",
            Self::Executions => "Runs of agents, and what they add up to.",
            Self::Forwarding => "Events on their way to other systems.",
            Self::Log => "The Merkle logs, and what a verifier needs.",
            Self::Producers => "How batches of events arrive.",
            Self::Operation => "For whoever runs the backend.",
        }
    }
}

/// An answer that is not a problem.
struct Given {
    status: u16,
    words: &'static str,
    /// Media types with their schemas.
    content: Vec<(&'static str, Value)>,
    headers: Vec<(&'static str, &'static str)>,
}

/// An operation.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    id: &'static str,
    tag: Tag,
    summary: &'static str,
    details: Option<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    given: Vec<Given>,
    refusals: Vec<(u16, &'static str)>,
    asks_by_itself: bool,
    by_token: bool,
}

impl Operation {
    /// Something to read.
    pub(super) fn get(path: &'static str, id: &'static str, tag: Tag, summary: &'static str) -> Self {
        Self::new("GET", path, id, tag, summary)
    }

    /// Something to do.
    pub(super) fn post(path: &'static str, id: &'static str, tag: Tag, summary: &'static str) -> Self {
        Self::new("POST", path, id, tag, summary)
    }

    fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        tag: Tag,
        summary: &'static str,
    ) -> Self {
        let (parameters, given, refusals) = (Vec::new(), Vec::new(), Vec::new());
        let (details, body, asks_by_itself, by_token) = (None, None, false, false);
        Self {
            method,
            path,
            id,
            tag,
            summary,
            details,
            parameters,
            body,
            given,
            refusals,
            asks_by_itself,
            by_token,
        }
    }

    /// What else there is to say.
    pub(super) fn details(self, words: &'static str) -> Self {
        Self { details: Some(words), ..self }
    }

    /// A part of the path.
    pub(super) fn part(self, name: &str, schema: Value, words: &str) -> Self {
        self.parameter("path", name, true, schema, words)
    }

    /// A parameter of the query.
    pub(super) fn query(self, name: &str, schema: Value, words: &str) -> Self {
        self.parameter("query", name, false, schema, words)
    }

    /// A header of the request.
    pub(super) fn header(self, name: &str, schema: Value, words: &str) -> Self {
        self.parameter("header", name, false, schema, words)
    }

    /// That a reason shows what is masked for this one answer.
    pub(super) fn unmasks(self) -> Self {
        self.header(
            UNMASK_REASON,
            schema::reason(),
            "Why personal data is shown in this one answer; on record before it is shown.",
        )
    }

    fn parameter(mut self, place: &str, name: &str, required: bool, schema: Value, words: &str) -> Self {
        self.parameters.push(json!({
            "in": place, "name": name, "required": required, "schema": schema, "description": words,
        }));
        self
    }

    /// A JSON body.
    pub(super) fn takes(self, schema: Value) -> Self {
        self.takes_any(true, &[("application/json", schema)])
    }

    /// A body of one of several kinds.
    pub(super) fn takes_any(self, required: bool, kinds: &[(&str, Value)]) -> Self {
        let content: Map<String, Value> =
            kinds.iter().map(|(kind, schema)| ((*kind).to_owned(), json!({"schema": schema}))).collect();
        Self { body: Some(json!({"required": required, "content": content})), ..self }
    }

    /// A JSON answer.
    pub(super) fn gives(self, words: &'static str, schema: Value) -> Self {
        self.gives_as(200, words, &[("application/json", schema)])
    }

    /// An answer of one of several kinds; none is an answer without a body.
    pub(super) fn gives_as(
        mut self,
        status: u16,
        words: &'static str,
        kinds: &[(&'static str, Value)],
    ) -> Self {
        self.given.push(Given { status, words, content: kinds.to_vec(), headers: Vec::new() });
        self
    }

    /// An answer for each batch, or a problem of the whole request.
    pub(super) fn gives_or_problem(self, status: u16, words: &'static str) -> Self {
        let kinds =
            [("application/json", named("Receipts")), (shared::problem::CONTENT_TYPE, named("Problem"))];
        self.gives_as(status, words, &kinds)
    }

    /// A header of the last answer.
    pub(super) fn with_header(mut self, name: &'static str, words: &'static str) -> Self {
        if let Some(given) = self.given.last_mut() {
            given.headers.push((name, words));
        }
        self
    }

    /// A problem that it can give.
    pub(super) fn refuses(mut self, status: u16, words: &'static str) -> Self {
        self.refusals.push((status, words));
        self
    }

    /// That it decides by itself who may ask.
    pub(super) fn asks_by_itself(self) -> Self {
        Self { asks_by_itself: true, ..self }
    }

    /// That a token of the application asks, and no key or session.
    pub(super) fn by_token(self) -> Self {
        Self { by_token: true, ..self }
    }

    /// As the document says it, of a route.
    pub(super) fn described(&self, route: &Route) -> Value {
        let mut described = json!({
            "operationId": self.id,
            "summary": self.summary,
            "tags": [self.tag.word()],
            "responses": self.responses(route),
            "security": self.security(route),
        });
        let needs = route.needs.map(|needs| format!("Needs a role that may {}.", needs.words()));
        let words: Vec<&str> = self.details.into_iter().chain(needs.as_deref()).collect();
        if !words.is_empty() {
            described["description"] = words.join("\n\n").into();
        }
        if !self.parameters.is_empty() {
            described["parameters"] = self.parameters.clone().into();
        }
        if let Some(body) = &self.body {
            described["requestBody"] = body.clone();
        }
        described
    }

    /// A session that acts proves that a page of this server asks.
    fn security(&self, route: &Route) -> Value {
        let session =
            if self.method == "GET" { json!({"session": []}) } else { json!({"session": [], "csrf": []}) };
        if self.by_token {
            return json!([{"token": []}]);
        }
        match (route.needs, self.asks_by_itself) {
            (Some(_), _) => json!([{"key": []}, session]),
            (None, true) => json!([{"key": []}, session, {}]),
            (None, false) => json!([]),
        }
    }

    fn responses(&self, route: &Route) -> Value {
        let mut all = Map::new();
        for (status, name, _) in self.usual(route) {
            all.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}));
        }
        for given in &self.given {
            let mut described = json!({"description": given.words});
            let content: Map<String, Value> = given
                .content
                .iter()
                .map(|(kind, schema)| ((*kind).to_owned(), json!({"schema": schema})))
                .collect();
            if !content.is_empty() {
                described["content"] = content.into();
            }
            let headers: Map<String, Value> = given
                .headers
                .iter()
                .map(|(name, words)| {
                    ((*name).to_owned(), json!({"description": words, "schema": schema::text()}))
                })
                .collect();
            if !headers.is_empty() {
                described["headers"] = headers.into();
            }
            all.insert(given.status.to_string(), described);
        }
        for (status, words) in &self.refusals {
            all.insert(status.to_string(), problem(*status, words));
        }
        all.into()
    }

    /// What every route of its kind can answer.
    fn usual(&self, route: &Route) -> impl Iterator<Item = &'static Usual> {
        let (is_guarded, has_body) = (route.needs.is_some() || self.by_token, self.body.is_some());
        USUAL.iter().filter(move |(status, ..)| match status {
            400 | 401 | 403 | 429 => is_guarded,
            413 => has_body,
            _ => true,
        })
    }
}

/// A status, the name of its answer in the document, and words.
type Usual = (u16, &'static str, &'static str);

const USUAL: [Usual; 7] = [
    (
        400,
        "NotUnderstood",
        "A parameter, a header or the body is not understood; `detail` begins with its name.",
    ),
    (401, "NotSignedIn", "There is no good key or session."),
    (
        403,
        "NotAllowed",
        "The role may not do this, or a session's request does not prove where it comes from.",
    ),
    (413, "TooLarge", "The body is over the limit of bytes."),
    (429, "TooMany", "The reader asks more often than is allowed."),
    (500, "Broken", "Something broke on the backend's side."),
    (503, "Away", "The store is away, or the request took longer than is allowed: try again."),
];

/// The answers that many operations have.
pub(super) fn usual() -> Value {
    let named = USUAL.iter().map(|(status, name, words)| ((*name).to_owned(), problem(*status, words)));
    Value::Object(named.collect())
}

fn problem(status: u16, words: &str) -> Value {
    let mut described = json!({
        "description": words,
        "content": {shared::problem::CONTENT_TYPE: {"schema": named("Problem")}},
    });
    let header = match status {
        401 => Some(("WWW-Authenticate", "How to prove who asks.")),
        503 => Some(("Retry-After", "Seconds after which to try again.")),
        _ => None,
    };
    if let Some((name, words)) = header {
        described["headers"][name] =
            json!({"description": words, "schema": schema::text(), "required": true});
    }
    described
}

/// Who a request comes from, as the document names the ways.
pub(super) fn security_schemes() -> Value {
    json!({
        "key": {
            "type": "http", "scheme": "bearer", "bearerFormat": "etk_<id>_<secret>",
            "description": "An API key: `Authorization: Bearer etk_…`.",
        },
        "token": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A token of the application's own sign-in, of the tenant `access.app.tenant`.",
        },
        "session": {
            "type": "apiKey", "in": "cookie", "name": crate::auth::COOKIE,
            "description": "The cookie of a session that began at /sign-in.",
        },
        "csrf": {
            "type": "apiKey", "in": "header", "name": CSRF,
            "description": "With a session, for everything but GET: the token of `GET /v1/session`, along with an Origin of \
                this server.",
        },
    })
}
