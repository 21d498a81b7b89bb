//! Packs that the backend serves: the document that is signed, and what it must not do.
//!
//! ```text
//! edgetrail-policy/v1
//! tenant acme
//! version 7
//! {"packs":[…]}
//! ```
//!
//! The text of a signed note ([`crate::note`]). A served policy is a lever on everybody's credentials, so [`check`] is
//! run where one is uploaded and again where one is picked up, whoever signed it.

use core::fmt;
use core::str::FromStr;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{BeforeRule, Expr, FailMode, Function, Pack, PackError, Router, Rule, Source, normalise_path};
use crate::event::TenantId;
use crate::redact::is_secret_name;

/// The largest signed document that is read, in bytes.
pub const MAX_POLICY_LEN: usize = 512 * 1024;

/// Bytes of a body that a served rule may capture.
pub const MAX_CAPTURE: usize = 256 * 1024;

/// The media type of the signed document.
pub const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// Paths that the Worker and the backend answer themselves.
const OWN_PATHS: &[&str] = &["/.edgetrail", "/v1/batches", "/v1/policy"];

/// Names of packs that stand for records of our own.
const OWN_PACKS: &[&str] = &["edge", "ingest"];

/// Parts of names that sound like a secret's and are figures or findings about it.
const FIGURES: &[&str] = &[
    "tokensused",
    "totaltokens",
    "inputtokens",
    "outputtokens",
    "rawtokens",
    "requiredtokens",
    "mintokens",
    "maxtokens",
    "pilottokens",
    "pertoken",
    "tokenbudget",
    "weakpassword",
];

const FIRST_LINE: &str = "edgetrail-policy/v1";

/// Why a served policy is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedError {
    /// The rule that is at fault, as `pack/rule`; none if it is the document.
    pub rule: Option<String>,
    /// In the JSON document, from 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for ServedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        match &self.rule {
            Some(rule) => write!(f, "rule {rule:?}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl core::error::Error for ServedError {}

/// What the one who serves or picks up allows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds<'a> {
    /// The packs that are compiled in, one of which each served pack replaces or extends; not checked if not known.
    pub compiled_in: Option<&'a [&'a str]>,
    /// Whether rules may refuse requests while the audit trail is away.
    pub allow_closed: bool,
}

/// The packs of a version: `{"packs":[…]}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    text: String,
    packs: Vec<Pack>,
    places: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    packs: Vec<&'a RawValue>,
}

impl Document {
    /// Reads the JSON text.
    ///
    /// # Errors
    /// [`ServedError`] with line and column in this text.
    #[inline]
    pub fn parse(text: &str) -> Result<Self, ServedError> {
        if text.len() > MAX_POLICY_LEN {
            return Err(at(text, 0, None, format!("it is over the limit of {MAX_POLICY_LEN} bytes")));
        }
        let broken = |error: serde_json::Error| ServedError {
            rule: None,
            line: error.line(),
            column: error.column(),
            reason: without_place(&error.to_string()).to_owned(),
        };
        let members: Members<'_> = serde_json::from_str(text).map_err(broken)?;
        let mut document = Self { text: text.to_owned(), packs: Vec::new(), places: Vec::new() };
        for raw in members.packs {
            // A slice of the text itself.
            let place = raw.get().as_ptr() as usize - text.as_ptr() as usize;
            let pack = Pack::parse(raw.get()).map_err(|error| match error {
                PackError::Empty => at(text, place, None, error.to_string()),
                PackError::Document { line, column, reason } => {
                    let (first, start) = position(text, place);
                    let column = if line == 1 { start + column - 1 } else { column };
                    let reason = without_place(&reason).to_owned();
                    ServedError { rule: None, line: first + line - 1, column, reason }
                }
                PackError::Rule { rule, reason, .. } => {
                    at(text, rule_place(text, place, &rule), Some(rule), reason)
                }
            })?;
            document.packs.push(pack);
            document.places.push(place);
        }
        if document.packs.is_empty() {
            return Err(at(text, 0, None, "it holds no pack".to_owned()));
        }
        Ok(document)
    }

    /// The packs.
    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// The JSON text in one line.
    pub fn to_line(&self) -> String {
        serde_json::from_str::<Value>(&self.text).map(|value| value.to_string()).unwrap_or_default()
    }

    fn error(&self, pack: usize, rule: Option<&Rule>, reason: String) -> ServedError {
        let place =
            rule.map_or(self.places[pack], |rule| rule_place(&self.text, self.places[pack], &rule.id));
        let rule = rule.map(|rule| format!("{}/{}", self.packs[pack].name, rule.id));
        at(&self.text, place, rule, reason)
    }
}

