//! The threat model's tests are there: a defence whose test was renamed or removed is a claim.

use std::fs;

use tests::stack::workspace_root;

const DOCUMENT: &str = "docs/threat-model.md";

fn read(file: &str) -> String {
    fs::read_to_string(workspace_root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The rows of the tables under `## Threats`, as cells.
fn threats(document: &str) -> Vec<Vec<&str>> {
    let (_, rest) = document.split_once("\n## Threats\n").expect("threats");
    let (threats, _) = rest.split_once("\n## ").expect("something after them");
    let rows = threats.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let rows = rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    rows.filter(|cells| cells[0] != "threat").collect()
}

/// The tests that a text names, `file::test` in backticks.
fn named(text: &str) -> Vec<(&str, &str)> {
    text.split('`').filter(|word| word.contains(".rs::")).filter_map(|word| word.split_once("::")).collect()
}

#[test]
fn every_threat_names_a_test_that_is_there_or_says_that_it_is_looked_at_by_hand() {
    let document = read(DOCUMENT);
    let threats = threats(&document);
    assert!(threats.len() > 50, "{} threats", threats.len());
    for cells in &threats {
        let [threat, defence, shown] = cells[..] else { panic!("{cells:?} is no row of three") };
        assert!(!defence.is_empty(), "{threat}: nothing stands against it");
        assert!(!named(shown).is_empty() || shown.starts_with("by hand"), "{threat}: nothing shows it");
    }
    for (file, test) in named(&document) {
        let source = read(file);
        let declaration = format!("fn {test}(");
        let at = source.find(&declaration).unwrap_or_else(|| panic!("{file} has no {test}"));
        let mut before = source[..at].lines().rev().take(4).map(str::trim);
        let is_test = before.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
        assert!(is_test, "{file}::{test} is no test");
    }
}

#[test]
fn a_test_that_is_not_there_would_be_missed() {
    let row = "| a | b | `shared/tests/it/hostile.rs::nothing_of_this_name`, `docs/x.md` |";
    assert_eq!(named(row), [("shared/tests/it/hostile.rs", "nothing_of_this_name")]);
    let document = format!("\n## Threats\n| threat | what | shown by |\n|---|---|---|\n{row}\n\n## After\n");
    assert_eq!(threats(&document).len(), 1);
}
