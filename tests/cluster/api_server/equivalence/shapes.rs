//! Pods of every shape, in a namespace without limits.

use serde_json::{Value, json};

use super::cases::{
    Case,
    Expected::{Injected, Rejected, Skipped},
    NamespaceCases, case, desktop_with, merged, minimal,
};
use super::limits::guaranteed;

pub(super) fn shapes() -> Vec<NamespaceCases> {
    let pod = |name, spec: Value, expected| case(name, minimal(spec), expected);
    let init = |restart_policy: Value| json!({"initContainers": [{"name": "before", "image": "x", "restartPolicy": restart_policy}]});
    let with_metadata = |metadata: Value| merged(minimal(json!({})), json!({"metadata": metadata}));
    let cases: Vec<Case> = vec![
        pod("with only a container", json!({}), Injected),
        case("that is a desktop", desktop_with(json!({})), Injected),
        case("that is Guaranteed", guaranteed("1", "1Gi"), Injected),
        case(
            "with a generated name",
            with_metadata(json!({"name": null, "generateName": "desktop-"})),
            Injected,
        ),
        case("with empty maps", with_metadata(json!({"labels": {}, "annotations": {}})), Injected),
        pod("with a user namespace", json!({"hostUsers": false}), Injected),
        pod("with a shared process namespace", json!({"shareProcessNamespace": true}), Injected),
        pod("as root", json!({"securityContext": {"runAsUser": 0}}), Injected),
        pod("for Linux", json!({"os": {"name": "linux"}}), Injected),
        pod("for Windows", json!({"os": {"name": "windows"}}), Skipped("windows")),
        pod(
            "on a Windows node",
            json!({"nodeSelector": {"kubernetes.io/os": "windows"}}),
            Skipped("windows"),
        ),
        pod(
            "of another architecture",
            json!({"nodeSelector": {"kubernetes.io/arch": "s390x"}}),
            Skipped("unsupported_node"),
        ),
        pod(
            "on a virtual node",
            json!({"nodeSelector": {"type": "virtual-kubelet"}}),
            Skipped("unsupported_node"),
        ),
        pod(
            "with nulls",
            json!({"containers": [{"name": "a", "image": "x", "ports": null, "resources": {"limits": {"cpu": null}}}],
            "imagePullSecrets": [null, {"name": null}]}),
            Injected,
        ),
        pod("on the host network", json!({"hostNetwork": true}), Skipped("host_network")),
        pod("that is always restarted", json!({"restartPolicy": "Always"}), Injected),
        pod("that is restarted on failure", json!({"restartPolicy": "OnFailure"}), Injected),
        pod("with an init container", init(json!(null)), Injected),
        pod("with another sidecar", init(json!("Always")), Injected),
        pod("with an init container that is never restarted", init(json!("Never")), Injected),
        pod("with an init container that is restarted on failure", init(json!("OnFailure")), Injected),
        pod("without the API token", json!({"automountServiceAccountToken": false}), Injected),
        pod(
            "that uses the sidecar's default port",
            json!({"containers": [{"name": "desktop", "image": "x", "ports": [{"containerPort": 9478}]}]}),
            Injected,
        ),
        pod(
            "with ports of every protocol",
            json!({"containers": [{"name": "desktop", "image": "x", "ports": [{"containerPort": 8443, "name": "web"},
            {"containerPort": 47998, "protocol": "UDP"}, {"containerPort": 443, "protocol": null}]}]}),
            Injected,
        ),
        pod(
            "with a port of the sidecar's name",
            json!({"containers": [{"name": "desktop", "image": "x",
            "ports": [{"containerPort": 80, "name": "vdi-metrics"}]}]}),
            Skipped("name_taken"),
        ),
        pod(
            "with a volume of the sidecar's name",
            json!({"volumes": [{"name": "vdi-metrics", "emptyDir": {}}]}),
            Skipped("name_taken"),
        ),
        pod("with a scheduling gate", json!({"schedulingGates": [{"name": "example.com/wait"}]}), Injected),
        pod("that is already assigned to a node", json!({"nodeName": "nowhere"}), Injected),
        pod("without a termination grace period", json!({"terminationGracePeriodSeconds": 0}), Injected),
        case(
            "of KubeVirt",
            with_metadata(json!({"labels": {"kubevirt.io": "virt-launcher"}})),
            Skipped("kubevirt"),
        ),
        case(
            "that already has a status annotation",
            with_metadata(json!({"annotations": {"vdi-metrics.io/status": "anything"}})),
            Injected,
        ),
        pod(
            "with two containers of the same name",
            json!({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]}),
            Rejected("Duplicate value: \"a\""),
        ),
        pod("without containers", json!({"containers": []}), Rejected("spec.containers: Required value")),
        pod(
            "without an image",
            json!({"containers": [{"name": "a"}]}),
            Rejected("spec.containers[0].image: Required value"),
        ),
        pod(
            "with an init container without an image",
            json!({"initContainers": [{"name": "a"}]}),
            Rejected("spec.initContainers[0].image: Required value"),
        ),
        pod("with a bad name", json!({"hostname": "Ä"}), Rejected("spec.hostname: Invalid value")),
        pod(
            "of a missing service account",
            json!({"serviceAccountName": "missing"}),
            Rejected("serviceaccount \"missing\" not found"),
        ),
        pod(
            "with a mount of a missing volume",
            json!({"containers": [{"name": "a", "image": "x",
            "volumeMounts": [{"name": "b", "mountPath": "/b"}]}]}),
            Rejected("spec.containers[0].volumeMounts[0].name: Not found"),
        ),
        pod("with an unknown field", json!({"unknownField": {"a": [1]}}), Injected),
        pod(
            "with a claim",
            claims(json!([{"name": "gpu", "resourceClaimName": "some"}]), json!([{"name": "gpu"}])),
            Injected,
        ),
        pod(
            "with a request of a claim from a template",
            claims(
                json!([{"name": "gpu", "resourceClaimTemplateName": "some"}]),
                json!([{"name": "gpu", "request": "one"}]),
            ),
            Injected,
        ),
        pod("with claims of several containers", claims_of_several_containers(), Injected),
        pod(
            "with a reference to a missing claim",
            claims(json!([]), json!([{"name": "gpu"}])),
            Rejected("resources.claims[0]"),
        ),
    ];
    vec![NamespaceCases { name: "no limits", labels: &[], objects: vec![], cases }]
}

fn claims(of_the_pod: Value, of_the_container: Value) -> Value {
    json!({
        "resourceClaims": of_the_pod,
        "containers": [
            {"name": "helper", "image": "x"},
            {"name": "desktop", "image": "x", "resources": {"claims": of_the_container}},
        ],
    })
}

/// The streamer names one request of the claim that the desktop references entirely. The other claim has two requests.
fn claims_of_several_containers() -> Value {
    let container =
        |name: &str, claims: Value| json!({"name": name, "image": "x", "resources": {"claims": claims}});
    json!({
        "resourceClaims": [
            {"name": "gpu", "resourceClaimTemplateName": "two-gpus"},
            {"name": "pair", "resourceClaimName": "gpu-and-nic"},
        ],
        "initContainers": [{"name": "proxy", "image": "x", "restartPolicy": "Always", "resources": {"claims": [{"name": "pair", "request": "nic"}]}}],
        "containers": [
            container("streamer", json!([{"name": "gpu", "request": "encoder"}, {"name": "pair", "request": "card"}])),
            container("desktop", json!([{"name": "gpu"}, {"name": "pair", "request": "card"}])),
        ],
    })
}
