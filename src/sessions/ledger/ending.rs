//! How a session ends.

use crate::runtime::vocabulary::vocabulary;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The desktop exited with code 0, or a client deleted the pod.
    Orderly,
    /// The session failed.
    Failure(Failure),
}

vocabulary! {
    /// Why a session failed: the values of the label `reason`.
    pub enum Failure {
        /// A desktop container exited with a code other than 0.
        Error = "error",
        /// The kernel killed a desktop container that ran out of memory.
        OutOfMemory = "out_of_memory",
        /// The kubelet evicted the pod or the scheduler preempted it.
        Evicted = "evicted",
        /// The pod reached its `activeDeadlineSeconds`.
        DeadlineExceeded = "deadline_exceeded",
        /// The node shut down or is gone.
        NodeLost = "node_lost",
        /// The kubelet rejected the pod.
        Rejected = "rejected",
    }
}
