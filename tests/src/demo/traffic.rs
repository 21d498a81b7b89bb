//! A day in the life of the demo's two people, through the Worker or straight to the demo.
//!
//! Everything is as a browser does it: the session lies in the cookie that `@supabase/ssr` would write, Supabase is
//! called with the bearer token and the public key. It ends as it began (no agents, the old password), so that it can
//! be told again.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::replay::Session;
use crate::wire::{Answer, Call, WireError, send};

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

/// Why the story could not be told.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// No answer.
    #[error("{what}: {source}")]
    Wire {
        /// What was being done.
        what: String,
        /// Why there is no answer.
        source: WireError,
    },
    /// Another answer than the demo gives.
    #[error("{what}: status {status}, not {expected}: {body}")]
    Status {
        /// What was being done.
        what: String,
        /// The status.
        status: u16,
        /// The status that the demo gives.
        expected: u16,
        /// The body.
        body: String,
    },
}

/// What happened.
#[derive(Debug, Default, Clone, Copy)]
pub struct Story {
    /// All requests.
    pub requests: usize,
    /// Those that were meant to change something, refused or not: each is one event.
    pub mutations: usize,
}

/// Where the two hosts are: an address and the `Host` to ask for.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    pub(super) app: (SocketAddr, String),
    pub(super) supabase: (SocketAddr, String),
}

/// Tells the story through one address that serves both hosts.
///
/// # Errors
/// [`TrafficError`] at the first answer that is not as expected.
pub async fn play(
    address: SocketAddr,
    app_host: &str,
    supabase_host: &str,
    anon_key: &str,
) -> Result<Story, TrafficError> {
    let hosts = Hosts { app: (address, app_host.to_owned()), supabase: (address, supabase_host.to_owned()) };
    tell(&hosts, anon_key).await
}

pub(super) async fn tell(hosts: &Hosts, anon_key: &str) -> Result<Story, TrafficError> {
    let mut alice = Person::new(hosts, anon_key, "alice", "203.0.113.7");
    let mut bob = Person::new(hosts, anon_key, "bob", "198.51.100.23");
    alice.app("GET", "/", None, 200).await?;
    alice.log_in("alice-password-0", 400).await?;
    alice.log_in("alice-password-1", 200).await?;

    let mut agents = Vec::new();
    for (name, plugins, cron) in [
        ("Invoice chaser", json!(["google-mail", "stripe"]), json!("0 8 * * *")),
        ("Weekly report", json!(["google-mail", "slack"]), json!("0 9 * * 1")),
        ("Failing import", json!(["notion"]), Value::Null),
    ] {
        let mode = if cron.is_null() { "on_demand" } else { "scheduled" };
        let agent = json!({
            "agent_name": name, "description": name, "user_prompt": "Do it", "system_prompt": "You are helpful",
            "mode": mode, "schedule_cron": cron, "timezone": "Europe/Zurich", "plugins_required": plugins,
            "workflow_steps": [{ "id": "s1", "type": "action", "plugin": plugins[0], "action": "search" }],
            "status": "draft",
        });
        let body = json!({ "agent": agent, "sessionId": "sess-1" });
        let answer = alice.app("POST", "/api/create-agent", Some(body), 201).await?;
        agents.push(answer.json()["agent"]["id"].as_str().unwrap_or_default().to_owned());
    }
    let [chaser, report, failing] = [&agents[0], &agents[1], &agents[2]];

    alice.app("GET", "/api/agents", None, 200).await?;
    let change = json!({ "agent": { "agent_name": "Invoice chaser v2", "status": "active",
                                    "plugins_required": ["google-mail", "slack"] } });
    alice.app("PUT", &format!("/api/agents/{chaser}"), Some(change), 200).await?;
    let input = json!({ "text": "hello" });
    let run = json!({ "agent_id": chaser, "execution_type": "manual", "input_variables": input });
    alice.app("POST", "/api/run-agent", Some(run), 200).await?;
    let run = json!({ "agent_id": failing, "execution_type": "run" });
    alice.app("POST", "/api/run-agent", Some(run), 200).await?;

    let pause = json!({ "status": "inactive" });
    let row = format!("/rest/v1/agents?id=eq.{report}");
    alice.supabase("PATCH", &row, Some(pause.clone()), 204).await?;
    bob.log_in("bob-password-1", 200).await?;
    // Not his: row-level security lets it match nothing, and the application does not find it.
    bob.supabase("PATCH", &row, Some(pause.clone()), 204).await?;
    let theirs = json!({ "agent": pause });
    bob.app("PUT", &format!("/api/agents/{report}"), Some(theirs), 404).await?;
    bob.log_out().await?;

    alice.app("GET", "/api/user/profile", None, 200).await?;
    let profile = json!({ "full_name": "Alice D. Doe", "company": "Acme AG", "timezone": "UTC" });
    alice.app("PUT", "/api/user/profile", Some(profile), 200).await?;
    let profile = json!({ "full_name": "Alice Doe", "company": "Acme", "timezone": "Europe/Zurich" });
    alice.app("PUT", "/api/user/profile", Some(profile), 200).await?;
    for (password, status) in
        [("alice-password-2", 200), ("alice-password-2", 422), ("alice-password-1", 200)]
    {
        let body = json!({ "password": password, "code_challenge": null, "code_challenge_method": null });
        alice.supabase("PUT", "/auth/v1/user", Some(body), status).await?;
    }
    for agent in &agents {
        alice.app("DELETE", &format!("/api/agents/{agent}"), None, 200).await?;
    }
    alice.log_out().await?;
    Ok(Story {
        requests: alice.story.requests + bob.story.requests,
        mutations: alice.story.mutations + bob.story.mutations,
    })
}

