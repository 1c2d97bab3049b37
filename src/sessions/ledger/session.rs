//! Session pods, with the fields that the ledger needs.

use super::{ending::Ending, phase::Phase};

/// Seconds since 1970-01-01 UTC. Kubernetes' own times have the same resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub i64);

/// A session pod at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPod {
    /// UID of the pod; identifies the session.
    pub uid: String,
    /// Template that the session was created from.
    pub template: Option<String>,
    /// Phase of the pod.
    pub phase: Phase,
    /// Start of the session: the time at which the kubelet accepted the pod. `None` until a desktop container has run,
    /// because a pod that only waits is no session.
    pub started: Option<UnixTime>,
    /// Time at which the last desktop container ended; `None` while a desktop container runs.
    pub finished: Option<UnixTime>,
    /// The deletion timestamp, which includes the grace period; `None` unless a client deleted the pod.
    pub deleted: Option<UnixTime>,
    /// Whether a finalizer keeps a deleted pod until another program removes it.
    pub has_finalizers: bool,
    /// How the session ended, or would end with this status.
    pub ending: Ending,
}

// === impl SessionPod ===

impl SessionPod {
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// For a pod that the watch no longer shows: whether the pod was certainly removed, and did not only lose its label. True
    /// for a pod with a deletion timestamp, without a finalizer and with only ended containers:
    /// * The API server sets the deletion timestamp before it removes a pod, also at a forced deletion.
    /// * The kubelet removes a pod after its containers ended.
    /// * A finalizer can keep such a pod for any time.
    pub(super) fn is_removed(&self) -> bool {
        self.deleted.is_some() && !self.has_finalizers && (self.has_ended() || self.finished.is_some())
    }

    /// End of a session that has ended: the time at which the last desktop container ended, else the deletion timestamp, else
    /// `now`. The deletion timestamp lies one grace period after the deletion, so it can be in the future; then `now` is
    /// used.
    pub(super) fn end(&self, now: UnixTime) -> UnixTime {
        self.finished.or(self.deleted).map_or(now, |end| end.min(now))
    }
}
