//! Answers of every kind that are short: statuses, headers, redirects, encodings, methods, odd addresses.

use crate::raw::message;
use crate::scene::{Request, Scene};

const GZIP: &[u8] = include_bytes!("encoded/agent.json.gz");
const BROTLI: &[u8] = include_bytes!("encoded/agent.json.br");
const ZSTD: &[u8] = include_bytes!("encoded/agent.json.zst");

#[tokio::test]
async fn a_page_passes_with_all_its_headers() {
    let scene = Scene::start().await;
    scene.origin.answers(message(
        "HTTP/1.1 200 OK\r\nServer: Vercel\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nVia: 1.1 first\r\n\
         Content-Type: text/html; charset=utf-8\r\nCache-Control: private, no-store\r\nETag: W/\"1\"\r\n\
         X-Frame-Options: DENY\r\nStrict-Transport-Security: max-age=63072000\r\nVary: RSC, Next-Router-State-Tree",
        "<!doctype html>",
    ));
    let request = Request::new("GET")
        .header("Accept", "*/*")
        .header("Accept-Encoding", "gzip, br, zstd")
        .header("Authorization", "Bearer not.a.token")
        .header("Cookie", "a=1; sb-ref-auth-token.0=base64-eyJ; b=%20")
        .header("If-None-Match", "W/\"0\"")
        .header("X-Forwarded-For", "203.0.113.7, 10.0.0.1")
        .header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)");
    scene.same(&request).await;
    scene.audited_everything().await;
}

#[tokio::test]
async fn c33_an_answer_to_head_keeps_its_length() {
    let scene = Scene::start().await;
    scene.origin.answers("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 123456\r\n\r\n");
    scene.same(&Request::new("HEAD")).await;
    let [_, through] = scene.both("/plain", &Request::new("HEAD")).await;
    let answer = through.answer.expect("there is one");
    assert_eq!(answer.head.header("content-length"), Some("123456"));
    scene.audited_everything().await;
}

