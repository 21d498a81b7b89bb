//! Recordings.

use shared::recording::{Exchange, RecordedRequest, RecordedResponse, parse};

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
        },
        response: RecordedResponse { status: 200, headers: vec![], body: None },
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
