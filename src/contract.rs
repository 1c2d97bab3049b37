//! Names and values that the server and the sidecar must agree on. Both programs and the tests take them from here, and the
//! manifests are tested against them. This file uses the standard library only; the child modules have the data types that one program
//! writes and another reads.

pub mod termination;

/// Name of the injected container, of its port and of its one volume.
pub const CONTAINER: &str = "vdi-metrics";

/// Port of the sidecar's `/metrics`, unless the pod declares another use of it.
pub const PORT: u16 = 9478;

/// Default interval between two polls, in seconds.
pub const INTERVAL_SECONDS: u64 = 15;

/// Allowed intervals between two polls, in seconds. A shorter interval can make the desktop stutter (`MangoHud#1307`); with
/// a longer one, an hour of work has fewer than twelve polls.
pub const ALLOWED_INTERVAL_SECONDS: std::ops::RangeInclusive<u64> = 5..=300;

/// Maximum bytes of the name of a session, template, pool or user; a longer name is truncated. An annotation can have 256
/// KiB: a container with such an environment variable does not start (limit 128 KiB), and a scrape with such a label is
/// rejected entirely (the shipped monitor allows 512 bytes).
pub const MAX_NAME_BYTES: usize = 253;

/// A session's, template's, pool's or user's name as both programs expose it: truncated to [`MAX_NAME_BYTES`]; `None` for an
/// empty value.
#[must_use]
pub fn shown_name(value: &str) -> Option<&str> {
    (!value.is_empty()).then(|| &value[..value.floor_char_boundary(MAX_NAME_BYTES)])
}

/// HTTP path of the metrics of both programs.
pub const METRICS_PATH: &str = "/metrics";

/// Mount path of the sidecar's only volume. ServiceAccount admission mounts an API token at this path unless the container
/// has another mount there; so the sidecar gets no token.
pub const VOLUME_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// File in the volume with the pod's annotations, as the downward API writes them.
pub const ANNOTATIONS: &str = "annotations";

/// Labels and annotations of vdi-metrics on pods and namespaces.
pub mod key {
    /// Opt in or out: [`ENABLED`] or [`DISABLED`], as a label on a namespace or a pod.
    pub const INJECT: &str = "vdi-metrics.io/inject";
    /// Value of [`INJECT`] that opts in.
    pub const ENABLED: &str = "enabled";
    /// Value of [`INJECT`] that opts out; also read as a pod annotation.
    pub const DISABLED: &str = "disabled";
    /// Label of a pod with the sidecar, value `true`. Services and the session watch select it.
    pub const INJECTED: &str = "vdi-metrics.io/injected";
    /// Annotation with the webhook's decision: `injected` or `skipped: <reason>`.
    pub const STATUS: &str = "vdi-metrics.io/status";
    /// Annotation with the hash of the configuration that the injected container has.
    pub const CONFIG: &str = "vdi-metrics.io/config";
    /// Annotation that `vdi-metrics inject` writes into a manifest: the fields that were null or empty before, for `uninject`.
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
    /// Annotation: first port to try for this pod.
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
    /// Annotation with the desktop's devices. The broker or another controller may write it at any time; the sidecar reads it
    /// at every poll.
    pub const GPU: &str = "vdi-metrics.io/gpu";
    /// Annotation with the sharing of these devices, read like [`GPU`]: `exclusive`, `mig`, `time-slicing`, `mps` or `unknown`.
    pub const GPU_SHARING: &str = "vdi-metrics.io/gpu-sharing";
}

/// Environment variables of the sidecar: the webhook writes them, the sidecar's configuration reads them.
pub mod env {
    /// Socket address of the exposition; `[::]:PORT` listens on IPv4 too, unless the node's `bindv6only` is set.
    pub const LISTEN: &str = "VDI_METRICS_LISTEN";
    /// Seconds between two polls.
    pub const INTERVAL: &str = "VDI_METRICS_INTERVAL";
    /// Name of the session; absent or empty if the pod has none.
    pub const SESSION: &str = "VDI_METRICS_SESSION";
    /// Template of the session; absent or empty if the pod has none.
    pub const TEMPLATE: &str = "VDI_METRICS_TEMPLATE";
    /// User of the session; absent or empty if the pod has none or `showUser` is off.
    pub const USER: &str = "VDI_METRICS_USER";
    /// Pool of the session; absent or empty if the pod has none.
    pub const POOL: &str = "VDI_METRICS_POOL";
    /// `claims` if the container shares the desktop's resource claims, `named-claims` if other pods can name one of these
    /// claims too; otherwise absent.
    pub const GPU_ACCESS: &str = "VDI_METRICS_GPU_ACCESS";
    /// `all` if devices that may not be the session's may be shown; otherwise absent.
    pub const NODE_TOTALS: &str = "VDI_METRICS_NODE_TOTALS";
    /// Number of the pod's containers of every kind: they share the maximum length of termination messages.
    pub const CONTAINERS: &str = "VDI_METRICS_CONTAINERS";
    /// Folder that is used as the container's root instead of `/`; for tests.
    pub const ROOT: &str = "VDI_METRICS_ROOT";
    /// Path of the NVML library, instead of the loader's `libnvidia-ml.so.1`; for tests and for nodes with another path.
    pub const NVML_LIBRARY: &str = "VDI_METRICS_NVML_LIBRARY";
    /// `error`, `warn`, `info` (default), `debug` or `trace`; released programs have no `trace` events.
    pub const LOG: &str = "VDI_METRICS_LOG";
}
