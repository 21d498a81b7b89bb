//! From a request line to the rules it may fall under.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::pack::FailMode;
use super::prepared::{Entry, Head};
use super::route::{is_mutating, normalise_path, query_value};
use super::{Headers, Level, Pack, Prepared, Rule};

/// Why packs cannot be routed together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?}: {reason}")]
pub struct RouterError {
    path: String,
    reason: String,
}

impl RouterError {
    /// The path template that is wrong.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// How the exchanges of one route and method are captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of the request's body that are captured; 0 for none.
    pub request_bytes: usize,
    /// Bytes of the response's body that are captured; 0 for none.
    pub response_bytes: usize,
    /// Whether an answer of events (SSE) is scanned as it passes.
    pub stream: bool,
    /// Whether an old side is to be read before forwarding.
    pub before: bool,
    /// What happens if the audit trail is not there: the strictest of the rules.
    pub fail: FailMode,
}

/// What the rules make of a request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look<'r> {
    /// The number of the plan to capture it with; none if it is not audited.
    pub plan: Option<usize>,
    /// The path template of the rules about it; none if there is no rule.
    pub mapped: Option<&'r str>,
}

/// The rules of one method on one path template, and how to capture for all of them.
#[derive(Debug)]
struct Candidates {
    method: Cow<'static, str>,
    path: Cow<'static, str>,
    plan: Plan,
    /// Pack and rule by index, in order.
    rules: Vec<(usize, usize)>,
}

/// A request that one rule or another may be about.
#[derive(Debug)]
pub struct Routed<'r> {
    /// The path template that matched.
    pub path: &'r str,
    /// The rules in order, each with its pack.
    pub rules: Vec<(&'r Prepared, &'r Rule)>,
}

/// The compiled packs of one mount.
#[derive(Debug)]
pub struct Router {
    packs: Vec<Prepared>,
    /// Template to the candidates of each method.
    paths: matchit::Router<Vec<usize>>,
    candidates: Vec<Candidates>,
}

impl Router {
    /// Compiles packs; earlier packs win over later ones, and within a pack earlier rules over later ones.
    ///
    /// A path falls under its most exact template, and under the rules of every wider one as well.
    ///
    /// # Errors
    /// [`RouterError`] names a path template that is malformed.
    #[inline]
    pub fn compile(packs: Vec<Pack>) -> Result<Self, RouterError> {
        Self::of(packs.into_iter().map(Prepared::from).collect())
    }

    /// The same with packs that were prepared.
    ///
    /// # Errors
    /// [`RouterError`] names a path template that is malformed.
    #[inline]
    pub fn of(packs: Vec<Prepared>) -> Result<Self, RouterError> {
        let mut by_shape: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut candidates: Vec<Candidates> = Vec::new();
        for (pack_at, pack) in packs.iter().enumerate() {
            for (rule_at, Entry { head, .. }) in pack.rules.iter().enumerate() {
                let of_shape = by_shape.entry(shape(&head.path)).or_default();
                for method in &head.methods {
                    let known = of_shape.iter().copied().find(|at| candidates[*at].method == *method);
                    let at = known.unwrap_or_else(|| {
                        candidates.push(Candidates {
                            method: method.clone(),
                            path: head.path.clone(),
                            plan: Plan::default(),
                            rules: Vec::new(),
                        });
                        of_shape.push(candidates.len() - 1);
                        candidates.len() - 1
                    });
                    candidates[at].rules.push((pack_at, rule_at));
                }
            }
        }
        let (shapes, mut of_shapes): (Vec<_>, Vec<_>) = by_shape.into_iter().unzip();
        add_wider(&mut candidates, &shapes, &mut of_shapes);
        let mut paths = matchit::Router::new();
        for (shape, of_shape) in shapes.into_iter().zip(of_shapes) {
            let first = of_shape[0];
            paths.insert(shape, of_shape).map_err(|error| RouterError {
                path: candidates[first].path.clone().into_owned(),
                reason: error.to_string(),
            })?;
        }
        for candidate in &mut candidates {
            candidate.rules = in_order(&candidate.rules);
            candidate.plan = candidate
                .rules
                .iter()
                .fold(Plan::default(), |plan, (pack, rule)| plan.with(&packs[*pack].rules[*rule].head));
        }
        Ok(Self { packs, paths, candidates })
    }

