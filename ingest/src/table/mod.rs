//! Events as rows of columns: what the archive and exports have in common, whoever opens their tables.
//!
//! A column knows its name, its kind and how it is read from a row, so a schema, a Parquet row group and a line of CSV
//! are made from one list.

use std::io::Write;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;
use shared::event::{ComplianceFlag, Event, JsonText};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Bytes,
    /// Milliseconds since 1970.
    Millis,
    /// Microseconds since 1970.
    Micros,
    /// A number of 64 bits.
    Long,
    /// A number of 32 bits.
    Int,
}

/// The value of a row in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// UTF-8.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
    /// A number of 64 bits, or a time.
    Long(i64),
    /// A number of 32 bits.
    Int(i32),
    /// Nothing.
    Nothing,
}

impl Cell {
    /// A text, or nothing.
    pub fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Nothing, |text| Self::Text(text.to_owned()))
    }
}

/// A column over rows of type `R`.
#[derive(Debug, Clone, Copy)]
pub struct Column<R> {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether a row may hold nothing in it.
    pub optional: bool,
    /// Reads it from a row.
    pub cell: fn(&R) -> Cell,
}

/// A column that every row has a value in.
pub const fn required<R>(name: &'static str, kind: Kind, cell: fn(&R) -> Cell) -> Column<R> {
    Column { name, kind, optional: false, cell }
}

/// A column that rows may have nothing in.
pub const fn optional<R>(name: &'static str, kind: Kind, cell: fn(&R) -> Cell) -> Column<R> {
    Column { name, kind, optional: true, cell }
}

/// A row that tells of an event.
pub trait Filed {
    /// What is left of the event.
    fn event(&self) -> &Event;
    /// When it arrived.
    fn received_at(&self) -> DateTime<Utc>;
    /// The month's key it has.
    fn filed_at(&self) -> DateTime<Utc>;
    /// What stands for an actor that was erased.
    fn pseudonym(&self) -> Option<&str>;
}

/// The columns that are read out of every event.
pub fn event_columns<R: Filed>() -> Vec<Column<R>> {
    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
    vec![
        required("id", Kind::Text, |row: &R| Cell::Text(row.event().id.to_string())),
        required("occurred_at", Kind::Millis, |row: &R| {
            Cell::Long(row.event().occurred_at.to_utc().timestamp_millis())
        }),
        required("received_at", Kind::Micros, |row: &R| Cell::Long(row.received_at().timestamp_micros())),
        required("filed_at", Kind::Micros, |row: &R| Cell::Long(row.filed_at().timestamp_micros())),
        required("class", Kind::Text, |row: &R| text(row.event().class.word())),
        required("severity", Kind::Text, |row: &R| text(row.event().severity.word())),
        required("outcome", Kind::Text, |row: &R| text(row.event().outcome.word())),
        required("trust", Kind::Text, |row: &R| text(row.event().trust.word())),
        required("action", Kind::Text, |row: &R| text(row.event().action.as_str())),
        optional("actor_id", Kind::Text, |row: &R| {
            let actor = row.event().actor.as_ref();
            Cell::text(row.pseudonym().or(actor.map(|actor| actor.id.as_str())))
        }),
        optional("actor_email", Kind::Text, |row: &R| {
            Cell::text(row.event().actor.as_ref().and_then(|actor| actor.email.as_deref()))
        }),
        optional("claimed_user", Kind::Text, |row: &R| {
            Cell::text(row.event().claimed_user.as_ref().map(|user| user.id.as_str()))
        }),
        optional("entity_type", Kind::Text, |row: &R| {
            Cell::text(row.event().entity.as_ref().map(|entity| entity.kind.as_str()))
        }),
        optional("entity_id", Kind::Text, |row: &R| {
            Cell::text(row.event().entity.as_ref().and_then(|entity| entity.id.as_deref()))
        }),
        optional("entity_name", Kind::Text, |row: &R| {
            Cell::text(row.event().entity.as_ref().and_then(|entity| entity.name.as_deref()))
        }),
        required("host", Kind::Text, |row: &R| text(&row.event().request.host)),
        required("method", Kind::Text, |row: &R| text(&row.event().request.method)),
        required("route", Kind::Text, |row: &R| text(&row.event().request.route)),
        required("rule", Kind::Text, |row: &R| text(&row.event().request.rule)),
        optional("status", Kind::Int, |row: &R| {
            row.event().request.status.map_or(Cell::Nothing, |status| Cell::Int(i32::from(status)))
        }),
        optional("reason", Kind::Text, |row: &R| Cell::text(row.event().reason.as_deref())),
        optional("duration_ms", Kind::Long, |row: &R| {
            row.event().duration_ms.map_or(Cell::Nothing, |took| Cell::Long(i64::from(took)))
        }),
        optional("changes", Kind::Text, |row: &R| {
            Cell::text(row.event().changes.as_ref().map(|changes| changes.fields.as_str()))
        }),
        optional("details", Kind::Text, |row: &R| {
            Cell::text(row.event().details.as_ref().map(JsonText::as_str))
        }),
        required("compliance", Kind::Text, |row: &R| {
            let flags: Vec<&str> = row.event().compliance.iter().map(ComplianceFlag::as_str).collect();
            Cell::Text(flags.join(","))
        }),
    ]
}

