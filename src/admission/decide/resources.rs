//! The sidecar's resources in one pod.
//!
//! The sidecar changes neither the pod's quality of service, nor whether the API server accepts the pod, nor the reason of a
//! rejection:
//! * The sidecar's values lie between `min` and `max` of the LimitRange.
//! * With a `maxLimitRequestRatio` the request equals the limit.
//! * For a resource with pod-level values the sidecar sets nothing, unless a LimitRange would set a default.
//! * If the sidecar does not fit into the pod-level resources, a quota or `max`, the pod gets no sidecar.
//! * A pod whose own sums violate a LimitRange gets no sidecar. With a sidecar its sum could reach a minimum, so that the API
//!   server would accept the pod. Or the API server's message would contain a sum that includes the sidecar.

mod quality;
mod sums;

use quality::{Quality, is_guaranteed_by_containers};
use sums::{AmountKind, CPU_AND_MEMORY, PodSum};

use crate::admission::{
    namespaces::{Bounds, BoundsByResource, NamespaceLimits, Quota, QuotaScope, Resource},
    outcome::SkipReason,
    pod::PodView,
    quantity::Quantity,
    settings::{ConfiguredResources, MIN_MEMORY},
};

/// The sidecar's requests and limits in one pod, by [`Resource`]. `None`: the sidecar sets no value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SidecarResources {
    pub(crate) requests: [Option<Quantity>; 3],
    pub(crate) limits: [Option<Quantity>; 3],
}

/// Ephemeral storage for the sidecar's logs, set only under a LimitRange for it.
const STORAGE: Quantity = Quantity::mebibytes(16);

/// Fits the sidecar's resources into the pod and its namespace.
pub(crate) fn fit(
    pod: &PodView<'_>,
    configured: ConfiguredResources,
    limits: Option<&NamespaceLimits>,
) -> Result<SidecarResources, SkipReason> {
    let unlimited = NamespaceLimits::default();
    let limits = limits.unwrap_or(&unlimited);
    let quality = Quality::of(pod);
    let pod_level = pod.resources();
    if limits.bounds_other_resources {
        return Err(SkipReason::LimitRange);
    }
    let distinguishes_best_effort = || limits.quotas.iter().any(Quota::distinguishes_best_effort);
    if quality == Quality::BestEffort && pod_level.is_none() && distinguishes_best_effort() {
        // Any request of the sidecar would move the pod from one quota into another.
        return Ok(SidecarResources::default());
    }
    let guaranteed_by_containers =
        pod_level.is_some_and(|pod_level| is_guaranteed_by_containers(pod, pod_level));
    let mut fitted = SidecarResources::default();
    for resource in Resource::ALL {
        let bounds = limits.container.of(resource);
        let needs_value = resource != Resource::Storage
            && pod_level.is_none_or(|pod_level| match pod_level.declared(resource) {
                // Kubernetes sets the pod-level limit only if every container has a limit. So the sidecar needs one.
                (None, None) => true,
                // Only a pod that is Guaranteed by its containers' limits needs a limit of the sidecar, to stay Guaranteed.
                (Some(_), None) => guaranteed_by_containers,
                // The pod-level limit also limits the sidecar.
                (_, Some(_)) => false,
            });
        // Without a value, the API server would set a LimitRange's default on the sidecar, or reject the pod.
        if needs_value || bounds.is_any() {
            // A pod with pod-level resources may be Guaranteed although `quality`, which ignores them, does not show it:
            // Kubernetes sets a missing pod-level request and, from 1.37, a missing pod-level limit to the sums of the
            // containers. If the sidecar's request equals its limit, both sums grow equally, and such a pod stays Guaranteed.
            let request_equals_limit = quality == Quality::Guaranteed
                || needs_value && pod_level.is_some()
                || bounds.ratio.is_some()
                || limits.pod.of(resource).ratio.is_some();
            let lowers_cpu_limit = request_equals_limit || limits.bounds_sum_of_limits(pod, resource);
            let (request, limit) =
                fit_one(resource, configured, bounds, request_equals_limit, lowers_cpu_limit)?;
            fitted.requests[resource as usize] = Some(request);
            fitted.limits[resource as usize] = Some(limit);
        }
    }
    check_pod_level(pod, &fitted, guaranteed_by_containers)?;
    check_sums(pod, &fitted, limits)?;
    Ok(fitted)
}

/// Calculates the sidecar's request and limit of one resource. If `request_equals_limit`, the request is set to the limit.
/// `lowers_cpu_limit` is true if the limit reserves CPU: because it is also the request, or because a LimitRange or quota
/// bounds the sum of limits.
fn fit_one(
    resource: Resource,
    configured: ConfiguredResources,
    bounds: Bounds,
    request_equals_limit: bool,
    lowers_cpu_limit: bool,
) -> Result<(Quantity, Quantity), SkipReason> {
    let cpu = if lowers_cpu_limit { configured.reserved_cpu() } else { configured.limits.cpu };
    let (request, limit, minimum) = match resource {
        Resource::Cpu => (configured.requests.cpu, cpu, Quantity::thousandths(1)),
        Resource::Memory => (configured.requests.memory, configured.limits.memory, MIN_MEMORY),
        Resource::Storage => (STORAGE, STORAGE, Quantity::thousandths(1)),
    };
    let limit = bounds.clamp(limit);
    let request = if request_equals_limit { limit } else { bounds.clamp(request) };
    let fits = limit >= minimum && bounds.max.is_none_or(|max| limit <= max);
    fits.then_some((request, limit)).ok_or(SkipReason::LimitRange)
}

