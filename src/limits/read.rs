//! From Kubernetes' objects to what admission has to know of them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota, ScopedResourceSelectorRequirement},
    apimachinery::pkg::api::resource::Quantity as Text,
};

use crate::admission::{
    namespaces::{Bounds, Budget, Limits, Namespace, Quota, Resource, Scope},
    quantity::Quantity,
};

/// What one LimitRange says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Range {
    container: Limits,
    pod: Limits,
    foreign: bool,
}

/// A namespace with these objects.
pub(super) fn namespace<'o>(
    ranges: impl Iterator<Item = &'o Range>,
    quotas: impl Iterator<Item = &'o Quota>,
) -> Namespace {
    let mut namespace = Namespace::default();
    for range in ranges {
        for resource in Resource::ALL {
            namespace.container.of_mut(resource).and(range.container.of(resource));
            namespace.pod.of_mut(resource).and(range.pod.of(resource));
        }
        namespace.foreign |= range.foreign;
    }
    // Quotas of objects and of storage claims bound no container.
    namespace.quotas = quotas.filter(|quota| quota.concerns_us()).cloned().collect();
    namespace
}

/// Reads a LimitRange.
pub(super) fn range(range: &LimitRange) -> Range {
    let mut read = Range::default();
    for item in range.spec.iter().flat_map(|spec| &spec.limits) {
        match item.type_.as_str() {
            "Container" => {
                read.foreign |= names(item).any(|name| Resource::of(name).is_none());
                add(&mut read.container, item);
            }
            "Pod" => add(&mut read.pod, item),
            _ => {}
        }
    }
    read
}

fn add(limits: &mut Limits, item: &LimitRangeItem) {
    for resource in Resource::ALL {
        let name = resource.as_str();
        limits.of_mut(resource).and(Bounds {
            min: amount(&item.min, name),
            max: amount(&item.max, name),
            default: [&item.default, &item.default_request].into_iter().any(|map| has(map, name)),
            ratio: amount(&item.max_limit_request_ratio, name),
        });
    }
}

fn names(item: &LimitRangeItem) -> impl Iterator<Item = &str> {
    [&item.min, &item.max, &item.default, &item.default_request, &item.max_limit_request_ratio]
        .into_iter()
        .flatten()
        .flat_map(BTreeMap::keys)
        .map(String::as_str)
}

fn has(map: &Option<BTreeMap<String, Text>>, name: &str) -> bool {
    map.as_ref().is_some_and(|map| map.contains_key(name))
}

fn amount(map: &Option<BTreeMap<String, Text>>, name: &str) -> Option<Quantity> {
    Quantity::parse(&map.as_ref()?.get(name)?.0)
}

/// Reads a ResourceQuota.
pub(super) fn quota(quota: &ResourceQuota) -> Quota {
    let spec = quota.spec.clone().unwrap_or_default();
    let used = quota.status.as_ref().and_then(|status| status.used.clone());
    let hard = spec.hard.unwrap_or_default();
    let budgets = hard.iter().filter_map(|(name, hard)| {
        let (resource, of_limits) = budgeted(name)?;
        let used = amount(&used, name).unwrap_or_default();
        Some(Budget { resource, of_limits, hard: Quantity::parse(&hard.0)?, used })
    });
    let plain = spec.scopes.iter().flatten().map(|name| scope(name, "Exists", &[]));
    let selected =
        spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    Quota { budgets: budgets.collect(), scopes: plain.chain(selected.map(selected_scope)).collect() }
}

/// The resource that a quota's key is about, and whether its limits are.
fn budgeted(name: &str) -> Option<(Resource, bool)> {
    match name.split_once('.') {
        Some(("limits", name)) => Some((Resource::of(name)?, true)),
        Some(("requests", name)) => Some((Resource::of(name)?, false)),
        _ => Some((Resource::of(name)?, false)),
    }
}

fn selected_scope(requirement: &ScopedResourceSelectorRequirement) -> Scope {
    let values = requirement.values.as_deref().unwrap_or_default();
    scope(&requirement.scope_name, &requirement.operator, values)
}

fn scope(name: &str, operator: &str, values: &[String]) -> Scope {
    match (name, operator) {
        ("Terminating", _) => Scope::Terminating(true),
        ("NotTerminating", _) => Scope::Terminating(false),
        ("BestEffort", _) => Scope::BestEffort(true),
        ("NotBestEffort", _) => Scope::BestEffort(false),
        ("PriorityClass", "Exists") => Scope::PriorityClass(None),
        ("PriorityClass", "In") => Scope::PriorityClass(Some(values.to_vec())),
        ("PriorityClass", "NotIn") => Scope::NotPriorityClass(values.to_vec()),
        _ => Scope::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_stricter_of_two_ranges_counts() {
        let limit = |limits: serde_json::Value| {
            range(&serde_json::from_value(json!({"metadata": {}, "spec": {"limits": [limits]}})).unwrap())
        };
        let one = limit(json!({"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "2"}}));
        let other = limit(json!({"type": "Container", "min": {"cpu": "20m"}, "max": {"cpu": "1"},
            "maxLimitRequestRatio": {"memory": "2"}}));
        let namespace = namespace([&one, &other].into_iter(), [].into_iter());
        let cpu = namespace.container.of(Resource::Cpu);
        assert_eq!((cpu.min, cpu.max), (Quantity::parse("50m"), Quantity::parse("1")));
        assert!(namespace.container.of(Resource::Memory).ratio.is_some() && !namespace.foreign);
        assert!(limit(json!({"type": "Container", "default": {"nvidia.com/gpu": "1"}})).foreign);
    }

    #[test]
    fn a_quota_is_read_with_what_is_used() {
        let object = json!({
            "metadata": {},
            "spec": {
                "hard": {"limits.memory": "1Gi", "cpu": "4", "pods": "10", "requests.nvidia.com/gpu": "2"},
                "scopes": ["NotTerminating"],
                "scopeSelector": {"matchExpressions": [
                    {"scopeName": "PriorityClass", "operator": "In", "values": ["vdi"]},
                ]},
            },
            "status": {"used": {"limits.memory": "512Mi"}},
        });
        let quota = quota(&serde_json::from_value(object).unwrap());
        let memory = quota.budgets.iter().find(|budget| budget.resource == Resource::Memory).unwrap();
        assert!(memory.of_limits && memory.left() == Quantity::mebibytes(512));
        assert_eq!(quota.budgets.len(), 2);
        let classes = Scope::PriorityClass(Some(vec!["vdi".to_owned()]));
        assert_eq!(quota.scopes, [Scope::Terminating(false), classes]);
    }
}
