#![expect(clippy::needless_pass_by_value, reason = "json! in place reads better than a borrow of it")]

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;
use crate::admission::namespaces::Budget;

/// Fits the default sidecar into a pod.
fn fitted(pod: Value, namespace: &Namespace) -> Result<Share, SkipReason> {
    let text = pod.to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    fit(&pod, settings::Resources::default(), Some(namespace))
}

fn pod(resources: Value) -> Value {
    json!({"spec": {"containers": [{"name": "desktop", "resources": resources}]}})
}

fn q(text: &str) -> Quantity {
    Quantity::parse(text).unwrap()
}

fn bounded(resource: Resource, bounds: Bounds) -> Namespace {
    let mut namespace = Namespace::default();
    *namespace.container.of_mut(resource) = bounds;
    namespace
}

fn with_quota(resource: Resource, of_limits: bool, hard: &str, used: &str, scopes: Vec<Scope>) -> Namespace {
    let budget = Budget { resource, of_limits, hard: q(hard), used: q(used) };
    Namespace { quotas: vec![Quota { budgets: vec![budget], scopes }], ..Namespace::default() }
}

fn texts(amounts: [Option<Quantity>; 3]) -> [Option<String>; 3] {
    amounts.map(|amount| amount.map(|amount| amount.to_string()))
}

static ANYWHERE: LazyLock<Namespace> = LazyLock::new(Namespace::default);

#[test]
fn a_guaranteed_pod_stays_so() {
    let amounts = json!({"cpu": "2", "memory": "4Gi"});
    let share = fitted(pod(json!({"requests": amounts, "limits": amounts})), &ANYWHERE).unwrap();
    assert_eq!(texts(share.limits), [Some("100m".into()), Some("24Mi".into()), None]);
    assert_eq!(share.requests, share.limits);
    let without_requests = fitted(pod(json!({"limits": {"cpu": "2", "memory": "4Gi"}})), &ANYWHERE).unwrap();
    assert_eq!(without_requests, share, "the API server fills the requests in");
}

#[test]
fn elsewhere_it_asks_for_little() {
    for resources in [json!({}), json!({"requests": {"cpu": "1"}}), json!({"limits": {"cpu": "1"}})] {
        let share = fitted(pod(resources), &ANYWHERE).unwrap();
        assert_eq!(texts(share.requests), [Some("10m".into()), Some("24Mi".into()), None]);
        assert_eq!(texts(share.limits), [Some("500m".into()), Some("24Mi".into()), None]);
    }
}

#[test]
fn where_limits_are_added_up_its_own_is_small() {
    let counted = with_quota(Resource::Cpu, true, "4", "0", vec![]);
    let share = fitted(pod(json!({"limits": {"cpu": "1"}})), &counted).unwrap();
    assert_eq!(share.limits[0], Some(q("100m")));
    let of_others = with_quota(Resource::Cpu, true, "4", "0", vec![Scope::PriorityClass(None)]);
    let share = fitted(pod(json!({"limits": {"cpu": "1"}})), &of_others).unwrap();
    assert_eq!(share.limits[0], Some(q("500m")), "a quota that does not count this pod");
    let of_requests = with_quota(Resource::Cpu, false, "4", "0", vec![]);
    let share = fitted(pod(json!({"requests": {"cpu": "1"}})), &of_requests).unwrap();
    assert_eq!(share.limits[0], Some(q("500m")));
}

#[test]
fn it_goes_between_least_and_most() {
    let bounds = Bounds { min: Some(q("50m")), max: Some(q("80m")), ..Bounds::default() };
    let share = fitted(pod(json!({})), &bounded(Resource::Cpu, bounds)).unwrap();
    assert_eq!(texts(share.requests)[0].as_deref(), Some("50m"));
    assert_eq!(texts(share.limits)[0].as_deref(), Some("80m"));
    let ratio = Bounds { ratio: Some(q("2")), ..Bounds::default() };
    let share = fitted(pod(json!({})), &bounded(Resource::Cpu, ratio)).unwrap();
    assert_eq!(share.requests[0], share.limits[0]);
    let storage = Bounds { min: Some(q("1Gi")), ..Bounds::default() };
    let share = fitted(pod(json!({})), &bounded(Resource::Storage, storage)).unwrap();
    assert_eq!(texts(share.requests)[2].as_deref(), Some("1Gi"));
}

