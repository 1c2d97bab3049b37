//! `vdi-metrics explain`: shows whether pods would be injected, which rule decides, and what would be added.

mod advice;
mod explainer;
mod explanation;
mod report;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::ensure;

use self::explainer::Explainer;
use super::{
    cluster_state::ClusterState,
    files::ManifestFiles,
    manifest::{Format, Manifest},
    streams::Streams,
    workload,
};
use crate::{
    admission::{Injector, selection},
    webhook::configuration,
};

pub(super) const AFTER_HELP: &str = "\
The decision has two steps. First, the API server calls the webhook only for pods that match the selectors and conditions of the
webhook configuration; explain uses the webhook configuration of this version. Second, the webhook decides about the pod.

The namespace's labels come from a Namespace in the files, otherwise from --namespace-labels. LimitRanges and ResourceQuotas
come from the files. With --live the labels, the LimitRanges and the ResourceQuotas come from the cluster.

Exit codes: 0 every pod would be injected; 1 a file, a LimitRange, a ResourceQuota, a Namespace or the cluster cannot be read, or
the files contain no pod; 2 wrong arguments; 3 at least one pod would not be injected, or cannot be read.

  vdi-metrics explain -f desktops.yaml --namespace desktops --namespace-labels vdi-metrics.io/inject=enabled";

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    files: ManifestFiles,
    /// Namespace of objects whose manifest does not name one
    #[arg(short, long, value_name = "NAME", default_value = "", hide_default_value = true)]
    namespace: String,
    /// Labels of the namespaces for which the files contain no Namespace
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',', value_parser = label)]
    namespace_labels: Vec<(String, String)>,
    /// Read namespace labels, LimitRanges and ResourceQuotas from the cluster instead of the files
    #[arg(long, conflicts_with = "namespace_labels")]
    live: bool,
    /// Context of the kubeconfig, with --live. Default: the current context
    #[arg(long, value_name = "NAME", requires = "live")]
    context: Option<String>,
    /// The server's configuration file (YAML). Default: built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the explanation as JSON or YAML. Default: plain text
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("not KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Writes an explanation of every pod in the manifests. Returns whether all of them would be injected.
pub(super) fn run(args: &ExplainArgs, streams: &mut Streams<'_>) -> anyhow::Result<bool> {
    let settings = configuration::read_or_default(args.config.as_deref())?;
    let manifests = args.files.read(streams.stdin)?;
    let cluster = match args.live {
        true => {
            ClusterState::from_cluster(args.context.as_deref(), &namespaces(&manifests, &args.namespace))?
        }
        false => ClusterState::from_manifests(&manifests, &args.namespace)?,
    };
    let explainer = Explainer {
        default_namespace: &args.namespace,
        default_labels: &args.namespace_labels,
        injector: Injector::new(settings),
        webhooks: selection::shipped_webhooks()?,
        cluster,
    };
    let explanations: Vec<_> =
        manifests.iter().flat_map(|manifest| explainer.explain_all(manifest)).collect();
    ensure!(
        !explanations.is_empty(),
        "the files contain no pod and no pod template; `vdi-metrics inject` reports what each document is"
    );
    let text = report::write(&explanations, args.output)?;
    streams.stdout.write_all(text.as_bytes())?;
    Ok(explanations.iter().all(|explanation| explanation.injected))
}

/// The namespaces of the pods in the manifests.
fn namespaces(manifests: &[Manifest], default_namespace: &str) -> BTreeSet<String> {
    let documents = manifests.iter().flat_map(|manifest| &manifest.documents);
    let objects = documents.flat_map(|document| workload::objects(&document.root));
    let objects = objects.filter(|object| !object.pods.all().is_empty());
    objects
        .map(|object| object.namespace_or(default_namespace).to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}
