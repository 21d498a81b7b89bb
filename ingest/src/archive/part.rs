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
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use shared::bundle::LogId;
use shared::event::{ComplianceFlag, Event};
use shared::leaf::StoredOpening;
use uuid::Uuid;

/// Events of one part at most.
pub const MAX_ROWS: usize = 50_000;
/// Bytes of openings after which a part ends, at its next event.
pub const FULL: usize = 32 << 20;
/// The largest part that is read: openings, and the columns that say the same once more.
pub const MAX_PART_LEN: u64 = 256 << 20;

const SCHEMA: &str = "message event {
    required binary log_id (utf8);
    required int64 leaf;
    required binary id (utf8);
    required int64 occurred_at (timestamp_millis);
    required int64 received_at (timestamp_micros);
    required int64 filed_at (timestamp_micros);
    required binary class (utf8);
    required binary severity (utf8);
    required binary outcome (utf8);
    required binary trust (utf8);
    required binary action (utf8);
    optional binary actor_id (utf8);
    optional binary actor_email (utf8);
    optional binary claimed_user (utf8);
    optional binary entity_type (utf8);
    optional binary entity_id (utf8);
    optional binary entity_name (utf8);
    required binary host (utf8);
    required binary method (utf8);
    required binary route (utf8);
    required binary rule (utf8);
    optional int32 status;
    optional binary reason (utf8);
    optional int64 duration_ms;
    optional binary changes (utf8);
    optional binary details (utf8);
    required binary compliance (utf8);
    required int64 batch_id;
    required int32 position;
    optional binary pseudonym (utf8);
    required binary opening;
}";

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

/// The value of an event in a column.
enum Cell {
    Text(String),
    Bytes(Vec<u8>),
    Long(i64),
    Int(i32),
    Nothing,
}

impl Cell {
    fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Nothing, |text| Self::Text(text.to_owned()))
    }
}

/// The file of these events, in their order.
///
/// # Errors
/// [`PartError::Opening`] if one is no event.
pub fn write(rows: &[Row]) -> Result<Vec<u8>, PartError> {
    let events = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::clone(&schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for column in schema.get_fields() {
        let cells = rows.iter().zip(&events).map(|(row, event)| cell(column.name(), row, event));
        column_of(&mut group, column.get_physical_type(), column.is_optional(), cells.collect())?;
    }
    group.close()?;
    Ok(writer.into_inner()?)
}

fn event(row: &Row) -> Result<Event, PartError> {
    let stored =
        StoredOpening::decode(&row.opening).map_err(|error| PartError::Opening(error.to_string()))?;
    Event::from_fields(&stored.fields()).map_err(|error| PartError::Opening(error.to_string()))
}

fn cell(column: &str, row: &Row, event: &Event) -> Cell {
    let (actor, entity, request) = (event.actor.as_ref(), event.entity.as_ref(), &event.request);
    let text = |text: &str| Cell::Text(text.to_owned());
    match column {
        "log_id" => Cell::Text(row.log.to_string()),
        "leaf" => Cell::Long(row.leaf.cast_signed()),
        "id" => Cell::Text(row.id.to_string()),
        "occurred_at" => Cell::Long(event.occurred_at.to_utc().timestamp_millis()),
        "received_at" => Cell::Long(row.received_at.timestamp_micros()),
        "filed_at" => Cell::Long(row.filed_at.timestamp_micros()),
        "class" => text(event.class.word()),
        "severity" => text(event.severity.word()),
        "outcome" => text(event.outcome.word()),
        "trust" => text(event.trust.word()),
        "action" => text(event.action.as_str()),
        "actor_id" => Cell::text(row.pseudonym.as_deref().or(actor.map(|actor| actor.id.as_str()))),
        "actor_email" => Cell::text(actor.and_then(|actor| actor.email.as_deref())),
        "claimed_user" => Cell::text(event.claimed_user.as_ref().map(|user| user.id.as_str())),
        "entity_type" => Cell::text(entity.map(|entity| entity.kind.as_str())),
        "entity_id" => Cell::text(entity.and_then(|entity| entity.id.as_deref())),
        "entity_name" => Cell::text(entity.and_then(|entity| entity.name.as_deref())),
        "host" => text(&request.host),
        "method" => text(&request.method),
        "route" => text(&request.route),
        "rule" => text(&request.rule),
        "status" => request.status.map_or(Cell::Nothing, |status| Cell::Int(i32::from(status))),
        "reason" => Cell::text(event.reason.as_deref()),
        "duration_ms" => event.duration_ms.map_or(Cell::Nothing, |took| Cell::Long(i64::from(took))),
        "changes" => Cell::text(event.changes.as_ref().map(|changes| changes.fields.as_str())),
        "details" => Cell::text(event.details.as_ref().map(shared::event::JsonText::as_str)),
        "compliance" => {
            Cell::Text(event.compliance.iter().map(ComplianceFlag::as_str).collect::<Vec<_>>().join(","))
        }
        "batch_id" => Cell::Long(row.batch_id),
        "position" => Cell::Int(i32::from(row.position)),
        "pseudonym" => Cell::text(row.pseudonym.as_deref()),
        "opening" => Cell::Bytes(row.opening.clone()),
        _ => Cell::Nothing,
    }
}

fn column_of(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    physical: parquet::basic::Type,
    optional: bool,
    cells: Vec<Cell>,
) -> Result<(), PartError> {
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(!matches!(cell, Cell::Nothing))).collect();
    let levels = optional.then_some(levels.as_slice());
    let mut column = group.next_column()?.ok_or(PartError::Column("beyond the last"))?;
    match physical {
        parquet::basic::Type::INT64 => {
            let values: Vec<i64> = cells
                .into_iter()
                .filter_map(|cell| if let Cell::Long(it) = cell { Some(it) } else { None })
                .collect();
            column.typed::<Int64Type>().write_batch(&values, levels, None)?;
        }
        parquet::basic::Type::INT32 => {
            let values: Vec<i32> = cells
                .into_iter()
                .filter_map(|cell| if let Cell::Int(it) = cell { Some(it) } else { None })
                .collect();
            column.typed::<Int32Type>().write_batch(&values, levels, None)?;
        }
        _ => {
            let bytes = |cell| match cell {
                Cell::Text(text) => Some(ByteArray::from(text.into_bytes())),
                Cell::Bytes(bytes) => Some(ByteArray::from(bytes)),
                _ => None,
            };
            let values: Vec<ByteArray> = cells.into_iter().filter_map(bytes).collect();
            column.typed::<ByteArrayType>().write_batch(&values, levels, None)?;
        }
    }
    Ok(column.close()?)
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
        for n in 0..leaves.len() {
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
                leaf: u64::try_from(leaves[n]).map_err(|_| PartError::Column("leaf"))?,
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
            pseudonym: (n % 2 == 0).then(|| format!("anon-{n}")),
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
