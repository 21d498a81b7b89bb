use super::*;

fn document(rule_members: &str, pack_members: &str) -> String {
    format!(
        r#"{{"packs":[
 {{"name":"app","version":1,{pack_members}"rules":[
  {{"id":"x","match":{{"method":"POST","path":"/api/x"}},"level":"full","action":"X_CREATED","severity":"info",
    "entity":{{"type":"x"}}{rule_members}}}]}}]}}"#
    )
}

fn refused(text: &str, bounds: Bounds<'_>) -> ServedError {
    match Document::parse(text) {
        Ok(document) => check(&document, bounds).expect_err(text),
        Err(error) => error,
    }
}

fn allowed(text: &str) {
    let document = Document::parse(text).expect(text);
    assert_eq!(check(&document, Bounds::default()), Ok(()), "{text}");
}

#[test]
fn masking_cannot_be_switched_off() {
    for rule in [
        r#","masking":false"#,
        r#","details":{"note":"request:/password"}"#,
        r#","details":{"note":"lower(first(request:/a, request:/user/api_key))"}"#,
        r#","details":{"note":"request-header:authorization"}"#,
        r#","details":{"note":"request-header:cookie"}"#,
        r#","details":{"note":"request-text"}"#,
        r#","details":{"note":"if(equals(status, 200), response-text, 'x')"}"#,
        r#","details":{"note":"cases(request:/a, 'b', query:token)"}"#,
        r#","details":{"note":"pointer(request:, '/password')"}"#,
        r#","details":{"note":"pointer(request:, query:where)"}"#,
        r#","entity":{"type":"x","id":"request:/client_secret"}"#,
        r#","claimed_user":["request:/password"]"#,
    ] {
        let text = document(rule, "");
        let text = if rule.contains("\"entity\"") {
            text.replacen("\"entity\":{\"type\":\"x\"},", "", 1)
        } else {
            text
        };
        refused(&text, Bounds::default());
    }
    refused(&document("", r#""masking":false,"#), Bounds::default());
    refused(&document("", r#""claimed_user":["request-header:x-api-key"],"#), Bounds::default());
    refused(r#"{"packs":[],"masking":false}"#, Bounds::default());
}

#[test]
fn asking_about_a_secret_is_allowed_and_so_is_what_stays_masked() {
    for details in [
        r#"{"has":"present(request:/password)","same":"fingerprint(request:/token)","n":"count(request:/secrets)"}"#,
        r#"{"password":"request:/password","tokens_used":"response:/usage/tokens"}"#,
        r#"{"required":"response:/requiredTokens","weak":"response:/weak_password/reasons"}"#,
        r#"{"body":"pick(request:, 'password', 'name')","refused":"contains(response-text, 'no')"}"#,
    ] {
        allowed(&document(&format!(r#","details":{details}"#), ""));
    }
}

#[test]
fn caps_cannot_be_raised() {
    allowed(&document(r#","capture_bytes":262144"#, ""));
    let error = refused(&document(r#","capture_bytes":262145"#, ""), Bounds::default());
    assert_eq!(error.rule.as_deref(), Some("app/x"));
    assert_eq!(
        error.to_string(),
        "line 3, column 9: rule \"app/x\": it captures 262145 bytes, over the limit of 262144"
    );
}

#[test]
fn an_old_side_names_no_host() {
    for get in ["https://evil.example/x", "//evil.example/x", "/x?u=1", "/\\\\evil.example", "x", "/@evil"] {
        refused(&document(&format!(r#","before":{{"get":"{get}","at":""}}"#), ""), Bounds::default());
    }
    allowed(&document(r#","before":{"get":"/api/limits","at":"/limits"}"#, ""));
}

#[test]
fn closed_needs_the_workers_own_word() {
    let text = document(r#","fail":"closed""#, "");
    let error = refused(&text, Bounds::default());
    assert!(error.reason.contains("closed"), "{error}");
    let document = Document::parse(&text).expect("a document");
    assert_eq!(check(&document, Bounds { allow_closed: true, ..Bounds::default() }), Ok(()));
    allowed(&self::document(r#","fail":"intent""#, ""));
}

#[test]
fn paths_of_our_own_are_not_for_rules() {
    for path in ["/.edgetrail", "/v1/batches", "/v1/policy/acme", "/v1/polic%79/acme", "/v1//batches/"] {
        refused(&document("", "").replace("/api/x", path), Bounds::default());
    }
    allowed(&document("", "").replace("/api/x", "/v1/policies"));
    refused(&document(r#","before":{"get":"/v1/policy/acme"}"#, ""), Bounds::default());
}

#[test]
fn a_pack_replaces_or_extends_one_that_is_there() {
    let bounds = Bounds { compiled_in: Some(&["app"]), allow_closed: false };
    let named = |name: &str, extends: &str| {
        document("", extends).replacen("\"name\":\"app\"", &format!("\"name\":{name:?}"), 1)
    };
    let known = |text: &str| check(&Document::parse(text).expect(text), bounds);
    assert_eq!(known(&named("app", "")), Ok(()));
    assert_eq!(known(&named("inbox-app", "\"extends\":\"app\",")), Ok(()));
    for text in [
        named("other", ""),
        named("inbox-x", "\"extends\":\"x\","),
        named("app", "\"extends\":\"app\","),
        named("edge", "\"extends\":\"app\","),
    ] {
        assert!(known(&text).is_err(), "{text}");
    }
    let pack = named("app", "");
    let pack = pack.strip_prefix("{\"packs\":[").and_then(|pack| pack.strip_suffix("]}")).expect("one pack");
    assert!(known(&format!("{{\"packs\":[{pack},{pack}]}}")).is_err());
}

#[test]
fn a_fault_is_named_with_its_place_in_the_document() {
    for (text, line, column) in [
        ("{\"packs\":[\n {\"name\":\"p\",\n \"nope\":1}]}", 3, 7),
        ("{\"packs\":[{\"name\":\"p\",\"version\":1,\"rules\":[{]}]}", 1, 45),
        ("{\"packs\":[\n", 2, 0),
        ("{\"packs\":[]}", 1, 1),
    ] {
        let error = Document::parse(text).expect_err(text);
        assert_eq!((error.line, error.column), (line, column), "{error}");
    }
    let text = document("", "").replace("\"POST\"", "\"post\"");
    let error = Document::parse(&text).expect_err("a method in small letters");
    assert_eq!((error.line, error.column, error.rule.as_deref()), (3, 9, Some("x")));
}

#[test]
fn the_signed_text_reads_back() {
    let tenant = TenantId::try_from("acme".to_owned()).expect("a slug");
    let document = Document::parse(&document("", "")).expect("a document");
    let served = Served { tenant, version: 7, document };
    let text = served.to_string();
    assert!(text.starts_with("edgetrail-policy/v1\ntenant acme\nversion 7\n{\"packs\":[{"), "{text}");
    let read: Served = text.parse().expect("a policy");
    assert_eq!((read.version, read.to_string()), (7, text.clone()));
    for (from, to) in [
        ("policy/v1", "policy/v2"),
        ("tenant acme", "tenant A"),
        ("version 7", "version 07"),
        ("version 7", "version 0"),
        ("version 7", "version 9007199254740992"),
        ("\n{", "\n\n{"),
    ] {
        assert!(text.replacen(from, to, 1).parse::<Served>().is_err(), "{to}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = text.parse::<Served>();
        let _ = Document::parse(&text);
        let _ = format!("edgetrail-policy/v1\ntenant a\nversion 1\n{text}\n").parse::<Served>();
    }
}