#[test]
fn where_it_does_not_fit_the_desktop_goes_without() {
    let little = Bounds { max: Some(q("8Mi")), ..Bounds::default() };
    assert_eq!(fitted(pod(json!({})), &bounded(Resource::Memory, little)), Err(SkipReason::LimitRange));
    let foreign = Namespace { foreign: true, ..Namespace::default() };
    assert_eq!(fitted(pod(json!({})), &foreign), Err(SkipReason::LimitRange));
}

#[test]
fn a_pods_sum_has_a_limit() {
    let mut namespace = Namespace::default();
    namespace.pod.of_mut(Resource::Memory).max = Some(q("4Gi"));
    let desktop = |memory: &str| pod(json!({"limits": {"memory": memory}}));
    assert!(fitted(desktop("4072Mi"), &namespace).is_ok());
    assert_eq!(fitted(desktop("4073Mi"), &namespace), Err(SkipReason::LimitRange));
    assert_eq!(
        fitted(desktop("5Gi"), &namespace),
        Err(SkipReason::LimitRange),
        "it is refused in its own words"
    );
    let mut hungry_start = desktop("1Gi");
    let init = json!([{"name": "unpack", "resources": {"limits": {"memory": "4Gi"}}}]);
    hungry_start["spec"]["initContainers"] = init;
    assert!(fitted(hungry_start, &namespace).is_ok(), "an init container is gone when the sidecar runs");
}

#[test]
fn no_pod_is_accepted_for_our_sake() {
    let sums = |bounds| {
        let mut namespace = Namespace::default();
        *namespace.pod.of_mut(Resource::Cpu) = bounds;
        namespace
    };
    let max = sums(Bounds { max: Some(q("1")), ..Bounds::default() });
    assert_eq!(fitted(pod(json!({})), &max), Err(SkipReason::LimitRange), "our limit would be the only one");
    let min = sums(Bounds { min: Some(q("200m")), ..Bounds::default() });
    let requests = |cpu: &str| pod(json!({"requests": {"cpu": cpu}}));
    assert_eq!(fitted(requests("195m"), &min), Err(SkipReason::LimitRange), "with us it would be enough");
    assert_eq!(
        fitted(requests("300m"), &min),
        Err(SkipReason::LimitRange),
        "our limit would be the sum, and too little"
    );
    assert!(fitted(pod(json!({"limits": {"cpu": "300m"}})), &min).is_ok());
    let ratio = sums(Bounds { ratio: Some(q("1.5")), ..Bounds::default() });
    let desktop = |limit: &str| pod(json!({"requests": {"cpu": "200m"}, "limits": {"cpu": limit}}));
    assert!(fitted(desktop("300m"), &ratio).is_ok());
    assert_eq!(
        fitted(desktop("301m"), &ratio),
        Err(SkipReason::LimitRange),
        "with us it would be close enough"
    );
}

