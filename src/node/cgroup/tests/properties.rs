//! Random paths: hostile names never win, and every view of the same node gives the same pod.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// A node: its driver, and the path above the kubelet's cgroups.
#[derive(Clone, Debug)]
struct Node {
    is_systemd: bool,
    above: &'static str,
    cgroup_root: Option<&'static str>,
}

/// A pod's UID in lower case, and its class.
type Pod = (String, Option<&'static str>);

impl Node {
    /// The path of a pod, as the kubelet's `CgroupName` builds it.
    fn pod_path(&self, (uid, class): &Pod) -> String {
        let names = [self.cgroup_root, Some(KUBEPODS), *class].into_iter().flatten().map(str::to_owned);
        let names: Vec<String> = names.chain([format!("pod{uid}")]).collect();
        let path: Vec<String> = match self.is_systemd {
            true => {
                let escaped: Vec<String> = names.iter().map(|name| name.replace('-', "_")).collect();
                (1..=escaped.len()).map(|count| format!("{}.slice", escaped[..count].join("-"))).collect()
            }
            false => names,
        };
        format!("{}/{}", self.above, path.join("/"))
    }
}

fn node() -> impl Strategy<Value = Node> {
    let above = select(vec![
        "",
        "/docker/88ea268ece65a02d68b169fd74bcbcb427eb7f28900db0e3b906fb2eeb7341df",
        "/kubepods/burstable/pod00000000-0000-0000-0000-000000000000/node",
        "/kubepods.slice/kubepods-pod00000000_0000_0000_0000_000000000000.slice/crio-node.scope",
    ]);
    let cgroup_root = select(vec![None, Some("kubelet"), Some(KUBEPODS), Some("my-root")]);
    (any::<bool>(), above, cgroup_root).prop_map(|(is_systemd, above, cgroup_root)| Node {
        is_systemd,
        above,
        cgroup_root,
    })
}

fn some_pod() -> impl Strategy<Value = Pod> {
    let uid = prop_oneof!["[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[0-9a-f]{32}"];
    (uid, select(vec![None, Some("burstable"), Some("besteffort")]))
}

/// Names that a container or a user of the node can give to its cgroups.
fn hostile() -> impl Strategy<Value = String> {
    let pod = format!("pod{OTHER_POD}");
    let slice = format!("kubepods-burstable-pod{}.slice", OTHER_POD.replace('-', "_"));
    let known = [
        KUBEPODS,
        "burstable",
        "kubepods.slice",
        "kubepods-burstable.slice",
        "kubelet",
        &pod,
        &slice,
        &format!("{slice}:cri-containerd:{CONTAINER}"),
        CONTAINER,
        "x (deleted)",
        "..x",
        ":",
    ];
    let known = known.map(str::to_owned).to_vec();
    let name = prop_oneof![4 => select(known), 1 => "[^/\n\r]{1,20}"];
    vec(name, 0..6).prop_map(|names| names.iter().map(|name| format!("/{name}")).collect())
}

/// The path of `target` for a reader in a cgroup namespace with this root (kernel, `kernfs_path_from_node`).
fn relative(root: &str, target: &str) -> String {
    let components = |path: &str| path.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
    let (root, target) = (components(root), components(target));
    let common = root.iter().zip(&target).take_while(|(left, right)| left == right).count();
    let parents = vec!["..".to_owned(); root.len() - common];
    let names = parents.iter().chain(&target[common..]);
    let path: String = names.map(|name| format!("/{name}")).collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

proptest! {
    #[test]
    fn every_view_of_a_process_in_a_pod_gives_its_pod(
        node in node(), agent in some_pod(), process in some_pod(), below in hostile(),
    ) {
        prop_assume!(agent.0 != process.0);
        let own = format!("{}/{CONTAINER}", node.pod_path(&agent));
        let path = format!("{}/{CONTAINER}{below}", node.pod_path(&process));
        let expected = Some((process.0, Some(CONTAINER.to_owned())));
        prop_assert_eq!(pod(&own, &path), expected.clone(), "namespace of the node");
        prop_assert_eq!(pod("/", &relative(&own, &path)), expected.clone(), "namespace of the agent");
        if node.above.is_empty() || node.above.starts_with("/docker") {
            prop_assert_eq!(pod("/", &path), expected, "agent outside of pods");
        }
    }

    #[test]
    fn a_process_outside_of_pods_is_in_no_pod(node in node(), agent in some_pod(), below in hostile()) {
        let own = format!("{}/{CONTAINER}", node.pod_path(&agent));
        let path = format!("{}/user.slice{below}", node.above);
        prop_assert_eq!(pod(&own, &path), None);
        prop_assert_eq!(pod("/", &relative(&own, &path)), None);
    }

    #[test]
    fn any_text_gives_a_pod_with_a_valid_uid_or_none(own in ".{0,200}", text in ".{0,200}", path in hostile()) {
        let own = PodCgroups::of_agent(&own).or_else(|_| PodCgroups::of_agent(&format!("0::{path}"))).ok();
        let lines = [text.clone(), format!("0::{text}"), format!("0::/{text}{path}"), format!("1:a:{path}\n0::{path}")];
        for text in lines {
            for view in own.iter().chain(&PodCgroups::of_agent("0::/").ok()) {
                if let Ok(Some(found)) = view.pod_of(&text) {
                    prop_assert_eq!(pod_uid(&format!("pod{}", &found.uid)), Some(found.uid));
                    prop_assert!(found.container.is_none_or(|id| id.len() == CONTAINER_ID_DIGITS));
                }
            }
        }
    }
}
