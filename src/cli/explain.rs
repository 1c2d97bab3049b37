//! `vdi-metrics explain`: would this pod be injected, which rule decides, and what would be added.

mod advice;
mod report;

use std::path::PathBuf;

use anyhow::ensure;
use serde::Serialize;

use super::{
    Streams,
    change::Files,
    core::{Injector, Namespaces, Verdict},
    inject,
    manifest::{Format, Manifest, Node},
    selectors::{self, Labels, Webhook},
    uninject,
    workload::{self, Object},
};
use crate::{
    admission::{Outcome, Settings},
    contract::key,
};

pub(super) const AFTER_HELP: &str = "\
Two parties decide. The API server asks our server only about pods that the selectors and conditions of the webhook
configuration let through: those shipped with this version are evaluated here. Then our server decides on the pod. Labels of
its namespace come from a Namespace in the files, else from --namespace-labels.

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
    let world = World::of(args, &manifests, Injector::new(settings))?;
    let documents = manifests.iter().flat_map(|manifest| &manifest.documents);
    let explanations: Vec<_> = documents.flat_map(|document| world.explain_all(&document.root)).collect();
    ensure!(
        !explanations.is_empty(),
        "no pod and no pod template in it; `inject` says what the documents are"
    );
    let text = report::write(&explanations, args.output)?;
    streams.stdout.write_all(text.as_bytes())?;
    Ok(explanations.iter().all(|explanation| explanation.injected))
}

/// What is known beside the pod.
struct World {
    injector: Injector,
    webhooks: Vec<Webhook>,
    /// Of the command line: the namespace of pods that name none, and what labels namespaces have.
    namespace: String,
    labels: Vec<(String, String)>,
    /// Namespaces that the manifests hold, with their labels.
    namespaces: Vec<(String, Vec<(String, String)>)>,
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
struct Addition {
    port: String,
    resources: Option<Node>,
    /// Variables of the session's identity, and where they are taken from.
    identity: Vec<(String, String)>,
    container: Node,
    volume: Option<Node>,
}

// === impl World ===

impl World {
    fn of(args: &Args, manifests: &[Manifest], injector: Injector) -> anyhow::Result<Self> {
        let mut namespaces = vec![];
        for root in manifests.iter().flat_map(|manifest| &manifest.documents).map(|document| &document.root) {
            let found = workload::objects(root).into_iter();
            for object in found.filter_map(|object| root.at(&object.path)) {
                let text = |path: &[&str]| object.at(path).and_then(Node::as_str);
                if let (Some("Namespace"), Some(name)) = (text(&["kind"]), text(&["metadata", "name"])) {
                    namespaces.push((name.to_owned(), selectors::labels(object)));
                }
            }
        }
        let (namespace, labels) = (args.namespace.clone(), args.namespace_labels.clone());
        Ok(Self { injector, webhooks: selectors::webhooks()?, namespace, labels, namespaces })
    }

    fn explain_all(&self, root: &Node) -> Vec<Explanation> {
        let objects = workload::objects(root);
        objects.iter().filter_map(|object| self.explain(root, object)).collect()
    }

    fn explain(&self, root: &Node, object: &Object) -> Option<Explanation> {
        let (owner, pod) = (root.at(&object.path)?, root.at(object.pod.as_ref()?)?);
        let namespace = if object.namespace.is_empty() { &self.namespace } else { &object.namespace };
        let labels = self.labels_of(namespace);
        let webhooks: Vec<_> = self.webhooks.iter().map(|webhook| Asked::of(webhook, pod, &labels)).collect();
        let asked = webhooks.iter().any(|webhook| webhook.asked);
        let verdict = self.injector.consider(&pod.json(), namespace, &Namespaces::default());
        let has_it = matches!(verdict.outcome, Outcome::Injected);
        let rule = if asked && !has_it { reason(&verdict) } else { rule(pod, &labels, asked) };
        let adds = (asked && has_it).then(|| Addition::of(pod, &verdict)).flatten();
        Some(Explanation {
            object: object.label.clone(),
            namespace: namespace.clone(),
            injected: asked && has_it,
            rule,
            webhooks,
            answer: verdict.outcome.to_string(),
            notices: verdict.notices.iter().map(ToString::to_string).collect(),
            advice: advice::on(owner, pod, &labels, adds.as_ref().map(|adds| &*adds.port)),
            adds,
        })
    }

    /// The labels of a namespace, with the one that the API server sets.
    fn labels_of(&self, namespace: &str) -> Vec<(String, String)> {
        let held = self.namespaces.iter().find(|(name, _)| name == namespace).map(|(_, labels)| labels);
        let mut labels = held.unwrap_or(&self.labels).clone();
        if !namespace.is_empty() {
            labels.push(("kubernetes.io/metadata.name".to_owned(), namespace.to_owned()));
        }
        labels
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

fn reason(verdict: &Verdict) -> String {
    format!("the server is asked, and answers {}", verdict.outcome)
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
    fn of(pod: &Node, verdict: &Verdict) -> Option<Self> {
        let mut pod = pod.clone();
        inject::apply_all(&mut pod, verdict.patch.as_ref());
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
            volume: uninject::volume(&pod).cloned(),
            container,
        })
    }
}
