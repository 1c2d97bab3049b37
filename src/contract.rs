//! What the server and the sidecar must agree on. Standard library only; both sides and the tests read names from
//! here, and the manifests are tested against it.

/// Name of the injected container, of its port and of its one volume.
pub const CONTAINER: &str = "vdi-metrics";

/// Port of the sidecar's `/metrics` where the pod declares no other use of it.
pub const PORT: u16 = 9478;

/// Time between two reads of the GPU, in seconds.
pub const INTERVAL_SECONDS: u64 = 15;

/// What the time between two reads may be set to, in seconds. Polling more often can be felt as stutter in the desktop
/// (`MangoHud#1307`); less often, and an hour of work is twelve samples.
pub const ALLOWED_INTERVAL_SECONDS: std::ops::RangeInclusive<u64> = 5..=300;

/// Most bytes of a session's, template's or pool's name that are shown. An annotation can be 256 KiB long: as a variable
/// it would keep a container from starting (128 KiB), as a label it would cost the whole scrape (the shipped monitor allows
/// 512 bytes).
pub const MAX_NAME_BYTES: usize = 253;

/// Where both programs serve their exposition.
pub const METRICS_PATH: &str = "/metrics";

/// Where the sidecar's one volume is mounted. ServiceAccount admission would mount an API token there, and leaves a container
/// alone that has something at that place.
pub const VOLUME_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The file in it with the pod's annotations, as the downward API writes them.
pub const ANNOTATIONS: &str = "annotations";

/// Labels and annotations of ours on pods and namespaces.
pub mod key {
    /// Opt in or out: [`ENABLED`] or [`DISABLED`], as a label on a namespace or a pod.
    pub const INJECT: &str = "vdi-metrics.io/inject";
    /// Value of [`INJECT`] that opts in.
    pub const ENABLED: &str = "enabled";
    /// Value of [`INJECT`] that opts out; honoured as a pod annotation too.
    pub const DISABLED: &str = "disabled";
    /// Label that we put on a pod with our container, value `true`: what Services and the session watch select.
    pub const INJECTED: &str = "vdi-metrics.io/injected";
    /// Annotation with what was decided: `injected` or `skipped: <reason>`.
    pub const STATUS: &str = "vdi-metrics.io/status";
    /// Annotation with the hash of the container that was injected.
    pub const CONFIG: &str = "vdi-metrics.io/config";
    /// Annotation that `vdi-metrics inject` writes into a manifest: what was null or empty there before, for `uninject`.
    pub const RESTORE: &str = "vdi-metrics.io/restore";
    /// Label or annotation with the session's own name.
    pub const SESSION: &str = "vdi-metrics.io/session";
    /// Label or annotation with the template that the session was made from.
    pub const TEMPLATE: &str = "vdi-metrics.io/template";
    /// Label or annotation with the user whose session it is.
    pub const USER: &str = "vdi-metrics.io/user";
    /// Label or annotation with the pool that the session belongs to.
    pub const POOL: &str = "vdi-metrics.io/pool";
    /// What all of ours begin with.
    pub const PREFIX: &str = "vdi-metrics.io/";
    /// Annotation: first port that is tried for this pod.
    pub const PORT: &str = "vdi-metrics.io/port";
    /// Annotation: seconds between two reads of the GPU for this pod.
    pub const INTERVAL: &str = "vdi-metrics.io/interval";
    /// Annotation: processor of this pod's sidecar, request and limit.
    pub const CPU: &str = "vdi-metrics.io/cpu";
    /// Annotation: memory of this pod's sidecar, request and limit.
    pub const MEMORY: &str = "vdi-metrics.io/memory";
    /// Annotation: image of this pod's sidecar.
    pub const IMAGE: &str = "vdi-metrics.io/image";
    /// Annotation: `native` or `container` for this pod.
    pub const MODE: &str = "vdi-metrics.io/mode";
    /// Annotation: `auto`, `claims`, `runtime` or `none` for this pod.
    pub const GPU_ACCESS: &str = "vdi-metrics.io/gpu-access";
    /// Annotation, read by the sidecar for as long as the pod lives: the desktop's devices, written by somebody who knows.
    pub const GPU: &str = "vdi-metrics.io/gpu";
    /// Annotation, read as [`GPU`]: how they are shared, `exclusive`, `mig`, `time-slicing`, `mps` or `unknown`.
    pub const GPU_SHARING: &str = "vdi-metrics.io/gpu-sharing";
}

/// Environment of the sidecar: written at admission, read by the sidecar's configuration.
pub mod env {
    /// Socket address of the exposition; `[::]:PORT` listens on IPv4 too, unless the node's `bindv6only` says otherwise.
    pub const LISTEN: &str = "VDI_METRICS_LISTEN";
    /// Seconds between two reads of the GPU.
    pub const INTERVAL: &str = "VDI_METRICS_INTERVAL";
    /// The session's own name; absent or empty where the pod names none.
    pub const SESSION: &str = "VDI_METRICS_SESSION";
    /// The session's template; absent or empty where the pod names none.
    pub const TEMPLATE: &str = "VDI_METRICS_TEMPLATE";
    /// The session's user; absent or empty where the pod names none or the operator does not want it shown.
    pub const USER: &str = "VDI_METRICS_USER";
    /// The session's pool; absent or empty where the pod names none.
    pub const POOL: &str = "VDI_METRICS_POOL";
    /// `claims` where the container shares the desktop's resource claims, `named-claims` where other pods can name one of
    /// them as well; absent otherwise.
    pub const GPU_ACCESS: &str = "VDI_METRICS_GPU_ACCESS";
    /// `all` where devices may be shown that nobody knows to be the session's; absent otherwise.
    pub const NODE_TOTALS: &str = "VDI_METRICS_NODE_TOTALS";
    /// Number of the pod's containers of every kind: they share the room for termination messages.
    pub const CONTAINERS: &str = "VDI_METRICS_CONTAINERS";
    /// Folder in which the container's files are looked for instead of `/`; for tests.
    pub const ROOT: &str = "VDI_METRICS_ROOT";
    /// Path of the NVML library instead of the loader's `libnvidia-ml.so.1`; for tests and odd nodes.
    pub const NVML_LIBRARY: &str = "VDI_METRICS_NVML_LIBRARY";
    /// `error`, `warn`, `info` (default), `debug` or `trace`; released programs have no `trace` events.
    pub const LOG: &str = "VDI_METRICS_LOG";
}
