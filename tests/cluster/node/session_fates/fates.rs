//! The fates of sessions on the real node, and what the ledger must count.

use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::{claims::desktop_with_claim, desktops::desktop, node_pods::desktop_with};

/// A fate. Each has one pod.
pub(super) struct Fate {
    /// Name of the pod.
    pub(super) name: &'static str,
    pub(super) pod: Value,
    pub(super) action: Action,
    /// The reason of the end.
    pub(super) reason: &'static str,
    pub(super) lasts_until: LastsUntil,
    pub(super) gpu: Gpu,
    /// Runs of the sidecar whose termination message does not reach the API server.
    pub(super) missing: u32,
}

/// How the test ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The session ends by itself.
    Nothing,
    /// A client deletes the pod in this state.
    Delete(Ready),
    /// A client deletes the running pod without a grace period.
    Force,
    /// A client evicts the running pod.
    Evict,
    /// A client deletes the running pod while the kubelet is stopped.
    DeleteWithoutKubelet,
    /// The Node object is deleted. No kubelet runs there.
    DeleteNode,
}

/// The state in which a client deletes a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Running,
    /// The desktop has restarted and waits for its next restart.
    BacksOff,
    /// The image cannot be used.
    NoImage,
}

/// The end of the duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastsUntil {
    /// The end of the desktop.
    End,
    /// The request to delete the pod.
    Request,
    /// No desktop ran.
    Never,
    /// A node that does not exist any more: a second is not expected.
    Unknown,
}

/// The GPU of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gpu {
    /// The GPU in the image of the sidecar. Only the sidecar's termination message shows it.
    SidecarImage,
    /// The device plugin allocates it to the desktop. Only the status of the pod shows it.
    DevicePlugin,
    /// A resource claim of the desktop. The sidecar sees it too.
    Claim,
}

use Action::{Delete, DeleteNode, DeleteWithoutKubelet, Evict, Force, Nothing};
use LastsUntil::{End, Never, Request, Unknown};

/// The Node object without a kubelet.
pub(super) const NODE_WITHOUT_KUBELET: &str = "node-2";

/// The pool of each pod.
pub(super) const POOL: &str = "fates";

/// Every fate.
pub(super) fn fates() -> Vec<Fate> {
    let mut fates = with_own_end();
    fates.extend(with_deletion());
    fates.extend(with_interruption());
    fates
}

/// The template of a fate's pod.
pub(super) fn template(name: &str) -> String {
    format!("fate-{name}")
}

fn with_own_end() -> Vec<Fate> {
    let deadline = with(desktop(&["sleep"]), &json!({"activeDeadlineSeconds": 8}));
    let memory = json!({"containers": [{"resources": {"limits": {"memory": "48Mi"}}}]});
    let mut setup_fails = desktop(&["sleep"]);
    let mut setup = setup_fails["spec"]["containers"][0].clone();
    (setup["name"], setup["args"]) = (json!("setup"), json!(["exit", "1", "1"]));
    setup_fails["spec"]["initContainers"] = json!([setup]);
    vec![
        fate("completion", with_args(of_plugin(), &["exit", "0", "6"]), Nothing, "completed", End)
            .with_gpu(Gpu::DevicePlugin),
        fate("crash", desktop(&["exit", "3", "5"]), Nothing, "error", End),
        fate("oom-kill", with(desktop(&["fill"]), &memory), Nothing, "oom_killed", End),
        fate("deadline", deadline, Nothing, "deadline_exceeded", End),
        fate("setup-failure", setup_fails, Nothing, "error", Never),
    ]
}

fn with_deletion() -> Vec<Fate> {
    let restarts = with(desktop(&["exit", "1", "2"]), &json!({"restartPolicy": "OnFailure"}));
    let loops = with(desktop(&["exit", "0", "2"]), &json!({"restartPolicy": "Always"}));
    let no_image = json!({"containers": [{"image": "desktop.test/missing:1", "imagePullPolicy": "Never"}]});
    let no_image = with(desktop(&["sleep"]), &no_image);
    let running = Delete(Ready::Running);
    vec![
        fate("restart", restarts, Delete(Ready::BacksOff), "deleted", Request),
        fate("restart-of-all", loops, Delete(Ready::BacksOff), "deleted", Request),
        fate("deletion", desktop_with_claim("deletion"), running, "deleted", End).with_gpu(Gpu::Claim),
        fate("deletion-143", desktop(&["sleep", "143"]), running, "deleted", End),
        fate("image-error", no_image, Delete(Ready::NoImage), "image_error", Never),
    ]
}

fn with_interruption() -> Vec<Fate> {
    let away = with(desktop(&["sleep"]), &json!({"nodeName": NODE_WITHOUT_KUBELET}));
    let patient = with(desktop(&["sleep"]), &json!({"terminationGracePeriodSeconds": 60}));
    vec![
        fate("forced-deletion", of_plugin(), Force, "deleted", Request)
            .with_gpu(Gpu::DevicePlugin)
            .without_message(),
        fate("eviction", desktop(&["sleep"]), Evict, "drained", End),
        fate("kubelet-restart", patient, DeleteWithoutKubelet, "deleted", End),
        fate("node-deletion", away, DeleteNode, "node_lost", Unknown).without_message(),
    ]
}

fn fate(
    name: &'static str,
    mut pod: Value,
    action: Action,
    reason: &'static str,
    lasts_until: LastsUntil,
) -> Fate {
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["labels"][key::TEMPLATE] = json!(template(name));
    pod["metadata"]["labels"][key::POOL] = json!(POOL);
    Fate { name, pod, action, reason, lasts_until, gpu: Gpu::SidecarImage, missing: 0 }
}

fn of_plugin() -> Value {
    desktop_with("", Some("nvidia.com/gpu"))
}

fn with_args(mut pod: Value, arguments: &[&str]) -> Value {
    pod["spec"]["containers"][0]["args"] = json!(arguments);
    pod
}

/// `pod` with these fields of its spec. The first container gets the fields of the first container of `changes`.
fn with(mut pod: Value, changes: &Value) -> Value {
    for (field, value) in changes.as_object().into_iter().flatten() {
        if field == "containers" {
            for (field, value) in value[0].as_object().into_iter().flatten() {
                pod["spec"]["containers"][0][field] = value.clone();
            }
        } else {
            pod["spec"][field] = value.clone();
        }
    }
    pod
}

// === impl Fate ===

impl Fate {
    fn with_gpu(self, gpu: Gpu) -> Self {
        Self { gpu, ..self }
    }

    fn without_message(self) -> Self {
        Self { missing: 1, ..self }
    }
}
