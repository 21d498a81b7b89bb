//! `edgetrail policy`: trying and checking packs, without a database and without a configuration.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn policy(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_edgetrail"))
        .arg("policy")
        .args(arguments)
        // What would be refused if it were read.
        .env("EDGETRAIL_CONFIG", "/nowhere.toml")
        .output()
        .expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// An archive of a browser: a login that failed, an export that no rule names, and a page.
fn archive(folder: &Path) -> PathBuf {
    let entry = |at: &str, method: &str, url: &str, body: &Value, status: u16, answer: &Value| {
        json!({
            "startedDateTime": at, "time": 12.5,
            "request": {"method": method, "url": url, "headers": [{"name": "content-type", "value": "application/json"}],
                        "postData": {"mimeType": "application/json", "text": body.to_string()}},
            "response": {"status": status, "headers": [], "content": {"size": 2, "text": answer.to_string()}},
        })
    };
    let login = "https://ref.supabase.co/auth/v1/token?grant_type=password";
    let invoice = "https://app.example.com/shop/invoices/42/reminders";
    let archive = json!({"log": {"version": "1.2", "entries": [
        entry("2026-11-23T03:00:00Z", "POST", login, &json!({"email": "a@example.com", "password": "hunter2"}), 400,
              &json!({"error_code": "invalid_credentials"})),
        entry("2026-11-23T03:01:00Z", "POST", invoice, &json!({"to": "b@example.com"}), 201, &json!({"id": 7})),
        entry("2026-11-23T03:02:00Z", "GET", "https://app.example.com/", &json!(null), 200, &json!({})),
    ]}});
    file(folder, "traffic.har", &archive.to_string())
}

const PACK: &str = r#"{
  "name": "shop", "version": 1,
  "rules": [
    {"id": "remind", "match": {"method": "POST", "path": "/shop/invoices/{id}/reminders"}, "level": "full",
     "action": "REMINDER_SENT", "severity": "info", "entity": {"type": "invoice", "id": "path:id"},
     "details": {"reminder": "response:/id"}}
  ]
}"#;

#[test]
fn an_archive_gives_a_table_of_events_what_is_unmapped_and_what_would_leave() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, _) = policy(&["try", shown(&archive(folder.path()))]);
    assert_eq!(code, 0, "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("TIME ") && lines[0].ends_with("RULE"), "{out}");
    assert!(
        lines[1].contains("USER_LOGIN_FAILED") && lines[1].contains("failure (invalid_credentials)"),
        "{out}"
    );
    assert!(lines[2].contains("UNMAPPED_MUTATION") && lines[2].contains("edge/unmapped"), "{out}");
    assert!(out.contains("1      POST    /shop/invoices/{id}/reminders"), "{out}");
    assert!(out.contains("3 exchanges gave 2 events. "), "{out}");
    assert!(!out.contains("hunter2"), "{out}");
}

#[test]
fn a_pack_of_ones_own_is_tried_before_the_compiled_in_ones_or_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (har, pack) = (archive(folder.path()), file(folder.path(), "shop.json", PACK));
    let report = |more: &[&str]| -> Value {
        let arguments = [&["try", shown(&har), "--pack", shown(&pack), "--json"], more].concat();
        let (code, out, error) = policy(&arguments);
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&out).expect("JSON")
    };
    let both = report(&[]);
    assert_eq!(both["events"][0]["action"], "USER_LOGIN_FAILED");
    let own = &both["events"][1];
    assert_eq!((&own["action"], &own["rule"]), (&json!("REMINDER_SENT"), &json!("shop/remind")));
    assert_eq!((&own["entity"]["id"], &own["details"]), (&json!("42"), &json!({"reminder": 7})));
    assert_eq!(both["unmapped"], json!([]));
    let (leaving, traffic) = (&both["bytes"]["leaving"], &both["bytes"]["traffic"]);
    assert!(leaving.as_u64() > Some(100) && traffic.as_u64() > Some(300), "{both}");
    assert_eq!(report(&["--mount", "own"])["unmapped"][0]["route"], "/auth/v1/token");
}

