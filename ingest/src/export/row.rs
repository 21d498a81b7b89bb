//! An event on its way into an export, and the columns that tables of exports have.

use chrono::{DateTime, SecondsFormat, Utc};
use shared::event::Event;
use shared::leaf::{Hash, StoredOpening};

use crate::store::StoreError;
use crate::store::events::StoredEvent;
use crate::store::search::Swept;
use crate::table::{Cell, Column, Filed, Kind, event_columns, optional, required};
use crate::view;

/// An event with what is left of it read.
#[derive(Debug)]
pub(crate) struct Row {
    /// As it is stored.
    pub(crate) stored: StoredEvent,
    /// What is left of it.
    pub(crate) event: Event,
    /// The names of the fields that were erased.
    pub(crate) erased: Vec<&'static str>,
}

impl Row {
    /// Opens an event.
    ///
    /// # Errors
    /// If the stored bytes are not the event they were when they were stored.
    pub(crate) fn open(swept: Swept) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged("event");
        let opening = StoredOpening::decode(&swept.opening).map_err(|_| damaged())?;
        let event = Event::from_fields(&opening.fields()).map_err(|_| damaged())?;
        Ok(Self {
            erased: opening.erased().into_iter().map(view::field).collect(),
            event,
            stored: StoredEvent {
                id: swept.id,
                filed_at: swept.filed_at,
                received_at: swept.received_at,
                opening: swept.opening,
                pseudonym: swept.pseudonym,
            },
        })
    }

    /// What the event's leaf commits to; the same before and after an erasure.
    pub(super) fn digest(&self) -> Option<Hash> {
        StoredOpening::decode(&self.stored.opening).ok().map(|opening| opening.digest())
    }
}

impl Filed for Row {
    fn event(&self) -> &Event {
        &self.event
    }

    fn received_at(&self) -> DateTime<Utc> {
        self.stored.received_at
    }

    fn filed_at(&self) -> DateTime<Utc> {
        self.stored.filed_at
    }

    fn pseudonym(&self) -> Option<&str> {
        // A column holds the actor of every other event as well.
        self.stored.pseudonym.as_deref().filter(|_| self.event.actor.is_none())
    }
}

/// The columns of CSV and Parquet: those of the archive, and what the archive's readers find in the opening.
pub(super) fn columns() -> Vec<Column<Row>> {
    let mut columns = event_columns();
    columns.extend([
        optional("ip", Kind::Text, |row: &Row| {
            row.event.context.ip.map_or(Cell::Nothing, |ip| Cell::Text(ip.to_string()))
        }),
        optional("user_agent", Kind::Text, |row: &Row| Cell::text(row.event.context.user_agent.as_deref())),
        optional("session", Kind::Text, |row: &Row| Cell::text(row.event.context.session.as_deref())),
        optional("country", Kind::Text, |row: &Row| {
            Cell::text(row.event.context.place.as_ref().and_then(|place| place.country.as_deref()))
        }),
        optional("change_quality", Kind::Text, |row: &Row| {
            Cell::text(row.event.changes.as_ref().map(|changes| changes.quality.word()))
        }),
        required("echo", Kind::Text, |row: &Row| Cell::Text(row.event.echo.to_string())),
        required("erased", Kind::Text, |row: &Row| Cell::Text(row.erased.join(","))),
        optional("pseudonym", Kind::Text, |row: &Row| Cell::text(row.pseudonym())),
    ]);
    columns
}

/// A cell as a field of CSV. Spreadsheets take what begins with certain signs for a formula: such a text gets a `'` in
/// front.
pub(super) fn field(kind: Kind, cell: Cell) -> String {
    match (kind, cell) {
        (Kind::Millis, Cell::Long(at)) => time(DateTime::from_timestamp_millis(at), SecondsFormat::Millis),
        (Kind::Micros, Cell::Long(at)) => time(DateTime::from_timestamp_micros(at), SecondsFormat::Micros),
        (_, Cell::Long(number)) => number.to_string(),
        (_, Cell::Int(number)) => number.to_string(),
        (_, Cell::Text(text)) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        (_, Cell::Text(text)) => text,
        (_, Cell::Bytes(bytes)) => hex::encode(bytes),
        (_, Cell::Nothing) => String::new(),
    }
}

fn time(at: Option<DateTime<Utc>>, digits: SecondsFormat) -> String {
    at.map_or_else(String::new, |at| at.to_rfc3339_opts(digits, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_takes_for_a_formula_is_a_text() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1"] {
            assert_eq!(field(Kind::Text, Cell::Text(text.to_owned())), format!("'{text}"));
        }
        assert_eq!(field(Kind::Text, Cell::Text("a=1".to_owned())), "a=1");
        assert_eq!(field(Kind::Long, Cell::Long(-5)), "-5");
    }

    #[test]
    fn every_column_has_a_name_of_its_own() {
        let mut names: Vec<_> = columns().iter().map(|column| column.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
