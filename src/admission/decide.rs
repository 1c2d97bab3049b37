//! Whether a pod is given the sidecar, and what the sidecar is like where pods differ.

use super::{
    Injector,
    identity::{self, Field},
    namespaces::Namespace,
    overrides::{Notice, Overrides},
    pod::{Claim, Pod},
    reason::SkipReason,
    resources::{self, Share},
    settings::{self, GpuAccess, Mode, ScrapeAnnotations},
};
use crate::contract::{CONTAINER, key};

/// What is to be done with a pod.
#[derive(Debug)]
pub(super) enum Decision<'p> {
    Inject(Plan<'p>),
    /// Our container is there, and may have been damaged since. What it is to be like is known where this configuration has
    /// injected it.
    Inspect(Option<Plan<'p>>),
    Skip(SkipReason),
}

/// What the sidecar of this pod looks like, where pods differ.
#[derive(Debug)]
pub(super) struct Plan<'p> {
    pub(super) image: &'p str,
    pub(super) mode: Mode,
    /// First port from the wanted one on that no other container of the pod declares.
    pub(super) port: u16,
    pub(super) interval: u64,
    /// Those of the pod, ours included.
    pub(super) containers: u64,
    /// Whether the sidecar may show devices that nobody knows to be the session's.
    pub(super) node_totals: bool,
    pub(super) share: Share,
    /// The desktop's resource claims, as it refers to them.
    pub(super) claims: &'p [Claim<'p>],
    /// Whether other pods can name one of these claims as well.
    pub(super) named_claims: bool,
    /// Whether the vendor's container runtime is asked for the node's GPUs.
    pub(super) runtime: bool,
    /// Whether to set the user.
    pub(super) user: bool,
    pub(super) identity: Vec<Field<'p>>,
    /// Pull secrets that the pod does not name already.
    pub(super) pull_secrets: Vec<&'p str>,
    /// Whether to tell scrapers that know no monitors.
    pub(super) scrape: bool,
}

/// Namespaces that run the cluster. The webhook configuration leaves them out; whoever changes it is stopped here.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Decides on one pod. That it is opted in is settled by the selectors that brought it here.
pub(super) fn decide<'p>(
    pod: &'p Pod<'_>,
    namespace: &str,
    known: Option<&Namespace>,
    injector: &'p Injector,
    notices: &mut Vec<Notice>,
) -> Decision<'p> {
    let refusal = refusal(pod, namespace);
    if let Some(hash) = injected_as(pod) {
        let is_current = hash == injector.hash() && refusal.is_none();
        return Decision::Inspect(is_current.then(|| plan(pod, known, injector, notices).ok()).flatten());
    }
    match refusal.map_or_else(|| plan(pod, known, injector, notices), Err) {
        Ok(plan) => Decision::Inject(plan),
        Err(reason) => Decision::Skip(reason),
    }
}

/// The configuration that the pod was injected under, by its annotation and our container.
fn injected_as<'p>(pod: &'p Pod<'_>) -> Option<&'p str> {
    let there = pod.containers().any(|container| container.name == CONTAINER);
    pod.annotation(key::CONFIG).filter(|_| there)
}

fn refusal(pod: &Pod<'_>, namespace: &str) -> Option<SkipReason> {
    let opted_out = [pod.label(key::INJECT), pod.annotation(key::INJECT)].contains(&Some(key::DISABLED));
    [
        (opted_out, SkipReason::OptedOut),
        (SYSTEM_NAMESPACES.contains(&namespace), SkipReason::SystemNamespace),
        (pod.annotation("kubernetes.io/config.mirror").is_some(), SkipReason::MirrorPod),
        (is_name_taken(pod), SkipReason::NameTaken),
        (pod.label("kubevirt.io").is_some(), SkipReason::Kubevirt),
        (pod.is_windows(), SkipReason::Windows),
        (pod.spec.host_network == Some(true), SkipReason::HostNetwork),
    ]
    .into_iter()
    .find_map(|(applies, reason)| applies.then_some(reason))
}

/// A container, volume or port of our name that is not ours. Services that select the port by that name would come to us.
fn is_name_taken(pod: &Pod<'_>) -> bool {
    let container = || pod.containers().any(|container| container.name == CONTAINER);
    let volume = || pod.spec.volumes.iter().flatten().any(|volume| volume.name == CONTAINER);
    let port = || {
        let ports = pod.others().flat_map(|container| container.ports.iter().flatten());
        ports.into_iter().any(|port| port.name.as_deref() == Some(CONTAINER))
    };
    injected_as(pod).is_none() && (container() || volume() || port())
}

