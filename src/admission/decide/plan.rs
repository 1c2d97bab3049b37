//! The injection plan: the properties of the sidecar that differ from pod to pod.

use super::{
    claims, gpu_request,
    identity::{self, IdentityField},
    nodes,
    notice::Notice,
    overrides::Overrides,
    ports,
    resources::{self, SidecarResources},
};
use crate::{
    admission::{
        namespaces::NamespaceLimits,
        outcome::SkipReason,
        pod::{ClaimReference, PodView},
        ruleset::Ruleset,
        settings::{ConfiguredResources, GpuAccess, Mode, PresenceSetting, ScrapeAnnotations, Settings},
    },
    contract::{GpuRequest, env, key, shown_name},
};

/// The properties of the sidecar that differ from pod to pod.
#[derive(Debug)]
pub(crate) struct Plan<'p> {
    pub(crate) image: &'p str,
    pub(crate) mode: Mode,
    /// The first port, starting with the configured one, that no other container of the pod declares.
    pub(crate) port: u16,
    /// Seconds between two polls of the GPU.
    pub(crate) interval: u64,
    /// Number of the pod's containers, the sidecar included.
    pub(crate) containers: u64,
    /// Whether the sidecar may expose devices that it cannot attribute to a session.
    pub(crate) node_totals: bool,
    pub(crate) resources: SidecarResources,
    /// The kind of GPU request that the pod has.
    pub(crate) gpu_request: GpuRequest,
    /// References to the pod's resource claims that the sidecar shares.
    pub(crate) claims: Vec<&'p ClaimReference<'p>>,
    /// Whether other pods can use one of these claims too.
    pub(crate) shares_claims: bool,
    /// Whether the vendor's container runtime makes every GPU of the node visible to the sidecar
    /// (`NVIDIA_VISIBLE_DEVICES=all`). Never in a pod of KAI or Run:ai.
    pub(crate) runtime_access: bool,
    pub(crate) presence: PresenceSetting,
    /// The declared ports of the desktop, ascending. Empty if every listening port can be the desktop's, or if the sidecar
    /// reads no connections.
    pub(crate) desktop_ports: Vec<u16>,
    /// Whether the sidecar gets `runAsUser` and `runAsGroup`.
    pub(crate) sets_user: bool,
    pub(crate) identity: Vec<IdentityField<'p>>,
    /// The configured pull secrets that the pod does not have.
    pub(crate) pull_secrets: Vec<&'p str>,
    /// Whether to add `prometheus.io/*` annotations, for Prometheus setups without a ServiceMonitor.
    pub(crate) scrape_annotations: bool,
}

// === impl Plan ===

impl<'p> Plan<'p> {
    /// Plans the sidecar of this pod.
    pub(crate) fn new(
        pod: &'p PodView<'_>,
        limits: Option<&NamespaceLimits>,
        ruleset: &'p Ruleset,
        notices: &mut Vec<Notice>,
    ) -> Result<Self, SkipReason> {
        let Settings {
            sidecar,
            gpu_access,
            gpu_resources,
            node_totals,
            presence,
            scrape_annotations,
            show_user,
            profiles: _,
            paused: _,
            label_values: _,
        } = &ruleset.settings;
        if nodes::exclude_sidecar(pod, &sidecar.architectures) {
            return Err(SkipReason::UnsupportedNode);
        }
        let overrides = Overrides::read(pod, notices);
        let configured = override_resources(sidecar.resources, &overrides);
        let resources = resources::fit(pod, configured, limits)?;
        let first_port = overrides.port.unwrap_or(sidecar.port);
        let access = overrides.gpu_access.unwrap_or(*gpu_access);
        let claims = claims::claims(pod, access);
        let gpu_request = gpu_request::gpu_request(pod, gpu_resources);
        let presence = overrides.presence.unwrap_or(*presence);
        Ok(Self {
            image: overrides.image.unwrap_or(&sidecar.image),
            mode: mode(pod, overrides.mode, sidecar.mode, notices),
            port: free_port(pod, first_port).ok_or(SkipReason::NoFreePort)?,
            interval: overrides.interval.unwrap_or(sidecar.interval_seconds),
            containers: pod.others().count() as u64 + 1,
            node_totals: *node_totals,
            resources,
            gpu_request,
            shares_claims: claims::are_shared(pod, &claims),
            claims,
            runtime_access: access == GpuAccess::Runtime
                && may_have_gpu(pod, gpu_request, &overrides, notices)
                && may_see_gpus(pod, notices),
            presence,
            desktop_ports: if presence == PresenceSetting::Auto { ports::desktop_ports(pod) } else { vec![] },
            sets_user: sets_user(pod, sidecar.fixed_user),
            identity: identity::fields(pod, &ruleset.profiles, *show_user),
            pull_secrets: missing_secrets(pod, &sidecar.image_pull_secrets),
            scrape_annotations: *scrape_annotations == ScrapeAnnotations::Auto
                && !has_scrape_annotations(pod, notices),
        })
    }

