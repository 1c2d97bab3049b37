//! What the sidecar may use in one pod, so that the pod keeps its quality of service and nothing in its namespace refuses
//! it for our sake.

use super::{
    namespaces::{Bounds, Limits, Namespace, Quota, Resource, Scope},
    pod::{Amounts, Container, Pod},
    quantity::Quantity,
    reason::Reason,
    settings::{self, LEAST_MEMORY},
};
use crate::contract::CONTAINER;

/// The sidecar's requests and limits in one pod, by [`Resource`]; absent ones are left to the pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) requests: [Option<Quantity>; 3],
    pub(super) limits: [Option<Quantity>; 3],
}

/// Room for its logs, where a LimitRange wants to know.
const STORAGE: Quantity = Quantity::mebibytes(16);

/// Fits the sidecar into the pod and its namespace.
///
/// Under resources of the pod as a whole it has none of its own: the sums are checked against the pod's. A LimitRange would
/// fill its defaults in there, so what a LimitRange speaks of is set all the same.
pub(super) fn fit(
    pod: &Pod<'_>,
    wanted: settings::Resources,
    namespace: Option<&Namespace>,
) -> Result<Share, Reason> {
    let free = Namespace::default();
    let namespace = namespace.unwrap_or(&free);
    let quality = Quality::of(pod);
    if namespace.foreign {
        return Err(Reason::LimitRange);
    }
    if quality == Quality::BestEffort && namespace.quotas.iter().any(Quota::tells_best_effort_apart) {
        // Any request of ours would move the pod from one quota into another.
        return Ok(Share::default());
    }
    let mut share = Share::default();
    for resource in Resource::ALL {
        let bounds = namespace.container.of(resource);
        let is_ours = resource != Resource::Storage && pod.resources().is_none();
        if is_ours || bounds.is_any() {
            let whole = quality == Quality::Guaranteed || bounds.ratio || namespace.pod.of(resource).ratio;
            let (request, limit) = fit_one(resource, wanted, bounds, whole)?;
            share.requests[resource as usize] = Some(request);
            share.limits[resource as usize] = Some(limit);
        }
    }
    within_the_pod(pod, &share)?;
    within_sums(pod, &share, namespace)?;
    Ok(share)
}

fn fit_one(
    resource: Resource,
    wanted: settings::Resources,
    bounds: Bounds,
    whole: bool,
) -> Result<(Quantity, Quantity), Reason> {
    let (request, limit, least) = match resource {
        Resource::Cpu => (wanted.requests.cpu, wanted.limits.cpu, Quantity::thousandths(1)),
        Resource::Memory => (wanted.requests.memory, wanted.limits.memory, LEAST_MEMORY),
        Resource::Storage => (STORAGE, STORAGE, Quantity::thousandths(1)),
    };
    let limit = bounds.clamp(limit);
    let request = if whole { limit } else { bounds.clamp(request) };
    let fits = limit >= least && bounds.max.is_none_or(|max| limit <= max);
    fits.then_some((request, limit)).ok_or(Reason::LimitRange)
}

/// Kubernetes adds the containers' requests up to the pod's own, and holds each limit against the pod's.
fn within_the_pod(pod: &Pod<'_>, share: &Share) -> Result<(), Reason> {
    let Some(whole) = pod.resources() else { return Ok(()) };
    for resource in [Resource::Cpu, Resource::Memory] {
        let Some(limit) = share.limits[resource as usize] else { continue };
        let most = |amounts: Option<Amounts>| amounts.and_then(|amounts| amounts.of(resource));
        let (_, sum) = sums(pod, share, resource, Kind::Requests);
        let too_much = |amount: Quantity, amounts| most(amounts).is_some_and(|most| amount > most);
        if too_much(sum, whole.requests) || too_much(limit, whole.limits) {
            return Err(Reason::LimitRange);
        }
    }
    Ok(())
}

