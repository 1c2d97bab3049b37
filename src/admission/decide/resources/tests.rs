#![expect(clippy::needless_pass_by_value, reason = "json! in place reads better than a borrow of it")]

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;
use crate::admission::namespaces::Budget;

/// Fits the default resources into a pod.
fn fitted(pod: Value, limits: &NamespaceLimits) -> Result<SidecarResources, SkipReason> {
    let text = pod.to_string();
    let pod: PodView<'_> = serde_json::from_str(&text).unwrap();
    fit(&pod, ConfiguredResources::default(), Some(limits))
}

fn pod(resources: Value) -> Value {
    json!({"spec": {"containers": [{"name": "desktop", "resources": resources}]}})
}

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap()
}

fn bounded(resource: Resource, bounds: Bounds) -> NamespaceLimits {
    let mut limits = NamespaceLimits::default();
    *limits.container.of_mut(resource) = bounds;
    limits
}

fn with_quota(
    resource: Resource,
    of_limits: bool,
    hard: &str,
    used: &str,
    scopes: Vec<QuotaScope>,
) -> NamespaceLimits {
    let budget = Budget { resource, of_limits, hard: quantity(hard), used: quantity(used) };
    NamespaceLimits { quotas: vec![Quota { budgets: vec![budget], scopes }], ..NamespaceLimits::default() }
}

fn texts(amounts: [Option<Quantity>; 3]) -> [Option<String>; 3] {
    amounts.map(|amount| amount.map(|amount| amount.to_string()))
}

static UNLIMITED: LazyLock<NamespaceLimits> = LazyLock::new(NamespaceLimits::default);

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let amounts = json!({"cpu": "2", "memory": "4Gi"});
    let sidecar = fitted(pod(json!({"requests": amounts, "limits": amounts})), &UNLIMITED).unwrap();
    assert_eq!(texts(sidecar.limits), [Some("100m".into()), Some("24Mi".into()), None]);
    assert_eq!(sidecar.requests, sidecar.limits);
    let without_requests = fitted(pod(json!({"limits": {"cpu": "2", "memory": "4Gi"}})), &UNLIMITED).unwrap();
    assert_eq!(without_requests, sidecar, "the API server sets missing requests to the limits");
}

#[test]
fn a_burstable_pod_gets_the_configured_resources() {
    for resources in [json!({}), json!({"requests": {"cpu": "1"}}), json!({"limits": {"cpu": "1"}})] {
        let sidecar = fitted(pod(resources), &UNLIMITED).unwrap();
        assert_eq!(texts(sidecar.requests), [Some("10m".into()), Some("24Mi".into()), None]);
        assert_eq!(texts(sidecar.limits), [Some("500m".into()), Some("24Mi".into()), None]);
    }
}

#[test]
fn under_a_quota_of_limits_the_cpu_limit_is_small() {
    let of_limits = with_quota(Resource::Cpu, true, "4", "0", vec![]);
    let sidecar = fitted(pod(json!({"limits": {"cpu": "1"}})), &of_limits).unwrap();
    assert_eq!(sidecar.limits[0], Some(quantity("100m")));
    let of_other_pods = with_quota(Resource::Cpu, true, "4", "0", vec![QuotaScope::PriorityClass(None)]);
    let sidecar = fitted(pod(json!({"limits": {"cpu": "1"}})), &of_other_pods).unwrap();
    assert_eq!(sidecar.limits[0], Some(quantity("500m")), "a quota that does not count this pod");
    let of_requests = with_quota(Resource::Cpu, false, "4", "0", vec![]);
    let sidecar = fitted(pod(json!({"requests": {"cpu": "1"}})), &of_requests).unwrap();
    assert_eq!(sidecar.limits[0], Some(quantity("500m")));
}

#[test]
fn resources_are_kept_between_min_and_max() {
    let bounds = Bounds { min: Some(quantity("50m")), max: Some(quantity("80m")), ..Bounds::default() };
    let sidecar = fitted(pod(json!({})), &bounded(Resource::Cpu, bounds)).unwrap();
    assert_eq!(texts(sidecar.requests)[0].as_deref(), Some("50m"));
    assert_eq!(texts(sidecar.limits)[0].as_deref(), Some("80m"));
    let ratio = Bounds { ratio: Some(quantity("2")), ..Bounds::default() };
    let sidecar = fitted(pod(json!({})), &bounded(Resource::Cpu, ratio)).unwrap();
    assert_eq!(sidecar.requests[0], sidecar.limits[0]);
    let storage = Bounds { min: Some(quantity("1Gi")), ..Bounds::default() };
    let sidecar = fitted(pod(json!({})), &bounded(Resource::Storage, storage)).unwrap();
    assert_eq!(texts(sidecar.requests)[2].as_deref(), Some("1Gi"));
}

