//! Events as the bytes of an export, piece by piece: what has been encoded leaves before the next page is read.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::{mem, thread};

use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::basic::Compression as Snappy;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::format::Format;
use super::ocsf;
use super::row::{Row, columns, field};
use crate::ledger::prover::Evidence;
use crate::store::StoreError;
use crate::store::search::Swept;
use crate::table::{self, Cell, Column, Kind};
use crate::view::{View, view_of};

/// Events of a row group.
const GROUP_ROWS: usize = 10_000;
/// Bytes of openings after which a row group ends.
const GROUP_LEN: usize = 16 << 20;
/// Threads on which the lines of a page are written: one would be slower than the database reads.
const WRITERS: usize = 2;

/// Why events could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// One of them is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The format's own writer.
    #[error("writing the export: {0}")]
    Format(String),
}

/// Writes the events of one export.
#[derive(Debug)]
pub(super) struct Encoder {
    body: Body,
    gzip: Option<GzEncoder<Vec<u8>>>,
    hash: Sha256,
    /// Events so far.
    pub(super) rows: u64,
    /// Bytes so far, before compression.
    pub(super) bytes: u64,
}

enum Body {
    Lines(Lines),
    Parquet(Box<Groups>),
}

/// A format whose events are lines that know nothing of each other.
enum Lines {
    Ndjson,
    Ocsf,
    Csv(Vec<Column<Row>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lines(Lines::Ndjson) => "Ndjson",
            Self::Lines(Lines::Ocsf) => "Ocsf",
            Self::Lines(Lines::Csv(_)) => "Csv",
            Self::Parquet(_) => "Parquet",
        })
    }
}

/// A Parquet file, and the events of its next row group.
struct Groups {
    columns: Vec<Column<Row>>,
    writer: SerializedFileWriter<Vec<u8>>,
    rows: Vec<Row>,
    len: usize,
}

fn wrong(error: impl std::fmt::Display) -> EncodeError {
    EncodeError::Format(error.to_string())
}

impl Encoder {
    /// A writer of a format. Parquet is compressed as it is, and never once more.
    ///
    /// # Errors
    /// [`EncodeError::Format`] if the format cannot be begun.
    pub(super) fn new(format: Format, gzip: bool) -> Result<Self, EncodeError> {
        let body = match format {
            Format::Ndjson => Body::Lines(Lines::Ndjson),
            Format::Ocsf => Body::Lines(Lines::Ocsf),
            Format::Csv => Body::Lines(Lines::Csv(columns())),
            Format::Parquet => Body::Parquet(Box::new(Groups::new()?)),
        };
        let gzip = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        Ok(Self { body, gzip, hash: Sha256::new(), rows: 0, bytes: 0 })
    }

    /// What stands before the first event.
    ///
    /// # Errors
    /// [`EncodeError::Format`]
    pub(super) fn head(&mut self) -> Result<Vec<u8>, EncodeError> {
        let mut plain = Vec::new();
        if let Body::Lines(Lines::Csv(columns)) = &self.body {
            let names = columns.iter().map(|column| column.name);
            let mut writer = csv_writer(&mut plain);
            writer.write_record(names).map_err(wrong)?;
            writer.flush().map_err(wrong)?;
            drop(writer);
        }
        self.pack(plain)
    }

    /// Some events, and what proves those of which that was asked for, by their ids.
    ///
    /// # Errors
    /// [`EncodeError`]
    pub(super) fn page(
        &mut self,
        page: Vec<Swept>,
        evidence: HashMap<Uuid, Evidence>,
    ) -> Result<Vec<u8>, EncodeError> {
        self.rows += page.len() as u64;
        let plain = match &mut self.body {
            Body::Parquet(groups) => {
                let mut plain = Vec::new();
                groups.page(page, &mut plain)?;
                plain
            }
            Body::Lines(lines) => lines.page(page, &evidence)?,
        };
        self.pack(plain)
    }

    /// What stands behind the last event, and the SHA-256 of everything before compression.
    ///
    /// # Errors
    /// [`EncodeError`]
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Summary), EncodeError> {
        let mut plain = Vec::new();
        if let Body::Parquet(groups) = mem::replace(&mut self.body, Body::Lines(Lines::Ndjson)) {
            groups.finish(&mut plain)?;
        }
        let mut last = self.pack(plain)?;
        if let Some(gzip) = self.gzip.take() {
            last.extend(gzip.finish().map_err(wrong)?);
        }
        let sha256 = self.hash.finalize().into();
        Ok((last, Summary { rows: self.rows, bytes: self.bytes, sha256 }))
    }

    fn pack(&mut self, plain: Vec<u8>) -> Result<Vec<u8>, EncodeError> {
        self.hash.update(&plain);
        self.bytes += plain.len() as u64;
        match &mut self.gzip {
            None => Ok(plain),
            Some(gzip) => {
                gzip.write_all(&plain).map_err(wrong)?;
                Ok(mem::take(gzip.get_mut()))
            }
        }
    }
}

