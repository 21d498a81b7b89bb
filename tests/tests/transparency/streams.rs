//! What is sent while the other side still waits for more: the order is forced by gates, not by time.

use std::sync::{Arc, Mutex, PoisonError};

use crate::raw::{Raw, chunk};
use crate::scene::{AUDITED, Gate, Request, SOON, Scene, UNAUDITED};

#[tokio::test]
async fn c33_an_event_arrives_while_the_stream_is_still_open() {
    let scene = Scene::start().await;
    let first_arrived = Gate::default();
    let gate = first_arrived.clone();
    scene.origin.does(move |_, mut raw| {
        let gate = gate.clone();
        async move {
            raw.write(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await?;
            raw.write(chunk(b"data: 1\n\n")).await?;
            gate.wait().await;
            raw.write(chunk(b"data: 2\n\n")).await?;
            raw.write("0\r\n\r\n").await?;
            Ok(Some(raw))
        }
    });
    for path in [UNAUDITED, AUDITED] {
        for (address, host) in scene.parties() {
            let stream = async {
                let request = Request::new("GET").header("Accept", "text/event-stream");
                let mut raw = Raw::connect(address).await.expect("it listens");
                raw.write(request.head(&host, path)).await.expect("it reads");
                let head = raw.head().await.expect("it answers").expect("it answers");
                assert_eq!(head.header("content-type"), Some("text/event-stream"));
                let mut rest = head.response_body("GET");
                let first = raw.part(&mut rest).await.expect("it goes on").expect("it goes on");
                assert_eq!(first, "data: 1\n\n", "{path}");
                first_arrived.open();
                assert_eq!(raw.rest(rest).await, (b"data: 2\n\n".to_vec(), true), "{path}");
            };
            tokio::time::timeout(SOON, stream).await.expect("the first event does not wait for the second");
        }
    }
    scene.audits_one_more();
    scene.audited_everything().await;
}

#[tokio::test]
async fn an_upload_arrives_while_it_is_still_sent() {
    let scene = Scene::start().await;
    let first_arrived = Gate::default();
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let (gate, received) = (first_arrived.clone(), bodies.clone());
    scene.origin.does(move |head, mut raw| {
        let (gate, received) = (gate.clone(), received.clone());
        async move {
            let mut rest = head.request_body();
            let mut body = raw.part(&mut rest).await?.unwrap_or_default().to_vec();
            gate.open();
            body.extend(raw.rest(rest).await.0);
            received.lock().unwrap_or_else(PoisonError::into_inner).push(body);
            raw.write("HTTP/1.1 204 No Content\r\n\r\n").await?;
            Ok(Some(raw))
        }
    });
    for path in [UNAUDITED, AUDITED] {
        for (address, host) in scene.parties() {
            let upload = async {
                let mut raw = Raw::connect(address).await.expect("it listens");
                raw.write(Request::new("PUT").chunked(&[]).head(&host, path)).await.expect("it reads");
                raw.write(chunk(b"first, ")).await.expect("it reads");
                first_arrived.wait().await;
                raw.write(chunk(b"second")).await.expect("it reads");
                raw.write("0\r\n\r\n").await.expect("it reads");
                let head = raw.head().await.expect("it answers").expect("it answers");
                assert_eq!(head.status(), "204", "{path}");
            };
            tokio::time::timeout(SOON, upload).await.expect("the first part does not wait for the second");
        }
    }
    let bodies = bodies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(bodies, vec![b"first, second".to_vec(); 4]);
    scene.audits_one_more();
    scene.audited_everything().await;
}
