//! HAR 1.2 (HTTP Archive), as browsers' tools and proxies save it.
//!
//! Browsers leave much out: Chrome masks cookies and `authorization` unless told otherwise, bodies of redirects and of
//! evicted responses are missing, and a request that was aborted has status 0. What is missing is marked as missing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Exchange, RecordedRequest, RecordedResponse, RecordingError};

/// Whether a text is an object whose first member is `log`.
pub(super) fn is_har(text: &str) -> bool {
    let inside = text.trim_start().strip_prefix('{').map(str::trim_start);
    inside.is_some_and(|inside| inside.starts_with("\"log\""))
}

/// Reads an archive; its entries in their order, numbered from 1.
pub(super) fn parse(text: &str) -> Result<Vec<Exchange>, RecordingError> {
    let archive: Archive = serde_json::from_str(text).map_err(|error| RecordingError::of(&error))?;
    let entries = archive.log.entries.into_iter();
    Ok(entries.zip(1..).map(|(entry, n)| entry.into_exchange(n)).collect())
}

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    started_date_time: String,
    #[serde(default)]
    time: Option<f64>,
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: Url,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default)]
    post_data: Option<Body>,
    #[serde(default)]
    body_size: Option<f64>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    status: f64,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default)]
    content: Option<Body>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

/// The host and what follows it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Url {
    host: String,
    path_and_query: String,
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(url: String) -> Result<Self, String> {
        let (_, rest) = url.split_once("://").ok_or_else(|| format!("the URL {url:?} is not absolute"))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let host = authority.rsplit('@').next().unwrap_or_default().to_owned();
        let slash = if rest.starts_with('/') { "" } else { "/" };
        Ok(Self { host, path_and_query: format!("{slash}{rest}") })
    }
}

/// `postData` or `content`.
#[derive(Deserialize)]
#[serde(try_from = "RawBody")]
struct Body {
    text: Option<String>,
    /// The size that the recorder saw, also where it kept no text.
    size: f64,
}

#[derive(Deserialize)]
struct RawBody {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    encoding: Option<String>,
    #[serde(default)]
    params: Vec<Param>,
    #[serde(default)]
    size: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Param {
    name: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    file_name: Option<String>,
}

impl TryFrom<RawBody> for Body {
    type Error = String;

    fn try_from(raw: RawBody) -> Result<Self, String> {
        let text = match (raw.text.filter(|text| !text.is_empty()), raw.encoding.as_deref()) {
            (Some(text), Some("base64")) => {
                let bytes =
                    STANDARD.decode(&text).map_err(|error| format!("a body is not base64: {error}"))?;
                // Bytes that are no text (images) stay unreadable to rules either way.
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            (Some(text), _) => Some(text),
            (None, _) => form(&raw.params),
        };
        Ok(Self { text, size: raw.size.unwrap_or(0.0) })
    }
}

/// Parameters as the form that they were sent as; files by name only, as the recorder kept them.
fn form(params: &[Param]) -> Option<String> {
    let pairs: Vec<String> = params
        .iter()
        .map(|param| {
            let value = param.value.as_ref().or(param.file_name.as_ref()).map_or("", String::as_str);
            format!("{}={}", encode(&param.name), encode(value))
        })
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// `application/x-www-form-urlencoded`; some recorders keep values encoded already, and those stay as they are.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*+%".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Entry {
    fn into_exchange(self, n: u32) -> Exchange {
        let host = self.request.url.host;
        let mut headers = plain_headers(self.request.headers);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            headers.insert(0, ("host".to_owned(), host.clone()));
        }
        let content = self.response.content;
        let (sent, sent_size) = (self.request.post_data.and_then(|body| body.text), self.request.body_size);
        let (answer, answer_size) = content.map_or((None, 0.0), |body| (body.text, body.size));
        Exchange {
            label: format!("client-to-{host}"),
            n,
            name: None,
            at: self.started_date_time,
            ms: whole(self.time.unwrap_or(0.0)),
            request: RecordedRequest {
                method: self.request.method,
                url: self.request.url.path_and_query,
                headers,
                cut: sent.is_none() && sent_size.is_some_and(|size| size > 0.0),
                body: sent,
            },
            response: RecordedResponse {
                status: u16::try_from(whole(self.response.status)).unwrap_or(0),
                headers: plain_headers(self.response.headers),
                cut: answer.is_none() && answer_size > 0.0,
                body: answer,
            },
        }
    }
}

/// Without the pseudo-headers of HTTP/2, which repeat the request line.
fn plain_headers(headers: Vec<Header>) -> Vec<(String, String)> {
    let plain = headers.into_iter().filter(|header| !header.name.starts_with(':'));
    plain.map(|header| (header.name, header.value)).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and -1 means unknown"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
