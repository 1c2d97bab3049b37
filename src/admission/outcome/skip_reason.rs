//! The skip reasons: values of a label, of the status annotation and of the audit annotation.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Why a pod gets no sidecar.
    pub enum SkipReason {
        /// The pod has the label or annotation `vdi-metrics.io/inject: disabled`.
        OptedOut = "opted_out",
        /// The pod has the sidecar already.
        AlreadyInjected = "already_injected",
        /// The pod is in a system namespace. These namespaces have no desktops, and nothing may delay their pods.
        SystemNamespace = "system_namespace",
        /// The kubelet made the pod from a file and would not run an added container.
        MirrorPod = "mirror_pod",
        /// The pod is the launcher of a virtual machine. The virtual machine gets the devices, so a sidecar cannot see them.
        Kubevirt = "kubevirt",
        /// The pod uses the host's network, where any process of the node may already listen on the sidecar's port.
        HostNetwork = "host_network",
        /// The pod declares every port from the configured one up to 65535.
        NoFreePort = "no_free_port",
        /// Another container, volume or port has the name `vdi-metrics`.
        NameTaken = "name_taken",
        /// There is no sidecar image for Windows, and a sidecar that cannot start would delay the desktop for ever.
        Windows = "windows",
        /// The pod can run only on virtual nodes, or on nodes whose architecture the sidecar's image does not have. The sidecar
        /// would not start there and would delay the desktop for ever.
        UnsupportedNode = "unsupported_node",
        /// A LimitRange of the namespace or the pod-level resources do not allow the sidecar's resources.
        LimitRange = "limit_range",
        /// The sidecar would exceed a ResourceQuota of the namespace.
        ResourceQuota = "resource_quota",
        /// The pod is so large that the API server might not be able to store it with the sidecar.
        TooLarge = "too_large",
        /// The pod's annotations have no space left for the annotations of the sidecar.
        AnnotationsFull = "annotations_full",
        /// The configuration has `paused: true`.
        Paused = "paused",
        /// Sidecars of other pods do not start and keep these pods from starting, so injection is paused.
        BreakerOpen = "breaker_open",
        /// The review is not about the creation of a pod: the webhook configuration selects too much.
        NotAPod = "not_a_pod",
        /// The pod cannot be parsed.
        Undecodable = "undecodable",
        /// The patch does not apply to the pod.
        PatchRejected = "patch_rejected",
    }
}

// === impl SkipReason ===

impl SkipReason {
    /// Whether the pod gets the status annotation with this reason.
    ///
    /// A pod that already has the sidecar keeps its status. With an annotation, a pod near a size limit could exceed the limit,
    /// and the API server would reject it. After an internal failure the server does not change the pod. The server never
    /// changes pods of system namespaces and mirror pods, which belong to the control plane and to the kubelet.
    #[must_use]
    pub const fn is_annotated(self) -> bool {
        match self {
            Self::OptedOut
            | Self::Kubevirt
            | Self::HostNetwork
            | Self::NoFreePort
            | Self::NameTaken
            | Self::Windows
            | Self::UnsupportedNode
            | Self::LimitRange
            | Self::ResourceQuota
            | Self::Paused
            | Self::BreakerOpen => true,
            Self::AlreadyInjected
            | Self::SystemNamespace
            | Self::MirrorPod
            | Self::TooLarge
            | Self::AnnotationsFull
            | Self::NotAPod
            | Self::Undecodable
            | Self::PatchRejected => false,
        }
    }

    /// The warning for the client that creates the pod, if something is wrong; at most 120 characters.
    #[must_use]
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::OptedOut | Self::AlreadyInjected | Self::MirrorPod => None,
            Self::SystemNamespace => {
                Some("vdi-metrics: not injected: pods of system namespaces get no sidecar")
            }
            Self::Kubevirt => {
                Some("vdi-metrics: not injected: a launcher pod cannot see the virtual machine's GPU")
            }
            Self::HostNetwork => Some("vdi-metrics: not injected: the pod uses the host's network"),
            Self::NoFreePort => Some(
                "vdi-metrics: not injected: the pod declares every port from the configured one up to 65535",
            ),
            Self::NameTaken => {
                Some("vdi-metrics: not injected: another container, volume or port has the name vdi-metrics")
            }
            Self::Windows => Some("vdi-metrics: not injected: there is no sidecar for Windows"),
            Self::UnsupportedNode => Some(
                "vdi-metrics: not injected: the pod can run only on virtual nodes, or on architectures without a sidecar image",
            ),
            Self::LimitRange => Some(
                "vdi-metrics: not injected: a LimitRange or the pod-level resources do not allow the sidecar",
            ),
            Self::ResourceQuota => {
                Some("vdi-metrics: not injected: the sidecar would exceed a ResourceQuota of the namespace")
            }
            Self::TooLarge => Some(
                "vdi-metrics: not injected: the pod is larger than 1 MiB; move large values into a ConfigMap",
            ),
            Self::AnnotationsFull => Some(
                "vdi-metrics: not injected: the pod's annotations are near the maximum of 256 KiB; shorten them",
            ),
            Self::Paused => Some("vdi-metrics: not injected: the server's configuration has paused: true"),
            Self::BreakerOpen => Some(
                "vdi-metrics: not injected: injection is paused, because sidecars of other pods do not start",
            ),
            Self::NotAPod => Some("vdi-metrics: not injected: the request does not create a pod"),
            Self::Undecodable => Some("vdi-metrics: not injected: the pod could not be parsed"),
            Self::PatchRejected => {
                Some("vdi-metrics: not injected: the patch does not apply to this pod; please report it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_have_at_most_120_characters() {
        for warning in SkipReason::ALL.into_iter().filter_map(SkipReason::warning) {
            assert!(warning.len() <= 120, "{warning}");
        }
    }
}
