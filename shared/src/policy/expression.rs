//! The expression language of rules: plain paths and a dozen functions.
//!
//! ```text
//! expression = source | literal | function "(" expression {"," expression} ")"
//! source     = "request:" pointer | "response:" pointer            JSON pointer (RFC 6901) into a body
//!            | "request-header:" name | "response-header:" name
//!            | "path:" name | "query:" name | "claim:" name
//!            | "filter:" column                                     PostgREST's `column=eq.value`
//!            | "status" | "rows"                                    rows: what Content-Range tells
//! literal    = "'" text "'" | number | "true" | "false" | "null"
//! ```
//!
//! Nothing fails at run time. What is absent is not the same as null: `count` and `filled` of what was not seen are
//! themselves absent, since 0 and false would be guesses.

use core::fmt;
use core::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expression {text:?}, character {at}: {reason}")]
pub struct ExprError {
    text: String,
    at: usize,
    reason: String,
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
}

/// What can be done with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The first argument that is neither absent nor null.
    First,
    /// Items of an array, members of an object; 0 for null, absent for what is absent.
    Count,
    /// The names of an object's members.
    Keys,
    /// Whether it is there and not null.
    Present,
    /// Whether it is not null, empty, false or zero; absent for what is absent.
    Filled,
    /// Whether both are the same.
    Equals,
    /// Whether the text contains the text, or the array the item.
    Contains,
    /// Whether the text starts with the text.
    Starts,
    /// Whether the number is at least the number.
    AtLeast,
    /// Whether it is not.
    Not,
    /// Whether all are.
    All,
    /// Whether one is; absent if all are absent.
    Any,
}

impl Function {
    const ALL: &'static [(&'static str, Self, core::ops::RangeInclusive<usize>)] = &[
        ("first", Self::First, 1..=8),
        ("count", Self::Count, 1..=1),
        ("keys", Self::Keys, 1..=1),
        ("present", Self::Present, 1..=1),
        ("filled", Self::Filled, 1..=1),
        ("equals", Self::Equals, 2..=2),
        ("contains", Self::Contains, 2..=2),
        ("starts", Self::Starts, 2..=2),
        ("at_least", Self::AtLeast, 2..=2),
        ("not", Self::Not, 1..=1),
        ("all", Self::All, 1..=8),
        ("any", Self::Any, 1..=8),
    ];
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
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
    /// The value of a source; none where it is absent.
    fn value(&self, source: &Source) -> Option<Value>;
}

impl Expr {
    /// The value on these facts; none where it is absent.
    pub fn value(&self, facts: &impl Facts) -> Option<Value> {
        match self {
            Self::Source(source) => facts.value(source),
            Self::Literal(value) => Some(value.clone()),
            Self::Call(function, arguments) => call(*function, arguments, facts),
        }
    }

    /// Whether the value on these facts is true.
    pub fn holds(&self, facts: &impl Facts) -> bool {
        self.value(facts) == Some(Value::Bool(true))
    }

    /// The value as text: texts and numbers only.
    pub fn text(&self, facts: &impl Facts) -> Option<String> {
        match self.value(facts)? {
            Value::String(text) if !text.is_empty() => Some(text),
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

fn call(function: Function, arguments: &[Expr], facts: &impl Facts) -> Option<Value> {
    let seen = |at: usize| arguments.get(at).and_then(|argument| argument.value(facts));
    let value = |at: usize| seen(at).unwrap_or_default();
    let truth = match function {
        Function::First => return first(arguments, facts),
        Function::Count => {
            return match seen(0)? {
                Value::Array(items) => Some(Value::from(items.len())),
                Value::Object(members) => Some(Value::from(members.len())),
                Value::Null => Some(Value::from(0)),
                _ => None,
            };
        }
        Function::Keys => {
            return match seen(0)? {
                Value::Object(members) => Some(members.keys().cloned().collect()),
                _ => None,
            };
        }
        Function::Present => !value(0).is_null(),
        Function::Filled => is_filled(&seen(0)?),
        Function::Equals => value(0) == value(1),
        Function::Contains => match (value(0), value(1)) {
            (Value::String(text), Value::String(part)) => text.contains(&part),
            (Value::Array(items), item) => items.contains(&item),
            _ => false,
        },
        Function::Starts => match (value(0), value(1)) {
            (Value::String(text), Value::String(start)) => text.starts_with(&start),
            _ => false,
        },
        Function::AtLeast => match (value(0).as_f64(), value(1).as_f64()) {
            (Some(number), Some(least)) => number >= least,
            _ => false,
        },
        Function::Not => value(0) != Value::Bool(true),
        Function::All => arguments.iter().all(|argument| argument.holds(facts)),
        Function::Any => {
            let mut known = arguments.iter().filter_map(|argument| argument.value(facts)).peekable();
            known.peek()?;
            known.any(|value| value == Value::Bool(true))
        }
    };
    Some(Value::Bool(truth))
}

fn first(arguments: &[Expr], facts: &impl Facts) -> Option<Value> {
    let mut null = None;
    for argument in arguments {
        match argument.value(facts) {
            Some(Value::Null) => null = Some(Value::Null),
            Some(value) => return Some(value),
            None => {}
        }
    }
    null
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

impl FromStr for Expr {
    type Err = ExprError;

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
        fn value(&self, source: &Source) -> Option<Value> {
            match source {
                Source::Response(pointer) => self.0.pointer(pointer).cloned(),
                Source::Status => Some(json!(200)),
                _ => None,
            }
        }
    }

    fn eval(text: &str) -> Option<Value> {
        let agent = json!({"name": "A", "plugins": ["x", "y"], "cron": "", "steps": null});
        let body = Body(json!({"success": false, "agent": agent, "n": 3}));
        text.parse::<Expr>().expect("an expression").value(&body)
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
