//! What a proxy made of `fetch` changes, held to exactly what the Worker's README names.

use crate::raw::{Head, message};
use crate::scene::{AUDITED, Request, Scene, Seen, UNAUDITED};

fn arrived(seen: &Seen) -> &Head {
    &seen.arrival.as_ref().expect("it reached the origin").head
}

fn answered(seen: &Seen) -> &Head {
    &seen.answer.as_ref().expect("it was answered").head
}

#[tokio::test]
async fn addresses_are_normalised_as_browsers_do() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK", "ok"));
    for path in [UNAUDITED, AUDITED] {
        for (written, normal) in [
            ("/x/../", "/"),
            ("/./", "/"),
            ("/x/%2e%2E/", "/"),
            ("?", ""),
            ("#part", ""),
            ("?q='a'", "?q=%27a%27"),
            ("\"{}^", "%22%7B%7D%5E"),
        ] {
            let [direct, through] = scene.both(path, &Request::new("PUT").suffix(written).body("")).await;
            assert_eq!(arrived(&direct).target(), format!("{path}{written}"));
            assert_eq!(arrived(&through).target(), format!("{path}{normal}"), "{written}");
        }
    }
    let [_, through] = scene.both("/plain\\agents\\1", &Request::new("GET")).await;
    assert_eq!(arrived(&through).target(), UNAUDITED);
    scene.audited_everything().await;
}

#[tokio::test]
async fn addresses_with_bytes_that_no_address_may_hold_are_refused() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK", "ok"));
    for suffix in ["/<", "/>", "/`", "?\"", "?<", "?>", "/\u{fc}", "?\u{fc}", "?\u{7f}"] {
        let [_, through] = scene.both(UNAUDITED, &Request::new("GET").suffix(suffix)).await;
        assert_eq!(answered(&through).status(), "400", "{suffix:?}");
        assert!(through.arrival.is_none(), "{suffix:?}");
    }
}

#[tokio::test]
async fn a_request_without_a_body_says_so() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK", "ok"));
    for path in [UNAUDITED, AUDITED] {
        for (method, length) in [
            ("GET", None),
            ("HEAD", None),
            ("POST", Some("0")),
            ("PUT", Some("0")),
            ("PATCH", Some("0")),
            ("DELETE", Some("0")),
            ("OPTIONS", Some("0")),
        ] {
            let [direct, through] = scene.both(path, &Request::new(method)).await;
            assert_eq!(arrived(&direct).header("content-length"), None, "{method}");
            assert_eq!(arrived(&through).header("content-length"), length, "{method}");
        }
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn lines_of_known_headers_are_joined_and_reordered() {
    let scene = Scene::start().await;
    scene.origin.answers(message(
        "HTTP/1.1 200 OK\r\nX-A: 1\r\nSet-Cookie: a=1\r\nLink: </a>\r\nX-A: 2\r\nSet-Cookie: b=2\r\nLink: </b>",
        "ok",
    ));
    let request = Request::new("PUT")
        .header("X-A", "1")
        .header("Accept", "text/html")
        .header("X-A", "2")
        .header("Accept", "*/*")
        .body("");
    for path in [UNAUDITED, AUDITED] {
        let [direct, through] = scene.both(path, &request).await;
        assert_eq!(arrived(&direct).all("accept"), ["text/html", "*/*"]);
        assert_eq!(arrived(&through).all("accept"), ["text/html, */*"]);
        assert_eq!(arrived(&through).all("x-a"), ["1", "2"]);
        let answer = answered(&through);
        assert_eq!(answered(&direct).all("link"), ["</a>", "</b>"]);
        assert_eq!(answer.all("link"), ["</a>, </b>"]);
        assert_eq!(answer.all("x-a"), ["1", "2"]);
        assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn the_host_is_the_upstreams() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK", "ok"));
    for path in [UNAUDITED, AUDITED] {
        let [_, through] = scene.both(path, &Request::new("PUT").body("")).await;
        assert_eq!(arrived(&through).all("host"), [scene.origin.address().to_string()]);
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_becomes_chunks() {
    let scene = Scene::start().await;
    scene.origin.answers("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nas it comes");
    for path in [UNAUDITED, AUDITED] {
        let [direct, through] = scene.both(path, &Request::new("PUT").body("")).await;
        assert!(!answered(&direct).chunked() && answered(&through).chunked());
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn methods_that_the_runtime_does_not_know_are_refused() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK", "ok"));
    for method in ["FOO", "get"] {
        let [direct, through] = scene.both(UNAUDITED, &Request::new(method)).await;
        assert_eq!(answered(&direct).status(), "200", "{method}");
        assert_eq!(answered(&through).status(), "501", "{method}");
        assert!(through.arrival.is_none(), "{method}");
    }
}