/// A version of a tenant's packs, as the text that is signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// Whose.
    pub tenant: TenantId,
    /// Rises strictly.
    pub version: u64,
    /// The packs.
    pub document: Document,
}

/// Versions are exact in every reader of JSON.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

impl fmt::Display for Served {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, version, document } = self;
        write!(f, "{FIRST_LINE}\ntenant {tenant}\nversion {version}\n{}\n", document.to_line())
    }
}

impl FromStr for Served {
    type Err = ServedError;

    /// Reads the text of a note. Lines and columns of errors are those of its JSON line.
    #[inline]
    fn from_str(text: &str) -> Result<Self, ServedError> {
        let wrong = |what: &str| at(text, 0, None, format!("it has no well-formed {what}"));
        let rest = text.strip_prefix(FIRST_LINE).and_then(|rest| rest.strip_prefix("\ntenant "));
        let (tenant, rest) = rest.and_then(|rest| rest.split_once('\n')).ok_or_else(|| wrong("tenant"))?;
        let (version, rest) = rest
            .strip_prefix("version ")
            .and_then(|rest| rest.split_once('\n'))
            .ok_or_else(|| wrong("version"))?;
        let json = rest
            .strip_suffix('\n')
            .filter(|json| !json.contains('\n'))
            .ok_or_else(|| wrong("line of JSON"))?;
        Ok(Self {
            tenant: tenant.parse().map_err(|_| wrong("tenant"))?,
            version: version
                .parse()
                .ok()
                .filter(|number: &u64| (1..=MAX_VERSION).contains(number) && number.to_string() == version)
                .ok_or_else(|| wrong("version"))?,
            document: Document::parse(json)?,
        })
    }
}

