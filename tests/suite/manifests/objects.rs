//! Every manifest: files, labels and namespaces.

use vdi_metrics::runtime::VERSION;

use super::reading::{COMPONENT, common_labels, files, objects, shipped, text};

#[test]
fn every_shipped_file_belongs_to_a_kustomization() {
    let (_, used) = shipped();
    let files = ["manifests", "webhook-config", "dashboards"].map(files).concat();
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "json"));
    assert_eq!(used, files.collect());
}

#[test]
fn every_object_has_a_component_label_and_a_namespace() {
    for object in objects() {
        let name = &object["metadata"]["name"];
        assert!(object["metadata"]["labels"][COMPONENT].is_string(), "{} {name}", object["kind"]);
        let cluster_wide = [
            "Namespace",
            "ClusterRole",
            "ClusterRoleBinding",
            "MutatingWebhookConfiguration",
            "PriorityClass",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ];
        // The headless Service is applied to each session namespace.
        let without_namespace = cluster_wide.contains(&text(&object["kind"]))
            || name == "vdi-metrics-sessions" && object["kind"] == "Service";
        assert_eq!(
            object["metadata"]["namespace"].is_string(),
            !without_namespace,
            "{} {name}",
            object["kind"]
        );
    }
    assert_eq!(common_labels()["app.kubernetes.io/version"], VERSION);
}
