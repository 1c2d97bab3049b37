//! Every manifest: files, labels and namespaces.

use std::collections::BTreeSet;

use vdi_metrics::runtime::VERSION;

use super::reading::{COMPONENT, build, common_labels, files, objects, text};

#[test]
fn every_shipped_file_belongs_to_a_kustomization() {
    let (mut objects, mut used) = (vec![], BTreeSet::new());
    build("manifests", &mut objects, &mut used);
    let shipped = ["manifests", "webhook-config", "dashboards"].map(files).concat();
    let shipped =
        shipped.into_iter().filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "json"));
    assert_eq!(used, shipped.collect());
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
