//! The Deployment, Service and rights of the server, against the program.

use clap::Parser;
use serde_json::{Value, json};
use vdi_metrics::{
    cli::Cli, contract::METRICS_PATH, metrics_access::READER_ROLE, registration::SECRET, runtime::VERSION,
    server::DRAIN_TIMEOUT,
};

use super::reading::{default_of, list, object, read, text};

#[test]
fn the_server_accepts_its_arguments() {
    let deployment = object("Deployment", "vdi-metrics-webhook");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let arguments: Vec<&str> = list(&container["args"]).iter().map(text).collect();
    Cli::try_parse_from([&["vdi-metrics"], arguments.as_slice()].concat()).unwrap();
    let [mount] = list(&container["volumeMounts"]) else { panic!("one mount") };
    assert_eq!((&mount["name"], &mount["mountPath"]), (&json!("config"), &json!("/config")));
    assert!(arguments.iter().any(|argument| argument.starts_with("/config/")));
    assert_eq!(container["image"], format!("vdi-metrics/server:{VERSION}"));
}

#[test]
fn ports_and_probes_match_the_defaults_of_the_server() {
    let deployment = object("Deployment", "vdi-metrics-webhook");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for (name, flag) in [("webhook", "listen"), ("metrics", "metrics_listen"), ("health", "health_listen")] {
        let address = default_of(flag);
        let port = list(&container["ports"]).iter().find(|port| port["name"] == name).unwrap();
        assert_eq!(address, format!("[::]:{}", port["containerPort"]), "{name}");
    }
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(
            (&container[probe]["httpGet"]["path"], &container[probe]["httpGet"]["port"]),
            (&json!(path), &json!("health"))
        );
        assert!(read("src/runtime/admin.rs").contains(&format!("{path:?}")));
    }
    let service = object("Service", "vdi-metrics-webhook");
    let ports: Vec<_> = list(&service["spec"]["ports"])
        .iter()
        .map(|port| (&port["name"], &port["targetPort"], &port["port"]))
        .collect();
    assert_eq!(
        ports,
        [
            (&json!("webhook"), &json!("webhook"), &json!(443)),
            (&json!("metrics"), &json!("metrics"), &json!(8443))
        ]
    );
    let pod = &deployment["spec"]["template"]["metadata"]["labels"];
    for selector in [&service["spec"]["selector"], &deployment["spec"]["selector"]["matchLabels"]] {
        assert_eq!(selector, pod);
        assert_eq!(selector.as_object().unwrap().len(), 3, "name, instance and component");
    }
}

#[test]
fn the_grace_period_covers_lame_duck_and_drain() {
    let grace = object("Deployment", "vdi-metrics-webhook")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    let lame_duck = default_of("lame_duck").parse::<u64>().unwrap();
    assert!(grace.unwrap() > lame_duck + DRAIN_TIMEOUT.as_secs());
}

#[test]
fn two_replicas_answer_the_webhook_during_a_rollout_and_a_drain() {
    let spec = &object("Deployment", "vdi-metrics-webhook")["spec"];
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    assert_eq!((&spec["replicas"], &spec["strategy"]), (&json!(2), &strategy));
    let budget = &object("PodDisruptionBudget", "vdi-metrics-webhook")["spec"];
    assert_eq!((&budget["maxUnavailable"], &budget["selector"]), (&json!(1), &spec["selector"]));
    assert_eq!(
        budget["unhealthyPodEvictionPolicy"], "AlwaysAllow",
        "a replica that never gets ready blocks no drain"
    );
    let spread = &spec["template"]["spec"]["topologySpreadConstraints"][0];
    assert_eq!(
        (&spread["topologyKey"], &spread["maxSkew"], &spread["labelSelector"]),
        (&json!("kubernetes.io/hostname"), &json!(1), &spec["selector"])
    );
    // With `DoNotSchedule` a cluster with one node could not have two replicas.
    assert_eq!(
        (&spread["whenUnsatisfiable"], &spread["matchLabelKeys"]),
        (&json!("ScheduleAnyway"), &json!(["pod-template-hash"]))
    );
}

