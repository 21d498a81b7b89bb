//! What a run found: figures under stable names, and lines for a reader.

use std::collections::BTreeMap;
use std::fmt;

/// Figures and the table around them.
#[derive(Debug, Clone, Default)]
pub struct Report {
    figures: BTreeMap<String, f64>,
    rows: Vec<(String, String)>,
}

impl Report {
    /// A figure under its stable name, such as `edge.unaudited.rps_ratio`.
    pub fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), (value * 10_000.0).round() / 10_000.0);
    }

    /// The figures under their names.
    pub fn figures(&self) -> impl Iterator<Item = (&str, f64)> {
        self.figures.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// A line for a reader.
    pub fn row(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.rows.push((what.into(), found.into()));
    }

    /// Takes in another report.
    pub fn extend(&mut self, other: Self) {
        self.figures.extend(other.figures);
        self.rows.extend(other.rows);
    }

    /// The figures as one flat JSON object.
    pub fn json(&self) -> String {
        let figures = serde_json::to_value(&self.figures).unwrap_or_default();
        format!("{figures:#}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
        for (what, found) in &self.rows {
            writeln!(f, "{what:width$}  {found}")?;
        }
        writeln!(f)?;
        let width = self.figures.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in &self.figures {
            writeln!(f, "{name:width$}  {value}")?;
        }
        Ok(())
    }
}

/// The middle of some values; of an even number, the mean of the two.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}
