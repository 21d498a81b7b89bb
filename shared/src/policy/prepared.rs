//! A pack as a router has it: what a request is matched by stands ready, what a rule makes of it is read when a request first
//! falls under the rule.
//!
//! The packs of the Worker are prepared when it is built ([`prepare`]). Reading all of their rules took most of the time
//! that a new isolate needed until its first answer, and most isolates never need most of the rules.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::document::{Context, PackDocument, RuleDocument};
use super::{Expr, FailMode, Level, Pack, PackError, Rule, Source};

/// A pack that routes.
#[derive(Debug)]
pub struct Prepared {
    /// The pack's name; rules are named `pack/rule`.
    pub name: String,
    /// Where requests name a user, for rules that do not say otherwise.
    pub claimed_user: Vec<Expr>,
    headers: Headers,
    context: Context,
    pub(super) rules: Vec<Entry>,
}

/// The headers that a pack's rules ask for, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Of the request.
    pub request: Vec<Cow<'static, str>>,
    /// Of the response.
    pub response: Vec<Cow<'static, str>>,
}

/// What routing knows of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    id: Cow<'static, str>,
    pub(super) methods: Vec<Cow<'static, str>>,
    pub(super) path: Cow<'static, str>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) level: Level,
    pub(super) capture_bytes: usize,
    /// Whether something else must hold of the captured exchange.
    pub(super) has_when: bool,
    pub(super) stream: bool,
    /// Whether an old side is read.
    pub(super) before: bool,
    pub(super) fail: FailMode,
}

/// A rule, and its text as long as it was not read.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) head: Head,
    text: &'static str,
    rule: OnceLock<Rule>,
}

/// The text of a pack for [`Prepared::read`]: a line for the pack, one for its headers, one for what routing needs of each rule;
/// after an empty line what else each rule says, which nobody looks through before it is needed.
///
/// # Errors
/// [`PackError`] as [`Pack::parse`] has it; also if an id, a method or a path holds a tab or the end of a line.
pub fn prepare(text: &str) -> Result<String, PackError> {
    let pack = Pack::parse(text)?;
    let mut document: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let Some(Value::Array(rules)) = document.insert("rules".to_owned(), Value::Array(Vec::new())) else {
        return Err(PackError::Empty);
    };
    let headers = Headers::of(&pack);
    let mut lines = Value::Object(document).to_string();
    let _ = write!(lines, "\n{}\t{}\n", headers.request.join(" "), headers.response.join(" "));
    let mut rest = String::new();
    for (rule, mut value) in pack.rules.iter().zip(rules) {
        let head = Head::of(rule);
        let fields = [head.id.as_ref(), head.path.as_ref(), &head.methods.join(" ")];
        if fields.iter().any(|field| field.contains(['\t', '\n'])) {
            let reason = "it holds a tab or the end of a line".to_owned();
            return Err(PackError::Rule { rule: rule.id.clone(), member: "/match", reason });
        }
        if let Value::Object(members) = &mut value {
            members.remove("id");
            members.remove("match");
        }
        let query =
            if head.query.is_empty() { String::new() } else { serde_json::json!(head.query).to_string() };
        let flags: String = [(head.has_when, 'w'), (head.stream, 's'), (head.before, 'b')]
            .into_iter()
            .filter_map(|(is_set, flag)| is_set.then_some(flag))
            .collect();
        let [id, path, methods] = fields;
        let start = rest.len();
        let _ = write!(rest, "{value}");
        let _ = writeln!(
            lines,
            "{id}\t{methods}\t{path}\t{query}\t{}{}{flags}\t{}\t{}",
            head.level as u8,
            head.fail as u8,
            head.capture_bytes,
            rest.len() - start
        );
    }
    lines.push('\n');
    lines.push_str(&rest);
    Ok(lines)
}

