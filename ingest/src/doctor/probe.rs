//! Looks over the network: names, the backend, the mounts and their origins.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::header::DATE;
use reqwest::{Client, Url};

use super::judge::{Answered, Probed};
use crate::clock::random;
use crate::store::{Store, vitals};

/// An answer to a small question takes no longer.
const WITHIN: Duration = Duration::from_secs(10);
/// How often is looked whether a request was counted.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What is kept of an answer that says what is wrong, in bytes.
const SAID: usize = 300;
/// The route under which the Worker counts our requests: the rest of the path is an id and is folded.
const ROUTE: &str = "/.well-known/edgetrail-doctor/{id}";

/// The addresses of a host, which may have a port. Names under `localhost` are this machine (RFC 6761), whatever the resolver says.
///
/// # Errors
/// What the resolver said.
pub async fn addresses(host: &str) -> Result<Vec<IpAddr>, String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if is_local(name) {
        return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
    }
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| error.to_string())?;
    let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// What a URL answers to GET, and the time on its clock.
pub async fn ask(url: &str) -> (Answered, Option<DateTime<Utc>>) {
    match get(url).await {
        Ok(mut answer) => {
            let theirs = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
            let theirs =
                theirs.and_then(|date| DateTime::parse_from_rfc2822(date).ok()).map(|at| at.to_utc());
            let status = answer.status().as_u16();
            let first = answer.chunk().await.ok().flatten().unwrap_or_default();
            (Answered::Status(status, said(&first)), theirs)
        }
        Err(reason) => (Answered::Nothing(reason), None),
    }
}

/// The detail of a problem document, or the beginning of whatever it is, in one line.
fn said(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).map(str::to_owned);
    let text = detail.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(SAID)]).into_owned());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Requests a path of a mount that nobody else asks for, and waits until the Worker's count of it arrives.
pub async fn count(store: &Store, host: &str, mount: &str, patience: Duration) -> Probed {
    let counted = async || vitals::requests_of_route(store, host, ROUTE).await.unwrap_or(0);
    let before = counted().await;
    let path = ROUTE.replace("{id}", &hex::encode(random::<16>()));
    let status = match get(&format!("{mount}{path}")).await {
        Ok(answer) => answer.status().as_u16(),
        Err(reason) => return Probed::Unanswered(reason),
    };
    let asked = Instant::now();
    while asked.elapsed() < patience {
        if counted().await > before {
            return Probed::Counted(asked.elapsed().as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Probed::Uncounted { status, seconds: patience.as_secs() }
}

async fn get(url: &str) -> Result<reqwest::Response, String> {
    crate::tls::use_ring();
    let url: Url = url.parse().map_err(|error| format!("{error}"))?;
    let mut client = Client::builder().timeout(WITHIN).redirect(reqwest::redirect::Policy::none());
    if let Some(name) = url.host_str().filter(|name| is_local(name)) {
        // A port of 0 means the URL's own.
        client = client.resolve(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    }
    let client = client.build().map_err(|error| innermost(&error))?;
    client.get(url).send().await.map_err(|error| innermost(&error))
}

/// The reason itself: the words around it only repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(under) = source.source() {
        source = under;
    }
    source.to_string()
}
