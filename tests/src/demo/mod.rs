//! A small application and its Supabase project, in memory: enough of both for a person to log in, make agents, run
//! them and change settings, with the answers of the real ones (statuses, headers, fields) as recorded.
//!
//! The accounts are `alice@example.com` and `bob@example.com`, the passwords `alice-password-1` and `bob-password-1`.
//! An agent with "fail" in its name fails when it is run, with status 200, as in the application.

mod agent;
mod app;
mod gotrue;
mod postgrest;
mod state;
mod traffic;

pub use traffic::{Story, TrafficError, play};

use std::io;
use std::net::SocketAddr;

use crate::keys::Keys;
use crate::wire::Server;
use state::Shared;

/// Both servers; they end when this is dropped.
#[derive(Debug)]
pub struct Demo {
    app: Server,
    supabase: Server,
}

impl Demo {
    /// Starts the application and its Supabase project on these ports, or on free ones.
    ///
    /// # Errors
    /// A port is taken.
    pub async fn start(keys: Keys, app: Option<u16>, supabase: Option<u16>) -> io::Result<Self> {
        let shared = Shared::new(keys);
        let project = gotrue::router().merge(postgrest::router()).with_state(shared.clone());
        Ok(Self {
            app: Server::start(app::router().with_state(shared), app).await?,
            supabase: Server::start(project, supabase).await?,
        })
    }

    /// Where the application listens.
    pub fn app(&self) -> SocketAddr {
        self.app.address()
    }

    /// Where the Supabase project listens.
    pub fn supabase(&self) -> SocketAddr {
        self.supabase.address()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::traffic::Hosts;

    #[tokio::test]
    async fn the_story_can_be_told_twice() {
        let keys = Keys::from_seed("demo");
        let anon = keys.api_key("anon");
        let demo = Demo::start(keys, None, None).await.expect("there are ports");
        let hosts = Hosts {
            app: (demo.app(), "app.localhost".to_owned()),
            supabase: (demo.supabase(), "ref.localhost".to_owned()),
        };
        let first = traffic::tell(&hosts, &anon).await.expect("the story goes as expected");
        let second = traffic::tell(&hosts, &anon).await.expect("the story goes as expected again");
        assert_eq!(first.mutations, second.mutations);
        assert!(first.mutations > 15);
    }
}
