//! `vdi-metrics uninject`: removes from manifests exactly what `inject` added.

use super::{
    files::ManifestFiles,
    manifest::Node,
    pod::{
        restore::EmptyFields,
        sidecar::{self, LISTS},
    },
    rewrite::{self, FormatOption, PodChange},
    streams::Streams,
};
use crate::contract::{METRICS_PATH, key};

pub(super) const AFTER_HELP: &str = "\
uninject removes the container and the volume vdi-metrics, the label vdi-metrics.io/injected, the annotations that inject or
the webhook wrote, and the prometheus.io annotations if they name the sidecar's port and path.

uninject keeps a container vdi-metrics if the pod has no annotation vdi-metrics.io/config: then another program added this
container. uninject after inject gives back the original manifest, byte for byte.

The report on standard error has one line for each object. If there are several files, each line begins with the name of its file.
If a document or a pod cannot be read, no output is written.
Exit codes: 0 success, also if there was nothing to remove; 1 a file or a pod cannot be read, or the files contain no object;
2 wrong arguments.

  kubectl get deployment desktops -o yaml | vdi-metrics uninject -f - | kubectl replace -f -";

/// Arguments of `uninject`.
#[derive(Debug, clap::Args)]
pub struct UninjectArgs {
    #[command(flatten)]
    files: ManifestFiles,
    #[command(flatten)]
    format: FormatOption,
}

/// Writes the manifests without the sidecar.
pub(super) fn run(args: &UninjectArgs, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let manifests = args.files.read(streams.stdin)?;
    rewrite::every_pod(manifests, &args.format, streams, "", |pod, _| PodChange {
        outcome: uninject(pod).to_owned(),
        notices: vec![],
    })
}

const ANNOTATIONS: [&str; 3] = [key::CONFIG, key::STATUS, key::RESTORE];

const SCRAPE: [&str; 3] = ["prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"];

fn uninject(pod: &mut Node) -> &'static str {
    let injected = pod.at(&["metadata", "annotations", key::CONFIG]).is_some();
    let added_by_other_program = !injected && sidecar::container(pod).is_some();
    let empty_fields = EmptyFields::from_annotation(pod);
    let scraped = injected && has_scrape_annotations(pod);
    let added = |key: &str| ANNOTATIONS.contains(&key) || scraped && SCRAPE.contains(&key);
    let mut changed =
        remove(pod, &empty_fields, ["metadata", "annotations"], |map| map.remove(|key, _| !added(key)));
    if injected {
        changed |= remove(pod, &empty_fields, ["metadata", "labels"], |map| {
            map.remove(|key, _| key != key::INJECTED)
        });
        for list in LISTS {
            changed |= remove(pod, &empty_fields, ["spec", list], |list| {
                list.remove_items(|item| !sidecar::is_named_as_sidecar(item))
            });
        }
    }
    match (added_by_other_program, changed) {
        (true, _) => {
            "unchanged: the container vdi-metrics was added by another program (the pod has no annotation vdi-metrics.io/config)"
        }
        (false, true) => "uninjected",
        (false, false) => "nothing to remove",
    }
}

/// Applies `removal` to a map or list, and then removes the map or list itself if `inject` added it. Returns whether anything
/// was removed.
fn remove(
    pod: &mut Node,
    empty_fields: &EmptyFields,
    path: [&str; 2],
    removal: impl Fn(&mut Node) -> bool,
) -> bool {
    let changed = pod.at_mut(&path).is_some_and(removal);
    if changed {
        empty_fields.restore(pod, &path);
    }
    changed
}

/// Whether the `prometheus.io` annotations name the sidecar's port and path.
fn has_scrape_annotations(pod: &Node) -> bool {
    let port = sidecar::container(pod).and_then(|container| container.at(&["ports", "0", "containerPort"]));
    let Some(port) = port else { return false };
    let port = String::from_utf8_lossy(&port.json()).into_owned();
    let expected = ["true", &*port, METRICS_PATH];
    SCRAPE.iter().zip(expected).all(|(key, expected)| {
        pod.at(&["metadata", "annotations", key]).and_then(Node::as_str) == Some(expected)
    })
}
