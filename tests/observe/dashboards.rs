//! Dashboards, alerts, runbooks and the list of metrics: each names what is there, and all that is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use catena_telemetry::{
    names::{self, has_hostname},
    samples::Kind,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
}

/// The names of metrics that may stand in a query.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::from(["up".to_owned()]);
    for metric in names::ALL {
        known.insert(metric.name.to_owned());
        if metric.kind == Kind::Histogram {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)));
        }
    }
    known
}

/// Words of a query that look like names of metrics.
fn named(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_metric = |word: &&str| {
        ["catena_", "aio_broker_", "process_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

fn dashboards() -> Vec<PathBuf> {
    let files = fs::read_dir(root().join("monitoring/dashboards")).expect("it is there");
    files
        .map(|file| file.expect("it can be read").path())
        .collect()
}

// A panel whose metric was renamed is empty, and looks like a broker that does nothing.
#[test]
fn every_query_of_a_dashboard_names_metrics_that_are_there() {
    let known = known();
    let mut queries = 0;
    for file in dashboards() {
        let text = fs::read_to_string(&file).expect("it can be read");
        let board: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        for panel in board["panels"].as_array().expect("there are panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().expect("a query");
                let named = named(query);
                assert!(!named.is_empty(), "{}: {query}", file.display());
                let unknown: Vec<_> = named.difference(&known).collect();
                assert!(unknown.is_empty(), "{}: {unknown:?}", file.display());
                queries += 1;
            }
        }
    }
    assert!(queries > 40, "only {queries} queries");
}

// An alert that does not parse, names nothing, or has no page wakes nobody, or somebody who does not know what to do.
#[test]
fn every_alert_is_valid_and_has_its_page() {
    let file = root().join("monitoring/alerts.yaml");
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(&file)
        .output()
        .expect("make test installs promtool: tests/setup/prometheus.sh");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rules = fs::read_to_string(&file).expect("it is there");
    let known = known();
    let mut alerts = BTreeSet::new();
    for line in rules.lines() {
        let line = line.trim();
        if let Some(alert) = line.strip_prefix("- alert: ") {
            alerts.insert(alert.to_owned());
        }
        if let Some(query) = line.strip_prefix("expr: ") {
            let named = named(query);
            let unknown: Vec<_> = named.difference(&known).collect();
            assert!(unknown.is_empty(), "{query}: {unknown:?}");
        }
    }
    let runbooks = fs::read_dir(root().join("docs/runbooks")).expect("it is there");
    let pages: BTreeSet<String> = runbooks
        .map(|page| {
            page.expect("it can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter_map(|page| page.strip_suffix(".md").map(str::to_owned))
        .filter(|page| page != "README")
        .collect();
    assert_eq!(alerts, pages);
    assert!(alerts.len() > 10);
    for alert in &alerts {
        let page = root().join(format!("docs/runbooks/{alert}.md"));
        let page = fs::read_to_string(page).expect("it is there");
        for part in ["## Meaning", "## Likely causes", "## What to do"] {
            assert!(page.contains(part), "{alert} lacks {part}");
        }
    }
}

// Somebody who looks for a metric looks there; one that is not listed is not found.
#[test]
fn the_documents_list_every_metric() {
    let mut list =
        "| metric | kind | labels | what it tells |\n| --- | --- | --- | --- |\n".to_owned();
    let mut sorted: Vec<_> = names::ALL.to_vec();
    sorted.sort_by_key(|metric| metric.name);
    for metric in sorted {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let mut labels: Vec<&str> = metric.labels.to_vec();
        if has_hostname(metric) {
            labels.insert(0, "hostname");
        }
        let (name, labels, help) = (
            metric.name,
            labels.join(", "),
            metric.help.replace('|', "\\|"),
        );
        list += &format!("| `{name}` | {kind} | {labels} | {help} |\n");
    }
    let file = root().join("docs/metrics.md");
    let text = fs::read_to_string(&file).expect("it is there");
    let (before, rest) = text.split_once(BEGIN).expect("it has a mark");
    let (_, after) = rest.split_once(END).expect("it has another");
    let wanted = format!("{before}{BEGIN}\n{list}{END}{after}");
    if std::env::var_os("CATENA_METRICS_WRITE").is_some() {
        fs::write(&file, &wanted).expect("it can be written");
    }
    assert!(
        text == wanted,
        "docs/metrics.md is not up to date: CATENA_METRICS_WRITE=1 writes it"
    );
}

const BEGIN: &str = "<!-- metrics: printed by a test -->";
const END: &str = "<!-- end of the metrics -->";
