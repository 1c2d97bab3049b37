//! Pods with a field of the wrong type. The webhook and every verb name the field, its value and the remedy.

use serde_json::{Value, json};
use vdi_metrics::admission::{Injector, Namespaces, Outcome, Settings, SkipReason};

use super::program::run;

const STRING: &str = "a string in quotes";
const STRINGS: &str = "a map of strings";
const BOOL: &str = "true or false without quotes";
const NUMBER: &str = "a whole number without quotes";
const PORT: &str = "a whole number from 0 to 65535";
const QUANTITY: &str = "a quantity";
const QUANTITIES: &str = "a map of quantities";
const LIST: &str = "a list";
const MAP: &str = "a map";

/// The fields of a pod that the decision reads, with their types.
const FIELDS: [(&str, &str); 67] = [
    ("metadata", MAP),
    ("metadata.labels", STRINGS),
    ("metadata.labels.app", STRING),
    ("metadata.labels[example.com/port]", STRING),
    ("metadata.annotations", STRINGS),
    ("metadata.annotations[prometheus.io/port]", STRING),
    ("metadata.generateName", STRING),
    ("spec", MAP),
    ("spec.containers", LIST),
    ("spec.containers[0]", MAP),
    ("spec.containers[0].name", STRING),
    ("spec.containers[0].ports", LIST),
    ("spec.containers[0].ports[0]", MAP),
    ("spec.containers[0].ports[0].containerPort", PORT),
    ("spec.containers[0].ports[0].name", STRING),
    ("spec.containers[0].ports[0].protocol", STRING),
    ("spec.containers[0].resources", MAP),
    ("spec.containers[0].resources.requests", QUANTITIES),
    ("spec.containers[0].resources.requests.cpu", QUANTITY),
    ("spec.containers[0].resources.limits", QUANTITIES),
    ("spec.containers[0].resources.limits[ephemeral-storage]", QUANTITY),
    ("spec.containers[0].resources.claims", LIST),
    ("spec.containers[0].resources.claims[0]", MAP),
    ("spec.containers[0].resources.claims[0].name", STRING),
    ("spec.containers[0].resources.claims[0].request", STRING),
    ("spec.containers[0].restartPolicy", STRING),
    ("spec.initContainers", LIST),
    ("spec.initContainers[0]", MAP),
    ("spec.initContainers[0].name", STRING),
    ("spec.initContainers[0].ports[0].containerPort", PORT),
    ("spec.initContainers[0].resources.limits.memory", QUANTITY),
    ("spec.volumes", LIST),
    ("spec.volumes[0]", MAP),
    ("spec.volumes[0].name", STRING),
    ("spec.imagePullSecrets", LIST),
    ("spec.imagePullSecrets[0]", MAP),
    ("spec.imagePullSecrets[0].name", STRING),
    ("spec.hostNetwork", BOOL),
    ("spec.os", MAP),
    ("spec.os.name", STRING),
    ("spec.nodeSelector", STRINGS),
    ("spec.nodeSelector[kubernetes.io/os]", STRING),
    ("spec.restartPolicy", STRING),
    ("spec.priorityClassName", STRING),
    ("spec.activeDeadlineSeconds", NUMBER),
    ("spec.resources", MAP),
    ("spec.resources.requests.memory", QUANTITY),
    ("spec.resourceClaims", LIST),
    ("spec.resourceClaims[0].resourceClaimName", STRING),
    ("spec.securityContext", MAP),
    ("spec.securityContext.runAsUser", NUMBER),
    ("spec.containers[0].securityContext", MAP),
    ("spec.affinity", MAP),
    ("spec.affinity.nodeAffinity", MAP),
    ("spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution", MAP),
    ("spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms", LIST),
    ("spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]", MAP),
    (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions",
        LIST,
    ),
    (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0]",
        MAP,
    ),
    (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key",
        STRING,
    ),
    (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator",
        STRING,
    ),
    (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values",
        LIST,
    ),
    (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]",
        STRING,
    ),
    (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields",
        LIST,
    ),
    (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0]",
        MAP,
    ),
    ("spec.resourceClaims[0]", MAP),
    ("spec.resourceClaims[0].name", STRING),
];

