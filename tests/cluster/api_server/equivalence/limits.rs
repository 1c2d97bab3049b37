//! LimitRanges and pod-level resources.

use serde_json::{Value, json};

use super::cases::{
    Case,
    Expected::{Injected, Rejected, Skipped},
    NamespaceCases, case, desktop_with, merged, minimal, with_resources,
};

pub(super) fn limit_ranges() -> Vec<NamespaceCases> {
    let none = || minimal(json!({}));
    let some = || {
        with_resources(json!({"cpu": "300m", "memory": "300Mi"}), json!({"cpu": "400m", "memory": "400Mi"}))
    };
    let both = || guaranteed("300m", "300Mi");
    vec![
        per_container(
            "defaults",
            json!({"default": {"cpu": "500m", "memory": "512Mi"}}),
            vec![
                case("without resources", none(), Injected),
                case("that is Guaranteed", both(), Injected),
                case("with requests alone", with_resources(json!({"cpu": "100m"}), json!({})), Injected),
            ],
        ),
        per_container(
            "default requests",
            json!({"defaultRequest": {"cpu": "50m"}}),
            vec![case("without resources", none(), Injected), case("that is Guaranteed", both(), Injected)],
        ),
        per_container(
            "a minimum above the sidecar's default",
            json!({"min": {"cpu": "200m", "memory": "64Mi"}}),
            vec![
                case("without resources", none(), Injected),
                case("that is Guaranteed", both(), Injected),
                case(
                    "below it",
                    with_resources(json!({"cpu": "100m"}), json!({})),
                    Rejected("minimum cpu usage per Container is 200m"),
                ),
            ],
        ),
        per_container(
            "a maximum below the sidecar's default",
            json!({"max": {"cpu": "50m", "memory": "20Mi"}}),
            vec![
                case("without resources", none(), Injected),
                case("that is Guaranteed", guaranteed("50m", "20Mi"), Injected),
                case(
                    "above it",
                    with_resources(json!({}), json!({"cpu": "60m"})),
                    Rejected("maximum cpu usage per Container is 50m"),
                ),
            ],
        ),
        per_container(
            "a maximum below the sidecar's minimum",
            json!({"max": {"memory": "8Mi"}}),
            vec![
                case("without resources", none(), Skipped("limit_range")),
                case(
                    "above it",
                    with_resources(json!({}), json!({"memory": "9Mi"})),
                    Rejected("maximum memory usage per Container is 8Mi"),
                ),
            ],
        ),
        per_container(
            "a ratio",
            json!({"maxLimitRequestRatio": {"cpu": "2"}}),
            vec![
                case("within it", with_resources(json!({"cpu": "200m"}), json!({"cpu": "400m"})), Injected),
                case("that is Guaranteed", both(), Injected),
                case(
                    "beyond it",
                    with_resources(json!({"cpu": "100m"}), json!({"cpu": "400m"})),
                    Rejected("ratio per Container is 2"),
                ),
                case("without resources", none(), Rejected("no request is specified")),
            ],
        ),
        per_container(
            "storage",
            json!({"default": {"ephemeral-storage": "1Gi"}, "min": {"ephemeral-storage": "100Mi"}}),
            vec![
                case("without resources", none(), Injected),
                case("that is Guaranteed", both(), Injected),
                case(
                    "below it",
                    with_resources(json!({"ephemeral-storage": "1Mi"}), json!({})),
                    Rejected("minimum ephemeral-storage usage"),
                ),
            ],
        ),
        per_container(
            "a default of another resource",
            json!({"default": {"example.com/gpu": "1"}}),
            vec![case("without resources", none(), Skipped("limit_range"))],
        ),
        per_container(
            "a minimum, a maximum and a ratio",
            json!({"min": {"cpu": "20m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "3"}}),
            vec![case("without resources", none(), Injected), case("with resources", some(), Injected)],
        ),
        per_pod(
            "a maximum per pod",
            json!({"max": {"cpu": "1"}}),
            vec![
                case("with enough left for the sidecar", some(), Injected),
                case("with just enough left", with_resources(json!({}), json!({"cpu": "900m"})), Injected),
                case(
                    "with too little left",
                    with_resources(json!({}), json!({"cpu": "901m"})),
                    Skipped("limit_range"),
                ),
                case(
                    "that needs the maximum only while it starts",
                    with_init_container(json!({"cpu": "1"}), json!({"cpu": "500m"})),
                    Injected,
                ),
                case(
                    "that is too large",
                    with_resources(json!({}), json!({"cpu": "2"})),
                    Rejected("maximum cpu usage per Pod is 1, but limit is 2"),
                ),
                case("without resources", none(), Rejected("No limit is specified")),
            ],
        ),
        per_pod(
            "a minimum per pod",
            json!({"min": {"cpu": "200m"}}),
            vec![
                case("above it", some(), Injected),
                case(
                    "just below it",
                    with_resources(json!({"cpu": "195m"}), json!({})),
                    Rejected("but request is 195m"),
                ),
                case("without resources", none(), Rejected("No request is specified")),
            ],
        ),
        per_pod(
            "a ratio per pod",
            json!({"maxLimitRequestRatio": {"memory": "2"}}),
            vec![
                case("within it", some(), Injected),
                case(
                    "just beyond it",
                    with_resources(json!({"memory": "100Mi"}), json!({"memory": "201Mi"})),
                    Rejected("ratio per Pod is 2"),
                ),
                case("without resources", none(), Rejected("no request is specified")),
            ],
        ),
        NamespaceCases {
            name: "two LimitRanges",
            labels: &[],
            objects: vec![
                object(
                    "LimitRange",
                    "one",
                    json!({"limits": [{"type": "Container", "min": {"cpu": "150m"}}]}),
                ),
                object(
                    "LimitRange",
                    "other",
                    json!({"limits": [{"type": "Container", "max": {"cpu": "500m"}}]}),
                ),
            ],
            cases: vec![case("with resources", some(), Injected)],
        },
    ]
}

pub(super) fn pod_level_resources() -> Vec<NamespaceCases> {
    let half = || json!({"cpu": "500m", "memory": "512Mi"});
    let almost_half = || json!({"cpu": "495m", "memory": "500Mi"});
    let memory = || json!({"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}});
    let desktop = |of_the_pod: Value, of_the_container: Value| {
        let mut pod = desktop_with(json!({"resources": of_the_pod}));
        pod["spec"]["containers"][0]["resources"] = of_the_container;
        pod
    };
    let both = |amounts: Value| json!({"requests": amounts, "limits": amounts});
    let pods = || {
        vec![
            case("with requests", desktop(json!({"requests": half()}), json!({})), Injected),
            case("that is Guaranteed", desktop(both(half()), json!({})), Injected),
            case("with a limit", desktop(json!({"limits": {"cpu": "500m"}}), json!({})), Injected),
            case(
                "with only a CPU request",
                desktop(json!({"requests": {"cpu": "500m"}}), memory()),
                Injected,
            ),
            case(
                "that is Guaranteed by its own and its container's limits",
                desktop(both(json!({"cpu": "500m"})), memory()),
                Injected,
            ),
        ]
    };
    let full = || desktop(both(half()), both(half()));
    let nearly = || desktop(both(half()), both(almost_half()));
    let over = || desktop(json!({"requests": half()}), json!({"requests": {"cpu": "600m"}}));
    let limits_filled_in = || desktop(json!({"requests": half()}), both(half()));
    let too_large = Rejected("must be greater than or equal to aggregate container requests of 600m");
    let with = |mut cases: Vec<Case>, more: Vec<Case>| {
        cases.extend(more);
        cases
    };
    vec![
        NamespaceCases {
            name: "no limits",
            labels: &[],
            objects: vec![],
            cases: with(
                pods(),
                vec![
                    case("whose container uses all of it", full(), Injected),
                    case("whose container uses almost all of it", nearly(), Injected),
                    case(
                        "that is Guaranteed by its container, with enough left",
                        desktop(json!({"requests": half()}), both(json!({"cpu": "300m", "memory": "300Mi"}))),
                        Injected,
                    ),
                    case("that is Guaranteed by its container", limits_filled_in(), Skipped("limit_range")),
                    case("with a container that is too large", over(), too_large),
                ],
            ),
        },
        per_container(
            "defaults",
            json!({"default": {"cpu": "200m", "memory": "128Mi"}}),
            with(
                pods(),
                vec![
                    case("whose container uses all of it", full(), Skipped("limit_range")),
                    case("whose container uses almost all of it", nearly(), Skipped("limit_range")),
                    case(
                        "whose container gets all of it by default",
                        desktop(json!({"limits": {"cpu": "200m"}}), json!({})),
                        Skipped("limit_range"),
                    ),
                    case("with a container that is too large", over(), too_large),
                ],
            ),
        ),
        per_container("a minimum", json!({"min": {"cpu": "100m", "memory": "64Mi"}}), pods()),
        per_pod(
            "a maximum per pod",
            json!({"max": {"cpu": "500m"}}),
            vec![case("of that size", desktop(both(half()), json!({})), Injected)],
        ),
        per_pod(
            "a maximum of memory per pod",
            json!({"max": {"memory": "100Mi"}}),
            vec![
                case(
                    "with enough left for the sidecar",
                    desktop(json!({"requests": {"cpu": "1"}}), json!({"limits": {"memory": "76Mi"}})),
                    Injected,
                ),
                case(
                    "with too little left",
                    desktop(json!({"requests": {"cpu": "1"}}), json!({"limits": {"memory": "77Mi"}})),
                    Skipped("limit_range"),
                ),
            ],
        ),
        NamespaceCases {
            name: "quotas",
            labels: &[],
            objects: vec![object(
                "ResourceQuota",
                "desktops",
                json!({"hard": {"requests.cpu": "500m", "requests.memory": "512Mi"}}),
            )],
            cases: with(
                pods(),
                vec![
                    case("whose container uses all of it", full(), Injected),
                    case(
                        "with too little memory left",
                        desktop(
                            json!({"requests": {"cpu": "500m"}}),
                            json!({"requests": {"memory": "489Mi"}}),
                        ),
                        Skipped("resource_quota"),
                    ),
                ],
            ),
        },
    ]
}

/// A Guaranteed desktop with these amounts.
pub(super) fn guaranteed(cpu: &str, memory: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": memory});
    with_resources(amounts.clone(), amounts)
}

/// A desktop with an init container with these limits.
fn with_init_container(init: Value, limits: Value) -> Value {
    let unpack = json!({"name": "unpack", "image": "x", "resources": {"limits": init}});
    merged(with_resources(json!({}), limits), json!({"spec": {"initContainers": [unpack]}}))
}

pub(super) fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn per_container(name: &'static str, limits: Value, cases: Vec<Case>) -> NamespaceCases {
    limit_range(name, "Container", limits, cases)
}

fn per_pod(name: &'static str, limits: Value, cases: Vec<Case>) -> NamespaceCases {
    limit_range(name, "Pod", limits, cases)
}

fn limit_range(name: &'static str, kind: &str, limits: Value, cases: Vec<Case>) -> NamespaceCases {
    let limits = merged(limits, json!({"type": kind}));
    NamespaceCases {
        name,
        labels: &[],
        objects: vec![object("LimitRange", "limits", json!({"limits": [limits]}))],
        cases,
    }
}
