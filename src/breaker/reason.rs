//! The reasons for which the container runtime or the kubelet does not start the sidecar.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Why a sidecar waits: `state.waiting.reason` of its container, in the kubelet's words. Other reasons, such as
    /// `PodInitializing`, are part of every start.
    pub enum BlockReason {
        /// The pull of the image failed.
        ErrImagePull = "ErrImagePull",
        /// The pull of the image failed, and the kubelet waits before the next attempt.
        ImagePullBackOff = "ImagePullBackOff",
        /// The name of the image is not valid.
        InvalidImageName = "InvalidImageName",
        /// The node does not have the image, and the pull policy is `Never`.
        ErrImageNeverPull = "ErrImageNeverPull",
        /// The image on the node cannot be read.
        ImageInspectError = "ImageInspectError",
        /// The registry does not answer.
        RegistryUnavailable = "RegistryUnavailable",
        /// The node's policy does not accept the signature of the image.
        SignatureValidationFailed = "SignatureValidationFailed",
        /// The container cannot be configured, for example because the image's user does not fit the security context.
        CreateContainerConfigError = "CreateContainerConfigError",
        /// The container runtime cannot create the container.
        CreateContainerError = "CreateContainerError",
        /// A manager of the kubelet rejects the container before it is created.
        PreCreateHookError = "PreCreateHookError",
        /// A manager of the kubelet rejects the container before it starts.
        PreStartHookError = "PreStartHookError",
        /// The container runtime cannot start the container.
        RunContainerError = "RunContainerError",
        /// The container cannot run its program.
        StartError = "StartError",
        /// The program exits again and again, and the kubelet waits before the next attempt.
        CrashLoopBackOff = "CrashLoopBackOff",
    }
}

vocabulary! {
    /// What an engineer has to look at.
    pub(super) enum Remedy {
        /// The image and its registry.
        Image = "image",
        /// The container runtime and the security context.
        Container = "container",
        /// The sidecar's program.
        Program = "program",
    }
}

// === impl BlockReason ===

impl BlockReason {
    /// What to look at.
    pub(super) const fn remedy(self) -> Remedy {
        match self {
            Self::ErrImagePull
            | Self::ImagePullBackOff
            | Self::InvalidImageName
            | Self::ErrImageNeverPull
            | Self::ImageInspectError
            | Self::RegistryUnavailable
            | Self::SignatureValidationFailed => Remedy::Image,
            Self::CreateContainerConfigError
            | Self::CreateContainerError
            | Self::PreCreateHookError
            | Self::PreStartHookError
            | Self::RunContainerError
            | Self::StartError => Remedy::Container,
            Self::CrashLoopBackOff => Remedy::Program,
        }
    }
}

// === impl Remedy ===

impl Remedy {
    /// A sentence for the user.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Image => {
                "Check sidecar.image and sidecar.imagePullSecrets in the configuration of vdi-metrics, the registry, and the connection \
                 of the node to the registry"
            }
            Self::Container => {
                "kubectl describe pod shows the message of the container runtime; check the node, and the security context and the \
                 runtime class of the pod"
            }
            Self::Program => {
                "kubectl logs --previous -c vdi-metrics shows the error; check sidecar.image and sidecar.resources in the configuration \
                 of vdi-metrics"
            }
        }
    }
}
