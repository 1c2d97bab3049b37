//! The rules for the end of a session that the kubelet, the scheduler or the loss of a node ends, and of a session that never
//! ran: events, reason and duration.

use serde_json::{Value as Json, json};

use super::{
    pods::*,
    stories::*,
    watch::{Gone, Shown},
};
use crate::sessions::ledger::EndReason;

#[test]
fn a_pod_that_the_kubelet_stops_has_the_kubelets_reason() {
    let stopped = |reason: &str| {
        let pod = disrupted(
            in_phase(after_exit(running(), 137, "Error", 600), "Failed"),
            "TerminationByKubelet",
            601,
        );
        ends(with(pod, &json!({"status": {"reason": reason}})))
    };
    check(vec![
        ("evicted", stopped("Evicted"), EndReason::Evicted, Some(600)),
        ("removed for a critical pod", stopped("Preempting"), EndReason::Preempted, Some(600)),
        ("deadline", stopped("DeadlineExceeded"), EndReason::DeadlineExceeded, Some(600)),
        ("a reason of a later kubelet", stopped("TooHot"), EndReason::Evicted, Some(600)),
        ("shutdown of the node", stopped("Terminated"), EndReason::NodeLost, Some(600)),
    ]);
}

#[test]
fn a_pod_that_the_scheduler_removes_is_preempted() {
    let pod = disrupted(running(), "PreemptionByScheduler", 600);
    let starting = disrupted(accepted(), "PreemptionByScheduler", 600);
    let starting = deleted(starting, 600, 0);
    check(vec![
        ("while it ran", deletion(pod, 600, 143, 602), EndReason::Preempted, Some(602)),
        ("while it started", vec![Shown(1, accepted()), Gone(600, starting)], EndReason::Preempted, None),
    ]);
}

/// The node controller marks the pod of a node that does not answer at 400.
fn unreachable() -> Json {
    not_ready(400, None)
}

/// Without a reason the node controller wrote the condition, with one the kubelet.
fn not_ready(seconds: i64, reason: Option<&str>) -> Json {
    let mut pod = running();
    let ready = pod["status"]["conditions"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|condition| condition["type"] == "Ready")
        .unwrap();
    ready["status"] = json!("False");
    ready["lastTransitionTime"] = json!(at(seconds));
    if let Some(reason) = reason {
        ready["reason"] = json!(reason);
    }
    pod
}

#[test]
fn a_session_whose_node_is_lost_is_node_lost() {
    let collected = disrupted(in_phase(unreachable(), "Failed"), "DeletionByPodGC", 450);
    let collected_last = deleted(collected.clone(), 451, 0);
    let tainted = deleted(disrupted(unreachable(), "DeletionByTaintManager", 460), 460, 30);
    let tainted_last = deleted(in_phase(after_exit(tainted.clone(), 137, "Error", 800), "Failed"), 801, 0);
    let mut without_times = after_exit(running(), 255, "Unknown", 600);
    let end = &mut without_times["status"]["containerStatuses"][0]["state"]["terminated"];
    (end["startedAt"], end["finishedAt"]) = (json!("1970-01-01T00:00:00Z"), json!("1970-01-01T00:00:00Z"));
    let out_of_service = deleted(in_phase(tainted.clone(), "Failed"), 500, 0);
    check(vec![
        (
            "the node object was deleted",
            vec![
                Shown(6, running()),
                Shown(400, unreachable()),
                Shown(450, collected),
                Gone(451, collected_last),
            ],
            EndReason::NodeLost,
            Some(400),
        ),
        (
            "a taint, and the kubelet comes back",
            vec![
                Shown(6, running()),
                Shown(400, unreachable()),
                Shown(460, tainted.clone()),
                Gone(801, tainted_last),
            ],
            EndReason::NodeLost,
            Some(800),
        ),
        (
            "a taint, and a forced deletion",
            vec![Shown(6, running()), Shown(460, tainted.clone()), Gone(900, deleted(tainted, 900, 0))],
            EndReason::NodeLost,
            Some(460),
        ),
        (
            "a node out of service",
            vec![Shown(6, running()), Shown(400, unreachable()), Gone(500, out_of_service)],
            EndReason::NodeLost,
            Some(500),
        ),
        (
            "the runtime lost the container",
            ends(in_phase(after_exit(running(), 255, "Unknown", 600), "Failed")),
            EndReason::NodeLost,
            Some(600),
        ),
        (
            "the runtime notices the loss after an outage of the node",
            vec![
                Shown(6, running()),
                Shown(400, unreachable()),
                Shown(3001, in_phase(after_exit(unreachable(), 255, "Unknown", 3000), "Failed")),
            ],
            EndReason::NodeLost,
            Some(400),
        ),
        ("the runtime has no times", ends(in_phase(without_times, "Failed")), EndReason::NodeLost, Some(601)),
        (
            "the kubelet cannot locate the container",
            ends(in_phase(with(running(), &desktop(&status_unknown())), "Failed")),
            EndReason::NodeLost,
            Some(601),
        ),
        (
            "the restarted node rejects the pod",
            vec![
                Shown(6, running()),
                Shown(400, unreachable()),
                Shown(600, refused(running(), "UnexpectedAdmissionError")),
            ],
            EndReason::NodeLost,
            Some(400),
        ),
        (
            "the node restarted too fast for the node controller",
            vec![Shown(6, running()), Shown(600, refused(running(), "OutOfnvidia.com/gpu"))],
            EndReason::NodeLost,
            Some(600),
        ),
    ]);
}