fn plan<'p>(
    pod: &'p Pod<'_>,
    known: Option<&Namespace>,
    injector: &'p Injector,
    notices: &mut Vec<Notice>,
) -> Result<Plan<'p>, SkipReason> {
    let settings::Settings { sidecar, gpu_access, node_totals, scrape_annotations, show_user, profiles: _ } =
        injector.settings();
    let asked = Overrides::read(pod, notices);
    let share = resources::fit(pod, wanted(&sidecar.resources, &asked), known)?;
    let first = asked.port.unwrap_or(sidecar.port);
    let access = asked.gpu_access.unwrap_or(*gpu_access);
    let claims = claims(pod, access);
    Ok(Plan {
        image: asked.image.unwrap_or(&sidecar.image),
        mode: mode(pod, asked.mode, sidecar.mode, notices),
        port: free_port(pod, first).ok_or(SkipReason::NoFreePort)?,
        interval: asked.interval.unwrap_or(sidecar.interval_seconds),
        containers: pod.others().count() as u64 + 1,
        node_totals: *node_totals,
        share,
        claims,
        named_claims: claims.iter().any(|claim| is_named(pod, claim)),
        runtime: access == GpuAccess::Runtime,
        user: is_user_set(pod, sidecar.fixed_user),
        identity: identity::fields(pod, injector.profiles(), *show_user),
        pull_secrets: missing_secrets(pod, &sidecar.image_pull_secrets),
        scrape: *scrape_annotations == ScrapeAnnotations::Auto && !is_scraped(pod, notices),
    })
}

/// An override is request and limit at once.
fn wanted(configured: &settings::Resources, asked: &Overrides<'_>) -> settings::Resources {
    let mut wanted = *configured;
    if let Some(cpu) = asked.cpu {
        wanted.limits.cpu = cpu;
        wanted.requests.cpu = cpu;
    }
    if let Some(memory) = asked.memory {
        wanted.limits.memory = memory;
        wanted.requests.memory = memory;
    }
    wanted
}

/// A regular container would keep a pod that is not restarted for ever from completing, and make a pod of one that has no
/// other.
fn mode(pod: &Pod<'_>, asked: Option<Mode>, configured: Mode, notices: &mut Vec<Notice>) -> Mode {
    let wanted = asked.unwrap_or(configured);
    let for_ever = pod.spec.restart_policy.as_deref().is_none_or(|policy| policy == "Always");
    let alone = pod.spec.containers.as_ref().is_none_or(Vec::is_empty);
    if wanted == Mode::Container && (alone || !for_ever) {
        if asked.is_some() {
            notices.push(Notice::line(format_args!(
                "{} is native here: a container would keep this pod from completing",
                key::MODE
            )));
        }
        return Mode::Native;
    }
    wanted
}

fn free_port(pod: &Pod<'_>, first: u16) -> Option<u16> {
    let declared =
        |port: u16| pod.others().flat_map(|c| c.ports.iter().flatten()).any(|p| p.container_port == port);
    (first..=u16::MAX).find(|port| !declared(*port))
}

/// Those of the first container that refers to any: a desktop's sidecars rarely hold devices of their own. Where they are
/// unsound the pod is refused, and that is between its maker and the API server.
fn claims<'p>(pod: &'p Pod<'_>, access: GpuAccess) -> &'p [Claim<'p>] {
    if !matches!(access, GpuAccess::Auto | GpuAccess::Claims) {
        return &[];
    }
    let claims = |container: &'p super::pod::Container<'_>| container.resources.as_ref()?.claims.as_deref();
    let containers = pod.spec.containers.iter().flatten().filter(|container| container.name != CONTAINER);
    let claims = containers.filter_map(claims).find(|claims| !claims.is_empty()).unwrap_or_default();
    let is_known = |name: &str| pod.spec.resource_claims.iter().flatten().any(|claim| claim.name == name);
    if claims.iter().all(|claim| is_known(&claim.name)) { claims } else { &[] }
}

fn is_named(pod: &Pod<'_>, claim: &Claim<'_>) -> bool {
    let mut claims = pod.spec.resource_claims.iter().flatten();
    claims.any(|of_pod| of_pod.name == claim.name && of_pod.resource_claim_name.is_some())
}

/// Not on OpenShift, whose admission gives each namespace a range and refuses all others, nor where the operator says so;
/// but always under a pod-level user 0, which would become ours and, with `runAsNonRoot`, never start.
fn is_user_set(pod: &Pod<'_>, fixed: bool) -> bool {
    let openshift = pod.annotation("openshift.io/scc").is_some();
    let root = pod.spec.security_context.as_ref().and_then(|context| context.run_as_user) == Some(0);
    root || fixed && !openshift
}

fn missing_secrets<'p>(pod: &Pod<'_>, configured: &'p [String]) -> Vec<&'p str> {
    let has = |name: &str| pod.spec.image_pull_secrets.iter().flatten().any(|secret| secret.name == name);
    configured.iter().map(String::as_str).filter(|name| !has(name)).collect()
}

/// Whether somebody has told scrapers about this pod, in any of the spellings that are about.
fn is_scraped(pod: &Pod<'_>, notices: &mut Vec<Notice>) -> bool {
    let is_known = |key: &str| {
        let letters = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
        letters.take(12).eq("prometheusio".chars())
    };
    let found = pod.annotations().and_then(|map| map.iter().find(|(key, _)| is_known(key)));
    if found.is_some() && pod.annotation(key::CONFIG).is_none() {
        notices.push(Notice::line(format_args!(
            "the pod's own prometheus.io annotations are kept: a monitor has to find the sidecar"
        )));
    }
    found.is_some()
}