/// The kubelet learns within 2 s that a replica is ready. A replica that hangs is removed from the Service after 6 s and restarted
/// after 30 s: a restart on one slow answer would end a server that a busy node delays. The server listens at once, so it has no
/// startup probe.
#[test]
fn the_probes_have_the_times_of_the_documentation() {
    let container = &object("Deployment", "vdi-metrics-webhook")["spec"]["template"]["spec"]["containers"][0];
    let probe = |path| json!({"path": path, "port": "health"});
    assert_eq!(container["livenessProbe"], json!({"httpGet": probe("/healthz")}));
    assert_eq!(container["readinessProbe"], json!({"httpGet": probe("/readyz"), "periodSeconds": 2}));
    assert_eq!(container["startupProbe"], Value::Null);
    assert_eq!(
        (&container["resources"]["limits"]["cpu"], &container["lifecycle"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn the_network_policy_allows_the_ports_of_the_server_and_the_api_server() {
    let deployment = object("Deployment", "vdi-metrics-webhook");
    let policy = object("NetworkPolicy", "vdi-metrics-webhook");
    assert_eq!(policy["metadata"]["namespace"], deployment["metadata"]["namespace"]);
    let spec = &policy["spec"];
    assert_eq!(spec["podSelector"], deployment["spec"]["selector"]);
    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
    // A rule without `from` or `to` allows every address.
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let ingress: Vec<_> =
        list(&container["ports"]).iter().map(|port| json!({"ports": [{"port": port["name"]}]})).collect();
    assert_eq!(spec["ingress"], json!(ingress));
    let to = |port: u16, protocol: &str| json!({"port": port, "protocol": protocol});
    let egress = [vec![to(443, "TCP"), to(6443, "TCP")], vec![to(53, "UDP"), to(53, "TCP")]];
    let [api_server, dns] = egress.map(|ports| json!({"ports": ports}));
    let replicas = json!({"to": [{"podSelector": deployment["spec"]["selector"]}],
        "ports": [{"port": "webhook"}, {"port": "metrics"}]});
    assert_eq!(spec["egress"], json!([api_server, replicas, dns]));
}

#[test]
fn the_server_runs_restricted_and_writes_only_events_and_its_ca_in_the_cluster() {
    let pod = &object("Deployment", "vdi-metrics-webhook")["spec"]["template"]["spec"];
    let user = json!({"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}});
    let container = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true});
    assert_eq!((&pod["securityContext"], &pod["containers"][0]["securityContext"]), (&user, &container));
    assert_eq!(pod["priorityClassName"], Value::Null, "a server with a high priority preempts desktops");
    assert_eq!(
        object("ClusterRole", "vdi-metrics")["rules"],
        json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["limitranges", "resourcequotas", "namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims", "resourceslices"], "verbs": ["list", "watch"]},
            {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "resourceNames": ["vdi-metrics"], "verbs": ["list", "watch", "patch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
            {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
        ])
    );
}

/// The chaos test runs the server with these rights.
#[test]
fn the_server_writes_only_its_lease_its_state_and_its_certificate_in_its_namespace() {
    let state = (0..16).flat_map(|shard| [0, 1].map(|slot| format!("vdi-metrics-ledger-{shard:02}-{slot}")));
    let state: Vec<_> = ["vdi-metrics-ledger".to_owned()].into_iter().chain(state).collect();
    let role = object("Role", "vdi-metrics");
    assert_eq!(
        role["rules"],
        json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [state[0]], "verbs": ["get", "update"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "list"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": state, "verbs": ["update"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["list", "watch", "patch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
        ])
    );
    let account =
        &object("Deployment", "vdi-metrics-webhook")["spec"]["template"]["spec"]["serviceAccountName"];
    for binding in [object("RoleBinding", "vdi-metrics"), object("ClusterRoleBinding", "vdi-metrics")] {
        assert_eq!((&binding["roleRef"]["name"], &binding["subjects"][0]["name"]), (account, account));
    }
    assert_eq!(role["metadata"]["name"], *account);
}

/// The name is in the response to a user without the right.
#[test]
fn the_role_of_readers_has_only_the_right_that_the_server_requires() {
    let role = object("ClusterRole", READER_ROLE);
    assert_eq!(role["rules"], json!([{"nonResourceURLs": [METRICS_PATH], "verbs": ["get"]}]));
    assert_eq!(default_of("metrics_authentication"), "token");
}
