//! What the values of a field mean.

use core::net::IpAddr;
use core::str::FromStr;

use uuid::Uuid;

use super::field::{Field, NumberField, TextField};
use super::lexer::{Atom, Letter};
use super::pattern::Pattern;
use super::query::{EntityPattern, Network, OneOf, Range, Term};
use super::time::{Moment, Span, Unit, When, read_named};
use crate::event::Severity;

/// Why a value was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) place: (usize, usize),
    pub(super) message: String,
    /// What may be a misspelt word of the field.
    pub(super) near: Option<String>,
}

type Read<T> = Result<T, (String, Option<String>)>;

fn refused<T>(message: impl Into<String>) -> Read<T> {
    Err((message.into(), None))
}

/// The term of those values that are understood, and what is wrong with the others.
pub(super) fn term_of(field: Field, atoms: Vec<Atom>) -> (Option<Term>, Vec<Reason>) {
    let mut values = Values { atoms, reasons: Vec::new() };
    let term = match field {
        Field::Text(field) => values.each(|atom| pattern(field, atom)).map(|it| Term::Text(field, it)),
        Field::Number(field) => values.each(|atom| numbers(field, atom)).map(|it| Term::Number(field, it)),
        Field::Entity => values.each(entity).map(Term::Entity),
        Field::Severity => values.each(severities).map(Term::Severity),
        Field::Outcome => values.each(|atom| word(field, atom)).map(Term::Outcome),
        Field::Trust => values.each(|atom| word(field, atom)).map(Term::Trust),
        Field::Class => values.each(|atom| word(field, atom)).map(Term::Class),
        Field::Quality => values.each(|atom| word(field, atom)).map(Term::Quality),
        Field::Is => values.each(|atom| word(field, atom)).map(Term::Is),
        Field::Has => values.each(|atom| word(field, atom)).map(Term::Has),
        Field::Ip => values.each(network).map(Term::Ip),
        Field::Id => values.each(id).map(Term::Id),
        Field::Batch => values.each(batch).map(Term::Batch),
        Field::After => values.only(|atom| Ok(When::After(start(&atom.text())?))),
        Field::Before => values.only(|atom| Ok(When::Before(start(&atom.text())?))),
        Field::At => values.only(|atom| between(&atom.text())),
        Field::Last => values.only(|atom| last(&atom.text())),
    };
    (term, values.reasons)
}

struct Values {
    atoms: Vec<Atom>,
    reasons: Vec<Reason>,
}

impl Values {
    fn each<T>(&mut self, read: impl Fn(&Atom) -> Read<T>) -> Option<OneOf<T>> {
        let mut values = Vec::new();
        for atom in core::mem::take(&mut self.atoms) {
            match read(&atom) {
                Ok(value) => values.push(value),
                Err((message, near)) => self.reasons.push(Reason { place: atom.place(), message, near }),
            }
        }
        OneOf::of(values)
    }

    /// For fields that take one value.
    fn only(&mut self, read: impl Fn(&Atom) -> Read<When>) -> Option<Term> {
        for atom in self.atoms.drain(1.min(self.atoms.len())..) {
            let message = "a time takes one value".to_owned();
            self.reasons.push(Reason { place: atom.place(), message, near: None });
        }
        self.each(read).and_then(|it| it.values().first().copied()).map(Term::When)
    }
}

fn pattern(field: TextField, atom: &Atom) -> Read<Pattern> {
    if let Some(Letter::Bare(sign @ ('<' | '>'))) = atom.letters.first() {
        return refused(format!("this field has no order; quote the value if it begins with {sign}"));
    }
    let parts: Vec<String> = atom.parts().iter().map(|part| field.fold(part)).collect();
    if let Some(message) = parts.iter().find_map(|part| field.refusal(part)) {
        return refused(message);
    }
    any_pattern(parts)
}