#[test]
fn what_the_pod_as_a_whole_does_not_speak_of_it_has_itself() {
    let whole = |of_the_pod: Value, resources: Value| {
        let mut pod = pod(resources);
        pod["spec"]["resources"] = of_the_pod;
        pod
    };
    let memory = json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}});
    let cpu = json!({"cpu": "1"});
    let share = fitted(whole(json!({"requests": cpu, "limits": cpu}), memory.clone()), &ANYWHERE).unwrap();
    assert_eq!(
        texts(share.limits),
        [None, Some("24Mi".into()), None],
        "or the pod's limit would not be filled in"
    );
    assert_eq!(share.requests, share.limits, "it stays Guaranteed");
    let full = with_quota(Resource::Memory, false, "1Gi", "0", vec![]);
    assert_eq!(fitted(whole(json!({"requests": cpu}), memory), &full), Err(SkipReason::ResourceQuota));
    let amounts = json!({"cpu": "1", "memory": "1Gi"});
    let filled_in = whole(json!({"requests": amounts}), json!({"requests": amounts, "limits": amounts}));
    assert_eq!(fitted(filled_in, &ANYWHERE), Err(SkipReason::LimitRange), "it would not stay Guaranteed");
    let half = json!({"cpu": "500m", "memory": "512Mi"});
    let roomy = whole(json!({"requests": amounts}), json!({"requests": half, "limits": half}));
    let share = fitted(roomy, &ANYWHERE).unwrap();
    assert_eq!(
        (share.requests, share.limits[0]),
        (share.limits, Some(q("100m"))),
        "all containers have limits"
    );
    let generous = whole(json!({"requests": amounts}), json!({"limits": {"cpu": "2", "memory": "1Gi"}}));
    assert!(fitted(generous, &ANYWHERE).is_ok());
}

#[test]
fn under_a_pods_own_resources_it_has_none_unless_a_range_would_fill_them_in() {
    let whole = |memory: &str| {
        let mut pod = pod(json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}));
        let amounts = json!({"cpu": "1", "memory": memory});
        pod["spec"]["resources"] = json!({"requests": amounts, "limits": amounts});
        pod
    };
    assert_eq!(fitted(whole("1Gi"), &ANYWHERE).unwrap(), Share::default());
    let filled = bounded(Resource::Memory, Bounds { default: true, ..Bounds::default() });
    let share = fitted(whole("2Gi"), &filled).unwrap();
    assert_eq!(texts(share.limits), [None, Some("24Mi".into()), None]);
    assert_eq!(fitted(whole("1Gi"), &filled), Err(SkipReason::LimitRange));
}

#[test]
fn a_quota_is_not_gone_over_for_our_sake() {
    let desktop = || pod(json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}));
    let quota = |hard| with_quota(Resource::Memory, true, hard, "1Gi", vec![]);
    assert!(fitted(desktop(), &quota("2072Mi")).is_ok());
    assert_eq!(fitted(desktop(), &quota("2071Mi")), Err(SkipReason::ResourceQuota));
    assert_eq!(
        fitted(desktop(), &quota("2000Mi")),
        Err(SkipReason::ResourceQuota),
        "it is refused in its own words"
    );
}

#[test]
fn a_quota_counts_the_pods_of_its_scopes() {
    let full = |scope| with_quota(Resource::Memory, false, "1Gi", "0", vec![scope]);
    let desktop = |class: &str| {
        let mut pod = pod(json!({"requests": {"memory": "1Gi"}}));
        pod["spec"]["priorityClassName"] = json!(class);
        pod
    };
    let class = |name: &str| Scope::PriorityClass(Some(vec![name.to_owned()]));
    for (scope, counted) in [
        (Scope::Terminating(false), true),
        (Scope::Terminating(true), false),
        (Scope::BestEffort(false), true),
        (Scope::BestEffort(true), false),
        (class("vdi"), true),
        (class("batch"), false),
        (Scope::PriorityClass(None), true),
        (Scope::NotPriorityClass(vec!["vdi".to_owned()]), false),
        (Scope::Other, true),
    ] {
        let expected = if counted { Some(SkipReason::ResourceQuota) } else { None };
        assert_eq!(fitted(desktop("vdi"), &full(scope.clone())).err(), expected, "{scope:?}");
    }
}

#[test]
fn a_best_effort_pod_stays_so_where_a_quota_tells_it_apart() {
    let quota = with_quota(Resource::Memory, false, "1Gi", "0", vec![Scope::BestEffort(false)]);
    assert_eq!(fitted(pod(json!({})), &quota).unwrap(), Share::default());
}
