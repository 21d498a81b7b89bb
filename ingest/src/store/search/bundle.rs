//! Openings of many events, read as cheaply as the database can give them.
//!
//! A search that names nothing but a time beside its words reads by `COPY`, which costs a seventh less than rows of a statement do, and
//! they a third less than one row with all of them. `COPY` takes no parameters: the tenant stands in the statement as the database itself
//! quotes it, since the nodes of a cluster know no setting of the transaction. Times, an id and a number stand there as well, so that
//! other months are left out before there is a plan.
//!
//! What is read to its end needs no places on the way: comparing each entry of the index with one takes a tenth of the time, and
//! telling when each event is filed, or leaving out those that no search finds, a seventh together.

use std::ops::Range;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _};

use super::{Bounds, End, Position, Scope};
use crate::receive::rollup::COVERAGE_RECORDED;
use crate::store::{Doing as _, StoreError, events};

const DOING: &str = "looking for words";

/// The openings of events, newest first, one after the other.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    bytes: Vec<u8>,
    /// Where each opening lies in them.
    openings: Vec<Range<usize>>,
    /// When the last one is filed.
    oldest_at: Option<DateTime<Utc>>,
}

impl Bundle {
    /// Reads so many openings of a scope from behind a place on.
    ///
    /// # Errors
    /// If the database refuses.
    pub(super) async fn read(
        &mut self,
        connection: &mut PgConnection,
        scope: &Scope,
        after: Option<Position>,
        size: usize,
    ) -> Result<(), StoreError> {
        self.bytes.clear();
        self.openings.clear();
        self.oldest_at = None;
        if scope.is_only_time() {
            self.copy(connection, scope, after, size).await
        } else {
            self.select(connection, scope, after, size).await
        }
    }

    async fn copy(
        &mut self,
        connection: &mut PgConnection,
        scope: &Scope,
        after: Option<Position>,
        size: usize,
    ) -> Result<(), StoreError> {
        let tenant = quoted(connection, &scope.tenant).await?;
        copied(connection, &copy(&tenant, scope, after, Some(size)), |[filed_at, opening]| {
            self.oldest_at = Some(time(filed_at).ok_or(NO_COPY)?);
            self.push(opening);
            Ok(())
        })
        .await
    }

    async fn select(
        &mut self,
        connection: &mut PgConnection,
        scope: &Scope,
        after: Option<Position>,
        size: usize,
    ) -> Result<(), StoreError> {
        let mut sql = QueryBuilder::<Postgres>::new("select opening, filed_at from events");
        scope.push_behind(&mut sql, after);
        sql.push(" order by filed_at desc, id desc limit ").push_bind(i64::try_from(size).unwrap_or(0));
        let mut rows = sql.build().fetch(connection);
        while let Some(row) = rows.try_next().await.doing(DOING)? {
            let opening = row.try_get_raw(0).doing(DOING)?;
            self.push(opening.as_bytes().map_err(|_| StoreError::Damaged("event"))?);
            self.oldest_at = row.try_get(1).doing(DOING)?;
        }
        Ok(())
    }

    fn push(&mut self, opening: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(opening);
        self.openings.push(begin..self.bytes.len());
    }

    pub(super) fn count(&self) -> usize {
        self.openings.len()
    }

    pub(super) fn openings(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.openings.iter().map(|range| &self.bytes[range.clone()])
    }

    /// Where the last one lies: what follows it is the next bundle. The database is only asked where the opening does not say it.
    ///
    /// # Errors
    /// If the database refuses.
    pub(super) async fn oldest(
        &self,
        connection: &mut PgConnection,
        scope: &Scope,
        after: Option<Position>,
    ) -> Result<Option<Position>, StoreError> {
        let Some((filed_at, last)) = self.oldest_at.zip(self.openings().next_back()) else { return Ok(None) };
        if let Some(event) = events::read(last) {
            return Ok(Some(Position { filed_at, id: event.id.uuid() }));
        }
        let mut sql = QueryBuilder::<Postgres>::new("select id from events");
        scope.push_behind(&mut sql, after);
        let before = i64::try_from(self.count()).unwrap_or(0) - 1;
        sql.push(" order by filed_at desc, id desc limit 1 offset ").push_bind(before);
        let id = sql.build_query_scalar().fetch_optional(connection).await.doing(DOING)?;
        Ok(id.map(|id| Position { filed_at, id }))
    }
}