/// A string of a pod. No text may contain it: strings can be secrets.
const SECRET: &str = "hunter2";

/// Values of other types than `expected`, and their names in a text.
fn wrong_values(expected: &str) -> Vec<(Value, &'static str)> {
    let mut values = vec![
        (json!(true), "true"),
        (json!(8080), "8080"),
        (json!(-1.5), "-1.5"),
        (json!(SECRET), "a string"),
        (json!({}), "a map"),
        (json!([]), "a list"),
    ];
    values.retain(|(value, _)| match expected {
        STRING => !value.is_string(),
        BOOL => !value.is_boolean(),
        NUMBER | PORT => value != &json!(8080),
        QUANTITY => !value.is_number() && !value.is_string(),
        LIST => !value.is_array(),
        _ => !value.is_object(),
    });
    values
}

/// Keys and indices of a field.
fn steps(field: &str) -> Vec<&str> {
    let mut steps = vec![];
    let mut rest = field;
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('[') {
            Some(bracket) => bracket.split_once(']').unwrap(),
            None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
        };
        steps.push(step);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    steps
}

/// A pod with only this field.
fn pod_with(field: &str, value: Value) -> Value {
    steps(field).into_iter().rev().fold(value, |value, step| match step.parse::<usize>() {
        Ok(_) => json!([value]),
        Err(_) => json!({step: value}),
    })
}

#[test]
fn the_warnings_of_the_webhook_name_every_field_of_the_wrong_type() {
    let injector = Injector::new(Settings::default());
    for (field, expected) in FIELDS {
        for (value, name) in wrong_values(expected) {
            let pod = pod_with(field, value);
            let review = kit::answer::review(&pod, "desktops").to_string();
            let admission = injector.admit(review.as_bytes(), &Namespaces::default()).unwrap();
            let reply: Value = serde_json::from_slice(&admission.reply).unwrap();
            let response = &reply["response"];
            assert_eq!(response["auditAnnotations"], json!({"decision": "skipped: undecodable"}), "{pod}");
            assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &Value::Null), "{pod}");
            let [reason, warning] = serde_json::from_value(response["warnings"].clone()).unwrap();
            let [reason, warning]: [String; 2] = [reason, warning];
            assert_eq!(reason, "vdi-metrics: not injected: the pod could not be parsed");
            // The middle of a long path is left out.
            let (start, end) = field.split_at(field.len().min(20));
            let (start, end) = (format!("vdi-metrics: {start}"), &end[end.len().saturating_sub(15)..]);
            let end = format!("{end} is {name}: write {expected}");
            assert!(
                warning.starts_with(&start) && warning.contains(&end),
                "{warning}, expected {start}...{end}"
            );
            assert!(warning.len() <= 120, "{warning}");
            assert!(!warning.contains(SECRET), "{warning}");
            let offline =
                injector.consider(pod.to_string().as_bytes(), "desktops", &Namespaces::default()).notices;
            assert_eq!(offline.iter().map(ToString::to_string).collect::<Vec<_>>(), [warning]);
        }
    }
}

#[test]
fn every_verb_names_every_field_of_the_wrong_type() {
    for (field, expected) in FIELDS {
        let (value, name) = wrong_values(expected).swap_remove(0);
        let mut pod = pod_with(field, value);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        let text = format!("{field} is {name}: write {expected}");
        let label = if field == "metadata.generateName" { "pod/true" } else { "pod/(no name)" };
        check_verbs(&pod.to_string(), "document 1, line 1", &format!("{label}: {text}"));
    }
}

const TERMS: &str =
    "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

