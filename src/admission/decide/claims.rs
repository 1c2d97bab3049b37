//! The resource claims that the sidecar shares with the desktop.

use std::ops::Deref;

use crate::admission::{
    pod::{ClaimReference, PodClaim, PodView},
    settings::GpuAccess,
};

/// The claims of the sidecar: the claims of every container that runs beside it, each once. The session is the pod, and the
/// pod does not show which of its claims is a GPU. A claim belongs to the pod, so the sidecar can always use it too.
///
/// If a container refers to an entire claim, references to its requests are left out, because the API server rejects a
/// container with both. Returns no claims if the pod does not declare one of them. The API server rejects such a pod, and the
/// message must not name the sidecar.
pub(crate) fn claims<'p>(pod: &'p PodView<'_>, access: GpuAccess) -> Vec<&'p ClaimReference<'p>> {
    if !matches!(access, GpuAccess::Auto | GpuAccess::Claims) {
        return vec![];
    }
    let resources = pod.running().filter_map(|container| container.resources.as_ref());
    let all = resources.flat_map(|resources| resources.claims.iter().flatten());
    let all: Vec<&ClaimReference<'_>> = all.map(Deref::deref).collect();
    let is_declared = |claim: &&ClaimReference<'_>| declared(pod).any(|declared| declared.name == claim.name);
    if !all.iter().all(is_declared) {
        return vec![];
    }
    let includes = |one: &ClaimReference<'_>, other: &ClaimReference<'_>| {
        one.name == other.name && (one.request().is_empty() || one.request() == other.request())
    };
    let mut claims: Vec<&ClaimReference<'_>> = vec![];
    for claim in all {
        if !claims.iter().any(|known| includes(known, claim)) {
            claims.retain(|known| !includes(claim, known));
            claims.push(claim);
        }
    }
    claims
}

/// Whether other pods can use one of the claims too. They may in two cases:
/// * The pod refers to the claim by name: the claim exists independently of the pod.
/// * In a pod of a scheduling group, a claim from a template is the group's claim if the PodGroup has a claim with the same
///   name and template (Kubernetes 1.36 or newer, feature gate `DRAWorkloadResourceClaims`). The pod does not show the claims
///   of its PodGroup.
pub(crate) fn are_shared(pod: &PodView<'_>, claims: &[&ClaimReference<'_>]) -> bool {
    let is_in_group = pod.spec.scheduling_group.is_some();
    let is_shared = |claim: &&ClaimReference<'_>| {
        declared(pod).any(|declared| {
            declared.name == claim.name && (is_in_group || declared.resource_claim_name.is_some())
        })
    };
    claims.iter().any(is_shared)
}

fn declared<'p>(pod: &'p PodView<'_>) -> impl Iterator<Item = &'p PodClaim<'p>> {
    pod.spec.resource_claims.iter().flatten().map(Deref::deref)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The claims of the sidecar in a pod whose containers have these claims, as `NAME` or `NAME/REQUEST`.
    fn union(containers: &[&[&str]]) -> Vec<String> {
        let reference = |text: &&str| match text.split_once('/') {
            Some((name, request)) => json!({"name": name, "request": request}),
            None => json!({"name": text}),
        };
        let container = |claims: &&[&str]| {
            let claims: Vec<Value> = claims.iter().map(reference).collect();
            json!({"name": "any", "resources": {"claims": claims}})
        };
        let containers: Vec<Value> = containers.iter().map(container).collect();
        let declared = json!([{"name": "a"}, {"name": "b"}]);
        let pod = json!({"spec": {"containers": containers, "resourceClaims": declared}}).to_string();
        let pod = serde_json::from_str(&pod).unwrap();
        let claims = claims(&pod, GpuAccess::Auto);
        claims.iter().map(|claim| format!("{}/{}", claim.name, claim.request())).collect()
    }

    #[test]
    fn the_sidecar_gets_the_union_of_all_claims() {
        let cases: [(&[&[&str]], &[&str]); 8] = [
            (&[&["a"], &["b/x"]], &["a/", "b/x"]),
            (&[&["a"], &["a"]], &["a/"]),
            (&[&["a/x"], &["a"]], &["a/"]),
            (&[&["a"], &["a/x"]], &["a/"]),
            (&[&["a/x", "b"], &["a"]], &["b/", "a/"]),
            (&[&["a/x"], &["a/y"], &["a/x"]], &["a/x", "a/y"]),
            (&[&["a/"], &["a"]], &["a/"]),
            (&[&["a"], &["missing"]], &[]),
        ];
        for (containers, expected) in cases {
            assert_eq!(union(containers), expected, "{containers:?}");
        }
    }
}
