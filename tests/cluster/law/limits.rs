//! LimitRanges, and resources of the pod as a whole.

use serde_json::{Value, json};

use super::cases::{
    Case,
    Expected::{Injected, Refused, Without},
    Fixture, asking, bare, case, desktop_with, merged,
};

pub(super) fn limit_ranges() -> Vec<Fixture> {
    let none = || bare(json!({}));
    let some =
        || asking(json!({"cpu": "300m", "memory": "300Mi"}), json!({"cpu": "400m", "memory": "400Mi"}));
    let whole = || whole_of("300m", "300Mi");
    vec![
        range(
            "defaults",
            json!({"default": {"cpu": "500m", "memory": "512Mi"}}),
            vec![
                case("without resources", none(), Injected),
                case("that is Guaranteed", whole(), Injected),
                case("with requests alone", asking(json!({"cpu": "100m"}), json!({})), Injected),
            ],
        ),
        range(
            "default requests",
            json!({"defaultRequest": {"cpu": "50m"}}),
            vec![case("without resources", none(), Injected), case("that is Guaranteed", whole(), Injected)],
        ),
        range(
            "a minimum above ours",
            json!({"min": {"cpu": "200m", "memory": "64Mi"}}),
            vec![
                case("without resources", none(), Injected),
                case("that is Guaranteed", whole(), Injected),
                case(
                    "below it",
                    asking(json!({"cpu": "100m"}), json!({})),
                    Refused("minimum cpu usage per Container is 200m"),
                ),
            ],
        ),
        range(
            "a maximum below ours",
            json!({"max": {"cpu": "50m", "memory": "20Mi"}}),
            vec![
                case("without resources", none(), Injected),
                case("that is Guaranteed", whole_of("50m", "20Mi"), Injected),
                case(
                    "above it",
                    asking(json!({}), json!({"cpu": "60m"})),
                    Refused("maximum cpu usage per Container is 50m"),
                ),
            ],
        ),
        range(
            "a maximum that no sidecar can live with",
            json!({"max": {"memory": "8Mi"}}),
            vec![
                case("without resources", none(), Without("limit_range")),
                case(
                    "above it",
                    asking(json!({}), json!({"memory": "9Mi"})),
                    Refused("maximum memory usage per Container is 8Mi"),
                ),
            ],
        ),
        range(
            "a ratio",
            json!({"maxLimitRequestRatio": {"cpu": "2"}}),
            vec![
                case("within it", asking(json!({"cpu": "200m"}), json!({"cpu": "400m"})), Injected),
                case("that is Guaranteed", whole(), Injected),
                case(
                    "beyond it",
                    asking(json!({"cpu": "100m"}), json!({"cpu": "400m"})),
                    Refused("ratio per Container is 2"),
                ),
                case("without resources", none(), Refused("no request is specified")),
            ],
        ),
        range(
            "storage",
            json!({"default": {"ephemeral-storage": "1Gi"}, "min": {"ephemeral-storage": "100Mi"}}),
            vec![
                case("without resources", none(), Injected),
                case("that is Guaranteed", whole(), Injected),
                case(
                    "below it",
                    asking(json!({"ephemeral-storage": "1Mi"}), json!({})),
                    Refused("minimum ephemeral-storage usage"),
                ),
            ],
        ),
        range(
            "a default of something else",
            json!({"default": {"example.com/gpu": "1"}}),
            vec![case("without resources", none(), Without("limit_range"))],
        ),
        range(
            "a minimum, a maximum and a ratio",
            json!({"min": {"cpu": "20m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "3"}}),
            vec![case("without resources", none(), Injected), case("with resources", some(), Injected)],
        ),
        sums(
            "a maximum of the sums",
            json!({"max": {"cpu": "1"}}),
            vec![
                case("with room", some(), Injected),
                case("with just enough room", asking(json!({}), json!({"cpu": "900m"})), Injected),
                case("without room", asking(json!({}), json!({"cpu": "901m"})), Without("limit_range")),
                case(
                    "that needs the room for its start alone",
                    starting_with(json!({"cpu": "1"}), json!({"cpu": "500m"})),
                    Injected,
                ),
                case(
                    "that is too large",
                    asking(json!({}), json!({"cpu": "2"})),
                    Refused("maximum cpu usage per Pod is 1, but limit is 2"),
                ),
                case("that does not say", none(), Refused("No limit is specified")),
            ],
        ),
        sums(
            "a minimum of the sums",
            json!({"min": {"cpu": "200m"}}),
            vec![
                case("above it", some(), Injected),
                case(
                    "just below it",
                    asking(json!({"cpu": "195m"}), json!({})),
                    Refused("but request is 195m"),
                ),
                case("that does not say", none(), Refused("No request is specified")),
            ],
        ),
        sums(
            "a ratio of the sums",
            json!({"maxLimitRequestRatio": {"memory": "2"}}),
            vec![
                case("within it", some(), Injected),
                case(
                    "just beyond it",
                    asking(json!({"memory": "100Mi"}), json!({"memory": "201Mi"})),
                    Refused("ratio per Pod is 2"),
                ),
                case("that does not say", none(), Refused("no request is specified")),
            ],
        ),
        Fixture {
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

pub(super) fn pod_resources() -> Vec<Fixture> {
    let half = || json!({"cpu": "500m", "memory": "512Mi"});
    let most = || json!({"cpu": "495m", "memory": "500Mi"});
    let memory = || json!({"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}});
    let said = |of_the_pod: Value, of_the_container: Value| {
        let mut pod = desktop_with(json!({"resources": of_the_pod}));
        pod["spec"]["containers"][0]["resources"] = of_the_container;
        pod
    };
    let whole = |amounts: Value| json!({"requests": amounts, "limits": amounts});
    let pods = || {
        vec![
            case("with requests", said(json!({"requests": half()}), json!({})), Injected),
            case("that is Guaranteed", said(whole(half()), json!({})), Injected),
            case("with a limit", said(json!({"limits": {"cpu": "500m"}}), json!({})), Injected),
            case("with a processor alone", said(json!({"requests": {"cpu": "500m"}}), memory()), Injected),
            case("Guaranteed by both", said(whole(json!({"cpu": "500m"})), memory()), Injected),
        ]
    };
    let full = || said(whole(half()), whole(half()));
    let nearly = || said(whole(half()), whole(most()));
    let over = || said(json!({"requests": half()}), json!({"requests": {"cpu": "600m"}}));
    let filled_in = || said(json!({"requests": half()}), whole(half()));
    let too_large = Refused("must be greater than or equal to aggregate container requests of 600m");
    let with = |mut cases: Vec<Case>, more: Vec<Case>| {
        cases.extend(more);
        cases
    };
    vec![
        Fixture {
            name: "nothing",
            labels: &[],
            objects: vec![],
            cases: with(
                pods(),
                vec![
                    case("full of a container", full(), Injected),
                    case("nearly full of a container", nearly(), Injected),
                    case(
                        "Guaranteed by its container, with room",
                        said(json!({"requests": half()}), whole(json!({"cpu": "300m", "memory": "300Mi"}))),
                        Injected,
                    ),
                    case("Guaranteed by its container", filled_in(), Without("limit_range")),
                    case("with a container that is larger", over(), too_large),
                ],
            ),
        },
        range(
            "defaults",
            json!({"default": {"cpu": "200m", "memory": "128Mi"}}),
            with(
                pods(),
                vec![
                    case("full of a container", full(), Without("limit_range")),
                    case("nearly full of a container", nearly(), Without("limit_range")),
                    case(
                        "full of defaults",
                        said(json!({"limits": {"cpu": "200m"}}), json!({})),
                        Without("limit_range"),
                    ),
                    case("with a container that is larger", over(), too_large),
                ],
            ),
        ),
        range("a minimum", json!({"min": {"cpu": "100m", "memory": "64Mi"}}), pods()),
        sums(
            "a maximum of the sums",
            json!({"max": {"cpu": "500m"}}),
            vec![case("of that size", said(whole(half()), json!({})), Injected)],
        ),
        sums(
            "a maximum of the sums of memory",
            json!({"max": {"memory": "100Mi"}}),
            vec![
                case(
                    "with room",
                    said(json!({"requests": {"cpu": "1"}}), json!({"limits": {"memory": "76Mi"}})),
                    Injected,
                ),
                case(
                    "without",
                    said(json!({"requests": {"cpu": "1"}}), json!({"limits": {"memory": "77Mi"}})),
                    Without("limit_range"),
                ),
            ],
        ),
        Fixture {
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
                    case("full of a container", full(), Injected),
                    case(
                        "without room for memory",
                        said(json!({"requests": {"cpu": "500m"}}), json!({"requests": {"memory": "489Mi"}})),
                        Without("resource_quota"),
                    ),
                ],
            ),
        },
    ]
}

/// A desktop that is Guaranteed so much.
pub(super) fn whole_of(cpu: &str, memory: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": memory});
    asking(amounts.clone(), amounts)
}

/// A desktop with an init container of these limits.
fn starting_with(init: Value, limits: Value) -> Value {
    let unpack = json!({"name": "unpack", "image": "x", "resources": {"limits": init}});
    merged(asking(json!({}), limits), json!({"spec": {"initContainers": [unpack]}}))
}

pub(super) fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn range(name: &'static str, limits: Value, cases: Vec<Case>) -> Fixture {
    limited(name, "Container", limits, cases)
}

fn sums(name: &'static str, limits: Value, cases: Vec<Case>) -> Fixture {
    limited(name, "Pod", limits, cases)
}

fn limited(name: &'static str, of: &str, limits: Value, cases: Vec<Case>) -> Fixture {
    let limits = merged(limits, json!({"type": of}));
    Fixture {
        name,
        labels: &[],
        objects: vec![object("LimitRange", "limits", json!({"limits": [limits]}))],
        cases,
    }
}
