//! HTTP/1.1 by hand, both sides of it: the bytes are neither repaired nor decoded.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection and what was read ahead from it.
pub(crate) struct Raw {
    socket: TcpStream,
    ahead: BytesMut,
}

/// The first line and the headers of a message. Header bytes are read as Latin-1.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Length(u64),
    Chunked,
    UntilClose,
    Nothing,
}

impl Raw {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, ahead: BytesMut::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::new(TcpStream::connect(address).await?))
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.write_all(bytes.as_ref()).await
    }

    /// Ends the connection with a reset instead of an orderly close.
    pub(crate) fn reset(self) -> io::Result<()> {
        self.socket.set_zero_linger()
    }

    /// Reads something; false at the end.
    async fn more(&mut self) -> io::Result<bool> {
        self.ahead.reserve(64 << 10);
        Ok(self.socket.read_buf(&mut self.ahead).await? > 0)
    }

    /// Waits until the other side ends the connection in whatever way.
    pub(crate) async fn until_gone(&mut self) {
        while matches!(self.more().await, Ok(true)) {
            self.ahead.clear();
        }
    }

    /// The next message's head; none if the connection ends before it.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut lines = Vec::new();
        loop {
            match self.line().await? {
                None if lines.is_empty() => return Ok(None),
                None => return Err(ErrorKind::UnexpectedEof.into()),
                Some(line) if line.is_empty() => break,
                Some(line) => lines.push(line),
            }
        }
        let mut lines = lines.into_iter();
        let first = lines.next().ok_or(ErrorKind::InvalidData)?;
        let header = |line: String| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        };
        let headers = lines.map(header).collect::<Option<_>>().ok_or(ErrorKind::InvalidData)?;
        Ok(Some(Head { first, headers }))
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut from = 0;
        loop {
            if let Some(at) = self.ahead[from..].windows(2).position(|pair| pair == b"\r\n") {
                let line = self.ahead.split_to(from + at + 2);
                return Ok(Some(line[..from + at].iter().map(|byte| char::from(*byte)).collect()));
            }
            from = self.ahead.len().saturating_sub(1);
            if !self.more().await? {
                return if self.ahead.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Exactly this many bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> io::Result<Bytes> {
        while self.ahead.len() < count {
            if !self.more().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.ahead.split_to(count).freeze())
    }

    /// The next part of a body as soon as it is there; none at its proper end, an error if it is cut.
    pub(crate) async fn part(&mut self, rest: &mut Rest) -> io::Result<Option<Bytes>> {
        match *rest {
            Rest::Nothing | Rest::Length(0) => Ok(None),
            Rest::Length(left) => {
                if self.ahead.is_empty() && !self.more().await? {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.ahead.len());
                *rest = Rest::Length(left - count as u64);
                Ok(Some(self.ahead.split_to(count).freeze()))
            }
            Rest::UntilClose => {
                let more = !self.ahead.is_empty() || self.more().await?;
                Ok(more.then(|| self.ahead.split().freeze()))
            }
            Rest::Chunked => {
                let line = self.line().await?.ok_or(ErrorKind::UnexpectedEof)?;
                let size = line.split(';').next().unwrap_or_default();
                let size = usize::from_str_radix(size.trim(), 16).map_err(|_| ErrorKind::InvalidData)?;
                let part = self.exactly(size + 2).await?.slice(..size);
                if size == 0 {
                    *rest = Rest::Nothing;
                    return Ok(None);
                }
                Ok(Some(part))
            }
        }
    }

    /// The rest of a body, as far as it came, and whether it came to its proper end.
    pub(crate) async fn rest(&mut self, mut rest: Rest) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            match self.part(&mut rest).await {
                Ok(Some(part)) => body.extend_from_slice(&part),
                Ok(None) => return (body, true),
                Err(_) => return (body, false),
            }
        }
    }
}

impl Head {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(crate) fn chunked(&self) -> bool {
        self.header("transfer-encoding") == Some("chunked")
    }

    fn length(&self) -> Option<Rest> {
        if self.chunked() {
            return Some(Rest::Chunked);
        }
        self.header("content-length").and_then(|length| length.parse().ok()).map(Rest::Length)
    }

    /// The body of a request with this head.
    pub(crate) fn request_body(&self) -> Rest {
        self.length().unwrap_or(Rest::Nothing)
    }

    /// The body of a response with this head to a request with this method.
    pub(crate) fn response_body(&self, method: &str) -> Rest {
        if method == "HEAD" || ["101", "204", "304"].contains(&self.status()) {
            return Rest::Nothing;
        }
        self.length().unwrap_or(Rest::UntilClose)
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// The path and query of a request.
    pub(crate) fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }
}

/// A message with a body of known length.
pub(crate) fn message(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Parts of a body as chunks, and the last chunk.
pub(crate) fn chunks<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&chunk(part));
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// One chunk.
pub(crate) fn chunk(part: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", part.len()).into_bytes();
    bytes.extend_from_slice(part);
    bytes.extend_from_slice(b"\r\n");
    bytes
}
