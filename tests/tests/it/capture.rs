//! Bodies and hosts that a rule did not hope for: never an error to the user, and an event with what is known.

use serde_json::json;
use tests::keys::Keys;
use tests::wire::Call;

use crate::scene::{SOON, Scene, Setup, alices_token, creation, exchange};

#[tokio::test]
async fn odd_bodies_pass_unchanged_and_give_events_that_say_so() {
    let keys = Keys::generate();
    let url = "/api/run-agent";
    let long =
        format!(r#"{{"agent_id":"a-long","input_variables":{{"pdf":"{}"}}}}"#, "JVBERi0x".repeat(100_000));
    let answer =
        format!(r#"{{"success":true,"data":{{"agent_name":"Long","output":"{}"}}}}"#, "x".repeat(800_000));
    let exchanges = vec![
        exchange("POST", url, &long, 200, &answer),
        exchange("POST", url, "not json", 200, "<html>oops</html>"),
        exchange("POST", url, r#"{"agent_id":"a-cut"}"#, 500, ""),
    ];
    let scene = Scene::start(&keys, exchanges.clone(), Setup::default()).await;
    for exchange in &exchanges {
        let call = Call {
            method: "POST".to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: exchange.request.body.clone(),
        };
        let got = scene.app(&call).await;
        assert_eq!(got.status, exchange.response.status);
        assert_eq!(Some(got.text()), exchange.response.body);
    }
    let events = scene.at_least(3, SOON).await;
    let bodies =
        |at: usize| (&events[at]["request"]["request_body"], &events[at]["request"]["response_body"]);
    assert_eq!(bodies(0), (&json!("truncated"), &json!("truncated")));
    assert_eq!(
        (&events[0]["entity"]["id"], &events[0]["entity"]["name"]),
        (&json!("a-long"), &json!("Long"))
    );
    assert_eq!(events[0]["outcome"], "success", "it stood before the cut");
    assert_eq!(bodies(1), (&json!("unparsable"), &json!("unparsable")));
    assert_eq!(events[1]["outcome"], "unknown");
    assert_eq!((&events[2]["outcome"], &events[2]["reason"]), (&json!("failure"), &json!("http_500")));
}

#[tokio::test]
async fn an_unknown_host_is_told_so_and_an_unreachable_origin_is_recorded() {
    let keys = Keys::generate();
    let (known, call) = creation("lost");
    let scene = Scene::start(&keys, vec![known], Setup::default()).await;
    let answer = crate::scene::ask(scene.worker.address(), "elsewhere.example", &Call::new("GET", "/")).await;
    assert_eq!((answer.status, answer.header("content-type")), (421, Some("application/problem+json")));
    assert_eq!(answer.json()["type"], "/problems/unknown-host");

    let Scene { worker, ingest, origin, config, dir, .. } = scene;
    let token = alices_token(&keys);
    drop(origin);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let call = call.header("authorization", format!("Bearer {token}"));
    let answer = crate::scene::ask(worker.address(), &config.app_host(), &call).await;
    assert_eq!((answer.status, answer.json()["type"].as_str()), (502, Some("/problems/origin-unreachable")));
    let events = ingest.api().wait_for_events(1, SOON).await.expect("the attempt is recorded");
    assert_eq!((&events[0]["outcome"], &events[0]["reason"]), (&json!("unknown"), &json!("no_answer")));
    drop(dir);
}

#[tokio::test]
async fn the_origin_of_the_supabase_mount_learns_the_clients_address_and_nobody_elses_word_for_it() {
    let keys = Keys::generate();
    let scene =
        Scene::start(&keys, vec![exchange("GET", "/rest/v1/x", "", 200, "[]")], Setup::default()).await;
    let call = Call::new("GET", "/rest/v1/x")
        .header("x-forwarded-for", "6.6.6.6, 203.0.113.7")
        .header("sb-forwarded-for", "6.6.6.6")
        .header("x-real-ip", "6.6.6.6");
    scene.supabase(&call).await;
    let arrival =
        scene.origin.arrivals().into_iter().find(|arrival| arrival.url == "/rest/v1/x").expect("it arrived");
    let header = |name: &str| {
        let values: Vec<&str> =
            arrival.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
        values.join("|")
    };
    // The test's own address is a trusted proxy, so the last address it names is the client's.
    assert_eq!(header("x-forwarded-for"), "203.0.113.7");
    assert_eq!((header("sb-forwarded-for"), header("x-real-ip")), (String::new(), String::new()));
    scene.app(&Call::new("GET", "/nothing").header("x-forwarded-for", "6.6.6.6")).await;
    let arrival =
        scene.origin.arrivals().into_iter().find(|arrival| arrival.url == "/nothing").expect("it arrived");
    assert!(
        arrival.headers.contains(&("x-forwarded-for".to_owned(), "6.6.6.6".to_owned())),
        "elsewhere unchanged"
    );
}
