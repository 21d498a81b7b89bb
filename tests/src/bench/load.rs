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

/// Requests that are sent over and over.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Each connection sends them in turn, the next when the last is answered.
    pub(super) requests: Vec<Arc<[u8]>>,
    pub(super) connections: usize,
    pub(super) end: End,
    /// The time from one request to the next on a connection; none for at once.
    pub(super) every: Option<Duration>,
}

/// How long a load goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    After(Duration),
    /// So many requests on each connection.
    Requests(usize),
}

impl End {
    fn is_reached(self, since: Instant, sent: usize) -> bool {
        match self {
            Self::After(time) => since.elapsed() >= time,
            Self::Requests(count) => sent >= count,
        }
    }
}

impl Load {
    /// Sends it; every answer must be a 2xx.
    pub(super) fn send(&self, address: SocketAddr) -> io::Result<Found> {
        let start = Instant::now();
        let clients: Vec<_> = (0..self.connections)
            .map(|_| {
                let load = self.clone();
                thread::spawn(move || load.client(address))
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
        Ok(Found {
            requests: latencies.len(),
            seconds: start.elapsed().as_secs_f64(),
            p50: at(50),
            p99: at(99),
        })
    }

    fn client(&self, address: SocketAddr) -> io::Result<Vec<Duration>> {
        let mut connection = Connection::open(address)?;
        let mut latencies = Vec::new();
        let start = Instant::now();
        for request in self.requests.iter().cycle() {
            if self.end.is_reached(start, latencies.len()) {
                break;
            }
            let sent = Instant::now();
            connection.ask(request)?;
            latencies.push(sent.elapsed());
            if let Some(every) = self.every {
                thread::sleep(every.saturating_sub(sent.elapsed()));
            }
        }
        Ok(latencies)
    }
}

/// A connection of a client.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and waits for its answer, which must be a 2xx.
    pub(super) fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)?;
        let message = receive(&mut self.stream, &mut self.buffer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if message.head.starts_with("HTTP/1.1 2") {
            return Ok(());
        }
        Err(io::Error::other(message.head.lines().next().unwrap_or_default().to_owned()))
    }
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
