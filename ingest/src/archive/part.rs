//! A part of the archive: events as a Parquet file that any tool opens, each with the bytes that its leaf commits to.
//!
//! Every column but the place, the times of filing and arrival, and the pseudonym is read out of the opening when a part is
//! written, so erasing from the opening and writing the part anew erases from the columns as well. What is read back is the
//! opening alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::basic::Compression;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use shared::bundle::LogId;
use shared::event::Event;
use shared::leaf::StoredOpening;
use uuid::Uuid;

use crate::table::{self, Cell, Column, Filed, Kind, event_columns, optional, required};

/// Events of one part at most.
pub const MAX_ROWS: usize = 50_000;
/// Bytes of openings after which a part ends, at its next event.
pub const FULL: usize = 32 << 20;
/// The largest part that is read: openings, and the columns that say the same once more.
pub const MAX_PART_LEN: u64 = 256 << 20;

/// Why a part could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Not Parquet, or damaged.
    #[error("not a Parquet file of events: {0}")]
    Parquet(String),
    /// A column is missing, or does not hold what it should.
    #[error("column {0} is not as it should be")]
    Column(&'static str),
    /// More events than a part has.
    #[error("{0} events are more than a part holds")]
    TooMany(i64),
    /// An opening that is no event.
    #[error("an opening is no event: {0}")]
    Opening(String),
}

impl From<ParquetError> for PartError {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }
}

/// An event of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its log.
    pub log: LogId,
    /// Its leaf there.
    pub leaf: u64,
    /// Its id.
    pub id: Uuid,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// The month's key it had.
    pub filed_at: DateTime<Utc>,
    /// Its batch.
    pub batch_id: i64,
    /// Its place there.
    pub position: i16,
    /// What stands for an actor that was erased.
    pub pseudonym: Option<String>,
    /// The committed bytes, or what is left of them.
    pub opening: Vec<u8>,
}

/// A row with what its opening says.
struct Opened<'a> {
    row: &'a Row,
    event: Event,
}

impl Filed for Opened<'_> {
    fn event(&self) -> &Event {
        &self.event
    }

    fn received_at(&self) -> DateTime<Utc> {
        self.row.received_at
    }

    fn filed_at(&self) -> DateTime<Utc> {
        self.row.filed_at
    }

    fn pseudonym(&self) -> Option<&str> {
        self.row.pseudonym.as_deref()
    }
}

