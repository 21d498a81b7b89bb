//! Values that occur together, and whether a search finds them: most searches name nothing else, so that their facets are
//! added up from some hundreds of combinations a day.

use std::borrow::Cow;

use shared::event::{Event, Severity};
use shared::search::{Expr, Facet, NumberField, Pattern, Query, Range, Term, TextField};

use super::value;
use crate::receive::rollup::{COVERAGE_RECORDED, UNMAPPED_MUTATION};
use crate::store::search::FacetField;

/// Between two values: no column should hold it, and where one does nothing is answered from combinations.
const BETWEEN: char = '\u{1f}';
/// Before a value that is there.
const THERE: char = '=';

/// The fields whose values are combined, in their order. People are too many; the status stands as it is.
pub const COMBINED: [FacetField; 11] = [
    FacetField::Action,
    FacetField::Entity,
    FacetField::Severity,
    FacetField::Outcome,
    FacetField::Trust,
    FacetField::Country,
    FacetField::Host,
    FacetField::Method,
    FacetField::Route,
    FacetField::Rule,
    FacetField::Status,
];

/// The combination of an event's values as one text.
pub(super) fn of_event(event: &Event) -> String {
    let mut text = String::with_capacity(128);
    for (at, field) in COMBINED.into_iter().enumerate() {
        if at > 0 {
            text.push(BETWEEN);
        }
        let value = match field {
            FacetField::Status => event.request.status.map(|status| Cow::Owned(status.to_string())),
            other => value(other, event).0,
        };
        if let Some(value) = value {
            text.push(THERE);
            text.push_str(&value);
        }
    }
    text
}

/// Values that occur together.
#[derive(Debug, Clone, Copy)]
pub struct Combination<'a>([Option<&'a str>; COMBINED.len()]);

impl<'a> Combination<'a> {
    /// Reads what [`of_event`] wrote. None if a value itself holds the sign between two.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut values = [None; COMBINED.len()];
        let mut parts = text.split(BETWEEN);
        for value in &mut values {
            let part = parts.next()?;
            *value = if part.is_empty() { None } else { Some(part.strip_prefix(THERE)?) };
        }
        parts.next().is_none().then_some(Self(values))
    }

    /// The value of a field, a facet's: of a status its hundreds. None where there is none.
    pub fn facet(&self, field: FacetField) -> Option<Cow<'a, str>> {
        if field == FacetField::Status {
            return self.number(field).map(|status| (status / 100).to_string().into());
        }
        self.text(field).map(Cow::Borrowed)
    }

    fn text(&self, field: FacetField) -> Option<&'a str> {
        COMBINED.iter().position(|known| *known == field).and_then(|at| self.0[at])
    }

    fn number(&self, field: FacetField) -> Option<u32> {
        self.text(field)?.parse().ok()
    }

    /// Whether a search finds events with these values, its times aside. Only for what [`is_enough_for`] says yes to.
    pub fn is_found_by(&self, query: &Query) -> bool {
        // As in lists: the edge's own counts only where somebody asks for them.
        let is_asked_for = query.mentions(|term| matches!(term, Term::Text(TextField::Action, _)));
        (is_asked_for || self.text(FacetField::Action) != Some(COVERAGE_RECORDED))
            && query.conjuncts().iter().all(|expr| self.holds(expr))
    }

    /// Whether a condition is true; where a value is missing it is not, and its contrary is.
    fn holds(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Term(term) => self.fulfils(term).unwrap_or(false),
            Expr::Not(inner) => !self.holds(inner),
            Expr::All(list) => list.iter().all(|expr| self.holds(expr)),
            Expr::Any(list) => list.iter().any(|expr| self.holds(expr)),
        }
    }

    fn fulfils(&self, term: &Term) -> Option<bool> {
        let byte = |field| self.number(field).and_then(|number| u8::try_from(number).ok());
        Some(match term {
            Term::Text(field, patterns) => {
                let value = self.text(column(*field)?)?;
                patterns.values().iter().any(|pattern| matches(pattern, value))
            }
            Term::Entity(patterns) => {
                let kind = self.text(FacetField::Entity)?;
                patterns.values().iter().any(|pattern| matches(&pattern.kind, kind))
            }
            Term::Severity(ranges) => {
                let severity = byte(FacetField::Severity)?;
                ranges.values().iter().any(|range| lies_in(severity, range, Severity::byte))
            }
            Term::Outcome(all) => {
                let outcome = byte(FacetField::Outcome)?;
                all.values().iter().any(|it| it.byte() == outcome)
            }
            Term::Trust(all) => {
                let trust = byte(FacetField::Trust)?;
                all.values().iter().any(|it| it.byte() == trust)
            }
            Term::Number(NumberField::Status, ranges) => {
                let status = self.number(FacetField::Status)?;
                ranges.values().iter().any(|range| lies_in(status, range, |it| it))
            }
            Term::Is(all) => all.values().iter().any(|facet| self.is(*facet) == Some(true)),
            // The window is looked through as a whole.
            Term::When(_) => true,
            _ => return None,
        })
    }

    fn is(&self, facet: Facet) -> Option<bool> {
        let outcome = || self.number(FacetField::Outcome);
        let action = |name| self.text(FacetField::Action).map(|action| action == name);
        match facet {
            Facet::Succeeded => Some(outcome()? == 1),
            Facet::Failed => Some(outcome()? == 2),
            Facet::Unknown => Some(outcome()? == 3),
            Facet::Unmapped => action(UNMAPPED_MUTATION),
            Facet::Unexplained => action("WRITE_UNATTRIBUTED"),
            Facet::Mismatch => action("IDENTITY_MISMATCH"),
            Facet::Own | Facet::Annotation | Facet::Echo | Facet::Erased => None,
        }
    }
}

