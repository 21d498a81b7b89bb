//! From a request line to the rules it may fall under.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Expr, Level, Pack, Rule, Source};

/// Why packs cannot be routed together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?}: {reason}")]
pub struct RouterError {
    path: String,
    reason: String,
}

/// How the exchanges of one route and method are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of the request's body that are captured; 0 for none.
    pub request_bytes: usize,
    /// Bytes of the response's body that are captured; 0 for none.
    pub response_bytes: usize,
}

/// The rules of one method on one path template, and how to capture for all of them.
#[derive(Debug)]
struct Candidates {
    method: String,
    path: String,
    plan: Plan,
    /// Pack and rule by index, in order.
    rules: Vec<(usize, usize)>,
}

/// A request that one rule or another may be about.
#[derive(Debug)]
pub struct Routed<'r> {
    /// The path template.
    pub path: &'r str,
    /// The template's parameters.
    pub parameters: BTreeMap<String, String>,
    /// The rules in order, each with its pack.
    pub rules: Vec<(&'r Pack, &'r Rule)>,
}

/// The compiled packs of one mount.
#[derive(Debug)]
pub struct Router {
    packs: Vec<Pack>,
    /// Template to the candidates of each method.
    paths: matchit::Router<Vec<usize>>,
    candidates: Vec<Candidates>,
}

impl Router {
    /// Compiles packs; earlier packs win over later ones.
    ///
    /// # Errors
    /// [`RouterError`] names a path template that is malformed or contradicts another.
    pub fn compile(packs: Vec<Pack>) -> Result<Self, RouterError> {
        let mut candidates: Vec<Candidates> = Vec::new();
        for (pack_at, pack) in packs.iter().enumerate() {
            for (rule_at, rule) in pack.rules.iter().enumerate() {
                let at = candidates
                    .iter()
                    .position(|known| known.method == rule.matches.method && known.path == rule.matches.path)
                    .unwrap_or_else(|| {
                        candidates.push(Candidates {
                            method: rule.matches.method.clone(),
                            path: rule.matches.path.clone(),
                            plan: Plan { request_bytes: 0, response_bytes: 0 },
                            rules: Vec::new(),
                        });
                        candidates.len() - 1
                    });
                candidates[at].add(pack_at, rule_at, rule);
            }
        }
        let mut by_path: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, candidate) in candidates.iter().enumerate() {
            by_path.entry(&candidate.path).or_default().push(at);
        }
        let mut paths = matchit::Router::new();
        for (path, methods) in by_path {
            paths
                .insert(path, methods)
                .map_err(|error| RouterError { path: path.to_owned(), reason: error.to_string() })?;
        }
        Ok(Self { packs, paths, candidates })
    }

    /// The path templates and plans by number, as [`Router::plan`] gives them.
    pub fn plans(&self) -> impl Iterator<Item = (&str, Plan)> {
        self.candidates.iter().map(|candidate| (candidate.path.as_str(), candidate.plan))
    }

    /// The number of the plan to capture a request with; none if no rule can be about it.
    pub fn plan(&self, method: &str, path: &str, query: &str) -> Option<usize> {
        let path = normalise_path(path);
        let methods = self.paths.at(&path).ok()?;
        let at = *methods.value.iter().find(|at| self.candidates[**at].method == method)?;
        let audited = self.candidates[at]
            .rules
            .iter()
            .map(|place| self.rule(*place).1)
            .find(|rule| rule.matches.query.is_empty() || matches_query(rule, query));
        audited.filter(|rule| rule.level > Level::None || rule.when.is_some()).map(|_| at)
    }

    /// The rules a request may fall under.
    pub fn route(&self, method: &str, path: &str, query: &str) -> Option<Routed<'_>> {
        let path = normalise_path(path);
        let matched = self.paths.at(&path).ok()?;
        let at = *matched.value.iter().find(|at| self.candidates[**at].method == method)?;
        let candidates = &self.candidates[at];
        Some(Routed {
            path: &candidates.path,
            parameters: matched
                .params
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            rules: candidates
                .rules
                .iter()
                .map(|place| self.rule(*place))
                .filter(|(_, rule)| matches_query(rule, query))
                .collect(),
        })
    }

    /// Every source that a rule asks for.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.packs.iter().flat_map(|pack| {
            let own = pack.claimed_user.iter();
            pack.rules.iter().flat_map(Rule::expressions).chain(own).flat_map(Expr::sources)
        })
    }

    fn rule(&self, (pack, rule): (usize, usize)) -> (&Pack, &Rule) {
        (&self.packs[pack], &self.packs[pack].rules[rule])
    }
}

impl Candidates {
    fn add(&mut self, pack: usize, number: usize, rule: &Rule) {
        self.rules.push((pack, number));
        if rule.level >= Level::Request {
            self.plan.request_bytes = self.plan.request_bytes.max(rule.capture_bytes);
        }
        if rule.level >= Level::Full {
            self.plan.response_bytes = self.plan.response_bytes.max(rule.capture_bytes);
        }
    }
}

