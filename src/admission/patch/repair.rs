//! Repairs of an injected sidecar that another webhook has changed.
//!
//! A webhook with older API types drops fields that it does not know, most often `restartPolicy`. Without this field the
//! sidecar is an ordinary init container, which blocks the desktop for ever. A repair restores only missing or unsafe values.
//! An image from a mirror, changed resources and added variables are intentions of another webhook, and two webhooks must not
//! overwrite each other in turn.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    additions::{Additions, INJECTED},
    stub,
};
use crate::{
    admission::{
        container::{SidecarContainer, USER},
        pod::{ContainerView, PodView, StrictObject},
    },
    contract::{CONTAINER, VOLUME_PATH, env},
    runtime::vocabulary::vocabulary,
};

vocabulary! {
    /// A part of the injection that another webhook can remove or change.
    pub enum RepairedField {
        /// The restart policy that makes an init container a native sidecar.
        RestartPolicy = "restart_policy",
        /// The restricted security context.
        SecurityContext = "security_context",
        /// Requests, limits and claims.
        Resources = "resources",
        /// The port, if it is missing or another container declares it too.
        Port = "port",
        /// The mount, which prevents a mount of the API token at the same path.
        Mount = "mount",
        /// The volume of the mount.
        Volume = "volume",
        /// The label that Services and the session watch select.
        Label = "label",
    }
}

/// The containers of a pod as unparsed JSON. Only the sidecar is parsed, so the content of other containers cannot cause an
/// error.
#[derive(Debug, Deserialize)]
pub(crate) struct RawPod<'a> {
    #[serde(borrow)]
    spec: RawContainers<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainers<'a> {
    #[serde(borrow)]
    containers: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    init_containers: Option<Vec<&'a RawValue>>,
}

/// The sidecar in a pod, with its list and index.
#[derive(Debug)]
pub(crate) struct InjectedContainer {
    list: &'static str,
    index: usize,
    container: Value,
}

/// A field of the security context, and a function that returns whether a value is as safe as the injected value. The warning
/// policy in `webhook-config/guard.yaml` has the same rules.
type SecurityField = (&'static str, fn(&Value) -> bool);

const SECURITY: [SecurityField; 8] = [
    ("allowPrivilegeEscalation", |value| *value == false),
    ("appArmorProfile", |value| value["type"] != "Unconfined"),
    ("capabilities", |value| contains(&value["drop"], "ALL") && is_empty(&value["add"])),
    ("privileged", |value| *value != true),
    ("procMount", |value| value.is_null() || *value == "Default"),
    ("readOnlyRootFilesystem", |value| *value == true),
    ("runAsNonRoot", |value| *value == true),
    ("seccompProfile", |value| ["RuntimeDefault", "Localhost"].map(Value::from).contains(&value["type"])),
];

// === impl InjectedContainer ===

impl InjectedContainer {
    /// Finds the sidecar; `None` if it cannot be parsed.
    pub(crate) fn find(pod: &PodView<'_>, raw: &RawPod<'_>) -> Option<Self> {
        let index = |list: &Option<Vec<StrictObject<ContainerView<'_>>>>| {
            list.iter().flatten().position(|container| container.name == CONTAINER)
        };
        let (list, index, raw) = match index(&pod.spec.init_containers) {
            Some(index) => ("initContainers", index, &raw.spec.init_containers),
            None => ("containers", index(&pod.spec.containers)?, &raw.spec.containers),
        };
        let container = serde_json::from_str(raw.as_ref()?.get(index)?.get()).ok()?;
        Some(Self { list, index, container })
    }

    /// The additions that restore what the `expected` container has and this container lacks. `expected` is `None` if the pod
    /// has the hash of another configuration, or if the pod would be skipped now. Then only a missing `restartPolicy` is
    /// restored, because a pod without it never starts.
    pub(crate) fn repairs(
        &self,
        pod: &PodView<'_>,
        expected: Option<&SidecarContainer<'_>>,
    ) -> (Vec<RepairedField>, Additions) {
        let mut repair = Repair { fields: vec![], added: Additions::default() };
        let path = format!("/spec/{}/{}", self.list, self.index);
        if self.list == "initContainers" && self.container["restartPolicy"] != "Always" {
            repair.add(RepairedField::RestartPolicy, format!("{path}/restartPolicy"), &json!("Always"));
        }
        let Some(expected) = expected else { return (repair.fields, repair.added) };
        let expected = serde_json::to_value(expected).unwrap_or_default();
        let pod_user = pod.spec.security_context.as_ref().and_then(|context| context.run_as_user);
        repair.security(&path, &self.container["securityContext"], &expected["securityContext"], pod_user);
        repair.resources(&path, &self.container["resources"], &expected["resources"]);
        repair.port(&path, &self.container, &expected, pod);
        repair.mount(&path, &self.container["volumeMounts"], &expected["volumeMounts"]);
        repair.volume(pod);
        repair.label(pod);
        (repair.fields, repair.added)
    }

    /// The parts of the pod that a repair touches.
    pub(crate) fn stub(self, pod: &PodView<'_>) -> Value {
        let mut stub = stub::stub(pod);
        let mut list = vec![json!({}); self.index];
        list.push(self.container);
        stub["spec"][self.list] = list.into();
        stub
    }
}

struct Repair {
    fields: Vec<RepairedField>,
    added: Additions,
}

// === impl Repair ===