impl Lines {
    /// The lines of a page in its order, written in parts at the same time.
    fn page(&self, mut page: Vec<Swept>, evidence: &HashMap<Uuid, Evidence>) -> Result<Vec<u8>, EncodeError> {
        let rest = page.split_off(page.len().div_ceil(WRITERS));
        let (first, rest) = thread::scope(|scope| {
            let rest = scope.spawn(|| self.write(rest, evidence));
            let first = self.write(page, evidence);
            (first, rest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let mut plain = first?;
        plain.append(&mut rest?);
        Ok(plain)
    }

    fn write(&self, page: Vec<Swept>, evidence: &HashMap<Uuid, Evidence>) -> Result<Vec<u8>, EncodeError> {
        let mut plain = Vec::with_capacity(page.len() * 1400);
        match self {
            Self::Ndjson => {
                for swept in page {
                    let row = Row::open(swept)?;
                    match evidence.get(&row.stored.id) {
                        Some(evidence) => {
                            let mut line = view_of(&row.stored, &row.event, &row.erased);
                            evidence.clone().attach(&mut line);
                            serde_json::to_writer(&mut plain, &line).map_err(wrong)?;
                        }
                        None => {
                            let line = View::of(&row.stored, &row.event, &row.erased);
                            serde_json::to_writer(&mut plain, &line).map_err(wrong)?;
                        }
                    }
                    plain.push(b'\n');
                }
            }
            Self::Ocsf => {
                for swept in page {
                    serde_json::to_writer(&mut plain, &ocsf::event(&Row::open(swept)?)).map_err(wrong)?;
                    plain.push(b'\n');
                }
            }
            Self::Csv(columns) => {
                let mut writer = csv_writer(&mut plain);
                for swept in page {
                    let row = Row::open(swept)?;
                    let fields = columns.iter().map(|column| field(column.kind, (column.cell)(&row)));
                    writer.write_record(fields).map_err(wrong)?;
                }
                writer.flush().map_err(wrong)?;
                drop(writer);
            }
        }
        Ok(plain)
    }
}

/// What an export came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Events.
    pub rows: u64,
    /// Bytes, before compression.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// A small table as CSV, with the same care for formulas.
///
/// # Errors
/// [`EncodeError::Format`]
pub fn csv_text(rows: &[Vec<String>]) -> Result<Vec<u8>, EncodeError> {
    let mut text = Vec::new();
    let mut writer = csv_writer(&mut text);
    for row in rows {
        let fields = row.iter().map(|cell| field(Kind::Text, Cell::Text(cell.clone())));
        writer.write_record(fields).map_err(wrong)?;
    }
    writer.flush().map_err(wrong)?;
    drop(writer);
    Ok(text)
}

fn csv_writer<W: io::Write>(out: W) -> csv::Writer<W> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out)
}

impl Groups {
    fn new() -> Result<Self, EncodeError> {
        let columns = columns();
        let properties = WriterProperties::builder().set_compression(Snappy::SNAPPY).build();
        let schema = table::schema(&columns).map_err(wrong)?;
        let writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).map_err(wrong)?;
        Ok(Self { columns, writer, rows: Vec::new(), len: 0 })
    }

    fn page(&mut self, page: Vec<Swept>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        for swept in page {
            let row = Row::open(swept)?;
            self.len += row.stored.opening.len();
            self.rows.push(row);
            if self.rows.len() >= GROUP_ROWS || self.len >= GROUP_LEN {
                self.group(out)?;
            }
        }
        Ok(())
    }

    fn group(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        table::write_group(&mut self.writer, &self.columns, &self.rows).map_err(wrong)?;
        self.rows.clear();
        self.len = 0;
        self.writer.flush().map_err(wrong)?;
        out.append(self.writer.inner_mut());
        Ok(())
    }

    fn finish(mut self: Box<Self>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !self.rows.is_empty() {
            self.group(out)?;
        }
        out.extend(self.writer.into_inner().map_err(wrong)?);
        Ok(())
    }
}