/// Whether a served document keeps to what it may do.
///
/// # Errors
/// [`ServedError`] names the first rule that does not.
#[inline]
pub fn check(document: &Document, bounds: Bounds<'_>) -> Result<(), ServedError> {
    for (at, pack) in document.packs.iter().enumerate() {
        let wrong = |reason: String| document.error(at, None, reason);
        let known = pack.extends.as_deref().unwrap_or(&pack.name);
        if OWN_PACKS.contains(&pack.name.as_str()) {
            return Err(wrong(format!("the name {:?} is taken by records of our own", pack.name)));
        }
        if pack.extends.as_deref() == Some(pack.name.as_str()) {
            return Err(wrong(format!("pack {:?} extends itself", pack.name)));
        }
        if document.packs[..at].iter().any(|other| other.name == pack.name) {
            return Err(wrong(format!("pack {:?} is there twice", pack.name)));
        }
        if bounds.compiled_in.is_some_and(|names| !names.contains(&known)) {
            return Err(wrong(format!("there is no pack {known:?} to replace or extend")));
        }
        if let Some(reason) = pack.claimed_user.iter().find_map(|expression| unmasked("", expression)) {
            return Err(wrong(reason));
        }
        for rule in &pack.rules {
            check_rule(rule, bounds).map_err(|reason| document.error(at, Some(rule), reason))?;
        }
        Router::compile(vec![pack.clone()]).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

fn check_rule(rule: &Rule, bounds: Bounds<'_>) -> Result<(), String> {
    if rule.capture_bytes > MAX_CAPTURE {
        return Err(format!("it captures {} bytes, over the limit of {MAX_CAPTURE}", rule.capture_bytes));
    }
    if rule.fail == FailMode::Closed && !bounds.allow_closed {
        return Err("it is closed, which the Worker's own configuration must allow".to_owned());
    }
    if let Some(BeforeRule::Get { get, .. }) = &rule.before
        && !(get.starts_with('/') && !get.contains("//") && !get.contains([':', '@', '\\', '?', '#']))
    {
        return Err(format!("before.get {get:?} is not a plain path"));
    }
    let reads = match &rule.before {
        Some(BeforeRule::Get { get, .. }) => Some(get.as_str()),
        _ => None,
    };
    for path in [rule.matches.path.as_str()].into_iter().chain(reads) {
        let plain = normalise_path(path);
        let own = |own: &&&str| {
            plain.strip_prefix(**own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if let Some(own) = OWN_PATHS.iter().find(own) {
            return Err(format!("{path:?} is below {own}, which is answered by us"));
        }
    }
    let entity = [&rule.entity.id, &rule.entity.name].into_iter().flatten().map(|part| ("", part));
    let changes = rule.changes.iter().flat_map(|changes| [&changes.request, &changes.after]).flatten();
    let details = rule.details.iter().map(|(name, detail)| (name.as_str(), detail));
    let claimed = rule.claimed_user.iter().flatten();
    entity
        .chain(details)
        .chain(changes.chain(claimed).map(|part| ("", part)))
        .find_map(|(name, expression)| unmasked(name, expression))
        .map_or(Ok(()), Err)
}

/// Why an expression would record under `name` what masking by name keeps back.
fn unmasked(name: &str, expression: &Expr) -> Option<String> {
    let mut sources = Vec::new();
    carried(expression, &mut sources);
    sources.into_iter().find_map(|carried| match carried {
        Carried::Source(Source::RequestText | Source::ResponseText) => {
            Some("it records a body as text, which no masking by name can look into".to_owned())
        }
        Carried::Source(source) => secret_part(source).filter(|_| !is_secret_name(name)).map(|part| {
            format!("it records {part:?} under another name, which would switch its masking off")
        }),
        Carried::Pointer(pointer) => secret_segment(pointer).filter(|_| !is_secret_name(name)).map(|part| {
            format!("it records {part:?} under another name, which would switch its masking off")
        }),
    })
}

enum Carried<'a> {
    Source(&'a Source),
    /// A pointer into something else.
    Pointer(&'a str),
}

/// What of the exchange may stand in the value as it is: not what is only asked about, counted or hashed.
fn carried<'a>(expression: &'a Expr, into: &mut Vec<Carried<'a>>) {
    let Expr::Call(function, arguments) = expression else {
        if let Expr::Source(source) = expression {
            into.push(Carried::Source(source));
        }
        return;
    };
    let kept: Vec<&Expr> = match function {
        Function::First | Function::Sum | Function::Lower | Function::Text => arguments.iter().collect(),
        Function::If => arguments.iter().skip(1).collect(),
        // Results stand beside their cases; a single last one is for everything else.
        Function::Cases => arguments[1..].chunks(2).filter_map(|pair| pair.last()).collect(),
        Function::Pick => arguments.iter().take(1).collect(),
        Function::Pointer => {
            match arguments.get(1) {
                Some(Expr::Literal(Value::String(pointer))) => into.push(Carried::Pointer(pointer)),
                // Somebody outside would say where to point.
                _ => into.push(Carried::Pointer("/secret")),
            }
            arguments.iter().take(1).collect()
        }
        Function::Count
        | Function::Keys
        | Function::Present
        | Function::Filled
        | Function::Equals
        | Function::Contains
        | Function::Starts
        | Function::AtLeast
        | Function::Not
        | Function::All
        | Function::Any
        | Function::Fingerprint
        | Function::Intensity => Vec::new(),
    };
    for argument in kept {
        carried(argument, into);
    }
}

/// The part of a source's name that says it is a secret.
fn secret_part(source: &Source) -> Option<&str> {
    match source {
        Source::Request(pointer) | Source::Response(pointer) | Source::Before(pointer) => {
            secret_segment(pointer)
        }
        Source::RequestHeader(name)
        | Source::ResponseHeader(name)
        | Source::Path(name)
        | Source::Query(name)
        | Source::Filter(name)
        | Source::Claim(name) => Some(name.as_str()).filter(|name| is_secret(name)),
        // What changed was masked when it was compared.
        Source::Changed(_)
        | Source::Status
        | Source::Rows
        | Source::Client
        | Source::RequestText
        | Source::ResponseText => None,
    }
}

fn secret_segment(pointer: &str) -> Option<&str> {
    pointer.split('/').find(|segment| is_secret(segment))
}

fn is_secret(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|char| char.to_ascii_lowercase()).collect();
    is_secret_name(name) && !FIGURES.iter().any(|figure| plain.contains(figure))
}

/// The parser's words without the place, which is that of the whole document.
fn without_place(reason: &str) -> &str {
    reason.rfind(" at line ").map_or(reason, |end| &reason[..end])
}

fn at(text: &str, place: usize, rule: Option<String>, reason: String) -> ServedError {
    let (line, column) = position(text, place);
    ServedError { rule, line, column, reason }
}

fn position(text: &str, place: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..place.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (line, before.len() - start + 1)
}

/// Where the rule's id stands: the id as a JSON text, after the member's name.
fn rule_place(text: &str, from: usize, id: &str) -> usize {
    let quoted = Value::from(id).to_string();
    let found = text[from..].match_indices(&quoted).find(|(at, _)| {
        let before = text[from..from + at].trim_end();
        before.strip_suffix(':').is_some_and(|before| before.trim_end().ends_with("\"id\""))
    });
    found.map_or(from, |(at, _)| from + at)
}

#[cfg(test)]
mod tests;
