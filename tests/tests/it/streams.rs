//! A stream of events passes as it comes, and its last events say how the run ended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::stream;
use serde_json::json;
use shared::event::Outcome;
use tests::keys::Keys;
use tests::stack::DeliveryMode;
use tests::wire::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scene::{Scene, Setup};
use crate::stage::{Stage, details};

/// Sixteen steps in three seconds, each with 20 KB, so that all are more than any body that is copied whole; then the
/// result.
fn run() -> Body {
    let parts = stream::unfold(0, async |step| {
        if step > 0 {
            tokio::time::sleep(Duration::from_millis(187)).await;
        }
        let text = match step {
            0..16 => format!("event: step\ndata: {{\"n\":{step},\"text\":\"{}\"}}\n\n", "x".repeat(20_000)),
            16 => "event: done\ndata: {\"ok\":true,\"tokens\":1234}\n\n".to_owned(),
            _ => return None,
        };
        Some((Ok::<_, std::io::Error>(Bytes::from(text)), step + 1))
    });
    Body::from_stream(parts)
}

/// Sends a POST and reads its answer as it comes: all of it, when the words in it came, and when it ended.
async fn watch(address: SocketAddr, host: &str, url: &str, words: &str) -> (String, Duration, Duration) {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let head =
        format!("POST {url} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let start = Instant::now();
    socket.write_all(head.as_bytes()).await.expect("it is sent");
    let (mut text, mut first) = (Vec::new(), None);
    let mut buffer = vec![0; 65_536];
    loop {
        let count = socket.read(&mut buffer).await.expect("the stream goes on");
        if count == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..count]);
        if first.is_none() && text.windows(words.len()).any(|part| part == words.as_bytes()) {
            first = Some(start.elapsed());
        }
    }
    (String::from_utf8_lossy(&text).into_owned(), first.expect("the words"), start.elapsed())
}

#[tokio::test]
async fn a_stream_of_three_seconds_begins_at_once_and_its_end_tells_the_outcome() {
    let keys = Keys::generate();
    let answer = async || ([("content-type", "text/event-stream")], run()).into_response();
    let origin = Server::start(Router::new().route("/run", post(answer)), None).await.expect("a port");
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    let (text, first, whole) = watch(stage.worker.address(), &stage.host, "/run", "event: step").await;
    assert!(first < Duration::from_millis(1_500), "{first:?}: the first step does not wait for the last");
    assert!(whole > Duration::from_millis(2_900), "{whole:?}");
    assert_eq!(text.matches("event: step").count(), 16);
    assert!(text.contains("1234"));
    let event = stage.only("RUN").await;
    assert_eq!((event.outcome, details(&event)), (Outcome::Success, json!({"tokens": 1234})));
}

#[tokio::test]
async fn a_stream_that_breaks_off_has_an_unknown_outcome() {
    let keys = Keys::generate();
    let broken = async || {
        let parts = stream::unfold(0, async |part| match part {
            0 => Some((Ok(Bytes::from_static(b"event: step\ndata: {}\n\n")), 1)),
            1 => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Some((Err(std::io::Error::other("the run crashed")), 2))
            }
            _ => None,
        });
        ([("content-type", "text/event-stream")], Body::from_stream(parts)).into_response()
    };
    let origin = Server::start(Router::new().route("/run", post(broken)), None).await.expect("a port");
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    let call = tests::wire::Call::new("POST", "/run");
    let answer = tests::wire::send(stage.worker.address(), &stage.host, &call).await;
    assert!(answer.is_err(), "it breaks off at the client as well");
    assert_eq!(stage.only("RUN").await.outcome, Outcome::Unknown);
}

/// Server-sent events, half a second apart.
fn events(parts: Vec<&'static str>) -> Response {
    let parts = stream::unfold(parts.into_iter(), async |mut parts| {
        let part = parts.next()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(part.as_bytes())), parts))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(parts)).into_response()
}

#[tokio::test]
async fn a_run_of_an_agent_is_told_by_its_last_event_and_one_without_an_end_is_not_guessed() {
    let keys = Keys::generate();
    let run = async |RawQuery(query): RawQuery| {
        let begin = "event: start\ndata: {\"execution_id\":\"e1\"}\n\n";
        let middle = "event: step\ndata: {\"n\":1}\n\n";
        let end = match query.as_deref() {
            Some("good") => "event: complete\ndata: {\"success\":true}\n\n",
            Some("bad") => "event: error\ndata: {\"error\":\"it broke\"}\n\n",
            _ => "event: compl",
        };
        events(vec![begin, middle, middle, end])
    };
    let watched = async || {
        events(vec![
            "data: {\"type\":\"step_started\"}\n\n",
            "data: {\"type\":\"execution_complete\",\"success\":false}\n\n",
        ])
    };
    let router =
        Router::new().route("/api/agent-stream", post(run)).route("/api/run-agent-stream", post(watched));
    let origin = Server::start(router, None).await.expect("a port");
    let upstream = format!("http://{}", origin.address());
    let adjust = Box::new(move |config: &mut tests::stack::EdgeConfig| config.mounts[0].upstream = upstream);
    let scene = Scene::start(&keys, Vec::new(), Setup { adjust, ..Setup::default() }).await;
    let (address, host) = (scene.worker.address(), scene.config.app_host());
    for (n, (query, outcome)) in
        [("good", "success"), ("bad", "failure"), ("none", "unknown")].iter().enumerate()
    {
        let (_, first, whole) =
            watch(address, &host, &format!("/api/agent-stream?{query}"), "event: start").await;
        assert!(first + Duration::from_secs(1) < whole, "{query}: {first:?} of {whole:?}");
        let run = scene.of_action("AGENT_EXECUTED", n + 1).await.pop().expect("it was waited for");
        assert_eq!(run["outcome"], *outcome, "{query}");
        assert_eq!(run["details"]["execution_id"], "e1");
    }
    watch(address, &host, "/api/run-agent-stream", "step_started").await;
    let watched = scene.of_action("AGENT_RUN_WATCHED", 1).await.remove(0);
    assert_eq!(watched["details"]["run_success"], false);
}