#[tokio::test]
async fn c33_answers_without_a_body_stay_without() {
    let scene = Scene::start().await;
    scene.origin.answers("HTTP/1.1 204 No Content\r\nX-Request-Id: 7\r\n\r\n");
    scene.same(&Request::new("GET")).await;
    scene.same(&Request::new("POST").body("{}")).await;
    scene
        .origin
        .answers("HTTP/1.1 304 Not Modified\r\nETag: \"33a64df5\"\r\nCache-Control: max-age=60\r\n\r\n");
    scene.same(&Request::new("GET").header("If-None-Match", "\"33a64df5\"")).await;
    scene.origin.answers(message("HTTP/1.1 200 OK", ""));
    scene.same(&Request::new("GET")).await;
    scene.audited_everything().await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let scene = Scene::start().await;
    for (status, location) in [
        ("301 Moved Permanently", "/other"),
        ("302 Found", "https://example.com/?a=b#c"),
        ("307 Temporary Redirect", "login"),
    ] {
        let head = format!("HTTP/1.1 {status}\r\nLocation: {location}");
        scene.origin.answers(message(&head, "Redirecting..."));
        scene.same(&Request::new("GET")).await;
        scene.same(&Request::new("POST").body("a=b")).await;
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn encoded_bodies_stay_encoded() {
    let scene = Scene::start().await;
    for (encoding, body) in [("gzip", GZIP), ("br", BROTLI), ("zstd", ZSTD)] {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: {encoding}");
        scene.origin.answers(message(&head, body));
        scene.same(&Request::new("GET").header("Accept-Encoding", "gzip, deflate, br, zstd")).await;
        scene.same(&Request::new("GET")).await;
        let request = Request::new("PUT").header("Content-Type", "application/json");
        scene.same(&request.header("Content-Encoding", encoding).body(body)).await;
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn every_cookie_is_set_in_order() {
    let scene = Scene::start().await;
    scene.origin.answers(message(
        "HTTP/1.1 200 OK\r\nSet-Cookie: sb-ref-auth-token.0=base64-eyJ; Path=/; Max-Age=34560000; SameSite=Lax\r\n\
         Set-Cookie: sb-ref-auth-token.1=fQ; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nX-Between: yes\r\n\
         Set-Cookie: gone=; Max-Age=0; HttpOnly; Secure",
        "{\"success\":true}",
    ));
    scene.same(&Request::new("POST").body("{}")).await;
    let [_, through] = scene.both("/plain", &Request::new("GET")).await;
    assert_eq!(through.answer.expect("there is one").head.all("set-cookie").len(), 3);
    scene.audited_everything().await;
}

#[tokio::test]
async fn repeated_and_empty_headers_pass() {
    let scene = Scene::start().await;
    scene.origin.answers(message(
        "HTTP/1.1 200 OK\r\nX-Twice: a\r\nX-Empty:\r\nX-Twice: b, c\r\nX-Tab: a\tb\r\nWWW-Authenticate: Basic realm=\"a\"\r\n\
         WWW-Authenticate: Bearer\r\nLink: </a>; rel=preload\r\nLink: </b>; rel=preload",
        "ok",
    ));
    let request = Request::new("PUT").header("X-Empty", "").header("X-Long", "v".repeat(12_000)).body("{}");
    scene.same(&request).await;
    scene.audited_everything().await;
}

#[tokio::test]
async fn a_preflight_passes() {
    let scene = Scene::start().await;
    scene.origin.answers(
        "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: https://app.example.com\r\n\
         Access-Control-Allow-Methods: GET,POST,PATCH\r\nAccess-Control-Allow-Headers: authorization, apikey\r\n\
         Access-Control-Max-Age: 3600\r\nVary: Origin\r\n\r\n",
    );
    // A length of its own, since one without is a known difference.
    let request = Request::new("OPTIONS")
        .header("Origin", "https://app.example.com")
        .header("Access-Control-Request-Method", "PATCH")
        .header("Access-Control-Request-Headers", "authorization, apikey")
        .body("");
    scene.same(&request).await;
    scene.audited_everything().await;
}

#[tokio::test]
async fn failures_of_the_origin_keep_their_bodies() {
    let scene = Scene::start().await;
    for status in [
        "400 Bad Request",
        "401 Unauthorized",
        "404 Not Found",
        "418 I'm a teapot",
        "500 Internal Server Error",
        "503 Later",
    ] {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nRetry-After: 7");
        scene.origin.answers(message(&head, "{\"success\":false,\"error\":\"no\"}"));
        scene.same(&Request::new("GET")).await;
        scene.same(&Request::new("PUT").body("{\"agent\":{}}")).await;
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn every_method_passes_with_its_body() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK", "ok"));
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        scene.same(&Request::new(method).header("Content-Type", "application/json").body("{\"a\":1}")).await;
        scene.same(&Request::new(method).body("")).await;
    }
    scene.audited_everything().await;
}

#[tokio::test]
async fn addresses_pass_as_they_are_written() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK", "ok"));
    for suffix in [
        "?a=1&a=2&b&c=&=d&&e=%zz&f=a+b%20c",
        "?q=%C3%A9%00%2F%3F%23&x=y?z/w",
        "?select=id,name&id=eq.1&or=(a.gt.1,b.is.null)&order=a.desc.nullslast",
        "?u=https://example.com/a;b@c:d[0]|{}^`\\!*~",
        "%20%2F%C3%A9%zz;v=1,2:@!$&'()*+~=",
    ] {
        scene.same(&Request::new("GET").suffix(suffix)).await;
    }
    for (unaudited, audited) in [("//plain//a//", "//api//agents//1//"), ("/plain/%61", "/%61pi/agents/1")] {
        scene.same_at(unaudited, &Request::new("GET")).await;
        scene.same_at(audited, &Request::new("GET")).await;
    }
    scene.audited_everything().await;
}
