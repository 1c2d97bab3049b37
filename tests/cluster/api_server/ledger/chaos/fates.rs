//! The fates of sessions: the events that the API server shows, in the sequences that were recorded on a real node, and what the
//! ledger must count.

use super::states::{ACCEPTED, Container, RUNNING, State};

/// A kind of session.
#[derive(Debug)]
pub(super) struct Fate {
    /// The name, which is also the template of its sessions.
    pub(super) name: &'static str,
    /// The reason of the end; `None` for a session that runs on.
    pub(super) reason: Option<&'static str>,
    pub(super) lasts_until: LastsUntil,
    /// The reason of each restart of the desktop.
    pub(super) restarts: &'static [&'static str],
    pub(super) steps: Vec<Step>,
}

/// The end of the duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastsUntil {
    /// The end of the desktop, or the time of the disruption.
    End,
    /// The request to delete the pod.
    Request,
    /// The desktop never ran, or the session has not ended.
    Never,
}

/// An event that a kubelet, a controller or a client causes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A kubelet or a controller writes the status. The desktop ends now if it ends.
    Status(State),
    /// Like [`Step::Status`], with an end of the desktop [`EARLIER`] seconds ago.
    EarlierEnd(State),
    /// A client deletes the pod with a grace period of 30 s.
    Delete,
    /// A client evicts the pod.
    Evict,
    /// A kubelet or a client removes the pod at once.
    Remove,
    /// A client removes the label of the sessions.
    Unlabel,
    /// A client sets the label again.
    Relabel,
}

/// Seconds before a [`Step::EarlierEnd`]. This is longer than the tolerance of the ledger for different clocks.
pub(super) const EARLIER: u64 = 20;

use LastsUntil::{End, Never, Request};
use Step::{Delete, EarlierEnd, Evict, Relabel, Remove, Status, Unlabel};

/// Every fate.
pub(super) fn fates() -> Vec<Fate> {
    let fate = |name, reason, lasts_until, steps: &[&[Step]]| Fate {
        name,
        reason,
        lasts_until,
        restarts: &[],
        steps: steps.concat(),
    };
    let start = [Status(ACCEPTED), Status(RUNNING)];
    let deleted = stopped(RUNNING);
    let preempted = State { disruption: "PreemptionByScheduler", ..RUNNING };
    let deadline = State { reason: "DeadlineExceeded", ..exited(137, "Error", "Failed") };
    let evicted =
        State { reason: "Evicted", disruption: "TerminationByKubelet", ..exited(137, "Error", "Failed") };
    let collected = State { phase: "Failed", disruption: "DeletionByPodGC", ..RUNNING };
    let rejected = State {
        phase: "Failed",
        reason: "OutOfcpu",
        desktop: Container::Absent,
        sidecar: Container::Absent,
        ..ACCEPTED
    };
    let no_image =
        State { desktop: Container::Waits("ImagePullBackOff"), sidecar: Container::Runs, ..ACCEPTED };
    let never_located = State {
        phase: "Failed",
        desktop: Container::Lost,
        sidecar: Container::Exited(0, "Completed"),
        ..ACCEPTED
    };
    let crashed = State { restarts: Some((1, "Error", 1)), ..RUNNING };
    let killed = State { restarts: Some((137, "OOMKilled", 2)), ..RUNNING };
    vec![
        fate("lives", None, Never, &[&start]),
        fate("completed", Some("completed"), End, &[&start, &ends(0, "Completed", "Succeeded")]),
        fate("error", Some("error"), End, &[&start, &ends(3, "Error", "Failed")]),
        fate("oom-killed", Some("oom_killed"), End, &[&start, &ends(137, "OOMKilled", "Failed")]),
        fate("crashed-then-deleted", Some("error"), End, &[&start, &ends_before_deletion(1, "Error")]),
        fate("oom-then-deleted", Some("oom_killed"), End, &[&start, &ends_before_deletion(137, "OOMKilled")]),
        fate("deleted", Some("deleted"), Request, &[&start, &[Delete], &deleted]),
        fate("forced", Some("deleted"), Request, &[&start, &[Remove]]),
        fate(
            "drained",
            Some("drained"),
            Request,
            &[&start, &[Evict], &stopped(State { disruption: "EvictionByEvictionAPI", ..RUNNING })],
        ),
        fate("evicted", Some("evicted"), End, &[&start, &[Status(evicted)]]),
        fate(
            "preempted",
            Some("preempted"),
            Request,
            &[&start, &[Status(preempted), Delete], &stopped(preempted)],
        ),
        fate("deadline", Some("deadline_exceeded"), End, &[&start, &[Status(deadline)]]),
        fate("node-lost", Some("node_lost"), End, &[&start, &[Status(collected), Remove]]),
        fate("rejected", Some("rejected"), Never, &[&[Status(rejected)]]),
        fate(
            "image-error",
            Some("image_error"),
            Never,
            &[&[Status(ACCEPTED), Status(no_image), Delete, Status(never_located), Remove]],
        ),
        fate("never-started", Some("never_started"), Never, &[&[Status(ACCEPTED), Delete, Remove]]),
        fate(
            "relabelled",
            Some("completed"),
            End,
            &[&start, &[Unlabel, Relabel], &ends(0, "Completed", "Succeeded")],
        ),
        Fate {
            restarts: &["error", "oom_killed"],
            ..fate(
                "restarted",
                Some("deleted"),
                Request,
                &[&start, &[Status(crashed), Status(killed), Delete], &stopped(killed)],
            )
        },
    ]
}

// === impl Fate ===

impl Fate {
    /// Seconds from the end of the desktop to the state that shows it.
    pub(super) fn seconds_until_seen(&self) -> u64 {
        let is_late = self.steps.iter().any(|step| matches!(step, EarlierEnd(_)));
        if is_late { EARLIER } else { 0 }
    }
}

/// A session whose containers have exited.
fn exited(code: i64, reason: &'static str, phase: &'static str) -> State {
    let sidecar = Container::Exited(0, "Completed");
    State { phase, desktop: Container::Exited(code, reason), sidecar, ..RUNNING }
}

/// The desktop exits, then the sidecar, then the phase changes.
fn ends(code: i64, reason: &'static str, phase: &'static str) -> Vec<Step> {
    let last = exited(code, reason, phase);
    let first = State { phase: "Running", sidecar: Container::Runs, ..last };
    vec![Status(first), Status(State { phase: "Running", ..last }), Status(last)]
}

/// The desktop exits, and a client deletes the pod before the sidecar has ended.
fn ends_before_deletion(code: i64, reason: &'static str) -> Vec<Step> {
    let last = exited(code, reason, "Failed");
    let first = State { phase: "Running", sidecar: Container::Runs, ..last };
    vec![EarlierEnd(first), Delete, Status(last), Remove]
}

/// The kubelet stops a deleted pod that was in the state `before`, and removes it.
fn stopped(before: State) -> Vec<Step> {
    let State { disruption, restarts, .. } = before;
    vec![Status(State { disruption, restarts, ..exited(143, "Error", "Failed") }), Remove]
}
