//! The network between the Workers and the backend, with a mind of its own: a proxy that knows where a request ends,
//! because only then can it be cut in the middle, held, or sent again.
//!
//! It also keeps the books on what the backend acknowledged: a 200 for a batch counts from the moment at which it left
//! the backend, whether anybody heard it or not.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use shared::batch::{Header, unframe};
use shared::note::Note;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::dice::Dice;
use super::fault::Trouble;

/// Of a hundred requests so many meet the trouble; of a line that is half open all do.
const MEETS: u64 = 75;
/// Into so many pieces a slow message falls, with this pause after each.
const PIECES: usize = 16;
const TRICKLE: Duration = Duration::from_millis(120);
/// Longer than both sides wait for an answer.
const PATIENCE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(50);

/// A batch by its place: stream in hex, and number.
pub type Place = (String, u64);

/// What passed.
#[derive(Debug, Default, Clone)]
pub struct Passed {
    /// Batches that the backend acknowledged, and how often.
    pub acknowledged: BTreeMap<Place, u64>,
    /// Requests that met a trouble.
    pub met: BTreeMap<Trouble, u64>,
    /// Statuses other than 200 that the backend gave to batches.
    pub refused: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Line {
    backend: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    trouble: Option<Trouble>,
    dice: Dice,
    passed: Passed,
}

/// The proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free loopback port in front of a backend.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start(backend: SocketAddr, dice: Dice) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Mutex::new(State { trouble: None, dice, passed: Passed::default() });
        let line = Arc::new(Line { backend, state });
        let served = Arc::clone(&line);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(converse(Arc::clone(&served), client));
            }
        });
        Ok(Self { address, line, accepting })
    }

    /// Where the Workers find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins a trouble, or ends the one there is.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        self.line.state().trouble = trouble;
    }

    /// What passed so far.
    pub fn passed(&self) -> Passed {
        self.line.state().passed.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A request or an answer.
#[derive(Debug, Clone)]
struct Message {
    bytes: Vec<u8>,
    /// Where the body begins.
    body: usize,
}

impl Message {
    fn head(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.body]).into_owned()
    }
}

