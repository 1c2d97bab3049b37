//! What others have taken from our container since it was injected, and how to give it back.
//!
//! Webhooks built on older types drop fields that they do not know, `restartPolicy` before all: our container would then
//! hold the desktop back for ever. Only what is missing or unsafe is put back. An image that was sent to a mirror, resources
//! that were fitted, variables that were added are somebody's intention, and two writers must not fight.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    container::Container,
    patch::{self, Additions, INJECTED},
    pod::{self, Pod},
};
use crate::contract::{CONTAINER, VOLUME_PATH, env};

/// The containers of a pod as they came. Ours alone is read in full: what others are like must not matter.
#[derive(Debug, Deserialize)]
pub(super) struct Whole<'a> {
    #[serde(borrow)]
    spec: Lists<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lists<'a> {
    #[serde(borrow)]
    containers: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    init_containers: Option<Vec<&'a RawValue>>,
}

/// Our container where it stands.
#[derive(Debug)]
pub(super) struct Found {
    list: &'static str,
    index: usize,
    container: Value,
}

/// A part of what we inject that others have been seen to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The restart policy that makes an init container a sidecar.
    RestartPolicy,
    /// The restricted security context.
    SecurityContext,
    /// Requests and limits.
    Resources,
    /// The port, where it is gone or another container has taken it since.
    Port,
    /// The mount that keeps the API token out.
    Mount,
    /// The volume behind it.
    Volume,
    /// The label that Services and the session watch select.
    Label,
}

/// A field of the security context, and whether a value that is not ours is as good.
type Field = (&'static str, fn(&Value) -> bool);

const SECURITY: [Field; 6] = [
    ("allowPrivilegeEscalation", |value| *value == false),
    ("capabilities", |value| lists(&value["drop"], "ALL") && is_empty(&value["add"])),
    ("privileged", |value| *value != true),
    ("readOnlyRootFilesystem", |value| *value == true),
    ("runAsNonRoot", |value| *value == true),
    ("seccompProfile", |value| ["RuntimeDefault", "Localhost"].map(Value::from).contains(&value["type"])),
];

// === impl Found ===

impl Found {
    /// Our container of this pod; `None` where it cannot be read.
    pub(super) fn of(pod: &Pod<'_>, whole: &Whole<'_>) -> Option<Self> {
        let place = |list: &Option<Vec<pod::Container<'_>>>| {
            list.iter().flatten().position(|container| container.name == CONTAINER)
        };
        let (list, index, raw) = match place(&pod.spec.init_containers) {
            Some(index) => ("initContainers", index, &whole.spec.init_containers),
            None => ("containers", place(&pod.spec.containers)?, &whole.spec.containers),
        };
        let container = serde_json::from_str(raw.as_ref()?.get(index)?.get()).ok()?;
        Some(Self { list, index, container })
    }

    /// What has to be put back so that it is `expected`. A pod that another configuration has injected, as a copied one was,
    /// is whole as it is, but for what would hold it back for ever.
    pub(super) fn repairs(&self, pod: &Pod<'_>, expected: Option<&Container<'_>>) -> (Vec<Part>, Additions) {
        let mut repair = Repair { parts: vec![], added: Additions::default() };
        let path = format!("/spec/{}/{}", self.list, self.index);
        if self.list == "initContainers" && self.container["restartPolicy"] != "Always" {
            repair.put(Part::RestartPolicy, format!("{path}/restartPolicy"), &json!("Always"));
        }
        let Some(expected) = expected else { return (repair.parts, repair.added) };
        let expected = serde_json::to_value(expected).unwrap_or_default();
        repair.security(&path, &self.container["securityContext"], &expected["securityContext"]);
        repair.resources(&path, &self.container["resources"], &expected["resources"]);
        repair.port(&path, &self.container, &expected, pod);
        repair.mount(&path, &self.container["volumeMounts"], &expected["volumeMounts"]);
        repair.volume(pod);
        repair.label(pod);
        (repair.parts, repair.added)
    }

    /// The parts of the pod that a repair touches.
    pub(super) fn skeleton(self, pod: &Pod<'_>) -> Value {
        let mut skeleton = patch::skeleton(pod);
        let mut list = vec![json!({}); self.index];
        list.push(self.container);
        skeleton["spec"][self.list] = list.into();
        skeleton
    }
}

struct Repair {
    parts: Vec<Part>,
    added: Additions,
}

// === impl Repair ===

impl Repair {
    fn put(&mut self, part: Part, path: String, value: &(impl Serialize + ?Sized)) {
        self.added.add(path, value);
        self.count(part);
    }

    fn count(&mut self, part: Part) {
        if !self.parts.contains(&part) {
            self.parts.push(part);
        }
    }