/// Gives every opening of a scope that asks for nothing but a time to `take`, newest first, from behind a place on; those of
/// [`COVERAGE_RECORDED`] too.
///
/// # Errors
/// If the database refuses, and those of `take`.
pub(super) async fn each(
    connection: &mut PgConnection,
    scope: &Scope,
    after: Option<Position>,
    mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let tenant = quoted(connection, &scope.tenant).await?;
    copied(connection, &copy(&tenant, scope, after, None), |[opening]| take(opening)).await
}

/// A text as it stands in a statement.
async fn quoted(connection: &mut PgConnection, text: &str) -> Result<String, StoreError> {
    sqlx::query_scalar("select quote_literal($1)").bind(text).fetch_one(connection).await.doing(DOING)
}

async fn copied<const FIELDS: usize>(
    connection: &mut PgConnection,
    copy: &str,
    mut take: impl FnMut([&[u8]; FIELDS]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut pieces = connection.copy_out_raw(copy).await.doing(DOING)?;
    let mut reader = CopyReader::default();
    while let Some(piece) = pieces.try_next().await.doing(DOING)? {
        reader.take(&piece, &mut take)?;
    }
    Ok(())
}

/// The statement that copies so many events of a scope that asks for nothing but a time, each with when it is filed; or the openings of all
/// of them, those that no search finds too. The tenant is quoted.
fn copy(tenant: &str, scope: &Scope, after: Option<Position>, size: Option<usize>) -> String {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let Bounds { from, end } = scope.bounds(after);
    let end = match end {
        End::Open => String::new(),
        End::Before(to) => format!("and filed_at < '{}'", time(to)),
        // A row comparison alone prunes no partition.
        End::Behind(Position { filed_at, id }) => {
            format!("and filed_at <= '{0}' and (filed_at, id) < ('{0}', '{id}')", time(filed_at))
        }
    };
    let from = time(from);
    let (columns, and, limit) = match size {
        Some(size) => {
            ("filed_at, opening", format!("and action <> '{COVERAGE_RECORDED}'"), format!(" limit {size}"))
        }
        None => ("opening", String::new(), String::new()),
    };
    format!(
        "copy (select {columns} from events where tenant_id = {tenant} and filed_at >= '{from}' {end} {and}
             order by filed_at desc, id desc{limit}) to stdout (format binary)"
    )
}

const NO_COPY: StoreError = StoreError::Damaged("copy of events");

/// Reads rows of so many fields in the binary form of `COPY` (PostgreSQL, "COPY", "Binary Format"), in whatever pieces it comes.
#[derive(Debug, Default)]
struct CopyReader<const FIELDS: usize> {
    /// What a piece ended with before it was whole.
    rest: Vec<u8>,
    has_begun: bool,
}

impl<const FIELDS: usize> CopyReader<FIELDS> {
    /// Gives the rows that are whole to `row`.
    ///
    /// # Errors
    /// If this is not what was asked for, and those of `row`.
    fn take(
        &mut self,
        piece: &[u8],
        row: &mut impl FnMut([&[u8]; FIELDS]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if self.rest.is_empty() {
            self.rest = self.read(piece, row)?.to_vec();
        } else {
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(piece);
            self.rest = self.read(&whole, row)?.to_vec();
        }
        Ok(())
    }

    /// What is left behind the last whole row.
    fn read<'a>(
        &mut self,
        mut bytes: &'a [u8],
        row: &mut impl FnMut([&[u8]; FIELDS]) -> Result<(), StoreError>,
    ) -> Result<&'a [u8], StoreError> {
        if !self.has_begun {
            // A signature of 11 bytes, flags, and the length of an extension, which there is none of.
            let Some((head, rest)) = bytes.split_at_checked(19) else { return Ok(bytes) };
            if head != b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0" {
                return Err(NO_COPY);
            }
            (self.has_begun, bytes) = (true, rest);
        }
        loop {
            let Some((count, mut rest)) = bytes.split_first_chunk() else { return Ok(bytes) };
            match i16::from_be_bytes(*count) {
                -1 => return if rest.is_empty() { Ok(rest) } else { Err(NO_COPY) },
                count if usize::try_from(count) == Ok(FIELDS) => {}
                _ => return Err(NO_COPY),
            }
            let mut fields: [&[u8]; FIELDS] = [&[]; FIELDS];
            for place in &mut fields {
                let Some((field, behind)) = field(rest).ok_or(NO_COPY)? else { return Ok(bytes) };
                (*place, rest) = (field, behind);
            }
            row(fields)?;
            bytes = rest;
        }
    }
}

