//! The application's routes, and what its pack says about them.

use std::collections::BTreeSet;

use shared::event::Severity;
use shared::policy::{Pack, Router, is_mutating};

const PACK: &str = include_str!("../packs/app.json");

/// Every handler of the application that changes something: method, tab, path template.
const ROUTES: &str = include_str!("routes-app.tsv");

const TABLE: &str = include_str!("../../docs/rules-app.md");

fn pack() -> Pack {
    Pack::parse(PACK).expect("the pack parses")
}

fn router() -> Router {
    Router::compile(vec![pack()]).expect("the pack compiles")
}

fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.lines().map(|line| line.split_once('\t').expect("method, tab, path"))
}

/// The path with every parameter filled in.
fn filled(template: &str) -> String {
    let segment =
        |text| if str::starts_with(text, '{') { "822ea53d-eb27-4f01-948b-dbaa0680b6f6" } else { text };
    template.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[test]
fn no_mutating_route_of_the_application_is_unmapped() {
    let router = router();
    let missed: Vec<_> = routes()
        .filter(|(method, path)| {
            let routed = router.route(method, &filled(path), "");
            // A condition may not hold, so one rule must ask for none.
            !routed.is_some_and(|routed| routed.rules.iter().any(|(_, rule)| rule.when.is_none()))
        })
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
    assert_eq!(routes().count(), 270);
}

#[test]
fn every_rule_about_a_mutation_is_about_a_route_that_is_there() {
    let known: BTreeSet<(&str, String)> = routes().map(|(method, path)| (method, filled(path))).collect();
    let pack = pack();
    let stray: Vec<_> = pack
        .rules
        .iter()
        .flat_map(|rule| rule.matches.methods.iter().map(move |method| (method, rule)))
        .filter(|(method, _)| is_mutating(method))
        .filter(|(method, rule)| !known.contains(&(method.as_str(), filled(&rule.matches.path))))
        .map(|(method, rule)| format!("{}: {method} {}", rule.id, rule.matches.path))
        .collect();
    assert!(stray.is_empty(), "{stray:#?}");
}

#[test]
fn the_table_of_routes_has_every_rule_and_no_other() {
    let rules: Vec<String> = pack().rules.into_iter().map(|rule| rule.id).collect();
    let missing: Vec<_> = rules.iter().filter(|id| !TABLE.contains(&format!("| `{id}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let rows = TABLE
        .lines()
        .filter(|line| line.split('|').nth(2).is_some_and(|cell| cell.starts_with(" `")))
        .count();
    assert_eq!(rows, rules.len());
}

#[test]
fn what_deletes_people_or_grants_power_is_critical() {
    let pack = pack();
    for id in
        ["agent.delete", "admin.role", "user.terminate", "data.delete", "data.export", "password.change"]
    {
        let rule = pack.rules.iter().find(|rule| rule.id == id).expect(id);
        assert_eq!(rule.severity, Severity::Critical, "{id}");
    }
}
