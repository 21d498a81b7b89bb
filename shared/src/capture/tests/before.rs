//! The old side: read before the request is forwarded, or not known; never invented.

use serde_json::json;

use super::{Case, changed, details};
use crate::capture::{Headers, Mount, pre_read};
use crate::event::{Outcome, Quality, Severity, Timestamp};
use crate::policy::{Pack, Router};

fn change(
    before: Option<serde_json::Value>,
    row: serde_json::Value,
    after: serde_json::Value,
) -> crate::event::Event {
    let mut case = Case::of("PUT", "/rows/r1", &json!({"row": row}), 200, &json!({"row": after}));
    case.before = before.map(|before| before.to_string());
    case.event().expect("audited")
}

#[test]
fn with_an_old_side_a_change_says_from_what_to_what() {
    let before = json!([{"id": "r1", "name": "Old", "mode": "draft", "plugins": ["mail"], "config": {"ai": {"t": 1}},
                         "at": "2026-01-01T00:00:00+00:00", "api_key": "k-one", "updated_at": 1, "prompt": "p"}]);
    let wanted = json!({"name": "New", "plugins": ["mail", "slack"], "config": {"ai": {"t": 2}}, "api_key": "k-two",
                        "at": "2026-01-01T01:00:00+01:00", "updated_at": 2});
    let after = json!({"name": "New", "mode": "live", "plugins": ["mail", "slack"], "config": {"ai": {"t": 2}},
                       "at": "2026-01-01T00:00:00Z", "updated_at": 2, "prompt": "p", "unnamed": 1});
    let event = change(Some(before), wanted, after);
    assert_eq!(
        changed(&event),
        json!({
            "name": {"from": "Old", "to": "New"},
            "mode": {"from": "draft", "to": "live"},
            "plugins": {"added": ["slack"], "removed": []},
            "config.ai.t": {"from": 1, "to": 2},
            "api_key": {"changed": true},
        })
    );
    assert_eq!(event.changes.as_ref().map(|changes| changes.quality), Some(Quality::Exact));
    assert_eq!(event.severity, Severity::Warning, "what changed decides");
}

#[test]
fn without_an_old_side_or_with_several_there_is_no_from() {
    let several = json!([{"name": "a"}, {"name": "b"}]);
    for before in [None, Some(several), Some(json!([]))] {
        let event = change(before, json!({"name": "New"}), json!({"name": "New"}));
        assert_eq!(changed(&event), json!({"name": {"to": "New"}}));
        assert_eq!(event.changes.as_ref().map(|changes| changes.quality), Some(Quality::Partial));
    }
    let event =
        change(Some(json!([{"mode": "x"}])), json!({"name": "New"}), json!({"name": "New", "mode": "x"}));
    assert_eq!(changed(&event), json!({"name": {"to": "New"}}), "a column that was not read is not known");
    assert_eq!(event.changes.as_ref().map(|changes| changes.quality), Some(Quality::Partial));
}

#[test]
fn a_change_that_changes_nothing_says_so() {
    let event = change(Some(json!([{"name": "Same"}])), json!({"name": "Same"}), json!({"name": "Same"}));
    assert_eq!(changed(&event), json!({}));
    assert_eq!(event.changes.as_ref().map(|changes| changes.quality), Some(Quality::Exact));
}

#[test]
fn what_is_deleted_is_preserved_by_name() {
    let mut case = Case::of("DELETE", "/rows", &json!(null), 204, &json!(null));
    (case.query, case.request, case.response) = ("?id=eq.r1", String::new(), String::new());
    case.before =
        Some(json!([{"name": "Gone", "mode": "live", "status": "active", "api_key": "k"}]).to_string());
    let event = case.event().expect("audited");
    assert_eq!(
        changed(&event),
        json!({"name": {"from": "Gone"}, "mode": {"from": "live"}, "api_key": {"changed": true}})
    );
    assert_eq!(event.entity.as_ref().and_then(|entity| entity.name.as_deref()), Some("Gone"));
    assert_eq!(details(&event), json!({"status": "active"}));
    case.before = None;
    let event = case.event().expect("audited");
    assert_eq!((event.changes.is_none(), event.outcome), (true, Outcome::Success));
}

