//! The webhook configuration.

use serde_json::json;
use vdi_metrics::contract::key;

use super::reading::{list, object, read, text};

#[test]
fn the_webhook_entries_are_disjoint_and_fail_open() {
    let configuration = object("MutatingWebhookConfiguration", "vdi-metrics");
    let [by_namespace, by_pod] = list(&configuration["webhooks"]) else { panic!("two entries") };
    assert_eq!(
        (&by_namespace["name"], &by_pod["name"]),
        (&json!("by-namespace.mutate.vdi-metrics.io"), &json!("by-pod.mutate.vdi-metrics.io"))
    );
    let matching =
        |operator: &str, values: &[&str]| json!({"key": key::INJECT, "operator": operator, "values": values});
    let system = json!({
        "key": "kubernetes.io/metadata.name", "operator": "NotIn",
        "values": ["kube-system", "kube-public", "kube-node-lease", "vdi-metrics"],
    });
    let enabled = matching("In", &[key::ENABLED]);
    assert_eq!(by_namespace["namespaceSelector"]["matchExpressions"], json!([&enabled, &system]));
    assert_eq!(
        by_namespace["objectSelector"]["matchExpressions"],
        json!([matching("NotIn", &[key::ENABLED, key::DISABLED])])
    );
    assert_eq!(by_pod["namespaceSelector"]["matchExpressions"], json!([&system]));
    assert_eq!(by_pod["objectSelector"]["matchExpressions"], json!([&enabled]));

    let service = object("Service", "vdi-metrics-webhook");
    let (name, namespace) = (&service["metadata"]["name"], &service["metadata"]["namespace"]);
    for entry in [by_namespace, by_pod] {
        let rest = |field: &str| entry[field].clone();
        // No caBundle: each apply would overwrite the one that the server writes.
        assert_eq!(
            rest("clientConfig"),
            json!({"service": {"name": name, "namespace": namespace, "path": "/mutate", "port": 443}})
        );
        let pods = json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"], "scope": "Namespaced"}]);
        assert_eq!(rest("rules"), pods);
        assert_eq!((rest("failurePolicy"), rest("timeoutSeconds")), (json!("Ignore"), json!(2)));
        assert_eq!((rest("reinvocationPolicy"), rest("sideEffects")), (json!("IfNeeded"), json!("None")));
        assert_eq!(
            (rest("matchPolicy"), rest("admissionReviewVersions")),
            (json!("Equivalent"), json!(["v1"]))
        );
        let conditions: Vec<_> =
            list(&entry["matchConditions"]).iter().map(|condition| text(&condition["expression"])).collect();
        let opted_out =
            format!("object.metadata.?annotations[?'{}'].orValue('') != '{}'", key::INJECT, key::DISABLED);
        assert_eq!(
            conditions,
            [opted_out.as_str(), "!object.metadata.?annotations[?'kubernetes.io/config.mirror'].hasValue()"]
        );
    }
    assert!(read("src/webhook/router.rs").contains("\"/mutate\""));
}
