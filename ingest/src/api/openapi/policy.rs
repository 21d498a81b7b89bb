//! Policies: versions of the packs of rules, proposed and agreed on.

use serde_json::Value;

use super::operation::{Operation, Tag};
use super::schema::{
    about, any, count, list, map, named, nullable, number, object, one_of, shaped, text, time,
};

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Policy, summary);
    let missing = "There is no policy of this version.";
    let decide = |path, id, summary| {
        Operation::post(path, id, Tag::Policy, summary)
            .part("name", number(1, 9_007_199_254_740_991), "The version.")
            .gives("The version.", named("PolicyDetails"))
            .refuses(404, missing)
            .refuses(409, "It is not in the state for that.")
    };
    vec![
        Operation::post(
            "/v1/policy",
            "propose_policy",
            Tag::Policy,
            "Proposes packs, or takes a signed policy",
        )
        .details(
            "Packs wait for a second admin; a policy that a registered key signed offline is active at once.",
        )
        .takes_any(true, &[("application/json", packs()), ("text/plain", text())])
        .gives("The version.", named("PolicyDetails"))
        .refuses(409, "A signed version that does not rise.")
        .refuses(422, "A pack is refused; `line` and `column` say where."),
        get(
            "/v1/policy/{name}",
            "read_active_policy",
            "A tenant's active policy, signed, as the edge fetches it",
        )
        .part("name", shaped("^[a-z0-9][a-z0-9-]{0,62}$"), "The tenant.")
        .header("If-None-Match", shaped("^\"[0-9]{1,18}\"$"), "The version that is known.")
        .gives_as(200, "The signed note.", &[("text/plain", text())])
        .with_header("ETag", "The version.")
        .gives_as(304, "It is the version that is known.", &[])
        .with_header("ETag", "The version.")
        .refuses(404, "The tenant has no active policy."),
        decide(
            "/v1/policy/{name}/approve",
            "approve_policy",
            "Agrees to a version that another admin proposed",
        )
        .refuses(422, "What was proposed is refused by the rules of today."),
        decide("/v1/policy/{name}/refuse", "refuse_policy", "Turns a proposed version down"),
        decide(
            "/v1/policy/{name}/rollback",
            "roll_back_policy",
            "Proposes what was active at an earlier version",
        )
        .refuses(422, "What was active then is refused by the rules of today."),
        get("/v1/policies", "list_policies", "Versions, newest first")
            .gives("The versions.", object([("policies", list(named("Policy")))])),
        get("/v1/policies/{version}", "read_policy", "A version with its packs and what they change")
            .part("version", number(1, 9_007_199_254_740_991), "The version.")
            .gives("The version.", named("PolicyDetails"))
            .refuses(404, missing)
            .refuses(422, "What it holds is refused by the rules of today."),
        get("/v1/policy-keys", "list_policy_keys", "Keys whose signature on a policy the edge may trust")
            .gives("The keys.", object([("keys", list(text()))])),
    ]
}

fn packs() -> Value {
    let pack = about(map(any()), "A pack of rules; edge/packs/schema.json is its schema.");
    object([("packs", list(pack))])
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let summary = || {
        [
            ("version", count()),
            ("state", one_of(["proposed", "active", "superseded", "refused"])),
            ("proposed_by", text()),
            ("proposed_at", time()),
            ("decided_by", nullable(text())),
            ("decided_at", nullable(time())),
            ("rolls_back_to", nullable(count())),
        ]
    };
    let changes = map(object([
        ("pack", one_of(["added", "removed", "kept"])),
        ("added", list(text())),
        ("removed", list(text())),
        ("changed", list(text())),
    ]));
    let details = [
        ("packs", list(map(any()))),
        ("changes", about(changes, "What it changes of the active version, by pack: ids of rules.")),
    ];
    vec![("Policy", object(summary())), ("PolicyDetails", object(summary().into_iter().chain(details)))]
}
