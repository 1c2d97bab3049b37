//! Whether a pod is given the sidecar, and the closed vocabulary of reasons why not.

use std::fmt;

use super::{
    Outcome, Settings,
    pod::{Pod, Resources},
};
use crate::contract::{CONTAINER, LONGEST_NAME, env, key};

/// What is to be done with a pod.
#[derive(Debug)]
pub(super) enum Decision<'a> {
    Inject(Plan<'a>),
    Skip(Reason),
}

/// What the sidecar of this pod looks like, where pods differ.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// First port from the configured one on that no container of the pod declares.
    pub(super) port: u16,
    /// Whether to set requests and limits. Not under pod-level resources: the sums are checked against the pod's, and
    /// one container more would have the pod refused.
    pub(super) resources: bool,
    /// Whether to set the user. Not on OpenShift, whose admission gives each namespace a range and refuses all others.
    pub(super) user: bool,
    /// Where the session's identity stands: variable, and the field of the pod to take it from.
    pub(super) identity: Vec<(&'a str, String)>,
}

/// Why a pod goes without the sidecar. These words are label values, annotations and audit entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The pod says so.
    OptedOut,
    /// Our container is there.
    AlreadyInjected,
    /// On the host's network a port of ours could collide with any other process of the node.
    HostNetwork,
    /// The pod declares every port from the configured one on.
    NoFreePort,
    /// A container or volume of our name belongs to somebody else.
    NameTaken,
    /// There is no sidecar for Windows, and a container that cannot start would hold the desktop back.
    Windows,
    /// Not the creation of a pod: the webhook configuration asks for too much.
    NotAPod,
    /// The pod cannot be read.
    Undecodable,
    /// Our patch does not apply to this pod.
    PatchRejected,
}

/// Decides on one pod. That its namespace is opted in is settled by the selectors that brought it here.
pub(super) fn decide<'a>(pod: &Pod<'_>, settings: &Settings) -> Decision<'a> {
    if let Some(reason) = refusal(pod) {
        return Decision::Skip(reason);
    }
    let Some(port) = free_port(pod, settings.sidecar.port) else { return Decision::Skip(Reason::NoFreePort) };
    Decision::Inject(Plan {
        port,
        resources: !pod.spec.resources.as_ref().is_some_and(Resources::are_set),
        user: pod.annotation("openshift.io/scc").is_none(),
        identity: identity(pod),
    })
}

fn refusal(pod: &Pod<'_>) -> Option<Reason> {
    let opted_out = [pod.label(key::INJECT), pod.annotation(key::INJECT)].contains(&Some(key::DISABLED));
    [
        (opted_out, Reason::OptedOut),
        (is_injected(pod), Reason::AlreadyInjected),
        (is_name_taken(pod), Reason::NameTaken),
        (pod.is_windows(), Reason::Windows),
        (pod.spec.host_network == Some(true), Reason::HostNetwork),
    ]
    .into_iter()
    .find_map(|(applies, reason)| applies.then_some(reason))
}

/// By name and by the hash annotation that only we write. The container itself is no evidence: by the second call the
/// API server has filled in its defaults.
fn is_injected(pod: &Pod<'_>) -> bool {
    pod.annotation(key::CONFIG).is_some() && pod.containers().any(|container| container.name == CONTAINER)
}

fn is_name_taken(pod: &Pod<'_>) -> bool {
    pod.containers().any(|container| container.name == CONTAINER)
        || pod.spec.volumes.iter().flatten().any(|volume| volume.name == CONTAINER)
}

fn free_port(pod: &Pod<'_>, first: u16) -> Option<u16> {
    let declared = |port: u16| {
        pod.containers()
            .flat_map(|container| container.ports.iter().flatten())
            .any(|p| p.container_port == port)
    };
    (first..=u16::MAX).find(|port| !declared(*port))
}

fn identity(pod: &Pod<'_>) -> Vec<(&'static str, String)> {
    [(env::SESSION, key::SESSION), (env::TEMPLATE, key::TEMPLATE), (env::POOL, key::POOL)]
        .into_iter()
        .filter_map(|(variable, key)| Some((variable, field(pod, key)?)))
        .collect()
}

/// A label, else an annotation that can be a variable: a longer one or one with a control character in it could keep the
/// container from starting, and with it the desktop.
fn field(pod: &Pod<'_>, key: &str) -> Option<String> {
    let of = |map: &str| format!("metadata.{map}['{key}']");
    let sound = |value: &&str| value.len() <= LONGEST_NAME && !value.contains(char::is_control);
    pod.label(key)
        .map(|_| of("labels"))
        .or_else(|| pod.annotation(key).filter(sound).map(|_| of("annotations")))
}

// === impl Reason ===

impl Reason {
    /// The word for labels and annotations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.words().0
    }

    /// Every reason, so that each has a series before it first happens.
    pub const ALL: [Self; 9] = [
        Self::OptedOut,
        Self::AlreadyInjected,
        Self::HostNetwork,
        Self::NoFreePort,
        Self::NameTaken,
        Self::Windows,
        Self::NotAPod,
        Self::Undecodable,
        Self::PatchRejected,
    ];

    /// Whether the pod was looked at and decided on. An internal failure is not, and leaves no mark on the pod.
    pub(super) fn is_decided(self) -> bool {
        !matches!(self, Self::NotAPod | Self::Undecodable | Self::PatchRejected)
    }

    /// The word, and what the creator of the pod is told where something is wrong; at most 120 characters.
    fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::OptedOut => ("opted_out", None),
            Self::AlreadyInjected => ("already_injected", None),
            Self::HostNetwork => {
                ("host_network", Some("vdi-metrics: not injected: the pod uses the host's network"))
            }
            Self::NoFreePort => {
                ("no_free_port", Some("vdi-metrics: not injected: the pod declares every port from ours on"))
            }
            Self::NameTaken => (
                "name_taken",
                Some(
                    "vdi-metrics: not injected: the name vdi-metrics belongs to another container or volume",
                ),
            ),
            Self::Windows => ("windows", Some("vdi-metrics: not injected: there is no sidecar for Windows")),
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
    /// What the creator of the pod is told, where something is wrong.
    pub(super) fn warning(self) -> Option<&'static str> {
        match self {
            Self::Injected => None,
            Self::Skipped(reason) => reason.words().1,
        }
    }
}

/// As in the status annotation: `injected` or `skipped: <reason>`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected => f.write_str("injected"),
            Self::Skipped(reason) => write!(f, "skipped: {}", reason.as_str()),
        }
    }
}