#[test]
fn a_node_that_answers_again_is_not_lost() {
    let drained = deletion(disrupted(running(), "DeletionByTaintManager", 600), 600, 143, 602);
    let after = |back: Json| {
        let outage = [Shown(400, unreachable()), Shown(450, back)];
        drained[..2].iter().cloned().chain(outage).chain(drained[2..].iter().cloned()).collect()
    };
    check(vec![
        ("the pod is ready again", after(running()), EndReason::Drained, Some(602)),
        (
            "the readiness probe fails",
            after(not_ready(450, Some("ContainersNotReady"))),
            EndReason::Drained,
            Some(602),
        ),
    ]);
}

#[test]
fn a_pod_that_its_node_rejects_is_rejected_with_any_reason() {
    for reason in [
        "OutOfcpu",
        "OutOfnvidia.com/gpu",
        "NodeAffinity",
        "UnexpectedAdmissionError",
        "PodOSNotSupported",
        "AppArmor",
        "NodeShutdown",
        "Sysctl forbidden",
        "InvalidNodeInfo",
        "ReasonOfTheYear2030",
    ] {
        let events = vec![Shown(0, created()), Shown(1, refused(accepted(), reason))];
        check(vec![("rejected", events, EndReason::Rejected, None)]);
    }
}

#[test]
fn a_session_whose_desktop_never_ran_has_no_duration() {
    let waits = |reason: &str| with(accepted(), &desktop(&json!({"waiting": {"reason": reason}})));
    let delete = |pod: Json| {
        let unlocated = in_phase(with(deleted(pod, 60, 30), &desktop(&status_unknown())), "Failed");
        vec![Shown(61, unlocated.clone()), Gone(62, deleted(unlocated, 62, 0))]
    };
    let after = |pods: Vec<Json>| {
        let last = pods.last().cloned().unwrap();
        pods.into_iter().map(|pod| Shown(10, pod)).chain(delete(last)).collect::<Vec<_>>()
    };
    let unscheduled = deleted(in_phase(created(), "Failed"), 60, 0);
    let interrupted = deleted(initializing(&exited(143, "Error", 61), &json!({})), 60, 30);
    let start_loop = {
        let mut pod = with(waits("CrashLoopBackOff"), &json!({"spec": {"restartPolicy": "Always"}}));
        pod["status"]["containerStatuses"][0]["lastState"] = start_error();
        deleted(pod, 60, 0)
    };
    check(vec![
        (
            "image error",
            after(vec![waits("ErrImagePull"), waits("ImagePullBackOff")]),
            EndReason::ImageError,
            None,
        ),
        (
            "image error before",
            after(vec![waits("ErrImagePull"), waits("ContainerCreating")]),
            EndReason::ImageError,
            None,
        ),
        ("deleted while it started", after(vec![waits("ContainerCreating")]), EndReason::NeverStarted, None),
        ("never scheduled", vec![Shown(0, created()), Gone(60, unscheduled)], EndReason::NeverStarted, None),
        (
            "drained while it started",
            after(vec![disrupted(waits("ContainerCreating"), "EvictionByEvictionAPI", 59)]),
            EndReason::NeverStarted,
            None,
        ),
        (
            "deleted while an init container ran",
            vec![
                Shown(1, accepted()),
                Shown(61, interrupted.clone()),
                Gone(62, with(interrupted, &json!({"metadata": {"deletionGracePeriodSeconds": 0}}))),
            ],
            EndReason::NeverStarted,
            None,
        ),
        (
            "a loop of starts that fail",
            vec![Shown(1, accepted()), Gone(60, start_loop)],
            EndReason::NeverStarted,
            None,
        ),
    ]);
}

#[test]
fn an_image_error_before_the_desktop_ran_does_not_count() {
    let waits = with(accepted(), &desktop(&json!({"waiting": {"reason": "ErrImagePull"}})));
    let mut events = deletion(running(), 600, 0, 602);
    events.insert(1, Shown(3, waits));
    check(vec![("deleted", events, EndReason::Deleted, Some(602))]);
}
