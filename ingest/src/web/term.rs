//! Searches for a value as it stands, whatever signs it holds.

use serde_json::Value;
use shared::search::{self, EntityPattern, Expr, OneOf, Pattern, Term, TextField};

/// `field:value`; none if there is nothing to look for.
pub(super) fn text(field: TextField, value: &str) -> Option<String> {
    Some(Term::Text(field, OneOf::one(Pattern::exactly(value)?)).to_string())
}

/// `entity:type/id`, or every entity of the type.
pub(super) fn entity(kind: &str, id: Option<&str>) -> Option<String> {
    let id = match id {
        Some(id) => Some(Pattern::exactly(id)?),
        None => None,
    };
    Some(Term::Entity(OneOf::one(EntityPattern { kind: Pattern::exactly(kind)?, id })).to_string())
}

/// The term that narrows a search to a facet's value; none if it would show what is masked.
pub(super) fn of_facet(told: &Value) -> Option<Expr> {
    match search::parse(told["term"].as_str()?).query.conjuncts() {
        [one] => Some(one.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_value_holds_is_never_read_as_the_grammar() {
        for value in ["a b", "-x", "\"q\" OR *", "a/b:c", "(", "\r\n<b>", "ü,ü"] {
            for term in [text(TextField::Actor, value), entity("agent", Some(value))] {
                let parsed = shared::search::parse(&term.expect("a term"));
                assert_eq!((parsed.diagnostics.len(), parsed.chips.len()), (0, 1), "{value:?}");
            }
        }
        assert_eq!(text(TextField::Name, ""), None);
    }
}
