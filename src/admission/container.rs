//! The injected container: restricted security context, bounded resources and one volume.

pub(super) mod volume;

use std::{fmt, sync::LazyLock};

use serde::{Serialize, Serializer};
use serde_json::{Value, json, value::RawValue};

use super::{
    decide::{IdentityField, Plan},
    namespaces::Resource,
    pod::ClaimReference,
    quantity::Quantity,
    settings::{Mode, PresenceSetting, PullPolicy},
};
use crate::contract::{CONTAINER, env};

/// The user ID and the group ID of the image. The container sets both explicitly. Otherwise the sidecar would inherit a
/// pod-level user 0 and fail to start. A user without a group runs in group 0, which some policies forbid.
pub(super) const USER: u32 = 65532;

/// The injected container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SidecarContainer<'p> {
    name: &'static str,
    image: &'p str,
    image_pull_policy: PullPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_policy: Option<&'static str>,
    env: Vec<EnvVar<'p>>,
    ports: [ContainerPort; 1],
    #[serde(skip_serializing_if = "ResourceRequirements::is_empty")]
    resources: ResourceRequirements<'p>,
    security_context: &'static RawValue,
    volume_mounts: &'static RawValue,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EnvVar<'p> {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<EnvValue<'p>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_from: Option<ValueFrom<'p>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom<'p> {
    field_ref: FieldRef<'p>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldRef<'p> {
    api_version: &'static str,
    field_path: IdentityField<'p>,
}

/// The value of an environment variable, formatted during serialisation.
#[derive(Debug)]
enum EnvValue<'p> {
    Listen(u16),
    Number(u64),
    Text(&'static str),
    Ports(&'p [u16]),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    name: &'static str,
    container_port: u16,
    protocol: &'static str,
}

#[derive(Debug, Serialize)]
struct ResourceRequirements<'p> {
    #[serde(skip_serializing_if = "ResourceList::is_empty")]
    requests: ResourceList,
    #[serde(skip_serializing_if = "ResourceList::is_empty")]
    limits: ResourceList,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    claims: &'p [&'p ClaimReference<'p>],
}

#[derive(Debug)]
struct ResourceList([Option<Quantity>; 3]);

/// The security context: all fields that the Pod Security level `restricted` requires, and a read-only root file system.
fn security_context(sets_user: bool) -> &'static RawValue {
    static RESTRICTED: LazyLock<Box<RawValue>> = LazyLock::new(|| volume::constant(&restricted()));
    static WITH_USER: LazyLock<Box<RawValue>> = LazyLock::new(|| {
        let mut context = restricted();
        context["runAsUser"] = USER.into();
        context["runAsGroup"] = USER.into();
        volume::constant(&context)
    });
    if sets_user { &WITH_USER } else { &RESTRICTED }
}

/// `NET_RAW` is part of `ALL`. It is named too, because a policy of Kyverno (`require-drop-cap-net-raw`) looks for the name.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL", "NET_RAW"]},
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

// === impl SidecarContainer ===

impl<'p> SidecarContainer<'p> {
    /// The container of a plan.
    pub(super) fn new(plan: &'p Plan<'p>, image_pull_policy: PullPolicy) -> Self {
        Self {
            name: CONTAINER,
            image: plan.image,
            image_pull_policy,
            restart_policy: (plan.mode == Mode::Native).then_some("Always"),
            env: EnvVar::all(plan),
            ports: [ContainerPort { name: CONTAINER, container_port: plan.port, protocol: "TCP" }],
            resources: ResourceRequirements {
                requests: ResourceList(plan.resources.requests),
                limits: ResourceList(plan.resources.limits),
                claims: &plan.claims,
            },
            security_context: security_context(plan.sets_user),
            volume_mounts: volume::mounts(),
        }
    }
}

// === impl EnvVar ===

impl<'p> EnvVar<'p> {
    fn all(plan: &'p Plan<'p>) -> Vec<Self> {
        let with_value = |name, value| Self { name, value: Some(value), value_from: None };
        let mut variables = vec![
            with_value(env::LISTEN, EnvValue::Listen(plan.port)),
            with_value(env::INTERVAL, EnvValue::Number(plan.interval)),
            with_value(env::CONTAINERS, EnvValue::Number(plan.containers)),
            with_value(env::GPU_REQUEST, EnvValue::Text(plan.gpu_request.as_str())),
        ];
        if plan.node_totals {
            variables.push(with_value(env::NODE_TOTALS, EnvValue::Text("all")));
        }
        if !plan.claims.is_empty() {
            let access = if plan.shares_claims { "named-claims" } else { "claims" };
            variables.push(with_value(env::GPU_ACCESS, EnvValue::Text(access)));
        }
        if plan.runtime_access {
            // The vendor's container runtime reads both variables. `utility` gives access to NVML, but not to compute.
            variables.push(with_value("NVIDIA_VISIBLE_DEVICES", EnvValue::Text("all")));
            variables.push(with_value("NVIDIA_DRIVER_CAPABILITIES", EnvValue::Text("utility")));
        }
        if plan.presence == PresenceSetting::Off {
            variables.push(with_value(env::PRESENCE, EnvValue::Text(plan.presence.as_str())));
        }
        if !plan.desktop_ports.is_empty() {
            variables.push(with_value(env::PORTS, EnvValue::Ports(&plan.desktop_ports)));
        }
        variables.extend(plan.identity.iter().map(|field| {
            let field_ref = FieldRef { api_version: "v1", field_path: *field };
            Self { name: field.variable, value: None, value_from: Some(ValueFrom { field_ref }) }
        }));
        variables
    }
}

// === impl EnvValue ===

impl fmt::Display for EnvValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(port) => write!(f, "[::]:{port}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
            Self::Ports(ports) => ports.iter().enumerate().try_for_each(|(index, port)| {
                let separator = if index == 0 { "" } else { "," };
                write!(f, "{separator}{port}")
            }),
        }
    }
}

impl Serialize for EnvValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl ResourceRequirements ===

impl ResourceRequirements<'_> {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty() && self.claims.is_empty()
    }
}

// === impl ResourceList ===

impl ResourceList {
    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

impl Serialize for ResourceList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let set = Resource::ALL
            .into_iter()
            .zip(self.0)
            .filter_map(|(resource, amount)| Some((resource.as_str(), amount?)));
        serializer.collect_map(set)
    }
}