impl Prepared {
    /// Takes up what [`prepare`] gave; of the rules only what routing needs.
    ///
    /// # Errors
    /// [`PackError::Document`] if it is not such a text.
    pub fn read(text: &'static str) -> Result<Self, PackError> {
        let malformed =
            |line: usize, reason: &str| PackError::Document { line, column: 1, reason: reason.to_owned() };
        let mut lines = text.split('\n');
        let (pack, headers) = lines.next().zip(lines.next()).ok_or_else(|| malformed(1, "it has no head"))?;
        let document: PackDocument =
            serde_json::from_str(pack).map_err(|error| malformed(1, &error.to_string()))?;
        let (request, response) =
            headers.split_once('\t').ok_or_else(|| malformed(2, "it names no headers"))?;
        let words =
            |text: &'static str| text.split(' ').filter(|word| !word.is_empty()).map(Cow::Borrowed).collect();
        let mut rules = Vec::with_capacity(128);
        let mut lens = Vec::with_capacity(128);
        for (at, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
            let (head, len) = Head::read(line).ok_or_else(|| malformed(at + 3, "it is no rule"))?;
            rules.push(Entry { head, text: "", rule: OnceLock::new() });
            lens.push(len);
        }
        let mut end = text.len();
        for (entry, len) in rules.iter_mut().zip(lens).rev() {
            let start = end.checked_sub(len).ok_or_else(|| malformed(1, "it is cut"))?;
            entry.text = text.get(start..end).ok_or_else(|| malformed(1, "it is cut"))?;
            end = start;
        }
        let (name, claimed_user, context) = document.into_context();
        Ok(Self {
            name,
            claimed_user,
            headers: Headers { request: words(request), response: words(response) },
            context,
            rules,
        })
    }

    /// The headers that its rules ask for.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Sets what happens to requests of a rule if the audit trail is not there; false if there is no such rule.
    pub fn set_fail(&mut self, id: &str, mode: FailMode) -> bool {
        let Some(entry) = self.rules.iter_mut().find(|entry| entry.head.id == id) else { return false };
        entry.head.fail = mode;
        if let Some(rule) = entry.rule.get_mut() {
            rule.fail = mode;
        }
        true
    }

    /// A rule by its place.
    ///
    /// # Panics
    /// If the text was not made by [`prepare`], which has read every rule.
    pub(super) fn rule(&self, at: usize) -> &Rule {
        let entry = &self.rules[at];
        entry.rule.get_or_init(|| {
            let mut rule = entry.head.whole(entry.text, &self.context).expect("the build has read the rule");
            rule.fail = entry.head.fail;
            rule
        })
    }
}

impl From<Pack> for Prepared {
    fn from(pack: Pack) -> Self {
        let headers = Headers::of(&pack);
        let Pack { name, claimed_user, rules, .. } = pack;
        let rules = rules
            .into_iter()
            .map(|rule| Entry { head: Head::of(&rule), text: "", rule: rule.into() })
            .collect();
        Self { name, claimed_user, headers, context: Context::default(), rules }
    }
}

impl Headers {
    fn of(pack: &Pack) -> Self {
        let mut headers = Self::default();
        let expressions = pack.rules.iter().flat_map(Rule::expressions).chain(&pack.claimed_user);
        for source in expressions.flat_map(Expr::sources) {
            let (names, name) = match source {
                Source::RequestHeader(name) => (&mut headers.request, name),
                Source::ResponseHeader(name) => (&mut headers.response, name),
                _ => continue,
            };
            if !names.iter().any(|known| known == name) {
                names.push(name.clone().into());
            }
        }
        headers
    }
}

impl Head {
    fn of(rule: &Rule) -> Self {
        Self {
            id: rule.id.clone().into(),
            methods: rule.matches.methods.iter().map(|method| method.clone().into()).collect(),
            path: rule.matches.path.clone().into(),
            query: rule.matches.query.clone(),
            level: rule.level,
            capture_bytes: rule.capture_bytes,
            has_when: rule.when.is_some(),
            stream: rule.stream,
            before: rule.before.is_some(),
            fail: rule.fail,
        }
    }

    /// Reads its line, and with it the length of what else the rule says.
    fn read(line: &'static str) -> Option<(Self, usize)> {
        let mut fields = line.split('\t');
        let id = fields.next()?.into();
        let methods = fields.next()?.split(' ').map(Cow::Borrowed).collect();
        let path = fields.next()?.into();
        let query = match fields.next()? {
            "" => BTreeMap::new(),
            query => serde_json::from_str(query).ok()?,
        };
        let [level, fail, flags @ ..] = fields.next()?.as_bytes() else { return None };
        let level = [Level::None, Level::Metadata, Level::Request, Level::Full]
            .into_iter()
            .find(|known| *known as u8 == level.wrapping_sub(b'0'))?;
        let fail = [FailMode::Open, FailMode::Intent, FailMode::Closed]
            .into_iter()
            .find(|known| *known as u8 == fail.wrapping_sub(b'0'))?;
        let capture_bytes = fields.next()?.parse().ok()?;
        let [has_when, stream, before] = [b'w', b's', b'b'].map(|flag| flags.contains(&flag));
        let head = Self { id, methods, path, query, level, capture_bytes, has_when, stream, before, fail };
        Some((head, fields.next()?.parse().ok()?))
    }

