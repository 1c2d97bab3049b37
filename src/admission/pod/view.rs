//! The fields of a pod that decisions depend on.

use std::{borrow::Cow, ops::Deref};

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{amounts::DeclaredAmounts, nodes::AffinityView, object::StrictObject, text::StringMap};
use crate::contract::CONTAINER;

/// A pod as the request contains it. A field or an item can be null wherever the API server accepts null.
#[derive(Debug, Deserialize)]
pub(crate) struct PodView<'a> {
    #[serde(borrow)]
    pub(crate) metadata: Option<StrictObject<MetadataView<'a>>>,
    #[serde(borrow)]
    pub(crate) spec: StrictObject<SpecView<'a>>,
}

/// Labels and annotations. `None`: the document has no such map, so a patch must create it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct MetadataView<'a> {
    #[serde(borrow)]
    pub(crate) labels: Option<StringMap<'a>>,
    #[serde(borrow)]
    pub(crate) annotations: Option<StringMap<'a>>,
    #[serde(borrow, rename = "generateName")]
    pub(crate) generate_name: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpecView<'a> {
    #[serde(borrow)]
    pub(crate) containers: Option<Vec<StrictObject<ContainerView<'a>>>>,
    #[serde(borrow)]
    pub(crate) init_containers: Option<Vec<StrictObject<ContainerView<'a>>>>,
    #[serde(borrow)]
    pub(crate) volumes: Option<Vec<StrictObject<NamedItem<'a>>>>,
    #[serde(borrow)]
    pub(crate) image_pull_secrets: Option<Vec<Option<StrictObject<NamedItem<'a>>>>>,
    pub(crate) host_network: Option<bool>,
    #[serde(borrow)]
    pub(crate) os: Option<StrictObject<NamedItem<'a>>>,
    #[serde(borrow)]
    pub(crate) node_selector: Option<StringMap<'a>>,
    #[serde(borrow)]
    pub(crate) affinity: Option<StrictObject<AffinityView<'a>>>,
    #[serde(borrow)]
    pub(crate) restart_policy: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) scheduler_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) priority_class_name: Option<Cow<'a, str>>,
    pub(crate) active_deadline_seconds: Option<i64>,
    #[serde(borrow)]
    pub(crate) resources: Option<StrictObject<DeclaredResources<'a>>>,
    #[serde(borrow)]
    pub(crate) resource_claims: Option<Vec<StrictObject<PodClaim<'a>>>>,
    /// The PodGroup of the pod, in Kubernetes 1.36 and newer.
    pub(crate) scheduling_group: Option<IgnoredAny>,
    pub(crate) security_context: Option<StrictObject<PodSecurityView>>,
}

/// The pod-level security settings that containers inherit.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodSecurityView {
    pub(crate) run_as_user: Option<i64>,
    pub(crate) windows_options: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerView<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) ports: Option<Vec<StrictObject<PortView<'a>>>>,
    #[serde(borrow)]
    pub(crate) resources: Option<StrictObject<DeclaredResources<'a>>>,
    #[serde(borrow)]
    pub(crate) restart_policy: Option<Cow<'a, str>>,
    pub(crate) security_context: Option<StrictObject<ContainerSecurityView>>,
}

/// The security settings of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerSecurityView {
    pub(crate) windows_options: Option<IgnoredAny>,
}

/// The resources of a container, or pod-level resources.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DeclaredResources<'a> {
    #[serde(borrow)]
    pub(crate) requests: Option<DeclaredAmounts<'a>>,
    #[serde(borrow)]
    pub(crate) limits: Option<DeclaredAmounts<'a>>,
    #[serde(borrow)]
    pub(crate) claims: Option<Vec<StrictObject<ClaimReference<'a>>>>,
}

/// A resource claim of the pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodClaim<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Cow<'a, str>,
    /// Name of a claim that exists independently of the pod, so that any pod can use it. Without this field Kubernetes
    /// creates the claim from a template, for this pod only.
    #[serde(borrow)]
    pub(crate) resource_claim_name: Option<Cow<'a, str>>,
}

/// A container's reference to one of the pod's resource claims, with all fields that exist up to Kubernetes 1.37. Unknown
/// fields are not copied, because unparsed text could make the patch invalid.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ClaimReference<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    request: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortView<'a> {
    pub(crate) container_port: u16,
    #[serde(borrow)]
    pub(crate) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    protocol: Option<Cow<'a, str>>,
}

/// An object of which only the name is read. A pull secret may have no name.
#[derive(Debug, Deserialize)]
pub(crate) struct NamedItem<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Cow<'a, str>>,
}

// === impl PodView ===

impl<'a> PodView<'a> {
    /// The value of a label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.value(key)
    }

    /// The value of an annotation.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations()?.value(key)
    }

    pub(crate) fn labels(&self) -> Option<&StringMap<'a>> {
        self.metadata.as_ref()?.labels.as_ref()
    }

    pub(crate) fn annotations(&self) -> Option<&StringMap<'a>> {
        self.metadata.as_ref()?.annotations.as_ref()
    }

    /// Regular and init containers.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &ContainerView<'a>> {
        self.spec.containers.iter().chain(&self.spec.init_containers).flatten().map(Deref::deref)
    }

    /// Regular and init containers without the sidecar.
    pub(crate) fn others(&self) -> impl Iterator<Item = &ContainerView<'a>> {
        self.containers().filter(|container| container.name != CONTAINER)
    }

    /// Regular containers without the sidecar.
    pub(crate) fn regular(&self) -> impl Iterator<Item = &ContainerView<'a>> {
        let all = self.spec.containers.iter().flatten();
        all.filter(|container| container.name != CONTAINER).map(Deref::deref)
    }

    /// The containers that run beside the sidecar: regular containers and native sidecars.
    pub(crate) fn running(&self) -> impl Iterator<Item = &ContainerView<'a>> {
        let native = self.spec.init_containers.iter().flatten().filter(|init| init.is_native_sidecar());
        self.regular().chain(native.filter(|container| container.name != CONTAINER).map(Deref::deref))
    }

    /// The pod-level resources. An empty object counts as absent in Kubernetes.
    pub(crate) fn resources(&self) -> Option<&DeclaredResources<'a>> {
        self.spec.resources.as_deref().filter(|resources| {
            [&resources.requests, &resources.limits].into_iter().flatten().any(|amounts| amounts.is_any)
        })
    }
}

// === impl DeclaredResources ===

impl DeclaredResources<'_> {
    /// Names of the extended resources, such as GPUs, whose request or limit is not 0.
    pub(crate) fn extended(&self) -> impl Iterator<Item = &str> {
        [&self.requests, &self.limits].into_iter().flatten().flat_map(DeclaredAmounts::extended)
    }
}

// === impl ClaimReference ===

impl ClaimReference<'_> {
    /// The referenced request of the claim; empty if the reference is to the entire claim.
    pub(crate) fn request(&self) -> &str {
        self.request.as_deref().unwrap_or_default()
    }
}

// === impl PortView ===

impl PortView<'_> {
    /// Whether the protocol is TCP, which is also the default.
    pub(crate) fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| ["", "TCP"].contains(&protocol))
    }
}

// === impl NamedItem ===

impl NamedItem<'_> {
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }
}

// === impl ContainerView ===

impl ContainerView<'_> {
    /// Whether this init container is a native sidecar, which keeps running next to the regular containers.
    pub(crate) fn is_native_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}
