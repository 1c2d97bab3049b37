//! The closed vocabulary of why a pod goes without the sidecar. These words are label values, annotations and audit
//! entries.

use std::fmt;

/// What is answered about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is given the sidecar.
    Injected,
    /// It has the sidecar, and what somebody else took from it is put back.
    Repaired,
    /// It goes without us.
    Skipped(SkipReason),
}

/// Why a pod goes without the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The pod says so.
    OptedOut,
    /// Our container is there.
    AlreadyInjected,
    /// Desktops do not run in the system's namespaces, and nothing may hold those pods up.
    SystemNamespace,
    /// The kubelet made it from a file and would not run what we add.
    MirrorPod,
    /// A virtual machine's launcher: what it holds is passed on to the machine, out of a sidecar's sight.
    Kubevirt,
    /// On the host's network a port of ours could collide with any other process of the node.
    HostNetwork,
    /// The pod declares every port from the configured one on.
    NoFreePort,
    /// A container, volume or port of our name belongs to somebody else.
    NameTaken,
    /// There is no sidecar for Windows, and a container that cannot start would hold the desktop back.
    Windows,
    /// A LimitRange of the namespace, or the resources of the pod as a whole, leave no room for a sidecar.
    LimitRange,
    /// The sidecar would take the pod over a ResourceQuota of its namespace.
    ResourceQuota,
    /// Not the creation of a pod: the webhook configuration asks for too much.
    NotAPod,
    /// The pod cannot be read.
    Undecodable,
    /// Our patch does not apply to this pod.
    PatchRejected,
}

// === impl SkipReason ===

impl SkipReason {
    /// Every reason, so that each has a series before it first happens.
    pub const ALL: [Self; 14] = [
        Self::OptedOut,
        Self::AlreadyInjected,
        Self::SystemNamespace,
        Self::MirrorPod,
        Self::Kubevirt,
        Self::HostNetwork,
        Self::NoFreePort,
        Self::NameTaken,
        Self::Windows,
        Self::LimitRange,
        Self::ResourceQuota,
        Self::NotAPod,
        Self::Undecodable,
        Self::PatchRejected,
    ];

    /// The word for labels and annotations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.words().0
    }

    /// Whether the pod is told in an annotation. Not after an internal failure, not twice, and not where nothing is to be
    /// touched at all.
    pub(super) fn is_marked(self) -> bool {
        !matches!(
            self,
            Self::AlreadyInjected
                | Self::SystemNamespace
                | Self::MirrorPod
                | Self::NotAPod
                | Self::Undecodable
                | Self::PatchRejected
        )
    }

    /// What the creator of the pod is told, where something is wrong.
    #[must_use]
    pub fn warning(self) -> Option<&'static str> {
        self.words().1
    }

    /// The word, and the warning; at most 120 characters.
    fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::OptedOut => ("opted_out", None),
            Self::AlreadyInjected => ("already_injected", None),
            Self::SystemNamespace => (
                "system_namespace",
                Some("vdi-metrics: not injected: no desktop belongs into a namespace of the system"),
            ),
            Self::MirrorPod => ("mirror_pod", None),
            Self::Kubevirt => (
                "kubevirt",
                Some(
                    "vdi-metrics: not injected: a virtual machine's GPU cannot be seen from its launcher pod",
                ),
            ),
            Self::HostNetwork => {
                ("host_network", Some("vdi-metrics: not injected: the pod uses the host's network"))
            }
            Self::NoFreePort => {
                ("no_free_port", Some("vdi-metrics: not injected: the pod declares every port from ours on"))
            }
            Self::NameTaken => (
                "name_taken",
                Some(
                    "vdi-metrics: not injected: the name vdi-metrics belongs to another container, volume or port",
                ),
            ),
            Self::Windows => ("windows", Some("vdi-metrics: not injected: there is no sidecar for Windows")),
            Self::LimitRange => (
                "limit_range",
                Some(
                    "vdi-metrics: not injected: the namespace's LimitRange or the pod's resources leave no room",
                ),
            ),
            Self::ResourceQuota => (
                "resource_quota",
                Some("vdi-metrics: not injected: the sidecar would go over a ResourceQuota of the namespace"),
            ),
            Self::NotAPod => {
                ("not_a_pod", Some("vdi-metrics: asked about something else than a pod's creation"))
            }
            Self::Undecodable => {
                ("undecodable", Some("vdi-metrics: not injected: the pod could not be read"))
            }
            Self::PatchRejected => (
                "patch_rejected",
                Some("vdi-metrics: not injected: the patch does not fit this pod; please report it"),
            ),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Outcome and reason as label values.
    #[must_use]
    pub fn labels(self) -> [&'static str; 2] {
        match self {
            Self::Injected => ["injected", "opted_in"],
            Self::Repaired => ["repaired", "damaged"],
            Self::Skipped(reason) => ["skipped", reason.as_str()],
        }
    }

    /// What the creator of the pod is told, where something is wrong.
    pub(super) fn warning(self) -> Option<&'static str> {
        match self {
            Self::Injected | Self::Repaired => None,
            Self::Skipped(reason) => reason.warning(),
        }
    }
}

/// As in the status annotation: `injected` or `skipped: <reason>`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected => f.write_str("injected"),
            Self::Repaired => f.write_str("repaired"),
            Self::Skipped(reason) => write!(f, "skipped: {}", reason.as_str()),
        }
    }
}
