//! Advice on common mistakes that a manifest shows.

use crate::{
    admission::field_path,
    cli::{cluster_state::Labels, manifest::Node},
    contract::key,
};

/// Advice on a pod and on the object that creates it. `port` is the sidecar's port; a service mesh must not intercept it.
pub(super) fn on(owner: &Node, pod: &Node, namespace: &Labels, port: Option<&str>) -> Vec<String> {
    let is_template = !std::ptr::eq(owner, pod);
    let mut advice = if is_template { misplaced(owner, pod) } else { vec![] };
    advice.extend(opting_in(pod));
    advice.extend(
        namespace
            .iter()
            .filter(|(name, _)| name == key::INJECT)
            .filter_map(|(_, value)| unknown_value(value)),
    );
    advice.extend(port.into_iter().flat_map(|port| meshes(pod, namespace, port)));
    advice
}

/// Advice on a pod template at `path` in an object of an unknown kind. There is no advice on the labels of the object, because
/// some controllers copy these labels to the pods.
pub(super) fn of_unknown_kind(
    path: &[String],
    pod: &Node,
    namespace: &Labels,
    port: Option<&str>,
) -> Vec<String> {
    let field = field_path(path);
    let kind = format!(
        "unknown kind (pod template: {field}): the controller of this kind may change the template before it creates pods; \
         inject does not change the object"
    );
    [kind].into_iter().chain(on(pod, pod, namespace, port)).collect()
}

const MAPS: [(&str, &str); 2] = [("label", "labels"), ("annotation", "annotations")];

/// Labels and annotations on the object that creates the pods; Kubernetes does not copy them to the pods.
fn misplaced(owner: &Node, pod: &Node) -> Vec<String> {
    let mut advice = vec![];
    for (what, map) in MAPS {
        for entry in owner.at(&["metadata", map]).and_then(Node::entries).unwrap_or_default() {
            if entry.key.starts_with(key::PREFIX) && pod.at(&["metadata", map, &*entry.key]).is_none() {
                advice.push(format!("the {what} {} is on the object that creates the pods and has no effect there; put it into the metadata of the pod template", entry.key));
            }
        }
    }
    advice
}

fn opting_in(pod: &Node) -> Vec<String> {
    let of = |map| pod.at(&["metadata", map, key::INJECT]);
    let mut advice = vec![];
    if of("annotations").and_then(Node::as_str) == Some(key::ENABLED) {
        advice.push("the annotation vdi-metrics.io/inject: enabled has no effect, because selectors read labels only; make it a label".to_owned());
    }
    if of("labels").is_some_and(|label| label.as_str().is_none()) {
        advice.push(
            "the label vdi-metrics.io/inject is not a string, so the API server rejects the pod; use enabled or disabled"
                .to_owned(),
        );
    }
    advice
}

fn unknown_value(value: &str) -> Option<String> {
    let is_valid = [key::ENABLED, key::DISABLED].contains(&value);
    (!is_valid).then(|| {
        format!(
            "the namespace's label vdi-metrics.io/inject: {value:?} has no effect; use enabled or disabled"
        )
    })
}

/// A service mesh whose proxy intercepts the scrape of the sidecar.
struct Mesh {
    name: &'static str,
    container: &'static str,
    /// Labels and annotations of the pod or its namespace that request the proxy.
    requests: [(&'static str, &'static str); 2],
    /// Annotation with the ports that the proxy does not intercept.
    exclude: &'static str,
}

const MESHES: [Mesh; 2] = [
    Mesh {
        name: "Istio",
        container: "istio-proxy",
        requests: [("sidecar.istio.io/inject", "true"), ("istio-injection", "enabled")],
        exclude: "traffic.sidecar.istio.io/excludeInboundPorts",
    },
    Mesh {
        name: "Linkerd",
        container: "linkerd-proxy",
        requests: [("linkerd.io/inject", "enabled"), ("linkerd.io/inject", "ingress")],
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
        let is_excluded = excluded.split(',').any(|excluded| excluded.trim() == port);
        (self.includes(pod, namespace) && !is_excluded).then(|| {
            format!("the pod is in the service mesh {name}: if the mesh requires mutual TLS, add {port} to the pod's annotation {exclude}, so that Prometheus can scrape the sidecar")
        })
    }

    fn includes(&self, pod: &Node, namespace: &Labels) -> bool {
        let requested = self.requests.iter().any(|(key, value)| {
            let own = MAPS
                .iter()
                .any(|(_, map)| pod.at(&["metadata", map, key]).and_then(Node::as_str) == Some(value));
            own || namespace.iter().any(|(name, label)| (&**name, &**label) == (*key, *value))
        });
        let lists =
            ["containers", "initContainers"].iter().filter_map(|list| pod.at(&["spec", list])?.items());
        requested
            || lists
                .flatten()
                .any(|container| container.get("name").and_then(Node::as_str) == Some(self.container))
    }
}
