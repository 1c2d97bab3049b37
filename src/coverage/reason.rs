//! The reasons for which an opted-in pod has no sidecar.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Why an opted-in pod has no sidecar.
    pub enum NoSidecarReason {
        /// The pod was created before its namespace opted in, or before the webhook was registered.
        CreatedBefore = "created_before",
        /// The pod was created later, but the webhook left no mark on it: it did not answer, or could not change the pod.
        Missed = "missed",
        /// The webhook decided against a sidecar. The status annotation of the pod has the reason.
        Skipped = "skipped",
    }
}
