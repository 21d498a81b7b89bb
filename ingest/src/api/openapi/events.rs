//! Events: lists, counts, one by one, and what they tell of an entity or an actor.

use serde_json::Value;
use shared::event::{BodyState, Outcome, Quality, RetentionClass, Severity, Trust};

use super::operation::{Operation, Tag};
use super::schema::{
    about, any, base64, count, flag, hex, list, map, named, nullable, number, object, object_with, one_of,
    reason, shaped, text, time, uuid,
};
use crate::store::search::FacetField;

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Events, summary);
    vec![
        paged(searched(get("/v1/events", "list_events", "Events that a search finds, newest first")))
            .unmasks()
            .gives("A page of events.", named("EventPage")),
        searched(get("/v1/events/histogram", "count_events_over_time", "How many events a search finds, over time"))
            .query("buckets", number(1, 200), "How many spans the window is divided into; 48 unless said. There can be one less.")
            .gives("Counts.", named("Histogram")),
        searched(get("/v1/events/facets", "count_events_by_value", "The most frequent values of what a search finds"))
            .query("fields", fields(), "Of these fields, with commas between; of all unless said.")
            .query("top", number(1, 50), "How many values of each; 10 unless said.")
            .unmasks()
            .gives("Counts by field.", named("Facets")),
        searched(get("/v1/events/live", "follow_events", "What is stored from now on"))
            .details(
                "Server-sent events. The first has the type `place`; each of the rest is an `Event` as JSON, with a place in \
                 the log as its id. Whoever comes back with the last id misses nothing and hears nothing twice. A stream \
                 ends after ten minutes.",
            )
            .header("Last-Event-ID", shaped("^[0-9a-f]{32}\\.[0-9]{1,15}\\.[0-9]{1,5}$"), "Where to go on.")
            .unmasks()
            .gives_as(200, "The stream.", &[("text/event-stream", text())]),
        get("/v1/events/{id}", "read_event", "One event, with what was recorded about it later")
            .part("id", uuid(), "The event's id.")
            .unmasks()
            .gives("The event.", named("AnnotatedEvent"))
            .refuses(404, "There is no event of this id, or not any more."),
        Operation::post("/v1/events/{id}/unmask", "unmask_event", Tag::Events, "One event as it is, for a reason that is recorded")
            .part("id", uuid(), "The event's id.")
            .takes(object([("reason", reason())]))
            .gives("The event.", named("Event"))
            .refuses(404, "There is no event of this id, or not any more."),
        get("/v1/events/{id}/proof", "prove_event", "That one event is in the log")
            .details(
                "As JSON a line of a bundle of kind `selection`, with the log's keys beside it; with `Accept: text/plain` the \
                 proof file alone (c2sp.org/tlog-proof).",
            )
            .part("id", uuid(), "The event's id.")
            .unmasks()
            .gives_as(200, "The proof.", &[("application/json", named("Proof")), ("text/plain", text())])
            .refuses(404, "There is no event of this id, or not any more.")
            .refuses(409, "It is stored, and no published head of the log covers it yet."),
        paged(searched(get(
            "/v1/entities/{type}/{id}/timeline",
            "read_timeline",
            "Everything that happened to one entity, and what was known of it at a time",
        )))
        .part("type", shaped("^[a-z0-9_]{1,64}$"), "The entity's type.")
        .part("id", plain(), "The entity's id.")
        .query("as_of", time(), "Nothing after this time.")
        .unmasks()
        .gives("A page of events, and on the first page the entity's state.", named("Timeline"))
        .refuses(404, "There is no event of this entity."),
        searched(get("/v1/actors/{id}", "read_actor", "One actor at a glance"))
            .part("id", plain(), "The actor's id or address.")
            .unmasks()
            .gives("The actor.", named("Actor"))
            .refuses(404, "There is no event of this actor."),
    ]
}

/// The parameters of a search.
pub(super) fn searched(operation: Operation) -> Operation {
    let severities = Severity::ALL.iter().flat_map(|it| [it.word().to_owned(), format!(">={}", it.word())]);
    let severities: Vec<String> = severities.collect();
    let entity = shaped("^(([a-z0-9_]{1,64}/)[^\\u0000]+|[^\\u0000/]+)$");
    operation
        .query(
            "q",
            text(),
            "A query in the search grammar; what of it is not understood is told, and the rest counts.",
        )
        .query("from", time(), "At this time or later.")
        .query("to", time(), "Before this time.")
        .query(
            "action",
            actions(),
            "An action, or the beginning of some with `*` after it; several with commas between.",
        )
        .query("actor", plain(), "An actor's id or address.")
        .query("entity", entity, "An entity's id, or `type/id`.")
        .query("entity_type", shaped("^[a-z0-9_]{1,64}$"), "An entity's type.")
        .query(
            "severity",
            one_of(severities.iter().map(String::as_str)),
            "A severity, or one and those above.",
        )
        .query("outcome", one_of(Outcome::ALL.iter().map(|it| it.word())), "An outcome.")
}

