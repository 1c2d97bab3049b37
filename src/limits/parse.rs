//! Parses LimitRanges and ResourceQuotas into the bounds that admission reads.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota, ScopedResourceSelectorRequirement},
    apimachinery::pkg::api::resource::Quantity as QuantityText,
};

use crate::admission::{
    namespaces::{Bounds, BoundsByResource, Budget, NamespaceLimits, Quota, QuotaScope, Resource},
    quantity::Quantity,
};

/// The bounds of one LimitRange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ParsedRange {
    container: BoundsByResource,
    pod: BoundsByResource,
    /// Set by items of the type `Container` only: they set defaults on the sidecar, items of the type `Pod` do not.
    bounds_other_resources: bool,
}

/// Combines the objects of one namespace.
pub(super) fn combine<'o>(
    ranges: impl Iterator<Item = &'o ParsedRange>,
    quotas: impl Iterator<Item = &'o Quota>,
) -> NamespaceLimits {
    let mut limits = NamespaceLimits::default();
    for range in ranges {
        for resource in Resource::ALL {
            limits.container.of_mut(resource).add(range.container.of(resource));
            limits.pod.of_mut(resource).add(range.pod.of(resource));
        }
        limits.bounds_other_resources |= range.bounds_other_resources;
    }
    // Quotas of object counts and of storage claims do not limit containers.
    limits.quotas = quotas.filter(|quota| quota.affects_containers()).cloned().collect();
    limits
}

/// Parses a LimitRange.
pub(super) fn range(range: &LimitRange) -> ParsedRange {
    let mut parsed = ParsedRange::default();
    for item in range.spec.iter().flat_map(|spec| &spec.limits) {
        match item.type_.as_str() {
            "Container" => {
                parsed.bounds_other_resources |= names(item).any(|name| Resource::parse(name).is_none());
                add(&mut parsed.container, item);
            }
            "Pod" => add(&mut parsed.pod, item),
            _ => {}
        }
    }
    parsed
}

fn add(bounds: &mut BoundsByResource, item: &LimitRangeItem) {
    for resource in Resource::ALL {
        let name = resource.as_str();
        bounds.of_mut(resource).add(Bounds {
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

fn has(map: &Option<BTreeMap<String, QuantityText>>, name: &str) -> bool {
    map.as_ref().is_some_and(|map| map.contains_key(name))
}

fn amount(map: &Option<BTreeMap<String, QuantityText>>, name: &str) -> Option<Quantity> {
    Quantity::parse(&map.as_ref()?.get(name)?.0)
}

/// Parses a ResourceQuota.
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

/// The resource of a quota's key, and whether the key bounds limits. `None`: the sidecar does not use the resource.
fn budgeted(name: &str) -> Option<(Resource, bool)> {
    match name.split_once('.') {
        Some(("limits", name)) => Some((Resource::parse(name)?, true)),
        Some(("requests", name)) => Some((Resource::parse(name)?, false)),
        _ => Some((Resource::parse(name)?, false)),
    }
}

fn selected_scope(requirement: &ScopedResourceSelectorRequirement) -> QuotaScope {
    let values = requirement.values.as_deref().unwrap_or_default();
    scope(&requirement.scope_name, &requirement.operator, values)
}

fn scope(name: &str, operator: &str, values: &[String]) -> QuotaScope {
    match (name, operator) {
        ("Terminating", _) => QuotaScope::Terminating(true),
        ("NotTerminating", _) => QuotaScope::Terminating(false),
        ("BestEffort", _) => QuotaScope::BestEffort(true),
        ("NotBestEffort", _) => QuotaScope::BestEffort(false),
        ("PriorityClass", "Exists") => QuotaScope::PriorityClass(None),
        ("PriorityClass", "In") => QuotaScope::PriorityClass(Some(values.to_vec())),
        ("PriorityClass", "NotIn") => QuotaScope::NotPriorityClass(values.to_vec()),
        _ => QuotaScope::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_two_limit_ranges_the_stricter_bound_counts() {
        let limit = |limits: serde_json::Value| {
            range(&serde_json::from_value(json!({"metadata": {}, "spec": {"limits": [limits]}})).unwrap())
        };
        let one = limit(json!({"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "2"}}));
        let other = limit(json!({"type": "Container", "min": {"cpu": "20m"}, "max": {"cpu": "1"},
            "maxLimitRequestRatio": {"memory": "2"}}));
        let limits = combine([&one, &other].into_iter(), [].into_iter());
        let cpu = limits.container.of(Resource::Cpu);
        assert_eq!((cpu.min, cpu.max), (Quantity::parse("50m"), Quantity::parse("1")));
        assert!(limits.container.of(Resource::Memory).ratio.is_some() && !limits.bounds_other_resources);
        assert!(
            limit(json!({"type": "Container", "default": {"nvidia.com/gpu": "1"}})).bounds_other_resources
        );
    }

    #[test]
    fn a_quota_is_parsed_with_the_used_amounts() {
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
        let classes = QuotaScope::PriorityClass(Some(vec!["vdi".to_owned()]));
        assert_eq!(quota.scopes, [QuotaScope::Terminating(false), classes]);
    }
}
