//! What others have taken from our container since it was injected, and how to give it back.
//!
//! Webhooks built on older types drop fields that they do not know, `restartPolicy` before all: our container would then
//! hold the desktop back for ever. Only what is missing or unsafe is put back. An image that was sent to a mirror, resources
//! that were fitted, variables that were added are somebody's intention, and two writers must not fight.

use serde_json::{Value, json};

use super::{
    container::{self, Container, TOKEN_PATH},
    patch::{Additions, INJECTED},
};
use crate::contract::{CONTAINER, key};

/// A part of what we inject that others have been seen to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The restart policy that makes an init container a sidecar.
    RestartPolicy,
    /// The restricted security context.
    SecurityContext,
    /// Requests and limits.
    Resources,
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
    ("capabilities", |value| value["drop"].as_array().is_some_and(|drop| drop.contains(&json!("ALL")))),
    ("privileged", |value| *value != true),
    ("readOnlyRootFilesystem", |value| *value == true),
    ("runAsNonRoot", |value| *value == true),
    ("seccompProfile", |value| ["RuntimeDefault", "Localhost"].map(Value::from).contains(&value["type"])),
];

/// What has to be put back in `pod`, whose container `expected` is.
pub(super) fn repairs(pod: &Value, expected: &Container<'_>) -> (Vec<Part>, Additions) {
    let mut repair = Repair { parts: vec![], added: Additions::default() };
    let Some((list, index)) = place(pod) else { return (vec![], Additions::default()) };
    let path = format!("/spec/{list}/{index}");
    let found = &pod["spec"][list][index];
    let expected = serde_json::to_value(expected).unwrap_or_default();
    if list == "initContainers" && found["restartPolicy"] != "Always" {
        repair.put(Part::RestartPolicy, format!("{path}/restartPolicy"), &json!("Always"));
    }
    repair.security(&path, &found["securityContext"], &expected["securityContext"]);
    repair.resources(&path, &found["resources"], &expected["resources"]);
    repair.mount(&path, &found["volumeMounts"], &expected["volumeMounts"]);
    repair.volume(&pod["spec"]["volumes"]);
    let (label, value) = INJECTED;
    if pod["metadata"]["labels"].is_object() && pod["metadata"]["labels"][label] != value {
        let path = format!("/metadata/labels/{}", key::INJECTED.replace('/', "~1"));
        repair.put(Part::Label, path, &json!(value));
    }
    (repair.parts, repair.added)
}

fn place(pod: &Value) -> Option<(&'static str, usize)> {
    ["initContainers", "containers"].into_iter().find_map(|list| {
        let index = pod["spec"][list].as_array()?.iter().position(|item| item["name"] == CONTAINER)?;
        Some((list, index))
    })
}

struct Repair {
    parts: Vec<Part>,
    added: Additions,
}

// === impl Repair ===

impl Repair {
    fn put(&mut self, part: Part, path: String, value: &Value) {
        self.added.add(path, value);
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

    /// Only where all of them are gone: other numbers are somebody's intention.
    fn resources(&mut self, path: &str, found: &Value, expected: &Value) {
        let is_set = |resources: &Value| {
            ["requests", "limits"]
                .iter()
                .any(|kind| resources[kind].as_object().is_some_and(|amounts| !amounts.is_empty()))
        };
        if is_set(found) || !is_set(expected) {
            return;
        }
        if !found.is_object() {
            return self.put(Part::Resources, format!("{path}/resources"), expected);
        }
        for kind in ["requests", "limits"] {
            self.put(Part::Resources, format!("{path}/resources/{kind}"), &expected[kind]);
        }
    }

    /// Only where nothing is mounted: with the token there already, a second mount would have the pod refused.
    fn mount(&mut self, path: &str, found: &Value, expected: &Value) {
        match found.as_array() {
            None => self.put(Part::Mount, format!("{path}/volumeMounts"), expected),
            Some(mounts) if mounts.iter().all(|mount| mount["mountPath"] != TOKEN_PATH) => {
                self.put(Part::Mount, format!("{path}/volumeMounts/-"), &expected[0]);
            }
            Some(_) => {}
        }
    }

    fn volume(&mut self, found: &Value) {
        match found.as_array() {
            None => self.put(Part::Volume, "/spec/volumes".to_owned(), &json!([container::volume()])),
            Some(volumes) if volumes.iter().all(|volume| volume["name"] != CONTAINER) => {
                self.put(Part::Volume, "/spec/volumes/-".to_owned(), &container::volume());
            }
            Some(_) => {}
        }
    }
}

// === impl Part ===

impl Part {
    /// Every part, so that each has a series before it is first repaired.
    pub const ALL: [Self; 6] =
        [Self::RestartPolicy, Self::SecurityContext, Self::Resources, Self::Mount, Self::Volume, Self::Label];

    /// The word for a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RestartPolicy => "restart_policy",
            Self::SecurityContext => "security_context",
            Self::Resources => "resources",
            Self::Mount => "mount",
            Self::Volume => "volume",
            Self::Label => "label",
        }
    }
}
