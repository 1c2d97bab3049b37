//! Sums of a pod's requests and limits, calculated as Kubernetes does.

use crate::{
    admission::{
        namespaces::Resource,
        pod::{ContainerView, DeclaredAmounts, DeclaredResources, PodView, StrictObject},
        quantity::Quantity,
    },
    contract::CONTAINER,
};

/// The resources that determine the quality of service, and that can have pod-level values.
pub(super) const CPU_AND_MEMORY: [Resource; 2] = [Resource::Cpu, Resource::Memory];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AmountKind {
    Requests,
    Limits,
}

/// The sum of one resource in a pod, without and with the sidecar; `None` if no container has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PodSum {
    pub(super) without: Option<Quantity>,
    pub(super) with: Option<Quantity>,
}

// === impl PodSum ===

impl PodSum {
    /// The sum that the API server compares with LimitRanges and quotas. A pod-level value takes precedence over the
    /// containers' values.
    pub(super) fn of_pod(
        pod: &PodView<'_>,
        added: Option<Quantity>,
        resource: Resource,
        kind: AmountKind,
    ) -> Self {
        let pod_level = pod.resources().and_then(|resources| resources.amount(resource, kind));
        pod_level.map_or_else(
            || Self::of_containers(pod, added, resource, kind),
            |amount| Self { without: Some(amount), with: Some(amount) },
        )
    }

    /// The sum of the containers that run at the same time: regular containers and native sidecars. During the start, an init
    /// container runs together with the native sidecars before it; if their sum is larger, it counts instead. The injected
    /// sidecar starts after all init containers, so only the first sum contains it.
    pub(super) fn of_containers<'p>(
        pod: &'p PodView<'_>,
        added: Option<Quantity>,
        resource: Resource,
        kind: AmountKind,
    ) -> Self {
        let amount = |container: &StrictObject<ContainerView<'_>>| container.amount(resource, kind);
        let others = |list: &'p Option<Vec<StrictObject<ContainerView<'_>>>>| {
            list.iter().flatten().filter(|other| other.name != CONTAINER)
        };
        let (mut sidecars, mut peak) = (None, None);
        for container in others(&pod.spec.init_containers) {
            if container.is_native_sidecar() {
                sidecars = plus(sidecars, amount(container));
            } else {
                peak = peak.max(plus(sidecars, amount(container)));
            }
        }
        let running = others(&pod.spec.containers).map(amount).fold(sidecars, plus);
        Self { without: running.max(peak), with: plus(running, added).max(peak) }
    }

    pub(super) fn is_changed(self) -> bool {
        self.without != self.with
    }
}

fn plus(one: Option<Quantity>, other: Option<Quantity>) -> Option<Quantity> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        _ => one.or(other),
    }
}

// === impl ContainerView ===

impl ContainerView<'_> {
    pub(super) fn amount(&self, resource: Resource, kind: AmountKind) -> Option<Quantity> {
        self.resources.as_ref()?.amount(resource, kind)
    }
}

// === impl DeclaredResources ===

impl DeclaredResources<'_> {
    /// The request or limit. The API server sets a missing request to the limit.
    fn amount(&self, resource: Resource, kind: AmountKind) -> Option<Quantity> {
        let (request, limit) = self.declared(resource);
        match kind {
            AmountKind::Limits => limit,
            AmountKind::Requests => request.or(limit),
        }
    }

    /// Request and limit without defaults.
    pub(super) fn declared(&self, resource: Resource) -> (Option<Quantity>, Option<Quantity>) {
        let of =
            |amounts: &Option<DeclaredAmounts<'_>>| amounts.as_ref().and_then(|amounts| amounts.of(resource));
        (of(&self.requests), of(&self.limits))
    }
}
