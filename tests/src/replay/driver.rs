//! Plays a recording: one request after the other, headers and body as recorded, and compares the answers.

use std::net::SocketAddr;

use shared::recording::Exchange;

use super::Side;
use super::origin::differences;
use crate::wire::{Answer, Call, WireError, send};

/// Where to play it: one address, a host name for each side.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address of the Worker, or of the origin itself.
    pub address: SocketAddr,
    /// The `Host` of the application.
    pub app_host: String,
    /// The `Host` of the Supabase project.
    pub supabase_host: String,
}

/// What one request gave.
#[derive(Debug)]
pub struct Outcome {
    /// The label of the recorded exchange.
    pub label: String,
    /// Its number.
    pub n: u32,
    /// Method and URL, for messages.
    pub request: String,
    /// The answer, or why there is none.
    pub answer: Result<Answer, WireError>,
    /// How the answer differs from the recording; empty if it does not.
    pub differences: Vec<String>,
}

/// Plays the exchanges in order. A request that fails is an outcome, and the next is sent all the same.
pub async fn play(exchanges: &[Exchange], target: &Target) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(exchanges.len());
    for exchange in exchanges {
        let host = match Side::of(exchange) {
            Side::App => &target.app_host,
            Side::Supabase => &target.supabase_host,
        };
        let request = &exchange.request;
        let call = Call {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
        };
        let answer = send(target.address, host, &call).await;
        let differences = match &answer {
            Ok(answer) => differences(exchange, answer),
            Err(error) => vec![error.to_string()],
        };
        outcomes.push(Outcome {
            label: exchange.label.clone(),
            n: exchange.n,
            request: format!("{} {}", request.method, request.url),
            answer,
            differences,
        });
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use crate::replay::{Origin, fixture, resign};

    #[tokio::test]
    async fn the_origin_answers_as_recorded() {
        let keys = Keys::from_seed("driver");
        let recording = fixture().expect("the fixture is good");
        let played = resign(&recording, &keys, crate::clock::unix_now()).exchanges;
        let origin = Origin::start(played.clone(), keys.jwks()).await.expect("there is a port");
        let target = Target {
            address: origin.address(),
            app_host: "app.localhost".to_owned(),
            supabase_host: "ref.localhost".to_owned(),
        };
        for outcome in play(&played, &target).await {
            assert_eq!(
                outcome.differences,
                Vec::<String>::new(),
                "{} {} {}",
                outcome.label,
                outcome.n,
                outcome.request
            );
        }
        let arrivals = origin.arrivals();
        assert_eq!(arrivals.len(), played.len());
        for (exchange, arrival) in played.iter().zip(&arrivals) {
            let expected =
                (!exchange.request.url.ends_with("jwks.json")).then(|| (exchange.label.clone(), exchange.n));
            assert_eq!(arrival.matched, expected);
        }
        let unknown = Call::new("GET", "/nothing/of/the/kind");
        let answer = send(origin.address(), "app.localhost", &unknown).await;
        assert_eq!(answer.expect("there is an answer").status, 501);
    }
}