    fn security(&mut self, path: &str, found: &Value, expected: &Value) {
        let path = format!("{path}/securityContext");
        if !found.is_object() {
            return self.put(Part::SecurityContext, path, expected);
        }
        for (field, is_sound) in SECURITY {
            if !is_sound(&found[field]) {
                self.put(Part::SecurityContext, format!("{path}/{field}"), &expected[field]);
            }
        }
        let unsafe_user = found["runAsUser"] == 0 || found["runAsUser"].is_null();
        if unsafe_user && !expected["runAsUser"].is_null() {
            self.put(Part::SecurityContext, format!("{path}/runAsUser"), &expected["runAsUser"]);
        }
    }

    /// Requests and limits only where all of them are gone: other numbers are somebody's intention.
    fn resources(&mut self, path: &str, found: &Value, expected: &Value) {
        let is_set = |resources: &Value, member: &str| match &resources[member] {
            Value::Object(amounts) => !amounts.is_empty(),
            Value::Array(claims) => !claims.is_empty(),
            _ => false,
        };
        let amounts = ["requests", "limits"];
        let fitted = amounts.iter().any(|member| is_set(found, member));
        let lost = amounts.into_iter().filter(|_| !fitted);
        let lost = lost.chain(["claims"].into_iter().filter(|member| !is_set(found, member)));
        for member in lost.filter(|member| is_set(expected, member)) {
            if !found.is_object() {
                return self.put(Part::Resources, format!("{path}/resources"), expected);
            }
            self.put(Part::Resources, format!("{path}/resources/{member}"), &expected[member]);
        }
    }

    /// Only where there is none any more or another container declares it too: a port that was changed is somebody's
    /// intention.
    fn port(&mut self, path: &str, found: &Value, expected: &Value, pod: &Pod<'_>) {
        if is_empty(&found["ports"]) {
            return self.put(Part::Port, format!("{path}/ports"), &expected["ports"]);
        }
        let ours =
            place(&found["ports"], CONTAINER).map(|index| (index, &found["ports"][index]["containerPort"]));
        let Some((index, port)) = ours else { return };
        let declared = pod.others().flat_map(|container| container.ports.iter().flatten());
        if !declared.into_iter().any(|other| *port == other.container_port) {
            return;
        }
        let free = &expected["ports"][0]["containerPort"];
        self.put(Part::Port, format!("{path}/ports/{index}/containerPort"), free);
        let listen = place(&expected["env"], env::LISTEN).map(|index| &expected["env"][index]["value"]);
        if let (Some(index), Some(value)) = (place(&found["env"], env::LISTEN), listen) {
            self.put(Part::Port, format!("{path}/env/{index}/value"), value);
        }
    }

    /// Where nothing is mounted any more, ServiceAccount admission mounts the API token before we are asked again. A second
    /// mount there would have the pod refused, so that one is turned to our volume; anybody else's is left.
    fn mount(&mut self, path: &str, found: &Value, expected: &Value) {
        let Some(mounts) = found.as_array() else {
            return self.put(Part::Mount, format!("{path}/volumeMounts"), expected);
        };
        let Some(index) = mounts.iter().position(|mount| mount["mountPath"] == VOLUME_PATH) else {
            return self.put(Part::Mount, format!("{path}/volumeMounts/-"), &expected[0]);
        };
        if mounts[index]["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-")) {
            self.put(Part::Mount, format!("{path}/volumeMounts/{index}/name"), CONTAINER);
        }
    }

    fn volume(&mut self, pod: &Pod<'_>) {
        if pod.spec.volumes.iter().flatten().all(|volume| volume.name != CONTAINER) {
            self.added.volume(pod);
            self.count(Part::Volume);
        }
    }

    fn label(&mut self, pod: &Pod<'_>) {
        let (label, value) = INJECTED;
        if pod.label(label) != Some(value) {
            self.added.label(pod);
            self.count(Part::Label);
        }
    }
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn lists(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|item| item == word))
}

fn place(list: &Value, name: &str) -> Option<usize> {
    list.as_array()?.iter().position(|item| item["name"] == name)
}

// === impl Part ===

impl Part {
    /// Every part, so that each has a series before it is first repaired.
    pub const ALL: [Self; 7] = [
        Self::RestartPolicy,
        Self::SecurityContext,
        Self::Resources,
        Self::Port,
        Self::Mount,
        Self::Volume,
        Self::Label,
    ];

    /// The word for a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RestartPolicy => "restart_policy",
            Self::SecurityContext => "security_context",
            Self::Resources => "resources",
            Self::Port => "port",
            Self::Mount => "mount",
            Self::Volume => "volume",
            Self::Label => "label",
        }
    }
}
