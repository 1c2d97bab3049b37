//! `vdi-metrics explain`: would this pod be injected, which rule decides, and what would be added.

mod advice;
mod report;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::ensure;
use json_patch::Patch;
use serde::Serialize;

use super::{
    Streams,
    change::Files,
    inject,
    manifest::{Format, Node},
    selectors::{self, Labels, Webhook},
    surroundings::Surroundings,
    uninject,
    workload::{self, Object},
};
use crate::{
    admission::{Injector, Outcome, Settings, SkipReason},
    contract::key,
};

pub(super) const AFTER_HELP: &str = "\
Two parties decide. The API server asks our server only about pods that the selectors and conditions of the webhook
configuration let through: those shipped with this version are evaluated here. Then our server decides on the pod. Labels of
its namespace come from a Namespace in the files, else from --namespace-labels; LimitRanges and ResourceQuotas from the
files. With --live all three come from the cluster.

Exit codes: 0 every pod would be injected; 3 some would not; 1 something could not be read, or holds no pod; 2 wrong arguments.

  vdi-metrics explain desktops.yaml --namespace desktops --namespace-labels vdi-metrics.io/inject=enabled";

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    /// Namespace of the pods that name none
    #[arg(short, long, value_name = "NAME", default_value = "")]
    namespace: String,
    /// Labels of the namespaces, as far as the files hold no Namespace of that name
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',', value_parser = label)]
    namespace_labels: Vec<(String, String)>,
    /// Ask the cluster for the namespaces' labels, LimitRanges and ResourceQuotas, instead of the files
    #[arg(long, conflicts_with = "namespace_labels")]
    live: bool,
    /// Context of the kubeconfig to ask with; without it the current one
    #[arg(long, value_name = "NAME", requires = "live")]
    context: Option<String>,
    /// What the sidecar is like, YAML: the server's configuration file; without it the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Explain to programs; without it to people
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("not KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Explains every pod in the manifests; says whether all would be injected.
pub(super) fn run(args: &Args, streams: &mut Streams<'_>) -> anyhow::Result<bool> {
    let settings = args.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let manifests = args.files.read(streams.stdin)?;
    let documents: Vec<_> =
        manifests.iter().flat_map(|manifest| &manifest.documents).map(|document| &document.root).collect();
    let surroundings = match args.live {
        true => Surroundings::live(args.context.as_deref(), &namespaces(&documents, &args.namespace))?,
        false => Surroundings::of(&manifests, &args.namespace)?,
    };
    let world =
        World { args, injector: Injector::new(settings), webhooks: selectors::webhooks()?, surroundings };
    let explanations: Vec<_> = documents.iter().flat_map(|root| world.explain_all(root)).collect();
    ensure!(
        !explanations.is_empty(),
        "no pod and no pod template in it; `inject` says what the documents are"
    );
    let text = report::write(&explanations, args.output)?;
    streams.stdout.write_all(text.as_bytes())?;
    Ok(explanations.iter().all(|explanation| explanation.injected))
}

/// The namespaces that pods are in.
fn namespaces(documents: &[&Node], else_namespace: &str) -> BTreeSet<String> {
    let objects =
        documents.iter().flat_map(|root| workload::objects(root)).filter(|object| object.pod.is_some());
    objects
        .map(|object| object.namespace_or(else_namespace).to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// What is known beside the pod.
struct World<'a> {
    args: &'a Args,
    injector: Injector,
    webhooks: Vec<Webhook>,
    surroundings: Surroundings,
}

/// All about one pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    object: String,
    namespace: String,
    injected: bool,
    /// Which label, annotation, selector or reason settles it.
    rule: String,
    webhooks: Vec<Asked>,
    /// What the server answers where it is asked.
    answer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    adds: Option<Addition>,
    notices: Vec<String>,
    advice: Vec<String>,
}

/// Whether the API server asks through an entry of the webhook configuration, and what keeps it from that.
#[derive(Debug, Serialize)]
struct Asked {
    name: String,
    asked: bool,
    obstacles: Vec<String>,
}

/// What a pod is given.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Addition {
    port: String,
    resources: Option<Node>,
    /// Variables of the session's identity, and where they are taken from.
    identity: Vec<(String, String)>,
    /// Only by the server: `inject` leaves them out.
    pull_secrets: Vec<String>,
    container: Node,
    volume: Option<Node>,
}

