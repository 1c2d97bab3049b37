//! Names and values that the server and the sidecar must agree on. Both programs and the tests use these constants, and tests
//! compare the manifests with them. This file uses only the standard library. The child modules contain the data types that one
//! program writes and another program reads.

pub mod annotation_file;
mod gpu_request;
pub mod termination;

pub use gpu_request::GpuRequest;

/// Name of the injected container, of its port and of its only volume.
pub const CONTAINER: &str = "vdi-metrics";

/// Default port of the sidecar's `/metrics`. If another container of the pod declares this port, the webhook chooses another.
pub const PORT: u16 = 9478;

/// Default interval between two polls, in seconds.
pub const INTERVAL_SECONDS: u64 = 15;

/// Allowed intervals between two polls, in seconds. A shorter interval can make the desktop stutter (`MangoHud#1307`). With a
/// longer interval, an hour of work has fewer than twelve polls.
pub const ALLOWED_INTERVAL_SECONDS: std::ops::RangeInclusive<u64> = 5..=300;

/// Maximum bytes of the name of a session, template, pool or user. A longer name is truncated, because an annotation can have
/// 256 KiB. A container with such an environment variable does not start (limit 128 KiB). Prometheus rejects an entire scrape
/// with such a label (the shipped monitor allows 512 bytes).
pub const MAX_NAME_BYTES: usize = 253;

/// The name of a session, template, pool or user as both programs expose it: truncated to [`MAX_NAME_BYTES`]. Returns none for
/// an empty value.
#[must_use]
pub fn shown_name(value: &str) -> Option<&str> {
    (!value.is_empty()).then(|| &value[..value.floor_char_boundary(MAX_NAME_BYTES)])
}

/// Whether admission gives this value of a label or annotation to the sidecar as a name. As an environment variable a longer
/// value or a control character could prevent the start of the sidecar, and so of the desktop.
#[must_use]
pub fn is_valid_name(value: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&value.len()) && !value.contains(char::is_control)
}

/// HTTP path of the metrics of both programs.
pub const METRICS_PATH: &str = "/metrics";

/// Mount path of the sidecar's only volume. ServiceAccount admission mounts an API token at this path if the container has no
/// other mount there. This volume is such a mount, so the sidecar gets no token.
pub const VOLUME_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Name of the file in this volume that contains the pod's annotations. The kubelet writes it (downward API).
pub const ANNOTATIONS: &str = "annotations";

/// Name of the file in this volume that the node agent writes: the session's devices at the agent's last poll.
pub const REPORT: &str = "node-agent.json";

/// Labels and annotations of vdi-metrics on pods and namespaces.
pub mod key {
    /// Label of a namespace or a pod that opts in or out: [`ENABLED`] or [`DISABLED`].
    pub const INJECT: &str = "vdi-metrics.io/inject";
    /// Value of [`INJECT`] that opts in.
    pub const ENABLED: &str = "enabled";
    /// Value of [`INJECT`] that opts out. It is also valid as an annotation of the pod.
    pub const DISABLED: &str = "disabled";
    /// Label of a pod with the sidecar; its value is `true`. Services and the session watch select pods by it.
    pub const INJECTED: &str = "vdi-metrics.io/injected";
    /// Annotation with the webhook's decision: `injected` or `skipped: <reason>`.
    pub const STATUS: &str = "vdi-metrics.io/status";
    /// Annotation with the hash of the configuration by which the container was injected.
    pub const CONFIG: &str = "vdi-metrics.io/config";
    /// Annotation that `vdi-metrics inject` writes into a manifest: the fields that were null or empty before. `uninject`
    /// restores them.
    pub const RESTORE: &str = "vdi-metrics.io/restore";
    /// Label or annotation with the name of the session.
    pub const SESSION: &str = "vdi-metrics.io/session";
    /// Label or annotation with the template that the session was created from.
    pub const TEMPLATE: &str = "vdi-metrics.io/template";
    /// Label or annotation with the user of the session.
    pub const USER: &str = "vdi-metrics.io/user";
    /// Label or annotation with the pool that the session belongs to.
    pub const POOL: &str = "vdi-metrics.io/pool";
    /// Prefix of all these keys.
    pub const PREFIX: &str = "vdi-metrics.io/";
    /// Annotation: preferred port for this pod. If it is in use, the webhook tries the next ports.
    pub const PORT: &str = "vdi-metrics.io/port";
    /// Annotation: seconds between two polls for this pod.
    pub const INTERVAL: &str = "vdi-metrics.io/interval";
    /// Annotation: CPU request and limit of this pod's sidecar.
    pub const CPU: &str = "vdi-metrics.io/cpu";
    /// Annotation: memory request and limit of this pod's sidecar.
    pub const MEMORY: &str = "vdi-metrics.io/memory";
    /// Annotation: image of this pod's sidecar.
    pub const IMAGE: &str = "vdi-metrics.io/image";
    /// Annotation: `native` or `container` for this pod.
    pub const MODE: &str = "vdi-metrics.io/mode";
    /// Annotation: `auto`, `claims`, `runtime` or `none` for this pod.
    pub const GPU_ACCESS: &str = "vdi-metrics.io/gpu-access";
    /// Annotation: `auto` or `off` for this pod. With `off` the sidecar reads no connections.
    pub const PRESENCE: &str = "vdi-metrics.io/presence";
    /// Annotation with the IDs of the desktop's devices. The broker or another controller may write it at any time. The sidecar
    /// reads it at every poll.
    pub const GPU: &str = "vdi-metrics.io/gpu";
    /// Annotation that says how the devices of [`GPU`] are shared: `exclusive`, `mig`, `time-slicing`, `mps` or `unknown`. The
    /// sidecar reads it at every poll.
    pub const GPU_SHARING: &str = "vdi-metrics.io/gpu-sharing";
}