/// The columns of a part: the place, the event, the bytes.
fn columns<'a>() -> Vec<Column<Opened<'a>>> {
    let mut columns = vec![
        required("log_id", Kind::Text, |it: &Opened<'_>| Cell::Text(it.row.log.to_string())),
        required("leaf", Kind::Long, |it: &Opened<'_>| Cell::Long(it.row.leaf.cast_signed())),
    ];
    columns.extend(event_columns());
    columns.extend([
        required("batch_id", Kind::Long, |it: &Opened<'_>| Cell::Long(it.row.batch_id)),
        required("position", Kind::Int, |it: &Opened<'_>| Cell::Int(i32::from(it.row.position))),
        optional("pseudonym", Kind::Text, |it: &Opened<'_>| Cell::text(it.row.pseudonym.as_deref())),
        required("opening", Kind::Bytes, |it: &Opened<'_>| Cell::Bytes(it.row.opening.clone())),
    ]);
    columns
}

/// The file of these events, in their order.
///
/// # Errors
/// [`PartError::Opening`] if one is no event.
pub fn write(rows: &[Row]) -> Result<Vec<u8>, PartError> {
    let opened = rows.iter().map(|row| Ok(Opened { row, event: event(row)? }));
    let opened = opened.collect::<Result<Vec<_>, PartError>>()?;
    let columns = columns();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), table::schema(&columns)?, Arc::new(properties))?;
    table::write_group(&mut writer, &columns, &opened)?;
    Ok(writer.into_inner()?)
}

fn event(row: &Row) -> Result<Event, PartError> {
    let stored =
        StoredOpening::decode(&row.opening).map_err(|error| PartError::Opening(error.to_string()))?;
    Event::from_fields(&stored.fields()).map_err(|error| PartError::Opening(error.to_string()))
}

/// The events of a file, in their order. Whoever made it is not believed.
///
/// # Errors
/// [`PartError`] says what is wrong with it.
pub fn read(bytes: Vec<u8>) -> Result<Vec<Row>, PartError> {
    // The reader of Parquet is made for files of one's own; damaged ones can still make it panic.
    let read = catch_unwind(AssertUnwindSafe(|| rows(bytes)));
    read.unwrap_or_else(|_| Err(PartError::Parquet("its reader gave up".to_owned())))
}

fn rows(bytes: Vec<u8>) -> Result<Vec<Row>, PartError> {
    let reader = SerializedFileReader::new(Bytes::from(bytes))?;
    let metadata = reader.metadata().file_metadata();
    let total = metadata.num_rows();
    let count =
        usize::try_from(total).ok().filter(|count| *count <= MAX_ROWS).ok_or(PartError::TooMany(total))?;
    let place = |name: &'static str| {
        let columns = metadata.schema_descr().columns();
        columns.iter().position(|column| column.name() == name).ok_or(PartError::Column(name))
    };
    let mut rows = Vec::with_capacity(count);
    for at in 0..reader.num_row_groups() {
        let group = reader.get_row_group(at)?;
        let of = Group { group: group.as_ref(), place: &place, left: count - rows.len() };
        let texts = |name| of.required::<ByteArrayType>(name);
        let longs = |name| of.required::<Int64Type>(name);
        let (logs, leaves, ids, openings) =
            (texts("log_id")?, longs("leaf")?, texts("id")?, texts("opening")?);
        let (received, filed, batches) = (longs("received_at")?, longs("filed_at")?, longs("batch_id")?);
        let positions = of.required::<Int32Type>("position")?;
        let pseudonyms = of.column::<ByteArrayType>("pseudonym")?;
        for (n, leaf) in leaves.iter().enumerate() {
            let text =
                |column: &[ByteArray]| Some(std::str::from_utf8(column.get(n)?.data()).ok()?.to_owned());
            let time = |column: &[i64]| DateTime::from_timestamp_micros(*column.get(n)?);
            let name = match pseudonyms.get(n).ok_or(PartError::Column("pseudonym"))? {
                Some(bytes) => Some(
                    String::from_utf8(bytes.data().to_vec()).map_err(|_| PartError::Column("pseudonym"))?,
                ),
                None => None,
            };
            rows.push(Row {
                log: text(&logs).and_then(|log| log.parse().ok()).ok_or(PartError::Column("log_id"))?,
                leaf: u64::try_from(*leaf).map_err(|_| PartError::Column("leaf"))?,
                id: text(&ids).and_then(|id| id.parse().ok()).ok_or(PartError::Column("id"))?,
                received_at: time(&received).ok_or(PartError::Column("received_at"))?,
                filed_at: time(&filed).ok_or(PartError::Column("filed_at"))?,
                batch_id: *batches.get(n).ok_or(PartError::Column("batch_id"))?,
                position: positions
                    .get(n)
                    .and_then(|position| i16::try_from(*position).ok())
                    .ok_or(PartError::Column("position"))?,
                pseudonym: name,
                opening: openings.get(n).ok_or(PartError::Column("opening"))?.data().to_vec(),
            });
        }
    }
    Ok(rows)
}

/// A row group whose columns are asked for by name.
struct Group<'a, P> {
    group: &'a dyn RowGroupReader,
    place: &'a P,
    left: usize,
}

impl<P: Fn(&'static str) -> Result<usize, PartError>> Group<'_, P> {
    fn required<T: DataType>(&self, name: &'static str) -> Result<Vec<T::T>, PartError> {
        self.column::<T>(name)?.into_iter().map(|value| value.ok_or(PartError::Column(name))).collect()
    }

    fn column<T: DataType>(&self, name: &'static str) -> Result<Vec<Option<T::T>>, PartError> {
        let at = (self.place)(name)?;
        let column = self.group.metadata().column(at);
        if column.column_type() != T::get_physical_type() || column.column_descr().max_rep_level() > 0 {
            return Err(PartError::Column(name));
        }
        let most = column.column_descr().max_def_level();
        let mut reader = get_typed_column_reader::<T>(self.group.get_column_reader(at)?);
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        while levels.len().max(values.len()) < self.left {
            let asked = (most > 0).then_some(&mut levels);
            let (records, ..) =
                reader.read_records(self.left - values.len().min(self.left), asked, None, &mut values)?;
            if records == 0 {
                break;
            }
        }
        if most == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(levels.into_iter().map(|level| if level == most { values.next() } else { None }).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::event::{
        Action, BodyState, Context, EventId, Outcome, RequestFacts, RetentionClass, Severity, Timestamp,
        Trust,
    };
    use shared::leaf::Seed;

    use super::*;

    fn row(n: u64) -> Row {
        let occurred_at = Timestamp::try_from(1_700_000_000_000 + n).expect("a time");
        let event = Event {
            tenant: "demo".parse().expect("a slug"),
            id: EventId::mint(occurred_at, &[7; 10]),
            occurred_at,
            action: Action::try_from("AGENT_DELETED".to_owned()).expect("an action"),
            severity: Severity::Info,
            outcome: Outcome::Success,
            trust: Trust::System,
            class: RetentionClass::Standard,
            reason: None,
            actor: None,
            claimed_user: None,
            entity: None,
            request: RequestFacts {
                host: "app.example.com".to_owned(),
                method: "DELETE".to_owned(),
                route: "/api/agents/{id}".to_owned(),
                rule: "app/agent-delete".to_owned(),
                status: Some(204),
                request_body: BodyState::Absent,
                response_body: BodyState::Absent,
            },
            context: Context::default(),
            details: None,
            changes: None,
            compliance: Vec::new(),
            duration_ms: Some(12),
            echo: false,
        };
        Row {
            log: LogId([7; 16]),
            leaf: n,
            id: event.id.uuid(),
            received_at: DateTime::from_timestamp_micros(1_700_000_000_000_123).expect("a time"),
            filed_at: occurred_at.to_utc(),
            batch_id: 3,
            position: 9,
            pseudonym: n.is_multiple_of(2).then(|| format!("anon-{n}")),
            opening: event.to_opening(Seed([u8::try_from(n % 251).expect("small"); 32])).encode(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let rows: Vec<Row> = (0..1_000).map(row).collect();
        assert_eq!(read(write(&rows).expect("written")).expect("read"), rows);
        assert_eq!(read(write(&[]).expect("written")).expect("read"), []);
    }

    #[test]
    fn an_opening_that_is_no_event_is_not_written() {
        let broken = Row { opening: vec![1, 2, 3], ..row(1) };
        assert!(matches!(write(&[broken]), Err(PartError::Opening(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(bytes);
        }

        #[test]
        fn a_damaged_part_is_read_or_refused(at in any::<prop::sample::Index>(), with in 1_u8.., cut in any::<bool>()) {
            let mut bytes = write(&(0..20).map(row).collect::<Vec<_>>()).expect("written");
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= with }
            let _ = read(bytes);
        }
    }
}
