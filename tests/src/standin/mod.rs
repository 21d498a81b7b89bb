//! Stand-ins, over a real PostgreSQL, for what surrounds the edge in production and cannot run in a test: PostgREST,
//! GoTrue, and the server side of the application.
//!
//! They are not those programs. What is real is the database with its roles, row-level security and claims, and the
//! shape of each request and answer that they know, which is that of the recordings. They know no more than the tests
//! send: equality filters, one level of `select`, single rows, upserts; passwords and no other grant; a few routes.

mod app;
mod database;
mod gotrue;
mod postgrest;

pub use app::App;
pub use database::{Database, PEOPLE, Person};

use std::io;
use std::net::SocketAddr;

use axum::Json;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use sqlx::PgPool;

use crate::clock::unix_now;
use crate::keys::Keys;
use crate::wire::Server;

/// The project's API: PostgREST and GoTrue behind one address, as Supabase's gateway has them.
#[derive(Debug)]
pub struct Project {
    server: Server,
}

impl Project {
    /// Serves a database on a port.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(database: &Database, keys: &Keys, port: u16) -> io::Result<Self> {
        let over = |role| Over { pool: database.pool_of(role), keys: keys.clone() };
        let router =
            postgrest::router(over("authenticator")).merge(gotrue::router(over("supabase_auth_admin")));
        Ok(Self { server: Server::start(router, Some(port)).await? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

/// What a handler works on.
#[derive(Clone)]
struct Over {
    pool: PgPool,
    keys: Keys,
}

impl Over {
    /// The claims of the request's token, if it is good.
    fn claims(&self, headers: &HeaderMap) -> Option<Value> {
        let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        self.keys.verify(token, unix_now()).ok()
    }
}

fn answer(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(body)).into_response()
}
