//! Applies the webhook's patch to a pod in a manifest.

use json_patch::{Patch, PatchOperation};

use crate::{
    admission::{Outcome, PodDecision},
    cli::manifest::Node,
};

/// The warnings that the creator of the pod would get from the webhook.
pub(in crate::cli) fn notices(decision: &PodDecision) -> Vec<String> {
    let reason = match decision.outcome {
        Outcome::Skipped(reason) => reason.warning(),
        Outcome::Injected | Outcome::Repaired => None,
    };
    let notices = decision.notices.iter().map(ToString::to_string);
    reason.map(str::to_owned).into_iter().chain(notices).collect()
}

/// Notice about pull secrets that `inject` leaves out. ServiceAccount admission adds the account's pull secrets only to a pod
/// that has none.
const PULL_SECRETS: &str = "pull secrets are left out: Kubernetes adds the service account's pull secrets only to a pod that \
     names none. Add the secret to the service account, or to spec.imagePullSecrets together with those that the desktop needs";

/// Applies the operations that belong in a manifest. Returns a notice for each kind of operation that is left out.
pub(in crate::cli) fn apply_all(pod: &mut Node, patch: Option<&Patch>) -> Vec<String> {
    let mut left_out = vec![];
    for operation in patch.iter().flat_map(|patch| &patch.0) {
        if is_pull_secret(operation) {
            left_out.push(PULL_SECRETS.to_owned());
        } else if apply(pod, operation).is_none() {
            left_out.push(format!("cannot apply the patch operation {operation}; please report it"));
        }
    }
    left_out.dedup();
    left_out
}

/// Names of the pull secrets that the patch adds.
pub(in crate::cli) fn pull_secrets(patch: Option<&Patch>) -> Vec<String> {
    let added = patch.iter().flat_map(|patch| &patch.0).filter(|operation| is_pull_secret(operation));
    let values = added.filter_map(|operation| match operation {
        PatchOperation::Add(add) => {
            Some(add.value.as_array().cloned().unwrap_or_else(|| vec![add.value.clone()]))
        }
        _ => None,
    });
    values.flatten().filter_map(|secret| Some(secret["name"].as_str()?.to_owned())).collect()
}

fn is_pull_secret(operation: &PatchOperation) -> bool {
    operation.path().as_str().starts_with("/spec/imagePullSecrets")
}

fn apply(pod: &mut Node, operation: &PatchOperation) -> Option<()> {
    let PatchOperation::Add(add) = operation else { return None };
    let path: Vec<_> = add.path.tokens().map(|token| token.decoded().into_owned()).collect();
    pod.add(&path, Node::from(&add.value))
}
