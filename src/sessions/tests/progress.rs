//! Sessions that have not ended: phases, reasons of pending pods, restarts and the stages of the start.

use serde_json::{Value as Json, json};

use super::{
    pods::*,
    watch::{Gone, Listed, Shown, TestWatch},
};
use crate::sessions::ledger::{PendingReason, Phase};

fn shown(watch: &TestWatch, name: &str) -> Vec<(String, f64)> {
    watch.shown(name)
}

fn one(labels: &str) -> Vec<(String, f64)> {
    vec![(labels.to_owned(), 1.0)]
}

#[test]
fn the_phase_follows_the_pod() {
    let mut watch = TestWatch::new();
    watch.send(&Shown(1, accepted()));
    assert_eq!(watch.series("vdi_sessions_total"), [], "the first list is not complete");
    assert_eq!(watch.series("vdi_sessions"), [], "the first list is not complete");
    watch.send(&Listed(2, vec![accepted()]));
    let succeeded = in_phase(after_exit(running(), 0, "Completed", 600), "Succeeded");
    for (pod, phase) in [
        (accepted(), Phase::Pending),
        (running(), Phase::Running),
        (deleted(running(), 590, 30), Phase::Terminating),
        (deleted(succeeded.clone(), 590, 30), Phase::Succeeded),
        (in_phase(running(), ""), Phase::Unknown),
    ] {
        watch.send(&Shown(600, pod));
        assert_eq!(shown(&watch, "vdi_sessions_total"), one(phase.as_str()));
        assert_eq!(shown(&watch, "vdi_sessions"), one(&format!("cad none {}", phase.as_str())));
        assert_eq!(watch.series("vdi_sessions_total").len(), Phase::ALL.len());
        assert_eq!(watch.series("vdi_sessions").len(), Phase::ALL.len());
    }
    watch.send(&Gone(601, deleted(succeeded, 601, 0)));
    assert_eq!(shown(&watch, "vdi_sessions_total"), []);
    let zeros = watch.series("vdi_sessions");
    assert_eq!(zeros.len(), Phase::ALL.len(), "the pair of an ended session keeps its series: {zeros:?}");
}

#[test]
fn a_pending_session_has_one_reason() {
    let unscheduled = |reason: &str| {
        let condition = json!([{"type": "PodScheduled", "status": "False", "reason": reason}]);
        with(created(), &json!({"status": {"conditions": condition}}))
    };
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let init = |state: &Json| {
        let mut pod = accepted();
        let setup = json!({"name": "setup", "state": state});
        pod["status"]["initContainerStatuses"].as_array_mut().unwrap().push(setup);
        pod
    };
    for (pod, reason) in [
        (created(), PendingReason::Scheduling),
        (unscheduled("SchedulingGated"), PendingReason::SchedulingGated),
        (unscheduled("Unschedulable"), PendingReason::Unschedulable),
        (accepted(), PendingReason::Starting),
        (init(&json!({"running": {"startedAt": at(1)}})), PendingReason::Init),
        (init(&waiting("CrashLoopBackOff")), PendingReason::ContainerError),
        (with(accepted(), &desktop(&waiting("ImagePullBackOff"))), PendingReason::ImageError),
        (with(accepted(), &desktop(&waiting("CreateContainerConfigError"))), PendingReason::ContainerError),
        (with(accepted(), &sidecar(&waiting("ErrImagePull"))), PendingReason::Sidecar),
    ] {
        let watch = TestWatch::after(&[Shown(1, pod)]);
        assert_eq!(shown(&watch, "vdi_sessions_pending"), one(&format!("cad {}", reason.as_str())));
    }
    for pod in [running(), deleted(created(), 5, 0)] {
        assert_eq!(shown(&TestWatch::after(&[Shown(1, pod)]), "vdi_sessions_pending"), []);
    }
}

/// A desktop that was restarted `count` times; its previous run ended with this code and reason.
fn restarted(count: u32, code: i32, reason: &str) -> Json {
    let mut pod = running();
    pod["spec"]["restartPolicy"] = json!("Always");
    pod["status"]["containerStatuses"][0]["restartCount"] = json!(count);
    pod["status"]["containerStatuses"][0]["lastState"] = exited(code, reason, 100);
    pod
}

