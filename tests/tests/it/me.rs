//! One's own activity in a real browser: on the server's pages, without scripts, and as an element in another site's page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use shared::event::{Action, Event, Outcome};
use tests::keys::random;
use tests::stack::{Ingest, IngestSpec, SigningKey, chromium_bin, free_port, workspace_root};

use crate::web_trail::{HOSTILE, Producer, work};

const SECRET: &str = "a secret of the project, 32 bytes or more";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";

fn token(until: i64) -> String {
    let payload = json!({
        "iss": "https://ref.example/auth/v1", "aud": "authenticated", "sub": "user-alice",
        "email": "alice@example.com", "role": "authenticated", "exp": until,
    });
    let data = format!("{}.{}", BASE64.encode(r#"{"alg":"HS256"}"#), BASE64.encode(payload.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(data.as_bytes());
    format!("{data}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

/// Alice's act `n`, some minutes ago.
fn act(minutes_ago: i64, action: &str) -> Event {
    let mut event = work(Utc::now() - TimeDelta::minutes(minutes_ago), 0);
    event.action = Action::try_from(action.to_owned()).expect("an action");
    event.outcome = Outcome::Success;
    event.actor.as_mut().expect("somebody").id = "user-alice".to_owned();
    event
}

fn alices() -> Vec<Event> {
    let mut named = act(20, "AGENT_CREATED");
    named.entity.as_mut().expect("an agent").name = Some(HOSTILE.to_owned());
    let mut phone = act(10, "USER_LOGIN");
    phone.entity = None;
    phone.context.user_agent = Some(SAFARI.to_owned());
    phone.context.session = Some("session-phone".to_owned());
    let mut login = act(30, "USER_LOGIN");
    login.entity = None;
    vec![login, named, phone, act(5, "AGENT_RUN")]
}

#[tokio::test]
async fn a_person_reads_their_activity_and_disowns_some_of_it_in_a_browser() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(chromium) = chromium_bin() else {
        println!("there is no Chromium here: the pages were not tried");
        return;
    };
    let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().expect("a folder");
    // PostgreSQL runs as another user where tests run as root.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("our own folder");
    let key = SigningKey::generate();
    let port = free_port(None).expect("a port");
    let site = free_port(None).expect("another port");
    let spec = IngestSpec {
        port,
        key: key.clone(),
        api_key: format!("etk_dev_{}", hex::encode(random::<32>())),
        more: format!(
            "[access.app]\nissuer = \"https://ref.example/auth/v1\"\ntenant = \"demo\"\nhs256_key = \"{SECRET}\"\n\
             [own_activity]\norigins = [\"http://127.0.0.1:{site}\"]\n"
        ),
    };
    let ingest = Ingest::start(&dir.path().join("ingest"), spec).await.expect("a backend");
    Producer::new(key).send(ingest.address(), &alices()).await;
    let pictures = workspace_root().join("target/web");
    std::fs::create_dir_all(&pictures).expect("our own folder");
    let node = workspace_root().join("tests/npm/node_modules/.bin/node");
    let output = tokio::process::Command::new(node)
        .arg(workspace_root().join("tests/npm/browser/me.mjs"))
        .arg(&chromium)
        .arg(format!("http://{}", ingest.address()))
        .arg(site.to_string())
        .arg(&pictures)
        .env("TOKEN", token(Utc::now().timestamp() + 3_600))
        .env("OVER", token(Utc::now().timestamp() - 60))
        .env("HOSTILE", HOSTILE)
        .output()
        .await
        .expect("Node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let seen: Value = serde_json::from_str(said.trim())
        .unwrap_or_else(|_| panic!("{said} {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(seen["problems"], json!([]), "{seen:#}");
}
