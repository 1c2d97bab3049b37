//! The rules for the end of a session that its own containers or a client end: events, reason and duration.

use serde_json::{Value as Json, json};

use super::{
    pods::*,
    stories::*,
    watch::{Event, Gone, Listed, Missed, Shown},
};
use crate::sessions::ledger::EndReason;

#[test]
fn a_desktop_that_exits_with_0_is_completed() {
    let succeeded = |reason| in_phase(after_exit(running(), 0, reason, 600), "Succeeded");
    // A regular sidecar fails; the phase is that of the pod.
    let mut sidecar_failed = in_phase(after_exit(running(), 0, "Completed", 600), "Failed");
    let ended = exited(1, "Error", 601);
    sidecar_failed["status"]["containerStatuses"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "vdi-metrics", "state": ended}));
    let mut restarted = succeeded("Completed");
    restarted["spec"]["restartPolicy"] = json!("OnFailure");
    restarted["status"]["containerStatuses"][0]["restartCount"] = json!(1);
    restarted["status"]["containerStatuses"][0]["lastState"] = exited(1, "Error", 100);
    check(vec![
        ("exit code 0", ends(succeeded("Completed")), EndReason::Completed, Some(600)),
        ("a killed child under exit code 0", ends(succeeded("OOMKilled")), EndReason::Completed, Some(600)),
        (
            "a disruption that was called off",
            ends(disrupted(succeeded("Completed"), "PreemptionByScheduler", 300)),
            EndReason::Completed,
            Some(600),
        ),
        ("after a restart in place", ends(restarted), EndReason::Completed, Some(600)),
        ("only the sidecar failed", ends(sidecar_failed), EndReason::Completed, Some(600)),
        (
            "before the deletion",
            exit_before_deletion(0, "Completed", "Never"),
            EndReason::Completed,
            Some(600),
        ),
        (
            "before the deletion, OnFailure",
            exit_before_deletion(0, "Completed", "OnFailure"),
            EndReason::Completed,
            Some(600),
        ),
    ]);
}

#[test]
fn a_desktop_that_a_client_deletes_is_deleted() {
    // A helper of the desktop crashed before, and the desktop went on.
    let mut helper_crashed = running();
    let helper = json!({"name": "helper", "state": exited(1, "Error", 100)});
    helper_crashed["status"]["containerStatuses"].as_array_mut().unwrap().push(helper);
    let mut with_helper = deletion(helper_crashed.clone(), 600, 0, 601);
    for event in &mut with_helper[3..] {
        let (Shown(_, pod) | Gone(_, pod)) = event else { continue };
        pod["status"]["containerStatuses"]
            .as_array_mut()
            .unwrap()
            .push(helper_crashed["status"]["containerStatuses"][1].clone());
    }
    let kept = with(deleted(running(), 600, 0), &json!({"metadata": {"finalizers": ["example.com/keep"]}}));
    let stopped = in_phase(after_exit(kept.clone(), 137, "Error", 601), "Failed");
    let mut restarted_by_rule = exit_before_deletion(42, "Error", "Never");
    for event in &mut restarted_by_rule {
        let (Shown(_, pod) | Gone(_, pod)) = event else { continue };
        pod["spec"]["containers"][0]["restartPolicy"] = json!("Never");
        pod["spec"]["containers"][0]["restartPolicyRules"] =
            json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    }
    let unlocated = in_phase(with(deleted(running(), 590, 30), &desktop(&status_unknown())), "Failed");
    check(vec![
        ("exit code 0", deletion(running(), 600, 0, 602), EndReason::Deleted, Some(602)),
        ("exit code of SIGTERM", deletion(running(), 600, 143, 602), EndReason::Deleted, Some(602)),
        (
            "exit in the second of the request",
            deletion(running(), 600, 1, 600),
            EndReason::Deleted,
            Some(600),
        ),
        ("a node whose clock is behind", deletion(running(), 600, 143, 597), EndReason::Deleted, Some(600)),
        ("a helper crashed before", with_helper, EndReason::Deleted, Some(601)),
        ("forced", forced(running()), EndReason::Deleted, Some(600)),
        (
            "forced, with a finalizer",
            vec![Shown(6, running()), Shown(600, kept), Shown(601, stopped.clone()), Gone(700, stopped)],
            EndReason::Deleted,
            Some(601),
        ),
        ("a crash loop", forced(crash_loop()), EndReason::Deleted, Some(600)),
        (
            "a crash that OnFailure restarts",
            exit_before_deletion(1, "Error", "OnFailure"),
            EndReason::Deleted,
            Some(601),
        ),
        (
            "an OOM kill that Always restarts",
            exit_before_deletion(137, "OOMKilled", "Always"),
            EndReason::Deleted,
            Some(601),
        ),
        ("a crash that a rule of the container restarts", restarted_by_rule, EndReason::Deleted, Some(601)),
        (
            "a container that the kubelet cannot locate",
            vec![
                Shown(6, running()),
                Shown(590, deleted(running(), 590, 30)),
                Shown(600, unlocated.clone()),
                Gone(601, deleted(unlocated, 601, 0)),
            ],
            EndReason::Deleted,
            Some(590),
        ),
    ]);
}