    /// The template that the sidecar shows.
    pub(crate) fn template(&self, pod: &'p PodView<'_>) -> Option<&'p str> {
        let template = self.identity.iter().find(|field| field.variable == env::TEMPLATE)?;
        shown_name(template.value(pod)?)
    }
}

/// Applies the overrides. An overriding value becomes both the request and the limit.
fn override_resources(mut resources: ConfiguredResources, overrides: &Overrides<'_>) -> ConfiguredResources {
    if let Some(cpu) = overrides.cpu {
        resources.limits.cpu = cpu;
        resources.requests.cpu = cpu;
    }
    if let Some(memory) = overrides.memory {
        resources.limits.memory = memory;
        resources.requests.memory = memory;
    }
    resources
}

/// The mode of the sidecar. Two kinds of pods get a native sidecar even if a regular container is configured:
/// * A pod whose `restartPolicy` is not `Always`: with the regular container the pod would never complete.
/// * A pod without containers: the API server rejects it. With the sidecar as its only regular container, the API server
///   would accept it.
fn mode(pod: &PodView<'_>, overridden: Option<Mode>, configured: Mode, notices: &mut Vec<Notice>) -> Mode {
    let mode = overridden.unwrap_or(configured);
    let always_restarts = pod.spec.restart_policy.as_deref().is_none_or(|policy| policy == "Always");
    let has_no_container = pod.spec.containers.as_ref().is_none_or(Vec::is_empty);
    if mode == Mode::Container && (has_no_container || !always_restarts) {
        if overridden.is_some() {
            notices.push(Notice::new(format_args!(
                "{} is \"container\": this needs restartPolicy: Always and a container; native is used",
                key::MODE
            )));
        }
        return Mode::Native;
    }
    mode
}

fn free_port(pod: &PodView<'_>, first: u16) -> Option<u16> {
    let is_declared =
        |port: u16| pod.others().flat_map(|c| c.ports.iter().flatten()).any(|p| p.container_port == port);
    (first..=u16::MAX).find(|port| !is_declared(*port))
}

/// Whether the pod requests a GPU, or an annotation says that it may have one. In other pods the sidecar gets no access to the
/// node's GPUs. These belong to other pods, and a driver cannot be upgraded while the sidecar has it open.
fn may_have_gpu(
    pod: &PodView<'_>,
    request: GpuRequest,
    overrides: &Overrides<'_>,
    notices: &mut Vec<Notice>,
) -> bool {
    let may = request != GpuRequest::None || gpu_request::has_gpu_annotation(pod);
    if !may && overrides.gpu_access.is_some() {
        notices.push(Notice::new(format_args!(
            "{} has no effect without a GPU request; add one, or set {}",
            key::GPU_ACCESS,
            key::GPU_SHARING
        )));
    }
    may
}

/// Whether the pod is admitted if the sidecar has `NVIDIA_VISIBLE_DEVICES`.
fn may_see_gpus(pod: &PodView<'_>, notices: &mut Vec<Notice>) -> bool {
    let Some(scheduler) = gpu_request::scheduler_without_runtime_access(pod) else { return true };
    notices.push(Notice::new(format_args!(
        "gpuAccess runtime is not used: {scheduler} may reject the pod with it; install the node agent"
    )));
    false
}

/// Whether the sidecar gets `runAsUser` and `runAsGroup`. With a pod-level user 0 the sidecar always gets both. Otherwise it
/// would inherit the user 0 and, because of `runAsNonRoot`, never start. In other pods it gets both, with two exceptions: the
/// operator has set `fixedUser: false`, or the pod is on OpenShift, which assigns each namespace a range of users and rejects
/// all others.
fn sets_user(pod: &PodView<'_>, is_configured: bool) -> bool {
    let is_openshift = pod.annotation("openshift.io/scc").is_some();
    let pod_user = pod.spec.security_context.as_ref().and_then(|context| context.run_as_user);
    pod_user == Some(0) || is_configured && !is_openshift
}

fn missing_secrets<'p>(pod: &PodView<'_>, configured: &'p [String]) -> Vec<&'p str> {
    let has = |name: &str| {
        pod.spec.image_pull_secrets.iter().flatten().flatten().any(|secret| secret.is_named(name))
    };
    configured.iter().map(String::as_str).filter(|name| !has(name)).collect()
}

/// Whether the pod has a `prometheus.io` annotation. Other notations, such as `prometheus-io-scrape`, count too.
fn has_scrape_annotations(pod: &PodView<'_>, notices: &mut Vec<Notice>) -> bool {
    let is_prometheus = |key: &str| {
        let letters = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
        letters.take(12).eq("prometheusio".chars())
    };
    let has = pod.annotations().is_some_and(|map| map.iter().any(|(key, _)| is_prometheus(key)));
    if has && pod.annotation(key::CONFIG).is_none() {
        notices.push(Notice::new(format_args!(
            "the pod's own prometheus.io annotations are kept; scrape the sidecar through a ServiceMonitor"
        )));
    }
    has
}
