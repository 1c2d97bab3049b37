//! The queries of dashboards, alerts and documents, against the metrics that the programs expose.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vdi_metrics::{
    breaker, node, presence,
    runtime::catalogue::{MetricType, Row},
    sessions::metrics::ROWS,
    sidecar::catalogue::CATALOGUE,
};

use super::promql::{grouped, selectors};
use super::reading::{alerts, dashboards, list, read, text};

#[test]
fn every_metric_and_label_in_a_query_exists() {
    let exposed = metrics();
    for (source, query) in queries() {
        let selectors = selectors(&query);
        for label in grouped(&query) {
            let is_made = query.contains(&format!("\"{label}\", \"$1\""));
            assert!(
                is_made || exposed.values().any(|labels| labels.contains(&label)),
                "{source}: no metric has the label {label}"
            );
        }
        assert!(!selectors.is_empty(), "{source}: no metric in {query}");
        for (metric, labels) in selectors {
            let Some(own_labels) = exposed.get(&metric) else {
                panic!("{source}: no program exposes {metric}")
            };
            for label in labels {
                assert!(own_labels.contains(&label), "{source}: {metric} has no label {label}");
            }
        }
    }
}

/// Every query of dashboards, alerts and `docs/gpu.md`, with its source. For a variable with `label_values(METRIC, LABEL)` the
/// query is METRIC.
fn queries() -> Vec<(String, String)> {
    let mut queries = vec![];
    for (path, dashboard) in dashboards() {
        let mut add = |at: &Value, query: &str| {
            queries.push((format!("{}: {}", path.display(), text(at)), query.to_owned()))
        };
        for variable in &list(&dashboard["templating"]["list"])[1..] {
            let query = text(&variable["definition"]).strip_prefix("label_values(").unwrap();
            add(&variable["name"], query.rsplit_once(',').unwrap().0);
        }
        for panel in list(&dashboard["panels"]) {
            list(&panel["targets"]).iter().for_each(|target| add(&panel["title"], text(&target["expr"])));
        }
    }
    let page = read("docs/gpu.md");
    let recipes = page.split("```promql\n").skip(1).map(|rest| rest.split("```").next().unwrap().trim());
    queries.extend(recipes.map(|query| ("docs/gpu.md".to_owned(), query.to_owned())));
    queries.extend(
        alerts().iter().map(|rule| (text(&rule["alert"]).to_owned(), text(&rule["expr"]).to_owned())),
    );
    queries
}

/// The name of each series, and the labels that a query may select by. The labels `namespace` and `pod` of the server's series
/// name the server, not the session, so a query must not select sessions by them.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics = BTreeMap::new();
    let mut add = |name: &str, labels: Vec<&str>| {
        metrics.insert(name.to_owned(), labels.into_iter().map(str::to_owned).collect())
    };
    for Row { name, labels, .. } in CATALOGUE {
        add(name, [*labels, &["cluster", "namespace", "pod"]].concat());
    }
    for Row { name, labels, .. } in presence::catalogue::ROWS {
        add(name, [*labels, &["cluster", "namespace", "pod"]].concat());
    }
    // The labels `namespace` and `pod` name the agent, not a session. The monitor adds `node`.
    for Row { name, labels, .. } in node::catalogue::CATALOGUE {
        add(name, [*labels, &["cluster", "node"]].concat());
    }
    // Each replica has its own values.
    for Row { name, labels, .. } in breaker::metrics::ROWS {
        add(name, [*labels, &["cluster", "pod"]].concat());
    }
    for Row { name, labels, kind, .. } in ROWS {
        let labels = [*labels, &["cluster"]].concat();
        match kind {
            MetricType::HISTOGRAM => add(&format!("{name}_bucket"), [labels, vec!["le"]].concat()),
            _ => add(name, labels),
        };
    }
    add("DCGM_FI_DEV_GPU_UTIL", vec!["cluster", "UUID"]);
    metrics
}