/// What is refused without us is refused for its own reason; what is not, must not be with us.
fn within_sums(pod: &Pod<'_>, share: &Share, namespace: &Namespace) -> Result<(), Reason> {
    if pod.resources().is_some() {
        // The pod's own count then, whatever its containers ask for.
        return Ok(());
    }
    let exceeds = |resource, kind, most: Quantity| {
        let (without, with) = sums(pod, share, resource, kind);
        without <= most && most < with
    };
    if namespace.pod != Limits::default() {
        for resource in Resource::ALL {
            let max = namespace.pod.of(resource).max;
            if max.is_some_and(|max| {
                exceeds(resource, Kind::Requests, max) || exceeds(resource, Kind::Limits, max)
            }) {
                return Err(Reason::LimitRange);
            }
        }
    }
    let quotas = namespace.quotas.iter().filter(|quota| quota.counts(pod));
    for budget in quotas.flat_map(|quota| &quota.budgets) {
        let kind = if budget.of_limits { Kind::Limits } else { Kind::Requests };
        if exceeds(budget.resource, kind, budget.left()) {
            return Err(Reason::ResourceQuota);
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Requests,
    Limits,
}

/// The pod's need by Kubernetes' own sum, without and with the sidecar: what runs at once, or more where an init container
/// takes more beside the sidecars before it. Ours comes after all of those.
fn sums(pod: &Pod<'_>, share: &Share, resource: Resource, kind: Kind) -> (Quantity, Quantity) {
    let amount = |container: &Container<'_>| container.amount(resource, kind).unwrap_or_default();
    let others = |list: &Option<Vec<Container<'_>>>| -> Quantity {
        list.iter().flatten().filter(|container| container.name != CONTAINER).map(amount).sum()
    };
    let (mut beside, mut peak) = (Quantity::default(), Quantity::default());
    for container in pod.spec.init_containers.iter().flatten().filter(|c| c.name != CONTAINER) {
        if container.is_restarted() {
            beside = beside + amount(container);
        } else {
            peak = peak.max(beside + amount(container));
        }
    }
    let running = others(&pod.spec.containers) + beside;
    let ours = match kind {
        Kind::Requests => share.requests,
        Kind::Limits => share.limits,
    }[resource as usize];
    (running.max(peak), (running + ours.unwrap_or_default()).max(peak))
}

/// Quality of service, by Kubernetes' rules, of a pod without resources of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quality {
    Guaranteed,
    Burstable,
    BestEffort,
}

// === impl Quality ===

impl Quality {
    fn of(pod: &Pod<'_>) -> Self {
        let essential = [Resource::Cpu, Resource::Memory];
        let positive = |container: &Container<'_>, resource, kind| {
            container.amount(resource, kind).filter(|amount| amount.is_positive())
        };
        let is_whole = |container: &Container<'_>| {
            essential.iter().all(|resource| {
                let limit = positive(container, *resource, Kind::Limits);
                limit.is_some() && limit == positive(container, *resource, Kind::Requests)
            })
        };
        let is_free = |container: &Container<'_>| {
            essential.iter().all(|resource| {
                [Kind::Requests, Kind::Limits]
                    .iter()
                    .all(|kind| positive(container, *resource, *kind).is_none())
            })
        };
        if pod.others().all(is_whole) {
            Self::Guaranteed
        } else if pod.others().all(is_free) {
            Self::BestEffort
        } else {
            Self::Burstable
        }
    }
}

// === impl Container ===

impl Container<'_> {
    /// A request or limit. A limit without request is both, as the API server would fill in.
    fn amount(&self, resource: Resource, kind: Kind) -> Option<Quantity> {
        let resources = self.resources.as_ref()?;
        let of = |amounts: Option<Amounts>| amounts.and_then(|amounts| amounts.of(resource));
        match kind {
            Kind::Limits => of(resources.limits),
            Kind::Requests => of(resources.requests).or_else(|| of(resources.limits)),
        }
    }
}

// === impl Amounts ===

impl Amounts {
    fn of(&self, resource: Resource) -> Option<Quantity> {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
            Resource::Storage => self.storage,
        }
    }
}

// === impl Bounds ===

impl Bounds {
    fn clamp(self, amount: Quantity) -> Quantity {
        let amount = self.max.map_or(amount, |max| amount.min(max));
        self.min.map_or(amount, |min| amount.max(min))
    }
}

// === impl Quota ===

impl Quota {
    fn tells_best_effort_apart(&self) -> bool {
        self.scopes.iter().any(|scope| matches!(scope, Scope::BestEffort(_)))
    }

    /// Whether the pod, with a sidecar that asks for something, is one of those that it counts.
    fn counts(&self, pod: &Pod<'_>) -> bool {
        let class = pod.spec.priority_class_name.as_deref().filter(|class| !class.is_empty());
        self.scopes.iter().all(|scope| match scope {
            Scope::Terminating(wanted) => pod.spec.active_deadline_seconds.is_some() == *wanted,
            Scope::BestEffort(wanted) => !wanted,
            Scope::PriorityClass(None) => class.is_some(),
            Scope::PriorityClass(Some(names)) => {
                class.is_some_and(|class| names.iter().any(|name| name == class))
            }
            Scope::NotPriorityClass(names) => {
                class.is_none_or(|class| names.iter().all(|name| name != class))
            }
            Scope::Other => true,
        })
    }
}

#[cfg(test)]
mod tests;