#[test]
fn a_pod_gets_no_sidecar_if_the_limit_range_does_not_allow_it() {
    let too_small = Bounds { max: Some(quantity("8Mi")), ..Bounds::default() };
    assert_eq!(fitted(pod(json!({})), &bounded(Resource::Memory, too_small)), Err(SkipReason::LimitRange));
    let other_resources = NamespaceLimits { bounds_other_resources: true, ..NamespaceLimits::default() };
    assert_eq!(fitted(pod(json!({})), &other_resources), Err(SkipReason::LimitRange));
}

#[test]
fn the_sum_of_a_pod_stays_within_the_limit_range() {
    let mut limits = NamespaceLimits::default();
    limits.pod.of_mut(Resource::Memory).max = Some(quantity("4Gi"));
    let desktop = |memory: &str| pod(json!({"limits": {"memory": memory}}));
    assert!(fitted(desktop("4072Mi"), &limits).is_ok());
    assert_eq!(fitted(desktop("4073Mi"), &limits), Err(SkipReason::LimitRange));
    assert_eq!(
        fitted(desktop("5Gi"), &limits),
        Err(SkipReason::LimitRange),
        "the API server's message must not include the sidecar"
    );
    let mut large_init = desktop("1Gi");
    let init = json!([{"name": "unpack", "resources": {"limits": {"memory": "4Gi"}}}]);
    large_init["spec"]["initContainers"] = init;
    assert!(fitted(large_init, &limits).is_ok(), "the init container has ended when the sidecar runs");
}

#[test]
fn the_sidecar_never_makes_a_rejected_pod_acceptable() {
    let sums = |bounds| {
        let mut limits = NamespaceLimits::default();
        *limits.pod.of_mut(Resource::Cpu) = bounds;
        limits
    };
    let max = sums(Bounds { max: Some(quantity("1")), ..Bounds::default() });
    assert_eq!(
        fitted(pod(json!({})), &max),
        Err(SkipReason::LimitRange),
        "the sidecar's limit would be the only one"
    );
    let min = sums(Bounds { min: Some(quantity("200m")), ..Bounds::default() });
    let requests = |cpu: &str| pod(json!({"requests": {"cpu": cpu}}));
    assert_eq!(
        fitted(requests("195m"), &min),
        Err(SkipReason::LimitRange),
        "the sidecar would lift the pod over the minimum"
    );
    assert_eq!(
        fitted(requests("300m"), &min),
        Err(SkipReason::LimitRange),
        "the sidecar's limit would be the sum, and below the minimum"
    );
    assert!(fitted(pod(json!({"limits": {"cpu": "300m"}})), &min).is_ok());
    let ratio = sums(Bounds { ratio: Some(quantity("1.5")), ..Bounds::default() });
    let desktop = |limit: &str| pod(json!({"requests": {"cpu": "200m"}, "limits": {"cpu": limit}}));
    assert!(fitted(desktop("300m"), &ratio).is_ok());
    assert_eq!(
        fitted(desktop("301m"), &ratio),
        Err(SkipReason::LimitRange),
        "the sidecar would lower the ratio"
    );
}