#[test]
fn a_shadow_looks_at_no_body_and_drafts_rules_that_can_be_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, _) = policy(&["try", shown(&archive(folder.path())), "--shadow", "--json"]);
    assert_eq!(code, 0);
    let report: Value = serde_json::from_str(&out).expect("JSON");
    let shadow = &report["shadow"];
    assert_eq!((&shadow["span_ms"], &shadow["events_per_day"]), (&json!(120_000), &json!(1440.0)));
    assert!(shadow["capture"]["mean_us"].is_u64() && shadow["capture"]["p99_us"].is_u64(), "{shadow}");
    let draft = file(folder.path(), "draft.json", &shadow["drafts"][0].to_string());
    assert_eq!(shadow["drafts"][0]["rules"][0]["action"], "REMINDER_CREATED");
    let (code, out, _) = policy(&["check", shown(&draft)]);
    assert_eq!((code, out.trim_end().ends_with(": ok, 1 rules")), (0, true), "{out}");
    let (_, out, _) = policy(&["try", shown(&archive(folder.path())), "--pack", shown(&draft), "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON")["unmapped"], json!([]));
}

#[test]
fn each_pack_that_is_wrong_is_one_line_with_its_place_and_the_exit_code_is_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, from: &str, to: &str| file(folder.path(), name, &PACK.replacen(from, to, 1));
    let good = write("good.json", "", "");
    let wrong = [
        (write("expression.json", "response:/id", "nope(1)"), "6:35: expression \"nope(1)\""),
        (write("member.json", "\"details\"", "\"detials\""), "6:6: unknown field `detials`"),
        (write("path.json", "\"/shop", "\"shop"), "4:58: rule \"remind\": path \"shop"),
        (write("template.json", "{id}/rem", "{id/rem"), "4:58: path "),
        (write("syntax.json", "\"version\": 1,", "\"version\": 1"), "3:3: expected `,` or `}`"),
        (folder.path().join("nowhere.json"), " No such file"),
    ];
    let mut arguments = vec!["check", shown(&good)];
    arguments.extend(wrong.iter().map(|(path, _)| shown(path)));
    let (code, out, error) = policy(&arguments);
    assert_eq!(code, 2, "{out}");
    assert_eq!(error, "edgetrail: 6 of 7 packs cannot be used\n");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 7, "{out}");
    assert_eq!(lines[0], format!("{}: ok, 1 rules", good.display()));
    for (line, (path, want)) in lines[1..].iter().zip(&wrong) {
        let want = format!("{}:{want}", path.display());
        assert!(line.starts_with(&want), "{line}\nis not\n{want}");
    }
}

#[test]
fn a_recording_or_pack_that_cannot_be_read_is_one_line_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let har = archive(folder.path());
    let broken = file(folder.path(), "broken.har", "{\"log\":\n {\"entries\": [}}");
    let binary = folder.path().join("binary.har");
    std::fs::write(&binary, b"{\"log\":\xff}").expect("written");
    let pack = file(folder.path(), "pack.json", "{}");
    for (arguments, want) in [
        (vec!["try", shown(&broken)], format!("{}:2:", broken.display())),
        (vec!["try", shown(&binary)], format!("{}: it is not UTF-8", binary.display())),
        (vec!["try", shown(&har), "--pack", shown(&pack)], format!("{}:1:", pack.display())),
        (vec!["try", "/nowhere.har"], "/nowhere.har: No such file".to_owned()),
        (vec!["try", shown(&har), "--mount", "moon"], "invalid value 'moon'".to_owned()),
    ] {
        let (code, out, error) = policy(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        assert!(
            error.starts_with("edgetrail: ") && error.contains(&want) && error.lines().count() == 1,
            "{error}"
        );
    }
}
