//! ResourceQuotas.

use serde_json::{Value, json};

use super::cases::{
    Case,
    Expected::{Injected, Rejected, Skipped},
    NamespaceCases, case, merged, minimal, with_resources,
};
use super::limits::{guaranteed, object};

pub(super) fn quotas() -> Vec<NamespaceCases> {
    let none = || minimal(json!({}));
    let cpu = |requests: &str| with_resources(json!({"cpu": requests}), json!({}));
    let until_tomorrow = |pod: Value| merged(pod, json!({"spec": {"activeDeadlineSeconds": 86400}}));
    let in_class = |class: &str, pod: Value| merged(pod, json!({"spec": {"priorityClassName": class}}));
    let all_four =
        json!({"requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "1", "limits.memory": "1Gi"});
    let class = |operator: &str, names: Value| {
        let selected = json!({"scopeName": "PriorityClass", "operator": operator, "values": names});
        json!({"scopeSelector": {"matchExpressions": [selected]}})
    };
    vec![
        quota(
            "requests and limits",
            json!({"hard": all_four}),
            vec![
                case("with enough left for the sidecar", guaranteed("500m", "512Mi"), Injected),
                case("with just enough left", guaranteed("900m", "1000Mi"), Injected),
                case("with too little CPU left", guaranteed("901m", "512Mi"), Skipped("resource_quota")),
                case("with too little memory left", guaranteed("500m", "1001Mi"), Skipped("resource_quota")),
                case(
                    "that is too large",
                    guaranteed("2", "512Mi"),
                    Rejected("exceeded quota: desktops, requested: limits.cpu=2,requests.cpu=2"),
                ),
                case(
                    "without resources",
                    none(),
                    Rejected("must specify limits.cpu for: desktop; limits.memory for: desktop"),
                ),
            ],
        ),
        quota(
            "the short names",
            json!({"hard": {"cpu": "1", "memory": "1Gi"}}),
            vec![
                case("with enough left for the sidecar", guaranteed("500m", "512Mi"), Injected),
                case("with too little left", guaranteed("500m", "1001Mi"), Skipped("resource_quota")),
            ],
        ),
        quota(
            "a number of pods",
            json!({"hard": {"pods": "0"}}),
            vec![case("of any kind", none(), Rejected("exceeded quota: desktops, requested: pods=1"))],
        ),
        quota(
            "storage",
            json!({"hard": {"limits.ephemeral-storage": "1Mi"}}),
            vec![case("without resources", none(), Injected)],
        ),
        quota(
            "BestEffort pods",
            json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]}),
            vec![case("without resources", none(), Injected), case("with resources", cpu("1"), Injected)],
        ),
        quota(
            "no BestEffort pods",
            json!({"hard": {"pods": "0"}, "scopes": ["BestEffort"]}),
            vec![
                case("without resources", none(), Rejected("exceeded quota: desktops, requested: pods=1")),
                case("with resources", cpu("1"), Injected),
            ],
        ),
        quota(
            "NotBestEffort pods",
            json!({"hard": {"requests.cpu": "100m"}, "scopes": ["NotBestEffort"]}),
            vec![
                case("without resources", none(), Injected),
                case("with enough left for the sidecar", cpu("90m"), Injected),
                case("with too little left", cpu("91m"), Skipped("resource_quota")),
            ],
        ),
        quota(
            "Terminating pods",
            json!({"hard": {"requests.cpu": "100m"}, "scopes": ["Terminating"]}),
            vec![
                case("without a deadline", cpu("1"), Injected),
                case("with a deadline and enough left", until_tomorrow(cpu("90m")), Injected),
                case(
                    "with a deadline and too little left",
                    until_tomorrow(cpu("91m")),
                    Skipped("resource_quota"),
                ),
            ],
        ),
        quota(
            "a PriorityClass",
            merged(
                class("In", json!(["system-cluster-critical"])),
                json!({"hard": {"requests.cpu": "100m"}}),
            ),
            vec![
                case("without a class", cpu("91m"), Injected),
                case(
                    "of the class, with too little left",
                    in_class("system-cluster-critical", cpu("91m")),
                    Skipped("resource_quota"),
                ),
                case("of another class", in_class("system-node-critical", cpu("91m")), Injected),
            ],
        ),
        quota(
            "all PriorityClasses but one",
            merged(
                class("NotIn", json!(["system-cluster-critical"])),
                json!({"hard": {"requests.cpu": "100m"}}),
            ),
            vec![
                case("of the excluded class", in_class("system-cluster-critical", cpu("91m")), Injected),
                case(
                    "of another class, with too little left",
                    in_class("system-node-critical", cpu("91m")),
                    Skipped("resource_quota"),
                ),
            ],
        ),
        NamespaceCases {
            name: "a quota that is partly used",
            labels: &[],
            objects: vec![
                object("ResourceQuota", "desktops", json!({"hard": {"requests.cpu": "500m"}})),
                merged(
                    cpu("300m"),
                    json!({"metadata": {"name": "occupant", "annotations": {"vdi-metrics.io/inject": "disabled"}}}),
                ),
            ],
            cases: vec![
                case("with just enough left", cpu("190m"), Injected),
                case("with too little left", cpu("191m"), Skipped("resource_quota")),
                case(
                    "that is too large",
                    cpu("201m"),
                    Rejected(
                        "exceeded quota: desktops, requested: requests.cpu=201m, used: requests.cpu=300m",
                    ),
                ),
            ],
        },
        NamespaceCases {
            name: "a quota, and a LimitRange with defaults",
            labels: &[],
            objects: vec![
                object("ResourceQuota", "desktops", json!({"hard": all_four})),
                object(
                    "LimitRange",
                    "limits",
                    json!({"limits": [{"type": "Container", "default": {"cpu": "500m", "memory": "512Mi"}}]}),
                ),
            ],
            cases: vec![case("without resources", none(), Injected)],
        },
    ]
}

fn quota(name: &'static str, spec: Value, cases: Vec<Case>) -> NamespaceCases {
    NamespaceCases { name, labels: &[], objects: vec![object("ResourceQuota", "desktops", spec)], cases }
}