/// Values that a pod must have. The API server rejects null there, and the error names the field.
const REQUIRED: [&str; 18] = [
    "/spec",
    "TERMS/0/matchExpressions/0",
    "TERMS/0/matchExpressions/0/key",
    "TERMS/0/matchExpressions/0/operator",
    "TERMS/0/matchFields/0",
    "TERMS/0/matchFields/0/key",
    "TERMS/0/matchFields/0/operator",
    "/spec/containers/0",
    "/spec/containers/0/name",
    "/spec/containers/0/ports/0",
    "/spec/containers/0/ports/0/containerPort",
    "/spec/containers/0/resources/claims/0",
    "/spec/containers/0/resources/claims/0/name",
    "/spec/initContainers/0",
    "/spec/initContainers/0/name",
    "/spec/resourceClaims/0",
    "/spec/resourceClaims/0/name",
    "/spec/volumes/0",
];

/// Elsewhere null is read as the API server stores it: as an absent field, an empty string or the amount 0.
/// `tests/cluster/api_server/nulls.rs` checks that the API server accepts no pod that is unreadable here.
#[test]
fn null_is_unreadable_only_where_the_api_server_rejects_it() {
    let injector = Injector::new(Settings::default());
    let is_undecodable = |pod: &Value| {
        let decision = injector.consider(pod.to_string().as_bytes(), "desktops", &Namespaces::default());
        decision.outcome == Outcome::Skipped(SkipReason::Undecodable)
    };
    let mut pods = kit::nulls::pods_with_a_null();
    pods.retain(|(_, pod)| is_undecodable(pod));
    let unreadable: Vec<_> = pods.iter().map(|(pointer, _)| pointer.replace(TERMS, "TERMS")).collect();
    assert_eq!(unreadable, REQUIRED);
}

/// `inject` and `uninject` report the error and write nothing; `explain` gives it as the rule. `error` is the object and the
/// field.
fn check_verbs(manifest: &str, document: &str, error: &str) {
    for verb in ["inject", "uninject"] {
        let finished = run(&[verb, "-"], manifest.as_bytes());
        assert_eq!((finished.code, &*finished.stdout), (1, ""), "{verb} {manifest}: {}", finished.stderr);
        let expected = format!("error: standard input: {document}, {error}");
        assert!(finished.stderr.starts_with(&expected), "{expected}, not {}", finished.stderr);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    }
    let explained = run(&["explain", "-"], manifest.as_bytes());
    assert_eq!(explained.code, 3, "{manifest}: {}", explained.stderr);
    let (_, field) = error.split_once(": ").unwrap();
    let rule = format!("  rule: the pod cannot be read: standard input: {document}, {field}");
    assert!(explained.stdout.contains(&rule), "{rule} is not in {}", explained.stdout);
}

/// The path begins at the document.
#[test]
fn every_verb_names_the_field_in_a_workload_and_in_a_list() {
    let deployment = |fields: &str| format!("{{apiVersion: apps/v1, kind: Deployment, {fields}}}");
    let spec = |spec: &str| deployment(&format!("metadata: {{name: x}}, spec: {spec}"));
    for (manifest, error) in [
        ("hello".to_owned(), "(no kind)/(no name): the object is a string: write a map"),
        ("[{kind: Pod}]".to_owned(), "(no kind)/(no name): the object is a list: write a map"),
        ("{kind: List, items: [null]}".to_owned(), "(no kind)/(no name): items[0] is null: write a map"),
        ("{kind: PodList, items: {a: b}}".to_owned(), "podlist/(no name): items is a map: write a list"),
        ("{kind: Pod}".to_owned(), "pod/(no name): spec is missing: add it"),
        ("{kind: Pod, spec: null}".to_owned(), "pod/(no name): spec is null: write a map"),
        (
            "{kind: Pod, spec: {containers: {a: b}}}".to_owned(),
            "pod/(no name): spec.containers is a map: write a list",
        ),
        (
            "{kind: Pod, spec: {containers: [null]}}".to_owned(),
            "pod/(no name): spec.containers[0] is null: write a map",
        ),
        (
            "{kind: Pod, spec: {containers: [{image: x}]}}".to_owned(),
            "pod/(no name): spec.containers[0].name is missing: add it",
        ),
        ("{kind: Pod, metadata: [a], spec: {}}".to_owned(), "pod/(no name): metadata is a list: write a map"),
        (
            "{kind: Pod, metadata: {name: 7}, spec: {}}".to_owned(),
            "pod/7: metadata.name is 7: write a string in quotes",
        ),
        (deployment("metadata: [], spec: {}"), "deployment/(no name): metadata is a list: write a map"),
        (
            deployment("metadata: {name: x, annotations: {a: 1}}, spec: {}"),
            "deployment/x: metadata.annotations.a is 1: write a string in quotes",
        ),
        (deployment("metadata: {name: x}"), "deployment/x: spec is missing: add it"),
        (spec("7"), "deployment/x: spec is 7: write a map"),
        (spec("{}"), "deployment/x: spec.template is missing: add it"),
        (spec("{template: null}"), "deployment/x: spec.template is null: write a map"),
        (spec("{template: {}}"), "deployment/x: spec.template.spec is missing: add it"),
        (
            spec("{template: {metadata: {annotations: {a.b/c: on}}, spec: {containers: []}}}"),
            "deployment/x: spec.template.metadata.annotations[a.b/c] is true: write a string in quotes",
        ),
        (
            format!("{{kind: List, items: [{{kind: Service}}, {}]}}", spec("{template: []}")),
            "deployment/x: items[1].spec.template is a list: write a map",
        ),
    ] {
        let second = format!("kind: Service\n---\n{manifest}\n");
        check_verbs(&second, "document 2, line 3", error);
    }
}

