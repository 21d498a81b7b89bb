//! The canonical text of a query: what the parser reads as the same query again.

use core::fmt;

use super::field::Field;
use super::pattern::Pattern;
use super::query::{EntityPattern, Expr, Network, OneOf, Query, Range, Term};
use super::time::{Moment, Span, When};
use crate::event::Timestamp;

const DAY_MS: u64 = 86_400_000;

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, self.conjuncts(), " ", fmt::Display::fmt)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term(term) => term.fmt(f),
            Self::Not(inner) => match **inner {
                Self::All(_) | Self::Any(_) => write!(f, "-({inner})"),
                _ => write!(f, "-{inner}"),
            },
            Self::All(list) => joined(f, list, " ", fmt::Display::fmt),
            Self::Any(list) => joined(f, list, " OR ", |expr, f| match expr {
                Self::All(_) => write!(f, "({expr})"),
                _ => expr.fmt(f),
            }),
        }
    }
}

impl Term {
    fn field(&self) -> Option<Field> {
        Some(match self {
            Self::Text(field, _) => Field::Text(*field),
            Self::Number(field, _) => Field::Number(*field),
            Self::Entity(_) => Field::Entity,
            Self::Severity(_) => Field::Severity,
            Self::Outcome(_) => Field::Outcome,
            Self::Trust(_) => Field::Trust,
            Self::Class(_) => Field::Class,
            Self::Quality(_) => Field::Quality,
            Self::Ip(_) => Field::Ip,
            Self::Id(_) => Field::Id,
            Self::Batch(_) => Field::Batch,
            Self::Is(_) => Field::Is,
            Self::Has(_) => Field::Has,
            Self::When(_) | Self::Words(_) => return None,
        })
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field() {
            write!(f, "{}:", field.name())?;
        }
        match self {
            Self::Text(_, values) => listed(f, values),
            Self::Number(_, values) => listed(f, values),
            Self::Entity(values) => listed(f, values),
            Self::Severity(values) => listed(f, values),
            Self::Outcome(values) => listed(f, values),
            Self::Trust(values) => listed(f, values),
            Self::Class(values) => listed(f, values),
            Self::Quality(values) => listed(f, values),
            Self::Ip(values) => listed(f, values),
            Self::Id(values) => listed(f, values),
            Self::Batch(values) => listed(f, values),
            Self::Is(values) => listed(f, values),
            Self::Has(values) => listed(f, values),
            Self::When(when) => when.fmt(f),
            Self::Words(pattern) => match pattern.exact() {
                Some(word) if is_plain_word(word) => f.write_str(word),
                _ => joined(f, pattern.parts(), "*", |part, f| match part.as_str() {
                    "" => Ok(()),
                    part => quoted(f, part),
                }),
            },
        }
    }
}

fn listed<T: fmt::Display>(f: &mut fmt::Formatter<'_>, values: &OneOf<T>) -> fmt::Result {
    joined(f, values.values(), ",", fmt::Display::fmt)
}

fn joined<'a, T>(
    f: &mut fmt::Formatter<'_>,
    items: &'a [T],
    between: &str,
    print: impl Fn(&'a T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        print(item, f)?;
    }
    Ok(())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, self.parts(), "*", |part, f| {
            if part.bytes().all(is_plain) || part.chars().all(char::is_alphanumeric) {
                f.write_str(part)
            } else {
                quoted(f, part)
            }
        })
    }
}

/// What means nothing to the grammar wherever in a value it stands.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.@/:+{}#=&%~".contains(&byte)
}

/// A word that is neither a field, a sign, nor a word of the grammar.
fn is_plain_word(word: &str) -> bool {
    word.chars().all(|it| it.is_alphanumeric() || "_@./".contains(it))
        && !["OR", "AND", "NOT"].contains(&word)
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl fmt::Display for EntityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        match &self.id {
            Some(id) => write!(f, "/{id}"),
            None => Ok(()),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => value.fmt(f),
            Self::AtLeast(value) => write!(f, ">={value}"),
            Self::AtMost(value) => write!(f, "<={value}"),
            Self::Between(from, to) => write!(f, "{from}..{to}"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { self.address().fmt(f) } else { write!(f, "{}/{}", self.address(), self.prefix()) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit.letter())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ago(Span { count: 0, .. }) => f.write_str("now"),
            Self::Ago(span) => write!(f, "-{span}"),
            Self::At(at) if at.millis().is_multiple_of(DAY_MS) => f.write_str(&date(*at)),
            Self::At(at) => at.fmt(f),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(Moment::Ago(span)) if span.count > 0 => write!(f, "last:{span}"),
            Self::After(from) => write!(f, "after:{from}"),
            Self::Before(to) => write!(f, "before:{to}"),
            Self::Between(Moment::At(from), Moment::At(to)) if is_one_day(*from, *to) => {
                write!(f, "on:{}", date(*from))
            }
            Self::Between(from, to) => {
                write!(f, "at:{from}..")?;
                match last_day(*to) {
                    Some(day) => f.write_str(&date(day)),
                    None => to.fmt(f),
                }
            }
        }
    }
}

fn is_one_day(from: Timestamp, to: Timestamp) -> bool {
    from.millis().is_multiple_of(DAY_MS) && from.millis().checked_add(DAY_MS) == Some(to.millis())
}

/// The day before a midnight: as the end of a range it is within.
fn last_day(to: Moment) -> Option<Timestamp> {
    match to {
        Moment::At(at) if at.millis().is_multiple_of(DAY_MS) => {
            at.millis().checked_sub(DAY_MS).and_then(|day| Timestamp::try_from(day).ok())
        }
        _ => None,
    }
}

fn date(at: Timestamp) -> String {
    at.to_utc().format("%Y-%m-%d").to_string()
}
