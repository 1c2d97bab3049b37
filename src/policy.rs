//! The MutatingAdmissionPolicy. It injects the same sidecar without a server, in Kubernetes 1.36 and newer.
//!
//! This module calls the [`Injector`] with example pods and translates its answers into CEL, value by value. The selectors
//! come from the shipped webhook configuration. Only the skip conditions are written twice, here and in `admission::decide`.
//! A cluster test sends the same pods to the webhook and to the policy, and compares the results.
//!
//! The API server decodes the patch of a policy as strictly as the patch of a webhook: it rejects the pod if the patch does
//! not apply, under any failure policy. So the patch first creates missing parents, and uses only `add` operations. API
//! servers before 1.37 panic on a list of `Object` initialisers (kubernetes#142181). So every object is a map here. CEL
//! requires the values of a map to have one type, so values of different types are wrapped in `dyn`.

use serde_json::{Value, json};

use crate::{
    admission::{Injector, selection},
    contract::key,
};

use cel::{add, sum, text, when};

mod additions;
mod cel;
mod gpu;
mod nodes;
mod ports;
mod size;
mod variables;

/// The documents in the order in which to apply them: the policy, then a binding for each entry of the webhook configuration.
#[must_use]
pub fn render(injector: &Injector) -> Vec<Value> {
    let entries = selection::shipped_entries();
    let policy = entries.first().map(|entry| policy(entry, injector));
    policy.into_iter().chain(entries.iter().map(binding)).collect()
}

/// Notes for the operator, as YAML comments before the documents: what the policy cannot do.
pub const NOTICE: &str = "\
# Injects the sidecar without a webhook; requires Kubernetes 1.36 or newer. Delete the webhook configuration before you apply
# this: the two must never be active together.
#
# A policy sees only the pod. It does not fit the sidecar into LimitRanges and ResourceQuotas, gives no warnings, and does not
# repair a sidecar that another webhook changes. It finds a pod that is too large only by its annotations, commands, arguments and
# environment variables.
#
# Rendered from the server's configuration file: change the file and render again.
";

const API_VERSION: &str = "admissionregistration.k8s.io/v1";
const NAME: &str = "vdi-metrics";

fn policy(entry: &Value, injector: &Injector) -> Value {
    let variables = variables::of(injector);
    let variables: Vec<_> =
        variables.into_iter().map(|(name, cel)| json!({"name": name, "expression": cel})).collect();
    let not_injected = json!({"name": "not-injected", "expression": variables::not_injected()});
    let conditions: Vec<_> =
        entry["matchConditions"].as_array().into_iter().flatten().chain([&not_injected]).collect();
    json!({
        "apiVersion": API_VERSION,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {"resourceRules": entry["rules"], "matchPolicy": entry["matchPolicy"]},
            "matchConditions": conditions,
            "variables": variables,
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": mutation(injector)}}],
        },
    })
}

/// The binding with the selectors of one entry. A policy has only one selector of each kind, so each entry needs its own
/// binding.
fn binding(entry: &Value) -> Value {
    let name = entry["name"].as_str().and_then(|name| name.split('.').next()).unwrap_or_default();
    json!({
        "apiVersion": API_VERSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": format!("{NAME}-{name}")},
        "spec": {
            "policyName": NAME,
            "matchResources": {
                "namespaceSelector": entry["namespaceSelector"],
                "objectSelector": entry["objectSelector"],
            },
        },
    })
}

/// The patch: the status annotation of a skipped pod, otherwise the additions of the webhook.
fn mutation(injector: &Injector) -> String {
    let status = text(&format!("/metadata/annotations/{}", additions::escaped(key::STATUS)));
    let skip = [parents(&PARENTS[..1]), vec![add(&status, "\"skipped: \" + variables.reason")]].concat();
    let inject = [parents(&PARENTS), additions::of(injector)].concat();
    format!(
        "variables.reason != \"\" ? (variables.marked ? (\n{}\n) : []) : (\n{}\n)",
        sum(&skip),
        sum(&inject)
    )
}

/// The parents that a pod may lack: path, current value, and an empty value.
const PARENTS: [(&str, &str, &str); 5] = [
    ("/metadata/annotations", "variables.annotations", "{}"),
    ("/metadata/labels", "variables.labels", "{}"),
    ("/spec/initContainers", "variables.initContainers", "[]"),
    ("/spec/volumes", "variables.volumes", "[]"),
    ("/spec/imagePullSecrets", "variables.pullSecrets", "[]"),
];

fn parents(of: &[(&str, &str, &str)]) -> Vec<String> {
    of.iter()
        .map(|(path, current, empty)| when(&format!("size({current}) == 0"), &add(&text(path), empty)))
        .collect()
}
