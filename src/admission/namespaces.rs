//! What is known of the namespaces that pods are created in: their LimitRanges and ResourceQuotas, as one immutable
//! value that a watch replaces and admission reads. What is not known binds nobody: a cold cache costs no desktop.

use std::{collections::HashMap, sync::Arc};

use super::quantity::Quantity;

/// Every namespace that limits anything, by name.
#[derive(Debug, Clone, Default)]
pub struct Namespaces(pub HashMap<String, Arc<Namespace>>);

/// The limits of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// What LimitRanges say of each container.
    pub container: Limits,
    /// What LimitRanges say of a pod's sums.
    pub pod: Limits,
    /// A LimitRange speaks of containers' GPUs or other resources that the sidecar has none of. The API server would fill
    /// its default in, or refuse a container without.
    pub foreign: bool,
    /// ResourceQuotas.
    pub quotas: Vec<Quota>,
}

/// Bounds by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits(pub [Bounds; 3]);

/// Bounds of one resource, of all LimitRanges together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Least request and limit.
    pub min: Option<Quantity>,
    /// Greatest request and limit.
    pub max: Option<Quantity>,
    /// Whether a default would be filled in where none is set.
    pub default: bool,
    /// Greatest ratio of limit to request. The sidecar asks for its whole limit then, which is the ratio 1.
    pub ratio: Option<Quantity>,
}

/// A resource that the sidecar can have; the number is its place in [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Processor.
    Cpu,
    /// Memory.
    Memory,
    /// Ephemeral storage: its logs.
    Storage,
}

/// A ResourceQuota, as far as a container more can break it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Bounds on sums over the namespace's pods.
    pub budgets: Vec<Budget>,
    /// Which pods it counts: those that all of these hold for.
    pub scopes: Vec<Scope>,
}

/// How much of something pods may have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// What is bounded.
    pub resource: Resource,
    /// Limits are summed, not requests.
    pub of_limits: bool,
    /// The bound.
    pub hard: Quantity,
    /// What of it is used, as the quota controller said last.
    pub used: Quantity,
}

/// A condition on the pods that a quota counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// With an active deadline, or without.
    Terminating(bool),
    /// Without any request and limit of processor and memory, or with one.
    BestEffort(bool),
    /// Of one of these priority classes; `None` for any class at all.
    PriorityClass(Option<Vec<String>>),
    /// Of none of these priority classes.
    NotPriorityClass(Vec<String>),
    /// One that is not modelled: it is taken to hold, so that no desktop is refused for our sake.
    Other,
}

// === impl Namespaces ===

impl Namespaces {
    /// What is known of a namespace.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Namespace> {
        self.0.get(name).map(|namespace| &**namespace)
    }
}

// === impl Resource ===

impl Resource {
    /// Every one, in the order of [`Limits`].
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Storage];

    /// Kubernetes' name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Storage => "ephemeral-storage",
        }
    }

    /// The resource of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.as_str() == name)
    }
}

// === impl Limits ===

impl Limits {
    /// The bounds of a resource.
    #[must_use]
    pub const fn of(&self, resource: Resource) -> Bounds {
        self.0[resource as usize]
    }

    /// The bounds of a resource, to be changed.
    pub const fn of_mut(&mut self, resource: Resource) -> &mut Bounds {
        &mut self.0[resource as usize]
    }
}

// === impl Bounds ===

impl Bounds {
    /// Whether anything is said of the resource.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// Adds what another LimitRange says: the stricter word counts.
    pub fn and(&mut self, other: Self) {
        self.min = self.min.max(other.min);
        self.max = least(self.max, other.max);
        self.default |= other.default;
        self.ratio = least(self.ratio, other.ratio);
    }
}

fn least(one: Option<Quantity>, other: Option<Quantity>) -> Option<Quantity> {
    [one, other].into_iter().flatten().min()
}

// === impl Quota ===

impl Quota {
    /// Whether a container more can matter to it.
    #[must_use]
    pub fn concerns_us(&self) -> bool {
        !self.budgets.is_empty() || self.scopes.iter().any(|scope| matches!(scope, Scope::BestEffort(_)))
    }
}

// === impl Budget ===

impl Budget {
    /// What may still be used.
    #[must_use]
    pub fn left(&self) -> Quantity {
        self.hard + -self.used
    }
}