async fn converse(line: Arc<Line>, mut client: TcpStream) {
    let mut rest = Vec::new();
    while let Ok(Some(request)) = receive(&mut client, &mut rest).await {
        if line.pass(request, &mut client).await.is_err() {
            // What a peer sees whose connection was reset, not closed.
            let _ = client.set_zero_linger();
            return;
        }
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trouble that a request meets.
    fn met(&self) -> Option<Trouble> {
        let mut state = self.state();
        let trouble = state.trouble?;
        let meets = trouble == Trouble::HalfOpen || state.dice.below(100) < MEETS;
        if meets {
            *state.passed.met.entry(trouble).or_default() += 1;
        }
        meets.then_some(trouble)
    }

    /// Takes a request to the backend and its answer back, as far as the trouble allows. An error resets the connection.
    async fn pass(self: &Arc<Self>, request: Message, client: &mut TcpStream) -> io::Result<()> {
        match self.met() {
            None => client.write_all(&self.ask(&request).await?.bytes).await,
            Some(Trouble::CutRequest) => {
                let mut backend = TcpStream::connect(self.backend).await?;
                backend.write_all(&request.bytes[..request.bytes.len() / 2]).await?;
                tokio::time::sleep(POLL).await;
                backend.set_zero_linger()?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Some(Trouble::CutAnswer) => {
                self.ask(&request).await?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Some(Trouble::Slow) => {
                let mut backend = TcpStream::connect(self.backend).await?;
                trickle(&mut backend, &request.bytes).await?;
                let answer = self.answered(&request, &mut backend).await?;
                trickle(client, &answer.bytes).await
            }
            Some(Trouble::HalfOpen) => {
                while self.state().trouble == Some(Trouble::HalfOpen) {
                    tokio::time::sleep(POLL).await;
                }
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Some(Trouble::Late) => {
                let late = self.state().dice.millis(500, 6_000);
                tokio::time::sleep(late).await;
                client.write_all(&self.ask(&request).await?.bytes).await
            }
            Some(Trouble::Twice) => {
                let answer = self.ask(&request).await?;
                let later = self.state().dice.millis(100, 8_000);
                let line = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep(later).await;
                    // Nobody waits for this answer; what it says of the batches is in the books.
                    let _ = line.ask(&request).await;
                });
                client.write_all(&answer.bytes).await
            }
        }
    }

    async fn ask(&self, request: &Message) -> io::Result<Message> {
        let mut backend = TcpStream::connect(self.backend).await?;
        backend.write_all(&request.bytes).await?;
        self.answered(request, &mut backend).await
    }

    /// The backend's answer, which goes into the books.
    async fn answered(&self, request: &Message, backend: &mut TcpStream) -> io::Result<Message> {
        let mut rest = Vec::new();
        let answer = tokio::time::timeout(PATIENCE, receive(backend, &mut rest)).await??;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        if request.bytes.starts_with(b"POST /v1/batches ") {
            let statuses: Vec<Value> =
                serde_json::from_slice(&answer.bytes[answer.body..]).unwrap_or_default();
            let mut state = self.state();
            for (place, settled) in places(&request.bytes[request.body..]).into_iter().zip(statuses) {
                match settled["status"].as_u64() {
                    Some(200) => *state.passed.acknowledged.entry(place).or_default() += 1,
                    status => *state.passed.refused.entry(status.unwrap_or(0)).or_default() += 1,
                }
            }
        }
        Ok(answer)
    }
}

/// The places of framed batches.
fn places(framed: &[u8]) -> Vec<Place> {
    let header = |note: &[u8]| -> Option<Header> { Note::parse(note).ok()?.text().parse().ok() };
    let frames = unframe(framed).unwrap_or_default();
    let headers = frames.iter().filter_map(|frame| header(frame.note));
    headers.map(|header| (header.stream.to_string(), header.seq)).collect()
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for piece in bytes.chunks(bytes.len().div_ceil(PIECES).max(1)) {
        stream.write_all(piece).await?;
        tokio::time::sleep(TRICKLE).await;
    }
    Ok(())
}

/// Reads one message; what comes after it stays in `rest`. None if the peer has ended.
async fn receive(stream: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let body = loop {
        if let Some(end) = find(rest, b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(rest).await? == 0 {
            return Ok(None);
        }
    };
    let head = Message { bytes: rest[..body].to_vec(), body }.head().to_ascii_lowercase();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(key, value)| (key == name).then(|| value.trim().to_owned()))
    };
    let bodiless = head.starts_with("http/1.1 304") || head.starts_with("http/1.1 204");
    let mut end = body;
    if let Some(length) = header("content-length").filter(|_| !bodiless) {
        end += length.parse::<usize>().map_err(io::Error::other)?;
    } else if header("transfer-encoding").is_some() {
        while find(&rest[body..], b"0\r\n\r\n").is_none() {
            more(stream, rest).await?;
        }
        end += find(&rest[body..], b"0\r\n\r\n").unwrap_or(0) + 5;
    }
    while rest.len() < end {
        more(stream, rest).await?;
    }
    let bytes = rest.drain(..end).collect();
    Ok(Some(Message { bytes, body }))
}

async fn more(stream: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(rest).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::post;

    use super::*;
    use crate::wire::{Call, Server, send};

    /// A backend that counts what comes whole, behind a proxy.
    async fn counting() -> (Server, Proxy, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let answer = async move |_whole: Bytes| counted.fetch_add(1, Ordering::Relaxed).to_string();
        let server = Server::start(Router::new().route("/", post(answer)), None).await.expect("a port");
        let proxy = Proxy::start(server.address(), Dice::of_run(1)).await.expect("a port");
        (server, proxy, count)
    }

    /// Sends until so many requests met the trouble; how many were answered.
    async fn met(proxy: &Proxy, trouble: Trouble, wanted: u64) -> u64 {
        proxy.trouble(Some(trouble));
        let mut answered = 0;
        while proxy.passed().met.get(&trouble).copied().unwrap_or(0) < wanted {
            let call = Call { body: Some("x".repeat(1_000)), ..Call::new("POST", "/") };
            answered += u64::from(send(proxy.address(), "backend", &call).await.is_ok());
        }
        proxy.trouble(None);
        answered
    }

    fn seen(count: &AtomicUsize) -> u64 {
        count.load(Ordering::Relaxed) as u64
    }

    #[tokio::test]
    async fn without_trouble_a_request_and_its_answer_pass() {
        let (_server, proxy, _) = counting().await;
        for n in 0..3 {
            let answer = send(proxy.address(), "backend", &Call::new("POST", "/")).await.expect("an answer");
            assert_eq!(answer.text(), n.to_string());
        }
    }

    #[tokio::test]
    async fn a_request_that_is_cut_never_reaches_the_backend_and_an_answer_that_is_cut_comes_after_it_did() {
        let (_server, proxy, count) = counting().await;
        let answered = met(&proxy, Trouble::CutRequest, 4).await;
        assert_eq!(seen(&count), answered, "only what was not cut");
        let before = seen(&count);
        let answered = met(&proxy, Trouble::CutAnswer, 4).await;
        assert_eq!(seen(&count) - before, answered + 4, "and those whose answer nobody heard");
    }

    #[tokio::test]
    async fn a_request_can_come_twice() {
        let (_server, proxy, count) = counting().await;
        let answered = met(&proxy, Trouble::Twice, 2).await;
        let start = std::time::Instant::now();
        while seen(&count) < answered + 2 {
            assert!(start.elapsed() < Duration::from_secs(20), "the second time never comes");
            tokio::time::sleep(POLL).await;
        }
    }
}
