//! Reads a pod of the API.

use super::{
    observed::{ObservedPod, PodOwner, SidecarCondition},
    reason::BlockReason,
};
use crate::{
    cluster,
    contract::key,
    sessions::pod::{self, PodStart, WatchedPod},
};

/// Annotations that change the sidecar so that it can fail.
const OVERRIDES: [&str; 5] = [key::IMAGE, key::CPU, key::MEMORY, key::MODE, key::GPU_ACCESS];

/// The pod. `None` for an object without UID; the API server sends no such object.
pub(super) fn observed(pod: &WatchedPod) -> Option<ObservedPod> {
    let metadata = &pod.metadata;
    let start = pod::start(pod);
    let annotation = |key: &str| metadata.annotations.as_ref()?.get(key);
    let name = metadata.name.as_deref().unwrap_or_default();
    let uid = metadata.uid.as_deref()?;
    let subject = cluster::controller(metadata).map_or_else(
        || PodOwner { api_version: "v1".into(), kind: "Pod".into(), name: name.into(), uid: uid.into() },
        |owner| PodOwner {
            api_version: (*owner.api_version).into(),
            kind: (*owner.kind).into(),
            name: (*owner.name).into(),
            uid: (*owner.uid).into(),
        },
    );
    Some(ObservedPod {
        uid: uid.into(),
        namespace: metadata.namespace.as_deref().unwrap_or_default().into(),
        name: name.into(),
        node: start.node.into(),
        template: start.template.unwrap_or_default().into(),
        config: annotation(key::CONFIG).map_or("", |hash| hash).into(),
        has_overrides: OVERRIDES.iter().any(|key| annotation(key).is_some()),
        created: metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
        accepted: start.accepted,
        is_pending: start.is_pending,
        sidecar: condition(&start),
        subject,
    })
}

/// While its sidecar does not run, a pod is not ready. This holds for a native sidecar too, which the kubelet restarts beside the
/// desktop.
fn condition(start: &PodStart<'_>) -> SidecarCondition {
    if start.is_over {
        return SidecarCondition::Other;
    }
    if let Some(since) = start.running {
        return SidecarCondition::Runs(since);
    }
    // The kubelet shows the end of the container during a part of the back-off.
    let crashed = start.has_crashed.then_some(BlockReason::CrashLoopBackOff);
    let reason = start.waiting.and_then(BlockReason::parse).or(crashed);
    reason.map_or(SidecarCondition::Other, SidecarCondition::Blocks)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::contract::CONTAINER;

    /// A pod whose sidecar is in this list of containers and in this state.
    fn read(phase: &str, list: &str, state: &Value) -> ObservedPod {
        let statuses = format!("{}Statuses", list.trim_end_matches('s'));
        let environment = json!([{"name": "VDI_METRICS_TEMPLATE",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['vdi-metrics.io/template']"}}}]);
        let pod = json!({
            "metadata": {
                "uid": "u", "name": "desktop", "namespace": "users", "creationTimestamp": "2026-11-01T00:00:00Z",
                "labels": {"vdi-metrics.io/template": "cad"},
                "annotations": {"vdi-metrics.io/config": "0123"},
            },
            "spec": {"nodeName": "node-1", list: [{"name": CONTAINER, "env": environment}]},
            "status": {"phase": phase, "startTime": "2026-11-01T00:00:02Z",
                statuses: [{"name": "other", "state": {"waiting": {"reason": "ErrImagePull"}}}, {"name": CONTAINER, "state": state}]},
        });
        observed(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn waits(reason: &str) -> Value {
        json!({"waiting": {"reason": reason}})
    }

    #[test]
    fn the_values_that_decide_are_read() {
        let pod = read("Pending", "initContainers", &waits("ErrImagePull"));
        let subject = PodOwner {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: "desktop".into(),
            uid: "u".into(),
        };
        let expected = ObservedPod {
            uid: "u".into(),
            namespace: "users".into(),
            name: "desktop".into(),
            node: "node-1".into(),
            template: "cad".into(),
            config: "0123".into(),
            has_overrides: false,
            created: 1_793_491_200,
            accepted: Some(1_793_491_202),
            is_pending: true,
            sidecar: SidecarCondition::Blocks(BlockReason::ErrImagePull),
            subject,
        };
        assert_eq!(pod, expected);
    }

    #[test]
    fn a_sidecar_that_does_not_run_blocks_its_pod() {
        let running = || json!({"running": {"startedAt": "1970-01-01T00:00:09Z"}});
        let ended = || json!({"terminated": {"exitCode": 1}});
        let blocks = SidecarCondition::Blocks(BlockReason::CrashLoopBackOff);
        for (phase, list, state, expected) in [
            ("Pending", "initContainers", waits("CrashLoopBackOff"), blocks),
            ("Pending", "initContainers", waits("PodInitializing"), SidecarCondition::Other),
            ("Pending", "initContainers", ended(), SidecarCondition::Other),
            ("Pending", "initContainers", running(), SidecarCondition::Runs(9)),
            // The desktop runs, but the pod is not ready.
            ("Running", "initContainers", waits("CrashLoopBackOff"), blocks),
            ("Running", "containers", waits("CrashLoopBackOff"), blocks),
            // The desktop has ended, and its sidecar after it.
            ("Running", "initContainers", ended(), SidecarCondition::Other),
            ("Failed", "initContainers", waits("CrashLoopBackOff"), SidecarCondition::Other),
        ] {
            assert_eq!(read(phase, list, &state).sidecar, expected, "{phase} {list} {state}");
        }
    }

    #[test]
    fn a_sidecar_that_has_ended_after_a_restart_crashes() {
        let condition = |restarts: i32, deleted: Option<&str>| {
            let container = json!({"name": CONTAINER, "restartCount": restarts, "state": {"terminated": {"exitCode": 1}}});
            let pod = json!({
                "metadata": {"uid": "u", "deletionTimestamp": deleted}, "spec": {},
                "status": {"phase": "Running", "initContainerStatuses": [container]},
            });
            observed(&serde_json::from_value(pod).unwrap()).unwrap().sidecar
        };
        let blocks = SidecarCondition::Blocks(BlockReason::CrashLoopBackOff);
        assert_eq!(condition(1, None), blocks);
        assert_eq!(condition(0, None), SidecarCondition::Other);
        assert_eq!(condition(1, Some("2026-11-01T00:00:00Z")), SidecarCondition::Other);
    }
}
