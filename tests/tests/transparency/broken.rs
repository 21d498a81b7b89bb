//! Origins that fail, each in its own way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::raw::{Raw, chunk};
use crate::scene::{AUDITED, Answer, Gate, Request, SOON, Scene, Sent, UNAUDITED, noise};

/// More than what is captured.
const BROKEN_AT: usize = 400_000;

fn request() -> Request {
    Request::new("PUT").header("Content-Type", "application/json").body("{\"agent\":{}}")
}

/// The Worker's own answer where there is none to pass on.
fn assert_bad_gateway(answer: Option<Answer>, path: &str) {
    let answer = answer.unwrap_or_else(|| panic!("{path}: the Worker answers in place of the origin"));
    let content_type = answer.head.header("content-type");
    assert_eq!((answer.head.status(), content_type), ("502", Some("application/problem+json")), "{path}");
    let problem: Value = serde_json::from_slice(&answer.body).expect("it is JSON");
    assert_eq!(problem["status"], 502, "{path}: {problem}");
}

#[tokio::test]
async fn an_origin_that_refuses_the_connection_becomes_a_502() {
    let scene = Scene::start().await;
    for request in [request(), request().chunked(&[b"{}"])] {
        for path in [UNAUDITED, AUDITED] {
            assert_bad_gateway(
                request.send(scene.worker.address(), &scene.refusing_host(), path).await,
                path,
            );
        }
        scene.audits_one_more();
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn an_origin_that_closes_without_an_answer_becomes_a_502() {
    let scene = Scene::start().await;
    scene.origin.does(|head, mut raw| async move {
        raw.rest(head.request_body()).await;
        Ok(None)
    });
    for path in [UNAUDITED, AUDITED] {
        for request in [request(), request().chunked(&[b"{}"])] {
            let [direct, through] = scene.both(path, &request).await;
            assert!(direct.answer.is_none(), "{path}: the origin itself says nothing");
            assert_bad_gateway(through.answer, path);
        }
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_waited_for_as_long_as_the_client_does() {
    let scene = Scene::start().await;
    let patience_is_over = Gate::default();
    let gate = patience_is_over.clone();
    scene.origin.does(move |head, mut raw| {
        let gate = gate.clone();
        async move {
            raw.rest(head.request_body()).await;
            gate.wait().await;
            raw.write("HTTP/1.1 204 No Content\r\n\r\n").await?;
            Ok(Some(raw))
        }
    });
    for path in [UNAUDITED, AUDITED] {
        for (address, host) in scene.parties() {
            let request = request();
            let mut asking = std::pin::pin!(request.send(address, &host, path));
            let early = tokio::time::timeout(Duration::from_secs(2), asking.as_mut()).await;
            assert!(early.is_err(), "{path}: nothing comes before the origin answers: {early:?}");
            patience_is_over.open();
            let answer = tokio::time::timeout(SOON, asking).await.expect("now the origin answers");
            assert_eq!(answer.expect("the connection was kept").head.status(), "204", "{path}");
        }
    }
    scene.audits_one_more();
    scene.audited_everything().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_request_unless_that_is_audited() {
    let scene = Scene::start().await;
    let (arrived, gone, finish) = (Gate::default(), Gate::default(), Gate::default());
    let (at_origin, left, finished) = (arrived.clone(), gone.clone(), finish.clone());
    scene.origin.does(move |head, mut raw| {
        let (at_origin, left, finished) = (at_origin.clone(), left.clone(), finished.clone());
        async move {
            raw.rest(head.request_body()).await;
            at_origin.open();
            if head.first.contains(AUDITED) {
                finished.wait().await;
                raw.write("HTTP/1.1 204 No Content\r\n\r\n").await?;
            } else {
                raw.until_gone().await;
                left.open();
            }
            Ok(None)
        }
    });
    let hang_up = async |path: &str| {
        let mut raw = Raw::connect(scene.worker.address()).await.expect("it listens");
        raw.write(request().head(&scene.host(), path)).await.expect("it reads");
        raw.write("{\"agent\":{}}").await.expect("it reads");
        arrived.wait().await;
        raw.reset().expect("it is open");
    };
    hang_up(AUDITED).await;
    hang_up(UNAUDITED).await;
    // The Worker noticed the second reset, and so the first, before the origin goes on.
    gone.wait().await;
    finish.open();
    scene.audits_one_more();
    scene.audited_everything().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_broken_off() {
    let scene = Scene::start().await;
    let heads = ["Content-Length: 1000000", "Transfer-Encoding: chunked"];
    for (with_reset, head) in [(true, heads[0]), (false, heads[0]), (true, heads[1]), (false, heads[1])] {
        let seen = Gate::default();
        let gate = seen.clone();
        scene.origin.does(move |request, mut raw| {
            let gate = gate.clone();
            async move {
                raw.rest(request.request_body()).await;
                raw.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n")).await?;
                let body = noise(BROKEN_AT);
                raw.write(if head.starts_with('T') { chunk(&body) } else { body.to_vec() }).await?;
                // A reset overtakes what is still on its way.
                gate.wait().await;
                if with_reset {
                    raw.reset()?;
                }
                Ok(None)
            }
        });
        for path in [UNAUDITED, AUDITED] {
            for (address, host) in scene.parties() {
                let broken = async {
                    let mut raw = Raw::connect(address).await.expect("it listens");
                    raw.write(request().head(&host, path)).await.expect("it reads");
                    raw.write("{\"agent\":{}}").await.expect("it reads");
                    let head = raw.head().await.expect("it answers").expect("it answers");
                    assert_eq!(head.status(), "200");
                    let mut rest = head.response_body("PUT");
                    let mut count = 0;
                    while count < BROKEN_AT {
                        count += raw.part(&mut rest).await.expect("it goes on").expect("it goes on").len();
                    }
                    seen.open();
                    raw.rest(rest).await
                };
                let (more, whole) = tokio::time::timeout(SOON, broken).await.expect("the break is passed on");
                assert!(more.is_empty() && !whole, "{path}, {head}: {more:?}, whole: {whole}");
            }
        }
        scene.audits_one_more();
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_broken_off() {
    let scene = Scene::start().await;
    let (arrived, ended) = (Gate::default(), Gate::default());
    let received = Arc::new(Mutex::new(Vec::new()));
    let (all_arrived, over, seen) = (arrived.clone(), ended.clone(), received.clone());
    scene.origin.does(move |head, mut raw| {
        let (all_arrived, over, seen) = (all_arrived.clone(), over.clone(), seen.clone());
        async move {
            let sent = head.header("x-sent").and_then(|sent| sent.parse().ok()).unwrap_or_default();
            let (mut rest, mut count) = (head.request_body(), 0);
            while count < sent {
                count += raw.part(&mut rest).await?.map_or(0, |part| part.len());
            }
            all_arrived.open();
            let (more, whole) = raw.rest(rest).await;
            seen.lock().unwrap_or_else(PoisonError::into_inner).push((count, more.len(), whole));
            over.open();
            Ok(None)
        }
    });
    // A few bytes, and more than what is captured.
    for size in [5, 400_000] {
        let part = noise(size);
        let request = request().header("X-Sent", size.to_string());
        for request in [request.clone().body(vec![0; size + 1]), request.chunked(&[])] {
            for path in [UNAUDITED, AUDITED] {
                for (address, host) in scene.parties() {
                    for with_reset in [true, false] {
                        let mut raw = Raw::connect(address).await.expect("it listens");
                        raw.write(request.head(&host, path)).await.expect("it reads");
                        let chunked = matches!(request.body, Sent::Chunked(_));
                        let bytes = if chunked { chunk(&part) } else { part.to_vec() };
                        raw.write(bytes).await.expect("it reads");
                        arrived.wait().await;
                        if with_reset {
                            raw.reset().expect("it is open");
                        } else {
                            drop(raw);
                        }
                        ended.wait().await;
                        let last = received.lock().unwrap_or_else(PoisonError::into_inner).pop();
                        let what = format!("{path} of {host}, chunked: {chunked}, reset: {with_reset}");
                        assert_eq!(last, Some((size, 0, false)), "{what}");
                        if path == AUDITED && host == scene.host() {
                            scene.audits_one_more();
                        }
                    }
                }
            }
        }
    }
    scene.audited_everything().await;
}
