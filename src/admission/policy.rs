//! The same injection without a server: a MutatingAdmissionPolicy and its bindings, for Kubernetes 1.36 and newer.
//!
//! What is added is the [`Injector`]'s own answer to made-up pods, put into CEL value by value, and who is chosen is read out
//! of the shipped webhook configuration; neither has a second truth here. Only the conditions are told twice, here and in
//! `decide`: the same pods are given to both on a real API server.
//!
//! A policy's patch is decoded as strictly as a webhook's: one that does not apply has the pod refused, whatever the failure
//! policy. So parents are made first and nothing but `add` is used. API servers before 1.37 panic over a list of `Object`
//! initialisers (kubernetes#142181): every object is a map here, whose values CEL wants to be of one type, hence `dyn`.

use serde_json::{Value, json};

use super::Injector;
use crate::contract::key;

use cel::{add, sum, text, when};

mod additions;
mod cel;
mod variables;

/// The documents in the order in which they are to be applied: the policy, and a binding for each entry of the webhook
/// configuration.
#[must_use]
pub fn render(injector: &Injector) -> Vec<Value> {
    let mut configuration: Value = serde_saphyr::from_str(CONFIGURATION).unwrap_or_default();
    let entries = configuration["webhooks"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let policy = entries.first().map(|entry| policy(entry, injector));
    policy.into_iter().chain(entries.iter().map(binding)).collect()
}

/// What has to be known before they are applied, as comments of YAML.
pub const NOTICE: &str = "\
# Injects the sidecar without a webhook; Kubernetes 1.36 or newer. Never beside the webhook: delete that one first.
#
# A policy sees a pod and nothing else. It does not fit the sidecar into LimitRanges and ResourceQuotas, it warns nobody, and
# it does not repair what other webhooks take from the sidecar.
#
# Made from the server's configuration: change that and render again.
";

/// The shipped configuration.
const CONFIGURATION: &str = include_str!("../../webhook-config/webhook.yaml");

const API_VERSION: &str = "admissionregistration.k8s.io/v1";
const NAME: &str = "vdi-metrics";

fn policy(entry: &Value, injector: &Injector) -> Value {
    let variables = variables::of(injector.settings(), injector.profiles());
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

/// One entry's selectors. A policy has but one of each, and the entries are alternatives.
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

/// The patch: the reason where we do not go, else what the webhook would add.
fn mutation(injector: &Injector) -> String {
    let status = text(&format!("/metadata/annotations/{}", additions::escaped(key::STATUS)));
    let skip = [parents(&PARENTS[..1]), vec![add(&status, "\"skipped: \" + variables.reason")]].concat();
    let inject = [parents(&PARENTS), additions::of(injector)].concat();
    format!("variables.reason != \"\" ? (\n{}\n) : (\n{}\n)", sum(&skip), sum(&inject))
}

/// Parents that a pod may lack: where, what stands there now, and an empty one.
const PARENTS: [(&str, &str, &str); 5] = [
    ("/metadata/annotations", "variables.annotations", "{}"),
    ("/metadata/labels", "variables.labels", "{}"),
    ("/spec/initContainers", "variables.initContainers", "[]"),
    ("/spec/volumes", "variables.volumes", "[]"),
    ("/spec/imagePullSecrets", "variables.pullSecrets", "[]"),
];

fn parents(of: &[(&str, &str, &str)]) -> Vec<String> {
    of.iter().map(|(path, now, empty)| when(&format!("size({now}) == 0"), &add(&text(path), empty))).collect()
}