#[test]
fn what_is_made_has_a_new_side_and_nothing_before_it() {
    let rows = json!([{"id": "r9", "name": "Fresh", "mode": "draft", "secret": 1}]);
    let event = Case::of("POST", "/rows", &json!({"name": "Fresh", "mode": "draft"}), 201, &rows).event();
    let event = event.expect("audited");
    assert_eq!(changed(&event), json!({"name": {"to": "Fresh"}, "mode": {"to": "draft"}}));
    assert_eq!(event.changes.as_ref().map(|changes| changes.quality), Some(Quality::Exact));
}

#[test]
fn a_condition_names_the_act() {
    let request = json!({"row": {}, "archived": true});
    let event = Case::of("PUT", "/rows/r1", &request, 200, &json!({})).event().expect("audited");
    assert_eq!(event.action.as_str(), "ROW_ARCHIVED");
}

fn read(method: &str, path: &str, query: &str, headers: &str) -> Option<(String, Vec<(String, String)>)> {
    let router = Router::compile(vec![Pack::parse(super::PACK).expect("a pack")]).expect("routable");
    let mount: Mount = serde_json::from_value(json!({
        "host": "app.example.com", "upstream": "https://o.example", "tenant": "acme", "platform": "workerd",
        "packs": ["t"], "supabase": {"url": "https://ref.example/", "publishable_key": "sb_publishable_x"},
    }))
    .expect("a mount");
    let at = Timestamp::try_from(1_795_400_000_000).expect("in range");
    let read = pre_read(&router, &mount, method, path, query, &Headers::from_lines(headers), at)?;
    Some((read.url, read.headers))
}

#[test]
fn the_old_side_is_one_get_with_the_callers_own_credentials_and_the_same_filters() {
    let headers = "authorization: Bearer user\napikey: anon\ncontent-profile: public\nx-other: never";
    let (url, sent) = read("DELETE", "/rows", "?id=eq.a%20b&select=*&columns=x&or=(a.eq.1,b.gt.2)", headers)
        .expect("a read");
    assert_eq!(url, "https://o.example/rows?id=eq.a%20b&or=%28a.eq.1%2Cb.gt.2%29&select=*&limit=2");
    let names: Vec<&str> = sent.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["apikey", "authorization", "accept-profile", "accept", "user-agent"]);
    assert_eq!(read("DELETE", "/rows", "?select=*", headers), None, "never without a filter");
}

#[test]
fn a_row_of_the_project_is_read_by_the_session_and_only_if_everything_is_known() {
    let token = super::token(&json!({"sub": "u&1"}));
    let headers = format!("authorization: Bearer {token}");
    let (url, sent) = read("PUT", "/rows/r%2F1", "", &headers).expect("a read");
    assert_eq!(url, "https://ref.example/rest/v1/rows?id=eq.r%252F1&owner=eq.u%261&select=id,name&limit=2");
    assert_eq!(sent[0], ("apikey".to_owned(), "sb_publishable_x".to_owned()));
    assert_eq!(read("PUT", "/rows/r1", "", ""), None, "nobody to read it as");
    assert_eq!(read("POST", "/rows", "", &headers), None, "no rule asks");
}

#[test]
fn the_application_is_asked_only_with_a_current_token_so_that_it_renews_nothing() {
    let ask = |exp: u64| {
        let token = super::token(&json!({"sub": "u1", "exp": exp}));
        read("PUT", "/limits", "", &format!("authorization: Bearer {token}\ncookie: a=b"))
    };
    let (url, sent) = ask(1_795_400_100).expect("a read");
    assert_eq!(url, "https://o.example/limits/now");
    assert_eq!(
        sent.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["cookie", "authorization", "accept", "user-agent"]
    );
    assert_eq!(ask(1_795_399_000), None);
    assert_eq!(read("PUT", "/limits", "", "cookie: a=b"), None);
}