/// The Parquet schema of columns.
///
/// # Errors
/// If a name is none that Parquet knows.
pub fn schema<R>(columns: &[Column<R>]) -> Result<TypePtr> {
    let fields: String = columns
        .iter()
        .map(|column| {
            let repetition = if column.optional { "optional" } else { "required" };
            let name = column.name;
            match column.kind {
                Kind::Text => format!("{repetition} binary {name} (utf8);\n"),
                Kind::Bytes => format!("{repetition} binary {name};\n"),
                Kind::Millis => format!("{repetition} int64 {name} (timestamp_millis);\n"),
                Kind::Micros => format!("{repetition} int64 {name} (timestamp_micros);\n"),
                Kind::Long => format!("{repetition} int64 {name};\n"),
                Kind::Int => format!("{repetition} int32 {name};\n"),
            }
        })
        .collect();
    Ok(Arc::new(parse_message_type(&format!("message event {{\n{fields}}}"))?))
}

/// Writes rows as one row group of a file whose schema is that of the columns.
///
/// # Errors
/// If the file cannot be written.
pub fn write_group<R, W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    columns: &[Column<R>],
    rows: &[R],
) -> Result<()> {
    let mut group = writer.next_row_group()?;
    for column in columns {
        write_column(&mut group, column, rows.iter().map(column.cell).collect())?;
    }
    group.close()?;
    Ok(())
}

fn write_column<R, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: &Column<R>,
    cells: Vec<Cell>,
) -> Result<()> {
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(*cell != Cell::Nothing)).collect();
    let levels = column.optional.then_some(levels.as_slice());
    let beyond = || ParquetError::General(format!("there is no column {}", column.name));
    let mut writer = group.next_column()?.ok_or_else(beyond)?;
    match column.kind {
        Kind::Millis | Kind::Micros | Kind::Long => {
            let long = |cell| if let Cell::Long(it) = cell { Some(it) } else { None };
            let values: Vec<i64> = cells.into_iter().filter_map(long).collect();
            writer.typed::<Int64Type>().write_batch(&values, levels, None)?;
        }
        Kind::Int => {
            let int = |cell| if let Cell::Int(it) = cell { Some(it) } else { None };
            let values: Vec<i32> = cells.into_iter().filter_map(int).collect();
            writer.typed::<Int32Type>().write_batch(&values, levels, None)?;
        }
        Kind::Text | Kind::Bytes => {
            let bytes = |cell| match cell {
                Cell::Text(text) => Some(ByteArray::from(text.into_bytes())),
                Cell::Bytes(bytes) => Some(ByteArray::from(bytes)),
                Cell::Long(_) | Cell::Int(_) | Cell::Nothing => None,
            };
            let values: Vec<ByteArray> = cells.into_iter().filter_map(bytes).collect();
            writer.typed::<ByteArrayType>().write_batch(&values, levels, None)?;
        }
    }
    writer.close()
}