    /// The rule of this head and the rest of its document.
    fn whole(&self, rest: &str, context: &Context) -> Option<Rule> {
        let matches = serde_json::json!({"method": self.methods, "path": self.path, "query": self.query});
        let id = Value::from(self.id.as_ref());
        let text = format!("{{\"id\":{id},\"match\":{matches},{}", rest.strip_prefix('{')?);
        serde_json::from_str::<RuleDocument>(&text).ok()?.resolve(context).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Router;
    use super::*;

    const PACK: &str = r#"{"name":"p","version":3,"claimed_user":["query:user"],"lists":{"names":["title","model"]},
        "defaults":{"level":"full","severity":"info","details":{"from":"request-header:x-from"}},
        "rules":[
            {"id":"put","match":{"method":["PUT","PATCH"],"path":"/a/{id}"},"action":"A","entity":{"type":"agent"},
             "when":"present(response-header:x-done)","changes":{"request":"request:","fields":["@names"]},"fail":"intent"},
            {"id":"log-in","match":{"method":"POST","path":"/token","query":{"grant_type":"a&b=c"}},"action":"B",
             "level":"request","capture_bytes":77,"stream":true,"before":{"rows":true},"entity":{"type":"user"}},
            {"id":"seen","match":{"method":"POST","path":"/token"},"action":"C","level":"none","entity":{"type":"user"}}]}"#;

    fn prepared(pack: &str) -> Prepared {
        Prepared::read(prepare(pack).expect("a pack").leak()).expect("prepared")
    }

    #[test]
    fn a_prepared_pack_routes_and_reads_as_the_pack_itself() {
        let pack = Pack::parse(PACK).expect("a pack");
        let (one, other) = (prepared(PACK), Prepared::from(pack.clone()));
        assert_eq!((&one.name, &one.claimed_user), (&other.name, &other.claimed_user));
        assert_eq!(one.headers(), other.headers());
        let heads = |pack: &Prepared| pack.rules.iter().map(|entry| entry.head.clone()).collect::<Vec<_>>();
        assert_eq!(heads(&one), heads(&other));
        assert!(
            one.rules.iter().all(|entry| entry.rule.get().is_none()),
            "nothing is read before it is needed"
        );
        let router = Router::of(vec![one]).expect("routable");
        assert_eq!(router.rules().cloned().collect::<Vec<_>>(), pack.rules);
    }

    #[test]
    fn a_mode_set_before_or_after_a_rule_is_read_is_its_mode() {
        let mut pack = prepared(PACK);
        assert!(pack.set_fail("log-in", FailMode::Closed) && !pack.set_fail("nothing", FailMode::Closed));
        assert_eq!((pack.rule(0).fail, pack.rule(1).fail), (FailMode::Intent, FailMode::Closed));
        assert!(pack.set_fail("put", FailMode::Open));
        assert_eq!((pack.rule(0).fail, pack.rules[0].head.fail), (FailMode::Open, FailMode::Open));
    }

    #[test]
    fn what_is_no_prepared_pack_is_refused_with_its_line() {
        let good = prepare(PACK).expect("a pack");
        let lines: Vec<&str> = good.split('\n').collect();
        let cut = lines[2].rsplit_once('\t').expect("fields").0;
        for (text, line) in [
            ("no lines".to_owned(), 1),
            (format!("{{}}\n{}", lines[1]), 1),
            (format!("{}\nno headers", lines[0]), 2),
            (format!("{}\n{}\n{cut}\n\n", lines[0], lines[1]), 3),
            (format!("{}\n{}\n{}\n{cut}", lines[0], lines[1], lines[2]), 4),
            (format!("{}\n{}\n{}0\n", lines[0], lines[1], lines[2]), 1),
        ] {
            match Prepared::read(text.clone().leak()) {
                Err(PackError::Document { line: told, .. }) => assert_eq!(told, line, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        let tab = PACK.replace("\"log-in\"", "\"log\\tin\"");
        assert!(matches!(prepare(&tab), Err(PackError::Rule { rule, .. }) if rule == "log\tin"));
    }
}