/// Checks the sidecar against the pod-level resources, as Kubernetes does: the sum of the containers' requests must not
/// exceed the pod-level request, and no container's limit may exceed the pod-level limit.
fn check_pod_level(
    pod: &PodView<'_>,
    fitted: &SidecarResources,
    guaranteed_by_containers: bool,
) -> Result<(), SkipReason> {
    let Some(pod_level) = pod.resources() else { return Ok(()) };
    for resource in CPU_AND_MEMORY {
        let Some(own_limit) = fitted.limits[resource as usize] else { continue };
        let (request, limit) = pod_level.declared(resource);
        let sum = |kind| PodSum::of_containers(pod, fitted.amount(resource, kind), resource, kind).with;
        // A missing pod-level request becomes the sum of requests and must not exceed the pod-level limit.
        let exceeds_request = exceeds(sum(AmountKind::Requests), request.or(limit));
        let exceeds_limit = exceeds(Some(own_limit), limit);
        // The missing pod-level limit becomes the sum of limits. If this sum is higher than the request, the pod is no
        // longer Guaranteed.
        let loses_guarantee =
            guaranteed_by_containers && limit.is_none() && exceeds(sum(AmountKind::Limits), request);
        if exceeds_request || exceeds_limit || loses_guarantee {
            return Err(SkipReason::LimitRange);
        }
    }
    Ok(())
}

fn exceeds(amount: Option<Quantity>, maximum: Option<Quantity>) -> bool {
    maximum.is_some_and(|maximum| amount > Some(maximum))
}

/// Checks the sums of the pod, without and with the sidecar, against LimitRanges and quotas.
fn check_sums(
    pod: &PodView<'_>,
    fitted: &SidecarResources,
    limits: &NamespaceLimits,
) -> Result<(), SkipReason> {
    let sum = |resource, kind| PodSum::of_pod(pod, fitted.amount(resource, kind), resource, kind);
    if limits.pod != BoundsByResource::default() {
        for resource in Resource::ALL {
            let bounds = limits.pod.of(resource);
            let [request, limit] = [AmountKind::Requests, AmountKind::Limits].map(|kind| sum(resource, kind));
            let is_changed = request.is_changed() || limit.is_changed();
            let is_accepted =
                bounds.allow(request.without, limit.without) && bounds.allow(request.with, limit.with);
            if is_changed && !is_accepted {
                return Err(SkipReason::LimitRange);
            }
        }
    }
    let quotas = limits.quotas.iter().filter(|quota| quota.counts(pod));
    for budget in quotas.flat_map(|quota| &quota.budgets) {
        let kind = if budget.of_limits { AmountKind::Limits } else { AmountKind::Requests };
        let sum = sum(budget.resource, kind);
        if sum.is_changed() && exceeds(sum.with, Some(budget.left())) {
            return Err(SkipReason::ResourceQuota);
        }
    }
    Ok(())
}

// === impl SidecarResources ===

impl SidecarResources {
    const fn amount(&self, resource: Resource, kind: AmountKind) -> Option<Quantity> {
        match kind {
            AmountKind::Requests => self.requests[resource as usize],
            AmountKind::Limits => self.limits[resource as usize],
        }
    }
}

// === impl Bounds ===

impl Bounds {
    fn clamp(self, amount: Quantity) -> Quantity {
        let amount = self.max.map_or(amount, |max| amount.min(max));
        self.min.map_or(amount, |min| amount.max(min))
    }

    /// Whether the API server accepts these sums. As in the API server, `min` needs a request, `max` needs a limit, and a
    /// ratio needs both. `None` is less than every amount.
    fn allow(self, request: Option<Quantity>, limit: Option<Quantity>) -> bool {
        let is_set = |amount: Option<Quantity>| amount.is_some_and(Quantity::is_positive);
        let reaches = |min| request >= Some(min) && limit.is_none_or(|limit| limit >= min);
        let stays_below = |max| limit.is_some() && limit <= Some(max) && request <= Some(max);
        let is_close =
            |ratio| is_set(request) && is_set(limit) && limit <= request.map(|request| request.times(ratio));
        self.min.is_none_or(reaches) && self.max.is_none_or(stays_below) && self.ratio.is_none_or(is_close)
    }
}

// === impl NamespaceLimits, Quota ===

impl NamespaceLimits {
    /// Whether a LimitRange or quota bounds a sum that contains the pod's limits of this resource.
    fn bounds_sum_of_limits(&self, pod: &PodView<'_>, resource: Resource) -> bool {
        let quotas = self.quotas.iter().filter(|quota| quota.counts(pod));
        let mut budgets = quotas.flat_map(|quota| &quota.budgets);
        self.pod.of(resource).is_any()
            || budgets.any(|budget| budget.of_limits && budget.resource == resource)
    }
}

impl Quota {
    /// Whether the quota counts the pod once the pod has the sidecar. The sidecar has requests, so the pod is not BestEffort
    /// then.
    fn counts(&self, pod: &PodView<'_>) -> bool {
        let class = pod.spec.priority_class_name.as_deref().filter(|class| !class.is_empty());
        self.scopes.iter().all(|scope| match scope {
            QuotaScope::Terminating(expected) => pod.spec.active_deadline_seconds.is_some() == *expected,
            QuotaScope::BestEffort(expected) => !expected,
            QuotaScope::PriorityClass(None) => class.is_some(),
            QuotaScope::PriorityClass(Some(names)) => {
                class.is_some_and(|class| names.iter().any(|name| name == class))
            }
            QuotaScope::NotPriorityClass(names) => {
                class.is_none_or(|class| names.iter().all(|name| name != class))
            }
            QuotaScope::Unknown => true,
        })
    }
}

#[cfg(test)]
mod tests;
