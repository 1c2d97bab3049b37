//! Pods of every shape, in a namespace that limits nothing.

use serde_json::{Value, json};

use super::cases::{
    Case,
    Expected::{Injected, Refused, Without},
    Fixture, bare, case, desktop_with, merged,
};
use super::limits::whole_of;

pub(super) fn shapes() -> Vec<Fixture> {
    let of = |name, spec: Value, expected| case(name, bare(spec), expected);
    let init = |policy: Value| json!({"initContainers": [{"name": "before", "image": "x", "restartPolicy": policy}]});
    let named = |metadata: Value| merged(bare(json!({})), json!({"metadata": metadata}));
    let cases: Vec<Case> = vec![
        of("with nothing but a container", json!({}), Injected),
        case("as desktops are", desktop_with(json!({})), Injected),
        case("that is Guaranteed", whole_of("1", "1Gi"), Injected),
        case(
            "whose name is to be chosen",
            named(json!({"name": null, "generateName": "desktop-"})),
            Injected,
        ),
        case("with empty maps", named(json!({"labels": {}, "annotations": {}})), Injected),
        of("with a user namespace", json!({"hostUsers": false}), Injected),
        of("with one process table", json!({"shareProcessNamespace": true}), Injected),
        of("as root", json!({"securityContext": {"runAsUser": 0}}), Injected),
        of("for Linux", json!({"os": {"name": "linux"}}), Injected),
        of("for Windows", json!({"os": {"name": "windows"}}), Without("windows")),
        of("on a Windows node", json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), Without("windows")),
        of("on the host's network", json!({"hostNetwork": true}), Without("host_network")),
        of("that is restarted for ever", json!({"restartPolicy": "Always"}), Injected),
        of("that is restarted on failure", json!({"restartPolicy": "OnFailure"}), Injected),
        of("with an init container", init(json!(null)), Injected),
        of("with another sidecar", init(json!("Always")), Injected),
        of("with an init container that is not restarted", init(json!("Never")), Injected),
        of("with an init container that is restarted on failure", init(json!("OnFailure")), Injected),
        of("without the API token", json!({"automountServiceAccountToken": false}), Injected),
        of(
            "with our port",
            json!({"containers": [{"name": "desktop", "image": "x", "ports": [{"containerPort": 9478}]}]}),
            Injected,
        ),
        of(
            "with a port of our name",
            json!({"containers": [{"name": "desktop", "image": "x",
            "ports": [{"containerPort": 80, "name": "vdi-metrics"}]}]}),
            Without("name_taken"),
        ),
        of(
            "with a volume of our name",
            json!({"volumes": [{"name": "vdi-metrics", "emptyDir": {}}]}),
            Without("name_taken"),
        ),
        of("that waits at a gate", json!({"schedulingGates": [{"name": "example.com/wait"}]}), Injected),
        of("on a node already", json!({"nodeName": "nowhere"}), Injected),
        of("that lives long and dies fast", json!({"terminationGracePeriodSeconds": 0}), Injected),
        case("of KubeVirt", named(json!({"labels": {"kubevirt.io": "virt-launcher"}})), Without("kubevirt")),
        case(
            "that says it is done",
            named(json!({"annotations": {"vdi-metrics.io/status": "anything"}})),
            Injected,
        ),
        of(
            "whose containers share a name",
            json!({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]}),
            Refused("Duplicate value: \"a\""),
        ),
        of("without containers", json!({"containers": []}), Refused("spec.containers: Required value")),
        of(
            "without an image",
            json!({"containers": [{"name": "a"}]}),
            Refused("spec.containers[0].image: Required value"),
        ),
        of(
            "with an init container without an image",
            json!({"initContainers": [{"name": "a"}]}),
            Refused("spec.initContainers[0].image: Required value"),
        ),
        of("with a bad name", json!({"hostname": "Ä"}), Refused("spec.hostname: Invalid value")),
        of(
            "of an account that is not there",
            json!({"serviceAccountName": "nobody"}),
            Refused("serviceaccount \"nobody\" not found"),
        ),
        of(
            "with a volume that is not there",
            json!({"containers": [{"name": "a", "image": "x",
            "volumeMounts": [{"name": "b", "mountPath": "/b"}]}]}),
            Refused("spec.containers[0].volumeMounts[0].name: Not found"),
        ),
        of("with a field of the future", json!({"fieldOfTheFuture": {"a": [1]}}), Injected),
        of(
            "with a claim",
            claims(json!([{"name": "gpu", "resourceClaimName": "some"}]), json!([{"name": "gpu"}])),
            Injected,
        ),
        of(
            "with a claim by template and a request of it",
            claims(
                json!([{"name": "gpu", "resourceClaimTemplateName": "some"}]),
                json!([{"name": "gpu", "request": "one"}]),
            ),
            Injected,
        ),
        of(
            "with a claim that is not there",
            claims(json!([]), json!([{"name": "gpu"}])),
            Refused("resources.claims[0]"),
        ),
    ];
    vec![Fixture { name: "nothing", labels: &[], objects: vec![], cases }]
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