#[test]
fn the_sidecar_sets_what_pod_level_resources_leave_out() {
    let with_pod_level = |pod_level: Value, resources: Value| {
        let mut pod = pod(resources);
        pod["spec"]["resources"] = pod_level;
        pod
    };
    let memory = json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}});
    let cpu = json!({"cpu": "1"});
    let sidecar =
        fitted(with_pod_level(json!({"requests": cpu, "limits": cpu}), memory.clone()), &UNLIMITED).unwrap();
    assert_eq!(
        texts(sidecar.limits),
        [None, Some("24Mi".into()), None],
        "without a limit here the pod-level limit would stay empty"
    );
    assert_eq!(sidecar.requests, sidecar.limits, "the pod stays Guaranteed");
    let full = with_quota(Resource::Memory, false, "1Gi", "0", vec![]);
    assert_eq!(
        fitted(with_pod_level(json!({"requests": cpu}), memory), &full),
        Err(SkipReason::ResourceQuota)
    );
    let amounts = json!({"cpu": "1", "memory": "1Gi"});
    let tight = with_pod_level(json!({"requests": amounts}), json!({"requests": amounts, "limits": amounts}));
    assert_eq!(fitted(tight, &UNLIMITED), Err(SkipReason::LimitRange), "the pod would not stay Guaranteed");
    let half = json!({"cpu": "500m", "memory": "512Mi"});
    let with_spare = with_pod_level(json!({"requests": amounts}), json!({"requests": half, "limits": half}));
    let sidecar = fitted(with_spare, &UNLIMITED).unwrap();
    assert_eq!(
        (sidecar.requests, sidecar.limits[0]),
        (sidecar.limits, Some(quantity("100m"))),
        "all containers have limits"
    );
    let generous =
        with_pod_level(json!({"requests": amounts}), json!({"limits": {"cpu": "2", "memory": "1Gi"}}));
    assert!(fitted(generous, &UNLIMITED).is_ok());
}

#[test]
fn under_pod_level_resources_the_sidecar_sets_only_what_a_limit_range_would_default() {
    let with_pod_level = |memory: &str| {
        let mut pod = pod(json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}));
        let amounts = json!({"cpu": "1", "memory": memory});
        pod["spec"]["resources"] = json!({"requests": amounts, "limits": amounts});
        pod
    };
    assert_eq!(fitted(with_pod_level("1Gi"), &UNLIMITED).unwrap(), SidecarResources::default());
    let defaulted = bounded(Resource::Memory, Bounds { default: true, ..Bounds::default() });
    let sidecar = fitted(with_pod_level("2Gi"), &defaulted).unwrap();
    assert_eq!(texts(sidecar.limits), [None, Some("24Mi".into()), None]);
    assert_eq!(fitted(with_pod_level("1Gi"), &defaulted), Err(SkipReason::LimitRange));
}

#[test]
fn the_sidecar_never_exceeds_a_quota() {
    let desktop = || pod(json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}));
    let quota = |hard| with_quota(Resource::Memory, true, hard, "1Gi", vec![]);
    assert!(fitted(desktop(), &quota("2072Mi")).is_ok());
    assert_eq!(fitted(desktop(), &quota("2071Mi")), Err(SkipReason::ResourceQuota));
    assert_eq!(
        fitted(desktop(), &quota("2000Mi")),
        Err(SkipReason::ResourceQuota),
        "the API server's message must not include the sidecar"
    );
}

#[test]
fn a_quota_counts_only_pods_that_meet_its_scopes() {
    let full = |scope| with_quota(Resource::Memory, false, "1Gi", "0", vec![scope]);
    let desktop = |class: &str| {
        let mut pod = pod(json!({"requests": {"memory": "1Gi"}}));
        pod["spec"]["priorityClassName"] = json!(class);
        pod
    };
    let class = |name: &str| QuotaScope::PriorityClass(Some(vec![name.to_owned()]));
    for (scope, counted) in [
        (QuotaScope::Terminating(false), true),
        (QuotaScope::Terminating(true), false),
        (QuotaScope::BestEffort(false), true),
        (QuotaScope::BestEffort(true), false),
        (class("vdi"), true),
        (class("batch"), false),
        (QuotaScope::PriorityClass(None), true),
        (QuotaScope::NotPriorityClass(vec!["vdi".to_owned()]), false),
        (QuotaScope::Unknown, true),
    ] {
        let expected = if counted { Some(SkipReason::ResourceQuota) } else { None };
        assert_eq!(fitted(desktop("vdi"), &full(scope.clone())).err(), expected, "{scope:?}");
    }
}

#[test]
fn a_best_effort_pod_stays_best_effort_if_a_quota_distinguishes_it() {
    let quota = with_quota(Resource::Memory, false, "1Gi", "0", vec![QuotaScope::BestEffort(false)]);
    assert_eq!(fitted(pod(json!({})), &quota).unwrap(), SidecarResources::default());
}