fn any_pattern(parts: Vec<String>) -> Read<Pattern> {
    Pattern::of(parts).map_or_else(|| refused("a value is not empty and holds no NUL"), Ok)
}

/// `agent`, `agent/123`, `agent/*`, `*/123`.
fn entity(atom: &Atom) -> Read<EntityPattern> {
    let (kind, id) = match atom.split('/') {
        Some((kind, id)) => (kind, Some(any_pattern(id.parts())?)),
        None => (atom.clone(), None),
    };
    let parts: Vec<String> = kind.parts().iter().map(|part| part.to_ascii_lowercase()).collect();
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !parts.iter().all(|part| part.bytes().all(is_fit)) {
        return refused("an entity is type/id, and a type is made of a-z, 0-9 and '_'; */id finds any type");
    }
    Ok(EntityPattern { kind: any_pattern(parts)?, id })
}

fn word<T: FromStr<Err = String>>(field: Field, atom: &Atom) -> Read<T> {
    let text = atom.text().to_lowercase();
    T::from_str(&text).map_err(|_| {
        let words = field.words().join(", ");
        (format!("{} is one of {words}", field.name()), Some(text))
    })
}

/// A range as it is written: one value, a comparison, or two with `..` between them; `*` leaves an end open.
enum Written<'a> {
    One(&'a str),
    Above(&'a str),
    Below(&'a str),
    From(&'a str),
    To(&'a str),
    Both(&'a str, &'a str),
}

fn written(text: &str) -> Read<Written<'_>> {
    let is_open = |end: &str| end.is_empty() || end == "*";
    Ok(if let Some(rest) = text.strip_prefix(">=") {
        Written::From(rest)
    } else if let Some(rest) = text.strip_prefix("<=") {
        Written::To(rest)
    } else if let Some(rest) = text.strip_prefix('>') {
        Written::Above(rest)
    } else if let Some(rest) = text.strip_prefix('<') {
        Written::Below(rest)
    } else if let Some((from, to)) = text.split_once("..") {
        match (is_open(from), is_open(to)) {
            (true, true) => return refused("a range has one end at least"),
            (true, false) => Written::To(to),
            (false, true) => Written::From(from),
            (false, false) => Written::Both(from, to),
        }
    } else {
        Written::One(text)
    })
}

fn range_of<T: Copy + Ord>(
    text: &str,
    read: impl Fn(&str) -> Read<T>,
    above: impl Fn(T) -> Option<T>,
    below: impl Fn(T) -> Option<T>,
) -> Read<Range<T>> {
    let nothing = || ("nothing lies there".to_owned(), None);
    Ok(match written(text)? {
        Written::One(text) => Range::Exactly(read(text)?),
        Written::From(text) => Range::AtLeast(read(text)?),
        Written::To(text) => Range::AtMost(read(text)?),
        Written::Above(text) => Range::AtLeast(above(read(text)?).ok_or_else(nothing)?),
        Written::Below(text) => Range::AtMost(below(read(text)?).ok_or_else(nothing)?),
        Written::Both(from, to) => match (read(from)?, read(to)?) {
            (from, to) if from > to => return refused("this range ends before it begins"),
            (from, to) if from == to => Range::Exactly(from),
            (from, to) => Range::Between(from, to),
        },
    })
}

fn severities(atom: &Atom) -> Read<Range<Severity>> {
    let text = atom.text().to_lowercase();
    let read = |text: &str| {
        Severity::from_str(text).map_err(|_| {
            let words = Field::Severity.words().join(", ");
            (format!("severity is one of {words}, in this order"), Some(text.to_owned()))
        })
    };
    let step =
        |severity: Severity, step: i8| severity.byte().checked_add_signed(step).and_then(Severity::from_byte);
    range_of(&text, read, |it| step(it, 1), |it| step(it, -1))
}

fn numbers(field: NumberField, atom: &Atom) -> Read<Range<u32>> {
    let text = atom.text().to_lowercase();
    if let (NumberField::Status, Some(hundreds)) = (field, text.strip_suffix("xx"))
        && let Ok(hundreds @ 1..=9) = hundreds.parse::<u32>()
    {
        return Ok(Range::Between(hundreds * 100, hundreds * 100 + 99));
    }
    let read = |text: &str| number(field, text);
    range_of(&text, read, |it| it.checked_add(1), |it| it.checked_sub(1))
}

fn number(field: NumberField, text: &str) -> Read<u32> {
    let digits = |text: &str| {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| fits)
    };
    let read = match field {
        NumberField::Status => digits(text).filter(|status| *status <= u32::from(u16::MAX)),
        NumberField::Duration => match text.strip_suffix("ms") {
            Some(millis) => digits(millis),
            None => digits(text).or_else(|| u32::try_from(Span::read(text)?.millis()).ok()),
        },
    };
    read.map_or_else(
        || {
            refused(match field {
                NumberField::Status => "a status is a number such as 404, or 4xx, >=500, 400..499",
                NumberField::Duration => "a duration is milliseconds such as 500, or 2s, >500ms, 1s..2s",
            })
        },
        Ok,
    )
}

fn network(atom: &Atom) -> Read<Network> {
    let text = atom.text();
    let read = match text.split_once('/') {
        Some((address, prefix)) if !prefix.starts_with('+') => {
            address.parse::<IpAddr>().ok().and_then(|address| Network::of(address, prefix.parse().ok()?))
        }
        Some(_) => None,
        None => text.parse().ok().map(Network::host),
    };
    read.map_or_else(|| refused("an address is such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32"), Ok)
}

fn id(atom: &Atom) -> Read<Uuid> {
    Uuid::try_parse(&atom.text()).map_or_else(|_| refused("an id is a UUID"), Ok)
}

fn batch(atom: &Atom) -> Read<i64> {
    let number = atom.text().parse().ok().filter(|number| *number >= 0);
    number.map_or_else(|| refused("a batch is a whole number"), Ok)
}

const TIMES: &str = "a time is such as 2026-01-31, 2026-01-31T12:00Z, 2026-01, -7d or now";

/// A point back from now: `now`, `-7d`.
fn ago(text: &str) -> Option<Moment> {
    let back = match text.strip_prefix('-') {
        Some(span) => Span::read(span)?,
        None if text.eq_ignore_ascii_case("now") => Span { count: 0, unit: Unit::Minute },
        None => return None,
    };
    Some(Moment::Ago(back))
}

fn start(text: &str) -> Read<Moment> {
    let named = || read_named(text).map(|named| Moment::At(named.start));
    ago(text).or_else(named).map_or_else(|| refused(TIMES), Ok)
}

/// The end of a range: a date is within it, a time of day is not.
fn end(text: &str) -> Read<Moment> {
    let named =
        || read_named(text).map(|named| Moment::At(if named.is_date { named.end } else { named.start }));
    ago(text).or_else(named).map_or_else(|| refused(TIMES), Ok)
}

fn between(text: &str) -> Read<When> {
    let (from, to) = match written(text)? {
        Written::One(text) => {
            let named = read_named(text).map_or_else(|| refused(TIMES), Ok)?;
            (Moment::At(named.start), Moment::At(named.end))
        }
        Written::Both(from, to) => (start(from)?, end(to)?),
        Written::From(text) => return Ok(When::After(start(text)?)),
        Written::To(text) => return Ok(When::Before(end(text)?)),
        Written::Above(_) | Written::Below(_) => return refused(TIMES),
    };
    match (from, to) {
        (Moment::At(from), Moment::At(to)) if from >= to => refused("this range ends before it begins"),
        _ => Ok(When::Between(from, to)),
    }
}

fn last(text: &str) -> Read<When> {
    match Span::read(text) {
        Some(span) => Ok(When::After(Moment::Ago(span))),
        None => refused("a span is such as 30m, 24h, 7d or 2w"),
    }
}
