//! The phase of a pod.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// The phases that Kubernetes defines for a pod, and the values of the label `phase`.
    #[expect(missing_docs, reason = "Kubernetes documents them")]
    pub enum Phase {
        Pending = "Pending",
        Running = "Running",
        Succeeded = "Succeeded",
        Failed = "Failed",
        Unknown = "Unknown",
    }
}