fn paged(operation: Operation) -> Operation {
    operation.query("limit", number(1, 200), "Events on a page, at most; 50 unless said.").query(
        "cursor",
        text(),
        "The `next_cursor` of the page before; it is good for the same search alone.",
    )
}

/// A text that a stored one can be the same as.
fn plain() -> Value {
    shaped("^[^\\u0000]+$")
}

fn actions() -> Value {
    shaped("^[A-Za-z0-9_]{1,64}\\*?(,[A-Za-z0-9_]{1,64}\\*?)*$")
}

fn fields() -> Value {
    let names = FacetField::ALL.map(FacetField::name).join("|");
    shaped(&format!("^({names})(,({names}))*$"))
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let facet = object([
        (
            "values",
            list(object([
                ("value", about(nullable(text()), "Null stands for events without one.")),
                ("label", nullable(text())),
                ("count", count()),
                (
                    "term",
                    about(
                        nullable(text()),
                        "The term of a query that finds them; null where it would show what is masked.",
                    ),
                ),
            ])),
        ),
        ("other", about(count(), "Events of other values.")),
    ]);
    let facets = FacetField::ALL.map(|field| (field.name(), facet.clone()));
    let by_outcome = object(Outcome::ALL.iter().map(|it| (it.word(), count())));
    let by_severity = object(Severity::ALL.iter().map(|it| (it.word(), count())));
    let glance =
        list(object([("value", text()), ("events", count()), ("first_seen", time()), ("last_seen", time())]));
    let figures = || {
        [
            ("events", count()),
            ("failed", count()),
            ("first_seen", nullable(time())),
            ("last_seen", nullable(time())),
        ]
    };
    let [events, failed, first, last] = figures();
    let told = || [("at", time()), ("event", uuid())];
    let [at, by] = told();
    vec![
        ("Event", event([])),
        (
            "AnnotatedEvent",
            event([("annotations", about(list(named("Event")), "What was recorded about it later."))]),
        ),
        (
            "EventPage",
            object([
                ("events", list(named("Event"))),
                ("next_cursor", about(nullable(text()), "Gives the next page; null on the last.")),
                ("query", named("Query")),
                ("window", named("Window")),
                (
                    "notice",
                    about(nullable(text()), "What must be known of a search that cannot be complete."),
                ),
            ]),
        ),
        (
            "Query",
            object([
                ("text", about(text(), "The search as it was understood, in its canonical form.")),
                (
                    "diagnostics",
                    list(object_with(
                        [("start", count()), ("end", count()), ("message", text())],
                        [("suggestion", text())],
                    )),
                ),
            ]),
        ),
        (
            "Window",
            object([
                ("from", time()),
                ("to", nullable(time())),
                ("default", about(flag(), "Whether nobody asked for its beginning.")),
            ]),
        ),
        (
            "Histogram",
            object([
                (
                    "buckets",
                    list(object([
                        ("from", time()),
                        ("to", time()),
                        ("count", count()),
                        ("outcome", by_outcome),
                        ("severity", by_severity),
                    ])),
                ),
                ("total", count()),
                ("query", named("Query")),
                ("window", named("Window")),
                ("notice", nullable(text())),
            ]),
        ),
        (
            "Facets",
            object([
                ("facets", object_with([], facets)),
                ("total", count()),
                ("query", named("Query")),
                ("window", named("Window")),
                ("notice", nullable(text())),
            ]),
        ),
        (
            "Timeline",
            object([
                ("entity", object([("type", text()), ("id", text())])),
                (
                    "state",
                    about(
                        nullable(object([
                            ("as_of", time()),
                            ("complete", about(flag(), "Whether no event is so old that it was left out.")),
                            ("deleted", nullable(object(told()))),
                            ("events", about(count(), "Events that it is made of.")),
                            ("fields", map(object([("value", any()), at, by]))),
                            (
                                "unknown",
                                about(map(object(told())), "Fields that changed, to what is not known."),
                            ),
                        ])),
                        "What was known of the entity; null on later pages.",
                    ),
                ),
                ("events", list(named("Event"))),
                ("next_cursor", nullable(text())),
                ("query", named("Query")),
            ]),
        ),
        (
            "Actor",
            object([
                ("actor", text()),
                events,
                failed,
                first,
                last,
                (
                    "named",
                    about(object(figures()), "Events that name them, and that nothing proves to be theirs."),
                ),
                (
                    "seen",
                    object([
                        ("id", glance.clone()),
                        ("email", glance.clone()),
                        ("session", glance.clone()),
                        ("ip", glance.clone()),
                        ("country", glance.clone()),
                        ("action", glance.clone()),
                        ("entity", glance),
                    ]),
                ),
                ("query", named("Query")),
            ]),
        ),
        (
            "Proof",
            object([
                ("log", hex(16)),
                ("index", about(count(), "The leaf's.")),
                ("id", uuid()),
                ("opening", about(nullable(base64()), "The stored bytes; null for whom they are masked.")),
                ("entry", about(base64(), "The 42 bytes that the leaf is the hash of.")),
                ("proof", about(text(), "A proof file (c2sp.org/tlog-proof).")),
                ("origin", text()),
                ("verifier_keys", list(text())),
            ]),
        ),
    ]
}

