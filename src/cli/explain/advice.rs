//! What people get wrong, as far as a manifest shows it.

use crate::{
    cli::{manifest::Node, selectors::Labels},
    contract::key,
};

/// Advice on a pod, the object that makes it, and what a mesh beside it would need for `port`.
pub(super) fn on(owner: &Node, pod: &Node, namespace: &Labels, port: Option<&str>) -> Vec<String> {
    let is_made = !std::ptr::eq(owner, pod);
    let mut advice = if is_made { misplaced(owner, pod) } else { vec![] };
    advice.extend(opting_in(pod));
    advice.extend(
        namespace.iter().filter(|(name, _)| name == key::INJECT).filter_map(|(_, word)| unknown_word(word)),
    );
    advice.extend(port.into_iter().flat_map(|port| meshes(pod, namespace, port)));
    advice
}

const MAPS: [(&str, &str); 2] = [("label", "labels"), ("annotation", "annotations")];

/// Marks on what makes the pods, which never reach them.
fn misplaced(owner: &Node, pod: &Node) -> Vec<String> {
    let mut found = vec![];
    for (what, map) in MAPS {
        for entry in owner.at(&["metadata", map]).and_then(Node::entries).unwrap_or_default() {
            if entry.key.starts_with(key::PREFIX) && pod.at(&["metadata", map, &*entry.key]).is_none() {
                found.push(format!("the {what} {} is on the object that makes the pods; it counts only in the metadata of the pod template", entry.key));
            }
        }
    }
    found
}

fn opting_in(pod: &Node) -> Vec<String> {
    let of = |map| pod.at(&["metadata", map, key::INJECT]);
    let mut found = vec![];
    if of("annotations").and_then(Node::as_str) == Some(key::ENABLED) {
        found.push("the annotation vdi-metrics.io/inject: enabled opts nothing in; selectors see labels only, so make it a label".to_owned());
    }
    if of("labels").is_some_and(|label| label.as_str().is_none()) {
        found.push(
            "the label vdi-metrics.io/inject is no string, and the API server refuses the pod; use enabled or disabled"
                .to_owned(),
        );
    }
    found
}

fn unknown_word(word: &str) -> Option<String> {
    let known = [key::ENABLED, key::DISABLED].contains(&word);
    (!known).then(|| {
        format!(
            "the namespace's label vdi-metrics.io/inject: {word:?} counts as absent; use enabled or disabled"
        )
    })
}

/// A service mesh whose proxy would stand between Prometheus and the sidecar.
struct Mesh {
    name: &'static str,
    container: &'static str,
    /// Marks on the pod or its namespace that ask for the proxy.
    marks: [(&'static str, &'static str); 2],
    exclude: &'static str,
}

const MESHES: [Mesh; 2] = [
    Mesh {
        name: "Istio",
        container: "istio-proxy",
        marks: [("sidecar.istio.io/inject", "true"), ("istio-injection", "enabled")],
        exclude: "traffic.sidecar.istio.io/excludeInboundPorts",
    },
    Mesh {
        name: "Linkerd",
        container: "linkerd-proxy",
        marks: [("linkerd.io/inject", "enabled"), ("linkerd.io/inject", "ingress")],
        exclude: "config.linkerd.io/skip-inbound-ports",
    },
];

fn meshes(pod: &Node, namespace: &Labels, port: &str) -> Vec<String> {
    MESHES.iter().filter_map(|mesh| mesh.advice(pod, namespace, port)).collect()
}

// === impl Mesh ===

impl Mesh {
    fn advice(&self, pod: &Node, namespace: &Labels, port: &str) -> Option<String> {
        let Self { name, exclude, .. } = self;
        let excluded =
            pod.at(&["metadata", "annotations", exclude]).and_then(Node::as_str).unwrap_or_default();
        let is_excluded = excluded.split(',').any(|one| one.trim() == port);
        (self.is_beside(pod, namespace) && !is_excluded).then(|| {
            format!("{name} is beside it: where it demands mutual TLS, add {port} to the pod's annotation {exclude} so that Prometheus can scrape")
        })
    }

    fn is_beside(&self, pod: &Node, namespace: &Labels) -> bool {
        let marked = self.marks.iter().any(|(mark, word)| {
            let own = MAPS
                .iter()
                .any(|(_, map)| pod.at(&["metadata", map, mark]).and_then(Node::as_str) == Some(word));
            own || namespace.iter().any(|(name, value)| (&**name, &**value) == (*mark, *word))
        });
        let lists =
            ["containers", "initContainers"].iter().filter_map(|list| pod.at(&["spec", list])?.items());
        marked
            || lists
                .flatten()
                .any(|container| container.get("name").and_then(Node::as_str) == Some(self.container))
    }
}
