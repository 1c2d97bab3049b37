//! The quality of service of a pod.

use super::sums::{AmountKind, CPU_AND_MEMORY, PodSum};
use crate::admission::{
    pod::{ContainerView, DeclaredResources, PodView},
    quantity::Quantity,
};

/// Quality of service. Calculated by the rules of Kubernetes for pods without pod-level resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quality {
    Guaranteed,
    Burstable,
    BestEffort,
}

// === impl Quality ===

impl Quality {
    pub(super) fn of(pod: &PodView<'_>) -> Self {
        let positive = |container: &ContainerView<'_>, resource, kind| {
            container.amount(resource, kind).filter(|amount| amount.is_positive())
        };
        let is_guaranteed = |container: &ContainerView<'_>| {
            CPU_AND_MEMORY.iter().all(|resource| {
                let limit = positive(container, *resource, AmountKind::Limits);
                limit.is_some() && limit == positive(container, *resource, AmountKind::Requests)
            })
        };
        let is_best_effort = |container: &ContainerView<'_>| {
            CPU_AND_MEMORY.iter().all(|resource| {
                [AmountKind::Requests, AmountKind::Limits]
                    .iter()
                    .all(|kind| positive(container, *resource, *kind).is_none())
            })
        };
        if pod.others().all(is_guaranteed) {
            Self::Guaranteed
        } else if pod.others().all(is_best_effort) {
            Self::BestEffort
        } else {
            Self::Burstable
        }
    }
}

/// Whether a pod is Guaranteed only because Kubernetes sets a missing pod-level limit.
///
/// Kubernetes 1.37 and newer sets a missing pod-level limit if every container has a limit. The pod-level limit is then the
/// sum of the containers' limits, or the pod-level request if that is higher.
pub(super) fn is_guaranteed_by_containers(pod: &PodView<'_>, pod_level: &DeclaredResources<'_>) -> bool {
    let sum = |resource, kind| PodSum::of_containers(pod, None, resource, kind).without;
    let becomes_equal = |resource| {
        let (request, limit) = pod_level.declared(resource);
        let is_limited =
            |container: &ContainerView<'_>| container.amount(resource, AmountKind::Limits).is_some();
        let sum_of_limits = || sum(resource, AmountKind::Limits).filter(|_| pod.others().all(is_limited));
        let final_request = request.or_else(|| sum(resource, AmountKind::Requests)).or(limit);
        let final_limit = limit.or_else(|| Some(sum_of_limits()?.max(final_request?)));
        final_request == final_limit && final_request.is_some_and(Quantity::is_positive)
    };
    CPU_AND_MEMORY.into_iter().any(|resource| matches!(pod_level.declared(resource), (Some(_), None)))
        && CPU_AND_MEMORY.into_iter().all(becomes_equal)
}
