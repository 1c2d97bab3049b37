//! Why and when a session ended. `pod` is the state that ends the session: it is terminal, or the API server has removed it.

use std::collections::BTreeMap;

use super::{
    container::{ContainerRole, ExitCause, RunState},
    end_reason::EndReason,
    live::LiveSession,
    phase::Phase,
    session::{DisruptionCause, PodReason, SessionPod},
    time::UnixTime,
};
use crate::sessions::usage::{MissingReason, Usage};

/// Seconds by which the clock of a node may be behind the clock of the API server. A desktop that was seen running after the
/// request to delete it, and whose end lies at most this long before the request, ended because of the request. Times of the
/// API are truncated to seconds, so without a tolerance some deleted desktops would count as crashed.
const CLOCK_TOLERANCE: i64 = 5;

/// A rule: the reason, or none if the rule does not apply.
type Rule = fn(&SessionPod, &LiveSession) -> Option<EndReason>;

/// The rules in their order of precedence.
const RULES: [Rule; 9] = [
    stopped_by_kubelet,
    ended_by_itself,
    failed_to_initialize,
    lost_its_node,
    was_rejected,
    was_preempted,
    has_never_run,
    was_drained,
    was_deleted,
];

/// The end of a session, with the totals of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionEnd {
    pub(super) reason: EndReason,
    /// Seconds; `None` if no desktop container ran.
    pub(super) duration: Option<u64>,
    pub(super) usage: Usage,
    /// Runs of the sidecar whose totals are not known.
    pub(super) missing: BTreeMap<MissingReason, u64>,
}

// === impl SessionEnd ===

impl SessionEnd {
    /// Whether states before the last one could give the session another reason: an image error, or the first request to delete the pod. The
    /// last object of a removed pod has the time of its removal instead of the request.
    pub(super) fn depends_on_earlier_states(&self, pod: &SessionPod, live: &LiveSession) -> bool {
        let is_request_unknown = live.is_forced && !live.is_done;
        match self.reason {
            EndReason::NeverStarted => true,
            EndReason::Completed | EndReason::OomKilled | EndReason::Deleted | EndReason::Drained => {
                is_request_unknown && pod.exits().is_some()
            }
            EndReason::Error => is_request_unknown,
            EndReason::Evicted
            | EndReason::Preempted
            | EndReason::DeadlineExceeded
            | EndReason::NodeLost
            | EndReason::Rejected
            | EndReason::ImageError
            | EndReason::Unknown => false,
        }
    }
}

/// The end of the session whose last state is `pod`. `live` contains this state already.
pub(super) fn of(pod: &SessionPod, live: &LiveSession, now: UnixTime) -> SessionEnd {
    with_totals(reason(pod, live), live.duration(time(pod, live, now)), live)
}

/// The end of a session whose pod has disappeared without an event. `last_seen` is the time at which the pod existed last. The session can
/// have ended before.
pub(super) fn in_gap(live: &LiveSession, last_seen: UnixTime) -> SessionEnd {
    let end = live.finished.or(live.deletion_requested).map_or(last_seen, |end| end.min(last_seen));
    with_totals(EndReason::Unknown, live.duration(end), live)
}

fn with_totals(reason: EndReason, duration: Option<u64>, live: &LiveSession) -> SessionEnd {
    let (usage, missing) = live.runs.at_end(duration, live.gpus, live.gpu_count());
    SessionEnd { reason, duration, usage, missing }
}

fn reason(pod: &SessionPod, live: &LiveSession) -> EndReason {
    RULES.iter().find_map(|rule| rule(pod, live)).unwrap_or(EndReason::Unknown)
}

/// The time of the end: the end of the last desktop container, else the request to delete the pod, else the time since which
/// the node does not answer, else the time of the disruption, else `now`.
fn time(pod: &SessionPod, live: &LiveSession, now: UnixTime) -> UnixTime {
    match (desktop_end(pod, live), live.deletion_requested) {
        (Some(finished), None) => finished,
        (Some(finished), Some(_)) if is_own_end(pod, live) => finished,
        // A crash loop lasts until its deletion.
        (Some(finished), Some(requested)) => finished.max(requested),
        (None, Some(requested)) => requested,
        (None, None) => interruption(pod, live).unwrap_or(now),
    }
}

/// The end of the last desktop container. For a container that containerd lost with its node, containerd writes the time at which
/// it runs again (`restart.go`). Such a desktop ended when the node stopped answering.
fn desktop_end(pod: &SessionPod, live: &LiveSession) -> Option<UnixTime> {
    let is_lost = pod.exits()?.iter().any(|exit| exit.cause == ExitCause::RuntimeLost);
    let lost = live.unreachable_since.filter(|_| is_lost);
    pod.finished().map(|finished| lost.map_or(finished, |lost| lost.min(finished)))
}

/// The time at which a pod without an end of its own was interrupted.
fn interruption(pod: &SessionPod, live: &LiveSession) -> Option<UnixTime> {
    live.unreachable_since.or_else(|| pod.disruption?.since)
}

