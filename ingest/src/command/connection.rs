//! A running backend as its readers reach it from a terminal.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use shared::problem::Problem;

use super::CommandError;

/// A backend answers by then, or begins to.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read whole.
const MAX_ANSWER_LEN: usize = 64 << 20;

/// Where a backend is, and who asks.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// The URL of the backend.
    // What the environment holds may have a password in it, and help would show it.
    #[arg(long, env = "EDGETRAIL_URL", hide_env_values = true, default_value = "http://127.0.0.1:9200")]
    url: String,
    #[command(flatten)]
    pub(super) access: Access,
}

/// Who asks.
#[derive(Debug, Args)]
pub(super) struct Access {
    /// A file with an API key; an admin's gives the openings as well. Else EDGETRAIL_API_KEY.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// No progress bar.
    #[arg(long)]
    quiet: bool,
}

impl Access {
    pub(super) fn key(&self) -> Result<Option<String>, CommandError> {
        let Some(path) = &self.api_key_file else {
            return Ok(std::env::var("EDGETRAIL_API_KEY").ok().filter(|key| !key.is_empty()));
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| CommandError::Usage(format!("{}: {error}", path.display())))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// A bar over a known number of steps, on a terminal.
    pub(super) fn bar(&self, of: &'static str) -> ProgressBar {
        self.styled(&format!("{{bar:40}} {{human_pos}} of {{human_len}} {of}, {{per_sec}}, {{eta}} left"))
    }

    /// A bar over bytes, however many there will be, on a terminal.
    pub(super) fn bytes(&self) -> ProgressBar {
        self.styled("{spinner} {bytes}, {bytes_per_sec}, {elapsed}")
    }

    fn styled(&self, template: &str) -> ProgressBar {
        let bar = ProgressBar::no_length();
        let hidden = self.quiet || !std::io::stderr().is_terminal();
        bar.set_draw_target(if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() });
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    }
}

/// A backend.
pub(super) struct Backend {
    base: Url,
    key: Option<String>,
    client: Client,
}

impl Backend {
    pub(super) fn open(connection: &Connection) -> Result<Self, CommandError> {
        crate::tls::use_ring();
        let wrong = |reason: String| CommandError::Usage(format!("--url: {reason}"));
        let mut base: Url = connection.url.parse().map_err(|error| wrong(format!("{error}")))?;
        if base.cannot_be_a_base() {
            return Err(wrong("is not the URL of a backend".to_owned()));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client = Client::builder().connect_timeout(TIMEOUT).read_timeout(TIMEOUT).build();
        let client = client.map_err(|error| CommandError::Backend(words(&error)))?;
        Ok(Self { base, key: connection.access.key()?, client })
    }

    /// The answer to a request that succeeded; its body is still to come.
    pub(super) async fn get(
        &self,
        path: &[&str],
        parameters: &[(&str, &str)],
    ) -> Result<Response, CommandError> {
        let mut url = self.at(path);
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        self.sent(self.client.get(url)).await
    }

    /// The JSON of the answer to something that is done.
    pub(super) async fn post(&self, path: &[&str], body: String) -> Result<Value, CommandError> {
        read(self.sent(self.client.post(self.at(path)).body(body)).await?).await
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut steps) = url.path_segments_mut() {
            steps.pop_if_empty().extend(path);
        }
        url
    }

    async fn sent(&self, mut request: RequestBuilder) -> Result<Response, CommandError> {
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.map_err(|error| CommandError::Backend(words(&error)))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(refused(status, &whole(answer).await?)),
        }
    }

    /// The JSON of an answer.
    pub(super) async fn json(
        &self,
        path: &[&str],
        parameters: &[(&str, &str)],
    ) -> Result<Value, CommandError> {
        read(self.get(path, parameters).await?).await
    }
}

async fn read(answer: Response) -> Result<Value, CommandError> {
    let body = whole(answer).await?;
    serde_json::from_slice(&body)
        .map_err(|error| CommandError::Backend(format!("its answer is not JSON: {error}")))
}

/// The next piece of an answer.
pub(super) async fn chunk(answer: &mut Response) -> Result<Option<bytes::Bytes>, CommandError> {
    answer.chunk().await.map_err(|error| CommandError::Backend(words(&error)))
}

async fn whole(mut answer: Response) -> Result<Vec<u8>, CommandError> {
    let mut body = Vec::new();
    while let Some(piece) = chunk(&mut answer).await? {
        if body.len() + piece.len() > MAX_ANSWER_LEN {
            return Err(CommandError::Backend("its answer is too long".to_owned()));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn refused(status: StatusCode, body: &[u8]) -> CommandError {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let said = problem.map(|problem| match problem.detail {
        Some(detail) => format!("{}: {detail}", problem.title),
        None => problem.title.to_string(),
    });
    CommandError::Backend(said.unwrap_or_else(|| format!("it answers {status}")))
}

/// An error's own words name the URL; the reason stands in what lies under it.
fn words(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(under) = source.source() {
        source = under;
    }
    source.to_string()
}
