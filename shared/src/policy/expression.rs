//! The expression language of rules: plain paths and about twenty functions.
//!
//! ```text
//! expression = source | literal | function "(" expression {"," expression} ")"
//! source     = "request:" pointer | "response:" pointer            JSON pointer (RFC 6901) into a body
//!            | "request-header:" name | "response-header:" name
//!            | "path:" name | "query:" name | "claim:" name
//!            | "filter:" column                                     PostgREST's `column=eq.value`
//!            | "before:" pointer                                    the old side, where the rule reads it
//!            | "changed:" field                                     the field's change, if it changed
//!            | "status" | "rows"                                    rows: what Content-Range tells
//!            | "request-text" | "response-text"                     a captured body as text
//!            | "client"                                             'server' or 'browser', by the client's own marks
//! literal    = "'" text "'" | number | "true" | "false" | "null"
//! ```
//!
//! Nothing fails at run time. What is absent is not the same as null: `count` and `filled` of what was not seen are
//! themselves absent, since 0 and false would be guesses.

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;

use super::function::{self, Function};

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expression {text:?}, character {at}: {reason}")]
pub struct ExprError {
    text: String,
    at: usize,
    reason: String,
}

impl ExprError {
    /// The byte of the expression that is wrong, from 1.
    pub fn at(&self) -> usize {
        self.at
    }
}

/// Nesting that is accepted.
const MAX_DEPTH: usize = 8;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A JSON pointer into the request's body.
    Request(String),
    /// A JSON pointer into the response's body.
    Response(String),
    /// A request header.
    RequestHeader(String),
    /// A response header.
    ResponseHeader(String),
    /// A parameter of the path template.
    Path(String),
    /// A parameter of the query.
    Query(String),
    /// The value of an `eq` filter of PostgREST.
    Filter(String),
    /// A claim of the request's token, proven or not: `sub`, `email`, `role`, `session_id`.
    Claim(String),
    /// The response's status.
    Status,
    /// The rows that were touched, by `Content-Range`.
    Rows,
    /// A JSON pointer into the representation that was read before the request was forwarded.
    Before(String),
    /// What changed of a field, as it stands in the change set.
    Changed(String),
    /// The captured request body as text.
    RequestText,
    /// The captured response body as text.
    ResponseText,
    /// `server` or `browser`, by marks that anybody can send.
    Client,
}

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// A value of the exchange.
    Source(Source),
    /// A fixed value.
    Literal(Value),
    /// A function of values.
    Call(Function, Vec<Expr>),
}

/// What expressions are evaluated on.
pub trait Facts {
    /// The value of a source; none where it is absent. What stands in a body is not copied.
    fn value(&self, source: &Source) -> Option<Cow<'_, Value>>;

    /// A keyed hash of a text, by which it can be compared and not read; none where there is no key.
    fn fingerprint(&self, text: &str) -> Option<String>;
}

impl Expr {
    /// The value on these facts; none where it is absent.
    pub fn value<'v>(&'v self, facts: &'v dyn Facts) -> Option<Cow<'v, Value>> {
        match self {
            Self::Source(source) => facts.value(source),
            Self::Literal(value) => Some(Cow::Borrowed(value)),
            Self::Call(function, arguments) => function::call(*function, arguments, facts),
        }
    }

    /// Whether the value on these facts is true.
    pub fn holds(&self, facts: &dyn Facts) -> bool {
        self.value(facts).is_some_and(|value| *value == Value::Bool(true))
    }

