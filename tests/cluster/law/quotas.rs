//! ResourceQuotas.

use serde_json::{Value, json};

use super::cases::{
    Case,
    Expected::{Injected, Refused, Without},
    Fixture, asking, bare, case, merged,
};
use super::limits::{object, whole_of};

pub(super) fn quotas() -> Vec<Fixture> {
    let none = || bare(json!({}));
    let cpu = |requests: &str| asking(json!({"cpu": requests}), json!({}));
    let until_tomorrow = |pod: Value| merged(pod, json!({"spec": {"activeDeadlineSeconds": 86400}}));
    let of_class = |class: &str, pod: Value| merged(pod, json!({"spec": {"priorityClassName": class}}));
    let everything =
        json!({"requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "1", "limits.memory": "1Gi"});
    let class = |operator: &str, names: Value| {
        let selected = json!({"scopeName": "PriorityClass", "operator": operator, "values": names});
        json!({"scopeSelector": {"matchExpressions": [selected]}})
    };
    vec![
        quota(
            "requests and limits",
            json!({"hard": everything}),
            vec![
                case("with room", whole_of("500m", "512Mi"), Injected),
                case("with just enough room", whole_of("900m", "1000Mi"), Injected),
                case("without room for a processor", whole_of("901m", "512Mi"), Without("resource_quota")),
                case("without room for memory", whole_of("500m", "1001Mi"), Without("resource_quota")),
                case(
                    "that is too large",
                    whole_of("2", "512Mi"),
                    Refused("exceeded quota: desktops, requested: limits.cpu=2,requests.cpu=2"),
                ),
                case(
                    "that does not say",
                    none(),
                    Refused("must specify limits.cpu for: desktop; limits.memory for: desktop"),
                ),
            ],
        ),
        quota(
            "the short names",
            json!({"hard": {"cpu": "1", "memory": "1Gi"}}),
            vec![
                case("with room", whole_of("500m", "512Mi"), Injected),
                case("without room", whole_of("500m", "1001Mi"), Without("resource_quota")),
            ],
        ),
        quota(
            "a number of pods",
            json!({"hard": {"pods": "0"}}),
            vec![case("of any kind", none(), Refused("exceeded quota: desktops, requested: pods=1"))],
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
            "no BestEffort pod",
            json!({"hard": {"pods": "0"}, "scopes": ["BestEffort"]}),
            vec![
                case("without resources", none(), Refused("exceeded quota: desktops, requested: pods=1")),
                case("with resources", cpu("1"), Injected),
            ],
        ),
        quota(
            "NotBestEffort pods",
            json!({"hard": {"requests.cpu": "100m"}, "scopes": ["NotBestEffort"]}),
            vec![
                case("without resources", none(), Injected),
                case("with room", cpu("90m"), Injected),
                case("without room", cpu("91m"), Without("resource_quota")),
            ],
        ),
        quota(
            "Terminating pods",
            json!({"hard": {"requests.cpu": "100m"}, "scopes": ["Terminating"]}),
            vec![
                case("without a deadline", cpu("1"), Injected),
                case("with a deadline and room", until_tomorrow(cpu("90m")), Injected),
                case("with a deadline and no room", until_tomorrow(cpu("91m")), Without("resource_quota")),
            ],
        ),
        quota(
            "a PriorityClass",
            merged(
                class("In", json!(["system-cluster-critical"])),
                json!({"hard": {"requests.cpu": "100m"}}),
            ),
            vec![
                case("of none", cpu("91m"), Injected),
                case(
                    "of it, without room",
                    of_class("system-cluster-critical", cpu("91m")),
                    Without("resource_quota"),
                ),
                case("of another", of_class("system-node-critical", cpu("91m")), Injected),
            ],
        ),
        quota(
            "all PriorityClasses but one",
            merged(
                class("NotIn", json!(["system-cluster-critical"])),
                json!({"hard": {"requests.cpu": "100m"}}),
            ),
            vec![
                case("of it", of_class("system-cluster-critical", cpu("91m")), Injected),
                case(
                    "of another, without room",
                    of_class("system-node-critical", cpu("91m")),
                    Without("resource_quota"),
                ),
            ],
        ),
        Fixture {
            name: "a quota that is used already",
            labels: &[],
            objects: vec![
                object("ResourceQuota", "desktops", json!({"hard": {"requests.cpu": "500m"}})),
                merged(
                    cpu("300m"),
                    json!({"metadata": {"name": "occupant", "annotations": {"vdi-metrics.io/inject": "disabled"}}}),
                ),
            ],
            cases: vec![
                case("with just enough room", cpu("190m"), Injected),
                case("without room", cpu("191m"), Without("resource_quota")),
                case(
                    "that is too large",
                    cpu("201m"),
                    Refused(
                        "exceeded quota: desktops, requested: requests.cpu=201m, used: requests.cpu=300m",
                    ),
                ),
            ],
        },
        Fixture {
            name: "a quota and a LimitRange for those who do not say",
            labels: &[],
            objects: vec![
                object("ResourceQuota", "desktops", json!({"hard": everything})),
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

fn quota(name: &'static str, spec: Value, cases: Vec<Case>) -> Fixture {
    Fixture { name, labels: &[], objects: vec![object("ResourceQuota", "desktops", spec)], cases }
}
