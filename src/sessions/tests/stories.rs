//! The events of typical sessions, and what the metrics must show after them.

use serde_json::{Value as Json, json};

use super::{
    pods::*,
    watch::{Event, Gone, Shown, TestWatch},
};
use crate::sessions::ledger::EndReason;

/// Name, events, reason and duration.
pub(super) type Row = (&'static str, Vec<Event>, EndReason, Option<i64>);

#[track_caller]
pub(super) fn check(rows: Vec<Row>) {
    for (name, events, reason, duration) in rows {
        let watch = TestWatch::after(&events);
        assert_eq!(watch.endings(), [(format!("cad {}", reason.as_str()), 1.0)], "{name}");
        let expected = duration.map_or((0, 0.0), |seconds| (1, seconds as f64));
        assert_eq!(watch.durations(), expected, "{name}");
        let failures = watch.shown("vdi_session_failures_total").len();
        assert_eq!(failures, usize::from(reason.is_failure()), "{name}");
    }
}

/// A pod without a request to delete it that ends at 600.
pub(super) fn ends(last: Json) -> Vec<Event> {
    vec![Shown(0, created()), Shown(1, accepted()), Shown(6, running()), Shown(601, last)]
}

/// A deletion as the kubelet carries it out: the desktop ends at `finished`.
pub(super) fn deletion(before: Json, requested: i64, code: i32, finished: i64) -> Vec<Event> {
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let stopped =
        in_phase(after_exit(deleted(before.clone(), requested, 30), code, "Error", finished), phase);
    let seen = finished.max(requested);
    let last = deleted(stopped.clone(), seen + 1, 0);
    vec![
        Shown(0, created()),
        Shown(6, running()),
        Shown(requested, deleted(before, requested, 30)),
        Shown(seen, stopped),
        Shown(seen + 1, last.clone()),
        Gone(seen + 1, last),
    ]
}

/// The desktop ends by itself at 600, and a client deletes the pod at 601.
pub(super) fn exit_before_deletion(code: i32, reason: &str, policy: &str) -> Vec<Event> {
    let exited = with(after_exit(running(), code, reason, 600), &json!({"spec": {"restartPolicy": policy}}));
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let last = in_phase(exited.clone(), phase);
    vec![
        Shown(6, running()),
        Shown(600, exited.clone()),
        Shown(601, deleted(exited, 601, 30)),
        Shown(602, deleted(last.clone(), 601, 30)),
        Shown(603, deleted(last.clone(), 603, 0)),
        Gone(603, deleted(last, 603, 0)),
    ]
}

/// A forced deletion at 600: no container's end is seen.
pub(super) fn forced(pod: Json) -> Vec<Event> {
    let pod = deleted(pod, 600, 0);
    vec![Shown(6, running()), Shown(600, pod.clone()), Gone(600, pod)]
}

pub(super) fn crash_loop() -> Json {
    let state = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let mut pod = with(running(), &desktop(&state));
    pod["spec"]["restartPolicy"] = json!("Always");
    pod["status"]["containerStatuses"][0]["lastState"] = exited(1, "Error", 500);
    pod["status"]["containerStatuses"][0]["restartCount"] = json!(4);
    pod
}

/// The container of the runtime that could not start: containerd gives it a start in 1970.
pub(super) fn start_error() -> Json {
    let started = "1970-01-01T00:00:00Z";
    json!({"terminated": {"exitCode": 128, "reason": "StartError", "startedAt": started, "finishedAt": at(5),
        "message": "failed to create containerd task: exec: \"desktop\": executable file not found in $PATH"}})
}

/// A pod with an init container in this state.
pub(super) fn initializing(state: &Json, last_state: &Json) -> Json {
    let mut pod = accepted();
    let setup = json!({"name": "setup", "state": state, "lastState": last_state, "restartCount": 2});
    pod["status"]["initContainerStatuses"].as_array_mut().unwrap().push(setup);
    pod
}
