//! Who may read: people, keys and sessions.

use serde_json::Value;

use super::operation::{Operation, Tag};
use super::schema::{
    about, flag, list, named, nullable, number, object, object_with, one_of, reason, shaped, text, time, uuid,
};
use crate::auth::{Capability, Role};

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Access, summary);
    let post = |path, id, summary| Operation::post(path, id, Tag::Access, summary);
    vec![
        get("/v1/access", "list_access", "Which people and keys may do what").gives(
            "Grants and keys.",
            object([("grants", list(named("Grant"))), ("api_keys", list(named("ApiKey")))]),
        ),
        post("/v1/access", "grant_access", "Gives a person a role, in place of the one they had")
            .details("An auditor's access needs an end.")
            .takes(wanted())
            .gives("The grant.", named("Grant")),
        post("/v1/access/{id}/revoke", "revoke_access", "Takes a role away")
            .part("id", uuid(), "The grant's id.")
            .gives("The grant.", named("Grant"))
            .refuses(404, "There is no grant of this id that stands."),
        get("/v1/session", "read_session", "Who asks, and what a page needs to act for them")
            .gives("The reader.", named("Session")),
        post(
            "/v1/session/unmask",
            "unmask_session",
            "Shows the session personal data for some minutes, for a reason",
        )
        .takes(object_with([("reason", reason())], [("minutes", nullable(number(1, 60)))]))
        .gives("Until when.", object([("unmasked_until", time())]))
        .refuses(409, "A key has no session: it sends the reason along with each request."),
        get("/v1/sessions", "list_sessions", "Sessions that go on, newest first")
            .gives("The sessions.", object([("sessions", list(named("RunningSession")))])),
        post("/v1/sessions/{id}/revoke", "revoke_session", "Ends a session: one's own, or for admins any")
            .part("id", uuid(), "The session's id.")
            .gives("The session's id.", object([("revoked", uuid())]))
            .refuses(404, "There is no session of this id that goes on."),
    ]
}

fn roles() -> Value {
    one_of(Role::ALL.map(Role::word))
}

fn means() -> Value {
    one_of(["api_key", "app_token", "oidc"])
}

/// A grant as an admin asks for it.
fn wanted() -> Value {
    let who = || shaped("^[a-z0-9]{1,40}(@[a-z0-9]{1,40}\\.example)?$");
    let ending = |role: Value, end: Value, required: &[&str]| {
        let mut wanted = object_with([("who", who()), ("role", role)], [("expires_at", end)]);
        if let Some(names) = wanted["required"].as_array_mut() {
            names.extend(required.iter().map(|name| Value::from(*name)));
        }
        wanted
    };
    let endless = one_of(Role::ALL.iter().filter(|role| **role != Role::Auditor).map(|role| role.word()));
    let end = || about(time(), "When it ends, in the future.");
    serde_json::json!({"anyOf": [
        ending(endless, nullable(end()), &[]),
        ending(one_of([Role::Auditor.word()]), end(), &["expires_at"]),
    ]})
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Grant",
            object([
                ("id", uuid()),
                ("who", about(text(), "An address, or the subject of a token.")),
                ("role", roles()),
                ("expires_at", nullable(time())),
                ("granted_by", text()),
                ("granted_at", time()),
                ("revoked_by", nullable(text())),
                ("revoked_at", nullable(time())),
            ]),
        ),
        (
            "ApiKey",
            object([
                ("id", text()),
                ("name", text()),
                ("role", roles()),
                ("created_at", time()),
                ("expires_at", nullable(time())),
                ("revoked_at", nullable(time())),
            ]),
        ),
        (
            "Session",
            object([
                ("tenant", text()),
                ("who", text()),
                ("role", roles()),
                ("means", means()),
                ("session", about(nullable(uuid()), "Null for a key.")),
                ("masked", about(flag(), "Whether personal data is masked for them now.")),
                ("may", list(one_of(Capability::ALL.map(Capability::words)))),
                ("csrf", about(nullable(text()), "What a session sends in x-csrf-token.")),
            ]),
        ),
        (
            "RunningSession",
            object([
                ("id", uuid()),
                ("who", text()),
                ("role", roles()),
                ("means", means()),
                ("ip", nullable(text())),
                ("started_at", time()),
                ("seen_at", time()),
                ("unmasked_until", nullable(time())),
                ("current", about(flag(), "Whether it is the one that asks.")),
            ]),
        ),
    ]
}
