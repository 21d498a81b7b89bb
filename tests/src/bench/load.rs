//! Plain HTTP/1.1 over blocking sockets: a closed-loop client, and a server that answers at once. Both are as lean as
//! they can be, since they share the machine with what is measured.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What a load found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) requests: usize,
    pub(super) seconds: f64,
    /// Milliseconds.
    pub(super) p50: f64,
    /// Milliseconds.
    pub(super) p99: f64,
}

impl Found {
    pub(super) fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
        let requests = self.requests as f64;
        requests / self.seconds
    }
}

/// Sends one request over and over on some connections; every answer must be a 2xx.
pub(super) fn load(
    address: SocketAddr,
    request: &Arc<[u8]>,
    connections: usize,
    time: Duration,
) -> io::Result<Found> {
    let start = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let request = Arc::clone(request);
            thread::spawn(move || client(address, &request, start + time))
        })
        .collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.join().map_err(|_| io::Error::other("a client stopped"))??);
    }
    latencies.sort_unstable();
    let at = |share: usize| {
        latencies.get(latencies.len() * share / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    };
    Ok(Found { requests: latencies.len(), seconds: start.elapsed().as_secs_f64(), p50: at(50), p99: at(99) })
}

fn client(address: SocketAddr, request: &[u8], until: Instant) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut latencies = Vec::new();
    let mut buffer = Vec::with_capacity(16 * 1024);
    while Instant::now() < until {
        let sent = Instant::now();
        stream.write_all(request)?;
        let message = receive(&mut stream, &mut buffer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !message.head.starts_with("HTTP/1.1 2") {
            return Err(io::Error::other(message.head.lines().next().unwrap_or_default().to_owned()));
        }
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

/// One message as received.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// Reads one message; what comes after it stays in the buffer. None if the peer has ended.
fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let head = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        if more(stream, buffer)? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let header = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let end = if let Some(length) = header("content-length") {
        head + length.parse::<usize>().map_err(io::Error::other)?
    } else if header("transfer-encoding").is_some() {
        loop {
            if let Some(last) = find(&buffer[head..], b"0\r\n\r\n") {
                break head + last + 5;
            }
            if more(stream, buffer)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    } else {
        head
    };
    while buffer.len() < end {
        if more(stream, buffer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let body = buffer[head..end].to_vec();
    buffer.drain(..end);
    Ok(Some(Message { head: text, body }))
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 16 * 1024];
    let read = stream.read(&mut chunk)?;
    buffer.extend_from_slice(&chunk[..read]);
    Ok(read)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Serves on a free loopback port for as long as the process lives: status line and body by `answer`.
pub(super) fn serve(
    answer: impl Fn(&Message) -> (&'static str, String) + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || converse(stream, answer.as_ref()));
        }
    });
    Ok(address)
}

fn converse(mut stream: TcpStream, answer: &impl Fn(&Message) -> (&'static str, String)) {
    let mut buffer = Vec::new();
    // A peer that breaks off ends its connection and nothing else.
    while let Ok(Some(message)) = receive(&mut stream, &mut buffer) {
        let (status, body) = answer(&message);
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).is_err() {
            break;
        }
    }
}
