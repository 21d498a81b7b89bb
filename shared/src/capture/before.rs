//! The old side of a change: one GET without side effects, made before the request is forwarded.
//!
//! It goes straight to the upstream or to the mount's Supabase project, never back through a mount, with nothing but
//! the caller's own credentials: what the caller may not see, nobody sees.

use super::draft::bearer;
use super::exchange::client;
use super::{Headers, Mount};
use crate::event::Timestamp;
use crate::identity::{self, Claims, Jwt};
use crate::policy::{BeforeRule, Expr, Facts, Routed, Router, Source, parameters, query_pairs, query_value};
use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

/// Rows that are asked for: of more than one, no change can be told.
const MAX_ROWS: u32 = 2;

/// The one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreRead {
    /// Scheme, host, path and query.
    pub url: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
}

/// What to read before a request is forwarded; none if no rule asks, or the caller has no current token to read with:
/// an application that is asked with an expired one may renew the session, which is a side effect.
pub fn pre_read(
    router: &Router,
    mount: &Mount,
    method: &str,
    path: &str,
    query: &str,
    headers: &Headers,
    arrived: Timestamp,
) -> Option<PreRead> {
    let routed = router.route(method, path, query)?;
    let token = own_token(mount, headers);
    let early = |template: &str| Early {
        parameters: parameters(template, path),
        query,
        headers,
        token: token.as_deref(),
    };
    let (before, template) = first_to_read(&routed, early)?;
    match before {
        BeforeRule::Rows { select, .. } => rows(mount, path, query, headers, select),
        BeforeRule::Table { table, filters, select } => {
            let filters = filters.iter().map(|(column, value)| (column.as_str(), &value.0));
            row(mount, table, filters, select, &early(template))
        }
        BeforeRule::Get { get, .. } => {
            if !Jwt::parse(token.as_deref()?)?.claims.is_current(arrived) {
                return None;
            }
            let mut target = get.clone();
            for (name, value) in parameters(template, path) {
                target = target.replace(&format!("{{{name}}}"), &escape(&value));
            }
            let credentials = passed(headers, &["apikey", "cookie", "authorization"]);
            (!target.contains('{')).then(|| PreRead {
                url: format!("{}{target}", mount.upstream),
                headers: with_accept(credentials),
            })
        }
    }
}

/// The old side that the first rule asks for which may apply, and its template. A rule whose condition can be told from
/// the request's head alone is left out, or decides, at once: the application's own server is not slowed down by reads
/// for rules about browsers.
fn first_to_read<'r, 'a>(
    routed: &Routed<'r>,
    early: impl Fn(&str) -> Early<'a>,
) -> Option<(&'r BeforeRule, &'r str)> {
    for (_, rule) in &routed.rules {
        let template = rule.matches.path.as_str();
        let early = early(template);
        let holds = match &rule.when {
            None => Some(true),
            Some(when) if when.sources().iter().all(|source| is_early(source)) => Some(when.holds(&early)),
            Some(_) => None,
        };
        match (holds, &rule.before) {
            (Some(false), _) | (None, None) => {}
            (Some(true), None) => return None,
            (Some(true) | None, Some(before)) => return Some((before, template)),
        }
    }
    None
}

/// Whether a source is known before the request is forwarded.
fn is_early(source: &Source) -> bool {
    matches!(
        source,
        Source::Path(_) | Source::Query(_) | Source::Filter(_) | Source::RequestHeader(_) | Source::Client
    )
}

/// The rows that a PATCH or DELETE of PostgREST will touch: the same filters, none of the rest.
fn rows(mount: &Mount, path: &str, query: &str, headers: &Headers, select: &[String]) -> Option<PreRead> {
    const NO_FILTER: &[&str] = &["select", "columns", "on_conflict", "limit", "offset", "order"];
    let mut parameters: Vec<String> = query_pairs(query)
        .filter(|(name, _)| !NO_FILTER.contains(&name.as_str()))
        .map(|(name, value)| format!("{}={}", escape(&name), escape(&value)))
        .collect();
    if parameters.is_empty() {
        return None;
    }
    parameters.push(selected(select));
    parameters.push(format!("limit={MAX_ROWS}"));
    let mut own = passed(headers, &["apikey", "authorization"]);
    let profile = headers.get("content-profile").or_else(|| headers.get("accept-profile"));
    own.extend(profile.map(|profile| ("accept-profile".to_owned(), profile.to_owned())));
    let url = format!("{}{path}?{}", mount.upstream, parameters.join("&"));
    Some(PreRead { url, headers: with_accept(own) })
}

fn row<'e>(
    mount: &Mount,
    table: &str,
    filters: impl Iterator<Item = (&'e str, &'e Expr)>,
    select: &[String],
    early: &Early<'_>,
) -> Option<PreRead> {
    let supabase = mount.supabase.as_ref()?;
    let token = early.token?;
    let mut parameters = filters
        .map(|(column, value)| Some(format!("{column}=eq.{}", escape(&value.text(early)?))))
        .collect::<Option<Vec<_>>>()?;
    parameters.push(selected(select));
    parameters.push(format!("limit={MAX_ROWS}"));
    let url = format!("{}/rest/v1/{table}?{}", supabase.url.trim_end_matches('/'), parameters.join("&"));
    let own = vec![
        ("apikey".to_owned(), supabase.publishable_key.clone()),
        ("authorization".to_owned(), format!("Bearer {token}")),
    ];
    Some(PreRead { url, headers: with_accept(own) })
}

fn own_token(mount: &Mount, headers: &Headers) -> Option<String> {
    let cookie = headers
        .get("cookie")
        .and_then(|cookie| identity::session_token(cookie, mount.session_cookie.as_deref()));
    cookie.or_else(|| bearer(headers).map(str::to_owned))
}

fn selected(columns: &[String]) -> String {
    if columns.is_empty() { "select=*".to_owned() } else { format!("select={}", columns.join(",")) }
}

fn passed(headers: &Headers, names: &[&str]) -> Vec<(String, String)> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), headers.get(name)?.to_owned()))).collect()
}

fn with_accept(mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers.push(("accept".to_owned(), "application/json".to_owned()));
    headers.push(("user-agent".to_owned(), "edgetrail".to_owned()));
    headers
}

/// Percent-encoding of all but RFC 3986's unreserved characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What is known before the request is forwarded.
struct Early<'a> {
    parameters: BTreeMap<String, String>,
    query: &'a str,
    headers: &'a Headers,
    token: Option<&'a str>,
}

impl Facts for Early<'_> {
    fn value(&self, source: &Source) -> Option<Cow<'_, Value>> {
        let claim = |read: fn(Claims) -> Option<String>| read(Jwt::parse(self.token?)?.claims);
        let value = match source {
            Source::Path(name) => self.parameters.get(name).map(|value| Value::from(value.as_str())),
            Source::Query(name) => query_value(self.query, name).map(Value::from),
            Source::Filter(column) => query_value(self.query, column)?.strip_prefix("eq.").map(Value::from),
            Source::RequestHeader(name) => self.headers.get(name).map(Value::from),
            Source::Client => Some(Value::from(client(self.headers))),
            Source::Claim(name) => match name.as_str() {
                "sub" => claim(|claims| claims.sub),
                "email" => claim(|claims| claims.email),
                "session_id" => claim(|claims| claims.session_id),
                _ => None,
            }
            .map(Value::from),
            _ => None,
        };
        value.map(Cow::Owned)
    }

    fn fingerprint(&self, _text: &str) -> Option<String> {
        None
    }
}
