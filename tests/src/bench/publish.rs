//! What was found, kept from run to run, beside what was wanted: the table of the documentation, and its drawing.
//!
//! Figures take hours together and want a quiet machine, so each run adds its own to a file; the table is made of the whole file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::Utc;
use serde::{Deserialize, Serialize};

use super::ingest::failed;
use super::wanted::{WANTED, Wanted};
use super::{BenchError, Extent, Report, growth};
use crate::stack::postgres_bin;

/// The figures, below the documentation's directory.
pub const KEPT: &str = "figures.json";
/// The page with the table.
pub const PAGE: &str = "benchmarks.md";
/// The drawing of the growth.
pub const DRAWING: &str = "img/growth.svg";
const BEGIN: &str = "<!-- made by cargo xtask bench --publish -->\n";
const END: &str = "<!-- end of what was made -->\n";

/// A figure, and how it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    value: f64,
    /// The day of the run, in UTC.
    on: String,
    /// Whether the run was a short one.
    quick: bool,
    machine: String,
}

/// All figures under their names.
pub type Figures = BTreeMap<String, Found>;

/// Adds a run's figures to those of a documentation directory and makes its table and drawing anew.
///
/// # Errors
/// [`BenchError`] if a file is not there, not what it should be, or cannot be written.
pub fn publish(report: &Report, extent: Extent, docs: &Path) -> Result<(), BenchError> {
    let (on, machine) = (Utc::now().date_naive().to_string(), machine());
    let mut figures = kept(docs)?;
    figures.extend(report.figures().map(|(name, value)| {
        let quick = extent == Extent::Quick;
        (name.to_owned(), Found { value, on: on.clone(), quick, machine: machine.clone() })
    }));
    let text = serde_json::to_string_pretty(&figures).unwrap_or_default();
    write(&docs.join(KEPT), &format!("{text}\n"))?;
    let page = docs.join(PAGE);
    let old = fs::read_to_string(&page).map_err(failed("reading the page of benchmarks"))?;
    write(&page, &filled(&old, &figures)?)?;
    write(&docs.join(DRAWING), &drawn(&figures))
}

/// The figures of a documentation directory; none if there is no file.
///
/// # Errors
/// [`BenchError`] if the file is not what it should be.
pub fn kept(docs: &Path) -> Result<Figures, BenchError> {
    match fs::read_to_string(docs.join(KEPT)) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| BenchError::Answer(format!("{}: {error}", docs.join(KEPT).display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Figures::new()),
        Err(error) => Err(failed("reading the figures")(error)),
    }
}

/// A page with the table between its marks made of these figures.
///
/// # Errors
/// [`BenchError`] if it has no marks.
pub fn filled(page: &str, figures: &Figures) -> Result<String, BenchError> {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(BenchError::Answer(format!("{PAGE} has no place for the table")));
    };
    Ok(format!("{before}{BEGIN}{}{END}{after}", table(figures)))
}

/// The drawing of these figures.
pub fn drawn(figures: &Figures) -> String {
    growth::drawing(&growth::lines(&values(figures)))
}

fn values(figures: &Figures) -> BTreeMap<&str, f64> {
    figures.iter().map(|(name, found)| (name.as_str(), found.value)).collect()
}

fn table(figures: &Figures) -> String {
    let mut machines: Vec<_> = figures.values().map(|found| found.machine.as_str()).collect();
    machines.sort_unstable();
    machines.dedup();
    let mut text = format!(
        "Measured on: {}.\n\n| figure | wanted | found | | what |\n|---|---|---|---|---|\n",
        machines.join("; ")
    );
    for wanted in WANTED {
        let (found, judged) = match figures.get(wanted.figure) {
            Some(found) => {
                (told(wanted, found), if wanted.is_met(found.value) { "met" } else { "**missed**" })
            }
            None => ("not measured".to_owned(), ""),
        };
        let judged = if wanted.bound.is_some() { judged } else { "" };
        let bound = wanted.bound.map_or_else(String::new, |bound| bound.to_string());
        let _ = writeln!(text, "| `{}` | {bound} | {found} | {judged} | {} |", wanted.figure, wanted.what);
    }
    text
}

fn told(wanted: &Wanted, found: &Found) -> String {
    let Found { value, on, quick, .. } = found;
    let digits = if value.abs() < 10.0 { 2 } else { usize::from(value.abs() < 100.0) };
    let short = if *quick { ", short run" } else { "" };
    format!("{value:.digits$}{} ({on}{short})", wanted.unit)
}

/// Processor, cores, memory and PostgreSQL, as far as the system tells.
fn machine() -> String {
    let line = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_start_matches([' ', '\t', ':']).trim().to_owned()
    };
    let processor = line("/proc/cpuinfo", "model name");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kilobytes = line("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0_u64);
    let postgres = postgres().map_or_else(String::new, |version| format!(", {version}"));
    format!("{processor}, {cores} cores, {} GiB{postgres}", kilobytes.div_ceil(1 << 20))
}

/// The version of the programs that the backend would start.
fn postgres() -> Option<String> {
    let dir = std::env::var_os("EDGETRAIL_PG_BIN").map(PathBuf::from).or_else(|| postgres_bin().ok())?;
    let out = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    // `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`
    Some(text.split('(').nth(1)?.replace(')', "").trim().to_owned())
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(path, text).map_err(failed("writing what was found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docs() -> std::path::PathBuf {
        crate::stack::workspace_root().join("docs")
    }

    #[test]
    fn the_table_and_the_drawing_are_those_of_the_kept_figures() {
        let figures = kept(&docs()).expect("figures");
        let page = fs::read_to_string(docs().join(PAGE)).expect("a page");
        assert!(
            filled(&page, &figures).expect("marks") == page,
            "cargo xtask bench --only nothing --publish"
        );
        let drawing = fs::read_to_string(docs().join(DRAWING)).expect("a drawing");
        assert!(drawn(&figures) == drawing, "cargo xtask bench --only nothing --publish");
    }

    #[test]
    fn a_figure_is_judged_by_what_was_wanted() {
        let found =
            |value| Found { value, on: "2026-01-02".to_owned(), quick: true, machine: "one".to_owned() };
        let figures = Figures::from([
            ("insight.ingest_ratio".to_owned(), found(0.79)),
            ("edge.wasm_gzip_bytes".to_owned(), found(249_999.0)),
        ]);
        let table = table(&figures);
        let row = |figure: &str| {
            let begin = format!("| `{figure}` |");
            table.lines().find(|line| line.starts_with(&begin)).expect("a row").to_owned()
        };
        assert!(
            row("insight.ingest_ratio").contains("| ≥ 0.8 | 0.79 (2026-01-02, short run) | **missed** |")
        );
        assert!(
            row("edge.wasm_gzip_bytes").contains("| < 250000 | 249999 bytes"),
            "{}",
            row("edge.wasm_gzip_bytes")
        );
        assert!(row("edge.wasm_gzip_bytes").contains("| met |"));
        assert!(row("ingest.copy_ratio").contains("| not measured |  |"));
    }

    #[test]
    fn a_page_without_a_place_for_the_table_is_refused() {
        assert!(filled("# Benchmarks\n", &Figures::new()).is_err());
    }
}
