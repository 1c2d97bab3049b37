//! The sidecar as Kubernetes reads it: the whole restricted security context of its own, bounded resources, and one volume.

use std::{fmt, sync::LazyLock};

use serde::{Serialize, Serializer};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use super::{
    decide::Plan,
    identity::Field,
    namespaces::Resource,
    pod::Claim,
    quantity::Quantity,
    settings::{Mode, PullPolicy},
};
use crate::contract::{ANNOTATIONS, CONTAINER, VOLUME_PATH, env};

/// The number that the image runs as: fixed, so that a pod-level user 0 does not become ours and refuse to start.
const USER: u32 = 65532;

/// What is the same in every sidecar, as it is written.
type Fixed = LazyLock<Box<RawValue>>;

/// The injected container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container<'p> {
    name: &'static str,
    image: &'p str,
    image_pull_policy: PullPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_policy: Option<&'static str>,
    env: Vec<Variable<'p>>,
    ports: [Port; 1],
    #[serde(skip_serializing_if = "Resources::is_empty")]
    resources: Resources<'p>,
    security_context: &'static RawValue,
    volume_mounts: &'static RawValue,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Variable<'p> {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Text>,
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
    field_path: Field<'p>,
}

/// A variable's text, written where it is needed.
#[derive(Debug)]
enum Text {
    Listen(u16),
    Number(u64),
    Word(&'static str),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: &'static str,
    container_port: u16,
    protocol: &'static str,
}

#[derive(Debug, Serialize)]
struct Resources<'p> {
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    requests: Amounts,
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    limits: Amounts,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    claims: &'p [Claim<'p>],
}

#[derive(Debug)]
struct Amounts([Option<Quantity>; 3]);

/// The one volume: the pod's annotations as a file that follows their changes.
pub(super) fn volume() -> &'static RawValue {
    static VOLUME: Fixed = LazyLock::new(|| {
        let field = json!({"apiVersion": "v1", "fieldPath": "metadata.annotations"});
        let items = json!([{"path": ANNOTATIONS, "fieldRef": field}]);
        let projected = json!({"defaultMode": 0o444, "sources": [{"downwardAPI": {"items": items}}]});
        fixed(&json!({"name": CONTAINER, "projected": projected}))
    });
    &VOLUME
}

fn volume_mounts() -> &'static RawValue {
    static MOUNTS: Fixed =
        LazyLock::new(|| fixed(&json!([{"name": CONTAINER, "mountPath": VOLUME_PATH, "readOnly": true}])));
    &MOUNTS
}

/// All that Pod Security's `restricted` asks for, and a root that nobody can write to.
fn security_context(user: bool) -> &'static RawValue {
    static RESTRICTED: Fixed = LazyLock::new(|| fixed(&restricted()));
    static WITH_USER: Fixed = LazyLock::new(|| {
        let mut context = restricted();
        context["runAsUser"] = USER.into();
        fixed(&context)
    });
    if user { &WITH_USER } else { &RESTRICTED }
}

fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn fixed(value: &Value) -> Box<RawValue> {
    #[expect(clippy::expect_used, reason = "a value of JSON is JSON")]
    to_raw_value(value).expect("a value is written")
}

// === impl Container ===

impl<'p> Container<'p> {
    /// The container of a plan.
    pub(super) fn of(plan: &Plan<'p>, image_pull_policy: PullPolicy) -> Self {
        Self {
            name: CONTAINER,
            image: plan.image,
            image_pull_policy,
            restart_policy: (plan.mode == Mode::Native).then_some("Always"),
            env: Variable::of(plan),
            ports: [Port { name: CONTAINER, container_port: plan.port, protocol: "TCP" }],
            resources: Resources {
                requests: Amounts(plan.share.requests),
                limits: Amounts(plan.share.limits),
                claims: plan.claims,
            },
            security_context: security_context(plan.user),
            volume_mounts: volume_mounts(),
        }
    }
}

// === impl Variable ===

impl<'p> Variable<'p> {
    fn of(plan: &Plan<'p>) -> Vec<Self> {
        let text = |name, text| Self { name, value: Some(text), value_from: None };
        let mut variables = vec![
            text(env::LISTEN, Text::Listen(plan.port)),
            text(env::INTERVAL, Text::Number(plan.interval)),
            text(env::CONTAINERS, Text::Number(plan.containers)),
        ];
        if plan.node_totals {
            variables.push(text(env::NODE_TOTALS, Text::Word("all")));
        }
        if !plan.claims.is_empty() {
            let word = if plan.named_claims { "named-claims" } else { "claims" };
            variables.push(text(env::GPU_ACCESS, Text::Word(word)));
        }
        if plan.runtime {
            // What the vendor's runtime asks of an environment; `utility` is NVML and nothing that could compute.
            variables.push(text("NVIDIA_VISIBLE_DEVICES", Text::Word("all")));
            variables.push(text("NVIDIA_DRIVER_CAPABILITIES", Text::Word("utility")));
        }
        variables.extend(plan.identity.iter().map(|field| {
            let field_ref = FieldRef { api_version: "v1", field_path: *field };
            Self { name: field.variable, value: None, value_from: Some(ValueFrom { field_ref }) }
        }));
        variables
    }
}

// === impl Text ===

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(port) => write!(f, "[::]:{port}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl Resources ===

impl Resources<'_> {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty() && self.claims.is_empty()
    }
}

// === impl Amounts ===

impl Amounts {
    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

impl Serialize for Amounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let set = Resource::ALL
            .into_iter()
            .zip(self.0)
            .filter_map(|(resource, amount)| Some((resource.as_str(), amount?)));
        serializer.collect_map(set)
    }
}
