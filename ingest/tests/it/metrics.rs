//! What an operator reads: every metric is documented, and a running backend shows what the documentation lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use ingest::telemetry::metric::{self, Metric};

use crate::support::{Server, eventually, sample};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn described() -> BTreeMap<&'static str, &'static Metric> {
    metric::ALL.iter().map(|metric| (metric.name, metric)).collect()
}

/// Every name of ours in a text, as a metric: without what Prometheus adds to a histogram's name.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'));
    let ours = words.filter(|word| word.starts_with("edgetrail_") && word.len() > "edgetrail_".len());
    let histogram = |word: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).map(str::to_owned)
    };
    ours.map(|word| {
        let base = histogram(word).filter(|base| described().contains_key(base.as_str()));
        base.unwrap_or_else(|| word.to_owned())
    })
    .collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Metrics that the code tells of: name and kind.
fn told() -> BTreeSet<(String, &'static str)> {
    let mut files = Vec::new();
    sources(&root().join("ingest/src"), &mut files);
    let mut told = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("read");
        for kind in ["counter", "gauge", "histogram"] {
            for (at, start) in text.match_indices(&format!("{kind}!(")) {
                let arguments = text[at + start.len()..].trim_start();
                if let Some((name, _)) = arguments.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
                    told.insert((name.to_owned(), kind));
                }
            }
        }
    }
    told
}

#[test]
fn every_metric_of_the_code_is_described_and_every_described_one_is_told() {
    let described: BTreeSet<_> =
        metric::ALL.iter().map(|metric| (metric.name.to_owned(), metric.kind.word())).collect();
    assert_eq!(told(), described);
    assert_eq!(described.len(), metric::ALL.len(), "a name stands there twice");
}

#[test]
fn the_documentation_has_a_row_for_every_metric_and_no_other() {
    let documented = read("docs/metrics.md");
    let rows: BTreeSet<_> = documented.lines().filter(|line| line.starts_with("| `edgetrail_")).collect();
    let wanted: Vec<_> = metric::ALL.iter().map(Metric::row).collect();
    let wanted: BTreeSet<_> = wanted.iter().map(String::as_str).collect();
    let missing: Vec<_> = wanted.difference(&rows).collect();
    let unknown: Vec<_> = rows.difference(&wanted).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}\nunknown: {unknown:#?}");
}

#[test]
fn alerts_and_the_dashboard_name_metrics_that_exist() {
    for path in ["deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml"] {
        let unknown: Vec<_> =
            named(&read(path)).into_iter().filter(|name| !described().contains_key(name.as_str())).collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/edgetrail.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let shown = panels.iter().filter(|panel| panel["type"] != "row");
    let mut expressions = 0;
    for panel in shown {
        let targets =
            panel["targets"].as_array().unwrap_or_else(|| panic!("{} asks nothing", panel["title"]));
        for target in targets {
            let names = named(target["expr"].as_str().expect("an expression"));
            assert!(!names.is_empty(), "{}", panel["title"]);
            let unknown: Vec<_> =
                names.into_iter().filter(|name| !described().contains_key(name.as_str())).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", panel["title"]);
            expressions += 1;
        }
    }
    assert!(expressions > 20, "{expressions} expressions");
}

#[test]
fn every_alert_has_an_entry_in_the_runbook_a_test_and_the_reverse() {
    let after = |text: &str, mark: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(mark)?.split_whitespace().next());
        lines.map(|name| name.trim_matches('`').to_owned()).collect()
    };
    let alerts = after(&read("deploy/prometheus/alerts.yml"), "- alert: ");
    let runbook = after(&read("docs/runbook.md"), "| `Edgetrail");
    let runbook: BTreeSet<_> = runbook.into_iter().map(|rest| format!("Edgetrail{rest}")).collect();
    let tested = after(&read("deploy/prometheus/alerts_test.yml"), "alertname: ");
    assert!(alerts.len() > 20, "{alerts:?}");
    assert_eq!(alerts, runbook);
    assert_eq!(alerts, tested);
}

/// Where `cargo xtask test` puts it, or the path has it.
fn promtool() -> Option<PathBuf> {
    let fetched = root().join("target/promtool/usr/bin/promtool");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found: Vec<_> = std::env::split_paths(&path).map(|dir| dir.join("promtool")).collect();
    let there = std::iter::once(fetched).chain(found).find(|place| place.is_file());
    if there.is_none() {
        eprintln!("LEFT OUT: there is no promtool; `cargo xtask test` fetches it on Debian");
    }
    there
}

