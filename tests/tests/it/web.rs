//! The pages, in a real browser, on a backend with some weeks of events.

use std::path::Path;

use chrono::Utc;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::keys::random;
use tests::stack::{Ingest, IngestSpec, SigningKey, chromium_bin, free_port, workspace_root};
use tests::wire::{Answer, Call, send};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::web_trail::{HOSTILE, Producer, hostile, hostile_run, weeks, work};

/// A backend of its own.
struct Stage {
    ingest: Ingest,
    producer: Producer,
    /// The key of another admin.
    second: String,
    /// The key of somebody who sees personal data masked.
    viewer: String,
    /// The key of somebody who sees it for a reason.
    investigator: String,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn start() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().expect("a folder");
        // PostgreSQL runs as another user where tests run as root.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("our own folder");
        let key = SigningKey::generate();
        let [second, viewer, investigator] = ["second", "viewer", "investigator"]
            .map(|id| format!("etk_{id}_{}", hex::encode(random::<32>())));
        let keys = [
            ("second", "admin", &second),
            ("viewer", "viewer", &viewer),
            ("investigator", "investigator", &investigator),
        ];
        let configured = keys.map(|(id, role, key)| {
            let hash = hex::encode(Sha256::digest(key));
            format!(
                "[[api_keys]]\nid = \"{id}\"\ntenant = \"demo\"\nperson = \"{id}@example.com\"\n\
                 role = \"{role}\"\nsha256 = \"{hash}\"\n"
            )
        });
        let more = configured.concat();
        let spec = IngestSpec {
            port: free_port(None).expect("a port"),
            key: key.clone(),
            api_key: format!("etk_dev_{}", hex::encode(random::<32>())),
            more,
        };
        let ingest = Ingest::start(&dir.path().join("ingest"), spec).await.expect("a backend");
        Self { ingest, producer: Producer::new(key), second, viewer, investigator, _dir: dir }
    }

    /// A page as an admin gets it.
    async fn page(&self, url: &str) -> Answer {
        self.page_for(self.ingest.api_key(), url).await
    }

    /// A page as somebody who is signed in by a key gets it.
    async fn page_for(&self, key: &str, url: &str) -> Answer {
        let (cookie, _) = self.session(key).await;
        self.call(Call::new("GET", url).header("cookie", cookie)).await
    }

    /// Signs in with a key: the session's cookie and what its forms must bring along.
    async fn session(&self, key: &str) -> (String, String) {
        let call = Call::new("POST", "/sign-in")
            .header("content-type", "application/json")
            .header("origin", format!("http://{}", self.ingest.address()));
        let answer = self.call(Call { body: Some(json!({"credential": key}).to_string()), ..call }).await;
        let cookie = answer.header("set-cookie").unwrap_or_else(|| panic!("{}", answer.text()));
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
        (cookie, told["csrf"].as_str().expect("a token").to_owned())
    }

    /// Sends a form as somebody does who is signed in by a key.
    async fn form(&self, url: &str, key: &str, fields: &str) -> Answer {
        let (cookie, csrf) = self.session(key).await;
        let path = url.split('?').next().unwrap_or(url);
        self.post(&format!("{path}?csrf={csrf}"), Some(cookie), fields).await
    }

    async fn post(&self, url: &str, cookie: Option<String>, fields: &str) -> Answer {
        let call = Call::new("POST", url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", format!("http://{}", self.ingest.address()));
        let call = cookie.into_iter().fold(call, |call, cookie| call.header("cookie", cookie));
        self.call(Call { body: Some(fields.to_owned()), ..call }).await
    }

    async fn call(&self, call: Call) -> Answer {
        let address = self.ingest.address();
        send(address, &address.to_string(), &call).await.expect("an answer")
    }
}

const PAGES: [&str; 20] = [
    "/",
    "/dashboard",
    "/runs",
    "/agents",
    "/live",
    "/alerts",
    "/entities",
    "/actors",
    "/compliance",
    "/compliance/soc2",
    "/coverage",
    "/inbox",
    "/integrity",
    "/exports",
    "/streams",
    "/policies",
    "/retention",
    "/holds",
    "/erasures",
    "/access",
];

