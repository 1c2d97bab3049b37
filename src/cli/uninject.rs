//! `vdi-metrics uninject`: takes out of a file exactly what `inject` put there.

use super::{
    Streams,
    change::{self, Change, Files, Output},
    inject::Void,
    manifest::Node,
};
use crate::contract::{CONTAINER, METRICS_PATH, key};

pub(super) const AFTER_HELP: &str = "\
Takes away the container and the volume vdi-metrics, the label vdi-metrics.io/injected, our annotations, and the
prometheus.io annotations where they name our port. A container of that name without the annotation vdi-metrics.io/config
is not ours and stays. What inject makes of a manifest, uninject makes the manifest again.

The report on standard error has one line for each object. Nothing is written unless every document could be read.
Exit codes: 0 done, also where there was nothing of ours; 1 something could not be read; 2 wrong arguments.";

/// Arguments of `uninject`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
}

/// Writes the manifests without the sidecar.
pub(super) fn run(args: &Args, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let manifests = args.files.read(streams.stdin)?;
    change::every_pod(manifests, &args.output, streams, |pod, _| Change {
        outcome: uninject(pod).to_owned(),
        notices: vec![],
    })
}

const ANNOTATIONS: [&str; 3] = [key::CONFIG, key::STATUS, key::RESTORE];

const SCRAPE: [&str; 3] = ["prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"];

fn uninject(pod: &mut Node) -> &'static str {
    let marked = pod.at(&["metadata", "annotations", key::CONFIG]).is_some();
    let namesake = !marked && container(pod).is_some();
    let void = Void::noted(pod);
    let scraped = marked && scraped_as_we_ask(pod);
    let ours = |key: &str| ANNOTATIONS.contains(&key) || scraped && SCRAPE.contains(&key);
    let mut changed = take(pod, &void, ["metadata", "annotations"], |map| map.remove(|key, _| !ours(key)));
    if marked {
        changed |=
            take(pod, &void, ["metadata", "labels"], |map| map.remove(|name, _| name != key::INJECTED));
        for list in LISTS {
            changed |= take(pod, &void, ["spec", list], |list| list.remove_items(|item| !is_ours(item)));
        }
    }
    match (namesake, changed) {
        (true, _) => {
            "left alone: its container vdi-metrics has no annotation vdi-metrics.io/config, so it is not ours"
        }
        (false, true) => "uninjected",
        (false, false) => "nothing of ours in it",
    }
}

/// Takes something out of a map or list, and the map or list too if it was ours; says whether there was anything.
fn take(pod: &mut Node, void: &Void, path: [&str; 2], removal: impl Fn(&mut Node) -> bool) -> bool {
    let changed = pod.at_mut(&path).is_some_and(removal);
    if changed {
        void.settle(pod, &path);
    }
    changed
}

const LISTS: [&str; 3] = ["initContainers", "containers", "volumes"];

fn is_ours(item: &Node) -> bool {
    item.get("name").and_then(Node::as_str) == Some(CONTAINER)
}

/// The container of our name.
pub(super) fn container(pod: &Node) -> Option<&Node> {
    LISTS[..2].iter().find_map(|list| named(pod, list))
}

/// The volume of our name.
pub(super) fn volume(pod: &Node) -> Option<&Node> {
    named(pod, LISTS[2])
}

fn named<'n>(pod: &'n Node, list: &str) -> Option<&'n Node> {
    pod.at(&["spec", list])?.items()?.iter().find(|item| is_ours(item))
}

/// Whether the annotations that ask for a scrape name our port and path.
fn scraped_as_we_ask(pod: &Node) -> bool {
    let port = container(pod).and_then(|container| container.at(&["ports", "0", "containerPort"]));
    let Some(port) = port else { return false };
    let port = String::from_utf8_lossy(&port.json()).into_owned();
    let wanted = ["true", &*port, METRICS_PATH];
    SCRAPE
        .iter()
        .zip(wanted)
        .all(|(key, wanted)| pod.at(&["metadata", "annotations", key]).and_then(Node::as_str) == Some(wanted))
}
