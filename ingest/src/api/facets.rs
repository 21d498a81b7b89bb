//! `GET /v1/events/facets`: the most frequent values of what a search finds, with the term that narrows it to each.

use axum::Json;
use serde_json::{Map, Value, json};
use shared::event::{Outcome, Severity, Trust};
use shared::search::{EntityPattern, NumberField, OneOf, Pattern, Range, Term, TextField};

use super::reader::Reader;
use super::search;
use super::writes::Parameters;
use super::{Answer, Shared, as_of};
use crate::store::search::{FacetField, FacetRow, facets};

const DEFAULT_TOP: u8 = 10;
const MAX_TOP: u8 = 50;

pub(super) async fn read(state: Shared, reader: Reader, asked: Parameters) -> Result<Json<Value>, Answer> {
    let mut fields = FacetField::ALL.to_vec();
    let mut top = DEFAULT_TOP;
    let search = search::read(asked, |name, value| {
        match name {
            "fields" => fields = listed(value)?,
            "top" => {
                let count = value.parse().ok().filter(|count| (1..=MAX_TOP).contains(count));
                top = count.ok_or_else(|| format!("is not 1 to {MAX_TOP}"))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    search.check(&reader)?;
    let looked = search.scope(&state, &reader, state.clock.now());
    let rows = facets(&as_of::reading(&state), &looked.scope, &fields, i64::from(top)).await?;
    let total = rows.iter().find(|row| row.field.is_empty()).map_or(0, |row| row.count);
    let facets: Map<String, Value> =
        fields.iter().map(|field| (field.name().to_owned(), values(*field, &rows, total, &reader))).collect();
    Ok(Json(json!({
        "facets": facets,
        "total": total,
        "query": search.view(),
        "window": looked.window(),
        "notice": looked.notice(&state, &reader).await?,
    })))
}

/// The fields of a list, each once.
fn listed(names: &str) -> Result<Vec<FacetField>, String> {
    let mut fields = Vec::new();
    for name in names.split(',') {
        let known = FacetField::ALL.into_iter().find(|field| field.name() == name).ok_or_else(|| {
            format!("{name:?} is not one of {}", FacetField::ALL.map(FacetField::name).join(", "))
        })?;
        if !fields.contains(&known) {
            fields.push(known);
        }
    }
    Ok(fields)
}

fn values(field: FacetField, rows: &[FacetRow], total: i64, reader: &Reader) -> Value {
    let here: Vec<&FacetRow> = rows.iter().filter(|row| row.field == field.name()).collect();
    let shown: i64 = here.iter().map(|row| row.count).sum();
    let values: Vec<Value> = here
        .iter()
        .map(|row| {
            let meant = row.value.as_deref().and_then(|value| meant(field, value));
            let (value, term) = meant.map_or((None, None), |(value, term)| (Some(value), Some(term)));
            json!({
                "value": value.map(|value| reader.text(&value)),
                "label": row.label.as_deref().map(|label| reader.text(label)),
                "count": row.count,
                // A term that names what is masked would show it.
                "term": term.map(|term| term.to_string()).filter(|term| reader.text(term) == *term),
            })
        })
        .collect();
    json!({"values": values, "other": total - shown})
}

/// A value as readers see it, and the term that finds it.
fn meant(field: FacetField, value: &str) -> Option<(String, Term)> {
    let byte = || value.parse::<u8>().ok();
    let text = |field| Some((value.to_owned(), Term::Text(field, OneOf::one(Pattern::exactly(value)?))));
    match field {
        FacetField::Action => text(TextField::Action),
        FacetField::Actor => text(TextField::Actor),
        FacetField::Country => text(TextField::Country),
        FacetField::Host => text(TextField::Host),
        FacetField::Method => text(TextField::Method),
        FacetField::Route => text(TextField::Route),
        FacetField::Rule => text(TextField::Rule),
        FacetField::Entity => {
            let kind = EntityPattern { kind: Pattern::exactly(value)?, id: None };
            Some((value.to_owned(), Term::Entity(OneOf::one(kind))))
        }
        FacetField::Severity => {
            let severity = Severity::from_byte(byte()?)?;
            Some((severity.to_string(), Term::Severity(OneOf::one(Range::Exactly(severity)))))
        }
        FacetField::Outcome => {
            let outcome = Outcome::from_byte(byte()?)?;
            Some((outcome.to_string(), Term::Outcome(OneOf::one(outcome))))
        }
        FacetField::Trust => {
            let trust = Trust::from_byte(byte()?)?;
            Some((trust.to_string(), Term::Trust(OneOf::one(trust))))
        }
        FacetField::Status => {
            let hundreds: u32 = value.parse().ok()?;
            let range = Range::Between(hundreds * 100, hundreds * 100 + 99);
            Some((format!("{hundreds}xx"), Term::Number(NumberField::Status, OneOf::one(range))))
        }
    }
}
