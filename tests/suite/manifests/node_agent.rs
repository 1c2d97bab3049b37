//! The DaemonSet of the node agent against the program, its privileges, and what selects its pods.

use std::path::Path;

use clap::Parser;
use serde_json::{Value, json};
use vdi_metrics::{contract, node::config::NodeOptions, runtime::VERSION};

use super::reading::{list, object, objects, read, text};

const NAME: &str = "vdi-metrics-node";

fn pod() -> Value {
    object("DaemonSet", NAME)["spec"]["template"].clone()
}

#[test]
fn the_agents_image_port_and_folders_match_the_program() {
    let defaults = NodeOptions::parse_from([NAME]);
    let container = &pod()["spec"]["containers"][0];
    assert_eq!(container["image"], format!("vdi-metrics/node:{VERSION}"));
    assert_eq!(container["ports"], json!([{"name": "metrics", "containerPort": defaults.listen.port()}]));
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "metrics"}));
    }
    let root = defaults.kubelet_root;
    let folders = [root.join("pods"), root.join("pod-resources"), defaults.pod_logs];
    let mounts = list(&container["volumeMounts"]).iter().map(|mount| Path::new(text(&mount["mountPath"])));
    assert_eq!(mounts.collect::<Vec<_>>(), folders);
}

#[test]
fn the_agent_has_only_the_privileges_that_it_needs() {
    let pod = &pod()["spec"];
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"],
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true})
    );
    assert_eq!(
        pod["securityContext"],
        json!({"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}})
    );
    let priority = object("PriorityClass", text(&pod["priorityClassName"]));
    assert_eq!(priority["preemptionPolicy"], "Never", "the agent must not preempt a desktop");
    assert_eq!(pod["hostPID"], true);
    assert_eq!((&pod["hostNetwork"], &pod["hostIPC"]), (&Value::Null, &Value::Null));
    assert_eq!(
        container["volumeMounts"],
        json!([
            {"name": "pods", "mountPath": "/var/lib/kubelet/pods", "mountPropagation": "HostToContainer", "readOnly": true},
            {"name": "pod-resources", "mountPath": "/var/lib/kubelet/pod-resources", "readOnly": true},
            {"name": "pod-logs", "mountPath": "/var/log/pods", "readOnly": true},
        ])
    );
    let paths: Vec<_> = list(&pod["volumes"]).iter().map(|volume| &volume["hostPath"]["path"]).collect();
    assert_eq!(paths, ["/var/lib/kubelet/pods", "/var/lib/kubelet/pod-resources", "/var/log/pods"]);
}

#[test]
fn each_privilege_of_the_agent_has_a_comment_about_its_loss() {
    let manifest = read("manifests/node-agent/daemonset.yaml");
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    for privilege in [
        "priorityClassName: vdi-metrics-node",
        "hostPID: true",
        "runAsUser: 0",
        "- name: NVIDIA_VISIBLE_DEVICES",
        "- name: pods",
        "- name: pod-resources",
        "- name: pod-logs",
    ] {
        let line = lines.iter().position(|line| *line == privilege).unwrap();
        let comment = lines[..line].iter().rev().take_while(|line| line.starts_with('#'));
        assert!(comment.last().is_some_and(|first| first.starts_with("# Without ")), "{privilege}");
    }
}

#[test]
fn the_agents_account_has_no_token_and_no_rights() {
    let pod = &pod()["spec"];
    assert_eq!(
        (&pod["serviceAccountName"], &pod["automountServiceAccountToken"]),
        (&json!(NAME), &json!(false))
    );
    assert_eq!(object("ServiceAccount", NAME)["automountServiceAccountToken"], false);
    let subjects =
        objects().into_iter().flat_map(|object| object["subjects"].as_array().cloned().unwrap_or_default());
    assert!(subjects.into_iter().all(|subject| subject["name"] != NAME));
}

#[test]
fn policy_and_monitor_select_the_agents_pods() {
    let (pod, monitor, policy) = (pod(), object("PodMonitor", NAME), object("NetworkPolicy", NAME));
    let daemon_set = object("DaemonSet", NAME);
    for selector in
        [&daemon_set["spec"]["selector"], &monitor["spec"]["selector"], &policy["spec"]["podSelector"]]
    {
        assert_eq!(selector["matchLabels"], pod["metadata"]["labels"]);
    }
    for namespace in
        [&monitor["spec"]["namespaceSelector"]["matchNames"][0], &policy["metadata"]["namespace"]]
    {
        assert_eq!(namespace, &daemon_set["metadata"]["namespace"]);
    }
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!((&endpoint["port"], &endpoint["path"]), (&json!("metrics"), &json!(contract::METRICS_PATH)));
    assert_eq!(endpoint["interval"], "30s");
    assert_eq!(policy["spec"]["ingress"], json!([{"ports": [{"port": "metrics"}]}]));
    assert_eq!(
        (&policy["spec"]["policyTypes"], &policy["spec"]["egress"]),
        (&json!(["Ingress", "Egress"]), &Value::Null)
    );
}
