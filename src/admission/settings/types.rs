//! The fields of the configuration file and their defaults.

use serde::{Deserialize, Serialize};

use super::profiles::{self, Profile};
use crate::{
    admission::quantity::Quantity,
    contract::{self, GpuRequest},
    runtime::{self, vocabulary::vocabulary},
};

/// The content of the configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The injected container.
    pub sidecar: SidecarSettings,
    /// How the sidecar gets access to the desktop's GPU.
    pub gpu_access: GpuAccess,
    /// Names of extended resources that are GPUs, in addition to the built-in names.
    pub gpu_resources: GpuResources,
    /// If a sidecar sees several GPUs of the node and cannot attribute one to its session, `true` makes it expose all of
    /// them, with the scope `node`. Every session then also shows the GPU use of other sessions.
    pub node_totals: bool,
    /// Whether the sidecar reads the connections of the session.
    pub presence: PresenceSetting,
    /// Whether pods get `prometheus.io/*` annotations, for Prometheus setups without a ServiceMonitor.
    pub scrape_annotations: ScrapeAnnotations,
    /// Whether the name of the user becomes a label of the session's series.
    pub show_user: bool,
    /// Which labels or annotations of a pod contain the identity of its session. Earlier profiles take precedence; the
    /// built-in profiles come last.
    pub profiles: Vec<Profile>,
    /// Whether the server adds no sidecar to any pod. Sidecars that exist keep running. Not serialized: it changes no injected field, so it is
    /// not part of the hash.
    #[serde(skip_serializing)]
    pub paused: bool,
    /// Names that always have their own label value in the metrics about all sessions. Not serialized: they change no injected field, so they
    /// are not part of the hash.
    #[serde(skip_serializing)]
    pub label_values: LabelValues,
}

/// Names that always have their own label value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct LabelValues {
    /// Templates.
    pub templates: Vec<String>,
    /// Pools.
    pub pools: Vec<String>,
}

/// The injected container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SidecarSettings {
    /// Image of the sidecar; by default the image that was released with this server.
    pub image: String,
    /// The architectures of the image: values of the node label `kubernetes.io/arch`.
    pub architectures: Vec<String>,
    /// `IfNotPresent` (default), `Always` or `Never`.
    pub image_pull_policy: PullPolicy,
    /// Secrets of the session's namespace for pulling the image, in addition to the pod's own.
    pub image_pull_secrets: Vec<String>,
    /// `native` (default) or `container`.
    pub mode: Mode,
    /// Port of the sidecar. If another container of the pod declares it, the next free port is used.
    pub port: u16,
    /// Seconds between two polls of the GPU, 5 to 300.
    pub interval_seconds: u64,
    /// Whether the sidecar runs as the fixed user and group 65532. If `false`, the sidecar has no `runAsUser` and no
    /// `runAsGroup`, and an admission plugin can choose them.
    pub fixed_user: bool,
    /// Requests and limits.
    pub resources: ConfiguredResources,
}

/// Whether the kubelet pulls an image that the node already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the values are defined by Kubernetes")]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

vocabulary! {
    /// The kind of container that the sidecar is.
    #[derive(Default)]
    pub enum Mode {
        /// An init container with `restartPolicy: Always`. It starts before the desktop, ends after it and never keeps a pod from
        /// completing.
        #[default]
        Native = "native",
        /// A regular container. The desktop does not wait for it. This mode is possible only if the pod's `restartPolicy` is
        /// `Always`. Other pods get a native sidecar, because with a regular container they would never complete.
        Container = "container",
    }
}

vocabulary! {
    /// How the sidecar gets access to the desktop's GPU. The sidecar has no GPU in its resource requests, so it takes no GPU
    /// from a desktop.
    #[derive(Default)]
    pub enum GpuAccess {
        /// Through the desktop's resource claims if the desktop has any; otherwise the sidecar gets no access.
        #[default]
        Auto = "auto",
        /// Through the desktop's resource claims.
        Claims = "claims",
        /// Through the vendor's container runtime: an environment variable makes every GPU of the node visible to the
        /// sidecar.
        Runtime = "runtime",
        /// No access.
        None = "none",
    }
}