    /// The path templates and plans by number, as [`Router::look`] gives them. The last is that of a mutating request
    /// which no rule names; its template is empty.
    pub fn plans(&self) -> impl Iterator<Item = (&str, Plan)> {
        let unmapped = core::iter::once(("", Plan::default()));
        self.candidates.iter().map(|candidate| (candidate.path.as_ref(), candidate.plan)).chain(unmapped)
    }

    /// What the rules make of a request, by what is known before it is forwarded.
    pub fn look(&self, method: &str, path: &str, query: &str) -> Look<'_> {
        let unmapped = Look { plan: is_mutating(method).then_some(self.candidates.len()), mapped: None };
        let Some(at) = self.candidates_of(method, path) else { return unmapped };
        let candidates = &self.candidates[at];
        let mapped = Some(candidates.path.as_ref());
        let mut named = false;
        for head in candidates.rules.iter().map(|place| self.head(*place)) {
            if !matches_query(head, query) {
                continue;
            }
            named = true;
            match (head.level, head.has_when) {
                (Level::None, false) => return Look { plan: None, mapped },
                (Level::None, true) => {}
                _ => return Look { plan: Some(at), mapped },
            }
        }
        match named {
            // Only conditions under which it is not audited: whether one holds is known later.
            true => Look { plan: is_mutating(method).then_some(at), mapped },
            false => unmapped,
        }
    }

    /// The number of the plan to capture a request with; none if it is not audited.
    pub fn plan(&self, method: &str, path: &str, query: &str) -> Option<usize> {
        self.look(method, path, query).plan
    }

    /// The rules a request may fall under.
    pub fn route(&self, method: &str, path: &str, query: &str) -> Option<Routed<'_>> {
        let candidates = &self.candidates[self.candidates_of(method, path)?];
        let places = candidates.rules.iter().filter(|place| matches_query(self.head(**place), query));
        Some(Routed { path: &candidates.path, rules: places.map(|place| self.rule(*place)).collect() })
    }

    /// The headers that rules ask for, by pack.
    pub fn headers(&self) -> impl Iterator<Item = &Headers> {
        self.packs.iter().map(Prepared::headers)
    }

    /// Every rule, in order.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> + Clone {
        self.packs.iter().flat_map(|pack| (0..pack.rules.len()).map(|at| pack.rule(at)))
    }

    fn candidates_of(&self, method: &str, path: &str) -> Option<usize> {
        let path = normalise_path(path);
        let methods = self.paths.at(&path).ok()?.value;
        methods.iter().copied().find(|at| self.candidates[*at].method == method)
    }

    fn head(&self, (pack, rule): (usize, usize)) -> &Head {
        &self.packs[pack].rules[rule].head
    }

    fn rule(&self, (pack, rule): (usize, usize)) -> (&Prepared, &Rule) {
        (&self.packs[pack], self.packs[pack].rule(rule))
    }
}

impl Plan {
    fn with(mut self, head: &Head) -> Self {
        if head.level >= Level::Request {
            self.request_bytes = self.request_bytes.max(head.capture_bytes);
        }
        if head.level >= Level::Full {
            self.response_bytes = self.response_bytes.max(head.capture_bytes);
        }
        self.stream |= head.stream;
        self.before |= head.before;
        self.fail = self.fail.max(head.fail);
        self
    }
}

/// The places without repeats, earlier ones first. They are few, and sorting them would be code of its own.
fn in_order(places: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut sorted = Vec::with_capacity(places.len());
    for place in places {
        if let Err(at) = sorted.binary_search(place) {
            sorted.insert(at, *place);
        }
    }
    sorted
}

