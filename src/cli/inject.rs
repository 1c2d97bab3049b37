//! `vdi-metrics inject`: applies the webhook's decision to manifests.

use std::path::PathBuf;

use super::{
    cluster_state::ClusterState,
    files::ManifestFiles,
    manifest::Node,
    pod::{patch, restore::EmptyFields},
    rewrite::{self, FormatOption, PodChange},
    streams::Streams,
    workload::ManifestObject,
};
use crate::{
    admission::{Injector, Namespaces},
    webhook::configuration,
};

pub(super) const AFTER_HELP: &str = "\
inject changes pods, the pod templates of Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs,
CronJobs and PodTemplates, and Lists of these. It decides as the server does. Other documents are not changed.

inject needs no opt-in label: running the command is the opt-in. The label or annotation vdi-metrics.io/inject: disabled opts
a pod out. LimitRanges and ResourceQuotas in the files apply to the pods whose manifest names the same namespace.

The order of keys, the formatting and the comments stay, with two exceptions. The output is always UTF-8. If labels, annotations,
init containers or volumes of a pod contain or refer to a YAML anchor, or have an unusual form such as `? key`, inject may have to
rewrite the document without its comments. The report names such a document.

Pull secrets of the configuration are not added: Kubernetes adds the service account's pull secrets only to a pod that has none.

The report on standard error has one line for each object. If there are several files, each line begins with the name of its file.
If a document or a pod cannot be read, no output is written.
Exit codes: 0 success, also if pods were skipped; 1 a file, a pod, a LimitRange, a ResourceQuota or a Namespace cannot be read, or
the files contain no object; 2 wrong arguments.

  vdi-metrics inject -f desktops.yaml | kubectl apply -f -
  kubectl get deployment desktops -o yaml | vdi-metrics inject - --config config.yaml | kubectl replace -f -";

/// Arguments of `inject`.
#[derive(Debug, clap::Args)]
pub struct InjectArgs {
    #[command(flatten)]
    files: ManifestFiles,
    /// The server's configuration file (YAML). Default: built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    format: FormatOption,
}

/// Writes the manifests with the sidecar in every pod that gets one.
pub(super) fn run(args: &InjectArgs, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let settings = configuration::read_or_default(args.config.as_deref())?;
    let injector = Injector::new(settings);
    let manifests = args.files.read(streams.stdin)?;
    let limits = ClusterState::from_manifests(&manifests, "")?.limits;
    rewrite::every_pod(manifests, &args.format, streams, UNKNOWN_KIND, |pod, object| {
        inject(pod, object, &injector, &limits)
    })
}

const UNKNOWN_KIND: &str = "; set the label vdi-metrics.io/inject: enabled on the template or the namespace, and the webhook \
     injects the pods when they are created";

fn inject(pod: &mut Node, object: &ManifestObject, injector: &Injector, limits: &Namespaces) -> PodChange {
    let decision = injector.consider(&pod.json(), &object.namespace, limits);
    let empty_fields = EmptyFields::of(pod);
    let mut notices = patch::notices(&decision);
    notices.extend(patch::apply_all(pod, decision.patch.as_ref()));
    notices.extend(empty_fields.annotate(pod));
    PodChange { outcome: decision.outcome.to_string(), notices }
}
