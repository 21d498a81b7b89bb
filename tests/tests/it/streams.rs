//! A stream of events passes as it comes, and its last events say how the run ended.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::IntoResponse as _;
use axum::routing::post;
use futures_util::stream;
use serde_json::json;
use shared::event::Outcome;
use tests::keys::Keys;
use tests::stack::DeliveryMode;
use tests::wire::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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

#[tokio::test]
async fn a_stream_of_three_seconds_begins_at_once_and_its_end_tells_the_outcome() {
    let keys = Keys::generate();
    let answer = async || ([("content-type", "text/event-stream")], run()).into_response();
    let origin = Server::start(Router::new().route("/run", post(answer)), None).await.expect("a port");
    let stage = Stage::start(&keys, origin.address(), DeliveryMode::Direct, "edge", |_| {}).await;
    let mut socket = TcpStream::connect(stage.worker.address()).await.expect("a connection");
    let head = format!(
        "POST /run HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        stage.host
    );
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
        if first.is_none() && text.windows(11).any(|part| part == b"event: step") {
            first = Some(start.elapsed());
        }
    }
    let (first, whole) = (first.expect("a step"), start.elapsed());
    assert!(first < Duration::from_millis(1_500), "{first:?}: the first step does not wait for the last");
    assert!(whole > Duration::from_millis(2_900), "{whole:?}");
    let text = String::from_utf8_lossy(&text);
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
