//! Session cookies as `@supabase/ssr` writes them, and as its predecessors did.
//!
//! `sb-<ref>-auth-token` holds JSON, either URI-encoded or as `base64-` and base64url without padding. When the
//! URI-encoded value is over [`MAX_CHUNK`], it is cut into `.0`, `.1`, … The cutting below is that of `createChunks`,
//! including how it avoids cutting an escape or a character in two.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;

/// The longest value of one cookie, URI-encoded (`MAX_CHUNK_SIZE` in @supabase/ssr).
pub(super) const MAX_CHUNK: usize = 3180;

const BASE64: &str = "base64-";

/// How the JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Base64,
    Raw,
}

/// One session in a `Cookie` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    name: String,
    encoding: Encoding,
    /// The JSON inside.
    pub json: String,
}

impl Session {
    /// A session to be written as the current version writes it.
    pub fn new(name: &str, json: impl Into<String>) -> Self {
        Self { name: name.to_owned(), encoding: Encoding::Base64, json: json.into() }
    }

    /// The name without a chunk's number.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole value before it is cut.
    pub fn value(&self) -> String {
        match self.encoding {
            Encoding::Base64 => format!("{BASE64}{}", B64.encode(&self.json)),
            Encoding::Raw => self.json.clone(),
        }
    }

    /// The cookies of it, as they stand in the header.
    pub fn cookies(&self) -> Vec<(String, String)> {
        let encoded = encode_uri(&self.value());
        if encoded.len() <= MAX_CHUNK {
            return vec![(self.name.clone(), encoded)];
        }
        let mut rest = encoded.as_str();
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let head = head_of(rest);
            chunks.push((format!("{}.{}", self.name, chunks.len()), head.to_owned()));
            rest = &rest[head.len()..];
        }
        chunks
    }

    fn read(name: &str, encoded: &str) -> Option<Self> {
        let value = decode_uri(encoded)?;
        let (encoding, json) = match value.strip_prefix(BASE64) {
            Some(coded) => (Encoding::Base64, String::from_utf8(B64.decode(coded).ok()?).ok()?),
            None => (Encoding::Raw, value),
        };
        json.starts_with(['{', '[']).then(|| Self { name: name.to_owned(), encoding, json })
    }
}

/// A cookie, or all the cookies of a session, in the order of the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionCookie {
    /// A session, whole or in chunks.
    Session(Session),
    /// Any other cookie, as it stands.
    Other(String),
}

/// Reads a `Cookie` header. A session stands where its first chunk stood.
pub fn sessions(header: &str) -> Vec<SessionCookie> {
    let pairs: Vec<(&str, &str)> = header
        .split(';')
        .map(str::trim_start)
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    let mut out = Vec::new();
    for (name, value) in &pairs {
        let Some((base, chunk)) = session_name(name) else {
            out.push(SessionCookie::Other(format!("{name}={value}")));
            continue;
        };
        if chunk.is_some_and(|number| number > 0) {
            continue;
        }
        let whole = match chunk {
            None => (*value).to_owned(),
            Some(_) => join(&pairs, base),
        };
        out.push(match Session::read(base, &whole) {
            Some(session) => SessionCookie::Session(session),
            None => SessionCookie::Other(format!("{name}={value}")),
        });
    }
    out
}

/// Writes a `Cookie` header.
pub(super) fn header(cookies: &[SessionCookie]) -> String {
    let mut out = Vec::new();
    for cookie in cookies {
        match cookie {
            SessionCookie::Other(pair) => out.push(pair.clone()),
            SessionCookie::Session(session) => {
                let pairs = session.cookies().into_iter().map(|(name, value)| format!("{name}={value}"));
                out.extend(pairs);
            }
        }
    }
    out.join("; ")
}

fn join(pairs: &[(&str, &str)], base: &str) -> String {
    let mut whole = String::new();
    for number in 0.. {
        let name = format!("{base}.{number}");
        match pairs.iter().find(|(other, _)| *other == name) {
            Some((_, value)) => whole.push_str(value),
            None => break,
        }
    }
    whole
}

fn session_name(name: &str) -> Option<(&str, Option<usize>)> {
    let (base, chunk) = match name.rsplit_once('.') {
        Some((base, number)) => (base, Some(number.parse().ok()?)),
        None => (name, None),
    };
    (base.starts_with("sb-") && base.ends_with("-auth-token")).then_some((base, chunk))
}

fn head_of(encoded: &str) -> &str {
    let mut head = &encoded[..encoded.len().min(MAX_CHUNK)];
    // An escape of which not all is here goes to the next chunk.
    if let Some(escape) = head.rfind('%')
        && escape + 3 > head.len()
    {
        head = &head[..escape];
    }
    // So do the escapes of a character of which not all is here.
    while decode_uri(head).is_none() && head.len() > 3 {
        head = &head[..head.len() - 3];
    }
    head
}

/// `encodeURIComponent`.
fn encode_uri(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `decodeURIComponent`; nothing if that would throw.
pub(crate) fn decode_uri(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(header: &str) -> Session {
        match sessions(header).as_slice() {
            [SessionCookie::Session(session)] => session.clone(),
            other => unreachable!("not one session: {other:?}"),
        }
    }

    #[test]
    fn recorded_cookies_are_written_as_they_were_read() {
        let mut chunked = 0;
        for exchange in crate::replay::fixture().expect("the fixture is good") {
            for (name, value) in &exchange.request.headers {
                if name == "cookie" {
                    assert!(only(value).json.contains("access_token"));
                    assert_eq!(&header(&sessions(value)), value);
                    chunked += usize::from(value.contains("auth-token.3="));
                }
            }
        }
        assert_eq!(chunked, 4);
    }

    #[test]
    fn plain_and_foreign_cookies_stay() {
        let text =
            "a=b; sb-x-auth-token=%7B%22access_token%22%3A%22t%22%7D; sb-x-auth-token-code-verifier=q; c";
        let cookies = sessions(text);
        assert_eq!(
            cookies[1],
            SessionCookie::Session(Session {
                name: "sb-x-auth-token".to_owned(),
                encoding: Encoding::Raw,
                json: r#"{"access_token":"t"}"#.to_owned(),
            })
        );
        assert_eq!(header(&cookies), format!("{text}="));
    }

    #[test]
    fn no_chunk_cuts_a_character() {
        for pad in 0..12 {
            let json = format!("{{\"{}{}\":1}}", "x".repeat(pad), "\u{20ac}".repeat(900));
            let session = Session { name: "sb-x-auth-token".to_owned(), encoding: Encoding::Raw, json };
            let cookies = session.cookies();
            assert!(cookies.len() > 2);
            for (_, value) in &cookies {
                assert!(value.len() <= MAX_CHUNK && decode_uri(value).is_some());
            }
            assert_eq!(only(&header(&[SessionCookie::Session(session.clone())])), session);
        }
    }
}
