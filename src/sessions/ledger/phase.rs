//! The phase of a session.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// The phases that Kubernetes defines for a pod, and `Terminating`: the values of the label `phase`.
    pub enum Phase {
        /// No desktop container runs yet.
        Pending = "Pending",
        /// A desktop container runs or restarts.
        Running = "Running",
        /// A client deleted the pod, and the pod has not ended yet. `kubectl` shows the same text.
        Terminating = "Terminating",
        /// Every container ended with exit code 0.
        Succeeded = "Succeeded",
        /// A container failed, or the pod was rejected, evicted or lost.
        Failed = "Failed",
        /// The pod has no phase, or one that this version does not know.
        Unknown = "Unknown",
    }
}

// === impl Phase ===

impl Phase {
    /// Whether no container of the pod runs again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}