struct Person<'a> {
    hosts: &'a Hosts,
    anon_key: &'a str,
    email: String,
    ip: &'a str,
    cookie: Option<String>,
    bearer: String,
    story: Story,
}

impl<'a> Person<'a> {
    fn new(hosts: &'a Hosts, anon_key: &'a str, name: &str, ip: &'a str) -> Self {
        Self {
            hosts,
            anon_key,
            email: format!("{name}@example.com"),
            ip,
            cookie: None,
            bearer: anon_key.to_owned(),
            story: Story::default(),
        }
    }

    async fn log_in(&mut self, password: &str, expected: u16) -> Result<(), TrafficError> {
        let body = json!({ "email": self.email, "password": password, "gotrue_meta_security": {} });
        let url = "/auth/v1/token?grant_type=password";
        let answer = self.supabase("POST", url, Some(body), expected).await?;
        if let Some(token) = answer.json()["access_token"].as_str() {
            token.clone_into(&mut self.bearer);
            let name =
                format!("sb-{}-auth-token", self.hosts.supabase.1.split('.').next().unwrap_or_default());
            let cookies = Session::new(&name, answer.text()).cookies().into_iter();
            let pairs: Vec<String> = cookies.map(|(name, value)| format!("{name}={value}")).collect();
            self.cookie = Some(pairs.join("; "));
        }
        Ok(())
    }

    async fn log_out(&mut self) -> Result<(), TrafficError> {
        self.supabase("POST", "/auth/v1/logout?scope=global", None, 204).await?;
        self.cookie = None;
        self.anon_key.clone_into(&mut self.bearer);
        Ok(())
    }

    async fn app(
        &mut self,
        method: &str,
        url: &str,
        body: Option<Value>,
        expected: u16,
    ) -> Result<Answer, TrafficError> {
        let mut call = Call::new(method, url).header("accept", "application/json");
        if let Some(cookie) = &self.cookie {
            call = call.header("cookie", cookie);
        }
        let host = &self.hosts.app;
        self.send(host, call, body, expected).await
    }

    async fn supabase(
        &mut self,
        method: &str,
        url: &str,
        body: Option<Value>,
        expected: u16,
    ) -> Result<Answer, TrafficError> {
        let call = Call::new(method, url)
            .header("accept", "*/*")
            .header("apikey", self.anon_key)
            .header("authorization", format!("Bearer {}", self.bearer))
            .header("x-client-info", "supabase-ssr/0.6.1 createBrowserClient")
            .header("x-supabase-api-version", "2024-01-01");
        let host = &self.hosts.supabase;
        self.send(host, call, body, expected).await
    }

    async fn send(
        &mut self,
        (address, host): &(SocketAddr, String),
        call: Call,
        body: Option<Value>,
        expected: u16,
    ) -> Result<Answer, TrafficError> {
        let mut call = call.header("user-agent", AGENT).header("x-forwarded-for", self.ip);
        if let Some(body) = body {
            call = call.json(&body);
        }
        let what = format!("{} {} for {}", call.method, call.url, self.email);
        self.story.requests += 1;
        self.story.mutations += usize::from(call.method != "GET");
        match send(*address, host, &call).await {
            Ok(answer) if answer.status == expected => Ok(answer),
            Ok(answer) => {
                Err(TrafficError::Status { what, status: answer.status, expected, body: answer.text() })
            }
            Err(source) => Err(TrafficError::Wire { what, source }),
        }
    }
}
