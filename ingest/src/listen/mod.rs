//! The listener: so many connections at one time, and so much patience with each.
//!
//! Whoever can reach the port may open connections and say nothing, say it slowly, or not listen to the answer. None of that is
//! refused a request, so it is bounded here: the head of a request must arrive in time and be of a size, an answer that nobody
//! reads ends its connection, and where every place is taken, whoever has waited longest without a request leaves it to the one
//! who comes. How long bodies may take is a matter of each request and lies with the routes.

mod patient;
mod seats;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use shared::problem::{CONTENT_TYPE, Problem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::config::Connections;
use patient::Patient;
use seats::{Occupied, Seat, Seats};

/// After the listener itself failed: file descriptors may be free again by then.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long a client that is told why it has to go may go on sending what is thrown away. A connection that is closed over unread
/// bytes is reset, and the client hears nothing.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes are thrown away.
const THROWN_AWAY: u64 = 1 << 20;

/// Serves until `until` is done, then takes no more connections and waits for the requests under way.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Connections,
    until: impl Future<Output = ()> + Send,
) {
    let seats = Seats::new(limits.max);
    let app = TowerToHyperService::new(app);
    let (stop, stopped) = watch::channel(false);
    let mut until = pin!(until);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut until => break,
        };
        match accepted {
            Ok((stream, peer)) => match seats.take() {
                Some(seat) => {
                    tokio::spawn(attend(stream, peer, app.clone(), limits, seat, stopped.clone()));
                }
                None => {
                    ended("full");
                    tokio::spawn(tell(stream, no_place()));
                }
            },
            // The client went away before it was its turn.
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be taken");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    drop((listener, stopped));
    let _ = stop.send(true);
    stop.closed().await;
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One connection, from its first request to its last.
async fn attend(
    stream: TcpStream,
    peer: SocketAddr,
    app: TowerToHyperService<Router>,
    limits: Connections,
    seat: Seat,
    mut stopped: watch::Receiver<bool>,
) {
    let mut http = http1::Builder::new();
    // Twice what is allowed is read, so that whoever is over the limit is told which one.
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_headers(2 * limits.max_headers)
        .max_header_size(2 * limits.max_head_bytes);
    // A piece of a streamed answer does not wait until the client has confirmed the one before. Refused, the client is gone.
    let _ = stream.set_nodelay(true);
    let of_requests = seat.clone();
    let service =
        service_fn(move |request| Box::pin(answer(app.clone(), peer, of_requests.clone(), request)));
    let io = TokioIo::new(Patient::new(stream, limits.answer_within));
    let mut connection = http.serve_connection(io, service);
    let mut is_stopping = false;
    let served = loop {
        tokio::select! {
            served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break served,
            () = seat.is_wanted() => return ended("displaced"),
            _ = stopped.changed(), if !is_stopping => {
                is_stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let Err(error) = served else { return };
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if stream.is_given_up() {
        ended("answer-unread");
    } else if error.is_timeout() && parts.read_buf.is_empty() {
        ended("idle");
    } else if error.is_timeout() {
        ended("slow-head");
        tell(stream.into_inner(), late_head()).await;
    } else if error.is_parse() {
        // The refusal is written; the rest of what it refuses is still on its way.
        linger(&mut stream).await;
    }
}

/// One request, during which nobody may have the seat.
async fn answer(
    app: TowerToHyperService<Router>,
    peer: SocketAddr,
    seat: Seat,
    request: Request<Incoming>,
) -> Result<Response<Told>, Infallible> {
    let occupied = seat.occupy();
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = app.call(request).await?;
    Ok(response.map(|body| Told { body, _occupied: occupied }))
}

/// The body of an answer; until it was told, the request is under way.
struct Told {
    body: Body,
    _occupied: Occupied,
}

impl http_body::Body for Told {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

fn ended(reason: &'static str) {
    metrics::counter!("edgetrail_http_connections_ended_total", "reason" => reason).increment(1);
}

fn no_place() -> Problem {
    Problem::new(503, "too-many-connections", "Every connection is taken")
        .detail("come again in some seconds")
}

fn late_head() -> Problem {
    Problem::new(408, "slow-request", "The request did not arrive in time")
        .detail("its head took longer than http.head_timeout_ms")
}

/// Tells a client why it has to go, where no request can be answered.
async fn tell(mut stream: TcpStream, problem: Problem) {
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let (phrase, more) = match problem.status {
        503 => ("Service Unavailable", "retry-after: 5\r\n"),
        _ => ("Request Timeout", ""),
    };
    let head = format!(
        "HTTP/1.1 {} {phrase}\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n{more}connection: close\r\n\r\n",
        problem.status,
        body.len(),
    );
    let told = tokio::time::timeout(LINGER, stream.write_all((head + &body).as_bytes())).await;
    if let Ok(Ok(())) = told {
        linger(&mut stream).await;
    }
}

/// Ends a connection so that the client reads what it was told.
async fn linger<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut S) {
    let rest = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(THROWN_AWAY), &mut tokio::io::sink()).await
    };
    // Whether the client hears it is its own affair.
    let _ = tokio::time::timeout(LINGER, rest).await;
}
