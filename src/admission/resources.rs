//! What the sidecar may use in one pod, so that the pod keeps its quality of service and nothing in its namespace refuses
//! it for our sake.

use super::{
    namespaces::{Bounds, Limits, Namespace, Quota, Resource, Scope},
    pod::{Amounts, Container, Pod, Resources},
    quantity::Quantity,
    reason::SkipReason,
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
/// What the pod as a whole has resources of, the sidecar has none of its own: the sums are checked against the pod's. A
/// LimitRange would fill its defaults in there, so what a LimitRange speaks of is set all the same.
pub(super) fn fit(
    pod: &Pod<'_>,
    wanted: settings::Resources,
    namespace: Option<&Namespace>,
) -> Result<Share, SkipReason> {
    let free = Namespace::default();
    let namespace = namespace.unwrap_or(&free);
    let quality = Quality::of(pod);
    let of_the_pod = pod.resources();
    if namespace.foreign {
        return Err(SkipReason::LimitRange);
    }
    let tells_apart = || namespace.quotas.iter().any(Quota::tells_best_effort_apart);
    if quality == Quality::BestEffort && of_the_pod.is_none() && tells_apart() {
        // Any request of ours would move the pod from one quota into another.
        return Ok(Share::default());
    }
    let filled_in = of_the_pod.is_some_and(|whole| is_guaranteed_by_its_containers(pod, whole));
    let mut share = Share::default();
    for resource in Resource::ALL {
        let bounds = namespace.container.of(resource);
        let is_ours = resource != Resource::Storage
            && of_the_pod.is_none_or(|whole| match whole.said(resource) {
                (None, None) => true,
                (Some(_), None) => filled_in,
                (_, Some(_)) => false,
            });
        if is_ours || bounds.is_any() {
            let whole = quality == Quality::Guaranteed
                || is_ours && of_the_pod.is_some()
                || bounds.ratio.is_some()
                || namespace.pod.of(resource).ratio.is_some();
            let counted = whole || namespace.adds_limits_up(pod, resource);
            let (request, limit) = fit_one(resource, wanted, bounds, whole, counted)?;
            share.requests[resource as usize] = Some(request);
            share.limits[resource as usize] = Some(limit);
        }
    }
    within_the_pod(pod, &share, filled_in)?;
    within_sums(pod, &share, namespace)?;
    Ok(share)
}

fn fit_one(
    resource: Resource,
    wanted: settings::Resources,
    bounds: Bounds,
    whole: bool,
    counted: bool,
) -> Result<(Quantity, Quantity), SkipReason> {
    let cpu = if counted { wanted.counted_cpu() } else { wanted.limits.cpu };
    let (request, limit, least) = match resource {
        Resource::Cpu => (wanted.requests.cpu, cpu, Quantity::thousandths(1)),
        Resource::Memory => (wanted.requests.memory, wanted.limits.memory, LEAST_MEMORY),
        Resource::Storage => (STORAGE, STORAGE, Quantity::thousandths(1)),
    };
    let limit = bounds.clamp(limit);
    let request = if whole { limit } else { bounds.clamp(request) };
    let fits = limit >= least && bounds.max.is_none_or(|max| limit <= max);
    fits.then_some((request, limit)).ok_or(SkipReason::LimitRange)
}

/// Kubernetes adds the containers' requests up to the pod's own, and holds each limit against the pod's.
fn within_the_pod(pod: &Pod<'_>, share: &Share, filled_in: bool) -> Result<(), SkipReason> {
    let Some(whole) = pod.resources() else { return Ok(()) };
    for resource in ESSENTIAL {
        let Some(ours) = share.limits[resource as usize] else { continue };
        let (request, limit) = whole.said(resource);
        let sum = |kind| Sum::of_containers(pod, share, resource, kind).with;
        // Requests of the pod that are not said become the sum, and have to be within its limits.
        let is_too_much = exceeds(sum(Kind::Requests), request.or(limit))
            || exceeds(Some(ours), limit)
            || filled_in && limit.is_none() && exceeds(sum(Kind::Limits), request);
        if is_too_much {
            return Err(SkipReason::LimitRange);
        }
    }
    Ok(())
}

fn exceeds(amount: Option<Quantity>, most: Option<Quantity>) -> bool {
    most.is_some_and(|most| amount > Some(most))
}

/// From 1.37 on, limits that the pod as a whole does not say become the sum of its containers' limits, where all have one,
/// and its requests at least. A pod that is Guaranteed by that needs limits of every container, and not too large ones.
fn is_guaranteed_by_its_containers(pod: &Pod<'_>, whole: &Resources<'_>) -> bool {
    let sum = |resource, kind| Sum::of_containers(pod, &Share::default(), resource, kind).without;
    let becomes_equal = |resource| {
        let (request, limit) = whole.said(resource);
        let is_limited = |container: &Container<'_>| container.amount(resource, Kind::Limits).is_some();
        let limits = || sum(resource, Kind::Limits).filter(|_| pod.others().all(is_limited));
        let request = request.or_else(|| sum(resource, Kind::Requests)).or(limit);
        let limit = limit.or_else(|| Some(limits()?.max(request?)));
        request == limit && request.is_some_and(Quantity::is_positive)
    };
    ESSENTIAL.into_iter().any(|resource| matches!(whole.said(resource), (Some(_), None)))
        && ESSENTIAL.into_iter().all(becomes_equal)
}

/// What is accepted without us must be with us. What is refused must not be accepted for our sake, nor refused in words
/// about a sum that we are part of.
fn within_sums(pod: &Pod<'_>, share: &Share, namespace: &Namespace) -> Result<(), SkipReason> {
    if namespace.pod != Limits::default() {
        for resource in Resource::ALL {
            let bounds = namespace.pod.of(resource);
            let [requests, limits] =
                [Kind::Requests, Kind::Limits].map(|kind| Sum::of_pod(pod, share, resource, kind));
            let is_changed = requests.is_changed() || limits.is_changed();
            let accepted =
                bounds.allow(requests.without, limits.without) && bounds.allow(requests.with, limits.with);
            if is_changed && !accepted {
                return Err(SkipReason::LimitRange);
            }
        }
    }
    let quotas = namespace.quotas.iter().filter(|quota| quota.counts(pod));
    for budget in quotas.flat_map(|quota| &quota.budgets) {
        let kind = if budget.of_limits { Kind::Limits } else { Kind::Requests };
        let sum = Sum::of_pod(pod, share, budget.resource, kind);
        if sum.is_changed() && exceeds(sum.with, Some(budget.left())) {
            return Err(SkipReason::ResourceQuota);
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Requests,
    Limits,
}

/// A pod's need without and with the sidecar; `None` where nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum {
    without: Option<Quantity>,
    with: Option<Quantity>,
}

/// The resources that decide on the quality of service, and those that a pod as a whole can have.
const ESSENTIAL: [Resource; 2] = [Resource::Cpu, Resource::Memory];

// === impl Sum ===

impl Sum {
    /// The need that limits and quotas are held against: the pod's own word counts more than its containers'.
    fn of_pod(pod: &Pod<'_>, share: &Share, resource: Resource, kind: Kind) -> Self {
        let said = pod.resources().and_then(|whole| whole.amount(resource, kind));
        said.map_or_else(
            || Self::of_containers(pod, share, resource, kind),
            |amount| Self { without: Some(amount), with: Some(amount) },
        )
    }

    /// Kubernetes' own sum: what runs at once, or more where an init container takes more beside the sidecars before it.
    /// Ours comes after all of those.
    fn of_containers(pod: &Pod<'_>, share: &Share, resource: Resource, kind: Kind) -> Self {
        let amount = |container: &Container<'_>| container.amount(resource, kind);
        let others =
            |list| Option::into_iter(list).flatten().filter(|other: &&Container<'_>| other.name != CONTAINER);
        let (mut beside, mut peak) = (None, None);
        for container in others(pod.spec.init_containers.as_ref()) {
            if container.is_restarted() {
                beside = plus(beside, amount(container));
            } else {
                peak = peak.max(plus(beside, amount(container)));
            }
        }
        let running = others(pod.spec.containers.as_ref()).map(amount).fold(beside, plus);
        let ours = match kind {
            Kind::Requests => share.requests,
            Kind::Limits => share.limits,
        }[resource as usize];
        Self { without: running.max(peak), with: plus(running, ours).max(peak) }
    }

    fn is_changed(self) -> bool {
        self.without != self.with
    }
}

fn plus(one: Option<Quantity>, other: Option<Quantity>) -> Option<Quantity> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        _ => one.or(other),
    }
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
        let positive = |container: &Container<'_>, resource, kind| {
            container.amount(resource, kind).filter(|amount| amount.is_positive())
        };
        let is_whole = |container: &Container<'_>| {
            ESSENTIAL.iter().all(|resource| {
                let limit = positive(container, *resource, Kind::Limits);
                limit.is_some() && limit == positive(container, *resource, Kind::Requests)
            })
        };
        let is_free = |container: &Container<'_>| {
            ESSENTIAL.iter().all(|resource| {
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
    fn amount(&self, resource: Resource, kind: Kind) -> Option<Quantity> {
        self.resources.as_ref()?.amount(resource, kind)
    }
}

// === impl Resources ===

impl Resources<'_> {
    /// A request or limit. A limit without request is both, as the API server would fill in.
    fn amount(&self, resource: Resource, kind: Kind) -> Option<Quantity> {
        let (request, limit) = self.said(resource);
        match kind {
            Kind::Limits => limit,
            Kind::Requests => request.or(limit),
        }
    }

    /// Request and limit as they stand there.
    fn said(&self, resource: Resource) -> (Option<Quantity>, Option<Quantity>) {
        let of = |amounts: Option<Amounts>| amounts.and_then(|amounts| amounts.of(resource));
        (of(self.requests), of(self.limits))
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

    /// Whether Kubernetes accepts sums like these.
    fn allow(self, request: Option<Quantity>, limit: Option<Quantity>) -> bool {
        let is_set = |amount: Option<Quantity>| amount.is_some_and(Quantity::is_positive);
        let least = |min| request >= Some(min) && limit.is_none_or(|limit| limit >= min);
        let most = |max| limit.is_some() && limit <= Some(max) && request <= Some(max);
        let close =
            |ratio| is_set(request) && is_set(limit) && limit <= request.map(|request| request.times(ratio));
        self.min.is_none_or(least) && self.max.is_none_or(most) && self.ratio.is_none_or(close)
    }
}

// === impl Namespace, Quota ===

impl Namespace {
    /// Whether a pod's limits of a resource are held against anything as a sum.
    fn adds_limits_up(&self, pod: &Pod<'_>, resource: Resource) -> bool {
        let quotas = self.quotas.iter().filter(|quota| quota.counts(pod));
        let mut budgets = quotas.flat_map(|quota| &quota.budgets);
        self.pod.of(resource).is_any()
            || budgets.any(|budget| budget.of_limits && budget.resource == resource)
    }
}

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
