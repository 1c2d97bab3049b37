//! Monitors, the Service of the sessions, and alerts.

use serde_json::json;
use vdi_metrics::{
    contract::{self, key},
    metrics_access::READER_ROLE,
    sessions,
};

use super::reading::{alerts, common_labels, list, object, objects, read, text, yaml};

#[test]
fn monitors_select_their_services() {
    let common = common_labels();
    for (monitor, service) in
        [("vdi-metrics-server", "vdi-metrics-webhook"), ("vdi-metrics-sessions", "vdi-metrics-sessions")]
    {
        let (monitor, service) = (object("ServiceMonitor", monitor), object("Service", service));
        let mut labels = common.clone();
        labels.as_object_mut().unwrap().extend(service["metadata"]["labels"].as_object().unwrap().clone());
        for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[label], value);
        }
        let endpoint = &monitor["spec"]["endpoints"][0];
        assert!(list(&service["spec"]["ports"]).iter().any(|port| port["name"] == endpoint["port"]));
        assert_eq!(endpoint["path"], contract::METRICS_PATH);
        assert_eq!(endpoint["interval"], "30s", "{}", monitor["metadata"]["name"]);
        assert_eq!(monitor["spec"]["serviceDiscoveryRole"], "EndpointSlice");
    }
    let release = &yaml("manifests/monitoring/kustomization.yaml")[0]["labels"][0]["pairs"];
    assert_eq!(release, &json!({"release": "prometheus"}));
}

/// The monitor of the server names a Secret with the token of a user whose only right is to read metrics.
#[test]
fn the_server_is_scraped_with_the_token_of_a_reader() {
    let endpoint = &object("ServiceMonitor", "vdi-metrics-server")["spec"]["endpoints"][0];
    let credentials = &endpoint["authorization"]["credentials"];
    let secret = object("Secret", text(&credentials["name"]));
    assert_eq!(
        (&credentials["key"], &secret["type"]),
        (&json!("token"), &json!("kubernetes.io/service-account-token"))
    );
    let account = &secret["metadata"]["annotations"]["kubernetes.io/service-account.name"];
    let account = object("ServiceAccount", text(account));
    let bindings = objects().into_iter().filter(|object| {
        object["kind"] == "ClusterRoleBinding" && object["subjects"][0]["name"] == account["metadata"]["name"]
    });
    let roles: Vec<_> = bindings.map(|binding| binding["roleRef"]["name"].clone()).collect();
    assert_eq!(roles, [READER_ROLE]);
    for object in [&secret, &account] {
        assert_eq!(object["metadata"]["namespace"], "vdi-metrics");
    }
}

/// Every metric of the ledger has one series whichever replica leads. The labels are those of Prometheus Operator that differ from
/// replica to replica; `node` is set for an endpoint that is a node.
#[test]
fn the_next_leader_continues_the_series_of_the_sessions() {
    let endpoint = &object("ServiceMonitor", "vdi-metrics-server")["spec"]["endpoints"][0];
    let names = "vdi_sessions?(_.*)?|vdi_metrics_ledger_gap_sessions_total|vdi_pods_without_sidecar";
    let rules = [("instance", "vdi-metrics-ledger"), ("pod", ""), ("container", ""), ("node", "")];
    // The labels of the allocation name the pod of the session.
    let without_allocation = "vdi_sessions(_.*)?|vdi_session_[^g].*|vdi_metrics_ledger_gap_sessions_total|vdi_pods_without_sidecar";
    let rules = rules.map(|(label, value)| {
        let names = if label == "pod" { without_allocation } else { names };
        json!({"sourceLabels": ["__name__"], "regex": names, "targetLabel": label, "replacement": value})
    });
    assert_eq!(endpoint["metricRelabelings"], json!(rules));

    let continues = |name: &str| {
        name == "vdi_sessions"
            || ["vdi_session_", "vdi_sessions_"].iter().any(|prefix| name.starts_with(prefix))
            || names.split('|').any(|exact| exact == name)
    };
    // Each replica has these.
    let of_a_replica = ["vdi_metrics_ledger_leading"];
    for name in sessions::metrics::ROWS.iter().map(|row| row.name) {
        assert_eq!(continues(name), !of_a_replica.contains(&name), "{name}");
        assert!(!name.starts_with("vdi_session_g"), "{name} would keep the label `pod` of its replica");
    }
    assert_eq!(endpoint["honorLabels"], true);
}

#[test]
fn the_sessions_service_selects_injected_pods() {
    let spec = &object("Service", "vdi-metrics-sessions")["spec"];
    assert_eq!(spec["selector"], json!({(key::INJECTED): "true"}));
    assert_eq!((&spec["clusterIP"], &spec["publishNotReadyAddresses"]), (&json!("None"), &json!(true)));
    assert_eq!(
        spec["ports"],
        json!([{"name": "metrics", "port": contract::PORT, "targetPort": contract::CONTAINER}])
    );
    let demo = object("Namespace", "vdi-metrics-demo");
    assert_eq!(demo["metadata"]["labels"][key::INJECT], key::ENABLED);
    assert_eq!(yaml("manifests/demo/kustomization.yaml")[0]["namespace"], demo["metadata"]["name"]);
}

#[test]
fn each_alert_has_a_description_a_runbook_and_a_test() {
    let tests = read("tests/rules/VDISessionFailures.yaml");
    for rule in alerts() {
        let name = text(&rule["alert"]);
        assert!(name.starts_with("VDI"), "{name}");
        assert!(["critical", "warning", "info"].contains(&text(&rule["labels"]["severity"])), "{name}");
        assert!(rule["for"].is_string(), "{name}: has no `for`");
        assert!(
            [">", "<", "=="].iter().any(|comparison| text(&rule["expr"]).contains(comparison)),
            "{name}: the expression has no comparison"
        );
        let annotations = &rule["annotations"];
        let summary = text(&annotations["summary"]);
        assert!(
            summary.ends_with('.') && !summary.contains("{{"),
            "{name}: the summary is one static sentence"
        );
        assert!(
            text(&annotations["description"]).contains("{{"),
            "{name}: the description has no label or value"
        );
        assert_eq!(annotations["runbook"], format!("docs/runbooks/{name}.md"));
        let runbook = read(&format!("docs/runbooks/{name}.md"));
        let headings: Vec<_> = runbook.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(
            headings,
            [&format!("# {name}"), "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]
        );
        assert!(tests.contains(&format!("alertname: {name}")), "{name} has no test");
    }
    assert!(alerts().iter().any(|rule| rule["alert"] == "VDISessionFailures"));
}
