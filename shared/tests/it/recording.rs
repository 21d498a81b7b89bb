//! Recordings.

use shared::recording::{Exchange, RecordedRequest, RecordedResponse, parse, parse_any};

const LINE: &str = r#"{"label":"client-to-app","n":1,"name":"login.ok","at":"2026-11-23T03:21:56.964Z","ms":41,"request":{"method":"POST","url":"/path","headers":[["host","h"]],"body":"{}"},"response":{"status":200,"headers":[],"body":null}}"#;

#[test]
fn a_line_is_an_exchange_and_writes_itself_again() {
    let read = parse(LINE).expect("a recording");
    let want = Exchange {
        label: "client-to-app".to_owned(),
        n: 1,
        name: Some("login.ok".to_owned()),
        at: "2026-11-23T03:21:56.964Z".to_owned(),
        ms: 41,
        request: RecordedRequest {
            method: "POST".to_owned(),
            url: "/path".to_owned(),
            headers: vec![("host".to_owned(), "h".to_owned())],
            body: Some("{}".to_owned()),
            cut: false,
        },
        response: RecordedResponse { status: 200, headers: vec![], body: None, cut: false },
    };
    assert_eq!(read, [want]);
    assert_eq!(serde_json::to_string(&read[0]).expect("JSON"), LINE);
}

#[test]
fn empty_lines_are_skipped_and_counted() {
    assert_eq!(parse("").expect("no line is no exchange"), []);
    let text = format!("\n{LINE}\r\n  \n{LINE}\n\nnot json\n");
    let error = parse(&text).expect_err("the sixth line is no exchange");
    assert_eq!((error.line, error.column), (6, 2));
}

#[test]
fn an_error_names_its_place_once() {
    let error = parse(&format!("{LINE}\n[]")).expect_err("a list is no exchange");
    let message = error.to_string();
    assert!(message.starts_with("line 2, column "), "{message}");
    assert_eq!(message.matches("column").count(), 1, "{message}");
}

/// What a browser's tools save, with what they leave out.
const ARCHIVE: &str = r##"{
  "log": {
    "version": "1.2", "creator": {"name": "WebInspector", "version": "537.36"}, "pages": [],
    "entries": [
      {"startedDateTime": "2026-11-23T03:21:56.964Z", "time": 41.7,
       "request": {"method": "POST", "url": "https://app.example.com/api/x?a=1#top", "httpVersion": "http/2.0",
         "headers": [{"name": ":authority", "value": "app.example.com"}, {"name": "Content-Type", "value": "application/json"}],
         "queryString": [], "cookies": [], "headersSize": -1, "bodySize": 9,
         "postData": {"mimeType": "application/json", "text": "{\"a\": 1}"}},
       "response": {"status": 200, "statusText": "", "headers": [], "content": {"size": 11, "mimeType": "application/json", "text": "eyJvayI6dHJ1ZX0=", "encoding": "base64"}},
       "cache": {}, "timings": {}, "_priority": "High"},
      {"startedDateTime": "2026-11-23T03:21:57Z", "time": -1,
       "request": {"method": "POST", "url": "https://user:pw@id.example.com?x", "headers": [], "bodySize": 20,
         "postData": {"mimeType": "application/x-www-form-urlencoded",
                      "params": [{"name": "email", "value": "a@example.com"}, {"name": "file", "fileName": "my cv.pdf"}]}},
       "response": {"status": 0, "headers": [], "content": {"size": 0}}},
      {"request": {"method": "PUT", "url": "http://h/", "headers": [{"name": "host", "value": "h"}], "bodySize": 5},
       "response": {"status": 302, "headers": [{"name": "Location", "value": "/"}], "content": {"size": 700, "text": ""}}}
    ]
  }
}"##;

#[test]
fn an_archive_of_a_browser_is_read_with_decoded_bodies_and_absolute_urls() {
    let read = parse_any(ARCHIVE).expect("an archive");
    let first = &read[0];
    assert_eq!((first.label.as_str(), first.n, first.ms), ("client-to-app.example.com", 1, 41));
    assert_eq!((first.at.as_str(), first.request.url.as_str()), ("2026-11-23T03:21:56.964Z", "/api/x?a=1"));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let want = [header("host", "app.example.com"), header("Content-Type", "application/json")];
    assert_eq!(first.request.headers, want);
    assert_eq!(first.request.body.as_deref(), Some(r#"{"a": 1}"#));
    assert_eq!(first.response.body.as_deref(), Some(r#"{"ok":true}"#));
    assert!(!first.request.cut && !first.response.cut);
}

#[test]
fn parameters_are_the_form_they_were_and_an_aborted_request_has_no_status() {
    let read = parse_any(ARCHIVE).expect("an archive");
    let aborted = &read[1];
    assert_eq!((aborted.label.as_str(), aborted.request.url.as_str()), ("client-to-id.example.com", "/?x"));
    assert_eq!(aborted.request.body.as_deref(), Some("email=a%40example.com&file=my%20cv.pdf"));
    assert_eq!((aborted.response.status, aborted.ms), (0, 0));
    assert!(!aborted.response.cut, "an answer of no bytes is not a missing one");
}

#[test]
fn a_body_that_the_browser_did_not_keep_is_marked_as_missing() {
    let read = parse_any(ARCHIVE).expect("an archive");
    let redirect = &read[2];
    assert_eq!((redirect.request.body.as_ref(), redirect.request.cut), (None, true));
    assert_eq!((redirect.response.body.as_ref(), redirect.response.cut), (None, true));
    assert_eq!(redirect.request.headers.len(), 1, "the host is not named twice");
    let line = serde_json::to_string(redirect).expect("JSON");
    assert_eq!(parse(&line).expect("a line")[0], *redirect, "an archive can be kept as lines");
}

#[test]
fn an_archive_that_is_wrong_is_refused_with_line_and_column() {
    for (from, to, line, reason) in [
        ("https://app.example.com/api/x", "/api/x", 6, "the URL \"/api/x?a=1#top\" is not absolute"),
        ("eyJvayI6dHJ1ZX0=", "e#", 10, "a body is not base64"),
        (r#""method": "PUT", "#, "", 17, "missing field `method`"),
        (r#""status": 302"#, r#""status": "#, 18, "expected value"),
    ] {
        let error = parse_any(&ARCHIVE.replacen(from, to, 1)).expect_err("refused");
        assert_eq!(error.line, line, "{error}");
        assert!(error.column > 1 && error.reason.contains(reason), "{error}");
        assert_eq!(error.to_string().matches("column").count(), 1, "{error}");
    }
    let unfinished = parse_any("{\"log\"").expect_err("refused");
    assert_eq!((unfinished.line, unfinished.column), (1, 6));
}

#[test]
fn the_content_tells_the_form() {
    assert_eq!(parse_any(LINE).expect("lines").len(), 1);
    assert_eq!(parse_any(&format!("\u{feff}{ARCHIVE}")).expect("an archive").len(), 3);
    assert_eq!(parse_any(r#" { "log" : {"entries": []}}"#).expect("an archive"), []);
    assert_eq!(parse_any("").expect("no line is no exchange"), []);
}