/// A field that is missing has the line of its parent, and a field of an anchor has the line of the anchor.
#[test]
fn an_error_about_a_field_has_the_line_of_its_key() {
    let deployment = "# a comment\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: é\n";
    for (fields, line) in [
        ("  annotations:\n    é: x\n    a: 1\nspec: {}\n", 9),
        ("  labels: &labels\n    a: b\n    c: 1\nspec: {template: {metadata: {labels: *labels}}}\n", 9),
        ("  annotations:\n    <<: {a: 1}\nspec: {}\n", 8),
        ("\nspec:\n  template:\n    metadata: {}\n", 9),
        ("spec:\n  template:\n    spec:\n      containers:\n      - name:\n          - 7\n", 11),
        ("spec:\n  template:\n    spec:\n      containers:\n      - name: x\n      - image: x\n", 12),
        ("", 3),
    ] {
        for manifest in
            [format!("{deployment}{fields}"), format!("{deployment}{fields}").replace('\n', "\r\n")]
        {
            for verb in ["inject", "uninject", "explain"] {
                let finished = run(&[verb, "-"], manifest.as_bytes());
                let expected = format!("standard input: document 1, line {line}, ");
                assert!(
                    finished.stderr.contains(&expected) || finished.stdout.contains(&expected),
                    "{manifest}\n{expected}\n{}\n{}",
                    finished.stderr,
                    finished.stdout
                );
            }
        }
    }
}

#[test]
fn limits_of_a_namespace_that_cannot_be_read_are_an_error() {
    for (object, error) in [
        ("kind: LimitRange, metadata: []", "limitrange/(no name): items[0].metadata is a list: write a map"),
        (
            "kind: LimitRange, spec: {limits: [{type: Container, max: {cpu: []}}]}",
            "limitrange/(no name): items[0].spec.limits[0].max.cpu is a list: write a quantity such as 100m or 24Mi",
        ),
        (
            "kind: ResourceQuota, spec: {scopes: x}",
            "resourcequota/(no name): items[0].spec.scopes is a string: write a list",
        ),
        (
            "kind: Namespace, metadata: {name: x, labels: {a: 1}}",
            "namespace/x: items[0].metadata.labels.a is 1: write a string in quotes",
        ),
    ] {
        let manifest = format!("kind: List\nitems: [{{apiVersion: v1, {object}}}]\n");
        for verb in ["inject", "explain"] {
            let finished = run(&[verb, "-"], manifest.as_bytes());
            let expected = format!("error: standard input: document 1, line 2, {error}\n");
            assert_eq!((finished.code, &*finished.stdout, &*finished.stderr), (1, "", &*expected), "{verb}");
        }
    }
}
