//! Whatever a client, an object storage or an operator's file holds, the backend's own readers of it neither panic nor read it in two
//! ways. Rules of detection and parts of an archive are held to the same beside their code; what `shared` reads is held to more, by the
//! fuzzer and by `shared/tests/it/properties.rs`.

use ingest::archive::PartName;
use ingest::auth::{ApiKeyText, SessionToken};
use ingest::webhook::{Secret, Target, target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree as _;

use crate::support::{Server, call};

/// A text with some of its bytes replaced, as far as it still is one.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    vec((any::<Index>(), any::<char>()), 0..6).prop_map(move |damage| {
        let mut letters: Vec<char> = text.chars().collect();
        for (at, to) in damage {
            let at = at.index(letters.len());
            letters[at] = to;
        }
        letters.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_target_is_what_its_text_says_and_never_a_private_address(
        text in prop_oneof![damaged("https://hooks.example.com:8443/a?b=c"), damaged("https://[2606:4700::1111]/x"), damaged("https://93.184.216.34/x"), "\\PC{0,60}"],
    ) {
        if let Ok(found) = Target::parse(&text, false) {
            prop_assert_eq!(found.url().scheme(), "https");
            let host = found.url().host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            if let Ok(address) = host.parse() {
                prop_assert!(target::is_public(address), "{address}");
            }
            prop_assert!(found.url().username().is_empty() && found.url().password().is_none());
        }
        let _ = text.parse::<Secret>();
    }

    #[test]
    fn cookies_and_keys_of_any_shape_are_read_or_are_none(
        text in prop_oneof![
            damaged("a=b; __Host-edgetrail=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; c"),
            damaged("etk_0123456789ab_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
            "\\PC{0,80}",
        ],
    ) {
        if let Some(token) = SessionToken::from_cookies(&text) {
            prop_assert!(!format!("{token:?}").contains(&token.csrf()), "a session is not shown");
        }
        if let Ok(key) = text.parse::<ApiKeyText>() {
            prop_assert_eq!(key.reveal(), text.as_str(), "one spelling per key");
            let secret = text.rsplit('_').next().unwrap_or_default();
            prop_assert!(!format!("{key:?}").contains(secret), "a key is not shown");
        }
    }

    #[test]
    fn names_in_an_archive_are_read_or_are_strange(
        text in prop_oneof![
            damaged("months/2026-01/7/0707070707070707070707070707070707-5.1.parquet"),
            damaged("months/2026-01/7/07070707070707070707070707070707-5.1.parquet"),
            "\\PC{0,60}",
        ],
    ) {
        if let Some(name) = PartName::parse(&text) {
            prop_assert_eq!(name.to_string(), text, "one spelling per name");
        }
    }
}

/// Request targets of any bytes that HTTP lets through, at routes that read parameters in each way there is.
#[tokio::test]
async fn a_running_backend_answers_whatever_it_is_asked_and_breaks_of_none_of_it() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin_key());
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let piece = prop_oneof![
        "[!-~]{0,12}",
        "(%[0-9a-f]{2}){0,6}",
        Just("%00".to_owned()),
        Just("%ff%fe".to_owned()),
        Just("..%2f".to_owned()),
        Just("2026-13-45T99:99:99Z".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("-1".to_owned()),
    ];
    let name = select(vec![
        "q", "limit", "cursor", "from", "to", "as_of", "by", "every", "field", "format", "state", "before",
        "x", "q[]",
    ]);
    let route = select(vec![
        "/v1/events",
        "/v1/events/histogram",
        "/v1/events/facets",
        "/v1/events/export",
        "/v1/coverage",
        "/v1/writes",
        "/v1/streams",
        "/v1/executions",
        "/v1/metrics/agents",
        "/v1/alerts",
        "/v1/openings",
        "/v1/retention/preview",
        "/v1/inbox",
        "/",
        "/search",
        "/runs",
        "/v1/entities/",
        "/v1/actors/",
        "/v1/events/",
        "/log/",
        "/v1/absences/",
        "/v1/compliance/",
        "/v1/sinks/",
        "/v1/exports/",
    ]);
    let asked = (route, vec(piece.clone(), 0..3), vec((name, piece), 0..4));
    for _ in 0..400 {
        let (route, below, query) = asked.new_tree(&mut runner).expect("made up").current();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let clean = |text: String| text.replace(['#', ' '], "");
        let path = clean(format!("{route}{}?{}", below.join("/"), query.join("&")));
        let headers = [
            ("authorization", bearer.as_str()),
            ("accept", "*/*;q=x, text/html;;"),
            ("range", "bytes=-1-,9-"),
            ("cookie", ";;=;__Host-edgetrail"),
            ("last-event-id", "x.y.z"),
            ("if-none-match", "\""),
        ];
        let answer = call(&server.address, "GET", &path, &headers, &[]).await;
        assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.text());
    }
    server.stop().await;
}