#[tokio::test]
async fn pages_are_for_who_is_signed_in_and_allow_no_inline_script() {
    let stage = Stage::start().await;
    for url in PAGES {
        let stranger = stage.call(Call::new("GET", url)).await;
        assert_eq!(stranger.status, 303, "{url}");
        assert!(stranger.header("location").is_some_and(|to| to.starts_with("/sign-in")), "{url}");
        let page = stage.page(url).await;
        assert_eq!(page.status, 200, "{url}: {}", page.text());
        let policy = page.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("script-src 'self'"),
            "{url}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{url}: {policy}");
        let text = page.text();
        assert!(!text.contains("<style") && !text.contains(" style=") && !text.contains("http://"), "{url}");
        assert_eq!(text.matches("<script").count(), 1, "{url}");
    }
    let wrong = stage.post("/sign-in", None, "credential=etk_dev_nope&next=%2Flive").await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    assert!(wrong.text().contains("value=\"/live\""), "it goes on where it was going: {}", wrong.text());
    let fields = format!("credential={}&next=https%3A%2F%2Fexample.com", stage.ingest.api_key());
    let right = stage.post("/sign-in", None, &fields).await;
    assert_eq!((right.status, right.header("location")), (303, Some("/")));
    let forged = stage.post("/holds", Some(stage.session(stage.ingest.api_key()).await.0), "reason=x").await;
    assert_eq!(forged.status, 403, "a form without the session's token");
    let cookie = right.header("set-cookie").unwrap_or_default().to_owned();
    for part in ["__Host-", "Secure", "HttpOnly", "SameSite=Lax"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    for url in [
        "/events/no-id",
        "/events/0192f0c1-2345-7abc-8def-0123456789ab",
        "/entities/agent/none",
        "/actors/none",
    ] {
        let missing = stage.page(url).await;
        assert_eq!(missing.status, 404, "{url}");
        assert!(missing.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{url}");
    }
    let style = stage.page("/").await.text();
    let asset =
        style.split("href=\"").find_map(|rest| rest.split('"').next().filter(|url| url.ends_with(".css")));
    let asset = stage.call(Call::new("GET", asset.expect("a style sheet"))).await;
    assert!(asset.header("cache-control").is_some_and(|value| value.contains("immutable")));
}

#[tokio::test]
async fn an_erasure_needs_a_second_person_and_a_hold_is_placed_and_released() {
    let mut stage = Stage::start().await;
    let (address, first) = (stage.ingest.address(), stage.ingest.api_key().to_owned());
    let events: Vec<_> = (0..10).map(|n| work(Utc::now(), n)).collect();
    stage.producer.send(address, &events).await;
    sequenced(&stage, 10).await;
    let wish = "subject=user-bob&emails=&mode=erase&legal_basis=GDPR+Art.+17";
    let asked = stage.form("/erasures", &first, wish).await;
    assert_eq!(asked.status, 303, "{}", asked.text());
    let page = stage.page("/erasures").await.text();
    assert!(page.contains("user-bob") && page.contains("GDPR Art. 17"), "{page}");
    let approve = action(&page, "/approve").expect("a form to consent with");
    let alone = stage.form(&approve, &first, "").await;
    assert_eq!(alone.status, 403, "{}", alone.text());
    assert!(alone.text().contains("This takes two people"));
    assert_eq!(stage.form(&approve, &stage.second, "").await.status, 303);
    assert!(!stage.page("/erasures").await.text().contains(&approve), "it is consented to once");

    let nothing = stage.form("/holds", &first, "reason=x&entity_type=&actor_id=").await;
    assert!(nothing.status == 400 || nothing.status == 422, "{}", nothing.status);
    let placed = stage.form("/holds", &first, "reason=Case+%3C7%3E&actor_id=user-alice").await;
    assert_eq!(placed.status, 303, "{}", placed.text());
    let page = stage.page("/holds").await.text();
    assert!(page.contains("acts of user-alice") && !page.contains("Case <7>"), "{page}");
    let release = action(&page, "/release").expect("a form");
    assert_eq!(stage.form(&release, &first, "").await.status, 303);
    assert!(stage.page("/holds").await.text().contains("released by dev"));
}

#[tokio::test]
async fn periods_are_previewed_and_proposed_by_one_admin_and_approved_by_another() {
    let stage = Stage::start().await;
    let first = stage.ingest.api_key().to_owned();
    let trial = "/retention?standard_days=100&critical_days=400&context_days=30";
    let page = stage.page(trial).await.text();
    assert!(page.contains("This is a preview") && page.contains("100, 400 and 30 days"), "{page}");
    assert_eq!(stage.page("/retention?standard_days=1").await.status, 422);
    let wish = "standard_days=100&critical_days=400&context_days=30";
    let proposed = stage.form("/retention/periods", &first, wish).await;
    assert_eq!(proposed.status, 303, "{}", proposed.text());
    let short = stage.form("/retention/periods", &first, "standard_days=x&critical_days=400&context_days=30");
    assert_eq!(short.await.status, 400);
    let page = stage.page("/retention").await.text();
    let approve = action(&page, "/approve").expect("a form to agree with");
    assert_eq!(stage.form(&approve, &first, "").await.status, 403, "nobody agrees with themselves");
    assert_eq!(stage.form(&approve, &stage.second, "").await.status, 303);
    let page = stage.page("/retention").await.text();
    assert!(page.contains("approved, counts from"), "the wait is shown: {page}");
    let refuse = action(&page, "/refuse").expect("until then it can be refused");
    assert_eq!(stage.form(&refuse, &first, "").await.status, 303);
    let page = stage.page("/retention").await.text();
    assert!(page.contains("refused") && action(&page, "/refuse").is_none(), "{page}");
}

#[tokio::test]
async fn rule_packs_are_read_with_what_they_change_and_agreed_to_by_another_admin() {
    let stage = Stage::start().await;
    let first = stage.ingest.api_key().to_owned();
    let packs = json!({"packs": [{"name": "shop", "version": 1, "rules": [{
        "id": "order.create", "match": {"method": "POST", "path": "/api/orders"}, "level": "full",
        "action": "ORDER_CREATED", "severity": "info", "entity": {"type": "order"}}]}]});
    let call = Call::new("POST", "/v1/policy").header("authorization", format!("Bearer {first}"));
    let answer = stage.call(Call { body: Some(packs.to_string()), ..call }).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
    let url = format!("/policies/{}", told["version"]);
    assert!(stage.page("/policies").await.text().contains(&format!("href=\"{url}\"")));
    let page = stage.page(&url).await.text();
    assert!(page.contains("<ins>order.create</ins>") && page.contains("proposed"), "{page}");
    let approve = action(&page, "/approve").expect("a form to agree with");
    assert_eq!(stage.form(&approve, &first, "").await.status, 403);
    assert_eq!(stage.form(&approve, &stage.second, "").await.status, 303);
    let page = stage.page(&url).await.text();
    assert!(page.contains("active") && action(&page, "/approve").is_none(), "{page}");
    assert_eq!(stage.page("/policies/99").await.status, 404);
}

#[tokio::test]
async fn an_investigator_says_why_before_an_export() {
    let mut stage = Stage::start().await;
    stage.producer.send(stage.ingest.address(), &[work(Utc::now(), 2)]).await;
    let (cookie, csrf) = stage.session(&stage.investigator).await;
    let page = async |url: &str| stage.call(Call::new("GET", url).header("cookie", cookie.clone())).await;
    let before = page("/?q=entity%3Aagent").await.text();
    assert!(before.contains("Show personal data") && !before.contains("Download now"), "{before}");
    assert!(!before.contains("erin@example.com"));
    let wish = "q=entity%3Aagent&format=csv";
    let refused = stage.post(&format!("/exports?csrf={csrf}"), Some(cookie.clone()), wish).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let short =
        stage.post(&format!("/unmask?csrf={csrf}"), Some(cookie.clone()), "q=&reason=x&minutes=5").await;
    assert_eq!(short.status, 400, "{}", short.text());
    let fields = "q=entity%3Aagent&reason=case+seven&minutes=5";
    let shown = stage.post(&format!("/unmask?csrf={csrf}"), Some(cookie.clone()), fields).await;
    assert_eq!((shown.status, shown.header("location")), (303, Some("/?q=entity%3Aagent")));
    let after = page("/?q=entity%3Aagent").await.text();
    assert!(after.contains("Download now") && after.contains("erin@example.com"), "{after}");
    assert!(!after.contains("with proofs"), "proofs are for auditors");
    assert_eq!(stage.post(&format!("/exports?csrf={csrf}"), Some(cookie.clone()), wish).await.status, 303);
    assert!(page("/exports").await.text().contains("entity:agent"));
}

#[tokio::test]
async fn viewers_are_offered_nothing_that_they_may_not_do() {
    let mut stage = Stage::start().await;
    stage.producer.send(stage.ingest.address(), &[work(Utc::now(), 2)]).await;
    let page = stage.page_for(&stage.viewer, "/?q=is:failed").await.text();
    assert!(page.contains("id=\"saved\"") && !page.contains("id=\"export\""), "{page}");
    for url in ["/exports", "/holds", "/erasures", "/access"] {
        assert!(!page.contains(&format!("href=\"{url}\"")), "{url} is not offered");
        assert_eq!(stage.page_for(&stage.viewer, url).await.status, 403, "{url}");
    }
    let retention = stage.page_for(&stage.viewer, "/retention").await.text();
    assert!(!retention.contains("Propose") && !retention.contains("What goes next"), "{retention}");
    assert_eq!(stage.form("/exports", &stage.viewer, "q=&format=csv").await.status, 403);
    for url in ["/dashboard", "/actors", "/entities", "/alerts"] {
        let page = stage.page_for(&stage.viewer, url).await;
        assert!(page.status == 200, "{url}");
        assert!(!page.text().contains("erin@example.com"), "{url} shows an address");
    }
    let saved =
        stage.form("/searches", stage.ingest.api_key(), "name=A&q=actor%3Aerin%40example.com&shared=1").await;
    assert_eq!((saved.status, saved.header("location")), (303, Some("/?q=actor%3Aerin%40example.com")));
    let page = stage.page_for(&stage.viewer, "/").await.text();
    assert!(page.contains("<code>a***@example.com</code>") && !page.contains("erin@example.com"), "{page}");
}

#[tokio::test]
async fn access_is_granted_and_revoked_and_a_session_is_ended() {
    let stage = Stage::start().await;
    let first = stage.ingest.api_key().to_owned();
    let endless = stage.form("/access", &first, "who=ada%40example.com&role=auditor&until=").await;
    assert_eq!(endless.status, 400, "an auditor's access ends: {}", endless.text());
    let granted = stage.form("/access", &first, "who=ada%40example.com&role=auditor&until=2999-01-31").await;
    assert_eq!(granted.status, 303, "{}", granted.text());
    let page = stage.page("/access").await.text();
    assert!(page.contains("ada@example.com") && page.contains("2999-01-31 23:59:59"), "{page}");
    assert!(!page.contains(&first), "keys are told by their names alone");
    let revoke = action(&page, "/revoke").expect("a form");
    assert_eq!(stage.form(&revoke, &first, "").await.status, 303);
    assert!(stage.page("/access").await.text().contains("revoked by dev"));
    let (cookie, _) = stage.session(&stage.viewer).await;
    let page = stage.page("/access").await.text();
    let of_viewer = page.split("<tr>").find(|row| row.contains("End the session of viewer")).expect("a row");
    let end = action(of_viewer, "/end").expect("a form");
    assert_eq!(stage.form(&end, &first, "").await.status, 303);
    let after = stage.call(Call::new("GET", "/").header("cookie", cookie)).await;
    assert_eq!(after.status, 303, "it is asked to sign in");
}

/// The path that a form of a page is sent to.
fn action(page: &str, end: &str) -> Option<String> {
    let paths = page.split("action=\"").filter_map(|rest| rest.split(['"', '?']).next());
    paths.filter(|path| path.ends_with(end)).map(str::to_owned).next()
}

#[tokio::test]
async fn a_tail_tells_each_event_once_also_to_who_comes_back() {
    let mut stage = Stage::start().await;
    let address = stage.ingest.address();
    stage.producer.send(address, &[work(Utc::now(), 0)]).await;
    sequenced(&stage, 1).await;
    let mut tail = Tail::open(&stage, "action:AGENT_*", None).await;
    let (place, _) = tail.next().await;
    let first: Vec<_> = (0..24).map(|n| work(Utc::now(), n)).collect();
    stage.producer.send(address, &first).await;
    let wanted = |events: &[shared::event::Event]| -> Vec<String> {
        let agents = events.iter().filter(|event| event.action.as_str().starts_with("AGENT_"));
        let mut ids: Vec<_> = agents.map(|event| event.id.uuid().to_string()).collect();
        ids.sort();
        ids
    };
    // Cuts the connection in the middle of a batch.
    let mut told = Vec::new();
    let mut last = place;
    for _ in 0..3 {
        let (place, event) = tail.next().await;
        told.push(event["id"].as_str().expect("an id").to_owned());
        last = place;
    }
    drop(tail);
    let second: Vec<_> = (24..40).map(|n| work(Utc::now(), n)).collect();
    stage.producer.send(address, &second).await;
    let all = wanted(&[first, second].concat());
    let mut tail = Tail::open(&stage, "action:AGENT_*", Some(&last)).await;
    tail.next().await;
    while told.len() < all.len() {
        told.push(tail.next().await.1["id"].as_str().expect("an id").to_owned());
    }
    told.sort();
    assert_eq!(told, all);
    let lost = Call::new("GET", "/v1/events/live")
        .header("authorization", format!("Bearer {}", stage.ingest.api_key()))
        .header("last-event-id", "elsewhere.0.0");
    assert_eq!(stage.call(lost).await.status, 400);
}

/// Waits until the log has taken events in.
async fn sequenced(stage: &Stage, leaves: u64) {
    for _ in 0..100 {
        let logs = stage.ingest.api().get("/v1/integrity").await.expect("an answer").json();
        if logs["logs"][0]["size"].as_u64() >= Some(leaves) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the log does not grow");
}

/// A client of the tail.
struct Tail(BufReader<tokio::net::TcpStream>);

impl Tail {
    async fn open(stage: &Stage, q: &str, last: Option<&str>) -> Self {
        let mut stream = tokio::net::TcpStream::connect(stage.ingest.address()).await.expect("a listener");
        let last = last.map(|place| format!("last-event-id: {place}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /v1/events/live?q={} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{last}\r\n",
            q.replace(':', "%3A"),
            stage.ingest.api_key()
        );
        stream.write_all(head.as_bytes()).await.expect("a connection");
        Self(BufReader::new(stream))
    }

    /// The next message: its place and its data.
    async fn next(&mut self) -> (String, Value) {
        let (mut place, mut data) = (String::new(), None);
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(std::time::Duration::from_secs(60), self.0.read_line(&mut line));
            assert!(read.await.expect("in time").expect("a line") > 0, "the tail ended");
            if let Some(text) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(text).expect("JSON"));
            } else if let Some(text) = line.strip_prefix("id: ") {
                text.trim_end().clone_into(&mut place);
            } else if line.trim().is_empty()
                && let Some(data) = data.take()
            {
                return (place, data);
            }
        }
    }
}

