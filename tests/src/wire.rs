//! HTTP/1.1 as it is on the wire: a client that sends exactly the headers it is given, and a server for axum routers.
//!
//! One connection a request, no pool, no redirects, no decompression: a replay must not be helped.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The longest that one exchange may take. A run of the demo takes milliseconds; a stalled Worker must not hang a test.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Headers that belong to a connection, not to a message (RFC 9110, section 7.6.1), and those that this client and
/// server set themselves.
const OWN: [&str; 9] = [
    "accept-encoding",
    "connection",
    "content-length",
    "date",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Whether the header goes with the message from end to end.
pub fn end_to_end(name: &str) -> bool {
    !OWN.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection could not be made.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    /// The request cannot be written as HTTP.
    #[error("cannot write the request: {0}")]
    Request(#[from] axum::http::Error),
    /// The exchange broke.
    #[error("the exchange broke: {0}")]
    Http(#[from] hyper::Error),
    /// No answer within [`TIMEOUT`].
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// A request to send.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The method.
    pub method: String,
    /// Path and query.
    pub url: String,
    /// Headers in order, without `host`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<String>,
}

impl Call {
    /// A request without headers and body.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self { method: method.to_owned(), url: url.into(), ..Self::default() }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string());
        self.header("content-type", "application/json")
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request to an address under a host name.
///
/// # Errors
/// [`WireError`]; any status is an answer.
pub async fn send(address: SocketAddr, host: &str, call: &Call) -> Result<Answer, WireError> {
    tokio::time::timeout(TIMEOUT, exchange(address, host, call)).await.map_err(|_| WireError::Timeout)?
}

async fn exchange(address: SocketAddr, host: &str, call: &Call) -> Result<Answer, WireError> {
    let socket = TcpStream::connect(address).await.map_err(|error| WireError::Connect(address, error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let mut request =
        axum::http::Request::builder().method(call.method.as_str()).uri(&call.url).header("host", host);
    for (name, value) in call.headers.iter().filter(|(name, _)| end_to_end(name)) {
        request = request.header(name, latin1(value));
    }
    let body = Bytes::from(call.body.clone().unwrap_or_default());
    let response = sender.send_request(request.body(Full::new(body))?).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers.iter().map(text_of).collect(), body })
}

fn text_of((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    let value = value.as_bytes().iter().map(|&byte| char::from(byte));
    (name.to_string(), value.collect())
}

/// Header values are bytes; recordings hold them as Latin-1 text.
pub fn latin1(value: &str) -> Vec<u8> {
    value.chars().map(|char| u8::try_from(char).unwrap_or(b'?')).collect()
}

/// A server in this process; it ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Serves the router on a free loopback port, or on the given one.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(router: Router, port: Option<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port.unwrap_or(0))).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let stopped = async {
                // An error means that the sender is gone, which is the signal.
                let _ = stopped.await;
            };
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            tokio::select! {
                result = async { axum::serve(listener, service).await } => drop(result),
                () = stopped => {}
            }
        });
        Ok(Self { address, _stop: stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