fn matches_query(rule: &Rule, query: &str) -> bool {
    rule.matches.query.iter().all(|(name, want)| query_value(query, name).as_deref() == Some(want))
}

/// The first value of a query parameter, decoded.
pub(crate) fn query_value(query: &str, name: &str) -> Option<String> {
    let query = query.strip_prefix('?').unwrap_or(query);
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode_form(key) == name).then(|| decode_form(value))
    })
}

fn decode_form(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = crate::identity::percent_decode(&text.replace('+', " "));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The path as servers understand it: escapes of plain characters undone (RFC 3986, section 6.2.2.2), slashes single
/// and none at the end. Otherwise `/api/%61gents` would pass by a rule and still reach the agents.
pub fn normalise_path(path: &str) -> Cow<'_, str> {
    let odd = path.contains('%') || path.contains("//") || (path.len() > 1 && path.ends_with('/'));
    if !odd {
        return Cow::Borrowed(path);
    }
    let bytes = path.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let plain = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|pair| core::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
        let byte = plain.unwrap_or(bytes[at]);
        if !(byte == b'/' && out.last() == Some(&b'/')) {
            out.push(byte);
        }
        at += if plain.is_some() { 3 } else { 1 };
    }
    if out.len() > 1 && out.last() == Some(&b'/') {
        out.pop();
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router {
        let rule = |id: &str, method: &str, path: &str, more: &str| {
            format!(
                r#"{{"id":"{id}","match":{{"method":"{method}","path":"{path}"{more}}},"level":"full",
                    "action":"A","severity":"info","entity":{{"type":"agent"}}}}"#
            )
        };
        let rules = [
            rule("list", "GET", "/api/agents", ""),
            rule("one", "GET", "/api/agents/{id}", ""),
            rule("put", "PUT", "/api/agents/{id}", ""),
            rule("status", "POST", "/api/agents/{agent}/status", ""),
            rule("login", "POST", "/auth/v1/token", r#","query":{"grant_type":"password"}"#),
        ]
        .join(",");
        let pack = Pack::parse(&format!(r#"{{"name":"p","version":1,"rules":[{rules}]}}"#)).expect("a pack");
        Router::compile(vec![pack]).expect("routable")
    }

    fn found(method: &str, path: &str, query: &str) -> Option<String> {
        let router = router();
        let routed = router.route(method, path, query)?;
        let planned = router.plan(method, path, query).is_some();
        assert_eq!(planned, !routed.rules.is_empty(), "a plan exactly where a rule may apply");
        routed.rules.first().map(|(_, rule)| rule.id.clone())
    }

    #[test]
    fn method_path_and_query_decide() {
        assert_eq!(found("GET", "/api/agents", "").as_deref(), Some("list"));
        assert_eq!(found("GET", "/api/agents/7", "").as_deref(), Some("one"));
        assert_eq!(found("PUT", "/api/agents/7", "?x=1").as_deref(), Some("put"));
        assert_eq!(found("POST", "/api/agents/7/status", "").as_deref(), Some("status"));
        assert_eq!(found("POST", "/auth/v1/token", "?grant_type=password").as_deref(), Some("login"));
        assert_eq!(found("POST", "/auth/v1/token", "?a=b&grant%5Ftype=pass%77ord").as_deref(), Some("login"));
        assert_eq!(found("POST", "/auth/v1/token", "?grant_type=refresh_token"), None);
        assert_eq!(found("DELETE", "/api/agents/7", ""), None);
        assert_eq!(found("GET", "/api/agents/7/8", ""), None);
    }

    #[test]
    fn another_spelling_of_a_path_is_the_same_path() {
        for path in ["/api/agents/", "/api//agents", "/%61pi/agents", "/api/agent%73/"] {
            assert_eq!(found("GET", path, "").as_deref(), Some("list"), "{path}");
        }
        assert_eq!(normalise_path("/a%2Fb%"), "/a%2Fb%");
        assert_eq!(normalise_path("/"), "/");
        assert_eq!(normalise_path("//"), "/");
    }

    #[test]
    fn parameters_are_those_of_the_template() {
        let router = router();
        let routed = router.route("PUT", "/api/agents/abc", "").expect("routed");
        assert_eq!(routed.path, "/api/agents/{id}");
        assert_eq!(routed.parameters.get("id").map(String::as_str), Some("abc"));
    }

    #[test]
    fn a_broken_pack_is_refused_with_its_place() {
        let error =
            Pack::parse("{\n \"name\": \"p\",\n \"version\": 1,\n \"nope\": 1}").expect_err("refused");
        assert!(error.to_string().starts_with("line 4, column"), "{error}");
        let text = r#"{"name":"p","version":1,"rules":[{"id":"x","match":{"method":"get","path":"/"},"level":"full",
            "action":"A","severity":"info","entity":{"type":"a"}}]}"#;
        assert_eq!(
            Pack::parse(text).expect_err("refused").to_string(),
            "rule \"x\": method \"get\" is not in capitals"
        );
    }
}
