//! The limits of namespaces: their LimitRanges and ResourceQuotas. The watch replaces them as one immutable value, and
//! admission reads this value. A namespace that is not in the value has no limits, so an incomplete watch never blocks a
//! desktop.

use std::{collections::HashMap, sync::Arc};

use super::quantity::Quantity;
use crate::runtime::vocabulary::vocabulary;

/// The limits of every namespace with limits, by name of the namespace.
#[derive(Debug, Clone, Default)]
pub struct Namespaces(pub HashMap<String, Arc<NamespaceLimits>>);

/// The limits of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceLimits {
    /// Bounds of each container, from LimitRanges.
    pub container: BoundsByResource,
    /// Bounds of a pod's sums, from LimitRanges.
    pub pod: BoundsByResource,
    /// Whether a LimitRange bounds a resource of containers that the sidecar does not have, such as GPUs. The API server
    /// would set the default of this resource on the sidecar, or reject the sidecar because it has no value.
    pub bounds_other_resources: bool,
    /// ResourceQuotas.
    pub quotas: Vec<Quota>,
}

/// [`Bounds`] by [`Resource`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoundsByResource(pub [Bounds; 3]);

/// Bounds of one resource, combined from all LimitRanges of the namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Minimum of request and limit.
    pub min: Option<Quantity>,
    /// Maximum of request and limit.
    pub max: Option<Quantity>,
    /// Whether the API server sets a default if the container has no value.
    pub default: bool,
    /// Maximum ratio of limit to request. If there is one, the sidecar's request equals its limit, so the ratio is 1.
    pub ratio: Option<Quantity>,
}

vocabulary! {
    /// A resource that the sidecar can have, with its name in Kubernetes; the number is its index in [`BoundsByResource`].
    pub enum Resource {
        /// CPU.
        Cpu = "cpu",
        /// Memory.
        Memory = "memory",
        /// Ephemeral storage, used by the sidecar's logs.
        Storage = "ephemeral-storage",
    }
}

/// The parts of a ResourceQuota that an additional container can exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Bounds of sums of all pods of the namespace.
    pub budgets: Vec<Budget>,
    /// Conditions on a pod; the quota counts pods that meet all of them.
    pub scopes: Vec<QuotaScope>,
}

/// The bound of one sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The resource.
    pub resource: Resource,
    /// Whether the bound is on the sum of limits. Otherwise it is on the sum of requests.
    pub of_limits: bool,
    /// The bound.
    pub hard: Quantity,
    /// The used amount that the quota controller last reported.
    pub used: Quantity,
}

/// A condition on the pods that a quota counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuotaScope {
    /// `true`: pods with an active deadline; `false`: pods without one.
    Terminating(bool),
    /// `true`: pods without any request or limit of CPU and memory; `false`: all other pods.
    BestEffort(bool),
    /// Pods of one of these priority classes; `None`: pods of any class.
    PriorityClass(Option<Vec<String>>),
    /// Pods without a priority class, or of a class that is not in the list.
    NotPriorityClass(Vec<String>),
    /// An unknown scope. Every pod is assumed to meet it, so that the sidecar never makes the API server reject a pod.
    Unknown,
}

// === impl Namespaces ===

impl Namespaces {
    /// The limits of a namespace, if there are any.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&NamespaceLimits> {
        self.0.get(name).map(|namespace| &**namespace)
    }
}

// === impl BoundsByResource ===

impl BoundsByResource {
    /// The bounds of a resource.
    #[must_use]
    pub const fn of(&self, resource: Resource) -> Bounds {
        self.0[resource as usize]
    }

    /// The bounds of a resource, for changes.
    pub const fn of_mut(&mut self, resource: Resource) -> &mut Bounds {
        &mut self.0[resource as usize]
    }
}

// === impl Bounds ===

impl Bounds {
    /// Whether there is any bound or default.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// Adds the bounds of another LimitRange; of two bounds the stricter one counts.
    pub fn add(&mut self, other: Self) {
        self.min = self.min.max(other.min);
        self.max = smaller(self.max, other.max);
        self.default |= other.default;
        self.ratio = smaller(self.ratio, other.ratio);
    }
}

fn smaller(one: Option<Quantity>, other: Option<Quantity>) -> Option<Quantity> {
    [one, other].into_iter().flatten().min()
}

// === impl Quota ===

impl Quota {
    /// Whether an additional container can change what the quota counts.
    #[must_use]
    pub fn affects_containers(&self) -> bool {
        !self.budgets.is_empty() || self.distinguishes_best_effort()
    }

    /// Whether the quota counts only BestEffort pods, or only other pods.
    #[must_use]
    pub fn distinguishes_best_effort(&self) -> bool {
        self.scopes.iter().any(|scope| matches!(scope, QuotaScope::BestEffort(_)))
    }
}

// === impl Budget ===

impl Budget {
    /// The amount that may still be used.
    #[must_use]
    pub fn left(&self) -> Quantity {
        self.hard + -self.used
    }
}