/// An event as readers see it, with further members.
fn event<'a>(further: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let words = |words: &[&str]| one_of(words.iter().copied());
    let severity = one_of(Severity::ALL.iter().map(|it| it.word()));
    let outcome = one_of(Outcome::ALL.iter().map(|it| it.word()));
    let body = || one_of(BodyState::ALL.iter().map(|it| it.word()));
    let place = ["country", "colo", "ray", "tls", "asn"].map(|name| (name, text()));
    let erasable = [
        "actor",
        "claimed_user",
        "entity",
        "ip",
        "user_agent",
        "session",
        "place",
        "details",
        "changes",
        "other",
    ];
    let actor = ["email", "role", "aal", "method"].map(|name| (name, text()));
    let members = [
        ("id", uuid()),
        ("tenant", text()),
        ("occurred_at", about(time(), "When the request arrived at the edge.")),
        ("received_at", about(time(), "When it arrived here.")),
        ("filed_at", about(time(), "Its own time, as far as that can be: what lists are ordered by.")),
        ("action", shaped("^[A-Z0-9_]{1,64}$")),
        ("severity", severity),
        ("outcome", outcome),
        ("reason", about(nullable(text()), "A code for what was no success.")),
        ("trust", about(one_of(Trust::ALL.iter().map(|it| it.word())), "How sure the actor is.")),
        ("class", about(one_of(RetentionClass::ALL.iter().map(|it| it.word())), "How long it is kept.")),
        ("actor", nullable(object_with([("id", text())], actor))),
        ("claimed_user", nullable(object([("id", text()), ("source", text())]))),
        ("entity", nullable(object_with([("type", text())], [("id", text()), ("name", text())]))),
        (
            "context",
            object([
                ("ip", nullable(text())),
                ("user_agent", nullable(text())),
                ("session", nullable(text())),
                ("place", nullable(object_with([], place))),
            ]),
        ),
        (
            "request",
            object([
                ("host", text()),
                ("method", text()),
                ("route", text()),
                ("rule", text()),
                ("status", nullable(number(0, u64::from(u16::MAX)))),
                ("request_body", body()),
                ("response_body", body()),
            ]),
        ),
        ("details", about(any(), "What the rule named.")),
        (
            "changes",
            nullable(object([
                ("quality", one_of(Quality::ALL.iter().map(|it| it.word()))),
                (
                    "fields",
                    about(any(), "Each field with `from` and `to`, or with what was `added` and `removed`."),
                ),
                ("summary", nullable(text())),
            ])),
        ),
        ("compliance", list(shaped("^[A-Z0-9]{1,16}$"))),
        ("duration_ms", nullable(count())),
        (
            "echo",
            about(flag(), "A write by the application's own server, of which another event tells the act."),
        ),
        ("erased", about(list(words(&erasable)), "Fields of which only the commitment is left.")),
        ("pseudonym", about(nullable(text()), "What stands for an erased actor.")),
    ];
    let masked = ("masked", about(flag(), "There, and true, where personal data is masked."));
    object_with(members.into_iter().chain(further), [masked])
}