/// Adds to each template the rules of every wider one: a request falls under all of them. `of_shapes` has the candidates of
/// each of `shapes`.
fn add_wider(candidates: &mut Vec<Candidates>, shapes: &[String], of_shapes: &mut [Vec<usize>]) {
    let templates: Vec<Template<'_>> = shapes.iter().map(|shape| Template::of(shape)).collect();
    let wide: Vec<usize> = (0..shapes.len()).filter(|at| shapes[*at].contains('{')).collect();
    for (exact, template) in templates.iter().enumerate() {
        for &wider in wide.iter().filter(|wider| **wider != exact && templates[**wider].covers(template)) {
            for from in of_shapes[wider].clone() {
                let (method, rules) = (candidates[from].method.clone(), candidates[from].rules.clone());
                let known = of_shapes[exact].iter().copied().find(|at| candidates[*at].method == method);
                match known {
                    Some(to) => candidates[to].rules.extend(rules),
                    None => {
                        let path = candidates[of_shapes[exact][0]].path.clone();
                        candidates.push(Candidates { method, path, plan: Plan::default(), rules });
                        of_shapes[exact].push(candidates.len() - 1);
                    }
                }
            }
        }
    }
}

/// The segments of a shape, the first of which stands before its slash and is empty.
struct Template<'s> {
    segments: Vec<&'s str>,
    /// Where everything below is taken.
    star: Option<usize>,
}

impl<'s> Template<'s> {
    fn of(shape: &'s str) -> Self {
        let segments: Vec<&str> = shape.split('/').collect();
        let star = segments.iter().position(|segment| segment.starts_with("{*"));
        Self { segments, star }
    }

    /// Whether every path of the other is also one of this.
    fn covers(&self, other: &Self) -> bool {
        let (own, others) = match self.star {
            Some(at) if other.segments.len() > at => (&self.segments[..at], &other.segments[..at]),
            None if self.segments.len() == other.segments.len() && other.star.is_none() => {
                (&self.segments[..], &other.segments[..])
            }
            _ => return false,
        };
        own.iter()
            .zip(others)
            .all(|(wide, one)| if wide.starts_with('{') { !one.starts_with("{*") } else { wide == one })
    }
}

/// The template with its parameters numbered: templates that differ only in names are the same route.
fn shape(template: &str) -> String {
    let mut shape = String::with_capacity(template.len());
    for (at, segment) in template.split('/').enumerate() {
        if at > 0 {
            shape.push('/');
        }
        match segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            Some(inner) => {
                shape.push_str(if inner.starts_with('*') { "{*p" } else { "{p" });
                shape.push_str(&at.to_string());
                shape.push('}');
            }
            None => shape.push_str(segment),
        }
    }
    shape
}

/// The parameters that a template finds in a path.
pub(crate) fn parameters(template: &str, path: &str) -> BTreeMap<String, String> {
    let path = normalise_path(path);
    let mut found = BTreeMap::new();
    let mut rest = path.as_ref();
    for segment in template.split('/').skip(1) {
        rest = rest.strip_prefix('/').unwrap_or(rest);
        let inner = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
        if let Some(name) = inner.and_then(|inner| inner.strip_prefix('*')) {
            found.insert(name.to_owned(), rest.to_owned());
            break;
        }
        let end = rest.find('/').unwrap_or(rest.len());
        if let Some(name) = inner {
            found.insert(name.to_owned(), rest[..end].to_owned());
        }
        rest = &rest[end..];
    }
    found
}

