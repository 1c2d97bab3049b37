//! `vdi-metrics inject`: the decision of the webhook, in a file.

use std::path::PathBuf;

use json_patch::{Patch, PatchOperation};

use super::{
    Streams,
    change::{self, Change, Files, Output},
    manifest::Node,
    surroundings::Surroundings,
    workload::Object,
};
use crate::{
    admission::{Injector, Namespaces, Outcome, Settings, Verdict},
    contract::key,
};

pub(super) const AFTER_HELP: &str = "\
Pods, and the pod templates of Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs, CronJobs,
PodTemplates and Lists of them are decided on as by the server; other documents pass through. No label has to opt in: that
you call inject does. The label or annotation vdi-metrics.io/inject: disabled opts out. LimitRanges and ResourceQuotas in
the files are heeded in their namespaces.

Documents keep their order, spelling and comments; one whose pods share parts by anchors may have to be written anew, without
its comments, and the report says so. Pull secrets of the configuration are left out: with one in the manifest, a pod would
not get its service account's.

The report on standard error has one line for each object. Nothing is written unless every document could be read.
Exit codes: 0 done, also where pods were skipped; 1 something could not be read; 2 wrong arguments.

  vdi-metrics inject desktops.yaml | kubectl apply -f -
  kubectl get deployment desktops -o yaml | vdi-metrics inject - --config config.yaml";

/// Arguments of `inject`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    /// What the sidecar is like, YAML: the server's configuration file; without it the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Writes the manifests with the sidecar in every pod that may have it.
pub(super) fn run(args: &Args, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let settings = args.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let injector = Injector::new(settings);
    let manifests = args.files.read(streams.stdin)?;
    let limits = Surroundings::of(&manifests, "")?.limits;
    change::every_pod(manifests, &args.output, streams, |pod, object| inject(pod, object, &injector, &limits))
}

fn inject(pod: &mut Node, object: &Object, injector: &Injector, limits: &Namespaces) -> Change {
    let verdict = injector.consider(&pod.json(), &object.namespace, limits);
    let void = Void::of(pod);
    let mut notices = notices(&verdict);
    notices.extend(apply_all(pod, verdict.patch.as_ref()));
    void.note_down(pod);
    Change { outcome: verdict.outcome.to_string(), notices }
}

/// What the creator of the pod would be warned of.
pub(super) fn notices(verdict: &Verdict) -> Vec<String> {
    let reason = match verdict.outcome {
        Outcome::Skipped(reason) => reason.warning(),
        Outcome::Injected | Outcome::Repaired => None,
    };
    let notices = verdict.notices.iter().map(ToString::to_string);
    reason.map(str::to_owned).into_iter().chain(notices).collect()
}

/// ServiceAccount admission gives the account's pull secrets to a pod only if it has none of its own.
const PULL_SECRETS: &str = "pull secrets are left out: with one in the manifest the pod would not get its service account's. \
     Add the secret to the service account, or to spec.imagePullSecrets together with those that the desktop needs";

/// Applies what can stand in a manifest; says what is left out.
pub(super) fn apply_all(pod: &mut Node, patch: Option<&Patch>) -> Vec<String> {
    let mut left_out = vec![];
    for operation in patch.iter().flat_map(|patch| &patch.0) {
        if is_pull_secret(operation) {
            left_out.push(PULL_SECRETS.to_owned());
        } else if apply(pod, operation).is_none() {
            left_out.push(format!("cannot apply {operation}; please report it"));
        }
    }
    left_out.dedup();
    left_out
}

fn is_pull_secret(operation: &PatchOperation) -> bool {
    operation.path().as_str().starts_with("/spec/imagePullSecrets")
}

/// The names of the pull secrets that a patch adds.
pub(super) fn pull_secrets(patch: Option<&Patch>) -> Vec<String> {
    let added = patch.iter().flat_map(|patch| &patch.0).filter(|operation| is_pull_secret(operation));
    let values = added.filter_map(|operation| match operation {
        PatchOperation::Add(add) => {
            Some(add.value.as_array().cloned().unwrap_or_else(|| vec![add.value.clone()]))
        }
        _ => None,
    });
    values.flatten().filter_map(|secret| Some(secret["name"].as_str()?.to_owned())).collect()
}

fn apply(pod: &mut Node, operation: &PatchOperation) -> Option<()> {
    let PatchOperation::Add(add) = operation else { return None };
    let path: Vec<_> = add.path.tokens().map(|token| token.decoded().into_owned()).collect();
    pod.add(&path, Node::from(&add.value))
}

/// What is null or empty where we add something. To Kubernetes that is the same as nothing, so `uninject` would leave
/// nothing; what a manifest says, it shall say again.
pub(super) struct Void(Vec<(&'static str, Node)>);

// === impl Void ===

impl Void {
    /// Where things of ours can be the first, from the inside out.
    const PLACES: [&'static str; 6] = [
        "/metadata",
        "/metadata/labels",
        "/metadata/annotations",
        "/spec/initContainers",
        "/spec/containers",
        "/spec/volumes",
    ];

    fn of(pod: &Node) -> Self {
        let places = Self::PLACES.into_iter();
        Self(
            places
                .filter_map(|place| Some((place, at(pod, place)?.clone())))
                .filter(|(_, node)| node.is_void())
                .collect(),
        )
    }

    /// Notes in an annotation what is void no more.
    fn note_down(self, pod: &mut Node) {
        let mut note = Node::map();
        for (place, was) in self.0 {
            if at(pod, place).is_some_and(|node| !node.is_void()) {
                note.add(&[place], was);
            }
        }
        if !note.is_void() {
            let text = String::from_utf8_lossy(&note.json()).into_owned();
            pod.add(&["metadata", "annotations", key::RESTORE], Node::text(text));
        }
    }

    /// What an annotation has noted; nothing where it is not there or not ours.
    pub(super) fn noted(pod: &Node) -> Self {
        let note =
            pod.at(&["metadata", "annotations", key::RESTORE]).and_then(Node::as_str).unwrap_or_default();
        let note: serde_json::Value = serde_json::from_str(note).unwrap_or_default();
        let places = Self::PLACES.into_iter();
        Self(
            places
                .filter_map(|place| Some((place, Node::from(note.get(place)?))))
                .filter(|(_, node)| node.is_void())
                .collect(),
        )
    }

    /// Where `path` is void now that ours is gone, puts what was there before us; without a note nothing, and then the same
    /// with what is void because of that.
    pub(super) fn settle(&self, pod: &mut Node, path: &[&str]) {
        let place = format!("/{}", path.join("/"));
        let Some((last, parents)) = path.split_last().filter(|_| Self::PLACES.contains(&&*place)) else {
            return;
        };
        if !at(pod, &place).is_some_and(Node::is_void) {
            return;
        }
        match (pod.at_mut(parents), self.0.iter().find(|(noted, _)| *noted == place)) {
            (Some(parent), Some((_, was))) => _ = parent.add(&[last], was.clone()),
            (Some(parent), None) => _ = parent.remove(|key, _| key != *last),
            (None, _) => {}
        }
        self.settle(pod, parents);
    }
}

fn at<'n>(pod: &'n Node, pointer: &str) -> Option<&'n Node> {
    pod.at(&pointer.split('/').skip(1).collect::<Vec<_>>())
}
