//! The quality of service of a pod.

use super::sums::{AmountKind, ESSENTIAL, PodSum};
use crate::admission::{
    pod::{ContainerView, DeclaredResources, PodView},
    quantity::Quantity,
};

/// Quality of service, by the rules of Kubernetes for pods without pod-level resources.
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
            ESSENTIAL.iter().all(|resource| {
                let limit = positive(container, *resource, AmountKind::Limits);
                limit.is_some() && limit == positive(container, *resource, AmountKind::Requests)
            })
        };
        let is_best_effort = |container: &ContainerView<'_>| {
            ESSENTIAL.iter().all(|resource| {
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

/// Whether a pod with pod-level resources is Guaranteed only because of its containers' limits.
///
/// From Kubernetes 1.37, a missing pod-level limit is the sum of the containers' limits if all containers have one, and at least
/// the pod-level request. To stay Guaranteed, such a pod needs a limit on every container, the sidecar included, and the sum of
/// the limits must not exceed the request.
pub(super) fn is_guaranteed_by_containers(pod: &PodView<'_>, pod_level: &DeclaredResources<'_>) -> bool {
    let sum = |resource, kind| PodSum::of_containers(pod, None, resource, kind).without;
    let becomes_equal = |resource| {
        let (request, limit) = pod_level.declared(resource);
        let is_limited =
            |container: &ContainerView<'_>| container.amount(resource, AmountKind::Limits).is_some();
        let limits = || sum(resource, AmountKind::Limits).filter(|_| pod.others().all(is_limited));
        let request = request.or_else(|| sum(resource, AmountKind::Requests)).or(limit);
        let limit = limit.or_else(|| Some(limits()?.max(request?)));
        request == limit && request.is_some_and(Quantity::is_positive)
    };
    ESSENTIAL.into_iter().any(|resource| matches!(pod_level.declared(resource), (Some(_), None)))
        && ESSENTIAL.into_iter().all(becomes_equal)
}