fn matches_query(head: &Head, query: &str) -> bool {
    head.query.iter().all(|(name, want)| query_value(query, name).as_deref() == Some(want))
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
        let mapped = router.look(method, path, query).mapped.is_some();
        assert_eq!(mapped, !routed.rules.is_empty(), "mapped exactly where a rule may apply");
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
    }

    #[test]
    fn parameters_are_those_of_the_template() {
        let router = router();
        let routed = router.route("PUT", "/api/agents/abc", "").expect("routed");
        assert_eq!(routed.path, "/api/agents/{id}");
        let found = parameters(&routed.rules[0].1.matches.path, "/api//agents/abc/");
        assert_eq!(found, [("id".to_owned(), "abc".to_owned())].into());
        let found = parameters("/storage/{bucket}/{*path}", "/storage/avatars/a/b.png");
        assert_eq!(found["bucket"], "avatars");
        assert_eq!(found["path"], "a/b.png");
    }

    #[test]
    fn a_path_falls_under_the_rules_of_wider_templates_too_and_the_order_of_the_pack_decides() {
        let rule = |id: &str, method: &str, path: &str| {
            format!(
                r#"{{"id":"{id}","match":{{"method":{method},"path":"{path}"}},"level":"full",
                    "action":"A","severity":"info","entity":{{"type":"row"}}}}"#
            )
        };
        let rules = [
            rule("agents", r#""PATCH""#, "/rest/v1/agents"),
            rule("any", r#"["POST", "PATCH"]"#, "/rest/v1/{table}"),
            rule("late", r#""POST""#, "/rest/v1/agents"),
            rule("other", r#""POST""#, "/rest/v1/{name}"),
        ]
        .join(",");
        let pack = Pack::parse(&format!(r#"{{"name":"p","version":1,"rules":[{rules}]}}"#)).expect("a pack");
        let router = Router::compile(vec![pack]).expect("routable");
        let ids = |method: &str, path: &str| -> Vec<String> {
            let routed = router.route(method, path, "").expect("routed");
            routed.rules.iter().map(|(_, rule)| rule.id.clone()).collect()
        };
        assert_eq!(ids("PATCH", "/rest/v1/agents"), ["agents", "any"]);
        assert_eq!(ids("POST", "/rest/v1/agents"), ["any", "late", "other"]);
        assert_eq!(ids("POST", "/rest/v1/x"), ["any", "other"]);
        assert_eq!(router.look("POST", "/rest/v1/x", "").mapped, Some("/rest/v1/{table}"));
    }

    #[test]
    fn a_mutating_request_that_no_rule_names_has_the_plan_of_the_unmapped() {
        let router = router();
        let unmapped = router.plans().count() - 1;
        for (method, path, query, want) in [
            ("DELETE", "/api/agents/7", "", Some(unmapped)),
            ("POST", "/nothing", "", Some(unmapped)),
            ("POST", "/auth/v1/token", "?grant_type=web3", Some(unmapped)),
            ("GET", "/nothing", "", None),
            ("OPTIONS", "/api/agents", "", None),
        ] {
            assert_eq!(router.plan(method, path, query), want, "{method} {path}");
        }
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

    #[test]
    fn c18_the_first_rule_that_matches_wins_and_a_pack_without_rules_is_refused() {
        assert_eq!(
            Pack::parse(r#"{"name":"p","version":1,"rules":[]}"#),
            Err(crate::policy::PackError::Empty)
        );
        let rule = |id: &str, level: &str| {
            format!(
                r#"{{"id":"{id}","match":{{"method":"POST","path":"/x"}},"level":"{level}",
                    "action":"A","severity":"info","entity":{{"type":"a"}}}}"#
            )
        };
        let planned = |first: &str, second: &str| {
            let text = format!(
                r#"{{"name":"p","version":1,"rules":[{},{}]}}"#,
                rule("one", first),
                rule("two", second)
            );
            let router = Router::compile(vec![Pack::parse(&text).expect("a pack")]).expect("routable");
            router.plan("POST", "/x", "").is_some()
        };
        assert!(planned("full", "none"));
        assert!(!planned("none", "full"));
    }

    #[test]
    fn routing_does_not_grow_with_the_number_of_rules() {
        let router = |rules: usize| {
            let rules: Vec<String> = (0..rules)
                .map(|n| {
                    format!(
                        r#"{{"id":"r{n}","match":{{"method":"POST","path":"/api/area{n}/{{id}}/act"}},"level":"full",
                            "action":"A","severity":"info","entity":{{"type":"a"}}}}"#
                    )
                })
                .collect();
            let text = format!(r#"{{"name":"p","version":1,"rules":[{}]}}"#, rules.join(","));
            Router::compile(vec![Pack::parse(&text).expect("a pack")]).expect("routable")
        };
        let (few, many) = (router(10), router(1_000));
        let time = |router: &Router| {
            let best = (0..5).map(|_| {
                let start = std::time::Instant::now();
                for _ in 0..2_000 {
                    assert!(router.plan("POST", "/api/area7/5ba8ba17/act", "").is_some());
                    assert!(router.plan("GET", "/static/chunks/main.js", "").is_none());
                }
                start.elapsed()
            });
            best.min().expect("five runs")
        };
        let (few, many) = (time(&few), time(&many));
        assert!(many < few * 8, "a hundred times the rules took {many:?} instead of {few:?}");
    }
}