fn runs(command: &mut Command) {
    let output = command.output().expect("promtool runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn promtool_takes_the_alerts_and_their_tests_pass() {
    let Some(promtool) = promtool() else { return };
    let dir = root().join("deploy/prometheus");
    runs(Command::new(&promtool).args(["check", "rules", "alerts.yml"]).current_dir(&dir));
    runs(Command::new(&promtool).args(["test", "rules", "alerts_test.yml"]).current_dir(&dir));
}

/// The backend after traffic that was stored, refused, dropped and read.
#[tokio::test]
async fn a_running_backend_shows_what_the_documentation_lists() {
    let server = Server::with(&[
        ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
        ("EDGETRAIL__INTEGRITY__HEADS_MS", "200"),
        ("EDGETRAIL__INTEGRITY__OPENINGS_MS", "200"),
    ])
    .await;
    let mut producer = server.producer().await;
    let events: Vec<_> = (0..5).map(sample).collect();
    assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
    producer.dropped = 3;
    assert_eq!(server.send(&producer.seal(&events[..1])).await["status"], 200);
    producer.dropped = 0;
    let mut stranger = crate::support::Producer::new("edge/stranger");
    assert_eq!(server.send(&stranger.seal(&events[..1])).await["status"], 401);
    // Counts of a mount, as the Worker sends them.
    let routes = [("GET", "/agents", true, 7), ("GET", "/x", false, 2)];
    let counted = crate::support::counts(9, "app.example.com", &routes, 0);
    assert_eq!(server.send(&producer.seal(&[counted])).await["status"], 200);

    let shown = async || server.call("GET", "/metrics").await.text();
    let value = |text: &str, start: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(start)?.trim().parse().ok())
    };
    eventually(async || {
        let text = shown().await;
        value(&text, "edgetrail_edge_events{tenant=\"demo\",fate=\"dropped\"}") == Some(3.0)
            && text.contains("edgetrail_verification_age_seconds{")
            && value(&text, "edgetrail_log_entries_total") >= Some(7.0)
    })
    .await;
    let text = shown().await;
    for metric in metric::ALL.iter().filter(|metric| metric.labels.is_empty()) {
        assert!(text.contains(&format!("# HELP {} ", metric.name)), "{} is not shown", metric.name);
        assert!(
            text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.word())),
            "{}",
            metric.name
        );
    }
    // With the labels that the documentation names, in that order.
    for line in text.lines().filter(|line| line.contains('{') && !line.starts_with('#')) {
        let (name, rest) = line.split_once('{').expect("labels");
        let base = named(name).into_iter().next().unwrap_or_else(|| panic!("{line} is not ours"));
        let metric =
            described().get(base.as_str()).copied().unwrap_or_else(|| panic!("{line} is not described"));
        let labels: Vec<_> = rest
            .split("\",")
            .filter_map(|pair| pair.split_once('=').map(|(label, _)| label))
            .filter(|label| *label != "le")
            .collect();
        assert_eq!(labels, metric.labels, "{line}");
    }
    for (start, wanted) in [
        ("edgetrail_edge_events{tenant=\"demo\",fate=\"arrived\"}", 7.0),
        ("edgetrail_edge_streams{tenant=\"demo\",state=\"active\"}", 1.0),
        ("edgetrail_edge_missing_batches{tenant=\"demo\"}", 0.0),
        ("edgetrail_edge_requests{tenant=\"demo\",host=\"app.example.com\",rule=\"named\"}", 7.0),
        ("edgetrail_edge_requests{tenant=\"demo\",host=\"app.example.com\",rule=\"unnamed\"}", 2.0),
        ("edgetrail_refused_batches_total{status=\"401\"}", 1.0),
        ("edgetrail_dropped_events_total", 3.0),
        ("edgetrail_delivery_seconds_count", 3.0),
        ("edgetrail_sequencer_healthy", 1.0),
        ("edgetrail_ready", 1.0),
    ] {
        assert_eq!(value(&text, start), Some(wanted), "{start}\n{text}");
    }
    assert!(text.contains("edgetrail_follower_lag_seconds{task=\"detection\"}"), "{text}");

    if let Some(promtool) = promtool() {
        use std::io::Write as _;
        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("promtool runs");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
    server.stop().await;
}