/// A field with its length in front, and what follows it; none inside if it is not whole. None if it is null.
#[expect(clippy::option_option, reason = "what is wrong and what is not there yet are two things")]
fn field(bytes: &[u8]) -> Option<Option<(&[u8], &[u8])>> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Some(None) };
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    Some(rest.split_at_checked(length))
}

/// Microseconds since the year 2000.
fn time(bytes: &[u8]) -> Option<DateTime<Utc>> {
    const YEAR_2000: DateTime<Utc> = DateTime::from_timestamp(946_684_800, 0).expect("a time");
    let micros = i64::from_be_bytes(bytes.try_into().ok()?);
    YEAR_2000.checked_add_signed(TimeDelta::microseconds(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(rows: &[(i64, &[u8])]) -> Vec<u8> {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for (micros, opening) in rows {
            bytes.extend(2_i16.to_be_bytes());
            bytes.extend(8_i32.to_be_bytes());
            bytes.extend(micros.to_be_bytes());
            bytes.extend(i32::try_from(opening.len()).expect("short").to_be_bytes());
            bytes.extend(*opening);
        }
        bytes.extend((-1_i16).to_be_bytes());
        bytes
    }

    #[test]
    fn a_copy_is_read_in_whatever_pieces_it_comes() {
        let bytes = copied(&[(0, b"one"), (86_400_000_000, b""), (1, b"\x01three")]);
        for length in 1..bytes.len() + 1 {
            let (mut reader, mut rows) = (CopyReader::default(), Vec::new());
            for piece in bytes.chunks(length) {
                let mut row = |[filed_at, opening]: [&[u8]; 2]| {
                    let filed_at = time(filed_at).expect("a time");
                    rows.push((filed_at.timestamp_micros() - 946_684_800_000_000, opening.to_vec()));
                    Ok(())
                };
                reader.take(piece, &mut row).expect("a copy");
            }
            assert!(reader.rest.is_empty());
            assert_eq!(
                rows,
                [(0, b"one".to_vec()), (86_400_000_000, Vec::new()), (1, b"\x01three".to_vec())]
            );
        }
    }

    fn scope(from: &str, to: Option<&str>) -> Scope {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let query = shared::search::Query::of(Vec::new());
        Scope { tenant: "it's".to_owned(), from: at(from), to: to.map(at), query, now: at(from).into() }
    }

    #[test]
    fn a_copy_names_times_and_a_place_and_the_tenant_as_it_is_quoted() {
        let scope = scope("2026-10-01T00:00:00Z", Some("2026-10-06T00:00:00Z"));
        let at = "2026-10-05T00:00:00.000001Z".parse().expect("a time");
        let place = Position { filed_at: at, id: uuid::Uuid::nil() };
        let text = copy("'it''s'", &scope, Some(place), Some(7));
        let times = "filed_at >= '2026-10-01T00:00:00.000000Z' and filed_at <= '2026-10-05T00:00:00.000001Z'";
        assert!(text.contains(times) && text.contains("limit 7") && !text.contains("it's"), "{text}");
        assert!(text.contains("tenant_id = 'it''s' and"), "{text}");
        assert!(!text.contains("filed_at < '"), "one end: {text}");
        let ended = copy("'it''s'", &Scope { to: Some(at), ..scope }, Some(place), None);
        assert!(
            ended.contains("filed_at < '2026-10-05T00:00:00.000001Z'") && !ended.contains(", id) <"),
            "{ended}"
        );
    }

    #[test]
    fn what_is_no_copy_of_two_columns_is_refused() {
        let whole = copied(&[(0, b"one")]);
        let wrong = [
            (0, b'X'),
            (14, 1),
            // Three fields.
            (20, 3),
            // A null.
            (21, 0xff),
        ];
        for (at, byte) in wrong {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert!(CopyReader::<2>::default().take(&bytes, &mut |_| Ok(())).is_err(), "byte {at}");
        }
        let mut more = whole;
        more.push(0);
        assert!(CopyReader::<2>::default().take(&more, &mut |_| Ok(())).is_err());
    }
}