// === impl World ===

impl World<'_> {
    fn explain_all(&self, root: &Node) -> Vec<Explanation> {
        let objects = workload::objects(root);
        objects.iter().filter_map(|object| self.explain(root, object)).collect()
    }

    fn explain(&self, root: &Node, object: &Object) -> Option<Explanation> {
        let (owner, pod) = (root.at(&object.path)?, root.at(object.pod.as_ref()?)?);
        let namespace = object.namespace_or(&self.args.namespace);
        let labels = self.surroundings.labels(namespace, &self.args.namespace_labels);
        let webhooks: Vec<_> = self.webhooks.iter().map(|webhook| Asked::of(webhook, pod, &labels)).collect();
        let asked = webhooks.iter().any(|webhook| webhook.asked);
        let verdict = self.injector.consider(&pod.json(), namespace, &self.surroundings.limits);
        let outcome = verdict.outcome;
        let has_it = matches!(outcome, Outcome::Repaired | Outcome::Skipped(SkipReason::AlreadyInjected));
        let given = asked && outcome == Outcome::Injected;
        let rule = match asked && !given && !has_it {
            true => format!("the server is asked, and answers {outcome}"),
            false if has_it => "the pod has it already, by its annotation vdi-metrics.io/config".to_owned(),
            false => rule(pod, &labels, asked),
        };
        let adds = given.then(|| Addition::of(pod, verdict.patch.as_ref())).flatten();
        Some(Explanation {
            object: object.label.clone(),
            namespace: namespace.to_owned(),
            injected: given || has_it,
            rule,
            webhooks,
            answer: outcome.to_string(),
            notices: inject::notices(&verdict),
            advice: advice::on(owner, pod, &labels, adds.as_ref().map(|adds| &*adds.port)),
            adds,
        })
    }
}

/// Which mark settles whether the API server asks.
fn rule(pod: &Node, namespace: &Labels, asked: bool) -> String {
    let is =
        |text: &str, map: &str| pod.at(&["metadata", map, key::INJECT]).and_then(Node::as_str) == Some(text);
    let opted_in = namespace.iter().any(|(name, value)| (&**name, &**value) == (key::INJECT, key::ENABLED));
    let marks = [
        (is(key::DISABLED, "labels"), "label vdi-metrics.io/inject: disabled on the pod"),
        (is(key::DISABLED, "annotations"), "annotation vdi-metrics.io/inject: disabled on the pod"),
        (is(key::ENABLED, "labels") && asked, "label vdi-metrics.io/inject: enabled on the pod"),
        (opted_in && asked, "label vdi-metrics.io/inject: enabled on the namespace"),
        (is(key::ENABLED, "labels") || opted_in, "opted in, and kept out by a selector or condition"),
    ];
    let mark = marks.iter().find_map(|(applies, mark)| applies.then_some(*mark));
    mark.unwrap_or("neither the pod nor its namespace has the label vdi-metrics.io/inject: enabled")
        .to_owned()
}

// === impl Asked ===

impl Asked {
    fn of(webhook: &Webhook, pod: &Node, namespace: &Labels) -> Self {
        let obstacles = webhook.obstacles(pod, namespace);
        Self { name: webhook.name.clone(), asked: obstacles.is_empty(), obstacles }
    }
}

// === impl Addition ===

impl Addition {
    fn of(pod: &Node, patch: Option<&Patch>) -> Option<Self> {
        let mut pod = pod.clone();
        inject::apply_all(&mut pod, patch);
        let container = uninject::container(&pod)?.clone();
        let port = container.at(&["ports", "0", "containerPort"]).map(Node::json).unwrap_or_default();
        let environment = container.get("env").and_then(Node::items).unwrap_or_default();
        let identity = environment.iter().filter_map(|variable| {
            let field = variable.at(&["valueFrom", "fieldRef", "fieldPath"])?.as_str()?;
            Some((variable.get("name")?.as_str()?.to_owned(), field.to_owned()))
        });
        Some(Self {
            port: String::from_utf8_lossy(&port).into_owned(),
            resources: container.get("resources").cloned(),
            identity: identity.collect(),
            pull_secrets: inject::pull_secrets(patch),
            volume: uninject::volume(&pod).cloned(),
            container,
        })
    }
}
