//! People in a browser: signing in with a key, a token of the application or the identity provider; sessions; and what keeps
//! other sites and guessers out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ingest::auth::{COMMAND_LINE, Role, Tenure};
use ingest::store::access::{self, Grant};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Dial, IdentityProvider, Response, Server, call, new_key, tenant};
use crate::two_people::key_of;

const SECRET: &str = "a secret of the project, 32 bytes or more";
const APP: &str = "[access.app]\nissuer = 'https://ref.example/auth/v1'\n\
                   hs256_key = 'a secret of the project, 32 bytes or more'\n";
const ORIGIN: (&str, &str) = ("origin", "http://test");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A browser that is signed in.
struct Browser {
    cookie: String,
    csrf: String,
}

impl Browser {
    /// The session of an answer to a sign-in.
    async fn of(server: &Server, answer: &Response) -> Self {
        let cookie = cookie(answer, "__host-edgetrail=").expect("a session");
        let session = call(&server.address, "GET", "/v1/session", &[("cookie", &cookie)], &[]).await.json();
        Self { csrf: session["csrf"].as_str().expect("a token").to_owned(), cookie }
    }

    async fn get(&self, server: &Server, path: &str) -> Response {
        call(&server.address, "GET", path, &[("cookie", &self.cookie)], &[]).await
    }

    async fn post(&self, server: &Server, path: &str, body: &str) -> Response {
        let headers = [("cookie", self.cookie.as_str()), ORIGIN, ("x-csrf-token", &self.csrf)];
        call(&server.address, "POST", path, &headers, body.as_bytes()).await
    }
}

/// The pair of a cookie that an answer sets. The head is in small letters, the value as it was sent.
pub(crate) fn cookie(answer: &Response, name: &str) -> Option<String> {
    let head = &answer.raw_head;
    let line = head.lines().find(|line| {
        line.to_lowercase().strip_prefix("set-cookie: ").is_some_and(|rest| rest.starts_with(name))
    })?;
    let pair = line.split_once(": ")?.1.split(';').next()?;
    Some(pair.to_owned())
}

async fn sign_in(server: &Server, credential: &str) -> Response {
    let body = json!({"credential": credential}).to_string();
    call(&server.address, "POST", "/sign-in", &[ORIGIN, JSON], body.as_bytes()).await
}