#[test]
fn an_evicted_pod_on_a_node_that_answers_is_drained() {
    let drain = |reason| deletion(disrupted(running(), reason, 600), 600, 143, 602);
    check(vec![
        ("by the eviction API", drain("EvictionByEvictionAPI"), EndReason::Drained, Some(602)),
        ("by a taint of the node", drain("DeletionByTaintManager"), EndReason::Drained, Some(602)),
        ("by a taint of a device", drain("DeletionByDeviceTaintManager"), EndReason::Drained, Some(602)),
        ("forced", forced(disrupted(running(), "EvictionByEvictionAPI", 600)), EndReason::Drained, Some(600)),
        ("an unknown program", drain("DeletionByExample"), EndReason::Deleted, Some(602)),
    ]);
}

#[test]
fn a_desktop_that_fails_is_an_error() {
    let failed = |code| in_phase(after_exit(running(), code, "Error", 600), "Failed");
    let not_started = in_phase(with(accepted(), &desktop(&start_error())), "Failed");
    let back_off = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let looping = initializing(&back_off, &exited(1, "Error", 20));
    let init_failed = in_phase(initializing(&exited(1, "Error", 20), &json!({})), "Failed");
    let running_again = initializing(&json!({"running": {"startedAt": at(30)}}), &exited(1, "Error", 20));
    let delete = |pod: Json| {
        vec![Shown(1, pod.clone()), Shown(40, deleted(pod.clone(), 40, 0)), Gone(40, deleted(pod, 40, 0))]
    };
    check(vec![
        ("exit code 3", ends(failed(3)), EndReason::Error, Some(600)),
        ("killed by a process of the desktop", ends(failed(137)), EndReason::Error, Some(600)),
        ("crashed, then deleted", exit_before_deletion(1, "Error", "Never"), EndReason::Error, Some(600)),
        ("could not start", vec![Shown(1, accepted()), Shown(6, not_started)], EndReason::Error, None),
        (
            "an init container failed",
            vec![Shown(1, accepted()), Shown(21, init_failed)],
            EndReason::Error,
            None,
        ),
        ("an init container failed, then deleted", delete(looping), EndReason::Error, None),
        ("an init container runs again, then deleted", delete(running_again), EndReason::Error, None),
    ]);
}

#[test]
fn a_crash_before_a_deletion_counts_if_the_watch_sees_only_the_last_state() {
    let exited = in_phase(after_exit(running(), 1, "Error", 500), "Failed");
    let last = deleted(exited, 600, 0);
    check(vec![(
        "the last object only",
        vec![Shown(6, running()), Gone(600, last)],
        EndReason::Error,
        Some(500),
    )]);
}

#[test]
fn a_desktop_that_reaches_its_memory_limit_is_oom_killed() {
    let killed = in_phase(after_exit(running(), 137, "OOMKilled", 600), "Failed");
    check(vec![
        ("OOM", ends(killed), EndReason::OomKilled, Some(600)),
        (
            "OOM, then deleted",
            exit_before_deletion(137, "OOMKilled", "Never"),
            EndReason::OomKilled,
            Some(600),
        ),
    ]);
}

/// The first state after a gap can be the last one.
#[test]
fn a_session_whose_reason_stood_in_a_missed_event_ends_as_unknown() {
    let after = |before: Json, events: Vec<Event>| [vec![Shown(6, before), Missed], events].concat();
    let stopped = in_phase(after_exit(deleted(running(), 600, 30), 143, "Error", 602), "Failed");
    let last = deleted(stopped.clone(), 603, 0);
    let removed = vec![Shown(603, last.clone()), Gone(603, last)];
    let crashed = in_phase(after_exit(running(), 3, "Error", 600), "Failed");
    let unlocated = in_phase(with(deleted(accepted(), 60, 30), &desktop(&status_unknown())), "Failed");
    let waits = with(accepted(), &desktop(&json!({"waiting": {"reason": "ErrImagePull"}})));
    let requested = vec![Shown(600, deleted(running(), 600, 30))];
    check(vec![
        ("the request to delete it", after(running(), removed.clone()), EndReason::Unknown, Some(602)),
        ("everything", [vec![Missed], removed.clone()].concat(), EndReason::Unknown, Some(602)),
        (
            "only states before the request",
            after(running(), [requested, removed.clone()].concat()),
            EndReason::Deleted,
            Some(602),
        ),
        (
            "nothing that matters: the request is in the state",
            after(running(), vec![Listed(700, vec![stopped])]),
            EndReason::Deleted,
            Some(602),
        ),
        (
            "nothing that matters: it ran until its removal",
            after(running(), forced(running())[1..].to_vec()),
            EndReason::Deleted,
            Some(600),
        ),
        (
            "nothing that matters: nobody deleted it",
            after(running(), vec![Listed(700, vec![crashed.clone()])]),
            EndReason::Error,
            Some(600),
        ),
        (
            "nothing that matters: its end was shown before",
            after(crashed.clone(), vec![Gone(650, deleted(crashed, 650, 0))]),
            EndReason::Error,
            Some(600),
        ),
        (
            "perhaps an image error",
            after(accepted(), vec![Listed(700, vec![unlocated.clone()])]),
            EndReason::Unknown,
            None,
        ),
        (
            "nothing that matters: the image error was shown before",
            after(waits, vec![Listed(700, vec![unlocated])]),
            EndReason::ImageError,
            None,
        ),
    ]);
}
