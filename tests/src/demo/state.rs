//! What the demo knows: people, agents, who is asking.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use serde_json::{Value, json};

use crate::clock::{rfc3339_now, unix_now};
use crate::keys::Keys;
use crate::replay::{SessionCookie, sessions};

/// A person.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) email: String,
    pub(super) password: String,
    pub(super) name: String,
    pub(super) created_at: String,
    pub(super) profile: Value,
}

impl User {
    fn new(id: &str, email: &str, password: &str, name: &str) -> Self {
        let now = rfc3339_now();
        Self {
            id: id.to_owned(),
            email: email.to_owned(),
            password: password.to_owned(),
            name: name.to_owned(),
            profile: json!({
                "id": id, "full_name": name, "avatar_url": null, "company": "Acme", "job_title": "Ops",
                "role": "user", "bio": null, "timezone": "Europe/Zurich", "language": "en", "onboarding": true,
                "created_at": now, "updated_at": now,
            }),
            created_at: now,
        }
    }
}

/// Everything that changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) users: Vec<User>,
    /// Rows of table `agents` by id.
    pub(super) agents: BTreeMap<String, Value>,
    /// Sessions that have been logged out.
    pub(super) ended: Vec<String>,
}

/// The state and the keys, for all handlers.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) keys: Arc<Keys>,
    state: Arc<Mutex<State>>,
}

/// Who is asking.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// `authenticated` or `service_role`.
    pub(super) role: String,
    pub(super) user_id: String,
    pub(super) session_id: String,
}

impl Shared {
    pub(super) fn new(keys: Keys) -> Self {
        let users = vec![
            User::new(
                "11111111-1111-4111-8111-111111111111",
                "alice@example.com",
                "alice-password-1",
                "Alice Doe",
            ),
            User::new("22222222-2222-4222-8222-222222222222", "bob@example.com", "bob-password-1", "Bob Roe"),
        ];
        let state = State { users, agents: BTreeMap::new(), ended: Vec::new() };
        Self { keys: Arc::new(keys), state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller by the session cookie, as the application knows people.
    pub(super) fn by_cookie(&self, headers: &HeaderMap) -> Option<Caller> {
        let cookie = headers.get(COOKIE)?.to_str().ok()?;
        let json = sessions(cookie).into_iter().find_map(|cookie| match cookie {
            SessionCookie::Session(session) => Some(session.json),
            SessionCookie::Other(_) => None,
        })?;
        let session: Value = serde_json::from_str(&json).ok()?;
        self.by_token(session["access_token"].as_str().or_else(|| session[0].as_str())?)
    }

    /// The caller by the bearer token, as Supabase knows people.
    pub(super) fn by_bearer(&self, headers: &HeaderMap) -> Option<Caller> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        self.by_token(value.strip_prefix("Bearer ")?)
    }

    fn by_token(&self, token: &str) -> Option<Caller> {
        let claims = self.keys.verify(token, unix_now()).ok()?;
        let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
        let caller = Caller { role: text("role"), user_id: text("sub"), session_id: text("session_id") };
        let known = match caller.role.as_str() {
            "service_role" => true,
            "authenticated" => !self.state().ended.contains(&caller.session_id),
            _ => false,
        };
        known.then_some(caller)
    }
}

impl State {
    pub(super) fn user(&mut self, id: &str) -> Option<&mut User> {
        self.users.iter_mut().find(|user| user.id == id)
    }
}
