//! Saved searches.

use serde_json::Value;

use super::operation::{Operation, Tag};
use super::schema::{about, flag, list, named, object, object_with, shaped, text, time, uuid};

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Searches, summary);
    let post = |path, id, summary| Operation::post(path, id, Tag::Searches, summary);
    let missing = "There is no saved search of this id, or it is another's and not shared.";
    let wanted = || {
        object_with(
            [
                ("name", about(shaped("^[A-Za-z][A-Za-z0-9]{0,60}$"), "One line of 1 to 80 characters.")),
                ("q", about(text(), "A query in the search grammar, understood whole.")),
            ],
            [("shared", about(flag(), "Whether everybody of the tenant sees it; false unless said."))],
        )
    };
    vec![
        get("/v1/searches", "list_searches", "One's own saved searches, then those that others share")
            .gives("The searches.", object([("searches", list(named("SavedSearch")))])),
        post("/v1/searches", "save_search", "Saves a search under a name")
            .takes(wanted())
            .gives("The search, in its canonical form.", named("SavedSearch"))
            .refuses(409, "There is one of this name, or there are as many as one may have."),
        post("/v1/searches/{id}", "replace_search", "Saves a search in the place of one's own")
            .part("id", uuid(), "The search's id.")
            .takes(wanted())
            .gives("The search, in its canonical form.", named("SavedSearch"))
            .refuses(404, missing)
            .refuses(409, "There is another one of this name."),
        post(
            "/v1/searches/{id}/remove",
            "remove_search",
            "Removes one's own; an admin, what somebody shares",
        )
        .part("id", uuid(), "The search's id.")
        .gives("Its id.", object([("removed", uuid())]))
        .refuses(404, missing),
    ]
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![(
        "SavedSearch",
        object([
            ("id", uuid()),
            ("name", text()),
            ("query", text()),
            ("masked", about(flag(), "Whether it names what is masked for the reader.")),
            ("shared", flag()),
            ("own", flag()),
            ("by", text()),
            ("saved_at", time()),
        ]),
    )]
}