    /// The value as text: texts and numbers only.
    pub fn text(&self, facts: &dyn Facts) -> Option<String> {
        let value = self.value(facts)?;
        match &*value {
            Value::String(text) if text.is_empty() => None,
            Value::String(_) => match value.into_owned() {
                Value::String(text) => Some(text),
                _ => None,
            },
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Every source in it.
    pub fn sources(&self) -> Vec<&Source> {
        match self {
            Self::Source(source) => vec![source],
            Self::Literal(_) => Vec::new(),
            Self::Call(_, arguments) => arguments.iter().flat_map(Self::sources).collect(),
        }
    }
}

impl FromStr for Expr {
    type Err = ExprError;

    #[inline]
    fn from_str(text: &str) -> Result<Self, ExprError> {
        let mut parser = Parser { text, at: 0 };
        let expression = parser.expression(0)?;
        parser.skip_spaces();
        if parser.rest().is_empty() { Ok(expression) } else { Err(parser.error("nothing may follow")) }
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    #[inline]
    fn expression(&mut self, depth: usize) -> Result<Expr, ExprError> {
        if depth > MAX_DEPTH {
            return Err(self.error("it is nested too deeply"));
        }
        self.skip_spaces();
        if self.rest().starts_with('\'') {
            return self.quoted();
        }
        let word = self.word();
        match word {
            "" => Err(self.error("an expression is missing")),
            "true" => Ok(Expr::Literal(Value::Bool(true))),
            "false" => Ok(Expr::Literal(Value::Bool(false))),
            "null" => Ok(Expr::Literal(Value::Null)),
            "status" => Ok(Expr::Source(Source::Status)),
            "rows" => Ok(Expr::Source(Source::Rows)),
            "request-text" => Ok(Expr::Source(Source::RequestText)),
            "response-text" => Ok(Expr::Source(Source::ResponseText)),
            "client" => Ok(Expr::Source(Source::Client)),
            word if self.rest().starts_with('(') => self.arguments(word, depth),
            word if word.contains(':') => self.source(word),
            word => {
                word.parse::<serde_json::Number>().map(|number| Expr::Literal(Value::Number(number))).map_err(
                    |_| self.error(format_args!("{word:?} is neither a source, a function nor a literal")),
                )
            }
        }
    }

    fn quoted(&mut self) -> Result<Expr, ExprError> {
        let inside = &self.rest()[1..];
        let end = inside.find('\'').ok_or_else(|| self.error("the quote is not closed"))?;
        self.at += end + 2;
        Ok(Expr::Literal(Value::String(inside[..end].to_owned())))
    }

    fn arguments(&mut self, name: &str, depth: usize) -> Result<Expr, ExprError> {
        let (_, function, arity) = Function::ALL
            .iter()
            .find(|(known, _, _)| *known == name)
            .ok_or_else(|| self.error(format_args!("there is no function {name:?}")))?;
        self.at += 1;
        let mut arguments = Vec::new();
        loop {
            arguments.push(self.expression(depth + 1)?);
            self.skip_spaces();
            let separator = self.rest().chars().next();
            self.at += separator.map_or(0, char::len_utf8);
            match separator {
                Some(',') => {}
                Some(')') => break,
                _ => return Err(self.error("',' or ')' is missing")),
            }
        }
        if arity.contains(&arguments.len()) {
            Ok(Expr::Call(*function, arguments))
        } else {
            Err(self.error(format_args!("{name} does not take {} arguments", arguments.len())))
        }
    }

    fn source(&self, word: &str) -> Result<Expr, ExprError> {
        let (kind, name) = word.split_once(':').unwrap_or((word, ""));
        let pointer = || match name {
            "" => Ok(String::new()),
            name if name.starts_with('/') => Ok(name.to_owned()),
            _ => Err(self.error("a pointer begins with '/'")),
        };
        let named = || {
            if name.is_empty() { Err(self.error("a name is missing")) } else { Ok(name.to_owned()) }
        };
        Ok(Expr::Source(match kind {
            "request" => Source::Request(pointer()?),
            "response" => Source::Response(pointer()?),
            "request-header" => Source::RequestHeader(named()?.to_ascii_lowercase()),
            "response-header" => Source::ResponseHeader(named()?.to_ascii_lowercase()),
            "path" => Source::Path(named()?),
            "query" => Source::Query(named()?),
            "filter" => Source::Filter(named()?),
            "claim" => Source::Claim(named()?),
            "before" => Source::Before(pointer()?),
            "changed" => Source::Changed(named()?),
            other => return Err(self.error(format_args!("there is no source {other:?}"))),
        }))
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|char: char| char.is_whitespace() || "(),'".contains(char)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, reason: impl fmt::Display) -> ExprError {
        ExprError { text: self.text.to_owned(), at: self.at + 1, reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    struct Body(Value);

    impl Facts for Body {
        fn value(&self, source: &Source) -> Option<Cow<'_, Value>> {
            match source {
                Source::Response(pointer) => self.0.pointer(pointer).map(Cow::Borrowed),
                Source::Status => Some(Cow::Owned(json!(200))),
                _ => None,
            }
        }

        fn fingerprint(&self, text: &str) -> Option<String> {
            Some(format!("hmac:{}", text.len()))
        }
    }

    fn eval(text: &str) -> Option<Value> {
        let agent = json!({"name": "A", "plugins": ["x", "y"], "cron": "", "steps": null});
        let body = Body(json!({"success": false, "agent": agent, "n": 3}));
        text.parse::<Expr>().expect("an expression").value(&body).map(Cow::into_owned)
    }

    #[test]
    fn sources_functions_and_literals_evaluate() {
        for (text, want) in [
            ("response:/agent/name", json!("A")),
            ("first(response:/nope, response:/agent/steps, response:/agent/name, 'x')", json!("A")),
            ("count(response:/agent/plugins)", json!(2)),
            ("count(response:/agent/steps)", json!(0)),
            ("keys(response:/agent)", json!(["cron", "name", "plugins", "steps"])),
            ("filled(response:/agent/cron)", json!(false)),
            ("filled(response:/agent/steps)", json!(false)),
            ("present(response:/agent/cron)", json!(true)),
            ("present(response:/agent/steps)", json!(false)),
            ("equals(response:/success, false)", json!(true)),
            ("contains(response:/agent/plugins, 'y')", json!(true)),
            ("starts(response:/agent/name,'A')", json!(true)),
            ("at_least(status, 200)", json!(true)),
            ("all(not(response:/success), any(false, equals(response:/n, 3)))", json!(true)),
            ("any(filled(request:/x), filled(response:/agent/cron))", json!(false)),
            ("first(request:/x, response:/agent/steps)", json!(null)),
            ("pick(response:/agent, 'name', 'nope')", json!({"name": "A"})),
            ("sum(response:/n, 4, request:/x)", json!(7)),
            ("lower(response:/agent/name)", json!("a")),
            ("text(response:/success)", json!("false")),
            ("cases(response:/n, 2, 'two', 3, 'three', 'many')", json!("three")),
            ("cases(response:/n, 2, 'two', 'many')", json!("many")),
            ("if(response:/success, 'yes', 'no')", json!("no")),
            ("pointer(response:/agent, '/plugins/1')", json!("y")),
            ("fingerprint(response:/agent/name)", json!("hmac:1")),
        ] {
            assert_eq!(eval(text), Some(want), "{text}");
        }
    }

    #[test]
    fn what_was_not_seen_is_neither_counted_nor_called_empty() {
        for text in [
            "request:",
            "count(request:/x)",
            "filled(request:/x)",
            "keys(request:/x)",
            "first(request:/x, request:/y)",
            "any(filled(request:/x), filled(request:/y))",
            "sum(request:/x, request:/y)",
            "pick(request:/x, 'a')",
            "cases(response:/n, 2, 'two')",
            "fingerprint(request:/x)",
            "intensity(request:/x)",
            "changed:status",
        ] {
            assert_eq!(eval(text), None, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, want) in [
            ("", "character 1: an expression is missing"),
            ("nope(1)", "there is no function \"nope\""),
            ("equals(1)", "equals does not take 1 arguments"),
            ("response:agent", "a pointer begins with '/'"),
            ("body:/x", "there is no source \"body\""),
            ("'open", "the quote is not closed"),
            ("present(status", "',' or ')' is missing"),
            ("status status", "character 8: nothing may follow"),
            ("query:", "a name is missing"),
            (&"not(".repeat(40), "it is nested too deeply"),
        ] {
            let error = text.parse::<Expr>().expect_err("a mistake").to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,60}", calls in "[a-z:/(), ']{0,60}") {
            let _ = text.parse::<Expr>();
            let _ = calls.parse::<Expr>();
        }
    }
}