/// Drives the pages; gives what it saw.
async fn browse(chromium: &Path, stage: &mut Stage, pictures: &Path) -> Value {
    let node = workspace_root().join("tests/npm/node_modules/.bin/node");
    let mut driver = tokio::process::Command::new(node)
        .arg(workspace_root().join("tests/npm/browser/web.mjs"))
        .arg(chromium)
        .arg(format!("http://{}", stage.ingest.address()))
        .arg(pictures)
        .env("EDGETRAIL_API_KEY", stage.ingest.api_key())
        .env("HOSTILE", HOSTILE)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("Node runs");
    let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
    let mut seen = Value::Null;
    while let Some(line) = lines.next_line().await.expect("text") {
        match serde_json::from_str::<Value>(&line).expect("JSON") {
            // The page listens; now something happens.
            said if said == json!("listening") => {
                stage.producer.send(stage.ingest.address(), &[work(Utc::now(), 4)]).await;
            }
            said => seen = said,
        }
    }
    assert!(driver.wait().await.expect("it ran").success());
    seen
}

#[tokio::test]
async fn a_person_finds_reads_and_follows_events_in_a_browser() {
    let Some(chromium) = chromium_bin() else {
        println!("there is no Chromium here: the pages were not tried");
        return;
    };
    let mut stage = Stage::start().await;
    let address = stage.ingest.address();
    stage.producer.send(address, &weeks(Utc::now())).await;
    stage.producer.send(address, &[hostile(Utc::now()), hostile_run(Utc::now())]).await;
    sequenced(&stage, 276).await;
    let pictures = workspace_root().join("target/web");
    std::fs::create_dir_all(&pictures).expect("our own folder");
    let seen = browse(&chromium, &mut stage, &pictures).await;
    assert_eq!(seen["problems"], json!([]), "{seen:#}");
    assert_eq!(seen["foreign"], json!([]), "{seen:#}");
    assert!(seen["pages"].as_u64() >= Some(60), "{seen:#}");
}