fn token(email: &str, at: chrono::DateTime<Utc>) -> String {
    let payload = json!({
        "iss": "https://ref.example/auth/v1", "aud": "authenticated", "sub": "5b1f-alice", "email": email,
        "role": "authenticated", "exp": at.timestamp() + 3_600,
    });
    let data = format!("{}.{}", BASE64.encode(r#"{"alg":"HS256"}"#), BASE64.encode(payload.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(data.as_bytes());
    format!("{data}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

async fn grant(server: &Server, who: &str, role: &str) -> Value {
    let body = json!({"who": who, "role": role}).to_string();
    let answer = server.post_as_admin("/v1/access", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_key_signs_in_and_the_session_is_what_the_key_is() {
    let server = Server::start().await;
    let answer = sign_in(&server, server.viewer_key()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let set = answer.raw_head.lines().find(|line| line.contains("__Host-edgetrail=")).expect("a cookie");
    assert!(set.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{set}");
    let browser = Browser::of(&server, &answer).await;
    let session = browser.get(&server, "/v1/session").await.json();
    assert_eq!((&session["role"], &session["masked"]), (&json!("viewer"), &json!(true)));
    assert_eq!(browser.get(&server, "/v1/events").await.status, 200);
    browser.get(&server, "/v1/openings").await.problem(403);

    let out = browser.post(&server, "/sign-out", "").await;
    assert_eq!(out.status, 303);
    browser.get(&server, "/v1/events").await.problem(401);
    let told = server.eventually("&action=ADMIN_SIGNED_*", 2).await;
    let actions: Vec<_> = told.iter().map(|event| event["action"].as_str().expect("text")).collect();
    assert_eq!(actions, ["ADMIN_SIGNED_OUT", "ADMIN_SIGNED_IN"]);
    server.stop().await;
}

#[tokio::test]
async fn a_person_who_signs_in_is_the_one_whom_a_key_or_another_name_belongs_to() {
    let server = Server::configured(APP, &[]).await;
    let grant = Grant {
        grant_id: uuid::Uuid::from_u128(7),
        tenant: tenant("demo"),
        who: "alice@example.com".to_owned(),
        tenure: Tenure::new(Role::Admin, None).expect("until it is revoked"),
        granted_by: COMMAND_LINE.to_owned(),
        granted_at: Utc::now(),
        revoked_by: None,
        revoked_at: None,
    };
    let mut transaction = server.store.begin().await.expect("begun");
    access::grant(&mut transaction, &grant).await.expect("granted");
    transaction.commit().await.expect("stored");
    let alice = token("alice@example.com", Utc::now());
    let browser = Browser::of(&server, &sign_in(&server, &alice).await).await;
    let periods = r#"{"standard_days":400,"critical_days":2555,"context_days":90}"#;
    let proposed = browser.post(&server, "/v1/retention/periods", periods).await.json();
    let approve = format!("/v1/retention/periods/{}/approve", proposed["version"]);
    for name in ["alice@example.com", "5b1f-alice"] {
        let hers = key_of(&server, Some(name)).await;
        let refused = server.post_with(&approve, &hers, "").await.problem(403);
        assert!(refused["detail"].as_str().expect("words").contains("another person"), "{refused}");
    }
    assert_eq!(server.post_as_admin(&approve, "").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_person_of_the_app_is_what_was_granted_and_nothing_once_it_is_revoked() {
    let server = Server::configured(APP, &[("EDGETRAIL__LOG__INTERVAL_MS", "20")]).await;
    let alice = token("Alice@example.com", Utc::now());
    sign_in(&server, &alice).await.problem(403);
    let granted = grant(&server, "alice@example.com", "investigator").await;
    let browser = Browser::of(&server, &sign_in(&server, &alice).await).await;
    let session = browser.get(&server, "/v1/session").await.json();
    assert_eq!((&session["who"], &session["role"]), (&json!("alice@example.com"), &json!("investigator")));
    assert_eq!(session["means"], "app_token");

    let unmasked = browser.post(&server, "/v1/session/unmask", r#"{"reason":"ticket 77: a leak"}"#).await;
    assert_eq!(unmasked.status, 200, "{}", unmasked.text());
    assert_eq!(browser.get(&server, "/v1/session").await.json()["masked"], false);
    let told = server.eventually("&action=PERSONAL_DATA_UNMASKED", 1).await;
    assert_eq!(told[0]["details"]["reason"], "ticket 77: a leak");

    let revoke = format!("/v1/access/{}/revoke", granted["id"].as_str().expect("an id"));
    assert_eq!(server.post_as_admin(&revoke, "").await.status, 200);
    browser.get(&server, "/v1/session").await.problem(401);
    for wrong in ["", "nonsense", &token("alice@example.com", Utc::now() - TimeDelta::days(1))] {
        sign_in(&server, wrong).await.problem(401);
    }
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_done_for_another_site() {
    let server = Server::start().await;
    let key = server.admin_key().to_owned();
    let body = json!({"credential": key}).to_string();
    for headers in
        [vec![JSON], vec![JSON, ("origin", "https://evil.example")], vec![JSON, ("origin", "null")]]
    {
        let answer = call(&server.address, "POST", "/sign-in", &headers, body.as_bytes()).await;
        assert_eq!(answer.problem(403)["type"], "/problems/foreign-origin");
    }
    let browser = Browser::of(&server, &sign_in(&server, &key).await).await;
    let other = Browser::of(&server, &sign_in(&server, &key).await).await;
    let hold = r#"{"reason":"a case","entity_id":"7"}"#;
    let cookie = ("cookie", browser.cookie.as_str());
    let csrf = ("x-csrf-token", browser.csrf.as_str());
    for (headers, problem) in [
        (vec![cookie, ORIGIN], "/problems/csrf"),
        (vec![cookie, ORIGIN, ("x-csrf-token", other.csrf.as_str())], "/problems/csrf"),
        (vec![cookie, csrf], "/problems/foreign-origin"),
        (vec![cookie, csrf, ("origin", "https://evil.example")], "/problems/foreign-origin"),
    ] {
        let answer = call(&server.address, "POST", "/v1/holds", &headers, hold.as_bytes()).await;
        assert_eq!(answer.problem(403)["type"], problem);
    }
    let path = format!("/v1/holds?csrf={}", browser.csrf);
    let by_form = call(&server.address, "POST", &path, &[cookie, ORIGIN], hold.as_bytes()).await;
    assert_eq!(by_form.status, 200, "a form without a script: {}", by_form.text());
    assert_eq!(browser.post(&server, "/v1/holds", hold).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_old_or_revoked() {
    let start = Utc::now();
    let dial = Dial::new(start);
    let server = Server::at(&dial).await;
    let key = server.viewer_key().to_owned();
    let idle = Browser::of(&server, &sign_in(&server, &key).await).await;
    let busy = Browser::of(&server, &sign_in(&server, &key).await).await;
    for minutes in (20..720).step_by(20) {
        dial.turn(start + TimeDelta::minutes(minutes));
        assert_eq!(busy.get(&server, "/v1/session").await.status, 200, "{minutes}");
    }
    idle.get(&server, "/v1/session").await.problem(401);
    dial.turn(start + TimeDelta::hours(12));
    busy.get(&server, "/v1/session").await.problem(401);

    let one = Browser::of(&server, &sign_in(&server, &key).await).await;
    let listed = server.get_as_admin("/v1/sessions").await.json();
    let sessions = listed["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 1, "{listed}");
    let revoke = format!("/v1/sessions/{}/revoke", sessions[0]["id"].as_str().expect("an id"));
    let foreign = new_key(&server.store, "other", Role::Admin).await;
    server.post_with(&revoke, &foreign, "").await.problem(404);
    server.post_with(&revoke, &key, "").await.problem(403);
    assert_eq!(server.post_as_admin(&revoke, "").await.status, 200);
    one.get(&server, "/v1/session").await.problem(401);
    server.stop().await;
}

#[tokio::test]
async fn whoever_fails_too_often_waits_and_is_on_record() {
    let start = Utc::now();
    let dial = Dial::new(start);
    let server = Server::at(&dial).await;
    let key = server.admin_key().to_owned();
    let last = if key.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &key[..key.len() - 1]);
    for _ in 0..5 {
        sign_in(&server, &wrong).await.problem(401);
    }
    let waits = sign_in(&server, &wrong).await;
    waits.problem(429);
    assert!(waits.head.contains("retry-after: 900"), "{}", waits.head);
    sign_in(&server, &key).await.problem(429);
    assert_eq!(server.get_as_admin("/v1/events").await.status, 200, "the key itself goes on");
    let others = sign_in(&server, server.viewer_key()).await;
    assert_eq!(others.status, 200, "another account from the same address");
    let told = server.eventually("&action=ADMIN_SIGN_IN_FAILED", 5).await;
    assert!(told.iter().all(|event| event["outcome"] == "failure"), "{told:?}");
    let locked: Vec<_> = told.iter().filter(|event| event["details"]["locked_out"] == true).collect();
    assert_eq!(locked.len(), 1, "the fifth: {told:?}");
    assert_eq!(locked[0]["severity"], "critical");
    dial.turn(start + TimeDelta::minutes(15));
    assert_eq!(sign_in(&server, &key).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn the_page_runs_nothing_inline_and_shows_what_was_wrong() {
    let server = Server::start().await;
    let page = server.call("GET", "/sign-in").await;
    assert_eq!(page.status, 200);
    let policy =
        page.head.lines().find(|line| line.starts_with("content-security-policy: ")).expect("a policy");
    assert!(!policy.contains("unsafe-inline") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let text = page.text();
    assert_eq!(text.matches("<script").count(), text.matches("<script src=\"/assets/").count());
    assert!(!text.contains("style=") && !text.contains("<style"));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let wrong = call(&server.address, "POST", "/sign-in", &[ORIGIN, form], b"credential=x&tenant=").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text().contains("role=\"alert\""), "{}", wrong.text());
    let body = format!("credential={}&tenant=demo", server.viewer_key());
    let right = call(&server.address, "POST", "/sign-in", &[ORIGIN, form], body.as_bytes()).await;
    assert_eq!(right.status, 303, "{}", right.text());
    server.stop().await;
}

/// A server whose people sign in at a provider.
async fn with_provider(provider: &IdentityProvider) -> Server {
    let toml = format!(
        "[access]\npublic_url = 'http://localhost:9'\n[access.oidc]\nissuer = '{}'\nclient_id = 'edgetrail'\n",
        provider.issuer()
    );
    Server::configured(&toml, &[("EDGETRAIL__LOG__INTERVAL_MS", "20")]).await
}

/// Goes to the provider and back; what the callback answers.
async fn journey(server: &Server, provider: &IdentityProvider, change: impl Fn(&mut Value)) -> Response {
    let begun = call(&server.address, "GET", "/sign-in/oidc", &[], &[]).await;
    assert_eq!(begun.status, 303, "{}", begun.text());
    let location = begun.raw_head.lines().find_map(|line| line.strip_prefix("location: ")).expect("a place");
    let (code, state) = provider.consent(location, change);
    let cookie = cookie(&begun, "__host-edgetrail-sign-in=").expect("a cookie of the journey");
    let back = format!("/sign-in/callback?state={state}&code={code}");
    call(&server.address, "GET", &back, &[("cookie", &cookie)], &[]).await
}

#[tokio::test]
async fn a_person_signs_in_at_the_identity_provider() {
    let provider = IdentityProvider::start().await;
    let server = with_provider(&provider).await;
    grant(&server, "alice@example.com", "admin").await;
    let back = journey(&server, &provider, |_| {}).await;
    assert_eq!(back.status, 303, "{}", back.text());
    let browser = Browser::of(&server, &back).await;
    let session = browser.get(&server, "/v1/session").await.json();
    assert_eq!((&session["means"], &session["role"]), (&json!("oidc"), &json!("admin")));
    server.stop().await;
}

#[tokio::test]
async fn an_answer_of_the_provider_that_is_wrong_in_any_part_signs_nobody_in() {
    let provider = IdentityProvider::start().await;
    let server = with_provider(&provider).await;
    grant(&server, "alice@example.com", "admin").await;
    for (name, value, status) in [
        ("nonce", json!("another"), 401),
        ("iss", json!("https://evil.example"), 401),
        ("aud", json!("another-client"), 401),
        ("azp", json!("another-client"), 401),
        ("exp", json!(1), 401),
        ("email_verified", json!(false), 403),
    ] {
        let back = journey(&server, &provider, |claims| claims[name] = value.clone()).await;
        assert_eq!(back.status, status, "{name}: {}", back.text());
        assert!(!back.raw_head.contains("__Host-edgetrail="), "{name}");
    }
    let back = call(&server.address, "GET", "/sign-in/callback?state=x&code=y", &[], &[]).await;
    assert_eq!(back.status, 401, "nobody began here");
    server.stop().await;
}