vocabulary! {
    /// Whether the sidecar reads the TCP connections of the session, and so shows whether a viewer is connected.
    #[derive(Default)]
    pub enum PresenceSetting {
        /// The sidecar reads the connections, from the best source that the node allows.
        #[default]
        Auto = "auto",
        /// The sidecar reads no connections.
        Off = "off",
    }
}

/// Names of extended resources by which pods request GPUs. A `*` at the end of a name matches any characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuResources {
    /// Resources that are an entire device: a GPU or a MIG slice.
    pub device: Vec<String>,
    /// Resources that are a part of a GPU which other pods use too, for example a renamed time-slicing resource.
    pub part: Vec<String>,
}

/// Whether pods get `prometheus.io/*` annotations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScrapeAnnotations {
    /// Never: a ServiceMonitor or PodMonitor selects the sidecar.
    #[default]
    Never,
    /// Annotations are added only if the pod has none of them, in any notation.
    Auto,
}

/// Requests and limits. In a Guaranteed pod the sidecar's request equals its limit, so that the pod stays Guaranteed. The CPU
/// limit is then lowered to 100m, or to the CPU request if that is higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfiguredResources {
    /// Requests.
    pub requests: ConfiguredAmounts,
    /// Limits.
    pub limits: ConfiguredAmounts,
}

/// CPU and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredAmounts {
    /// CPU, such as `100m`.
    pub cpu: Quantity,
    /// Memory, such as `24Mi`.
    pub memory: Quantity,
}

/// The CPU limit is lowered to this value if the limit is also the request or counts against a quota. If the request is
/// higher, the limit is lowered to the request.
const MAX_RESERVED_CPU: Quantity = Quantity::thousandths(100);

// === impl Settings ===

impl Settings {
    /// Every active profile: the configured ones, then the built-in ones that no configured profile replaces.
    #[must_use]
    pub fn all_profiles(&self) -> Vec<Profile> {
        profiles::all(&self.profiles)
    }
}

// === impl GpuResources ===

impl GpuResources {
    /// Each name with its kind of request.
    pub fn patterns(&self) -> impl Iterator<Item = (&str, GpuRequest)> {
        let kinds = [(&self.part, GpuRequest::Part), (&self.device, GpuRequest::Device)];
        kinds.into_iter().flat_map(|(names, request)| names.iter().map(move |name| (name.as_str(), request)))
    }
}

// === impl SidecarSettings ===

impl Default for SidecarSettings {
    fn default() -> Self {
        Self {
            image: format!("vdi-metrics/sidecar:{}", runtime::VERSION),
            architectures: vec!["amd64".to_owned(), "arm64".to_owned()],
            image_pull_policy: PullPolicy::IfNotPresent,
            image_pull_secrets: vec![],
            mode: Mode::Native,
            port: contract::PORT,
            interval_seconds: contract::INTERVAL_SECONDS,
            fixed_user: true,
            resources: ConfiguredResources::default(),
        }
    }
}

// === impl ConfiguredResources ===

impl ConfiguredResources {
    /// The CPU limit for a pod in which the limit is also the request, or in which a quota or LimitRange bounds the sum of
    /// limits. A lower limit makes the start slower, but reserves less CPU.
    #[must_use]
    pub fn reserved_cpu(&self) -> Quantity {
        self.requests.cpu.max(self.limits.cpu.min(MAX_RESERVED_CPU))
    }
}

impl Default for ConfiguredResources {
    /// The CPU limit matters only during the start: the container runtime sets a container up inside the container's own CPU
    /// quota, and the desktop waits. The sidecar adds to a desktop's start 0.36 s at 100m, 0.17 s at 200m, 0.15 s at 500m and
    /// 0.13 s without a limit. 0.11 s of this are the same for every added container (`make bench PARTS=start`). A running
    /// sidecar uses much less than its request.
    fn default() -> Self {
        let memory = Quantity::mebibytes(24);
        Self {
            requests: ConfiguredAmounts { cpu: Quantity::thousandths(10), memory },
            limits: ConfiguredAmounts { cpu: Quantity::thousandths(500), memory },
        }
    }
}