/// Whether everything that a search asks for, its window aside, stands in combinations.
pub fn is_enough_for(query: &Query) -> bool {
    query.conjuncts().iter().all(|expr| matches!(expr, Expr::Term(Term::When(_))) || is_known(expr))
}

fn is_known(expr: &Expr) -> bool {
    match expr {
        Expr::Not(inner) => is_known(inner),
        Expr::All(list) | Expr::Any(list) => list.iter().all(is_known),
        Expr::Term(term) => match term {
            Term::Text(field, _) => column(*field).is_some(),
            Term::Entity(patterns) => patterns.values().iter().all(|pattern| pattern.id.is_none()),
            Term::Severity(_) | Term::Outcome(_) | Term::Trust(_) | Term::Number(NumberField::Status, _) => {
                true
            }
            Term::Is(all) => all
                .values()
                .iter()
                .all(|facet| !matches!(facet, Facet::Own | Facet::Annotation | Facet::Echo | Facet::Erased)),
            _ => false,
        },
    }
}

fn column(field: TextField) -> Option<FacetField> {
    Some(match field {
        TextField::Action => FacetField::Action,
        TextField::Country => FacetField::Country,
        TextField::Host => FacetField::Host,
        TextField::Method => FacetField::Method,
        TextField::Route => FacetField::Route,
        TextField::Rule => FacetField::Rule,
        _ => return None,
    })
}

fn lies_in<T: Copy, V: PartialOrd>(value: V, range: &Range<T>, of: impl Fn(T) -> V) -> bool {
    match *range {
        Range::Exactly(one) => value == of(one),
        Range::AtLeast(from) => value >= of(from),
        Range::AtMost(to) => value <= of(to),
        Range::Between(from, to) => value >= of(from) && value <= of(to),
    }
}

/// As LIKE does it: the first and the last part stand at the ends, the others between them in their order.
fn matches(pattern: &Pattern, value: &str) -> bool {
    let [first, between @ .., last] = pattern.parts() else {
        return pattern.exact() == Some(value);
    };
    let Some(mut rest) = value.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    between.iter().all(|part| match rest.find(part.as_str()) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use shared::search::parse;

    use super::*;

    const TEXT: &str = "=AGENT_UPDATED\u{1f}=agent\u{1f}=2\u{1f}=1\u{1f}=1\u{1f}\u{1f}=app.example.com\u{1f}=PUT\
                        \u{1f}=/api/agents/{id}\u{1f}=app/agent-update\u{1f}=201";

    #[test]
    fn a_search_finds_the_values_that_the_database_would() {
        let values = Combination::read(TEXT).expect("a combination");
        for (q, is_found) in [
            ("", true),
            ("last:1h", true),
            ("action:AGENT_*", true),
            ("action:AGENT_*_UPDATED", false),
            ("action:*_UPD*", true),
            ("action:AGENT_CREATED,AGENT_UPDATED", true),
            ("country:DE", false),
            ("-country:DE", true),
            ("country:*", false),
            ("status:2xx -status:200", true),
            ("severity:>=warning outcome:success", true),
            ("severity:critical OR method:PUT", true),
            ("-(severity:warning method:PUT)", false),
            ("entity:agent", true),
            ("is:failed", false),
            ("route:/api/agents/*", true),
            ("trust:verified host:*.example.com", true),
        ] {
            let parsed = parse(q);
            assert_eq!(parsed.diagnostics, [], "{q}");
            assert!(is_enough_for(&parsed.query), "{q}");
            assert_eq!(values.is_found_by(&parsed.query), is_found, "{q}");
        }
        for q in
            ["actor:x", "word", "entity:agent/1", "country:DE OR ip:10.0.0.0/8", "is:echo", "-has:details"]
        {
            assert!(!is_enough_for(&parse(q).query), "{q}");
        }
    }

    #[test]
    fn what_holds_the_sign_between_two_values_is_not_read() {
        assert!(Combination::read(&TEXT.replace("app/", "app\u{1f}")).is_none());
        assert!(
            Combination::read("").is_none()
                && Combination::read(&TEXT.replace("=1\u{1f}", "1\u{1f}")).is_none()
        );
        let values = Combination::read(TEXT).expect("a combination");
        assert_eq!(values.facet(FacetField::Status).as_deref(), Some("2"));
        assert_eq!((values.facet(FacetField::Country), values.facet(FacetField::Actor)), (None, None));
    }
}