/// Whether the desktop ended before the request to delete its pod, and would not have been restarted.
fn is_own_end(pod: &SessionPod, live: &LiveSession) -> bool {
    let Some(requested) = live.deletion_requested else {
        return pod.phase.is_terminal() && pod.exits().is_some();
    };
    let tolerance = if live.ran_after_request { CLOCK_TOLERANCE } else { 0 };
    let is_earlier = |finished: UnixTime| finished.0 < requested.0 - tolerance;
    pod.is_done() && (live.is_done || pod.finished().is_some_and(is_earlier))
}

/// The kubelet's own decisions. They stand in the reason of the pod; the condition shows those with an unknown reason.
fn stopped_by_kubelet(pod: &SessionPod, _: &LiveSession) -> Option<EndReason> {
    match pod.reason.filter(|_| pod.phase != Phase::Succeeded) {
        Some(PodReason::Evicted) => Some(EndReason::Evicted),
        Some(PodReason::Preempting) => Some(EndReason::Preempted),
        Some(PodReason::DeadlineExceeded) => Some(EndReason::DeadlineExceeded),
        Some(PodReason::NodeGone) => Some(EndReason::NodeLost),
        Some(PodReason::Other) | None => {
            let is_kubelet = pod.disruption?.cause == DisruptionCause::Kubelet;
            (is_kubelet && pod.phase == Phase::Failed).then_some(EndReason::Evicted)
        }
    }
}

/// The exits of the desktop. A pod can be Failed although its desktop exited with 0, because of its sidecar.
fn ended_by_itself(pod: &SessionPod, live: &LiveSession) -> Option<EndReason> {
    if !is_own_end(pod, live) {
        return (pod.phase == Phase::Succeeded && live.deletion_requested.is_none())
            .then_some(EndReason::Completed);
    }
    let exits = pod.exits()?;
    let has = |cause: ExitCause| exits.iter().any(|exit| exit.cause == cause && exit.code != 0);
    if has(ExitCause::RuntimeLost) {
        Some(EndReason::NodeLost)
    } else if has(ExitCause::OutOfMemory) {
        Some(EndReason::OomKilled)
    } else if exits.iter().any(|exit| exit.is_own_failure()) {
        Some(EndReason::Error)
    } else if has(ExitCause::StatusUnknown) {
        live.has_run.then_some(EndReason::NodeLost)
    } else {
        Some(EndReason::Completed)
    }
}

/// An init container whose last run failed, before the request to delete the pod.
fn failed_to_initialize(pod: &SessionPod, live: &LiveSession) -> Option<EndReason> {
    let is_before_deletion = |finished: Option<UnixTime>| match (finished, live.deletion_requested) {
        (Some(finished), Some(requested)) => finished < requested,
        (_, requested) => requested.is_none(),
    };
    let mut exits = pod.of_role(ContainerRole::Init).filter_map(|container| container.last_exit());
    let has_failed = exits.any(|exit| exit.is_own_failure() && is_before_deletion(exit.finished));
    (has_failed && !live.has_run).then_some(EndReason::Error)
}

fn lost_its_node(pod: &SessionPod, live: &LiveSession) -> Option<EndReason> {
    let still_runs = pod.desktops().any(|container| matches!(container.state, RunState::Running(_)));
    let is_disruption = live.deletion_requested.is_some() || pod.phase == Phase::Failed;
    let is_lost = match pod.disruption.filter(|_| is_disruption).map(|disruption| disruption.cause) {
        Some(DisruptionCause::PodGc) => true,
        // A kubelet that answers stops the desktop and shows its end, unless the request has no grace period.
        Some(DisruptionCause::Taint) => (still_runs && !live.is_forced) || live.unreachable_since.is_some(),
        // Only the garbage collector of pods sets the phase of a pod whose containers still run.
        _ if pod.phase == Phase::Failed && still_runs => true,
        // A restarted node rejects a pod that ran before. The status of its containers is gone.
        _ => pod.phase == Phase::Failed && pod.reason.is_some() && live.has_run && pod.exits().is_none(),
    };
    is_lost.then_some(EndReason::NodeLost)
}

/// A pod that failed with a reason, without a container. The list of the kubelet's reasons is open.
fn was_rejected(pod: &SessionPod, live: &LiveSession) -> Option<EndReason> {
    let is_rejected =
        pod.phase == Phase::Failed && pod.reason.is_some() && !live.has_run && pod.exits().is_none();
    is_rejected.then_some(EndReason::Rejected)
}

fn was_preempted(pod: &SessionPod, live: &LiveSession) -> Option<EndReason> {
    live.deletion_requested?;
    (pod.disruption?.cause == DisruptionCause::Scheduler).then_some(EndReason::Preempted)
}

fn has_never_run(_: &SessionPod, live: &LiveSession) -> Option<EndReason> {
    let reason = if live.image_failed { EndReason::ImageError } else { EndReason::NeverStarted };
    (!live.has_run).then_some(reason)
}

fn was_drained(pod: &SessionPod, live: &LiveSession) -> Option<EndReason> {
    live.deletion_requested?;
    let cause = pod.disruption?.cause;
    matches!(cause, DisruptionCause::EvictionApi | DisruptionCause::Taint).then_some(EndReason::Drained)
}

fn was_deleted(_: &SessionPod, live: &LiveSession) -> Option<EndReason> {
    live.deletion_requested.map(|_| EndReason::Deleted)
}