impl Repair {
    fn add(&mut self, field: RepairedField, path: String, value: &(impl Serialize + ?Sized)) {
        self.added.add(path, value);
        self.record(field);
    }

    fn record(&mut self, field: RepairedField) {
        if !self.fields.contains(&field) {
            self.fields.push(field);
        }
    }

    fn security(&mut self, path: &str, current: &Value, expected: &Value, pod_user: Option<i64>) {
        let path = format!("{path}/securityContext");
        if !current.is_object() {
            return self.add(RepairedField::SecurityContext, path, expected);
        }
        for (field, is_safe) in SECURITY {
            if !is_safe(&current[field]) {
                self.add(RepairedField::SecurityContext, format!("{path}/{field}"), &expected[field]);
            }
        }
        if !has_safe_user(current, pod_user) {
            for field in ["runAsUser", "runAsGroup"].into_iter().filter(|field| current[field] != USER) {
                self.add(RepairedField::SecurityContext, format!("{path}/{field}"), &USER);
            }
        }
    }

    /// Restores requests and limits only if both are missing, and claims if they are missing. Other values are an intention of
    /// another webhook.
    fn resources(&mut self, path: &str, current: &Value, expected: &Value) {
        let is_set = |resources: &Value, member: &str| match &resources[member] {
            Value::Object(amounts) => !amounts.is_empty(),
            Value::Array(claims) => !claims.is_empty(),
            _ => false,
        };
        let amounts = ["requests", "limits"];
        let has_amounts = amounts.iter().any(|member| is_set(current, member));
        let missing_amounts = amounts.into_iter().filter(|_| !has_amounts);
        let missing_claims = ["claims"].into_iter().filter(|member| !is_set(current, member));
        let missing = missing_amounts.chain(missing_claims);
        for member in missing.filter(|member| is_set(expected, member)) {
            if !current.is_object() {
                return self.add(RepairedField::Resources, format!("{path}/resources"), expected);
            }
            self.add(RepairedField::Resources, format!("{path}/resources/{member}"), &expected[member]);
        }
    }

    /// Restores the port only if it is missing or another container declares it too: a changed port is an intention of
    /// another webhook.
    fn port(&mut self, path: &str, current: &Value, expected: &Value, pod: &PodView<'_>) {
        if is_empty(&current["ports"]) {
            return self.add(RepairedField::Port, format!("{path}/ports"), &expected["ports"]);
        }
        let own = index_of(&current["ports"], CONTAINER)
            .map(|index| (index, &current["ports"][index]["containerPort"]));
        let Some((index, port)) = own else { return };
        let mut declared = pod.others().flat_map(|container| container.ports.iter().flatten());
        if !declared.any(|other| *port == other.container_port) {
            return;
        }
        let free = &expected["ports"][0]["containerPort"];
        self.add(RepairedField::Port, format!("{path}/ports/{index}/containerPort"), free);
        let listen = index_of(&expected["env"], env::LISTEN).map(|index| &expected["env"][index]["value"]);
        if let (Some(index), Some(value)) = (index_of(&current["env"], env::LISTEN), listen) {
            self.add(RepairedField::Port, format!("{path}/env/{index}/value"), value);
        }
    }

    /// Restores the mount. If another webhook removed it, the ServiceAccount admission plugin mounts the API token at its
    /// path, before the webhook is called again. The API server rejects a second mount at the same path. So the repair
    /// changes the token's mount to the sidecar's volume. Other mounts at this path stay.
    fn mount(&mut self, path: &str, current: &Value, expected: &Value) {
        let Some(mounts) = current.as_array() else {
            return self.add(RepairedField::Mount, format!("{path}/volumeMounts"), expected);
        };
        let Some(index) = mounts.iter().position(|mount| mount["mountPath"] == VOLUME_PATH) else {
            return self.add(RepairedField::Mount, format!("{path}/volumeMounts/-"), &expected[0]);
        };
        if mounts[index]["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-")) {
            self.add(RepairedField::Mount, format!("{path}/volumeMounts/{index}/name"), CONTAINER);
        }
    }

    fn volume(&mut self, pod: &PodView<'_>) {
        if pod.spec.volumes.iter().flatten().all(|volume| !volume.is_named(CONTAINER)) {
            self.added.volume(pod);
            self.record(RepairedField::Volume);
        }
    }

    fn label(&mut self, pod: &PodView<'_>) {
        let (label, value) = INJECTED;
        if pod.label(label) != Some(value) {
            self.added.label(pod);
            self.record(RepairedField::Label);
        }
    }
}

/// Whether the user and the group of the sidecar are safe. User 0 is never safe. A missing user is inherited from the pod. The
/// injected user is not safe in group 0 or without a group. The injected group is not safe without a user. A program that
/// replaces or removes both, as OpenShift does, chooses user and group itself.
fn has_safe_user(context: &Value, pod_user: Option<i64>) -> bool {
    let [user, group] = ["runAsUser", "runAsGroup"].map(|field| context[field].as_i64());
    let injected = i64::from(USER);
    let is_root = user.or(pod_user) == Some(0);
    let lacks_group = user == Some(injected) && group.unwrap_or(0) == 0;
    let lacks_user = user.is_none() && group == Some(injected);
    !is_root && !lacks_group && !lacks_user
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn contains(list: &Value, text: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|item| item == text))
}

fn index_of(list: &Value, name: &str) -> Option<usize> {
    list.as_array()?.iter().position(|item| item["name"] == name)
}