/// Environment variables of the sidecar. The webhook writes them, and the sidecar's configuration reads them.
pub mod env {
    /// Address and port of `/metrics`. `[::]:PORT` also listens on IPv4, unless `bindv6only` is set on the node.
    pub const LISTEN: &str = "VDI_METRICS_LISTEN";
    /// Seconds between two polls.
    pub const INTERVAL: &str = "VDI_METRICS_INTERVAL";
    /// Name of the session; absent or empty if the pod has none.
    pub const SESSION: &str = "VDI_METRICS_SESSION";
    /// Template of the session; absent or empty if the pod has none.
    pub const TEMPLATE: &str = "VDI_METRICS_TEMPLATE";
    /// User of the session; absent or empty if the pod has none or `showUser` is false.
    pub const USER: &str = "VDI_METRICS_USER";
    /// Pool of the session; absent or empty if the pod has none.
    pub const POOL: &str = "VDI_METRICS_POOL";
    /// `claims` if the sidecar shares the desktop's resource claims. `named-claims` if also other pods can use one of these
    /// claims. Otherwise absent.
    pub const GPU_ACCESS: &str = "VDI_METRICS_GPU_ACCESS";
    /// The kind of GPU request that the pod has: a [`GpuRequest`](super::GpuRequest). The webhook always sets it. Absent in a
    /// sidecar that an older webhook has injected, or that was started by hand: the request is unknown.
    pub const GPU_REQUEST: &str = "VDI_METRICS_GPU_REQUEST";
    /// `all` if the sidecar may expose devices that may belong to other pods. Otherwise absent.
    pub const NODE_TOTALS: &str = "VDI_METRICS_NODE_TOTALS";
    /// `off` if the sidecar must not read the connections of the session. Otherwise absent.
    pub const PRESENCE: &str = "VDI_METRICS_PRESENCE";
    /// The TCP ports that the containers beside the sidecar declare, except ports for metrics and probes: decimal numbers,
    /// ascending, each once, separated by commas. Absent if a regular container declares none, or if there are too many: then
    /// every listening port counts.
    pub const PORTS: &str = "VDI_METRICS_PORTS";
    /// Number of the pod's containers, including init and sidecar containers. They share the maximum length of termination
    /// messages.
    pub const CONTAINERS: &str = "VDI_METRICS_CONTAINERS";
    /// Folder that the sidecar reads instead of `/`; for tests.
    pub const ROOT: &str = "VDI_METRICS_ROOT";
    /// Path of the NVML library. Without it, the loader finds `libnvidia-ml.so.1`. For tests and for nodes with another path.
    pub const NVML_LIBRARY: &str = "VDI_METRICS_NVML_LIBRARY";
    /// `error`, `warn`, `info` (default), `debug` or `trace`; released programs have no `trace` events.
    pub const LOG: &str = "VDI_METRICS_LOG";
}
