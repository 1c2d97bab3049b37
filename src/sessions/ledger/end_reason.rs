//! The reasons for the end of a session.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Why a session ended: the values of the label `reason`. Each session has one reason.
    pub enum EndReason {
        /// Every desktop container exited with code 0.
        Completed = "completed",
        /// A client deleted the pod.
        Deleted = "deleted",
        /// The pod was evicted through the API, for example by `kubectl drain`, or because of a taint, while its node answered.
        Drained = "drained",
        /// A container of the desktop exited with a code other than 0, or an init container failed.
        Error = "error",
        /// A desktop container was killed because it reached its memory limit.
        OomKilled = "oom_killed",
        /// The kubelet evicted the pod.
        Evicted = "evicted",
        /// The pod was removed for a pod of higher priority.
        Preempted = "preempted",
        /// The pod reached its `activeDeadlineSeconds`.
        DeadlineExceeded = "deadline_exceeded",
        /// The node was lost, restarted or shut down.
        NodeLost = "node_lost",
        /// The node rejected the pod.
        Rejected = "rejected",
        /// No desktop container ran, and an image could not be used.
        ImageError = "image_error",
        /// The pod was deleted before a desktop container ran.
        NeverStarted = "never_started",
        /// The pod disappeared while the watch was interrupted, or its last state shows no reason.
        Unknown = "unknown",
    }
}

// === impl EndReason ===

impl EndReason {
    /// Whether a session with this end failed: its user lost the desktop, or did not get one.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Completed | Self::Deleted | Self::Drained | Self::NeverStarted | Self::Unknown => false,
            Self::Error
            | Self::OomKilled
            | Self::Evicted
            | Self::Preempted
            | Self::DeadlineExceeded
            | Self::NodeLost
            | Self::Rejected
            | Self::ImageError => true,
        }
    }
}