#[test]
fn restarts_are_counted_by_reason_and_are_no_failures() {
    let watch = TestWatch::after(&[
        Shown(6, running()),
        Shown(101, after_exit(restarted(0, 0, ""), 137, "OOMKilled", 100)),
        Shown(102, restarted(1, 137, "OOMKilled")),
        Shown(103, restarted(1, 137, "OOMKilled")),
        Shown(104, restarted(2, 1, "Error")),
        // Two restarts between two events: the kubelet keeps only the latest end.
        Shown(105, restarted(4, 0, "Completed")),
        Shown(106, restarted(5, 255, "Unknown")),
    ]);
    let expected = ["completed", "error", "oom_killed", "node_lost", "unknown"];
    let expected = expected.map(|reason| (format!("cad {reason}"), 1.0));
    assert_eq!(shown(&watch, "vdi_session_restarts_total"), expected);
    assert_eq!((watch.endings(), shown(&watch, "vdi_session_failures_total")), (vec![], vec![]));
}

#[test]
fn a_restart_of_the_sidecar_is_not_one_of_the_desktop() {
    let mut pod = running();
    pod["status"]["initContainerStatuses"][0]["restartCount"] = json!(1);
    pod["status"]["initContainerStatuses"][0]["lastState"] = exited(137, "OOMKilled", 100);
    let watch = TestWatch::after(&[Shown(6, running()), Shown(101, pod)]);
    assert_eq!(shown(&watch, "vdi_session_sidecar_restarts_total"), one("cad oom_killed"));
    assert_eq!(shown(&watch, "vdi_session_restarts_total"), []);
}

#[test]
fn a_count_without_a_previous_end_is_no_restart() {
    let mut pod = with(running(), &desktop(&status_unknown()));
    pod["status"]["containerStatuses"][0]["restartCount"] = json!(1);
    let watch = TestWatch::after(&[Shown(6, running()), Shown(601, in_phase(pod, "Failed"))]);
    assert_eq!(shown(&watch, "vdi_session_restarts_total"), []);
}

#[test]
fn restarts_and_stages_before_the_start_of_the_server_are_not_counted() {
    let mut watch = TestWatch::started_at(1000);
    watch.send(&Listed(1001, vec![restarted(3, 1, "Error")]));
    assert_eq!(shown(&watch, "vdi_session_restarts_total"), []);
    assert_eq!(shown(&watch, "vdi_session_startup_seconds"), []);
    watch.send(&Shown(1002, restarted(4, 1, "Error")));
    assert_eq!(shown(&watch, "vdi_session_restarts_total"), one("cad error"));
}

#[test]
fn restarts_before_a_label_that_comes_back_are_counted_once() {
    let last = deleted(restarted(3, 1, "Error"), 590, 30);
    let mut watch =
        TestWatch::after(&[Shown(6, running()), Shown(500, restarted(3, 1, "Error")), Gone(590, last)]);
    let before = shown(&watch, "vdi_session_restarts_total");
    watch.send(&Shown(600, restarted(3, 1, "Error")));
    assert_eq!(shown(&watch, "vdi_session_restarts_total"), before);
}

#[test]
fn each_stage_of_the_start_is_observed_once() {
    let mut scheduled = accepted();
    scheduled["status"]["conditions"][0]["lastTransitionTime"] = json!(at(1));
    let mut ready = running();
    ready["status"]["conditions"][0]["lastTransitionTime"] = json!(at(1));
    let helper = json!({"name": "helper", "state": {"running": {"startedAt": at(8)}}});
    ready["status"]["containerStatuses"].as_array_mut().unwrap().push(helper);
    ready["status"]["conditions"][3]["lastTransitionTime"] = json!(at(9));
    let not_ready = with(ready.clone(), &desktop(&json!({"waiting": {"reason": "CrashLoopBackOff"}})));
    let watch = TestWatch::after(&[
        Shown(0, created()),
        Shown(1, scheduled),
        Shown(9, ready.clone()),
        Shown(50, not_ready),
        Shown(60, ready),
    ]);
    let expected =
        [("scheduled", 1.0), ("sidecar", 2.0), ("image", 5.0), ("containers", 8.0), ("ready", 9.0)];
    let expected = expected.map(|(stage, seconds)| (format!("cad {stage}"), seconds));
    assert_eq!(shown(&watch, "vdi_session_startup_seconds"), expected);
    let (_, totals) = watch.ledger.totals().next().unwrap();
    assert!(totals.startup.values().all(|stage| stage.count == 1));
}
