//! The ports at which viewers reach the desktop, as far as the pod declares them.

use super::patterns::matches;
use crate::admission::pod::{ContainerView, PodView, PortView};

/// Names of ports for metrics and probes, as Kubernetes projects use them: `metrics`, `http-metrics`, `health`, `healthz`, and
/// `http-envoy-prom` of Istio's proxy. The clients of these ports are not viewers. A `*` matches any characters.
pub(crate) const PORTS_WITHOUT_VIEWERS: [&str; 3] = ["*metrics", "*prom", "health*"];

/// Maximum number of ports. The variable then has at most 258 bytes, and each variable of the sidecar has less than 300.
pub(crate) const MAX_PORTS: usize = 40;

/// The TCP ports that the containers beside the sidecar declare, without those for metrics and probes. The ports are ascending
/// and unique. Empty if the containers declare more than [`MAX_PORTS`], or if a regular container declares none: it may be the
/// desktop, and its viewers must not be missed.
///
/// A plain init container ends before the desktop starts, so its ports do not count.
pub(crate) fn desktop_ports(pod: &PodView<'_>) -> Vec<u16> {
    let mut ports: Vec<u16> = pod.running().flat_map(viewer_ports).collect();
    if ports.len() > MAX_PORTS || pod.regular().any(|container| viewer_ports(container).next().is_none()) {
        return vec![];
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn viewer_ports(container: &ContainerView<'_>) -> impl Iterator<Item = u16> {
    let declared = container.ports.iter().flatten();
    declared.filter(|port| may_have_viewers(port)).map(|port| port.container_port)
}

fn may_have_viewers(port: &PortView<'_>) -> bool {
    let name = port.name.as_deref().unwrap_or_default();
    port.is_tcp() && !PORTS_WITHOUT_VIEWERS.iter().any(|pattern| matches(pattern, name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ports_of(ports: &Value) -> Vec<u16> {
        let pod = json!({"spec": {"containers": [{"name": "desktop", "ports": ports}]}});
        desktop_ports(&serde_json::from_str(&pod.to_string()).unwrap())
    }

    #[test]
    fn ports_are_ascending_and_unique() {
        let ports = json!([{"containerPort": 8080}, {"containerPort": 443}, {"containerPort": 8080, "name": "again"}]);
        assert_eq!(ports_of(&ports), [443, 8080]);
        assert_eq!((ports_of(&json!([])), ports_of(&json!(null))), (vec![], vec![]));
    }

    #[test]
    fn only_tcp_ports_count() {
        for (protocol, counts) in [
            (json!("TCP"), true),
            (json!(null), true),
            (json!(""), true),
            (json!("UDP"), false),
            (json!("SCTP"), false),
            (json!("tcp"), false),
        ] {
            let ports = ports_of(&json!([{"containerPort": 5900, "protocol": protocol}]));
            assert_eq!(ports, if counts { vec![5900] } else { vec![] }, "{protocol}");
        }
    }

    #[test]
    fn ports_for_metrics_and_probes_do_not_count() {
        for (name, counts) in [
            ("metrics", false),
            ("http-metrics", false),
            ("http-envoy-prom", false),
            ("health", false),
            ("healthz", false),
            ("health-check", false),
            ("metrics-ui", true),
            ("web-health", true),
            ("promenade", true),
            ("vnc", true),
            ("", true),
        ] {
            let ports = ports_of(&json!([{"containerPort": 5900, "name": name}]));
            assert_eq!(ports, if counts { vec![5900] } else { vec![] }, "{name}");
        }
    }

    #[test]
    fn the_containers_beside_the_sidecar_count() {
        let container = |name: &str, port: u16| json!({"name": name, "ports": [{"containerPort": port}]});
        let mut native = container("streamer", 1);
        native["restartPolicy"] = json!("Always");
        let containers = json!([container("desktop", 2), container("files", 3), container("vdi-metrics", 4)]);
        let pod =
            json!({"spec": {"initContainers": [native, container("home", 5)], "containers": containers}});
        assert_eq!(desktop_ports(&serde_json::from_str(&pod.to_string()).unwrap()), [1, 2, 3]);
    }

    #[test]
    fn a_regular_container_without_a_port_makes_the_ports_unknown() {
        let ports = |containers: Value| {
            let pod = json!({"spec": {"containers": containers}});
            desktop_ports(&serde_json::from_str(&pod.to_string()).unwrap())
        };
        let files = json!({"name": "files", "ports": [{"containerPort": 3}]});
        assert!(ports(json!([files, {"name": "desktop"}])).is_empty());
        assert!(
            ports(json!([files, {"name": "proxy", "ports": [{"containerPort": 4, "name": "metrics"}]}]))
                .is_empty()
        );
        assert_eq!(ports(json!([files, {"name": "vdi-metrics"}])), [3], "the sidecar of `mode: container`");
    }

    #[test]
    fn too_many_ports_count_as_none() {
        let ports = |count: u16| {
            let ports: Vec<Value> = (0..count).map(|n| json!({"containerPort": 65_535 - n})).collect();
            ports_of(&json!(ports))
        };
        assert_eq!((ports(40).len(), ports(41).len()), (40, 0));
    }
}
