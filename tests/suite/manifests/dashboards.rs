//! Dashboards, by the rules of dashboard-linter.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::reading::{dashboards, list, read, text};

#[test]
fn dashboards_follow_the_rules_of_the_linter() {
    for (path, dashboard) in dashboards() {
        let name = path.file_stem().unwrap().to_string_lossy();
        assert_eq!(dashboard["uid"], *name, "the address of a dashboard stays");
        assert_eq!(
            (&dashboard["id"], &dashboard["editable"], &dashboard["schemaVersion"]),
            (&Value::Null, &json!(false), &json!(42))
        );
        let content = read(&path.to_string_lossy());
        assert!(
            !content.contains("__inputs") && !content.contains("${DS_"),
            "provisioning does not resolve inputs"
        );
        let variables = list(&dashboard["templating"]["list"]);
        assert_eq!(
            (&variables[0]["name"], &variables[0]["label"], &variables[0]["query"]),
            (&json!("datasource"), &json!("Data source"), &json!("prometheus"))
        );
        for variable in &variables[1..] {
            assert_eq!(
                (&variable["refresh"], &variable["includeAll"], &variable["multi"]),
                (&json!(2), &json!(true), &json!(true)),
                "{}",
                variable["name"]
            );
            assert!(
                text(&variable["allValue"]).starts_with('.')
                    && variable["datasource"]["uid"] == "${datasource}"
            );
            assert_eq!(variable["query"]["query"], variable["definition"]);
        }
        let cluster = variables.iter().find(|variable| variable["name"] == "cluster").unwrap();
        assert_eq!(
            (&cluster["hide"], &cluster["allValue"]),
            (&json!(2), &json!(".*")),
            "series without the label match too"
        );
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let title = text(&panel["title"]);
            assert!(!title.is_empty() && text(&panel["description"]).ends_with('.'), "{title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: unit");
            assert!(ids.insert(panel["id"].as_u64().unwrap()) && panel["type"] != "graph", "{title}");
            let targets = list(&panel["targets"]);
            assert!(!targets.is_empty(), "{title}");
            for target in targets.iter().chain([panel]) {
                assert_eq!(
                    target["datasource"],
                    json!({"type": "prometheus", "uid": "${datasource}"}),
                    "{title}"
                );
            }
            for query in targets.iter().map(|target| text(&target["expr"])) {
                assert_eq!(
                    query.matches('[').count(),
                    query.matches("[$__rate_interval]").count(),
                    "{title}"
                );
                assert_eq!(
                    query.contains("_bucket") || query.contains("_total["),
                    query.contains("increase(") || query.contains("rate("),
                    "{title}"
                );
            }
        }
    }
}

#[test]
fn the_dashboard_has_its_four_panels() {
    let (_, dashboard) = dashboards().remove(0);
    let titles: Vec<_> = list(&dashboard["panels"]).iter().map(|panel| text(&panel["title"])).collect();
    assert_eq!(
        titles,
        ["Active Sessions", "Sessions by Template", "GPU Utilization", "Session P95 Duration"]
    );
}
